/*
 * What newer drivers have: acceleration structures, ray queries and ray tracing pipelines checked
 * against geometry known to the CPU, mesh shaders, the commands of maintenance5 and maintenance6,
 * host image copies from image to image. Each part is skipped by name where the device lacks it.
 */
#include "vkapp.h"

#include <stdlib.h>
#include <string.h>

#include "fill_comp.h"
#include "query_comp.h"
#include "tiles_mesh.h"
#include "trace_rchit.h"
#include "trace_rgen.h"
#include "trace_rmiss.h"
#include "white_frag.h"

#define SIZE 64
#define CUSTOM_INDEX 3
#define N_WORDS 1024
#define COLOR VK_IMAGE_ASPECT_COLOR_BIT

struct structure {
    VkAccelerationStructureKHR handle;
    struct buffer buffer;
    VkDeviceAddress address;
};

struct modern {
    struct app app;
    VkPhysicalDeviceAccelerationStructureFeaturesKHR structures;
    VkPhysicalDeviceRayQueryFeaturesKHR query;
    VkPhysicalDeviceRayTracingPipelineFeaturesKHR tracing;
    VkPhysicalDeviceMeshShaderFeaturesEXT mesh;
    VkPhysicalDeviceMaintenance5FeaturesKHR maintenance5;
    VkPhysicalDeviceMaintenance6FeaturesKHR maintenance6;
    VkPhysicalDeviceHostImageCopyFeaturesEXT host_copy;

    struct buffer triangles;
    struct structure bottom;
    struct structure top;
    struct buffer hits;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkDescriptorPool pool;
    VkDescriptorSet set;
};

static VkDeviceAddress address_of(struct app *app, const struct buffer *buffer)
{
    const VkBufferDeviceAddressInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
        .buffer = buffer->buffer,
    };

    return vkGetBufferDeviceAddress(app->device, &info);
}

/* ---- acceleration structures -------------------------------------------------------------- */

static struct structure structure_create(struct app *app, VkAccelerationStructureTypeKHR type,
                                         VkDeviceSize size)
{
    struct structure s = {
        .buffer = buffer_create(app, size,
                                VK_BUFFER_USAGE_ACCELERATION_STRUCTURE_STORAGE_BIT_KHR |
                                    VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
                                DEVICE_MEMORY),
    };
    const VkAccelerationStructureCreateInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_CREATE_INFO_KHR,
        .buffer = s.buffer.buffer,
        .size = size,
        .type = type,
    };
    VkAccelerationStructureDeviceAddressInfoKHR where = {
        .sType = VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_DEVICE_ADDRESS_INFO_KHR,
    };

    MUST(vkCreateAccelerationStructureKHR(app->device, &info, NULL, &s.handle));
    where.accelerationStructure = s.handle;
    s.address = vkGetAccelerationStructureDeviceAddressKHR(app->device, &where);
    return s;
}

static void structure_destroy(struct app *app, struct structure *s)
{
    vkDestroyAccelerationStructureKHR(app->device, s->handle, NULL);
    buffer_destroy(app, &s->buffer);
}

static struct structure structure_build(struct app *app, VkAccelerationStructureTypeKHR type,
                                        const VkAccelerationStructureGeometryKHR *geometry,
                                        uint32_t count)
{
    const VkAccelerationStructureBuildRangeInfoKHR range = { .primitiveCount = count };
    const VkAccelerationStructureBuildRangeInfoKHR *ranges = &range;
    VkAccelerationStructureBuildGeometryInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_BUILD_GEOMETRY_INFO_KHR,
        .type = type,
        .flags = VK_BUILD_ACCELERATION_STRUCTURE_ALLOW_COMPACTION_BIT_KHR,
        .mode = VK_BUILD_ACCELERATION_STRUCTURE_MODE_BUILD_KHR,
        .geometryCount = 1,
        .pGeometries = geometry,
    };
    VkAccelerationStructureBuildSizesInfoKHR sizes = {
        .sType = VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_BUILD_SIZES_INFO_KHR,
    };
    struct structure s;
    struct buffer scratch;
    VkCommandBuffer commands;

    vkGetAccelerationStructureBuildSizesKHR(
        app->device, VK_ACCELERATION_STRUCTURE_BUILD_TYPE_DEVICE_KHR, &info, &count, &sizes);
    s = structure_create(app, type, sizes.accelerationStructureSize);
    /* Room to align the address: the device's wish is at most 256. */
    scratch = buffer_create(app, sizes.buildScratchSize + 256,
                            VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
                            DEVICE_MEMORY);
    info.dstAccelerationStructure = s.handle;
    info.scratchData.deviceAddress = (address_of(app, &scratch) + 255) & ~255ull;
    commands = commands_begin(app);
    vkCmdBuildAccelerationStructuresKHR(commands, 1, &info, &ranges);
    commands_run(app, commands);
    buffer_destroy(app, &scratch);
    return s;
}

/* Replaces a structure by its compacted copy. */
static void compact(struct app *app, struct structure *s, VkAccelerationStructureTypeKHR type)
{
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_ACCELERATION_STRUCTURE_COMPACTED_SIZE_KHR,
        .queryCount = 1,
    };
    VkCopyAccelerationStructureInfoKHR copy = {
        .sType = VK_STRUCTURE_TYPE_COPY_ACCELERATION_STRUCTURE_INFO_KHR,
        .src = s->handle,
        .mode = VK_COPY_ACCELERATION_STRUCTURE_MODE_COMPACT_KHR,
    };
    VkDeviceSize size = 0;
    struct structure smaller;
    VkCommandBuffer commands;
    VkQueryPool pool;

    MUST(vkCreateQueryPool(app->device, &info, NULL, &pool));
    commands = commands_begin(app);
    vkCmdResetQueryPool(commands, pool, 0, 1);
    vkCmdWriteAccelerationStructuresPropertiesKHR(commands, 1, &s->handle, info.queryType, pool, 0);
    commands_run(app, commands);
    MUST(vkGetQueryPoolResults(app->device, pool, 0, 1, sizeof(size), &size, sizeof(size),
                               VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT));
    vkDestroyQueryPool(app->device, pool, NULL);
    check(size > 0 && size <= s->buffer.size, "compacted_size", "%llu of %llu",
          (unsigned long long)size, (unsigned long long)s->buffer.size);
    smaller = structure_create(app, type, size);
    copy.dst = smaller.handle;
    commands = commands_begin(app);
    vkCmdCopyAccelerationStructureKHR(commands, &copy);
    commands_run(app, commands);
    structure_destroy(app, s);
    *s = smaller;
}

