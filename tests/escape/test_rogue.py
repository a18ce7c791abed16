#!/usr/bin/env python3
"""What a worker can do that has been taken over: to its server, to other contexts, to the VMM.

usage: test_rogue.py CORDON_RENDER_SERVER ROGUE_WORKER [NAME...]

Each behaviour of the rogue worker has a row: words of the one log line that must tell of it. After
each, the server lives, holds no more descriptors than before, and starts the next worker.
"""

import os
import pathlib
import resource
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "protocol"))
import renderserver  # noqa: E402
from renderserver import Gone  # noqa: E402

POLICY = "not in worker.lavapipe.policy; the context is lost"
PROTOCOL = "broke the protocol with its server"
# name: (words of the log line, what becomes of the context)
# lost: blobs are refused and fences done. lied: the same, but the worker had shown the server other
# memory than the VMM's, so fences stay as it left them; alive it could have kept them as well.
ROWS = {
    "ptrace": (["ctx=", "sandbox: thread=rogue_worker: ptrace(0x10, 0x1, 0, ...) [101]", POLICY],
               "lost"),
    "other-thread": (["ptrace(", "thread=evil", POLICY], "lost"),
    "close-all": (["ptrace(", POLICY], "lost"),
    "notify-flood": (["openat(", "too often (flood)"], "lost"),
    "ready-again": ([PROTOCOL, "message 1 of 328 bytes"], "lost"),
    "oversized": ([PROTOCOL], "lost"),
    "truncated": ([PROTOCOL, "of 2 bytes"], "lost"),
    "unknown-op": ([PROTOCOL, "message 2147483647"], "lost"),
    "descriptor-flood": ([PROTOCOL], "lost"),
    "ring-device": ([PROTOCOL, "message 4"], "lost"),
    "ring-socket": ([PROTOCOL, "message 4"], "lost"),
    "ring-epoll": ([PROTOCOL, "message 4"], "lost"),
    "ring-beyond": ([PROTOCOL, "message 4"], "lost"),
    "ring-overflow": ([PROTOCOL, "message 4"], "lost"),
    "ring-flood": (["is not watched: too many rings"], "lives"),
    "timeline-twice": ([PROTOCOL, "message 3"], "lied"),
    "timeline-huge": ([PROTOCOL, "message 3"], "lost"),
    "scribble": (["????", "the context is lost"], "lost"),
    "log-flood": (["exited with status 1", "the context is lost"], "lost"),
    "descriptors-then-exit": (["the context is lost"], "lost"),
    "context-flood": (["flooded its context with"], "lives"),
    "spawn-helper": (["vfork(", POLICY], "lost"),
}


# What a worker says of itself before it gets a context: words of the log. None of them gets one.
FORGED = {
    "no-filter": ["sandbox: it did not hand over its system call listener"],
    "not-a-listener": ["sandbox: FAILED the check from outside: only 2 seccomp filters"],
    "other-driver": ['its driver is "radv", but the server has prepared for "lavapipe"'],
    "late": ["not ready after 1000 ms"],
    "ends": ["before it had a context"],
}


class Failure(Exception):
    """What went wrong."""


def check(true, what):
    if not true:
        raise Failure(what)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def workers_of(server):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == server.process.pid and fields[0] not in "ZX":
                found.append(int(entry))
    return sorted(found)


def wait_for_spare(server):
    """A spare that died is not replaced before the next context; then there is none to wait for."""
    deadline = time.monotonic() + 3
    while not workers_of(server) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"after {seconds} s still not: {what}")
        time.sleep(0.02)


def lost(context, fences):
    """The server's ghost answers: a blob is refused, a fence is done."""
    try:
        _, _, _, fd = context.create_resource(0, 4096, 1, timeout=10)
        return fd < 0 and (not fences or context.sync(5))
    except (Gone, ConnectionResetError, TimeoutError):
        return False


