/*
 * Pipeline caches and their data, many pipelines in one call, creation feedback, derivatives of
 * flags, and private data slots.
 */
#include "vkapp.h"

#include <stdlib.h>
#include <string.h>

#include "fill_comp.h"
#include "flat_frag.h"
#include "flat_vert.h"
#include "mix_comp.h"

#define N_PIPELINES 48

struct flat_push {
    float rect[4];
    float color[4];
    float depth;
};

struct constants {
    uint32_t local_size;
    uint32_t rounds;
};

struct cache_test {
    struct app app;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout compute_layout;
    VkPipelineLayout flat_layout;
    VkRenderPass pass;
};

static VkPipelineCache cache_create(struct app *app, const void *data, size_t size)
{
    const VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = size,
        .pInitialData = data,
    };
    VkPipelineCache cache;

    MUST(vkCreatePipelineCache(app->device, &info, NULL, &cache));
    return cache;
}

static void *cache_data(struct app *app, VkPipelineCache cache, size_t *ret_size)
{
    void *data;

    *ret_size = 0;
    MUST(vkGetPipelineCacheData(app->device, cache, ret_size, NULL));
    data = must_alloc(*ret_size, 1);
    MUST(vkGetPipelineCacheData(app->device, cache, ret_size, data));
    return data;
}

/* N compute pipelines that differ by their constants, in one call. */
static void create_many_compute(struct cache_test *t, VkPipelineCache cache,
                                VkPipeline pipelines[N_PIPELINES])
{
    static const VkSpecializationMapEntry entries[] = {
        { 0, offsetof(struct constants, local_size), 4 },
        { 1, offsetof(struct constants, rounds), 4 },
    };
    struct app *app = &t->app;
    VkComputePipelineCreateInfo infos[N_PIPELINES];
    VkSpecializationInfo specializations[N_PIPELINES];
    struct constants constants[N_PIPELINES];
    VkShaderModule module = shader_create(app, SPIRV(mix_comp));

    for (uint32_t i = 0; i < N_PIPELINES; i++) {
        constants[i] = (struct constants){ 16 + 16 * (i % 4), i };
        specializations[i] = (VkSpecializationInfo){ ARRAY_SIZE(entries), entries,
                                                     sizeof(constants[i]), &constants[i] };
        infos[i] = (VkComputePipelineCreateInfo){
            .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
            .stage = {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = &specializations[i],
            },
            .layout = t->compute_layout,
        };
    }
    MUST(vkCreateComputePipelines(app->device, cache, N_PIPELINES, infos, NULL, pipelines));
    vkDestroyShaderModule(app->device, module, NULL);
}

static void destroy_pipelines(struct app *app, VkPipeline *pipelines, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        vkDestroyPipeline(app->device, pipelines[i], NULL);
    }
}

