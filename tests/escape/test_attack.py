#!/usr/bin/env python3
"""A real worker, with its driver loaded and a context served, that runs an attacker's code.

usage: test_attack.py [--driver NAME] CORDON_RENDER_SERVER ATTACKED_WORKER LIBATTACK CORDON_WORKER
                      [NAME...]

The worker is cordon-worker's own code, linked once more so that it loads a library of the test
before it seals itself; the one that is installed cannot. Each attempt comes in a context of its
own, beside another context that must not notice. Every outcome is in the log: a call that is no
policy's ends the worker and is named by the server, so is one that the server refuses; what the
kernel alone refuses is told by the attacker. As root all is done twice, as root and as an ordinary
user.
"""

import argparse
import json
import os
import pathlib
import shutil
import stat
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "protocol"))
import renderserver  # noqa: E402

ORDINARY = 65534


def killed(call):
    return "killed", call


def told(call, errno):
    """Refused by the server, which names it."""
    return "told", call, errno


def refused(errno):
    return "refused", errno


ICDS = "/usr/share/vulkan/icd.d"
PARSER = argparse.ArgumentParser()
PARSER.add_argument("--driver", default="lavapipe")
PARSER.add_argument("paths", nargs="+", help="SERVER WORKER LIBRARY REAL-WORKER [NAME...]")
OPTIONS = PARSER.parse_args()
DRIVER = OPTIONS.driver
# RADV's null winsys: the driver as it is, with no GPU.
DRIVERS = {
    "lavapipe": {"VK_DRIVER_FILES": f"{ICDS}/lvp_icd.json"},
    "radv": {"VK_DRIVER_FILES": f"{ICDS}/radeon_icd.json", "RADV_FORCE_FAMILY": "navi21"},
    # By hand, where there is such a GPU.
    "nvidia": {"VK_DRIVER_FILES": f"{ICDS}/nvidia_icd.json"},
}
EGL = "__EGL_VENDOR_LIBRARY_FILENAMES"  # where NVIDIA's driver is not where glvnd looks
if EGL in os.environ:
    DRIVERS["nvidia"][EGL] = os.environ[EGL]
OTHER = "other"  # the bystander's worker
VMM = "vmm"      # this process
# name: (whom it is aimed at, outcome)
ROWS = [
    *((name, whom, outcome) for whom in (OTHER, VMM) for name, outcome in (
        ("read-memory", killed("process_vm_readv")),
        ("write-memory", killed("process_vm_writev")),
        ("memory-file", refused("ENOENT")),
        ("memory-file-write", told("openat", "ENOENT")),
        ("memory-map", refused("ENOENT")),
        ("descriptors", refused("ENOENT")),
        ("ptrace", killed("ptrace")),
        ("signal", killed("kill")),
        ("thread-signal", refused("EPERM")),
        ("pidfd", killed("pidfd_open")),
        ("kcmp", refused("ENOSYS")),
        ("renice", refused("EPERM")))),
    ("vmm-socket", VMM, told("socket", "EAFNOSUPPORT")),
    ("vmm-sendto", VMM, killed("sendto")),
    ("foreign-fds", VMM, refused("EBADF")),
    ("reconnect", VMM, told("connect", "EACCES")),
    ("accept", VMM, killed("accept4")),
    ("internet", VMM, told("socket", "EAFNOSUPPORT")),
    ("datagrams", VMM, told("socket", "EAFNOSUPPORT")),
    ("netlink", VMM, told("socket", "EAFNOSUPPORT")),
    ("socketpair", VMM, killed("socketpair")),
    ("passwd", VMM, refused("ENOENT")),
    ("secret", VMM, refused("ENOENT")),
    ("home", VMM, refused("ENOENT")),
    ("new-file", VMM, told("openat", "ENOENT")),
    ("new-folder", VMM, refused("EACCES")),
    ("own-library", VMM, told("openat", "ENOENT")),
    ("unlink-library", VMM, told("unlink", "EACCES")),
    ("rename-library", VMM, told("rename", "EACCES")),
    ("truncate-library", VMM, killed("truncate")),
    ("chmod-library", VMM, killed("chmod")),
    ("remount", VMM, killed("mount")),
    # NVIDIA's driver tries to start a helper, and copes.
    ("fork", VMM, refused("EPERM") if DRIVER == "nvidia" else killed("clone")),
    ("namespaces", VMM, killed("unshare")),
    ("exec", VMM, killed("execve")),
    *((("dlopen", VMM, killed("mmap")),
       ("code-from-file", VMM, killed("mmap")),
       # The one right that lavapipe has beyond other drivers, and the end of this list's ESCAPED.
       ("new-code", VMM, ("escaped",))) if DRIVER == "lavapipe" else
      (("dlopen", VMM, refused("ELIBACC")),
       ("code-from-file", VMM, refused("EPERM")),
       ("new-code", VMM, refused("EPERM")))),
    ("own-filter", VMM, killed("seccomp")),
    ("io-uring", VMM, killed("io_uring_setup")),
    ("kvm", VMM, told("openat", "ENOENT")),
    ("dev-mem", VMM, told("openat", "ENOENT")),
    ("other-gpu", VMM, told("openat", "ENOENT")),
    ("display", VMM, told("openat", "ENOENT")),
    *([] if DRIVER == "nvidia" else [("nvidia", VMM, told("openat", "ENOENT"))]),
    ("tty", VMM, told("openat", "ENOENT")),
    ("mknod", VMM, told("mknodat", "EPERM")),
    ("device-by-path", VMM, told("openat", "ENOENT")),
    ("foreign-ioctl", VMM, killed("ioctl")),
]


