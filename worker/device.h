/*
 * What we keep for a guest's VkInstance, VkPhysicalDevice and VkDevice: object::data of those
 * types. Each is freed when no decoder thread can hold its object any more, so its entry points
 * and facts stay readable for a command that another ring's destroy has overtaken.
 *
 * Lock order, here and in the other command rooms (a lock is taken only behind those above it):
 *     context::lock            the guest's one instance
 *     instance::lock           ids of the physical devices
 *     timelines::lock          which queue a fence goes to
 *     memory::lock             an export against the end of the memory
 *     device::fences_lock      replaced fences
 *     queue::lock              host access to a queue
 *     semaphores::lock         marks on semaphores
 *     handle_map::lock, fence_waiter::lock, timelines::publish, objects::lock, resources::lock:
 *     leaves
 */
#ifndef CORDON_WORKER_DEVICE_H
#define CORDON_WORKER_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

#include "ipc/list.h"
#include "wire/procs.h"
#include "worker/backing.h"
#include "worker/handle_map.h"
#include "worker/semaphores.h"

struct context;
struct decoder;
struct object;
struct queue;

/* Highest version that we speak: instance and device. */
#define DEVICE_API_MINOR 4u

/* The guest's answer to a version of the host: minor capped, patch kept. */
uint32_t api_version_cap(uint32_t version);

/* Every host device of the instance, in the host's order. */
struct physical {
    /* Set at creation of the instance, then const. */
    VkPhysicalDevice handle;
    const struct wire_procs *vk;           /* the instance's */
    VkPhysicalDeviceProperties properties; /* as the host says */
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t api_version; /* of the device, capped */
    VkExtensionProperties *host_extensions;
    uint32_t n_host_extensions;
    VkExtensionProperties *extensions; /* what the guest is told: protocol's and host's, or ours */
    uint32_t n_extensions;
    uint32_t n_families;
    VkQueueFamilyProperties *families;
    /* Lavapipe (to 26.1 at least) takes the contents of imported pages, which the guest writes, for
     * its own account of an allocation when it binds them to a sparse resource. */
    bool no_sparse;
    VkDeviceSize host_pointer_alignment; /* 0: the driver imports no host pointers */
    /* VK_KHR_external_*_fd with SYNC_FD, done by the driver itself */
    bool semaphore_import, semaphore_export, fence_export;

    uint64_t id; /* the guest's; 0 until it gave one; under instance::lock */
};

struct instance {
    struct wire_procs procs;
    uint32_t api_version;               /* asked by the guest, raised to 1.1 and capped */
    VkDebugUtilsMessengerEXT messenger; /* with the validation layer only */

    uint32_t n_physicals; /* const after creation */
    struct physical *physicals;

    pthread_mutex_t lock;
};

struct device {
    /* Set at creation, then const. */
    struct context *ctx;
    struct physical *physical;
    struct wire_procs procs;
    uint32_t api_version; /* what may be used of it: the lower of device and instance */
    struct backings backings;
    struct list queues; /* queue::link */

    /* Sizes that output blobs are checked against; 0 = not supported. */
    VkDeviceSize group_handle_size, group_capture_size;
    VkDeviceSize sampler_descriptor_size, capture_data_size;

    struct semaphores semaphores;
    /* struct image of those that a command must know more about than their handle; and the set
     * of buffers that could not be made for backings::kind. */
    struct handle_map images, buffers;

    _Atomic bool lost;

    /* Host fences that vkResetFenceResourceMESA replaced while they were pending. */
    pthread_mutex_t fences_lock;
    VkFence *old_fences;
    uint32_t n_old_fences, max_old_fences;
};

/* Reads everything about the host's devices. VK_SUCCESS or the host's error. */
VkResult instance_read_physicals(struct instance *inst);
/* object::data_free of instances. NULL is fine. */
void instance_free(void *data);

/* Is a host extension there? */
bool physical_has(const struct physical *p, const char *name);
/* Bytes of device memory that a context may hold if the operator sets no limit. */
uint64_t physical_budget(const struct physical *p);

struct device_extensions {
    const char **names;
    uint32_t count;
};

/*
 * The list for the host's vkCreateDevice: what the guest asked for (each must be on its list, or
 * be VK_KHR_deferred_host_operations), without what only we supply, plus what we need ourselves.
 * `ret->names` has room for n_asked + DEVICE_EXTRA_EXTENSIONS. Pure.
 * VK_SUCCESS or VK_ERROR_EXTENSION_NOT_PRESENT.
 */
#define DEVICE_EXTRA_EXTENSIONS 8u
VkResult device_choose_extensions(const struct physical *p, const char *const *asked,
                                  uint32_t n_asked, struct device_extensions *ret);

/* Queue families and counts asked for, against those there are. Pure. */
bool device_queues_fit(const struct physical *p, const VkDeviceCreateInfo *info);

/* After vkCreateDevice: entry points, queues, backings. On failure the host device is gone. */
VkResult device_create(struct context *ctx, struct instance *inst, struct physical *p,
                       VkDevice handle, const VkDeviceCreateInfo *info, struct device **ret);
/* object::data_free of devices: nothing of the host is touched. NULL is fine. */
void device_free(void *data);

/* The guest's objects that left the table with a device or instance. */
struct device_leftovers {
    struct object **objects;
    uint32_t count, max;
};
/* A `gone` callback; arg: struct device_leftovers *. */
void device_collect(struct object *o, void *arg);

/*
 * Ends the host device behind an object that has left the table: waits until its queues are idle,
 * destroys those of `left` that are its own, then the device itself. If the context ends
 * meanwhile the rest is left to the end of the process.
 */
void device_teardown(struct decoder *d, struct object *device, struct device_leftovers *left);

/* One object's host side, of whatever type. */
void device_destroy_object(const struct object *o);

/* A call on the device failed: if it is lost, the server is to know, once per device. Any thread. */
COLD void device_note_failure(struct device *dev, VkResult result);

/* A replaced fence: destroyed once it is signalled. Takes it. */
void device_park_fence(struct device *dev, VkFence fence);

/* `d` is to give up a long wait: its ring or its context ends. */
bool decoder_stopping(const struct decoder *d);

#endif