/* Two triangles in opposite corners of the unit square, in plane z = 0. */
static void build_scene(struct modern *m)
{
    static const float points[6][3] = { { 0, 0, 0 }, { 0.51f, 0, 0 }, { 0, 0.51f, 0 },
                                        { 1, 1, 0 }, { 0.49f, 1, 0 }, { 1, 0.49f, 0 } };
    const VkBufferUsageFlags input =
        VK_BUFFER_USAGE_ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_BIT_KHR |
        VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
    struct app *app = &m->app;
    struct buffer instances = buffer_create(app, 256, input, HOST_MEMORY);
    VkAccelerationStructureGeometryKHR geometry = {
        .sType = VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_GEOMETRY_KHR,
        .geometryType = VK_GEOMETRY_TYPE_TRIANGLES_KHR,
        .flags = VK_GEOMETRY_OPAQUE_BIT_KHR,
    };
    VkAccelerationStructureInstanceKHR instance = {
        .transform.matrix = { { 1, 0, 0, 0 }, { 0, 1, 0, 0 }, { 0, 0, 1, 0 } },
        .instanceCustomIndex = CUSTOM_INDEX,
        .mask = 0xff,
    };

    m->triangles = buffer_create(app, sizeof(points), input, HOST_MEMORY);
    memcpy(m->triangles.map, points, sizeof(points));
    geometry.geometry.triangles = (VkAccelerationStructureGeometryTrianglesDataKHR){
        .sType = VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_GEOMETRY_TRIANGLES_DATA_KHR,
        .vertexFormat = VK_FORMAT_R32G32B32_SFLOAT,
        .vertexData.deviceAddress = address_of(app, &m->triangles),
        .vertexStride = sizeof(points[0]),
        .maxVertex = 5,
        .indexType = VK_INDEX_TYPE_NONE_KHR,
    };
    m->bottom = structure_build(app, VK_ACCELERATION_STRUCTURE_TYPE_BOTTOM_LEVEL_KHR, &geometry, 2);
    compact(app, &m->bottom, VK_ACCELERATION_STRUCTURE_TYPE_BOTTOM_LEVEL_KHR);

    instance.accelerationStructureReference = m->bottom.address;
    memcpy(instances.map, &instance, sizeof(instance));
    geometry.geometryType = VK_GEOMETRY_TYPE_INSTANCES_KHR;
    geometry.geometry.instances = (VkAccelerationStructureGeometryInstancesDataKHR){
        .sType = VK_STRUCTURE_TYPE_ACCELERATION_STRUCTURE_GEOMETRY_INSTANCES_DATA_KHR,
        .data.deviceAddress = address_of(app, &instances),
    };
    m->top = structure_build(app, VK_ACCELERATION_STRUCTURE_TYPE_TOP_LEVEL_KHR, &geometry, 1);
    buffer_destroy(app, &instances);
}

static void create_ray_set(struct modern *m)
{
    const VkShaderStageFlags stages =
        VK_SHADER_STAGE_COMPUTE_BIT |
        (m->tracing.rayTracingPipeline ? VK_SHADER_STAGE_RAYGEN_BIT_KHR : 0);
    const VkDescriptorSetLayoutBinding bindings[] = {
        { 0, VK_DESCRIPTOR_TYPE_ACCELERATION_STRUCTURE_KHR, 1, stages, NULL },
        { 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, stages, NULL },
    };
    const VkDescriptorPoolSize sizes[] = {
        { VK_DESCRIPTOR_TYPE_ACCELERATION_STRUCTURE_KHR, 1 },
        { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1 },
    };
    const VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = 1,
        .poolSizeCount = ARRAY_SIZE(sizes),
        .pPoolSizes = sizes,
    };
    struct app *app = &m->app;
    const VkWriteDescriptorSetAccelerationStructureKHR structure = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET_ACCELERATION_STRUCTURE_KHR,
        .accelerationStructureCount = 1,
        .pAccelerationStructures = &m->top.handle,
    };
    VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .pNext = &structure,
        .descriptorCount = 1,
        .descriptorType = VK_DESCRIPTOR_TYPE_ACCELERATION_STRUCTURE_KHR,
    };

    m->hits = buffer_create(app, SIZE * SIZE * 4, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, HOST_MEMORY);
    m->set_layout = set_layout_create(app, bindings, ARRAY_SIZE(bindings));
    m->layout = pipeline_layout_create(app, &m->set_layout, 1, 0, 0);
    MUST(vkCreateDescriptorPool(app->device, &pool, NULL, &m->pool));
    m->set = descriptor_set_allocate(app, m->pool, m->set_layout);
    write.dstSet = m->set;
    vkUpdateDescriptorSets(app->device, 1, &write, 0, NULL);
    descriptor_write_buffer(app, m->set, 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &m->hits);
}

static void check_hits(const struct modern *m, const char *name)
{
    const uint32_t *hits = m->hits.map;
    uint32_t n_wrong = 0;

    for (uint32_t y = 0; y < SIZE; y++) {
        for (uint32_t x = 0; x < SIZE; x++) {
            const float sum = ((float)x + (float)y + 1.0f) / SIZE;
            const uint32_t want = sum < 0.51f          ? 1 + 16 * CUSTOM_INDEX
                                  : 2.0f - sum < 0.51f ? 2 + 16 * CUSTOM_INDEX
                                                       : 0;

            n_wrong += hits[y * SIZE + x] != want;
        }
    }
    check(n_wrong == 0, name, "%u rays wrong", n_wrong);
}

