#!/usr/bin/env python3
"""check_layers.py refuses what the table forbids, and only that."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
sys.dont_write_bytecode = True

import check_layers  # noqa: E402


def wrong(path, *lines):
    return list(check_layers.check_includes(path, "\n".join(lines) + "\n"))


class IncludeTest(unittest.TestCase):
    def test_downward_includes_are_fine(self):
        self.assertEqual(wrong("ipc/loop.c", '#include "ipc/loop.h"', "#include <stdio.h>"), [])
        self.assertEqual(wrong("ipc/client.c", "#include <cordon/cordon.h>"), [])
        self.assertEqual(wrong("policy/seccomp.c", '#include "ipc/checked.h"',
                               "#include <seccomp.h>"), [])
        self.assertEqual(wrong("server/render/spawn.c", '#include "policy/profile.h"',
                               '#include "server/render/pool.h"', '#include "ipc/loop.h"'), [])
        self.assertEqual(wrong("worker/ring.c", '#include "wire/dispatch.h"',
                               "#include <vulkan/vulkan_core.h>", '#include "policy/caps.h"'), [])
        self.assertEqual(wrong("tests/unit/test_ring.c", '#include "worker/ring.h"',
                               '#include "tests/harness.h"'), [])

    def test_upward_includes_are_refused(self):
        self.assertEqual(len(wrong("ipc/loop.c", '#include "policy/caps.h"')), 1)
        self.assertEqual(len(wrong("ipc/loop.c", '#include "server/render/pool.h"')), 1)
        self.assertEqual(len(wrong("worker/ring.c", '#include "server/render/pool.h"')), 1)
        self.assertEqual(len(wrong("server/render/main.c", '#include "worker/ring.h"')), 1)
        self.assertEqual(len(wrong("server/render/main.c", '#include "wire/dispatch.h"')), 1)
        self.assertEqual(len(wrong("include/cordon/cordon.h", '#include "ipc/fdset.h"')), 1)
        self.assertEqual(len(wrong("ipc/loop.c", '#include "tests/harness.h"')), 1)

    def test_policy_may_use_the_base_of_ipc_only(self):
        self.assertEqual(len(wrong("policy/caps.c", '#include "ipc/seqpacket.h"')), 1)

    def test_only_the_worker_and_tests_know_vulkan(self):
        for path in ("ipc/loop.c", "policy/caps.c", "server/render/main.c"):
            self.assertEqual(len(wrong(path, "#include <vulkan/vulkan.h>")), 1, path)

    def test_an_include_with_spaces_or_brackets_is_seen(self):
        self.assertEqual(len(wrong("ipc/loop.c", '  #  include  "worker/ring.h"')), 1)
        self.assertEqual(len(wrong("ipc/loop.c", "#include <worker/ring.h>")), 1)

    def test_an_include_by_bare_name_is_refused(self):
        self.assertEqual(len(wrong("ipc/loop.c", '#include "loop.h"')), 1)

    def test_a_file_in_no_room_is_refused(self):
        self.assertEqual(len(wrong("extra/new.c", "#include <stdio.h>")), 1)

    def test_the_line_is_told(self):
        self.assertIn("ipc/loop.c:3:", wrong("ipc/loop.c", "", "", '#include "worker/a.h"')[0])


class BinaryTest(unittest.TestCase):
    def test_a_vulkan_library_is_refused(self):
        section = (" 0x0000000000000001 (NEEDED)   Shared library: [libseccomp.so.2]\n"
                   " 0x0000000000000001 (NEEDED)   Shared library: [libvulkan.so.1]\n"
                   " 0x000000000000000c (INIT)     0x1000\n")
        self.assertEqual(len(list(check_layers.check_needed(section))), 1)

    def test_vk_symbols_are_refused(self):
        symbols = "loop.c.o:\n                 U epoll_wait\n                 U vkGetInstanceProcAddr\n"
        self.assertEqual(len(list(check_layers.check_undefined(symbols))), 1)


if __name__ == "__main__":
    unittest.main()
