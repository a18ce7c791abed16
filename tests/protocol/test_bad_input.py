"""Truncated, oversized, unknown, out-of-range and type-confused input, against the real thing."""

import fcntl
import os
import struct
import time

import harness
import wire
from harness import DEVICE, FIRST_FREE, INSTANCE, PHYSICAL
from renderserver import FD_DMABUF, FD_SHM, Ring


class BadCommands(harness.ProtocolTest):
    def refused(self, data, *words):
        context = self.device(self.context())
        context.submit(data)
        self.assert_ends(context, *words)

    def test_unknown_command_number(self):
        self.refused(wire.command(9999), "9999")

    def test_removed_command_195(self):
        self.refused(wire.command(195), "195")

    def test_command_without_wire_form(self):
        self.refused(wire.command(23, wire.u64(DEVICE)), "vkMapMemory")

    def test_negative_command_number(self):
        self.refused(wire.u32(0xFFFFFFFF) + wire.u32(0))

    def test_lone_header_half(self):
        self.refused(wire.u32(wire.CREATE_FENCE))

    def test_truncated_command(self):
        whole = wire.create_buffer(DEVICE, FIRST_FREE)
        self.refused(whole[:-8], "vkCreateBuffer")

    def test_first_handle_null(self):
        self.refused(wire.create_buffer(0, FIRST_FREE), "vkCreateBuffer")

    def test_unknown_handle(self):
        self.refused(wire.create_buffer(77, FIRST_FREE), "77")

    def test_handle_of_another_type(self):
        self.refused(wire.create_buffer(PHYSICAL, FIRST_FREE), "vkCreateBuffer")

    def test_new_id_zero(self):
        self.refused(wire.create_buffer(DEVICE, 0), "vkCreateBuffer")

    def test_new_id_in_use(self):
        self.refused(wire.create_buffer(DEVICE, INSTANCE), "vkCreateBuffer")

    def test_required_struct_absent(self):
        self.refused(wire.command(wire.CREATE_BUFFER, wire.u64(DEVICE), wire.NULL, wire.NULL,
                                  wire.PRESENT, wire.u64(FIRST_FREE)), "vkCreateBuffer")

    def test_wrong_structure_type(self):
        info = wire.PRESENT + wire.u32(13) + wire.NO_CHAIN + wire.u32(0) + wire.u64(64) \
            + wire.u32(3) + wire.u32(0) + wire.u32(0) + wire.u64(0)
        self.refused(wire.command(wire.CREATE_BUFFER, wire.u64(DEVICE), info, wire.NULL,
                                  wire.PRESENT, wire.u64(FIRST_FREE)), "VkBufferCreateInfo")

    def test_structure_that_does_not_belong_in_the_chain(self):
        info = wire.PRESENT + wire.u32(12) + wire.u64(1) + wire.u32(8) + wire.NO_CHAIN \
            + wire.u32(0) * 20
        self.refused(wire.command(wire.CREATE_BUFFER, wire.u64(DEVICE), info, wire.NULL,
                                  wire.PRESENT, wire.u64(FIRST_FREE)), "VkBufferCreateInfo")

    def test_array_size_that_contradicts_its_count(self):
        self.refused(wire.create_buffer(DEVICE, FIRST_FREE, sharing=1, families=3, indices=(0, 0)),
                     "pQueueFamilyIndices")

    def device_of_a_software_driver(self):
        """A GPU's own page tables check what is bound: there sparse resources are served."""
        context = self.device(self.context())
        reply = self.call(context, wire.command(wire.GET_PHYSICAL_DEVICE_PROPERTIES,
                                                wire.u64(PHYSICAL), wire.PRESENT, reply=True), 4096)
        device_type = struct.unpack_from("<I", reply, 28)[0]
        if device_type != wire.PHYSICAL_DEVICE_TYPE_CPU:
            self.skipTest("the host driver is no software driver")
        return context

    def test_sparse_buffer_where_the_driver_would_trust_its_contents(self):
        for flags in (1, 2, 4):
            context = self.device_of_a_software_driver()
            info = wire.PRESENT + wire.u32(12) + wire.NO_CHAIN + wire.u32(flags) + wire.u64(4096) \
                + wire.u32(3) + wire.u32(0) + wire.u32(0) + wire.u64(0)
            context.submit(wire.command(wire.CREATE_BUFFER, wire.u64(DEVICE), info, wire.NULL,
                                        wire.PRESENT, wire.u64(FIRST_FREE)))
            self.assert_ends(context, "vkCreateBuffer", "sparse")

    def test_sparse_binding_where_the_driver_would_trust_its_contents(self):
        context = self.device_of_a_software_driver()
        context.submit(wire.get_device_queue2(DEVICE, FIRST_FREE, 1))
        context.submit(wire.command(34, wire.u64(FIRST_FREE), wire.u32(0), wire.u64(0),
                                    wire.u64(0)))
        self.assert_ends(context, "vkQueueBindSparse", "sparse")

    def test_failed_allocation_that_nobody_waited_for(self):
        context = self.device(self.context())
        context.submit(wire.allocate_memory(DEVICE, FIRST_FREE, 1 << 50)
                       + wire.free_memory(DEVICE, FIRST_FREE)
                       + wire.create_buffer(DEVICE, FIRST_FREE))
        self.assert_lives(context)
        context.submit(wire.allocate_memory(DEVICE, FIRST_FREE + 1, 1 << 50)
                       + wire.bind_buffer_memory(DEVICE, FIRST_FREE, FIRST_FREE + 1))
        self.assert_ends(context, "vkBindBufferMemory", "could not be allocated")

    def test_allocator_that_is_not_null(self):
        self.refused(wire.command(wire.CREATE_FENCE, wire.u64(DEVICE),
                                  wire.PRESENT + wire.u32(8) + wire.NO_CHAIN + wire.u32(0),
                                  wire.PRESENT, wire.PRESENT, wire.u64(FIRST_FREE)),
                     "vkCreateFence")

    def test_second_instance(self):
        self.refused(wire.create_instance(FIRST_FREE), "vkCreateInstance")

    def test_ring_command_on_the_context_stream(self):
        self.refused(wire.wait_virtqueue_seqno(1), "vkWaitVirtqueueSeqnoMESA")

    def test_reply_without_a_stream(self):
        context = self.context()
        context.submit(wire.create_instance(INSTANCE, reply=True))
        self.assert_ends(context, "vkCreateInstance")

    def test_nested_streams(self):
        context = self.device(self.context())
        resource, mapping = context.shm(4096)
        inner = wire.execute_streams([(resource, 1024, 64)])
        mapping[: len(inner)] = inner
        context.submit(wire.execute_streams([(resource, 0, len(inner))]))
        self.assert_ends(context, "vkExecuteCommandStreamsMESA")

    def test_stream_outside_its_resource(self):
        context = self.device(self.context())
        resource, _ = context.shm(4096)
        context.submit(wire.execute_streams([(resource, 4092, 8)]))
        self.assert_ends(context, "vkExecuteCommandStreamsMESA")

    def test_stream_offset_that_wraps(self):
        context = self.device(self.context())
        resource, _ = context.shm(4096)
        context.submit(wire.execute_streams([(resource, 2**64 - 4, 8)]))
        self.assert_ends(context, "vkExecuteCommandStreamsMESA")

    def test_reply_window_outside_its_resource(self):
        context = self.context()
        resource, _ = context.shm(4096)
        context.submit(wire.set_reply(resource, 4000, 97))
        self.assert_ends(context, "vkSetReplyCommandStreamMESA")

    def test_queue_family_out_of_range(self):
        context = self.context()
        context.submit(wire.create_instance(INSTANCE))
        resource, mapping = context.shm(4096)
        context.call(wire.enumerate_physical_devices(INSTANCE, [PHYSICAL]), 64, resource, mapping)
        reply = context.call(wire.create_device(PHYSICAL, DEVICE, families=((99, 1),), reply=True),
                             24, resource, mapping)
        self.assertLess(struct.unpack_from("<i", reply, 4)[0], 0)
        self.assert_lives(context)

    def test_memory_type_out_of_range(self):
        context = self.device(self.context())
        reply = self.call(context, wire.allocate_memory(DEVICE, FIRST_FREE, 4096, kind=31,
                                                        reply=True), 24)
        self.assertLess(struct.unpack_from("<i", reply, 4)[0], 0)
        self.assert_lives(context)

    def test_every_prefix_of_a_device_creation(self):
        """Cut at each fourth byte: each ends its own context, none crashes anything."""
        whole = wire.create_buffer(DEVICE, FIRST_FREE)
        for size in range(8, len(whole), 16):
            context = self.device(self.context())
            context.submit(whole[:size])
            self.assertTrue(context.ended())
            context.destroy()
        self.assertNotIn("SIG", self.server.read_log())


