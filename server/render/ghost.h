/*
 * A ghost answers on a dead worker's context socket. Were the socket just closed, the VMM's fence
 * thread would spin on the hang-up, and its main thread could wait for ever for a reply: so the
 * ghost drains requests, refuses resources and moves every fence on, until the VMM hangs up.
 */
#ifndef CORDON_SERVER_RENDER_GHOST_H
#define CORDON_SERVER_RENDER_GHOST_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base.h"

struct estate;
struct ghost;
struct loop;

/* Called once, from the loop, when the context's socket is at its end. */
typedef void (*ghost_gone_fn)(void *arg);

/* socket_fd is borrowed; `own_estate` (settled) is emptied, success or not. served: a worker may
 * have read from the socket. 0; -ECONNRESET: the VMM has hung up already; -ENODATA: the worker
 * took the fence words with it, so only the end of the socket can wake the VMM; or another
 * errno. On failure close the socket. */
MUST_USE int ghost_create(struct loop *loop, int socket_fd, bool served, struct estate *own_estate,
                          ghost_gone_fn gone, void *arg, struct ghost **ret);
/* NULL is fine; returns NULL. */
struct ghost *ghost_destroy(struct ghost *g);

#endif
