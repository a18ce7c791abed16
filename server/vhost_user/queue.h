/*
 * One queue of the device: the virtqueue, its doorbell and its interrupt, and the record of what
 * is in flight, which outlives this process if the front end keeps it.
 */
#ifndef CORDON_SERVER_VHOST_USER_QUEUE_H
#define CORDON_SERVER_VHOST_USER_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/vhost_user_wire.h"
#include "ipc/virtqueue.h"

struct queue {
    struct virtqueue vq;
    struct guest_memory *memory; /* the device's */
    int call_fd, err_fd;         /* owned; -1: the guest polls, nobody is told */
    bool running;
    struct vhost_user_inflight_queue *inflight; /* NULL: not recorded */
    uint64_t counter;
    /* What an earlier process left unanswered, oldest last. */
    uint16_t again[VIRTQUEUE_NUM_MAX];
    uint32_t n_again;
};

void queue_init(struct queue *q, struct guest_memory *memory);
void queue_fini(struct queue *q);

/* Starts at `base`; with `recover`, first gives out again what the record says is in flight. 0, or
 * what virtqueue_resolve says. */
MUST_USE int queue_start(struct queue *q, uint16_t base, bool recover);
/* Goes on after queue_stop, with what was in flight still in flight. */
MUST_USE int queue_resume(struct queue *q);
void queue_stop(struct queue *q);
/* The memory has changed. 0, or the queue has stopped. */
int queue_memory_changed(struct queue *q);

/* As virtqueue_pop; -EPROTO has stopped the queue and told the front end. */
MUST_USE int queue_pop(struct queue *q, struct virtqueue_chain *ret_chain);
void queue_push(struct queue *q, uint16_t head, uint32_t len);
/* Interrupts the guest if it wants that. Once after several pushes. */
void queue_flush(struct queue *q);
/* The queue is of no use: stops it and tells the front end. */
void queue_break(struct queue *q, const char *why);

#endif
