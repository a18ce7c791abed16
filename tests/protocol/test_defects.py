"""One test (at least) for each defect known of the server that Cordon stands in for.

The numbers are rows of docs/defects.md, which says where each of the others is tested: some need a
driver that fails on demand (tests/unit), some are figures of scripts/bench.
"""

import ctypes
import os
import signal
import struct
import threading
import time

import harness
import wire
from harness import DEVICE, FIRST_FREE, INSTANCE, PHYSICAL, QUEUE
from renderserver import Gone, Ring

VK_SUCCESS, VK_ERROR_INITIALIZATION_FAILED = 0, -3


def worker_pids(server):
    """Worker processes below the server, newest last."""
    return sorted(harness.children_of(server.process.pid))


class Replies(harness.ProtocolTest):
    def test_01_groups_before_devices_show_no_host_pointers(self):
        context = self.context()
        context.submit(wire.create_instance(INSTANCE))
        resource, mapping = context.shm(4096)
        group = wire.u32(1000070000) + wire.NO_CHAIN + wire.u64(32) + wire.u64(0) * 32
        reply = context.call(
            wire.command(wire.ENUMERATE_PHYSICAL_DEVICE_GROUPS, wire.u64(INSTANCE), wire.PRESENT,
                         wire.u32(1), wire.array([group]), reply=True), 4096, resource, mapping)
        number, result, present, count, elements = struct.unpack_from("<IiQIQ", reply)
        self.assertEqual(number, wire.ENUMERATE_PHYSICAL_DEVICE_GROUPS)
        self.assertIn(result, (VK_SUCCESS, VK_ERROR_INITIALIZATION_FAILED))
        if elements:
            # After sType and chain: u32 count, u64 32, then 32 handles.
            handles = struct.unpack_from("<32Q", reply, 28 + 12 + 4 + 8)
            self.assertEqual([h for h in handles if h], [], "ids unknown to the guest")

    def test_03_failed_calls_reply_with_zeros_not_with_old_memory(self):
        context = self.device(self.context())
        # Leave bytes behind in per-command memory first.
        context.submit(wire.create_shader_module(DEVICE, FIRST_FREE, 400, [0xA5A5A5A5] * 100))
        shm, _ = context.shm(4096)
        query = wire.PRESENT + wire.u32(wire.STYPE_MEMORY_RESOURCE_PROPERTIES) + wire.u64(1) \
            + wire.u32(wire.STYPE_MEMORY_RESOURCE_ALLOCATION_SIZE) + wire.NO_CHAIN
        reply = self.call(context, wire.command(wire.GET_MEMORY_RESOURCE_PROPERTIES,
                                                wire.u64(DEVICE), wire.u32(shm), query,
                                                reply=True), 52)
        _, result = struct.unpack_from("<Ii", reply)
        if result != VK_SUCCESS:
            self.assertEqual(reply[-12:], b"\0" * 12, "allocationSize and memoryTypeBits")

    def test_14_a_reply_stays_in_its_window(self):
        context = self.context()
        resource, mapping = context.shm(4096)
        mapping[:64] = b"\xa5" * 64
        context.submit(wire.set_reply(resource, 0, 4)
                       + wire.command(wire.ENUMERATE_INSTANCE_VERSION, wire.PRESENT, reply=True))
        self.assert_ends(context, "vkEnumerateInstanceVersion")
        self.assertEqual(mapping[4:64], b"\xa5" * 60, "bytes behind the window were touched")

    def test_24_a_destroyed_resource_unsets_the_reply_stream(self):
        context = self.context()
        resource, _ = context.shm(4096)
        context.submit(wire.set_reply(resource, 0, 64))
        self.assert_lives(context)
        context.destroy_resource(resource)
        self.assert_lives(context)
        context.submit(wire.command(wire.ENUMERATE_INSTANCE_VERSION, wire.PRESENT, reply=True))
        self.assert_ends(context, "vkEnumerateInstanceVersion")


