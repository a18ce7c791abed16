/*
 * Memory for what one command pool's command buffers record, for drivers that allocate it command by
 * command. The general heap loses its order when a recording of many sizes is freed: the next one is
 * spread over it, and costs more in cache misses than in all else (docs/performance.md). Here blocks
 * of one size follow one another, and come back in the order in which they were.
 *
 * A pool is used by one thread at a time, says Vulkan. A guest may not care, so there is a lock; it
 * costs nothing to speak of as long as nobody waits for it.
 */
#ifndef CORDON_WORKER_COMMAND_HEAP_H
#define CORDON_WORKER_COMMAND_HEAP_H

#include <vulkan/vulkan_core.h>

/* For the pool's creation and its end; owned by the caller. What is freed is used again by the same
 * pool, and goes back with command_heap_free. NULL: no memory. */
VkAllocationCallbacks *command_heap_new(void);
/* When the pool has ended. NULL is fine. */
void command_heap_free(void *heap);

#endif
