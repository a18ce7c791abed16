/*
 * Instance and physical devices: what the guest is told about the host, which is the truth, or
 * less than it, but for two things that the renderer supplies itself (semaphores.h, cmd_sync.c):
 * SYNC_FD semaphores and SYNC_FD fences.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "wire/commands.h"
#include "wire/extensions.h"
#include "wire/formats.h"
#include "wire/procs.h"
#include "worker/chain.h"
#include "worker/context.h"
#include "worker/decoder.h"
#include "worker/device.h"
#include "worker/image.h"
#include "worker/instance.h"
#include "worker/limits.h"
#include "worker/vulkan.h"

/* Every allocation that can be mapped holds a descriptor until the VMM takes it, and the worker
 * has 32768 of them in all (limits.h: LIMIT_RESOURCES). Vulkan asks for at least 4096. */
#define MAX_ALLOCATIONS 8192u

void cmd_vkEnumerateInstanceVersion(struct decoder *d, struct wire_vkEnumerateInstanceVersion *c)
{
    *c->pApiVersion = api_version_cap(d->ctx->vulkan->loader_version);
    c->ret = VK_SUCCESS;
}

/* Vulkan's two-call rule: fills at most *count; what is left out is VK_INCOMPLETE. */
static VkResult copy_extensions(const VkExtensionProperties *from, uint32_t n,
                                VkExtensionProperties *to, uint32_t *count)
{
    const uint32_t fill = MIN(n, *count);

    if (!to) {
        *count = n;
        return VK_SUCCESS;
    }
    memcpy(to, from, fill * sizeof(*to));
    *count = fill;
    return fill < n ? VK_INCOMPLETE : VK_SUCCESS;
}

void cmd_vkEnumerateInstanceExtensionProperties(
    struct decoder *d, struct wire_vkEnumerateInstanceExtensionProperties *c)
{
    static const char *const names[] = { "VK_EXT_command_serialization", "VK_MESA_venus_protocol" };
    VkExtensionProperties own[ARRAY_SIZE(names)] = { 0 };

    if (c->pLayerName) {
        decoder_fail(d, "vkEnumerateInstanceExtensionProperties: a layer, there are none");
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct wire_extension *e = wire_extension_find(names[i]);

        (void)snprintf(own[i].extensionName, sizeof(own[i].extensionName), "%s", names[i]);
        own[i].specVersion = e ? e->spec_version : 1;
    }
    c->ret = copy_extensions(own, ARRAY_SIZE(own), c->pProperties, c->pPropertyCount);
}

/* ---- vkCreateInstance ------------------------------------------------------------------- */

static VkResult create_instance(struct context *ctx, const VkInstanceCreateInfo *info,
                                struct instance **ret)
{
    if (info->enabledLayerCount > 0) {
        return VK_ERROR_LAYER_NOT_PRESENT;
    }
    if (info->enabledExtensionCount > 0) {
        return VK_ERROR_EXTENSION_NOT_PRESENT;
    }
    return instance_create(ctx->vulkan, info->pApplicationInfo, ret);
}

/* Makes it the context's. False: it has one already, or the id cannot be used. */
static bool publish_instance(struct decoder *d, struct object *o)
{
    LOCK_SCOPE(&d->ctx->lock);

    if (d->ctx->instance || objects_insert(d->objects, o) < 0) {
        return false;
    }
    d->ctx->instance = o;
    return true;
}

void cmd_vkCreateInstance(struct decoder *d, struct wire_vkCreateInstance *c)
{
    struct instance *inst = NULL;
    struct object *o;

    c->ret = create_instance(d->ctx, c->pCreateInfo, &inst);
    if (c->ret != VK_SUCCESS) {
        return;
    }
    o = object_new(*c->pInstance, VK_OBJECT_TYPE_INSTANCE,
                   (uint64_t)(uintptr_t)inst->procs.instance, NULL);
    if (!o) {
        instance_end(d->ctx->vulkan, inst);
        instance_free(inst);
        c->ret = VK_ERROR_OUT_OF_HOST_MEMORY;
        return;
    }
    o->vk = &inst->procs;
    o->data = inst;
    o->data_free = instance_free;
    if (!publish_instance(d, o)) {
        instance_end(d->ctx->vulkan, inst);
        object_drop(o);
        decoder_fail(d, "vkCreateInstance: the context has an instance already, or id %llu is used",
                     (unsigned long long)*c->pInstance);
    }
}

