/* Waits that an import has satisfied leave a submission; everything else stays as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/arena.h"
#include "worker/semaphores.h"
#include "worker/submit_filter.h"

static const VkSemaphore A = (VkSemaphore)0xa0, B = (VkSemaphore)0xb0, C = (VkSemaphore)0xc0;

static int setup(void **state)
{
    static struct arena a;

    *state = &a;
    return arena_init(&a, 1 << 20);
}

static int teardown(void **state)
{
    arena_fini(*state);
    return 0;
}

static bool unmark(void *arg, VkSemaphore semaphore)
{
    return semaphores_unmark(arg, semaphore);
}

static void nothing_marked_nothing_changed(void **state)
{
    const VkSemaphore waits[] = { A, B };
    const VkPipelineStageFlags stages[] = { 1, 2 };
    VkSubmitInfo s = {
        .waitSemaphoreCount = 2,
        .pWaitSemaphores = waits,
        .pWaitDstStageMask = stages,
    };
    struct semaphores marks;

    semaphores_init(&marks);
    assert_true(submit_filter(*state, &s, 1, unmark, &marks));
    assert_int_equal(s.waitSemaphoreCount, 2);
    assert_ptr_equal(s.pWaitSemaphores, waits);
    assert_ptr_equal(s.pWaitDstStageMask, stages);
    semaphores_fini(&marks);
}

static void arrays_shrink_in_step(void **state)
{
    const VkSemaphore waits[] = { A, B, C };
    const VkPipelineStageFlags stages[] = { 1, 2, 4 };
    const uint64_t values[] = { 10, 20, 30 };
    const uint32_t devices[] = { 0, 1, 2 };
    VkDeviceGroupSubmitInfo group = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_GROUP_SUBMIT_INFO,
        .waitSemaphoreCount = 3,
        .pWaitSemaphoreDeviceIndices = devices,
    };
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .pNext = &group,
        .waitSemaphoreValueCount = 3,
        .pWaitSemaphoreValues = values,
    };
    VkSubmitInfo s = {
        .pNext = &timeline,
        .waitSemaphoreCount = 3,
        .pWaitSemaphores = waits,
        .pWaitDstStageMask = stages,
    };
    struct semaphores marks;

    semaphores_init(&marks);
    assert_int_equal(semaphores_mark(&marks, B), 0);
    assert_true(submit_filter(*state, &s, 1, unmark, &marks));
    assert_int_equal(s.waitSemaphoreCount, 2);
    assert_int_equal((uint64_t)s.pWaitSemaphores[0], (uint64_t)A);
    assert_int_equal((uint64_t)s.pWaitSemaphores[1], (uint64_t)C);
    assert_int_equal(s.pWaitDstStageMask[1], 4);
    assert_int_equal(timeline.waitSemaphoreValueCount, 2);
    assert_int_equal(timeline.pWaitSemaphoreValues[1], 30);
    assert_int_equal(group.waitSemaphoreCount, 2);
    assert_int_equal(group.pWaitSemaphoreDeviceIndices[1], 2);
    assert_int_equal(waits[1] == B, true); /* the decoded array may be the stream: untouched */
    assert_false(semaphores_any_marked(&marks));
    semaphores_fini(&marks);
}

static void a_mark_is_good_for_one_wait(void **state)
{
    const VkSemaphore waits[] = { A };
    const VkPipelineStageFlags stages[] = { 1 };
    VkSubmitInfo s[] = {
        { .waitSemaphoreCount = 1, .pWaitSemaphores = waits, .pWaitDstStageMask = stages },
        { .waitSemaphoreCount = 1, .pWaitSemaphores = waits, .pWaitDstStageMask = stages },
    };
    struct semaphores marks;

    semaphores_init(&marks);
    assert_int_equal(semaphores_mark(&marks, A), 0);
    assert_true(submit_filter(*state, s, 2, unmark, &marks));
    assert_int_equal(s[0].waitSemaphoreCount, 0);
    assert_int_equal(s[1].waitSemaphoreCount, 1);
    semaphores_fini(&marks);
}

