#!/usr/bin/env python3
"""The server inside bubblewrap, as container tools start it: confined workers in a confined server.

Environment: CORDON_JAILED (the server), CORDON_WORKER_FOLDER. Status 77 without bwrap.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "protocol"))

# pylint: disable=wrong-import-position
import harness
import renderserver

# What a driver needs of the host, and the server.
TREE = ["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64",
        "/lib64", "--symlink", "usr/bin", "/bin", "--ro-bind", "/etc/ld.so.cache",
        "/etc/ld.so.cache", "--dev", "/dev", "--die-with-parent"]
ALL = ("fds,userns,mounts,pidns,netns,ipcns,utsns,rlimits,caps,no_new_privs,landlock,seccomp")


def other_user():
    """Root also tries as somebody else."""
    return {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


class Bubblewrap(unittest.TestCase):
    layers = "no worker was ever ready"

    def start(self, *bwrap, options=(), proc=True, who=None):
        scratch = tempfile.mkdtemp(prefix="cordon-bwrap-")
        self.addCleanup(shutil.rmtree, scratch, True)
        os.chmod(scratch, 0o755)
        for path in (os.environ["CORDON_JAILED"],
                     os.path.join(os.environ["CORDON_WORKER_FOLDER"], "cordon-worker")):
            shutil.copy(path, scratch)
        server = os.path.join(scratch, os.path.basename(os.environ["CORDON_JAILED"]))
        wrapper = pathlib.Path(scratch, "wrapper")
        words = ["bwrap", *TREE, *(["--proc", "/proc"] if proc else []), "--ro-bind", scratch,
                 "/cordon", *bwrap, "/cordon/" + os.path.basename(server)]
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n', encoding="ascii")
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        env = dict(os.environ, VK_DRIVER_FILES=harness.LAVAPIPE)
        env.pop("VK_ICD_FILENAMES", None)
        self.server = renderserver.Server(str(wrapper), options, env,
                                          os.path.join(scratch, "log"), **(who or {}))
        self.addCleanup(self.finish)

    def finish(self):
        alive, status = self.server.alive(), self.server.close()
        self.assertTrue(alive, self.server.read_log())
        self.assertEqual(status, 0, self.server.read_log())
        # Its last line.
        self.assertIsNotNone(self.server.wait_log("contexts served", self.layers, timeout=0),
                             self.server.read_log())

    def serves(self, layers):
        context = self.server.create_context(1)
        self.addCleanup(context.close)
        self.assertTrue(context.sync(), self.server.read_log())
        self.layers = layers

    def test_every_layer_stands(self):
        self.start("--unshare-all")
        self.serves("sandbox strict: " + ALL)

    def test_every_layer_stands_for_an_ordinary_user(self):
        self.start("--unshare-all", who=other_user())
        self.serves("sandbox strict: " + ALL)

    def test_as_process_1(self):
        self.start("--unshare-all", "--as-pid-1", who=other_user())
        self.serves("sandbox strict: " + ALL)

    def test_without_more_user_namespaces_the_remedy_is_told(self):
        self.start("--unshare-all", "--unshare-user", "--disable-userns", who=other_user())
        self.server.refuses_or_loses(1)
        for words in ("FAILED layer=userns", "max_user_namespaces",
                      "--sandbox-allow-missing=userns"):
            self.assertIsNotNone(self.server.wait_log(words), self.server.read_log())

    def test_without_more_user_namespaces_the_rest_stands(self):
        self.start("--unshare-all", "--unshare-user", "--disable-userns", who=other_user(),
                   options=["--sandbox-allow-missing=userns"])
        self.serves("sandbox default: fds,rlimits,caps,no_new_privs,landlock,seccomp")

    def test_without_proc_contexts_are_refused(self):
        self.start("--unshare-all", proc=False, options=["--worker", "/cordon/cordon-worker"])
        self.server.refuses_or_loses(1)
        self.assertIsNotNone(self.server.wait_log("/proc"), self.server.read_log())


if __name__ == "__main__":
    able = ["bwrap", *TREE, "--proc", "/proc", "--unshare-all", "true"]
    if not shutil.which("bwrap") or subprocess.run(able, capture_output=True,
                                                   check=False).returncode != 0:
        print("SKIP: bwrap is not installed, or may not make namespaces here")
        sys.exit(77)
    harness.main()
