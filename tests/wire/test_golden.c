/*
 * Bytes recorded between real clients and a renderer, through the generated decoders: each
 * request is used up to its last byte, no prefix of one is accepted or read beyond, and what a
 * host answers becomes the recorded reply.
 */
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
#include "worker/venus/wire.h"

struct row {
    char command[64];
    uint8_t *request, *reply;
    size_t request_size, reply_size;
};

static struct row *rows;
static size_t n_rows;

static uint8_t *unhex(const char *hex, size_t *ret_size)
{
    size_t n = strlen(hex) / 2;
    uint8_t *bytes = malloc(n ? n : 1);

    for (size_t i = 0; i < n; i++) {
        char pair[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    *ret_size = n;
    return bytes;
}

static int load(void **state)
{
    FILE *f = fopen(GOLDEN, "re");
    char *line = NULL;
    size_t room = 0;

    (void)state;
    if (!f) {
        return -1;
    }
    while (getline(&line, &room, f) > 0) {
        char *save = NULL, *command, *request, *reply;
        struct row *r;

        if (line[0] == '#') {
            continue;
        }
        line[strcspn(line, "\n")] = '\0';
        (void)strtok_r(line, "\t", &save);
        command = strtok_r(NULL, "\t", &save);
        (void)strtok_r(NULL, "\t", &save);
        request = strtok_r(NULL, "\t", &save);
        reply = strtok_r(NULL, "\t", &save);
        if (!reply) {
            return -1;
        }
        rows = realloc(rows, (n_rows + 1) * sizeof(*rows));
        r = &rows[n_rows++];
        *r = (struct row){ 0 };
        snprintf(r->command, sizeof(r->command), "%s", command);
        r->request = unhex(request, &r->request_size);
        if (strcmp(reply, "-") != 0) {
            r->reply = unhex(reply, &r->reply_size);
        }
    }
    free(line);
    fclose(f);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_rows; i++) {
        free(rows[i].request);
        free(rows[i].reply);
    }
    free(rows);
    return 0;
}

/* What a run of one command came to. */
struct outcome {
    bool failed;
    size_t used, replied;
    uint32_t runs;
    char why[240];
};

static uint8_t window[65536];

/* Runs `n` bytes from an allocation of exactly that size, so that ASan sees any overrun. */
static struct outcome run(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    struct outcome out;
    struct decoder d;

    memcpy(copy, bytes, n);
    memset(window, 0xa5, sizeof(window));
    fake_objects_reset();
    fake_runs = 0;
    fake_decoder_init(&d, copy, n, window, sizeof(window));
    fake_decoder_run(&d);
    out = (struct outcome){
        .failed = d.failed,
        .used = (size_t)(d.pos - copy),
        .replied = d.reply.pos,
        .runs = fake_runs,
    };
    memcpy(out.why, d.why, sizeof(out.why));
    fake_decoder_fini(&d);
    free(copy);
    return out;
}

static void each_request_is_used_to_its_last_byte(void **state)
{
    (void)state;
    assert_int_equal(n_rows, 134);
    for (size_t i = 0; i < n_rows; i++) {
        struct outcome o = run(rows[i].request, rows[i].request_size);
        uint32_t number = wire_u32(rows[i].request);

        if (o.failed || o.used != rows[i].request_size || o.runs != 1) {
            fail_msg("row %zu, %s: %zu of %zu bytes, %u calls: %s", i, rows[i].command, o.used,
                     rows[i].request_size, o.runs, o.why);
        }
        assert_string_equal(wire_commands[number].name, rows[i].command);
    }
}

static void no_prefix_is_accepted_or_read_beyond(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t n = 0; n < rows[i].request_size; n++) {
            struct outcome o = run(rows[i].request, n);

            if (!o.failed || o.runs != 0) {
                fail_msg("row %zu, %s: prefix of %zu bytes was accepted", i, rows[i].command, n);
            }
        }
    }
}

