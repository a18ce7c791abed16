/* Memory that the driver exports as a descriptor which only Vulkan, in the VMM, can map. */
#include <errno.h>
#include <inttypes.h>

#include "ipc/checked.h"
#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "worker/arena.h"
#include "worker/backing.h"
#include "worker/chain.h"
#include "worker/device.h"
#include "worker/resources.h"

static VkResult opaque_attach(struct memory *m, struct arena *a, VkMemoryAllocateInfo *info)
{
    VkExportMemoryAllocateInfo *export =
        chain_find(info, VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO);

    (void)m;
    if (export) {
        export->handleTypes |= VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
        return VK_SUCCESS;
    }
    export = arena_alloc(a, sizeof(*export));
    if (!export) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    export->sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO;
    export->handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
    chain_push(info, export);
    /* A guest maps whole pages. A dedicated allocation's size must stay as it is. */
    if (!chain_find(info, VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO) &&
        !checked_align(info->allocationSize, 4096, &info->allocationSize)) {
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    return VK_SUCCESS;
}

static int opaque_export_fd(struct memory *m, uint64_t size, struct memory_blob *ret_blob)
{
    const struct wire_procs *vk = &m->device->procs;
    static struct log_limit limit = LOG_LIMIT_INIT(3, 60000);
    VkPhysicalDeviceIDProperties ids = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES };
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &ids,
    };
    uint64_t whole;
    int r;

    if (!checked_align(m->size, 4096, &whole) || whole < size) {
        return -EINVAL;
    }
    vk->GetPhysicalDeviceProperties2(m->device->physical->handle, &properties);
    r = backing_export_handle(m, VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT, &ret_blob->fd);
    if (r < 0) {
        return r;
    }
    log_limited(&limit, LOG_LEVEL_WARN, 0,
                "a blob of %" PRIu64 " bytes leaves as an opaque descriptor: nothing else is left "
                "for memory type %u of this driver",
                size, m->type);
    ret_blob->fd_type = RESOURCE_OPAQUE;
    memcpy(ret_blob->device_uuid, ids.deviceUUID, sizeof(ret_blob->device_uuid));
    memcpy(ret_blob->driver_uuid, ids.driverUUID, sizeof(ret_blob->driver_uuid));
    ret_blob->allocation_size = m->size;
    ret_blob->memory_type_index = m->type;
    return 0;
}

static void opaque_release(struct memory *m)
{
    (void)m;
}

const struct backing backing_opaque_fd = {
    .name = "opaque fd",
    .attach = opaque_attach,
    .export_fd = opaque_export_fd,
    .release = opaque_release,
};
