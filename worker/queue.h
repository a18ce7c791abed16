/*
 * A VkQueue: the lock round every host access to it, and the thread that retires the virtqueue
 * fences of the timeline that it is bound to.
 */
#ifndef CORDON_WORKER_QUEUE_H
#define CORDON_WORKER_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

#include "ipc/list.h"

struct context;
struct device;
struct object;
struct fence_waiter;
struct wire_procs;

struct queue {
    /* Set at creation, then const. */
    VkQueue handle;
    VkDevice device_handle;
    const struct wire_procs *vk;
    struct device *device;
    struct context *ctx;
    uint32_t family, index;
    VkDeviceQueueCreateFlags flags;

    bool fetched;                /* by vkGetDeviceQueue2, once; under lock */
    pthread_mutex_t lock;        /* host access to the queue: every submission takes it */
    bool fenced;                 /* nothing was submitted behind our last fence; under lock */
    struct fence_waiter *waiter; /* context thread; made with the first virtqueue fence */
    struct list link;            /* device::queues */
};

/* NULL when out of memory. */
struct queue *queue_create(struct device *dev, VkQueue handle, uint32_t family, uint32_t index,
                           VkDeviceQueueCreateFlags flags);
/* Joins the waiter; fences still pending are retired. No fence may be submitted any more: unbind
 * the queue from its timeline first. May be called again. */
void queue_stop(struct queue *q);
/* Frees it; queue_stop() first. NULL is fine. */
struct queue *queue_destroy(struct queue *q);

/* Context thread. Submits an empty batch with a fence, unless nothing came behind the last one: then
 * that one tells for both. The queue's waiter retires (ring_idx, seqno) in order once it is
 * signalled. A submission that fails, device lost above
 * all, retires behind those before it. 0 or a negative errno: nothing will retire it. */
int queue_submit_fence(struct queue *q, uint32_t ring_idx, uint32_t seqno);

#endif
