/*
 * Takes waits out of decoded queue submissions. Arrays that belong together (semaphores, stages,
 * timeline values, device indices) shrink in step; those that change are copied, for the decoded
 * ones may lie in the stream. Pure but for what `take` does.
 */
#ifndef CORDON_WORKER_SUBMIT_FILTER_H
#define CORDON_WORKER_SUBMIT_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

struct arena;

/* Asked for each wait in submission order; true: leave this wait out. */
typedef bool (*submit_take)(void *arg, VkSemaphore semaphore);

/* The structures lie in `a` (writable); false: the arena is exhausted. */
bool submit_filter(struct arena *a, VkSubmitInfo *submits, uint32_t count, submit_take take,
                   void *arg);
bool submit_filter2(struct arena *a, VkSubmitInfo2 *submits, uint32_t count, submit_take take,
                    void *arg);
bool submit_filter_sparse(struct arena *a, VkBindSparseInfo *binds, uint32_t count,
                          submit_take take, void *arg);

#endif
