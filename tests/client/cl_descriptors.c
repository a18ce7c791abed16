/*
 * Descriptors: update after bind with a variable count and non-uniform indexing, push descriptors,
 * inline uniform blocks, update templates, copies, dynamic offsets, texel buffers, separate
 * samplers, pool reset and thousands of writes in one call.
 */
#include "vkapp.h"

#include <stdlib.h>
#include <string.h>

#include "bindless_comp.h"
#include "block_comp.h"
#include "fill_comp.h"
#include "kinds_comp.h"

#define N_CELLS 1000
#define CELL_STRIDE 256
#define WORDS 64

struct fill_push {
    uint32_t count;
    uint32_t factor;
    uint32_t base;
};

struct descriptors {
    struct app app;
    struct buffer result;
    struct buffer cells;
    VkDescriptorSetLayout set_layout; /* one storage buffer */
    VkPipelineLayout layout;
    VkPipeline fill;
};

static const VkDescriptorSetLayoutBinding storage_binding = { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                              1, VK_SHADER_STAGE_COMPUTE_BIT,
                                                              NULL };

static VkWriteDescriptorSet write_buffer(VkDescriptorSet set, uint32_t binding, uint32_t element,
                                         VkDescriptorType type, const VkDescriptorBufferInfo *info)
{
    return (VkWriteDescriptorSet){
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = set,
        .dstBinding = binding,
        .dstArrayElement = element,
        .descriptorCount = 1,
        .descriptorType = type,
        .pBufferInfo = info,
    };
}

static void finish(struct descriptors *d, VkCommandBuffer commands)
{
    barrier_memory(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(&d->app, commands);
}

/* Dispatches the fill pipeline with the set that is bound or pushed already. */
static void dispatch_fill(struct descriptors *d, VkCommandBuffer commands, VkPipelineLayout layout,
                          uint32_t base)
{
    const struct fill_push push = { WORDS, 0, base };

    vkCmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(push), &push);
    vkCmdDispatch(commands, 1, 1, 1);
    finish(d, commands);
}

static VkCommandBuffer begin_fill(struct descriptors *d)
{
    VkCommandBuffer commands = commands_begin(&d->app);

    memset(d->result.map, 0, d->result.size);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, d->fill);
    return commands;
}

static void fill_with(struct descriptors *d, VkDescriptorSet set, uint32_t base)
{
    VkCommandBuffer commands = begin_fill(d);

    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, d->layout, 0, 1, &set, 0,
                            NULL);
    dispatch_fill(d, commands, d->layout, base);
}

static uint32_t count_wrong(const uint32_t *words, uint32_t base)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < WORDS; i++) {
        n += words[i] != base + i;
    }
    return n;
}

static bool can_index(const struct app *app)
{
    return app->features12.descriptorBindingVariableDescriptorCount &&
           app->features12.descriptorBindingStorageBufferUpdateAfterBind &&
           app->features12.descriptorBindingPartiallyBound &&
           app->features12.runtimeDescriptorArray &&
           app->features12.shaderStorageBufferArrayNonUniformIndexing;
}

static VkDescriptorSetLayout bindless_layout(struct app *app)
{
    const VkDescriptorSetLayoutBinding bindings[] = {
        storage_binding,
        { 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 4 * N_CELLS, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
    };
    const VkDescriptorBindingFlags flags[] = {
        0,
        VK_DESCRIPTOR_BINDING_UPDATE_AFTER_BIND_BIT | VK_DESCRIPTOR_BINDING_PARTIALLY_BOUND_BIT |
            VK_DESCRIPTOR_BINDING_VARIABLE_DESCRIPTOR_COUNT_BIT,
    };
    const VkDescriptorSetLayoutBindingFlagsCreateInfo flags_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_BINDING_FLAGS_CREATE_INFO,
        .bindingCount = 2,
        .pBindingFlags = flags,
    };
    const VkDescriptorSetLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .pNext = &flags_info,
        .flags = VK_DESCRIPTOR_SET_LAYOUT_CREATE_UPDATE_AFTER_BIND_POOL_BIT,
        .bindingCount = 2,
        .pBindings = bindings,
    };
    VkDescriptorSetLayoutSupport support = { .sType =
                                                 VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_SUPPORT };
    VkDescriptorSetLayout layout;

    vkGetDescriptorSetLayoutSupport(app->device, &info, &support);
    check(support.supported, "layout_support", "not supported");
    MUST(vkCreateDescriptorSetLayout(app->device, &info, NULL, &layout));
    return layout;
}

