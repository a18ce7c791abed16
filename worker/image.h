/*
 * Buffers and images that may be bound to memory with a backing (backing.h), and what the
 * commands that read or write image contents on the host must know of an image.
 */
#ifndef CORDON_WORKER_IMAGE_H
#define CORDON_WORKER_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

struct arena;
struct device;

#define BUFFER_CREATE_SPARSE_BITS                                                  \
    (VK_BUFFER_CREATE_SPARSE_BINDING_BIT | VK_BUFFER_CREATE_SPARSE_RESIDENCY_BIT | \
     VK_BUFFER_CREATE_SPARSE_ALIASED_BIT)
#define IMAGE_CREATE_SPARSE_BITS                                                 \
    (VK_IMAGE_CREATE_SPARSE_BINDING_BIT | VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT | \
     VK_IMAGE_CREATE_SPARSE_ALIASED_BIT)

/* What device::images knows of an image. */
struct image {
    bool external; /* made for backings::kind */
    VkFormat format;
    VkExtent3D extent;
    uint32_t mip_levels, array_layers;
};

/*
 * Adds the device's handle type to a creation that lies in the arena, if the driver can make such
 * a resource with it. False: the arena is exhausted.
 */
bool buffer_make_external(struct device *dev, struct arena *a, VkBufferCreateInfo *info);
bool image_make_external(struct device *dev, struct arena *a, VkImageCreateInfo *info);
/* Was it added (or asked for by the guest)? True also when the device needs nothing of the kind. */
bool buffer_is_external(const struct device *dev, const VkBufferCreateInfo *info);
bool image_is_external(const struct device *dev, const VkImageCreateInfo *info);

/* One region of a host copy, as far as its size in memory goes. */
struct image_region {
    uint32_t row_length, image_height; /* in texels; 0: tight */
    VkImageSubresourceLayers subresource;
    VkOffset3D offset;
    VkExtent3D extent;
};

/* Bytes in memory from the region's first to its last. -EINVAL: it does not lie in the image, or
 * makes no sense for it; -ENOTSUP: the format is not known. Pure. */
int image_region_size(const struct image *image, const struct image_region *r, uint64_t *ret_size);

#endif
