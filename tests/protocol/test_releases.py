"""What each release of libvirglrenderer, in each VMM, says to a render server, byte for byte.

One whole session for each row of SPEAKERS: start, contexts, memory, commands, fences, imports, a
guest's reboot, the end. Messages are packed here, by the sizes and offsets of that release, with
what its sender leaves in padding. Other tests send the same bytes for all.
"""

import collections
import fcntl
import mmap
import os
import signal
import socket
import struct
import subprocess
import time

import harness
import renderserver
import wire
from renderserver import FD_DMABUF, FD_OPAQUE, FD_SHM

# INIT flags, as measured or read for the VMM; `eventfd`: THREAD_SYNC gives one to each context.
# `imports`: fd types that the release lets through. `killed`: it SIGKILLs the server, then closes;
# else the VMM only closes. `signals`: what the child inherits blocked and ignored.
Speaker = collections.namedtuple("Speaker", "release vmm flags eventfd imports killed blocked ignored")

QEMU_BLOCKED = (signal.SIGBUS, signal.SIGUSR1, signal.SIGALRM, signal.SIGIO)
ANY, SAFE = (FD_DMABUF, FD_OPAQUE, FD_SHM), (FD_DMABUF, FD_SHM)


def speakers():
    for release, imports in (("1.0.0", ANY), ("1.0.1", SAFE), ("1.1.0", SAFE), ("1.1.1", SAFE),
                             ("1.2.0", SAFE), ("1.3.0", SAFE), ("main of April 2026", SAFE)):
        yield Speaker(release, "virgl_test_server", 0x2E2, True, imports, True, (),
                      (signal.SIGCHLD,))
        yield Speaker(release, "QEMU 10", 0x2C0, False, imports, True, QEMU_BLOCKED,
                      (signal.SIGPIPE,))
        yield Speaker(release, "QEMU 11", 0x3C2, True, imports, True, QEMU_BLOCKED,
                      (signal.SIGPIPE,))
        yield Speaker(release, "crosvm", 0x3DB, True, imports, False, (), ())
        yield Speaker(release, "crosvm, sandboxed", 0x3FB, True, imports, False, (), ())


SPEAKERS = list(speakers())
GARBAGE = 0xDEADBEEF


class Library:
    """The proxy of one release: its own requests, nothing shared with renderserver.Context."""

    def __init__(self, speaker, environment, log):
        self.speaker = speaker
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log_path = log

        def inherit():
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_BLOCK, speaker.blocked)
            for number in speaker.ignored:
                signal.signal(number, signal.SIG_IGN)

        with open(log, "wb") as out:
            self.process = subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn
                [harness.SERVER, "--socket-fd", str(theirs.fileno()), *harness.ARGUMENTS],
                pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, preexec_fn=inherit)
        theirs.close()
        self.sock.send(struct.pack("<II", 1, speaker.flags))

    def create_context(self, ctx_id, name):
        self.sock.send(struct.pack("<II32s", 3, ctx_id, name))
        data, fds = renderserver.recv_with_fds(self.sock, 2, 20)
        assert data == b"\1" and len(fds) == 1, (data, fds)
        return Guest(self, ctx_id, socket.socket(fileno=fds[0]))

    def destroy_context(self, guest):
        """In this order: the message, the fence thread's end, then the socket's."""
        self.sock.send(struct.pack("<II", 4, guest.ctx_id))
        guest.close()

    def reset(self):
        self.sock.send(struct.pack("<I", 2))

    def end(self):
        """Returns the exit status."""
        if self.speaker.killed:
            self.process.kill()
            status = self.process.wait(20)
            self.sock.close()
            return status
        self.sock.close()
        return self.process.wait(20)