static void write_cells(struct descriptors *d, VkDescriptorSet set)
{
    VkDescriptorBufferInfo *infos = must_alloc(N_CELLS, sizeof(*infos));
    VkWriteDescriptorSet write = write_buffer(set, 1, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, infos);

    write.descriptorCount = N_CELLS;
    for (uint32_t i = 0; i < N_CELLS; i++) {
        infos[i] = (VkDescriptorBufferInfo){ d->cells.buffer, i * CELL_STRIDE, 4 };
        *(uint32_t *)((char *)d->cells.map + i * CELL_STRIDE) = i * i + 1;
    }
    vkUpdateDescriptorSets(d->app.device, 1, &write, 0, NULL);
    free(infos);
}

static void test_bindless(struct descriptors *d)
{
    struct app *app = &d->app;
    const uint32_t n = N_CELLS, *words = d->result.map;
    const VkDescriptorSetVariableDescriptorCountAllocateInfo variable = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_VARIABLE_DESCRIPTOR_COUNT_ALLOCATE_INFO,
        .descriptorSetCount = 1,
        .pDescriptorCounts = &n,
    };
    VkDescriptorSetAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .pNext = &variable,
        .descriptorSetCount = 1,
    };
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkDescriptorPool pool;
    VkDescriptorSet set;
    VkCommandBuffer commands;
    uint32_t n_wrong = 0;

    if (!can_index(app)) {
        skip("bindless", "descriptor indexing");
        return;
    }
    set_layout = bindless_layout(app);
    layout = pipeline_layout_create(app, &set_layout, 1, VK_SHADER_STAGE_COMPUTE_BIT, 4);
    pipeline = compute_pipeline_create(app, SPIRV(bindless_comp), layout, NULL);
    pool = descriptor_pool_create(app, 1, N_CELLS + 1,
                                  VK_DESCRIPTOR_POOL_CREATE_UPDATE_AFTER_BIND_BIT);
    allocate.descriptorPool = pool;
    allocate.pSetLayouts = &set_layout;
    MUST(vkAllocateDescriptorSets(app->device, &allocate, &set));
    descriptor_write_buffer(app, set, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &d->result);

    commands = commands_begin(app);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &set, 0, NULL);
    vkCmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, 4, &n);
    vkCmdDispatch(commands, (n + 63) / 64, 1, 1);
    write_cells(d, set);
    finish(d, commands);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t cell = i * 7 % n;

        n_wrong += words[i] != cell * cell + 1;
    }
    check(n_wrong == 0, "bindless", "%u wrong of %u", n_wrong, n);
    vkDestroyPipeline(app->device, pipeline, NULL);
    vkDestroyPipelineLayout(app->device, layout, NULL);
    vkDestroyDescriptorPool(app->device, pool, NULL);
    vkDestroyDescriptorSetLayout(app->device, set_layout, NULL);
}

static VkDescriptorUpdateTemplate
template_create(struct descriptors *d, VkDescriptorUpdateTemplateType type, VkPipelineLayout layout)
{
    const VkDescriptorUpdateTemplateEntry entry = {
        .dstBinding = 0,
        .descriptorCount = 1,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .offset = 16,
        .stride = sizeof(VkDescriptorBufferInfo),
    };
    const VkDescriptorUpdateTemplateCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_UPDATE_TEMPLATE_CREATE_INFO,
        .descriptorUpdateEntryCount = 1,
        .pDescriptorUpdateEntries = &entry,
        .templateType = type,
        .descriptorSetLayout = d->set_layout,
        .pipelineBindPoint = VK_PIPELINE_BIND_POINT_COMPUTE,
        .pipelineLayout = layout,
    };
    VkDescriptorUpdateTemplate made;

    MUST(vkCreateDescriptorUpdateTemplate(d->app.device, &info, NULL, &made));
    return made;
}

