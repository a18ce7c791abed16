#include "tests/fakevk/fakevk.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "ipc/base.h"
#include "ipc/map.h"

#define FAKE_API VK_MAKE_API_VERSION(0, 1, 4, 305)

static _Atomic uint64_t next_handle = 0x1000;

static uint64_t new_handle(void)
{
    return atomic_fetch_add(&next_handle, 16);
}

/* Every command that has no better answer. All arguments of all commands are in registers or
 * below the return address, so a callee without parameters disturbs nothing; 0 is VK_SUCCESS. */
static uint64_t VKAPI_PTR fake_nothing(void)
{
    return 0;
}

/* vkCreateX(parent, info, allocator, out) */
static VkResult VKAPI_PTR fake_create(void *parent, const void *info, const void *allocator,
                                      uint64_t *out)
{
    (void)parent;
    (void)info;
    (void)allocator;
    *out = new_handle();
    return VK_SUCCESS;
}

static VkResult VKAPI_PTR fake_create_instance(const VkInstanceCreateInfo *info,
                                               const VkAllocationCallbacks *allocator,
                                               VkInstance *out)
{
    return fake_create(NULL, info, allocator, (uint64_t *)out);
}

/* As drivers do: the pool itself lies in its allocator's memory. */
static VkResult VKAPI_PTR fake_create_command_pool(VkDevice device,
                                                   const VkCommandPoolCreateInfo *info,
                                                   const VkAllocationCallbacks *allocator,
                                                   VkCommandPool *out)
{
    const size_t size = 200;
    void *memory;

    if (!allocator) {
        return fake_create(device, info, allocator, (uint64_t *)out);
    }
    memory =
        allocator->pfnAllocation(allocator->pUserData, size, 8, VK_SYSTEM_ALLOCATION_SCOPE_OBJECT);
    if (!memory) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    memset(memory, 1, size);
    fakevk_host.pools++;
    *out = (VkCommandPool)(uintptr_t)memory;
    return VK_SUCCESS;
}

static void VKAPI_PTR fake_destroy_command_pool(VkDevice device, VkCommandPool pool,
                                                const VkAllocationCallbacks *allocator)
{
    (void)device;
    if (allocator) {
        allocator->pfnFree(allocator->pUserData, (void *)(uintptr_t)pool);
        fakevk_host.pools--;
    }
}

/* vkCreateXPipelines(device, cache, count, infos, allocator, out) */
static VkResult VKAPI_PTR fake_create_pipelines(VkDevice device, VkPipelineCache cache,
                                                uint32_t count, const void *infos,
                                                const void *allocator, uint64_t *out)
{
    (void)device;
    (void)cache;
    (void)infos;
    (void)allocator;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = new_handle();
    }
    return VK_SUCCESS;
}

static VkResult VKAPI_PTR fake_create_ray_pipelines(VkDevice device,
                                                    VkDeferredOperationKHR operation,
                                                    VkPipelineCache cache, uint32_t count,
                                                    const void *infos, const void *allocator,
                                                    uint64_t *out)
{
    (void)operation;
    return fake_create_pipelines(device, cache, count, infos, allocator, out);
}

static VkResult VKAPI_PTR fake_allocate_command_buffers(VkDevice device,
                                                        const VkCommandBufferAllocateInfo *info,
                                                        VkCommandBuffer *out)
{
    (void)device;
    for (uint32_t i = 0; i < info->commandBufferCount; i++) {
        out[i] = (VkCommandBuffer)(uintptr_t)new_handle();
    }
    return VK_SUCCESS;
}

static VkResult VKAPI_PTR fake_allocate_descriptor_sets(VkDevice device,
                                                        const VkDescriptorSetAllocateInfo *info,
                                                        VkDescriptorSet *out)
{
    (void)device;
    for (uint32_t i = 0; i < info->descriptorSetCount; i++) {
        out[i] = (VkDescriptorSet)(uintptr_t)new_handle();
    }
    return VK_SUCCESS;
}

/* ---- the one physical device -------------------------------------------------------------- */

static VkResult VKAPI_PTR fake_enumerate_version(uint32_t *version)
{
    *version = FAKE_API;
    return VK_SUCCESS;
}

/* clang takes no constant object as an initializer. */
#define USUAL_HOST                                                                                 \
    {                                                                                              \
        .n_physical = 1, .n_groups = 1, .type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,              \
        .n_types = 2,                                                                              \
        .types = { VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |      \
                                                            VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | \
                                                            VK_MEMORY_PROPERTY_HOST_CACHED_BIT },  \
        .external = ~0u,                                                                           \
    }

struct fakevk_host fakevk_host = USUAL_HOST;

void fakevk_host_reset(void)
{
    fakevk_host = (struct fakevk_host)USUAL_HOST;
}