static void changed_bytes_do_no_harm(void **state)
{
    static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0xff };

    (void)state;
    for (size_t i = 0; i < n_rows; i++) {
        uint8_t *bytes = malloc(rows[i].request_size);

        for (size_t at = 8; at < rows[i].request_size; at++) {
            for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
                struct outcome o;

                memcpy(bytes, rows[i].request, rows[i].request_size);
                bytes[at] = values[v];
                o = run(bytes, rows[i].request_size);
                assert_true(o.used <= rows[i].request_size);
                assert_true(!o.failed || o.replied == 0);
            }
        }
        free(bytes);
    }
}

/* ---- replies: a host that gives what the recorded one gave ------------------------------------ */

static const struct row *playing;

/* Reads on in the recorded reply. */
static const uint8_t *cursor;

static uint32_t next32(void)
{
    uint32_t v = wire_u32(cursor);

    cursor += 4;
    return v;
}

static uint64_t next64(void)
{
    uint64_t v = wire_u64(cursor);

    cursor += 8;
    return v;
}

static void play_bytes(void *to)
{
    uint64_t n = next64();

    memcpy(to, cursor, n);
    cursor += (n + 3) & ~UINT64_C(3);
}

/* The members of a recorded chain link. What is an output only has no decoder of its own. */
static void play_link(VkBaseOutStructure *s)
{
    const struct wire_link *link = wire_links;
    struct decoder d;

    if (s->sType == VK_STRUCTURE_TYPE_MEMORY_DEDICATED_REQUIREMENTS) {
        ((VkMemoryDedicatedRequirements *)s)->prefersDedicatedAllocation = next32();
        ((VkMemoryDedicatedRequirements *)s)->requiresDedicatedAllocation = next32();
        return;
    }
    if (s->sType == VK_STRUCTURE_TYPE_QUEUE_FAMILY_GLOBAL_PRIORITY_PROPERTIES) {
        VkQueueFamilyGlobalPriorityProperties *p = (VkQueueFamilyGlobalPriorityProperties *)s;

        p->priorityCount = next32();
        assert_int_equal(next64(), VK_MAX_GLOBAL_PRIORITY_SIZE);
        for (uint32_t i = 0; i < VK_MAX_GLOBAL_PRIORITY_SIZE; i++) {
            p->priorities[i] = (VkQueueGlobalPriority)next32();
        }
        return;
    }
    while (link->stype != (uint32_t)s->sType) {
        link++;
    }
    assert_non_null(link->decode);
    fake_decoder_init(&d, cursor, (size_t)(playing->reply + playing->reply_size - cursor), NULL, 0);
    link->decode(&d, s);
    assert_false(d.failed);
    cursor = d.pos;
    fake_decoder_fini(&d);
}

/* A recorded chain into the one that the request made; then the parent's members follow. */
static void play_head(void *structure, uint32_t stype)
{
    VkBaseOutStructure *links[WIRE_MAX_CHAIN];
    uint32_t n = 0;

    assert_int_equal(next32(), stype);
    for (VkBaseOutStructure *s = ((VkBaseOutStructure *)structure)->pNext; next64(); s = s->pNext) {
        assert_non_null(s);
        assert_int_equal(next32(), (uint32_t)s->sType);
        links[n++] = s;
    }
    while (n > 0) {
        play_link(links[--n]);
    }
}

static void version(void *p)
{
    struct wire_vkEnumerateInstanceVersion *c = p;

    c->ret = (VkResult)next32();
    assert_int_equal(next64(), 1);
    *c->pApiVersion = next32();
}

static void devices(void *p)
{
    struct wire_vkEnumeratePhysicalDevices *c = p;

    c->ret = (VkResult)next32();
    assert_int_equal(next64(), 1);
    *c->pPhysicalDeviceCount = next32();
}

static void fence_status(void *p)
{
    ((struct wire_vkGetFenceStatus *)p)->ret = (VkResult)next32();
}

static void buffer_address(void *p)
{
    ((struct wire_vkGetBufferDeviceAddress *)p)->ret = next64();
}