class Decoding(harness.ProtocolTest):
    def test_04_union_tag_must_equal_its_selector(self):
        """geometryType says triangles; the union's tag says instances."""
        context = self.device(self.context())
        # VkAccelerationStructureBuildGeometryInfoKHR with one VkAccelerationStructureGeometryKHR:
        # geometryType 0 (triangles), union tag 2 (instances).
        geometry = wire.u32(1000150006) + wire.NO_CHAIN + wire.u32(0) + wire.u32(2) \
            + wire.u32(1000150004) + wire.NO_CHAIN + wire.u32(0) + wire.u32(0) + wire.u64(0) \
            + wire.u32(0)
        info = wire.PRESENT + wire.u32(1000150000) + wire.NO_CHAIN + wire.u32(0) + wire.u32(0) \
            + wire.u32(0) + wire.u64(0) + wire.u64(0) + wire.u32(1) + wire.u64(1) + geometry \
            + wire.u64(0) + wire.u32(0) + wire.u64(0)
        context.submit(wire.command(wire.GET_ACCELERATION_STRUCTURE_BUILD_SIZES, wire.u64(DEVICE),
                                    wire.u32(1), info, wire.u64(1) + wire.u32(12), wire.PRESENT
                                    + wire.u32(1000150020) + wire.NO_CHAIN))
        self.assert_ends(context, "vkGetAccelerationStructureBuildSizesKHR", "selector")

    def test_05_blob_beyond_the_stream(self):
        for size in (64, 2**32, 2**63, 2**64 - 8, 2**64 - 1):
            context = self.device(self.context())
            self.record(context)
            context.submit(wire.command(wire.CMD_UPDATE_BUFFER, wire.u64(FIRST_FREE + 1),
                                        wire.u64(FIRST_FREE + 2), wire.u64(0), wire.u64(size),
                                        wire.u64(size), b"\0" * 16))
            self.assert_ends(context, "vkCmdUpdateBuffer")
            context.destroy()

    def record(self, context):
        """Pool 16, command buffer 17 in the recording state, buffer 18."""
        context.submit(wire.create_command_pool(DEVICE, FIRST_FREE)
                       + wire.allocate_command_buffers(DEVICE, FIRST_FREE, [FIRST_FREE + 1])
                       + wire.create_buffer(DEVICE, FIRST_FREE + 2)
                       + wire.command(wire.BEGIN_COMMAND_BUFFER, wire.u64(FIRST_FREE + 1),
                                      wire.PRESENT + wire.u32(42) + wire.NO_CHAIN + wire.u32(0)
                                      + wire.NULL))

    def test_07_indirect_streams_may_change_while_they_run(self):
        """A second thread of the guest rewrites sizes while they are being decoded."""
        context = self.device(self.context())
        resource, mapping = context.shm(65536)
        one = wire.create_buffer(DEVICE, FIRST_FREE, sharing=1, families=2, indices=(0, 0)) \
            + wire.destroy_buffer(DEVICE, FIRST_FREE)
        stream = one * (60000 // len(one))
        mapping[: len(stream)] = stream
        size_at = one.index(wire.u64(2) + wire.u32(0)) % len(one)
        stop = threading.Event()

        def flip():
            view = ctypes.c_uint64.from_buffer(mapping, size_at)
            while not stop.is_set():
                view.value = 0xFFFFFFFFFFFFFFF
                view.value = 2
            del view

        thread = threading.Thread(target=flip)
        thread.start()
        try:
            for _ in range(50):
                context.submit(wire.execute_streams([(resource, 0, len(stream))]))
                if not context.sync():
                    break
        except Gone:
            pass
        finally:
            stop.set()
            thread.join()
        self.assertNotIn("SIGSEGV", self.server.read_log())
        self.assertNotIn("SIGBUS", self.server.read_log())

    def test_08_code_size_of_a_chained_shader_module(self):
        context = self.device(self.context())
        layout = wire.command(wire.CREATE_PIPELINE_LAYOUT, wire.u64(DEVICE), wire.PRESENT
                              + wire.u32(30) + wire.NO_CHAIN + wire.u32(0) + wire.u32(0)
                              + wire.u64(0) + wire.u32(0) + wire.u64(0), wire.NULL, wire.PRESENT,
                              wire.u64(FIRST_FREE))
        module = wire.u32(0) + wire.u64(6) + wire.u64(1) + wire.u32(0x07230203)
        stage = wire.u32(18) + wire.u64(1) + wire.u32(16) + wire.NO_CHAIN + module + wire.u32(0) \
            + wire.u32(0x20) + wire.u64(0) + wire.string("main") + wire.NULL
        info = wire.u32(29) + wire.NO_CHAIN + wire.u32(0) + stage + wire.u64(FIRST_FREE) \
            + wire.u64(0) + wire.u32(0)
        context.submit(layout + wire.command(wire.CREATE_COMPUTE_PIPELINES, wire.u64(DEVICE),
                                             wire.u64(0), wire.u32(1), wire.array([info]),
                                             wire.NULL, wire.array([wire.u64(FIRST_FREE + 1)])))
        self.assert_ends(context, "codeSize")

    def test_09_chain_of_a_hundred_thousand_links(self):
        context = self.device(self.context())
        resource, mapping = context.shm(1 << 22)
        links = (wire.u64(1) + wire.u32(1000059000)) * 100000
        body = wire.command(wire.GET_PHYSICAL_DEVICE_FEATURES2, wire.u64(PHYSICAL), wire.PRESENT
                            + wire.u32(1000059000) + links + wire.NO_CHAIN)
        mapping[: len(body)] = body
        context.submit(wire.execute_streams([(resource, 0, len(body))]))
        self.assert_ends(context, "vkGetPhysicalDeviceFeatures2")

    def test_09_elements_that_cost_nothing_on_the_wire(self):
        context = self.device(self.context())
        context.submit(wire.command(wire.ENUMERATE_DEVICE_EXTENSION_PROPERTIES,
                                    wire.u64(PHYSICAL), wire.u64(0), wire.PRESENT,
                                    wire.u32(0xFFFFFFFF), wire.u64(0xFFFFFFFF)))
        self.assert_ends(context, "vkEnumerateDeviceExtensionProperties")

    def test_10_command_of_an_extension_that_is_not_enabled(self):
        context = self.device(self.context())
        self.record(context)
        context.submit(wire.command(332, wire.u64(FIRST_FREE + 1), wire.u32(1), wire.u32(1),
                                    wire.u32(1)))
        self.assert_ends(context, "vkCmdDrawMeshTasksEXT")

    def test_11_duplicate_ids_in_one_array(self):
        context = self.device(self.context())
        context.submit(wire.create_command_pool(DEVICE, FIRST_FREE)
                       + wire.allocate_command_buffers(DEVICE, FIRST_FREE, [50, 51, 50]))
        self.assert_ends(context, "vkAllocateCommandBuffers")

    def test_11_object_of_another_device(self):
        context = self.device(self.context())
        context.submit(wire.create_device(PHYSICAL, 90) + wire.create_fence(90, 91))
        self.assert_lives(context)
        context.submit(wire.command(wire.GET_FENCE_STATUS, wire.u64(DEVICE), wire.u64(91)))
        self.assert_ends(context, "vkGetFenceStatus")

    def test_23_private_data_is_refused_by_name(self):
        context = self.device(self.context())
        context.submit(wire.command(199, wire.u64(DEVICE), wire.u32(9), wire.u64(DEVICE),
                                    wire.u64(0), wire.u64(5)))
        self.assert_ends(context, "vkSetPrivateData")


class OutputBlobs(harness.ProtocolTest):
    def test_06_query_results_that_do_not_fit(self):
        for first, count, size, stride, flags in (
                (0, 4, 16, 8, 1),          # 4 x 8 bytes into 16
                (0, 4, 32, 1 << 60, 1),    # stride runs away
                (3, 2, 64, 16, 1),         # queries 3 and 4 of a pool of 4
                (0xFFFFFFFF, 2, 64, 16, 1)):
            context = self.device(self.context())
            context.submit(wire.create_query_pool(DEVICE, FIRST_FREE, kind=0, count=4))
            self.assert_lives(context)
            resource, _ = context.replies
            context.submit(wire.set_reply(resource, 0, 4096)
                           + wire.get_query_pool_results(DEVICE, FIRST_FREE, first, count, size,
                                                         stride, flags))
            self.assert_ends(context, "vkGetQueryPoolResults")
            context.destroy()

    def test_06_image_copy_larger_than_its_blob(self):
        context = self.device(self.context())
        image = wire.PRESENT + wire.u32(14) + wire.NO_CHAIN + wire.u32(0) + wire.u32(1) \
            + wire.u32(37) + wire.u32(64) + wire.u32(64) + wire.u32(1) + wire.u32(1) + wire.u32(1) \
            + wire.u32(1) + wire.u32(0) + wire.u32(0x400000 | 3) + wire.u32(0) + wire.u32(0) \
            + wire.u64(0) + wire.u32(0)
        context.submit(wire.command(54, wire.u64(DEVICE), image, wire.NULL, wire.PRESENT,
                                    wire.u64(FIRST_FREE)))
        copy = wire.PRESENT + wire.u32(1000384008) + wire.NO_CHAIN + wire.u32(0) \
            + wire.u64(FIRST_FREE) + wire.u32(1) + wire.u32(0) + wire.u32(0) + wire.u32(1) \
            + wire.u32(0) + wire.u32(0) + wire.u32(1) + wire.u32(0) * 3 + wire.u32(64) \
            + wire.u32(64) + wire.u32(1)
        resource, _ = context.replies
        context.submit(wire.set_reply(resource, 0, 4096)
                       + wire.command(wire.COPY_IMAGE_TO_MEMORY, wire.u64(DEVICE), copy,
                                      wire.u64(64), wire.u64(64), reply=True))
        self.assert_ends(context, "vkCopyImageToMemoryMESA")


class Rings(harness.ProtocolTest):
    def test_13_duplicate_ring_ids(self):
        context = self.context()
        ring = Ring(context, ring_id=77)
        self.assert_lives(context)
        Ring(context, ring_id=77)
        self.assertTrue(ring.wait_fatal())
        self.assert_ends(context, "vkCreateRingMESA")

    def test_13_number_of_rings_is_limited(self):
        context = self.context()
        resource, _ = context.shm(4 << 20)
        try:
            for i in range(1000):
                context.submit(wire.create_ring(
                    1000 + i, wire.RingLayout(resource, buffer_size=1024, offset=4096 * i)))
        except Gone:
            pass
        self.assert_ends(context, "vkCreateRingMESA")

    def test_13_a_failed_creation_leaves_no_ring(self):
        """The first ring is broken: were it listed all the same, stopping it would hang."""
        context = self.context()
        Ring(context, tail=0)
        self.assert_ends(context, "vkCreateRingMESA")

    def test_15_fatal_reaches_every_ring(self):
        context = self.context()
        rings = [Ring(context, ring_id=10 + i) for i in range(4)]
        self.assert_lives(context)
        rings[2].write(wire.command(9999))
        for ring in rings:
            self.assertTrue(ring.wait_fatal(timeout=5))
        self.assert_ends(context, "9999")

    def test_15_alive_stops_with_the_context(self):
        context = self.context()
        ring = Ring(context, monitor_us=10000)
        self.assert_lives(context)
        context.submit(wire.command(9999))
        self.assertTrue(ring.wait_fatal())
        self.assert_ends(context)
        ring.put(ring.layout.status, ring.status & ~4)
        time.sleep(0.2)
        self.assertEqual(ring.status & 4, 0)

    def test_15_fatal_is_set_for_a_killed_worker(self):
        context = self.context()
        ring = Ring(context)
        self.assert_lives(context)
        victims = [pid for pid in worker_pids(self.server) if self.maps_ring(pid)]
        self.assertEqual(len(victims), 1)
        os.kill(victims[0], signal.SIGKILL)
        self.assertTrue(ring.wait_fatal(timeout=5), "the server sets it on the dead worker's behalf:\n"
                        + self.server.read_log())
        self.assertTrue(context.ended())
        self.assertIsNotNone(self.server.wait_log("ctx=1", "SIGKILL"))

    def test_15_fatal_is_set_on_every_ring_of_a_killed_worker(self):
        """Also on rings that were made and destroyed around them, and in the same memory."""
        context = self.context()
        rings = [Ring(context, ring_id=100 + i) for i in range(40)]
        for ring in rings[::4]:
            context.submit(wire.destroy_ring(ring.id))
        self.assert_lives(context)
        victims = [pid for pid in worker_pids(self.server) if self.maps_ring(pid)]
        self.assertEqual(len(victims), 1)
        for i, ring in enumerate(rings):
            if i % 4:
                ring.write(wire.command(137, wire.u64(0)))
        os.kill(victims[0], signal.SIGKILL)
        for i, ring in enumerate(rings):
            if i % 4:
                self.assertTrue(ring.wait_fatal(timeout=5), f"ring {i}")
            else:
                self.assertFalse(ring.status & 2, f"ring {i} was the guest's again")

    @staticmethod
    def maps_ring(pid):
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
                return "/memfd:cordon-shm" in maps.read()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            return False

    def test_21_an_idle_context_sleeps(self):
        context = self.context()
        ring = Ring(context)
        ring.write(wire.command(wire.ENUMERATE_INSTANCE_VERSION, wire.PRESENT))
        self.assertTrue(ring.wait())
        time.sleep(0.3)
        self.assertTrue(ring.status & 1, "IDLE within the ring's idle timeout")
        before = self.switches()
        time.sleep(1.0)
        self.assertLessEqual(self.switches() - before, 3, "wake-ups of idle workers in a second")

    def switches(self):
        total = 0
        for pid in worker_pids(self.server):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8") as status:
                    for line in status:
                        if "ctxt_switches" in line:
                            total += int(line.split()[1])
        return total

    def test_22_ring_priority_is_taken_or_ignored(self):
        context = self.context()
        resource, _ = context.shm(65536)
        layout = wire.RingLayout(resource)
        info = wire.create_ring(5, layout)
        # Splice VkRingPriorityInfoMESA (nice value -20) in as the only link of the chain.
        at = info.index(wire.u32(wire.STYPE_RING_CREATE_INFO)) + 4
        info = info[:at] + wire.u64(1) + wire.u32(1000384007) + wire.NO_CHAIN + wire.u32(-20) \
            + info[at + 8:]
        context.submit(info)
        self.assert_lives(context)


class Lifetimes(harness.ProtocolTest):
    def test_11_destroy_and_use_race_on_two_rings(self):
        """One ring makes and destroys what another uses: nothing but this context may suffer."""
        context = self.device(self.context())
        rings = [Ring(context, ring_id=20 + i, buffer_size=65536) for i in range(2)]
        self.assert_lives(context)
        deadline = time.monotonic() + 3
        fence = FIRST_FREE
        try:
            while time.monotonic() < deadline and context.sync():
                if any(ring.status & 2 for ring in rings):
                    break
                rings[0].write(b"".join(wire.create_fence(DEVICE, fence + i) for i in range(32)))
                if not rings[0].wait():
                    break
                rings[0].write(b"".join(
                    wire.command(36, wire.u64(DEVICE), wire.u64(fence + i), wire.NULL)
                    for i in range(32)))
                rings[1].write(b"".join(
                    wire.command(wire.GET_FENCE_STATUS, wire.u64(DEVICE), wire.u64(fence + i))
                    for i in range(32)))
                fence += 32
        except Gone:
            pass
        other = self.context("other")
        self.assert_lives(other)

    def test_12_blob_of_a_memory_that_is_being_freed(self):
        context = self.device(self.context())
        ring = Ring(context, ring_id=20)
        self.assert_lives(context)
        memory = FIRST_FREE
        for _ in range(200):
            ring.write(wire.allocate_memory(DEVICE, memory, 4096))
            self.assertTrue(ring.wait())
            ring.write(wire.free_memory(DEVICE, memory))
            _, _, _, fd = context.create_resource(memory, 4096, 1)
            if fd >= 0:
                os.close(fd)
            memory += 1
        self.assert_lives(context)

    def test_16_device_destroyed_with_fences_in_flight(self):
        for _ in range(5):
            context = self.device(self.context())
            context.submit(wire.get_device_queue2(DEVICE, QUEUE, 1))
            for seqno in range(1, 50):
                context.fence(1, seqno)
            context.submit(wire.command(wire.DESTROY_DEVICE, wire.u64(DEVICE), wire.NULL))
            self.assertTrue(context.wait_fence(1, 49))
            self.assert_lives(context)
            context.destroy()

    def test_18_semaphore_import_from_a_resource_that_is_not_there(self):
        context = self.device(self.context())
        context.submit(wire.command(40, wire.u64(DEVICE), wire.PRESENT + wire.u32(9)
                                    + wire.NO_CHAIN + wire.u32(0), wire.NULL, wire.PRESENT,
                                    wire.u64(FIRST_FREE)))
        context.submit(wire.command(
            wire.IMPORT_SEMAPHORE_RESOURCE, wire.u64(DEVICE), wire.PRESENT
            + wire.u32(wire.STYPE_IMPORT_SEMAPHORE_RESOURCE_INFO) + wire.NO_CHAIN
            + wire.u64(FIRST_FREE) + wire.u32(777)))
        self.assert_ends(context, "vkImportSemaphoreResourceMESA", "777")

    def test_19_resource_id_zero(self):
        context = self.context()
        self.assertEqual(context.create_resource(0, 4096, 1, resource=0)[3], -1)
        self.assertTrue(self.server.alive())

    def test_20_teardown_does_not_wait_for_a_guest(self):
        """A ring that waits for ever, a context stream that waits for the ring: gone at once."""
        context = self.context()
        ring = Ring(context)
        ring.write(wire.wait_virtqueue_seqno(1000))
        context.submit(wire.wait_ring_seqno(ring.id, ring.tail))
        time.sleep(0.1)
        busy = [pid for pid in worker_pids(self.server) if Rings.maps_ring(pid)]
        self.assertEqual(len(busy), 1)
        begin = time.monotonic()
        context.destroy()
        while os.path.exists(f"/proc/{busy[0]}"):
            self.assertLess(time.monotonic() - begin, 2, "the worker did not end")
            time.sleep(0.01)

    def test_20_teardown_during_an_endless_fence_wait(self):
        context = self.device(self.context())
        ring = Ring(context)
        ring.write(wire.create_fence(DEVICE, FIRST_FREE)
                   + wire.command(39, wire.u64(DEVICE), wire.u32(1),
                                  wire.array([wire.u64(FIRST_FREE)]), wire.u32(1),
                                  wire.u64(2**64 - 1)))
        time.sleep(0.2)
        begin = time.monotonic()
        context.submit(wire.destroy_ring(ring.id))
        self.assertTrue(context.sync(), "destroying a ring must end its waits")
        self.assertLess(time.monotonic() - begin, 2)


if __name__ == "__main__":
    harness.main()
