/*
 * Fences on per-ring-index timelines: a 32-bit sequence word per ring_idx in memory shared with
 * the VMM, plus an eventfd. Words move forwards only; store first, then signal.
 */
#ifndef CORDON_WORKER_TIMELINE_H
#define CORDON_WORKER_TIMELINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct context;
struct queue;

/* virtio-gpu: ring_idx 0..63 */
#define TIMELINE_COUNT 64

struct timelines {
    _Atomic uint32_t *words; /* shared with the VMM; write only. NULL before INIT */
    uint32_t n_words;
    int event_fd; /* -1: the VMM polls */

    pthread_mutex_t publish;       /* keeps a word and its signal in order */
    uint32_t last[TIMELINE_COUNT]; /* what each word holds, for the guest's VMM may write there */

    pthread_mutex_t lock; /* held while a fence is submitted: a bound queue stays alive */
    struct queue *bound[TIMELINE_COUNT]; /* queue of each ring_idx, by vkGetDeviceQueue2 */
};

int timelines_init(struct timelines *t);
void timelines_fini(struct timelines *t);
/* INIT: takes own_words_fd (memfd, checked against size) and own_event_fd (-1 = none). 0, or
 * -EALREADY, -EINVAL (size), -EPERM (the memory could shrink under us) or another errno. */
int timelines_open(struct timelines *t, int own_words_fd, uint64_t size, int own_event_fd);

/* Publishes seqno on ring_idx if it is newer (wrapping compare), then signals. Any thread. */
void timeline_retire(struct timelines *t, uint32_t ring_idx, uint32_t seqno);

/* Binds a queue to a ring_idx 1..63: 0, -ERANGE, -EBUSY. Unbind all of a device's at its end. */
int timeline_bind(struct timelines *t, uint32_t ring_idx, struct queue *q);
void timeline_unbind(struct timelines *t, struct queue *q);

/* SUBMIT_FENCE on the context thread: idx 0 retires at once; else queue_submit_fence (queue.h).
 * An idx that no queue is bound to retires at once too: there is nothing to wait for. 0, or
 * -ERANGE (no such word), or what queue_submit_fence says. */
int timeline_submit_fence(struct context *ctx, uint32_t ring_idx, uint32_t seqno);

#endif