static VkPhysicalDevice physical(uint32_t i)
{
    return (VkPhysicalDevice)(uintptr_t)(0x800 + 16 * i);
}

static VkResult VKAPI_PTR fake_enumerate_physical(VkInstance instance, uint32_t *count,
                                                  VkPhysicalDevice *out)
{
    const uint32_t all = fakevk_host.n_physical, n = out ? MIN(*count, all) : 0;

    (void)instance;
    for (uint32_t i = 0; i < n; i++) {
        out[i] = physical(i);
    }
    *count = out ? n : all;
    return out && n < all ? VK_INCOMPLETE : VK_SUCCESS;
}

static VkResult VKAPI_PTR fake_enumerate_groups(VkInstance instance, uint32_t *count,
                                                VkPhysicalDeviceGroupProperties *out)
{
    const uint32_t all = fakevk_host.n_groups, n = out ? MIN(*count, all) : 0;

    (void)instance;
    for (uint32_t g = 0; g < n; g++) {
        out[g].physicalDeviceCount = 0;
        for (uint32_t i = g; i < fakevk_host.n_physical; i += all) {
            out[g].physicalDevices[out[g].physicalDeviceCount++] = physical(i);
        }
    }
    *count = out ? n : all;
    return out && n < all ? VK_INCOMPLETE : VK_SUCCESS;
}

static void VKAPI_PTR fake_properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties *out)
{
    (void)physical;
    out->apiVersion = FAKE_API;
    out->deviceType = fakevk_host.type;
    strcpy(out->deviceName, "fake");
    out->limits.minMemoryMapAlignment = 64;
    out->limits.nonCoherentAtomSize = 64;
}

static void VKAPI_PTR fake_properties2(VkPhysicalDevice physical, VkPhysicalDeviceProperties2 *out)
{
    fake_properties(physical, &out->properties);
    for (VkBaseOutStructure *s = out->pNext; s; s = s->pNext) {
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES) {
            ((VkPhysicalDeviceDriverProperties *)s)->driverID = VK_DRIVER_ID_MESA_LLVMPIPE;
        } else if (s->sType ==
                   VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT) {
            ((VkPhysicalDeviceExternalMemoryHostPropertiesEXT *)s)
                ->minImportedHostPointerAlignment = 4096;
        }
    }
}

static void VKAPI_PTR fake_families(VkPhysicalDevice physical, uint32_t *count,
                                    VkQueueFamilyProperties *out)
{
    (void)physical;
    if (out && *count > 0) {
        out[0].queueFlags = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
        out[0].queueCount = 4;
        out[0].timestampValidBits = 64;
    }
    *count = out ? MIN(*count, 1) : 1;
}

static void VKAPI_PTR fake_families2(VkPhysicalDevice physical, uint32_t *count,
                                     VkQueueFamilyProperties2 *out)
{
    fake_families(physical, count, out ? &out->queueFamilyProperties : NULL);
}

static void VKAPI_PTR fake_memory(VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties *out)
{
    (void)physical;
    out->memoryTypeCount = fakevk_host.n_types;
    for (uint32_t i = 0; i < fakevk_host.n_types; i++) {
        out->memoryTypes[i].propertyFlags = fakevk_host.types[i];
    }
    out->memoryHeapCount = 1;
    out->memoryHeaps[0].size = 1ull << 30;
    out->memoryHeaps[0].flags = VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
}

static void VKAPI_PTR fake_memory2(VkPhysicalDevice physical,
                                   VkPhysicalDeviceMemoryProperties2 *out)
{
    fake_memory(physical, &out->memoryProperties);
}

static VkResult VKAPI_PTR fake_device_extensions(VkPhysicalDevice physical, const char *layer,
                                                 uint32_t *count, VkExtensionProperties *out)
{
    static const char *const names[] = {
        VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME,
        VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME,
        VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME,
        VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME,
        VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME,
        VK_EXT_IMAGE_DRM_FORMAT_MODIFIER_EXTENSION_NAME,
        VK_EXT_TRANSFORM_FEEDBACK_EXTENSION_NAME,
        VK_KHR_ACCELERATION_STRUCTURE_EXTENSION_NAME,
        VK_KHR_RAY_TRACING_PIPELINE_EXTENSION_NAME,
        VK_EXT_MESH_SHADER_EXTENSION_NAME,
    };
    uint32_t n = out ? MIN(*count, ARRAY_SIZE(names)) : 0;

    (void)physical;
    (void)layer;
    for (uint32_t i = 0; i < n; i++) {
        strcpy(out[i].extensionName, names[i]);
        out[i].specVersion = 1;
    }
    *count = out ? n : ARRAY_SIZE(names);
    return out && n < ARRAY_SIZE(names) ? VK_INCOMPLETE : VK_SUCCESS;
}

