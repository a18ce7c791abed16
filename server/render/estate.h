/*
 * What a worker leaves with the server while it lives, so that its guest is not left waiting
 * when it dies: the fence words with their eventfd, and where each ring's status word is.
 *
 * The descriptors come from the worker, which is not trusted: the pages are written with
 * pwrite, never mapped, so that no trick with their size can raise SIGBUS here.
 */
#ifndef CORDON_SERVER_RENDER_ESTATE_H
#define CORDON_SERVER_RENDER_ESTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base.h"
#include "ipc/list.h"

/* The most that a worker allows its guest; each costs the server a descriptor. */
#define ESTATE_MAX_RINGS 512

struct estate {
    int words_fd; /* -1: none left */
    int event_fd; /* -1: the VMM polls */
    uint32_t n_words;
    uint32_t n_rings;
    struct list rings;
};

void estate_init(struct estate *e);
void estate_fini(struct estate *e);

/* Takes both descriptors, success or not. own_event_fd may be -1. 0; -EPROTO: not what they
 * should be; -EEXIST: there are words already. */
MUST_USE int estate_set_words(struct estate *e, int own_words_fd, int own_event_fd,
                              uint32_t n_words);

/* Takes own_fd, success or not. 0, -EPROTO, -EEXIST (number in use), -ENOSPC or -ENOMEM. */
MUST_USE int estate_add_ring(struct estate *e, uint32_t number, int own_fd, uint64_t status_offset);
/* An unknown number is ignored: it may have been one ring too many. */
void estate_remove_ring(struct estate *e, uint32_t number);

/* The worker is dead: every ring says FATAL and not ALIVE; every fence that the worker may have
 * owed is done. Returns the number of rings marked. */
uint32_t estate_settle(struct estate *e);

/* After estate_settle: moves what is left into `ret`, which need not be initialised. */
void estate_move(struct estate *from, struct estate *ret);

/* After estate_settle: the fence (ring_idx, seqno) is done as well. 0, -ENODATA (no words),
 * -EPROTO (no such word) or another errno. */
MUST_USE int estate_cover(struct estate *e, uint32_t ring_idx, uint32_t seqno);

#endif
