/*
 * Memory: a large mapped allocation in every host-visible type, written by the host, checked and
 * inverted by the device and checked by the host again; allocation churn; mapping, unmapping,
 * flush and invalidate; thousands of allocations at once; a device-local round trip; several buffers in one allocation.
 */
#include "vkapp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify_comp.h"

/* A storage buffer range may be limited to 128 MiB; larger memory is checked in such steps. */
#define STEP (64ull << 20)

struct push {
    uint32_t count;
    uint32_t seed;
};

struct memory_test {
    struct app app;
    int mib;
    int allocations;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkDescriptorPool pool;
    VkDescriptorSet set;
    struct buffer count;
};

struct region {
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkDeviceSize size;
    bool coherent;
};

static uint32_t word_at(uint64_t i, uint32_t seed)
{
    return (uint32_t)i * 2654435761u ^ seed;
}

static bool region_create(struct app *app, VkDeviceSize size, uint32_t type, struct region *out)
{
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };
    VkMemoryRequirements requirements;
    VkMemoryAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .memoryTypeIndex = type,
    };

    *out = (struct region){
        .size = size,
        .coherent =
            app->memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    };
    MUST(vkCreateBuffer(app->device, &info, NULL, &out->buffer));
    vkGetBufferMemoryRequirements(app->device, out->buffer, &requirements);
    allocate.allocationSize = requirements.size;
    if (!(requirements.memoryTypeBits & (1u << type))) {
        vkDestroyBuffer(app->device, out->buffer, NULL);
        return false;
    }
    MUST(vkAllocateMemory(app->device, &allocate, NULL, &out->memory));
    MUST(vkBindBufferMemory(app->device, out->buffer, out->memory, 0));
    return true;
}

static void region_destroy(struct app *app, struct region *region)
{
    vkDestroyBuffer(app->device, region->buffer, NULL);
    vkFreeMemory(app->device, region->memory, NULL);
}

static void flush(struct app *app, VkDeviceMemory memory, VkDeviceSize offset)
{
    const VkMappedMemoryRange range = {
        .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE,
        .memory = memory,
        .offset = offset,
        .size = VK_WHOLE_SIZE,
    };

    MUST(vkFlushMappedMemoryRanges(app->device, 1, &range));
}

static void invalidate(struct app *app, VkDeviceMemory memory, VkDeviceSize offset)
{
    const VkMappedMemoryRange range = {
        .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE,
        .memory = memory,
        .offset = offset,
        .size = VK_WHOLE_SIZE,
    };

    MUST(vkInvalidateMappedMemoryRanges(app->device, 1, &range));
}

/* The device's verdict on words [offset, offset + size): how many are wrong. Inverts them. */
static uint32_t device_verify(struct memory_test *t, const struct region *region,
                              VkDeviceSize offset, VkDeviceSize size, uint32_t seed)
{
    const VkDescriptorBufferInfo buffer = { region->buffer, offset, size };
    const VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = t->set,
        .descriptorCount = 1,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = &buffer,
    };
    const struct push push = { (uint32_t)(size / 4), seed };
    VkCommandBuffer commands;

    vkUpdateDescriptorSets(t->app.device, 1, &write, 0, NULL);
    *(uint32_t *)t->count.map = 0;
    commands = commands_begin(&t->app);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, t->pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, t->layout, 0, 1, &t->set, 0,
                            NULL);
    vkCmdPushConstants(commands, t->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(push), &push);
    vkCmdDispatch(commands, 1024, 1, 1);
    barrier_memory(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(&t->app, commands);
    return *(uint32_t *)t->count.map;
}

