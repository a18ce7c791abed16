/*
 * Compute: a million elements through specialised pipelines, checked against the CPU; indirect
 * dispatch, dispatch with a base, shared memory and atomics, buffer device addresses, mathematics.
 */
#include "vkapp.h"

#include <string.h>

#include "address_comp.h"
#include "half_comp.h"
#include "math_comp.h"
#include "mix_comp.h"
#include "sum_comp.h"

#define COUNT (1u << 20)

struct push {
    uint32_t count;
    uint32_t seed;
};

struct constants {
    uint32_t local_size;
    uint32_t rounds;
    VkBool32 swap;
};

struct compute {
    struct app app;
    struct buffer source;
    struct buffer result;
    struct buffer indirect;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkDescriptorPool pool;
    VkDescriptorSet set;
};

static uint32_t expected(uint32_t x, uint32_t seed, const struct constants *c)
{
    x ^= seed;
    for (uint32_t r = 0; r < c->rounds; r++) {
        x = (x * 1664525u + 1013904223u) ^ (x >> 13);
    }
    return c->swap ? x << 16 | x >> 16 : x;
}

static VkPipeline create_mix(struct compute *c, const struct constants *constants)
{
    static const VkSpecializationMapEntry entries[] = {
        { 0, offsetof(struct constants, local_size), 4 },
        { 1, offsetof(struct constants, rounds), 4 },
        { 2, offsetof(struct constants, swap), 4 },
    };
    const VkSpecializationInfo info = {
        .mapEntryCount = ARRAY_SIZE(entries),
        .pMapEntries = entries,
        .dataSize = sizeof(*constants),
        .pData = constants,
    };

    return compute_pipeline_create(&c->app, SPIRV(mix_comp), c->layout, &info);
}

static VkCommandBuffer start(struct compute *c, VkPipeline pipeline, const struct push *push)
{
    VkCommandBuffer commands = commands_begin(&c->app);

    memset(c->result.map, 0, c->result.size);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, c->layout, 0, 1, &c->set, 0,
                            NULL);
    vkCmdPushConstants(commands, c->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(*push), push);
    return commands;
}

static void finish(struct compute *c, VkCommandBuffer commands)
{
    barrier_memory(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(&c->app, commands);
}

static void check_mix(struct compute *c, const char *name, uint32_t count, uint32_t seed,
                      const struct constants *constants)
{
    const uint32_t *source = c->source.map, *result = c->result.map;
    uint32_t n_wrong = 0, first = 0;

    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t want = i < count ? expected(source[i], seed, constants) : 0;

        if (result[i] != want) {
            first = n_wrong++ ? first : i;
        }
    }
    check(n_wrong == 0, name, "%u wrong of %u, first at %u: 0x%08x", n_wrong, count, first,
          result[first]);
    value(name, fnv1a(result, 4ull * count));
}

static void run_direct(struct compute *c)
{
    static const struct constants variants[] = { { 32, 1, VK_FALSE },
                                                 { 64, 7, VK_TRUE },
                                                 { 128, 20, VK_FALSE } };
    static const char *const names[] = { "groups_of_32", "groups_of_64", "groups_of_128" };

    for (uint32_t i = 0; i < ARRAY_SIZE(variants); i++) {
        const struct push push = { COUNT - 13 * i, 0x1234567u * i };
        VkPipeline pipeline = create_mix(c, &variants[i]);
        VkCommandBuffer commands = start(c, pipeline, &push);

        vkCmdDispatch(commands, (COUNT + variants[i].local_size - 1) / variants[i].local_size, 1,
                      1);
        finish(c, commands);
        check_mix(c, names[i], push.count, push.seed, &variants[i]);
        vkDestroyPipeline(c->app.device, pipeline, NULL);
    }
}

static void run_indirect(struct compute *c)
{
    static const struct constants constants = { 64, 3, VK_FALSE };
    const struct push push = { COUNT / 2, 99 };
    const VkDispatchIndirectCommand arguments = { COUNT / 2 / 64, 1, 1 };
    VkPipeline pipeline = create_mix(c, &constants);
    VkCommandBuffer commands = start(c, pipeline, &push);

    memcpy((char *)c->indirect.map + 16, &arguments, sizeof(arguments));
    vkCmdDispatchIndirect(commands, c->indirect.buffer, 16);
    finish(c, commands);
    check_mix(c, "indirect", push.count, push.seed, &constants);
    vkDestroyPipeline(c->app.device, pipeline, NULL);
}

/* Two halves of one range: the second dispatch starts at a group that is not 0. */
static void run_base(struct compute *c)
{
    static const struct constants constants = { 64, 2, VK_TRUE };
    const struct push push = { COUNT, 5 };
    const uint32_t half = COUNT / 64 / 2;
    const VkSpecializationMapEntry entries[] = { { 0, 0, 4 }, { 1, 4, 4 }, { 2, 8, 4 } };
    const VkSpecializationInfo info = { ARRAY_SIZE(entries), entries, sizeof(constants),
                                        &constants };
    const VkComputePipelineCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT,
        .stage = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT,
            .module = shader_create(&c->app, SPIRV(mix_comp)),
            .pName = "main",
            .pSpecializationInfo = &info,
        },
        .layout = c->layout,
    };
    VkPipeline pipeline;
    VkCommandBuffer commands;

    MUST(vkCreateComputePipelines(c->app.device, VK_NULL_HANDLE, 1, &create, NULL, &pipeline));
    vkDestroyShaderModule(c->app.device, create.stage.module, NULL);
    commands = start(c, pipeline, &push);
    vkCmdDispatchBase(commands, half, 0, 0, half, 1, 1);
    vkCmdDispatchBase(commands, 0, 0, 0, half, 1, 1);
    finish(c, commands);
    check_mix(c, "dispatch_base", push.count, push.seed, &constants);
    vkDestroyPipeline(c->app.device, pipeline, NULL);
}

