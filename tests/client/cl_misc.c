/*
 * The rarer commands, each for a moment: image copies of all kinds, views, samplers, YCbCr,
 * render pass 2, multiview, dynamic state, indirect draws, large updates and command buffers, and
 * extensions where they are there. Every picture's hash is part of the result.
 */
#include "vkapp.h"

#include <stdlib.h>
#include <string.h>

#include "capture_vert.h"
#include "flat_frag.h"
#include "flat_vert.h"
#include "grid_frag.h"
#include "grid_vert.h"
#include "sample_comp.h"
#include "view_vert.h"

#define SIZE 64
#define FORMAT VK_FORMAT_R8G8B8A8_UNORM
#define COLOR VK_IMAGE_ASPECT_COLOR_BIT

struct flat_push {
    float rect[4];
    float color[4];
    float depth;
};

struct misc {
    struct app app;
    struct buffer pattern; /* SIZE * SIZE texels, all different */
    struct image target;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkPipelineLayout flat_layout;
    VkPipelineLayout empty_layout;
    VkPipeline grid;

    VkPhysicalDeviceHostImageCopyFeaturesEXT host_copy;
    VkPhysicalDeviceTransformFeedbackFeaturesEXT feedback;
    VkPhysicalDeviceConditionalRenderingFeaturesEXT conditional;
    VkPhysicalDeviceMultiDrawFeaturesEXT multi_draw;
};

static const float black[4] = { 0, 0, 0, 1 };

static uint32_t pixel(const struct buffer *b, uint32_t x, uint32_t y)
{
    return ((const uint32_t *)b->map)[y * SIZE + x];
}

