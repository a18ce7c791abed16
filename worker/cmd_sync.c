/*
 * Semaphores and fences: creation, waits that can be ended, and the protocol's own commands for
 * payloads that travel as sync files. The guest's kernel makes the files out of virtqueue fences;
 * what reaches us is only how the host's object is to follow:
 *
 *   vkImportSemaphoreResourceMESA  the object has a temporary payload, signalled already
 *   vkWaitSemaphoreResourceMESA    the payload left the object: consume it
 *   vkResetFenceResourceMESA       the payload left the object: it is unsignalled
 *
 * The driver's own SYNC_FD functions do that where it has them. Where not, we do (rule 12 of the
 * house): semaphores.h tells how for the first two. The third: the object gets a fresh host fence
 * and the old one, which the device may yet signal, is destroyed once it is. Nothing waits.
 */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "wire/commands.h"
#include "wire/mesa.h"
#include "wire/objects.h"
#include "worker/chain.h"
#include "worker/context.h"
#include "worker/decoder.h"
#include "worker/device.h"
#include "worker/queue.h"

/* How long a wait may not notice that its ring or context ends. */
#define SLICE_NS 100000000ull

/* ---- creation --------------------------------------------------------------------------- */

bool prepare_vkCreateSemaphore(struct decoder *d, struct wire_vkCreateSemaphore *c)
{
    const struct device *dev = c->device_obj->data;
    VkExportSemaphoreCreateInfo *export =
        chain_find(c->pCreateInfo, VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO);

    (void)d;
    if (export && !dev->physical->semaphore_export) {
        export->handleTypes = 0; /* done here: see created_vkCreateSemaphore */
    }
    return true;
}

void created_vkCreateSemaphore(struct decoder *d, struct wire_vkCreateSemaphore *c,
                               struct object *o)
{
    struct device *dev = c->device_obj->data;

    if (!dev->physical->semaphore_export &&
        chain_find(c->pCreateInfo, VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO) &&
        semaphores_track(&dev->semaphores, (VkSemaphore)o->handle) < 0) {
        decoder_no_memory(d, 0);
    }
}

void cmd_vkDestroySemaphore(struct decoder *d, struct wire_vkDestroySemaphore *c)
{
    struct device *dev = c->device_obj->data;
    struct object *o = c->semaphore_obj;

    if (o && objects_remove(d->objects, o, NULL, NULL)) {
        semaphores_forget(&dev->semaphores, (VkSemaphore)o->handle);
        wire_destroy_object(o);
    }
}

bool prepare_vkCreateFence(struct decoder *d, struct wire_vkCreateFence *c)
{
    const struct device *dev = c->device_obj->data;
    VkExportFenceCreateInfo *export =
        chain_find(c->pCreateInfo, VK_STRUCTURE_TYPE_EXPORT_FENCE_CREATE_INFO);

    (void)d;
    if (export && !dev->physical->fence_export) {
        export->handleTypes = 0;
    }
    return true;
}

/* ---- waits ------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A wait of the guest's length, in slices. */
struct wait {
    VkDevice device;
    union {
        PFN_vkWaitForFences fences;
        PFN_vkWaitSemaphores semaphores;
    } host;
    uint32_t n_fences;
    const VkFence *fences;
    VkBool32 all;
    const VkSemaphoreWaitInfo *semaphores; /* NULL: fences */
};

static VkResult wait_slice(const struct wait *w, uint64_t timeout)
{
    return w->semaphores ? w->host.semaphores(w->device, w->semaphores, timeout)
                         : w->host.fences(w->device, w->n_fences, w->fences, w->all, timeout);
}

/*
 * Most waits come when the guest knows already that they are over: the first look is enough.
 * Longer ones hold no object of the table meanwhile: handles and entry points were copied.
 */
static VkResult wait_sliced(struct decoder *d, const struct wait *w, uint64_t timeout)
{
    const uint64_t start = now_ns();
    VkResult result = wait_slice(w, 0);

    if (result != VK_TIMEOUT || timeout == 0) {
        return result;
    }
    objects_sleep(d->objects, &d->reader);
    while (result == VK_TIMEOUT && !decoder_stopping(d)) {
        const uint64_t waited = now_ns() - start;

        if (waited >= timeout) {
            break;
        }
        result = wait_slice(w, MIN(timeout - waited, SLICE_NS));
    }
    objects_wake(d->objects, &d->reader);
    d->device = NULL;
    return result;
}

void cmd_vkWaitForFences(struct decoder *d, struct wire_vkWaitForFences *c)
{
    const struct wire_procs *vk = c->device_obj->vk;
    const struct wait w = {
        .device = c->device,
        .host.fences = vk->WaitForFences,
        .n_fences = c->fenceCount,
        .fences = c->pFences,
        .all = c->waitAll,
    };

    c->ret = wait_sliced(d, &w, c->timeout);
}

void cmd_vkWaitSemaphores(struct decoder *d, struct wire_vkWaitSemaphores *c)
{
    const struct wire_procs *vk = c->device_obj->vk;
    const struct wait w = {
        .device = c->device,
        .host.semaphores = vk->WaitSemaphores,
        .semaphores = c->pWaitInfo,
    };

    if (!vk->WaitSemaphores) {
        decoder_fail(d, "vkWaitSemaphores: the host driver has no such command");
        return;
    }
    c->ret = wait_sliced(d, &w, c->timeout);
}

