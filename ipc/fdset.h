/*
 * A bounded set of fds that owns them. Received fds go in at once; a handler takes what it wants;
 * the set closes the rest, on every path:
 *
 *     AUTO_FDSET struct fdset fds = { 0 };
 */
#ifndef CORDON_IPC_FDSET_H
#define CORDON_IPC_FDSET_H

#include <stdint.h>

/* The most that any known protocol of ours carries is 2; both sides of the render-server wire
 * allow 8. */
#define FDSET_MAX 8

struct msghdr;

struct fdset {
    uint32_t count;     /* added so far, taken or not: places are stable */
    int fds[FDSET_MAX]; /* -1 = taken */
};

/* Takes own_fd, success or not. 0, or -ENOSPC (closed). */
int fdset_add(struct fdset *s, int own_fd);
/* Adds all that came with a received message. 0, or -ENOSPC (the rest is closed). */
int fdset_collect(struct fdset *s, struct msghdr *msg);
/* The fd at place i, now the caller's; -1 if there is none (any more). */
int fdset_take(struct fdset *s, uint32_t i);
/* Borrowed: stays the set's; -1 if there is none. */
int fdset_peek(const struct fdset *s, uint32_t i);
/* Closes what is left; empty afterwards. Keeps errno. */
void fdset_close(struct fdset *s);

#define AUTO_FDSET __attribute__((cleanup(fdset_close)))

#endif
