#!/usr/bin/env python3
"""What the way to a worker costs: from a guest's doorbell until the worker decodes, and from a fence
until the guest's interrupt; over vhost-user, and over the render server's own sockets (libcordon).

  bench.py BUILDDIR [SAMPLES]

No VM: the front end and the guest are this program, the worker is one without Vulkan that notes the
time. Both ways end in a blocking read of an eventfd, so their difference is the device's alone.
"""

import ctypes
import mmap
import os
import statistics
import struct
import sys
import time
from pathlib import Path

BUILD = Path(sys.argv[1]).resolve()
SAMPLES = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
os.environ["CORDON_VHOST_USER"] = str(BUILD / "server/vhost_user/cordon-vhost-user-gpu")
os.environ["CORDON_SERVER"] = str(BUILD / "server/render/cordon-render-server")
os.environ["CORDON_WORKER"] = str(BUILD / "tests/server/fake-worker")
import frontend  # noqa: E402  (reads the environment)

FAKE_STAMP = 1009
STREAM = struct.pack("<II", FAKE_STAMP, 0)


class Blob(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("fd_type", ctypes.c_uint32), ("map_info", ctypes.c_uint32),
                ("uuids", ctypes.c_uint8 * 32), ("size", ctypes.c_uint64),
                ("memory_type", ctypes.c_uint32)]


def measure(fire, wait, stamps):
    """Medians in us of (doorbell to decode, fence to interrupt, both ends)."""
    there, back, all_ = [], [], []
    for _ in range(SAMPLES):
        begin = time.monotonic_ns()
        fire()
        wait()
        end = time.monotonic_ns()
        decoded, signalled = struct.unpack_from("<QQ", stamps)
        there.append(decoded - begin)
        back.append(end - signalled)
        all_.append(end - begin)
    return [statistics.median(values) / 1000 for values in (there, back, all_)]


def over_vhost_user():
    program = frontend.Program()
    front = frontend.FrontEnd(program)
    try:
        front.ctx_create(1)
        front.finish(front.create_blob(1, 5))
        head = front.map_blob(5, 0)
        front.serve_channel()
        front.finish(head)
        stamps = mmap.mmap(front.window[0][2], 0x1000)
        queue = front.queues[0]
        os.set_blocking(queue.call, True)
        header = struct.pack("<IIQIB3xII", 0x207, frontend.FENCE | frontend.RING_IDX, 1, 1, 0,
                             len(STREAM), 0)

        def wait():
            while not queue.is_done(sent[0]):
                os.eventfd_read(queue.call)
            queue.done.pop(sent[0])
        sent = [0]
        front.finish(queue.add(header + STREAM))

        def fire():
            sent[0] = queue.add(header + STREAM)
        return measure(fire, wait, stamps)
    finally:
        front.close()
        program.close()


def over_sockets():
    lib = ctypes.CDLL(str(BUILD / "ipc/libcordon.so"))
    server, context, blob = ctypes.c_void_p(), ctypes.c_void_p(), Blob()
    words = [b"--worker", os.environ["CORDON_WORKER"].encode(), b"--log-level=error", None]

    def must(result):
        assert result == 0, os.strerror(-result)
    must(lib.cordon_server_spawn(os.environ["CORDON_SERVER"].encode(),
                                 (ctypes.c_char_p * len(words))(*words), ctypes.byref(server)))
    must(lib.cordon_context_create(server, 1, b"bench", ctypes.byref(context)))
    must(lib.cordon_blob_create(context, 5, ctypes.c_uint64(0), ctypes.c_uint64(0x1000), 1,
                                ctypes.byref(blob)))
    stamps = mmap.mmap(blob.fd, 0x1000)
    event = lib.cordon_context_fence_fd(context)
    os.set_blocking(event, True)
    seqno = ctypes.c_uint32()

    def fire():
        must(lib.cordon_submit(context, STREAM, ctypes.c_size_t(len(STREAM))))
        must(lib.cordon_fence(context, 0, ctypes.byref(seqno)))

    lib.cordon_context_fence_done.restype = ctypes.c_bool

    def wait():
        while not lib.cordon_context_fence_done(context, 0, seqno):
            os.eventfd_read(event)
    try:
        return measure(fire, wait, stamps)
    finally:
        stamps.close()
        os.close(blob.fd)
        lib.cordon_context_destroy(context)
        lib.cordon_server_close(server, None)


def main():
    print(f"{'':<30}{'doorbell':>12}{'fence to':>12}{'both':>12}")
    print(f"{'':<30}{'to decode':>12}{'interrupt':>12}{'ends':>12}")
    for name, way in (("render-server socket", over_sockets), ("vhost-user", over_vhost_user)):
        print(f"{name:<30}" + "".join(f"{value:>9.1f} us" for value in way()))


if __name__ == "__main__":
    main()