static void run_sum(struct compute *c)
{
    const struct push push = { COUNT, 0 };
    const uint32_t *source = c->source.map, *result = c->result.map;
    VkPipeline pipeline = compute_pipeline_create(&c->app, SPIRV(sum_comp), c->layout, NULL);
    VkCommandBuffer commands = start(c, pipeline, &push);
    uint32_t sum = 0;

    vkCmdDispatch(commands, 61, 1, 1);
    finish(c, commands);
    for (uint32_t i = 0; i < COUNT; i++) {
        sum += source[i];
    }
    check(result[0] == sum, "shared_memory_sum", "0x%08x, not 0x%08x", result[0], sum);
    vkDestroyPipeline(c->app.device, pipeline, NULL);
}

/* Functions that a driver's compiler may leave to the C library, which its code must then find.
 * Their last bits are the driver's own: the runs are compared, not the CPU. */
static void run_math(struct compute *c, const char *name, struct spirv code)
{
    const struct push push = { COUNT, 77 };
    const uint32_t *result = c->result.map;
    VkPipeline pipeline = compute_pipeline_create(&c->app, code, c->layout, NULL);
    VkCommandBuffer commands = start(c, pipeline, &push);
    uint32_t n_empty = 0;

    vkCmdDispatch(commands, COUNT / 64, 1, 1);
    finish(c, commands);
    for (uint32_t i = 0; i < COUNT; i++) {
        n_empty += result[i] == 0;
    }
    check(n_empty < COUNT / 1024, name, "%u results are 0", n_empty);
    value(name, fnv1a(result, 4ull * COUNT));
    vkDestroyPipeline(c->app.device, pipeline, NULL);
}

static void run_address(struct compute *c)
{
    struct {
        VkDeviceAddress source;
        VkDeviceAddress result;
        uint32_t count;
        uint32_t padding;
    } push = { .count = COUNT };
    const uint32_t *source = c->source.map, *result = c->result.map;
    VkBufferDeviceAddressInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO };
    uint32_t n_wrong = 0;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkCommandBuffer commands;

    if (!c->app.features12.bufferDeviceAddress) {
        skip("device_address", "bufferDeviceAddress");
        return;
    }
    info.buffer = c->source.buffer;
    push.source = vkGetBufferDeviceAddress(c->app.device, &info);
    info.buffer = c->result.buffer;
    push.result = vkGetBufferDeviceAddress(c->app.device, &info);
    layout = pipeline_layout_create(&c->app, NULL, 0, VK_SHADER_STAGE_COMPUTE_BIT, sizeof(push));
    pipeline = compute_pipeline_create(&c->app, SPIRV(address_comp), layout, NULL);
    memset(c->result.map, 0, c->result.size);
    commands = commands_begin(&c->app);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(push), &push);
    vkCmdDispatch(commands, COUNT / 64, 1, 1);
    finish(c, commands);
    for (uint32_t i = 0; i < COUNT; i++) {
        n_wrong += result[i] != source[COUNT - 1 - i] + 1;
    }
    check(push.source && push.result && n_wrong == 0, "device_address", "%u wrong", n_wrong);
    vkDestroyPipeline(c->app.device, pipeline, NULL);
    vkDestroyPipelineLayout(c->app.device, layout, NULL);
}

static void create(struct compute *c)
{
    struct app *app = &c->app;
    const VkDescriptorSetLayoutBinding bindings[] = {
        { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
        { 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
    };
    const VkBufferUsageFlags usage =
        VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
        (app->features12.bufferDeviceAddress ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT : 0);
    uint32_t state = 1;
    uint32_t *source;

    c->source = buffer_create(app, 4 * COUNT, usage, HOST_MEMORY);
    c->result = buffer_create(app, 4 * COUNT, usage, HOST_MEMORY);
    c->indirect = buffer_create(app, 64, VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT, HOST_MEMORY);
    source = c->source.map;
    for (uint32_t i = 0; i < COUNT; i++) {
        source[i] = random_u32(&state);
    }
    c->set_layout = set_layout_create(app, bindings, ARRAY_SIZE(bindings));
    c->layout = pipeline_layout_create(app, &c->set_layout, 1, VK_SHADER_STAGE_COMPUTE_BIT,
                                       sizeof(struct push));
    c->pool = descriptor_pool_create(app, 1, 4, 0);
    c->set = descriptor_set_allocate(app, c->pool, c->set_layout);
    descriptor_write_buffer(app, c->set, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &c->source);
    descriptor_write_buffer(app, c->set, 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &c->result);
}

static void destroy(struct compute *c)
{
    struct app *app = &c->app;

    vkDestroyDescriptorPool(app->device, c->pool, NULL);
    vkDestroyPipelineLayout(app->device, c->layout, NULL);
    vkDestroyDescriptorSetLayout(app->device, c->set_layout, NULL);
    buffer_destroy(app, &c->source);
    buffer_destroy(app, &c->result);
    buffer_destroy(app, &c->indirect);
}

int main(int argc, char **argv)
{
    static struct compute c;

    app_open(&c.app, "cl_compute", argc, argv, NULL, NULL, 0);
    create(&c);
    run_direct(&c);
    run_indirect(&c);
    run_base(&c);
    run_sum(&c);
    run_math(&c, "mathematics", SPIRV(math_comp));
    if (c.app.features12.shaderFloat16) {
        run_math(&c, "mathematics_in_half_precision", SPIRV(half_comp));
    } else {
        skip("mathematics_in_half_precision", "shaderFloat16");
    }
    run_address(&c);
    destroy(&c);
    return app_close(&c.app);
}
