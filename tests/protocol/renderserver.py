"""The VMM's side of the render-server protocol (dialect B), by hand, over a server of our own.

The server's path comes from the caller, so that the same tests run against any server that speaks
the protocol. Everything started here is ended here, by pid.
"""

import array
import fcntl
import mmap
import os
import select
import socket
import struct
import subprocess
import time

import wire

F_ADD_SEALS = 1033
SEALS = 0x1 | 0x2 | 0x4  # SEAL, SHRINK, GROW: what libvirglrenderer puts on its timeline memory

FLAGS = 0x2E2  # what virgl_test_server passes: venus, no virgl, render server
CAPSET_VENUS = 4
FD_DMABUF, FD_OPAQUE, FD_SHM = 0, 1, 2
STATUS_IDLE, STATUS_FATAL, STATUS_ALIVE = 1, 2, 4


class Gone(Exception):
    """The other end hung up."""


def recv_with_fds(sock, size, timeout):
    ready, _, _ = select.select([sock], [], [], timeout)
    if not ready:
        raise TimeoutError(f"no answer within {timeout} s")
    fds = array.array("i")
    data, control, _, _ = sock.recvmsg(size, socket.CMSG_SPACE(8 * 4), socket.MSG_CMSG_CLOEXEC)
    for level, kind, payload in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) // 4 * 4])
    return data, list(fds)


class Server:
    """A render server started the way libvirglrenderer starts it. `who`: Popen's user and groups."""

    def __init__(self, path, arguments=(), env=None, log=None, **who):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock = ours
        self.log_path = log
        self.log = open(log, "ab") if log else subprocess.DEVNULL
        os.set_inheritable(theirs.fileno(), True)
        self.process = subprocess.Popen(
            [path, "--socket-fd", str(theirs.fileno()), *arguments], env=env,
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=self.log, **who)
        theirs.close()
        self.send(struct.pack("<II", 1, FLAGS))

    def send(self, data):
        self.sock.send(data)

    def create_context(self, ctx_id, name="wire", timeout=20):
        self.send(struct.pack("<II32s", 3, ctx_id, name.encode()[:31]))
        data, fds = recv_with_fds(self.sock, 64, timeout)
        if data != b"\1" or len(fds) != 1:
            for fd in fds:
                os.close(fd)
            raise RuntimeError(f"CREATE_CONTEXT answered {data!r} with {len(fds)} descriptors")
        return Context(self, ctx_id, socket.socket(fileno=fds[0]))

    def refuses_or_loses(self, ctx_id):
        """No context on this host: a VMM that asks at once is answered before that is known."""
        try:
            context = self.create_context(ctx_id)
        except (RuntimeError, OSError):
            return
        lost = self.wait_log(f"ctx={ctx_id} ", "the context is lost")
        context.sock.close()
        if not lost:
            raise AssertionError(f"context {ctx_id} is served:\n{self.read_log()}")

    def destroy_context(self, ctx_id):
        self.send(struct.pack("<II", 4, ctx_id))

    def alive(self):
        return self.process.poll() is None

    def read_log(self):
        if not self.log_path:
            return ""
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_log(self, *words, timeout=10):
        """The first line that holds all the words; None when none came in time."""
        deadline = time.monotonic() + timeout
        while True:
            for line in self.read_log().splitlines():
                if all(word in line for word in words):
                    return line
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)

    def close(self):
        """Hangs up, as a VMM does that dies. Returns the exit status."""
        self.sock.close()
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.log_path:
                self.log.close()


