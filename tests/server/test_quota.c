/* What operators may write, and the gate that a VM's contexts go through. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/render/quota.h"
#include "tests/harness.h"

static char why[256];

static void numbers_and_units(void **state)
{
    struct limits l = limits_default;

    (void)state;
    assert_int_equal(limits_parse("memory=3G,files=100,lost=0", &l, why, sizeof(why)), 0);
    assert_int_equal(l.memory, UINT64_C(3) << 30);
    assert_int_equal(l.files, 100);
    assert_int_equal(l.lost, 0);
    assert_int_equal(l.threads, limits_default.threads);
    assert_int_equal(limits_parse("blob=1048576", &l, why, sizeof(why)), 0);
    assert_int_equal(l.blob, 1u << 20);
}

static void what_makes_no_sense_is_refused_and_changes_nothing(void **state)
{
    static const char *const bad[] = {
        "",
        "memory",
        "memory=",
        "memory=-1",
        "memory=1X",
        "memory=1GG",
        "memory=99999999T",
        "memory=16777216T",
        "gpu=1",
        "files=1",
        "threads=0",
        "contexts=0",
        "contexts=257",
        "files=64,",
        "files=64,,threads=8",
        "heap=1M",
        "starts=1001",
        "lost=17",
        "objects=2M",
        "memory =1",
        "files=18446744073709551680",
    };
    struct limits l = limits_default;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        why[0] = '\0';
        if (limits_parse(bad[i], &l, why, sizeof(why)) != -EINVAL || !strstr(why, "--limit")) {
            fail_msg("`%s` passed, or gave no reason: `%s`", bad[i], why);
        }
    }
    assert_memory_equal(&l, &limits_default, sizeof(l));
}

static void starts_are_paced(void **state)
{
    struct limits l = limits_default;
    struct gate g;
    int passed = 0;

    (void)state;
    l.starts = 2;
    gate_init(&g, &l, 1000);
    while (gate_pass(&g, 1000, 0, 0, why, sizeof(why)) == 0) {
        passed++;
    }
    assert_int_equal(passed, 20); /* a burst of ten seconds' worth */
    assert_non_null(strstr(why, "limit starts"));
    assert_int_equal(gate_pass(&g, 1400, 0, 0, why, sizeof(why)), -EDQUOT);
    assert_int_equal(gate_pass(&g, 1600, 0, 0, why, sizeof(why)), 0);
    l.starts = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(gate_pass(&g, 1600, 0, 0, why, sizeof(why)), 0);
    }
}

static void lost_devices_close_the_gate_for_a_while(void **state)
{
    struct gate g;

    (void)state;
    gate_init(&g, &limits_default, 0);
    /* Three, but not within a minute. */
    assert_false(gate_note_lost(&g, 0));
    assert_false(gate_note_lost(&g, 50000));
    assert_false(gate_note_lost(&g, 60000));
    assert_int_equal(gate_pass(&g, 60000, 0, 0, why, sizeof(why)), 0);
    assert_true(gate_note_lost(&g, 61000));
    assert_int_equal(gate_pass(&g, 61000, 0, 0, why, sizeof(why)), -EDQUOT);
    assert_non_null(strstr(why, "another 60 s"));
    assert_int_equal(gate_pass(&g, 120999, 0, 0, why, sizeof(why)), -EDQUOT);
    assert_non_null(strstr(why, "another 1 s"));
    assert_int_equal(gate_pass(&g, 121000, 0, 0, why, sizeof(why)), 0);
}

static void lost_may_be_any_number_or_none(void **state)
{
    struct limits l = limits_default;
    struct gate g;

    (void)state;
    l.lost = LIMITS_MAX_LOST;
    gate_init(&g, &l, 0);
    for (int i = 1; i < 3 * LIMITS_MAX_LOST; i++) {
        assert_int_equal(gate_note_lost(&g, 5), i >= LIMITS_MAX_LOST);
    }
    l.lost = 0;
    gate_init(&g, &l, 0);
    for (int i = 0; i < 100; i++) {
        assert_false(gate_note_lost(&g, 0));
    }
}

static void contexts_and_memory_of_the_vm(void **state)
{
    struct limits l = limits_default;
    struct gate g;

    (void)state;
    l.contexts = 2;
    l.vm_memory = 1000;
    gate_init(&g, &l, 0);
    assert_int_equal(gate_pass(&g, 0, 1, 999, why, sizeof(why)), 0);
    assert_int_equal(gate_pass(&g, 0, 2, 0, why, sizeof(why)), -EDQUOT);
    assert_non_null(strstr(why, "limit contexts"));
    assert_int_equal(gate_pass(&g, 0, 0, 1000, why, sizeof(why)), -EDQUOT);
    assert_non_null(strstr(why, "limit vm-memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_units),
        cmocka_unit_test(what_makes_no_sense_is_refused_and_changes_nothing),
        cmocka_unit_test(starts_are_paced),
        cmocka_unit_test(lost_devices_close_the_gate_for_a_while),
        cmocka_unit_test(lost_may_be_any_number_or_none),
        cmocka_unit_test(contexts_and_memory_of_the_vm),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