void cmd_vkDestroyInstance(struct decoder *d, struct wire_vkDestroyInstance *c)
{
    struct device_leftovers left = { 0 };
    struct object *o = c->instance_obj;
    struct instance *inst = o->data;

    if (!objects_remove(d->objects, o, device_collect, &left)) {
        return; /* another ring was first */
    }
    for (uint32_t i = 0; i < left.count; i++) {
        if (left.objects[i]->type == VK_OBJECT_TYPE_DEVICE) {
            device_teardown(d, left.objects[i], &left);
        }
    }
    free(left.objects);
    if (decoder_stopping(d)) {
        return; /* a device may live on; the process ends soon */
    }
    instance_end(d->ctx->vulkan, inst);
    LOCK_SCOPE(&d->ctx->lock);
    d->ctx->instance = NULL;
}

/* ---- physical devices ------------------------------------------------------------------- */

/* Gives a host device the guest's id, or checks that it is the one given before. */
static bool name_physical(struct decoder *d, struct object *instance, struct physical *p,
                          uint64_t id)
{
    struct object *o;
    int r;

    if (p->id != 0) {
        if (p->id == id) {
            return true;
        }
        decoder_fail(d, "vkEnumeratePhysicalDevices: id %llu for a device that is %llu already",
                     (unsigned long long)id, (unsigned long long)p->id);
        return false;
    }
    o = object_new(id, VK_OBJECT_TYPE_PHYSICAL_DEVICE, (uint64_t)(uintptr_t)p->handle, instance);
    if (!o) {
        decoder_no_memory(d, sizeof(*o));
        return false;
    }
    o->data = p;
    r = objects_insert(d->objects, o);
    if (r < 0) {
        object_drop(o);
        decoder_fail(d, "vkEnumeratePhysicalDevices: id %llu cannot be used: %s",
                     (unsigned long long)id, strerror(-r));
        return false;
    }
    p->id = id;
    return true;
}

void cmd_vkEnumeratePhysicalDevices(struct decoder *d, struct wire_vkEnumeratePhysicalDevices *c)
{
    struct instance *inst = c->instance_obj->data;
    const uint32_t fill = MIN(*c->pPhysicalDeviceCount, inst->n_physicals);

    if (!c->pPhysicalDevices) {
        *c->pPhysicalDeviceCount = inst->n_physicals;
        c->ret = VK_SUCCESS;
        return;
    }
    LOCK_SCOPE(&inst->lock);
    for (uint32_t i = 0; i < fill; i++) {
        if (!name_physical(d, c->instance_obj, &inst->physicals[i], c->pPhysicalDevices[i])) {
            return;
        }
    }
    *c->pPhysicalDeviceCount = fill;
    c->ret = fill < inst->n_physicals ? VK_INCOMPLETE : VK_SUCCESS;
}

/* The guest's id of a host device, 0 if it has none. */
static uint64_t physical_id(const struct instance *inst, VkPhysicalDevice handle)
{
    for (uint32_t i = 0; i < inst->n_physicals; i++) {
        if (inst->physicals[i].handle == handle) {
            return inst->physicals[i].id;
        }
    }
    return 0;
}

/* The same group with the guest's ids for devices; false if it holds one that has no id. */
static bool translate_group(const struct instance *inst,
                            const VkPhysicalDeviceGroupProperties *from,
                            VkPhysicalDeviceGroupProperties *to)
{
    memset(to->physicalDevices, 0, sizeof(to->physicalDevices));
    for (uint32_t i = 0; i < MIN(from->physicalDeviceCount, VK_MAX_DEVICE_GROUP_SIZE); i++) {
        uint64_t id = physical_id(inst, from->physicalDevices[i]);

        if (id == 0) {
            return false;
        }
        to->physicalDevices[i] = (VkPhysicalDevice)(uintptr_t)id;
    }
    to->physicalDeviceCount = from->physicalDeviceCount;
    to->subsetAllocation = from->subsetAllocation;
    return true;
}

void cmd_vkEnumeratePhysicalDeviceGroups(struct decoder *d,
                                         struct wire_vkEnumeratePhysicalDeviceGroups *c)
{
    struct instance *inst = c->instance_obj->data;
    VkPhysicalDeviceGroupProperties *out = c->pPhysicalDeviceGroupProperties, *host;
    uint32_t n = *c->pPhysicalDeviceGroupCount;

