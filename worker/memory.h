/* Device memory: what stands behind it, and how it becomes a blob resource. */
#ifndef CORDON_WORKER_MEMORY_H
#define CORDON_WORKER_MEMORY_H

#include <stdint.h>

struct charge;
struct context;
struct memory;

/* virtio-gpu blob flags and map info, as on the render-server wire */
#define BLOB_MAPPABLE 1u
#define BLOB_SHAREABLE 2u
#define BLOB_CROSS_DEVICE 4u
#define MAP_INFO_NONE 0u
#define MAP_INFO_CACHED 1u
#define MAP_INFO_UNCACHED 2u
#define MAP_INFO_WC 3u

struct memory_blob {
    int fd;           /* new, close-on-exec, owned by the caller */
    uint32_t fd_type; /* enum resource_kind */
    uint32_t map_info;
    struct charge *charge; /* a reference for the resource that is made of it */
    /* opaque only */
    uint8_t device_uuid[16], driver_uuid[16];
    uint64_t allocation_size;
    uint32_t memory_type_index;
};

/* Exports the VkDeviceMemory with this guest id, once for ever, for CREATE_RESOURCE. Holds the
 * object safely while a ring may free it. 0; -ENOENT unknown id; -EALREADY exported before;
 * -EINVAL size or flags; -ENOTSUP no backing can do it. Context thread. */
int memory_export(struct context *ctx, uint64_t memory_id, uint64_t size, uint32_t blob_flags,
                  struct memory_blob *ret_blob);

/* Frees the host's memory, then what stands behind it. The struct itself goes with its object. */
void memory_end(struct memory *m);
/* object::data_free of device memory. NULL is fine. */
void memory_free(void *data);

#endif
