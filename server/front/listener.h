/* The socket that clients connect to. */
#ifndef CORDON_SERVER_FRONT_LISTENER_H
#define CORDON_SERVER_FRONT_LISTENER_H

#include <sys/types.h>

#include "ipc/base.h"

struct listener {
    int fd; /* -1: closed */
    const char *path;
    dev_t dev; /* what was made there, so that nothing else is removed */
    ino_t ino;
};

/* Listens at path, for this user alone. A socket that nobody listens at any more is replaced.
 * 0, -EADDRINUSE (somebody listens there), -EEXIST (something else is there), -ENAMETOOLONG, or
 * another errno. */
MUST_USE int listener_open(struct listener *l, const char *path);
/* Removes the socket's file if it is still ours. */
void listener_remove(const struct listener *l);
/* The same, and listens no more. */
void listener_close(struct listener *l);

#endif
