#include "ipc/vtest_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

static int parse_header(uint32_t length, uint32_t command, struct vtest_request *ret_request)
{
    uint32_t words[2] = { length, command };
    uint8_t bytes[VTEST_HEADER_SIZE];

    memcpy(bytes, words, sizeof(bytes));
    return vtest_request_parse(bytes, ret_request);
}

static void headers_count_words_except_one(void **state)
{
    struct vtest_request r;

    (void)state;
    assert_int_equal(parse_header(7, VTEST_CREATE_RENDERER, &r), 0);
    assert_int_equal(r.size, 7);
    assert_int_equal(parse_header(6, VTEST_RESOURCE_CREATE_BLOB, &r), 0);
    assert_int_equal(r.command, VTEST_RESOURCE_CREATE_BLOB);
    assert_int_equal(r.size, 24);
    assert_int_equal(parse_header(0, VTEST_PING_PROTOCOL_VERSION, &r), 0);
    assert_int_equal(r.size, 0);
    assert_int_equal(parse_header(VTEST_SUBMIT_MAX / 4, VTEST_SUBMIT_CMD2, &r), 0);
    assert_int_equal(r.size, VTEST_SUBMIT_MAX);
}

static void wrong_lengths_are_refused(void **state)
{
    struct vtest_request r = { .size = 77 };

    (void)state;
    assert_int_equal(parse_header(VTEST_NAME_MAX + 1, VTEST_CREATE_RENDERER, &r), -EMSGSIZE);
    assert_int_equal(parse_header(5, VTEST_RESOURCE_CREATE_BLOB, &r), -EMSGSIZE);
    assert_int_equal(parse_header(7, VTEST_RESOURCE_CREATE_BLOB, &r), -EMSGSIZE);
    assert_int_equal(parse_header(1, VTEST_PING_PROTOCOL_VERSION, &r), -EMSGSIZE);
    assert_int_equal(parse_header(0, VTEST_SUBMIT_CMD2, &r), -EMSGSIZE);
    assert_int_equal(parse_header(VTEST_SUBMIT_MAX / 4 + 1, VTEST_SUBMIT_CMD2, &r), -EMSGSIZE);
    assert_int_equal(parse_header(0x40000001, VTEST_GET_PARAM, &r), -EMSGSIZE);
    assert_int_equal(parse_header(UINT32_MAX, VTEST_SYNC_WAIT, &r), -EMSGSIZE);
    assert_int_equal(r.size, 77);
}

static void commands_that_are_not_served_are_refused(void **state)
{
    static const uint32_t others[] = { 0, 1, 2, 4, 5, 6, 9, 12, 13, 14, 25, 38, 1000, UINT32_MAX };
    struct vtest_request r;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        assert_int_equal(parse_header(1, others[i], &r), -EOPNOTSUPP);
        assert_string_equal(vtest_command_name(others[i]), "unknown command");
    }
    assert_string_equal(vtest_command_name(VTEST_SUBMIT_CMD2), "SUBMIT_CMD2");
}

static void reply_header_is_length_then_command(void **state)
{
    uint32_t h[2];

    (void)state;
    vtest_reply_header(VTEST_GET_CAPSET, 41, h);
    assert_int_equal(h[0], 41);
    assert_int_equal(h[1], VTEST_GET_CAPSET);
}

static void waits_are_parsed(void **state)
{
    static const uint32_t words[] = { 1, 0xffffffff, 5, 7, 1, 6, 8, 0 };
    struct vtest_wait w;

    (void)state;
    assert_int_equal(vtest_wait_parse(words, 8, &w), 0);
    assert_int_equal(w.flags, VTEST_WAIT_ANY);
    assert_int_equal(w.timeout_ms, 0xffffffff);
    assert_int_equal(w.n_syncs, 2);
    assert_int_equal(vtest_sync_at(w.syncs, 0).id, 5);
    assert_int_equal(vtest_sync_at(w.syncs, 0).value, 0x100000007);
    assert_int_equal(vtest_sync_at(w.syncs, 1).id, 6);
    assert_int_equal(vtest_wait_parse(words, 2, &w), 0);
    assert_int_equal(w.n_syncs, 0);
}

