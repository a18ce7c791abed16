/* Requests made by hand, each right or wrong in one point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/wire/fakes.h"
#include "wire/commands.h"
#include "wire/names.h"
#include "worker/venus/wire.h"

static uint8_t bytes[16384];
static size_t n_bytes;
static uint8_t window[4096];
static uint64_t replied;
static struct decoder last;

static void u32(uint32_t v)
{
    memcpy(bytes + n_bytes, &v, 4);
    n_bytes += 4;
}

static void u64(uint64_t v)
{
    memcpy(bytes + n_bytes, &v, 8);
    n_bytes += 8;
}

static void start(const char *name, uint32_t flags)
{
    uint32_t number = 0;

    fake_objects_reset();
    n_bytes = 0;
    while (number < WIRE_COMMAND_COUNT && strcmp(wire_command_name(number), name) != 0) {
        number++;
    }
    u32(number);
    u32(flags);
}

/* Runs what was written; true if it was accepted and used up. */
static bool run(void)
{
    uint8_t *copy = malloc(n_bytes);
    bool good;

    memcpy(copy, bytes, n_bytes);
    fake_runs = 0;
    fake_decoder_init(&last, copy, n_bytes, window, sizeof(window));
    fake_decoder_run(&last);
    replied = last.reply.pos;
    good = !last.failed && last.pos == copy + n_bytes;
    fake_decoder_fini(&last);
    free(copy);
    return good;
}

static void refused(const char *why)
{
    assert_false(run());
    if (!last.failed || !strstr(last.why, why)) {
        fail_msg("expected `%s`, got `%s`", why, last.why);
    }
    assert_int_equal(replied, 0);
}

static void accepted(void)
{
    if (!run()) {
        fail_msg("refused: %s", last.why);
    }
}

/* ---- values and arrays ------------------------------------------------------------------------- */

static void a_null_first_handle_is_refused(void **state)
{
    (void)state;
    start("vkCmdEndRenderPass", 0);
    u64(0);
    refused("commandBuffer: the first parameter is NULL");
    assert_int_equal(fake_runs, 0);
}

static void an_unknown_handle_is_refused(void **state)
{
    (void)state;
    start("vkCmdBindPipeline", 0);
    u64(1);
    u32(0);
    u64(77);
    fake_missing_id = 77;
    refused("pipeline: no object 77");
}

static void blend_constants(uint64_t n)
{
    start("vkCmdSetBlendConstants", 0);
    u64(1);
    u64(n);
    for (uint64_t i = 0; i < n; i++) {
        u32(0);
    }
}

static void a_fixed_array_has_its_size(void **state)
{
    (void)state;
    blend_constants(4);
    accepted();
    blend_constants(3);
    refused("blendConstants: array of 3, expected 4");
}

static void push_constants(uint32_t size, uint64_t n)
{
    start("vkCmdPushConstants", 0);
    u64(1);
    u64(2);
    u32(0x20);
    u32(0);
    u32(size);
    u64(n);
    u64(0x1122334455667788);
}

static void a_blob_has_the_length_that_its_count_says(void **state)
{
    (void)state;
    push_constants(8, 8);
    accepted();
    push_constants(8, 4);
    refused("pValues: array of 4, expected 8");
    push_constants(UINT32_MAX, UINT32_MAX);
    refused("cut off");
}

static void pipeline_layout(uint32_t count, uint64_t n)
{
    start("vkCreatePipelineLayout", 0);
    u64(1);
    u64(1);
    u32(VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO);
    u64(0);
    u32(0);
    u32(count);
    u64(n);
    for (uint64_t i = 0; i < n && i < 8; i++) {
        u64(100 + i);
    }
    u32(0);
    u64(0);
    u64(0);
    u64(1);
    u64(5);
}

