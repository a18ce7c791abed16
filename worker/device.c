#include "worker/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "wire/extensions.h"
#include "wire/objects.h"
#include "worker/chain.h"
#include "worker/context.h"
#include "worker/image.h"
#include "worker/memory.h"
#include "worker/queue.h"
#include "worker/ring.h"

/* How long a wait may not notice that its ring or context ends. */
#define SLICE_NS 100000000ull

uint32_t api_version_cap(uint32_t version)
{
    if (VK_API_VERSION_MAJOR(version) != 1 || VK_API_VERSION_MINOR(version) > DEVICE_API_MINOR) {
        return VK_MAKE_API_VERSION(0, 1, DEVICE_API_MINOR, VK_API_VERSION_PATCH(version));
    }
    return VK_MAKE_API_VERSION(0, 1, VK_API_VERSION_MINOR(version), VK_API_VERSION_PATCH(version));
}

bool decoder_stopping(const struct decoder *d)
{
    return context_is_fatal(d->ctx) || (d->ring && ring_stopping(d->ring));
}

/* ---- physical devices ------------------------------------------------------------------- */

static bool has_extension(const VkExtensionProperties *all, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(all[i].extensionName, name) == 0) {
            return true;
        }
    }
    return false;
}

/* What a device has is what one context may have of it; but of the host's own memory, which is all
 * that a software driver has, a quarter is kept from it. */
uint64_t physical_budget(const struct physical *p)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < p->memory.memoryHeapCount; i++) {
        sum += p->memory.memoryHeaps[i].size;
    }
    return p->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU ? sum - sum / 4 : sum;
}

bool physical_has(const struct physical *p, const char *name)
{
    return has_extension(p->host_extensions, p->n_host_extensions, name);
}

/* What the renderer supplies if the host does not: see cmd_sync.c. */
static const char *const supplied[] = { VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME,
                                        VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME };

