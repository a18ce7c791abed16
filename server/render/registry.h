/*
 * The contexts of this server's VM, by id: the only list of them. A context outlives its worker
 * (a ghost then answers in its place) and ends with DESTROY_CONTEXT, RESET, or the end of its
 * socket.
 */
#ifndef CORDON_SERVER_RENDER_REGISTRY_H
#define CORDON_SERVER_RENDER_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base.h"
#include "ipc/list.h"

struct contexts;
struct ghost;
struct worker;

/* The peer's number; more are refused, and the server goes on. */
#define REGISTRY_MAX 256
#define CONTEXT_NAME_SIZE 32

struct context {
    uint32_t id;
    char name[CONTEXT_NAME_SIZE]; /* printable ASCII, NUL-terminated */
    int socket_fd;             /* the worker's end of the context socket; ours too, for the ghost */
    struct worker *worker;     /* NULL while it waits for one, and once that is dead */
    struct ghost *ghost;       /* answers for a dead worker */
    struct contexts *contexts; /* whose it is */
    struct list link;          /* registry::contexts, oldest first */
};

struct registry {
    struct list contexts;
    uint32_t count;
};

void registry_init(struct registry *r);

struct context *registry_find(const struct registry *r, uint32_t id);

/* A new context; takes own_socket_fd, success or not. `name` holds up to 32 bytes chosen by the
 * guest; what is not printable becomes '?'. 0, -EINVAL (id 0), -EEXIST (the id lives), -ENOSPC
 * (REGISTRY_MAX) or -ENOMEM. */
MUST_USE int registry_add(struct registry *r, uint32_t id, const char *name, int own_socket_fd,
                          struct context **ret);

/* Why registry_add would refuse this id now: 0, -EINVAL, -EEXIST or -ENOSPC. */
MUST_USE int registry_check(const struct registry *r, uint32_t id);

/* Forgets and frees it, closing its socket. Worker and ghost must be gone. */
void registry_remove(struct registry *r, struct context *c);

#endif
