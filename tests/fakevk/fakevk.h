/*
 * A Vulkan driver and loader in one that does nothing and agrees to everything: every entry point
 * exists, calls succeed, creations give handles that are never 0 and never the same twice, lists
 * hold one of everything. For tests and fuzzers of what lies in front of a driver.
 */
#ifndef CORDON_TESTS_FAKEVK_H
#define CORDON_TESTS_FAKEVK_H

#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

#include "worker/vulkan.h"

/* What the host looks like; a test changes it before it asks. */
struct fakevk_host {
    uint32_t n_physical, n_groups; /* devices are dealt out to the groups in turn */
    VkPhysicalDeviceType type;
    uint32_t n_types;
    VkMemoryPropertyFlags types[VK_MAX_MEMORY_TYPES];
    /* Kinds of memory that it exports (OPAQUE_FD, DMA_BUF) or imports (HOST_ALLOCATION). */
    VkExternalMemoryHandleTypeFlags external;
    bool sync_fds; /* semaphores and fences are exported and imported as sync files */
    uint32_t sync_exported, sync_imported; /* counted by the driver */
    VkImportSemaphoreFdInfoKHR last_import;
    uint32_t pools; /* command pools in memory of an allocator, not given back to it yet */
};
extern struct fakevk_host fakevk_host;
/* The usual one: a GPU, one group, two memory types, everything external. */
void fakevk_host_reset(void);

PFN_vkVoidFunction VKAPI_PTR fakevk_get_instance_proc_addr(VkInstance instance, const char *name);

/* As vulkan_open leaves it, with this driver. */
void fakevk_open(struct vulkan *v);

#endif