static void test_caches(struct cache_test *t)
{
    struct app *app = &t->app;
    VkPipeline pipelines[N_PIPELINES] = { VK_NULL_HANDLE };
    VkPipelineCache first = cache_create(app, NULL, 0), second, third;
    VkPipelineCacheHeaderVersionOne header;
    uint32_t n_null = 0;
    size_t size, size2, small;
    void *data, *data2;
    uint8_t garbage[64];

    create_many_compute(t, first, pipelines);
    for (uint32_t i = 0; i < N_PIPELINES; i++) {
        n_null += pipelines[i] == VK_NULL_HANDLE;
    }
    check(n_null == 0, "many_compute_pipelines", "%u are null", n_null);
    destroy_pipelines(app, pipelines, N_PIPELINES);

    data = cache_data(app, first, &size);
    memset(&header, 0, sizeof(header));
    memcpy(&header, data, size < sizeof(header) ? size : sizeof(header));
    check(size >= 32 && header.headerSize == 32 &&
              header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
              header.vendorID == app->properties.vendorID &&
              header.deviceID == app->properties.deviceID &&
              memcmp(header.pipelineCacheUUID, app->properties.pipelineCacheUUID, 16) == 0,
          "cache_header", "%zu bytes, header of %u, vendor 0x%x", size, header.headerSize,
          header.vendorID);

    /* The header must fit; less is refused with VK_INCOMPLETE. */
    if (size > 32) {
        uint8_t part[32];

        small = sizeof(part);
        VkResult r = vkGetPipelineCacheData(app->device, first, &small, part);
        check(r == VK_INCOMPLETE && small <= 32, "cache_incomplete", "result %d, %zu bytes", r,
              small);
    } else {
        skip("cache_incomplete", "the cache is only a header");
    }

    second = cache_create(app, data, size);
    create_many_compute(t, second, pipelines);
    destroy_pipelines(app, pipelines, N_PIPELINES);
    memset(garbage, 0xa5, sizeof(garbage));
    third = cache_create(app, garbage, sizeof(garbage));
    MUST(vkMergePipelineCaches(app->device, third, 2, (VkPipelineCache[]){ first, second }));
    data2 = cache_data(app, third, &size2);
    check(size2 >= 32, "cache_merge", "%zu bytes", size2);
    create_many_compute(t, third, pipelines);
    destroy_pipelines(app, pipelines, N_PIPELINES);
    check(true, "cache_from_garbage", " ");
    free(data);
    free(data2);
    vkDestroyPipelineCache(app->device, first, NULL);
    vkDestroyPipelineCache(app->device, second, NULL);
    vkDestroyPipelineCache(app->device, third, NULL);
}

static void test_graphics(struct cache_test *t)
{
    struct app *app = &t->app;
    VkPipelineCache cache = cache_create(app, NULL, 0);
    VkPipeline pipelines[16];
    uint32_t n_null = 0;

    for (uint32_t i = 0; i < ARRAY_SIZE(pipelines); i++) {
        pipelines[i] = graphics_pipeline_create(app, &(struct graphics_info){
                                                         .vertex = SPIRV(flat_vert),
                                                         .fragment = SPIRV(flat_frag),
                                                         .layout = t->flat_layout,
                                                         .pass = t->pass,
                                                         .cull = i % 4,
                                                         .blend = i % 3 == 0,
                                                         .cache = cache,
                                                     });
        n_null += pipelines[i] == VK_NULL_HANDLE;
    }
    check(n_null == 0, "graphics_pipelines", "%u are null", n_null);
    destroy_pipelines(app, pipelines, ARRAY_SIZE(pipelines));
    vkDestroyPipelineCache(app->device, cache, NULL);
}

static void test_feedback(struct cache_test *t)
{
    struct app *app = &t->app;
    VkPipelineCreationFeedback whole = { 0 }, stages[2] = { { 0 } };
    const VkPipelineCreationFeedbackCreateInfo feedback = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO,
        .pPipelineCreationFeedback = &whole,
        .pipelineStageCreationFeedbackCount = 2,
        .pPipelineStageCreationFeedbacks = stages,
    };
    VkPipeline pipeline;

    if (app->api < VK_API_VERSION_1_3) {
        skip("feedback", "Vulkan 1.3");
        return;
    }
    pipeline = graphics_pipeline_create(app, &(struct graphics_info){
                                                 .vertex = SPIRV(flat_vert),
                                                 .fragment = SPIRV(flat_frag),
                                                 .layout = t->flat_layout,
                                                 .pass = t->pass,
                                                 .next = &feedback,
                                             });
    /* A driver may leave it invalid; if it is valid it took some time. */
    check(!(whole.flags & VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT) || whole.duration > 0,
          "feedback", "flags 0x%x, duration %llu", whole.flags, (unsigned long long)whole.duration);
    vkDestroyPipeline(app->device, pipeline, NULL);
}

