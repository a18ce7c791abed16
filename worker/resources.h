/*
 * The context's resources: virtio-gpu resource id -> a descriptor and, for shared memory, a
 * mapping. Referenced by whoever uses the bytes (rings, reply windows), so that a mapping never
 * goes away under a thread.
 */
#ifndef CORDON_WORKER_RESOURCES_H
#define CORDON_WORKER_RESOURCES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/list.h"

struct charge;

enum resource_kind {
    RESOURCE_DMABUF = 0, /* numbers of the render-server wire, fd_type */
    RESOURCE_OPAQUE = 1,
    RESOURCE_SHM = 2,
};

struct resource {
    uint32_t id;
    enum resource_kind kind;
    int fd;        /* owned */
    uint64_t size; /* usable bytes; shm: never more than the file has, which cannot shrink */
    void *map;     /* shm that is no exported memory: `size` bytes, read-write, the guest's too */
    /* For an exported VkDeviceMemory that the same context may import again by resource id. */
    bool exported_memory;
    _Atomic bool removed; /* its id is gone: nothing new may start to use it */
    _Atomic uint32_t refs;
    struct charge *charge;   /* of the exported memory; NULL if none */
    struct resources *table; /* where its bytes are accounted */
    struct list link;        /* resources::buckets */
};

struct resources {
    pthread_mutex_t lock;
    struct list buckets[256];
    uint32_t count, max;               /* limits.h; ids */
    uint64_t shm_bytes, max_shm_bytes; /* mapped, whether the id is gone or not */
};

int resources_init(struct resources *t);
/* Nobody may hold a reference any more. */
void resources_fini(struct resources *t);

/* New zeroed shared memory of exactly `size` bytes, mapped here. On success *ret_fd is a new
 * close-on-exec memfd for the VMM (sealable, not yet sealed; the caller owns it).
 * 0, -EEXIST (id in use or 0), -EINVAL (size 0), -ENOSPC (limit), or another errno. */
int resources_create_shm(struct resources *t, uint32_t id, uint64_t size, int *ret_fd);

/* A resource from outside or an exported memory. Takes own_fd, success or not. Shm: sealed
 * against shrinking, or refused (-EPERM); mapped; size checked against fstat (-EINVAL).
 * -EEXIST, -ENOSPC as above. */
int resources_import(struct resources *t, uint32_t id, enum resource_kind kind, int own_fd,
                     uint64_t size, bool exported_memory);

/* The charge of an exported memory that has just been imported under this id. Takes it. */
void resources_keep_charge(struct resources *t, uint32_t id, struct charge *own_charge);

/* Forgets the id. Users keep their references. False if unknown. */
bool resources_remove(struct resources *t, uint32_t id);

/* A new reference, or NULL. */
struct resource *resources_get(struct resources *t, uint32_t id);
struct resource *resource_ref(struct resource *r);
/* NULL is fine; returns NULL. */
struct resource *resource_unref(struct resource *r);

#endif
