#include "worker/recorder.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ipc/cleanup.h"

int recorder_init(struct recorder *r, int own_fd)
{
    AUTO_CLOSE int fd = own_fd;
    struct stat st;
    void *page;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (st.st_size < (off_t)sizeof(struct worker_record)) {
        return -EINVAL;
    }
    page = mmap(NULL, sizeof(struct worker_record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        return -errno;
    }
    *r = (struct recorder){ .page = page };
    return 0;
}

struct recorder_lane *recorder_lane_take(struct recorder *r, uint32_t what)
{
    struct recorder_lane *lane = &r->page->lanes[WORKER_RECORD_LANES - 1];
    uint32_t used = atomic_load_explicit(&r->used, memory_order_relaxed);

    static_assert(WORKER_RECORD_LANES <= 32, "one bit per lane");
    for (uint32_t i = 0; i < WORKER_RECORD_LANES - 1;) {
        if (used & (1u << i)) {
            i++;
        } else if (atomic_compare_exchange_weak_explicit(&r->used, &used, used | (1u << i),
                                                         memory_order_relaxed,
                                                         memory_order_relaxed)) {
            lane = &r->page->lanes[i];
            break;
        }
    }
    atomic_store_explicit(&lane->what, what, memory_order_relaxed);
    atomic_store_explicit(&lane->commands, 0, memory_order_relaxed);
    atomic_store_explicit(&lane->in_use, 1, memory_order_relaxed);
    return lane;
}

void recorder_lane_give(struct recorder *r, struct recorder_lane *lane)
{
    uint32_t i = (uint32_t)(lane - r->page->lanes);

    if (i == WORKER_RECORD_LANES - 1) {
        return; /* shared: others may still use it */
    }
    atomic_store_explicit(&lane->in_use, 0, memory_order_relaxed);
    atomic_fetch_and_explicit(&r->used, ~(1u << i), memory_order_relaxed);
}

uint64_t recorder_commands(const struct recorder *r)
{
    uint64_t n = 0;

    for (size_t i = 0; i < WORKER_RECORD_LANES; i++) {
        n += atomic_load_explicit(&r->page->lanes[i].commands, memory_order_relaxed);
    }
    return n;
}

void recorder_reason(struct recorder *r, const char *why)
{
    size_t len = strnlen(why, sizeof(r->page->reason) - 1);

    memcpy(r->page->reason, why, len);
    r->page->reason[len] = '\0';
}