static void test_type(struct memory_test *t, uint32_t type)
{
    struct app *app = &t->app;
    VkDeviceSize size = (VkDeviceSize)t->mib << 20;
    struct region region;
    uint64_t device_wrong = 0, host_wrong = 0;
    char name[64];
    uint32_t *words;

    snprintf(name, sizeof(name), "type_%u", type);
    if (!region_create(app, size, type, &region)) {
        skip(name, "not for storage buffers");
        return;
    }
    MUST(vkMapMemory(app->device, region.memory, 0, VK_WHOLE_SIZE, 0, (void **)&words));
    for (VkDeviceSize at = 0; at < size; at += STEP) {
        VkDeviceSize n = size - at < STEP ? size - at : STEP;

        for (uint64_t i = 0; i < n / 4; i++) {
            words[at / 4 + i] = word_at(i, 17 + type);
        }
    }
    if (!region.coherent) {
        flush(app, region.memory, 0);
    }
    for (VkDeviceSize at = 0; at < size; at += STEP) {
        device_wrong +=
            device_verify(t, &region, at, size - at < STEP ? size - at : STEP, 17 + type);
    }
    if (!region.coherent) {
        invalidate(app, region.memory, 0);
    }
    for (VkDeviceSize at = 0; at < size; at += STEP) {
        VkDeviceSize n = size - at < STEP ? size - at : STEP;

        for (uint64_t i = 0; i < n / 4; i++) {
            host_wrong += words[at / 4 + i] != ~word_at(i, 17 + type);
        }
    }
    vkUnmapMemory(app->device, region.memory);
    check(device_wrong == 0 && host_wrong == 0, name, "device saw %llu wrong words, host %llu",
          (unsigned long long)device_wrong, (unsigned long long)host_wrong);
    region_destroy(app, &region);
}

/* Content outlives an unmapping, and a mapping may start at an offset. */
static void test_remap(struct memory_test *t)
{
    struct app *app = &t->app;
    const VkDeviceSize size = 1 << 20;
    struct region region;
    uint32_t n_wrong = 0;
    uint32_t *words;

    if (!region_create(app, size, memory_type(app, ~0u, HOST_MEMORY), &region)) {
        fatal("host memory that is not for storage buffers");
    }
    for (uint32_t round = 0; round < 64; round++) {
        const VkDeviceSize offset = round * 16384;

        MUST(vkMapMemory(app->device, region.memory, offset, 16384, 0, (void **)&words));
        for (uint32_t i = 0; i < 4096; i++) {
            words[i] = word_at(offset / 4 + i, 3);
        }
        flush(app, region.memory, offset);
        vkUnmapMemory(app->device, region.memory);
    }
    n_wrong += device_verify(t, &region, 0, size, 3);
    MUST(vkMapMemory(app->device, region.memory, 0, VK_WHOLE_SIZE, 0, (void **)&words));
    invalidate(app, region.memory, 0);
    for (uint32_t i = 0; i < size / 4; i++) {
        n_wrong += words[i] != ~word_at(i, 3);
    }
    vkUnmapMemory(app->device, region.memory);
    check(n_wrong == 0, "map_unmap", "%u words wrong", n_wrong);
    region_destroy(app, &region);
}

/* Sizes from a byte to some MiB, up to 64 alive, every one touched. */
static void test_churn(struct memory_test *t)
{
    struct app *app = &t->app;
    const uint32_t type = memory_type(app, ~0u, HOST_MEMORY);
    VkDeviceMemory memories[64] = { VK_NULL_HANDLE };
    uint8_t *maps[64];
    VkDeviceSize sizes[64];
    uint32_t state = 5, n_wrong = 0;

    for (uint32_t round = 0; round < 600; round++) {
        uint32_t slot = random_u32(&state) % 64;
        VkMemoryAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
            .allocationSize = 1 + random_u32(&state) % (1u << (random_u32(&state) % 23)),
            .memoryTypeIndex = type,
        };

        if (memories[slot]) {
            n_wrong +=
                maps[slot][0] != (uint8_t)slot || maps[slot][sizes[slot] - 1] != (uint8_t)slot;
            vkFreeMemory(app->device, memories[slot], NULL);
        }
        sizes[slot] = info.allocationSize;
        MUST(vkAllocateMemory(app->device, &info, NULL, &memories[slot]));
        MUST(vkMapMemory(app->device, memories[slot], 0, VK_WHOLE_SIZE, 0, (void **)&maps[slot]));
        memset(maps[slot], (uint8_t)slot, sizes[slot]);
    }
    for (uint32_t slot = 0; slot < 64; slot++) {
        vkFreeMemory(app->device, memories[slot], NULL);
    }
    check(n_wrong == 0, "churn", "%u allocations lost their content", n_wrong);
}

