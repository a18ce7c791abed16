/*
 * vhost-user messages, back end's side: numbers, layouts, and a table of what may be asked.
 * QEMU docs/interop/vhost-user. Integers are in the machine's byte order.
 */
#ifndef CORDON_IPC_VHOST_USER_WIRE_H
#define CORDON_IPC_VHOST_USER_WIRE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base.h"

enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SET_BACKEND_REQ_FD = 21,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_GET_INFLIGHT_FD = 31,
    VHOST_USER_SET_INFLIGHT_FD = 32,
    VHOST_USER_RESET_DEVICE = 34,
    VHOST_USER_ADD_MEM_REG = 37,
    VHOST_USER_REM_MEM_REG = 38,
    VHOST_USER_SET_STATUS = 39,
    VHOST_USER_GET_STATUS = 40,
    VHOST_USER_GET_SHMEM_CONFIG = 44,
    VHOST_USER_END = 45,
};

enum vhost_user_backend_request {
    VHOST_USER_BACKEND_CONFIG_CHANGE = 2,
    VHOST_USER_BACKEND_SHMEM_MAP = 9,
    VHOST_USER_BACKEND_SHMEM_UNMAP = 10,
};

/* Bit of SET_FEATURES. */
#define VHOST_USER_F_PROTOCOL_FEATURES 30

/* Bits of SET_PROTOCOL_FEATURES. SHMEM was 20 and 21 before QEMU 11.1: see the table of front ends
 * in docs/vhost-user-gpu.md. */
enum vhost_user_protocol_feature {
    VHOST_USER_PROTOCOL_MQ = 0,
    VHOST_USER_PROTOCOL_REPLY_ACK = 3,
    VHOST_USER_PROTOCOL_BACKEND_REQ = 5,
    VHOST_USER_PROTOCOL_CONFIG = 9,
    VHOST_USER_PROTOCOL_BACKEND_SEND_FD = 10,
    VHOST_USER_PROTOCOL_INFLIGHT_SHMFD = 12,
    VHOST_USER_PROTOCOL_RESET_DEVICE = 13,
    VHOST_USER_PROTOCOL_STATUS = 16,
    VHOST_USER_PROTOCOL_SHMEM = 22,
};

#define VHOST_USER_VERSION 1u
#define VHOST_USER_VERSION_MASK 3u
#define VHOST_USER_REPLY 4u
#define VHOST_USER_NEED_REPLY 8u

struct vhost_user_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size; /* of what follows */
};
static_assert(sizeof(struct vhost_user_header) == 12, "wire");

struct vhost_user_region {
    uint64_t guest;
    uint64_t size;
    uint64_t user;
    uint64_t fd_offset;
};
static_assert(sizeof(struct vhost_user_region) == 32, "wire");

#define VHOST_USER_TABLE_REGIONS 8

struct vhost_user_mem_table {
    uint32_t n;
    uint32_t pad;
    struct vhost_user_region regions[VHOST_USER_TABLE_REGIONS];
};
static_assert(sizeof(struct vhost_user_mem_table) == 264, "wire");

struct vhost_user_mem_region {
    uint64_t pad;
    struct vhost_user_region region;
};
static_assert(sizeof(struct vhost_user_mem_region) == 40, "wire");

struct vhost_user_vring_state {
    uint32_t index;
    uint32_t num;
};
static_assert(sizeof(struct vhost_user_vring_state) == 8, "wire");

struct vhost_user_vring_addr {
    uint32_t index;
    uint32_t flags;
    uint64_t desc, used, avail, log;
};
static_assert(sizeof(struct vhost_user_vring_addr) == 40, "wire");

#define VHOST_USER_VRING_INDEX_MASK 0xffu
#define VHOST_USER_VRING_NO_FD 0x100u

#define VHOST_USER_CONFIG_MAX 256

struct vhost_user_config {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t bytes[VHOST_USER_CONFIG_MAX];
};
static_assert(offsetof(struct vhost_user_config, bytes) == 12, "wire");