static void an_array_has_its_count(void **state)
{
    (void)state;
    pipeline_layout(2, 2);
    accepted();
    pipeline_layout(2, 1);
    refused("VkPipelineLayoutCreateInfo.pSetLayouts: array of 1, expected 2");
    pipeline_layout(2, 0);
    refused("VkPipelineLayoutCreateInfo.pSetLayouts: array of 0, expected 2");
    pipeline_layout(0x40000000, 0x40000000);
    refused("cut off");
}

static void arrays_that_drivers_trust_must_be_there(void **state)
{
    (void)state;
    start("vkCmdClearColorImage", 0);
    u64(1);
    u64(2);
    u32(1);
    u64(0); /* pColor */
    u32(0);
    u64(0);
    refused("pColor: 0 is NULL");

    start("vkCmdDrawMultiEXT", 0);
    u64(1);
    u32(2);
    u64(0);
    u32(1);
    u32(0);
    u32(8);
    refused("pVertexInfo: array of 0, expected 2");

    start("vkFreeDescriptorSets", 0);
    u64(1);
    u64(2);
    u32(3);
    u64(0);
    refused("pDescriptorSets: array of 0, expected 3");
}

static void elements_without_bytes_meet_the_memory_limit(void **state)
{
    (void)state;
    start("vkEnumerateDeviceExtensionProperties", WIRE_FLAG_REPLY);
    u64(1);
    u64(0);
    u64(1);
    u32(UINT32_MAX);
    u64(UINT32_MAX);
    refused("no memory");
}

static void an_allocator_has_no_wire_form(void **state)
{
    (void)state;
    start("vkDestroyBuffer", 0);
    u64(1);
    u64(2);
    u64(1);
    refused("pAllocator: 1 has no wire form");
}

/* ---- strings ------------------------------------------------------------------------------------ */

static void compute_pipeline(uint64_t n_name, const char *name8, uint32_t code_size)
{
    start("vkCreateComputePipelines", 0);
    u64(1);
    u64(0);
    u32(1);
    u64(1);
    u32(VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO);
    u64(0);
    u32(0);
    u32(VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO);
    if (code_size) {
        u64(1);
        u32(VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO);
        u64(0);
        u32(0);
        u64(code_size);
        u64(code_size / 4);
        for (uint32_t i = 0; i < code_size / 4; i++) {
            u32(0);
        }
    } else {
        u64(0);
    }
    u32(0);
    u32(0x20);
    u64(code_size ? 0 : 9);
    u64(n_name);
    if (n_name) {
        memcpy(bytes + n_bytes, name8, 8);
        n_bytes += 8;
    }
    u64(0); /* specialization */
    u64(10);
    u64(0);
    u32(0);
    u64(0); /* allocator */
    u64(1);
    u64(50);
}

static void a_string_ends_in_nul(void **state)
{
    (void)state;
    compute_pipeline(5, "main\0\xaa\xbb\xcc", 0);
    accepted();
    assert_int_equal(fake_inserted, 1);
    compute_pipeline(5, "mainx\0\0", 0);
    refused("VkPipelineShaderStageCreateInfo.pName: 5 bytes of string do not end in NUL");
    compute_pipeline(0, NULL, 0);
    refused("VkPipelineShaderStageCreateInfo.pName: 0 is NULL");
    compute_pipeline(UINT64_MAX, "main\0\0\0", 0);
    refused("cut off");
}

static void code_comes_in_words_wherever_it_stands(void **state)
{
    (void)state;
    compute_pipeline(5, "main\0\0\0", 8);
    accepted();
    compute_pipeline(5, "main\0\0\0", 10);
    refused("VkShaderModuleCreateInfo.codeSize: 10 is not a multiple of 4");
}

/* ---- chains ------------------------------------------------------------------------------------- */

static void buffer_chain(uint32_t n, uint32_t stype)
{
    start("vkCreateBuffer", 0);
    u64(1);
    u64(1);
    u32(VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO);
    for (uint32_t i = 0; i < n; i++) {
        u64(1);
        u32(stype);
    }
    u64(0);
    for (uint32_t i = 0; i < n; i++) {
        u32(0);
    }
    u32(0);
    u64(4096);
    u32(1);
    u32(VK_SHARING_MODE_EXCLUSIVE);
    u32(3); /* left over */
    u64(0);
    u64(0);
    u64(1);
    u64(5);
}

