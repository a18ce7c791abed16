#include "worker/memory.h"

#include <errno.h>
#include <stdlib.h>

#include "ipc/cleanup.h"
#include "worker/backing.h"
#include "worker/context.h"
#include "worker/device.h"
#include "worker/resources.h"

/* How the VMM should map it for the guest. */
static uint32_t map_info(const struct memory *m, uint32_t blob_flags)
{
    const VkMemoryPropertyFlags cached =
        VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

    if (!(blob_flags & BLOB_MAPPABLE)) {
        return MAP_INFO_NONE;
    }
    /* A memfd's pages are ordinary memory, whatever the type says about the driver's own. */
    if (m->backing == &backing_host_pointer || (m->flags & cached) == cached) {
        return MAP_INFO_CACHED;
    }
    return MAP_INFO_WC;
}

static int export_locked(struct memory *m, uint64_t size, uint32_t blob_flags,
                         struct memory_blob *ret_blob)
{
    struct memory_blob blob = { .fd = -1 };
    int r;

    if (m->freed) {
        return -ENOENT;
    }
    if (m->exported) {
        return -EALREADY;
    }
    if (size == 0 ||
        ((blob_flags & BLOB_MAPPABLE) && !(m->flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT))) {
        return -EINVAL;
    }
    if ((blob_flags & BLOB_CROSS_DEVICE) && m->backing != &backing_dma_buf) {
        return -ENOTSUP; /* another device can use a dma-buf, nothing else */
    }
    r = m->backing->export_fd(m, size, &blob);
    if (r < 0) {
        return r;
    }
    m->exported = true;
    blob.charge = m->charge ? charge_ref(m->charge) : NULL;
    blob.map_info = map_info(m, blob_flags);
    *ret_blob = blob;
    return 0;
}

int memory_export(struct context *ctx, uint64_t memory_id, uint64_t size, uint32_t blob_flags,
                  struct memory_blob *ret_blob)
{
    struct object *o = objects_find(&ctx->objects, memory_id, VK_OBJECT_TYPE_DEVICE_MEMORY);
    struct memory *m;

    if (!o) {
        return -ENOENT;
    }
    m = o->data; /* stays: this thread's reader is awake while it runs a request */
    LOCK_SCOPE(&m->lock);
    return export_locked(m, size, blob_flags, ret_blob);
}

void memory_end(struct memory *m)
{
    const struct wire_procs *vk = &m->device->procs;
    LOCK_SCOPE(&m->lock); /* an export on the context thread finishes first */

    if (m->freed) {
        return;
    }
    m->freed = true;
    vk->FreeMemory(vk->device, m->handle, NULL);
    m->backing->release(m);
    m->charge = charge_unref(m->charge);
}

void memory_free(void *data)
{
    struct memory *m = data;

    if (m) {
        charge_unref(m->charge); /* of one that was never ended: the context went first */
        pthread_mutex_destroy(&m->lock);
        free(m);
    }
}
