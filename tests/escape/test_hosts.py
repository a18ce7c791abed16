#!/usr/bin/env python3
"""Hosts that lack what the sandbox needs: the server must stay up, refuse, and say the remedy.

usage: test_hosts.py CORDON_RENDER_SERVER ROGUE_WORKER UNDER_FILTER CORDON_POLICYC

Each host is made of this one with unshare(1) and chroot(1); status 77 where that is not allowed.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "protocol"))
import renderserver  # noqa: E402

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork"]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OUR_POLICY = ROOT / "dist/crosvm/gpu_render_server.policy"
STOCK_POLICY = ROOT / "tests/policy/crosvm-render-server.policy"
# name: (commands before the server, options, words that the log must hold, does it serve?)
HOSTS = {
    "as-it-is": ("", [], ["served by worker"], True),
    "no-user-namespaces": (
        "echo 0 >/proc/sys/user/max_user_namespaces", [],
        ["FAILED layer=userns", "max_user_namespaces", "--sandbox-allow-missing=userns"], False),
    "no-user-namespaces-allowed": (
        "echo 0 >/proc/sys/user/max_user_namespaces", ["--sandbox-allow-missing=userns"],
        ["this host lacks userns", "served by worker"], True),
    "no-net-namespaces": (
        "echo 0 >/proc/sys/user/max_net_namespaces", [],
        ["FAILED layer=netns", "--sandbox-allow-missing=netns"], False),
    "no-mount-namespaces": (
        "echo 0 >/proc/sys/user/max_mnt_namespaces", [],
        ["FAILED layer=mounts", "--sandbox-allow-missing=mounts"], False),
    "no-proc": ("umount -l /proc", [], ["FAILED layer=userns"], False),
    # The root of that namespace is nobody to whom a group was given, whatever this host mounts.
    "no-cgroup": ("", [], ["no cgroup for workers, rlimits and their own accounts bound them: ",
                           "served by worker"], True),
    "no-cgroup-but-asked-for": ("", ["--limit", "ram=4G"],
                                ["FAILED layer=-", "--limit ram: "], False),
    "minimal": ("echo 0 >/proc/sys/user/max_user_namespaces", ["--sandbox=minimal"],
                ["sandbox: minimal", "served by worker"], True),
    "off": ("", ["--sandbox=off"], ["sandbox: OFF", "served by worker"], True),
    "no-landlock": ("@allow landlock_create_ruleset: return 95", [],
                    ["FAILED layer=landlock", "--sandbox-allow-missing=landlock"], False),
    "no-landlock-allowed": ("@allow landlock_create_ruleset: return 95",
                            ["--sandbox-allow-missing=landlock"],
                            ["this host lacks landlock", "served by worker"], True),
    "no-listener": ("@allow seccomp: return 38", [], ["FAILED layer=seccomp"], False),
    "jail-that-knows-us": ("@trap " + str(OUR_POLICY), [], ["served by worker"], True),
    "jail-that-knows-us-own-policy": ("@trap " + str(OUR_POLICY),
                                      ["--policy-dir", str(ROOT / "policy")],
                                      [f"of {ROOT / 'policy'}", "served by worker"], True),
    # Programs may be started in it, so that workers are to be confined; tests/jail has the real one.
    "jail-that-allows-exec": ("@trap " + str(STOCK_POLICY), [],
                              ["refuses seccomp", "start the server outside that jail"], False),
    "bubblewrap": ("@bwrap --dev-bind / / --unshare-user --unshare-pid --proc /proc --dev /dev", [],
                   ["served by worker"], True),
    "bubblewrap-disable-userns": (
        "@bwrap --dev-bind / / --unshare-user --disable-userns", [],
        ["FAILED layer=userns", "--sandbox-allow-missing=userns"], False),
    "bubblewrap-disable-userns-allowed": (
        "@bwrap --dev-bind / / --unshare-user --disable-userns",
        ["--sandbox-allow-missing=userns,mounts,pidns,netns,ipcns,utsns"],
        ["this host lacks userns", "served by worker"], True),
    "chroot": ("@chroot", [], ["FAILED layer=userns", "chroot"], False),
}


class Failure(Exception):
    """What went wrong."""


def make_root(folder, program, worker):
    """A tree for chroot: the host's libraries, /dev, /proc, and the two programs."""
    for name in ("usr", "proc", "dev", "etc", "cordon"):
        os.mkdir(os.path.join(folder, name))
    for name in ("bin", "lib", "lib64", "sbin"):
        os.symlink(f"usr/{name}", os.path.join(folder, name))
    for path in (program, worker):
        shutil.copy(path, os.path.join(folder, "cordon"))


