/*
 * Control groups of workers, where this host has delegated one to us (cgroup v2): memory, tasks and
 * CPU time are then counted by the kernel, whatever a worker that was taken over says.
 *
 *     delegated group            the server's own, its parent, or the one that the operator names
 *       cordon-server            the server, if it was alone in the group: a group that hands out
 *                                controllers may hold no processes itself
 *       cordon-PID               what all workers of this server may take together
 *         worker-N               one worker
 */
#ifndef CORDON_POLICY_CGROUP_H
#define CORDON_POLICY_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"

enum cgroup_controller {
    CGROUP_MEMORY = 1u << 0,
    CGROUP_PIDS = 1u << 1,
    CGROUP_CPU = 1u << 2,
};

struct cgroup_limits {
    uint64_t memory;    /* bytes; 0: any */
    uint64_t vm_memory; /* of all workers; 0: any */
    uint32_t tasks;     /* of one worker; 0: any */
    uint32_t cpu;       /* per cent of one CPU for all workers; 0: any */
    uint32_t weight;    /* 1 to 10000 of all workers together; 100 is a group nobody has weighed */
};

struct cgroup {
    int fd; /* the server's group of workers; -1: there is none */
    int base_fd;
    uint32_t controllers; /* that bound the workers */
    struct cgroup_limits limits;
    char name[32];  /* below the delegated group */
    char path[256]; /* of the delegated group, for messages */
};

/* What the kernel did to a worker for its limits. */
struct cgroup_events {
    uint64_t oom_kills;     /* processes killed for want of memory */
    uint64_t tasks_refused; /* threads that could not be made */
    uint64_t memory_peak;   /* bytes; 0: not known (before Linux 5.19) */
};

/* Makes the server's group below `base`, or, with NULL, below a group that was delegated to it.
 * -ENOENT: there is none; -ENOTSUP: it hands out neither memory nor tasks; or another negative
 * errno. Either way `why` has a line for the log. */
MUST_USE int cgroup_init(struct cgroup *g, const char *base, const struct cgroup_limits *limits,
                         char *why, size_t why_size);
/* Takes the group away. Not a worker's in it: those first. */
void cgroup_fini(struct cgroup *g);

/* A group for worker `number`, for CLONE_INTO_CGROUP. */
MUST_USE int cgroup_make(struct cgroup *g, uint32_t number, int *ret_fd);
/* Once its worker is reaped. */
void cgroup_remove(struct cgroup *g, uint32_t number);

/* Is the process in that group? From outside, by the kernel's word. */
bool cgroup_holds(int fd, pid_t pid);
void cgroup_read_events(int fd, struct cgroup_events *ret);

/* ---- parts, for tests ---------------------------------------------------------------------- */

/* The path of the "0::" line of /proc/self/cgroup, or NULL. */
const char *cgroup_own_path(char *proc_text);
/* "cgroup2" of /proc/self/mountinfo: its mount point, and which group that shows. */
bool cgroup_mount_point(const char *mountinfo_line, char point[256], char root[256]);
/* A number after a name in a file such as memory.events; 0 without. */
uint64_t cgroup_field(const char *text, const char *name);

#endif
