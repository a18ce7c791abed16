#include "ipc/vhost_user_wire.h"

#include <errno.h>

#include "tests/harness.h"

static int check(uint32_t request, uint32_t flags, uint32_t size, uint32_t n_fds)
{
    struct vhost_user_header h = { .request = request, .flags = flags, .size = size };

    return vhost_user_check(&h, n_fds);
}

static void messages_of_the_right_shape_pass(void **state)
{
    (void)state;
    assert_int_equal(check(VHOST_USER_GET_FEATURES, 1, 0, 0), 0);
    assert_int_equal(check(VHOST_USER_SET_BACKEND_REQ_FD, 9, 0, 1), 0);
    assert_int_equal(check(VHOST_USER_SET_MEM_TABLE, 1, 264, 8), 0);
    assert_int_equal(check(VHOST_USER_SET_VRING_CALL, 1, 8, 0), 0);
    assert_int_equal(check(VHOST_USER_GET_INFLIGHT_FD, 1, 20, 0), 0);
    assert_int_equal(check(VHOST_USER_GET_CONFIG, 1, 28, 0), 0);
}

static void messages_of_a_wrong_shape_are_refused(void **state)
{
    (void)state;
    assert_int_equal(check(VHOST_USER_GET_FEATURES, 0, 0, 0), -EPROTO);
    assert_int_equal(check(VHOST_USER_GET_FEATURES, 2, 0, 0), -EPROTO);
    assert_int_equal(check(VHOST_USER_GET_FEATURES, 5, 0, 0), -EPROTO);
    assert_int_equal(check(VHOST_USER_GET_FEATURES, 1, 8, 0), -EMSGSIZE);
    assert_int_equal(check(VHOST_USER_SET_FEATURES, 1, 4, 0), -EMSGSIZE);
    assert_int_equal(check(VHOST_USER_SET_MEM_TABLE, 1, 265, 8), -EMSGSIZE);
    assert_int_equal(check(VHOST_USER_SET_MEM_TABLE, 1, UINT32_MAX, 8), -EMSGSIZE);
    assert_int_equal(check(VHOST_USER_SET_BACKEND_REQ_FD, 1, 0, 0), -EBADF);
    assert_int_equal(check(VHOST_USER_SET_BACKEND_REQ_FD, 1, 0, 2), -EBADF);
    assert_int_equal(check(VHOST_USER_GET_STATUS, 1, 0, 1), -EBADF);
}

static void what_is_not_offered_is_refused_by_name(void **state)
{
    static const uint32_t others[] = { 6, 7, 19, 20, 22, 23, 26, 27, 28, 29, 30, 33, 35, 36, 41 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        assert_int_equal(check(others[i], 1, 8, 0), -EOPNOTSUPP);
        assert_string_not_equal(vhost_user_name(others[i]), "unknown request");
    }
    assert_int_equal(check(0, 1, 0, 0), -EOPNOTSUPP);
    assert_int_equal(check(45, 1, 0, 0), -EOPNOTSUPP);
    assert_int_equal(check(1006, 1, 0, 0), -EOPNOTSUPP);
    assert_string_equal(vhost_user_name(UINT32_MAX), "unknown request");
    assert_string_equal(vhost_user_name(6), "SET_LOG_BASE");
}

static void memory_tables_count_their_regions_and_fds(void **state)
{
    struct vhost_user_mem_table t = { .n = 2 };

    (void)state;
    assert_int_equal(vhost_user_check_mem_table(&t, 72, 2), 0);
    assert_int_equal(vhost_user_check_mem_table(&t, 72, 1), -EBADMSG);
    assert_int_equal(vhost_user_check_mem_table(&t, 104, 2), -EBADMSG);
    t.n = 9;
    assert_int_equal(vhost_user_check_mem_table(&t, 264, 8), -EBADMSG);
    t.n = 0x08000000;
    assert_int_equal(vhost_user_check_mem_table(&t, 8, 0), -EBADMSG);
    t.n = 0;
    assert_int_equal(vhost_user_check_mem_table(&t, 8, 0), 0);
}

static void config_reads_stay_inside(void **state)
{
    struct vhost_user_config c = { .offset = 0, .size = 16 };

    (void)state;
    assert_int_equal(vhost_user_check_config(&c, 28), 0);
    assert_int_equal(vhost_user_check_config(&c, 27), -EBADMSG);
    assert_int_equal(vhost_user_check_config(&c, 8), -EBADMSG);
    c.offset = 250;
    assert_int_equal(vhost_user_check_config(&c, 28), -EBADMSG);
    c.offset = UINT32_MAX;
    assert_int_equal(vhost_user_check_config(&c, 28), -EBADMSG);
    c = (struct vhost_user_config){ .size = UINT32_MAX };
    assert_int_equal(vhost_user_check_config(&c, 268), -EBADMSG);
}

static void ring_descriptors_name_a_queue(void **state)
{
    uint32_t index = 7;

    (void)state;
    assert_int_equal(vhost_user_check_vring_fd(1, 1, 2, &index), 0);
    assert_int_equal(index, 1);
    assert_int_equal(vhost_user_check_vring_fd(0x100, 0, 2, &index), 0);
    assert_int_equal(index, 0);
    index = 7;
    assert_int_equal(vhost_user_check_vring_fd(0x100, 1, 2, &index), -EBADMSG);
    assert_int_equal(vhost_user_check_vring_fd(0, 0, 2, &index), -EBADMSG);
    assert_int_equal(vhost_user_check_vring_fd(2, 1, 2, &index), -EBADMSG);
    assert_int_equal(vhost_user_check_vring_fd(0x200, 1, 2, &index), -EBADMSG);
    assert_int_equal(vhost_user_check_vring_fd(1ull << 32, 1, 2, &index), -EBADMSG);
    assert_int_equal(index, 7);
}

static void inflight_queues_lie_side_by_side(void **state)
{
    (void)state;
    assert_int_equal(vhost_user_inflight_stride(256), 16 + 256 * 16 + 48);
    assert_int_equal(vhost_user_inflight_stride(1) % 64, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(messages_of_the_right_shape_pass),
        HARNESS_TEST(messages_of_a_wrong_shape_are_refused),
        HARNESS_TEST(what_is_not_offered_is_refused_by_name),
        HARNESS_TEST(memory_tables_count_their_regions_and_fds),
        HARNESS_TEST(config_reads_stay_inside),
        HARNESS_TEST(ring_descriptors_name_a_queue),
        HARNESS_TEST(inflight_queues_lie_side_by_side),
    };

    return cmocka_run_group_tests_name("vhost_user_wire", tests, NULL, NULL);
}
