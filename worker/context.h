/*
 * Everything that one guest context owns. One per worker process.
 *
 * Threads: main (control loop: monitor ticks, and the socket while the context thread is busy; never
 * calls Vulkan), the context thread (requests in order), one per ring, one per queue that has
 * virtqueue fences.
 */
#ifndef CORDON_WORKER_CONTEXT_H
#define CORDON_WORKER_CONTEXT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/base.h"
#include "worker/budget.h"
#include "worker/decoder.h"
#include "worker/objects.h"
#include "worker/recorder.h"
#include "worker/resources.h"
#include "worker/timeline.h"

struct requests;
struct vulkan;

struct context {
    /* Set at creation, then const. */
    uint32_t id;
    char name[32];
    struct vulkan *vulkan;
    struct recorder *recorder;
    int control_fd; /* to the server; -1 in tests */
    int wake_fd;    /* eventfd: tells the main thread of `fatal` and of a new monitor period */

    /* Each with its own lock. */
    struct objects objects;
    struct resources resources;
    struct budget budget;
    struct timelines timelines;

    /* The guest's instance: context-wide, set by vkCreateInstance under `lock`. */
    struct object *instance;

    /* ring.c: changed by the context thread under the lock, walked by others under the lock. */
    pthread_mutex_t rings_lock;
    struct list rings;
    uint32_t n_rings, next_ring_number;

    _Atomic uint32_t monitor_period_us; /* smallest asked; 0 = none */

    pthread_mutex_t lock;
    _Atomic bool fatal; /* sticky: no thread decodes any more */
    char why[320];      /* the reason, one line; set before `fatal`, then const */

    /* Context thread only. */
    struct requests *requests; /* NULL in tests without a socket */
    struct decoder decoder;    /* the context stream's */
};

/* Everything but the threads. `record` and `vulkan` outlive the context; control_fd is the
 * caller's. Returns 0 or a negative errno; then nothing is left behind. */
int context_init(struct context *ctx, uint32_t id, const char *name, struct recorder *recorder,
                 struct vulkan *vulkan, int control_fd);
/* All other threads of the context have ended, and with them its rings (rings_stop). */
void context_fini(struct context *ctx);

/* The context is over: logs one line with the reason (first caller wins), sets FATAL on every
 * ring, wakes every waiter. Any thread. */
COLD void context_fatal(struct context *ctx, const char *fmt, ...) PRINTF(2, 3);

static inline bool context_is_fatal(const struct context *ctx)
{
    return atomic_load_explicit(&ctx->fatal, memory_order_relaxed);
}

/* A monitored ring was created (main thread re-arms its timer). Context thread. */
void context_monitor(struct context *ctx, uint32_t period_us);

#endif