static void test_ray_query(struct modern *m)
{
    struct app *app = &m->app;
    VkPipeline pipeline = compute_pipeline_create(app, SPIRV(query_comp), m->layout, NULL);
    VkCommandBuffer commands = commands_begin(app);

    memset(m->hits.map, 0xff, m->hits.size);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, m->layout, 0, 1, &m->set, 0,
                            NULL);
    vkCmdDispatch(commands, SIZE / 8, SIZE / 8, 1);
    barrier_memory(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    check_hits(m, "ray_query");
    vkDestroyPipeline(app->device, pipeline, NULL);
}

static VkPipeline ray_pipeline_create(struct modern *m)
{
    const struct {
        VkShaderStageFlagBits stage;
        struct spirv code;
    } shaders[3] = {
        { VK_SHADER_STAGE_RAYGEN_BIT_KHR, SPIRV(trace_rgen) },
        { VK_SHADER_STAGE_MISS_BIT_KHR, SPIRV(trace_rmiss) },
        { VK_SHADER_STAGE_CLOSEST_HIT_BIT_KHR, SPIRV(trace_rchit) },
    };
    struct app *app = &m->app;
    VkPipelineShaderStageCreateInfo stages[3];
    VkRayTracingShaderGroupCreateInfoKHR groups[3];
    VkRayTracingPipelineCreateInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_RAY_TRACING_PIPELINE_CREATE_INFO_KHR,
        .stageCount = 3,
        .pStages = stages,
        .groupCount = 3,
        .pGroups = groups,
        .maxPipelineRayRecursionDepth = 1,
        .layout = m->layout,
    };
    VkPipeline pipeline;

    for (uint32_t i = 0; i < 3; i++) {
        const bool hit = i == 2;

        stages[i] = (VkPipelineShaderStageCreateInfo){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = shaders[i].stage,
            .module = shader_create(app, shaders[i].code),
            .pName = "main",
        };
        groups[i] = (VkRayTracingShaderGroupCreateInfoKHR){
            .sType = VK_STRUCTURE_TYPE_RAY_TRACING_SHADER_GROUP_CREATE_INFO_KHR,
            .type = hit ? VK_RAY_TRACING_SHADER_GROUP_TYPE_TRIANGLES_HIT_GROUP_KHR
                        : VK_RAY_TRACING_SHADER_GROUP_TYPE_GENERAL_KHR,
            .generalShader = hit ? VK_SHADER_UNUSED_KHR : i,
            .closestHitShader = hit ? i : VK_SHADER_UNUSED_KHR,
            .anyHitShader = VK_SHADER_UNUSED_KHR,
            .intersectionShader = VK_SHADER_UNUSED_KHR,
        };
    }
    MUST(vkCreateRayTracingPipelinesKHR(app->device, VK_NULL_HANDLE, VK_NULL_HANDLE, 1, &info, NULL,
                                        &pipeline));
    for (uint32_t i = 0; i < 3; i++) {
        vkDestroyShaderModule(app->device, stages[i].module, NULL);
    }
    return pipeline;
}

static void test_ray_pipeline(struct modern *m)
{
    struct app *app = &m->app;
    VkPhysicalDeviceRayTracingPipelinePropertiesKHR properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_RAY_TRACING_PIPELINE_PROPERTIES_KHR,
    };
    VkPhysicalDeviceProperties2 query = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &properties,
    };
    VkPipeline pipeline = ray_pipeline_create(m);
    VkStridedDeviceAddressRegionKHR regions[3];
    const VkStridedDeviceAddressRegionKHR none = { 0 };
    VkCommandBuffer commands;
    struct buffer table;
    uint8_t handles[3 * 64];
    uint32_t stride;

    vkGetPhysicalDeviceProperties2(app->physical, &query);
    if (properties.shaderGroupHandleSize > 64) {
        fatal("shader group handles of %u bytes", properties.shaderGroupHandleSize);
    }
    stride = properties.shaderGroupBaseAlignment > 64 ? properties.shaderGroupBaseAlignment : 64;
    MUST(vkGetRayTracingShaderGroupHandlesKHR(
        app->device, pipeline, 0, 3, 3 * (size_t)properties.shaderGroupHandleSize, handles));
    table = buffer_create(app, 4 * (VkDeviceSize)stride,
                          VK_BUFFER_USAGE_SHADER_BINDING_TABLE_BIT_KHR |
                              VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
                          HOST_MEMORY);
    for (uint32_t i = 0; i < 3; i++) {
        const VkDeviceAddress base = (address_of(app, &table) + stride - 1) / stride * stride;

        memcpy((uint8_t *)table.map + (base - address_of(app, &table)) + i * stride,
               handles + i * properties.shaderGroupHandleSize, properties.shaderGroupHandleSize);
        regions[i] = (VkStridedDeviceAddressRegionKHR){ base + i * stride, stride, stride };
    }
    memset(m->hits.map, 0xff, m->hits.size);
    commands = commands_begin(app);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_RAY_TRACING_KHR, pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_RAY_TRACING_KHR, m->layout, 0, 1,
                            &m->set, 0, NULL);
    vkCmdTraceRaysKHR(commands, &regions[0], &regions[1], &regions[2], &none, SIZE, SIZE, 1);
    barrier_memory(commands, VK_PIPELINE_STAGE_RAY_TRACING_SHADER_BIT_KHR,
                   VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    check_hits(m, "ray_pipeline");
    buffer_destroy(app, &table);
    vkDestroyPipeline(app->device, pipeline, NULL);
}

static void test_rays(struct modern *m)
{
    struct app *app = &m->app;

    if (!m->structures.accelerationStructure) {
        skip("compacted_size", VK_KHR_ACCELERATION_STRUCTURE_EXTENSION_NAME);
        skip("ray_query", VK_KHR_ACCELERATION_STRUCTURE_EXTENSION_NAME);
        skip("ray_pipeline", VK_KHR_ACCELERATION_STRUCTURE_EXTENSION_NAME);
        return;
    }
    build_scene(m);
    create_ray_set(m);
    if (m->query.rayQuery) {
        test_ray_query(m);
    } else {
        skip("ray_query", VK_KHR_RAY_QUERY_EXTENSION_NAME);
    }
    if (m->tracing.rayTracingPipeline) {
        test_ray_pipeline(m);
    } else {
        skip("ray_pipeline", VK_KHR_RAY_TRACING_PIPELINE_EXTENSION_NAME);
    }
    vkDestroyDescriptorPool(app->device, m->pool, NULL);
    vkDestroyPipelineLayout(app->device, m->layout, NULL);
    vkDestroyDescriptorSetLayout(app->device, m->set_layout, NULL);
    structure_destroy(app, &m->top);
    structure_destroy(app, &m->bottom);
    buffer_destroy(app, &m->triangles);
    buffer_destroy(app, &m->hits);
}

