/*
 * Byte layouts of render-server dialect B: what libvirglrenderer 1.0.0 and later speak with a
 * render server. One SEQPACKET message each. Padding is not zeroed by the sender: ignore it.
 */
#ifndef CORDON_IPC_DIALECT_B_H
#define CORDON_IPC_DIALECT_B_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define B_AT(type, member, offset) \
    static_assert(offsetof(struct type, member) == (offset), "dialect B: " #type "." #member)
#define B_SIZE(type, size) static_assert(sizeof(struct type) == (size), "dialect B: size of " #type)

/* ---- the server socket; only CREATE_CONTEXT has a reply ------------------------------------ */

enum srv_op {
    SRV_OP_NOP = 0, /* never sent by any release */
    SRV_OP_INIT = 1,
    SRV_OP_RESET = 2,
    SRV_OP_CREATE_CONTEXT = 3,
    SRV_OP_DESTROY_CONTEXT = 4,
    SRV_OP_COUNT,
};

#define SRV_INIT_THREAD_SYNC (1u << 1)
#define SRV_INIT_VENUS (1u << 6)
#define SRV_INIT_NO_VIRGL (1u << 7)
#define SRV_INIT_ASYNC_FENCE_CB (1u << 8)
#define SRV_INIT_RENDER_SERVER (1u << 9)

/* Guest-chosen: at most 31 bytes, then zeros; not to be trusted about either. */
#define SRV_NAME_SIZE 32

struct srv_nop {
    uint32_t op;
};
B_SIZE(srv_nop, 4);

struct srv_init {
    uint32_t op;
    uint32_t flags; /* unknown bits are to be ignored */
};
B_SIZE(srv_init, 8);
B_AT(srv_init, flags, 4);

struct srv_reset {
    uint32_t op;
};
B_SIZE(srv_reset, 4);

struct srv_create_context {
    uint32_t op;
    uint32_t ctx_id; /* never 0 */
    char name[SRV_NAME_SIZE];
};
B_SIZE(srv_create_context, 40);
B_AT(srv_create_context, ctx_id, 4);
B_AT(srv_create_context, name, 8);

/* ok 1 with exactly one fd, the VMM's end of the context socket; ok 0 with none. */
struct srv_create_context_reply {
    uint8_t ok;
};
B_SIZE(srv_create_context_reply, 1);

struct srv_destroy_context {
    uint32_t op;
    uint32_t ctx_id;
};
B_SIZE(srv_destroy_context, 8);
B_AT(srv_destroy_context, ctx_id, 4);

union srv_request {
    uint32_t op;
    struct srv_init init;
    struct srv_create_context create_context;
    struct srv_destroy_context destroy_context;
};

/* ---- the context socket; only CREATE_RESOURCE has a reply ---------------------------------- */

enum ctx_op {
    CTX_OP_NOP = 0, /* never sent by any release */
    CTX_OP_INIT = 1,
    CTX_OP_CREATE_RESOURCE = 2,
    CTX_OP_IMPORT_RESOURCE = 3,
    CTX_OP_DESTROY_RESOURCE = 4,
    CTX_OP_SUBMIT_CMD = 5,
    CTX_OP_SUBMIT_FENCE = 6,
    CTX_OP_COUNT,
};

enum ctx_fd_type {
    CTX_FD_DMABUF = 0,
    CTX_FD_OPAQUE = 1, /* VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT */
    CTX_FD_SHM = 2,    /* mmap-able memfd */
    CTX_FD_NONE = -1,
};

enum ctx_map_info {
    CTX_MAP_NONE = 0,
    CTX_MAP_CACHED = 1,
    CTX_MAP_UNCACHED = 2,
    CTX_MAP_WC = 3,
};

#define CTX_BLOB_MAPPABLE (1u << 0)
#define CTX_BLOB_SHAREABLE (1u << 1)
#define CTX_BLOB_CROSS_DEVICE (1u << 2)

#define CTX_CAPSET_VENUS 4
#define CTX_CAPSET_MASK 0xffu /* low byte of ctx_init::flags */
/* virtio-gpu: ring_idx 0..63, one 32-bit word of the timeline memory each */
#define CTX_TIMELINES 64
/* Bytes of command stream inside SUBMIT_CMD; what is longer follows as one message of its own. */
#define CTX_SUBMIT_INLINE 256

struct ctx_nop {
    uint32_t op;
};
B_SIZE(ctx_nop, 4);

/* fds: timeline memory, then (if the VMM uses one) an eventfd */
struct ctx_init {
    uint32_t op;
    uint32_t flags;
    uint64_t shmem_size;
};
B_SIZE(ctx_init, 16);
B_AT(ctx_init, flags, 4);
B_AT(ctx_init, shmem_size, 8);

struct ctx_create_resource {
    uint32_t op;
    uint32_t res_id;
    uint64_t blob_id;
    uint64_t blob_size;
    uint32_t blob_flags;
    uint32_t pad;
};
B_SIZE(ctx_create_resource, 32);
B_AT(ctx_create_resource, res_id, 4);
B_AT(ctx_create_resource, blob_id, 8);
B_AT(ctx_create_resource, blob_size, 16);
B_AT(ctx_create_resource, blob_flags, 24);

/* With one fd; or fd_type CTX_FD_NONE, all else 0, and none: failed. */
struct ctx_create_resource_reply {
    int32_t fd_type;
    uint32_t map_info;
    uint8_t device_uuid[16]; /* this and what follows: opaque fds only */
    uint8_t driver_uuid[16];
    uint64_t allocation_size;
    uint32_t memory_type_index;
    uint32_t pad;
};
B_SIZE(ctx_create_resource_reply, 56);
B_AT(ctx_create_resource_reply, map_info, 4);
B_AT(ctx_create_resource_reply, device_uuid, 8);
B_AT(ctx_create_resource_reply, driver_uuid, 24);
B_AT(ctx_create_resource_reply, allocation_size, 40);
B_AT(ctx_create_resource_reply, memory_type_index, 48);

/* fd: the resource */
struct ctx_import_resource {
    uint32_t op;
    uint32_t res_id;
    int32_t fd_type;
    uint32_t pad;
    uint64_t size;
};
B_SIZE(ctx_import_resource, 24);
B_AT(ctx_import_resource, res_id, 4);
B_AT(ctx_import_resource, fd_type, 8);
B_AT(ctx_import_resource, size, 16);

struct ctx_destroy_resource {
    uint32_t op;
    uint32_t res_id;
};
B_SIZE(ctx_destroy_resource, 8);
B_AT(ctx_destroy_resource, res_id, 4);

struct ctx_submit_cmd {
    uint32_t op;
    uint32_t size; /* of the whole stream; bytes of cmd beyond it are garbage */
    uint8_t cmd[CTX_SUBMIT_INLINE];
};
B_SIZE(ctx_submit_cmd, 264);
B_AT(ctx_submit_cmd, size, 4);
B_AT(ctx_submit_cmd, cmd, 8);

/* Dialect A's SUBMIT_CMD has a 64-bit size: how its speaker gives itself away. */
#define DIALECT_A_SUBMIT_CMD_SIZE 272

struct ctx_submit_fence {
    uint32_t op;
    uint32_t flags; /* ignore */
    uint32_t ring_idx;
    uint32_t seqno;
};
B_SIZE(ctx_submit_fence, 16);
B_AT(ctx_submit_fence, flags, 4);
B_AT(ctx_submit_fence, ring_idx, 8);
B_AT(ctx_submit_fence, seqno, 12);

union ctx_request {
    uint32_t op;
    struct ctx_init init;
    struct ctx_create_resource create_resource;
    struct ctx_import_resource import_resource;
    struct ctx_destroy_resource destroy_resource;
    struct ctx_submit_cmd submit_cmd;
    struct ctx_submit_fence submit_fence;
    /* Room to receive a speaker of dialect A whole, so that it can be told apart from garbage. */
    uint8_t bytes[DIALECT_A_SUBMIT_CMD_SIZE];
};

#undef B_AT
#undef B_SIZE

#endif