/* ---- the protocol's own ----------------------------------------------------------------- */

void cmd_vkImportSemaphoreResourceMESA(struct decoder *d,
                                       struct wire_vkImportSemaphoreResourceMESA *c)
{
    struct device *dev = c->device_obj->data;
    const struct wire_procs *vk = &dev->procs;
    const VkImportSemaphoreResourceInfoMESA *from = c->pImportSemaphoreResourceInfo;
    const VkImportSemaphoreFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_SEMAPHORE_FD_INFO_KHR,
        .semaphore = from->semaphore,
        .flags = VK_SEMAPHORE_IMPORT_TEMPORARY_BIT,
        .handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
        .fd = -1, /* signalled already */
    };

    if (from->resourceId != 0) {
        decoder_fail(d, "vkImportSemaphoreResourceMESA: resource %u, only 0 (signalled) is known",
                     from->resourceId);
        return;
    }
    if (!from->semaphore) {
        decoder_fail(d, "vkImportSemaphoreResourceMESA: no semaphore");
        return;
    }
    if (dev->physical->semaphore_import && vk->ImportSemaphoreFdKHR) {
        VkResult result = vk->ImportSemaphoreFdKHR(vk->device, &info);

        if (result != VK_SUCCESS) {
            decoder_fail(d, "vkImportSemaphoreResourceMESA: the host says %d", (int)result);
        }
        return;
    }
    if (semaphores_mark(&dev->semaphores, from->semaphore) < 0) {
        decoder_no_memory(d, 0);
    }
}

/* Consumes the payload by waiting for it on a queue, behind its signal if we know where that is.
 * Without that, any queue will do, though later work there waits too. */
static VkResult consume_on_queue(struct device *dev, VkSemaphore semaphore)
{
    const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .waitSemaphoreCount = 1,
        .pWaitSemaphores = &semaphore,
        .pWaitDstStageMask = &stage,
    };
    struct queue *q = semaphores_signaller(&dev->semaphores, semaphore);

    if (!q && !list_empty(&dev->queues)) {
        q = list_entry(dev->queues.next, struct queue, link);
    }
    if (!q) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    LOCK_SCOPE(&q->lock);
    q->fenced = false;
    return q->vk->QueueSubmit(q->handle, 1, &submit, VK_NULL_HANDLE);
}

void cmd_vkWaitSemaphoreResourceMESA(struct decoder *d, struct wire_vkWaitSemaphoreResourceMESA *c)
{
    struct device *dev = c->device_obj->data;
    const struct wire_procs *vk = &dev->procs;
    const VkSemaphoreGetFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_GET_FD_INFO_KHR,
        .semaphore = c->semaphore,
        .handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    AUTO_CLOSE int fd = -1;
    VkResult result;

    if (!c->semaphore) {
        decoder_fail(d, "vkWaitSemaphoreResourceMESA: no semaphore");
        return;
    }
    if (semaphores_any_marked(&dev->semaphores) &&
        semaphores_unmark(&dev->semaphores, c->semaphore)) {
        return;
    }
    if (dev->physical->semaphore_export && vk->GetSemaphoreFdKHR) {
        result = vk->GetSemaphoreFdKHR(vk->device, &info, &fd);
    } else {
        result = consume_on_queue(dev, c->semaphore);
    }
    if (result != VK_SUCCESS) {
        decoder_fail(d, "vkWaitSemaphoreResourceMESA: the host says %d", (int)result);
    }
}

void cmd_vkResetFenceResourceMESA(struct decoder *d, struct wire_vkResetFenceResourceMESA *c)
{
    struct device *dev = c->device_obj->data;
    const struct wire_procs *vk = &dev->procs;
    const VkFenceGetFdInfoKHR get = {
        .sType = VK_STRUCTURE_TYPE_FENCE_GET_FD_INFO_KHR,
        .fence = c->fence,
        .handleType = VK_EXTERNAL_FENCE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    const VkFenceCreateInfo create = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    AUTO_CLOSE int fd = -1;
    VkFence fresh;
    VkResult result;

    if (!c->fence_obj) {
        decoder_fail(d, "vkResetFenceResourceMESA: no fence");
        return;
    }
    if (dev->physical->fence_export && vk->GetFenceFdKHR) {
        result = vk->GetFenceFdKHR(vk->device, &get, &fd);
    } else if (vk->GetFenceStatus(vk->device, c->fence) != VK_NOT_READY) {
        result = vk->ResetFences(vk->device, 1, &c->fence);
    } else {
        result = vk->CreateFence(vk->device, &create, NULL, &fresh);
        if (result == VK_SUCCESS) {
            /* Other threads may look at the object, though a valid guest's do not now. */
            __atomic_store_n(&c->fence_obj->handle, (uint64_t)fresh, __ATOMIC_RELEASE);
            device_park_fence(dev, c->fence);
        }
    }
    if (result != VK_SUCCESS) {
        decoder_fail(d, "vkResetFenceResourceMESA: the host says %d", (int)result);
    }
}