/* ---- mesh shaders ------------------------------------------------------------------------- */

static VkPipeline mesh_pipeline_create(struct app *app, VkPipelineLayout layout, VkRenderPass pass)
{
    const VkPipelineShaderStageCreateInfo stages[] = {
        {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_MESH_BIT_EXT,
            .module = shader_create(app, SPIRV(tiles_mesh)),
            .pName = "main",
        },
        {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_FRAGMENT_BIT,
            .module = shader_create(app, SPIRV(white_frag)),
            .pName = "main",
        },
    };
    const VkViewport viewport = { 0, 0, SIZE, SIZE, 0, 1 };
    const VkRect2D scissor = { { 0, 0 }, { SIZE, SIZE } };
    const VkPipelineViewportStateCreateInfo viewports = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO,
        .viewportCount = 1,
        .pViewports = &viewport,
        .scissorCount = 1,
        .pScissors = &scissor,
    };
    const VkPipelineRasterizationStateCreateInfo raster = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO,
        .lineWidth = 1,
    };
    const VkPipelineMultisampleStateCreateInfo samples = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO,
        .rasterizationSamples = VK_SAMPLE_COUNT_1_BIT,
    };
    const VkPipelineColorBlendAttachmentState attachment = { .colorWriteMask = 0xf };
    const VkPipelineColorBlendStateCreateInfo blend = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO,
        .attachmentCount = 1,
        .pAttachments = &attachment,
    };
    const VkGraphicsPipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO,
        .stageCount = ARRAY_SIZE(stages),
        .pStages = stages,
        .pViewportState = &viewports,
        .pRasterizationState = &raster,
        .pMultisampleState = &samples,
        .pColorBlendState = &blend,
        .layout = layout,
        .renderPass = pass,
    };
    VkPipeline pipeline;

    MUST(vkCreateGraphicsPipelines(app->device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline));
    vkDestroyShaderModule(app->device, stages[0].module, NULL);
    vkDestroyShaderModule(app->device, stages[1].module, NULL);
    return pipeline;
}

/* Four tiles by a direct draw: each covers 12 of 16 columns of the upper half. */
static void test_mesh(struct modern *m)
{
    static const float black[4] = { 0, 0, 0, 1 };
    struct app *app = &m->app;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkCommandBuffer commands;
    struct image target;
    struct buffer pixels;
    uint32_t n_wrong = 0;

    if (!m->mesh.meshShader) {
        skip("mesh", VK_EXT_MESH_SHADER_EXTENSION_NAME);
        return;
    }
    target = image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, SIZE, SIZE,
                             VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT);
    pass = render_pass_create(app, target.format, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    framebuffer = framebuffer_create(app, pass, &target.view, 1, SIZE, SIZE);
    layout = pipeline_layout_create(app, NULL, 0, 0, 0);
    pipeline = mesh_pipeline_create(app, layout, pass);
    commands = commands_begin(app);
    render_pass_begin(commands, pass, framebuffer, SIZE, SIZE, black, VK_SUBPASS_CONTENTS_INLINE);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, pipeline);
    vkCmdDrawMeshTasksEXT(commands, 4, 1, 1);
    vkCmdEndRenderPass(commands);
    commands_run(app, commands);
    pixels = image_read(app, &target);
    for (uint32_t i = 0; i < SIZE * SIZE; i++) {
        const uint32_t x = i % SIZE, y = i / SIZE;
        const bool lit = y < SIZE / 2 && x % 16 < 12;

        n_wrong += ((const uint32_t *)pixels.map)[i] != (lit ? 0xffffffff : 0xff000000);
    }
    check(n_wrong == 0, "mesh", "%u pixels wrong", n_wrong);
    buffer_destroy(app, &pixels);
    vkDestroyPipeline(app->device, pipeline, NULL);
    vkDestroyPipelineLayout(app->device, layout, NULL);
    vkDestroyFramebuffer(app->device, framebuffer, NULL);
    vkDestroyRenderPass(app->device, pass, NULL);
    image_destroy(app, &target);
}

/* ---- maintenance5 and maintenance6 -------------------------------------------------------- */

/* What an image's layout would be, and what it is. */
static void test_layouts(struct modern *m)
{
    struct app *app = &m->app;
    const VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .extent = { SIZE, SIZE, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_LINEAR,
        .usage = VK_IMAGE_USAGE_TRANSFER_DST_BIT,
    };
    const VkImageSubresource2KHR part = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_SUBRESOURCE_2_KHR,
        .imageSubresource = { COLOR, 0, 0 },
    };
    const VkDeviceImageSubresourceInfoKHR ask = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_IMAGE_SUBRESOURCE_INFO_KHR,
        .pCreateInfo = &info,
        .pSubresource = &part,
    };
    VkSubresourceLayout2KHR would = { .sType = VK_STRUCTURE_TYPE_SUBRESOURCE_LAYOUT_2_KHR };
    VkSubresourceLayout2KHR is = { .sType = VK_STRUCTURE_TYPE_SUBRESOURCE_LAYOUT_2_KHR };
    struct image image;

    if (!m->maintenance5.maintenance5) {
        skip("layouts", VK_KHR_MAINTENANCE_5_EXTENSION_NAME);
        return;
    }
    image = image_create(app, &info, COLOR);
    vkGetDeviceImageSubresourceLayoutKHR(app->device, &ask, &would);
    vkGetImageSubresourceLayout2KHR(app->device, image.image, &part, &is);
    check(would.subresourceLayout.rowPitch == is.subresourceLayout.rowPitch &&
              would.subresourceLayout.size == is.subresourceLayout.size &&
              is.subresourceLayout.rowPitch >= SIZE * 4,
          "layouts", "row pitch %llu, then %llu",
          (unsigned long long)would.subresourceLayout.rowPitch,
          (unsigned long long)is.subresourceLayout.rowPitch);
    image_destroy(app, &image);
}

