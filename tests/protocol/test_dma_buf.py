"""Memory as dma-bufs: ours for others, and others' for us. Every view must show the same bytes.

Needs a kernel with udmabuf; tests/vm boots one.
"""

import fcntl
import mmap
import os
import struct
import unittest

import harness
import wire
from harness import DEVICE, FIRST_FREE
from renderserver import FD_DMABUF, FD_SHM, SEALS, F_ADD_SEALS

QUEUE, POOL, COMMANDS, MEMORY, BUFFER, OTHER_MEMORY, OTHER_BUFFER, IMAGE = range(
    FIRST_FREE, FIRST_FREE + 8)
RESOURCE = 90
QUEUE_RING = 1
SIZE = 1 << 16
EXTENSIONS = ("VK_KHR_external_memory_fd", "VK_EXT_external_memory_dma_buf",
              "VK_EXT_image_drm_format_modifier")
SHAREABLE = 1 | 2 | 4  # mappable, shareable, by other devices too

UDMABUF_CREATE = 0x40187542
DMA_HEAP_IOCTL_ALLOC = 0xC0184800
DRM_IOCTL_MODE_CREATE_DUMB = 0xC02064B2
DRM_IOCTL_PRIME_HANDLE_TO_FD = 0xC00C642D


def udmabuf(size):
    """Pages of a memfd as a dma-buf: (descriptor, the pages)."""
    pages = os.memfd_create("pages", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(pages, size)
    fcntl.fcntl(pages, F_ADD_SEALS, 2)  # it must not shrink
    device = os.open("/dev/udmabuf", os.O_RDWR)
    # The call's value is the descriptor, which Python tells of a mutable argument only.
    fd = fcntl.ioctl(device, UDMABUF_CREATE, bytearray(struct.pack("<IIQQ", pages, 1, 0, size)))
    os.close(device)
    mapping = mmap.mmap(pages, size)
    os.close(pages)
    return fd, mapping


def heap(size):
    device = os.open("/dev/dma_heap/system", os.O_RDWR)
    data = bytearray(struct.pack("<QIIQ", size, 0, os.O_RDWR | os.O_CLOEXEC, 0))
    fcntl.ioctl(device, DMA_HEAP_IOCTL_ALLOC, data)
    os.close(device)
    return struct.unpack_from("<I", data, 8)[0]


def vgem(size):
    """A buffer object of a DRM driver, as minigbm makes them where there is no GPU."""
    node = os.open("/dev/dri/card0", os.O_RDWR)
    data = bytearray(struct.pack("<IIIIIIQ", size // 4096, 1024, 32, 0, 0, 0, 0))
    fcntl.ioctl(node, DRM_IOCTL_MODE_CREATE_DUMB, data)
    handle = struct.unpack_from("<I", data, 16)[0]
    data = bytearray(struct.pack("<IIi", handle, os.O_RDWR | os.O_CLOEXEC, 0))
    fcntl.ioctl(node, DRM_IOCTL_PRIME_HANDLE_TO_FD, data)
    os.close(node)
    return struct.unpack_from("<i", data, 8)[0]


@unittest.skipUnless(os.path.exists("/dev/udmabuf"), "no /dev/udmabuf")
class DmaBufs(harness.ProtocolTest):
    def gpu(self):
        """A context with a device that knows dma-bufs, a queue and a command buffer."""
        context = self.device(self.context(), EXTENSIONS)
        context.submit(wire.get_device_queue2(DEVICE, QUEUE, QUEUE_RING)
                       + wire.create_command_pool(DEVICE, POOL, flags=2)
                       + wire.allocate_command_buffers(DEVICE, POOL, [COMMANDS]))
        self.assert_lives(context)
        return context

    def result(self, context, data, size=24):
        """The VkResult of a command whose reply starts with one."""
        reply = self.call(context, data, size)
        self.assertEqual(reply[:4], data[:4], "no reply:\n" + self.server.read_log())
        return struct.unpack_from("<i", reply, 4)[0]

    def run_commands(self, context, *commands):
        context.submit(wire.begin_command_buffer(COMMANDS) + b"".join(commands)
                       + wire.end_command_buffer(COMMANDS) + wire.queue_submit(QUEUE, COMMANDS))
        context.batches = getattr(context, "batches", 0) + 1
        context.fence(QUEUE_RING, context.batches)
        self.assertTrue(context.wait_fence(QUEUE_RING, context.batches))

    def buffer(self, context, memory, buffer, links=()):
        context.submit(wire.create_buffer(DEVICE, buffer, SIZE, links=links)
                       + wire.bind_buffer_memory(DEVICE, buffer, memory))
        self.assert_lives(context)

    def check_same_bytes(self, context, view):
        """`view` and the driver's memory behind BUFFER are one: in both directions."""
        self.run_commands(context, wire.fill_buffer(COMMANDS, BUFFER, 0, SIZE, 0x11223344))
        self.assertEqual(view[:], struct.pack("<I", 0x11223344) * (SIZE // 4),
                         "the driver's write is not seen outside")
        pattern = bytes(range(256)) * (SIZE // 256)
        view[:] = pattern
        if not hasattr(context, "copy"):
            self.assertEqual(self.result(context, wire.allocate_memory(
                DEVICE, OTHER_MEMORY, SIZE, reply=True)), 0)
            self.buffer(context, OTHER_MEMORY, OTHER_BUFFER)
            _, kind, _, fd = context.create_resource(OTHER_MEMORY, SIZE, 1)
            self.assertIn(kind, (FD_SHM, FD_DMABUF))
            context.copy = mmap.mmap(fd, SIZE)
            os.close(fd)
            self.addCleanup(context.copy.close)
        self.run_commands(context, wire.copy_buffer(COMMANDS, BUFFER, OTHER_BUFFER, SIZE))
        self.assertEqual(context.copy[:], pattern, "our write is not seen by the driver")

    def exported(self, context):
        """Exported memory behind BUFFER: (descriptor, map_info)."""
        self.assertEqual(self.result(context, wire.allocate_memory(
            DEVICE, MEMORY, SIZE, export=wire.DMA_BUF, reply=True)), 0)
        self.buffer(context, MEMORY, BUFFER,
                    [(wire.STYPE_EXTERNAL_MEMORY_BUFFER, wire.u32(wire.DMA_BUF))])
        _, kind, map_info, fd = context.create_resource(MEMORY, SIZE, SHAREABLE)
        self.assertEqual(kind, FD_DMABUF)
        self.assertEqual(os.readlink(f"/proc/self/fd/{fd}").split(":")[0], "/dmabuf")
        return fd, map_info

    def imported(self, context, fd):
        """Memory and BUFFER made of somebody else's dma-buf."""
        context.import_resource(RESOURCE, FD_DMABUF, fd, SIZE)
        reply = self.call(context, wire.get_memory_resource_properties(DEVICE, RESOURCE), 52)
        number, result = struct.unpack_from("<Ii", reply)
        self.assertEqual((number, result), (wire.GET_MEMORY_RESOURCE_PROPERTIES, 0))
        size, = struct.unpack_from("<Q", reply, 40)
        types, = struct.unpack_from("<I", reply, 48)
        self.assertGreaterEqual(size, SIZE)
        self.assertNotEqual(types, 0)
        self.assertEqual(self.result(context, wire.allocate_memory(
            DEVICE, MEMORY, SIZE, kind=(types & -types).bit_length() - 1,
            import_resource=RESOURCE, reply=True)), 0)
        self.buffer(context, MEMORY, BUFFER,
                    [(wire.STYPE_EXTERNAL_MEMORY_BUFFER, wire.u32(wire.DMA_BUF))])

    def test_memory_that_is_not_exported_can_be_mapped(self):
        context = self.gpu()
        self.assertEqual(self.result(context, wire.allocate_memory(DEVICE, MEMORY, SIZE,
                                                                   reply=True)), 0)
        self.buffer(context, MEMORY, BUFFER)
        _, kind, map_info, fd = context.create_resource(MEMORY, SIZE, 1)
        self.assertEqual(map_info, 1)
        if kind == FD_SHM or not harness.PEER:
            self.assertEqual(kind, FD_SHM, "pages of a CPU driver are a memfd's")
            self.assertEqual(os.fstat(fd).st_size, SIZE)
            fcntl.fcntl(fd, F_ADD_SEALS, SEALS)
        with mmap.mmap(fd, SIZE) as view:
            self.check_same_bytes(context, view)
        os.close(fd)

    def test_exported_memory_is_a_dma_buf_that_a_vmm_can_map(self):
        context = self.gpu()
        fd, map_info = self.exported(context)
        self.assertEqual(map_info, 1)
        with mmap.mmap(fd, SIZE) as view:
            self.check_same_bytes(context, view)
        os.close(fd)

    def test_exported_memory_outlives_its_vulkan_object(self):
        context = self.gpu()
        fd, _ = self.exported(context)
        self.run_commands(context, wire.fill_buffer(COMMANDS, BUFFER, 0, SIZE, 7))
        context.submit(wire.destroy_buffer(DEVICE, BUFFER) + wire.free_memory(DEVICE, MEMORY))
        self.assert_lives(context)
        context.destroy()
        with mmap.mmap(fd, SIZE) as view:
            self.assertEqual(view[:], struct.pack("<I", 7) * (SIZE // 4))
        os.close(fd)

    def test_exported_memory_in_another_context(self):
        maker, user = self.gpu(), self.gpu()
        fd, _ = self.exported(maker)
        self.imported(user, fd)
        with mmap.mmap(fd, SIZE) as view:
            self.check_same_bytes(user, view)
            self.check_same_bytes(maker, view)
        os.close(fd)

    def test_udmabuf_made_outside(self):
        context = self.gpu()
        fd, pages = udmabuf(SIZE)
        self.imported(context, fd)
        self.check_same_bytes(context, pages)
        os.close(fd)
        pages.close()

    @unittest.skipUnless(os.path.exists("/dev/dma_heap/system"), "no dma-heap")
    def test_heap_memory_made_outside(self):
        context = self.gpu()
        fd = heap(SIZE)
        self.imported(context, fd)
        with mmap.mmap(fd, SIZE) as view:
            self.check_same_bytes(context, view)
        os.close(fd)

    @unittest.skipUnless(os.path.exists("/dev/dri/card0"), "no vgem")
    def test_buffer_object_made_outside(self):
        context = self.gpu()
        fd = vgem(SIZE)
        self.imported(context, fd)
        with mmap.mmap(fd, SIZE) as view:
            self.check_same_bytes(context, view)
        os.close(fd)

    def test_image_with_an_explicit_modifier(self):
        """Somebody else's layout: 64 x 64 texels, whose rows are 512 bytes apart."""
        context = self.gpu()
        fd, pages = udmabuf(SIZE)
        context.import_resource(RESOURCE, FD_DMABUF, fd, SIZE)
        self.assertEqual(self.result(context, wire.create_linear_image(
            DEVICE, IMAGE, 41, 64, 64, 512)), 0)  # VK_FORMAT_R8G8B8A8_UINT
        self.assertEqual(self.result(context, wire.allocate_memory(
            DEVICE, MEMORY, SIZE, import_resource=RESOURCE, reply=True)), 0)
        context.submit(wire.bind_image_memory(DEVICE, IMAGE, MEMORY))
        self.run_commands(context, wire.image_to_general(COMMANDS, IMAGE),
                          wire.clear_image(COMMANDS, IMAGE, (1, 2, 3, 4)))
        for row in range(64):
            self.assertEqual(pages[512 * row:512 * row + 256], b"\1\2\3\4" * 64)
            self.assertEqual(pages[512 * row + 256:512 * (row + 1)], bytes(256))
        os.close(fd)
        pages.close()

    def test_import_larger_than_the_buffer(self):
        """A guest's lie about the size must not let it map beyond the end."""
        context = self.gpu()
        fd, pages = udmabuf(4096)
        context.import_resource(RESOURCE, FD_DMABUF, fd, SIZE)
        os.close(fd)
        result = self.result(context, wire.allocate_memory(DEVICE, MEMORY, SIZE,
                                                           import_resource=RESOURCE, reply=True))
        self.assertLess(result, 0)
        pages.close()


if __name__ == "__main__":
    harness.main()