static void missing_and_short_arrays_are_left_alone(void **state)
{
    const VkSemaphore waits[] = { A, B };
    const VkPipelineStageFlags stages[] = { 1, 2 };
    const uint64_t value = 7;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = 2, /* the array may be left out */
    };
    VkSubmitInfo s = {
        .pNext = &timeline,
        .waitSemaphoreCount = 2,
        .pWaitSemaphores = waits,
        .pWaitDstStageMask = stages,
    };
    struct semaphores marks;

    semaphores_init(&marks);
    assert_int_equal(semaphores_mark(&marks, B), 0);
    assert_true(submit_filter(*state, &s, 1, unmark, &marks));
    assert_int_equal(s.waitSemaphoreCount, 1);
    assert_null(timeline.pWaitSemaphoreValues);

    /* One value for two waits, and the second wait goes. */
    timeline.pWaitSemaphoreValues = &value;
    timeline.waitSemaphoreValueCount = 1;
    s.waitSemaphoreCount = 2;
    s.pWaitSemaphores = waits;
    s.pWaitDstStageMask = stages;
    assert_int_equal(semaphores_mark(&marks, B), 0);
    assert_true(submit_filter(*state, &s, 1, unmark, &marks));
    assert_int_equal(timeline.waitSemaphoreValueCount, 1);
    assert_int_equal(timeline.pWaitSemaphoreValues[0], 7);

    /* A count without an array, which the wire allows nowhere but a driver would crash on. */
    s = (VkSubmitInfo){ .waitSemaphoreCount = 2 };
    assert_true(submit_filter(*state, &s, 1, unmark, &marks));
    assert_int_equal(s.waitSemaphoreCount, 2);
    semaphores_fini(&marks);
}

static void the_second_form_and_sparse_binds_follow(void **state)
{
    const VkSemaphore waits[] = { A, C };
    VkSemaphoreSubmitInfo infos[] = { { .semaphore = B, .value = 1 }, { .semaphore = A } };
    VkSubmitInfo2 s2 = { .waitSemaphoreInfoCount = 2, .pWaitSemaphoreInfos = infos };
    VkBindSparseInfo bind = { .waitSemaphoreCount = 2, .pWaitSemaphores = waits };
    struct semaphores marks;

    semaphores_init(&marks);
    assert_int_equal(semaphores_mark(&marks, A), 0);
    assert_true(submit_filter2(*state, &s2, 1, unmark, &marks));
    assert_int_equal(s2.waitSemaphoreInfoCount, 1);
    assert_int_equal((uint64_t)s2.pWaitSemaphoreInfos[0].semaphore, (uint64_t)B);
    assert_int_equal(semaphores_mark(&marks, A), 0);
    assert_true(submit_filter_sparse(*state, &bind, 1, unmark, &marks));
    assert_int_equal(bind.waitSemaphoreCount, 1);
    assert_int_equal((uint64_t)bind.pWaitSemaphores[0], (uint64_t)C);
    semaphores_fini(&marks);
}

static void marks_follow_their_semaphore(void **state)
{
    struct queue *q = (struct queue *)&state; /* any pointer */
    struct semaphores s;

    semaphores_init(&s);
    assert_int_equal(semaphores_track(&s, A), 0);
    assert_null(semaphores_signaller(&s, A));
    semaphores_signalled(&s, A, q);
    semaphores_signalled(&s, B, q); /* not followed */
    assert_ptr_equal(semaphores_signaller(&s, A), q);
    assert_null(semaphores_signaller(&s, B));
    assert_int_equal(semaphores_mark(&s, A), 0);
    assert_true(semaphores_unmark(&s, A));
    assert_false(semaphores_unmark(&s, A));
    assert_false(semaphores_any_marked(&s));
    assert_true(semaphores_any_tracked(&s));
    semaphores_forget(&s, A);
    assert_false(semaphores_any_tracked(&s));
    for (uint64_t i = 1; i <= 1000; i++) {
        assert_int_equal(semaphores_mark(&s, (VkSemaphore)(i << 6)), 0);
    }
    for (uint64_t i = 1; i <= 1000; i++) {
        assert_true(semaphores_unmark(&s, (VkSemaphore)(i << 6)));
    }
    assert_false(semaphores_any_marked(&s));
    semaphores_fini(&s);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(nothing_marked_nothing_changed),
        CASE(arrays_shrink_in_step),
        CASE(a_mark_is_good_for_one_wait),
        CASE(missing_and_short_arrays_are_left_alone),
        CASE(the_second_form_and_sparse_binds_follow),
        CASE(marks_follow_their_semaphore),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