class Failure(Exception):
    """What went wrong."""


def check(true, what):
    if not true:
        raise Failure(what)


def pid_of(server, number):
    line = server.wait_log(f"ctx={number} ", "served by worker")
    check(line, f"context {number} was never served:\n{server.read_log()[-3000:]}")
    return int(line.rpartition("pid ")[2].rstrip(")"))


def judge(server, number, order, outcome):
    """Waits for the lines that must be in the log."""
    context = f"ctx={number} "
    if outcome[0] == "killed":
        words = [context, f": {outcome[1]}(", f"not in worker.{DRIVER}.policy", "the context is lost"]
    elif outcome[0] == "told":
        words = [context, f": {outcome[1]}(", f"not in worker.{DRIVER}.policy", f"refused with {outcome[2]}"]
        line = server.wait_log(context, f"attack {order}: refused {outcome[2]}")
        check(line, f"`{order}` was not refused with {outcome[2]}:\n{server.read_log()[-2000:]}")
    elif outcome[0] == "refused":
        words = [context, f"attack {order}: refused {outcome[1]}"]
    else:
        words = [context, f"attack {order}: ESCAPED"]
    line = server.wait_log(*words, timeout=20)
    check(line, f"no line with {words}:\n{server.read_log()[-3000:]}")
    if outcome[0] != "escaped":
        bad = server.wait_log(context, "ESCAPED", timeout=0)
        check(not bad, bad)
    return line


def start(folder, program, worker, uid):
    """The server as that user."""
    wrapper = pathlib.Path(folder) / f"server-{uid}"
    who = f"setpriv --reuid {uid} --regid {uid} --clear-groups " if uid != os.geteuid() else ""
    wrapper.write_text(f'#!/bin/sh\nexec {who}{program} "$@"\n')
    wrapper.chmod(0o755)
    env = {"PATH": os.environ["PATH"],
           **DRIVERS[DRIVER],
           "VK_ICD_FILENAMES": f"{folder}/attack.json"}
    return renderserver.Server(
        str(wrapper), ["--worker", worker, "--driver", DRIVER, "--limit", "lost=0,starts=0"],
        env, os.path.join(folder, f"log-{uid}"))


def run(folder, program, worker, uid, names):
    rows = [row for row in ROWS if not names or row[0] in names]
    server = start(folder, program, worker, uid)
    try:
        bystander = server.create_context(1, "bystander")
        _, memory = bystander.shm(4096)
        memory[:6] = b"secret"
        check(bystander.sync(), "the bystander's worker does not answer")
        targets = {OTHER: pid_of(server, 1), VMM: os.getpid()}
        for number, (name, whom, outcome) in enumerate(rows, 2):
            order = f"{name} {targets[whom]}"
            context = server.create_context(number, order)
            line = judge(server, number, order, outcome)
            if outcome[0] != "killed":
                check(context.sync(), f"{order}: the worker no longer serves")
            context.destroy()
            check(server.alive(), f"{order}: the server ended")
            print(f"uid {uid}: {name} on {whom}: {line.partition('  ')[2][:150]}")
        check(bystander.sync() and memory[:6] == b"secret", "the bystander was harmed")
        check(pid_of(server, 1) == targets[OTHER], "the bystander was replaced")
    finally:
        if server.alive():
            check(server.close() == 0, "the server's status")


def has_no_hook(worker):
    """The worker that is installed knows nothing of any of this."""
    data = pathlib.Path(worker).read_bytes()
    check(b"libattack" not in data and b"__wrap_" not in data, f"{worker} has the test's hook")


def main():
    if not os.path.exists(DRIVERS[DRIVER]["VK_DRIVER_FILES"]):
        print(f"SKIP no {DRIVERS[DRIVER]['VK_DRIVER_FILES']}")
        return 77
    program, worker, library, real_worker, *names = OPTIONS.paths
    has_no_hook(real_worker)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program, worker = (shutil.copy(path, folder) for path in (program, worker))
        shutil.copy(library, f"{folder}/libattack.so")
        pathlib.Path(folder, "attack.json").write_text(json.dumps(
            {"file_format_version": "1.0.0",
             "ICD": {"library_path": "./libattack.so", "api_version": "1.0.0"}}))
        secret = pathlib.Path(f"/tmp/cordon-secret-{os.getpid()}")
        secret.write_text("secret")
        secret.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
        try:
            for uid in [0, ORDINARY] if os.geteuid() == 0 else [os.geteuid()]:
                run(folder, program, worker, uid, names)
        except Failure as error:
            print(f"FAIL {error}")
            return 1
        finally:
            secret.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