static void VKAPI_PTR fake_external_buffer(VkPhysicalDevice physical,
                                           const VkPhysicalDeviceExternalBufferInfo *info,
                                           VkExternalBufferProperties *out)
{
    (void)physical;
    if (!(info->handleType & fakevk_host.external)) {
        out->externalMemoryProperties = (VkExternalMemoryProperties){ 0 };
        return;
    }
    out->externalMemoryProperties = (VkExternalMemoryProperties){
        .externalMemoryFeatures =
            VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT,
        .exportFromImportedHandleTypes = info->handleType,
        .compatibleHandleTypes = info->handleType,
    };
}

/* ---- devices ------------------------------------------------------------------------------ */

static void VKAPI_PTR fake_queue2(VkDevice device, const VkDeviceQueueInfo2 *info, VkQueue *out)
{
    (void)device;
    *out = (VkQueue)(uintptr_t)(0x900 + info->queueIndex % 16);
}

static void VKAPI_PTR fake_queue(VkDevice device, uint32_t family, uint32_t index, VkQueue *out)
{
    (void)device;
    (void)family;
    *out = (VkQueue)(uintptr_t)(0x900 + index % 16);
}

static void requirements(VkMemoryRequirements *out)
{
    out->size = 4096;
    out->alignment = 64;
    out->memoryTypeBits = 3;
}

static void VKAPI_PTR fake_requirements(VkDevice device, uint64_t object, VkMemoryRequirements *out)
{
    (void)device;
    (void)object;
    requirements(out);
}

static void VKAPI_PTR fake_requirements2(VkDevice device, const void *info,
                                         VkMemoryRequirements2 *out)
{
    (void)device;
    (void)info;
    requirements(&out->memoryRequirements);
}

static VkResult VKAPI_PTR fake_memory_fd(VkDevice device, const VkMemoryGetFdInfoKHR *info,
                                         int *out)
{
    (void)device;
    (void)info;
    return memfd_create_sized("fakevk", 65536, out) < 0 ? VK_ERROR_TOO_MANY_OBJECTS : VK_SUCCESS;
}

/* Any descriptor will do for a sync file that nobody looks into; -1 is one signalled already. */
static VkResult VKAPI_PTR fake_sync_fd(VkDevice device, const void *info, int *out)
{
    (void)device;
    (void)info;
    fakevk_host.sync_exported++;
    *out = -1;
    return fakevk_host.sync_fds && memfd_create_sized("sync file", 4096, out) < 0
               ? VK_ERROR_TOO_MANY_OBJECTS
               : VK_SUCCESS;
}

static VkResult VKAPI_PTR fake_import_semaphore(VkDevice device,
                                                const VkImportSemaphoreFdInfoKHR *info)
{
    (void)device;
    fakevk_host.sync_imported++;
    fakevk_host.last_import = *info;
    return VK_SUCCESS;
}

static void VKAPI_PTR fake_external_semaphore(VkPhysicalDevice physical,
                                              const VkPhysicalDeviceExternalSemaphoreInfo *info,
                                              VkExternalSemaphoreProperties *out)
{
    (void)physical;
    (void)info;
    out->externalSemaphoreFeatures = fakevk_host.sync_fds
                                         ? VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT |
                                               VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT
                                         : 0;
}

static void VKAPI_PTR fake_external_fence(VkPhysicalDevice physical,
                                          const VkPhysicalDeviceExternalFenceInfo *info,
                                          VkExternalFenceProperties *out)
{
    (void)physical;
    (void)info;
    out->externalFenceFeatures =
        fakevk_host.sync_fds ? VK_EXTERNAL_FENCE_FEATURE_EXPORTABLE_BIT : 0;
}

static VkResult VKAPI_PTR fake_fd_properties(VkDevice device,
                                             VkExternalMemoryHandleTypeFlagBits type, int fd,
                                             VkMemoryFdPropertiesKHR *out)
{
    (void)device;
    (void)type;
    (void)fd;
    out->memoryTypeBits = 3;
    return VK_SUCCESS;
}

static VkResult VKAPI_PTR fake_pointer_properties(VkDevice device,
                                                  VkExternalMemoryHandleTypeFlagBits type,
                                                  const void *pointer,
                                                  VkMemoryHostPointerPropertiesEXT *out)
{
    (void)device;
    (void)type;
    (void)pointer;
    out->memoryTypeBits = (1u << fakevk_host.n_types) - 1;
    return VK_SUCCESS;
}

static VkResult VKAPI_PTR fake_counter(VkDevice device, VkSemaphore semaphore, uint64_t *out)
{
    (void)device;
    (void)semaphore;
    *out = UINT64_MAX;
    return VK_SUCCESS;
}

