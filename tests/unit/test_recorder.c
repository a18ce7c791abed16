#include "tests/unit/worker_fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "ipc/map.h"

static void lanes_are_given_and_taken(void **state)
{
    struct recorder *r = &((struct fixture *)*state)->recorder;
    struct recorder_lane *first = recorder_lane_take(r, 3), *second = recorder_lane_take(r, 4);

    assert_ptr_not_equal(first, second);
    assert_int_equal(first->what, 3);
    assert_int_equal(first->in_use, 1);
    recorder_lane_give(r, first);
    assert_int_equal(first->in_use, 0);
    assert_ptr_equal(recorder_lane_take(r, 5), first);
    recorder_lane_give(r, first);
    recorder_lane_give(r, second);
}

static void last_commands_are_kept(void **state)
{
    struct recorder *r = &((struct fixture *)*state)->recorder;
    struct recorder_lane *lane = recorder_lane_take(r, 1);
    const uint64_t before = recorder_commands(r);

    for (uint32_t i = 0; i < 20; i++) {
        recorder_note(lane, 100 + i);
    }
    assert_int_equal(lane->commands, 20);
    assert_int_equal(recorder_commands(r), before + 20);
    for (uint32_t i = 0; i < WORKER_RECORD_LAST; i++) {
        assert_int_equal(lane->last[(lane->commands - 1 - i) % WORKER_RECORD_LAST], 119 - i);
    }
    recorder_lane_give(r, lane);
}

static void more_lanes_than_there_are(void **state)
{
    struct recorder *r = &((struct fixture *)*state)->recorder;
    struct recorder_lane *lanes[WORKER_RECORD_LANES + 5];

    for (uint32_t i = 0; i < WORKER_RECORD_LANES + 5; i++) {
        lanes[i] = recorder_lane_take(r, i);
        assert_non_null(lanes[i]);
        recorder_note(lanes[i], 1);
    }
    assert_ptr_equal(lanes[WORKER_RECORD_LANES], lanes[WORKER_RECORD_LANES + 4]);
    for (uint32_t i = 0; i < WORKER_RECORD_LANES + 5; i++) {
        recorder_lane_give(r, lanes[i]);
    }
}

static void a_page_too_small_is_refused(void **state)
{
    struct recorder r;
    int fd = -1;

    (void)state;
    assert_int_equal(memfd_create_sized("record", sizeof(struct worker_record) - 1, &fd), 0);
    assert_int_equal(recorder_init(&r, fd), -EINVAL);
}

static void last_words_are_cut(void **state)
{
    struct recorder *r = &((struct fixture *)*state)->recorder;
    char text[1000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    recorder_reason(r, text);
    assert_int_equal(strlen(r->page->reason), sizeof(r->page->reason) - 1);
    recorder_reason(r, "short");
    assert_string_equal(r->page->reason, "short");
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(lanes_are_given_and_taken),   T(last_commands_are_kept), T(more_lanes_than_there_are),
        T(a_page_too_small_is_refused), T(last_words_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
