/*
 * What a renderer must know about binary semaphores when the host driver has no SYNC_FD.
 *
 * vkImportSemaphoreResourceMESA(0) gives a semaphore a temporary payload that is already
 * signalled. Vulkan's rule for a temporary payload: the next wait consumes it and the permanent
 * payload is there again, untouched. So the semaphore is marked here, and the next submission
 * that would wait for it has that wait taken out of its list: the very same effect, and no driver
 * support is needed.
 *
 * A semaphore that the guest may export is remembered with the queue that signals it last:
 * vkWaitSemaphoreResourceMESA consumes its payload with an empty submission to that queue, behind
 * the signal, so that the wait delays nothing.
 */
#ifndef CORDON_WORKER_SEMAPHORES_H
#define CORDON_WORKER_SEMAPHORES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

#include "ipc/base.h"

struct queue;
struct semaphore_entry;

#define SEMAPHORE_BUCKETS 64

struct semaphores {
    /* Submissions look no further when these are 0. */
    _Atomic uint32_t marked, tracked;
    pthread_mutex_t lock;
    struct semaphore_entry *buckets[SEMAPHORE_BUCKETS];
};

void semaphores_init(struct semaphores *s);
void semaphores_fini(struct semaphores *s);

/* Any mark? The guest's own ordering makes a submission see the import before it. */
static inline bool semaphores_any_marked(const struct semaphores *s)
{
    return atomic_load_explicit(&s->marked, memory_order_relaxed) != 0;
}

/* Any whose signals are followed? */
static inline bool semaphores_any_tracked(const struct semaphores *s)
{
    return atomic_load_explicit(&s->tracked, memory_order_relaxed) != 0;
}

/* The guest may export it: signals are followed from now on. 0 or -ENOMEM. */
int semaphores_track(struct semaphores *s, VkSemaphore semaphore);
/* Imported: signalled already. 0 or -ENOMEM. */
int semaphores_mark(struct semaphores *s, VkSemaphore semaphore);
/* Takes the mark off; false if there was none. */
bool semaphores_unmark(struct semaphores *s, VkSemaphore semaphore);
/* Destroyed. */
void semaphores_forget(struct semaphores *s, VkSemaphore semaphore);

/* A submission to `q` signals it. */
void semaphores_signalled(struct semaphores *s, VkSemaphore semaphore, struct queue *q);
/* The queue that signalled a tracked semaphore last, or NULL. */
struct queue *semaphores_signaller(struct semaphores *s, VkSemaphore semaphore);

#endif
