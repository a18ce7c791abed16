/*
 * The flight recorder: a page that the server made and can still read when we are dead. Each
 * decoder thread owns a lane: how many commands it ran and the last few, stored with relaxed
 * writes and no other cost. Layout shared with the server: ipc/worker_wire.h.
 */
#ifndef CORDON_WORKER_RECORDER_H
#define CORDON_WORKER_RECORDER_H

#include <stdatomic.h>
#include <stdint.h>

#include "ipc/worker_wire.h"

struct recorder {
    struct worker_record *page; /* shared with the server */
    _Atomic uint32_t used;      /* bit per lane taken */
};

/* Maps the server's page. Takes own_fd. 0 or a negative errno. */
int recorder_init(struct recorder *r, int own_fd);
/* A lane, or the last one (shared, approximate) when all are taken: never fails. `what`: 0 for
 * the context stream, else the ring's number in order of creation. */
struct recorder_lane *recorder_lane_take(struct recorder *r, uint32_t what);
void recorder_lane_give(struct recorder *r, struct recorder_lane *lane);
/* How many commands the lanes in use, and those before them, have run; any thread. To be compared
 * with an earlier one: it also changes when a lane is taken. */
uint64_t recorder_commands(const struct recorder *r);

/* The worker's last words, one line; cut if long. The first ones should win: see who calls. */
void recorder_reason(struct recorder *r, const char *why);

/* On the hot path: two relaxed stores. */
static inline void recorder_note(struct recorder_lane *lane, uint32_t command)
{
    uint64_t n = atomic_load_explicit(&lane->commands, memory_order_relaxed);

    atomic_store_explicit(&lane->last[n % WORKER_RECORD_LAST], (uint16_t)command,
                          memory_order_relaxed);
    atomic_store_explicit(&lane->commands, n + 1, memory_order_relaxed);
}

#endif
