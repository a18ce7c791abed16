#include "worker/handle_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/cleanup.h"

struct handle_entry {
    uint64_t handle;
    struct handle_entry *next;
    unsigned char value[];
};

void handle_map_init(struct handle_map *m, size_t value_size)
{
    *m = (struct handle_map){ .value_size = value_size };
    pthread_mutex_init(&m->lock, NULL);
}

void handle_map_fini(struct handle_map *m)
{
    for (uint32_t i = 0; i < m->n_buckets; i++) {
        while (m->buckets[i]) {
            struct handle_entry *e = m->buckets[i];

            m->buckets[i] = e->next;
            free(e);
        }
    }
    free(m->buckets);
    pthread_mutex_destroy(&m->lock);
}

/* Handles are often pointers: their low bits say nothing. */
static struct handle_entry **bucket(struct handle_entry **buckets, uint32_t n, uint64_t handle)
{
    return &buckets[((handle * 0x9e3779b97f4a7c15u) >> 32) & (n - 1)];
}

/* The place of the handle's entry, or the end of its bucket. There is at least one bucket. */
static struct handle_entry **find(struct handle_map *m, uint64_t handle)
{
    struct handle_entry **e = bucket(m->buckets, m->n_buckets, handle);

    while (*e && (*e)->handle != handle) {
        e = &(*e)->next;
    }
    return e;
}

static int grow(struct handle_map *m)
{
    const uint32_t n = m->n_buckets ? m->n_buckets * 2 : 64;
    struct handle_entry **buckets = calloc(n, sizeof(struct handle_entry *));

    if (!buckets) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < m->n_buckets; i++) {
        while (m->buckets[i]) {
            struct handle_entry *e = m->buckets[i];
            struct handle_entry **to = bucket(buckets, n, e->handle);

            m->buckets[i] = e->next;
            e->next = *to;
            *to = e;
        }
    }
    free(m->buckets);
    m->buckets = buckets;
    m->n_buckets = n;
    return 0;
}

int handle_map_put(struct handle_map *m, uint64_t handle, const void *value)
{
    struct handle_entry **e;
    LOCK_SCOPE(&m->lock);

    if (atomic_load_explicit(&m->count, memory_order_relaxed) >= m->n_buckets && grow(m) < 0) {
        return -ENOMEM;
    }
    e = find(m, handle);
    if (!*e) {
        *e = calloc(1, sizeof(**e) + m->value_size);
        if (!*e) {
            return -ENOMEM;
        }
        (*e)->handle = handle;
        atomic_fetch_add_explicit(&m->count, 1, memory_order_relaxed);
    }
    if (m->value_size > 0) {
        memcpy((*e)->value, value, m->value_size);
    }
    return 0;
}

void handle_map_remove(struct handle_map *m, uint64_t handle)
{
    struct handle_entry **e, *dead;

    if (atomic_load_explicit(&m->count, memory_order_relaxed) == 0) {
        return;
    }
    LOCK_SCOPE(&m->lock);
    e = find(m, handle);
    dead = *e;
    if (dead) {
        *e = dead->next;
        free(dead);
        atomic_fetch_sub_explicit(&m->count, 1, memory_order_relaxed);
    }
}

bool handle_map_get(struct handle_map *m, uint64_t handle, void *ret_value)
{
    const struct handle_entry *e;

    /* The guest's own ordering puts its creation before its use. */
    if (atomic_load_explicit(&m->count, memory_order_relaxed) == 0) {
        return false;
    }
    LOCK_SCOPE(&m->lock);
    e = *find(m, handle);
    if (e && ret_value) {
        memcpy(ret_value, e->value, m->value_size);
    }
    return e != NULL;
}
