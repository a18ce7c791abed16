"""Contexts that come and go by the thousand, while others work and must not notice.

CORDON_MANY is how many: 300 unless told otherwise, which takes some 15 seconds.
"""

import mmap
import os
import struct
import threading

import harness
import wire
from harness import DEVICE, FIRST_FREE
from renderserver import Ring

MANY = int(os.environ.get("CORDON_MANY", "300"))
QUEUE, POOL, COMMANDS, MEMORY, BUFFER = range(FIRST_FREE, FIRST_FREE + 5)
QUEUE_RING = 1
SIZE = 65536


class Renderer(threading.Thread):
    """A context that fills a mapped buffer, each time with another word, and looks at it."""

    def __init__(self, test, number):
        super().__init__()
        self.context = test.device(test.context(f"steady{number}"))
        self.stop = threading.Event()
        self.rounds, self.wrong = 0, None
        self.context.submit(
            wire.get_device_queue2(DEVICE, QUEUE, QUEUE_RING)
            + wire.create_command_pool(DEVICE, POOL, flags=2)
            + wire.allocate_command_buffers(DEVICE, POOL, [COMMANDS])
            + wire.allocate_memory(DEVICE, MEMORY, SIZE)
            + wire.create_buffer(DEVICE, BUFFER, SIZE)
            + wire.bind_buffer_memory(DEVICE, BUFFER, MEMORY))
        _, _, _, fd = self.context.create_resource(MEMORY, SIZE, 1)
        self.view = mmap.mmap(fd, SIZE)
        os.close(fd)

    def run(self):
        while not self.stop.is_set() and not self.wrong:
            self.rounds += 1
            word = self.rounds * 0x01010101 & 0xFFFFFFFF
            self.context.submit(wire.begin_command_buffer(COMMANDS)
                                + wire.fill_buffer(COMMANDS, BUFFER, 0, SIZE, word)
                                + wire.end_command_buffer(COMMANDS)
                                + wire.queue_submit(QUEUE, COMMANDS))
            self.context.fence(QUEUE_RING, self.rounds)
            if not self.context.wait_fence(QUEUE_RING, self.rounds, 60):
                self.wrong = f"fence {self.rounds} did not come"
            elif self.view[:] != struct.pack("<I", word) * (SIZE // 4):
                self.wrong = f"round {self.rounds}: other bytes than {word:#x}"


class Many(harness.ProtocolTest):
    def fds_of_server(self):
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))

    def brief(self, number):
        """One life, of a length that changes: unserved, with memory, with a ring at work."""
        context = self.server.create_context(10000 + number, f"brief{number}")
        kind = number % 4
        if kind > 0:
            context.shm(4096 * kind)
        if kind == 2:
            ring = Ring(context)
            ring.write(wire.wait_virtqueue_seqno(1))
        if kind == 3:
            self.assertTrue(context.sync(60))
        if number % 2:
            context.destroy()
        else:
            context.close()
            self.server.destroy_context(context.ctx_id)

    def test_many_contexts_while_others_render(self):
        renderers = [Renderer(self, i) for i in range(2)]
        for number in range(8):
            self.brief(number)
        self.assertTrue(self.context().sync())
        before = self.fds_of_server()
        for renderer in renderers:
            renderer.start()
        try:
            for number in range(8, MANY):
                self.brief(number)
        finally:
            for renderer in renderers:
                renderer.stop.set()
            for renderer in renderers:
                renderer.join()
        self.assertEqual([renderer.wrong for renderer in renderers], [None, None])
        print(f"{MANY} contexts; meanwhile {[renderer.rounds for renderer in renderers]} rounds",
              flush=True)
        # The spare's are there or not, so a few more or less.
        if not harness.PEER:
            self.assertTrue(self.context().sync())
            self.assertLess(abs(self.fds_of_server() - before), 40)
            self.assertNotRegex(self.server.read_log(), r"\berror\b")
        for renderer in renderers:
            renderer.view.close()


if __name__ == "__main__":
    harness.main()