class Context:
    """One context's socket, with shared memory, rings and replies."""

    def __init__(self, server, ctx_id, sock):
        self.server, self.ctx_id, self.sock = server, ctx_id, sock
        self.maps = {}
        self.next_resource = 1
        words = os.memfd_create("timelines", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(words, 256)
        fcntl.fcntl(words, F_ADD_SEALS, SEALS)
        self.words = mmap.mmap(words, 256)
        self.event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.send(struct.pack("<IIQ", 1, CAPSET_VENUS, 256), [words, self.event_fd])
        os.close(words)

    def send(self, data, fds=()):
        try:
            socket.send_fds(self.sock, [data], list(fds))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone from error

    def create_resource(self, blob_id, size, flags, resource=None, timeout=20):
        """Returns (resource id, fd_type, map_info, fd or -1)."""
        if resource is None:
            resource = self.next_resource
            self.next_resource += 1
        self.send(struct.pack("<IIQQII", 2, resource, blob_id, size, flags, 0))
        data, fds = recv_with_fds(self.sock, 256, timeout)
        if not data:
            raise Gone
        if len(data) != 56:
            raise RuntimeError(f"CREATE_RESOURCE answered {len(data)} bytes, not 56")
        fd_type, map_info = struct.unpack_from("<iI", data)
        return resource, fd_type, map_info, fds[0] if fds else -1

    def shm(self, size):
        """Plain shared memory: (resource id, mapping)."""
        resource, fd_type, _, fd = self.create_resource(0, size, 1)
        if fd < 0 or fd_type != FD_SHM:
            raise RuntimeError(f"no shared memory: fd_type {fd_type}")
        mapping = mmap.mmap(fd, size)
        os.close(fd)
        self.maps[resource] = mapping
        return resource, mapping

    def import_resource(self, resource, fd_type, fd, size):
        self.send(struct.pack("<IIiIQ", 3, resource, fd_type, 0, size), [fd])

    def destroy_resource(self, resource):
        self.send(struct.pack("<II", 4, resource))

    def submit(self, data):
        """SUBMIT_CMD: 256 bytes in the message, the rest as one more."""
        self.send(struct.pack("<II256s", 5, len(data), data[:256]))
        if len(data) > 256:
            self.send(data[256:])

    def fence(self, ring_idx, seqno):
        self.send(struct.pack("<IIII", 6, 1, ring_idx, seqno))

    def word(self, ring_idx):
        return struct.unpack_from("<I", self.words, 4 * ring_idx)[0]

    def wait_fence(self, ring_idx, seqno, timeout=20):
        deadline = time.monotonic() + timeout
        while (self.word(ring_idx) - seqno) & 0xFFFFFFFF >= 0x7FFFFFFF:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def sync(self, timeout=20):
        """True once everything sent before has run (a fence on the CPU timeline)."""
        self.seqno = getattr(self, "seqno", 0) + 1
        try:
            self.fence(0, self.seqno)
        except Gone:
            return False
        return self.wait_fence(0, self.seqno, timeout)

    def call(self, data, size, resource, mapping, offset=0, window=None):
        """Runs one command on the context stream and returns `size` bytes of its reply."""
        mapping[offset:offset + size] = b"\xa5" * size
        self.submit(wire.set_reply(resource, offset, size if window is None else window) + data)
        if not self.sync():
            raise Gone
        return bytes(mapping[offset:offset + size])

    def ended(self, timeout=10):
        """True if the context was lost: the socket hung up, or every blob is refused now."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                _, _, _, fd = self.create_resource(0, 4096, 1, timeout=timeout)
            except (Gone, ConnectionResetError):
                return True
            if fd < 0:
                return True
            os.close(fd)
            time.sleep(0.02)
        return False

    def destroy(self):
        self.server.destroy_context(self.ctx_id)
        self.close()

    def close(self):
        """Harmless when done before."""
        if self.event_fd < 0:
            return
        self.sock.close()
        os.close(self.event_fd)
        self.event_fd = -1
        self.words.close()
        for mapping in self.maps.values():
            mapping.close()


class Ring:
    """A ring in shared memory, driven as a guest would, or as a hostile one."""

    def __init__(self, context, ring_id=0x1000, **changes):
        self.context, self.id = context, ring_id
        buffer_size = changes.get("buffer_size", 16384)
        self.resource, self.mapping = context.shm(192 + buffer_size + 4096)
        self.layout = wire.RingLayout(self.resource, **changes)
        self.tail = 0
        context.submit(wire.create_ring(ring_id, self.layout))

    def get(self, offset):
        return struct.unpack_from("<I", self.mapping, self.layout.offset + offset)[0]

    def put(self, offset, value):
        struct.pack_into("<I", self.mapping, self.layout.offset + offset, value & 0xFFFFFFFF)

    @property
    def head(self):
        return self.get(self.layout.head)

    @property
    def status(self):
        return self.get(self.layout.status)

    def write(self, data):
        """Copies the bytes behind the tail, then publishes it, then rings the bell if asked."""
        mask = self.layout.buffer_size - 1
        base = self.layout.offset + self.layout.buffer
        for i, byte in enumerate(data):
            self.mapping[base + ((self.tail + i) & mask)] = byte
        self.tail = (self.tail + len(data)) & 0xFFFFFFFF
        self.put(self.layout.tail, self.tail)
        if self.status & STATUS_IDLE:
            self.context.submit(wire.notify_ring(self.id, self.tail))

    def wait(self, seqno=None, timeout=10):
        """True when the head has reached seqno (default: everything written)."""
        seqno = self.tail if seqno is None else seqno
        deadline = time.monotonic() + timeout
        rang = time.monotonic()
        while (self.head - seqno) & 0xFFFFFFFF > 0x7FFFFFFF:
            now = time.monotonic()
            if self.status & STATUS_FATAL or now > deadline:
                return False
            if self.status & STATUS_IDLE and now - rang > 0.01:
                rang = now
                try:
                    self.context.submit(wire.notify_ring(self.id, self.tail))
                except Gone:
                    return False
            time.sleep(0.0005)
        return True

    def wait_fatal(self, timeout=10):
        deadline = time.monotonic() + timeout
        while not self.status & STATUS_FATAL:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True
