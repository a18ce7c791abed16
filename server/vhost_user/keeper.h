/*
 * A process beside the device that keeps what the confined one has given away: it can start the
 * render server, again when that has ended, and removes the socket's file at the end. No byte of
 * a guest reaches it; of the device it takes one question, and not too often.
 */
#ifndef CORDON_SERVER_VHOST_USER_KEEPER_H
#define CORDON_SERVER_VHOST_USER_KEEPER_H

#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"

struct listener;

struct keeper {
    int fd; /* owned; -1: none */
    pid_t pid;
    uint32_t n_asked; /* the latest question's number */
};

/* Forks it: before there are threads. It will run `program options...`; `listener` may be NULL.
 * 0 or a negative errno. */
MUST_USE int keeper_start(struct keeper *k, const char *program, const char *const *options,
                          const struct listener *listener);

/* Asks for a connection to a new render server, after the last one has ended. Waits a few seconds
 * at most. 0; -EAGAIN: too many of late; -ECHILD: the last one ended by itself with an error as
 * soon as it was there, and so would the next; or another errno. One thread at a time. */
MUST_USE int keeper_ask(struct keeper *k, int *ret_socket);

/* Lets it end: it removes the socket's file, and waits for the render server, which must have been
 * hung up on. Waits for that. */
void keeper_end(struct keeper *k);

#endif
