/*
 * Buffers and images: made so that they may be bound to memory with a backing, memory types that
 * they may not be bound to taken out of their requirements, and host copies.
 */
#include <errno.h>

#include "ipc/checked.h"
#include "wire/commands.h"
#include "wire/mesa.h"
#include "wire/objects.h"
#include "worker/backing.h"
#include "worker/chain.h"
#include "worker/decoder.h"
#include "worker/device.h"
#include "worker/image.h"

static bool made(struct decoder *d, bool ok)
{
    if (!ok) {
        decoder_no_memory(d, 0);
    }
    return ok;
}

/* ---- creation --------------------------------------------------------------------------- */

/* See physical::no_sparse. */
static bool may_be_sparse(struct decoder *d, const struct device *dev, bool sparse)
{
    if (sparse && dev->physical->no_sparse) {
        decoder_fail(d, "sparse resources are not offered with this driver");
        return false;
    }
    return true;
}

bool prepare_vkCreateBuffer(struct decoder *d, struct wire_vkCreateBuffer *c)
{
    if (!may_be_sparse(d, c->device_obj->data, c->pCreateInfo->flags & BUFFER_CREATE_SPARSE_BITS)) {
        return false;
    }
    return made(d, buffer_make_external(c->device_obj->data, &d->arena,
                                        (VkBufferCreateInfo *)c->pCreateInfo));
}

void created_vkCreateBuffer(struct decoder *d, struct wire_vkCreateBuffer *c, struct object *o)
{
    struct device *dev = c->device_obj->data;

    if (!buffer_is_external(dev, c->pCreateInfo)) {
        (void)made(d, handle_map_put(&dev->buffers, o->handle, NULL) == 0);
    }
}

void cmd_vkDestroyBuffer(struct decoder *d, struct wire_vkDestroyBuffer *c)
{
    struct device *dev = c->device_obj->data;
    struct object *o = c->buffer_obj;

    if (o && objects_remove(d->objects, o, NULL, NULL)) {
        handle_map_remove(&dev->buffers, o->handle);
        wire_destroy_object(o);
    }
}

bool prepare_vkCreateImage(struct decoder *d, struct wire_vkCreateImage *c)
{
    if (!may_be_sparse(d, c->device_obj->data, c->pCreateInfo->flags & IMAGE_CREATE_SPARSE_BITS)) {
        return false;
    }
    return made(d, image_make_external(c->device_obj->data, &d->arena,
                                       (VkImageCreateInfo *)c->pCreateInfo));
}

/* Host copies are allowed for images with this usage alone. */
static bool for_host_copies(const VkImageCreateInfo *info)
{
    const VkImageStencilUsageCreateInfo *stencil =
        chain_find(info, VK_STRUCTURE_TYPE_IMAGE_STENCIL_USAGE_CREATE_INFO);

    return (info->usage | (stencil ? stencil->stencilUsage : 0)) & VK_IMAGE_USAGE_HOST_TRANSFER_BIT;
}

void created_vkCreateImage(struct decoder *d, struct wire_vkCreateImage *c, struct object *o)
{
    const VkImageCreateInfo *info = c->pCreateInfo;
    struct device *dev = c->device_obj->data;
    const struct image image = {
        .external = image_is_external(dev, info),
        .format = info->format,
        .extent = info->extent,
        .mip_levels = info->mipLevels,
        .array_layers = info->arrayLayers,
    };

    if (!image.external || for_host_copies(info)) {
        (void)made(d, handle_map_put(&dev->images, o->handle, &image) == 0);
    }
}

void cmd_vkDestroyImage(struct decoder *d, struct wire_vkDestroyImage *c)
{
    struct device *dev = c->device_obj->data;
    struct object *o = c->image_obj;

    if (o && objects_remove(d->objects, o, NULL, NULL)) {
        handle_map_remove(&dev->images, o->handle);
        wire_destroy_object(o);
    }
}

/* ---- memory requirements ---------------------------------------------------------------- */

static void allow(const struct device *dev, VkMemoryRequirements *requirements, bool external)
{
    requirements->memoryTypeBits =
        backings_allowed(&dev->backings, requirements->memoryTypeBits, external);
}

static bool buffer_external(struct device *dev, VkBuffer buffer)
{
    return !handle_map_get(&dev->buffers, (uint64_t)buffer, NULL);
}

static bool image_external(struct device *dev, VkImage image)
{
    struct image known;

    return !handle_map_get(&dev->images, (uint64_t)image, &known) || known.external;
}

void cmd_vkGetBufferMemoryRequirements(struct decoder *d,
                                       struct wire_vkGetBufferMemoryRequirements *c)
{
    struct device *dev = c->device_obj->data;

    (void)d;
    dev->procs.GetBufferMemoryRequirements(c->device, c->buffer, c->pMemoryRequirements);
    allow(dev, c->pMemoryRequirements, buffer_external(dev, c->buffer));
}

void cmd_vkGetImageMemoryRequirements(struct decoder *d,
                                      struct wire_vkGetImageMemoryRequirements *c)
{
    struct device *dev = c->device_obj->data;

