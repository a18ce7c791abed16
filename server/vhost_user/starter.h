/*
 * Contexts are made and ended by a thread of its own: the render server may take its time, and the
 * front end's messages must be answered meanwhile. Work is done in the order in which it comes.
 */
#ifndef CORDON_SERVER_VHOST_USER_STARTER_H
#define CORDON_SERVER_VHOST_USER_STARTER_H

#include <stdint.h>

#include "ipc/base.h"

struct cordon_context;
struct cordon_server;
struct loop;
struct starter;

/* On the loop's thread. error 0: own_context is the callee's; else it is NULL. */
typedef void (*starter_fn)(void *arg, uint64_t ticket, int error,
                           struct cordon_context *own_context);

MUST_USE int starter_create(struct loop *loop, struct cordon_server *server, starter_fn fn,
                            void *arg, struct starter **ret_starter);
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
