#!/usr/bin/env python3
"""A real guest: stock QEMU, kernel and Mesa of Debian, with our render server behind the GPU.

  venus.py SUITE BUILDDIR

SUITE is trixie (QEMU 10.0) or forky (QEMU 11). The guest runs vulkaninfo and client programs,
reboots and runs them once more; their values must be those of the same programs on the host
driver.

Exit status: 0 good, 1 not, 77 skipped.
"""

import pathlib
import re
import sys
import tempfile

import guest as vm
import harness
import roots
import run as client_run

# All but those that map more at once than QEMU's window for the guest is wide.
PROGRAMS = ("scene", "compute", "timeline", "queries", "descriptors", "threads",
            "sync")
AFTER_REBOOT = ("scene", "compute")
GPU = ["-device", "virtio-gpu-gl-pci,hostmem=256M,blob=true,venus=true", "-display", "sdl,gl=on"]
SERVER = ["RENDER_SERVER_EXEC_PATH=/mnt/server/render/cordon-render-server",
          f"VK_DRIVER_FILES={roots.ICDS}lvp_icd.json"]
# The library tells guests of it from 1.3.0 on.
NEWEST_ONLY = {"host_image_copy"}


def judge(machine, programs, native, life):
    """What went wrong in one life of the guest."""
    wrong = []
    result = machine.result("vulkaninfo", life)
    if result.status != 0 or "Virtio-GPU Venus (llvmpipe" not in machine.said("vulkaninfo", life):
        wrong.append(f"vulkaninfo: {result.describe()}\n{machine.said('vulkaninfo', life)}")
    for name in programs:
        got = machine.result(name, life)
        if got.ok:
            different, _ = client_run.compare(native[name].line, got.line, True)
            different = [text for text in different if text.split(":")[0] not in NEWEST_ONLY]
            if name == "sync":
                # The host driver knows no sync files; the guest's kernel does, and has vgem's.
                different += [f"{check}: {text}" for check, text in got.line["checks"].items()
                              if text != "ok"]
        else:
            different = [got.describe()]
        wrong += [f"{name}: {text}" for text in different]
    return [f"life {life}: {text}" for text in wrong]


def run(suite, build):
    root = f"{suite}-vm"
    roots.need(root)
    with tempfile.TemporaryDirectory(prefix="cordon-vm-") as name:
        folder = pathlib.Path(name)
        host = roots.Place(root, pathlib.Path(build).resolve(), folder)
        native = {name: host.native(name) for name in PROGRAMS}

        def commands(programs):
            return {"vulkaninfo": "vulkaninfo --summary"} | {
                name: " ".join(host.line(roots.PROGRAMS[name] + roots.guest_options(name)))
                for name in programs}

        machine = vm.Guest(root, host.build, folder, ["virtio-gpu", "vgem"])
        log = machine.run(commands(PROGRAMS), GPU, variables=SERVER, second=commands(AFTER_REBOOT),
                          prepare=f"export VK_DRIVER_FILES={roots.ICDS}virtio_icd.json")
        print(machine.serial().strip())
        wrong = judge(machine, PROGRAMS, native, 1)
        wrong += judge(machine, AFTER_REBOOT, native, 2)
        # One for each program that uses Vulkan, vulkaninfo included.
        served = re.search(r"(\d+) contexts served \(0 live, 0 lost, 0 refused\)", log)
        if not served or int(served[1]) < len(PROGRAMS) + len(AFTER_REBOOT) + 2:
            wrong.append("the server's last line does not tell of contexts that all went well")
        wrong += [line for line in log.splitlines() if re.search(r"\berror\b", line)]
        if wrong:
            raise harness.Failure("\n".join([*wrong, log, machine.serial()]))
    print(f"ok: {len(PROGRAMS)} programs, and {len(AFTER_REBOOT)} again after a reboot")


if __name__ == "__main__":
    sys.exit(harness.main(f"venus {sys.argv[1]}", lambda: run(*sys.argv[1:])))
