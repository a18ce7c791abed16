#include "worker/resources.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "worker/budget.h"
#include "worker/limits.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

int resources_init(struct resources *t)
{
    *t = (struct resources){ .max = limits_from_server.blobs,
                             .max_shm_bytes = limits_from_server.shm };
    pthread_mutex_init(&t->lock, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(t->buckets); i++) {
        list_init(&t->buckets[i]);
    }
    return 0;
}

void resources_fini(struct resources *t)
{
    for (size_t i = 0; i < ARRAY_SIZE(t->buckets); i++) {
        list_for_each_safe (link, &t->buckets[i]) {
            struct resource *r = list_entry(link, struct resource, link);

            list_remove(&r->link);
            resource_unref(r);
        }
    }
    assert(t->shm_bytes == 0);
    pthread_mutex_destroy(&t->lock);
}

static struct resource *find_locked(struct resources *t, uint32_t id)
{
    struct list *bucket = &t->buckets[id % ARRAY_SIZE(t->buckets)];

    list_for_each (link, bucket) {
        struct resource *r = list_entry(link, struct resource, link);

        if (r->id == id) {
            return r;
        }
    }
    return NULL;
}

/* Takes own_fd. Maps and accounts shm, whose file has at least `size` bytes for ever. What backs
 * an exported VkDeviceMemory is not for streams, so it is not mapped here whatever its kind. */
static int resource_add(struct resources *t, uint32_t id, enum resource_kind kind, int own_fd,
                        uint64_t size, bool exported_memory)
{
    AUTO_CLOSE int fd = own_fd;
    AUTO_FREE struct resource *r = calloc(1, sizeof(*r));
    bool shm = kind == RESOURCE_SHM && !exported_memory;
    void *map = NULL;
    LOCK_SCOPE(&t->lock);

    if (!r) {
        return -ENOMEM;
    }
    if (id == 0 || find_locked(t, id)) {
        return -EEXIST;
    }
    if (t->count >= t->max) {
        return -EDQUOT;
    }
    if (shm && size > t->max_shm_bytes - t->shm_bytes) {
        return -ENOSPC;
    }
    if (shm) {
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) {
            return -errno;
        }
        t->shm_bytes += size;
    }
    r->id = id;
    r->kind = kind;
    r->fd = take_fd(&fd);
    r->size = size;
    r->map = map;
    r->exported_memory = exported_memory;
    r->table = t;
    atomic_init(&r->refs, 1);
    list_append(&t->buckets[id % ARRAY_SIZE(t->buckets)], &r->link);
    t->count++;
    (void)take_ptr(r);
    return 0;
}

int resources_create_shm(struct resources *t, uint32_t id, uint64_t size, int *ret_fd)
{
    AUTO_CLOSE int fd = -1;
    AUTO_CLOSE int copy = -1;
    int r;

    if (size == 0 || size > INT64_MAX) {
        return -EINVAL;
    }
    if (size > t->max_shm_bytes) {
        return -ENOSPC;
    }
    fd = memfd_create("cordon-shm", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create("cordon-shm", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    if (fd < 0) {
        return -errno;
    }
    /* Sealed now, so that nobody can shrink it under our mapping. Not F_SEAL_SEAL: the VMM adds
     * seals of its own and refuses memory that it cannot seal. */
    if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        return -errno;
    }
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        return -errno;
    }
    r = resource_add(t, id, RESOURCE_SHM, take_fd(&copy), size, false);
    if (r < 0) {
        return r;
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

int resources_import(struct resources *t, uint32_t id, enum resource_kind kind, int own_fd,
                     uint64_t size, bool exported_memory)
{
    AUTO_CLOSE int fd = own_fd;

    if (kind == RESOURCE_SHM && !exported_memory) {
        int seals = fcntl(fd, F_GET_SEALS);
        struct stat st;

        if (seals < 0 || !(seals & F_SEAL_SHRINK)) {
            return -EPERM;
        }
        if (fstat(fd, &st) < 0) {
            return -errno;
        }
        if (size == 0 || st.st_size < 0 || size > (uint64_t)st.st_size) {
            return -EINVAL;
        }
    }
    return resource_add(t, id, kind, take_fd(&fd), size, exported_memory);
}

void resources_keep_charge(struct resources *t, uint32_t id, struct charge *own_charge)
{
    LOCK_SCOPE(&t->lock);
    struct resource *r = find_locked(t, id);

    assert(r && !r->charge);
    r->charge = own_charge;
}

bool resources_remove(struct resources *t, uint32_t id)
{
    struct resource *r;

    {
        LOCK_SCOPE(&t->lock);

        r = find_locked(t, id);
        if (!r) {
            return false;
        }
        list_remove(&r->link);
        t->count--;
        atomic_store_explicit(&r->removed, true, memory_order_relaxed);
    }
    resource_unref(r);
    return true;
}

struct resource *resources_get(struct resources *t, uint32_t id)
{
    LOCK_SCOPE(&t->lock);
    struct resource *r = find_locked(t, id);

    return r ? resource_ref(r) : NULL;
}

struct resource *resource_ref(struct resource *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

struct resource *resource_unref(struct resource *r)
{
    /* Release, and acquire in the last one: all uses of the mapping come before its end. */
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1) {
        return NULL;
    }
    if (r->map) {
        munmap(r->map, r->size);
        LOCK_SCOPE(&r->table->lock);
        r->table->shm_bytes -= r->size;
    }
    close_fd(&r->fd);
    charge_unref(r->charge);
    free(r);
    return NULL;
}
