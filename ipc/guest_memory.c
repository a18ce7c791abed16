#include "ipc/guest_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/checked.h"
#include "ipc/map.h"

static bool overlaps(uint64_t a, uint64_t b, uint64_t a_size, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

static int check(const struct guest_memory *m, const struct guest_region *want, int fd)
{
    uint64_t end, have, page = (uint64_t)sysconf(_SC_PAGESIZE);
    int r;

    if (want->size == 0 || want->fd_offset % page != 0 ||
        !checked_add(want->guest, want->size, &end) || !checked_add(want->user, want->size, &end)) {
        return -EINVAL;
    }
    r = fd_size(fd, &have);
    if (r < 0) {
        return r;
    }
    if (!range_in(want->fd_offset, want->size, have)) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < m->n; i++) {
        const struct guest_region *g = &m->regions[i];

        if (overlaps(g->guest, want->guest, g->size, want->size) ||
            overlaps(g->user, want->user, g->size, want->size)) {
            return -EEXIST;
        }
    }
    return m->n < GUEST_REGIONS_MAX ? 0 : -ENOSPC;
}

int guest_memory_add(struct guest_memory *m, const struct guest_region *want, int fd)
{
    struct guest_region region = *want;
    struct stat st;
    void *p;
    int r;

    r = check(m, want, fd);
    if (r < 0) {
        return r;
    }
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    p = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)region.fd_offset);
    if (p == MAP_FAILED) {
        return -errno;
    }
    region.dev = st.st_dev;
    region.ino = st.st_ino;
    region.base = p;
    m->regions[m->n++] = region;
    return 0;
}

static void forget(struct guest_memory *m, uint32_t i)
{
    m->regions[i] = m->regions[--m->n];
}

/* The region of m that is the same as `want`; NULL if there is none. */
static const struct guest_region *same(const struct guest_memory *m,
                                       const struct guest_region *want, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return NULL;
    }
    for (uint32_t i = 0; i < m->n; i++) {
        const struct guest_region *g = &m->regions[i];

        if (g->guest == want->guest && g->size == want->size && g->user == want->user &&
            g->fd_offset == want->fd_offset && g->dev == st.st_dev && g->ino == st.st_ino) {
            return g;
        }
    }
    return NULL;
}

static bool has_mapping(const struct guest_memory *m, const uint8_t *base)
{
    for (uint32_t i = 0; i < m->n; i++) {
        if (m->regions[i].base == base) {
            return true;
        }
    }
    return false;
}

/* Unmaps what `keep` has not. */
static void fini_but(struct guest_memory *m, const struct guest_memory *keep)
{
    for (uint32_t i = 0; i < m->n; i++) {
        if (!has_mapping(keep, m->regions[i].base)) {
            unmap(m->regions[i].base, m->regions[i].size);
        }
    }
}

int guest_memory_replace(struct guest_memory *m, const struct guest_region *want, const int *fds,
                         uint32_t n)
{
    struct guest_memory next = { 0 };

    for (uint32_t i = 0; i < n; i++) {
        const struct guest_region *old = same(m, &want[i], fds[i]);
        int r;

        if (old && !has_mapping(&next, old->base)) {
            r = check(&next, want + i, fds[i]);
            if (r == 0) {
                next.regions[next.n++] = *old;
            }
        } else {
            r = guest_memory_add(&next, &want[i], fds[i]);
        }
        if (r < 0) {
            fini_but(&next, m);
            return r;
        }
    }
    fini_but(m, &next);
    *m = next;
    return 0;
}

int guest_memory_remove(struct guest_memory *m, uint64_t guest, uint64_t size, uint64_t user)
{
    for (uint32_t i = 0; i < m->n; i++) {
        const struct guest_region *g = &m->regions[i];

        if (g->guest == guest && g->size == size && g->user == user) {
            unmap(g->base, g->size);
            forget(m, i);
            return 0;
        }
    }
    return -ENOENT;
}

void guest_memory_fini(struct guest_memory *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        unmap(m->regions[i].base, m->regions[i].size);
    }
    m->n = 0;
}

/* Where addr lies, and how much of its region is left from there. */
static uint8_t *at(const struct guest_memory *m, uint64_t addr, uint64_t *ret_left)
{
    for (uint32_t i = 0; i < m->n; i++) {
        const struct guest_region *g = &m->regions[i];

        if (addr >= g->guest && addr - g->guest < g->size) {
            *ret_left = g->size - (addr - g->guest);
            return g->base + (addr - g->guest);
        }
    }
    return NULL;
}

bool guest_memory_has(const struct guest_memory *m, uint64_t addr, uint64_t len)
{
    uint64_t left, end;

    if (!checked_add(addr, len, &end)) {
        return false;
    }
    while (len > 0) {
        if (!at(m, addr, &left)) {
            return false;
        }
        left = MIN(left, len);
        addr += left;
        len -= left;
    }
    return true;
}

int guest_memory_read(const struct guest_memory *m, uint64_t addr, void *buf, size_t len)
{
    uint8_t *to = buf;

    while (len > 0) {
        uint64_t left;
        const uint8_t *p = at(m, addr, &left);

        if (!p) {
            return -EFAULT;
        }
        left = MIN(left, len);
        memcpy(to, p, left);
        to += left;
        addr += left;
        len -= left;
    }
    /* The copy is what is looked at from here on: no load may be repeated. */
    __asm__ volatile("" ::: "memory");
    return 0;
}

int guest_memory_write(const struct guest_memory *m, uint64_t addr, const void *buf, size_t len)
{
    const uint8_t *from = buf;

    while (len > 0) {
        uint64_t left;
        uint8_t *p = at(m, addr, &left);

        if (!p) {
            return -EFAULT;
        }
        left = MIN(left, len);
        memcpy(p, from, left);
        from += left;
        addr += left;
        len -= left;
    }
    return 0;
}

uint8_t *guest_memory_user(const struct guest_memory *m, uint64_t user, uint64_t len)
{
    for (uint32_t i = 0; i < m->n; i++) {
        const struct guest_region *g = &m->regions[i];

        if (user >= g->user && range_in(user - g->user, len, g->size)) {
            return g->base + (user - g->user);
        }
    }
    return NULL;
}