struct fill_push {
    uint32_t count;
    uint32_t factor;
    uint32_t base;
};

/* fill.comp twice: with a bound set, then with a pushed one. */
static void test_binding2(struct modern *m)
{
    const VkDescriptorSetLayoutBinding binding = { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1,
                                                   VK_SHADER_STAGE_COMPUTE_BIT, NULL };
    const VkDescriptorSetLayoutCreateInfo push_layout = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .flags = VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR,
        .bindingCount = 1,
        .pBindings = &binding,
    };
    const struct fill_push words[2] = { { N_WORDS, 0, 5 }, { N_WORDS, 3, 1 } };
    struct app *app = &m->app;
    VkDescriptorSetLayout layouts[2];
    VkPipelineLayout pipeline_layouts[2];
    VkPipeline pipelines[2];
    VkDescriptorPool pool;
    VkDescriptorSet set;
    VkCommandBuffer commands;
    struct buffer data;
    uint32_t n_wrong = 0;

    if (!m->maintenance6.maintenance6 || !app_has(app, VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME)) {
        skip("binding2", VK_KHR_MAINTENANCE_6_EXTENSION_NAME);
        return;
    }
    data = buffer_create(app, N_WORDS * 4, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, HOST_MEMORY);
    memset(data.map, 0xa5, data.size);
    layouts[0] = set_layout_create(app, &binding, 1);
    MUST(vkCreateDescriptorSetLayout(app->device, &push_layout, NULL, &layouts[1]));
    for (uint32_t i = 0; i < 2; i++) {
        pipeline_layouts[i] =
            pipeline_layout_create(app, &layouts[i], 1, VK_SHADER_STAGE_COMPUTE_BIT,
                                   sizeof(struct fill_push));
        pipelines[i] = compute_pipeline_create(app, SPIRV(fill_comp), pipeline_layouts[i], NULL);
    }
    pool = descriptor_pool_create(app, 1, 1, 0);
    set = descriptor_set_allocate(app, pool, layouts[0]);
    descriptor_write_buffer(app, set, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &data);

    const VkDescriptorBufferInfo buffer = { data.buffer, 0, VK_WHOLE_SIZE };
    const VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .descriptorCount = 1,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = &buffer,
    };
    const VkBindDescriptorSetsInfoKHR bind = {
        .sType = VK_STRUCTURE_TYPE_BIND_DESCRIPTOR_SETS_INFO_KHR,
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        .layout = pipeline_layouts[0],
        .descriptorSetCount = 1,
        .pDescriptorSets = &set,
    };
    const VkPushDescriptorSetInfoKHR push = {
        .sType = VK_STRUCTURE_TYPE_PUSH_DESCRIPTOR_SET_INFO_KHR,
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        .layout = pipeline_layouts[1],
        .descriptorWriteCount = 1,
        .pDescriptorWrites = &write,
    };

    commands = commands_begin(app);
    for (uint32_t i = 0; i < 2; i++) {
        const VkPushConstantsInfoKHR constants = {
            .sType = VK_STRUCTURE_TYPE_PUSH_CONSTANTS_INFO_KHR,
            .layout = pipeline_layouts[i],
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
            .size = sizeof(words[i]),
            .pValues = &words[i],
        };

        vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipelines[i]);
        if (i == 0) {
            vkCmdBindDescriptorSets2KHR(commands, &bind);
        } else {
            vkCmdPushDescriptorSet2KHR(commands, &push);
        }
        vkCmdPushConstants2KHR(commands, &constants);
        vkCmdDispatch(commands, 2, 1, 1);
        barrier_memory(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                       VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_HOST_BIT,
                       VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                           VK_ACCESS_HOST_READ_BIT);
    }
    commands_run(app, commands);
    for (uint32_t i = 0; i < N_WORDS; i++) {
        n_wrong += ((const uint32_t *)data.map)[i] != (i + 5) * 3 + i + 1;
    }
    check(n_wrong == 0, "binding2", "%u words wrong", n_wrong);
    for (uint32_t i = 0; i < 2; i++) {
        vkDestroyPipeline(app->device, pipelines[i], NULL);
        vkDestroyPipelineLayout(app->device, pipeline_layouts[i], NULL);
        vkDestroyDescriptorSetLayout(app->device, layouts[i], NULL);
    }
    vkDestroyDescriptorPool(app->device, pool, NULL);
    buffer_destroy(app, &data);
}

/* ---- host image copies -------------------------------------------------------------------- */

