/*
 * The supervisor's answer to calls that a worker's policy does not list: read-write opens of the
 * device nodes that the worker was given are brokered, other opens get ENOENT, everything else is
 * a violation that is named and left unanswered until the caller has killed the worker. Where the
 * kernel does not count a worker's threads (seal.h, `ask_threads`), this does.
 */
#ifndef CORDON_POLICY_NOTIFY_H
#define CORDON_POLICY_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "policy/program.h"

#define NOTIFY_MAX_DEVICES 8
/* Refusals that a worker's log tells of; a driver's habits are fewer. */
#define NOTIFY_MAX_SEEN 16

struct learn;

struct notify_device {
    char path[128]; /* as the worker names it */
    uint64_t rdev;  /* what it was when the server started */
};

struct notify {
    int listener; /* owned; readable when a call waits */
    int mem;      /* owned: the worker's memory, -1 if it could not be opened in time */
    pid_t pid;
    const struct policy_program *program;
    struct notify_device devices[NOTIFY_MAX_DEVICES];
    unsigned n_devices;
    uint32_t opened;      /* device descriptors given */
    uint32_t denied;      /* calls refused, be it for the first time or not */
    uint64_t max_threads; /* of the worker; it may have twice as many if all ask at once */
    bool threads_met;     /* that limit, and it was told */
    uint32_t seen[NOTIFY_MAX_SEEN]; /* hashes of what was refused */
    unsigned n_seen;
    struct learn *learn; /* borrowed; NULL: what is not listed is a violation */
    /* Token bucket against floods. */
    double tokens;
    int64_t last_ns;
};

enum notify_verdict {
    NOTIFY_ANSWERED,  /* nothing to do */
    NOTIFY_DENIED,    /* refused, and this worker has not been refused the same before */
    NOTIFY_NO_THREAD, /* refused a thread, for the first time: limit threads */
    NOTIFY_VIOLATION, /* kill the worker by its pidfd and log the line */
    NOTIFY_GONE,      /* no process is behind the listener any more */
};

/* The worker's memory, or -1. Call it when jail_entered has said 0: once the worker has sealed
 * itself an unprivileged server is too late. That is no error: a worker in a user namespace of
 * ours is read another way, and one without is refused its opens unread. */
int notify_open_memory(pid_t pid);

/* Takes over listener and mem. `devices`: absolute paths of nodes that the worker may be given,
 * NULL at the end; only those that the program's broker lines name are kept. -ENODEV if one is not
 * a character device, -E2BIG. On failure nothing was taken. */
int notify_init(struct notify *n, int own_listener, int own_mem, pid_t pid,
                const struct policy_program *program, const char *const *devices,
                uint64_t max_threads);
void notify_fini(struct notify *n);

/* One waiting call. For DENIED and VIOLATION `line` says what it was, for example
 *   thread=cordon-ring-1: ptrace(0x10, 0x1, ...) [101] not in worker.lavapipe.policy
 * Does not block when the listener is readable. */
enum notify_verdict notify_handle(struct notify *n, char *line, size_t size);

#endif
