/*
 * vulkan_sealed LAYERS HOW: lavapipe inside the sandbox. Loads it, makes and destroys a device,
 * seals, and only then does what a guest does: instance, device, a compute shader (compiled to
 * machine code now), memory that is a memfd imported as a host pointer, a dispatch whose result
 * is checked. HOW: direct (the driver by pointer, no manifest) or manifest (a file search).
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vulkan/vulkan_core.h>

#include "ipc/base.h"
#include "tests/escape/jailed.h"
#include "vulkan_sealed.spv.h"

#define WORDS 4096
#define BYTES (WORDS * sizeof(uint32_t))

static PFN_vkGetInstanceProcAddr loader_gipa, driver_gipa;

static void check(bool ok, const char *what, long value)
{
    if (!ok) {
        printf("FAILED %s: %ld\n", what, value);
        fflush(stdout);
        _exit(1);
    }
}

#define VK(call)                                      \
    do {                                              \
        VkResult result_ = (call);                    \
        check(result_ == VK_SUCCESS, #call, result_); \
    } while (0)

#define LOAD(instance, name) PFN_##name name = (PFN_##name)loader_gipa(instance, #name)
#define LOAD_DEVICE(device, name) PFN_##name name = (PFN_##name)vkGetDeviceProcAddr(device, #name)

/* Loaders know the name before they can do it: what counts is what they list. */
static bool has_direct_loading(void)
{
    PFN_vkEnumerateInstanceExtensionProperties enumerate =
        (PFN_vkEnumerateInstanceExtensionProperties)loader_gipa(
            NULL, "vkEnumerateInstanceExtensionProperties");
    static VkExtensionProperties props[256];
    uint32_t n = ARRAY_SIZE(props);

    VK(enumerate(NULL, &n, props));
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(props[i].extensionName, VK_LUNARG_DIRECT_DRIVER_LOADING_EXTENSION_NAME) == 0) {
            return true;
        }
    }
    return false;
}

static VkInstance make_instance(bool direct)
{
    VkDirectDriverLoadingInfoLUNARG driver = {
        .sType = VK_STRUCTURE_TYPE_DIRECT_DRIVER_LOADING_INFO_LUNARG,
        .pfnGetInstanceProcAddr = (PFN_vkGetInstanceProcAddrLUNARG)driver_gipa,
    };
    VkDirectDriverLoadingListLUNARG list = {
        .sType = VK_STRUCTURE_TYPE_DIRECT_DRIVER_LOADING_LIST_LUNARG,
        .mode = VK_DIRECT_DRIVER_LOADING_MODE_EXCLUSIVE_LUNARG,
        .driverCount = 1,
        .pDrivers = &driver,
    };
    const char *const extension = VK_LUNARG_DIRECT_DRIVER_LOADING_EXTENSION_NAME;
    VkApplicationInfo app = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                              .apiVersion = VK_API_VERSION_1_2 };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = direct ? &list : NULL,
        .pApplicationInfo = &app,
        .enabledExtensionCount = direct,
        .ppEnabledExtensionNames = &extension,
    };
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)loader_gipa(NULL, "vkCreateInstance");
    VkInstance instance;

    VK(create(&info, NULL, &instance));
    return instance;
}

static VkPhysicalDevice find_device(VkInstance instance)
{
    LOAD(instance, vkEnumeratePhysicalDevices);
    LOAD(instance, vkGetPhysicalDeviceProperties);
    VkPhysicalDevice devices[8];
    uint32_t n = ARRAY_SIZE(devices);

    VK(vkEnumeratePhysicalDevices(instance, &n, devices));
    for (uint32_t i = 0; i < n; i++) {
        VkPhysicalDeviceProperties props;

        vkGetPhysicalDeviceProperties(devices[i], &props);
        if (props.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU) {
            return devices[i];
        }
    }
    check(false, "no CPU device among", n);
    return VK_NULL_HANDLE;
}

static VkDevice make_device(VkInstance instance, VkPhysicalDevice physical)
{
    LOAD(instance, vkCreateDevice);
    static const char *const extensions[] = { VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME };
    float priority = 1;
    VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                      .queueCount = 1,
                                      .pQueuePriorities = &priority };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = ARRAY_SIZE(extensions),
        .ppEnabledExtensionNames = extensions,
    };
    VkDevice device;

    VK(vkCreateDevice(physical, &info, NULL, &device));
    return device;
}

