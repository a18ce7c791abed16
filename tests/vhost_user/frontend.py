"""A front end of the vhost-user device, by hand: guest memory, two queues, messages, a window."""

import array
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

DEADLINE_S = 20
SANITIZED = os.environ.get("CORDON_SANITIZED") == "1"
MEMORY = 32 << 20
GUEST = 0x100000
USER = 0x7f1200000000
QUEUE_SIZE = 64

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_LOG_BASE, SET_LOG_FD = 6, 7
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE = 15, 16, 17, 18
SET_BACKEND_REQ_FD, GET_CONFIG, SET_CONFIG = 21, 24, 25
GET_INFLIGHT_FD, SET_INFLIGHT_FD, RESET_DEVICE = 31, 32, 34
ADD_MEM_REG, REM_MEM_REG, SET_STATUS, GET_STATUS, GET_SHMEM_CONFIG = 37, 38, 39, 40, 44
CONFIG_CHANGE, SHMEM_MAP, SHMEM_UNMAP = 2, 9, 10

P_MQ, P_REPLY_ACK, P_BACKEND_REQ, P_CONFIG, P_SEND_FD = 0, 3, 5, 9, 10
P_INFLIGHT, P_RESET, P_STATUS, P_SHMEM = 12, 13, 16, 22
PROTOCOL = sum(1 << b for b in (P_MQ, P_REPLY_ACK, P_BACKEND_REQ, P_CONFIG, P_SEND_FD, P_INFLIGHT,
                                P_RESET, P_STATUS, P_SHMEM))
F_EVENT_IDX, F_PROTOCOL, F_VERSION_1 = 29, 30, 32

NEXT, WRITE, INDIRECT = 1, 2, 4

OK_NODATA, OK_DISPLAY_INFO, OK_CAPSET_INFO, OK_CAPSET, OK_EDID, OK_UUID, OK_MAP_INFO = range(
    0x1100, 0x1107)
UNSPEC, OUT_OF_MEMORY, BAD_SCANOUT, BAD_RESOURCE, BAD_CONTEXT, BAD_PARAMETER = range(0x1200, 0x1206)
FENCE, RING_IDX = 1, 2


class Program:
    """The device's process, with a worker that does what the test says."""

    def __init__(self, *options, env=None, prefix=(), uid=None):
        self.folder = tempfile.TemporaryDirectory(prefix="cordon-vu-")
        if uid:
            os.chown(self.folder.name, uid, uid)
        self.prefix = prefix
        self.path = os.path.join(self.folder.name, "gpu.sock")
        self.log = os.path.join(self.folder.name, "log")
        self.options = options
        self.env = env or {}
        self.start()

    def command(self):
        command = [*self.prefix, os.environ["CORDON_VHOST_USER"], "--render-server",
                   os.environ["CORDON_SERVER"], "--log-level=debug"]
        if SANITIZED:
            command.append("--sandbox=off")  # the leak check at the end attaches to the process
        if "CORDON_WORKER" in os.environ:
            command += ["--worker", os.environ["CORDON_WORKER"]]
        return [*command, *self.options]

    def start(self):
        self.earlier = self.text().count("ready for a VMM") if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.command(), "--socket-path", self.path], stderr=log,
                                            env={**os.environ, **self.env})
        wait_for(lambda: self.text().count("ready for a VMM") > self.earlier
                 or self.process.poll() is not None)
        assert self.process.poll() is None, self.text()

    def text(self):
        return Path(self.log).read_text(errors="replace")

    def says(self, text):
        return text in self.text()

    def keeper(self):
        return child_of(self.process.pid)

    def server(self):
        """The render server's process id; there may be a new one on its way."""
        wait_for(lambda: child_of(self.keeper()))
        return child_of(self.keeper())

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        return code

    def close(self):
        code = self.stop()
        text = self.text()
        self.folder.cleanup()
        assert code == 0, f"exit code {code}\n{text}"


