#include "ipc/vhost_user_wire.h"

#include <errno.h>

#define REGION sizeof(struct vhost_user_region)

struct rule {
    const char *name;
    uint16_t min, max; /* bytes */
    uint8_t min_fds, max_fds;
    bool served;
};

#define U64 sizeof(uint64_t), sizeof(uint64_t)
#define EXACT(type) sizeof(struct type), sizeof(struct type)

/* Inflight queries of the real front ends carry 20 bytes, or 24 with the structure's tail. */
static const struct rule rules[VHOST_USER_END] = {
    /* clang-format off */
    [VHOST_USER_GET_FEATURES]          = { "GET_FEATURES", 0, 0, 0, 0, true },
    [VHOST_USER_SET_FEATURES]          = { "SET_FEATURES", U64, 0, 0, true },
    [VHOST_USER_SET_OWNER]             = { "SET_OWNER", 0, 0, 0, 0, true },
    [VHOST_USER_RESET_OWNER]           = { "RESET_OWNER", 0, 0, 0, 0, true },
    [VHOST_USER_SET_MEM_TABLE]         = { "SET_MEM_TABLE", 8, 8 + 8 * REGION, 0, 8, true },
    [6]                                = { "SET_LOG_BASE" },
    [7]                                = { "SET_LOG_FD" },
    [VHOST_USER_SET_VRING_NUM]         = { "SET_VRING_NUM", EXACT(vhost_user_vring_state), 0, 0, true },
    [VHOST_USER_SET_VRING_ADDR]        = { "SET_VRING_ADDR", EXACT(vhost_user_vring_addr), 0, 0, true },
    [VHOST_USER_SET_VRING_BASE]        = { "SET_VRING_BASE", EXACT(vhost_user_vring_state), 0, 0, true },
    [VHOST_USER_GET_VRING_BASE]        = { "GET_VRING_BASE", EXACT(vhost_user_vring_state), 0, 0, true },
    [VHOST_USER_SET_VRING_KICK]        = { "SET_VRING_KICK", U64, 0, 1, true },
    [VHOST_USER_SET_VRING_CALL]        = { "SET_VRING_CALL", U64, 0, 1, true },
    [VHOST_USER_SET_VRING_ERR]         = { "SET_VRING_ERR", U64, 0, 1, true },
    [VHOST_USER_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", 0, 0, 0, 0, true },
    [VHOST_USER_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", U64, 0, 0, true },
    [VHOST_USER_GET_QUEUE_NUM]         = { "GET_QUEUE_NUM", 0, 0, 0, 0, true },
    [VHOST_USER_SET_VRING_ENABLE]      = { "SET_VRING_ENABLE", EXACT(vhost_user_vring_state), 0, 0, true },
    [19]                               = { "SEND_RARP" },
    [20]                               = { "NET_SET_MTU" },
    [VHOST_USER_SET_BACKEND_REQ_FD]    = { "SET_BACKEND_REQ_FD", 0, 0, 1, 1, true },
    [22]                               = { "IOTLB_MSG" },
    [23]                               = { "SET_VRING_ENDIAN" },
    [VHOST_USER_GET_CONFIG]            = { "GET_CONFIG", 12, 12 + VHOST_USER_CONFIG_MAX, 0, 0, true },
    [VHOST_USER_SET_CONFIG]            = { "SET_CONFIG", 12, 12 + VHOST_USER_CONFIG_MAX, 0, 0, true },
    [26]                               = { "CREATE_CRYPTO_SESSION" },
    [27]                               = { "CLOSE_CRYPTO_SESSION" },
    [28]                               = { "POSTCOPY_ADVISE" },
    [29]                               = { "POSTCOPY_LISTEN" },
    [30]                               = { "POSTCOPY_END" },
    [VHOST_USER_GET_INFLIGHT_FD]       = { "GET_INFLIGHT_FD", VHOST_USER_INFLIGHT_MIN, 24, 0, 0, true },
    [VHOST_USER_SET_INFLIGHT_FD]       = { "SET_INFLIGHT_FD", VHOST_USER_INFLIGHT_MIN, 24, 1, 1, true },
    [33]                               = { "GPU_SET_SOCKET" },
    [VHOST_USER_RESET_DEVICE]          = { "RESET_DEVICE", 0, 0, 0, 0, true },
    [35]                               = { "VRING_KICK" },
    [36]                               = { "GET_MAX_MEM_SLOTS" },
    [VHOST_USER_ADD_MEM_REG]           = { "ADD_MEM_REG", EXACT(vhost_user_mem_region), 1, 1, true },
    [VHOST_USER_REM_MEM_REG]           = { "REM_MEM_REG", EXACT(vhost_user_mem_region), 0, 1, true },
    [VHOST_USER_SET_STATUS]            = { "SET_STATUS", U64, 0, 0, true },
    [VHOST_USER_GET_STATUS]            = { "GET_STATUS", 0, 0, 0, 0, true },
    [41]                               = { "GET_SHARED_OBJECT" },
    [42]                               = { "SET_DEVICE_STATE_FD" },
    [43]                               = { "CHECK_DEVICE_STATE" },
    [VHOST_USER_GET_SHMEM_CONFIG]      = { "GET_SHMEM_CONFIG", 0, 0, 0, 0, true },
    /* clang-format on */
};

int vhost_user_check(const struct vhost_user_header *header, uint32_t n_fds)
{
    const struct rule *rule;

    if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
        (header->flags & VHOST_USER_REPLY) != 0) {
        return -EPROTO;
    }
    if (header->request >= VHOST_USER_END || !rules[header->request].served) {
        return -EOPNOTSUPP;
    }
    rule = &rules[header->request];
    if (header->size < rule->min || header->size > rule->max) {
        return -EMSGSIZE;
    }
    return n_fds < rule->min_fds || n_fds > rule->max_fds ? -EBADF : 0;
}

const char *vhost_user_name(uint32_t request)
{
    if (request >= VHOST_USER_END || !rules[request].name) {
        return "unknown request";
    }
    return rules[request].name;
}

int vhost_user_check_mem_table(const struct vhost_user_mem_table *table, uint32_t size,
                               uint32_t n_fds)
{
    if (size < 8 || table->n > VHOST_USER_TABLE_REGIONS || size != 8 + table->n * REGION ||
        n_fds != table->n) {
        return -EBADMSG;
    }
    return 0;
}

int vhost_user_check_config(const struct vhost_user_config *config, uint32_t size)
{
    uint32_t room = size - (uint32_t)offsetof(struct vhost_user_config, bytes);

    return size < offsetof(struct vhost_user_config, bytes) || config->size > room ||
                   config->offset > VHOST_USER_CONFIG_MAX ||
                   config->size > VHOST_USER_CONFIG_MAX - config->offset
               ? -EBADMSG
               : 0;
}

int vhost_user_check_vring_fd(uint64_t word, uint32_t n_fds, uint32_t n_queues, uint32_t *ret_index)
{
    uint32_t index = (uint32_t)(word & VHOST_USER_VRING_INDEX_MASK);
    bool no_fd = (word & VHOST_USER_VRING_NO_FD) != 0;

    if (index >= n_queues || n_fds != (no_fd ? 0 : 1) ||
        (word & ~(uint64_t)(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NO_FD)) != 0) {
        return -EBADMSG;
    }
    *ret_index = index;
    return 0;
}
