/*
 * Submissions, under the queue's lock. On a host without SYNC_FD semaphores the waits that an
 * import has satisfied are taken out first, and put back if the submission fails (semaphores.h).
 */
#include "ipc/cleanup.h"
#include "wire/commands.h"
#include "worker/arena.h"
#include "worker/decoder.h"
#include "worker/device.h"
#include "worker/queue.h"
#include "worker/submit_filter.h"

/* The marks that one submission has consumed. */
struct consumed {
    struct decoder *d;
    struct semaphores *semaphores;
    VkSemaphore *list;
    uint32_t count, max;
};

static bool consume(void *arg, VkSemaphore semaphore)
{
    struct consumed *done = arg;

    if (!semaphores_unmark(done->semaphores, semaphore)) {
        return false;
    }
    if (done->count == done->max) {
        const uint32_t max = done->max ? done->max * 2 : 8;
        VkSemaphore *more = decode_alloc(done->d, max, sizeof(*more));

        if (!more) {
            return true; /* the command has failed by that */
        }
        if (done->count > 0) {
            memcpy(more, done->list, done->count * sizeof(*more));
        }
        done->list = more;
        done->max = max;
    }
    done->list[done->count++] = semaphore;
    return true;
}

static void put_back(struct consumed *done)
{
    for (uint32_t i = 0; i < done->count; i++) {
        /* There was room for the mark a moment ago; without memory the context is lost anyway. */
        (void)semaphores_mark(done->semaphores, done->list[i]);
    }
}

static struct consumed filter_start(struct decoder *d, const struct queue *q)
{
    return (struct consumed){ .d = d, .semaphores = &q->device->semaphores };
}

static bool filtered(struct decoder *d, bool done)
{
    if (!done) {
        decoder_no_memory(d, 0);
    }
    return !d->failed;
}

void cmd_vkQueueSubmit(struct decoder *d, struct wire_vkQueueSubmit *c)
{
    struct queue *q = c->queue_obj->data;
    struct consumed done = filter_start(d, q);
    LOCK_SCOPE(&q->lock);

    if (UNLIKELY(semaphores_any_marked(done.semaphores)) &&
        !filtered(d, submit_filter(&d->arena, (VkSubmitInfo *)c->pSubmits, c->submitCount, consume,
                                   &done))) {
        return;
    }
    q->fenced = false;
    d->submitted = true;
    c->ret = q->vk->QueueSubmit(q->handle, c->submitCount, c->pSubmits, c->fence);
    if (c->ret != VK_SUCCESS) {
        put_back(&done);
        device_note_failure(q->device, c->ret);
        return;
    }
    if (LIKELY(!semaphores_any_tracked(done.semaphores))) {
        return;
    }
    for (uint32_t i = 0; i < c->submitCount; i++) {
        for (uint32_t j = 0; j < c->pSubmits[i].signalSemaphoreCount; j++) {
            semaphores_signalled(done.semaphores, c->pSubmits[i].pSignalSemaphores[j], q);
        }
    }
}

void cmd_vkQueueSubmit2(struct decoder *d, struct wire_vkQueueSubmit2 *c)
{
    struct queue *q = c->queue_obj->data;
    struct consumed done = filter_start(d, q);
    LOCK_SCOPE(&q->lock);

    if (!q->vk->QueueSubmit2) {
        decoder_fail(d, "vkQueueSubmit2: the host driver has no such command");
        return;
    }
    if (UNLIKELY(semaphores_any_marked(done.semaphores)) &&
        !filtered(d, submit_filter2(&d->arena, (VkSubmitInfo2 *)c->pSubmits, c->submitCount,
                                    consume, &done))) {
        return;
    }
    q->fenced = false;
    d->submitted = true;
    c->ret = q->vk->QueueSubmit2(q->handle, c->submitCount, c->pSubmits, c->fence);
    if (c->ret != VK_SUCCESS) {
        put_back(&done);
        device_note_failure(q->device, c->ret);
        return;
    }
    if (LIKELY(!semaphores_any_tracked(done.semaphores))) {
        return;
    }
    for (uint32_t i = 0; i < c->submitCount; i++) {
        for (uint32_t j = 0; j < c->pSubmits[i].signalSemaphoreInfoCount; j++) {
            semaphores_signalled(done.semaphores, c->pSubmits[i].pSignalSemaphoreInfos[j].semaphore,
                                 q);
        }
    }
}

void cmd_vkQueueBindSparse(struct decoder *d, struct wire_vkQueueBindSparse *c)
{
    struct queue *q = c->queue_obj->data;

    if (q->device->physical->no_sparse) {
        decoder_fail(d, "sparse resources are not offered with this driver");
        return;
    }

    struct consumed done = filter_start(d, q);
    LOCK_SCOPE(&q->lock);

    if (UNLIKELY(semaphores_any_marked(done.semaphores)) &&
        !filtered(d, submit_filter_sparse(&d->arena, (VkBindSparseInfo *)c->pBindInfo,
                                          c->bindInfoCount, consume, &done))) {
        return;
    }
    q->fenced = false;
    d->submitted = true;
    c->ret = q->vk->QueueBindSparse(q->handle, c->bindInfoCount, c->pBindInfo, c->fence);
    if (c->ret != VK_SUCCESS) {
        put_back(&done);
        device_note_failure(q->device, c->ret);
        return;
    }
    if (LIKELY(!semaphores_any_tracked(done.semaphores))) {
        return;
    }
    for (uint32_t i = 0; i < c->bindInfoCount; i++) {
        for (uint32_t j = 0; j < c->pBindInfo[i].signalSemaphoreCount; j++) {
            semaphores_signalled(done.semaphores, c->pBindInfo[i].pSignalSemaphores[j], q);
        }
    }
}
