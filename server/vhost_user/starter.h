/*
 * Contexts are made and ended by a thread of its own: the render server may take its time, and the
 * front end's messages must be answered meanwhile. Work is done in the order in which it comes.
 * A render server that ends is replaced here.
 */
#ifndef CORDON_SERVER_VHOST_USER_STARTER_H
#define CORDON_SERVER_VHOST_USER_STARTER_H

#include <stdint.h>

#include "ipc/base.h"

struct cordon_context;
struct cordon_server;
struct keeper;
struct loop;
struct starter;

/* Called on the loop's thread. */
struct starter_events {
    /* error 0: own_context is the callee's; else it is NULL. */
    void (*made)(void *arg, uint64_t ticket, int error, struct cordon_context *own_context);
    /* The render server has ended, and all contexts with it; another is being started. */
    void (*server_lost)(void *arg);
    /* It could not be started: error as of keeper_ask. It is tried again for the next context. */
    void (*server_failed)(void *arg, int error);
    void *arg;
};

/* The keeper is the starter's from here on. 0, or a negative errno: no render server. */
MUST_USE int starter_create(struct loop *loop, struct keeper *keeper,
                            const struct starter_events *events, struct starter **ret_starter);
/* Waits for the work that has begun, at most the server's timeout. What was made and not handed
 * over ends too. NULL is fine; returns NULL. */
struct starter *starter_destroy(struct starter *s);

/* 0 or -ENOMEM. The ticket comes back with the answer. */
MUST_USE int starter_make(struct starter *s, uint64_t ticket, uint32_t ctx_id, const char *name);
/* What was asked for under this ticket is not wanted any more: it ends before anything that is asked
 * for after this begins, and is not handed over. */
void starter_cancel(struct starter *s, uint64_t ticket);
/* Ends it later, before any that is asked for after this. */
void starter_end(struct starter *s, struct cordon_context *own_context);

#endif
