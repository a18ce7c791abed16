#!/usr/bin/env python3
"""The attempts of tests/escape inside crosvm's stock jail, as a forked worker would make them.

usage: test_escape.py CROSVM_JAIL ESCAPE_TRY

There that jail is all that stands around a worker, so some attempts succeed: LEFT names them, each
with what it means. One more, or one less, is a failure: the documentation would be wrong.
"""

import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

CONTROL = 3  # tests/escape/jailed.h: the attempt says that it is ready, and is told to go
SHARED = 4
F_ADD_SEALS, F_SEAL_SHRINK = 1033, 2

LEFT = {
    # Kernel surface that crosvm's list lets through.
    "fork": "more processes, which outlive the context",
    "clone-user-net": "namespaces of its own, in which it has capabilities",
    "clone3-user": "the same",
    "io-uring": "io_uring",
    "userfaultfd": "userfaultfd",
    "map-memfd-exec": "code of its own, out of a memfd",
    "file-flags": "ioctls of files: only three bits of their number are looked at",
    # The one tree of all workers.
    "list-processes": "/proc shows the server and other workers",
    "read-environ": "its own /proc/self/environ, which a worker has wiped",
    "write-root": "files in the tmpfs that is the root, 64 MiB for all",
    # No limits besides crosvm's number of descriptors.
    "many-threads": "threads without end",
    "much-memory": "memory without end",
    "large-memfd": "the same, shared",
}


class Targets:
    """What the attempts reach for, outside."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="cordon-escape-")
        for name in ("secret", "secret2"):
            pathlib.Path(self.folder, name).write_text("secret\n", encoding="ascii")
        self.path = self.listen(socket.AF_UNIX, f"{self.folder}/socket")
        self.abstract_name = f"cordon-escape-{os.getpid()}"
        self.abstract = self.listen(socket.AF_UNIX, "\0" + self.abstract_name)
        self.tcp = self.listen(socket.AF_INET, ("127.0.0.1", 0))
        self.victim = subprocess.Popen(["sleep", "600"])

    @staticmethod
    def listen(family, address):
        sock = socket.socket(family)
        sock.bind(address)
        sock.listen(4)
        return sock

    def arguments(self, name):
        return ["0", name, str(self.victim.pid), "0x1000", self.folder,
                str(self.tcp.getsockname()[1]), self.abstract_name, "0"]

    def close(self):
        self.victim.kill()
        self.victim.wait()
        shutil.rmtree(self.folder)


def attempt(jail, helper, targets, name):
    """escaped, refused ERRNO, killed, or broken."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    shared = os.memfd_create("shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(shared, 4096)
    fcntl.fcntl(shared, F_ADD_SEALS, F_SEAL_SHRINK)

    def place():
        os.dup2(theirs.fileno(), 20)
        os.dup2(shared, 21)
        os.dup2(20, CONTROL)
        os.dup2(21, SHARED)
        os.closerange(5, 30)

    env = dict(os.environ, CORDON_JAILED=helper, CORDON_JAIL="stock", CORDON_JAIL_BINDS="")
    process = subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn
        [jail, *targets.arguments(name)], env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=place, close_fds=False)
    theirs.close()
    os.close(shared)
    try:
        ours.settimeout(30)
        ours.recv(64)
        ours.send(b"g")
    except OSError:
        pass
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    ours.close()
    if out.strip():
        return out.strip().lower()
    if process.returncode == 128 + signal.SIGSYS:
        return "killed"
    return f"broken: status {process.returncode} {err.strip()}"


def main():
    jail, helper = sys.argv[1:]
    names = [line.split()[1] for line in subprocess.run(
        [helper, "--list"], capture_output=True, text=True, check=True).stdout.splitlines()]
    targets = Targets()
    try:
        got = {name: attempt(jail, helper, targets, name) for name in names}
    finally:
        targets.close()
    if all("no new namespaces" in text for text in got.values()):
        print("SKIP: no new namespaces here")
        return 77
    escaped = {name for name, text in got.items() if text == "escaped"}
    wrong = [f"{name}: {text}" for name, text in got.items() if text.startswith("broken")]
    wrong += [f"{name}: escaped" for name in sorted(escaped - set(LEFT))]
    wrong += [f"{name}: {got.get(name, 'gone')}" for name in sorted(set(LEFT) - escaped)]
    print(f"{len(names)} attempts, {len(escaped)} succeed: {', '.join(sorted(escaped))}")
    print("\n".join(f"FAIL {line}" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