def child_of(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def wait_for(what):
    end = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def send(sock, request, payload=b"", fds=(), flags=1):
    header = struct.pack("<III", request, flags, len(payload))
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([header + payload], ancillary)


def receive(sock):
    """(request, flags, payload, fds), or None at the end."""
    data, fds, _, _ = socket.recv_fds(sock, 12, 8)
    if not data:
        return None
    request, flags, size = struct.unpack("<III", data)
    payload = b""
    while len(payload) < size:
        more = sock.recv(size - len(payload))
        if not more:
            return None
        payload += more
    return request, flags, payload, fds


class Queue:
    """The driver's side of a split queue at `base` in guest memory."""

    def __init__(self, front, index, base, size=QUEUE_SIZE):
        self.front, self.index, self.size = front, index, size
        self.desc, self.avail, self.used = base, base + 0x1000, base + 0x2000
        self.kick, self.call, self.err = (os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3))
        self.reset()

    def reset(self):
        self.front.ram[self.desc:self.desc + 0x3000] = bytes(0x3000)
        self.next_avail = self.seen = 0
        self.free = list(range(self.size))
        self.done = {}
        self.chains = {}

    def close(self):
        for fd in (self.kick, self.call, self.err):
            os.close(fd)

    def put_desc(self, i, addr, length, flags, following):
        struct.pack_into("<QIHH", self.front.ram, self.desc + 16 * i, addr, length, flags, following)

    def offer(self, head):
        struct.pack_into("<H", self.front.ram, self.avail + 4 + 2 * (self.next_avail % self.size),
                         head)
        self.next_avail = (self.next_avail + 1) & 0xffff
        # In one store: pack_into writes byte by byte.
        self.front.ram[self.avail + 2:self.avail + 4] = struct.pack("<H", self.next_avail)

    def ring(self):
        os.eventfd_write(self.kick, 1)

    def add(self, request, room=1056, ring=True, pieces=1):
        """A command with room for an answer; returns its head."""
        out = self.front.alloc(len(request))
        self.front.ram[out:out + len(request)] = request
        parts = []
        step = max(1, (len(request) + pieces - 1) // pieces)
        for at in range(0, len(request), step):
            parts.append((GUEST + out + at, min(step, len(request) - at), 0))
        answer = self.front.alloc(max(room, 1))
        if room:
            self.front.ram[answer:answer + room] = bytes(room)
            parts.append((GUEST + answer, room, WRITE))
        ids = [self.free.pop(0) for _ in parts]
        for n, (i, (addr, length, flags)) in enumerate(zip(ids, parts)):
            last = n + 1 == len(parts)
            self.put_desc(i, addr, length, flags | (0 if last else NEXT), 0 if last else ids[n + 1])
        self.chains[ids[0]] = (ids, answer)
        self.offer(ids[0])
        if ring:
            self.ring()
        return ids[0]

    def collect(self):
        idx, = struct.unpack_from("<H", self.front.ram, self.used + 2)
        while self.seen != idx:
            head, length = struct.unpack_from("<II", self.front.ram,
                                              self.used + 4 + 8 * (self.seen % self.size))
            self.seen = (self.seen + 1) & 0xffff
            ids, answer = self.chains.pop(head, ([], 0))
            self.free += ids
            self.done[head] = bytes(self.front.ram[answer:answer + length])

    def is_done(self, head):
        self.collect()
        return head in self.done

    def wait(self, head):
        end = time.monotonic() + DEADLINE_S
        while not self.is_done(head):
            assert time.monotonic() < end, (
                f"no answer to {head} at {self.seen}\n{self.front.program.text()}")
            select.select([self.call], [], [], 0.1)
            try:
                os.eventfd_read(self.call)
            except BlockingIOError:
                pass
        return self.done.pop(head)


class FrontEnd:
    def __init__(self, program, protocol=PROTOCOL, features=None, start=True, sock=None):
        self.program = program
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, MEMORY)
        self.ram = mmap.mmap(self.fd, MEMORY)
        self.queues = [Queue(self, 0, 0), Queue(self, 1, 0x4000)]
        self.heap = 0x10000
        self.protocol = protocol
        self.channel = None
        self.window = {}
        self.answer_maps = True
        self.sock = sock
        if not sock:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.connect(program.path)
        self.sock.settimeout(DEADLINE_S)
        if start:
            self.negotiate(features)
            self.set_memory()
            self.start()

    def close(self):
        self.sock.close()
        if self.channel:
            self.channel.close()
        for _, _, fd in self.window.values():
            os.close(fd)
        for q in self.queues:
            q.close()
        self.ram.close()
        os.close(self.fd)

    def alloc(self, size):
        at = self.heap
        self.heap += (size + 63) & ~63
        if self.heap > MEMORY:
            at, self.heap = 0x10000, 0x10000 + ((size + 63) & ~63)
        return at

    # ---- messages

    def call(self, request, payload=b"", fds=()):
        send(self.sock, request, payload, fds)
        answer = receive(self.sock)
        assert answer is not None, "dropped"
        assert answer[0] == request and answer[1] == 5, answer
        return answer[2], answer[3]

    def call_u64(self, request, payload=b""):
        return struct.unpack("<Q", self.call(request, payload)[0])[0]

    def tell(self, request, payload=b"", fds=()):
        """With need-reply: what is answered."""
        send(self.sock, request, payload, fds, flags=9)
        answer = receive(self.sock)
        assert answer is not None, "dropped"
        assert answer[0] == request and answer[1] == 5, answer
        return struct.unpack("<Q", answer[2])[0]

    def dropped(self):
        try:
            return receive(self.sock) is None
        except ConnectionResetError:
            return True

    def negotiate(self, features=None):
        offered = self.call_u64(GET_FEATURES)
        self.features = offered & ~(1 << F_EVENT_IDX) if features is None else features
        self.offered_protocol = self.call_u64(GET_PROTOCOL_FEATURES)
        send(self.sock, SET_PROTOCOL_FEATURES, struct.pack("<Q", self.protocol))
        assert self.call_u64(GET_QUEUE_NUM) == 2
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        assert self.tell(SET_BACKEND_REQ_FD, fds=[theirs.fileno()]) == 0
        theirs.close()
        ours.settimeout(DEADLINE_S)
        self.channel = ours
        send(self.sock, SET_OWNER)
        assert self.tell(SET_FEATURES, struct.pack("<Q", self.features)) == 0
        return offered

    def regions(self, extra=()):
        return [(GUEST, MEMORY, USER, 0, self.fd), *extra]

    def set_memory(self, extra=()):
        regions = self.regions(extra)
        payload = struct.pack("<II", len(regions), 0)
        payload += b"".join(struct.pack("<QQQQ", *r[:4]) for r in regions)
        return self.tell(SET_MEM_TABLE, payload, [r[4] for r in regions])

    def start_queue(self, q, base=0):
        assert self.tell(SET_VRING_NUM, struct.pack("<II", q.index, q.size)) == 0
        assert self.tell(SET_VRING_BASE, struct.pack("<II", q.index, base)) == 0
        assert self.tell(SET_VRING_ADDR, struct.pack("<IIQQQQ", q.index, 0, USER + q.desc,
                                                     USER + q.used, USER + q.avail, 0)) == 0
        assert self.tell(SET_VRING_KICK, struct.pack("<Q", q.index), [q.kick]) == 0
        assert self.tell(SET_VRING_CALL, struct.pack("<Q", q.index), [q.call]) == 0
        assert self.tell(SET_VRING_ERR, struct.pack("<Q", q.index), [q.err]) == 0

    def start(self, bases=(0, 0)):
        for q, base in zip(self.queues, bases):
            self.start_queue(q, base)
        for q in self.queues:
            assert self.tell(SET_VRING_ENABLE, struct.pack("<II", q.index, 1)) == 0

    def stop(self):
        bases = []
        for q in self.queues:
            assert self.tell(SET_VRING_ENABLE, struct.pack("<II", q.index, 0)) == 0
            payload, _ = self.call(GET_VRING_BASE, struct.pack("<II", q.index, 0))
            bases.append(struct.unpack("<II", payload)[1])
        return bases

    def restart(self):
        """A new driver in the same guest."""
        self.stop()
        for q in self.queues:
            q.reset()
        self.start()

    def serve_channel(self, result=None, settle=True):
        """Answers one request on the back-end channel as a VMM does; and, if that was a map, what the
        device asks then to learn that the guest sees it."""
        request, flags, payload, fds = receive(self.channel)
        shmid, _, offset, at, size, rw = struct.unpack("<B7sQQQQ", payload)
        assert shmid == 1
        ok = 0
        if request == SHMEM_MAP:
            assert len(fds) == 1 and rw == 1
            assert all(at + size <= a or a + s <= at for a, s, _ in self.window.values())
            assert os.fstat(fds[0]).st_size >= offset + size
            if result:
                os.close(fds[0])
            else:
                self.window[at] = (at, size, fds[0])
        else:
            assert request == SHMEM_UNMAP and not fds
            known = self.window.pop(at, None)
            ok = 0 if known and known[1] == size else 1
            if known:
                os.close(known[2])
        if flags & 8:
            send(self.channel, request, struct.pack("<Q", ok if result is None else result),
                 flags=5)
            if request == SHMEM_MAP and not result and settle:
                self.settle_channel()
        return request

    def settle_channel(self):
        request, flags, payload, fds = receive(self.channel)
        assert (request, payload, fds) == (CONFIG_CHANGE, b"", []) and flags & 8
        send(self.channel, request, struct.pack("<Q", 0), flags=5)

    # ---- commands

    def command(self, kind, body=b"", ctx=0, fence=None, ring=None, queue=0, **how):
        flags = (FENCE if fence is not None else 0) | (RING_IDX if ring is not None else 0)
        header = struct.pack("<IIQIB3x", kind, flags, fence or 0, ctx, ring or 0)
        return self.queues[queue].add(header + body, **how)

    def run(self, kind, body=b"", **how):
        return self.finish(self.command(kind, body, **how))

    def finish(self, head):
        return Answer(self.queues[0].wait(head))

    def ctx_create(self, ctx, init=4, name=b"test"):
        return self.run(0x200, struct.pack("<II64s", len(name), init, name), ctx=ctx).type

    def create_blob(self, ctx, res, size=0x1000, mem=2, flags=1, blob_id=0, entries=()):
        body = struct.pack("<IIIIQQ", res, mem, flags, len(entries), blob_id, size)
        body += b"".join(struct.pack("<QII", a, n, 0) for a, n in entries)
        return self.command(0x10c, body, ctx=ctx)

    def map_blob(self, res, at):
        return self.command(0x208, struct.pack("<IIQ", res, 0, at))

    def submit(self, ctx, words=(), **how):
        data = struct.pack(f"<{len(words)}I", *words)
        return self.command(0x207, struct.pack("<II", len(data), 0) + data, ctx=ctx, **how)


class Answer:
    def __init__(self, data):
        self.data = data
        self.type, self.flags, self.fence, self.ctx, self.ring = struct.unpack_from("<IIQIB", data)
        self.body = data[24:]

    def words(self):
        return struct.unpack(f"<{len(self.body) // 4}I", self.body[:len(self.body) & ~3])
