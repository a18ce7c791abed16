#include "worker/image.h"

#include <errno.h>

#include "ipc/base.h"
#include "ipc/checked.h"
#include "wire/formats.h"
#include "worker/arena.h"
#include "worker/backing.h"
#include "worker/chain.h"
#include "worker/device.h"

/* Does the driver take this kind of memory for such a resource, beside `others`? */
static bool takes(enum backing_kind kind, const VkExternalMemoryProperties *word,
                  VkExternalMemoryHandleTypeFlags others)
{
    const VkExternalMemoryFeatureFlags need = kind == BACKING_HOST_POINTER
                                                  ? VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT
                                                  : VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT;

    return (word->externalMemoryFeatures & need) &&
           !(word->externalMemoryFeatures & VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT) &&
           (word->compatibleHandleTypes & others) == others;
}

bool buffer_is_external(const struct device *dev, const VkBufferCreateInfo *info)
{
    const VkExternalMemoryBufferCreateInfo *external =
        chain_find(info, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);

    return dev->backings.kind == BACKING_PLAIN ||
           (external && (external->handleTypes & backing_handle_type(dev->backings.kind)));
}

bool image_is_external(const struct device *dev, const VkImageCreateInfo *info)
{
    const VkExternalMemoryImageCreateInfo *external =
        chain_find(info, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_IMAGE_CREATE_INFO);

    return dev->backings.kind == BACKING_PLAIN ||
           (external && (external->handleTypes & backing_handle_type(dev->backings.kind)));
}

static bool buffer_can(const struct device *dev, const VkBufferCreateInfo *info,
                       VkExternalMemoryHandleTypeFlags others)
{
    const struct physical *p = dev->physical;
    const VkBufferUsageFlags2CreateInfo *usage =
        chain_find(info, VK_STRUCTURE_TYPE_BUFFER_USAGE_FLAGS_2_CREATE_INFO);
    VkBufferUsageFlags2CreateInfo usage_copy;
    VkPhysicalDeviceExternalBufferInfo ask = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
        .flags = info->flags,
        .usage = info->usage,
        .handleType = backing_handle_type(dev->backings.kind),
    };
    VkExternalBufferProperties word = { .sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES };

    /* Protected memory is never mapped. */
    if (info->flags & VK_BUFFER_CREATE_PROTECTED_BIT) {
        return false;
    }
    if (usage) {
        usage_copy = *usage;
        chain_push(&ask, &usage_copy);
    }
    p->vk->GetPhysicalDeviceExternalBufferProperties(p->handle, &ask, &word);
    return takes(dev->backings.kind, &word.externalMemoryProperties, others);
}

bool buffer_make_external(struct device *dev, struct arena *a, VkBufferCreateInfo *info)
{
    VkExternalMemoryBufferCreateInfo *external =
        chain_find(info, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO);

    if (buffer_is_external(dev, info) ||
        !buffer_can(dev, info, external ? external->handleTypes : 0)) {
        return true;
    }
    if (!external) {
        external = arena_alloc(a, sizeof(*external));
        if (!external) {
            return false;
        }
        external->sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO;
        chain_push(info, external);
    }
    external->handleTypes |= backing_handle_type(dev->backings.kind);
    return true;
}

/* Is the image within the limits that the driver gave for its kind of memory? */
static bool within(const VkImageCreateInfo *info, const VkImageFormatProperties *limits)
{
    return info->extent.width <= limits->maxExtent.width &&
           info->extent.height <= limits->maxExtent.height &&
           info->extent.depth <= limits->maxExtent.depth &&
           info->mipLevels <= limits->maxMipLevels && info->arrayLayers <= limits->maxArrayLayers &&
           (limits->sampleCounts & (VkSampleCountFlags)info->samples);
}

static bool image_can(const struct device *dev, const VkImageCreateInfo *info,
                      VkExternalMemoryHandleTypeFlags others)
{
    const struct physical *p = dev->physical;
    const VkImageFormatListCreateInfo *list =
        chain_find(info, VK_STRUCTURE_TYPE_IMAGE_FORMAT_LIST_CREATE_INFO);
    const VkImageStencilUsageCreateInfo *stencil =
        chain_find(info, VK_STRUCTURE_TYPE_IMAGE_STENCIL_USAGE_CREATE_INFO);
    VkImageFormatListCreateInfo list_copy;
    VkImageStencilUsageCreateInfo stencil_copy;
    VkPhysicalDeviceExternalImageFormatInfo external = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_IMAGE_FORMAT_INFO,
        .handleType = backing_handle_type(dev->backings.kind),
    };
    VkPhysicalDeviceImageFormatInfo2 ask = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_IMAGE_FORMAT_INFO_2,
        .pNext = &external,
        .format = info->format,
        .type = info->imageType,
        .tiling = info->tiling,
        .usage = info->usage,
        .flags = info->flags,
    };
    VkExternalImageFormatProperties word = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_IMAGE_FORMAT_PROPERTIES,
    };
    VkImageFormatProperties2 answer = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_FORMAT_PROPERTIES_2,
        .pNext = &word,
    };

    /* External images start undefined (VUID-VkImageCreateInfo-pNext-01443); the modifier of the
     * third tiling is not known yet; protected memory is never mapped. */
    if (info->initialLayout != VK_IMAGE_LAYOUT_UNDEFINED ||
        info->tiling == VK_IMAGE_TILING_DRM_FORMAT_MODIFIER_EXT ||
        (info->flags & VK_IMAGE_CREATE_PROTECTED_BIT)) {
        return false;
    }
    if (list && list->viewFormatCount > 0) {
        list_copy = *list;
        chain_push(&ask, &list_copy);
    }
    if (stencil) {
        stencil_copy = *stencil;
        chain_push(&ask, &stencil_copy);
    }
    return p->vk->GetPhysicalDeviceImageFormatProperties2(p->handle, &ask, &answer) == VK_SUCCESS &&
           takes(dev->backings.kind, &word.externalMemoryProperties, others) &&
           within(info, &answer.imageFormatProperties);
}

