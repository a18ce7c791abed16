/* Devices and their queues. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "wire/commands.h"
#include "wire/mesa.h"
#include "worker/chain.h"
#include "worker/command_heap.h"
#include "worker/context.h"
#include "worker/decoder.h"
#include "worker/device.h"
#include "worker/limits.h"
#include "worker/queue.h"
#include "worker/recorder.h"
#include "worker/venus/wire.h"
#include "worker/vulkan.h"

/* Each lost device was a GPU that hung or crashed, for everybody who uses it. The server keeps the
 * VM's account; this stops a guest that stays in one context. */
static bool lost_too_often(const struct context *ctx)
{
    const uint64_t lost = atomic_load(&ctx->recorder->page->devices_lost);
    const uint32_t most = limits_from_server.lost;

    if (most == 0 || lost < most) {
        return false;
    }
    log_warn("limit lost: this context has lost %" PRIu64 " devices and gets no more", lost);
    return true;
}

/* `info` lies in the arena and is ours to change. */
static VkResult create_device(struct decoder *d, struct object *physical, VkDeviceCreateInfo *info,
                              struct device **ret)
{
    struct physical *p = physical->data;
    struct instance *inst = physical->parent->data;
    struct device_extensions list;
    VkDevice handle;
    VkResult result;

    if (!device_queues_fit(p, info)) {
        return VK_ERROR_UNKNOWN;
    }
    if (lost_too_often(d->ctx)) {
        return VK_ERROR_DEVICE_LOST;
    }
    list.names = decode_alloc(d, (uint64_t)info->enabledExtensionCount + DEVICE_EXTRA_EXTENSIONS,
                              sizeof(*list.names));
    if (!list.names) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    result = device_choose_extensions(p, info->ppEnabledExtensionNames, info->enabledExtensionCount,
                                      &list);
    if (result != VK_SUCCESS) {
        return result;
    }
    info->enabledExtensionCount = list.count;
    info->ppEnabledExtensionNames = list.names;
    /* Device layers are a thing of the past, which drivers ignore. */
    info->enabledLayerCount = 0;
    info->ppEnabledLayerNames = NULL;
    result = p->vk->CreateDevice(p->handle, info, NULL, &handle);
    if (result != VK_SUCCESS) {
        return result;
    }
    return device_create(d->ctx, inst, p, handle, info, ret);
}

void cmd_vkCreateDevice(struct decoder *d, struct wire_vkCreateDevice *c)
{
    struct device *dev = NULL;
    struct object *o;
    int r;

    if (!objects_id_free(d->objects, *c->pDevice)) {
        decoder_fail(d, "vkCreateDevice: id %llu is in use", (unsigned long long)*c->pDevice);
        return;
    }
    c->ret = create_device(d, c->physicalDevice_obj, (VkDeviceCreateInfo *)c->pCreateInfo, &dev);
    if (c->ret != VK_SUCCESS) {
        return;
    }
    o = object_new(*c->pDevice, VK_OBJECT_TYPE_DEVICE, (uint64_t)(uintptr_t)dev->procs.device,
                   c->physicalDevice_obj);
    if (!o) {
        dev->procs.DestroyDevice(dev->procs.device, NULL);
        device_free(dev);
        c->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
        return;
    }
    o->device = o;
    o->vk = &dev->procs;
    o->data = dev;
    o->data_free = device_free;
    r = objects_insert(d->objects, o);
    if (r < 0) {
        dev->procs.DestroyDevice(dev->procs.device, NULL);
        object_drop(o);
        c->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
        if (r == -EEXIST) {
            decoder_fail(d, "vkCreateDevice: id %llu is in use", (unsigned long long)*c->pDevice);
        }
    }
}

void cmd_vkDestroyDevice(struct decoder *d, struct wire_vkDestroyDevice *c)
{
    struct device_leftovers left = { 0 };

    if (objects_remove(d->objects, c->device_obj, device_collect, &left)) {
        device_teardown(d, c->device_obj, &left);
        free(left.objects);
    }
}

static struct queue *find_queue(const struct device *dev, const VkDeviceQueueInfo2 *info)
{
    list_for_each (link, &dev->queues) {
        struct queue *q = list_entry(link, struct queue, link);

        if (q->family == info->queueFamilyIndex && q->index == info->queueIndex &&
            q->flags == info->flags) {
            return q;
        }
    }
    return NULL;
}

void cmd_vkGetDeviceQueue2(struct decoder *d, struct wire_vkGetDeviceQueue2 *c)
{
    const VkDeviceQueueInfo2 *info = c->pQueueInfo;
    const VkDeviceQueueTimelineInfoMESA *timeline =
        chain_find(info, VK_STRUCTURE_TYPE_DEVICE_QUEUE_TIMELINE_INFO_MESA);
    struct queue *q = find_queue(c->device_obj->data, info);
    struct object *o;
    int r;

    if (!q || !timeline) {
        decoder_fail(d, "vkGetDeviceQueue2: family %u, index %u, flags %u: %s",
                     info->queueFamilyIndex, info->queueIndex, info->flags,
                     q ? "no timeline for it" : "the device has no such queue");
        return;
    }
    {
        LOCK_SCOPE(&q->lock);

        if (q->fetched) {
            decoder_fail(d, "vkGetDeviceQueue2: family %u, index %u was fetched before",
                         info->queueFamilyIndex, info->queueIndex);
            return;
        }
        q->fetched = true;
    }
    o = object_new(*c->pQueue, VK_OBJECT_TYPE_QUEUE, (uint64_t)(uintptr_t)q->handle, c->device_obj);
    if (!o) {
        decoder_no_memory(d, sizeof(*o));
        return;
    }
    o->data = q;
    o->queue_family = q->family;
    r = objects_insert(d->objects, o);
    if (r < 0) {
        object_drop(o);
        decoder_fail(d, "vkGetDeviceQueue2: id %llu cannot be used: %s",
                     (unsigned long long)*c->pQueue, strerror(-r));
        return;
    }
    r = timeline_bind(&d->ctx->timelines, timeline->ringIdx, q);
    if (r < 0) {
        decoder_fail(d, "vkGetDeviceQueue2: timeline %u %s", timeline->ringIdx,
                     r == -EBUSY ? "has a queue already" : "cannot have a queue, 1 to 63 can");
    }
}

/* ---- command pools ---------------------------------------------------------------------- */

void cmd_vkCreateCommandPool(struct decoder *d, struct wire_vkCreateCommandPool *c)
{
    const struct wire_procs *vk = c->device_obj->vk;
    VkCommandPool pool = VK_NULL_HANDLE;
    struct object *o;

    if (!wire_id_free(d, *c->pCommandPool, "pCommandPool")) {
        return;
    }
    if (!vk->CreateCommandPool) {
        wire_no_proc(d);
        return;
    }
    o = object_new(*c->pCommandPool, VK_OBJECT_TYPE_COMMAND_POOL, 0, c->device_obj);
    if (!o) {
        decoder_no_memory(d, sizeof(*o));
        return;
    }
    if (d->ctx->vulkan->command_heap) {
        o->data = command_heap_new(); /* without memory for it the driver's own will do */
        o->data_free = command_heap_free;
    }
    c->ret = vk->CreateCommandPool(c->device, c->pCreateInfo, o->data, &pool);
    if (c->ret < 0 || pool == VK_NULL_HANDLE) {
        object_drop(o);
        return;
    }
    o->handle = (uint64_t)(uintptr_t)pool;
    (void)wire_insert_object(d, o);
}