static void odd_waits_are_refused(void **state)
{
    static const uint32_t flags[] = { 2, 0 };
    uint32_t *big = calloc(2 + 3 * (VTEST_WAIT_SYNCS_MAX + 1), sizeof(*big));
    struct vtest_wait w;

    (void)state;
    assert_non_null(big);
    assert_int_equal(vtest_wait_parse(big, 0, &w), -EBADMSG);
    assert_int_equal(vtest_wait_parse(big, 1, &w), -EBADMSG);
    assert_int_equal(vtest_wait_parse(big, 3, &w), -EBADMSG);
    assert_int_equal(vtest_wait_parse(big, 4, &w), -EBADMSG);
    assert_int_equal(vtest_wait_parse(big, 2 + 3 * VTEST_WAIT_SYNCS_MAX, &w), 0);
    assert_int_equal(vtest_wait_parse(big, 2 + 3 * (VTEST_WAIT_SYNCS_MAX + 1), &w), -EBADMSG);
    assert_int_equal(vtest_wait_parse(flags, 2, &w), -EBADMSG);
    free(big);
}

/* One batch with short headers, as Mesa 25 writes it: two words of stream, one sync. */
static const uint32_t short_one[] = { 1, 1, 7, 2, 9, 1, 3, 0xaa, 0xbb, 4, 9, 0 };
/* The same with long headers, as Mesa 26 writes it. */
static const uint32_t long_one[] = { 1, 1, 9, 2, 11, 1, 3, 0, 0, 0xaa, 0xbb, 4, 9, 0 };

static void expect_one(const uint32_t *words, size_t n, uint32_t stride)
{
    struct vtest_submit s;
    struct vtest_batch b;

    assert_int_equal(vtest_submit_parse(words, n, &s), 0);
    assert_int_equal(s.n_batches, 1);
    assert_int_equal(s.stride, stride);
    b = vtest_submit_batch(&s, 0);
    assert_int_equal(b.cmd_words, 2);
    assert_int_equal(b.cmd[0], 0xaa);
    assert_int_equal(b.cmd[1], 0xbb);
    assert_int_equal(b.n_syncs, 1);
    assert_int_equal(vtest_sync_at(b.syncs, 0).id, 4);
    assert_int_equal(vtest_sync_at(b.syncs, 0).value, 9);
    assert_true(b.has_ring);
    assert_int_equal(b.ring_idx, 3);
}

static void both_strides_are_understood(void **state)
{
    (void)state;
    expect_one(short_one, ARRAY_SIZE(short_one), 6);
    expect_one(long_one, ARRAY_SIZE(long_one), 8);
}

static void several_batches_are_understood(void **state)
{
    static const uint32_t two[] = {
        2,                                /* */
        0,    13,   1, 0,  0, 99,         /* no ring: its number does not count */
        1,    14,   2, 16, 2, 63,         /* */
        0xaa,                             /* */
        0xbb, 0xcc,                       /* */
        1,    2,    0, 3,  4, UINT32_MAX, /* */
    };
    struct vtest_submit s;
    struct vtest_batch b;

    (void)state;
    assert_int_equal(vtest_submit_parse(two, ARRAY_SIZE(two), &s), 0);
    assert_int_equal(s.n_batches, 2);
    b = vtest_submit_batch(&s, 0);
    assert_false(b.has_ring);
    assert_int_equal(b.cmd[0], 0xaa);
    assert_null(b.syncs);
    b = vtest_submit_batch(&s, 1);
    assert_true(b.has_ring);
    assert_int_equal(b.cmd[1], 0xcc);
    assert_int_equal(vtest_sync_at(b.syncs, 1).value, 0xffffffff00000004);
}

