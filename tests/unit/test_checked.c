#include "ipc/checked.h"

#include "tests/harness.h"

static void sums_tell_overflow(void **state)
{
    uint64_t v = 7;

    (void)state;
    assert_true(checked_add(1, 2, &v));
    assert_int_equal(v, 3);
    assert_true(checked_add(UINT64_MAX, 0, &v));
    assert_false(checked_add(UINT64_MAX, 1, &v));
}

static void products_tell_overflow(void **state)
{
    uint64_t v = 7;

    (void)state;
    assert_true(checked_mul(UINT32_MAX, UINT32_MAX, &v));
    assert_int_equal(v, (uint64_t)UINT32_MAX * UINT32_MAX);
    assert_true(checked_mul(UINT64_MAX, 0, &v));
    assert_false(checked_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &v));
}

static void alignment_rounds_up_or_refuses(void **state)
{
    uint64_t v = 7;

    (void)state;
    assert_true(checked_align(0, 4, &v));
    assert_int_equal(v, 0);
    assert_true(checked_align(1, 4096, &v));
    assert_int_equal(v, 4096);
    assert_true(checked_align(4096, 4096, &v));
    assert_int_equal(v, 4096);
    v = 7;
    assert_false(checked_align(UINT64_MAX, 2, &v));
    assert_int_equal(v, 7);
}

static void ranges_lie_inside_or_not(void **state)
{
    (void)state;
    assert_true(range_in(0, 10, 10));
    assert_true(range_in(10, 0, 10));
    assert_false(range_in(11, 0, 10));
    assert_false(range_in(0, 11, 10));
    assert_false(range_in(UINT64_MAX, 2, 10));
    assert_false(range_in(2, UINT64_MAX, 10));
}

static void powers_of_two(void **state)
{
    (void)state;
    assert_false(is_power_of_two(0));
    assert_true(is_power_of_two(1));
    assert_true(is_power_of_two(UINT64_C(1) << 63));
    assert_false(is_power_of_two(6));
    assert_false(is_power_of_two(UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(sums_tell_overflow),
        HARNESS_TEST(products_tell_overflow),
        HARNESS_TEST(alignment_rounds_up_or_refuses),
        HARNESS_TEST(ranges_lie_inside_or_not),
        HARNESS_TEST(powers_of_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
