/*
 * A worker without exec, for a server inside a jail that forbids it: a child of ours that gives up
 * what it has from us, and loads the worker as a shared object. Only such a child ever does.
 *
 * It has our address-space layout, which exec would have made afresh. There is no pidfd either (a
 * process made by fork has none, and the jail forbids to open one): SIGCHLD tells of deaths.
 *
 * Where the jail lets clone make namespaces, as crosvm's does, a worker gets a user, a pid and a
 * network namespace: it cannot see, signal or trace us and other workers, and what it starts ends
 * with it. Our child is then process 1 of these and nothing else, and its child the worker: libc
 * knows no fork into namespaces, and would not know its own thread after one.
 */
#ifndef CORDON_SERVER_RENDER_FORKED_H
#define CORDON_SERVER_RENDER_FORKED_H

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"
#include "ipc/list.h"

struct loop;
struct loop_source;

struct forked {
    uint64_t namespaces; /* CLONE_NEW* */
    struct list children;
    struct loop_source *deaths;
};

/* From here on SIGCHLD is blocked and comes to the loop. *ret_layers: those that workers will have.
 * 0 or a negative errno. */
MUST_USE int forked_init(struct forked *f, struct loop *loop, uint32_t *ret_layers);
void forked_fini(struct forked *f);

struct forked_start {
    const char *library;
    const int *fds; /* fds[i] becomes descriptor i; all others are closed */
    unsigned n_fds;
    char *const *argv;
    const char *const *env;
};

/* *ret_death_fd: readable when the process has ended. *ret_status_fd: as jail_child's. Both the
 * caller's. 0 or a negative errno. */
MUST_USE int forked_start(struct forked *f, const struct forked_start *start, pid_t *ret_pid,
                          int *ret_death_fd, int *ret_status_fd);

/* Waits for its end and forgets it. */
void forked_reap(struct forked *f, pid_t pid, siginfo_t *ret);

#endif