/* Cache control: a pipeline that would have to be compiled may be refused, and nothing leaks. */
static void test_cache_control(struct cache_test *t)
{
    struct app *app = &t->app;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_FAIL_ON_PIPELINE_COMPILE_REQUIRED_BIT,
        .stage = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT,
            .pName = "main",
        },
        .layout = t->compute_layout,
    };
    VkPipeline pipeline = VK_NULL_HANDLE;
    VkResult r;

    if (!app->features13.pipelineCreationCacheControl) {
        skip("cache_control", "pipelineCreationCacheControl");
        return;
    }
    info.stage.module = shader_create(app, SPIRV(fill_comp));
    r = vkCreateComputePipelines(app->device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline);
    check((r == VK_SUCCESS && pipeline) || (r == VK_PIPELINE_COMPILE_REQUIRED && !pipeline),
          "cache_control", "result %d", r);
    value("cache_control", (uint64_t)(uint32_t)r);
    vkDestroyPipeline(app->device, pipeline, NULL);
    vkDestroyShaderModule(app->device, info.stage.module, NULL);
}

static void test_private_data(struct cache_test *t)
{
    struct app *app = &t->app;
    const VkPrivateDataSlotCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PRIVATE_DATA_SLOT_CREATE_INFO,
    };
    VkPrivateDataSlot slots[3];
    uint64_t got[4] = { 1, 1, 1, 1 };

    if (!app->features13.privateData) {
        skip("private_data", "privateData");
        return;
    }
    for (int i = 0; i < 3; i++) {
        MUST(vkCreatePrivateDataSlot(app->device, &info, NULL, &slots[i]));
    }
    MUST(vkSetPrivateData(app->device, VK_OBJECT_TYPE_RENDER_PASS, (uint64_t)t->pass, slots[0],
                          0x123456789abcdefull));
    MUST(vkSetPrivateData(app->device, VK_OBJECT_TYPE_PIPELINE_LAYOUT, (uint64_t)t->flat_layout,
                          slots[0], 42));
    vkGetPrivateData(app->device, VK_OBJECT_TYPE_RENDER_PASS, (uint64_t)t->pass, slots[0], &got[0]);
    vkGetPrivateData(app->device, VK_OBJECT_TYPE_PIPELINE_LAYOUT, (uint64_t)t->flat_layout,
                     slots[0], &got[1]);
    vkGetPrivateData(app->device, VK_OBJECT_TYPE_RENDER_PASS, (uint64_t)t->pass, slots[1], &got[2]);
    check(got[0] == 0x123456789abcdefull && got[1] == 42 && got[2] == 0, "private_data",
          "%llx %llx %llx", (unsigned long long)got[0], (unsigned long long)got[1],
          (unsigned long long)got[2]);
    for (int i = 0; i < 3; i++) {
        vkDestroyPrivateDataSlot(app->device, slots[i], NULL);
    }
}

int main(int argc, char **argv)
{
    static struct cache_test t;
    struct app *app = &t.app;
    const VkDescriptorSetLayoutBinding bindings[] = {
        { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
        { 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
    };

    app_open(app, "cl_cache", argc, argv, NULL, NULL, 0);
    t.set_layout = set_layout_create(app, bindings, ARRAY_SIZE(bindings));
    t.compute_layout =
        pipeline_layout_create(app, &t.set_layout, 1, VK_SHADER_STAGE_COMPUTE_BIT, 16);
    t.flat_layout =
        pipeline_layout_create(app, NULL, 0,
                               VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT,
                               sizeof(struct flat_push));
    t.pass =
        render_pass_create(app, VK_FORMAT_R8G8B8A8_UNORM, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    test_caches(&t);
    test_graphics(&t);
    test_feedback(&t);
    test_cache_control(&t);
    test_private_data(&t);
    vkDestroyRenderPass(app->device, t.pass, NULL);
    vkDestroyPipelineLayout(app->device, t.flat_layout, NULL);
    vkDestroyPipelineLayout(app->device, t.compute_layout, NULL);
    vkDestroyDescriptorSetLayout(app->device, t.set_layout, NULL);
    return app_close(app);
}
