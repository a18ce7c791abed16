/*
 * Memory of one command: taken while it is decoded, given back all at once when it is done.
 * Everything comes zeroed, so that what a driver leaves unwritten shows the guest nothing.
 * Owned by one decoder thread; no locks.
 */
#ifndef CORDON_WORKER_ARENA_H
#define CORDON_WORKER_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ipc/base.h"

struct arena_chunk;

struct arena {
    uint8_t *pos, *end;          /* free part of the current chunk */
    uint8_t *first;              /* pos when nothing is taken: of the first chunk */
    struct arena_chunk *current; /* newest chunk; older ones hang off it */
    size_t total;                /* bytes held in chunks, against `cap` */
    size_t cap;                  /* most bytes that one command may use (limits.h) */
};

/* The first chunk is taken at once, so that ordinary commands never meet malloc.
 * Returns 0 or -ENOMEM. */
int arena_init(struct arena *a, size_t cap);
void arena_fini(struct arena *a);

/* Slow path of arena_alloc: takes another chunk. NULL when the cap or memory is exhausted. */
void *arena_grow(struct arena *a, size_t size);

/* Slow path of arena_reset: keeps the first chunk. */
void arena_shrink(struct arena *a);

/* Gives everything back. Most commands have taken nothing. */
static inline void arena_reset(struct arena *a)
{
    if (a->pos != a->first) {
        arena_shrink(a);
    }
}

/* `size` zeroed bytes, aligned to 16, or NULL (cap reached; the caller fails the command).
 * Size 0 gives a valid pointer. */
static inline void *arena_alloc(struct arena *a, size_t size)
{
    size_t need = (size + 15) & ~(size_t)15;
    void *p;

    if (UNLIKELY(need < size || need > (size_t)(a->end - a->pos))) {
        return arena_grow(a, size);
    }
    p = a->pos;
    a->pos += need;
    return memset(p, 0, size);
}

/* `count` zeroed elements; NULL also when count * size overflows. */
static inline void *arena_array(struct arena *a, uint64_t count, size_t size)
{
    size_t bytes;

    if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes))) {
        return NULL;
    }
    return arena_alloc(a, bytes);
}

#endif