def behave(server, number, name, words, outcome):
    wait_for_spare(server)
    before = descriptors(server.process.pid)
    try:
        context = server.create_context(number, name)
    except Gone:
        context = None  # the worker was faster: it had gone before the VMM's first message
    line = server.wait_log(f"ctx={number} ", *words, timeout=20)
    check(line, f"{name}: no line with {words} in the log:\n{server.read_log()[-2000:]}")
    check(line.isprintable(), f"{name}: the line is not printable: {line!r}")
    if context and outcome != "lives":
        check(lost(context, outcome == "lost"), f"{name}: the VMM is left waiting")
    if context:
        context.destroy()
    else:
        server.destroy_context(number)
    check(server.alive(), f"{name}: the server ended")
    # One that takes its time to end must not pass for the next one's spare.
    pid = int(server.wait_log(f"ctx={number} ", "served by").rpartition("pid ")[2].rstrip(")"))
    wait_for(lambda: pid not in workers_of(server), 20, f"{name}: its worker is gone")
    wait_for(lambda: descriptors(server.process.pid) <= before, 20,
             f"{name}: {before} descriptors, now {descriptors(server.process.pid)}")
    size = os.path.getsize(server.log_path)
    check(size < 1 << 20, f"{name}: {size} bytes of log")
    if name == "context-flood":
        # What is in flight counts for all workers together, which have one user.
        check(int(line.partition("context with ")[2].split()[0]) < 10, line)
    print(f"ok {name}: {line[:160]}")


def stay(server, number):
    """Told to end, it stays: the server kills it."""
    wait_for_spare(server)
    context = server.create_context(number, "stay")
    server.wait_log(f"ctx={number} ", "served by worker")
    pid = int(server.wait_log(f"ctx={number} ", "served by").rpartition("pid ")[2].rstrip(")"))
    context.destroy()
    wait_for(lambda: pid not in workers_of(server), 5, "a worker that does not end is killed")
    print("ok stay")


def orphan(server, number):
    """The server is killed while a worker ignores everything: the worker dies with it."""
    server.create_context(number, "stay")
    line = server.wait_log(f"ctx={number} ", "served by")
    pid = int(line.rpartition("pid ")[2].rstrip(")"))
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()

    def gone():
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    wait_for(gone, 5, "a worker outlives its server")
    print("ok orphan")


def forged(program, worker, name, words, folder):
    env = {"PATH": os.environ["PATH"], "vk_cordon_rogue": name}
    server = renderserver.Server(program, ["--worker", worker, "--driver", "lavapipe", "--spare", "0",
                                           "--ready-timeout", "1"], env,
                                 os.path.join(folder, f"log-{name}"))
    try:
        context = server.create_context(1, "forged")
        line = server.wait_log(*words, timeout=30)
        check(line, f"{name}: no line with {words}:\n{server.read_log()}")
        check(server.wait_log("ctx=1 ", "the context is lost", timeout=30), f"{name}: not told")
        check(lost(context, False), f"{name}: the VMM is left waiting")
        check("served by" not in server.read_log(), f"{name}: it got a context")
        check(server.alive(), f"{name}: the server ended")
        print(f"ok {name}: {line[:160]}")
    finally:
        server.close()


def run(program, worker, names, uid, folder):
    env = {"PATH": os.environ["PATH"], "VK_DRIVER_FILES": "/usr/share/vulkan/icd.d/lvp_icd.json"}
    server = renderserver.Server(program, ["--worker", worker, "--driver", "lavapipe", "--limit", "lost=0"], env,
                                 os.path.join(folder, f"log-{uid}"))
    number = 1
    try:
        server.wait_log("worker 1 ready", timeout=0)
        for name, (words, outcome) in ROWS.items():
            if not names or name in names:
                behave(server, number, name, words, outcome)
                number += 1
        stay(server, number)
        orphan(server, number + 1)
    except BaseException:
        print(server.read_log()[-4000:])
        raise
    finally:
        if server.alive():
            server.close()


def main():
    program, worker, *names = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 4096))
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, words in FORGED.items():
                if not names or name in names:
                    forged(program, worker, name, words, folder)
            run(program, worker, names, os.geteuid(), folder)
        except Failure as error:
            print(f"FAIL {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
