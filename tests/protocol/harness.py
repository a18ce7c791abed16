"""What the protocol tests share: a server per test class, leak checks, and the one-line rule."""

import os
import re
import shutil
import sys
import tempfile
import time
import unittest

import renderserver
import wire

INSTANCE, PHYSICAL, DEVICE, QUEUE = 1, 2, 3, 4
FIRST_FREE = 16  # ids below are taken by the standard objects

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVER = os.environ.get("CORDON_SERVER", os.path.join(
    ROOT, "build/release/server/render/cordon-render-server"))
ARGUMENTS = os.environ.get("CORDON_SERVER_ARGUMENTS", "").split()
# Set for a server that is not ours: of it we ask neither log lines nor an exit status, nor that it
# survives what only a hostile guest sends.
PEER = bool(os.environ.get("CORDON_PEER"))
LAVAPIPE = "/usr/share/vulkan/icd.d/lvp_icd.json"


def children_of(pid):
    """Every process below pid, by /proc."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8") as stat:
                    fields = stat.read().rsplit(")", 1)[1].split()
                parents[int(name)] = (int(fields[1]), fields[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        for child, (its_parent, _) in parents.items():
            if its_parent == parent:
                found.append(child)
                todo.append(child)
    return found


def runs(pid):
    """Neither gone nor a zombie that its new parent has yet to see."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class ProtocolTest(unittest.TestCase):
    """Each test gets a server of its own and must leave it running and clean."""

    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="cordon-protocol-")
        self.addCleanup(shutil.rmtree, self.scratch, True)
        env = dict(os.environ)
        env.setdefault("VK_DRIVER_FILES", LAVAPIPE)
        env.setdefault("VK_ICD_FILENAMES", env["VK_DRIVER_FILES"])
        self.environment = env
        self.server = renderserver.Server(SERVER, ARGUMENTS, env,
                                          os.path.join(self.scratch, "log"))
        self.next_ctx = 1
        self.addCleanup(self.finish)

    def finish(self):
        pids = children_of(self.server.process.pid)
        alive = self.server.alive()
        status = self.server.close()
        if not PEER and (not alive or status != 0):
            print(self.server.read_log())
        self.assertTrue(alive, "the server must outlive anything that a guest does")
        if not PEER:
            self.assertEqual(status, 0, "the server ends with 0 when the VMM hangs up")
        deadline = time.monotonic() + 5
        while any(os.path.exists(f"/proc/{pid}") for pid in pids):
            self.assertLess(time.monotonic(), deadline, "a worker outlived its server")
            time.sleep(0.02)

    def context(self, name="wire"):
        context = self.server.create_context(self.next_ctx, name)
        self.next_ctx += 1
        self.addCleanup(context.close)
        return context

    def device(self, context, extensions=()):
        """The standard objects: instance 1, physical device 2, device 3."""
        context.submit(wire.create_instance(INSTANCE))
        resource, mapping = context.shm(65536)
        context.replies = (resource, mapping)
        context.call(wire.enumerate_physical_devices(INSTANCE, [PHYSICAL]), 64, resource, mapping)
        reply = context.call(
            wire.create_device(PHYSICAL, DEVICE, extensions=extensions, reply=True), 24, resource,
            mapping)
        self.assertEqual(reply[:8], wire.u32(wire.CREATE_DEVICE) + wire.u32(0))
        return context

    def call(self, context, data, size):
        return context.call(data, size, *context.replies)

    def assert_ends(self, context, *words):
        """The context ends, others do not, and one line says which context and why."""
        self.assertTrue(context.ended(), "the context should have ended:\n" +
                        self.server.read_log())
        if not PEER:
            self.assert_one_line(context, words)
        other = self.context("other")
        other.shm(4096)
        self.assertTrue(other.sync(), "another context must go on")

    def assert_one_line(self, context, words):
        line = self.server.wait_log(f"ctx={context.ctx_id}", *words)
        self.assertIsNotNone(line, f"no line with {words} for ctx={context.ctx_id} in:\n" +
                             self.server.read_log())
        errors = [text for text in self.server.read_log().splitlines()
                  if re.search(rf"\berror\b.*ctx={context.ctx_id}\b", text)]
        self.assertEqual(len(errors), 1, "one error line per lost context:\n" + "\n".join(errors))
        self.assertNotIn("SIG", line, "bad input must never crash the worker")

    def assert_lives(self, context):
        self.assertTrue(context.sync(), "the context should have gone on:\n" +
                        self.server.read_log())


def main():
    """Plain unittest, with the closing line that test scripts read."""
    result = unittest.main(verbosity=2, exit=False).result
    if result.wasSuccessful() and result.testsRun == len(result.skipped):
        print("SKIP:", result.skipped[0][1])
        sys.exit(77)
    sys.exit(not result.wasSuccessful())