static void a_chain_holds_what_its_parent_allows(void **state)
{
    (void)state;
    buffer_chain(1, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);
    accepted();
    buffer_chain(2, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);
    accepted();
    buffer_chain(1, VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO);
    refused("VkBufferCreateInfo: VkExportMemoryAllocateInfo (sType 1000072002) is not allowed");
    buffer_chain(1, 123456);
    refused("VkBufferCreateInfo: unknown (sType 123456)");
}

static void a_chain_ends_somewhere(void **state)
{
    (void)state;
    buffer_chain(WIRE_MAX_CHAIN, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);
    accepted();
    buffer_chain(WIRE_MAX_CHAIN + 1, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);
    refused("pNext chain of more than 256 links");
}

static void an_fd_cannot_be_chained(void **state)
{
    (void)state;
    start("vkAllocateMemory", 0);
    u64(1);
    u64(1);
    u32(VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO);
    u64(1);
    u32(VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR);
    u64(0);
    refused("VkMemoryAllocateInfo: VkImportMemoryFdInfoKHR");
}

static void a_wrong_stype_is_refused(void **state)
{
    (void)state;
    start("vkCreateFence", 0);
    u64(1);
    u64(1);
    u32(VK_STRUCTURE_TYPE_EVENT_CREATE_INFO);
    u64(0);
    refused("VkFenceCreateInfo: sType is 10 (VkEventCreateInfo), expected 8");
}

/* ---- unions ------------------------------------------------------------------------------------- */

static void clear_color(uint32_t tag)
{
    start("vkCmdClearColorImage", 0);
    u64(1);
    u64(2);
    u32(1);
    u64(1);
    u32(tag);
    u64(4);
    for (int i = 0; i < 4; i++) {
        u32(7);
    }
    u32(0);
    u64(0);
}

static void a_union_has_a_known_tag(void **state)
{
    (void)state;
    for (uint32_t tag = 0; tag < 3; tag++) {
        clear_color(tag);
        accepted();
    }
    clear_color(3);
    refused("VkClearColorValue: 3 is no tag");
}

static void instances(uint32_t type, uint32_t tag, uint32_t address_tag, uint64_t address)
{
    start("vkGetAccelerationStructureBuildSizesKHR", 0);
    u64(1);
    u32(1);
    u64(1);
    u32(VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_BUILD_GEOMETRY_INFO_KHR);
    u64(0);
    u32(1);
    u32(0);
    u32(0);
    u64(0);
    u64(0);
    u32(1);
    u64(1);
    u32(VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_GEOMETRY_KHR);
    u64(0);
    u32(type);
    u32(tag);
    u32(VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_GEOMETRY_INSTANCES_DATA_KHR);
    u64(0);
    u32(0);
    u32(address_tag);
    u64(address);
    u32(0);
    u64(0); /* ppGeometries */
    u32(0);
    u64(0x1000);
    u64(1);
    u32(1);
    u64(1);
    u32(VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_BUILD_SIZES_INFO_KHR);
    u64(0);
}

static void a_tag_says_what_its_selector_says(void **state)
{
    (void)state;
    instances(VK_GEOMETRY_TYPE_INSTANCES_KHR, VK_GEOMETRY_TYPE_INSTANCES_KHR, 0, 0x1000);
    accepted();
    instances(VK_GEOMETRY_TYPE_AABBS_KHR, VK_GEOMETRY_TYPE_INSTANCES_KHR, 0, 0x1000);
    refused("VkAccelerationStructureGeometryDataKHR: 2 contradicts the selector");
    instances(77, 77, 0, 0x1000);
    refused("VkAccelerationStructureGeometryDataKHR: 77 is no tag");
}