static void destroy_device(VkInstance instance, VkDevice device)
{
    LOAD(instance, vkDestroyDevice);

    vkDestroyDevice(device, NULL);
}

static uint32_t *make_pages(void)
{
    int fd = memfd_create("blob", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    uint32_t *words;

    check(fd >= 0 && ftruncate(fd, BYTES) == 0, "memfd", fd);
    words = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    check(words != MAP_FAILED, "mmap", 0);
    for (uint32_t i = 0; i < WORDS; i++) {
        words[i] = i;
    }
    return words;
}

static uint32_t expected(uint32_t x)
{
    for (int n = 0; n < 8; n++) {
        x = (x & 1) == 0 ? x / 2 : 3 * x + 1;
    }
    return x;
}

/* Buffer over memory that is the given pages. */
static VkBuffer import_pages(VkInstance instance, VkDevice device, uint32_t *words)
{
    LOAD(instance, vkGetDeviceProcAddr);
    LOAD_DEVICE(device, vkGetMemoryHostPointerPropertiesEXT);
    LOAD_DEVICE(device, vkCreateBuffer);
    LOAD_DEVICE(device, vkAllocateMemory);
    LOAD_DEVICE(device, vkBindBufferMemory);
    VkMemoryHostPointerPropertiesEXT props = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT
    };
    VkImportMemoryHostPointerInfoEXT import = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
        .pHostPointer = words,
    };
    VkMemoryAllocateInfo allocate = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                      .pNext = &import,
                                      .allocationSize = BYTES };
    VkExternalMemoryBufferCreateInfo external = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
        .handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
    };
    VkBufferCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                .pNext = &external,
                                .size = BYTES,
                                .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT };
    VkDeviceMemory memory;
    VkBuffer buffer;

    VK(vkGetMemoryHostPointerPropertiesEXT(device, import.handleType, words, &props));
    check(props.memoryTypeBits != 0, "memoryTypeBits", props.memoryTypeBits);
    allocate.memoryTypeIndex = (uint32_t)__builtin_ctz(props.memoryTypeBits);
    VK(vkAllocateMemory(device, &allocate, NULL, &memory));
    VK(vkCreateBuffer(device, &info, NULL, &buffer));
    VK(vkBindBufferMemory(device, buffer, memory, 0));
    return buffer;
}

static VkPipeline make_pipeline(VkInstance instance, VkDevice device, VkDescriptorSetLayout *set,
                                VkPipelineLayout *layout)
{
    LOAD(instance, vkGetDeviceProcAddr);
    LOAD_DEVICE(device, vkCreateShaderModule);
    LOAD_DEVICE(device, vkCreateDescriptorSetLayout);
    LOAD_DEVICE(device, vkCreatePipelineLayout);
    LOAD_DEVICE(device, vkCreateComputePipelines);
    VkDescriptorSetLayoutBinding binding = { .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                             .descriptorCount = 1,
                                             .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT };
    VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = 1,
        .pBindings = &binding,
    };
    VkPipelineLayoutCreateInfo layout_info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = set,
    };
    VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = sizeof(vulkan_sealed_spv),
        .pCode = vulkan_sealed_spv,
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                   .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                   .pName = "main" },
    };
    VkPipeline pipeline;

    VK(vkCreateDescriptorSetLayout(device, &set_info, NULL, set));
    VK(vkCreatePipelineLayout(device, &layout_info, NULL, layout));
    VK(vkCreateShaderModule(device, &module_info, NULL, &info.stage.module));
    info.layout = *layout;
    VK(vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline));
    return pipeline;
}

static VkDescriptorSet make_set(VkInstance instance, VkDevice device, VkDescriptorSetLayout layout,
                                VkBuffer buffer)
{
    LOAD(instance, vkGetDeviceProcAddr);
    LOAD_DEVICE(device, vkCreateDescriptorPool);
    LOAD_DEVICE(device, vkAllocateDescriptorSets);
    LOAD_DEVICE(device, vkUpdateDescriptorSets);
    VkDescriptorPoolSize size = { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1 };
    VkDescriptorPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = 1,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VkDescriptorSetAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                         .descriptorSetCount = 1,
                                         .pSetLayouts = &layout };
    VkDescriptorBufferInfo range = { buffer, 0, VK_WHOLE_SIZE };
    VkWriteDescriptorSet write = { .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                   .descriptorCount = 1,
                                   .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                   .pBufferInfo = &range };

    VK(vkCreateDescriptorPool(device, &pool_info, NULL, &info.descriptorPool));
    VK(vkAllocateDescriptorSets(device, &info, &write.dstSet));
    vkUpdateDescriptorSets(device, 1, &write, 0, NULL);
    return write.dstSet;
}

