/* One ring: all checks at creation, its thread, its status word, its end. */
#ifndef CORDON_WORKER_RING_H
#define CORDON_WORKER_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct context;
struct resource;
struct ring;

#define RING_STATUS_IDLE 1u
#define RING_STATUS_FATAL 2u
#define RING_STATUS_ALIVE 4u

/* Protocol: VkRingCreateInfoMESA and its chain, already decoded. Offsets as on the wire. */
struct ring_layout {
    uint32_t resource_id;
    uint64_t offset, size;
    uint64_t head, tail, status; /* offsets of 32-bit words, relative to `offset` */
    uint64_t buffer, buffer_size, extra, extra_size;
    uint64_t idle_timeout_ns;
    uint32_t monitor_period_us; /* 0 = no monitor */
    bool has_priority;
    int32_t priority;
};

/* Pure: 0, or -EPROTO and *ret_why names the broken rule. `resource_size` in bytes. */
int ring_layout_check(const struct ring_layout *l, uint64_t resource_size, const char **ret_why);

/* Called by the handlers of the ring commands, on the context thread. Each returns 0 or -EPROTO
 * with `why` written (at most why_size bytes), or another errno (-ENOSPC: too many rings). */
int ring_create(struct context *ctx, uint64_t id, const struct ring_layout *l, char *why,
                size_t why_size);
int ring_destroy(struct context *ctx, uint64_t id); /* -ENOENT unknown; stops and joins */
int ring_notify(struct context *ctx, uint64_t id);  /* -ENOENT unknown; wakes it */
int ring_write_extra(struct context *ctx, uint64_t id, uint64_t offset, uint32_t value);
int ring_submit_virtqueue_seqno(struct context *ctx, uint64_t id, uint64_t seqno);
/* Blocks the context thread until the ring's head has reached seqno. 0; -ENOENT; -ECANCELED when
 * the context ends meanwhile; -EDEADLK when the ring never will: it has run all that is in it, or
 * has lost its memory. */
int ring_wait_seqno(struct context *ctx, uint64_t id, uint64_t seqno);

/* Called on the ring's own thread: blocks until a virtqueue seqno >= this was recorded. 0, or
 * -ECANCELED when the ring is being stopped. */
int ring_wait_virtqueue_seqno(struct ring *r, uint64_t seqno);

/* Its number in order of creation, from 1; for messages and the recorder. */
uint32_t ring_number(const struct ring *r);

/* True once the ring (or its context) is to stop: long waits in handlers end then. Cheap. */
bool ring_stopping(const struct ring *r);

/* Any thread: sets FATAL on every ring and wakes all of them. */
void rings_fatal(struct context *ctx);
/* The monitor's tick: sets ALIVE on every monitored ring, and wakes those that sleep over work. */
void rings_alive(struct context *ctx);
/* Stops and joins all. Main thread at the context's end. */
void rings_stop(struct context *ctx);
/* The guest gives the resource up: the rings that live in it get FATAL and stop, without being
 * waited for. They hold its memory until they are destroyed. Returns how many there were. */
uint32_t rings_orphan(struct context *ctx, const struct resource *resource);

#endif