static void an_address_of_the_guests_own_is_refused(void **state)
{
    (void)state;
    instances(VK_GEOMETRY_TYPE_INSTANCES_KHR, VK_GEOMETRY_TYPE_INSTANCES_KHR, 1, 0);
    accepted();
    instances(VK_GEOMETRY_TYPE_INSTANCES_KHR, VK_GEOMETRY_TYPE_INSTANCES_KHR, 1, 0x1000);
    refused("VkDeviceOrHostAddressConstKHR.hostAddress: 4096 has no wire form");
}

/* ---- objects ------------------------------------------------------------------------------------ */

static void command_buffers(uint64_t pool, uint32_t n, const uint64_t *ids)
{
    start("vkAllocateCommandBuffers", WIRE_FLAG_REPLY);
    u64(1);
    u64(1);
    u32(VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO);
    u64(0);
    u64(pool);
    u32(0);
    u32(n);
    u64(n);
    for (uint32_t i = 0; i < n; i++) {
        u64(ids[i]);
    }
}

static void out_of_memory(void *c)
{
    ((struct wire_vkAllocateCommandBuffers *)c)->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
}

static void new_ids_are_distinct_and_not_zero(void **state)
{
    (void)state;
    command_buffers(2, 3, (uint64_t[]){ 7, 9, 8 });
    accepted();
    assert_int_equal(fake_inserted, 3);
    command_buffers(2, 3, (uint64_t[]){ 7, 9, 7 });
    refused("pCommandBuffers: 7 is the id of two new objects");
    assert_int_equal(fake_inserted, 0);
    command_buffers(2, 2, (uint64_t[]){ 7, 0 });
    refused("pCommandBuffers: 0 is no free id");
    command_buffers(0, 1, (uint64_t[]){ 7 });
    refused("pool");
}

static void a_failed_allocation_replies_zeros(void **state)
{
    const uint32_t number = 88;

    (void)state;
    command_buffers(2, 2, (uint64_t[]){ 7, 8 });
    fake_fill[number] = out_of_memory;
    accepted();
    fake_fill[number] = NULL;
    assert_int_equal(fake_inserted, 0);
    assert_int_equal(replied, 32);
    assert_int_equal(wire_i32(window + 4), VK_ERROR_OUT_OF_HOST_MEMORY);
    assert_int_equal(wire_u64(window + 8), 2);
    assert_int_equal(wire_u64(window + 16), 0);
    assert_int_equal(wire_u64(window + 24), 0);
}

static uint32_t freed;

static void count_freed(void *c)
{
    freed = ((struct wire_vkFreeCommandBuffers *)c)->commandBufferCount;
}

static void free_command_buffers(uint64_t pool, uint64_t real_pool)
{
    struct object *parent;

    start("vkFreeCommandBuffers", 0);
    u64(1);
    u64(pool);
    u32(4);
    u64(4);
    u64(20);
    u64(0);
    u64(21);
    u64(20);
    parent = objects_find(NULL, real_pool, VK_OBJECT_TYPE_COMMAND_POOL);
    objects_find(NULL, 20, VK_OBJECT_TYPE_COMMAND_BUFFER)->parent = parent;
    objects_find(NULL, 21, VK_OBJECT_TYPE_COMMAND_BUFFER)->parent = parent;
}

static void each_buffer_is_freed_once(void **state)
{
    (void)state;
    fake_fill[89] = count_freed;
    free_command_buffers(5, 5);
    accepted();
    assert_int_equal(freed, 2);
    assert_int_equal(fake_removed, 2);
    free_command_buffers(5, 6);
    refused("pCommandBuffers: 20 is not of this pool");
    assert_int_equal(fake_removed, 0);
    free_command_buffers(0, 5);
    refused("commandPool: 0 is NULL");
    fake_fill[89] = NULL;
}

static void a_null_object_is_destroyed_without_complaint(void **state)
{
    (void)state;
    start("vkDestroyBuffer", 0);
    u64(1);
    u64(0);
    u64(0);
    accepted();
    assert_int_equal(fake_removed, 0);
    start("vkDestroyBuffer", 0);
    u64(1);
    u64(2);
    u64(0);
    accepted();
}