/* Memory to an image, that to another, and back, the last two in the driver's own order. */
static void test_host_copies(struct modern *m)
{
    struct app *app = &m->app;
    uint32_t *texels, *back;
    struct image images[2];
    uint32_t n_wrong = 0;

    if (!m->host_copy.hostImageCopy) {
        skip("host_copies", VK_EXT_HOST_IMAGE_COPY_EXTENSION_NAME);
        return;
    }
    texels = must_alloc(SIZE * SIZE, 4);
    back = must_alloc(SIZE * SIZE, 4);
    for (uint32_t i = 0; i < SIZE * SIZE; i++) {
        texels[i] = i * 2654435761u;
    }
    for (uint32_t i = 0; i < 2; i++) {
        images[i] =
            image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, SIZE, SIZE,
                            VK_IMAGE_USAGE_HOST_TRANSFER_BIT_EXT | VK_IMAGE_USAGE_SAMPLED_BIT);
        const VkHostImageLayoutTransitionInfoEXT transition = {
            .sType = VK_STRUCTURE_TYPE_HOST_IMAGE_LAYOUT_TRANSITION_INFO_EXT,
            .image = images[i].image,
            .newLayout = VK_IMAGE_LAYOUT_GENERAL,
            .subresourceRange = { COLOR, 0, 1, 0, 1 },
        };

        MUST(vkTransitionImageLayoutEXT(app->device, 1, &transition));
    }

    const VkMemoryToImageCopyEXT in = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_TO_IMAGE_COPY_EXT,
        .pHostPointer = texels,
        .memoryRowLength = SIZE,
        .imageSubresource = { COLOR, 0, 0, 1 },
        .imageExtent = { SIZE, SIZE, 1 },
    };
    const VkCopyMemoryToImageInfoEXT to_image = {
        .sType = VK_STRUCTURE_TYPE_COPY_MEMORY_TO_IMAGE_INFO_EXT,
        .dstImage = images[0].image,
        .dstImageLayout = VK_IMAGE_LAYOUT_GENERAL,
        .regionCount = 1,
        .pRegions = &in,
    };
    const VkImageCopy2 across = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_COPY_2,
        .srcSubresource = { COLOR, 0, 0, 1 },
        .dstSubresource = { COLOR, 0, 0, 1 },
        .extent = { SIZE, SIZE, 1 },
    };
    const VkCopyImageToImageInfoEXT to_other = {
        .sType = VK_STRUCTURE_TYPE_COPY_IMAGE_TO_IMAGE_INFO_EXT,
        .flags = VK_HOST_IMAGE_COPY_MEMCPY_EXT,
        .srcImage = images[0].image,
        .srcImageLayout = VK_IMAGE_LAYOUT_GENERAL,
        .dstImage = images[1].image,
        .dstImageLayout = VK_IMAGE_LAYOUT_GENERAL,
        .regionCount = 1,
        .pRegions = &across,
    };
    const VkImageToMemoryCopyEXT out = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_TO_MEMORY_COPY_EXT,
        .pHostPointer = back,
        .imageSubresource = { COLOR, 0, 0, 1 },
        .imageExtent = { SIZE, SIZE, 1 },
    };
    const VkCopyImageToMemoryInfoEXT to_memory = {
        .sType = VK_STRUCTURE_TYPE_COPY_IMAGE_TO_MEMORY_INFO_EXT,
        .srcImage = images[1].image,
        .srcImageLayout = VK_IMAGE_LAYOUT_GENERAL,
        .regionCount = 1,
        .pRegions = &out,
    };

    MUST(vkCopyMemoryToImageEXT(app->device, &to_image));
    MUST(vkCopyImageToImageEXT(app->device, &to_other));
    MUST(vkCopyImageToMemoryEXT(app->device, &to_memory));
    for (uint32_t i = 0; i < SIZE * SIZE; i++) {
        n_wrong += back[i] != texels[i];
    }
    check(n_wrong == 0, "host_copies", "%u texels wrong", n_wrong);
    image_destroy(app, &images[0]);
    image_destroy(app, &images[1]);
    free(texels);
    free(back);
}

/* May images of this format be copied by the host? */
static bool host_copies_of(struct app *app, VkFormat format)
{
    VkFormatProperties3 more = { .sType = VK_STRUCTURE_TYPE_FORMAT_PROPERTIES_3 };
    VkFormatProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_FORMAT_PROPERTIES_2,
        .pNext = &more,
    };
    const VkPhysicalDeviceImageFormatInfo2 info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_IMAGE_FORMAT_INFO_2,
        .format = format,
        .type = VK_IMAGE_TYPE_2D,
        .usage = VK_IMAGE_USAGE_HOST_TRANSFER_BIT_EXT,
    };
    VkImageFormatProperties2 answer = { .sType = VK_STRUCTURE_TYPE_IMAGE_FORMAT_PROPERTIES_2 };

    vkGetPhysicalDeviceFormatProperties2(app->physical, format, &properties);
    return (more.optimalTilingFeatures & VK_FORMAT_FEATURE_2_HOST_IMAGE_TRANSFER_BIT_EXT) &&
           vkGetPhysicalDeviceImageFormatProperties2(app->physical, &info, &answer) == VK_SUCCESS;
}

/* Formats with aspects of their own, and what a texel block of each takes. */
static const struct aspects {
    VkFormat format;
    struct {
        VkImageAspectFlags aspect;
        uint32_t bytes;
        uint32_t divide; /* of the image's width and height */
    } of[3];
} aspects[] = {
    { VK_FORMAT_R16G16B16A16_SFLOAT, { { COLOR, 8, 1 } } },
    { VK_FORMAT_BC1_RGBA_UNORM_BLOCK, { { COLOR, 8, 4 } } },
    { VK_FORMAT_D16_UNORM, { { VK_IMAGE_ASPECT_DEPTH_BIT, 2, 1 } } },
    { VK_FORMAT_D32_SFLOAT_S8_UINT,
      { { VK_IMAGE_ASPECT_DEPTH_BIT, 4, 1 }, { VK_IMAGE_ASPECT_STENCIL_BIT, 1, 1 } } },
    { VK_FORMAT_G8_B8_R8_3PLANE_420_UNORM,
      { { VK_IMAGE_ASPECT_PLANE_0_BIT, 1, 1 },
        { VK_IMAGE_ASPECT_PLANE_1_BIT, 1, 2 },
        { VK_IMAGE_ASPECT_PLANE_2_BIT, 1, 2 } } },
    { VK_FORMAT_G8_B8R8_2PLANE_420_UNORM,
      { { VK_IMAGE_ASPECT_PLANE_0_BIT, 1, 1 }, { VK_IMAGE_ASPECT_PLANE_1_BIT, 2, 2 } } },
    { VK_FORMAT_G10X6_B10X6_R10X6_3PLANE_420_UNORM_3PACK16,
      { { VK_IMAGE_ASPECT_PLANE_0_BIT, 2, 1 },
        { VK_IMAGE_ASPECT_PLANE_1_BIT, 2, 2 },
        { VK_IMAGE_ASPECT_PLANE_2_BIT, 2, 2 } } },
    { VK_FORMAT_G16_B16_R16_3PLANE_444_UNORM,
      { { VK_IMAGE_ASPECT_PLANE_0_BIT, 2, 1 },
        { VK_IMAGE_ASPECT_PLANE_1_BIT, 2, 1 },
        { VK_IMAGE_ASPECT_PLANE_2_BIT, 2, 1 } } },
};

