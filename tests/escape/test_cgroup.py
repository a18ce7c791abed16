#!/usr/bin/env python3
"""Workers in control groups of their own: what the kernel then bounds, and that nothing stays.

usage: test_cgroup.py CORDON_RENDER_SERVER ATTACKED_WORKER LIBATTACK

The worker is the real one with an attacker's code in it (test_attack.py). Needs root, to delegate a
group, and a hierarchy of version 2 with the controllers; status 77 without.
"""

import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "protocol"))
import renderserver  # noqa: E402

ORDINARY = 65534
CONTROLLERS = ("memory", "pids", "cpu")


class Failure(Exception):
    """What went wrong."""


def check(true, what):
    if not true:
        raise Failure(what)


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"after {seconds} s still not: {what}")
        time.sleep(0.05)


def hierarchy():
    """Where version 2 is mounted with all that we need, or None."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            top = pathlib.Path(line.split()[4])
            has = (top / "cgroup.controllers").read_text().split()
            if set(CONTROLLERS) <= set(has) and os.access(top, os.W_OK):
                return top
    return None


def delegate(top, name):
    """A group below the top that hands out controllers; the caller removes it."""
    (top / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in CONTROLLERS))
    group = top / name
    group.mkdir(exist_ok=True)
    return group


def leftovers(group):
    return [path for path in group.iterdir() if path.is_dir() and path.name != "cordon-server"]


class Server:
    def __init__(self, place, options, before="", who=""):
        self.place = place
        self.log = tempfile.mktemp(dir=place.folder)
        wrapper = pathlib.Path(tempfile.mktemp(dir=place.folder))
        wrapper.write_text(f'#!/bin/sh\n{before}\nexec {who} {place.program} "$@"\n')
        wrapper.chmod(0o755)
        env = {"PATH": os.environ["PATH"],
               "VK_DRIVER_FILES": "/usr/share/vulkan/icd.d/lvp_icd.json",
               "VK_ICD_FILENAMES": f"{place.folder}/attack.json", "LP_NUM_THREADS": "1"}
        self.server = renderserver.Server(
            str(wrapper), ["--worker", place.worker, "--driver", "lavapipe", "--spare", "0",
                           "--ready-timeout", "120", *options], env, self.log)
        self.contexts = []  # one that nobody holds is closed

    @property
    def number(self):
        return len(self.contexts)

    def create(self, order):
        self.contexts.append(self.server.create_context(self.number + 1, order, timeout=60))
        return self.contexts[-1]

    def line(self, *words, timeout=60):
        line = self.server.wait_log(*words, timeout=timeout)
        check(line, f"no line with {words}:\n{self.server.read_log()}")
        return line

    def pid(self):
        line = self.line(f"ctx={self.number} ", "served by worker")
        return int(line.rpartition("pid ")[2].rstrip(")"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.server.alive():
            self.server.close()


class Place:
    """Folder with the programs, where workers of any user find them."""

    def __init__(self, folder, program, worker, library):
        os.chmod(folder, 0o755)
        self.folder = folder
        self.program, self.worker = (shutil.copy(path, folder) for path in (program, worker))
        shutil.copy(library, f"{folder}/libattack.so")
        pathlib.Path(folder, "attack.json").write_text(json.dumps(
            {"ICD": {"library_path": "./libattack.so", "api_version": "1.0.0"}}))


def group_of(pid):
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None


def bounded(place, group):
    """The numbers are written, the worker is inside, and each limit does its work."""
    limits = "ram=384M,vm-ram=2G,threads=40,cpu=50,cpu-weight=20,lost=0"
    with Server(place, ["--cgroup", str(group), "--limit", limits]) as server:
        bystander = server.create("bystander")
        pid = server.pid()
        mine = group / f"cordon-{server.server.process.pid}"
        check(group_of(pid).endswith(f"/{mine.name}/worker-1"), group_of(pid))
        for path, value in ((mine / "memory.max", 2 << 30), (mine / "cpu.max", "50000 100000"),
                            (mine / "cpu.weight", 20), (mine / "worker-1/memory.max", 384 << 20),
                            (mine / "worker-1/memory.oom.group", 1),
                            (mine / "worker-1/pids.max", 40)):
            check(path.read_text().strip() == str(value), f"{path}: {path.read_text()}")
        server.create("eat-memory")
        line = server.line("ctx=2 ", "limit ram: out of memory with", "the context is lost")
        print(line)
        server.create("many-threads")
        server.line("ctx=3 ", "attack many-threads: refused EAGAIN")
        server.server.destroy_context(3)
        print(server.line("ctx=3 ", "limit threads: worker 3 was refused"))
        server.create("spin")
        server.pid()
        stat = mine / "cpu.stat"
        wait_for(lambda: "nr_throttled 0\n" not in stat.read_text(), 60, "the spinner is throttled")
        check(bystander.sync(60), "the bystander does not answer")
        server.server.destroy_context(4)
        wait_for(lambda: [p.name for p in mine.iterdir() if p.is_dir()] == ["worker-1"], 60,
                 "only the bystander's group is left")
        check(server.server.close() == 0, "the server's status")
        wait_for(lambda: not leftovers(group), 30, f"nothing is left: {leftovers(group)}")


def killed(place, group):
    """What a killed server leaves, the next one takes away."""
    with Server(place, ["--cgroup", str(group)]) as server:
        server.create("bystander")
        server.pid()
        server.server.process.send_signal(signal.SIGKILL)
        server.server.process.wait()
    check(leftovers(group), "the killed server has left nothing to sweep")

    def empty():
        return all(not (path / "cgroup.procs").read_text() for path in group.glob("*/worker-*"))

    wait_for(empty, 30, "its workers are gone")
    with Server(place, ["--cgroup", str(group)]) as server:
        server.line("workers are bounded by cgroups below")
        check(len(leftovers(group)) == 1, f"not swept: {leftovers(group)}")
        check(server.server.close() == 0, "the server's status")
    check(not leftovers(group), leftovers(group))


def ordinary_user(place, group):
    """A user to whom the group was given; the server is in it and makes room for itself."""
    inner = group / "user"
    inner.mkdir()
    for path in (inner, *(inner / name for name in ("cgroup.procs", "cgroup.subtree_control",
                                                    "cgroup.threads"))):
        os.chown(path, ORDINARY, ORDINARY)
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in CONTROLLERS))
    who = f"setpriv --reuid {ORDINARY} --regid {ORDINARY} --clear-groups"
    with Server(place, ["--limit", "ram=384M"], f"echo 0 > {inner}/cgroup.procs", who) as server:
        server.create("eat-memory")
        check(group_of(server.pid()).startswith(f"/{group.name}/user/cordon-"), "its group")
        check(group_of(server.server.process.pid).endswith("/user/cordon-server"), "the server's")
        server.line("ctx=1 ", "limit ram: out of memory with")
        check(server.server.close() == 0, "the server's status")
    wait_for(lambda: not leftovers(inner), 30, f"nothing is left: {leftovers(inner)}")
    (inner / "cordon-server").rmdir()
    inner.rmdir()


def without(place):
    """Root's own group is nobody's to divide; what was asked for and cannot be is told."""
    with Server(place, []) as server:
        server.line("no cgroup for workers")
        server.create("bystander")
        server.pid()
    with Server(place, ["--cgroup=off", "--limit", "ram=1G"]) as server:
        server.line("FAILED", "--limit ram: --cgroup=off")
        try:
            server.create("bystander")
        except RuntimeError:
            return
        raise Failure("a limit that cannot be kept was ignored")


def main():
    top = hierarchy() if os.geteuid() == 0 else None
    if not top:
        print("SKIP: no cgroup v2 with memory, pids and cpu that we may divide")
        return 77
    group = delegate(top, f"cordon-test-{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder, *sys.argv[1:4])
        try:
            for part in (bounded, killed, ordinary_user):
                part(place, group)
                print(f"ok {part.__name__}")
            without(place)
        except Failure as error:
            print(f"FAIL {error}")
            return 1
        finally:
            group.rmdir()
    print("ok without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
