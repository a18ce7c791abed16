#!/usr/bin/env python3
"""The server inside crosvm's jail for a render server, as it is and as our policy makes it.

Environment: CORDON_JAIL_PROGRAM (crosvm_jail), CORDON_JAILED (the server), CORDON_WORKER_FOLDER.
"""

import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "protocol"))

# pylint: disable=wrong-import-position
import harness
import renderserver

OUR_POLICY = HERE.parents[1] / "dist/crosvm/gpu_render_server.policy"
JAIL = os.environ["CORDON_JAIL_PROGRAM"]
WORKER_FOLDER = os.environ["CORDON_WORKER_FOLDER"]


def read(pid, name):
    return pathlib.Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")


def maps(pid, library):
    return f"/{library}" in read(pid, "maps")


class Jailed(unittest.TestCase):
    """A server in a jail of the given kind."""

    at_end = "contexts served"  # of the last line

    def start(self, kind, options="", binds=f"{WORKER_FOLDER}=/cordon", more=None):
        scratch = tempfile.mkdtemp(prefix="cordon-jail-")
        self.addCleanup(shutil.rmtree, scratch, True)
        env = dict(os.environ, CORDON_JAIL=kind, CORDON_JAIL_BINDS=binds, CORDON_OPTIONS=options,
                   VK_DRIVER_FILES=harness.LAVAPIPE, SECRET="of the VMM", **(more or {}))
        env.pop("VK_ICD_FILENAMES", None)
        self.server = renderserver.Server(JAIL, [], env, os.path.join(scratch, "log"))
        self.addCleanup(self.finish)
        return self.server

    def finish(self):
        alive, status = self.server.alive(), self.server.close()
        log = self.server.read_log()
        if status == 77:
            self.skipTest(log)
        self.assertTrue(alive, "the server ended:\n" + log)
        self.assertEqual(status, 0, log)
        self.assertIn(self.at_end, log)

    def refused(self):
        """Contexts are; returns the log."""
        for ctx_id in (1, 2):
            self.server.refuses_or_loses(ctx_id)
        return self.server.read_log()

    def processes(self):
        """The server, and its workers in order of their start."""
        # Below the process that stands in for the VMM.
        server, *others = sorted(harness.children_of(self.server.process.pid))
        return server, [pid for pid in others if self.is_worker(pid)]

    @staticmethod
    def is_worker(pid):
        """Not what watches over one, and begun."""
        return maps(pid, "libcordon-worker.so") or maps(pid, "cordon-worker")


class Stock(Jailed):
    """Unchanged."""

    def test_lavapipe_is_refused_and_why(self):
        self.start("stock", "--worker /cordon/cordon-worker")
        self.assertRegex(self.refused(), "error .* refuses executable memory .* lavapipe .*"
                                         "--seccomp-policy-dir")

    def test_a_worker_that_is_not_in_the_tree_is_looked_for_aloud(self):
        self.start("stock", "--driver radv")
        log = self.refused()
        self.assertRegex(log, r"error .* no libcordon-worker\.so .*; looked for .*/usr/lib/cordon/"
                              r"libcordon-worker\.so; install it where the jail shows it")

    def test_refused_calls_are_named(self):
        self.start("stock", "--driver radv")
        log = self.refused()
        self.assertIn("refuses close_range(3, ...), call 436: answered ENOSYS", log)
        self.assertEqual(log.count("refuses close_range"), 1)


    def test_a_worker_reaches_neither_the_server_nor_other_workers(self):
        rogue = os.environ["CORDON_ROGUE"]
        self.start("stock", f"--driver radv --spare 2 --worker /cordon/{os.path.basename(rogue)}",
                   f"{os.path.dirname(rogue)}=/cordon")
        line = self.server.wait_log("rogue: of ", "opened")
        self.assertIsNotNone(line, self.server.read_log())
        self.assertNotIn("of 0 others", line)
        self.assertIn("opened the memory of 0, signalled 0", line)