/* As many at once as every device must have, mapped all of them. */
static void test_many(struct memory_test *t)
{
    struct app *app = &t->app;
    const uint32_t n = (uint32_t)t->allocations;
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = 4096,
        .memoryTypeIndex = memory_type(app, ~0u, HOST_MEMORY),
    };
    VkDeviceMemory *memories = must_alloc(n, sizeof(*memories));
    uint32_t **maps = must_alloc(n, sizeof(*maps));
    uint32_t n_wrong = 0;

    for (uint32_t i = 0; i < n; i++) {
        MUST(vkAllocateMemory(app->device, &info, NULL, &memories[i]));
        MUST(vkMapMemory(app->device, memories[i], 0, VK_WHOLE_SIZE, 0, (void **)&maps[i]));
        maps[i][0] = i;
    }
    for (uint32_t i = 0; i < n; i++) {
        n_wrong += maps[i][0] != i;
        vkFreeMemory(app->device, memories[i], NULL);
    }
    check(n_wrong == 0, "many", "%u of %u allocations lost their content", n_wrong, n);
    free(memories);
    free(maps);
}

static void test_device_local(struct memory_test *t)
{
    struct app *app = &t->app;
    const VkDeviceSize size = 16 << 20;
    const VkBufferUsageFlags usage =
        VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;
    struct buffer up = buffer_create(app, size, usage, HOST_MEMORY);
    struct buffer down = buffer_create(app, size, usage, HOST_MEMORY);
    struct buffer local = buffer_create(app, size, usage, DEVICE_MEMORY);
    VkBufferCopy regions[16];
    VkCommandBuffer commands = commands_begin(app);
    uint32_t *words = up.map;

    for (uint32_t i = 0; i < size / 4; i++) {
        words[i] = word_at(i, 11);
    }
    /* Up in pieces that swap places, down in one. */
    for (uint32_t i = 0; i < 16; i++) {
        regions[i] = (VkBufferCopy){ i * (size / 16), (15 - i) * (size / 16), size / 16 };
    }
    vkCmdCopyBuffer(commands, up.buffer, local.buffer, 16, regions);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT);
    vkCmdCopyBuffer(commands, local.buffer, down.buffer, 1, &(VkBufferCopy){ 0, 0, size });
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    for (uint32_t i = 0; i < 16; i++) {
        if (memcmp((char *)up.map + regions[i].srcOffset, (char *)down.map + regions[i].dstOffset,
                   size / 16) != 0) {
            check(false, "device_local", "piece %u differs", i);
            break;
        }
        if (i == 15) {
            check(true, "device_local", " ");
        }
    }
    value("device_local", fnv1a(down.map, size));
    buffer_destroy(app, &up);
    buffer_destroy(app, &down);
    buffer_destroy(app, &local);
}

