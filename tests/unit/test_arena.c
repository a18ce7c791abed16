#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "worker/arena.h"

static bool all_zero(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (p[i]) {
            return false;
        }
    }
    return true;
}

static void memory_comes_zeroed_and_aligned(void **state)
{
    struct arena a;

    (void)state;
    assert_int_equal(arena_init(&a, 1 << 20), 0);
    for (int round = 0; round < 3; round++) {
        for (size_t size = 1; size < 300; size++) {
            uint8_t *p = arena_alloc(&a, size);

            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            assert_true(all_zero(p, size));
            memset(p, 0xa5, size);
        }
        arena_reset(&a);
    }
    arena_fini(&a);
}

static void size_zero_is_a_valid_pointer(void **state)
{
    struct arena a;

    (void)state;
    assert_int_equal(arena_init(&a, 4096), 0);
    assert_non_null(arena_alloc(&a, 0));
    assert_non_null(arena_array(&a, 0, 48));
    arena_fini(&a);
}

static void cap_is_kept_and_reset_gives_all_back(void **state)
{
    struct arena a;
    size_t cap = 1 << 20;

    (void)state;
    assert_int_equal(arena_init(&a, cap), 0);
    for (int round = 0; round < 3; round++) {
        size_t got = 0;

        while (arena_alloc(&a, 10000)) {
            got += 10000;
            assert_true(got <= cap);
            assert_true(a.total <= cap + 15);
        }
        assert_true(got > cap / 2);
        arena_reset(&a);
        assert_true(a.total <= 1 << 16);
    }
    assert_null(arena_alloc(&a, cap + 1));
    assert_non_null(arena_alloc(&a, cap / 2));
    arena_fini(&a);
}

static void overflow_is_refused(void **state)
{
    struct arena a;

    (void)state;
    assert_int_equal(arena_init(&a, 1 << 20), 0);
    assert_null(arena_array(&a, UINT64_MAX / 8, 16));
    assert_null(arena_array(&a, UINT64_MAX, 1));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 14));
    assert_non_null(arena_alloc(&a, 16));
    arena_fini(&a);
}

/* Against a model: nothing overlaps, nothing changes before the reset. */
static void random_allocations_do_not_overlap(void **state)
{
    unsigned seed = (unsigned)time(NULL);
    struct arena a;

    (void)state;
    print_message("seed %u\n", seed);
    assert_int_equal(arena_init(&a, 64 << 20), 0);
    for (int round = 0; round < 50; round++) {
        struct {
            uint8_t *p;
            size_t size;
            uint8_t fill;
        } got[500];
        size_t n = (size_t)(rand_r(&seed) % 500);

        for (size_t i = 0; i < n; i++) {
            got[i].size = (size_t)(rand_r(&seed) % (i % 50 == 0 ? 200000 : 300));
            got[i].fill = (uint8_t)rand_r(&seed);
            got[i].p = arena_alloc(&a, got[i].size);
            assert_non_null(got[i].p);
            assert_true(all_zero(got[i].p, got[i].size));
            memset(got[i].p, got[i].fill, got[i].size);
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < got[i].size; j++) {
                assert_int_equal(got[i].p[j], got[i].fill);
            }
        }
        arena_reset(&a);
    }
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_zeroed_and_aligned),
        cmocka_unit_test(size_zero_is_a_valid_pointer),
        cmocka_unit_test(cap_is_kept_and_reset_gives_all_back),
        cmocka_unit_test(overflow_is_refused),
        cmocka_unit_test(random_allocations_do_not_overlap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