struct template_data {
    char padding[16];
    VkDescriptorBufferInfo buffer;
};

static void test_push(struct descriptors *d)
{
    struct app *app = &d->app;
    const VkDescriptorSetLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .flags = VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR,
        .bindingCount = 1,
        .pBindings = &storage_binding,
    };
    const struct template_data data = { { 0 }, { d->result.buffer, 256, 4 * WORDS } };
    const VkDescriptorBufferInfo buffer = { d->result.buffer, 0, 4 * WORDS };
    const VkWriteDescriptorSet write =
        write_buffer(VK_NULL_HANDLE, 0, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &buffer);
    const uint32_t *words = d->result.map;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkDescriptorUpdateTemplate template;
    VkPipeline pipeline;
    VkCommandBuffer commands;

    if (!app_has(app, VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME)) {
        skip("push_descriptor", VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME);
        return;
    }
    MUST(vkCreateDescriptorSetLayout(app->device, &info, NULL, &set_layout));
    layout = pipeline_layout_create(app, &set_layout, 1, VK_SHADER_STAGE_COMPUTE_BIT,
                                    sizeof(struct fill_push));
    pipeline = compute_pipeline_create(app, SPIRV(fill_comp), layout, NULL);

    commands = begin_fill(d);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdPushDescriptorSetKHR(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &write);
    dispatch_fill(d, commands, layout, 900);
    check(count_wrong(words, 900) == 0, "push_descriptor", "first word %u", words[0]);

    template = template_create(d, VK_DESCRIPTOR_UPDATE_TEMPLATE_TYPE_PUSH_DESCRIPTORS_KHR, layout);
    commands = begin_fill(d);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdPushDescriptorSetWithTemplateKHR(commands, template, layout, 0, &data);
    dispatch_fill(d, commands, layout, 1900);
    check(words[0] == 0 && count_wrong(words + 64, 1900) == 0, "push_descriptor_template",
          "word 64 is %u", words[64]);
    vkDestroyDescriptorUpdateTemplate(app->device, template, NULL);
    vkDestroyPipeline(app->device, pipeline, NULL);
    vkDestroyPipelineLayout(app->device, layout, NULL);
    vkDestroyDescriptorSetLayout(app->device, set_layout, NULL);
}

static void test_template_and_copy(struct descriptors *d)
{
    struct app *app = &d->app;
    const struct template_data data = { { 0 }, { d->result.buffer, 0, 4 * WORDS } };
    const uint32_t *words = d->result.map;
    VkDescriptorPool pool = descriptor_pool_create(app, 2, 2, 0);
    VkDescriptorSet first = descriptor_set_allocate(app, pool, d->set_layout);
    VkDescriptorSet second = descriptor_set_allocate(app, pool, d->set_layout);
    VkDescriptorUpdateTemplate template =
        template_create(d, VK_DESCRIPTOR_UPDATE_TEMPLATE_TYPE_DESCRIPTOR_SET, VK_NULL_HANDLE);
    const VkCopyDescriptorSet copy = {
        .sType = VK_STRUCTURE_TYPE_COPY_DESCRIPTOR_SET,
        .srcSet = first,
        .dstSet = second,
        .descriptorCount = 1,
    };

    vkUpdateDescriptorSetWithTemplate(app->device, first, template, &data);
    fill_with(d, first, 70);
    check(count_wrong(words, 70) == 0, "update_template", "first word %u", words[0]);
    vkUpdateDescriptorSets(app->device, 0, NULL, 1, &copy);
    fill_with(d, second, 71);
    check(count_wrong(words, 71) == 0, "descriptor_copy", "first word %u", words[0]);
    vkDestroyDescriptorUpdateTemplate(app->device, template, NULL);
    vkDestroyDescriptorPool(app->device, pool, NULL);
}

