#!/usr/bin/env python3
"""A real guest of a QEMU that holds no GPU code: its GPU is cordon-vhost-user-gpu.

  vhost_user.py SUITE BUILDDIR

SUITE is forky (QEMU 11.1, the first that maps memory for a vhost-user device). The guest's kernel
and Mesa are Debian's. It runs vulkaninfo and client programs, reboots and runs them once more;
their values must be those of the same programs on the host driver. Then a guest with a display
boots to its console, whose picture must not be empty; its QEMU ends, and another one finds the same
device ready. Then the render server dies under a program of the guest, which ends, and the next
program has Vulkan.

Exit status: 0 good, 1 not, 77 skipped.
"""

import os
import pathlib
import re
import signal
import struct
import sys
import tempfile
import threading
import zlib

import guest as vm
import harness
import roots
import venus

MEMORY = 1024
# All but the one that maps 4096 blobs at once: QEMU's time for each grows with their number.
PROGRAMS = ("scene", "compute", "timeline", "queries", "descriptors", "threads", "misc")
AFTER_REBOOT = ("scene", "compute")
# QEMU may start no process, its device was there before it; nor anything else that it can give up.
QEMU = ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-display", "none", "-machine", "memory-backend=mem",
        "-object", f"memory-backend-memfd,id=mem,size={MEMORY}M,share=on",
        "-chardev", "socket,id=gpu,path=/run/cordon/gpu.sock",
        "-device", "vhost-user-test-device-pci,chardev=gpu,virtio-id=16,num_vqs=2,vq_size=256,"
                   "config_size=16"]
DEVICE = ["/mnt/server/vhost_user/cordon-vhost-user-gpu", "--socket-path", "/run/cordon/gpu.sock"]
VARIABLES = [f"VK_DRIVER_FILES={roots.ICDS}lvp_icd.json"]
# What the guest's driver must find.
FEATURES = ("+virgl", "+resource_blob", "+host_visible", "+context_init")


# QEMU counts mapped blobs as memory of the guest and says so when there are more than 8. That is
# all: the device knows them.
KNOWN = re.compile(r"vhost-user memory table msg$|vhost_set_mem_table failed: No buffer space")


def faults(log):
    """Lines of any process that tell of something wrong."""
    return [line for line in log.splitlines()
            if re.search(r"\b(error|warn)\b|qemu-system", line) and not KNOWN.search(line)]


def colours(png):
    """How many different colours a picture has."""
    data, at, body = png.read_bytes(), 8, b""
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            body += data[at + 8:at + 8 + size]
        at += 12 + size
    raw = zlib.decompress(body)
    width, = struct.unpack_from(">I", data, 16)
    row = width * 3 + 1
    return len({raw[y + x:y + x + 3] for y in range(0, len(raw), row) for x in range(1, row, 3)})


def headless(root, build, folder):
    host = roots.Place(root, build, folder)
    native = {name: host.native(name) for name in PROGRAMS}

    def commands(programs):
        return {"dmesg": "dmesg", "vulkaninfo": "vulkaninfo --summary"} | {
            name: " ".join(host.line(roots.PROGRAMS[name] + roots.guest_options(name)))
            for name in programs}

    machine = vm.Guest(root, build, folder, ["virtio-gpu"])
    log = machine.run(commands(PROGRAMS), QEMU, variables=VARIABLES, memory=MEMORY, device=DEVICE,
                      second=commands(AFTER_REBOOT),
                      prepare=f"export VK_DRIVER_FILES={roots.ICDS}virtio_icd.json")
    print(machine.serial().strip())
    wrong = venus.judge(machine, PROGRAMS, native, 1)
    wrong += venus.judge(machine, AFTER_REBOOT, native, 2)
    said = machine.said("dmesg")
    wrong += [f"the guest's driver does not say {name}" for name in FEATURES if name not in said]
    wrong += faults(log)
    if wrong:
        raise harness.Failure("\n".join([*wrong, log, machine.serial()]))


def descendants(pid):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [
        other for child in children for other in descendants(child)]


def end_render_server(folder, ended):
    """Once the guest's scene is at work."""
    log = folder / "qemu.log"
    while not re.search('"cl_scene" .*context begins', log.read_text(errors="replace")):
        if ended.wait(0.2):
            return
    ended.wait(0.3)
    for pid in descendants(os.getpid()):
        try:
            if pathlib.Path(f"/proc/{pid}/comm").read_text().startswith("cordon-render"):
                os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended meanwhile


def console(root, build, folder):
    machine = vm.Guest(root, build, folder, ["virtio-gpu"])
    text = ("echo Cordon > /dev/tty0; ls -l /dev/dri; "
            "for file in /sys/class/drm/*/edid; do od -A n -t x1 $file | head -n 1; done; sleep 1")
    log = machine.run({"console": text, "dmesg": "dmesg"}, [*QEMU, "-no-reboot"],
                      variables=VARIABLES, memory=MEMORY,
                      second={"vulkaninfo": "vulkaninfo --summary", "console": text},
                      device=[*DEVICE, "--screenshot", "/run/cordon/console.png"],
                      prepare=f"export VK_DRIVER_FILES={roots.ICDS}virtio_icd.json")
    if "00 ff ff ff ff ff ff 00" not in machine.said("console"):
        raise harness.Failure(f"no EDID in the guest\n{machine.said('console')}\n{log}")
    found = colours(folder / "console.png")
    if found < 2:
        raise harness.Failure(f"the picture of the console has one colour\n{log}\n"
                              f"{machine.said('dmesg')}")
    wrong = faults(log) + venus.judge(machine, (), {}, 2)
    if log.count("front end connected") != 2 or "shows nothing" in log:
        wrong.append("the device did not serve two front ends with a console each")
    if wrong:
        raise harness.Failure("\n".join([*wrong, log]))
    print(f"the console's picture has {found} colours")


def server_dies(root, build, folder):
    machine = vm.Guest(root, build, folder, ["virtio-gpu"])
    scene = " ".join(roots.Place(root, build, folder).line(roots.PROGRAMS["scene"]))
    ended = threading.Event()
    thread = threading.Thread(target=end_render_server, args=(folder, ended))
    (folder / "qemu.log").touch()
    thread.start()
    try:
        log = machine.run({"scene": scene, "vulkaninfo": "vulkaninfo --summary"}, QEMU,
                          variables=VARIABLES, memory=MEMORY, device=DEVICE,
                          prepare=f"export VK_DRIVER_FILES={roots.ICDS}virtio_icd.json")
    finally:
        ended.set()
        thread.join()
    print(machine.serial().strip())
    wrong = venus.judge(machine, (), {}, 1)
    if "the render server has ended" not in log:
        wrong.append("the render server was not ended")
    # Mesa ends a program whose ring is dead; a timeout would be 124.
    if machine.result("scene").status in (0, 124):
        wrong.append(f"the program that lost its context: {machine.result('scene').describe()}")
    if wrong:
        raise harness.Failure("\n".join([*wrong, log]))


def run(suite, build):
    root = f"{suite}-vm"
    roots.need(root)
    for part in (headless, console, server_dies):
        with tempfile.TemporaryDirectory(prefix="cordon-vm-") as name:
            part(root, pathlib.Path(build).resolve(), pathlib.Path(name))
    print(f"ok: {len(PROGRAMS)} programs, {len(AFTER_REBOOT)} again after a reboot, a console, "
          "another QEMU with the same device, and life after the render server's end")


if __name__ == "__main__":
    sys.exit(harness.main(f"vhost_user {sys.argv[1]}", lambda: run(*sys.argv[1:])))