static void pipelines_that_failed(void *c)
{
    /* The host made the second of three. */
    ((struct wire_vkCreateComputePipelines *)c)->ret = VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static void failed_pipelines_leave_nothing(void **state)
{
    (void)state;
    compute_pipeline(5, "main\0\0\0", 0);
    bytes[4] = WIRE_FLAG_REPLY;
    fake_fill[66] = pipelines_that_failed;
    accepted();
    fake_fill[66] = NULL;
    assert_int_equal(fake_inserted, 0);
    assert_int_equal(replied, 24);
    assert_int_equal(wire_u64(window + 16), 0);
    /* The call, and the end of what it had made. */
    assert_int_equal(fake_runs, 2);
}

/* ---- calls -------------------------------------------------------------------------------------- */

static void a_command_that_the_host_lacks_is_refused(void **state)
{
    static const struct wire_procs none;

    (void)state;
    start("vkCmdEndRenderPass", 0);
    u64(1);
    objects_find(NULL, 1, VK_OBJECT_TYPE_COMMAND_BUFFER)->vk = &none;
    refused("vkCmdEndRenderPass: the host driver has no such command");
}

static void device_lost(void *c)
{
    ((struct wire_vkGetFenceStatus *)c)->ret = VK_ERROR_DEVICE_LOST;
}

static void a_lost_device_is_told_or_fatal(void **state)
{
    (void)state;
    fake_fill[38] = device_lost;
    start("vkGetFenceStatus", WIRE_FLAG_REPLY);
    u64(1);
    u64(2);
    accepted();
    assert_int_equal(wire_i32(window + 4), VK_ERROR_DEVICE_LOST);
    start("vkGetFenceStatus", 0);
    u64(1);
    u64(2);
    refused("the device is lost");
    fake_fill[38] = NULL;
}

static void refusals_say_why(void **state)
{
    (void)state;
    start("vkMapMemory", 0);
    refused("no wire form");
    start("vkQueueWaitIdle", 0);
    refused("the guest waits for fences");
    for (uint32_t i = 0; i < WIRE_COMMAND_COUNT; i++) {
        assert_true(!!wire_commands[i].run != !!wire_commands[i].reason);
        assert_true(wire_commands[i].name || i == 195);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_null_first_handle_is_refused),
        cmocka_unit_test(an_unknown_handle_is_refused),
        cmocka_unit_test(a_fixed_array_has_its_size),
        cmocka_unit_test(a_blob_has_the_length_that_its_count_says),
        cmocka_unit_test(an_array_has_its_count),
        cmocka_unit_test(arrays_that_drivers_trust_must_be_there),
        cmocka_unit_test(elements_without_bytes_meet_the_memory_limit),
        cmocka_unit_test(an_allocator_has_no_wire_form),
        cmocka_unit_test(a_string_ends_in_nul),
        cmocka_unit_test(code_comes_in_words_wherever_it_stands),
        cmocka_unit_test(a_chain_holds_what_its_parent_allows),
        cmocka_unit_test(a_chain_ends_somewhere),
        cmocka_unit_test(an_fd_cannot_be_chained),
        cmocka_unit_test(a_wrong_stype_is_refused),
        cmocka_unit_test(a_union_has_a_known_tag),
        cmocka_unit_test(a_tag_says_what_its_selector_says),
        cmocka_unit_test(an_address_of_the_guests_own_is_refused),
        cmocka_unit_test(new_ids_are_distinct_and_not_zero),
        cmocka_unit_test(a_failed_allocation_replies_zeros),
        cmocka_unit_test(each_buffer_is_freed_once),
        cmocka_unit_test(a_null_object_is_destroyed_without_complaint),
        cmocka_unit_test(failed_pipelines_leave_nothing),
        cmocka_unit_test(a_command_that_the_host_lacks_is_refused),
        cmocka_unit_test(a_lost_device_is_told_or_fatal),
        cmocka_unit_test(refusals_say_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
