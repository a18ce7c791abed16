#include "worker/arena.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>

#include "worker/limits.h"

struct arena_chunk {
    struct arena_chunk *older; /* NULL for the first, which stays until arena_fini */
    size_t size;               /* of bytes */
    alignas(16) uint8_t bytes[];
};

static void arena_use(struct arena *a, struct arena_chunk *chunk)
{
    a->current = chunk;
    a->pos = chunk->bytes;
    a->end = chunk->bytes + chunk->size;
}

int arena_init(struct arena *a, size_t cap)
{
    struct arena_chunk *chunk;
    size_t size = MIN(cap, LIMIT_ARENA_FIRST);

    chunk = aligned_alloc(16, sizeof(*chunk) + ((size + 15) & ~(size_t)15));
    if (!chunk) {
        return -ENOMEM;
    }
    chunk->older = NULL;
    chunk->size = (size + 15) & ~(size_t)15;
    *a = (struct arena){ .cap = cap, .total = chunk->size };
    arena_use(a, chunk);
    a->first = a->pos;
    return 0;
}

void arena_fini(struct arena *a)
{
    if (a->current) {
        arena_shrink(a);
        free(a->current);
    }
    *a = (struct arena){ 0 };
}

void *arena_grow(struct arena *a, size_t size)
{
    struct arena_chunk *chunk;
    size_t need = (size + 15) & ~(size_t)15;
    size_t take;
    void *p;

    if (need < size || need > a->cap - MIN(a->cap, a->total)) {
        return NULL;
    }
    /* Doubles what is held, so that a command with many small parts meets malloc rarely. */
    take = MIN(MAX(need, a->total), a->cap - a->total);
    take = (take + 15) & ~(size_t)15;
    /* calloc: a big chunk comes as fresh pages, which are zero and cost nothing until used. */
    chunk = calloc(1, sizeof(*chunk) + take);
    if (!chunk) {
        return NULL;
    }
    static_assert(alignof(max_align_t) >= 16, "calloc must align to 16");
    chunk->size = take;
    chunk->older = a->current;
    a->total += take;
    arena_use(a, chunk);
    p = a->pos;
    a->pos += need;
    return p;
}

void arena_shrink(struct arena *a)
{
    struct arena_chunk *chunk = a->current;

    while (UNLIKELY(chunk->older != NULL)) {
        struct arena_chunk *older = chunk->older;

        a->total -= chunk->size;
        free(chunk);
        chunk = older;
    }
    arena_use(a, chunk);
}