    (void)d;
    dev->procs.GetImageMemoryRequirements(c->device, c->image, c->pMemoryRequirements);
    allow(dev, c->pMemoryRequirements, image_external(dev, c->image));
}

void cmd_vkGetBufferMemoryRequirements2(struct decoder *d,
                                        struct wire_vkGetBufferMemoryRequirements2 *c)
{
    struct device *dev = c->device_obj->data;

    (void)d;
    dev->procs.GetBufferMemoryRequirements2(c->device, c->pInfo, c->pMemoryRequirements);
    allow(dev, &c->pMemoryRequirements->memoryRequirements, buffer_external(dev, c->pInfo->buffer));
}

void cmd_vkGetImageMemoryRequirements2(struct decoder *d,
                                       struct wire_vkGetImageMemoryRequirements2 *c)
{
    struct device *dev = c->device_obj->data;

    (void)d;
    dev->procs.GetImageMemoryRequirements2(c->device, c->pInfo, c->pMemoryRequirements);
    allow(dev, &c->pMemoryRequirements->memoryRequirements, image_external(dev, c->pInfo->image));
}

void cmd_vkGetDeviceBufferMemoryRequirements(struct decoder *d,
                                             struct wire_vkGetDeviceBufferMemoryRequirements *c)
{
    struct device *dev = c->device_obj->data;
    VkBufferCreateInfo *info = (VkBufferCreateInfo *)c->pInfo->pCreateInfo;

    if (!dev->procs.GetDeviceBufferMemoryRequirements) {
        decoder_fail(d, "vkGetDeviceBufferMemoryRequirements: the host driver has no such command");
        return;
    }
    if (made(d, buffer_make_external(dev, &d->arena, info))) {
        dev->procs.GetDeviceBufferMemoryRequirements(c->device, c->pInfo, c->pMemoryRequirements);
        allow(dev, &c->pMemoryRequirements->memoryRequirements, buffer_is_external(dev, info));
    }
}

void cmd_vkGetDeviceImageMemoryRequirements(struct decoder *d,
                                            struct wire_vkGetDeviceImageMemoryRequirements *c)
{
    struct device *dev = c->device_obj->data;
    VkImageCreateInfo *info = (VkImageCreateInfo *)c->pInfo->pCreateInfo;

    if (!dev->procs.GetDeviceImageMemoryRequirements) {
        decoder_fail(d, "vkGetDeviceImageMemoryRequirements: the host driver has no such command");
        return;
    }
    if (made(d, image_make_external(dev, &d->arena, info))) {
        dev->procs.GetDeviceImageMemoryRequirements(c->device, c->pInfo, c->pMemoryRequirements);
        allow(dev, &c->pMemoryRequirements->memoryRequirements, image_is_external(dev, info));
    }
}

/* Answers about an image that does not exist yet must be those of the one that will. */
bool prepare_vkGetDeviceImageSubresourceLayout(struct decoder *d,
                                               struct wire_vkGetDeviceImageSubresourceLayout *c)
{
    return made(d, image_make_external(c->device_obj->data, &d->arena,
                                       (VkImageCreateInfo *)c->pInfo->pCreateInfo));
}

bool prepare_vkGetDeviceImageSparseMemoryRequirements(
    struct decoder *d, struct wire_vkGetDeviceImageSparseMemoryRequirements *c)
{
    return made(d, image_make_external(c->device_obj->data, &d->arena,
                                       (VkImageCreateInfo *)c->pInfo->pCreateInfo));
}

/* ---- host copies ------------------------------------------------------------------------ */

/* Bytes of a region in the driver's own layout, which only the driver knows. */
static int memcpy_size(struct device *dev, VkImage handle, const struct image *image,
                       const VkImageSubresourceLayers *s, uint64_t *ret_size)
{
    const struct wire_procs *vk = &dev->procs;
    const VkImageSubresource2 subresource = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_SUBRESOURCE_2,
        .imageSubresource = { s->aspectMask, s->mipLevel, s->baseArrayLayer },
    };
    VkSubresourceHostMemcpySize size = { .sType = VK_STRUCTURE_TYPE_SUBRESOURCE_HOST_MEMCPY_SIZE };
    VkSubresourceLayout2 layout = {
        .sType = VK_STRUCTURE_TYPE_SUBRESOURCE_LAYOUT_2,
        .pNext = &size,
    };
    uint32_t layers = s->layerCount;

    if (!vk->GetImageSubresourceLayout2) {
        return -ENOTSUP;
    }
    if (s->mipLevel >= image->mip_levels || s->baseArrayLayer >= image->array_layers) {
        return -EINVAL;
    }
    if (layers == VK_REMAINING_ARRAY_LAYERS) {
        layers = image->array_layers - s->baseArrayLayer;
    }
    if (layers == 0 || layers > image->array_layers - s->baseArrayLayer) {
        return -EINVAL;
    }
    vk->GetImageSubresourceLayout2(vk->device, handle, &subresource, &layout);
    return size.size != 0 && checked_mul(size.size, layers, ret_size) ? 0 : -ENOTSUP;
}

