/* The thread that retires virtqueue fences, against a driver that does what it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/map.h"
#include "worker/context.h"
#include "worker/device.h"
#include "worker/queue.h"

/* ---- the driver: fence n is signalled once `finished` >= its place in the queue ------------- */

struct fake_fence {
    uint64_t place; /* 0: not submitted */
};

static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fake_moved = PTHREAD_COND_INITIALIZER;
static uint64_t submitted, finished;
static bool lost;
static int fences_alive;

static VKAPI_ATTR VkResult VKAPI_CALL fake_create_fence(VkDevice device,
                                                        const VkFenceCreateInfo *info,
                                                        const VkAllocationCallbacks *allocator,
                                                        VkFence *ret)
{
    struct fake_fence *f = calloc(1, sizeof(*f));
    LOCK_SCOPE(&fake_lock);

    (void)device;
    (void)info;
    (void)allocator;
    fences_alive++;
    *ret = (VkFence)(uintptr_t)f;
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL fake_destroy_fence(VkDevice device, VkFence fence,
                                                     const VkAllocationCallbacks *allocator)
{
    LOCK_SCOPE(&fake_lock);

    (void)device;
    (void)allocator;
    fences_alive--;
    free((void *)(uintptr_t)fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_submit(VkQueue queue, uint32_t count,
                                                  const VkSubmitInfo *submits, VkFence fence)
{
    LOCK_SCOPE(&fake_lock);

    (void)queue;
    (void)count;
    (void)submits;
    if (lost) {
        return VK_ERROR_DEVICE_LOST;
    }
    ((struct fake_fence *)(uintptr_t)fence)->place = ++submitted;
    return VK_SUCCESS;
}

static VkResult status(VkFence fence)
{
    const struct fake_fence *f = (const void *)(uintptr_t)fence;

    return lost                                    ? VK_ERROR_DEVICE_LOST
           : f->place != 0 && finished >= f->place ? VK_SUCCESS
                                                   : VK_NOT_READY;
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_status(VkDevice device, VkFence fence)
{
    LOCK_SCOPE(&fake_lock);

    (void)device;
    return status(fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_wait(VkDevice device, uint32_t count,
                                                const VkFence *fences, VkBool32 all,
                                                uint64_t timeout)
{
    struct timespec end;
    LOCK_SCOPE(&fake_lock);

    (void)device;
    (void)count;
    (void)all;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += (long)(timeout % 1000000000u);
    end.tv_sec += (time_t)(timeout / 1000000000u) + end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    while (status(fences[0]) == VK_NOT_READY) {
        if (pthread_cond_timedwait(&fake_moved, &fake_lock, &end) != 0) {
            return VK_TIMEOUT;
        }
    }
    return status(fences[0]);
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_reset(VkDevice device, uint32_t count,
                                                 const VkFence *fences)
{
    LOCK_SCOPE(&fake_lock);

    (void)device;
    (void)count;
    ((struct fake_fence *)(uintptr_t)fences[0])->place = 0;
    return VK_SUCCESS;
}

static void finish(uint64_t n)
{
    LOCK_SCOPE(&fake_lock);

    finished = n;
    pthread_cond_broadcast(&fake_moved);
}

/* ---- a queue on it --------------------------------------------------------------------------- */

struct bench {
    struct context ctx;
    struct device dev;
    struct recorder recorder;
    struct worker_record page;
    struct queue *q;
    uint32_t *words;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    int fd = -1;

    submitted = finished = 0;
    lost = false;
    timelines_init(&b->ctx.timelines);
    if (memfd_create_sized("words", 4096, &fd) < 0 || fd_seal(fd, F_SEAL_SHRINK) < 0 ||
        map_shared(fd, 4096, (void **)&b->words) < 0 ||
        timelines_open(&b->ctx.timelines, fd, 256, -1) < 0) {
        return -1;
    }
    b->recorder.page = &b->page;
    b->ctx.recorder = &b->recorder;
    b->dev.ctx = &b->ctx;
    b->dev.procs.CreateFence = fake_create_fence;
    b->dev.procs.DestroyFence = fake_destroy_fence;
    b->dev.procs.QueueSubmit = fake_submit;
    b->dev.procs.GetFenceStatus = fake_status;
    b->dev.procs.WaitForFences = fake_wait;
    b->dev.procs.ResetFences = fake_reset;
    b->q = queue_create(&b->dev, NULL, 0, 0, 0);
    *state = b;
    return b->q ? 0 : -1;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    queue_stop(b->q);
    queue_destroy(b->q);
    timelines_fini(&b->ctx.timelines);
    munmap(b->words, 4096);
    free(b);
    return fences_alive == 0 ? 0 : -1;
}

static uint32_t word(struct bench *b, uint32_t i)
{
    return __atomic_load_n(&b->words[i], __ATOMIC_ACQUIRE);
}

static bool word_reaches(struct bench *b, uint32_t i, uint32_t value)
{
    for (int n = 0; n < 5000; n++) {
        if (word(b, i) == value) {
            return true;
        }
        usleep(1000);
    }
    return false;
}

/* What the guest submits between two fences. */
static void guest_submits(struct bench *b)
{
    LOCK_SCOPE(&b->q->lock);

    b->q->fenced = false;
}

static void fences_without_work_between_share_a_submission(void **state)
{
    struct bench *b = *state;

    for (uint32_t i = 1; i <= 50; i++) {
        assert_int_equal(queue_submit_fence(b->q, 4, i), 0);
    }
    assert_int_equal(submitted, 1);
    usleep(20000);
    assert_int_equal(word(b, 4), 0);
    finish(1);
    assert_true(word_reaches(b, 4, 50));
    /* All is done and nothing came since: told at once, with no submission. */
    assert_int_equal(queue_submit_fence(b->q, 4, 51), 0);
    assert_true(word_reaches(b, 4, 51));
    guest_submits(b);
    assert_int_equal(queue_submit_fence(b->q, 4, 52), 0);
    assert_int_equal(submitted, 2);
    usleep(20000);
    assert_int_equal(word(b, 4), 51);
    finish(2);
    assert_true(word_reaches(b, 4, 52));
}

static void fences_retire_when_they_are_signalled(void **state)
{
    struct bench *b = *state;

    for (uint32_t i = 1; i <= 5; i++) {
        guest_submits(b);
        assert_int_equal(queue_submit_fence(b->q, 3, 100 + i), 0);
    }
    usleep(20000);
    assert_int_equal(word(b, 3), 0);
    finish(2);
    assert_true(word_reaches(b, 3, 102));
    usleep(20000);
    assert_int_equal(word(b, 3), 102);
    finish(5);
    assert_true(word_reaches(b, 3, 105));
}

static void fences_are_used_again(void **state)
{
    struct bench *b = *state;

    for (uint32_t i = 1; i <= 200; i++) {
        guest_submits(b);
        assert_int_equal(queue_submit_fence(b->q, 1, i), 0);
        finish(i);
        assert_true(word_reaches(b, 1, i));
    }
    assert_in_range(fences_alive, 1, 3);
}

static void a_lost_device_retires_behind_what_came_before(void **state)
{
    struct bench *b = *state;

    assert_int_equal(queue_submit_fence(b->q, 1, 1), 0);
    {
        LOCK_SCOPE(&fake_lock);
        lost = true;
        pthread_cond_broadcast(&fake_moved);
    }
    guest_submits(b);
    assert_int_equal(queue_submit_fence(b->q, 1, 2), 0);
    assert_true(word_reaches(b, 1, 2));
    assert_int_equal(b->page.devices_lost, 1); /* once, however many calls say so */
}

static void stopping_retires_what_is_left(void **state)
{
    struct bench *b = *state;

    for (uint32_t i = 1; i <= 3; i++) {
        guest_submits(b);
        assert_int_equal(queue_submit_fence(b->q, 2, i), 0);
    }
    queue_stop(b->q); /* none of them is signalled */
    assert_int_equal(word(b, 2), 3);
    assert_int_equal(fences_alive, 0);
    queue_stop(b->q);
}

static void two_timelines_may_share_a_queues_thread(void **state)
{
    struct bench *b = *state;

    for (uint32_t i = 1; i <= 6; i++) {
        guest_submits(b);
        assert_int_equal(queue_submit_fence(b->q, 1 + i % 2, i), 0);
    }
    finish(6);
    assert_true(word_reaches(b, 1, 6));
    assert_true(word_reaches(b, 2, 5));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(fences_without_work_between_share_a_submission),
        CASE(fences_retire_when_they_are_signalled),
        CASE(fences_are_used_again),
        CASE(a_lost_device_retires_behind_what_came_before),
        CASE(stopping_retires_what_is_left),
        CASE(two_timelines_may_share_a_queues_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