static void test_inline_block(struct descriptors *d)
{
    struct app *app = &d->app;
    const VkDescriptorSetLayoutBinding bindings[] = {
        storage_binding,
        { 1, VK_DESCRIPTOR_TYPE_INLINE_UNIFORM_BLOCK, 256, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
    };
    const VkDescriptorPoolInlineUniformBlockCreateInfo inline_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_INLINE_UNIFORM_BLOCK_CREATE_INFO,
        .maxInlineUniformBlockBindings = 1,
    };
    const VkDescriptorPoolSize sizes[] = { { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1 },
                                           { VK_DESCRIPTOR_TYPE_INLINE_UNIFORM_BLOCK, 256 } };
    const VkDescriptorPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .pNext = &inline_info,
        .maxSets = 1,
        .poolSizeCount = 2,
        .pPoolSizes = sizes,
    };
    uint32_t rows[16][4], n_wrong = 0, *words = d->result.map;
    const VkWriteDescriptorSetInlineUniformBlock block = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET_INLINE_UNIFORM_BLOCK,
        .dataSize = sizeof(rows),
        .pData = rows,
    };
    VkWriteDescriptorSet write =
        write_buffer(VK_NULL_HANDLE, 1, 0, VK_DESCRIPTOR_TYPE_INLINE_UNIFORM_BLOCK, NULL);
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkDescriptorPool pool;
    VkDescriptorSet set;
    VkCommandBuffer commands;

    if (!app->features13.inlineUniformBlock) {
        skip("inline_uniform_block", "inlineUniformBlock");
        return;
    }
    for (uint32_t i = 0; i < 64; i++) {
        rows[i / 4][i % 4] = i * 1000 + 1;
    }
    set_layout = set_layout_create(app, bindings, 2);
    layout = pipeline_layout_create(app, &set_layout, 1, 0, 0);
    pipeline = compute_pipeline_create(app, SPIRV(block_comp), layout, NULL);
    MUST(vkCreateDescriptorPool(app->device, &pool_info, NULL, &pool));
    set = descriptor_set_allocate(app, pool, set_layout);
    descriptor_write_buffer(app, set, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &d->result);
    write.dstSet = set;
    write.pNext = &block;
    write.descriptorCount = sizeof(rows);
    vkUpdateDescriptorSets(app->device, 1, &write, 0, NULL);

    commands = commands_begin(app);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &set, 0, NULL);
    vkCmdDispatch(commands, 1, 1, 1);
    finish(d, commands);
    for (uint32_t i = 0; i < 16; i++) {
        n_wrong += words[i] != rows[i][0] + 3 * rows[i][1] + 5 * rows[i][2] + 7 * rows[i][3];
    }
    check(n_wrong == 0, "inline_uniform_block", "%u wrong", n_wrong);
    vkDestroyPipeline(app->device, pipeline, NULL);
    vkDestroyPipelineLayout(app->device, layout, NULL);
    vkDestroyDescriptorPool(app->device, pool, NULL);
    vkDestroyDescriptorSetLayout(app->device, set_layout, NULL);
}

static void test_pool_reset(struct descriptors *d)
{
    struct app *app = &d->app;
    VkDescriptorPool pool =
        descriptor_pool_create(app, 100, 100, VK_DESCRIPTOR_POOL_CREATE_FREE_DESCRIPTOR_SET_BIT);
    VkDescriptorSet sets[100];
    VkDescriptorSetLayout layouts[100];
    const VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = pool,
        .descriptorSetCount = 100,
        .pSetLayouts = layouts,
    };

    for (uint32_t i = 0; i < 100; i++) {
        layouts[i] = d->set_layout;
    }
    for (uint32_t round = 0; round < 20; round++) {
        MUST(vkAllocateDescriptorSets(app->device, &info, sets));
        if (round % 2) {
            MUST(vkFreeDescriptorSets(app->device, pool, 100, sets));
        } else {
            MUST(vkResetDescriptorPool(app->device, pool, 0));
        }
    }
    MUST(vkAllocateDescriptorSets(app->device, &info, sets));
    descriptor_write_buffer(app, sets[99], 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &d->result);
    fill_with(d, sets[99], 321);
    check(count_wrong(d->result.map, 321) == 0, "pool_reset", "wrong words");
    vkDestroyDescriptorPool(app->device, pool, NULL);
}

