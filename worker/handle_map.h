/*
 * Host handle -> what we know about it, for handles inside structures, where only the host's
 * value is at hand. Holds exceptions, not everything: look-ups in an empty map take no lock.
 * Values are copied in and out, so that nobody holds one that another thread frees.
 */
#ifndef CORDON_WORKER_HANDLE_MAP_H
#define CORDON_WORKER_HANDLE_MAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handle_map {
    _Atomic uint32_t count;
    pthread_mutex_t lock;
    struct handle_entry **buckets;
    size_t value_size;  /* const */
    uint32_t n_buckets; /* a power of two, or 0 */
};

/* `value_size` may be 0: a set. */
void handle_map_init(struct handle_map *m, size_t value_size);
void handle_map_fini(struct handle_map *m);

/* 0 or -ENOMEM. Replaces the value of a handle that is there. */
int handle_map_put(struct handle_map *m, uint64_t handle, const void *value);
void handle_map_remove(struct handle_map *m, uint64_t handle);
/* True if it is there. `ret_value` gets the value; NULL if there is none to get. */
bool handle_map_get(struct handle_map *m, uint64_t handle, void *ret_value);

#endif
