/*
 * A guest's memory as a table of shared mappings. Addresses come from the guest: each use looks
 * them up and copies, so nothing outlives a change of the table, and nothing is read twice.
 */
#ifndef CORDON_IPC_GUEST_MEMORY_H
#define CORDON_IPC_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"

/* A front end sends at most 8 in one message and may add more one by one. */
#define GUEST_REGIONS_MAX 32

struct guest_region {
    uint64_t guest; /* guest-physical address */
    uint64_t size;
    uint64_t user; /* the same place in the front end, which names rings by it */
    uint64_t fd_offset;
    dev_t dev; /* what is mapped, to know it again */
    ino_t ino;
    uint8_t *base;
};

struct guest_memory {
    uint32_t n;
    struct guest_region regions[GUEST_REGIONS_MAX];
};

/* Maps fd (borrowed) as described by `want`, whose base, dev and ino are filled. 0; -EINVAL:
 * empty, wraps, not on a page, or more than the fd holds; -EEXIST: overlaps a region of the table;
 * -ENOSPC; or another errno. */
MUST_USE int guest_memory_add(struct guest_memory *m, const struct guest_region *want, int fd);
/* Makes the table these n regions: those that it has stay mapped, others go, new ones come. On
 * failure, as of guest_memory_add, the table is as it was. fds are borrowed. */
MUST_USE int guest_memory_replace(struct guest_memory *m, const struct guest_region *want,
                                  const int *fds, uint32_t n);
/* Unmaps the region with these addresses. 0 or -ENOENT. */
MUST_USE int guest_memory_remove(struct guest_memory *m, uint64_t guest, uint64_t size,
                                 uint64_t user);
void guest_memory_fini(struct guest_memory *m);

/* Does all of [addr, addr + len) exist? It may span regions that touch. */
bool guest_memory_has(const struct guest_memory *m, uint64_t addr, uint64_t len);
/* Copies. 0, or -EFAULT with part of it done. */
MUST_USE int guest_memory_read(const struct guest_memory *m, uint64_t addr, void *buf, size_t len);
MUST_USE int guest_memory_write(const struct guest_memory *m, uint64_t addr, const void *buf,
                                size_t len);

/* [user, user + len) of the front end's addresses, inside one region; NULL if not there. */
uint8_t *guest_memory_user(const struct guest_memory *m, uint64_t user, uint64_t len);

#endif