    if (!inst->procs.EnumeratePhysicalDeviceGroups) {
        c->ret = VK_ERROR_INITIALIZATION_FAILED;
        return;
    }
    if (!out) {
        c->ret = inst->procs.EnumeratePhysicalDeviceGroups(inst->procs.instance,
                                                           c->pPhysicalDeviceGroupCount, NULL);
        return;
    }
    host = decode_alloc(d, n, sizeof(*host));
    if (!host) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        host[i].sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_GROUP_PROPERTIES;
    }
    c->ret = inst->procs.EnumeratePhysicalDeviceGroups(inst->procs.instance, &n, host);

    LOCK_SCOPE(&inst->lock);
    for (uint32_t i = 0; c->ret >= 0 && i < n; i++) {
        if (!translate_group(inst, &host[i], &out[i])) {
            /* The guest has yet to name its devices: vkEnumeratePhysicalDevices first. */
            c->ret = VK_ERROR_INITIALIZATION_FAILED;
        }
    }
    for (uint32_t i = 0; c->ret < 0 && i < *c->pPhysicalDeviceGroupCount; i++) {
        out[i].physicalDeviceCount = 0;
        memset(out[i].physicalDevices, 0, sizeof(out[i].physicalDevices));
        out[i].subsetAllocation = VK_FALSE;
    }
    if (c->ret >= 0) {
        *c->pPhysicalDeviceGroupCount = n;
    }
}

void cmd_vkEnumerateDeviceExtensionProperties(struct decoder *d,
                                              struct wire_vkEnumerateDeviceExtensionProperties *c)
{
    const struct physical *p = c->physicalDevice_obj->data;

    if (c->pLayerName) {
        decoder_fail(d, "vkEnumerateDeviceExtensionProperties: a layer, there are none");
        return;
    }
    c->ret = copy_extensions(p->extensions, p->n_extensions, c->pProperties, c->pPropertyCount);
}

/* What we cannot pass on as the host says it. */
static void limit_properties(const struct physical *p, VkPhysicalDeviceProperties *properties)
{
    if (p->no_sparse) {
        properties->limits.sparseAddressSpaceSize = 0;
        properties->sparseProperties = (VkPhysicalDeviceSparseProperties){ 0 };
    }
    properties->apiVersion = api_version_cap(properties->apiVersion);
    properties->limits.maxMemoryAllocationCount =
        MIN(properties->limits.maxMemoryAllocationCount, MAX_ALLOCATIONS);
}

void cmd_vkGetPhysicalDeviceProperties(struct decoder *d,
                                       struct wire_vkGetPhysicalDeviceProperties *c)
{
    const struct physical *p = c->physicalDevice_obj->data;

    (void)d;
    *c->pProperties = p->properties;
    limit_properties(p, c->pProperties);
}

void cmd_vkGetPhysicalDeviceProperties2(struct decoder *d,
                                        struct wire_vkGetPhysicalDeviceProperties2 *c)
{
    const struct physical *p = c->physicalDevice_obj->data;

    (void)d;
    p->vk->GetPhysicalDeviceProperties2(p->handle, c->pProperties);
    limit_properties(p, &c->pProperties->properties);
}

/* A program that plans with all of a heap must not run into the context's limit. */
static void limit_heaps(const struct context *ctx, const struct physical *p,
                        VkPhysicalDeviceMemoryProperties *memory)
{
    const uint64_t most = ctx->budget.max ? ctx->budget.max : physical_budget(p);

    for (uint32_t i = 0; i < memory->memoryHeapCount; i++) {
        memory->memoryHeaps[i].size = MIN(memory->memoryHeaps[i].size, most);
    }
}

void cmd_vkGetPhysicalDeviceMemoryProperties(struct decoder *d,
                                             struct wire_vkGetPhysicalDeviceMemoryProperties *c)
{
    const struct physical *p = c->physicalDevice_obj->data;

    *c->pMemoryProperties = p->memory;
    limit_heaps(d->ctx, p, c->pMemoryProperties);
}

void cmd_vkGetPhysicalDeviceMemoryProperties2(struct decoder *d,
                                              struct wire_vkGetPhysicalDeviceMemoryProperties2 *c)
{
    const struct physical *p = c->physicalDevice_obj->data;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget =
        chain_find(c->pMemoryProperties,
                   VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT);
    VkPhysicalDeviceMemoryProperties *memory = &c->pMemoryProperties->memoryProperties;