/* Bytes that come back wrong from each aspect of an image. */
static uint32_t copy_aspects(struct app *app, const struct aspects *a)
{
    const bool depth = a->of[0].aspect == VK_IMAGE_ASPECT_DEPTH_BIT;
    VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = a->format,
        .extent = { SIZE, SIZE, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .usage = VK_IMAGE_USAGE_HOST_TRANSFER_BIT_EXT,
    };
    struct image image = image_create(app, &info, a->of[0].aspect);
    uint8_t *texels = must_alloc(SIZE * SIZE, 8), *back = must_alloc(SIZE * SIZE, 8);
    VkHostImageLayoutTransitionInfoEXT transition = {
        .sType = VK_STRUCTURE_TYPE_HOST_IMAGE_LAYOUT_TRANSITION_INFO_EXT,
        .image = image.image,
        .newLayout = VK_IMAGE_LAYOUT_GENERAL,
        .subresourceRange = { depth ? VK_IMAGE_ASPECT_DEPTH_BIT : COLOR, 0, 1, 0, 1 },
    };
    uint32_t n_wrong = 0;

    if (a->of[1].aspect == VK_IMAGE_ASPECT_STENCIL_BIT) {
        transition.subresourceRange.aspectMask |= VK_IMAGE_ASPECT_STENCIL_BIT;
    }
    MUST(vkTransitionImageLayoutEXT(app->device, 1, &transition));
    for (uint32_t i = 0; i < ARRAY_SIZE(a->of) && a->of[i].aspect; i++) {
        const uint32_t n = SIZE / a->of[i].divide;
        const uint32_t texel = a->of[i].aspect == COLOR ? 1 : a->of[i].divide;
        const VkMemoryToImageCopyEXT in = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_TO_IMAGE_COPY_EXT,
            .pHostPointer = texels,
            .imageSubresource = { a->of[i].aspect, 0, 0, 1 },
            .imageExtent = { SIZE / texel, SIZE / texel, 1 },
        };
        const VkCopyMemoryToImageInfoEXT to_image = {
            .sType = VK_STRUCTURE_TYPE_COPY_MEMORY_TO_IMAGE_INFO_EXT,
            .dstImage = image.image,
            .dstImageLayout = VK_IMAGE_LAYOUT_GENERAL,
            .regionCount = 1,
            .pRegions = &in,
        };
        const VkImageToMemoryCopyEXT out = {
            .sType = VK_STRUCTURE_TYPE_IMAGE_TO_MEMORY_COPY_EXT,
            .pHostPointer = back,
            .imageSubresource = in.imageSubresource,
            .imageExtent = in.imageExtent,
        };
        const VkCopyImageToMemoryInfoEXT to_memory = {
            .sType = VK_STRUCTURE_TYPE_COPY_IMAGE_TO_MEMORY_INFO_EXT,
            .srcImage = image.image,
            .srcImageLayout = VK_IMAGE_LAYOUT_GENERAL,
            .regionCount = 1,
            .pRegions = &out,
        };

        /* Six low bits of packed formats need not come back; no depth is negative, none NaN. */
        for (uint32_t b = 0; b < n * n * a->of[i].bytes; b++) {
            texels[b] = a->of[i].bytes == 1 || b % 2 ? (uint8_t)((b * 29 + b / 255) & 0x3f) : 0;
        }
        memset(back, 0xff, SIZE * SIZE * 8);
        MUST(vkCopyMemoryToImageEXT(app->device, &to_image));
        MUST(vkCopyImageToMemoryEXT(app->device, &to_memory));
        for (uint32_t b = 0; b < n * n * a->of[i].bytes; b++) {
            n_wrong += back[b] != texels[b];
        }
    }
    image_destroy(app, &image);
    free(texels);
    free(back);
    return n_wrong;
}

/* Whatever is said to work does. */
static void test_host_copies_of_aspects(struct modern *m)
{
    uint32_t n_formats = 0, n_wrong = 0;

    if (!m->host_copy.hostImageCopy) {
        skip("host_copies_of_aspects", VK_EXT_HOST_IMAGE_COPY_EXTENSION_NAME);
        return;
    }
    for (uint32_t i = 0; i < ARRAY_SIZE(aspects); i++) {
        if (host_copies_of(&m->app, aspects[i].format)) {
            n_formats++;
            n_wrong += copy_aspects(&m->app, &aspects[i]);
        }
    }
    check(n_formats > 0 && n_wrong == 0, "host_copies_of_aspects", "%u bytes of %u formats wrong",
          n_wrong, n_formats);
}

/* ---- sparse buffers ----------------------------------------------------------------------- */

/* Binds half of `size` bytes of each memory, the second first if `swapped`. */
static void bind_halves(struct app *app, VkBuffer buffer, const VkDeviceMemory memories[2],
                        VkDeviceSize size, bool swapped)
{
    const VkSparseMemoryBind binds[] = {
        { .resourceOffset = 0, .size = size / 2, .memory = memories[swapped] },
        { .resourceOffset = size / 2, .size = size / 2, .memory = memories[!swapped] },
    };
    const VkSparseBufferMemoryBindInfo buffers = { buffer, ARRAY_SIZE(binds), binds };
    const VkBindSparseInfo info = {
        .sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
        .bufferBindCount = 1,
        .pBufferBinds = &buffers,
    };
    const VkFenceCreateInfo fence_info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    VkFence fence;

    MUST(vkCreateFence(app->device, &fence_info, NULL, &fence));
    MUST(vkQueueBindSparse(app->queue, 1, &info, fence));
    MUST(vkWaitForFences(app->device, 1, &fence, VK_TRUE, UINT64_MAX));
    vkDestroyFence(app->device, fence, NULL);
}

