/* vkAllocateMemory: choose what stands behind it, prepare the host's call, commit. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "wire/commands.h"
#include "wire/mesa.h"
#include "worker/backing.h"
#include "worker/chain.h"
#include "worker/context.h"
#include "worker/decoder.h"
#include "worker/device.h"
#include "worker/resources.h"

/* The kind for memory that the guest wants to share. False: the driver cannot. */
static bool choose_shared(const struct backings *b, VkExternalMemoryHandleTypeFlags types,
                          enum backing_kind *ret)
{
    if (types & ~(VkExternalMemoryHandleTypeFlags)(VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT |
                                                   VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT)) {
        return false;
    }
    if ((types & VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT) && !b->opaque_fd) {
        return false;
    }
    if (types & VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT) {
        *ret = BACKING_DMA_BUF;
        return b->dma_buf;
    }
    /* A dma-buf as well, if it can be both: that one every VMM can map. */
    *ret = b->dma_buf_and_opaque ? BACKING_DMA_BUF : BACKING_OPAQUE_FD;
    return true;
}

/* Must the resource have an allocation of its own? */
static bool requires_dedicated(const struct wire_procs *vk,
                               const VkMemoryDedicatedAllocateInfo *dedicated)
{
    VkMemoryDedicatedRequirements answer = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_REQUIREMENTS,
    };
    VkMemoryRequirements2 requirements = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2,
        .pNext = &answer,
    };
    const VkImageMemoryRequirementsInfo2 image = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_REQUIREMENTS_INFO_2,
        .image = dedicated->image,
    };
    const VkBufferMemoryRequirementsInfo2 buffer = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_MEMORY_REQUIREMENTS_INFO_2,
        .buffer = dedicated->buffer,
    };

    if (dedicated->image) {
        vk->GetImageMemoryRequirements2(vk->device, &image, &requirements);
    } else if (dedicated->buffer) {
        vk->GetBufferMemoryRequirements2(vk->device, &buffer, &requirements);
    }
    return answer.requiresDedicatedAllocation;
}

/*
 * Can this allocation be made of imported pages? Their size is a multiple of the driver's
 * alignment, but a dedicated allocation's size must be its resource's: a wish for one is then
 * dropped, and a need for one is respected. An address to be replayed may not go with an import.
 */
static bool fits_host_pointer(struct device *dev, VkMemoryAllocateInfo *info)
{
    const VkMemoryOpaqueCaptureAddressAllocateInfo *address =
        chain_find(info, VK_STRUCTURE_TYPE_MEMORY_OPAQUE_CAPTURE_ADDRESS_ALLOCATE_INFO);
    const VkMemoryDedicatedAllocateInfo *dedicated =
        chain_find(info, VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO);

    if (address && address->opaqueCaptureAddress != 0) {
        return false;
    }
    if (dedicated && info->allocationSize % MAX(dev->backings.alignment, 4096) != 0) {
        if (requires_dedicated(&dev->procs, dedicated)) {
            return false;
        }
        chain_drop(info, VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO);
    }
    return true;
}

static enum backing_kind choose_own(struct device *dev, VkMemoryAllocateInfo *info)
{
    const struct backings *b = &dev->backings;
    const enum backing_kind kind = b->of_type[info->memoryTypeIndex];

    if (kind != BACKING_HOST_POINTER || fits_host_pointer(dev, info)) {
        return kind;
    }
    return b->dma_buf ? BACKING_DMA_BUF : b->opaque_fd ? BACKING_OPAQUE_FD : BACKING_PLAIN;
}

/* A descriptor of the resource for the driver, which takes it if the allocation succeeds. */
static VkResult import_fd(struct arena *a, VkMemoryAllocateInfo *info, const struct resource *r,
                          int *ret_fd)
{
    VkImportMemoryFdInfoKHR *import = arena_alloc(a, sizeof(*import));

    if (!import) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    *ret_fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 3);
    if (*ret_fd < 0) {
        return VK_ERROR_TOO_MANY_OBJECTS;
    }
    import->sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR;
    import->handleType = r->kind == RESOURCE_DMABUF ? VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT
                                                    : VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
    import->fd = *ret_fd;
    chain_push(info, import);
    return VK_SUCCESS;
}