/* 10,000 writes in one call: about a MiB on the wire. */
static void test_big_update(struct descriptors *d)
{
    enum { N_SETS = 10000 };
    struct app *app = &d->app;
    VkDescriptorPool pool = descriptor_pool_create(app, N_SETS, N_SETS, 0);
    VkDescriptorSet *sets = must_alloc(N_SETS, sizeof(*sets));
    VkDescriptorSetLayout *layouts = must_alloc(N_SETS, sizeof(*layouts));
    VkWriteDescriptorSet *writes = must_alloc(N_SETS, sizeof(*writes));
    VkDescriptorBufferInfo *infos = must_alloc(N_SETS, sizeof(*infos));
    const VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = pool,
        .descriptorSetCount = N_SETS,
        .pSetLayouts = layouts,
    };
    const uint32_t *words = d->result.map;
    uint32_t n_wrong = 0;

    for (uint32_t i = 0; i < N_SETS; i++) {
        layouts[i] = d->set_layout;
    }
    MUST(vkAllocateDescriptorSets(app->device, &info, sets));
    for (uint32_t i = 0; i < N_SETS; i++) {
        infos[i] = (VkDescriptorBufferInfo){ d->result.buffer, i % 16 * 256, 4 * WORDS };
        writes[i] = write_buffer(sets[i], 0, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &infos[i]);
    }
    vkUpdateDescriptorSets(app->device, N_SETS, writes, 0, NULL);
    for (uint32_t i = 0; i < N_SETS; i += 1111) {
        fill_with(d, sets[i], i);
        n_wrong += count_wrong(words + i % 16 * 64, i);
    }
    check(n_wrong == 0, "ten_thousand_writes", "%u words wrong", n_wrong);
    vkDestroyDescriptorPool(app->device, pool, NULL);
    free(sets);
    free(layouts);
    free(writes);
    free(infos);
}

/* What test_kinds() binds, and its two set layouts. */
struct kinds {
    struct buffer uniform;
    struct buffer texels;
    struct buffer words;
    struct image canvas;
    struct image picture;
    VkBufferView texel_view;
    VkBufferView word_view;
    VkSampler sampler;
    VkDescriptorSetLayout set_layouts[2];
    VkDescriptorPool pool;
    VkDescriptorSet sets[2];
};

static VkBufferView view_create(struct app *app, const struct buffer *buffer)
{
    const VkBufferViewCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
        .buffer = buffer->buffer,
        .format = VK_FORMAT_R32_UINT,
        .range = VK_WHOLE_SIZE,
    };
    VkBufferView view;

    MUST(vkCreateBufferView(app->device, &info, NULL, &view));
    return view;
}

static void kinds_allocate(struct descriptors *d, struct kinds *k)
{
    const VkShaderStageFlags stage = VK_SHADER_STAGE_COMPUTE_BIT;
    const VkDescriptorSetLayoutBinding first[] = {
        storage_binding,
        { 1, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC, 1, stage, NULL },
        { 2, VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, 1, stage, NULL },
        { 3, VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER, 1, stage, NULL },
        { 4, VK_DESCRIPTOR_TYPE_STORAGE_IMAGE, 1, stage, NULL },
    };
    const VkDescriptorSetLayoutBinding second[] = {
        { 0, VK_DESCRIPTOR_TYPE_SAMPLED_IMAGE, 1, stage, NULL },
        { 1, VK_DESCRIPTOR_TYPE_SAMPLER, 1, stage, NULL },
    };
    const VkDescriptorPoolSize sizes[] = {
        { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1 },
        { VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC, 1 },
        { VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, 1 },
        { VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER, 1 },
        { VK_DESCRIPTOR_TYPE_STORAGE_IMAGE, 1 },
        { VK_DESCRIPTOR_TYPE_SAMPLED_IMAGE, 1 },
        { VK_DESCRIPTOR_TYPE_SAMPLER, 1 },
    };
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = 2,
        .poolSizeCount = ARRAY_SIZE(sizes),
        .pPoolSizes = sizes,
    };

    k->set_layouts[0] = set_layout_create(&d->app, first, ARRAY_SIZE(first));
    k->set_layouts[1] = set_layout_create(&d->app, second, ARRAY_SIZE(second));
    MUST(vkCreateDescriptorPool(d->app.device, &info, NULL, &k->pool));
    k->sets[0] = descriptor_set_allocate(&d->app, k->pool, k->set_layouts[0]);
    k->sets[1] = descriptor_set_allocate(&d->app, k->pool, k->set_layouts[1]);
}

