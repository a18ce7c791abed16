#!/usr/bin/env python3
"""Looks from outside at the workers of a real server that a real client draws through.

usage: test_sealed.py CORDON_VTEST CL_SCENE

As root everything is looked at twice: the server run as root, and as an ordinary user. Without
root there is only the second, and what a confined process does not show to its own user is left
out. Status 77: this host has no driver for it.
"""

import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "client"))
import harness  # noqa: E402
from harness import Failure, wait_until  # noqa: E402

ORDINARY = 65534
NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts")
# server's own, before exec of the worker, after its warm-up
FILTERS = 3
DESCRIPTORS = re.compile(
    r"/dev/null|/dev/udmabuf|pipe:.*|socket:.*|anon_inode:\[(eventpoll|eventfd|timerfd)\]"
    r"|/memfd:.* \(deleted\)|/dmabuf:.*|anon_inode:dmabuf"
    r"|/worker-cache/mesa_shader_cache_sf/.*")
MOUNTS = re.compile(
    r"/|/usr/lib(64)?|/lib(64)?|/etc/ld\.so\.cache|/usr(/local)?/share/vulkan/icd\.d"
    r"|/etc/(vulkan/icd\.d|glvnd)|/usr/share/(drirc\.d|glvnd|libdrm)|/dev/(null|udmabuf)"
    r"|/worker-cache")
LIMITS = {"Max core file size": 0, "Max locked memory": 0, "Max msgqueue size": 0,
          "Max nice priority": 0, "Max realtime priority": 0, "Max processes": 640,
          "Max file size": 2 << 30, "Max data size": 4 << 30}


def read(pid, name):
    return pathlib.Path(f"/proc/{pid}/{name}").read_text()


def check(true, what):
    if not true:
        raise Failure(what)


def check_session(pid):
    """Neither a terminal nor a share of the processors of its own."""
    fields = read(pid, "stat").rpartition(")")[2].split()
    parent = int(fields[1])
    check(fields[4] == "0", f"{pid} has a terminal")
    check(os.getsid(pid) == os.getsid(parent), f"{pid} is in a session of its own")


def check_status(pid):
    tasks = os.listdir(f"/proc/{pid}/task")
    for task in tasks:
        status = dict(line.split(":\t", 1) for line in read(pid, f"task/{task}/status").splitlines())
        name = f"thread {task} ({status['Name']}) of {pid}"
        check(status["Seccomp"] == "2", f"{name}: no filter")
        check(int(status["Seccomp_filters"]) >= FILTERS,
              f"{name}: {status['Seccomp_filters']} filters")
        check(status["NoNewPrivs"] == "1", f"{name}: may gain privileges")
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            check(int(status[kind], 16) == 0, f"{name}: {kind} is {status[kind]}")
        check(status["NSpid"].split()[-1] != str(pid), f"{name}: sees the host's process numbers")
        for uid in status["Uid"].split():
            check(uid != "0", f"{name}: is root on the host")
        check(not status.get("Groups", "").split(), f"{name}: is in groups {status['Groups']}")
    return len(tasks)


def check_namespaces(pid, server):
    for kind in NAMESPACES:
        check(os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/{server}/ns/{kind}"),
              f"{pid}: the {kind} namespace is the server's")


def check_mounts(pid):
    for line in read(pid, "mountinfo").splitlines():
        fields = line.split()
        point, options = fields[4], fields[5].split(",")
        check(MOUNTS.fullmatch(point), f"{pid} sees {point}")
        # Writable is what nobody else sees; the filter lets a sealed worker open nothing there.
        check("ro" in options or point == "/worker-cache", f"{pid}: {point} is {fields[5]}")
        check("nosuid" in options, f"{pid}: {point} is {fields[5]}")
        check("nodev" in options or point.startswith("/dev/"), f"{pid}: devices in {point}")
        check("noexec" in options or "lib" in point, f"{pid}: programs in {point}")


def check_descriptors(pid):
    for number in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{number}")
        check(DESCRIPTORS.fullmatch(target), f"{pid} holds {number} -> {target}")


def check_limits(pid):
    for line in read(pid, "limits").splitlines()[1:]:
        name, hard = line[:26].strip(), line[47:68].strip()
        if name in LIMITS:
            check(hard != "unlimited" and int(hard) <= LIMITS[name], f"{pid}: {name} is {hard}")


def check_environment(pid, secret):
    check(secret not in read(pid, "environ"), f"{pid} was given the server's environment")


def settled(server, count):
    """Workers that are sealed: the spare needs a moment. All of their threads' filters count."""
    def sealed():
        found = [pid for pid in server.workers() if f"Seccomp_filters:\t{FILTERS}" in
                 read(pid, "status")]
        return len(found) >= count and found

    return wait_until("sealed workers", sealed, 30)


def render_server_of(server):
    return next(pid for pid in harness.descendants(server.pid)
                if harness.command_of(pid) == "cordon-render-s")


def look(vtest, scene, uid):
    os.environ["CORDON_TEST_SECRET"] = "do-not-hand-over"
    with harness.Server(vtest, uid=uid) as server:
        frame = [scene, "--width", "320", "--height", "180"]
        result = harness.run_client(frame, server.environment(), 120)
        check(result.ok, f"as uid {uid}: {result.describe()}\n{server.log()[-3000:]}")
        holding = subprocess.Popen([*frame, "--hold"], env=server.environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            for line in holding.stderr:
                if line.startswith("frame 1"):
                    break
            workers = settled(server, 2)
            render_server = render_server_of(server)
            status = read(render_server, "status")
            check("Seccomp:\t2" in status and "NoNewPrivs:\t1" in status, "the server has no filter")
            threads = []
            for pid in workers:
                check_session(pid)
                threads.append(check_status(pid))
                check_limits(pid)
                if os.geteuid() == 0:
                    check_namespaces(pid, render_server)
                    check_mounts(pid)
                    check_descriptors(pid)
                    check_environment(pid, "do-not-hand-over")
            check("FAILED" not in server.log(), server.log())
            print(f"uid {uid}: {len(workers)} workers with {threads} threads are sealed")
        finally:
            holding.kill()
            holding.wait()
            holding.stderr.close()


def main():
    vtest, scene = sys.argv[1:]
    uids = [0, ORDINARY] if os.geteuid() == 0 else [os.geteuid()]
    return harness.main("sealed", lambda: [look(vtest, scene, uid) for uid in uids])


if __name__ == "__main__":
    sys.exit(main())
