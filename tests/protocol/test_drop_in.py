"""What a VMM's library relies on, message by message: any render server must pass."""

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import time

import harness
import renderserver
import wire
from harness import DEVICE, FIRST_FREE
from renderserver import FD_SHM, Ring

QUEUE_RING = 1


def readable(fd, seconds):
    return bool(select.select([fd], [], [], seconds)[0])


class ServerSocket(harness.ProtocolTest):
    def test_context_reply_is_one_byte_with_one_seqpacket_socket(self):
        context = self.context()
        self.assertEqual(context.sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
                         socket.SOCK_SEQPACKET)
        self.assertTrue(context.sync())

    def test_names_of_every_length(self):
        for name in ("", "x", "n" * 31):
            self.assertTrue(self.context(name).sync())

    def test_nop(self):
        self.server.send(struct.pack("<I", 0))
        context = self.context()
        context.send(struct.pack("<I", 0))
        self.assertTrue(context.sync())

    def test_destroy_before_close(self):
        context = self.context()
        context.shm(4096)
        self.server.destroy_context(context.ctx_id)
        context.close()
        self.assertTrue(self.context().sync())

    def test_close_before_destroy(self):
        context = self.context()
        context.shm(4096)
        context.close()
        self.server.destroy_context(context.ctx_id)
        self.assertTrue(self.context().sync())

    def test_destroy_of_an_unknown_context(self):
        self.server.destroy_context(4711)
        self.assertTrue(self.context().sync())

    def test_id_may_return_after_destroy(self):
        for _ in range(5):
            context = self.server.create_context(77)
            self.assertTrue(context.sync())
            context.destroy()

    def test_destroy_ends_the_context_at_once(self):
        """Also one whose ring waits for something that never comes."""
        context = self.context()
        ring = Ring(context)
        ring.write(wire.wait_virtqueue_seqno(5))
        self.assertTrue(context.sync())
        self.server.destroy_context(context.ctx_id)
        self.assertTrue(readable(context.sock, 5), "the worker's end is still open after 5 s")

    def test_reset_leaves_a_server_for_the_next_guest(self):
        for _ in range(3):
            contexts = [self.context() for _ in range(3)]
            for context in contexts:
                self.assertTrue(context.sync())
                self.server.destroy_context(context.ctx_id)
                context.close()
            self.server.send(struct.pack("<I", 2))
        self.assertTrue(self.context().sync())

    def test_reset_ends_contexts_that_were_not_destroyed(self):
        context = self.context()
        self.assertTrue(context.sync())
        self.server.send(struct.pack("<I", 2))
        self.assertTrue(readable(context.sock, 5))
        self.assertTrue(self.context().sync())

    def test_a_hundred_contexts_at_once(self):
        contexts = [self.context(f"many{i}") for i in range(100)]
        for context in contexts:
            self.assertTrue(context.sync())
        for context in contexts:
            context.destroy()

    def test_contexts_end_while_others_work(self):
        steady = self.context("steady")
        ring = Ring(steady)
        for i in range(50):
            context = self.context(f"brief{i}")
            steady.submit(wire.write_ring_extra(ring.id, 0, i))
            context.destroy()
        self.assertTrue(steady.sync())
        self.assertEqual(ring.get(ring.layout.extra), 49)