/* Does the region fit in `size` bytes of memory? Fails the command if not. */
static bool region_fits(struct decoder *d, const char *command, struct device *dev, VkImage handle,
                        VkHostImageCopyFlags flags, const struct image_region *r, uint64_t size)
{
    struct image image;
    uint64_t need = 0;
    int err;

    if (!handle || !handle_map_get(&dev->images, (uint64_t)handle, &image)) {
        decoder_fail(d, "%s: the image is not for host copies", command);
        return false;
    }
    err = flags & VK_HOST_IMAGE_COPY_MEMCPY_BIT
              ? memcpy_size(dev, handle, &image, &r->subresource, &need)
              : image_region_size(&image, r, &need);
    if (err < 0) {
        decoder_fail(d, "%s: %u x %u x %u of mip %u, aspect 0x%x, %s", command, r->extent.width,
                     r->extent.height, r->extent.depth, r->subresource.mipLevel,
                     r->subresource.aspectMask,
                     err == -ENOTSUP ? "has a size that is not known" : "is not in the image");
        return false;
    }
    if (need > size) {
        decoder_fail(d, "%s: the region takes %llu bytes, there are %llu", command,
                     (unsigned long long)need, (unsigned long long)size);
        return false;
    }
    return true;
}

void cmd_vkCopyImageToMemoryMESA(struct decoder *d, struct wire_vkCopyImageToMemoryMESA *c)
{
    struct device *dev = c->device_obj->data;
    const VkCopyImageToMemoryInfoMESA *from = c->pCopyImageToMemoryInfo;
    const struct image_region shape = {
        .row_length = from->memoryRowLength,
        .image_height = from->memoryImageHeight,
        .subresource = from->imageSubresource,
        .offset = from->imageOffset,
        .extent = from->imageExtent,
    };
    const VkImageToMemoryCopy region = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_TO_MEMORY_COPY,
        .pHostPointer = c->pData,
        .memoryRowLength = from->memoryRowLength,
        .memoryImageHeight = from->memoryImageHeight,
        .imageSubresource = from->imageSubresource,
        .imageOffset = from->imageOffset,
        .imageExtent = from->imageExtent,
    };
    const VkCopyImageToMemoryInfo info = {
        .sType = VK_STRUCTURE_TYPE_COPY_IMAGE_TO_MEMORY_INFO,
        .flags = from->flags,
        .srcImage = from->srcImage,
        .srcImageLayout = from->srcImageLayout,
        .regionCount = 1,
        .pRegions = &region,
    };

    if (!dev->procs.CopyImageToMemory) {
        decoder_fail(d, "vkCopyImageToMemoryMESA: the host driver has no host image copies");
        return;
    }
    if (region_fits(d, "vkCopyImageToMemoryMESA", dev, from->srcImage, from->flags, &shape,
                    c->dataSize)) {
        c->ret = dev->procs.CopyImageToMemory(c->device, &info);
    }
}

void cmd_vkCopyMemoryToImageMESA(struct decoder *d, struct wire_vkCopyMemoryToImageMESA *c)
{
    struct device *dev = c->device_obj->data;
    const VkCopyMemoryToImageInfoMESA *from = c->pCopyMemoryToImageInfo;
    VkMemoryToImageCopy *regions = decode_alloc(d, from->regionCount, sizeof(*regions));
    const VkCopyMemoryToImageInfo info = {
        .sType = VK_STRUCTURE_TYPE_COPY_MEMORY_TO_IMAGE_INFO,
        .flags = from->flags,
        .dstImage = from->dstImage,
        .dstImageLayout = from->dstImageLayout,
        .regionCount = from->regionCount,
        .pRegions = regions,
    };

    if (!regions) {
        return;
    }
    if (!dev->procs.CopyMemoryToImage) {
        decoder_fail(d, "vkCopyMemoryToImageMESA: the host driver has no host image copies");
        return;
    }
    for (uint32_t i = 0; i < from->regionCount; i++) {
        const VkMemoryToImageCopyMESA *r = &from->pRegions[i];
        const struct image_region shape = {
            .row_length = r->memoryRowLength,
            .image_height = r->memoryImageHeight,
            .subresource = r->imageSubresource,
            .offset = r->imageOffset,
            .extent = r->imageExtent,
        };

        if (!region_fits(d, "vkCopyMemoryToImageMESA", dev, from->dstImage, from->flags, &shape,
                         r->dataSize)) {
            return;
        }
        regions[i] = (VkMemoryToImageCopy){
            .sType = VK_STRUCTURE_TYPE_MEMORY_TO_IMAGE_COPY,
            .pHostPointer = r->pData,
            .memoryRowLength = r->memoryRowLength,
            .memoryImageHeight = r->memoryImageHeight,
            .imageSubresource = r->imageSubresource,
            .imageOffset = r->imageOffset,
            .imageExtent = r->imageExtent,
        };
    }
    c->ret = dev->procs.CopyMemoryToImage(c->device, &info);
}