static void kinds_write(struct descriptors *d, struct kinds *k)
{
    const VkDescriptorBufferInfo buffers[] = { { d->result.buffer, 0, VK_WHOLE_SIZE },
                                               { k->uniform.buffer, 0, 16 } };
    const VkDescriptorImageInfo canvas = { .imageView = k->canvas.view,
                                           .imageLayout = VK_IMAGE_LAYOUT_GENERAL };
    const VkDescriptorImageInfo picture = {
        .imageView = k->picture.view,
        .imageLayout = VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL,
    };
    const VkDescriptorImageInfo sampler = { .sampler = k->sampler };
    VkWriteDescriptorSet writes[7];

    for (uint32_t i = 0; i < 5; i++) {
        writes[i] = write_buffer(k->sets[0], i, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &buffers[0]);
    }
    writes[1].descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC;
    writes[1].pBufferInfo = &buffers[1];
    writes[2].descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
    writes[2].pTexelBufferView = &k->texel_view;
    writes[3].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER;
    writes[3].pTexelBufferView = &k->word_view;
    writes[4].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_IMAGE;
    writes[4].pImageInfo = &canvas;
    writes[5] = write_buffer(k->sets[1], 0, 0, VK_DESCRIPTOR_TYPE_SAMPLED_IMAGE, NULL);
    writes[5].pImageInfo = &picture;
    writes[6] = write_buffer(k->sets[1], 1, 0, VK_DESCRIPTOR_TYPE_SAMPLER, NULL);
    writes[6].pImageInfo = &sampler;
    vkUpdateDescriptorSets(d->app.device, ARRAY_SIZE(writes), writes, 0, NULL);
}

static void kinds_create(struct descriptors *d, struct kinds *k)
{
    struct app *app = &d->app;
    const VkSamplerCreateInfo sampler = { .sType = VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO };
    VkCommandBuffer commands;

    k->uniform = buffer_create(app, 1024, VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT, HOST_MEMORY);
    k->texels = buffer_create(app, 256, VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT, HOST_MEMORY);
    k->words = buffer_create(app, 256, VK_BUFFER_USAGE_STORAGE_TEXEL_BUFFER_BIT, HOST_MEMORY);
    k->canvas = image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, 8, 8,
                                VK_IMAGE_USAGE_STORAGE_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT);
    k->picture = image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, 8, 8,
                                 VK_IMAGE_USAGE_SAMPLED_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT);
    k->texel_view = view_create(app, &k->texels);
    k->word_view = view_create(app, &k->words);
    MUST(vkCreateSampler(app->device, &sampler, NULL, &k->sampler));
    *(uint32_t *)((char *)k->uniform.map + 512) = 100;
    for (uint32_t i = 0; i < 64; i++) {
        ((uint32_t *)k->texels.map)[i] = i;
        ((uint32_t *)k->words.map)[i] = 0;
    }
    commands = commands_begin(app);
    barrier_image(commands, &k->canvas, VK_IMAGE_ASPECT_COLOR_BIT, VK_IMAGE_LAYOUT_UNDEFINED,
                  VK_IMAGE_LAYOUT_GENERAL);
    barrier_image(commands, &k->picture, VK_IMAGE_ASPECT_COLOR_BIT, VK_IMAGE_LAYOUT_UNDEFINED,
                  VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL);
    vkCmdClearColorImage(commands, k->picture.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                         &(VkClearColorValue){ .float32 = { 64.0f / 255, 0, 0, 1 } }, 1,
                         &(VkImageSubresourceRange){ VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1 });
    barrier_image(commands, &k->picture, VK_IMAGE_ASPECT_COLOR_BIT,
                  VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL);
    commands_run(app, commands);
    kinds_allocate(d, k);
    kinds_write(d, k);
}