class Guest:
    """One context of it."""

    def __init__(self, library, ctx_id, sock):
        self.ctx_id, self.sock = ctx_id, sock
        self.seqno = 0
        fd = os.memfd_create("fences", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, 256)
        fcntl.fcntl(fd, renderserver.F_ADD_SEALS, renderserver.SEALS)
        self.words = mmap.mmap(fd, 256)
        self.eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) \
            if library.speaker.eventfd else -1
        fds = [fd] + ([self.eventfd] if self.eventfd >= 0 else [])
        socket.send_fds(sock, [struct.pack("<IIQ", 1, 4, 256)], fds)
        os.close(fd)

    def create_resource(self, res_id, blob_id, size, flags):
        """(fd_type, map_info, fd); the last four bytes are what was on the sender's stack."""
        self.sock.send(struct.pack("<IIQQII", 2, res_id, blob_id, size, flags, GARBAGE))
        data, fds = renderserver.recv_with_fds(self.sock, 57, 20)
        assert len(data) == 56, len(data)
        return struct.unpack_from("<iI", data) + (fds[0] if fds else -1,)

    def shm(self, res_id, size):
        kind, map_info, fd = self.create_resource(res_id, 0, size, 1)
        assert (kind, map_info) == (FD_SHM, 1), (kind, map_info)
        # What the library does before it believes the descriptor.
        assert os.fstat(fd).st_size == size
        seals = fcntl.fcntl(fd, 1034)
        assert not seals & 0x9, f"sealed against sealing or writing: {seals:#x}"
        fcntl.fcntl(fd, renderserver.F_ADD_SEALS, renderserver.SEALS)
        return fd

    def import_resource(self, res_id, kind, fd, size):
        socket.send_fds(self.sock, [struct.pack("<IIiIQ", 3, res_id, kind, GARBAGE, size)], [fd])

    def destroy_resource(self, res_id):
        self.sock.send(struct.pack("<II", 4, res_id))

    def submit(self, data):
        inline = data[:256]
        self.sock.send(struct.pack("<II", 5, len(data)) + inline + b"\xcc" * (256 - len(inline)))
        if len(data) > 256:
            self.sock.send(data[256:])

    def fence(self, ring_idx=0, flags=1):
        """Sends one and waits for it as the VMM does: by the eventfd, or by looking."""
        self.seqno += 1
        self.sock.send(struct.pack("<IIII", 6, flags, ring_idx, self.seqno))
        deadline = time.monotonic() + 20
        while struct.unpack_from("<I", self.words, 4 * ring_idx)[0] != self.seqno:
            assert time.monotonic() < deadline, "the fence did not come"
            if self.eventfd >= 0:
                renderserver.select.select([self.eventfd], [], [], 20)
                os.read(self.eventfd, 8)
            else:
                time.sleep(0.01)

    def close(self):
        if self.eventfd >= 0:
            os.close(self.eventfd)
        self.words.close()
        self.sock.close()


class Releases(harness.ProtocolTest):
    def session(self, speaker):
        library = Library(speaker, self.environment, os.path.join(self.scratch, "session"))
        try:
            for boot in range(2):  # QEMU goes on after a reset without another INIT
                first = library.create_context(1, b"vkcube")
                second = library.create_context(2, b"n" * 31)
                self.use(library.speaker, first, second)
                library.destroy_context(first)
                if boot == 0:
                    library.destroy_context(second)
                    library.reset()
            library.destroy_context(second)
            third = library.create_context(3, b"")
            third.fence(flags=0)
            third.close()  # and no DESTROY_CONTEXT at the very end
        finally:
            status = library.end()
        if speaker.killed or not harness.PEER:
            self.assertEqual(status, -signal.SIGKILL if speaker.killed else 0)
        if not harness.PEER:
            with open(library.log_path, encoding="utf-8") as log:
                self.assertNotRegex(log.read(), r"\berror\b")

    def use(self, speaker, first, second):
        """A ring, commands of every size class, memory passed from one context to the other."""
        fd = first.shm(1, 192 + 16384 + 4096)
        layout = wire.RingLayout(1, buffer_size=16384)
        first.submit(wire.create_ring(77, layout))
        one = wire.write_ring_extra(77, 0, 5)
        for count in (1, 256 // len(one), 256 // len(one) + 1, 213216 // len(one)):
            first.submit(one * count)
            first.fence()
        with mmap.mmap(fd, 192 + 16384 + 4096) as ring:
            self.assertEqual(struct.unpack_from("<I", ring, layout.offset + layout.extra)[0], 5)
        os.close(fd)

        kind, _, none = first.create_resource(9, 4711, 4096, 1)
        self.assertEqual((kind, none), (-1, -1))
        shared = first.shm(2, 65536)
        for number, kind in enumerate(speaker.imports):
            second.import_resource(40 + number, kind, shared, 65536)
        os.close(shared)
        second.submit(wire.create_instance(harness.INSTANCE)
                      + wire.set_reply(40 + speaker.imports.index(FD_SHM), 0, 64)
                      + wire.enumerate_physical_devices(harness.INSTANCE, [harness.PHYSICAL]))
        second.fence()
        for number in range(len(speaker.imports)):
            second.destroy_resource(40 + number)
        first.destroy_resource(2)
        second.fence()
        first.submit(wire.destroy_ring(77))
        first.destroy_resource(1)
        first.fence()

    def every_vmm(self, release):
        for speaker in SPEAKERS:
            if speaker.release == release:
                with self.subTest(vmm=speaker.vmm):
                    self.session(speaker)

    def test_dialect_a_is_named(self):
        """0.10's SUBMIT_CMD, from a VMM whose library the server could not see."""
        context = self.context()
        context.send(struct.pack("<IIQ256s", 5, 0, 4, b"\0" * 4))
        self.assert_ends(context, "virglrenderer 0.10", "install libvirglrenderer 1.0.0")


for _release in sorted({speaker.release for speaker in SPEAKERS}):
    setattr(Releases, "test_libvirglrenderer_" + _release.replace(".", "_").replace(" ", "_"),
            lambda self, release=_release: self.every_vmm(release))

if __name__ == "__main__":
    harness.main()
