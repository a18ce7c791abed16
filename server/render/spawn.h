/*
 * Where the server makes its workers, and the one place that knows that there are two ways to. A
 * worker gets the descriptors of enum worker_fd and an environment made from nothing, and then
 *
 *   exec   is confined by us, and only then its program starts (policy/jail.h);
 *   fork   where somebody else's jail stands around us and forbids exec: a child of ours loads the
 *          worker as a shared object (forked.h), and adds no layer to those of that jail.
 */
#ifndef CORDON_SERVER_RENDER_SPAWN_H
#define CORDON_SERVER_RENDER_SPAWN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"
#include "policy/cgroup.h"
#include "policy/jail.h"
#include "policy/sandbox.h"
#include "server/render/forked.h"

struct driver_choice;
struct limits;
struct loop;
struct worker_record;

/* Made once per server. */
struct spawner {
    const struct driver_choice *driver;
    const struct limits *limits;
    struct jail_plan plan;
    const char *env[JAIL_MAX_ENV + 8]; /* and what we tell our worker: spawn.c */
    char env_log[32], env_seal[32], env_policy[48], env_limits[192];
    struct cgroup cgroup; /* with fd -1: there is none for us */
    uint32_t n_started;
    int worker_fd; /* the worker's program, opened at start */
    int null_fd;
    int policy_fd; /* the operator's own, for workers; -1: what is built in */
    int cache_fd;  /* what a worker's driver compiled, sealed; -1: none yet */
    /* Workers are forked. */
    bool forks;
    const char *library;
    struct forked forked;
};

struct spawned {
    pid_t pid;
    int death_fd;  /* readable when it has ended; to be reaped then */
    int status_fd; /* readable when its program runs, or does not: jail_entered */
    /* All descriptors are the caller's. */
    int control_fd;                     /* our end; worker_wire.h */
    int log_fd;                         /* read end, non-blocking */
    const struct worker_record *record; /* mapped read-only; spawn_unmap_record */
    int cache_fd;                       /* that this one is to fill: spawn_keep_cache; -1: none */
    int cgroup_fd;                      /* its control group, -1: none */
    uint32_t number;                    /* of that group; spawn_remove_cgroup */
};

struct spawner_config {
    struct sandbox_config sandbox;
    const struct driver_choice *driver;
    const struct limits *limits;
    const char *worker_path; /* the worker's program; NULL: it cannot be exec'd here */
    const char *library;     /* the worker as a shared object, then; borrowed */
    const char *log_level;
    bool validate;      /* workers load the validation layer */
    const char *cgroup; /* as --cgroup says */
    int policy_fd;      /* the operator's own policy, -1: built in; the spawner's from now on */
    char *const *environment; /* what may be passed through comes from there, borrowed */
    struct loop *loop;
};

/* Before spawner_init, and when that was never called: starts nothing. */
#define SPAWNER_NONE                                                                           \
    {                                                                                          \
        .cgroup = { .fd = -1, .base_fd = -1 }, .worker_fd = -1, .null_fd = -1, .cache_fd = -1, \
        .policy_fd = -1                                                                        \
    }

/* Opens what workers need, and tries the jail once, so that what this host lacks is known now.
 * *ret_missing: layers that are missing and may be. 0; or a negative errno with *ret_failure. */
MUST_USE int spawner_init(struct spawner *s, const struct spawner_config *config,
                          uint32_t *ret_missing, struct sandbox_failure *ret_failure);
void spawner_fini(struct spawner *s);

/* Starts one worker. What fails in the child is told by status_fd (jail_entered); what fails here
 * comes back in *ret_failure. 0 or a negative errno. */
MUST_USE int spawn_worker(struct spawner *s, struct spawned *ret,
                          struct sandbox_failure *ret_failure);

/* SIGKILL. It is not reaped yet, so the number is still its own. */
void spawn_kill(const struct spawner *s, pid_t pid, int death_fd);

/* How it ended, once death_fd is readable or after spawn_kill; waits for that. */
void spawn_reap(struct spawner *s, pid_t pid, int death_fd, siginfo_t *ret);
/* Its control group, once it is reaped. */
void spawn_remove_cgroup(struct spawner *s, uint32_t number);

/* From a worker that is ready and has no guest yet: what it has compiled, for the next ones. Takes
 * own_fd, -1 too. */
void spawn_keep_cache(struct spawner *s, int own_fd);

void spawn_unmap_record(const struct worker_record *record);

#endif