bool image_make_external(struct device *dev, struct arena *a, VkImageCreateInfo *info)
{
    VkExternalMemoryImageCreateInfo *external =
        chain_find(info, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_IMAGE_CREATE_INFO);

    if (image_is_external(dev, info) ||
        !image_can(dev, info, external ? external->handleTypes : 0)) {
        return true;
    }
    if (!external) {
        external = arena_alloc(a, sizeof(*external));
        if (!external) {
            return false;
        }
        external->sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_IMAGE_CREATE_INFO;
        chain_push(info, external);
    }
    external->handleTypes |= backing_handle_type(dev->backings.kind);
    return true;
}

/* ---- regions of host copies ------------------------------------------------------------- */

/* What one texel block of an aspect takes in memory, and how the plane is scaled down. */
struct texels {
    uint32_t bytes;
    uint32_t width, height, depth; /* texels in a block */
    uint32_t divide_x, divide_y;   /* of the image's size, for a plane */
};

static int aspect_texels(VkFormat format, VkImageAspectFlags aspect, struct texels *ret)
{
    const struct wire_format *f = wire_format_find(format);
    uint32_t plane;

    if (!f) {
        return -ENOTSUP;
    }
    *ret = (struct texels){
        .bytes = f->block_size,
        .width = f->block_width,
        .height = f->block_height,
        .depth = f->block_depth,
        .divide_x = 1,
        .divide_y = 1,
    };
    switch (aspect) {
    case VK_IMAGE_ASPECT_COLOR_BIT:
        return 0;
    case VK_IMAGE_ASPECT_DEPTH_BIT:
        /* Vulkan, copies of depth: 16 bits if that is what it has, else 32. */
        ret->bytes = format == VK_FORMAT_D16_UNORM || format == VK_FORMAT_D16_UNORM_S8_UINT ? 2 : 4;
        return 0;
    case VK_IMAGE_ASPECT_STENCIL_BIT:
        ret->bytes = 1;
        return 0;
    case VK_IMAGE_ASPECT_PLANE_0_BIT:
    case VK_IMAGE_ASPECT_PLANE_1_BIT:
    case VK_IMAGE_ASPECT_PLANE_2_BIT:
        plane = (uint32_t)__builtin_ctz(aspect / VK_IMAGE_ASPECT_PLANE_0_BIT);
        if (plane >= f->n_planes) {
            return -EINVAL;
        }
        ret->divide_x = f->planes[plane].divide_x;
        ret->divide_y = f->planes[plane].divide_y;
        f = wire_format_find(f->planes[plane].format);
        if (!f) {
            return -ENOTSUP;
        }
        ret->bytes = f->block_size;
        ret->width = f->block_width;
        ret->height = f->block_height;
        ret->depth = f->block_depth;
        return 0;
    default:
        return -EINVAL; /* one aspect at a time */
    }
}

static uint32_t div_up(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}

/* Does [offset, offset + length) lie in one dimension of a mip level? */
static bool inside(int32_t offset, uint32_t length, uint32_t size)
{
    return offset >= 0 && length > 0 && range_in((uint32_t)offset, length, size);
}

static int region_inside(const struct image *image, const struct texels *t,
                         const struct image_region *r, uint32_t *ret_layers)
{
    const VkImageSubresourceLayers *s = &r->subresource;
    const uint32_t mip = s->mipLevel;
    uint32_t layers = s->layerCount;

    if (mip >= image->mip_levels || mip > 31 || s->baseArrayLayer >= image->array_layers) {
        return -EINVAL;
    }
    if (layers == VK_REMAINING_ARRAY_LAYERS) {
        layers = image->array_layers - s->baseArrayLayer;
    }
    if (layers == 0 || layers > image->array_layers - s->baseArrayLayer ||
        !inside(r->offset.x, r->extent.width,
                div_up(MAX(image->extent.width >> mip, 1), t->divide_x)) ||
        !inside(r->offset.y, r->extent.height,
                div_up(MAX(image->extent.height >> mip, 1), t->divide_y)) ||
        !inside(r->offset.z, r->extent.depth, MAX(image->extent.depth >> mip, 1)) ||
        (r->row_length != 0 && r->row_length < r->extent.width) ||
        (r->image_height != 0 && r->image_height < r->extent.height)) {
        return -EINVAL;
    }
    *ret_layers = layers;
    return 0;
}

int image_region_size(const struct image *image, const struct image_region *r, uint64_t *ret_size)
{
    uint64_t row, slice, slices, size;
    struct texels t;
    uint32_t layers;
    int err;

    err = aspect_texels(image->format, r->subresource.aspectMask, &t);
    if (err == 0) {
        err = region_inside(image, &t, r, &layers);
    }
    if (err < 0) {
        return err;
    }
    /* In blocks; 32 bits each, so no product of two overflows. */
    row = div_up(r->row_length ? r->row_length : r->extent.width, t.width);
    slice = row * div_up(r->image_height ? r->image_height : r->extent.height, t.height);
    slices = (uint64_t)div_up(r->extent.depth, t.depth) * layers;
    if (!checked_mul(slice, slices - 1, &size) ||
        !checked_add(size, row * (div_up(r->extent.height, t.height) - 1), &size) ||
        !checked_add(size, div_up(r->extent.width, t.width), &size) ||
        !checked_mul(size, t.bytes, &size)) {
        return -EINVAL;
    }
    *ret_size = size;
    return 0;
}
