/*
 * The device's side of a virtio split queue. The guest can write every byte of it at any time:
 * each index and descriptor is copied once, then checked, then used; of a chain only guest
 * addresses are kept, and they are looked up again at each use.
 *
 * Virtio 1.2, sections 2.7 and 2.8.
 */
#ifndef CORDON_IPC_VIRTQUEUE_H
#define CORDON_IPC_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/guest_memory.h"

#define VIRTQUEUE_NUM_MAX 1024
/* Pieces of one chain: a submission of 4 MiB in pages, its header and its answer fit. */
#define VIRTQUEUE_SEGMENTS_MAX 2048

#define VIRTIO_RING_F_INDIRECT_DESC 28
#define VIRTIO_RING_F_EVENT_IDX 29

struct virtqueue {
    uint32_t num;                              /* a power of two; 0 = not set up */
    uint64_t desc_user, avail_user, used_user; /* the front end's addresses */
    bool event_idx;
    uint16_t next_avail, used_idx;
    uint32_t in_flight; /* popped and not pushed */

    /* Where these are here; NULL = not resolved. */
    const uint8_t *desc;
    const uint8_t *avail;
    uint8_t *used;
    uint16_t told; /* used_idx at the last notification */
};

struct virtqueue_segment {
    uint64_t addr;
    uint32_t len;
};

struct virtqueue_chain {
    uint16_t head;
    uint32_t n_out, n_in; /* device-readable ones come first */
    uint64_t out_size, in_size;
    struct virtqueue_segment segments[VIRTQUEUE_SEGMENTS_MAX];
};

/* 0 or -EINVAL: not a power of two, or more than VIRTQUEUE_NUM_MAX. */
MUST_USE int virtqueue_set_num(struct virtqueue *q, uint32_t num);
/* Finds the three parts in memory; to be called again when the memory changes. 0; -EFAULT: one
 * lies outside; -EINVAL: misaligned, or not set up. On failure nothing is resolved. */
MUST_USE int virtqueue_resolve(struct virtqueue *q, const struct guest_memory *m);
static inline bool virtqueue_ready(const struct virtqueue *q)
{
    return q->used != NULL;
}
/* Goes on at `next`, with nothing in flight. Resolved queues take the used index from memory. */
void virtqueue_start(struct virtqueue *q, uint16_t next);

/* Is the used index in memory the one that we left there? Resolved queues only. */
bool virtqueue_same_used(const struct virtqueue *q);

/* Takes the next chain. Returns
 * 1         *ret_chain
 * 0         none
 * -EBADMSG  one that loops, lies outside memory, or is otherwise not a chain; its head is in
 *           ret_chain and it is in flight: give it back
 * -EPROTO   the queue itself makes no sense; it must stop. */
MUST_USE int virtqueue_pop(struct virtqueue *q, const struct guest_memory *m,
                           struct virtqueue_chain *ret_chain);
/* Takes the chain at `head` again, which an earlier process has taken and not given back. As
 * virtqueue_pop, but never 0. */
MUST_USE int virtqueue_take(struct virtqueue *q, const struct guest_memory *m, uint16_t head,
                            struct virtqueue_chain *ret_chain);
/* Copies `size` of the readable bytes from `offset` on. 0 or -EFAULT. */
MUST_USE int virtqueue_read(const struct virtqueue_chain *chain, const struct guest_memory *m,
                            uint64_t offset, void *buf, size_t size);
/* Fills writable segments from the start; what does not fit is cut. Bytes written, or -EFAULT. */
MUST_USE int64_t virtqueue_write(const struct virtqueue_segment *in, uint32_t n_in,
                                 const struct guest_memory *m, const void *buf, size_t size);
/* Gives a chain back with `len` bytes written. */
void virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t len);
/* Does the guest want an interrupt for what was pushed since the last true? */
bool virtqueue_notify(struct virtqueue *q);
/* Asks for a doorbell. True: more has come meanwhile, pop again. */
bool virtqueue_arm(struct virtqueue *q);

#endif