class BadRings(harness.ProtocolTest):
    def refused(self, *words, **changes):
        context = self.context()
        Ring(context, **changes)
        self.assert_ends(context, "vkCreateRingMESA", *words)

    def test_buffer_that_is_no_power_of_two(self):
        self.refused(buffer_size=12288)

    def test_overlapping_regions(self):
        self.refused(tail=0)

    def test_misaligned_head(self):
        self.refused(head=2)

    def test_size_beyond_the_resource(self):
        self.refused(size=1 << 30)

    def test_offset_that_wraps(self):
        self.refused(offset=2**64 - 64)

    def test_monitor_period_zero(self):
        self.refused(monitor_us=0)

    def test_ring_id_zero(self):
        context = self.context()
        Ring(context, ring_id=0)
        self.assert_ends(context, "vkCreateRingMESA")

    def test_unknown_resource(self):
        context = self.context()
        context.submit(wire.create_ring(7, wire.RingLayout(99)))
        self.assert_ends(context, "vkCreateRingMESA")

    def test_head_not_zero(self):
        context = self.context()
        resource, mapping = context.shm(32768)
        struct.pack_into("<I", mapping, 0, 4)
        context.submit(wire.create_ring(7, wire.RingLayout(resource)))
        self.assert_ends(context, "vkCreateRingMESA")

    def test_tail_beyond_the_buffer(self):
        context = self.context()
        ring = Ring(context)
        self.assertTrue(context.sync())
        ring.put(ring.layout.tail, 16384 + 4)
        context.submit(wire.notify_ring(ring.id))
        self.assertTrue(ring.wait_fatal())
        self.assert_ends(context, "tail")

    def test_tail_that_is_not_a_multiple_of_four(self):
        context = self.context()
        ring = Ring(context)
        self.assertTrue(context.sync())
        ring.put(ring.layout.tail, 6)
        context.submit(wire.notify_ring(ring.id))
        self.assertTrue(ring.wait_fatal())
        self.assert_ends(context)

    def test_command_cut_off_by_the_tail(self):
        context = self.context()
        ring = Ring(context)
        self.assertTrue(context.sync())
        ring.write(wire.create_instance(INSTANCE)[:-4])
        self.assertTrue(ring.wait_fatal())
        self.assert_ends(context, "vkCreateInstance")

    def test_ring_wait_that_can_never_end(self):
        context = self.context()
        ring = Ring(context)
        context.submit(wire.wait_ring_seqno(ring.id, 4096))
        self.assert_ends(context)

    def test_extra_outside_its_region(self):
        context = self.context()
        ring = Ring(context)
        context.submit(wire.write_ring_extra(ring.id, 4, 1))
        self.assert_ends(context, "vkWriteRingExtraMESA")

    def test_resource_of_a_ring_destroyed(self):
        context = self.context()
        ring = Ring(context)
        self.assertTrue(context.sync())
        other = Ring(context, ring_id=0x2000)
        context.destroy_resource(ring.resource)
        self.assertTrue(ring.wait_fatal())
        self.assert_lives(context)
        other.write(wire.command(wire.ENUMERATE_INSTANCE_VERSION, wire.PRESENT))
        self.assertTrue(other.wait())
        context.shm(4096)
        context.submit(wire.destroy_ring(ring.id))
        self.assert_lives(context)

    def test_wait_for_a_ring_that_lost_its_memory(self):
        context = self.context()
        ring = Ring(context)
        context.destroy_resource(ring.resource)
        context.submit(wire.wait_ring_seqno(ring.id, 64))
        self.assert_ends(context)

    def test_killed_guest_process_leaves_no_error(self):
        """Its kernel takes its memory away, rings first, and then its context."""
        context = self.device(self.context())
        rings = [Ring(context, ring_id=0x1000 + i) for i in range(3)]
        for ring in rings:
            ring.write(wire.wait_virtqueue_seqno(99))
        for resource in list(context.maps):
            context.destroy_resource(resource)
        self.assertTrue(context.sync())
        context.destroy()
        self.assertTrue(self.context().sync())
        if not harness.PEER:
            self.assertNotRegex(self.server.read_log(), r"\b(error|warn)\b.*ctx=")

    def test_ordinary_ring_works(self):
        """The yardstick for the others: the same ring, used as it should be."""
        context = self.context()
        ring = Ring(context, monitor_us=20000)
        resource, mapping = context.shm(4096)
        ring.write(wire.set_reply(resource, 0, 20)
                   + wire.command(wire.ENUMERATE_INSTANCE_VERSION, wire.PRESENT, reply=True))
        self.assertTrue(ring.wait())
        number, result, present, version = struct.unpack("<IiQI", mapping[:20])
        self.assertEqual((number, result, present), (wire.ENUMERATE_INSTANCE_VERSION, 0, 1))
        self.assertGreaterEqual(version, 1 << 22)
        ring.put(ring.layout.status, ring.status & ~4)
        time.sleep(0.2)
        self.assertTrue(ring.status & 4, "the monitor must set ALIVE again")
        context.submit(wire.write_ring_extra(ring.id, 0, 0xABCD))
        self.assertTrue(context.sync())
        self.assertEqual(ring.get(ring.layout.extra), 0xABCD)
        context.submit(wire.destroy_ring(ring.id))
        self.assert_lives(context)

    def test_virtqueue_seqno_orders_a_ring(self):
        context = self.context()
        ring = Ring(context)
        resource, mapping = context.shm(4096)
        first = wire.wait_virtqueue_seqno(5)
        ring.write(first + wire.set_reply(resource, 0, 20)
                   + wire.command(wire.ENUMERATE_INSTANCE_VERSION, wire.PRESENT, reply=True))
        context.submit(wire.submit_virtqueue_seqno(ring.id, 4))
        self.assertFalse(ring.wait(timeout=0.3), "4 must not release a wait for 5")
        context.submit(wire.submit_virtqueue_seqno(ring.id, 5))
        self.assertTrue(ring.wait())


