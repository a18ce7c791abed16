/*
 * The syncs of one client: 64-bit values with small ids, the waits for them, and the updates that
 * hang on a fence. A wait's eventfd becomes readable once it is satisfied; the client polls it.
 * One thread.
 */
#ifndef CORDON_SERVER_VTEST_SYNCS_H
#define CORDON_SERVER_VTEST_SYNCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base.h"
#include "ipc/list.h"

/* Mesa keeps one per ring at its end, and from 26.2 on one per fence and semaphore: these only
 * bound what a hostile client may hold. */
#define SYNCS_MAX (1u << 18)
#define SYNCS_MAX_WAITS 512
#define SYNCS_MAX_POINTS (1u << 18) /* in all pending waits and updates together */

struct sync;

struct syncs {
    struct sync **slots;     /* id - 1 */
    uint32_t *free_ids;      /* freed ids, the last one freed is given first */
    uint32_t n_slots;        /* room in both */
    uint32_t n_free, n_used; /* n_used: highest id ever given */
    struct list waits;
    uint32_t n_waits, n_points;
};

/* The syncs that a fence will set, held until then. */
struct sync_update {
    uint32_t n;
    struct sync_point {
        struct sync *sync;
        uint64_t value;
    } points[];
};

void syncs_init(struct syncs *t);
void syncs_fini(struct syncs *t);

/* 0, -ENOSPC or -ENOMEM. */
MUST_USE int syncs_create(struct syncs *t, uint64_t value, uint32_t *ret_id);
/* An unknown id is ignored. */
void syncs_unref(struct syncs *t, uint32_t id);
/* 0 or -ENOENT. */
MUST_USE int syncs_read(const struct syncs *t, uint32_t id, uint64_t *ret_value);
MUST_USE int syncs_write(struct syncs *t, uint32_t id, uint64_t value);

/* A wait for any or all of the list of n (id, value low, value high). *ret_fd is an eventfd that
 * the caller owns. deadline_ms: CLOCK_MONOTONIC time from which the wait may be forgotten;
 * 0: at once, UINT64_MAX: never. 0, -ENOENT (unknown id), -ENOSPC, or another errno. */
MUST_USE int syncs_wait(struct syncs *t, bool any, uint64_t deadline_ms, const uint32_t *list,
                        uint32_t n, int *ret_fd);
/* Forgets waits that are over; returns the next deadline, UINT64_MAX if none. */
uint64_t syncs_expire(struct syncs *t, uint64_t now_ms);

/* Holds the n listed syncs for a later update. 0, -ENOENT, -ENOSPC or -ENOMEM. */
MUST_USE int syncs_hold(struct syncs *t, const uint32_t *list, uint32_t n,
                        struct sync_update **ret);
/* Sets them, wakes waits, frees. */
void syncs_apply(struct syncs *t, struct sync_update *own);
/* Frees without setting. NULL is fine. */
void syncs_drop(struct syncs *t, struct sync_update *own);

#endif
