"""A VMM in a page: Debian's own libvirglrenderer, called as QEMU and crosvm call it.

Runs inside one of scripts/peer-root's -vm roots, with wire.py of tests/protocol beside it; started
by tests/peer/library.py. The last line of standard output is a JSON object: what was seen.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time

import wire

VENUS = 4
# THREAD_SYNC, VENUS, NO_VIRGL, ASYNC_FENCE_CB, RENDER_SERVER: QEMU 11's, without its display.
FLAGS = 1 << 1 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9
INSTANCE, PHYSICAL, DEVICE, QUEUE, POOL, COMMANDS, MEMORY, BUFFER, RING = range(1, 10)
QUEUE_RING = 1
SIZE = 65536
MAPPABLE, HOST3D = 1, 2

WRITE_FENCE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32)
WRITE_CONTEXT_FENCE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32,
                                       ctypes.c_uint64)


class Callbacks(ctypes.Structure):
    _fields_ = [("version", ctypes.c_int), ("write_fence", WRITE_FENCE),
                ("create_gl_context", ctypes.c_void_p), ("destroy_gl_context", ctypes.c_void_p),
                ("make_current", ctypes.c_void_p), ("get_drm_fd", ctypes.c_void_p),
                ("write_context_fence", WRITE_CONTEXT_FENCE), ("get_server_fd", ctypes.c_void_p)]


class BlobArgs(ctypes.Structure):
    _fields_ = [("res_handle", ctypes.c_uint32), ("ctx_id", ctypes.c_uint32),
                ("blob_mem", ctypes.c_uint32), ("blob_flags", ctypes.c_uint32),
                ("blob_id", ctypes.c_uint64), ("size", ctypes.c_uint64),
                ("iovecs", ctypes.c_void_p), ("num_iovs", ctypes.c_uint32)]


class Machine:
    """The library, and what its fence thread told."""

    def __init__(self):
        self.lib = ctypes.CDLL("libvirglrenderer.so.1")
        self.told = []
        self.change = threading.Condition()
        self.callbacks = Callbacks(3, WRITE_FENCE(lambda *_: None), None, None, None, None,
                                   WRITE_CONTEXT_FENCE(self.on_fence), None)
        self.next_resource = 1
        self.fence_id = 0
        self.check("init", self.lib.virgl_renderer_init(ctypes.c_void_p(1), FLAGS,
                                                        ctypes.byref(self.callbacks)))

    @staticmethod
    def check(what, result):
        if result != 0:
            raise RuntimeError(f"{what}: {result}")

    def on_fence(self, _, ctx, ring, fence_id):
        with self.change:
            self.told.append((ctx, ring, fence_id))
            self.change.notify()

    def context(self, ctx, name=b"library"):
        self.check("context", self.lib.virgl_renderer_context_create_with_flags(
            ctx, VENUS, len(name), name))

    def destroy(self, ctx):
        self.lib.virgl_renderer_context_destroy(ctx)

    def submit(self, ctx, data):
        return self.lib.virgl_renderer_submit_cmd(ctypes.c_char_p(data), ctx, len(data) // 4)

    def fence(self, ctx, ring):
        """Its id, or None if the library refuses."""
        self.fence_id += 1
        bad = self.lib.virgl_renderer_context_create_fence(ctx, 1, ring,
                                                           ctypes.c_uint64(self.fence_id))
        return None if bad else self.fence_id

    def wait(self, ctx, ring, fence_id, seconds=20):
        """Was the fence, or a later one of its ring, told?"""
        with self.change:
            return self.change.wait_for(
                lambda: any(c == ctx and r == ring and f >= fence_id for c, r, f in self.told),
                seconds)

    def sync(self, ctx, ring=0):
        fence_id = self.fence(ctx, ring)
        return fence_id is not None and self.wait(ctx, ring, fence_id)

    def blob(self, ctx, blob_id, size):
        """Resource id, or None."""
        number = self.next_resource
        self.next_resource += 1
        args = BlobArgs(number, ctx, HOST3D, MAPPABLE, blob_id, size, None, 0)
        if self.lib.virgl_renderer_resource_create_blob(ctypes.byref(args)):
            return None
        self.lib.virgl_renderer_ctx_attach_resource(ctx, number)
        return number

    def map(self, number):
        """Its bytes, and map_info."""
        where, size, info = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_uint32()
        self.check("map_info", self.lib.virgl_renderer_resource_get_map_info(
            number, ctypes.byref(info)))
        self.check("map", self.lib.virgl_renderer_resource_map(number, ctypes.byref(where),
                                                               ctypes.byref(size)))
        return (ctypes.c_uint8 * size.value).from_address(where.value), info.value

    def unref(self, ctx, number):
        self.lib.virgl_renderer_resource_unmap(number)
        self.lib.virgl_renderer_ctx_detach_resource(ctx, number)
        self.lib.virgl_renderer_resource_unref(number)


def render(machine, ctx):
    """Fills a buffer on the device and looks at it through the library's mapping."""
    number = machine.blob(ctx, 0, 192 + 16384 + 4096)
    machine.map(number)
    machine.submit(ctx, wire.create_ring(RING, wire.RingLayout(number)))
    machine.submit(ctx, wire.create_instance(INSTANCE)
                   + wire.enumerate_physical_devices(INSTANCE, [PHYSICAL], reply=False)
                   + wire.create_device(PHYSICAL, DEVICE)
                   + wire.get_device_queue2(DEVICE, QUEUE, QUEUE_RING)
                   + wire.create_command_pool(DEVICE, POOL, flags=2)
                   + wire.allocate_command_buffers(DEVICE, POOL, [COMMANDS])
                   + wire.allocate_memory(DEVICE, MEMORY, SIZE)
                   + wire.create_buffer(DEVICE, BUFFER, SIZE)
                   + wire.bind_buffer_memory(DEVICE, BUFFER, MEMORY)
                   + wire.begin_command_buffer(COMMANDS)
                   + wire.fill_buffer(COMMANDS, BUFFER, 0, SIZE, 0x11223344)
                   + wire.end_command_buffer(COMMANDS) + wire.queue_submit(QUEUE, COMMANDS))
    seen = {"fence of a queue": machine.sync(ctx, QUEUE_RING)}
    memory = machine.blob(ctx, MEMORY, SIZE)
    if memory is None:
        return seen | {"memory mapped": False}
    view, info = machine.map(memory)
    seen["memory mapped"] = bytes(view) == wire.u32(0x11223344) * (SIZE // 4)
    seen["map_info cached"] = info == 1
    machine.unref(ctx, memory)
    machine.unref(ctx, number)  # with the ring in it, as for a guest process that was killed
    seen["goes on without its ring"] = machine.sync(ctx)
    return seen


def shared(machine, first, second):
    """A blob of one context, used by another as the place for replies."""
    number = machine.blob(first, 0, SIZE)
    machine.lib.virgl_renderer_ctx_attach_resource(second, number)
    view, _ = machine.map(number)
    machine.submit(second, wire.create_instance(INSTANCE) + wire.set_reply(number, 64, 64)
                   + wire.enumerate_physical_devices(INSTANCE, [PHYSICAL]))
    return machine.sync(second) and bytes(view[64:68]) == wire.u32(wire.ENUMERATE_PHYSICAL_DEVICES)


def workers():
    """Processes below us that hold no other, oldest first: the server's workers."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8") as stat:
                    parents[int(name)] = int(stat.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    server = [pid for pid, parent in parents.items() if parent == os.getpid()]
    return sorted(pid for pid, parent in parents.items() if parent in server)


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def death(machine, ctx):
    """The worker is killed while a fence is pending; what does that cost the VMM in two seconds?"""
    machine.context(ctx, b"doomed")
    number = machine.blob(ctx, 0, 192 + 16384 + 4096)
    machine.map(number)
    machine.submit(ctx, wire.create_ring(RING, wire.RingLayout(number)))
    machine.sync(ctx)
    before = set(workers())
    for pid in before:
        os.kill(pid, signal.SIGKILL)  # the others are spares, or contexts that are done with
    time.sleep(0.5)
    begun = cpu_seconds()
    time.sleep(2)
    seen = {"VMM's CPU, 2 s behind a killed worker": round(cpu_seconds() - begun, 3)}
    fence = machine.fence(ctx, 0)
    seen["fence of a dead context comes"] = fence is not None and machine.wait(ctx, 0, fence, 5)
    seen["blob of a dead context is refused"] = machine.blob(ctx, 0, 4096) is None
    machine.destroy(ctx)
    machine.context(ctx + 1, b"after")
    seen["next context works"] = machine.sync(ctx + 1)
    return seen


def export(machine, ctx):
    """virgl_renderer_export_fence of a fence that has come and of one that was never made."""
    fd = ctypes.c_int(-1)
    machine.sync(ctx)
    return [machine.lib.virgl_renderer_export_fence(number, ctypes.byref(fd))
            for number in (machine.fence_id, machine.fence_id + 1000)]


def main():
    machine = Machine()
    machine.context(1)
    machine.context(2)
    seen = render(machine, 1)
    seen["blob of another context"] = shared(machine, 1, 2)
    for number in range(100, 100 + int(sys.argv[1])):
        machine.context(number)
        if number % 5 == 0:
            machine.sync(number)
        machine.destroy(number)
    seen["after many contexts"] = machine.sync(2)
    seen["export_fence"] = export(machine, 2)
    seen |= death(machine, 3)
    machine.lib.virgl_renderer_reset()
    machine.context(1)
    seen["after reset"] = machine.sync(1)
    machine.lib.virgl_renderer_cleanup(ctypes.c_void_p(1))
    seen["workers left"] = len(workers())
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
