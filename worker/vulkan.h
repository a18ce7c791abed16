/* The host's Vulkan: loader, driver, and the private instance used for warm-up. */
#ifndef CORDON_WORKER_VULKAN_H
#define CORDON_WORKER_VULKAN_H

#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

struct vulkan {
    void *loader; /* libvulkan.so.1, dlopened */
    PFN_vkGetInstanceProcAddr get_instance_proc_addr;
    PFN_vkCreateInstance create_instance;
    PFN_vkEnumerateInstanceVersion enumerate_instance_version;
    uint32_t loader_version;
    /* Given to every instance: the driver by pointer (VK_LUNARG_direct_driver_loading), so that
     * no manifest is searched after sealing. NULL when the loader found drivers by itself. */
    void *driver;
    PFN_vkGetInstanceProcAddr driver_get_instance_proc_addr;
    VkInstance warm_instance; /* kept: the loader and driver stay loaded */
    char device_name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char policy[64]; /* overlay that fits the driver: "lavapipe", "radv", ... */
    bool validate;   /* the Khronos validation layer is wanted in guest instances (tests) */
};

#endif
