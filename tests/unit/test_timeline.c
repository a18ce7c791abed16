#include "tests/unit/worker_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/map.h"
#include "worker/queue.h"

static struct {
    struct queue *q;
    uint32_t ring_idx, seqno;
    int calls, result;
} submitted;

int queue_submit_fence(struct queue *q, uint32_t ring_idx, uint32_t seqno)
{
    submitted.q = q;
    submitted.ring_idx = ring_idx;
    submitted.seqno = seqno;
    submitted.calls++;
    return submitted.result;
}

static _Atomic uint32_t *words;
static int event_fd;

static int setup(void **state)
{
    struct fixture *f;
    int fd = -1;

    if (fixture_setup(state) < 0) {
        return -1;
    }
    f = *state;
    submitted.calls = submitted.result = 0;
    if (memfd_create_sized("words", 256, &fd) < 0 || fd_seal(fd, F_SEAL_SHRINK) < 0) {
        return -1;
    }
    words = mmap(NULL, 256, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    words[3] = 99;
    event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return timelines_open(&f->ctx.timelines, fd, 256, dup(event_fd));
}

static int teardown(void **state)
{
    munmap((void *)words, 256);
    close(event_fd);
    return fixture_teardown(state);
}

static struct timelines *timelines_of(void **state)
{
    return &((struct fixture *)*state)->ctx.timelines;
}

static uint64_t drain(void)
{
    uint64_t n = 0;

    return read(event_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void words_start_at_zero(void **state)
{
    (void)state;
    assert_int_equal(words[3], 0);
}

static void words_move_forwards_only(void **state)
{
    struct timelines *t = timelines_of(state);

    timeline_retire(t, 2, 5);
    assert_int_equal(words[2], 5);
    assert_int_equal(drain(), 1);
    timeline_retire(t, 2, 4);
    timeline_retire(t, 2, 5);
    assert_int_equal(words[2], 5);
    assert_int_equal(drain(), 0);
    /* What somebody else writes there changes nothing for us. */
    words[2] = 1000;
    timeline_retire(t, 2, 6);
    assert_int_equal(words[2], 6);
    timeline_retire(t, 64, 1);
    timeline_retire(t, UINT32_MAX, 1);
}

static void numbers_wrap(void **state)
{
    struct timelines *t = timelines_of(state);

    for (uint32_t step = 0; step < 4; step++) {
        timeline_retire(t, 1, 0x7ffffff0u + step * 0x40000000u);
    }
    assert_int_equal(words[1], 0x3ffffff0u);
}

static void bad_memory_is_refused(void **state)
{
    struct timelines *t = timelines_of(state);
    struct timelines other;
    int fd = -1;

    assert_int_equal(memfd_create_sized("words", 256, &fd), 0);
    assert_int_equal(timelines_open(t, dup(fd), 256, -1), -EALREADY);
    timelines_init(&other);
    assert_int_equal(timelines_open(&other, dup(fd), 256, -1), -EPERM);
    assert_int_equal(fd_seal(fd, F_SEAL_SHRINK), 0);
    assert_int_equal(timelines_open(&other, dup(fd), 260, -1), -EINVAL);
    assert_int_equal(timelines_open(&other, dup(fd), 0, -1), -EINVAL);
    assert_int_equal(timelines_open(&other, dup(fd), UINT64_MAX, -1), -EINVAL);
    assert_int_equal(timelines_open(&other, dup(fd), 8, -1), 0);
    assert_int_equal(other.n_words, 2);
    timelines_fini(&other);
    close(fd);
}

static void queues_are_bound_once(void **state)
{
    struct timelines *t = timelines_of(state);
    struct queue q = { .index = 0 }, other = { .index = 1 };

    assert_int_equal(timeline_bind(t, 0, &q), -ERANGE);
    assert_int_equal(timeline_bind(t, 64, &q), -ERANGE);
    assert_int_equal(timeline_bind(t, 63, &q), 0);
    assert_int_equal(timeline_bind(t, 63, &other), -EBUSY);
    timeline_unbind(t, &q);
    assert_int_equal(timeline_bind(t, 63, &other), 0);
    timeline_unbind(t, &other);
}

static void fences_go_where_they_belong(void **state)
{
    struct fixture *f = *state;
    struct queue q = { .index = 0 };

    assert_int_equal(timeline_submit_fence(&f->ctx, 0, 1), 0);
    assert_int_equal(words[0], 1);
    /* No queue there: nothing to wait for. */
    assert_int_equal(timeline_submit_fence(&f->ctx, 7, 1), 0);
    assert_int_equal(words[7], 1);
    assert_int_equal(submitted.calls, 0);
    timeline_bind(&f->ctx.timelines, 8, &q);
    assert_int_equal(timeline_submit_fence(&f->ctx, 8, 3), 0);
    assert_int_equal(words[8], 0);
    assert_int_equal(submitted.calls, 1);
    assert_ptr_equal(submitted.q, &q);
    assert_int_equal(submitted.ring_idx, 8);
    assert_int_equal(submitted.seqno, 3);
    assert_int_equal(timeline_submit_fence(&f->ctx, 64, 3), -ERANGE);
    submitted.result = -ENOMEM;
    assert_int_equal(timeline_submit_fence(&f->ctx, 8, 4), -ENOMEM);
    timeline_unbind(&f->ctx.timelines, &q);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(words_start_at_zero),   T(words_move_forwards_only), T(numbers_wrap),
        T(bad_memory_is_refused), T(queues_are_bound_once),    T(fences_go_where_they_belong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
