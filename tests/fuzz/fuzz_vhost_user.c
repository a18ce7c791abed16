/*
 * A vhost-user message: 12 bytes of header, a byte with the number of fds, then the payload. What
 * the checks let pass is used as the device uses it.
 */
#include <assert.h>
#include <string.h>

#include "ipc/vhost_user_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void payload(uint32_t request, const union vhost_user_payload *p, uint32_t size,
                    uint32_t n_fds)
{
    uint32_t index = UINT32_MAX;

    switch (request) {
    case VHOST_USER_SET_MEM_TABLE:
        if (vhost_user_check_mem_table(&p->mem_table, size, n_fds) == 0) {
            assert(p->mem_table.n <= VHOST_USER_TABLE_REGIONS && p->mem_table.n == n_fds);
        }
        break;
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
        if (vhost_user_check_config(&p->config, size) == 0) {
            assert(p->config.size <= sizeof(p->config.bytes));
            assert(p->config.offset + p->config.size <= VHOST_USER_CONFIG_MAX);
            assert(12 + p->config.size <= size);
        }
        break;
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
        if (vhost_user_check_vring_fd(p->u64, n_fds, 2, &index) == 0) {
            assert(index < 2);
        } else {
            assert(index == UINT32_MAX);
        }
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vhost_user_header header;
    union vhost_user_payload p;
    uint32_t n_fds;

    if (size < sizeof(header) + 1) {
        return 0;
    }
    memcpy(&header, data, sizeof(header));
    n_fds = data[sizeof(header)] & 15;
    assert(vhost_user_name(header.request)[0] != '\0');
    if (vhost_user_check(&header, n_fds) < 0) {
        return 0;
    }
    assert(header.size <= sizeof(p));
    memset(&p, 0, sizeof(p));
    size -= sizeof(header) + 1;
    memcpy(&p, data + sizeof(header) + 1, size < header.size ? size : header.size);
    payload(header.request, &p, header.size, n_fds);
    return 0;
}