static VkImageCreateInfo image_info(VkImageUsageFlags usage)
{
    return (VkImageCreateInfo){
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = FORMAT,
        .extent = { SIZE, SIZE, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_OPTIMAL,
        .usage = usage,
    };
}

/* A transfer image that holds the pattern, in TRANSFER_SRC layout. */
static struct image pattern_image(struct misc *m, VkImageUsageFlags usage)
{
    struct app *app = &m->app;
    const VkBufferImageCopy region = {
        .imageSubresource = { COLOR, 0, 0, 1 },
        .imageExtent = { SIZE, SIZE, 1 },
    };
    struct image im =
        image_create_2d(app, FORMAT, SIZE, SIZE,
                        usage | VK_IMAGE_USAGE_TRANSFER_SRC_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT);
    VkCommandBuffer commands = commands_begin(app);

    barrier_image(commands, &im, COLOR, VK_IMAGE_LAYOUT_UNDEFINED,
                  VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL);
    vkCmdCopyBufferToImage(commands, m->pattern.buffer, im.image,
                           VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1, &region);
    barrier_image(commands, &im, COLOR, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                  VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    commands_run(app, commands);
    return im;
}

/* An image in TRANSFER_DST layout, cleared. */
static struct image blank_image(struct misc *m, const VkImageCreateInfo *info)
{
    struct image im = image_create(&m->app, info, COLOR);
    VkCommandBuffer commands = commands_begin(&m->app);

    barrier_image(commands, &im, COLOR, VK_IMAGE_LAYOUT_UNDEFINED,
                  VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL);
    vkCmdClearColorImage(commands, im.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                         &(VkClearColorValue){ .float32 = { 0, 0, 1, 1 } }, 1,
                         &(VkImageSubresourceRange){ COLOR, 0, VK_REMAINING_MIP_LEVELS, 0,
                                                     VK_REMAINING_ARRAY_LAYERS });
    barrier_image(commands, &im, COLOR, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                  VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL);
    commands_run(&m->app, commands);
    return im;
}

/* Records the hash of an image that is in TRANSFER_DST layout, and gives its pixels. */
static struct buffer read_and_hash(struct misc *m, const char *name, const struct image *im)
{
    VkCommandBuffer commands = commands_begin(&m->app);
    struct buffer b;

    barrier_image(commands, im, COLOR, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                  VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    commands_run(&m->app, commands);
    b = image_read(&m->app, im);
    value(name, fnv1a(b.map, b.size));
    return b;
}

static void test_copies(struct misc *m)
{
    struct app *app = &m->app;
    const VkImageCreateInfo info =
        image_info(VK_IMAGE_USAGE_TRANSFER_SRC_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT);
    struct image from = pattern_image(m, 0), to = blank_image(m, &info);
    const VkImageCopy copies[] = {
        { { COLOR, 0, 0, 1 }, { 0, 0, 0 }, { COLOR, 0, 0, 1 }, { 32, 32, 0 }, { 32, 32, 1 } },
        { { COLOR, 0, 0, 1 }, { 40, 3, 0 }, { COLOR, 0, 0, 1 }, { 1, 2, 0 }, { 17, 5, 1 } },
    };
    const VkImageBlit blit = {
        .srcSubresource = { COLOR, 0, 0, 1 },
        .srcOffsets = { { 64, 0, 0 }, { 0, 64, 1 } }, /* mirrored */
        .dstSubresource = { COLOR, 0, 0, 1 },
        .dstOffsets = { { 32, 0, 0 }, { 64, 32, 1 } },
    };
    struct buffer pixels;
    VkCommandBuffer commands = commands_begin(app);

    vkCmdCopyImage(commands, from.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, to.image,
                   VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 2, copies);
    vkCmdBlitImage(commands, from.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, to.image,
                   VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1, &blit, VK_FILTER_NEAREST);
    commands_run(app, commands);
    pixels = read_and_hash(m, "copy_and_blit", &to);
    check(pixel(&pixels, 32 + 5, 32 + 7) == pixel(&m->pattern, 5, 7) &&
              pixel(&pixels, 1, 2) == pixel(&m->pattern, 40, 3) &&
              pixel(&pixels, 0, 60) == 0xffff0000,
          "copy_and_blit", "0x%08x", pixel(&pixels, 37, 39));
    buffer_destroy(app, &pixels);
    image_destroy(app, &from);
    image_destroy(app, &to);
}

/* A buffer to the slices of a 3D image, and from there to the layers of an array. */
static void test_3d_and_layers(struct misc *m)
{
    struct app *app = &m->app;
    const VkImageUsageFlags usage =
        VK_IMAGE_USAGE_TRANSFER_SRC_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT;
    VkImageCreateInfo info = image_info(usage);
    const VkBufferImageCopy in = {
        .bufferRowLength = SIZE,
        .imageSubresource = { COLOR, 0, 0, 1 },
        .imageExtent = { 16, 16, 4 },
    };
    const VkImageCopy copy = {
        { COLOR, 0, 0, 1 }, { 0, 0, 0 }, { COLOR, 0, 0, 4 }, { 0, 0, 0 }, { 16, 16, 4 }
    };
    const VkBufferImageCopy out = {
        .imageSubresource = { COLOR, 0, 0, 4 },
        .imageExtent = { 16, 16, 1 },
    };
    struct buffer result =
        buffer_create(app, 4 * 16 * 16 * 4, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    struct image volume, array;
    VkCommandBuffer commands;

    info.extent = (VkExtent3D){ 16, 16, 1 };
    info.arrayLayers = 4;
    array = blank_image(m, &info);
    info.imageType = VK_IMAGE_TYPE_3D;
    info.extent.depth = 4;
    info.arrayLayers = 1;
    volume = blank_image(m, &info);
    commands = commands_begin(app);
    vkCmdCopyBufferToImage(commands, m->pattern.buffer, volume.image,
                           VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1, &in);
    barrier_image(commands, &volume, COLOR, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                  VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    vkCmdCopyImage(commands, volume.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, array.image,
                   VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1, &copy);
    barrier_image(commands, &array, COLOR, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                  VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    vkCmdCopyImageToBuffer(commands, array.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                           result.buffer, 1, &out);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    check(((uint32_t *)result.map)[16 * 16 * 2 + 16 * 3 + 5] == pixel(&m->pattern, 5, 35),
          "volume_to_layers", "0x%08x", ((uint32_t *)result.map)[16 * 16 * 2 + 16 * 3 + 5]);
    value("volume_to_layers", fnv1a(result.map, result.size));
    image_destroy(app, &volume);
    image_destroy(app, &array);
    buffer_destroy(app, &result);
}

static void test_large_update(struct misc *m)
{
    struct app *app = &m->app;
    struct buffer b = buffer_create(app, 16 * 65536, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    uint8_t *data = must_alloc(1, 65536);
    uint32_t state = 77, n_wrong = 0;
    VkCommandBuffer commands = commands_begin(app);

    for (uint32_t i = 0; i < 65536; i++) {
        data[i] = (uint8_t)random_u32(&state);
    }
    for (uint32_t i = 0; i < 16; i++) {
        data[0] = (uint8_t)i;
        vkCmdUpdateBuffer(commands, b.buffer, 65536ull * i, 65536, data);
    }
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    for (uint32_t i = 0; i < 16; i++) {
        const uint8_t *got = (uint8_t *)b.map + 65536ull * i;

        n_wrong += got[0] != i || memcmp(got + 1, data + 1, 65535) != 0;
    }
    check(n_wrong == 0, "update_buffer_64kib", "%u of 16 wrong", n_wrong);
    buffer_destroy(app, &b);
    free(data);
}

/* Views and samplers: swizzle, border, mirror, linear filter; sampled by a compute shader. */

static uint64_t sample_hash(struct misc *m, VkImageView view, VkSampler sampler,
                            const VkSampler *immutable, uint32_t *ret_center)
{
    struct app *app = &m->app;
    const VkDescriptorSetLayoutBinding bindings[] = {
        { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
        { 1, VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, 1, VK_SHADER_STAGE_COMPUTE_BIT, immutable },
    };
    struct buffer result = buffer_create(app, 256, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, HOST_MEMORY);
    VkDescriptorSetLayout set_layout = set_layout_create(app, bindings, 2);
    VkPipelineLayout layout = pipeline_layout_create(app, &set_layout, 1, 0, 0);
    VkPipeline pipeline = compute_pipeline_create(app, SPIRV(sample_comp), layout, NULL);
    /* Room for the planes of a YCbCr image. */
    VkDescriptorPool pool = descriptor_pool_create(app, 1, 4, 0);
    VkDescriptorSet set = descriptor_set_allocate(app, pool, set_layout);
    const VkDescriptorImageInfo image = { sampler, view, VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL };
    const VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = set,
        .dstBinding = 1,
        .descriptorCount = 1,
        .descriptorType = VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER,
        .pImageInfo = &image,
    };
    VkCommandBuffer commands = commands_begin(app);
    uint64_t hash;

    descriptor_write_buffer(app, set, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &result);
    vkUpdateDescriptorSets(app->device, 1, &write, 0, NULL);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &set, 0, NULL);
    vkCmdDispatch(commands, 1, 1, 1);
    barrier_memory(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    hash = fnv1a(result.map, 256);
    *ret_center = ((uint32_t *)result.map)[4 * 8 + 4];
    vkDestroyPipeline(app->device, pipeline, NULL);
    vkDestroyPipelineLayout(app->device, layout, NULL);
    vkDestroyDescriptorPool(app->device, pool, NULL);
    vkDestroyDescriptorSetLayout(app->device, set_layout, NULL);
    buffer_destroy(app, &result);
    return hash;
}

static void test_samplers(struct misc *m)
{
    static const struct {
        const char *name;
        VkFilter filter;
        VkSamplerAddressMode address;
        VkBorderColor border;
        VkComponentMapping swizzle;
    } rows[] = {
        { "sampler_repeat", VK_FILTER_NEAREST, VK_SAMPLER_ADDRESS_MODE_REPEAT, 0, { 0 } },
        { "sampler_linear_mirror",
          VK_FILTER_LINEAR,
          VK_SAMPLER_ADDRESS_MODE_MIRRORED_REPEAT,
          0,
          { 0 } },
        { "sampler_border",
          VK_FILTER_NEAREST,
          VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_BORDER,
          VK_BORDER_COLOR_FLOAT_OPAQUE_WHITE,
          { 0 } },
        { "view_swizzle",
          VK_FILTER_NEAREST,
          VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE,
          0,
          { VK_COMPONENT_SWIZZLE_B, VK_COMPONENT_SWIZZLE_ONE, VK_COMPONENT_SWIZZLE_R,
            VK_COMPONENT_SWIZZLE_ZERO } },
    };
    struct app *app = &m->app;
    struct image im = pattern_image(m, VK_IMAGE_USAGE_SAMPLED_BIT);
    VkCommandBuffer commands = commands_begin(app);

    barrier_image(commands, &im, COLOR, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                  VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL);
    commands_run(app, commands);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const VkSamplerCreateInfo sampler_info = {
            .sType = VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO,
            .magFilter = rows[i].filter,
            .minFilter = rows[i].filter,
            .addressModeU = rows[i].address,
            .addressModeV = rows[i].address,
            .addressModeW = rows[i].address,
            .borderColor = rows[i].border,
        };
        const VkImageViewCreateInfo view_info = {
            .sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
            .image = im.image,
            .viewType = VK_IMAGE_VIEW_TYPE_2D,
            .format = FORMAT,
            .components = rows[i].swizzle,
            .subresourceRange = { COLOR, 0, 1, 0, 1 },
        };
        VkSampler sampler;
        VkImageView view;
        uint32_t center;

        MUST(vkCreateSampler(app->device, &sampler_info, NULL, &sampler));
        MUST(vkCreateImageView(app->device, &view_info, NULL, &view));
        value(rows[i].name, sample_hash(m, view, sampler, NULL, &center));
        check(i < 3 || (center & 0xff00ff00) == 0x0000ff00, rows[i].name, "center 0x%08x", center);
        vkDestroyImageView(app->device, view, NULL);
        vkDestroySampler(app->device, sampler, NULL);
    }
    image_destroy(app, &im);
}

/* Where the driver can put the chroma samples of two-plane 4:2:0 images; false if it cannot. */
static bool ycbcr_offset(struct app *app, VkChromaLocation *ret_offset)
{
    const VkFormatFeatureFlags needed =
        VK_FORMAT_FEATURE_SAMPLED_IMAGE_BIT | VK_FORMAT_FEATURE_TRANSFER_DST_BIT;
    VkFormatProperties properties;
    VkFormatFeatureFlags features;

    if (!app->features11.samplerYcbcrConversion) {
        return false;
    }
    vkGetPhysicalDeviceFormatProperties(app->physical, VK_FORMAT_G8_B8R8_2PLANE_420_UNORM,
                                        &properties);
    features = properties.optimalTilingFeatures;
    *ret_offset = features & VK_FORMAT_FEATURE_MIDPOINT_CHROMA_SAMPLES_BIT
                      ? VK_CHROMA_LOCATION_MIDPOINT
                      : VK_CHROMA_LOCATION_COSITED_EVEN;
    return (features & needed) == needed &&
           (features & (VK_FORMAT_FEATURE_MIDPOINT_CHROMA_SAMPLES_BIT |
                        VK_FORMAT_FEATURE_COSITED_CHROMA_SAMPLES_BIT));
}

static void upload_planes(struct misc *m, const struct image *im)
{
    const VkBufferImageCopy regions[] = {
        { .imageSubresource = { VK_IMAGE_ASPECT_PLANE_0_BIT, 0, 0, 1 },
          .imageExtent = { SIZE, SIZE, 1 } },
        { .bufferOffset = SIZE * SIZE,
          .imageSubresource = { VK_IMAGE_ASPECT_PLANE_1_BIT, 0, 0, 1 },
          .imageExtent = { SIZE / 2, SIZE / 2, 1 } },
    };
    VkCommandBuffer commands = commands_begin(&m->app);

    barrier_image(commands, im, COLOR, VK_IMAGE_LAYOUT_UNDEFINED,
                  VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL);
    vkCmdCopyBufferToImage(commands, m->pattern.buffer, im->image,
                           VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 2, regions);
    barrier_image(commands, im, COLOR, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                  VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL);
    commands_run(&m->app, commands);
}

static void test_ycbcr(struct misc *m)
{
    struct app *app = &m->app;
    const VkFormat format = VK_FORMAT_G8_B8R8_2PLANE_420_UNORM;
    VkSamplerYcbcrConversionCreateInfo conversion_info = {
        .sType = VK_STRUCTURE_TYPE_SAMPLER_YCBCR_CONVERSION_CREATE_INFO,
        .format = format,
        .ycbcrModel = VK_SAMPLER_YCBCR_MODEL_CONVERSION_YCBCR_709,
        .ycbcrRange = VK_SAMPLER_YCBCR_RANGE_ITU_NARROW,
        .chromaFilter = VK_FILTER_NEAREST,
    };
    VkSamplerYcbcrConversionInfo use = { .sType = VK_STRUCTURE_TYPE_SAMPLER_YCBCR_CONVERSION_INFO };
    const VkSamplerCreateInfo sampler_info = {
        .sType = VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO,
        .pNext = &use,
        .addressModeU = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE,
        .addressModeV = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE,
        .addressModeW = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE,
    };
    VkImageViewCreateInfo view_info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
        .pNext = &use,
        .viewType = VK_IMAGE_VIEW_TYPE_2D,
        .format = format,
        .subresourceRange = { COLOR, 0, 1, 0, 1 },
    };
    VkImageCreateInfo info = image_info(VK_IMAGE_USAGE_TRANSFER_DST_BIT);
    struct image im;
    VkSampler sampler;
    VkImageView view;
    uint32_t center;
    VkMemoryRequirements requirements;

    if (!ycbcr_offset(app, &conversion_info.xChromaOffset)) {
        skip("ycbcr", "no sampling of two-plane 4:2:0 images");
        return;
    }
    conversion_info.yChromaOffset = conversion_info.xChromaOffset;
    MUST(vkCreateSamplerYcbcrConversion(app->device, &conversion_info, NULL, &use.conversion));
    MUST(vkCreateSampler(app->device, &sampler_info, NULL, &sampler));
    info.format = format;
    /* The view needs the conversion, so image_create() must make none of its own. */
    info.usage |= VK_IMAGE_USAGE_SAMPLED_BIT;
    im = (struct image){ .format = format, .extent = info.extent };
    MUST(vkCreateImage(app->device, &info, NULL, &im.image));
    vkGetImageMemoryRequirements(app->device, im.image, &requirements);
    im.memory = memory_allocate(app, &requirements, 0, 0);
    MUST(vkBindImageMemory(app->device, im.image, im.memory, 0));
    upload_planes(m, &im);
    view_info.image = im.image;
    MUST(vkCreateImageView(app->device, &view_info, NULL, &view));
    value("ycbcr", sample_hash(m, view, sampler, &sampler, &center));
    check(center >> 24 == 0xff, "ycbcr", "center 0x%08x", center);
    vkDestroyImageView(app->device, view, NULL);
    vkDestroySampler(app->device, sampler, NULL);
    vkDestroySamplerYcbcrConversion(app->device, use.conversion, NULL);
    image_destroy(app, &im);
}

/* Draws into m->target with one render pass and hashes it. */

typedef void (*draw_fn)(struct misc *m, VkCommandBuffer commands, const struct buffer *arguments);

static struct buffer draw_grid(struct misc *m, const char *name, draw_fn draw,
                               const struct buffer *arguments)
{
    VkCommandBuffer commands = commands_begin(&m->app);
    struct buffer pixels;

    render_pass_begin(commands, m->pass, m->framebuffer, SIZE, SIZE, black,
                      VK_SUBPASS_CONTENTS_INLINE);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, m->grid);
    set_viewport(commands, SIZE, SIZE);
    draw(m, commands, arguments);
    vkCmdEndRenderPass(commands);
    commands_run(&m->app, commands);
    pixels = image_read(&m->app, &m->target);
    value(name, fnv1a(pixels.map, pixels.size));
    return pixels;
}

/* Which of the grid's cells are drawn: the pixel in the middle of a cell. */
static bool cell_drawn(const struct buffer *pixels, uint32_t cell)
{
    return pixel(pixels, cell % 16 * 4 + 2, cell / 16 * 4 + 2) != 0xff000000;
}

static uint32_t cells_drawn(const struct buffer *pixels)
{
    uint32_t n = 0;

    for (uint32_t cell = 0; cell < 256; cell++) {
        n += cell_drawn(pixels, cell);
    }
    return n;
}

static void draw_indirect(struct misc *m, VkCommandBuffer commands, const struct buffer *arguments)
{
    (void)m;
    vkCmdDrawIndirect(commands, arguments->buffer, 256, 1, 0);
    if (m->app.features.multiDrawIndirect) {
        vkCmdDrawIndirect(commands, arguments->buffer, 320, 3, 32);
    }
}

static void draw_indexed_indirect(struct misc *m, VkCommandBuffer commands,
                                  const struct buffer *arguments)
{
    (void)m;
    vkCmdBindIndexBuffer(commands, arguments->buffer, 0, VK_INDEX_TYPE_UINT16);
    vkCmdDrawIndexedIndirect(commands, arguments->buffer, 512, 1, 0);
}

static void draw_indirect_count(struct misc *m, VkCommandBuffer commands,
                                const struct buffer *arguments)
{
    (void)m;
    vkCmdDrawIndirectCount(commands, arguments->buffer, 320, arguments->buffer, 640, 3, 32);
}

static void test_indirect(struct misc *m)
{
    struct app *app = &m->app;
    struct buffer b =
        buffer_create(app, 1024,
                      VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT | VK_BUFFER_USAGE_INDEX_BUFFER_BIT,
                      HOST_MEMORY);
    struct buffer pixels;
    uint8_t *map = b.map;

    if (!app->features.drawIndirectFirstInstance) {
        skip("indirect", "drawIndirectFirstInstance");
        buffer_destroy(app, &b);
        return;
    }
    memset(map, 0, 1024);
    for (uint16_t i = 0; i < 6; i++) {
        ((uint16_t *)b.map)[i] = (uint16_t)(11 - i);
    }
    memcpy(map + 256, &(VkDrawIndirectCommand){ 6, 3, 0, 10 }, sizeof(VkDrawIndirectCommand));
    for (uint32_t i = 0; i < 3; i++) {
        memcpy(map + 320 + 32 * i, &(VkDrawIndirectCommand){ 6, i + 1, 0, 100 + 10 * i },
               sizeof(VkDrawIndirectCommand));
    }
    memcpy(map + 512, &(VkDrawIndexedIndirectCommand){ 6, 2, 0, 0, 200 },
           sizeof(VkDrawIndexedIndirectCommand));
    memcpy(map + 640, &(uint32_t){ 2 }, 4);

    pixels = draw_grid(m, "draw_indirect", draw_indirect, &b);
    check(cells_drawn(&pixels) == (app->features.multiDrawIndirect ? 9 : 3) &&
              cell_drawn(&pixels, 12),
          "draw_indirect", "%u cells", cells_drawn(&pixels));
    buffer_destroy(app, &pixels);
    pixels = draw_grid(m, "draw_indexed_indirect", draw_indexed_indirect, &b);
    check(cells_drawn(&pixels) == 2 && cell_drawn(&pixels, 201), "draw_indexed_indirect",
          "%u cells", cells_drawn(&pixels));
    buffer_destroy(app, &pixels);
    if (app->features12.drawIndirectCount) {
        pixels = draw_grid(m, "draw_indirect_count", draw_indirect_count, &b);
        check(cells_drawn(&pixels) == 3 && cell_drawn(&pixels, 111), "draw_indirect_count",
              "%u cells", cells_drawn(&pixels));
        buffer_destroy(app, &pixels);
    } else {
        skip("draw_indirect_count", "drawIndirectCount");
    }
    buffer_destroy(app, &b);
}

/* 100,000 draws: a command buffer of some MiB on the wire. All but a few draw nothing visible. */
static void draw_many(struct misc *m, VkCommandBuffer commands, const struct buffer *arguments)
{
    (void)m;
    (void)arguments;
    for (uint32_t i = 0; i < 100000; i++) {
        vkCmdDraw(commands, i % 1000 == 0 ? 6 : 0, 1, 0, i / 1000);
    }
}

static void test_many_draws(struct misc *m)
{
    struct buffer pixels = draw_grid(m, "many_draws", draw_many, NULL);

    check(cells_drawn(&pixels) == 100, "many_draws", "%u cells", cells_drawn(&pixels));
    buffer_destroy(&m->app, &pixels);
}

static void draw_multi(struct misc *m, VkCommandBuffer commands, const struct buffer *arguments)
{
    const VkMultiDrawInfoEXT draws[] = { { 0, 6 }, { 6, 6 }, { 3, 3 } };

    (void)m;
    (void)arguments;
    vkCmdDrawMultiEXT(commands, ARRAY_SIZE(draws), draws, 5, 60, sizeof(draws[0]));
}

static void test_multi_draw(struct misc *m)
{
    struct buffer pixels;

    if (!m->multi_draw.multiDraw) {
        skip("multi_draw", VK_EXT_MULTI_DRAW_EXTENSION_NAME);
        return;
    }
    pixels = draw_grid(m, "multi_draw", draw_multi, NULL);
    check(cells_drawn(&pixels) == 5 && cell_drawn(&pixels, 64), "multi_draw", "%u cells",
          cells_drawn(&pixels));
    buffer_destroy(&m->app, &pixels);
}

static void draw_conditional(struct misc *m, VkCommandBuffer commands,
                             const struct buffer *arguments)
{
    for (uint32_t i = 0; i < 4; i++) {
        const VkConditionalRenderingBeginInfoEXT info = {
            .sType = VK_STRUCTURE_TYPE_CONDITIONAL_RENDERING_BEGIN_INFO_EXT,
            .buffer = arguments->buffer,
            .offset = 4 * (i / 2),
            .flags = i % 2 ? VK_CONDITIONAL_RENDERING_INVERTED_BIT_EXT : 0,
        };

        (void)m;
        vkCmdBeginConditionalRenderingEXT(commands, &info);
        vkCmdDraw(commands, 6, 1, 0, i);
        vkCmdEndConditionalRenderingEXT(commands);
    }
}

static void test_conditional(struct misc *m)
{
    struct buffer b, pixels;

    if (!m->conditional.conditionalRendering) {
        skip("conditional_rendering", VK_EXT_CONDITIONAL_RENDERING_EXTENSION_NAME);
        return;
    }
    b = buffer_create(&m->app, 64, VK_BUFFER_USAGE_CONDITIONAL_RENDERING_BIT_EXT, HOST_MEMORY);
    ((uint32_t *)b.map)[0] = 0;
    ((uint32_t *)b.map)[1] = 1;
    pixels = draw_grid(m, "conditional_rendering", draw_conditional, &b);
    check(!cell_drawn(&pixels, 0) && cell_drawn(&pixels, 1) && cell_drawn(&pixels, 2) &&
              !cell_drawn(&pixels, 3),
          "conditional_rendering", "%u cells", cells_drawn(&pixels));
    buffer_destroy(&m->app, &pixels);
    buffer_destroy(&m->app, &b);
}

static void test_feedback(struct misc *m)
{
    struct app *app = &m->app;
    struct graphics_info info = {
        .vertex = SPIRV(capture_vert),
        .fragment = SPIRV(flat_frag),
        .layout = m->flat_layout,
        .pass = m->pass,
        .topology = VK_PRIMITIVE_TOPOLOGY_POINT_LIST,
        .topology_set = true,
    };
    struct buffer b;
    VkPipeline pipeline;
    VkCommandBuffer commands;
    uint32_t n_wrong = 0;
    const float *got;

    if (!m->feedback.transformFeedback) {
        skip("transform_feedback", VK_EXT_TRANSFORM_FEEDBACK_EXTENSION_NAME);
        return;
    }
    b = buffer_create(app, 4096, VK_BUFFER_USAGE_TRANSFORM_FEEDBACK_BUFFER_BIT_EXT, HOST_MEMORY);
    memset(b.map, 0, 4096);
    pipeline = graphics_pipeline_create(app, &info);
    commands = commands_begin(app);
    render_pass_begin(commands, m->pass, m->framebuffer, SIZE, SIZE, black,
                      VK_SUBPASS_CONTENTS_INLINE);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, pipeline);
    set_viewport(commands, SIZE, SIZE);
    vkCmdBindTransformFeedbackBuffersEXT(commands, 0, 1, &b.buffer, &(VkDeviceSize){ 0 },
                                         &(VkDeviceSize){ 4096 });
    vkCmdBeginTransformFeedbackEXT(commands, 0, 0, NULL, NULL);
    vkCmdDraw(commands, 100, 1, 3, 0);
    vkCmdEndTransformFeedbackEXT(commands, 0, 0, NULL, NULL);
    vkCmdEndRenderPass(commands);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFORM_FEEDBACK_BIT_EXT,
                   VK_ACCESS_TRANSFORM_FEEDBACK_WRITE_BIT_EXT, VK_PIPELINE_STAGE_HOST_BIT,
                   VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    got = b.map;
    for (uint32_t i = 0; i < 100; i++) {
        float vertex = (float)(i + 3);

        n_wrong += got[4 * i] != vertex || got[4 * i + 1] != vertex * vertex;
    }
    check(n_wrong == 0, "transform_feedback", "%u of 100 vertices wrong", n_wrong);
    vkDestroyPipeline(app->device, pipeline, NULL);
    buffer_destroy(app, &b);
}

/* Depth test, culling and viewport set while recording; two overlapping rectangles tell. */
static void test_dynamic_state(struct misc *m)
{
    static const VkDynamicState states[] = {
        VK_DYNAMIC_STATE_CULL_MODE,
        VK_DYNAMIC_STATE_FRONT_FACE,
        VK_DYNAMIC_STATE_PRIMITIVE_TOPOLOGY,
        VK_DYNAMIC_STATE_DEPTH_TEST_ENABLE,
        VK_DYNAMIC_STATE_RASTERIZER_DISCARD_ENABLE,
        VK_DYNAMIC_STATE_BLEND_CONSTANTS,
    };
    struct app *app = &m->app;
    const VkShaderStageFlags stages = VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT;
    struct buffer pixels;
    VkPipeline pipeline;
    VkCommandBuffer commands;

    if (app->api < VK_API_VERSION_1_3) {
        skip("dynamic_state", "Vulkan 1.3");
        return;
    }
    pipeline = graphics_pipeline_create(app, &(struct graphics_info){
                                                 .vertex = SPIRV(flat_vert),
                                                 .fragment = SPIRV(flat_frag),
                                                 .layout = m->flat_layout,
                                                 .pass = m->pass,
                                                 .dynamic = states,
                                                 .n_dynamic = ARRAY_SIZE(states),
                                             });
    commands = commands_begin(app);
    render_pass_begin(commands, m->pass, m->framebuffer, SIZE, SIZE, black,
                      VK_SUBPASS_CONTENTS_INLINE);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, pipeline);
    set_viewport(commands, SIZE, SIZE);
    vkCmdSetPrimitiveTopology(commands, VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST);
    vkCmdSetFrontFace(commands, VK_FRONT_FACE_CLOCKWISE);
    vkCmdSetDepthTestEnable(commands, VK_FALSE);
    vkCmdSetBlendConstants(commands, black);
    for (uint32_t i = 0; i < 3; i++) {
        const struct flat_push push = {
            .rect = { -1 + 0.5f * (float)i, -1, 0.75f, 2 },
            .color = { i == 0, i == 1, i == 2, 1 },
        };

        vkCmdSetRasterizerDiscardEnable(commands, VK_FALSE);
        vkCmdSetCullMode(commands, i == 1 ? VK_CULL_MODE_FRONT_BIT : VK_CULL_MODE_BACK_BIT);
        vkCmdPushConstants(commands, m->flat_layout, stages, 0, sizeof(push), &push);
        vkCmdDraw(commands, 6, 1, 0, 0);
        vkCmdSetRasterizerDiscardEnable(commands, VK_TRUE);
        vkCmdDraw(commands, 6, 1, 0, 0);
    }
    vkCmdEndRenderPass(commands);
    commands_run(app, commands);
    pixels = image_read(app, &m->target);
    value("dynamic_state", fnv1a(pixels.map, pixels.size));
    check(pixel(&pixels, 20, 9) == 0xff0000ff && pixel(&pixels, 40, 9) == 0xffff0000 &&
              pixel(&pixels, 28, 9) == 0xff000000,
          "dynamic_state", "0x%08x 0x%08x 0x%08x", pixel(&pixels, 20, 9), pixel(&pixels, 28, 9),
          pixel(&pixels, 40, 9));
    buffer_destroy(app, &pixels);
    vkDestroyPipeline(app->device, pipeline, NULL);
}

/* A render pass made by vkCreateRenderPass2 that draws to two layers at once. */
static VkRenderPass multiview_pass(struct app *app)
{
    const VkAttachmentDescription2 attachment = {
        .sType = VK_STRUCTURE_TYPE_ATTACHMENT_DESCRIPTION_2,
        .format = FORMAT,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
        .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
        .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
        .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
        .finalLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
    };
    const VkAttachmentReference2 reference = {
        .sType = VK_STRUCTURE_TYPE_ATTACHMENT_REFERENCE_2,
        .layout = VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL,
        .aspectMask = COLOR,
    };
    const VkSubpassDescription2 subpass = {
        .sType = VK_STRUCTURE_TYPE_SUBPASS_DESCRIPTION_2,
        .pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS,
        .viewMask = 3,
        .colorAttachmentCount = 1,
        .pColorAttachments = &reference,
    };
    const VkSubpassDependency2 dependency = {
        .sType = VK_STRUCTURE_TYPE_SUBPASS_DEPENDENCY_2,
        .dstSubpass = VK_SUBPASS_EXTERNAL,
        .srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
        .dstStageMask = VK_PIPELINE_STAGE_TRANSFER_BIT,
        .srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT,
    };
    const uint32_t correlated = 3;
    const VkRenderPassCreateInfo2 info = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO_2,
        .attachmentCount = 1,
        .pAttachments = &attachment,
        .subpassCount = 1,
        .pSubpasses = &subpass,
        .dependencyCount = 1,
        .pDependencies = &dependency,
        .correlatedViewMaskCount = 1,
        .pCorrelatedViewMasks = &correlated,
    };
    VkRenderPass pass;

    MUST(vkCreateRenderPass2(app->device, &info, NULL, &pass));
    return pass;
}

/* Also an imageless framebuffer: the view is named when the pass begins. */
static VkFramebuffer imageless_framebuffer(struct app *app, VkRenderPass pass,
                                           VkImageUsageFlags usage)
{
    const VkFormat format = FORMAT;
    const VkFramebufferAttachmentImageInfo image = {
        .sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_ATTACHMENT_IMAGE_INFO,
        .usage = usage,
        .width = SIZE,
        .height = SIZE,
        .layerCount = 2,
        .viewFormatCount = 1,
        .pViewFormats = &format,
    };
    const VkFramebufferAttachmentsCreateInfo attachments = {
        .sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_ATTACHMENTS_CREATE_INFO,
        .attachmentImageInfoCount = 1,
        .pAttachmentImageInfos = &image,
    };
    const VkFramebufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO,
        .pNext = &attachments,
        .flags = VK_FRAMEBUFFER_CREATE_IMAGELESS_BIT,
        .renderPass = pass,
        .attachmentCount = 1,
        .width = SIZE,
        .height = SIZE,
        .layers = 1,
    };
    VkFramebuffer framebuffer;

    MUST(vkCreateFramebuffer(app->device, &info, NULL, &framebuffer));
    return framebuffer;
}