static bool is_supplied(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(supplied); i++) {
        if (strcmp(supplied[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void advertise(struct physical *p, const char *name, uint32_t spec_version)
{
    VkExtensionProperties *e = &p->extensions[p->n_extensions++];

    snprintf(e->extensionName, sizeof(e->extensionName), "%s", name);
    e->specVersion = spec_version;
}

static VkResult read_extensions(struct physical *p)
{
    VkResult result =
        p->vk->EnumerateDeviceExtensionProperties(p->handle, NULL, &p->n_host_extensions, NULL);

    if (result != VK_SUCCESS) {
        return result;
    }
    p->host_extensions = calloc(p->n_host_extensions + 1, sizeof(*p->host_extensions));
    p->extensions = calloc(p->n_host_extensions + ARRAY_SIZE(supplied), sizeof(*p->extensions));
    if (!p->host_extensions || !p->extensions) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    result = p->vk->EnumerateDeviceExtensionProperties(p->handle, NULL, &p->n_host_extensions,
                                                       p->host_extensions);
    if (result < 0) {
        return result;
    }
    for (uint32_t i = 0; i < p->n_host_extensions; i++) {
        const VkExtensionProperties *host = &p->host_extensions[i];
        const struct wire_extension *known = wire_extension_find(host->extensionName);

        if (known && known->advertised && !is_supplied(host->extensionName)) {
            advertise(p, host->extensionName, MIN(host->specVersion, known->spec_version));
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(supplied); i++) {
        advertise(p, supplied[i], 1);
    }
    return VK_SUCCESS;
}

static void read_sync_fd(struct physical *p)
{
    const VkPhysicalDeviceExternalSemaphoreInfo semaphore_info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_SEMAPHORE_INFO,
        .handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    const VkPhysicalDeviceExternalFenceInfo fence_info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_FENCE_INFO,
        .handleType = VK_EXTERNAL_FENCE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    VkExternalSemaphoreProperties semaphore = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_SEMAPHORE_PROPERTIES,
    };
    VkExternalFenceProperties fence = { .sType = VK_STRUCTURE_TYPE_EXTERNAL_FENCE_PROPERTIES };

    if (physical_has(p, VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME)) {
        p->vk->GetPhysicalDeviceExternalSemaphoreProperties(p->handle, &semaphore_info, &semaphore);
        p->semaphore_import =
            semaphore.externalSemaphoreFeatures & VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT;
        p->semaphore_export =
            semaphore.externalSemaphoreFeatures & VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT;
    }
    if (physical_has(p, VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME)) {
        p->vk->GetPhysicalDeviceExternalFenceProperties(p->handle, &fence_info, &fence);
        p->fence_export = fence.externalFenceFeatures & VK_EXTERNAL_FENCE_FEATURE_EXPORTABLE_BIT;
    }
}

static VkResult read_physical(struct physical *p)
{
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT,
    };
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &host,
    };
    VkResult result;

    p->api_version = api_version_cap(p->properties.apiVersion);
    p->no_sparse = p->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    result = read_extensions(p);
    if (result != VK_SUCCESS) {
        return result;
    }
    p->vk->GetPhysicalDeviceMemoryProperties(p->handle, &p->memory);
    p->vk->GetPhysicalDeviceQueueFamilyProperties(p->handle, &p->n_families, NULL);
    p->families = calloc(p->n_families + 1, sizeof(*p->families));
    if (!p->families) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    p->vk->GetPhysicalDeviceQueueFamilyProperties(p->handle, &p->n_families, p->families);
    if (physical_has(p, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME)) {
        p->vk->GetPhysicalDeviceProperties2(p->handle, &properties);
        p->host_pointer_alignment = host.minImportedHostPointerAlignment;
    }
    read_sync_fd(p);
    return VK_SUCCESS;
}

VkResult instance_read_physicals(struct instance *inst)
{
    const struct wire_procs *vk = &inst->procs;
    AUTO_FREE VkPhysicalDevice *handles = NULL;
    uint32_t n = 0;
    VkResult result = vk->EnumeratePhysicalDevices(vk->instance, &n, NULL);

    if (result != VK_SUCCESS) {
        return result;
    }
    handles = calloc(n + 1, sizeof(*handles));
    inst->physicals = calloc(n + 1, sizeof(*inst->physicals));
    if (!handles || !inst->physicals) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    result = vk->EnumeratePhysicalDevices(vk->instance, &n, handles);
    for (uint32_t i = 0; result >= 0 && i < n; i++) {
        struct physical *p = &inst->physicals[inst->n_physicals];

        p->handle = handles[i];
        p->vk = vk;
        vk->GetPhysicalDeviceProperties(p->handle, &p->properties);
        if (p->properties.apiVersion < VK_API_VERSION_1_1) {
            log_info("%s is left out: Vulkan %u.%u, 1.1 is needed", p->properties.deviceName,
                     VK_API_VERSION_MAJOR(p->properties.apiVersion),
                     VK_API_VERSION_MINOR(p->properties.apiVersion));
            continue;
        }
        inst->n_physicals++;
        result = read_physical(p);
    }
    return result < 0 ? result : VK_SUCCESS;
}

void instance_free(void *data)
{
    struct instance *inst = data;

    if (!inst) {
        return;
    }
    for (uint32_t i = 0; i < inst->n_physicals; i++) {
        free(inst->physicals[i].host_extensions);
        free(inst->physicals[i].extensions);
        free(inst->physicals[i].families);
    }
    free(inst->physicals);
    pthread_mutex_destroy(&inst->lock);
    free(inst);
}

/* ---- devices ---------------------------------------------------------------------------- */

static void add_once(struct device_extensions *list, const char *name)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (strcmp(list->names[i], name) == 0) {
            return;
        }
    }
    list->names[list->count++] = name;
}