static void empty_submissions_are_fine(void **state)
{
    static const uint32_t none[] = { 0 };
    static const uint32_t no_stream[] = { 1, 0, 7, 0, 7, 0, 0 };
    struct vtest_submit s;

    (void)state;
    assert_int_equal(vtest_submit_parse(none, 1, &s), 0);
    assert_int_equal(s.n_batches, 0);
    assert_int_equal(vtest_submit_parse(no_stream, ARRAY_SIZE(no_stream), &s), 0);
    assert_null(vtest_submit_batch(&s, 0).cmd);
}

static void expect_bad(const uint32_t *good, size_t n, size_t at, uint32_t value, int error)
{
    uint32_t words[32];
    struct vtest_submit s = { .n_batches = 77 };

    memcpy(words, good, n * sizeof(*words));
    words[at] = value;
    assert_int_equal(vtest_submit_parse(words, n, &s), error);
    assert_int_equal(s.n_batches, 77);
}

static void what_lies_outside_is_refused(void **state)
{
    size_t n = ARRAY_SIZE(short_one);
    struct vtest_submit s;

    (void)state;
    assert_int_equal(vtest_submit_parse(short_one, 0, &s), -EBADMSG);
    for (size_t i = 1; i < n; i++) {
        assert_int_equal(vtest_submit_parse(short_one, i, &s), -EBADMSG);
    }
    expect_bad(short_one, n, 0, 2, -EBADMSG);          /* more batches than headers */
    expect_bad(short_one, n, 0, UINT32_MAX, -EBADMSG); /* count overflows */
    expect_bad(short_one, n, 0, 0x2aaaaaab, -EBADMSG); /* 32-bit product with 6 wraps to 2 */
    expect_bad(short_one, n, 2, 0, -EBADMSG);          /* first stream inside the headers */
    expect_bad(short_one, n, 2, 6, -EBADMSG);
    expect_bad(short_one, n, 2, 8, -EBADMSG); /* neither stride */
    expect_bad(short_one, n, 2, UINT32_MAX, -EBADMSG);
    expect_bad(short_one, n, 3, 6, -EBADMSG); /* stream past the end */
    expect_bad(short_one, n, 3, UINT32_MAX, -EBADMSG);
    expect_bad(short_one, n, 4, 10, -EBADMSG); /* syncs past the end */
    expect_bad(short_one, n, 4, 6, -EBADMSG);  /* syncs inside the headers */
    expect_bad(short_one, n, 4, UINT32_MAX, -EBADMSG);
    expect_bad(short_one, n, 5, 2, -EBADMSG);
    expect_bad(short_one, n, 5, 0x55555556, -EBADMSG); /* 32-bit product with 3 wraps to 2 */
    expect_bad(short_one, n, 6, 64, -EBADMSG);         /* ring out of range */
}

static void what_venus_never_sends_is_refused(void **state)
{
    (void)state;
    expect_bad(short_one, ARRAY_SIZE(short_one), 1, 3, -EOPNOTSUPP);
    expect_bad(short_one, ARRAY_SIZE(short_one), 1, 5, -EOPNOTSUPP);
    expect_bad(long_one, ARRAY_SIZE(long_one), 7, 1, -EOPNOTSUPP);
    expect_bad(long_one, ARRAY_SIZE(long_one), 8, 1, -EOPNOTSUPP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(headers_count_words_except_one),
        HARNESS_TEST(wrong_lengths_are_refused),
        HARNESS_TEST(commands_that_are_not_served_are_refused),
        HARNESS_TEST(reply_header_is_length_then_command),
        HARNESS_TEST(waits_are_parsed),
        HARNESS_TEST(odd_waits_are_refused),
        HARNESS_TEST(both_strides_are_understood),
        HARNESS_TEST(several_batches_are_understood),
        HARNESS_TEST(empty_submissions_are_fine),
        HARNESS_TEST(what_lies_outside_is_refused),
        HARNESS_TEST(what_venus_never_sends_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