static void memory_requirements(VkMemoryRequirements2 *r)
{
    assert_int_equal(next64(), 1);
    play_head(r, VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2);
    r->memoryRequirements.size = next64();
    r->memoryRequirements.alignment = next64();
    r->memoryRequirements.memoryTypeBits = next32();
}

static void buffer_requirements(void *p)
{
    memory_requirements(((struct wire_vkGetBufferMemoryRequirements2 *)p)->pMemoryRequirements);
}

static void image_requirements(void *p)
{
    memory_requirements(((struct wire_vkGetImageMemoryRequirements2 *)p)->pMemoryRequirements);
}

static void queue_families(void *p)
{
    struct wire_vkGetPhysicalDeviceQueueFamilyProperties2 *c = p;

    assert_int_equal(next64(), 1);
    *c->pQueueFamilyPropertyCount = next32();
    for (uint64_t i = 0, n = next64(); i < n; i++) {
        VkQueueFamilyProperties2 *f = &c->pQueueFamilyProperties[i];

        play_head(f, VK_STRUCTURE_TYPE_QUEUE_FAMILY_PROPERTIES_2);
        f->queueFamilyProperties.queueFlags = next32();
        f->queueFamilyProperties.queueCount = next32();
        f->queueFamilyProperties.timestampValidBits = next32();
        f->queueFamilyProperties.minImageTransferGranularity.width = next32();
        f->queueFamilyProperties.minImageTransferGranularity.height = next32();
        f->queueFamilyProperties.minImageTransferGranularity.depth = next32();
    }
}

static void query_results(void *p)
{
    struct wire_vkGetQueryPoolResults *c = p;

    c->ret = (VkResult)next32();
    play_bytes(c->pData);
}

static void cache_data(void *p)
{
    struct wire_vkGetPipelineCacheData *c = p;

    c->ret = (VkResult)next32();
    assert_int_equal(next64(), 1);
    *c->pDataSize = next64();
    if (c->pData) {
        play_bytes(c->pData);
    }
}

static void image_bytes(void *p)
{
    struct wire_vkCopyImageToMemoryMESA *c = p;

    c->ret = (VkResult)next32();
    play_bytes(c->pData);
}

static void build_sizes(void *p)
{
    struct wire_vkGetAccelerationStructureBuildSizesKHR *c = p;

    assert_int_equal(next64(), 1);
    play_head(c->pSizeInfo, VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_BUILD_SIZES_INFO_KHR);
    c->pSizeInfo->accelerationStructureSize = next64();
    c->pSizeInfo->updateScratchSize = next64();
    c->pSizeInfo->buildScratchSize = next64();
}

