/*
 * The jail: what stands around a worker before its first instruction runs. Server side.
 *
 *   jail_plan_init     once per server: what this host has and the configuration wants
 *   jail_probe         once per server: try it all; learn here, not at the first context, what is missing
 *   jail_spawn         per worker: clone, id maps, jail, exec from a descriptor
 *   jail_entered       did it reach exec? Exactly one layer and call is named if not
 *   jail_verify        after the worker says READY: look from outside, never trust its word
 *
 * jail_spawn is made of the parts below it, which are here for whoever must order them otherwise.
 */
#ifndef CORDON_POLICY_JAIL_H
#define CORDON_POLICY_JAIL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "policy/program.h"
#include "policy/sandbox.h"

#define JAIL_MAX_PATHS 64
#define JAIL_MAX_FDS 16
#define JAIL_MAX_ENV 64

/* Where a worker's driver may leave what it compiles while it warms up, for the same worker to read
 * after it is sealed: by then it opens no file for writing any more. Needs the mounts layer, and a
 * driver whose policy says `@cache`. */
#define JAIL_CACHE "/worker-cache"

enum jail_path_kind {
    JAIL_LINK,      /* symbolic link, made again inside */
    JAIL_READ_EXEC, /* libraries */
    JAIL_READ,      /* data */
    JAIL_DEVICE,    /* node, read and write */
    JAIL_SCRATCH,   /* an empty folder of its own, gone with it; see JAIL_CACHE */
};

struct jail_path {
    enum jail_path_kind kind;
    bool directory;
    char path[256]; /* absolute; the same outside and inside */
    char link[256];
};

struct jail_limits {
    uint64_t files; /* descriptors */
    uint64_t
        threads;   /* set inside an own user namespace; without one the server counts: notify.h */
    uint64_t data; /* private writable memory, bytes */
    uint64_t file_size; /* one memfd, bytes; never 0: that would forbid memfds */
};

struct jail_plan {
    uint32_t layers;
    /* Whom the worker runs as. Of root it is nobody, unless a device is open to root alone: uid 0
     * owns most of what there is on a host, and no limit on processes binds it. */
    uid_t uid;
    gid_t gid;
    struct jail_path paths[JAIL_MAX_PATHS];
    unsigned n_paths;
    struct jail_limits limits;
    bool cache;                          /* JAIL_CACHE is wanted; made with the mounts layer only */
    const struct policy_program *stage1; /* NULL: none */

    /* Per worker, set by the caller. fds[i] becomes descriptor i; nothing else is open. */
    int fds[JAIL_MAX_FDS];
    unsigned n_fds;
    int exec_fd;   /* the worker's binary; -1: end with status 0 instead of exec (probe) */
    int cgroup_fd; /* the worker's control group; -1: stay in ours */
};

struct jail_child {
    pid_t pid;
    int pidfd;
    int status_fd; /* readable when the child reached exec, failed or died: call jail_entered */
};

/* Collects what exists on this host of the paths that a driver needs, the configuration's own
 * paths, and the manifests that VK_DRIVER_FILES or VK_ICD_FILENAMES name with their libraries.
 * A path of the configuration that does not exist, or too many, is an error. exec_fd and
 * cgroup_fd are -1 and n_fds is 0 afterwards. */
int jail_plan_init(struct jail_plan *plan, const struct sandbox_config *config,
                   const struct policy_program *driver, struct sandbox_failure *ret_failure);

/* Tries the plan in a child. If that fails with another user than ours, it is tried with ours, and
 * plan->uid says so. A layer that fails and may be missing is taken out of plan->layers
 * and added to *ret_missing, to be reported once; any other failure ends it: negative errno and
 * *ret_failure. */
int jail_probe(struct jail_plan *plan, const struct sandbox_config *config, uint32_t *ret_missing,
               struct sandbox_failure *ret_failure);

/* A worker's environment, from nothing: the fixed part for this plan and what is on the
 * pass-through list of `from`. The strings of `from` are pointed to, not copied. NULL at the end. */
void jail_environment(const struct jail_plan *plan, char *const *from,
                      const char *ret_env[JAIL_MAX_ENV + 1]);

/* Starts a worker. Returns 0 or a negative errno with *ret_failure; afterwards wait for
 * child->status_fd and call jail_entered. The caller owns pidfd and status_fd and reaps pid.
 * Not to be called with a second thread running. */
int jail_spawn(const struct jail_plan *plan, char *const *argv, const char *const *env,
               struct jail_child *ret_child, struct sandbox_failure *ret_failure);

/* Blocks until the outcome is known. 0: the worker is running. Otherwise a negative errno and
 * *ret_failure; the child is ending and still to be reaped. Closes status_fd either way. */
int jail_entered(struct jail_child *child, struct sandbox_failure *ret_failure);

/* Checks a worker that says it is sealed: filters, no_new_privs, capabilities, namespaces. 0, or
 * -EPERM with the difference in `text`. */
int jail_verify(pid_t pid, uint32_t layers, char *text, size_t size);

/* A worker's threads as the kernel counts them; a negative errno if it cannot be asked. */
long jail_count_threads(pid_t pid);

/* ---- parts ------------------------------------------------------------------------------------ */

/* The CLONE_NEW* flags of the plan's layers. */
uint64_t jail_clone_flags(const struct jail_plan *plan);

/* Parent: identity maps of the caller's own ids and of these. An ordinary user has no other. */
int jail_write_id_maps(pid_t pid, uid_t uid, gid_t gid, struct sandbox_failure *ret_failure);

/* Child: everything between clone and exec, in order. Waits on *status_fd for one byte, the
 * parent's word that the id maps are written. On success descriptors 0 to n_fds - 1 are the
 * plan's and n_fds is exec_fd, close-on-exec; *status_fd is where that descriptor is now, on
 * failure too. */
int jail_enter(const struct jail_plan *plan, int *status_fd, struct sandbox_failure *ret_failure);

#endif