/* Many buffers in one allocation: binding at offsets, each filled with its own word. */
static void test_suballocation(struct memory_test *t)
{
    enum { N = 32 };
    struct app *app = &t->app;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = 4000,
        .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };
    VkBindBufferMemoryInfo binds[N];
    VkBuffer buffers[N];
    VkMemoryRequirements requirements;
    VkDeviceMemory memory;
    VkDeviceSize stride;
    VkCommandBuffer commands;
    uint32_t n_wrong = 0;
    char *map;

    for (uint32_t i = 0; i < N; i++) {
        MUST(vkCreateBuffer(app->device, &info, NULL, &buffers[i]));
        vkGetBufferMemoryRequirements(app->device, buffers[i], &requirements);
    }
    stride = (requirements.size + requirements.alignment - 1) & ~(requirements.alignment - 1);
    requirements.size = stride * N;
    memory = memory_allocate(app, &requirements, HOST_MEMORY, 0);
    for (uint32_t i = 0; i < N; i++) {
        binds[i] = (VkBindBufferMemoryInfo){
            .sType = VK_STRUCTURE_TYPE_BIND_BUFFER_MEMORY_INFO,
            .buffer = buffers[i],
            .memory = memory,
            .memoryOffset = i * stride,
        };
    }
    MUST(vkBindBufferMemory2(app->device, N, binds));
    commands = commands_begin(app);
    for (uint32_t i = 0; i < N; i++) {
        vkCmdFillBuffer(commands, buffers[i], 0, VK_WHOLE_SIZE, 0x1010101u * i);
    }
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    MUST(vkMapMemory(app->device, memory, 0, VK_WHOLE_SIZE, 0, (void **)&map));
    for (uint32_t i = 0; i < N; i++) {
        n_wrong += map[i * stride] != (char)i || map[i * stride + 3999] != (char)i;
    }
    check(n_wrong == 0, "suballocation", "%u of %u buffers wrong", n_wrong, N);
    for (uint32_t i = 0; i < N; i++) {
        vkDestroyBuffer(app->device, buffers[i], NULL);
    }
    vkFreeMemory(app->device, memory, NULL);
}

static void create(struct memory_test *t)
{
    struct app *app = &t->app;
    const VkDescriptorSetLayoutBinding bindings[] = {
        { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
        { 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
    };

    t->set_layout = set_layout_create(app, bindings, ARRAY_SIZE(bindings));
    t->layout = pipeline_layout_create(app, &t->set_layout, 1, VK_SHADER_STAGE_COMPUTE_BIT,
                                       sizeof(struct push));
    t->pipeline = compute_pipeline_create(app, SPIRV(verify_comp), t->layout, NULL);
    t->pool = descriptor_pool_create(app, 1, 4, 0);
    t->set = descriptor_set_allocate(app, t->pool, t->set_layout);
    t->count = buffer_create(app, 64, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, HOST_MEMORY);
    descriptor_write_buffer(app, t->set, 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &t->count);
}

static void destroy(struct memory_test *t)
{
    struct app *app = &t->app;

    buffer_destroy(app, &t->count);
    vkDestroyPipeline(app->device, t->pipeline, NULL);
    vkDestroyPipelineLayout(app->device, t->layout, NULL);
    vkDestroyDescriptorSetLayout(app->device, t->set_layout, NULL);
    vkDestroyDescriptorPool(app->device, t->pool, NULL);
}

int main(int argc, char **argv)
{
    static struct memory_test t;
    const struct option_rule options[] = {
        { "--mib", OPTION_INT, &t.mib, "size of the large allocations (default 1024)" },
        { "--allocations", OPTION_INT, &t.allocations, "at the same time (default 4000)" },
        { NULL },
    };
    t.mib = 1024;
    t.allocations = 4000;
    app_open(&t.app, "cl_memory", argc, argv, options, NULL, 0);
    if (t.mib < 1 || t.mib > 16384) {
        fatal("--mib out of range");
    }
    if (t.allocations < 1 ||
        (uint32_t)t.allocations > t.app.properties.limits.maxMemoryAllocationCount) {
        fatal("--allocations out of range");
    }
    create(&t);
    for (uint32_t type = 0; type < t.app.memory.memoryTypeCount; type++) {
        const VkMemoryPropertyFlags flags = t.app.memory.memoryTypes[type].propertyFlags;

        /* AMD's device-coherent types need a feature of their own. */
        if ((flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) &&
            !(flags & VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD)) {
            test_type(&t, type);
        }
    }
    test_remap(&t);
    test_churn(&t);
    test_many(&t);
    test_device_local(&t);
    test_suballocation(&t);
    destroy(&t);
    return app_close(&t.app);
}