struct vhost_user_inflight {
    uint64_t mmap_size;
    uint64_t mmap_offset;
    uint16_t num_queues;
    uint16_t queue_size;
    uint32_t pad;
};
static_assert(sizeof(struct vhost_user_inflight) == 24, "wire");
/* What goes over the wire has no tail padding, or has it: both are met. */
#define VHOST_USER_INFLIGHT_MIN 20

/* GET_SHMEM_CONFIG: sizes by shmid; n counts those that are not 0. */
struct vhost_user_shmem_config {
    uint32_t n;
    uint32_t pad;
    uint64_t sizes[256];
};
static_assert(sizeof(struct vhost_user_shmem_config) == 2056, "wire");

/* SHMEM_MAP and SHMEM_UNMAP on the back end's own channel. */
struct vhost_user_shmem_map {
    uint8_t shmid;
    uint8_t pad[7];
    uint64_t fd_offset;
    uint64_t shm_offset;
    uint64_t len;
    uint64_t flags;
};
static_assert(sizeof(struct vhost_user_shmem_map) == 40, "wire");
#define VHOST_USER_SHMEM_RW 1u

/* Payloads of every request that is served. */
union vhost_user_payload {
    uint64_t u64;
    struct vhost_user_mem_table mem_table;
    struct vhost_user_mem_region mem_region;
    struct vhost_user_vring_state vring_state;
    struct vhost_user_vring_addr vring_addr;
    struct vhost_user_config config;
    struct vhost_user_inflight inflight;
};

/* Is this a message that is served? `n_fds` came with it. Returns
 * 0            the payload is header->size bytes and fits the union
 * -EPROTO      not version 1, or marked as a reply
 * -EOPNOTSUPP  no such request, or one that was not offered
 * -EMSGSIZE    not a size that the request can have
 * -EBADF       too few or too many fds. */
MUST_USE int vhost_user_check(const struct vhost_user_header *header, uint32_t n_fds);
/* "SET_MEM_TABLE"; also of requests that are known and not served; else "unknown request". */
const char *vhost_user_name(uint32_t request);

/* The payload's inner lengths. Payload is `size` bytes, n_fds the fds that came. 0 or -EBADMSG. */
MUST_USE int vhost_user_check_mem_table(const struct vhost_user_mem_table *table, uint32_t size,
                                        uint32_t n_fds);
MUST_USE int vhost_user_check_config(const struct vhost_user_config *config, uint32_t size);
/* SET_VRING_KICK, CALL, ERR: *ret_index, and whether an fd must be there. 0 or -EBADMSG. */
MUST_USE int vhost_user_check_vring_fd(uint64_t word, uint32_t n_fds, uint32_t n_queues,
                                       uint32_t *ret_index);

/* ---- what is in flight, in memory that outlives us ------------------------------------------ */

/* One region per queue, each VHOST_USER_INFLIGHT_ALIGN apart; split ring, version 1. */
struct vhost_user_inflight_desc {
    uint8_t inflight;
    uint8_t pad[5];
    uint16_t next;
    uint64_t counter; /* the order in which they were taken */
};
static_assert(sizeof(struct vhost_user_inflight_desc) == 16, "wire");

struct vhost_user_inflight_queue {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t last_batch_head;
    uint16_t used_idx;
    struct vhost_user_inflight_desc desc[];
};
static_assert(sizeof(struct vhost_user_inflight_queue) == 16, "wire");

#define VHOST_USER_INFLIGHT_ALIGN 64
#define VHOST_USER_INFLIGHT_VERSION 1

/* Bytes per queue. */
static inline uint64_t vhost_user_inflight_stride(uint32_t queue_size)
{
    uint64_t size = sizeof(struct vhost_user_inflight_queue) +
                    queue_size * sizeof(struct vhost_user_inflight_desc);

    return (size + VHOST_USER_INFLIGHT_ALIGN - 1) & ~(uint64_t)(VHOST_USER_INFLIGHT_ALIGN - 1);
}

#endif
