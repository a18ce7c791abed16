/*
 * The only file of the server that makes processes. A worker gets the descriptors of enum
 * worker_fd, an environment made from nothing, and is confined before its program starts.
 */
#ifndef CORDON_SERVER_RENDER_SPAWN_H
#define CORDON_SERVER_RENDER_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"
#include "policy/cgroup.h"
#include "policy/jail.h"
#include "policy/sandbox.h"

struct driver_choice;
struct limits;
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
};

struct spawned {
    struct jail_child child;            /* all descriptors are the caller's */
    int control_fd;                     /* our end; worker_wire.h */
    int log_fd;                         /* read end, non-blocking */
    const struct worker_record *record; /* mapped read-only; spawn_unmap_record */
    int cgroup_fd;                      /* its control group, -1: none */
    uint32_t number;                    /* of that group; spawn_remove_cgroup */
};

/* Opens the worker's program and /dev/null, and tries the jail once, so that what this host lacks
 * is known now. *ret_missing: layers that are missing and may be. environment: what may be passed
 * through comes from there, borrowed. validate: workers load the validation layer. cgroup: as --cgroup says. 0; or a negative errno with *ret_failure. */
MUST_USE int spawner_init(struct spawner *s, const struct sandbox_config *config,
                          const struct driver_choice *driver, const struct limits *limits,
                          const char *worker_path, const char *log_level, bool validate,
                          const char *cgroup, char *const *environment, uint32_t *ret_missing,
                          struct sandbox_failure *ret_failure);
void spawner_fini(struct spawner *s);

/* Starts one worker. What fails in the child is told by child.status_fd (jail_entered); what
 * fails here comes back in *ret_failure. 0 or a negative errno. */
MUST_USE int spawn_worker(struct spawner *s, struct spawned *ret,
                          struct sandbox_failure *ret_failure);

/* Its control group, once it is reaped. */
void spawn_remove_cgroup(struct spawner *s, uint32_t number);

void spawn_unmap_record(const struct worker_record *record);

#endif
