#include "worker/queue.h"

#include <errno.h>
#include <stdlib.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "worker/context.h"
#include "worker/device.h"
#include "worker/timeline.h"

/* How long the waiter may not notice that it is to stop. */
#define SLICE_NS 100000000ull

struct pending {
    VkFence fence;  /* kept for the next use too; VK_NULL_HANDLE: none yet */
    bool submitted; /* the fence is with the host; else there is nothing to wait for but its turn */
    uint32_t ring_idx, seqno;
    struct list link; /* fence_waiter::pending or spare */
};

struct fence_waiter {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    bool stop;           /* under lock */
    struct list pending; /* oldest first; under lock. The waiter alone takes off */
    struct list spare;   /* signalled and reset, or none yet; under lock */
};

struct queue *queue_create(struct device *dev, VkQueue handle, uint32_t family, uint32_t index,
                           VkDeviceQueueCreateFlags flags)
{
    struct queue *q = calloc(1, sizeof(*q));

    if (!q) {
        return NULL;
    }
    q->handle = handle;
    q->device_handle = dev->procs.device;
    q->vk = &dev->procs;
    q->device = dev;
    q->ctx = dev->ctx;
    q->family = family;
    q->index = index;
    q->flags = flags;
    pthread_mutex_init(&q->lock, NULL);
    list_init(&q->link);
    return q;
}

/* Waits for one fence. False: the waiter is to stop. */
static bool wait_fence(struct queue *q, struct fence_waiter *w, const struct pending *p)
{
    for (;;) {
        VkResult result = VK_SUCCESS;

        /* Any error but a timeout, device lost above all, means that waiting longer is no use. */
        if (p->submitted) {
            result = q->vk->WaitForFences(q->device_handle, 1, &p->fence, VK_TRUE, SLICE_NS);
        }
        if (result != VK_TIMEOUT) {
            if (result != VK_SUCCESS) {
                device_note_failure(q->device, result);
            }
            return true;
        }
        LOCK_SCOPE(&w->lock);
        if (w->stop) {
            return false;
        }
    }
}

/* Back to the spare ones, reset; a fence that cannot be reset is given up. */
static void recycle(struct queue *q, struct fence_waiter *w, struct pending *p)
{
    if (p->submitted && q->vk->ResetFences(q->device_handle, 1, &p->fence) != VK_SUCCESS) {
        q->vk->DestroyFence(q->device_handle, p->fence, NULL);
        p->fence = VK_NULL_HANDLE;
    }
    p->submitted = false;
    LOCK_SCOPE(&w->lock);
    list_append(&w->spare, &p->link);
}

static struct pending *first_pending(struct fence_waiter *w)
{
    return list_empty(&w->pending) ? NULL : list_entry(w->pending.next, struct pending, link);
}

/* The oldest, or NULL when the thread is to stop. It stays on the list while it is waited for. */
static struct pending *next_pending(struct fence_waiter *w)
{
    LOCK_SCOPE(&w->lock);

    while (!w->stop && list_empty(&w->pending)) {
        pthread_cond_wait(&w->more, &w->lock);
    }
    return w->stop ? NULL : first_pending(w);
}

/* Takes off `p`, which is done, and returns the one behind it if that is done too. */
static struct pending *take_done(struct queue *q, struct fence_waiter *w, struct pending *p)
{
    struct pending *next;

    {
        LOCK_SCOPE(&w->lock);
        list_remove(&p->link);
        next = first_pending(w);
    }
    if (next && next->submitted &&
        q->vk->GetFenceStatus(q->device_handle, next->fence) == VK_NOT_READY) {
        return NULL;
    }
    return next;
}

