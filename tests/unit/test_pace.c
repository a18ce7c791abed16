#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "worker/pace.h"

static const struct pace_habit none;

static const struct pace_rules rules = {
    .look_ns = 4000,
    .yield_ns = 10000,
    .first_sleep_ns = 8000,
    .growth_percent = 50,
    .last_sleep_ns = 100000,
};

static void spins_then_sleeps_longer_and_longer(void **state)
{
    (void)state;
    assert_int_equal(pace_sleep_ns(&rules, 0, 1000000), 0);
    assert_int_equal(pace_sleep_ns(&rules, 9999, 1000000), 0);
    assert_int_equal(pace_sleep_ns(&rules, 10000, 1000000), 8000);
    assert_int_equal(pace_sleep_ns(&rules, 40000, 1000000), 20000);
    assert_int_equal(pace_sleep_ns(&rules, 500000, 1000000), 100000);
}

static void never_past_the_limit(void **state)
{
    (void)state;
    assert_int_equal(pace_sleep_ns(&rules, 990000, 1000000), 10000);
    assert_int_equal(pace_sleep_ns(&rules, 1000000, 1000000), 0);
    assert_int_equal(pace_sleep_ns(&rules, UINT64_MAX, UINT64_MAX), 0);
    assert_int_equal(pace_sleep_ns(&rules, UINT64_MAX - 1, UINT64_MAX), 1);
    assert_int_equal(pace_sleep_ns(&rules, UINT64_MAX / 2, UINT64_MAX), 100000);
}

/* A guest may ask for any idle timeout: a thousand looks a second are the most it gets. */
static void a_silent_ring_costs_little(void **state)
{
    uint64_t waited = 0;
    int sleeps = 0;

    (void)state;
    while (waited < 900000) {
        uint64_t ns = pace_sleep_ns(&pace_ring, waited, 1000000);

        sleeps += ns != 0;
        waited += ns ? ns : 1000;
    }
    assert_true(sleeps <= 6);
    assert_true(pace_sleep_ns(&pace_ring, 10000000000u, UINT64_MAX) >= 1000000);
}

static void patience_ends(void **state)
{
    struct pace p;
    int steps = 0;

    (void)state;
    pace_init(1);
    assert_true(pace_ring.yield_ns > pace_ring.look_ns);
    pace_init(8);
    assert_true(pace_ring.yield_ns < pace_ring.look_ns);
    pace_start(&p, &pace_ring, &none, 2000000);
    while (pace_next(&p)) {
        pace_wait(&p);
        steps++;
    }
    assert_true(steps > 5);
    pace_start(&p, &pace_ring, &none, 0);
    assert_false(pace_next(&p));
}

/* What others took is no look of ours, and after some of their turns it is time to sleep. */
static void a_crowd_ends_the_look(void **state)
{
    const struct pace_rules crowd = {
        .look_ns = 100000, .crowd_yields = 4, .first_sleep_ns = 8000, .last_sleep_ns = 100000
    };
    struct pace p;

    (void)state;
    pace_start(&p, &crowd, &none, 1000000000);
    p.polite = true;
    assert_true(pace_next(&p));
    for (uint32_t i = 1; i < crowd.crowd_yields; i++) {
        p.begin_ns -= 40000; /* so long did the yield take */
        assert_true(pace_next(&p));
        assert_true(p.crowded);
        assert_int_equal(p.n_given, i);
        assert_int_equal(p.sleep_ns, 0);
    }
    p.begin_ns -= 40000;
    assert_true(pace_next(&p));
    assert_int_not_equal(p.sleep_ns, 0);
    /* A step of sleep gives nothing to anybody in particular. */
    p.begin_ns -= 40000;
    assert_true(pace_next(&p));
    assert_int_equal(p.n_given, crowd.crowd_yields);
}

/* One wait, as if the work had come `waited_ns` after the start. */
static struct pace_habit habit_after(struct pace_habit habit, uint64_t waited_ns)
{
    struct pace p;

    pace_start(&p, &pace_ring, &habit, 1000000000);
    p.waited_ns = waited_ns;
    return pace_learn(&p, true);
}

static void looks_longer_for_who_calls_often(void **state)
{
    struct pace_habit habit = { 0 };

    (void)state;
    pace_init(2);
    habit = habit_after(habit, 100000);
    assert_true(habit.look_ns >= 100000);
    habit = habit_after(habit, 100000);
    assert_true(habit.look_ns >= 100000 && habit.look_ns <= pace_ring.most_look_ns);
    assert_int_equal(habit.due_ns, 0);
    /* A silence that no looking could have bridged. */
    for (int i = 0; i < 6; i++) {
        habit = habit_after(habit, 900000);
    }
    assert_true(habit.look_ns <= pace_ring.look_ns);
    /* Two processes with one processor: looking keeps the other from working. */
    pace_init(1);
    habit = habit_after((struct pace_habit){ 0 }, 100000);
    assert_int_equal(habit.look_ns, 0);
    habit = habit_after(habit, 900000);
    assert_int_equal(habit.due_ns, 0);
}

/* A wait on a clock that steps a microsecond per look and tells no lies about sleeps; true if the
 * work was looked for when it came. */
static bool wait_for_work(struct pace_habit *habit, uint64_t work_ns, int *ret_steps)
{
    struct timespec ts;
    struct pace p;
    uint64_t now_ns = 0;
    bool looking = false;

    *ret_steps = 0;
    pace_start(&p, &pace_ring, habit, 1000000);
    while (now_ns < work_ns) {
        /* pace_next() reads the clock. */
        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        p.begin_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec - now_ns;
        p.n_given = 0; /* this machine may be busy */
        assert_true(pace_next(&p));
        looking = p.sleep_ns == 0;
        now_ns += looking ? 1000 : p.sleep_ns;
        *ret_steps += !looking;
    }
    *habit = pace_learn(&p, true);
    return looking;
}

static void a_rhythm_is_learned_and_forgotten(void **state)
{
    struct pace_habit habit = { 0 };
    bool looked = false;
    int steps;

    (void)state;
    pace_init(2);
    for (int i = 0; i < 8; i++) {
        looked = wait_for_work(&habit, 900000, &steps);
    }
    assert_true(looked);
    assert_in_range(habit.due_ns, 890000, 910000);
    assert_true(steps <= 2); /* one, and what the clock made of it */
    /* It shifts, and is met again soon. */
    for (int i = 0; i < 6; i++) {
        looked = wait_for_work(&habit, 700000, &steps);
    }
    assert_true(looked);
    /* Who calls at once has none. */
    (void)wait_for_work(&habit, 5000, &steps);
    assert_int_equal(habit.due_ns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spins_then_sleeps_longer_and_longer),
        cmocka_unit_test(never_past_the_limit),
        cmocka_unit_test(a_silent_ring_costs_little),
        cmocka_unit_test(patience_ends),
        cmocka_unit_test(a_crowd_ends_the_look),
        cmocka_unit_test(looks_longer_for_who_calls_often),
        cmocka_unit_test(a_rhythm_is_learned_and_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
