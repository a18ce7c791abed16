#!/usr/bin/env python3
"""Each limit, met once: what the VM is told, and the line in the log.

usage: test_limits.py CORDON_VTEST CL_SCENE CORDON_RENDER_SERVER ROGUE_WORKER ATTACKED_WORKER
                      LIBATTACK
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "client"), str(HERE.parent / "protocol")]
import harness  # noqa: E402
import renderserver  # noqa: E402
import wire  # noqa: E402
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
            log = server.whole_log()
            check(("limit memory: " in log) != passes, f"{limit}:\n{log}")


def objects(vtest, scene):
    """The context of a guest that makes too many objects ends with a line that says so."""
    with harness.Server(vtest, ["--limit", "objects=8"]) as server:
        result = harness.run_client([scene], server.environment(), 60)
        check(not result.ok, "a scene of eight objects")


class RawServer:
    """A render server with some limits, and the rogue worker, or another, or its own (None)."""

    def __init__(self, program, worker, folder, limits, manifest=None, level="strict"):
        log = tempfile.mktemp(dir=folder)
        env = {"PATH": os.environ["PATH"],
               "VK_DRIVER_FILES": "/usr/share/vulkan/icd.d/lvp_icd.json"}
        if manifest:
            env["VK_ICD_FILENAMES"] = manifest
        self.server = renderserver.Server(
            program, [*(["--worker", worker] if worker else []), "--driver", "lavapipe",
                      "--limit", limits, "--sandbox", level], env, log)
        self.contexts = []  # one that nobody holds is closed

    @property
    def number(self):
        return len(self.contexts)

    def create(self, name="idle"):
        """The new context, or None if it was refused, or lost before its first message."""
        self.contexts.append(None)
        try:
            self.contexts[-1] = self.server.create_context(self.number, name)
        except (RuntimeError, renderserver.Gone):
            pass
        return self.contexts[-1]

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
        check(raw.server.wait_log("limit lost: 2 times in a minute"), "no line")
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


def of_a_context(program, folder):
    """What the worker itself counts: shared memory, blobs, rings."""
    with RawServer(program, None, folder, "shm=16M,blobs=16,rings=2") as raw:
        context = raw.create("counts")
        context.shm(1 << 20)
        _, _, _, fd = context.create_resource(0, 16 << 20, 1)
        check(fd < 0, "17 MiB of shared memory")
        check(raw.server.wait_log("limit shm: more than 16 MiB"), "no line")
        for _ in range(15):
            resource, _ = context.shm(4096)
        _, _, _, fd = context.create_resource(0, 4096, 1)
        check(fd < 0, "17 blobs")
        check(raw.server.wait_log("limit blobs: more than 16"), "no line")
        context.destroy_resource(resource)
        context.shm(4096)
        check(context.sync(), "a refused blob ended the context")
    with RawServer(program, None, folder, "rings=2") as raw:
        context = raw.create("rings")
        for number in (1, 2):
            renderserver.Ring(context, number)
        check(context.sync(), "two rings are fine")
        try:
            renderserver.Ring(context, 3)
        except (RuntimeError, renderserver.Gone, TimeoutError, BrokenPipeError):
            pass
        check(raw.server.wait_log("limit rings: more than 2"), "no line")


def lose(raw, number):
    """A context whose worker says that so many devices were lost."""
    context = raw.create(f"lose-devices {number}")
    check(context and raw.server.wait_log(f"attack lose-devices {number}: ESCAPED", timeout=60),
          f"the attack did not run:\n{raw.server.read_log()}")
    return context


def attack(library, folder):
    """The manifest of the driver that is the attacker's library."""
    shutil.copy(library, f"{folder}/libattack.so")
    manifest = pathlib.Path(folder, "attack.json")
    manifest.write_text(json.dumps(
        {"ICD": {"library_path": "./libattack.so", "api_version": "1.0.0"}}))
    os.chmod(folder, 0o755)
    return str(manifest)


def threads(program, worker, manifest, folder):
    """Counted by the kernel in a namespace of the worker's own, by the server where it has none."""
    for level in ("strict", "minimal"):
        with RawServer(program, worker, folder, "threads=40", manifest, level) as raw:
            context = raw.create("many-threads")
            check(raw.server.wait_log("attack many-threads: refused EAGAIN"),
                  f"{level}:\n{raw.server.read_log()}")
            # The kernel does not say whom it refuses what.
            told = raw.server.wait_log("limit threads: worker ", " has 40, and was refused another",
                                       timeout=10 if level == "minimal" else 0)
            check(bool(told) == (level == "minimal"), f"{level}:\n{raw.server.read_log()}")
            check(context.sync(), f"{level}: the context does not go on")


def lost_devices(program, worker, manifest, folder):
    """Lost devices count while their context lives, and a guest gets no more of them."""
    with RawServer(program, worker, folder, "lost=3", manifest) as raw:
        context, other = lose(raw, 2), lose(raw, 1)
        check(not raw.create(), "three lost devices, by contexts that live")
        check(raw.server.wait_log("limit lost: 3 times in a minute"), "no line")
        check(raw.server.wait_log("context refused: limit lost: "), "no line")
        check(context.sync() and other.sync(), "the contexts that it has go on")
    with RawServer(program, worker, folder, "lost=3", manifest) as raw:
        context = lose(raw, 3)
        resource, mapping = context.shm(4096)
        context.submit(wire.create_instance(1))
        context.call(wire.enumerate_physical_devices(1, [2]), 64, resource, mapping)
        context.submit(wire.create_device(2, 3))
        check(raw.server.wait_log("limit lost: this context has lost 3 devices"), "no line")
    with RawServer(program, worker, folder, "lost=3", manifest) as raw:
        lose(raw, -1)  # as many as can be written
        check(not raw.create(), "a worker that lies about lost devices")
        check(raw.server.alive(), "the server ended")


def run(vtest, scene, program, worker, attacked, library):
    with tempfile.TemporaryDirectory() as folder:
        gate(program, worker, folder)
        rlimits(program, worker, folder)
        of_a_context(program, folder)
        manifest = attack(library, folder)
        attacked = shutil.copy(attacked, folder)
        threads(program, attacked, manifest, folder)
        lost_devices(program, attacked, manifest, folder)
    memory(vtest, scene)
    objects(vtest, scene)


if __name__ == "__main__":
    sys.exit(harness.main("limits", lambda: run(*sys.argv[1:7])))