static void *waiter_thread(void *arg)
{
    struct queue *q = arg;
    struct fence_waiter *w = q->waiter;
    struct pending *p;

    while ((p = next_pending(w)) && wait_fence(q, w, p)) {
        uint32_t ring_idx, seqno;
        struct pending *next;

        /* What finished together is told together: one signal to the VMM. */
        do {
            ring_idx = p->ring_idx;
            seqno = p->seqno;
            next = take_done(q, w, p);
            if (next && next->ring_idx != ring_idx) {
                timeline_retire(&q->ctx->timelines, ring_idx, seqno);
            }
            recycle(q, w, p);
            p = next;
        } while (p);
        timeline_retire(&q->ctx->timelines, ring_idx, seqno);
    }
    return NULL;
}

static struct fence_waiter *waiter_free(struct fence_waiter *w)
{
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return NULL;
}

static int waiter_start(struct queue *q)
{
    struct fence_waiter *w = calloc(1, sizeof(*w));
    int r;

    if (!w) {
        return -ENOMEM;
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    list_init(&w->pending);
    list_init(&w->spare);
    q->waiter = w;
    r = pthread_create(&w->thread, NULL, waiter_thread, q);
    if (r != 0) {
        q->waiter = waiter_free(w);
        return -r;
    }
    return 0;
}

static struct pending *take_spare(struct fence_waiter *w)
{
    struct pending *p = NULL;

    {
        LOCK_SCOPE(&w->lock);
        if (!list_empty(&w->spare)) {
            p = list_entry(w->spare.next, struct pending, link);
            list_remove(&p->link);
        }
    }
    if (!p) {
        p = calloc(1, sizeof(*p));
        if (p) {
            list_init(&p->link);
        }
    }
    return p;
}

/* Sends p's fence behind all that was submitted; does without where that is the last one's place. */
static VkResult submit_fence(struct queue *q, struct pending *p)
{
    const VkFenceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    VkResult result = VK_SUCCESS;
    LOCK_SCOPE(&q->lock);

    if (q->fenced) {
        return VK_SUCCESS;
    }
    if (!p->fence) {
        result = q->vk->CreateFence(q->device_handle, &info, NULL, &p->fence);
    }
    if (result == VK_SUCCESS) {
        result = q->vk->QueueSubmit(q->handle, 0, NULL, p->fence);
    }
    q->fenced = p->submitted = result == VK_SUCCESS;
    return result;
}

int queue_submit_fence(struct queue *q, uint32_t ring_idx, uint32_t seqno)
{
    struct fence_waiter *w;
    struct pending *p;
    VkResult result;

    if (!q->waiter) {
        int r = waiter_start(q);

        if (r < 0) {
            return r;
        }
    }
    w = q->waiter;
    p = take_spare(w);
    if (!p) {
        return -ENOMEM;
    }
    p->ring_idx = ring_idx;
    p->seqno = seqno;
    result = submit_fence(q, p);
    if (result != VK_SUCCESS) {
        device_note_failure(q->device, result);
        log_debug("queue %u.%u: fence %u of timeline %u is not waited for: VkResult %d", q->family,
                  q->index, seqno, ring_idx, (int)result);
        if (p->fence) {
            q->vk->DestroyFence(q->device_handle, p->fence, NULL);
        }
        p->fence = VK_NULL_HANDLE;
    }
    LOCK_SCOPE(&w->lock);
    list_append(&w->pending, &p->link);
    pthread_cond_signal(&w->more);
    return 0;
}

void queue_stop(struct queue *q)
{
    struct fence_waiter *w = q->waiter;

    if (!w) {
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);

    list_for_each_safe (link, &w->pending) {
        struct pending *p = list_entry(link, struct pending, link);

        timeline_retire(&q->ctx->timelines, p->ring_idx, p->seqno);
        list_remove(&p->link);
        list_append(&w->spare, &p->link);
    }
    list_for_each_safe (link, &w->spare) {
        struct pending *p = list_entry(link, struct pending, link);

        if (p->fence) {
            q->vk->DestroyFence(q->device_handle, p->fence, NULL);
        }
        free(p);
    }
    q->waiter = waiter_free(w);
}

struct queue *queue_destroy(struct queue *q)
{
    if (q) {
        pthread_mutex_destroy(&q->lock);
        free(q);
    }
    return NULL;
}