    p->vk->GetPhysicalDeviceMemoryProperties2(p->handle, c->pMemoryProperties);
    limit_heaps(d->ctx, p, memory);
    for (uint32_t i = 0; budget && i < memory->memoryHeapCount; i++) {
        budget->heapBudget[i] = MIN(budget->heapBudget[i], memory->memoryHeaps[i].size);
    }
}

/* Mesa's guest driver sends too few bytes for some planes (up to 26.1 at least), so what arrives
 * could only be refused. Copies by way of a buffer are left to it. */
static bool is_multi_planar(VkFormat format)
{
    const struct wire_format *f = wire_format_find(format);

    return f && f->n_planes != 0;
}

void cmd_vkGetPhysicalDeviceFormatProperties2(struct decoder *d,
                                              struct wire_vkGetPhysicalDeviceFormatProperties2 *c)
{
    const struct physical *p = c->physicalDevice_obj->data;
    VkFormatProperties3 *more =
        chain_find(c->pFormatProperties, VK_STRUCTURE_TYPE_FORMAT_PROPERTIES_3);

    (void)d;
    p->vk->GetPhysicalDeviceFormatProperties2(p->handle, c->format, c->pFormatProperties);
    if (more && is_multi_planar(c->format)) {
        more->linearTilingFeatures &= ~VK_FORMAT_FEATURE_2_HOST_IMAGE_TRANSFER_BIT;
        more->optimalTilingFeatures &= ~VK_FORMAT_FEATURE_2_HOST_IMAGE_TRANSFER_BIT;
    }
}

static void limit_features(const struct physical *p, VkPhysicalDeviceFeatures *features)
{
    if (p->no_sparse) {
        features->sparseBinding = VK_FALSE;
        features->sparseResidencyBuffer = VK_FALSE;
        features->sparseResidencyImage2D = VK_FALSE;
        features->sparseResidencyImage3D = VK_FALSE;
        features->sparseResidency2Samples = VK_FALSE;
        features->sparseResidency4Samples = VK_FALSE;
        features->sparseResidency8Samples = VK_FALSE;
        features->sparseResidency16Samples = VK_FALSE;
        features->sparseResidencyAliased = VK_FALSE;
    }
}

void cmd_vkGetPhysicalDeviceFeatures(struct decoder *d, struct wire_vkGetPhysicalDeviceFeatures *c)
{
    const struct physical *p = c->physicalDevice_obj->data;

    (void)d;
    p->vk->GetPhysicalDeviceFeatures(p->handle, c->pFeatures);
    limit_features(p, c->pFeatures);
}

static void limit_families(const struct physical *p, VkQueueFamilyProperties *family)
{
    if (p->no_sparse) {
        family->queueFlags &= ~(VkQueueFlags)VK_QUEUE_SPARSE_BINDING_BIT;
    }
}

void cmd_vkGetPhysicalDeviceQueueFamilyProperties(
    struct decoder *d, struct wire_vkGetPhysicalDeviceQueueFamilyProperties *c)
{
    const struct physical *p = c->physicalDevice_obj->data;

    (void)d;
    p->vk->GetPhysicalDeviceQueueFamilyProperties(p->handle, c->pQueueFamilyPropertyCount,
                                                  c->pQueueFamilyProperties);
    for (uint32_t i = 0; c->pQueueFamilyProperties && i < *c->pQueueFamilyPropertyCount; i++) {
        limit_families(p, &c->pQueueFamilyProperties[i]);
    }
}

void cmd_vkGetPhysicalDeviceQueueFamilyProperties2(
    struct decoder *d, struct wire_vkGetPhysicalDeviceQueueFamilyProperties2 *c)
{
    const struct physical *p = c->physicalDevice_obj->data;

    (void)d;
    p->vk->GetPhysicalDeviceQueueFamilyProperties2(p->handle, c->pQueueFamilyPropertyCount,
                                                   c->pQueueFamilyProperties);
    for (uint32_t i = 0; c->pQueueFamilyProperties && i < *c->pQueueFamilyPropertyCount; i++) {
        limit_families(p, &c->pQueueFamilyProperties[i].queueFamilyProperties);
    }
}

/* Features of which the guest would use what the protocol does not carry. */
void cmd_vkGetPhysicalDeviceFeatures2(struct decoder *d,
                                      struct wire_vkGetPhysicalDeviceFeatures2 *c)
{
    const struct physical *p = c->physicalDevice_obj->data;
    VkPhysicalDeviceAccelerationStructureFeaturesKHR *acceleration =
        chain_find(c->pFeatures,
                   VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ACCELERATION_STRUCTURE_FEATURES_KHR);
    VkPhysicalDeviceRayTracingPipelineFeaturesKHR *ray =
        chain_find(c->pFeatures,
                   VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_RAY_TRACING_PIPELINE_FEATURES_KHR);

