#!/usr/bin/env python3
"""Each limit, met once: what the VM is told, and the line in the log.

usage: test_limits.py CORDON_VTEST CL_SCENE CORDON_RENDER_SERVER ROGUE_WORKER
"""

import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "client"), str(HERE.parent / "protocol")]
import harness  # noqa: E402
import renderserver  # noqa: E402
from harness import Failure  # noqa: E402


def check(true, what):
    if not true:
        raise Failure(what)


def memory(vtest, scene):
    """A guest that wants more is told that there is none left; one that does not never notices."""
    for limit, passes in (("memory=1M", False), ("memory=512M,objects=100000", True)):
        with harness.Server(vtest, ["--limit", limit]) as server:
            result = harness.run_client([scene, "--width", "640", "--height", "480"],
                                        server.environment(), 60)
            check(result.ok == passes, f"{limit}: {result.describe()}\n{server.log()}")
            check(("limit memory: " in server.log()) != passes, f"{limit}:\n{server.log()}")


def objects(vtest, scene):
    """The context of a guest that makes too many objects ends with a line that says so."""
    with harness.Server(vtest, ["--limit", "objects=8"]) as server:
        result = harness.run_client([scene], server.environment(), 60)
        check(not result.ok, "a scene of eight objects")


class RawServer:
    """A render server with the rogue worker and some limits."""

    def __init__(self, program, worker, folder, limits):
        log = tempfile.mktemp(dir=folder)
        self.server = renderserver.Server(
            program, ["--worker", worker, "--driver", "lavapipe", "--limit", limits],
            {"PATH": os.environ["PATH"]}, log)
        self.number = 0

    def create(self, name="idle"):
        """The new context, or None if it was refused."""
        self.number += 1
        try:
            return self.server.create_context(self.number, name)
        except RuntimeError:
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()


def gate(program, worker, folder):
    with RawServer(program, worker, folder, "contexts=2") as raw:
        kept = [raw.create(), raw.create()]
        check(all(kept) and not raw.create(), "a third of two contexts")
        check(raw.server.wait_log("context refused: limit contexts: this VM has 2"), "no line")
        kept[0].destroy()
        kept[1].sync(1)
        check(raw.create(), "one has gone, so one may come")
    with RawServer(program, worker, folder, "starts=1") as raw:
        made = [raw.create() is not None for _ in range(12)]
        check(made[:10] == [True] * 10 and not made[11], f"starts=1: {made}")
        check(raw.server.wait_log("context refused: limit starts: "), "no line")
    with RawServer(program, worker, folder, "lost=2") as raw:
        for _ in range(2):
            raw.create("ptrace")
            check(raw.server.wait_log(f"ctx={raw.number} ", "not in worker.lavapipe.policy"), "kill")
        check(raw.server.wait_log("limit lost: 2 of this VM's contexts"), "no line")
        check(not raw.create(), "a VM whose workers had to be killed twice")
        check(raw.server.wait_log("context refused: limit lost: "), "no line")


def rlimits(program, worker, folder):
    with RawServer(program, worker, folder, "files=256,threads=64,blob=16M,heap=1G") as raw:
        raw.create()
        line = raw.server.wait_log("served by worker")
        pid = int(line.rpartition("pid ")[2].rstrip(")"))
        text = pathlib.Path(f"/proc/{pid}/limits").read_text()
        for name, value in (("open files", 256), ("processes", 64), ("file size", 16 << 20),
                            ("data size", 1 << 30)):
            row = next(row for row in text.splitlines() if row.startswith(f"Max {name} "))
            check(row[47:68].strip() == str(value), row)


def run(vtest, scene, program, worker):
    with tempfile.TemporaryDirectory() as folder:
        gate(program, worker, folder)
        rlimits(program, worker, folder)
    memory(vtest, scene)
    objects(vtest, scene)


if __name__ == "__main__":
    sys.exit(harness.main("limits", lambda: run(*sys.argv[1:5])))
