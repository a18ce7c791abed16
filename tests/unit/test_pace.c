#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/pace.h"

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
    pace_init(2);
    assert_true(pace_ring.yield_ns > pace_ring.look_ns);
    pace_init(8);
    assert_true(pace_ring.yield_ns < pace_ring.look_ns);
    pace_start(&p, &pace_ring, 2000000);
    while (pace_next(&p)) {
        pace_wait(&p);
        steps++;
    }
    assert_true(steps > 5);
    pace_start(&p, &pace_ring, 0);
    assert_false(pace_next(&p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spins_then_sleeps_longer_and_longer),
        cmocka_unit_test(never_past_the_limit),
        cmocka_unit_test(a_silent_ring_costs_little),
        cmocka_unit_test(patience_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
