/* What a worker makes of the operator's numbers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ipc/base.h"
#include "worker/limits.h"

static void defaults_are_the_worker_s_own(void **state)
{
    (void)state;
    assert_int_equal(limits_parse(NULL), 0);
    assert_int_equal(limits_parse(""), 0);
    assert_int_equal(limits_from_server.memory, 0);
    assert_int_equal(limits_from_server.shm, LIMIT_SHM_BYTES);
    assert_int_equal(limits_from_server.objects, LIMIT_OBJECTS);
    assert_int_equal(limits_from_server.blobs, LIMIT_RESOURCES);
    assert_int_equal(limits_from_server.rings, LIMIT_RINGS);
    assert_int_equal(limits_from_server.lost, 0);
}

static void each_name_sets_its_number(void **state)
{
    (void)state;
    assert_int_equal(limits_parse("memory=4294967296,shm=5,objects=6,blobs=7,rings=8,lost=9"), 0);
    assert_int_equal(limits_from_server.memory, UINT64_C(4) << 30);
    assert_int_equal(limits_from_server.shm, 5);
    assert_int_equal(limits_from_server.objects, 6);
    assert_int_equal(limits_from_server.blobs, 7);
    assert_int_equal(limits_from_server.rings, 8);
    assert_int_equal(limits_from_server.lost, 9);
}

static void nothing_rises_above_what_the_worker_is_made_for(void **state)
{
    static const char *const bad[] = {
        "memory",          "memory=",   "gpu=1",   "objects=0", "objects=1048577",
        "blobs=9217",      "rings=513", "rings=0", "shm=0",     "memory=1;shm=1",
        "lost=4294967296", "memory=1 ", "mem=1",   "memoryx=1",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (limits_parse(bad[i]) != -EINVAL) {
            fail_msg("`%s` passed", bad[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_worker_s_own),
        cmocka_unit_test(each_name_sets_its_number),
        cmocka_unit_test(nothing_rises_above_what_the_worker_is_made_for),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
