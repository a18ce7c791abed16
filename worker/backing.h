/*
 * Memory strategies: what stands behind a guest's VkDeviceMemory so that the VMM can map it.
 *
 * A kind is chosen once per memory type of a device, from what the driver really does there.
 * Vulkan allows a buffer or image to be bound to imported or exportable memory only if it was
 * created for that kind of handle. All kinds cannot be asked for at once, so a device has one
 * kind for its buffers and images (`backings::kind`): they are created for it where the driver
 * can, and memory types backed in another way are taken out of their memory requirements.
 */
#ifndef CORDON_WORKER_BACKING_H
#define CORDON_WORKER_BACKING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

#include "worker/memory.h"

struct arena;
struct charge;
struct device;
struct resource;

enum backing_kind {
    BACKING_PLAIN,        /* nothing: the guest cannot map it */
    BACKING_HOST_POINTER, /* pages of a sealed memfd, imported by the driver */
    BACKING_DMA_BUF,      /* allocated by the driver, exported as dma-buf */
    BACKING_OPAQUE_FD,    /* the same, as a descriptor that only Vulkan can map */
    BACKING_KINDS,
};

/* What the driver can do with one memory type. */
struct backing_facts {
    VkMemoryPropertyFlags flags;
    bool can[BACKING_KINDS];
    bool cpu; /* the device is the CPU: all its memory is ordinary pages */
};

/* The kind of one memory type. Pure. */
enum backing_kind backing_choose(const struct backing_facts *f);

struct backings {
    uint8_t of_type[VK_MAX_MEMORY_TYPES]; /* enum backing_kind */
    uint32_t types[BACKING_KINDS];        /* memory type bits of each kind */
    enum backing_kind kind;               /* what buffers and images are created for */
    uint32_t host_pointer_types;          /* importing pages works here */
    VkDeviceSize alignment;               /* of imported pages: address and size */
    bool dma_buf, opaque_fd;              /* the driver exports (and imports) these at all */
    bool dma_buf_and_opaque;              /* one memory may be exported as both */
};

/* The kind that most mappable types have; among equals the first of enum backing_kind. Pure. */
enum backing_kind backings_main_kind(const struct backings *b);
/* Memory types that a resource may be bound to; `external`: it was created for b->kind. Never 0
 * unless `bits` is: the driver's own answer is better than none. Pure. */
uint32_t backings_allowed(const struct backings *b, uint32_t bits, bool external);

/* Finds out what the driver can do. Leaves nothing behind. */
void backings_probe(struct device *dev);

struct backing;

/* object::data of a VkDeviceMemory; freed when no thread can hold the object any more. */
struct memory {
    /* Set at creation, then const. */
    const struct backing *backing;
    struct device *device;
    VkDeviceMemory handle;
    VkDeviceSize size; /* of the host's allocation */
    uint32_t type;
    VkMemoryPropertyFlags flags;
    struct charge *charge; /* NULL: an import, whose bytes are counted where they came from */

    /* Host pointer only. */
    void *area; /* what is mapped: the pages, and what it took to align them */
    size_t area_size;
    uint64_t pages; /* bytes of the memfd: the allocation's size in whole guest pages */

    pthread_mutex_t lock;
    int fd;        /* memfd, until it is handed out; under lock */
    bool exported; /* under lock */
    bool freed;    /* the host's memory is gone; under lock */
};

/* The host handle type of a kind; 0 for plain. */
VkExternalMemoryHandleTypeFlagBits backing_handle_type(enum backing_kind kind);

struct backing {
    const char *name;
    /* Makes `info`, a private copy in the arena, allocate memory of this kind. */
    VkResult (*attach)(struct memory *m, struct arena *a, VkMemoryAllocateInfo *info);
    /* A descriptor of at least (host pointer: exactly) `size` bytes, with memory::lock held. 0 or
     * a negative errno. */
    int (*export_fd)(struct memory *m, uint64_t size, struct memory_blob *ret_blob);
    /* After the host's memory is gone, or if it was never made. */
    void (*release)(struct memory *m);
};

extern const struct backing backing_plain, backing_host_pointer, backing_dma_buf, backing_opaque_fd;
const struct backing *backing_of(enum backing_kind kind);

/* backing_host_pointer.c: the pages of a shared-memory resource, instead of new ones. */
VkResult backing_attach_resource(struct memory *m, struct arena *a, VkMemoryAllocateInfo *info,
                                 const struct resource *resource);
/* Can the driver import pages for this memory type? Tries it. */
uint32_t backing_host_pointer_types(struct device *dev);

/* Both exporting kinds. */
int backing_export_handle(struct memory *m, VkExternalMemoryHandleTypeFlagBits type, int *ret_fd);

#endif