static void record_multiview(struct misc *m, VkCommandBuffer commands, VkRenderPass pass,
                             VkFramebuffer framebuffer, VkImageView view, VkPipeline pipeline)
{
    const VkClearValue clear = { .color = { { 0, 0, 0, 1 } } };
    const VkRenderPassAttachmentBeginInfo views = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_ATTACHMENT_BEGIN_INFO,
        .attachmentCount = 1,
        .pAttachments = &view,
    };
    const VkRenderPassBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO,
        .pNext = &views,
        .renderPass = pass,
        .framebuffer = framebuffer,
        .renderArea = { { 0, 0 }, { SIZE, SIZE } },
        .clearValueCount = 1,
        .pClearValues = &clear,
    };
    const VkSubpassBeginInfo subpass = { .sType = VK_STRUCTURE_TYPE_SUBPASS_BEGIN_INFO };
    const VkSubpassEndInfo end = { .sType = VK_STRUCTURE_TYPE_SUBPASS_END_INFO };

    (void)m;
    vkCmdBeginRenderPass2(commands, &begin, &subpass);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, pipeline);
    set_viewport(commands, SIZE, SIZE);
    vkCmdDraw(commands, 3, 1, 0, 0);
    vkCmdEndRenderPass2(commands, &end);
}

static void test_multiview(struct misc *m)
{
    struct app *app = &m->app;
    const VkImageUsageFlags usage =
        VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT;
    VkImageCreateInfo info = image_info(usage);
    const VkBufferImageCopy out = {
        .imageSubresource = { COLOR, 0, 0, 2 },
        .imageExtent = { SIZE, SIZE, 1 },
    };
    struct image layers;
    struct buffer result;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkPipeline pipeline;
    VkCommandBuffer commands;

    if (!app->features11.multiview || !app->features12.imagelessFramebuffer) {
        skip("multiview", "multiview or imagelessFramebuffer");
        return;
    }
    info.arrayLayers = 2;
    layers = image_create(app, &info, COLOR);
    result = buffer_create(app, 2 * 4 * SIZE * SIZE, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    pass = multiview_pass(app);
    framebuffer = imageless_framebuffer(app, pass, usage);
    pipeline = graphics_pipeline_create(app, &(struct graphics_info){
                                                 .vertex = SPIRV(view_vert),
                                                 .fragment = SPIRV(grid_frag),
                                                 .layout = m->empty_layout,
                                                 .pass = pass,
                                             });
    commands = commands_begin(app);
    record_multiview(m, commands, pass, framebuffer, layers.view, pipeline);
    vkCmdCopyImageToBuffer(commands, layers.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                           result.buffer, 1, &out);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    check(pixel(&result, 9, 9) == 0xff0000ff && pixel(&result, 9, 9 + SIZE) == 0xff00ff00,
          "multiview", "0x%08x 0x%08x", pixel(&result, 9, 9), pixel(&result, 9, 9 + SIZE));
    vkDestroyPipeline(app->device, pipeline, NULL);
    vkDestroyFramebuffer(app->device, framebuffer, NULL);
    vkDestroyRenderPass(app->device, pass, NULL);
    image_destroy(app, &layers);
    buffer_destroy(app, &result);
}

/* Clear and resolve outside of a render pass, clear of attachments inside. */
static void test_clear_and_resolve(struct misc *m)
{
    struct app *app = &m->app;
    VkImageCreateInfo info =
        image_info(VK_IMAGE_USAGE_TRANSFER_SRC_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT |
                   VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT);
    const VkImageResolve resolve = {
        { COLOR, 0, 0, 1 }, { 0, 0, 0 }, { COLOR, 0, 0, 1 }, { 16, 16, 0 }, { 32, 32, 1 }
    };
    const VkClearAttachment attachment = { COLOR, 0, { .color = { { 1, 0, 1, 1 } } } };
    const VkClearRect rects[] = { { { { 4, 4 }, { 8, 8 } }, 0, 1 },
                                  { { { 40, 50 }, { 3, 2 } }, 0, 1 } };
    struct image single = blank_image(m, &info), multi;
    struct buffer pixels;
    VkCommandBuffer commands;

    info.samples = VK_SAMPLE_COUNT_4_BIT;
    multi = blank_image(m, &info);
    commands = commands_begin(app);
    barrier_image(commands, &multi, COLOR, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                  VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL);
    vkCmdClearColorImage(commands, multi.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                         &(VkClearColorValue){ .float32 = { 1, 1, 0, 1 } }, 1,
                         &(VkImageSubresourceRange){ COLOR, 0, 1, 0, 1 });
    barrier_image(commands, &multi, COLOR, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                  VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    vkCmdResolveImage(commands, multi.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, single.image,
                      VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1, &resolve);
    commands_run(app, commands);
    pixels = read_and_hash(m, "resolve", &single);
    check(pixel(&pixels, 20, 20) == 0xff00ffff && pixel(&pixels, 1, 1) == 0xffff0000, "resolve",
          "0x%08x 0x%08x", pixel(&pixels, 20, 20), pixel(&pixels, 1, 1));
    buffer_destroy(app, &pixels);

    commands = commands_begin(app);
    render_pass_begin(commands, m->pass, m->framebuffer, SIZE, SIZE, black,
                      VK_SUBPASS_CONTENTS_INLINE);
    vkCmdClearAttachments(commands, 1, &attachment, 2, rects);
    vkCmdEndRenderPass(commands);
    commands_run(app, commands);
    pixels = image_read(app, &m->target);
    check(pixel(&pixels, 5, 5) == 0xffff00ff && pixel(&pixels, 42, 51) == 0xffff00ff &&
              pixel(&pixels, 43, 51) == 0xff000000,
          "clear_attachments", "0x%08x", pixel(&pixels, 5, 5));
    buffer_destroy(app, &pixels);
    image_destroy(app, &single);
    image_destroy(app, &multi);
}

static void test_host_copy(struct misc *m)
{
    struct app *app = &m->app;
    const VkImageCreateInfo info =
        image_info(VK_IMAGE_USAGE_HOST_TRANSFER_BIT_EXT | VK_IMAGE_USAGE_SAMPLED_BIT);
    uint32_t *back;
    const VkMemoryToImageCopyEXT in = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_TO_IMAGE_COPY_EXT,
        .pHostPointer = m->pattern.map,
        .imageSubresource = { COLOR, 0, 0, 1 },
        .imageExtent = { SIZE, SIZE, 1 },
    };
    VkImageToMemoryCopyEXT out = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_TO_MEMORY_COPY_EXT,
        .imageSubresource = { COLOR, 0, 0, 1 },
        .imageOffset = { 8, 16, 0 },
        .imageExtent = { 32, 16, 1 },
    };
    VkCopyMemoryToImageInfoEXT in_info = {
        .sType = VK_STRUCTURE_TYPE_COPY_MEMORY_TO_IMAGE_INFO_EXT,
        .dstImageLayout = VK_IMAGE_LAYOUT_GENERAL,
        .regionCount = 1,
        .pRegions = &in,
    };
    VkCopyImageToMemoryInfoEXT out_info = {
        .sType = VK_STRUCTURE_TYPE_COPY_IMAGE_TO_MEMORY_INFO_EXT,
        .srcImageLayout = VK_IMAGE_LAYOUT_GENERAL,
        .regionCount = 1,
        .pRegions = &out,
    };
    struct image im;
    uint32_t n_wrong = 0;

    if (!m->host_copy.hostImageCopy) {
        skip("host_image_copy", VK_EXT_HOST_IMAGE_COPY_EXTENSION_NAME);
        return;
    }
    im = image_create(app, &info, COLOR);
    const VkHostImageLayoutTransitionInfoEXT transition = {
        .sType = VK_STRUCTURE_TYPE_HOST_IMAGE_LAYOUT_TRANSITION_INFO_EXT,
        .image = im.image,
        .oldLayout = VK_IMAGE_LAYOUT_UNDEFINED,
        .newLayout = VK_IMAGE_LAYOUT_GENERAL,
        .subresourceRange = { COLOR, 0, 1, 0, 1 },
    };
    back = must_alloc(32 * 16, 4);
    out.pHostPointer = back;
    in_info.dstImage = im.image;
    out_info.srcImage = im.image;
    MUST(vkTransitionImageLayoutEXT(app->device, 1, &transition));
    MUST(vkCopyMemoryToImageEXT(app->device, &in_info));
    MUST(vkCopyImageToMemoryEXT(app->device, &out_info));
    for (uint32_t i = 0; i < 32 * 16; i++) {
        n_wrong += back[i] != pixel(&m->pattern, 8 + i % 32, 16 + i / 32);
    }
    check(n_wrong == 0, "host_image_copy", "%u texels wrong", n_wrong);
    free(back);
    image_destroy(app, &im);
}

