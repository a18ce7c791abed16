/*
 * What a VM may ask of its host: the operator's numbers, and the gate that every new context goes
 * through. Each limit has a default that no application known to us meets, and a log line when it
 * is met. What one worker may hold is told to it and set as its rlimits: jail.h, worker/limits.h.
 */
#ifndef CORDON_SERVER_RENDER_QUOTA_H
#define CORDON_SERVER_RENDER_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base.h"

/* Times of contexts whose device was lost that are remembered: the most that `lost` may be. */
#define LIMITS_MAX_LOST 16

struct limits {
    uint64_t memory;    /* bytes of device memory per context; 0: as much as the device has */
    uint64_t vm_memory; /* of all contexts of the VM, above which no new one starts; 0: none */
    uint64_t heap;      /* private memory of a worker, bytes */
    uint64_t blob;      /* one blob, bytes */
    uint64_t shm;     /* shared memory of a context beside that, bytes; 0: the worker's own limit */
    uint32_t objects; /* Vulkan objects per context; 0: the worker's own limit */
    uint32_t blobs;   /* resources of a context; 0: the worker's own limit */
    uint32_t rings;   /* of a context; 0: the worker's own limit */
    uint32_t files;   /* descriptors of a worker */
    uint32_t threads; /* of a worker */
    uint32_t contexts; /* of the VM, at a time */
    uint32_t starts;   /* new contexts per second, ten times as many at once; 0: any */
    uint32_t lost;     /* lost devices and killed workers in a minute that refuse the VM for the
                           next; 0: any */
    /* Counted by the kernel, in control groups; 0: what is reasonable where there are such. */
    uint64_t ram;        /* of a worker, bytes; 0: any */
    uint64_t vm_ram;     /* of all workers; 0: seven eighths of what the host has */
    uint32_t cpu;        /* per cent of one CPU for all workers; 0: any */
    uint32_t cpu_weight; /* of all workers, where everybody else has 100; 0: 50 */
};

extern const struct limits limits_default;

/* Has the operator asked for what only control groups can give? The first such limit's name. */
const char *limits_need_cgroup(const struct limits *limits, uint32_t controllers);

/* "memory=4G,starts=8": sizes take K, M, G or T. -EINVAL with one line in `why`. */
MUST_USE int limits_parse(const char *text, struct limits *limits, char *why, size_t why_size);

/* ---- the gate ------------------------------------------------------------------------------ */

struct gate {
    const struct limits *limits;
    double tokens;
    uint64_t last_ms;
    uint64_t lost_ms[LIMITS_MAX_LOST]; /* ring */
    uint32_t n_lost;
    uint64_t closed_until_ms;
};

void gate_init(struct gate *g, const struct limits *limits, uint64_t now_ms);

/* A context lost its device, or its worker had to be killed for what it did. True if that closed
 * the gate. */
bool gate_note_lost(struct gate *g, uint64_t now_ms);

/* May a context start, with `contexts` alive that hold `memory` bytes? 0 or -EDQUOT with the
 * reason, which names the limit, in `why`. */
MUST_USE int gate_pass(struct gate *g, uint64_t now_ms, uint32_t contexts, uint64_t memory,
                       char *why, size_t why_size);

#endif
