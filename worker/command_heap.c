#include "worker/command_heap.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base.h"

/* A block is a multiple of 16 bytes: its head, then what the driver gets, which so lies at a
 * multiple of 16 too. */
#define STEP 16u
#define N_CLASSES 65u /* up to 1 KiB; what is larger is malloc's */
/* Chunks double: most pools record little. */
#define FIRST_CHUNK 4096u
#define LAST_CHUNK (256u * 1024u)

struct head {
    uint32_t class; /* of the block, in steps; 0: malloc's */
    uint32_t ahead; /* malloc's: its block begins so many bytes before the driver's */
};

struct large {
    size_t size; /* the driver's */
    struct head head;
};

struct chunk {
    struct chunk *next;
    uint8_t bytes[]; /* of blocks, which begin 8 bytes before a multiple of 16, as this does */
};

struct heap {
    VkAllocationCallbacks callbacks; /* first: it stands for the whole */
    _Atomic bool busy;
    uint8_t *at, *end; /* of the last chunk, not given out yet */
    size_t chunk_size;
    struct chunk *chunks;
    void *free[N_CLASSES]; /* each block points to the next one */
};

_Static_assert(sizeof(struct head) == STEP / 2, "a block's head ends at a multiple of 16");
_Static_assert(offsetof(struct chunk, bytes) == STEP / 2, "and so does a chunk's");
_Static_assert(sizeof(struct large) == STEP, "and so does a large one's");
_Static_assert(offsetof(struct heap, callbacks) == 0, "callbacks stand for their heap");

static struct head *head_of(void *memory)
{
    return (struct head *)memory - 1;
}

static void heap_lock(struct heap *h)
{
    while (UNLIKELY(atomic_exchange_explicit(&h->busy, true, memory_order_acquire))) {
        sched_yield();
    }
}

static void heap_unlock(struct heap *h)
{
    atomic_store_explicit(&h->busy, false, memory_order_release);
}

static bool heap_grow(struct heap *h)
{
    struct chunk *chunk = malloc(h->chunk_size);

    if (!chunk) {
        return false;
    }
    chunk->next = h->chunks;
    h->chunks = chunk;
    h->at = chunk->bytes;
    h->end = (uint8_t *)chunk + h->chunk_size;
    h->chunk_size = MIN(h->chunk_size * 2, LAST_CHUNK);
    return true;
}

static void *take(struct heap *h, uint32_t class)
{
    const size_t size = (size_t) class * STEP;
    struct head *head;
    void *memory = h->free[class];

    if (LIKELY(memory)) {
        memcpy(&h->free[class], memory, sizeof(h->free[class]));
        return memory;
    }
    if ((h->at == NULL || (size_t)(h->end - h->at) < size) && !heap_grow(h)) {
        return NULL;
    }
    head = (struct head *)h->at;
    h->at += size;
    *head = (struct head){ .class = class };
    return head + 1;
}

static void *take_large(size_t size, size_t alignment)
{
    const size_t ahead = MAX(alignment, sizeof(struct large));
    struct large *large;
    void *memory;

    if (ahead > LAST_CHUNK || size > PTRDIFF_MAX - ahead ||
        posix_memalign(&memory, ahead, size + ahead) != 0) {
        return NULL;
    }
    large = (struct large *)((uint8_t *)memory + ahead) - 1;
    *large = (struct large){ .size = size, .head.ahead = (uint32_t)ahead };
    return large + 1;
}

/* Of size 0 too: Mesa's drivers take NULL for a lack of memory, and record commands with empty arrays. */
static void *VKAPI_CALL heap_alloc(void *user, size_t size, size_t alignment,
                                   VkSystemAllocationScope scope)
{
    struct heap *h = user;
    void *memory;

    (void)scope;
    if (size > (N_CLASSES - 1) * STEP - sizeof(struct head) || alignment > STEP) {
        return take_large(size, alignment);
    }
    heap_lock(h);
    memory = take(h, (uint32_t)((size + sizeof(struct head) + STEP - 1) / STEP));
    heap_unlock(h);
    return memory;
}

static void VKAPI_CALL heap_release(void *user, void *memory)
{
    struct heap *h = user;
    const struct head *head;

    if (!memory) {
        return;
    }
    head = head_of(memory);
    if (head->class == 0) {
        free((uint8_t *)memory - head->ahead);
        return;
    }
    heap_lock(h);
    memcpy(memory, &h->free[head->class], sizeof(h->free[0]));
    h->free[head->class] = memory;
    heap_unlock(h);
}

static void *VKAPI_CALL heap_realloc(void *user, void *memory, size_t size, size_t alignment,
                                     VkSystemAllocationScope scope)
{
    size_t before;
    void *moved;

    if (!memory) {
        return heap_alloc(user, size, alignment, scope);
    }
    if (size == 0) {
        heap_release(user, memory);
        return NULL;
    }
    before = head_of(memory)->class ? head_of(memory)->class * STEP - sizeof(struct head)
                                    : ((struct large *)memory - 1)->size;
    moved = heap_alloc(user, size, alignment, scope);
    if (moved) {
        memcpy(moved, memory, MIN(before, size));
        heap_release(user, memory);
    }
    return moved;
}

VkAllocationCallbacks *command_heap_new(void)
{
    struct heap *h = calloc(1, sizeof(*h));

    if (!h) {
        return NULL;
    }
    h->chunk_size = FIRST_CHUNK;
    h->callbacks = (VkAllocationCallbacks){
        .pUserData = h,
        .pfnAllocation = heap_alloc,
        .pfnReallocation = heap_realloc,
        .pfnFree = heap_release,
    };
    return &h->callbacks;
}

void command_heap_free(void *heap)
{
    struct heap *h = heap;

    while (h && h->chunks) {
        struct chunk *chunk = h->chunks;

        h->chunks = chunk->next;
        free(chunk);
    }
    free(h);
}