class ContextSocket(harness.ProtocolTest):
    def test_shared_memory_is_zeroed_and_ours_to_seal(self):
        context = self.context()
        _, fd_type, map_info, fd = context.create_resource(0, 12288, 1)
        self.assertEqual((fd_type, map_info), (FD_SHM, 1))
        self.assertEqual(os.fstat(fd).st_size, 12288)
        self.assertEqual(os.pread(fd, 12288, 0), bytes(12288))
        fcntl.fcntl(fd, renderserver.F_ADD_SEALS, renderserver.SEALS)
        os.close(fd)
        self.assertTrue(context.sync())

    def test_failed_resource_is_a_whole_reply_without_descriptor(self):
        context = self.context()
        context.send(struct.pack("<IIQQII", 2, 9, 0xABCDEF, 4096, 1, 0))
        data, fds = renderserver.recv_with_fds(context.sock, 256, 20)
        self.assertEqual((len(data), fds), (56, []))
        self.assertEqual(struct.unpack_from("<i", data)[0], -1)
        self.assert_lives(context)

    def test_resource_id_may_return_after_destroy(self):
        context = self.context()
        for _ in range(10):
            _, _, _, fd = context.create_resource(0, 4096, 1, resource=5)
            self.assertGreaterEqual(fd, 0)
            os.close(fd)
            context.destroy_resource(5)
        self.assert_lives(context)

    def test_fences_of_the_cpu_timeline_in_order(self):
        context = self.context()
        for seqno in range(1, 400):
            context.fence(0, seqno)
        self.assertTrue(context.wait_fence(0, 399))
        self.assertEqual(context.word(0), 399)

    def test_seqno_may_wrap(self):
        context = self.context()
        for seqno in (0x70000000, 0xE0000000, 0xFFFFFFFF, 0, 1, 2):
            context.fence(0, seqno)
            self.assertTrue(context.wait_fence(0, seqno))
        self.assertEqual(context.word(0), 2)

    def test_eventfd_follows_the_word(self):
        context = self.context()
        context.fence(0, 1)
        self.assertTrue(readable(context.event_fd, 10))
        os.read(context.event_fd, 8)
        self.assertTrue(context.wait_fence(0, 1, timeout=1))

    def test_without_an_eventfd(self):
        """As QEMU without THREAD_SYNC does: it looks at the words now and then."""
        self.server.send(struct.pack("<II32s", 3, 900, b"poller"))
        _, fds = renderserver.recv_with_fds(self.server.sock, 64, 20)
        sock = socket.socket(fileno=fds[0])
        words = os.memfd_create("words", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(words, 256)
        fcntl.fcntl(words, renderserver.F_ADD_SEALS, renderserver.SEALS)
        socket.send_fds(sock, [struct.pack("<IIQ", 1, 4, 256)], [words])
        sock.send(struct.pack("<IIII", 6, 0, 0, 1))
        deadline = time.monotonic() + 10
        while os.pread(words, 4, 0) != b"\1\0\0\0":
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)
        sock.close()
        os.close(words)

    def test_fence_of_a_queue(self):
        context = self.device(self.context())
        context.submit(wire.get_device_queue2(DEVICE, FIRST_FREE, QUEUE_RING))
        for seqno in range(1, 20):
            context.fence(QUEUE_RING, seqno)
        self.assertTrue(context.wait_fence(QUEUE_RING, 19))
        self.assertEqual(context.word(0), context.seqno, "another ring's word was touched")

    def test_command_of_the_largest_size(self):
        """213216 bytes: the VMM cannot send more with ordinary socket buffers."""
        context = self.context()
        ring = Ring(context)
        one = wire.write_ring_extra(ring.id, 0, 7)
        many = one * (213216 // len(one))
        context.submit(many)
        self.assertTrue(context.sync())
        self.assertEqual(ring.get(ring.layout.extra), 7)

    def test_commands_of_sizes_around_the_first_piece(self):
        context = self.context()
        ring = Ring(context)
        one = wire.write_ring_extra(ring.id, 0, 3)
        for count in (256 // len(one), 256 // len(one) + 1, 20, 64):
            context.submit(one * count)
            self.assertTrue(context.sync())

    def test_shared_memory_of_one_context_attached_to_another(self):
        first, second = self.context("first"), self.context("second")
        _, _, _, fd = first.create_resource(0, 65536, 1)
        fcntl.fcntl(fd, renderserver.F_ADD_SEALS, renderserver.SEALS)
        second.import_resource(40, FD_SHM, fd, 65536)
        program = wire.enumerate_physical_devices(harness.INSTANCE, [harness.PHYSICAL])
        second.submit(wire.create_instance(harness.INSTANCE)
                      + wire.set_reply(40, 128, 64) + program)
        self.assertTrue(second.sync())
        self.assertEqual(struct.unpack("<I", os.pread(fd, 4, 128))[0],
                         wire.ENUMERATE_PHYSICAL_DEVICES)
        os.close(fd)

    def test_descriptors_of_imports_are_not_kept_after_destroy(self):
        context = self.context()
        reader, writer = os.pipe()
        context.import_resource(41, renderserver.FD_DMABUF, writer, 4096)
        os.close(writer)
        context.destroy_resource(41)
        self.assertTrue(context.sync())
        self.assertTrue(readable(reader, 5), "somebody still holds the imported descriptor")
        os.close(reader)


class Start(harness.ProtocolTest):
    """What the VMM leaves to its children; and how it leaves."""

    def start(self, pass_fds=(), preexec=None):
        """A server besides the test's own: (process, our end of its socket)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn
            [harness.SERVER, "--socket-fd", str(theirs.fileno()), *harness.ARGUMENTS],
            pass_fds=[theirs.fileno(), *pass_fds], env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=preexec)
        theirs.close()
        ours.send(struct.pack("<II", 1, renderserver.FLAGS))
        return process, ours

    def test_blocked_and_ignored_signals(self):
        """QEMU blocks some and ignores SIGPIPE, virgl_test_server ignores SIGCHLD."""
        def inherit():
            signal.pthread_sigmask(signal.SIG_BLOCK,
                                   {signal.SIGBUS, signal.SIGUSR1, signal.SIGALRM, signal.SIGIO,
                                    signal.SIGTERM, signal.SIGCHLD})
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

        process, ours = self.start(preexec=inherit)
        for ctx_id in (1, 2):
            ours.send(struct.pack("<II32s", 3, ctx_id, b"masked"))
            data, fds = renderserver.recv_with_fds(ours, 64, 20)
            self.assertEqual((data, len(fds)), (b"\1", 1))
            os.close(fds[0])
            ours.send(struct.pack("<II", 4, ctx_id))
        ours.close()
        process.wait(timeout=20)

    def test_leaked_descriptors_are_closed(self):
        """The VMM's other descriptors leak into the server: a client's socket, a guest's disk."""
        reader, writer = os.pipe()
        process, ours = self.start(pass_fds=[writer])
        os.close(writer)
        try:
            self.assertTrue(readable(reader, 5), "a leaked descriptor is still open")
        finally:
            os.close(reader)
            ours.close()
            process.wait(timeout=20)

    def test_killed_server_leaves_no_worker(self):
        """As virgl_renderer_cleanup does it."""
        process, ours = self.start()
        ours.send(struct.pack("<II32s", 3, 1, b"orphan"))
        _, fds = renderserver.recv_with_fds(ours, 64, 20)
        pids = harness.children_of(process.pid)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 5
        while any(harness.runs(pid) for pid in pids):
            self.assertLess(time.monotonic(), deadline, "a worker outlived its server")
            time.sleep(0.02)
        os.close(fds[0])
        ours.close()

    def test_hanging_up_is_a_clean_end(self):
        """crosvm takes any other status for a crash of the machine."""
        process, ours = self.start()
        ours.close()
        self.assertEqual(process.wait(timeout=20), 0)


if __name__ == "__main__":
    harness.main()