/* What stands behind memory made of a resource. *ret_fd: see import_fd. */
static VkResult attach_import(struct decoder *d, struct memory *m, VkMemoryAllocateInfo *info,
                              uint32_t resource_id, int *ret_fd)
{
    const struct backings *b = &m->device->backings;
    const VkExportMemoryAllocateInfo *export =
        chain_find(info, VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO);
    struct resource *r = resources_get(&d->ctx->resources, resource_id);
    VkResult result;

    if (!r) {
        decoder_fail(d, "vkAllocateMemory: there is no resource %u", resource_id);
        return VK_ERROR_INVALID_EXTERNAL_HANDLE;
    }
    chain_drop(info, VK_STRUCTURE_TYPE_IMPORT_MEMORY_RESOURCE_INFO_MESA);
    if (r->kind == RESOURCE_SHM) {
        m->backing = &backing_host_pointer;
        result = b->host_pointer_types & (1u << info->memoryTypeIndex)
                     ? backing_attach_resource(m, &d->arena, info, r)
                     : VK_ERROR_INVALID_EXTERNAL_HANDLE;
    } else if (r->fd < 0 || !m->device->procs.GetMemoryFdKHR) {
        result = VK_ERROR_INVALID_EXTERNAL_HANDLE;
    } else {
        /* The resource itself is what the guest maps; an export makes another one. */
        m->backing =
            export && export->handleTypes && b->dma_buf ? &backing_dma_buf : &backing_plain;
        result = import_fd(&d->arena, info, r, ret_fd);
    }
    resource_unref(r);
    return result;
}

static void say_over_budget(struct decoder *d, uint64_t size, uint64_t usual)
{
    static struct log_limit limit = LOG_LIMIT_INIT(3, 60000);
    const struct budget *b = &d->ctx->budget;

    log_limited(&limit, LOG_LEVEL_WARN, 0,
                "limit memory: the guest holds %" PRIu64 " MiB of device memory and wants %" PRIu64
                " more, the limit is %" PRIu64 "; it is told that there is none left",
                (uint64_t)atomic_load(b->used) >> 20, size >> 20, (b->max ? b->max : usual) >> 20);
}

