/* The host's Vulkan: loader, driver, and the private instance used for warm-up. */
#ifndef CORDON_WORKER_VULKAN_H
#define CORDON_WORKER_VULKAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

#define VULKAN_VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

struct instance;

struct vulkan {
    void *loader; /* libvulkan.so.1, dlopened */
    PFN_vkGetInstanceProcAddr get_instance_proc_addr;
    PFN_vkCreateInstance create_instance;
    PFN_vkEnumerateInstanceVersion enumerate_instance_version;
    uint32_t loader_version;
    /* Given to every instance: the driver by pointer (VK_LUNARG_direct_driver_loading), so that
     * no manifest is searched after sealing. NULL when the loader found drivers by itself. */
    void *driver;
    PFN_vkGetInstanceProcAddrLUNARG driver_get_instance_proc_addr;
    VkInstance warm_instance; /* kept: the loader and driver stay loaded */
    /* What instance.c knows of it, for a guest to be given; NULL: it has been, or is never to be. */
    struct instance *_Atomic ready;
    bool cached;          /* what the driver compiles at first is there already */
    bool any_application; /* the driver does the same for every application, whatever its name */
    bool command_heap;    /* command pools are given one: command_heap.h */
    bool const_code;      /* code stays as it is in its files: idle.h */
    char device_name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char policy[64];      /* overlay that fits the driver: "lavapipe", "radv", ... */
    VkDriverId driver_id; /* the sandbox fits this driver alone */
    bool validate;        /* the Khronos validation layer is wanted in guest instances (tests) */
};

/*
 * Loads the loader and the driver, and has them do once, while files can still be opened, what a
 * guest will have them do later: an instance (kept), its devices, and one device made and
 * destroyed where the driver is known to bear it. `policy`: the overlay that the worker will be
 * confined by, so only its driver will do; NULL = that of the best device found. 0, or a negative
 * errno and `why` says what a person can do. vulkan_close undoes it, also half of it.
 */
int vulkan_open(struct vulkan *v, const char *policy, char *why, size_t why_size);
void vulkan_close(struct vulkan *v);

/* Chains what makes every instance use the driver that was loaded by pointer: call before
 * create_instance with storage that lives as long as the call. Does nothing when there is none;
 * the caller enables VK_LUNARG_direct_driver_loading if v->driver is not NULL. */
struct vulkan_direct {
    VkDirectDriverLoadingInfoLUNARG info;
    VkDirectDriverLoadingListLUNARG list;
};
void vulkan_chain_driver(const struct vulkan *v, VkInstanceCreateInfo *info,
                         struct vulkan_direct *storage);

/* The policy overlay for a driver, "" if there is none. */
const char *vulkan_policy(VkDriverId id);

#endif