def filter_file(folder, kind, what):
    """The policy of a jail, for under_filter."""
    path = pathlib.Path(folder) / "filter"
    if kind == "@allow":
        path.write_text(what + "\n")
    elif what == str(STOCK_POLICY):
        # Without what it takes to start a program; crosvm's filter comes after that.
        started = ["execve", "execveat", "prlimit64", "arch_prctl", "set_tid_address", "pread64"]
        allowed = [line.partition(":")[0] for line in STOCK_POLICY.read_text().splitlines()
                   if line[0] not in "#@"]
        path.write_text("".join(f"{name}: 1\n" for name in started + allowed))
    else:
        path.write_text(pathlib.Path(what).read_text())
    return path


def script(commands, folder, program, under):
    """A shell script that turns a new mount and user namespace into that host."""
    setup = "set -e; mount -t proc proc /proc; "
    if commands == "@chroot":
        setup += "".join(f"mount --rbind /{name} {folder}/{name}; " for name in ("usr", "proc", "dev"))
        return setup + f'exec chroot {folder} /cordon/{os.path.basename(program)} "$@"'
    if commands.startswith("@bwrap"):
        return setup + f'exec {commands[1:]} {program} "$@"'
    if commands.startswith("@"):
        kind, _, what = commands.partition(" ")
        return setup + f'exec {under} {kind[1:]} {filter_file(folder, kind, what)} {program} "$@"'
    return setup + (commands or ":") + f'; exec {program} "$@"'


def try_host(name, row, programs, folder):
    program, worker, under = programs
    commands, options, words, serves = row
    root = os.path.join(folder, f"root-{name}")
    os.mkdir(root, 0o755)
    arguments = ["--driver", "lavapipe", *options]
    if commands == "@chroot":
        make_root(root, program, worker)
        arguments += ["--worker", "/cordon/" + os.path.basename(worker)]
    else:
        arguments += ["--worker", worker]
    wrapper = pathlib.Path(folder) / f"host-{name}"
    inner = wrapper.with_suffix(".inner")
    inner.write_text("#!/bin/sh\n" + script(commands, root, program, under))
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(UNSHARE)} --kill-child sh {inner} "$@"\n')
    wrapper.chmod(0o755)
    server = renderserver.Server(str(wrapper), arguments, {"PATH": os.environ["PATH"]},
                                 os.path.join(folder, f"log-{name}"))
    return server, words, serves


def check_host(name, row, programs, folder):
    server, words, serves = try_host(name, row, programs, folder)
    try:
        try:
            server.create_context(1, "host", timeout=15)
            served = "served by worker" in (server.wait_log("ctx=1 ", timeout=15) or "")
        except (RuntimeError, TimeoutError, OSError):
            served = False
        missing = [word for word in words if not server.wait_log(word)]
        text = server.read_log()
        # Who reads any one line must know.
        if "--sandbox=off" in row[1] and not all(
                line.startswith("cordon-render-server [SANDBOX OFF]: ")
                for line in text.splitlines()):
            raise Failure(f"{name}: a line does not begin with [SANDBOX OFF]:\n{text}")
        if missing:
            raise Failure(f"{name}: not in the log: {missing}\n{text}")
        if served != serves:
            raise Failure(f"{name}: served={served}\n{text}")
        if not server.alive():
            raise Failure(f"{name}: the server ended\n{text}")
    finally:
        status = server.close() if server.alive() else server.process.returncode
    if status != 0:
        raise Failure(f"{name}: status {status} when the VMM hung up\n{text}")
    print(f"ok {name}")


def main():
    able = subprocess.run([*UNSHARE, "mount", "-t", "proc", "proc", "/proc"], capture_output=True,
                          text=True, check=False)
    if able.returncode != 0:
        print(f"SKIP: {able.stderr.strip()}")
        return 77
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        programs = [shutil.copy(path, folder) for path in sys.argv[1:5]][:3]
        for name, row in HOSTS.items():
            if row[0].startswith("@bwrap") and not shutil.which("bwrap"):
                print(f"skipped {name}: no bwrap here")
                continue
            try:
                check_host(name, row, programs, folder)
            except Failure as error:
                failed += 1
                print(f"FAIL {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