static VkResult attach(struct decoder *d, struct memory *m, VkMemoryAllocateInfo *info, int *ret_fd)
{
    const VkImportMemoryResourceInfoMESA *import =
        chain_find(info, VK_STRUCTURE_TYPE_IMPORT_MEMORY_RESOURCE_INFO_MESA);
    const VkExportMemoryAllocateInfo *export =
        chain_find(info, VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO);
    const struct physical *p = m->device->physical;
    enum backing_kind kind;

    if (import) {
        return attach_import(d, m, info, import->resourceId, ret_fd);
    }
    m->charge = budget_take(&d->ctx->budget, info->allocationSize, physical_budget(p));
    if (!m->charge) {
        say_over_budget(d, info->allocationSize, physical_budget(p));
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    if (info->allocationSize >
        p->memory.memoryHeaps[p->memory.memoryTypes[info->memoryTypeIndex].heapIndex].size) {
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    if (!export || export->handleTypes == 0) {
        kind = choose_own(m->device, info);
    } else if (!choose_shared(&m->device->backings, export->handleTypes, &kind)) {
        return VK_ERROR_INVALID_EXTERNAL_HANDLE;
    }
    m->backing = backing_of(kind);
    return m->backing->attach(m, &d->arena, info);
}

/* `info` lies in the arena and is ours to change. */
static VkResult allocate(struct decoder *d, struct device *dev, VkMemoryAllocateInfo *info,
                         struct memory **ret)
{
    const struct wire_procs *vk = &dev->procs;
    AUTO_CLOSE int import_fd = -1;
    struct memory *m;
    VkResult result;

    if (info->memoryTypeIndex >= dev->physical->memory.memoryTypeCount ||
        info->allocationSize == 0) {
        return VK_ERROR_UNKNOWN;
    }
    m = calloc(1, sizeof(*m));
    if (!m) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    m->backing = &backing_plain;
    m->device = dev;
    m->type = info->memoryTypeIndex;
    m->flags = dev->physical->memory.memoryTypes[m->type].propertyFlags;
    m->fd = -1;
    pthread_mutex_init(&m->lock, NULL);
    result = attach(d, m, info, &import_fd);
    if (result == VK_SUCCESS) {
        m->size = info->allocationSize;
        result = vk->AllocateMemory(vk->device, info, NULL, &m->handle);
        if (result == VK_SUCCESS) {
            import_fd = -1; /* the driver's now */
        } else {
            m->backing->release(m);
        }
    }
    if (result != VK_SUCCESS) {
        memory_free(m);
        return result;
    }
    *ret = m;
    return VK_SUCCESS;
}

/* Mesa's guest driver does not wait for the result, so its id goes on living in the guest: what
 * stands for it can be freed, and nothing else. */
static void note_failure(struct decoder *d, const struct wire_vkAllocateMemory *c)
{
    static struct log_limit limit = LOG_LIMIT_INIT(3, 60000);
    struct object *o = object_new(*c->pMemory, OBJECT_TYPE_NEVER_MADE, 0, c->device_obj);

    log_limited(&limit, LOG_LEVEL_WARN, 0,
                "vkAllocateMemory: %" PRIu64 " bytes: VkResult %d, and the guest did not wait to "
                "hear it",
                c->pAllocateInfo->allocationSize, c->ret);
    if (o && objects_insert(d->objects, o) < 0) {
        object_drop(o);
    }
}

void cmd_vkAllocateMemory(struct decoder *d, struct wire_vkAllocateMemory *c)
{
    struct memory *m = NULL;
    struct object *o;
    int r;

    if (!objects_id_free(d->objects, *c->pMemory)) {
        decoder_fail(d, "vkAllocateMemory: id %llu is in use", (unsigned long long)*c->pMemory);
        return;
    }
    c->ret = allocate(d, c->device_obj->data, (VkMemoryAllocateInfo *)c->pAllocateInfo, &m);
    if (c->ret != VK_SUCCESS) {
        if (!d->failed && !(d->flags & WIRE_FLAG_REPLY)) {
            note_failure(d, c);
        }
        return;
    }
    o = object_new(*c->pMemory, VK_OBJECT_TYPE_DEVICE_MEMORY, (uint64_t)m->handle, c->device_obj);
    if (!o) {
        memory_end(m);
        memory_free(m);
        c->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
        return;
    }
    o->data = m;
    o->data_free = memory_free;
    r = objects_insert(d->objects, o);
    if (r < 0) {
        memory_end(m);
        object_drop(o);
        c->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
        if (r == -EEXIST) {
            decoder_fail(d, "vkAllocateMemory: id %llu is in use", (unsigned long long)*c->pMemory);
        }
    }
}

void cmd_vkFreeMemory(struct decoder *d, struct wire_vkFreeMemory *c)
{
    if (c->memory_obj && objects_remove(d->objects, c->memory_obj, NULL, NULL)) {
        memory_end(c->memory_obj->data);
    }
}

void cmd_vkGetMemoryResourcePropertiesMESA(struct decoder *d,
                                           struct wire_vkGetMemoryResourcePropertiesMESA *c)
{
    struct device *dev = c->device_obj->data;
    const struct wire_procs *vk = &dev->procs;
    VkMemoryResourceAllocationSizePropertiesMESA *size =
        chain_find(c->pMemoryResourceProperties,
                   VK_STRUCTURE_TYPE_MEMORY_RESOURCE_ALLOCATION_SIZE_PROPERTIES_MESA);
    VkMemoryFdPropertiesKHR properties = { .sType = VK_STRUCTURE_TYPE_MEMORY_FD_PROPERTIES_KHR };
    struct resource *r = resources_get(&d->ctx->resources, c->resourceId);

    if (!r) {
        decoder_fail(d, "vkGetMemoryResourcePropertiesMESA: there is no resource %u",
                     c->resourceId);
        return;
    }
    if (r->kind == RESOURCE_DMABUF && vk->GetMemoryFdPropertiesKHR) {
        c->ret =
            vk->GetMemoryFdPropertiesKHR(vk->device, VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT,
                                         r->fd, &properties);
    } else if (r->kind == RESOURCE_SHM && dev->backings.host_pointer_types) {
        properties.memoryTypeBits = dev->backings.host_pointer_types;
        c->ret = VK_SUCCESS;
    } else {
        c->ret = VK_ERROR_INVALID_EXTERNAL_HANDLE;
    }
    if (c->ret == VK_SUCCESS) {
        c->pMemoryResourceProperties->memoryTypeBits = properties.memoryTypeBits;
        if (size) {
            size->allocationSize = r->size;
        }
    }
    resource_unref(r);
}
