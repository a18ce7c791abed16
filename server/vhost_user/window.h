/*
 * The shared memory window of the guest: what of it is in use, and the channel on which the front
 * end is asked to map a blob there. Nothing here waits: the front end's answer comes as a call.
 */
#ifndef CORDON_SERVER_VHOST_USER_WINDOW_H
#define CORDON_SERVER_VHOST_USER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/list.h"
#include "server/vhost_user/link.h"

struct loop;
struct loop_source;

/* ok: the front end has done it. */
typedef void (*window_fn)(void *arg, bool ok);

struct window {
    /* Set at creation, then const. */
    struct loop *loop;
    uint64_t size;

    struct link link; /* the channel; its fd is -1 while there is none */
    struct loop_source *source;
    bool acked;        /* the front end answers */
    bool can_settle;   /* and takes news of the configuration */
    struct list asked; /* struct window_request, oldest first */
    struct list areas; /* struct window_area, in no order */
};

/* Part of the window that is in use; embedded in what is mapped there. */
struct window_area {
    struct list link;      /* window::areas */
    uint64_t offset, size; /* size 0: not in the window */
};

void window_init(struct window *w, struct loop *loop, uint64_t size);
/* Takes own_fd, success or not; a channel that was there before is closed. */
MUST_USE int window_connect(struct window *w, int own_fd, bool acked, bool can_settle);
/* Closes the channel; what was asked fails. Areas stay in use. */
void window_disconnect(struct window *w);

/* Maps [0, size) of fd (borrowed) at offset. Later, or now, calls fn. 0; -EINVAL: not on a page,
 * or outside; -EEXIST: something is there; -ENOTCONN: no channel; -EPIPE: it broke. */
MUST_USE int window_map(struct window *w, struct window_area *area, int fd, uint64_t offset,
                        uint64_t size, window_fn fn, void *arg);
/* Takes it out. The area is free at once: the channel keeps the order. fn may be NULL. */
int window_unmap(struct window *w, struct window_area *area, window_fn fn, void *arg);

#endif
