#include "server/vhost_user/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"

void queue_init(struct queue *q, struct guest_memory *memory)
{
    *q = (struct queue){ .memory = memory, .call_fd = -1, .err_fd = -1 };
}

void queue_fini(struct queue *q)
{
    queue_stop(q);
    close_fd(&q->call_fd);
    close_fd(&q->err_fd);
}

/* ---- the record of what is in flight --------------------------------------------------------
 * The memory is the front end's: what is read from it is checked like a message. */

static int newer_first(const void *a, const void *b, void *arg)
{
    const uint64_t *counters = arg;
    uint64_t x = counters[*(const uint16_t *)a], y = counters[*(const uint16_t *)b];

    return x < y ? 1 : x > y ? -1 : 0;
}

static void recover(struct queue *q)
{
    struct vhost_user_inflight_queue *r = q->inflight;
    uint16_t last = r->last_batch_head;
    uint64_t counters[VIRTQUEUE_NUM_MAX];

    /* Died between the answer and its record: the answer counts. */
    if (r->used_idx != q->vq.used_idx && last < q->vq.num) {
        r->desc[last].inflight = 0;
    }
    for (uint32_t i = 0; i < q->vq.num; i++) {
        if (r->desc[i].inflight == 1) {
            q->again[q->n_again++] = (uint16_t)i;
            counters[i] = r->desc[i].counter;
        }
    }
    if (q->n_again == 0) {
        return;
    }
    qsort_r(q->again, q->n_again, sizeof(q->again[0]), newer_first, counters);
    q->counter = counters[q->again[0]] + 1;
    q->vq.next_avail = (uint16_t)(q->vq.used_idx + q->n_again);
    log_info("taking up %u commands that an earlier process left", q->n_again);
}

static void record_start(struct queue *q, bool with_recovery)
{
    struct vhost_user_inflight_queue *r = q->inflight;

    q->n_again = 0;
    if (!r) {
        return;
    }
    if (r->version == VHOST_USER_INFLIGHT_VERSION && r->desc_num >= q->vq.num && with_recovery) {
        recover(q);
    } else {
        for (uint32_t i = 0; i < q->vq.num; i++) {
            r->desc[i].inflight = 0;
        }
        r->version = VHOST_USER_INFLIGHT_VERSION;
        r->desc_num = (uint16_t)q->vq.num;
    }
    r->used_idx = q->vq.used_idx;
}

/* The order of these stores is the record's whole point: see recover(). */
#define ORDERED() __asm__ volatile("" ::: "memory")

static void record_taken(struct queue *q, uint16_t head)
{
    if (q->inflight) {
        q->inflight->desc[head].counter = q->counter++;
        ORDERED();
        q->inflight->desc[head].inflight = 1;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

int queue_start(struct queue *q, uint16_t base, bool with_recovery)
{
    int r = virtqueue_resolve(&q->vq, q->memory);

    if (r < 0) {
        return r;
    }
    virtqueue_start(&q->vq, base);
    record_start(q, with_recovery);
    q->running = true;
    return 0;
}

int queue_resume(struct queue *q)
{
    int r = virtqueue_resolve(&q->vq, q->memory);

    q->running = r == 0;
    return r;
}

void queue_stop(struct queue *q)
{
    q->running = false;
}

int queue_memory_changed(struct queue *q)
{
    int r;

    if (!q->running) {
        return 0;
    }
    r = virtqueue_resolve(&q->vq, q->memory);
    if (r < 0) {
        queue_break(q, "it does not lie in the new memory table");
    }
    return r;
}

void queue_break(struct queue *q, const char *why)
{
    log_error("queue stopped: %s", why);
    q->running = false;
    if (q->err_fd >= 0) {
        (void)eventfd_write(q->err_fd, 1); /* full is as good as written */
    }
}

/* ---- chains ---------------------------------------------------------------------------------- */

int queue_pop(struct queue *q, struct virtqueue_chain *ret_chain)
{
    int r;

    if (q->n_again > 0) {
        r = virtqueue_take(&q->vq, q->memory, q->again[--q->n_again], ret_chain);
    } else {
        r = virtqueue_pop(&q->vq, q->memory, ret_chain);
    }
    if (r == -EPROTO) {
        queue_break(q, "the guest's index or a descriptor number is impossible");
    } else if (r != 0) {
        record_taken(q, ret_chain->head);
    }
    return r;
}

void queue_push(struct queue *q, uint16_t head, uint32_t len)
{
    struct vhost_user_inflight_queue *r = q->inflight;

    if (r) {
        r->last_batch_head = head;
        ORDERED();
    }
    virtqueue_push(&q->vq, head, len);
    if (r) {
        ORDERED();
        r->desc[head].inflight = 0;
        ORDERED();
        r->used_idx = q->vq.used_idx;
    }
}

void queue_flush(struct queue *q)
{
    if (q->running && virtqueue_notify(&q->vq) && q->call_fd >= 0) {
        (void)eventfd_write(q->call_fd, 1); /* full is as good as written */
    }
}