/* Words whose halves are not what they should be; fills the buffer first if told to. */
static uint32_t read_halves(struct app *app, VkBuffer buffer, struct buffer *back, bool fill,
                            const uint32_t wanted[2])
{
    VkCommandBuffer commands = commands_begin(app);
    const VkBufferCopy all = { 0, 0, back->size };
    uint32_t n_wrong = 0;

    if (fill) {
        vkCmdFillBuffer(commands, buffer, 0, back->size / 2, wanted[0]);
        vkCmdFillBuffer(commands, buffer, back->size / 2, back->size / 2, wanted[1]);
        barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                       VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT);
    }
    vkCmdCopyBuffer(commands, buffer, back->buffer, 1, &all);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    for (uint32_t i = 0; i < back->size / 4; i++) {
        n_wrong += ((const uint32_t *)back->map)[i] != wanted[i >= back->size / 8];
    }
    return n_wrong;
}

/* Memory that changes places under a buffer takes its contents along. */
static void test_sparse(struct modern *m)
{
    struct app *app = &m->app;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .flags = VK_BUFFER_CREATE_SPARSE_BINDING_BIT,
        .size = 1 << 20,
        .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };
    VkDeviceMemory memories[2];
    VkMemoryRequirements requirements;
    struct buffer back;
    VkBuffer buffer;
    uint32_t n_wrong;

    if (!app->features.sparseBinding ||
        !(app->family_properties.queueFlags & VK_QUEUE_SPARSE_BINDING_BIT)) {
        skip("sparse_buffer", "sparseBinding");
        return;
    }
    MUST(vkCreateBuffer(app->device, &info, NULL, &buffer));
    vkGetBufferMemoryRequirements(app->device, buffer, &requirements);
    requirements.size = info.size / 2;
    for (uint32_t i = 0; i < 2; i++) {
        memories[i] = memory_allocate(app, &requirements, 0, 0);
    }
    back = buffer_create(app, info.size, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    bind_halves(app, buffer, memories, info.size, false);
    n_wrong = read_halves(app, buffer, &back, true, (const uint32_t[]){ 0x11111111, 0x22222222 });
    bind_halves(app, buffer, memories, info.size, true);
    n_wrong += read_halves(app, buffer, &back, false, (const uint32_t[]){ 0x22222222, 0x11111111 });
    check(n_wrong == 0, "sparse_buffer", "%u words wrong", n_wrong);
    vkDestroyBuffer(app->device, buffer, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        vkFreeMemory(app->device, memories[i], NULL);
    }
    buffer_destroy(app, &back);
}

/* ---- clocks ------------------------------------------------------------------------------- */

static void test_clocks(struct modern *m)
{
    struct app *app = &m->app;
    const VkCalibratedTimestampInfoEXT infos[] = {
        { VK_STRUCTURE_TYPE_CALIBRATED_TIMESTAMP_INFO_EXT, NULL, VK_TIME_DOMAIN_DEVICE_EXT },
        { VK_STRUCTURE_TYPE_CALIBRATED_TIMESTAMP_INFO_EXT, NULL,
          VK_TIME_DOMAIN_CLOCK_MONOTONIC_EXT },
    };
    VkTimeDomainEXT domains[16];
    uint32_t n_domains = ARRAY_SIZE(domains), n_known = 0;
    uint64_t first[2], second[2], deviation;

    if (!app_has(app, VK_EXT_CALIBRATED_TIMESTAMPS_EXTENSION_NAME)) {
        skip("clocks", VK_EXT_CALIBRATED_TIMESTAMPS_EXTENSION_NAME);
        return;
    }
    MUST(vkGetPhysicalDeviceCalibrateableTimeDomainsEXT(app->physical, &n_domains, domains));
    for (uint32_t i = 0; i < n_domains; i++) {
        n_known += domains[i] == infos[0].timeDomain || domains[i] == infos[1].timeDomain;
    }
    if (n_known != ARRAY_SIZE(infos)) {
        skip("clocks", "the device's clock beside the host's");
        return;
    }
    MUST(vkGetCalibratedTimestampsEXT(app->device, 2, infos, first, &deviation));
    MUST(vkGetCalibratedTimestampsEXT(app->device, 2, infos, second, &deviation));
    check(first[0] <= second[0] && first[1] <= second[1] && first[1] != 0, "clocks",
          "time runs backwards");
}

int main(int argc, char **argv)
{
    static struct modern m = {
        .structures.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ACCELERATION_STRUCTURE_FEATURES_KHR,
        .query.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_RAY_QUERY_FEATURES_KHR,
        .tracing.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_RAY_TRACING_PIPELINE_FEATURES_KHR,
        .mesh.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MESH_SHADER_FEATURES_EXT,
        .maintenance5.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_5_FEATURES_KHR,
        .maintenance6.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_6_FEATURES_KHR,
        .host_copy.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_HOST_IMAGE_COPY_FEATURES_EXT,
    };
    struct want wants[] = {
        { VK_KHR_DEFERRED_HOST_OPERATIONS_EXTENSION_NAME, NULL },
        { VK_KHR_ACCELERATION_STRUCTURE_EXTENSION_NAME, &m.structures },
        { VK_KHR_RAY_QUERY_EXTENSION_NAME, &m.query },
        { VK_KHR_RAY_TRACING_PIPELINE_EXTENSION_NAME, &m.tracing },
        { VK_EXT_MESH_SHADER_EXTENSION_NAME, &m.mesh },
        { VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME, NULL },
        { VK_EXT_CALIBRATED_TIMESTAMPS_EXTENSION_NAME, NULL },
        { VK_KHR_MAINTENANCE_5_EXTENSION_NAME, &m.maintenance5 },
        { VK_KHR_MAINTENANCE_6_EXTENSION_NAME, &m.maintenance6 },
        { VK_EXT_HOST_IMAGE_COPY_EXTENSION_NAME, &m.host_copy },
    };

    uint32_t n_wants = ARRAY_SIZE(wants);

    app_parse(&m.app, "cl_modern", argc, argv, NULL);
    if (m.app.validating) {
        /* The last three are younger than Debian 12's validation layer. */
        n_wants -= 3;
    }
    app_create_instance(&m.app);
    app_create_device(&m.app, wants, n_wants);
    test_rays(&m);
    test_mesh(&m);
    test_layouts(&m);
    test_binding2(&m);
    test_host_copies(&m);
    test_host_copies_of_aspects(&m);
    test_sparse(&m);
    test_clocks(&m);
    return app_close(&m.app);
}
