#!/usr/bin/env python3
"""cordon-vhost-user-gpu as a VMM and a guest see it, with a worker that does what the test says."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frontend import *  # noqa: E402, F403  (names of the protocol)

# tests/server/fake_worker.h
FAKE_NOTHING, FAKE_CRASH, FAKE_EXIT, FAKE_HOLD, FAKE_STOP = 1000, 1001, 1002, 1005, 1007
BLOB_REFUSE, BLOB_DIE, BLOB_SLOW, BLOB_OPAQUE = 1001, 1002, 1003, 1004


def u32(*values):
    return struct.pack(f"<{len(values)}I", *values)


class Case(unittest.TestCase):
    options = ()

    def setUp(self):
        self.program = Program(*self.options)
        self.addCleanup(self.program.close)
        self.front = self.connect()

    def connect(self, **how):
        front = FrontEnd(self.program, **how)
        self.addCleanup(front.close)
        return front

    def fails(self, kind, body, expected, **how):
        self.assertEqual(hex(self.front.run(kind, body, **how).type), hex(expected))


class Messages(Case):
    def setUp(self):
        self.program = Program()
        self.addCleanup(self.program.close)
        self.front = self.connect(start=False)

    def test_offers(self):
        f = self.front
        offered = f.negotiate()
        for bit in (0, 2, 3, 4, 28, 29, 30, 32):
            self.assertTrue(offered >> bit & 1, bit)
        for bit in (1, 5, 26):  # EDID without a display, BLOB_ALIGNMENT, LOG_ALL
            self.assertFalse(offered >> bit & 1, bit)
        self.assertEqual(f.offered_protocol, PROTOCOL)
        for bit in (1, 15, 20, 21):  # LOG_SHMFD, CONFIGURE_MEM_SLOTS, and what SHMEM once was
            self.assertFalse(f.offered_protocol >> bit & 1, bit)

    def test_config_and_window(self):
        f = self.front
        f.negotiate()
        payload, _ = f.call(GET_CONFIG, struct.pack("<III", 0, 16, 0) + bytes(16))
        self.assertEqual(struct.unpack("<7I", payload), (0, 16, 0, 0, 0, 0, 1))
        payload, _ = f.call(GET_CONFIG, struct.pack("<III", 12, 4, 0) + bytes(4))
        self.assertEqual(struct.unpack("<4I", payload), (12, 4, 0, 1))
        self.assertEqual(f.tell(SET_CONFIG, struct.pack("<III4s", 4, 4, 0, bytes(4))), 0)
        payload, _ = f.call(GET_SHMEM_CONFIG)
        self.assertEqual(len(payload), 2056)
        self.assertEqual(struct.unpack_from("<I4xQQQ", payload), (1, 0, 4 << 30, 0))

    def test_refusals_are_told_or_end_the_connection(self):
        f = self.front
        f.negotiate()
        before = len(os.listdir(f"/proc/{self.program.process.pid}/fd"))
        self.assertEqual(f.tell(SET_LOG_BASE, bytes(16), [f.fd]), 1)
        self.assertEqual(f.tell(SET_LOG_FD, b"", [f.fd]), 1)
        self.assertEqual(f.tell(33, b"", [f.fd]), 1)
        self.assertEqual(f.tell(77), 1)
        self.assertEqual(f.tell(SET_FEATURES, struct.pack("<Q", 1 << 26)), 1)
        self.assertEqual(f.tell(SET_VRING_NUM, u32(2, 64)), 1)
        self.assertEqual(f.tell(SET_VRING_NUM, u32(0, 65)), 1)
        self.assertEqual(f.tell(SET_VRING_BASE, u32(0, 65536)), 1)
        self.assertEqual(f.tell(SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 1, 0, 0, 0, 0)), 1)
        self.assertEqual(f.tell(SET_VRING_ENABLE, u32(0, 2)), 1)
        self.assertEqual(f.tell(SET_VRING_KICK, struct.pack("<Q", 0x100)), 1)
        self.assertEqual(f.tell(SET_MEM_TABLE, u32(2, 0) + bytes(32), [f.fd]), 1)
        self.assertEqual(f.tell(GET_STATUS, bytes(4)), 1)
        self.assertEqual(len(os.listdir(f"/proc/{self.program.process.pid}/fd")), before)
        self.assertTrue(self.program.says("SET_LOG_BASE (6) refused: not offered"))
        send(f.sock, SET_LOG_FD, b"", [f.fd])
        self.assertTrue(f.dropped())
        self.connect().ctx_create(1)

    def test_garbage_ends_the_connection_only(self):
        for data in (b"\xff" * 64, struct.pack("<III", 1, 1, 0xffffffff), b"\0" * 12):
            f = self.connect(start=False) if self.front is None else self.front
            f.sock.sendall(data)
            self.assertTrue(f.dropped())
            self.front = None
        self.assertEqual(self.connect().ctx_create(1), OK_NODATA)

    def test_status(self):
        f = self.front
        f.negotiate()
        self.assertEqual(f.tell(SET_STATUS, struct.pack("<Q", 7)), 0)
        self.assertEqual(f.call_u64(GET_STATUS), 7)
        self.assertEqual(f.tell(RESET_DEVICE), 0)
        self.assertEqual(f.call_u64(GET_STATUS), 0)

    def test_a_front_end_that_maps_nothing_is_named(self):
        self.front.protocol = PROTOCOL & ~(1 << P_SHMEM)
        self.front.negotiate()
        self.assertTrue(self.program.says("no Vulkan"))


class Questions(Case):
    def test_capset(self):
        a = self.front.run(0x108, u32(0, 0))
        self.assertEqual((a.type, a.words()), (OK_CAPSET_INFO, (4, 0, 160, 0)))
        a = self.front.run(0x109, u32(4, 0))
        self.assertEqual((a.type, len(a.body)), (OK_CAPSET, 160))
        self.assertEqual(a.words()[0], 1)
        self.assertEqual(a.words()[4], 1)
        self.fails(0x108, u32(1, 0), BAD_PARAMETER)
        self.fails(0x109, u32(1, 0), BAD_PARAMETER)
        self.fails(0x109, u32(4, 1), BAD_PARAMETER)

    def test_no_display(self):
        a = self.front.run(0x100)
        self.assertEqual((a.type, a.body), (OK_DISPLAY_INFO, bytes(384)))
        self.fails(0x10a, u32(0, 0), BAD_SCANOUT)

    def test_what_is_no_command(self):
        for kind in (0, 0x1ff, 0x10e, 0x20a, 0x300, 0x400, 0xffff0100, 0x204, 0x205, 0x206):
            self.fails(kind, b"", UNSPEC)
        self.fails(0x108, b"", BAD_PARAMETER)
        self.fails(0x207, u32(0), BAD_PARAMETER, ctx=1)

    def test_buffers_of_odd_shapes(self):
        q = self.front.queues[0]
        self.assertEqual(q.wait(q.add(bytes(23))), b"")
        self.assertEqual(len(q.wait(self.front.command(0x108, u32(0, 0), room=10))), 10)
        self.assertEqual(q.wait(self.front.command(0x108, u32(0, 0), room=0)), b"")
        a = self.front.finish(self.front.command(0x108, u32(0, 0), pieces=20))
        self.assertEqual(a.type, OK_CAPSET_INFO)

    def test_hostile_descriptors(self):
        q = self.front.queues[0]
        for entry in ((GUEST + MEMORY, 32, 0, 0), (GUEST, 32, NEXT, 60), (0, 32, 0, 0),
                      (GUEST, 0, 0, 0), (GUEST, 40, INDIRECT, 0), (GUEST, 32, NEXT, 99)):
            q.put_desc(60, *entry)
            q.offer(60)
            q.ring()
            self.assertEqual(q.wait(60), b"")
        self.test_capset()
        q.offer(99)
        q.ring()
        wait_for(lambda: self.program.says("queue stopped"))
        self.assertEqual(os.eventfd_read(q.err), 1)
        # The device lives on, and so does the next driver.
        self.front.restart()
        self.test_capset()


class Contexts(Case):
    def test_life(self):
        f = self.front
        self.assertEqual(f.ctx_create(1), OK_NODATA)
        self.assertEqual(f.ctx_create(1), BAD_CONTEXT)
        self.assertEqual(f.ctx_create(0), BAD_CONTEXT)
        self.assertEqual(f.ctx_create(2, init=1), BAD_PARAMETER)
        self.assertEqual(f.finish(f.submit(1, (FAKE_NOTHING, 0))).type, OK_NODATA)
        self.assertEqual(f.finish(f.submit(2, (FAKE_NOTHING, 0))).type, BAD_CONTEXT)
        self.assertEqual(f.run(0x201, ctx=1).type, OK_NODATA)
        self.assertEqual(f.run(0x201, ctx=1).type, BAD_CONTEXT)
        self.assertEqual(f.ctx_create(1), OK_NODATA)
        wait_for(lambda: self.program.says("context ended"))

    def test_submissions(self):
        f = self.front
        f.ctx_create(1)
        self.assertEqual(f.finish(f.submit(1, (FAKE_NOTHING, 0) * 5000)).type, OK_NODATA)
        self.fails(0x207, u32(16, 0, 0, 0), BAD_PARAMETER, ctx=1)  # longer than what is there
        self.fails(0x207, u32(0xffffffff, 0), BAD_PARAMETER, ctx=1)
        self.fails(0x207, u32(3, 0, 0), BAD_PARAMETER, ctx=1)
        a = f.finish(f.submit(1, fence=9, ring=0))
        self.assertEqual((a.type, a.flags, a.fence, a.ctx, a.ring), (OK_NODATA, 3, 9, 1, 0))

    def test_fences_come_when_they_are_done(self):
        f = self.front
        f.ctx_create(1)
        f.ctx_create(2)
        held = f.submit(1, (FAKE_HOLD, 1), fence=1, ring=5)
        other = f.submit(2, fence=2, ring=5)
        plain = f.submit(2, fence=3)
        self.assertEqual(f.finish(other).fence, 2)
        self.assertEqual(f.finish(plain).flags, 1)
        self.assertEqual(f.finish(f.submit(1)).flags, 0)
        self.assertFalse(f.queues[0].is_done(held))
        self.assertEqual(f.run(0x201, ctx=1).type, OK_NODATA)
        a = f.finish(held)
        self.assertEqual((a.fence, a.ring), (1, 5))

    def test_errors_carry_their_fence(self):
        f = self.front
        a = f.finish(f.submit(7, fence=4, ring=1))
        self.assertEqual((a.type, a.flags, a.fence), (BAD_CONTEXT, 3, 4))
        f.ctx_create(1)
        a = f.finish(f.submit(1, fence=5, ring=64))
        self.assertEqual((a.type, a.flags & 1, a.fence), (BAD_PARAMETER, 1, 5))
        a = f.run(0x999, fence=6)
        self.assertEqual((a.type, a.flags, a.fence), (UNSPEC, 1, 6))

    def test_a_worker_that_dies_takes_its_context_only(self):
        f = self.front
        f.ctx_create(1)
        f.ctx_create(2)
        f.finish(f.submit(1, (FAKE_CRASH, 0)))
        a = f.finish(f.submit(1, fence=1, ring=1))
        self.assertEqual((a.flags, a.fence), (3, 1))
        self.assertEqual(f.finish(f.submit(2, (FAKE_NOTHING, 0), fence=2, ring=1)).type, OK_NODATA)
        self.assertEqual(f.run(0x201, ctx=1).type, OK_NODATA)
        self.assertEqual(f.ctx_create(1), OK_NODATA)
        self.assertEqual(f.finish(f.submit(1, (FAKE_NOTHING, 0))).type, OK_NODATA)

    def test_a_worker_that_reads_nothing_stops_nobody_else(self):
        f = self.front
        f.ctx_create(1)
        f.ctx_create(2)
        f.finish(f.submit(1, (FAKE_STOP, 0)))
        waiting = [f.submit(1, (FAKE_NOTHING, 0) * 65536) for _ in range(24)]
        self.assertEqual(f.finish(f.submit(2, (FAKE_NOTHING, 0), fence=2, ring=1)).type, OK_NODATA)
        self.assertFalse(f.queues[0].is_done(waiting[-1]))
        f.restart()
        self.assertEqual(f.ctx_create(1), OK_NODATA)

    def test_a_context_of_no_capset_has_no_worker(self):
        f = self.front
        self.assertEqual(f.ctx_create(3, init=0), OK_NODATA)
        self.fails(0x101, u32(9, 1, 4, 4), OK_NODATA)
        self.fails(0x202, u32(9, 0), OK_NODATA, ctx=3)
        self.assertEqual(f.finish(f.submit(3, (0, 0))).type, BAD_PARAMETER)
        self.assertEqual(f.finish(f.submit(3, fence=1)).fence, 1)
        self.fails(0x203, u32(9, 0), OK_NODATA, ctx=3)
        self.fails(0x203, u32(9, 0), BAD_RESOURCE, ctx=3)
        self.fails(0x201, b"", OK_NODATA, ctx=3)


class Blobs(Case):
    def setUp(self):
        super().setUp()
        self.front.ctx_create(1)

    def blob(self, res, at=None, ctx=1, **how):
        f = self.front
        self.assertEqual(f.finish(f.create_blob(ctx, res, **how)).type, OK_NODATA)
        if at is not None:
            head = f.map_blob(res, at)
            self.assertEqual(f.serve_channel(), SHMEM_MAP)
            a = f.finish(head)
            self.assertEqual((a.type, a.words()[0]), (OK_MAP_INFO, 1))

    def test_mapped_before_it_is_attached_and_without_waiting(self):
        f = self.front
        fresh = struct.pack("<II64s", 1, 4, b"x")
        heads = [f.command(0x200, fresh, ctx=2), f.create_blob(2, 5, 0x21000),
                 f.map_blob(5, 0x100000), f.command(0x202, u32(5, 0), ctx=2)]
        f.serve_channel()
        self.assertEqual([f.finish(h).type for h in heads],
                         [OK_NODATA, OK_NODATA, OK_MAP_INFO, OK_NODATA])
        self.assertEqual(f.window[0x100000][1], 0x21000)
        self.fails(0x203, u32(5, 0), OK_NODATA, ctx=2)
        head = f.command(0x209, u32(5, 0))
        self.assertEqual(f.serve_channel(), SHMEM_UNMAP)
        self.assertEqual(f.finish(head).type, OK_NODATA)
        self.fails(0x102, u32(5, 0), OK_NODATA)
        self.fails(0x102, u32(5, 0), BAD_RESOURCE)
        self.assertEqual(f.window, {})

    def test_the_guest_hears_of_a_mapping_when_it_is_in_force(self):
        """QEMU answers before it commits: its answer to the next request comes after that."""
        f = self.front
        self.assertEqual(f.finish(f.create_blob(1, 5)).type, OK_NODATA)
        head = f.map_blob(5, 0)
        f.serve_channel(settle=False)
        self.fails(0x108, u32(0, 0), OK_CAPSET_INFO)
        self.assertFalse(f.queues[0].is_done(head))
        f.settle_channel()
        self.assertEqual(f.finish(head).type, OK_MAP_INFO)

    def test_a_slow_blob_keeps_the_order_and_stops_nobody_else(self):
        f = self.front
        f.ctx_create(2)
        slow = f.create_blob(1, 5, blob_id=BLOB_SLOW)
        mapping = f.map_blob(5, 0)
        fence = f.submit(1, fence=1, ring=0)
        attach = f.command(0x202, u32(5, 0), ctx=2)
        self.fails(0x108, u32(0, 0), OK_CAPSET_INFO)
        self.assertFalse(any(f.queues[0].is_done(h) for h in (slow, mapping, fence, attach)))
        f.serve_channel()
        self.assertEqual([f.finish(h).type for h in (slow, mapping, fence, attach)],
                         [OK_NODATA, OK_MAP_INFO, OK_NODATA, OK_NODATA])

    def test_blobs_that_fail(self):
        f = self.front
        for how, expected in (({"blob_id": BLOB_REFUSE}, UNSPEC), ({"size": 0}, BAD_PARAMETER),
                              ({"mem": 0}, BAD_PARAMETER), ({"mem": 4}, BAD_PARAMETER),
                              ({"flags": 8}, BAD_PARAMETER), ({"size": 1 << 63}, BAD_PARAMETER),
                              ({"entries": [(GUEST, 0x1000)]}, BAD_PARAMETER)):
            self.assertEqual(f.finish(f.create_blob(1, 5, **how)).type, expected, how)
            self.fails(0x208, struct.pack("<IIQ", 5, 0, 0), BAD_RESOURCE)
        self.assertEqual(f.finish(f.create_blob(1, 0)).type, BAD_RESOURCE)
        self.assertEqual(f.finish(f.create_blob(9, 5)).type, BAD_CONTEXT)
        self.blob(5)
        self.assertEqual(f.finish(f.create_blob(1, 5)).type, BAD_RESOURCE)

    def test_a_worker_that_dies_over_a_blob(self):
        f = self.front
        heads = [f.create_blob(1, 5, blob_id=BLOB_DIE), f.map_blob(5, 0)]
        self.assertGreaterEqual(f.finish(heads[0]).type, UNSPEC)
        self.assertGreaterEqual(f.finish(heads[1]).type, UNSPEC)
        f.ctx_create(2)
        self.blob(5, 0, ctx=2)

    def test_maps_that_fail(self):
        f = self.front
        self.blob(5, 0x2000, size=0x2000)
        self.blob(6, size=0x2000)
        for at in (0x1000, 0x2000, 0x3000, 0x1001, 4 << 30, (4 << 30) - 0x1000, 2**64 - 0x1000):
            self.fails(0x208, struct.pack("<IIQ", 6, 0, at), BAD_PARAMETER)
        self.fails(0x208, struct.pack("<IIQ", 5, 0, 0x10000), BAD_PARAMETER)
        self.fails(0x209, u32(6, 0), BAD_PARAMETER)
        self.blob(7, flags=2)
        self.fails(0x208, struct.pack("<IIQ", 7, 0, 0x10000), BAD_PARAMETER)
        self.blob(8, blob_id=BLOB_OPAQUE)
        self.fails(0x208, struct.pack("<IIQ", 8, 0, 0x10000), UNSPEC)
        # The front end says no; the place is free again.
        head = f.map_blob(6, 0x8000)
        f.serve_channel(result=1)
        self.assertEqual(f.finish(head).type, UNSPEC)
        head = f.map_blob(6, 0x8000)
        f.serve_channel()
        self.assertEqual(f.finish(head).type, OK_MAP_INFO)

    def test_unref_of_a_mapped_resource_tidies_up(self):
        f = self.front
        self.blob(5, 0)
        self.fails(0x102, u32(5, 0), OK_NODATA)
        self.assertEqual(f.serve_channel(), SHMEM_UNMAP)
        self.assertEqual(f.window, {})
        self.blob(6, 0)

    def test_guest_memory_blobs(self):
        f = self.front
        entries = [(GUEST + 0x100000, 0x1000), (GUEST + 0x110000, 0x1000)]
        for entries_, expected in (([(GUEST, 0x1000)], BAD_PARAMETER), ([], BAD_PARAMETER),
                                   ([(GUEST + MEMORY, 0x2000)], BAD_PARAMETER),
                                   (entries, OK_NODATA)):
            head = f.create_blob(0, 5, size=0x2000, mem=1, entries=entries_)
            self.assertEqual(f.finish(head).type, expected)
        self.fails(0x208, struct.pack("<IIQ", 5, 0, 0), BAD_PARAMETER)
        self.fails(0x202, u32(5, 0), OK_NODATA, ctx=1)
        # Both: a worker's, with guest memory to go with it.
        head = f.create_blob(1, 6, size=0x2000, mem=3, entries=entries)
        self.assertEqual(f.finish(head).type, OK_NODATA)

    def test_attachments(self):
        f = self.front
        self.blob(5)
        f.ctx_create(2)
        self.fails(0x202, u32(5, 0), OK_NODATA, ctx=1)
        self.fails(0x202, u32(5, 0), OK_NODATA, ctx=2)
        self.fails(0x202, u32(6, 0), BAD_RESOURCE, ctx=2)
        self.fails(0x202, u32(5, 0), BAD_CONTEXT, ctx=3)
        self.fails(0x203, u32(5, 0), OK_NODATA, ctx=1)
        self.fails(0x203, u32(5, 0), BAD_RESOURCE, ctx=1)
        self.fails(0x201, b"", OK_NODATA, ctx=1)
        self.fails(0x203, u32(5, 0), OK_NODATA, ctx=2)
        self.fails(0x102, u32(5, 0), OK_NODATA)

    def test_uuids(self):
        self.blob(5)
        self.blob(6)
        a, b = (self.front.run(0x10b, u32(r, 0)) for r in (5, 6))
        self.assertEqual((a.type, len(a.body)), (OK_UUID, 16))
        self.assertNotEqual(a.body, b.body)
        self.assertEqual(self.front.run(0x10b, u32(5, 0)).body, a.body)
        self.fails(0x10b, u32(7, 0), BAD_RESOURCE)

    def test_memory_tables_while_the_queue_runs(self):
        f = self.front
        self.blob(5, 0)
        # As QEMU does: what was mapped comes back as memory; and tables come one after the other.
        _, size, fd = f.window[0]
        for n in range(50):
            head = f.submit(1, (FAKE_NOTHING, 0), fence=n + 1, ring=0)
            extra = [(0x800000000, size, USER + (1 << 32), 0, fd)] if n % 2 else []
            self.assertEqual(f.set_memory(extra), 0)
            self.assertEqual(f.finish(head).fence, n + 1)
        maps = Path(f"/proc/{self.program.process.pid}/maps").read_text()
        self.assertEqual(maps.count("memfd:guest"), 1)
        self.assertEqual(maps.count("memfd:fake"), 0)
        # Hot-plug: another module of memory, from which a command can come.
        more = os.memfd_create("more")
        os.ftruncate(more, 0x10000)
        region = struct.pack("<QQQQQ", 0, 0x40000000, 0x10000, USER + (2 << 32), 0)
        self.assertEqual(f.tell(ADD_MEM_REG, region, [more]), 0)
        os.pwrite(more, struct.pack("<IIQIIII", 0x108, 0, 0, 0, 0, 0, 0), 0)
        q = f.queues[0]
        q.put_desc(62, 0x40000000, 32, NEXT, 63)
        q.put_desc(63, 0x40001000, 40, WRITE, 0)
        q.offer(62)
        q.ring()
        q.wait(62)
        self.assertEqual(struct.unpack("<I", os.pread(more, 4, 0x1000))[0], OK_CAPSET_INFO)
        self.assertEqual(f.tell(REM_MEM_REG, region), 0)
        q.offer(62)
        q.ring()
        self.assertEqual(q.wait(62), b"")
        os.close(more)

    def test_four_hundred_mapped_blobs(self):
        f = self.front
        begun = time.monotonic()
        for i in range(400):
            self.blob(100 + i, i * 0x10000, size=0x10000)
        self.assertLess(time.monotonic() - begun, 10)
        self.assertEqual(len(f.window), 400)


class Hostile(Case):
    """What other virtio-gpu devices have got wrong, by the number that it got: a test for each kind."""

    options = ("--display=64x80",)

    def entries(self, n, size=16):
        return struct.pack("<QII", GUEST + 0x100000, size, 0) * n

    def alive(self):
        self.fails(0x108, u32(0, 0), OK_CAPSET_INFO)

    def test_contexts_have_an_end(self):  # CVE-2016-10163
        f = self.front
        for ctx in range(1, 257):
            self.assertEqual(f.ctx_create(ctx, init=0), OK_NODATA)
        self.assertEqual(f.ctx_create(257, init=0), OUT_OF_MEMORY)
        self.fails(0x201, b"", OK_NODATA, ctx=7)
        self.assertEqual(f.ctx_create(257, init=0), OK_NODATA)

    def test_backings_are_given_back(self):  # CVE-2016-10214, CVE-2017-5578
        self.fails(0x101, u32(1, 1, 64, 64), OK_NODATA)
        many = self.entries(65536)
        for n in range(20):  # four times what there may be at once
            self.fails(0x106, u32(1, 65536) + many, OK_NODATA)
            self.fails(0x106, u32(1, 1) + self.entries(1), BAD_RESOURCE)
            if n % 2:
                self.fails(0x107, u32(1, 0), OK_NODATA)
            else:
                self.fails(0x102, u32(1, 0), OK_NODATA)
                self.fails(0x101, u32(1, 1, 64, 64), OK_NODATA)
        for n in range(1, 17):
            self.fails(0x101, u32(1 + n, 1, 1, 1), OK_NODATA)
            self.fails(0x106, u32(1 + n, 65536) + many, OK_NODATA)
        self.fails(0x106, u32(1, 1) + self.entries(1), OUT_OF_MEMORY)

    def test_resources_have_an_end(self):  # CVE-2017-5857, CVE-2016-9846
        for _ in range(3):
            self.fails(0x101, u32(1, 1, 8192, 8192), OK_NODATA)
            self.fails(0x101, u32(2, 1, 8192, 8192), OK_NODATA)
            self.fails(0x101, u32(3, 1, 1, 1), OUT_OF_MEMORY)
            self.fails(0x102, u32(1, 0), OK_NODATA)
            self.fails(0x102, u32(2, 0), OK_NODATA)
        f = self.front
        for first in range(1, 16385, 30):
            heads = [f.command(0x101, u32(res, 1, 1, 1), ring=False)
                     for res in range(first, min(first + 30, 16385))]
            f.queues[0].ring()
            self.assertEqual({f.finish(head).type for head in heads}, {OK_NODATA})
        self.fails(0x101, u32(20000, 1, 1, 1), OUT_OF_MEMORY)
        self.fails(0x10c, struct.pack("<IIIIQQ", 20000, 1, 1, 1, 0, 16) + self.entries(1),
                   OUT_OF_MEMORY)
        self.front.restart()
        self.fails(0x101, u32(1, 1, 1, 1), OK_NODATA)

    def test_scanouts_that_are_not_there(self):  # CVE-2016-10029
        f = self.front
        self.fails(0x101, u32(1, 1, 64, 80), OK_NODATA)
        for scanout in (1, 15, 16, 0x7fffffff, 0xffffffff):
            self.fails(0x103, u32(0, 0, 64, 80, scanout, 1), BAD_SCANOUT)
            self.fails(0x103, u32(0, 0, 64, 80, scanout, 0), BAD_SCANOUT)
            self.fails(0x10d, u32(0, 0, 64, 80, scanout, 1, *(18 * [0])), BAD_SCANOUT)
            self.fails(0x10a, u32(scanout, 0), BAD_SCANOUT)
            f.queues[1].wait(f.command(0x300, u32(scanout, 0, 0, 0, 1, 0, 0, 0), queue=1, room=0))
        self.alive()

    def test_capsets_are_written_as_far_as_there_is_room(self):  # CVE-2021-3546
        f = self.front
        for room in (0, 1, 23, 24, 25, 183, 184, 500):
            head = f.command(0x109, u32(4, 0), room=room)
            _, answer = f.queues[0].chains[head]
            f.ram[answer + room:answer + room + 64] = b"\xaa" * 64
            self.assertEqual(len(f.queues[0].wait(head)), min(room, 184))
            self.assertEqual(f.ram[answer + room:answer + room + 64], b"\xaa" * 64)

    def test_answers_hold_nothing_that_was_there_before(self):  # CVE-2021-3545
        f = self.front
        for _ in range(3):
            f.finish(f.command(0x10a, u32(0, 0), fence=0x1122334455667788))  # a long one
            self.assertEqual(f.run(0x108, u32(0, 0)).data,
                             u32(OK_CAPSET_INFO, 0, 0, 0, 0, 0, 4, 0, 160, 0))
            self.assertEqual(f.run(0x200, u32(0, 0) + bytes(64), ctx=9).data,
                             u32(OK_NODATA, 0, 0, 0, 9, 0))
            self.assertEqual(f.run(0x201, ctx=9).data, u32(OK_NODATA, 0, 0, 0, 9, 0))

    def test_answers_over_the_queue_itself(self):  # CVE-2024-3446
        f = self.front
        for place in ("desc", "avail", "used"):
            q = f.queues[0]
            f.ram[0x8000:0x8020] = struct.pack("<IIQIIII", 0x109, 1, 1, 0, 0, 4, 0)
            q.put_desc(0, GUEST + 0x8000, 32, NEXT, 1)
            q.put_desc(1, GUEST + getattr(q, place), 184, WRITE, 0)
            q.offer(0)
            q.ring()
            wait_for(lambda: f.ram[q.used + 2:q.used + 4] != b"\0\0")
            f.restart()
            self.alive()
        f.ram[0x8000:0x8020] = struct.pack("<IIQIIII", 0x109, 1, 1, 0, 0, 4, 0)
        q.put_desc(60, GUEST + 0x8000, 32, NEXT, 61)
        q.put_desc(61, GUEST + 0x8000, 184, WRITE, 0)  # over its own request
        q.offer(60)
        q.ring()
        q.wait(60)
        self.assertEqual(struct.unpack_from("<I", f.ram, 0x8000)[0], OK_CAPSET)

    def test_sizes_of_pictures_that_wrap(self):  # CVE-2026-3886, CVE-2016-7994
        for size in ((0x8000, 0x8000), (0x10000, 0x10000), (0x40000001, 1), (1, 0x40000001),
                     (0xffffffff, 0xffffffff), (8193, 1), (1, 8193), (0, 1), (1, 0)):
            self.fails(0x101, u32(1, 1, *size), BAD_PARAMETER)
        self.alive()

    def test_commands_cut_short(self):
        f = self.front
        sizes = {0x100: 24, 0x108: 32, 0x109: 32, 0x10a: 32, 0x101: 40, 0x102: 32, 0x103: 48,
                 0x104: 48, 0x105: 56, 0x106: 32, 0x107: 32, 0x10b: 32, 0x10c: 56, 0x10d: 96,
                 0x200: 96, 0x201: 24, 0x202: 32, 0x203: 32, 0x207: 32, 0x208: 40, 0x209: 32}
        for kind, size in sizes.items():
            for n in range(0, size, 4):
                data = (struct.pack("<IIQII", kind, 1, 5, 1, 0) + b"\1" * 96)[:n]
                answer = f.queues[0].wait(f.queues[0].add(data))
                if n < 24:
                    self.assertEqual(answer, b"")
                else:
                    self.assertEqual(struct.unpack_from("<IIQ", answer), (BAD_PARAMETER, 1, 5))

    def test_more_entries_than_bytes(self):
        f = self.front
        self.fails(0x101, u32(1, 1, 64, 64), OK_NODATA)
        for n in (2, 0x10000, 0x10000000, 0x10000001, 0xffffffff):
            self.fails(0x106, u32(1, n) + self.entries(1), BAD_PARAMETER)
            self.fails(0x10c, struct.pack("<IIIIQQ", 5, 1, 1, n, 0, 16) + self.entries(1),
                       BAD_PARAMETER)
        # Lengths that wrap, in all or each.
        self.fails(0x106, u32(1, 1) + struct.pack("<QII", 2**64 - 16, 32, 0), BAD_PARAMETER)
        self.fails(0x106, u32(1, 1) + struct.pack("<QII", GUEST + 0x1000, 0xfffff000, 0),
                   BAD_PARAMETER)
        self.fails(0x10c, struct.pack("<IIIIQQ", 5, 1, 1, 1, 0, 2**62) + self.entries(1),
                   BAD_PARAMETER)
        self.assertEqual(f.finish(f.create_blob(0, 5, size=16, mem=1,
                                                entries=[(GUEST, 0), (GUEST, 16)])).type, OK_NODATA)

    def test_submissions_have_an_end(self):
        f = self.front
        f.ctx_create(1)
        words = bytes(5 << 20)
        for size in (0xfffffffc, 5 << 20, (4 << 20) + 4096, 1 << 31):
            self.assertIn(f.run(0x207, u32(size, 0) + words, ctx=1).type,
                          (BAD_PARAMETER, OUT_OF_MEMORY))
        status = Path(f"/proc/{self.program.process.pid}/status").read_text()
        if not SANITIZED:
            self.assertLess(int(status.split("VmRSS:")[1].split()[0]), 64 << 10)
        self.assertEqual(f.finish(f.submit(1, (FAKE_NOTHING, 0))).type, OK_NODATA)

    def test_rectangles_and_offsets_that_wrap(self):
        self.fails(0x101, u32(1, 1, 64, 80), OK_NODATA)
        self.fails(0x106, u32(1, 1) + self.entries(1, 0x5000), OK_NODATA)
        for rect in ((0xffffffff, 0, 2, 1), (0, 0xffffffff, 1, 2), (1, 0, 64, 80), (0, 1, 64, 80),
                     (64, 80, 1, 1), (0, 0, 0xffffffff, 0xffffffff)):
            self.fails(0x105, u32(*rect) + struct.pack("<QII", 0, 1, 0), BAD_PARAMETER)
            self.fails(0x103, u32(*rect, 0, 1), BAD_PARAMETER)
        for offset in (1, 0x5000, 2**64 - 256, 2**64 - 1, 2**63):
            self.fails(0x105, u32(0, 0, 64, 80) + struct.pack("<QII", offset, 1, 0), BAD_PARAMETER)
        head = self.front.create_blob(0, 5, size=0x5000, mem=1,
                                      entries=[(GUEST + 0x200000, 0x5000)])
        self.front.finish(head)
        for stride, offset, height in ((0xffffffff, 0, 80), (256, 0xffffffff, 80),
                                       (0xffffffff, 0xffffffff, 8192), (255, 0, 80), (256, 1, 80)):
            body = struct.pack("<IIII6I4I4I", 0, 0, 64, 80, 0, 5, 64, height, 1, 0, stride, 0, 0, 0,
                               offset, 0, 0, 0)
            self.fails(0x10d, body, BAD_PARAMETER)

    def test_messages_of_every_size(self):  # CVE-2026-15264 and its like
        f = self.front
        for request in range(64):
            for size in (0, 1, 4, 7, 8, 12, 20, 24, 39, 40, 41, 264, 265, 300, 4096):
                if request in (RESET_DEVICE, 4) and size == 0:
                    continue
                try:
                    send(f.sock, request, bytes(size), flags=9)
                    answer = receive(f.sock)
                except (BrokenPipeError, ConnectionResetError):
                    answer = None
                if answer is None:
                    if f is not self.front:
                        f.close()
                    f = FrontEnd(self.program, start=False)
                    f.negotiate()
                else:
                    self.assertEqual(answer[0], request)
        f.close()
        self.assertIsNone(self.program.process.poll())
        self.assertEqual(self.connect().ctx_create(1), OK_NODATA)

    def test_a_busy_guest_does_not_hold_up_its_vmm(self):
        f = self.front
        self.fails(0x101, u32(1, 1, 8192, 8192), OK_NODATA)
        rows = self.entries(16384, 16384)
        self.fails(0x106, u32(1, 16384) + rows, OK_NODATA)
        heads = [f.command(0x105, u32(0, 0, 8192, 8192) + struct.pack("<QII", 0, 1, 0), ring=False)
                 for _ in range(30)]
        f.queues[0].ring()
        f.call_u64(GET_FEATURES)
        self.assertFalse(f.queues[0].is_done(heads[-1]))
        for head in heads:
            self.assertEqual(f.finish(head).type, OK_NODATA)


class Lives(Case):
    def test_a_new_driver_finds_nothing_of_the_old(self):
        f = self.front
        f.ctx_create(1)
        f.finish(f.create_blob(1, 5))
        head = f.map_blob(5, 0)
        f.serve_channel()
        f.finish(head)
        f.stop()
        for q in f.queues:
            q.reset()
        f.start()
        self.assertEqual(f.serve_channel(), SHMEM_UNMAP)
        self.assertEqual(f.ctx_create(1), OK_NODATA)
        self.assertEqual(f.finish(f.create_blob(1, 5)).type, OK_NODATA)

    def test_a_paused_guest_goes_on(self):
        f = self.front
        f.ctx_create(1)
        f.finish(f.create_blob(1, 5))
        held = f.submit(1, (FAKE_HOLD, 1), fence=7, ring=1)
        slow = f.create_blob(1, 6, blob_id=BLOB_SLOW)
        f.finish(f.command(0x108, u32(0, 0)))
        bases = f.stop()
        self.assertEqual(bases[0], f.queues[0].next_avail)
        time.sleep(0.5)  # the slow blob is there, and its answer has to wait
        self.assertFalse(f.queues[0].is_done(slow))
        f.start(bases)
        self.assertEqual(f.finish(slow).type, OK_NODATA)
        self.assertFalse(f.queues[0].is_done(held))
        self.assertEqual(f.finish(f.create_blob(1, 5)).type, BAD_RESOURCE)
        f.finish(f.command(0x201, ctx=1))
        self.assertEqual(f.finish(held).fence, 7)

    def test_a_queue_of_another_size_does_not_go_on(self):
        f = self.front
        f.ctx_create(1)
        bases = f.stop()
        self.assertEqual(f.tell(SET_VRING_NUM, u32(0, 1024)), 0)
        f.start(bases)
        self.assertEqual(f.ctx_create(1), OK_NODATA)

    def test_front_ends_come_and_go(self):
        self.front.ctx_create(1)
        self.front.finish(self.front.create_blob(1, 5))
        fds = len(os.listdir(f"/proc/{self.program.process.pid}/fd"))
        for _ in range(5):
            self.front.sock.close()
            self.front = self.connect()
            self.assertEqual(self.front.ctx_create(1), OK_NODATA)
            self.assertEqual(self.front.finish(self.front.create_blob(1, 5)).type, OK_NODATA)
        wait_for(lambda: len(os.listdir(f"/proc/{self.program.process.pid}/fd")) <= fds)

    def test_the_device_dies_and_comes_back(self):
        f = self.front
        f.ctx_create(1)
        layout = struct.pack("<QQHH", 0, 0, 2, QUEUE_SIZE)
        payload, fds = f.call(GET_INFLIGHT_FD, layout)
        self.assertEqual(len(fds), 1)
        f.stop()
        for q in f.queues:
            q.reset()
        self.assertEqual(f.tell(SET_INFLIGHT_FD, payload, fds), 0)
        f.start()
        f.ctx_create(1)
        f.finish(f.submit(1, (FAKE_HOLD, 1)))
        first = f.submit(1, fence=1, ring=1)
        answered = f.command(0x108, u32(0, 0))
        second = f.submit(1, fence=2, ring=1)
        f.finish(answered)
        wait_for(lambda: f.queues[0].is_done(answered) or True)
        time.sleep(0.1)
        self.program.process.kill()
        self.program.process.wait()
        self.program.start()

        g = self.connect(start=False)
        for a in ("ram", "fd", "queues", "heap"):
            old, new = getattr(f, a), getattr(g, a)
            setattr(g, a, old)
            setattr(f, a, new)
        for q in (*f.queues, *g.queues):
            q.front = g if q in g.queues else f
        g.negotiate()
        g.set_memory()
        self.assertEqual(g.tell(SET_INFLIGHT_FD, payload, fds), 0)
        os.close(fds[0])
        used = struct.unpack_from("<H", g.ram, g.queues[0].used + 2)[0]
        g.start((used, 0))
        # Their context is gone: the guest is told so, and its fences come.
        for head, fence in ((first, 1), (second, 2)):
            a = g.finish(head)
            self.assertEqual((a.type, a.fence), (BAD_CONTEXT, fence))
        self.assertEqual(g.ctx_create(1), OK_NODATA)
        self.assertTrue(self.program.says("taking up 2 commands"))

    def test_event_index(self):
        self.front.sock.close()
        f = self.connect(start=False)
        offered = f.call_u64(GET_FEATURES)
        # RING_RESET comes unasked from vhost-user-gpu-pci.
        f.negotiate(features=offered | 1 << F_EVENT_IDX | 1 << 40)
        f.set_memory()
        f.start()
        q = f.queues[0]
        self.assertEqual(f.ctx_create(1), OK_NODATA)
        struct.pack_into("<H", f.ram, q.avail + 4 + 2 * q.size, 100)  # tell me much later
        try:
            os.eventfd_read(q.call)
        except BlockingIOError:
            pass
        head = f.command(0x108, u32(0, 0))
        wait_for(lambda: q.is_done(head))
        with self.assertRaises(BlockingIOError):
            os.eventfd_read(q.call)

    @unittest.skipIf(SANITIZED, "sanitizers need what it gives away")
    def test_it_is_confined(self):
        status = Path(f"/proc/{self.program.process.pid}/status").read_text()
        for line in ("Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000",
                     "CapPrm:\t0000000000000000", "CapAmb:\t0000000000000000"):
            self.assertIn(line, status)
        limits = Path(f"/proc/{self.program.process.pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size +0 +0 ")
        # Nothing of what the keeper may is the device's, and nothing of the guest is the keeper's.
        names = [os.readlink(f"/proc/{self.program.keeper()}/fd/{n}")
                 for n in os.listdir(f"/proc/{self.program.keeper()}/fd")]
        self.assertEqual(sum(name.startswith("socket:") for name in names), 1, names)
        self.assertFalse([name for name in names if "memfd" in name])

    def test_a_render_server_that_ends_is_replaced(self):
        f = self.front
        f.ctx_create(1)
        f.finish(f.submit(1, (FAKE_HOLD, 1)))
        held = f.submit(1, fence=1, ring=1)
        f.finish(f.create_blob(1, 5))
        os.kill(self.program.server(), signal.SIGKILL)
        # The guest is told, and nobody waits for ever.
        self.assertEqual(f.finish(held).fence, 1)
        self.assertEqual(f.finish(f.submit(1, (FAKE_NOTHING, 0))).type, UNSPEC)
        self.assertEqual(f.finish(f.create_blob(1, 6)).type, UNSPEC)
        # A context that comes at once waits for the new one.
        self.assertEqual(f.ctx_create(2), OK_NODATA)
        self.assertEqual(f.finish(f.submit(2, (FAKE_NOTHING, 0), fence=2, ring=0)).type, OK_NODATA)
        self.fails(0x201, b"", OK_NODATA, ctx=1)
        self.fails(0x102, u32(5, 0), OK_NODATA)
        self.assertEqual(f.ctx_create(1), OK_NODATA)
        self.assertEqual(f.finish(f.create_blob(1, 5)).type, OK_NODATA)
        self.assertTrue(self.program.says("the render server has ended"))

    def test_a_context_that_meets_a_dead_render_server(self):
        f = self.front
        server = self.program.server()
        os.kill(server, signal.SIGSTOP)
        head = f.command(0x200, struct.pack("<II64s", 1, 4, b"x"), ctx=1)
        first = f.submit(1, (FAKE_NOTHING, 0))
        self.assertEqual(f.finish(head).type, OK_NODATA)
        self.assertFalse(f.queues[0].is_done(first))
        os.kill(server, signal.SIGKILL)
        self.assertEqual(f.finish(first).type, OK_NODATA)

    def test_render_servers_that_end_all_the_time(self):
        f = self.front
        for n in range(1, 6):
            os.kill(self.program.server(), signal.SIGKILL)
            wait_for(lambda n=n: self.program.text().count("server has ended, and with it") == n)
            if n < 5:
                f.ctx_create(n)
                self.assertEqual(f.finish(f.submit(n, (FAKE_NOTHING, 0))).type, OK_NODATA)
        f.ctx_create(5)
        self.assertEqual(f.finish(f.submit(5, (FAKE_NOTHING, 0))).type, UNSPEC)
        self.assertTrue(self.program.says("it has ended too often"))
        self.fails(0x108, u32(0, 0), OK_CAPSET_INFO)

    def test_the_end_leaves_nothing(self):
        server, keeper = self.program.server(), self.program.keeper()
        self.assertTrue(os.path.exists(self.program.path))
        self.program.process.kill()
        self.program.process.wait()
        for pid in (server, keeper):
            wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}/fd/0"))
        self.assertFalse(os.path.exists(self.program.path))
        # One that is started while the last one's keeper is still at it keeps its own.
        for _ in range(10):
            self.program.start()
            self.program.process.kill()
            self.program.process.wait()
        self.program.start()
        time.sleep(0.2)
        self.assertTrue(os.path.exists(self.program.path))
        self.program.stop()
        self.assertFalse(os.path.exists(self.program.path))


class OtherStarts(unittest.TestCase):
    """A socket that somebody else has opened."""

    def run_with(self, sock, words, shell=""):
        program = Program.__new__(Program)
        program.folder = tempfile.TemporaryDirectory(prefix="cordon-vu-")
        program.options, program.env, program.prefix = (), {}, ()
        program.path = os.path.join(program.folder.name, "gpu.sock")
        program.log = os.path.join(program.folder.name, "log")
        command = " ".join([*program.command(), *words])
        with open(program.log, "ab") as log:
            program.process = subprocess.Popen(
                ["/bin/bash", "-c", f"{shell} exec {command} 3<&{sock.fileno()}"],
                pass_fds=[sock.fileno()], stderr=log)
        self.addCleanup(program.close)
        return program

    def test_a_connected_descriptor(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        program = self.run_with(theirs, ["--fd", "3"])
        theirs.close()
        front = FrontEnd(program, sock=ours)
        self.assertEqual(front.ctx_create(1), OK_NODATA)
        front.close()
        self.assertEqual(program.process.wait(DEADLINE_S), 0)

    def test_a_socket_of_systemd(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            folder = tempfile.TemporaryDirectory(prefix="cordon-vu-")
            self.addCleanup(folder.cleanup)
            path = os.path.join(folder.name, "sock")
            listening.bind(path)
            listening.listen()
            programs = [self.run_with(listening, [], "LISTEN_PID=$$ LISTEN_FDS=1")]
            self.serves_at(programs[0], path)
            programs[0].stop()
            # libvirt hands over such a one too.
            self.serves_at(self.run_with(listening, ["--fd", "3"]), path)

    def serves_at(self, program, path):
        program.path = path
        for _ in range(2):
            front = FrontEnd(program)
            self.assertEqual(front.ctx_create(1), OK_NODATA)
            front.close()
        self.assertTrue(os.path.exists(path))

    def test_descriptors_of_no_use(self):
        with (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram,
              socket.socket(socket.AF_INET, socket.SOCK_STREAM) as inet,
              socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lonely,
              open("/dev/null", "rb") as file):
            for fd, said in ((datagram, b"is no Unix stream socket"), (file, b"is no Unix stream"),
                             (inet, b"is no Unix stream"), (None, b"9 is no Unix stream"),
                             (lonely, b"neither listens nor is connected")):
                n = fd.fileno() if fd else 9
                r = subprocess.run([os.environ["CORDON_VHOST_USER"], "--fd", str(n)], check=False,
                                   capture_output=True, pass_fds=[n] if fd else [])
                self.assertEqual(r.returncode, 1)
                self.assertIn(said, r.stderr)

    def test_front_ends_with_the_older_numbers(self):
        for bit in (20, 21):
            program = Program(f"--shmem-bit={bit}")
            self.addCleanup(program.close)
            front = FrontEnd(program, protocol=PROTOCOL & ~(1 << P_SHMEM) | 1 << bit)
            self.addCleanup(front.close)
            self.assertEqual(front.offered_protocol & 7 << 20, 1 << bit)
            front.ctx_create(1)
            front.finish(front.create_blob(1, 5))
            head = front.map_blob(5, 0)
            front.serve_channel()
            self.assertEqual(front.finish(head).type, OK_MAP_INFO)

    @unittest.skipIf(os.getuid() != 0 or not shutil.which("setpriv"), "not root, or no setpriv")
    def test_root_is_not_needed(self):
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if subprocess.run([*prefix, "test", "-x", os.environ["CORDON_VHOST_USER"]],
                          check=False).returncode != 0:
            self.skipTest("nobody cannot run what was built here")
        program = Program(prefix=prefix, uid=65534)
        self.addCleanup(program.close)
        status = Path(f"/proc/{program.process.pid}/status").read_text()
        self.assertIn("Uid:\t65534\t65534\t65534\t65534", status)
        self.assertIn("CapEff:\t0000000000000000", status)
        front = FrontEnd(program)
        self.addCleanup(front.close)
        front.ctx_create(1)
        self.assertEqual(front.finish(front.submit(1, (FAKE_NOTHING, 0))).type, OK_NODATA)

    def test_several_devices(self):
        fronts = []
        for _ in range(3):
            program = Program()
            self.addCleanup(program.close)
            fronts.append(FrontEnd(program))
            self.addCleanup(fronts[-1].close)
        for front in fronts:
            self.assertEqual(front.ctx_create(1), OK_NODATA)
        heads = [f.submit(1, (FAKE_NOTHING, 0), fence=7, ring=1) for f in fronts]
        self.assertEqual([f.finish(h).fence for f, h in zip(fronts, heads)], [7, 7, 7])

    def test_what_qemu_and_libvirt_ask_for(self):
        r = subprocess.run([os.environ["CORDON_VHOST_USER"], "--print-capabilities"], check=True,
                           capture_output=True)
        self.assertEqual(json.loads(r.stdout), {"type": "gpu", "features": []})
        file = Path(__file__).parents[2] / "dist/qemu/50-cordon-vhost-user-gpu.json"
        description = json.loads(file.read_text())
        self.assertEqual(description["type"], "gpu")
        self.assertEqual(os.path.basename(description["binary"]), "cordon-vhost-user-gpu")
        self.assertLessEqual(set(description), {"description", "type", "binary", "features", "tags"})

    def test_a_render_server_that_cannot_be(self):
        for words, said in ((["--render-server", "/nonsense"], b"render server /nonsense: No such"),
                            (["--limit", "nonsense=1"], b"render server ended by itself")):
            with tempfile.TemporaryDirectory(prefix="cordon-vu-") as folder:
                path = os.path.join(folder, "gpu.sock")
                r = subprocess.run([os.environ["CORDON_VHOST_USER"], "--socket-path", path,
                                    "--render-server", os.environ["CORDON_SERVER"], *words],
                                   capture_output=True, check=False, timeout=DEADLINE_S)
                self.assertEqual(r.returncode, 1)
                self.assertIn(said, r.stderr)
                self.assertEqual(os.listdir(folder), [])

    def test_options_of_the_render_server_are_handed_on(self):
        with tempfile.TemporaryDirectory(prefix="cordon-vu-") as folder:
            server = os.path.join(folder, "server")
            Path(server).write_text(f"#!/bin/sh\necho \"$*\" > {folder}/words\nexit 3\n")
            os.chmod(server, 0o755)
            words = ["--validate", "--sandbox-learn", "--spare=2", "--limit", "blob=5"]
            r = subprocess.run([os.environ["CORDON_VHOST_USER"], "--render-server", server, *words,
                                "--socket-path", os.path.join(folder, "sock")],
                               capture_output=True, check=False, timeout=DEADLINE_S)
            self.assertEqual(r.returncode, 1)
            given = Path(folder, "words").read_text().split()
            self.assertEqual(given, ["--socket-fd", "3", *words])

    def test_command_lines_that_are_wrong(self):
        for words in (["--fd", "3", "--socket-path", "x"], ["--display", "9x9"], ["--nonsense"],
                      ["--window-size", "3G"], ["--window-size", "4"], ["--shmem-bit", "23"],
                      ["--display", "3841x100"], ["--fd", "2"], ["--socket-path"],
                      ["--sandbox", "some"], ["--validate=1"], ["--spare=1"] * 65):
            r = subprocess.run([os.environ["CORDON_VHOST_USER"], *words], capture_output=True,
                               check=False)
            self.assertEqual((r.returncode, r.stderr.count(b"\n")), (2, 1), words)


class Display(Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="cordon-png-")
        self.addCleanup(self.folder.cleanup)
        self.png = os.path.join(self.folder.name, "shot.png")
        self.options = ("--display=64x80", "--screenshot", self.png)
        super().setUp()

    def shoot(self):
        self.program.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: self.program.text().count("wrote ") > self.shots)
        self.shots += 1
        data = Path(self.png).read_bytes()
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        at, chunks = 8, {}
        while at < len(data):
            size, kind = struct.unpack_from(">I4s", data, at)
            body = data[at + 8:at + 8 + size]
            crc, = struct.unpack_from(">I", data, at + 8 + size)
            self.assertEqual(crc, zlib.crc32(kind + body))
            chunks[kind] = body
            at += 12 + size
        width, height = struct.unpack_from(">II", chunks[b"IHDR"])
        raw = zlib.decompress(chunks[b"IDAT"])
        self.assertEqual(len(raw), (width * 3 + 1) * height)
        return width, height, lambda x, y: tuple(raw[y * (width * 3 + 1) + 1 + x * 3:][:3])

    shots = 0

    def test_edid_and_modes(self):
        f = self.front
        a = f.run(0x100)
        self.assertEqual(a.words()[:6], (0, 0, 64, 80, 1, 0))
        a = f.run(0x10a, u32(0, 0))
        edid = a.body[8:8 + 128]
        self.assertEqual((a.type, a.words()[0], sum(edid) % 256), (OK_EDID, 128, 0))
        self.assertEqual(edid[:8], b"\0\xff\xff\xff\xff\xff\xff\0")
        self.assertEqual((edid[56] | edid[58] >> 4 << 8, edid[59] | edid[61] >> 4 << 8), (64, 80))
        self.assertEqual(edid[72:90], b"\0\0\0\xfc\0Cordon\n      ")
        self.fails(0x10a, u32(1, 0), BAD_SCANOUT)

    def test_a_console(self):
        f = self.front
        self.fails(0x101, u32(1, 1, 64, 80), OK_NODATA)  # B8G8R8A8
        self.fails(0x101, u32(1, 1, 64, 80), BAD_RESOURCE)
        self.fails(0x101, u32(2, 1, 0, 80), BAD_PARAMETER)
        self.fails(0x101, u32(2, 99, 64, 80), BAD_PARAMETER)
        self.fails(0x101, u32(2, 1, 8193, 1), BAD_PARAMETER)
        self.fails(0x105, struct.pack("<IIIIQII", 0, 0, 64, 80, 0, 1, 0), BAD_RESOURCE)
        at = 0x200000
        for y in range(80):
            f.ram[at + y * 256:at + y * 256 + 256] = bytes((y, 2, 200, 255)) * 64
        entries = struct.pack("<QIIQII", GUEST + at, 0x2000, 0, GUEST + at + 0x2000, 0x3000, 0)
        self.fails(0x106, u32(1, 3) + entries, BAD_PARAMETER)
        self.fails(0x106, u32(1, 2) + entries, OK_NODATA)
        self.fails(0x103, u32(0, 0, 64, 80, 1, 1), BAD_SCANOUT)
        self.fails(0x103, u32(0, 0, 65, 80, 0, 1), BAD_PARAMETER)
        self.fails(0x103, u32(0, 0, 64, 80, 0, 1), OK_NODATA)
        self.fails(0x105, struct.pack("<IIIIQII", 0, 0, 64, 81, 0, 1, 0), BAD_PARAMETER)
        self.fails(0x105, struct.pack("<IIIIQII", 0, 0, 64, 80, 1 << 40, 1, 0), BAD_PARAMETER)
        a = f.run(0x105, struct.pack("<IIIIQII", 0, 0, 64, 80, 0, 1, 0), fence=3)
        self.assertEqual((a.type, a.flags, a.fence), (OK_NODATA, 1, 3))
        self.fails(0x104, u32(0, 0, 64, 80, 1, 0), OK_NODATA)
        self.fails(0x104, u32(0, 0, 64, 80, 2, 0), BAD_RESOURCE)
        width, height, pixel = self.shoot()
        self.assertEqual((width, height), (64, 80))
        self.assertEqual(pixel(5, 70), (200, 2, 70))
        # A cursor over it: 2x2, half transparent white.
        self.fails(0x101, u32(7, 1, 2, 2), OK_NODATA)
        f.ram[0x300000:0x300010] = bytes((128, 128, 128, 128)) * 4
        self.fails(0x106, u32(7, 1) + struct.pack("<QII", GUEST + 0x300000, 16, 0), OK_NODATA)
        self.fails(0x105, struct.pack("<IIIIQII", 0, 0, 2, 2, 0, 7, 0), OK_NODATA)
        q = f.queues[1]
        cursor = u32(0, 10, 20, 0, 7, 0, 0, 0)
        self.assertEqual(q.wait(f.command(0x300, cursor, queue=1, room=0)), b"")
        _, _, pixel = self.shoot()
        self.assertEqual(pixel(10, 20), (128 + 99, 128 + 0, 128 + 9))
        self.assertEqual(pixel(12, 20), (200, 2, 20))
        self.assertEqual(q.wait(f.command(0x301, u32(0, 40, 20, 0, 0, 0, 0, 0), queue=1, room=0)),
                         b"")
        _, _, pixel = self.shoot()
        self.assertEqual(pixel(10, 20), (200, 2, 20))
        self.fails(0x107, u32(1, 0), OK_NODATA)
        self.fails(0x102, u32(1, 0), OK_NODATA)
        self.program.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: self.program.says("shows nothing"))

    def test_pictures_begin_empty(self):  # CVE-2022-0175
        f = self.front
        at = 0x200000
        f.ram[at:at + 0x5000] = b"\xff" * 0x5000
        for shown in (255, 0):
            self.fails(0x101, u32(1, 1, 64, 80), OK_NODATA)
            if shown:
                self.fails(0x106, u32(1, 1) + struct.pack("<QII", GUEST + at, 0x5000, 0), OK_NODATA)
                self.fails(0x105, struct.pack("<IIIIQII", 0, 0, 64, 80, 0, 1, 0), OK_NODATA)
            self.fails(0x103, u32(0, 0, 64, 80, 0, 1), OK_NODATA)
            _, _, pixel = self.shoot()
            self.assertEqual({pixel(x, y) for x in range(64) for y in range(80)}, {3 * (shown,)})
            self.fails(0x102, u32(1, 0), OK_NODATA)

    def test_a_blob_as_framebuffer(self):
        f = self.front
        at = 0x200000
        f.ram[at:at + 0x5000] = bytes((9, 8, 7, 255)) * 0x1400
        head = f.create_blob(0, 5, size=0x5000, mem=1, entries=[(GUEST + at, 0x5000)])
        self.assertEqual(f.finish(head).type, OK_NODATA)

        def scanout(stride=256, offset=0, width=64, res=5):
            return struct.pack("<IIII6I4I4I", 0, 0, 64, 80, 0, res, width, 80, 67, 0, stride, 0, 0,
                               0, offset, 0, 0, 0)
        self.fails(0x10d, scanout(stride=255), BAD_PARAMETER)
        self.fails(0x10d, scanout(offset=4), BAD_PARAMETER)
        self.fails(0x10d, scanout(width=63), BAD_PARAMETER)
        self.fails(0x10d, scanout(res=6), BAD_RESOURCE)
        self.fails(0x10d, scanout(), OK_NODATA)
        _, _, pixel = self.shoot()
        self.assertEqual(pixel(63, 79), (9, 8, 7))


if __name__ == "__main__":
    unittest.main()
