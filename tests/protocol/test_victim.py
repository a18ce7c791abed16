"""The VMM is never the victim: nothing that a guest, a worker or a driver does makes a thread of
the VMM wait or spin, and the server outlives all of it.
"""

import os
import select
import signal
import socket
import statistics
import struct
import threading
import time
import unittest

import harness
import renderserver
import wire
from harness import DEVICE, FIRST_FREE
from renderserver import Ring

QUEUE_RING = 1


class FenceThread(threading.Thread):
    """What the library's fence thread does: poll the eventfd and the socket, look at the words."""

    def __init__(self, context, seconds):
        super().__init__()
        self.context, self.seconds = context, seconds
        self.wakeups = 0
        self.cpu = 0.0

    def run(self):
        begun = time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)
        poll = select.poll()
        poll.register(self.context.event_fd, select.POLLIN)
        poll.register(self.context.sock, 0)  # its end alone
        until = time.monotonic() + self.seconds
        while (left := until - time.monotonic()) > 0:
            for fd, events in poll.poll(left * 1000):
                self.wakeups += 1
                if fd == self.context.event_fd and events & select.POLLIN:
                    os.read(fd, 8)
        self.cpu = time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) - begun


class Victim(harness.ProtocolTest):
    def workers(self):
        return [pid for pid in harness.children_of(self.server.process.pid) if self.is_worker(pid)]

    @staticmethod
    def is_worker(pid):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                return comm.read().startswith(("cordon-worker", "render-", "virgl_render"))
        except OSError:
            return False

    def worker_of(self, context):
        """The process that serves it. The context must have been served already."""
        line = self.server.wait_log(f"ctx={context.ctx_id}", "served by worker")
        self.assertIsNotNone(line)
        return int(line.rsplit("(pid ", 1)[1].rstrip(")"))

    def kill_worker(self, context):
        os.kill(self.worker_of(context), signal.SIGKILL)
        self.assertTrue(context.ended())

    @unittest.skipIf(harness.PEER, "of ours alone: its workers are known by the log")
    def test_context_reply_waits_for_no_worker(self):
        """Not even if not one of them runs: a driver may take seconds to start."""
        self.assertTrue(self.context().sync())
        for pid in self.workers():
            os.kill(pid, signal.SIGSTOP)
        try:
            contexts = [self.context() for _ in range(3)]
        finally:
            for pid in self.workers():
                os.kill(pid, signal.SIGCONT)
        for context in contexts:
            self.assertTrue(context.sync())

    def test_context_reply_is_quick(self):
        """Within a millisecond. The quickest of many: on a busy machine the others tell of it."""
        took = []
        for _ in range(30):
            begun = time.monotonic()
            context = self.context()
            took.append((time.monotonic() - begun) * 1000)
            self.assertTrue(context.sync())
            context.destroy()
        print(f"CREATE_CONTEXT: {min(took):.2f} ms at best, {statistics.median(took):.2f} median, "
              f"{max(took):.2f} at worst", flush=True)
        self.assertLess(min(took), 1)

    def test_sockets_are_drained_while_commands_run(self):
        """The commands wait for a ring that waits; 20 times what a socket holds comes behind."""
        context = self.context()
        ring = Ring(context)
        ring.write(wire.wait_virtqueue_seqno(1))
        context.submit(wire.wait_ring_seqno(ring.id, ring.tail))
        context.sock.settimeout(20)
        for seqno in range(1, 5001):
            context.fence(0, seqno)
        self.assertEqual(context.word(0), 0, "a fence came before the commands in front of it")
        other = self.context()
        self.assertTrue(other.sync())
        self.server.destroy_context(context.ctx_id)

    @unittest.skipIf(harness.PEER, "of ours alone: its workers are known by the log")
    def test_sockets_are_drained_behind_a_wait_that_ends(self):
        context = self.context()
        ring, other = Ring(context), Ring(context, ring_id=0x2000)
        ring.write(wire.wait_virtqueue_seqno(1))
        other.write(wire.wait_virtqueue_seqno(1))
        context.sock.settimeout(20)
        context.submit(wire.submit_virtqueue_seqno(other.id, 1))
        for seqno in range(1, 1001):
            context.fence(0, seqno)
        self.assertTrue(context.wait_fence(0, 1000))
        self.assertTrue(other.wait())
        context.submit(wire.submit_virtqueue_seqno(ring.id, 1))
        self.assertTrue(ring.wait())

    @unittest.skipIf(harness.PEER, "measured by hand: docs/drop-in.md")
    def test_fence_thread_sleeps_when_the_worker_is_dead(self):
        context = self.device(self.context())
        self.kill_worker(context)
        thread = FenceThread(context, 2)
        thread.start()
        thread.join()
        print(f"fence thread of a dead context: {thread.wakeups} wake-ups, "
              f"{thread.cpu * 1000:.1f} ms of CPU in 2 s", flush=True)
        self.assertLess(thread.wakeups, 10)

    @unittest.skipIf(harness.PEER, "of ours alone: its workers are known by the log")
    def test_dead_context_answers_and_its_fences_move_on(self):
        context = self.device(self.context())
        ring = Ring(context, monitor_us=10000)
        context.submit(wire.get_device_queue2(DEVICE, FIRST_FREE, QUEUE_RING))
        self.assertTrue(context.sync())
        ring.write(wire.wait_virtqueue_seqno(1))
        self.kill_worker(context)
        self.assertTrue(ring.wait_fatal(), "the guest is not told")
        for seqno in range(1, 501):
            context.fence(QUEUE_RING, seqno)
            context.submit(b"\0" * 64)
        self.assertTrue(context.wait_fence(QUEUE_RING, 500))
        context.submit(b"\0" * 1000)
        context.destroy_resource(1)
        for _ in range(10):
            self.assertEqual(context.create_resource(0, 4096, 1)[1:], (-1, 0, -1))
        again = self.context()
        self.assertTrue(again.sync())
        context.destroy()

    @unittest.skipIf(harness.PEER, "of ours alone: its workers are known by the log")
    def test_dead_context_is_served_without_spinning(self):
        """Neither does the server spin in the VMM's place."""
        context = self.context()
        self.assertTrue(context.sync())
        self.kill_worker(context)
        self.assertTrue(self.context().sync())  # with a new spare on its way
        time.sleep(0.5)
        before = self.server_switches()
        time.sleep(1)
        self.assertLess(self.server_switches() - before, 50)

    def server_switches(self):
        with open(f"/proc/{self.server.process.pid}/status", encoding="utf-8") as status:
            return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)

    def test_reset_again_and_again(self):
        """For as many guests as the VMM likes, some of whose contexts were in the middle of it."""
        for boot in range(20):
            contexts = [self.context(f"boot{boot}") for _ in range(2)]
            ring = Ring(contexts[0])
            ring.write(wire.wait_virtqueue_seqno(1))
            self.assertTrue(contexts[0].sync())
            self.server.send(struct.pack("<I", 2))
            for context in contexts:
                context.close()
        self.assertTrue(self.context().sync())

    def test_seqno_waits_in_every_order(self):
        """What comes first: the wait, or what it waits for; on the ring, or on the socket."""
        context = self.context()
        first, second = Ring(context), Ring(context, ring_id=0x2000)
        # Virtqueue: recorded, then waited for.
        context.submit(wire.submit_virtqueue_seqno(first.id, 1))
        self.assertTrue(context.sync())
        first.write(wire.wait_virtqueue_seqno(1))
        self.assertTrue(first.wait())
        # Waited for, then recorded; by a later number, which covers it.
        first.write(wire.wait_virtqueue_seqno(2) + wire.wait_virtqueue_seqno(3))
        context.submit(wire.submit_virtqueue_seqno(first.id, 4))
        self.assertTrue(first.wait())
        # Ring: reached before the wait; and wrapped far behind it.
        context.submit(wire.wait_ring_seqno(first.id, first.tail))
        context.submit(wire.wait_ring_seqno(first.id, 0))
        self.assertTrue(context.sync())
        # Waited for, with the ring at rest, and with the ring waiting for the socket before it.
        first.write(wire.wait_virtqueue_seqno(5))
        context.submit(wire.submit_virtqueue_seqno(first.id, 5)
                       + wire.wait_ring_seqno(first.id, first.tail))
        self.assertTrue(context.sync())
        # Two rings that go on in turns.
        second.write(wire.wait_virtqueue_seqno(1))
        first.write(wire.wait_virtqueue_seqno(6))
        context.submit(wire.submit_virtqueue_seqno(second.id, 1)
                       + wire.wait_ring_seqno(second.id, second.tail)
                       + wire.submit_virtqueue_seqno(first.id, 6)
                       + wire.wait_ring_seqno(first.id, first.tail))
        self.assertTrue(context.sync())

    def test_wait_for_a_position_that_no_ring_was_told(self):
        """Nothing is in the ring, and the guest waits for it in vain: refused, not for ever."""
        context = self.context()
        ring = Ring(context)
        context.submit(wire.wait_ring_seqno(ring.id, 4096))
        self.assert_ends(context)

    def test_wait_for_a_ring_that_is_not_there(self):
        context = self.context()
        context.submit(wire.wait_ring_seqno(0x7777, 0))
        self.assert_ends(context)

    def test_virtqueue_wait_on_the_socket(self):
        """Only what comes behind it could end it."""
        context = self.context()
        context.submit(wire.wait_virtqueue_seqno(1))
        self.assert_ends(context)

    def test_ring_and_socket_that_wait_for_each_other(self):
        """The ring waits for a number that stands behind the socket's wait for the ring. That looks
        like a ring at work, so it stays until the VMM ends it, and holds up nobody."""
        context = self.context()
        ring = Ring(context)
        ring.write(wire.wait_virtqueue_seqno(1))
        context.submit(wire.wait_ring_seqno(ring.id, ring.tail)
                       + wire.submit_virtqueue_seqno(ring.id, 1))
        other = self.context()
        self.assertTrue(other.sync())
        self.server.destroy_context(context.ctx_id)
        self.assertTrue(select.select([context.sock], [], [], 10)[0],
                        "the deadlocked context outlives its end")


if __name__ == "__main__":
    harness.main()