    (void)d;
    p->vk->GetPhysicalDeviceFeatures2(p->handle, c->pFeatures);
    limit_features(p, &c->pFeatures->features);
    if (acceleration) {
        acceleration->accelerationStructureHostCommands = VK_FALSE;
    }
    if (ray) {
        /* Group handles to be replayed cannot be given at creation. */
        ray->rayTracingPipelineShaderGroupHandleCaptureReplay = VK_FALSE;
        ray->rayTracingPipelineShaderGroupHandleCaptureReplayMixed = VK_FALSE;
    }
}

/* ---- what can be shared ----------------------------------------------------------------- */

void cmd_vkGetPhysicalDeviceExternalSemaphoreProperties(
    struct decoder *d, struct wire_vkGetPhysicalDeviceExternalSemaphoreProperties *c)
{
    const VkSemaphoreTypeCreateInfo *type =
        chain_find(c->pExternalSemaphoreInfo, VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO);
    VkExternalSemaphoreProperties *out = c->pExternalSemaphoreProperties;
    const bool ours =
        c->pExternalSemaphoreInfo->handleType == VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT &&
        (!type || type->semaphoreType == VK_SEMAPHORE_TYPE_BINARY);

    (void)d;
    /* The protocol carries no other kind of payload, whatever the host can do with it. */
    out->exportFromImportedHandleTypes = out->compatibleHandleTypes =
        ours ? VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT : 0;
    out->externalSemaphoreFeatures = ours ? VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT |
                                                VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT
                                          : 0;
}

void cmd_vkGetPhysicalDeviceExternalFenceProperties(
    struct decoder *d, struct wire_vkGetPhysicalDeviceExternalFenceProperties *c)
{
    VkExternalFenceProperties *out = c->pExternalFenceProperties;
    const bool ours =
        c->pExternalFenceInfo->handleType == VK_EXTERNAL_FENCE_HANDLE_TYPE_SYNC_FD_BIT;

    (void)d;
    /* An import never leaves the guest. */
    out->exportFromImportedHandleTypes = out->compatibleHandleTypes =
        ours ? VK_EXTERNAL_FENCE_HANDLE_TYPE_SYNC_FD_BIT : 0;
    out->externalFenceFeatures =
        ours ? VK_EXTERNAL_FENCE_FEATURE_IMPORTABLE_BIT | VK_EXTERNAL_FENCE_FEATURE_EXPORTABLE_BIT
             : 0;
}

/* Memory handles that a guest can have: those that a resource can be. */
static bool guest_memory_handle(VkExternalMemoryHandleTypeFlagBits type)
{
    return type == VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT ||
           type == VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT;
}

void cmd_vkGetPhysicalDeviceExternalBufferProperties(
    struct decoder *d, struct wire_vkGetPhysicalDeviceExternalBufferProperties *c)
{
    const struct physical *p = c->physicalDevice_obj->data;

    (void)d;
    if (guest_memory_handle(c->pExternalBufferInfo->handleType)) {
        p->vk->GetPhysicalDeviceExternalBufferProperties(p->handle, c->pExternalBufferInfo,
                                                         c->pExternalBufferProperties);
    }
}

void cmd_vkGetPhysicalDeviceImageFormatProperties2(
    struct decoder *d, struct wire_vkGetPhysicalDeviceImageFormatProperties2 *c)
{
    const struct physical *p = c->physicalDevice_obj->data;
    const VkPhysicalDeviceExternalImageFormatInfo *external =
        chain_find(c->pImageFormatInfo,
                   VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_IMAGE_FORMAT_INFO);

    (void)d;
    if ((external && external->handleType && !guest_memory_handle(external->handleType)) ||
        (p->no_sparse && (c->pImageFormatInfo->flags & IMAGE_CREATE_SPARSE_BITS)) ||
        ((c->pImageFormatInfo->usage & VK_IMAGE_USAGE_HOST_TRANSFER_BIT) &&
         is_multi_planar(c->pImageFormatInfo->format))) {
        c->ret = VK_ERROR_FORMAT_NOT_SUPPORTED;
        return;
    }
    c->ret = p->vk->GetPhysicalDeviceImageFormatProperties2(p->handle, c->pImageFormatInfo,
                                                            c->pImageFormatProperties);
}