VkResult device_choose_extensions(const struct physical *p, const char *const *asked,
                                  uint32_t n_asked, struct device_extensions *ret)
{
    /* For our own use; those with one before them stand only on that. */
    static const char *const own[] = {
        VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME,    VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME,
        VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME, VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME,
        VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME,
    };
    bool acceleration = false;

    _Static_assert(ARRAY_SIZE(own) + 1 <= DEVICE_EXTRA_EXTENSIONS, "room in the list");
    ret->count = 0;
    for (uint32_t i = 0; i < n_asked; i++) {
        const char *name = asked[i];

        if (strcmp(name, VK_KHR_DEFERRED_HOST_OPERATIONS_EXTENSION_NAME) != 0 &&
            !has_extension(p->extensions, p->n_extensions, name)) {
            return VK_ERROR_EXTENSION_NOT_PRESENT;
        }
        acceleration |= strcmp(name, VK_KHR_ACCELERATION_STRUCTURE_EXTENSION_NAME) == 0;
        /* What is on its list without being the host's is ours, done here; and deferred
         * operations are done in the guest. */
        if (physical_has(p, name)) {
            add_once(ret, name);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
        if (physical_has(p, own[i])) {
            add_once(ret, own[i]);
        }
    }
    /* A guest that does deferred operations by itself may not ask for what this one stands on. */
    if (acceleration && physical_has(p, VK_KHR_DEFERRED_HOST_OPERATIONS_EXTENSION_NAME)) {
        add_once(ret, VK_KHR_DEFERRED_HOST_OPERATIONS_EXTENSION_NAME);
    }
    return VK_SUCCESS;
}

bool device_queues_fit(const struct physical *p, const VkDeviceCreateInfo *info)
{
    for (uint32_t i = 0; i < info->queueCreateInfoCount; i++) {
        const uint32_t family = info->pQueueCreateInfos[i].queueFamilyIndex;
        uint64_t sum = 0;

        if (family >= p->n_families) {
            return false;
        }
        for (uint32_t j = 0; j <= i; j++) {
            if (info->pQueueCreateInfos[j].queueFamilyIndex == family) {
                sum += info->pQueueCreateInfos[j].queueCount;
            }
        }
        if (info->pQueueCreateInfos[i].queueCount == 0 || sum > p->families[family].queueCount) {
            return false;
        }
    }
    return true;
}

static bool fetch_queues(struct device *dev, const VkDeviceQueueCreateInfo *info)
{
    const struct wire_procs *vk = &dev->procs;

    for (uint32_t i = 0; i < info->queueCount; i++) {
        const VkDeviceQueueInfo2 which = {
            .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_INFO_2,
            .flags = info->flags,
            .queueFamilyIndex = info->queueFamilyIndex,
            .queueIndex = i,
        };
        VkQueue handle = VK_NULL_HANDLE;
        struct queue *q;

        vk->GetDeviceQueue2(vk->device, &which, &handle);
        q = handle ? queue_create(dev, handle, info->queueFamilyIndex, i, info->flags) : NULL;
        if (!q) {
            return false;
        }
        list_append(&dev->queues, &q->link);
    }
    return true;
}

/* Sizes of what drivers write into the guest's output blobs. */
static void read_blob_sizes(struct device *dev)
{
    const struct physical *p = dev->physical;
    VkPhysicalDeviceRayTracingPipelinePropertiesKHR ray = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_RAY_TRACING_PIPELINE_PROPERTIES_KHR,
    };
    VkPhysicalDeviceDescriptorHeapPropertiesEXT heap = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DESCRIPTOR_HEAP_PROPERTIES_EXT,
    };
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
    };

    if (physical_has(p, VK_KHR_RAY_TRACING_PIPELINE_EXTENSION_NAME)) {
        chain_push(&properties, &ray);
    }
    if (physical_has(p, VK_EXT_DESCRIPTOR_HEAP_EXTENSION_NAME)) {
        chain_push(&properties, &heap);
    }
    if (!properties.pNext) {
        return;
    }
    p->vk->GetPhysicalDeviceProperties2(p->handle, &properties);
    dev->group_handle_size = ray.shaderGroupHandleSize;
    dev->group_capture_size = ray.shaderGroupHandleCaptureReplaySize;
    dev->sampler_descriptor_size = heap.samplerDescriptorSize;
    dev->capture_data_size = heap.imageCaptureReplayOpaqueDataSize;
}

