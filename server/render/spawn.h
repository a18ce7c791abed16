/*
 * The only file of the server that makes processes. A worker gets the descriptors of enum
 * worker_fd, an environment made from nothing, and is confined before its program starts.
 */
#ifndef CORDON_SERVER_RENDER_SPAWN_H
#define CORDON_SERVER_RENDER_SPAWN_H

#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"
#include "policy/sandbox.h"

struct worker_record;

struct spawn_config {
    int worker_fd;           /* the worker's program, opened O_PATH at start */
    char *const *worker_argv;
    char *const *worker_env;
    const struct sandbox_config *sandbox;
};

/* All descriptors are the caller's. */
struct spawned {
    pid_t pid;
    int pidfd;
    int control_fd; /* our end; worker_wire.h */
    int log_fd;     /* read end, non-blocking */
    const struct worker_record *record; /* mapped read-only; spawn_unmap_record */
};

/* Opens the program and checks that it can be run at all. 0 or a negative errno. */
MUST_USE int spawn_open_worker(const char *path, int *ret_fd);

/* Starts one worker. What fails in the child comes through its log pipe and its exit code
 * (enum sandbox_exit); what fails here comes back with *ret_failure filled. 0 or a negative
 * errno. */
MUST_USE int spawn_worker(const struct spawn_config *config, struct spawned *ret,
                          struct sandbox_failure *ret_failure);

void spawn_unmap_record(const struct worker_record *record);

#endif