static void create(struct misc *m)
{
    struct app *app = &m->app;
    uint32_t state = 3;

    m->pattern = buffer_create(app, 4 * SIZE * SIZE, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, HOST_MEMORY);
    for (uint32_t i = 0; i < SIZE * SIZE; i++) {
        ((uint32_t *)m->pattern.map)[i] = random_u32(&state);
    }
    m->target =
        image_create_2d(app, FORMAT, SIZE, SIZE,
                        VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT);
    m->pass = render_pass_create(app, FORMAT, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    m->framebuffer = framebuffer_create(app, m->pass, &m->target.view, 1, SIZE, SIZE);
    m->empty_layout = pipeline_layout_create(app, NULL, 0, 0, 0);
    m->flat_layout =
        pipeline_layout_create(app, NULL, 0,
                               VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT,
                               sizeof(struct flat_push));
    m->grid = graphics_pipeline_create(app, &(struct graphics_info){
                                                .vertex = SPIRV(grid_vert),
                                                .fragment = SPIRV(grid_frag),
                                                .layout = m->empty_layout,
                                                .pass = m->pass,
                                            });
}

static void destroy(struct misc *m)
{
    struct app *app = &m->app;

    vkDestroyPipeline(app->device, m->grid, NULL);
    vkDestroyPipelineLayout(app->device, m->flat_layout, NULL);
    vkDestroyPipelineLayout(app->device, m->empty_layout, NULL);
    vkDestroyFramebuffer(app->device, m->framebuffer, NULL);
    vkDestroyRenderPass(app->device, m->pass, NULL);
    image_destroy(app, &m->target);
    buffer_destroy(app, &m->pattern);
}

int main(int argc, char **argv)
{
    static struct misc m = {
        .feedback.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TRANSFORM_FEEDBACK_FEATURES_EXT,
        .conditional.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_CONDITIONAL_RENDERING_FEATURES_EXT,
        .multi_draw.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MULTI_DRAW_FEATURES_EXT,
        .host_copy.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_HOST_IMAGE_COPY_FEATURES_EXT,
    };
    struct want wants[] = {
        { VK_EXT_TRANSFORM_FEEDBACK_EXTENSION_NAME, &m.feedback },
        { VK_EXT_CONDITIONAL_RENDERING_EXTENSION_NAME, &m.conditional },
        { VK_EXT_MULTI_DRAW_EXTENSION_NAME, &m.multi_draw },
        { VK_KHR_COPY_COMMANDS_2_EXTENSION_NAME, NULL },
        { VK_KHR_FORMAT_FEATURE_FLAGS_2_EXTENSION_NAME, NULL },
        { VK_EXT_HOST_IMAGE_COPY_EXTENSION_NAME, &m.host_copy },
    };
    uint32_t n_wants = ARRAY_SIZE(wants);

    app_parse(&m.app, "cl_misc", argc, argv, NULL);
    if (m.app.validating) {
        /* The last is younger than the validation layers that we meet. */
        n_wants--;
    }
    app_create_instance(&m.app);
    app_create_device(&m.app, wants, n_wants);
    create(&m);
    test_copies(&m);
    test_3d_and_layers(&m);
    test_large_update(&m);
    test_samplers(&m);
    test_ycbcr(&m);
    test_indirect(&m);
    test_many_draws(&m);
    test_multi_draw(&m);
    test_conditional(&m);
    test_feedback(&m);
    test_dynamic_state(&m);
    test_multiview(&m);
    test_clear_and_resolve(&m);
    test_host_copy(&m);
    destroy(&m);
    return app_close(&m.app);
}
