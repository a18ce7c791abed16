/*
 * The vtest protocol, as far as a Venus client uses it: numbers, and pure functions that check
 * and take apart what came over the socket. Payloads are 32-bit little-endian words, already
 * copied from the socket into private memory.
 */
#ifndef CORDON_IPC_VTEST_WIRE_H
#define CORDON_IPC_VTEST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vtest_command {
    VTEST_RESOURCE_UNREF = 3,
    VTEST_RESOURCE_BUSY_WAIT = 7,
    VTEST_CREATE_RENDERER = 8,
    VTEST_PING_PROTOCOL_VERSION = 10,
    VTEST_PROTOCOL_VERSION = 11,
    VTEST_GET_PARAM = 15,
    VTEST_GET_CAPSET = 16,
    VTEST_CONTEXT_INIT = 17,
    VTEST_RESOURCE_CREATE_BLOB = 18,
    VTEST_SYNC_CREATE = 19,
    VTEST_SYNC_UNREF = 20,
    VTEST_SYNC_READ = 21,
    VTEST_SYNC_WRITE = 22,
    VTEST_SYNC_WAIT = 23,
    VTEST_SUBMIT_CMD2 = 24,
};

#define VTEST_HEADER_SIZE 8
#define VTEST_PARAM_MAX_TIMELINE_COUNT 1
#define VTEST_BLOB_HOST3D 2
#define VTEST_WAIT_ANY (1u << 0)
#define VTEST_BATCH_RING_IDX (1u << 0)
#define VTEST_TIMELINES 64

/* Our bounds. A process name; a list of syncs (Mesa 26.2 waits for one per fence); a submission
 * (Mesa's are far below 1 MiB). */
#define VTEST_NAME_MAX 65536u
#define VTEST_WAIT_SYNCS_MAX 65536u
#define VTEST_SUBMIT_MAX (4u << 20)

struct vtest_request {
    uint32_t command;
    uint32_t size; /* payload in bytes; a multiple of 4 except for CREATE_RENDERER */
};

/* Checks command and length against what the command allows. 0; -EOPNOTSUPP: a command that we
 * do not serve; -EMSGSIZE: not a length that this command can have. */
int vtest_request_parse(const uint8_t header[VTEST_HEADER_SIZE], struct vtest_request *ret_request);
const char *vtest_command_name(uint32_t command); /* "unknown command" if it is */

/* Header of a reply with n_words of payload. */
void vtest_reply_header(uint32_t command, uint32_t n_words, uint32_t ret_header[2]);

struct vtest_sync {
    uint32_t id;
    uint64_t value;
};

/* Words to one 64-bit value, low first. */
static inline uint64_t vtest_u64(const uint32_t *words)
{
    return (uint64_t)words[1] << 32 | words[0];
}

/* The i-th entry of a sync list. */
struct vtest_sync vtest_sync_at(const uint32_t *syncs, uint32_t i);

struct vtest_wait {
    uint32_t flags;
    uint32_t timeout_ms; /* above 0x7fffffff: for ever */
    uint32_t n_syncs;
    const uint32_t *syncs; /* vtest_sync_at */
};

/* SYNC_WAIT. 0 or -EBADMSG. Points into words. */
int vtest_wait_parse(const uint32_t *words, size_t n_words, struct vtest_wait *ret_wait);

/* A checked SUBMIT_CMD2: every batch of it lies inside the payload. Points into words. */
struct vtest_submit {
    const uint32_t *words;
    uint32_t n_words;
    uint32_t n_batches;
    uint32_t stride; /* words per batch header: 6 or 8, by client, not by protocol version */
};

struct vtest_batch {
    const uint32_t *cmd; /* NULL if empty */
    uint32_t cmd_words;
    const uint32_t *syncs; /* vtest_sync_at; NULL if none */
    uint32_t n_syncs;
    bool has_ring; /* else the syncs are set at once */
    uint32_t ring_idx;
};

/* 0; -EBADMSG: does not parse; -EOPNOTSUPP: a fence fd or syncobj, which Venus never sends. */
int vtest_submit_parse(const uint32_t *words, size_t n_words, struct vtest_submit *ret_submit);
/* i < n_batches. */
struct vtest_batch vtest_submit_batch(const struct vtest_submit *s, uint32_t i);

#endif
