/*
 * The life of a context, from CREATE_CONTEXT to its end, and the pool of workers kept ready so
 * that the VMM never waits for one: it gets its end of the context socket at once; the other end
 * goes to a worker that is ready, now or as soon as one is.
 */
#ifndef CORDON_SERVER_RENDER_CONTEXTS_H
#define CORDON_SERVER_RENDER_CONTEXTS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base.h"
#include "ipc/log.h"
#include "server/render/quota.h"
#include "server/render/registry.h"
#include "server/render/supervisor.h"

struct loop;

struct contexts_stats {
    uint64_t created, refused, lost; /* lost: its worker died or never came */
};

struct contexts {
    struct loop *loop;
    struct registry registry;
    struct supervisor supervisor;
    uint32_t spares;   /* workers to keep ready */
    bool begun;        /* workers may be started; until then contexts wait */
    bool failing;      /* no worker becomes ready any more, or none can */
    bool proven;       /* one has become ready */
    uint32_t n_failed; /* in a row that did not */
    struct loop_source *refill;
    uint64_t refill_at_ms;  /* UINT64_MAX: not armed */
    uint64_t rush_until_ms; /* contexts come faster than workers do */
    uint32_t retries;       /* of spares that failed since a worker last got a context */
    struct gate gate;
    char gate_why[160]; /* of the last context that it refused */
    struct contexts_stats stats;
    void (*changed)(void *arg); /* a context has ended: numbers may be written down */
    void *arg;
};

/* `limits` is borrowed. 0 or a negative errno; contexts_fini either way. */
MUST_USE int contexts_init(struct contexts *c, struct loop *loop, struct spawner *spawner,
                           const struct limits *limits, uint32_t ready_timeout_ms, uint32_t spares,
                           void (*changed)(void *arg), void *arg);
void contexts_fini(struct contexts *c);

/* Once the spawner is ready: starts workers for those who wait, and spares. If it is not usable,
 * contexts are lost or refused. */
void contexts_begin(struct contexts *c, bool usable);

/* A new context: *ret_fd is the VMM's end of its socket. Starts nothing: call contexts_settle
 * once the VMM has its answer. 0, -EINVAL, -EEXIST, -ENOSPC (registry.h), -ECHILD (workers do not
 * start), -EDQUOT (a limit is met: gate_why), or another errno. */
MUST_USE int contexts_create(struct contexts *c, uint32_t id, const char *name, int *ret_fd);
/* Hands waiting contexts to ready workers, and tops up. */
void contexts_settle(struct contexts *c);

/* An unknown id is ignored: a context may have ended by itself. */
void contexts_destroy(struct contexts *c, uint32_t id);
void contexts_reset(struct contexts *c);

#endif