static void kinds_destroy(struct app *app, struct kinds *k)
{
    vkDestroyDescriptorPool(app->device, k->pool, NULL);
    vkDestroyDescriptorSetLayout(app->device, k->set_layouts[0], NULL);
    vkDestroyDescriptorSetLayout(app->device, k->set_layouts[1], NULL);
    vkDestroySampler(app->device, k->sampler, NULL);
    vkDestroyBufferView(app->device, k->texel_view, NULL);
    vkDestroyBufferView(app->device, k->word_view, NULL);
    image_destroy(app, &k->canvas);
    image_destroy(app, &k->picture);
    buffer_destroy(app, &k->uniform);
    buffer_destroy(app, &k->texels);
    buffer_destroy(app, &k->words);
}

static void test_kinds(struct descriptors *d)
{
    struct app *app = &d->app;
    const uint32_t offset = 512, *words = d->result.map;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkCommandBuffer commands;
    struct kinds k = { 0 };
    struct buffer pixels;
    uint32_t n_wrong = 0;

    kinds_create(d, &k);
    layout = pipeline_layout_create(app, k.set_layouts, 2, 0, 0);
    pipeline = compute_pipeline_create(app, SPIRV(kinds_comp), layout, NULL);
    commands = commands_begin(app);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 2, k.sets, 1,
                            &offset);
    vkCmdDispatch(commands, 1, 1, 1);
    barrier_image(commands, &k.canvas, VK_IMAGE_ASPECT_COLOR_BIT, VK_IMAGE_LAYOUT_GENERAL,
                  VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    finish(d, commands);
    for (uint32_t i = 0; i < 64; i++) {
        n_wrong += words[i] != 100 + 3 * i + 64 * 65536;
    }
    check(n_wrong == 0, "dynamic_offset_and_texels", "%u wrong, first 0x%x", n_wrong, words[0]);
    check(((uint32_t *)k.words.map)[3] == 16, "storage_texel_buffer", "%u",
          ((uint32_t *)k.words.map)[3]);
    pixels = image_read(app, &k.canvas);
    check(((uint32_t *)pixels.map)[8 * 5 + 2] == 0xff800502, "storage_image", "0x%08x",
          ((uint32_t *)pixels.map)[8 * 5 + 2]);
    buffer_destroy(app, &pixels);
    vkDestroyPipeline(app->device, pipeline, NULL);
    vkDestroyPipelineLayout(app->device, layout, NULL);
    kinds_destroy(app, &k);
}

int main(int argc, char **argv)
{
    static struct descriptors d;
    struct app *app = &d.app;
    struct want wants[] = { { VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME, NULL } };

    app_open(app, "cl_descriptors", argc, argv, NULL, wants, ARRAY_SIZE(wants));
    d.result = buffer_create(app, 16384, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, HOST_MEMORY);
    d.cells =
        buffer_create(app, N_CELLS * CELL_STRIDE, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, HOST_MEMORY);
    d.set_layout = set_layout_create(app, &storage_binding, 1);
    d.layout = pipeline_layout_create(app, &d.set_layout, 1, VK_SHADER_STAGE_COMPUTE_BIT,
                                      sizeof(struct fill_push));
    d.fill = compute_pipeline_create(app, SPIRV(fill_comp), d.layout, NULL);
    test_bindless(&d);
    test_push(&d);
    test_template_and_copy(&d);
    test_inline_block(&d);
    test_pool_reset(&d);
    test_big_update(&d);
    test_kinds(&d);
    vkDestroyPipeline(app->device, d.fill, NULL);
    vkDestroyPipelineLayout(app->device, d.layout, NULL);
    vkDestroyDescriptorSetLayout(app->device, d.set_layout, NULL);
    buffer_destroy(app, &d.result);
    buffer_destroy(app, &d.cells);
    return app_close(app);
}
