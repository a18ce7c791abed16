#include "tests/unit/worker_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "ipc/log.h"
#include "ipc/map.h"
#include "ipc/worker_wire.h"
#include "worker/memory.h"
#include "worker/queue.h"
#include "worker/ring.h"

/* What the rooms above would do; a test that cares brings its own. */
__attribute__((weak)) int queue_submit_fence(struct queue *q, uint32_t ring_idx, uint32_t seqno)
{
    (void)q;
    (void)ring_idx;
    (void)seqno;
    return -ENOTSUP;
}

__attribute__((weak)) int memory_export(struct context *ctx, uint64_t memory_id, uint64_t size,
                                        uint32_t blob_flags, struct memory_blob *ret_blob)
{
    (void)ctx;
    (void)memory_id;
    (void)size;
    (void)blob_flags;
    (void)ret_blob;
    return -ENOENT;
}

static int fds_before;

int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

uint64_t test_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool wait_word(_Atomic uint32_t *word, uint32_t mask, uint32_t value)
{
    uint64_t end = test_now_ns() + 2000000000u;

    while (test_now_ns() < end) {
        if ((atomic_load(word) & mask) == value) {
            return true;
        }
        usleep(50);
    }
    return false;
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int fd = -1;

    fds_before = count_fds();
    /* Failures are what most tests want; their lines are not news. */
    log_to_fd(getenv("TEST_LOG") ? 2 : -1);
    atomic_store(&fake_versions, 0);
    if (memfd_create_sized("record", sizeof(struct worker_record), &fd) < 0 ||
        recorder_init(&f->recorder, fd) < 0 ||
        context_init(&f->ctx, 7, "test", &f->recorder, NULL, -1) < 0) {
        return -1;
    }
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    rings_stop(&f->ctx);
    context_fini(&f->ctx);
    munmap(f->recorder.page, sizeof(struct worker_record));
    free(f);
    return count_fds() == fds_before ? 0 : -1;
}

void put_u32(struct bytes *b, uint32_t v)
{
    memcpy(b->data + b->size, &v, sizeof(v));
    b->size += sizeof(v);
}

void put_u64(struct bytes *b, uint64_t v)
{
    memcpy(b->data + b->size, &v, sizeof(v));
    b->size += sizeof(v);
}

static void put_header(struct bytes *b, uint32_t command, uint32_t flags)
{
    put_u32(b, command);
    put_u32(b, flags);
}

void put_version(struct bytes *b, bool reply)
{
    put_header(b, FAKE_VERSION, reply ? WIRE_FLAG_REPLY : 0);
    put_u64(b, 1);
}

void put_set_reply(struct bytes *b, uint32_t resource_id, uint64_t offset, uint64_t size)
{
    put_header(b, 178, 0);
    put_u64(b, 1);
    put_u32(b, resource_id);
    put_u64(b, offset);
    put_u64(b, size);
}

void put_seek(struct bytes *b, uint64_t position)
{
    put_header(b, 179, 0);
    put_u64(b, position);
}

void put_wait_virtqueue(struct bytes *b, uint64_t seqno)
{
    put_header(b, 252, 0);
    put_u64(b, seqno);
}

void put_execute(struct bytes *b, const struct stream_at *streams, uint32_t count,
                 const uint64_t *positions)
{
    put_header(b, 180, 0);
    put_u32(b, count);
    put_u64(b, count);
    for (uint32_t i = 0; i < count; i++) {
        put_u32(b, streams[i].resource_id);
        put_u64(b, streams[i].offset);
        put_u64(b, streams[i].size);
    }
    put_u64(b, positions ? count : 0);
    for (uint32_t i = 0; positions && i < count; i++) {
        put_u64(b, positions[i]);
    }
    put_u32(b, 0);
    put_u64(b, 0);
    put_u32(b, 0);
}
