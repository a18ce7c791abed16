/*
 * What we keep for a VkDevice and a VkQueue: object::data of those types.
 */
#ifndef CORDON_WORKER_QUEUE_H
#define CORDON_WORKER_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

#include "ipc/list.h"

struct context;
struct object;
struct wire_procs;

struct queue {
    VkQueue handle;
    VkDevice device_handle;
    const struct wire_procs *vk;
    uint32_t family, index;
    VkDeviceQueueCreateFlags flags;
    struct object *object; /* NULL until the guest fetched it (once) */
    uint32_t ring_idx;     /* 0 until bound */
    pthread_mutex_t lock;  /* host access to the queue: every submission takes it */
    struct context *ctx;
    struct fence_waiter *waiter; /* thread for virtqueue fences; made with the first one */
    struct list link;      /* device::queues */
};

/* Context thread. Submits an empty batch with a fence; the queue's waiter retires
 * (ring_idx, seqno) in order once it is signalled. Device lost retires at once. 0 or errno. */
int queue_submit_fence(struct queue *q, uint32_t ring_idx, uint32_t seqno);
/* Joins the waiter (pending fences are retired), frees. NULL is fine. */
struct queue *queue_destroy(struct queue *q);

#endif