static PFN_vkVoidFunction VKAPI_PTR fakevk_get_device_proc_addr(VkDevice device, const char *name)
{
    (void)device;
    return fakevk_get_instance_proc_addr(NULL, name);
}

/* ---- by name ------------------------------------------------------------------------------ */

#define ENTRY(name, function)                 \
    {                                         \
#name, (PFN_vkVoidFunction)(function) \
    }

static const struct {
    const char *name;
    PFN_vkVoidFunction function;
} entries[] = {
    ENTRY(vkGetInstanceProcAddr, fakevk_get_instance_proc_addr),
    ENTRY(vkGetDeviceProcAddr, fakevk_get_device_proc_addr),
    ENTRY(vkCreateInstance, fake_create_instance),
    ENTRY(vkEnumerateInstanceVersion, fake_enumerate_version),
    ENTRY(vkEnumeratePhysicalDevices, fake_enumerate_physical),
    ENTRY(vkEnumeratePhysicalDeviceGroups, fake_enumerate_groups),
    ENTRY(vkEnumerateDeviceExtensionProperties, fake_device_extensions),
    ENTRY(vkGetPhysicalDeviceProperties, fake_properties),
    ENTRY(vkGetPhysicalDeviceProperties2, fake_properties2),
    ENTRY(vkGetPhysicalDeviceQueueFamilyProperties, fake_families),
    ENTRY(vkGetPhysicalDeviceQueueFamilyProperties2, fake_families2),
    ENTRY(vkGetPhysicalDeviceMemoryProperties, fake_memory),
    ENTRY(vkGetPhysicalDeviceMemoryProperties2, fake_memory2),
    ENTRY(vkGetPhysicalDeviceExternalBufferProperties, fake_external_buffer),
    ENTRY(vkGetDeviceQueue, fake_queue),
    ENTRY(vkGetDeviceQueue2, fake_queue2),
    ENTRY(vkCreateCommandPool, fake_create_command_pool),
    ENTRY(vkDestroyCommandPool, fake_destroy_command_pool),
    ENTRY(vkCreateGraphicsPipelines, fake_create_pipelines),
    ENTRY(vkCreateComputePipelines, fake_create_pipelines),
    ENTRY(vkCreateRayTracingPipelinesKHR, fake_create_ray_pipelines),
    ENTRY(vkAllocateMemory, fake_create),
    ENTRY(vkAllocateCommandBuffers, fake_allocate_command_buffers),
    ENTRY(vkAllocateDescriptorSets, fake_allocate_descriptor_sets),
    ENTRY(vkGetBufferMemoryRequirements, fake_requirements),
    ENTRY(vkGetImageMemoryRequirements, fake_requirements),
    ENTRY(vkGetBufferMemoryRequirements2, fake_requirements2),
    ENTRY(vkGetImageMemoryRequirements2, fake_requirements2),
    ENTRY(vkGetDeviceBufferMemoryRequirements, fake_requirements2),
    ENTRY(vkGetDeviceImageMemoryRequirements, fake_requirements2),
    ENTRY(vkGetMemoryFdKHR, fake_memory_fd),
    ENTRY(vkGetPhysicalDeviceExternalSemaphoreProperties, fake_external_semaphore),
    ENTRY(vkGetPhysicalDeviceExternalFenceProperties, fake_external_fence),
    ENTRY(vkImportSemaphoreFdKHR, fake_import_semaphore),
    ENTRY(vkGetFenceFdKHR, fake_sync_fd),
    ENTRY(vkGetSemaphoreFdKHR, fake_sync_fd),
    ENTRY(vkGetMemoryFdPropertiesKHR, fake_fd_properties),
    ENTRY(vkGetMemoryHostPointerPropertiesEXT, fake_pointer_properties),
    ENTRY(vkGetSemaphoreCounterValue, fake_counter),
};

PFN_vkVoidFunction VKAPI_PTR fakevk_get_instance_proc_addr(VkInstance instance, const char *name)
{
    (void)instance;
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        if (strcmp(entries[i].name, name) == 0) {
            return entries[i].function;
        }
    }
    if (strncmp(name, "vkCreate", strlen("vkCreate")) == 0) {
        return (PFN_vkVoidFunction)fake_create;
    }
    return (PFN_vkVoidFunction)fake_nothing;
}

void fakevk_open(struct vulkan *v)
{
    *v = (struct vulkan){
        .get_instance_proc_addr = fakevk_get_instance_proc_addr,
        .create_instance = fake_create_instance,
        .enumerate_instance_version = fake_enumerate_version,
        .loader_version = FAKE_API,
        .driver_id = VK_DRIVER_ID_MESA_LLVMPIPE,
        .command_heap = true,
        .device_name = "fake",
        .policy = "lavapipe",
    };
}