static void dispatch(VkInstance instance, VkDevice device, VkPipeline pipeline,
                     VkPipelineLayout layout, VkDescriptorSet set)
{
    LOAD(instance, vkGetDeviceProcAddr);
    LOAD_DEVICE(device, vkGetDeviceQueue);
    LOAD_DEVICE(device, vkCreateCommandPool);
    LOAD_DEVICE(device, vkAllocateCommandBuffers);
    LOAD_DEVICE(device, vkBeginCommandBuffer);
    LOAD_DEVICE(device, vkCmdBindPipeline);
    LOAD_DEVICE(device, vkCmdBindDescriptorSets);
    LOAD_DEVICE(device, vkCmdDispatch);
    LOAD_DEVICE(device, vkEndCommandBuffer);
    LOAD_DEVICE(device, vkQueueSubmit);
    LOAD_DEVICE(device, vkQueueWaitIdle);
    VkCommandPoolCreateInfo pool_info = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO };
    VkCommandBufferAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                         .commandBufferCount = 1 };
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
    VkCommandBuffer commands;
    VkSubmitInfo submit = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                            .commandBufferCount = 1,
                            .pCommandBuffers = &commands };
    VkQueue queue;

    vkGetDeviceQueue(device, 0, 0, &queue);
    VK(vkCreateCommandPool(device, &pool_info, NULL, &info.commandPool));
    VK(vkAllocateCommandBuffers(device, &info, &commands));
    VK(vkBeginCommandBuffer(commands, &begin));
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &set, 0, NULL);
    vkCmdDispatch(commands, WORDS / 64, 1, 1);
    VK(vkEndCommandBuffer(commands));
    VK(vkQueueSubmit(queue, 1, &submit, VK_NULL_HANDLE));
    VK(vkQueueWaitIdle(queue));
}

int main(int argc, char **argv)
{
    bool direct = argc == 3 && strcmp(argv[2], "direct") == 0;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkInstance instance;
    VkBuffer buffer;
    VkDevice device;
    uint32_t *words;
    void *library;

    if (argc != 3) {
        return 2;
    }
    library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    check(library != NULL, "libvulkan.so.1", 0);
    loader_gipa = (PFN_vkGetInstanceProcAddr)dlsym(library, "vkGetInstanceProcAddr");
    if (direct && !has_direct_loading()) {
        printf("SKIPPED: the Vulkan loader does not list %s\n",
               VK_LUNARG_DIRECT_DRIVER_LOADING_EXTENSION_NAME);
        return 77;
    }
    library = dlopen("libvulkan_lvp.so", RTLD_NOW | RTLD_LOCAL);
    check(library != NULL, "libvulkan_lvp.so", 0);
    driver_gipa = (PFN_vkGetInstanceProcAddr)dlsym(library, "vk_icdGetInstanceProcAddr");
    /* pthread_exit and pthread_cancel load it on first use, which needs an executable mapping. */
    check(dlopen("libgcc_s.so.1", RTLD_NOW) != NULL, "libgcc_s.so.1", 0);
    instance = make_instance(direct);
    destroy_device(instance, make_device(instance, find_device(instance)));

    jailed_seal((uint32_t)strtoul(argv[1], NULL, 0));

    instance = make_instance(direct);
    device = make_device(instance, find_device(instance));
    words = make_pages();
    buffer = import_pages(instance, device, words);
    pipeline = make_pipeline(instance, device, &set_layout, &layout);
    dispatch(instance, device, pipeline, layout, make_set(instance, device, set_layout, buffer));
    for (uint32_t i = 0; i < WORDS; i++) {
        check(words[i] == expected(i), "wrong word", i);
    }
    destroy_device(instance, device);
    printf("RENDERED\n");
    fflush(stdout);
    _exit(0);
}