static void features(void *p)
{
    struct wire_vkGetPhysicalDeviceFeatures2 *c = p;

    assert_int_equal(next64(), 1);
    play_head(c->pFeatures, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
    memcpy(&c->pFeatures->features, cursor, sizeof(c->pFeatures->features));
}

static void memory_properties(void *p)
{
    struct wire_vkGetPhysicalDeviceMemoryProperties2 *c = p;
    VkPhysicalDeviceMemoryProperties *m = &c->pMemoryProperties->memoryProperties;

    assert_int_equal(next64(), 1);
    play_head(c->pMemoryProperties, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2);
    m->memoryTypeCount = next32();
    assert_int_equal(next64(), VK_MAX_MEMORY_TYPES);
    for (uint32_t i = 0; i < VK_MAX_MEMORY_TYPES; i++) {
        m->memoryTypes[i].propertyFlags = next32();
        m->memoryTypes[i].heapIndex = next32();
    }
    m->memoryHeapCount = next32();
    assert_int_equal(next64(), VK_MAX_MEMORY_HEAPS);
    for (uint32_t i = 0; i < VK_MAX_MEMORY_HEAPS; i++) {
        m->memoryHeaps[i].size = next64();
        m->memoryHeaps[i].flags = next32();
    }
}

static void semaphore_properties(void *p)
{
    struct wire_vkGetPhysicalDeviceExternalSemaphoreProperties *c = p;
    VkExternalSemaphoreProperties *s = c->pExternalSemaphoreProperties;

    assert_int_equal(next64(), 1);
    play_head(s, VK_STRUCTURE_TYPE_EXTERNAL_SEMAPHORE_PROPERTIES);
    s->exportFromImportedHandleTypes = next32();
    s->compatibleHandleTypes = next32();
    s->externalSemaphoreFeatures = next32();
}

static void group_properties(void *p)
{
    struct wire_vkEnumeratePhysicalDeviceGroups *c = p;

    c->ret = (VkResult)next32();
    assert_int_equal(next64(), 1);
    *c->pPhysicalDeviceGroupCount = next32();
    for (uint64_t i = 0, n = next64(); i < n; i++) {
        VkPhysicalDeviceGroupProperties *g = &c->pPhysicalDeviceGroupProperties[i];

        play_head(g, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_GROUP_PROPERTIES);
        g->physicalDeviceCount = next32();
        assert_int_equal(next64(), VK_MAX_DEVICE_GROUP_SIZE);
        for (uint32_t j = 0; j < VK_MAX_DEVICE_GROUP_SIZE; j++) {
            g->physicalDevices[j] = (VkPhysicalDevice)(uintptr_t)next64();
        }
        g->subsetAllocation = next32();
    }
}

static void nothing_to_play(void *p)
{
    (void)p;
}

static const struct {
    const char *command;
    void (*fill)(void *c);
} players[] = {
    { "vkCopyImageToMemoryMESA", image_bytes },
    { "vkCreateBuffer", nothing_to_play },
    { "vkCreateDevice", nothing_to_play },
    { "vkCreateImage", nothing_to_play },
    { "vkCreateInstance", nothing_to_play },
    { "vkEnumerateInstanceVersion", version },
    { "vkEnumeratePhysicalDeviceGroups", group_properties },
    { "vkEnumeratePhysicalDevices", devices },
    { "vkGetAccelerationStructureBuildSizesKHR", build_sizes },
    { "vkGetBufferDeviceAddress", buffer_address },
    { "vkGetBufferMemoryRequirements2", buffer_requirements },
    { "vkGetDeviceQueue2", nothing_to_play },
    { "vkGetFenceStatus", fence_status },
    { "vkGetImageMemoryRequirements2", image_requirements },
    { "vkGetPhysicalDeviceExternalSemaphoreProperties", semaphore_properties },
    { "vkGetPhysicalDeviceFeatures2", features },
    { "vkGetPhysicalDeviceMemoryProperties2", memory_properties },
    { "vkGetPhysicalDeviceQueueFamilyProperties2", queue_families },
    { "vkGetPipelineCacheData", cache_data },
    { "vkGetQueryPoolResults", query_results },
};

static void a_host_that_answers_alike_gives_the_recorded_reply(void **state)
{
    uint32_t played = 0;

    (void)state;
    for (size_t i = 0; i < n_rows; i++) {
        uint32_t number = wire_u32(rows[i].request);
        struct outcome o;

        for (size_t j = 0; j < ARRAY_SIZE(players) && rows[i].reply; j++) {
            if (strcmp(players[j].command, rows[i].command) != 0) {
                continue;
            }
            playing = &rows[i];
            cursor = playing->reply + 4;
            fake_fill[number] = players[j].fill;
            o = run(rows[i].request, rows[i].request_size);
            fake_fill[number] = NULL;
            if (o.failed || o.replied != rows[i].reply_size ||
                memcmp(window, rows[i].reply, o.replied) != 0) {
                fail_msg("row %zu, %s: reply of %zu bytes, recorded are %zu: %s", i,
                         rows[i].command, o.replied, rows[i].reply_size, o.why);
            }
            played++;
        }
    }
    assert_true(played >= 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_is_used_to_its_last_byte),
        cmocka_unit_test(no_prefix_is_accepted_or_read_beyond),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(a_host_that_answers_alike_gives_the_recorded_reply),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
