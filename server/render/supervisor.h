/*
 * The worker processes: started, listened to, confined from outside, killed and reaped. Knows
 * nothing of what the VMM asked for; tells its owner when a worker is ready and when it is dead.
 */
#ifndef CORDON_SERVER_RENDER_SUPERVISOR_H
#define CORDON_SERVER_RENDER_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"
#include "ipc/list.h"
#include "ipc/log.h"
#include "ipc/worker_wire.h"
#include "policy/notify.h"
#include "server/render/estate.h"
#include "server/render/obituary.h"
#include "server/render/spawn.h"

struct context;
struct learn;
struct loop;
struct loop_source;
struct supervisor;

/* STARTING -> READY -> SERVING; from each -> ENDING; and the end of the process from any. */
enum worker_state {
    WORKER_STARTING, /* warming up; not one byte of a guest yet */
    WORKER_READY,    /* sealed, checked, waiting for a context */
    WORKER_SERVING,
    WORKER_ENDING, /* was told to end; killed if it takes too long */
};

struct worker {
    struct supervisor *supervisor;
    struct list link; /* supervisor::workers, oldest first */
    enum worker_state state;
    uint32_t number; /* of this server, for logs; rising from 1 */
    pid_t pid;
    int death_fd;  /* spawn.h */
    int status_fd; /* until the worker's program runs: policy/jail.h */
    int control_fd;
    int log_fd;
    const struct worker_record *record;
    int cgroup_fd;          /* its control group, -1: none */
    uint32_t cgroup_number; /* for spawn_remove_cgroup */
    int mem_fd;             /* its memory, opened before it sealed itself; notify's after READY */
    int cache_fd;           /* that it is to fill until READY, or -1 */
    struct notify notify;
    bool has_notify;
    uint32_t layers;         /* the sandbox layers that stand around it */
    struct context *context; /* set and cleared by the owner while SERVING */
    uint32_t ctx_id;         /* of its context, kept for logs after that is gone; 0: none yet */
    char name[32];
    struct estate estate;
    struct log_relay relay;
    struct loop_source *death_source, *status_source, *control_source, *log_source, *notify_source;
    struct loop_source *deadline; /* STARTING: to be ready; ENDING: to be gone */
    bool ready;                   /* has been */
    bool asked;                   /* by us, to end */
    bool killed;                  /* by us */
    uint64_t lost_counted;        /* of the record's devices_lost, by the owner */
    char why[200];                /* for the obituary; "" = nothing special */
    uint64_t started_ms;
};

struct supervisor_owner {
    void (*ready)(void *arg, struct worker *w);
    /* Reaped. Take from w what is needed: it is freed on return. */
    void (*dead)(void *arg, struct worker *w, const struct obituary *o);
    void *arg;
};

struct supervisor_stats {
    uint64_t started, died;       /* died: other than in peace */
    uint64_t rings;               /* that workers told us of */
    struct record_counts counts;  /* of the dead; add the living: supervisor_count */
    uint32_t layers;              /* of the last worker that was checked */
    char device[256], driver[64]; /* as it said; cleaned */
};

struct supervisor {
    struct loop *loop;
    struct spawner *spawner;
    uint32_t ready_timeout_ms;
    struct supervisor_owner owner;
    struct learn *learn; /* borrowed; NULL: policies are enforced */
    struct list workers;
    uint32_t n_workers, next_number;
    struct supervisor_stats stats;
    struct log_limit limit;
};

void supervisor_init(struct supervisor *s, struct loop *loop, struct spawner *spawner,
                     uint32_t ready_timeout_ms, const struct supervisor_owner *owner);
/* Ends all workers and waits for that, kills those that take too long. Runs the loop. */
void supervisor_fini(struct supervisor *s);

/* A new worker, STARTING. Failure is logged here, once, with cause and remedy. 0 or a negative
 * errno. */
int supervisor_start(struct supervisor *s, struct worker **ret);

/* READY -> SERVING: sends the context socket (borrowed). On failure the worker is on its way to
 * be killed. 0 or a negative errno. */
MUST_USE int worker_serve(struct worker *w, uint32_t ctx_id, const char *name, int socket_fd);

/* Asks it to end (the end of its control socket), and kills it if it has not soon. */
void worker_end(struct worker *w);
/* Kills it now; the reason goes into its obituary. */
void worker_kill(struct worker *w, const char *fmt, ...) PRINTF(2, 3);

/* The oldest in this state, or NULL. */
struct worker *supervisor_first(struct supervisor *s, enum worker_state state);
uint32_t supervisor_count(const struct supervisor *s, enum worker_state state);

/* Bytes of device memory that the guests of the living hold, by their workers' own word. */
uint64_t supervisor_memory(const struct supervisor *s);

/* A sandbox failure as its four lines. */
void log_failure(const struct sandbox_failure *failure);

/* Counts of the dead and the living together. */
struct record_counts supervisor_counts(const struct supervisor *s);

#endif