class BadMessages(harness.ProtocolTest):
    """The render-server protocol itself, broken by a VMM that passes on what a guest wants."""

    def test_blob_of_size_zero(self):
        context = self.context()
        self.assertEqual(context.create_resource(0, 0, 1)[3], -1)
        self.assert_lives(context)

    def test_blob_with_unknown_flags(self):
        context = self.context()
        self.assertEqual(context.create_resource(0, 4096, 8)[3], -1)
        self.assert_lives(context)

    def test_blob_of_an_unknown_memory(self):
        context = self.context()
        self.assertEqual(context.create_resource(1234, 4096, 1)[3], -1)
        self.assert_lives(context)

    def test_blob_far_too_large(self):
        context = self.context()
        self.assertEqual(context.create_resource(0, 1 << 62, 1)[3], -1)
        self.assert_lives(context)

    def test_odd_sizes_are_exact(self):
        context = self.context()
        _, fd_type, map_info, fd = context.create_resource(0, 4097, 1)
        self.assertEqual((fd_type, map_info), (FD_SHM, 1))
        self.assertEqual(os.fstat(fd).st_size, 4097)
        os.close(fd)

    def test_shared_memory_can_still_be_sealed_by_the_vmm(self):
        context = self.context()
        _, _, _, fd = context.create_resource(0, 8192, 1)
        fcntl.fcntl(fd, 1033, 0x7)
        self.assertEqual(fcntl.fcntl(fd, 1034) & 0xF, 0x7)
        os.close(fd)

    def test_import_of_shared_memory_that_can_shrink(self):
        """A shrink later would turn an access into SIGBUS: the resource must not come to be."""
        context = self.context()
        fd = os.memfd_create("loose", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, 8192)
        context.import_resource(50, FD_SHM, fd, 8192)
        os.ftruncate(fd, 0)
        os.close(fd)
        context.submit(wire.set_reply(50, 0, 4096))
        self.assert_ends(context)

    def test_import_smaller_than_it_says(self):
        context = self.context()
        fd = os.memfd_create("small", os.MFD_CLOEXEC)
        os.ftruncate(fd, 4096)
        context.import_resource(50, FD_SHM, fd, 1 << 20)
        os.close(fd)
        context.submit(wire.set_reply(50, 0, 1 << 20))
        self.assert_ends(context)

    def test_import_of_something_else_as_dma_buf(self):
        context = self.context()
        read_end, write_end = os.pipe()
        context.import_resource(50, FD_DMABUF, read_end, 4096)
        os.close(read_end)
        os.close(write_end)
        self.assert_lives(context)

    def test_fence_on_an_unbound_ring_index(self):
        context = self.context()
        context.fence(5, 1)
        self.assertTrue(context.wait_fence(5, 1))
        self.assert_lives(context)

    def test_fence_on_a_ring_index_out_of_range(self):
        context = self.context()
        context.fence(64, 1)
        if harness.PEER:
            # It may end, or never answer again; how soon says how loaded the machine is.
            self.assertTrue(self.server.alive())
        else:
            self.assert_ends(context, "timeline 64")

    def test_unknown_resource_destroyed(self):
        context = self.context()
        context.destroy_resource(4711)
        self.assert_lives(context)

    def test_message_of_a_wrong_size(self):
        context = self.context()
        context.send(struct.pack("<IIQ", 2, 1, 0))
        self.assert_ends(context)

    def test_unknown_op(self):
        context = self.context()
        context.send(struct.pack("<II", 42, 0))
        self.assert_ends(context)

    def test_command_size_not_a_multiple_of_four(self):
        context = self.context()
        context.send(struct.pack("<II256s", 5, 6, b""))
        self.assert_ends(context)

    def test_tail_that_never_came(self):
        """The VMM's second send failed (EMSGSIZE): what follows is the next request."""
        context = self.context()
        context.send(struct.pack("<II256s", 5, 300000, b""))
        _, _, _, fd = context.create_resource(0, 4096, 1)
        self.assertGreaterEqual(fd, 0, "the context must go on behind a dropped command")
        os.close(fd)

    def test_server_ignores_nonsense(self):
        for data in (b"", b"\0", struct.pack("<I", 99), struct.pack("<II", 3, 1), b"x" * 200,
                     struct.pack("<II", 4, 4711), struct.pack("<I", 0)):
            if data:
                self.server.send(data)
        context = self.context()
        self.assert_lives(context)

    def test_live_context_id_is_refused(self):
        context = self.context()
        with self.assertRaises(RuntimeError):
            self.server.create_context(context.ctx_id)
        self.assert_lives(context)

    def test_reset_ends_all_and_serves_again(self):
        context = self.context()
        self.assert_lives(context)
        self.server.send(struct.pack("<I", 2))
        again = self.server.create_context(context.ctx_id)
        self.addCleanup(again.close)
        self.assertTrue(again.sync())

    def test_guest_name_cannot_forge_log_lines(self):
        context = self.server.create_context(900, "a\nerror ctx=1 fake\x1b[31m")
        self.addCleanup(context.close)
        context.submit(wire.command(9999))
        self.assertTrue(context.ended())
        self.server.wait_log("ctx=900")
        self.assertNotIn("\x1b", self.server.read_log())
        self.assertFalse([line for line in self.server.read_log().splitlines()
                          if line.startswith("error ctx=1")])


if __name__ == "__main__":
    harness.main()