class WithExecutableMemory(Jailed):
    """As the stock jail, but lavapipe runs: how the server copes is the same."""

    def setUp(self):
        self.start("jit", "--worker /cordon/cordon-worker")

    def context(self, ctx_id):
        context = self.server.create_context(ctx_id)
        self.addCleanup(context.close)
        self.assertTrue(context.sync(), self.server.read_log())
        return context

    def test_one_line_says_whose_layers_there_are(self):
        self.context(1)
        lines = [line for line in self.server.read_log().splitlines() if "sandbox:" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], "a system call filter, no capabilities, a user namespace, a pid "
                                   "namespace, a file tree, no network. Ours, around each worker: "
                                   "fds,userns,pidns,netns.")

    def test_only_workers_load_vulkan(self):
        self.context(1)
        server, workers = self.processes()
        for library in ("libcordon-worker.so", "libvulkan.so", "libvulkan_lvp.so"):
            self.assertFalse(maps(server, library), library)
        self.assertTrue(all(maps(workers[0], library) for library in
                            ("libcordon-worker.so", "libvulkan.so", "libvulkan_lvp.so")))

    def test_a_worker_holds_nothing_of_the_server(self):
        self.context(1)
        self.context(2)
        server, workers = self.processes()
        vmm_side = os.stat(f"/proc/{server}/fd/{self.listening_fd(server)}").st_ino
        for pid in workers[:2]:
            listing = [os.stat(f"/proc/{pid}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{pid}/fd")]
            self.assertNotIn(vmm_side, listing, "the server's own socket")
            self.assertEqual(read(pid, "maps").count("cordon-record"), 1, "another's record")
            self.assertNotIn("SECRET", read(pid, "environ"), "the VMM's environment")

    @staticmethod
    def listening_fd(pid):
        """The number after --socket-fd."""
        words = read(pid, "cmdline").split("\0")
        return words[words.index("--socket-fd") + 1]

    def test_deaths_are_told_and_followed_by_new_workers(self):
        for ctx_id in range(1, 6):
            context = self.context(ctx_id)
            line = self.server.wait_log(f"ctx={ctx_id} ", "served by worker")
            inside = re.search(r"pid (\d+)", line)[1]
            watcher, = [pid for pid in harness.children_of(self.server.process.pid)
                        if self.numbers(pid)[1:2] == [inside]]
            worker, = harness.children_of(watcher)
            # The worker dies; or what watches over it, and the worker with that.
            os.kill(worker if ctx_id % 2 else watcher, signal.SIGKILL)
            self.assertTrue(context.ended())
            self.assertIsNotNone(self.server.wait_log(f"ctx={ctx_id} ", "killed by SIGKILL"))
            self.assertFalse(harness.runs(worker))
        self.wait_for_no_zombies()

    @staticmethod
    def numbers(pid):
        """Of a process, in each of its pid namespaces."""
        return read(pid, "status").split("NSpid:")[1].split("\n")[0].split()

    def test_a_crash_is_told_as_one(self):
        context = self.context(1)
        line = self.server.wait_log("ctx=1 ", "served by worker")
        inside = re.search(r"pid (\d+)", line)[1]
        watcher, = [pid for pid in harness.children_of(self.server.process.pid)
                    if self.numbers(pid)[1:2] == [inside]]
        os.kill(harness.children_of(watcher)[0], signal.SIGSEGV)
        self.assertTrue(context.ended())
        self.assertIsNotNone(self.server.wait_log("ctx=1 ", "killed by SIGSEGV"))

    def test_namespaces_are_a_worker_s_own(self):
        self.context(1)
        self.context(2)
        server, workers = self.processes()
        for kind in ("user", "pid", "net"):
            there = [os.stat(f"/proc/{pid}/ns/{kind}").st_ino for pid in (server, *workers[:2])]
            self.assertEqual(len(set(there)), 3, kind)

    def wait_for_no_zombies(self):
        deadline = time.monotonic() + 5
        while any(not harness.runs(pid) for pid in self.processes()[1]):
            self.assertLess(time.monotonic(), deadline, "a worker was not reaped")
            time.sleep(0.02)

    def test_contexts_come_and_go(self):
        for ctx_id in range(1, 30):
            context = self.context(ctx_id)
            context.destroy()
        self.wait_for_no_zombies()


class OurPolicy(Jailed):
    """--seccomp-policy-dir with what is in dist/crosvm: workers are exec'd and sealed by us."""

    MISSING = "--sandbox-allow-missing=userns,mounts,pidns,netns,ipcns,utsns"

    def test_workers_are_sealed_inside_the_jail(self):
        self.start(str(OUR_POLICY), f"--worker /cordon/cordon-worker {self.MISSING}")
        context = self.server.create_context(1)
        self.addCleanup(context.close)
        self.assertTrue(context.sync(), self.server.read_log())
        server, workers = self.processes()
        line = self.server.wait_log("ctx=1", "served by worker")
        # Three filters that are ours: the server's own, and the two of a sealed worker. Another may
        # be on its way.
        self.assertEqual(self.filters(server), 2)
        sealed = [pid for pid in workers if self.filters(pid) == 4]
        self.assertTrue(sealed and line)
        for pid in sealed:
            self.assertTrue(maps(pid, "cordon-worker"))
            self.assertFalse(maps(pid, "libcordon-worker.so"))
        self.assertNotIn("refuses", self.server.read_log())
        self.at_end = "sandbox default: fds,rlimits,caps,no_new_privs,landlock,seccomp"

    @staticmethod
    def filters(pid):
        return int(re.search(r"Seccomp_filters:\s+(\d+)", read(pid, "status"))[1])

    def test_without_the_options_the_remedy_is_told(self):
        self.start(str(OUR_POLICY), "--worker /cordon/cordon-worker")
        log = self.refused()
        self.assertIn("FAILED layer=userns", log)
        self.assertIn("--sandbox-allow-missing=userns", log)


if __name__ == "__main__":
    harness.main()
