/* A guest of one page-sized memory with one queue in it, for tests: writes what a driver would. */
#ifndef CORDON_TESTS_VHOST_USER_FAKE_GUEST_H
#define CORDON_TESTS_VHOST_USER_FAKE_GUEST_H

#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "ipc/map.h"
#include "ipc/virtqueue.h"

#define FAKE_SIZE 0x10000u
#define FAKE_GUEST 0x40000000u /* where the guest sees it */
#define FAKE_USER 0x7f0000000000u
#define FAKE_DESC 0x0u
#define FAKE_AVAIL 0x1000u
#define FAKE_USED 0x2000u
#define FAKE_DATA 0x4000u

#define FAKE_NEXT 1
#define FAKE_WRITE 2
#define FAKE_INDIRECT 4

struct fake_guest {
    struct guest_memory memory;
    struct virtqueue queue;
    uint8_t *bytes;
    uint16_t avail_idx;
};

static inline int fake_guest_init(struct fake_guest *g, uint32_t num)
{
    struct guest_region region = { .guest = FAKE_GUEST, .size = FAKE_SIZE, .user = FAKE_USER };
    int fd = -1, r;

    memset(g, 0, sizeof(*g));
    r = memfd_create_sized("fake-guest", FAKE_SIZE, &fd);
    if (r == 0) {
        r = guest_memory_add(&g->memory, &region, fd);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (r < 0) {
        return r;
    }
    g->bytes = g->memory.regions[0].base;
    g->queue.desc_user = FAKE_USER + FAKE_DESC;
    g->queue.avail_user = FAKE_USER + FAKE_AVAIL;
    g->queue.used_user = FAKE_USER + FAKE_USED;
    r = virtqueue_set_num(&g->queue, num);
    if (r == 0) {
        r = virtqueue_resolve(&g->queue, &g->memory);
    }
    virtqueue_start(&g->queue, 0);
    return r;
}

static inline void fake_guest_fini(struct fake_guest *g)
{
    guest_memory_fini(&g->memory);
}

static inline void fake_desc_at(struct fake_guest *g, uint32_t offset, uint32_t i, uint64_t addr,
                                uint32_t len, uint16_t flags, uint16_t next)
{
    uint8_t *p = g->bytes + offset + (size_t)i * 16;

    memcpy(p, &addr, 8);
    memcpy(p + 8, &len, 4);
    memcpy(p + 12, &flags, 2);
    memcpy(p + 14, &next, 2);
}

static inline void fake_desc(struct fake_guest *g, uint32_t i, uint64_t addr, uint32_t len,
                             uint16_t flags, uint16_t next)
{
    fake_desc_at(g, FAKE_DESC, i, addr, len, flags, next);
}

static inline void fake_avail_idx(struct fake_guest *g, uint16_t idx)
{
    g->avail_idx = idx;
    memcpy(g->bytes + FAKE_AVAIL + 2, &idx, 2);
}

static inline void fake_offer(struct fake_guest *g, uint16_t head)
{
    memcpy(g->bytes + FAKE_AVAIL + 4 + (g->avail_idx & (g->queue.num - 1)) * 2, &head, 2);
    fake_avail_idx(g, (uint16_t)(g->avail_idx + 1));
}

static inline uint16_t fake_used_idx(const struct fake_guest *g)
{
    uint16_t idx;

    memcpy(&idx, g->bytes + FAKE_USED + 2, 2);
    return idx;
}

#endif
