/*
 * What the render server and its worker say to each other over the worker's control socket
 * (SEQPACKET, one message each, host byte order, same build of both sides), and the record page.
 * The worker is not trusted: the server checks every field and count.
 *
 * Start-up: the server execs the worker with the descriptors of enum worker_fd. The worker
 * warms up, seals itself, says READY. Only then the server checks it from outside and sends
 * CONTEXT with the context socket. From then on only the worker speaks here (RING, TIMELINE),
 * and the end of this socket on either side ends the worker.
 */
#ifndef CORDON_IPC_WORKER_WIRE_H
#define CORDON_IPC_WORKER_WIRE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

/* Descriptors at exec; nothing else is open. 0 is /dev/null. */
enum worker_fd {
    WORKER_FD_NULL = 0,
    WORKER_FD_LOG_OUT = 1, /* both: pipe to the server, one line per write, see log_line */
    WORKER_FD_LOG = 2,
    WORKER_FD_CONTROL = 3,
    WORKER_FD_RECORD = 4, /* memfd of sizeof(struct worker_record) */
    WORKER_FD_CACHE = 5,  /* what drivers compile in warm-up, for the next worker; worker/cache.h:
                             empty: to be filled; no file at all: there is none */
    WORKER_FD_COUNT = 6,
    WORKER_FD_POLICY = 6, /* with CORDON_POLICY_OWN=1: the operator's policy, see policy/blob.h */
};

/* The most that WORKER_FD_CACHE may hold. */
#define WORKER_CACHE_SIZE (4u << 20)

/* Exit codes of a worker, besides those of enum sandbox_exit (policy/sandbox.h). */
enum worker_exit {
    WORKER_EXIT_OK = 0,        /* its context or its server ended */
    WORKER_EXIT_USAGE = 2,     /* not started by the server */
    WORKER_EXIT_CONTEXT = 70,  /* its context failed: worker_record::reason says why */
    WORKER_EXIT_INTERNAL = 71, /* the worker's own trouble: memory, threads, the control socket */
};

enum worker_op {
    WORKER_OP_READY = 1, /* worker -> server: struct worker_ready; fds: seccomp listener if used */
    WORKER_OP_CONTEXT = 2,  /* server -> worker: struct worker_context; fd: the context socket */
    WORKER_OP_TIMELINE = 3, /* worker -> server: struct worker_timeline; fds: words, eventfd if any:
                               so that the server can move a dead context's fences on */
    WORKER_OP_RING = 4,     /* worker -> server: struct worker_ring; fd: the ring's shared memory:
                               so that the server can set FATAL for a dead worker */
    WORKER_OP_RING_GONE = 5, /* worker -> server: struct worker_ring_gone */
};

struct worker_ready {
    uint32_t op;
    uint32_t layers;  /* bits of enum sandbox_layer (policy/sandbox.h), as the worker believes */
    char device[256]; /* the host driver's device name, NUL-terminated */
    char driver[64];  /* policy overlay in force, e.g. "lavapipe" */
};
static_assert(sizeof(struct worker_ready) == 328, "wire");

struct worker_context {
    uint32_t op;
    uint32_t ctx_id;
    uint32_t dialect_reserved; /* 0 = B, the only one served */
    uint32_t pad;
    char name[32]; /* guest-chosen, already cleaned to printable ASCII, NUL-terminated */
};
static_assert(sizeof(struct worker_context) == 48, "wire");

struct worker_timeline {
    uint32_t op;
    uint32_t words; /* count of 32-bit words in the first fd */
};

struct worker_ring {
    uint32_t op;
    uint32_t number;        /* unique per worker, rising from 1 */
    uint64_t status_offset; /* of the 32-bit status word in the fd */
};

struct worker_ring_gone {
    uint32_t op;
    uint32_t number;
};

/* ---- the record page ---------------------------------------------------------------------- */

#define WORKER_RECORD_LANES 32
#define WORKER_RECORD_LAST 8

struct recorder_lane {
    _Atomic uint64_t commands; /* decoded so far on this lane */
    _Atomic uint16_t
        last[WORKER_RECORD_LAST]; /* command numbers; last[(commands - 1) % 8] newest */
    _Atomic uint32_t what;        /* 0 context stream, else ring number */
    _Atomic uint32_t in_use;
};

struct worker_record {
    _Atomic uint64_t replies;
    _Atomic uint64_t rings_created;
    _Atomic uint64_t memory_bytes; /* of device memory that the guest holds */
    _Atomic uint64_t devices_lost; /* VkDevices that reported VK_ERROR_DEVICE_LOST */
    char reason
        [256]; /* the worker's own last words, if it had any; NUL-terminated, unchecked text */
    struct recorder_lane lanes[WORKER_RECORD_LANES];
};

#endif