VkResult device_create(struct context *ctx, struct instance *inst, struct physical *p,
                       VkDevice handle, const VkDeviceCreateInfo *info, struct device **ret)
{
    struct device *dev = calloc(1, sizeof(*dev));

    if (!dev) {
        inst->procs.DestroyDevice(handle, NULL);
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    dev->ctx = ctx;
    dev->physical = p;
    dev->procs = inst->procs;
    dev->procs.physical = p->handle;
    dev->api_version = MIN(p->api_version, inst->api_version);
    list_init(&dev->queues);
    semaphores_init(&dev->semaphores);
    handle_map_init(&dev->images, sizeof(struct image));
    handle_map_init(&dev->buffers, 0);
    pthread_mutex_init(&dev->fences_lock, NULL);
    wire_procs_load_device(&dev->procs, inst->procs.GetDeviceProcAddr, handle, dev->api_version);
    for (uint32_t i = 0; i < info->queueCreateInfoCount; i++) {
        if (!fetch_queues(dev, &info->pQueueCreateInfos[i])) {
            dev->procs.DestroyDevice(handle, NULL);
            device_free(dev);
            return VK_ERROR_INITIALIZATION_FAILED;
        }
    }
    backings_probe(dev);
    read_blob_sizes(dev);
    *ret = dev;
    return VK_SUCCESS;
}

void device_free(void *data)
{
    struct device *dev = data;

    if (!dev) {
        return;
    }
    list_for_each (link, &dev->queues) {
        if (list_entry(link, struct queue, link)->waiter) {
            return; /* given up with a thread in it: it lives as long as the process */
        }
    }
    list_for_each_safe (link, &dev->queues) {
        list_remove(link);
        queue_destroy(list_entry(link, struct queue, link));
    }
    semaphores_fini(&dev->semaphores);
    handle_map_fini(&dev->images);
    handle_map_fini(&dev->buffers);
    pthread_mutex_destroy(&dev->fences_lock);
    free(dev->old_fences);
    free(dev);
}

/* ---- the end of a device ---------------------------------------------------------------- */

void device_destroy_object(const struct object *o)
{
    if (o->type == VK_OBJECT_TYPE_DEVICE_MEMORY) {
        memory_end(o->data);
    } else {
        wire_destroy_object(o);
    }
}

void device_collect(struct object *o, void *arg)
{
    struct device_leftovers *left = arg;

    if (left->count == left->max) {
        const uint32_t max = left->max ? left->max * 2 : 256;
        struct object **more = realloc(left->objects, max * sizeof(struct object *));

        if (!more) {
            /* Out of memory at the end of a device: its host objects go with the process. */
            return;
        }
        left->objects = more;
        left->max = max;
    }
    left->objects[left->count++] = o;
}

/* Submits an empty batch to a queue and waits for it. False: given up. */
static bool wait_queue(struct decoder *d, struct queue *q, VkFence fence)
{
    const struct wire_procs *vk = q->vk;
    VkResult result;

    {
        LOCK_SCOPE(&q->lock);
        result = vk->QueueSubmit(q->handle, 0, NULL, fence);
    }
    if (result != VK_SUCCESS) {
        return true; /* device lost: nothing runs any more */
    }
    while (vk->WaitForFences(vk->device, 1, &fence, VK_TRUE, SLICE_NS) == VK_TIMEOUT) {
        if (decoder_stopping(d)) {
            return false;
        }
    }
    vk->ResetFences(vk->device, 1, &fence);
    return true;
}

/* Like vkDeviceWaitIdle, which would wait for ever for work that never ends. */
static bool wait_idle(struct decoder *d, struct device *dev)
{
    const VkFenceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    const struct wire_procs *vk = &dev->procs;
    bool idle = true;
    VkFence fence;

    if (vk->CreateFence(vk->device, &info, NULL, &fence) != VK_SUCCESS) {
        return vk->DeviceWaitIdle(vk->device) != VK_TIMEOUT;
    }
    list_for_each (link, &dev->queues) {
        idle = idle && wait_queue(d, list_entry(link, struct queue, link), fence);
    }
    if (idle) {
        vk->DestroyFence(vk->device, fence, NULL);
    }
    return idle;
}

void device_teardown(struct decoder *d, struct object *device, struct device_leftovers *left)
{
    struct device *dev = device->data;
    const struct wire_procs *vk = &dev->procs;

    list_for_each (link, &dev->queues) {
        timeline_unbind(&dev->ctx->timelines, list_entry(link, struct queue, link));
    }
    if (!wait_idle(d, dev)) {
        log_info("a device is left to the end of the worker: its queues do not come to rest");
        return;
    }
    list_for_each (link, &dev->queues) {
        queue_stop(list_entry(link, struct queue, link));
    }
    /* Newest first: what was made of something goes before it. Memory last, when nothing is
     * bound to it any more. */
    for (int memories = 0; memories < 2; memories++) {
        for (uint32_t i = left->count; i-- > 0;) {
            const struct object *o = left->objects[i];

            if (o->device == device && o != device &&
                (o->type == VK_OBJECT_TYPE_DEVICE_MEMORY) == memories) {
                device_destroy_object(o);
            }
        }
    }
    for (uint32_t i = 0; i < dev->n_old_fences; i++) {
        vk->DestroyFence(vk->device, dev->old_fences[i], NULL);
    }
    dev->n_old_fences = 0;
    vk->DestroyDevice(vk->device, NULL);
}

void device_park_fence(struct device *dev, VkFence fence)
{
    const struct wire_procs *vk = &dev->procs;
    LOCK_SCOPE(&dev->fences_lock);

    for (uint32_t i = 0; i < dev->n_old_fences;) {
        if (vk->GetFenceStatus(vk->device, dev->old_fences[i]) == VK_NOT_READY) {
            i++;
            continue;
        }
        vk->DestroyFence(vk->device, dev->old_fences[i], NULL);
        dev->old_fences[i] = dev->old_fences[--dev->n_old_fences];
    }
    if (dev->n_old_fences == dev->max_old_fences) {
        const uint32_t max = dev->max_old_fences ? dev->max_old_fences * 2 : 16;
        VkFence *more = realloc(dev->old_fences, max * sizeof(*more));

        if (!more) {
            return; /* it goes with the process */
        }
        dev->old_fences = more;
        dev->max_old_fences = max;
    }
    dev->old_fences[dev->n_old_fences++] = fence;
}

void device_note_failure(struct device *dev, VkResult result)
{
    if (result != VK_ERROR_DEVICE_LOST || atomic_exchange(&dev->lost, true)) {
        return;
    }
    log_warn("the host's device is lost: work of this guest hung or crashed it");
    atomic_fetch_add(&dev->ctx->recorder->page->devices_lost, 1);
}
