#include "ipc/dialect.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipc/seqpacket.h"
#include "tests/harness.h"

/* A message of `size` bytes that asks for `op`. */
static int check(const struct dialect_table *t, enum dialect_state when, uint32_t op, size_t size,
                 uint32_t n_fds, uint32_t *ret_op)
{
    uint8_t bytes[512] = { 0 };

    memcpy(bytes + 1, &op, sizeof(op)); /* not aligned, on purpose */
    return dialect_check_request(t, when, bytes + 1, size, n_fds, ret_op);
}

static void every_op_has_one_size(void **state)
{
    const struct dialect_table *tables[] = { &dialect_b_server, &dialect_b_context };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        const struct dialect_table *t = tables[i];

        for (uint32_t op = 0; op < t->n_rules; op++) {
            const struct dialect_rule *rule = &t->rules[op];
            enum dialect_state when = (enum dialect_state)rule->when;

            for (size_t size = 0; size <= 300; size++) {
                uint32_t got = 99;
                int r = check(t, when, op, size, rule->min_fds, &got);

                if (size == rule->size) {
                    assert_int_equal(r, 0);
                    assert_int_equal(got, op);
                } else {
                    assert_int_equal(r, size < 4 ? -EBADMSG : -EMSGSIZE);
                    assert_int_equal(got, 99);
                }
            }
        }
    }
}

static void sizes_are_those_of_the_wire(void **state)
{
    static const uint32_t server[] = { 4, 8, 4, 40, 8 };
    static const uint32_t context[] = { 4, 16, 32, 24, 8, 264, 16 };

    (void)state;
    assert_int_equal(dialect_b_server.n_rules, ARRAY_SIZE(server));
    for (uint32_t i = 0; i < ARRAY_SIZE(server); i++) {
        assert_int_equal(dialect_b_server.rules[i].size, server[i]);
    }
    assert_int_equal(dialect_b_context.n_rules, ARRAY_SIZE(context));
    for (uint32_t i = 0; i < ARRAY_SIZE(context); i++) {
        assert_int_equal(dialect_b_context.rules[i].size, context[i]);
    }
}

static void unknown_op_is_refused(void **state)
{
    uint32_t op = 99;

    (void)state;
    assert_int_equal(check(&dialect_b_server, DIALECT_AFTER_INIT, 5, 8, 0, &op), -EOPNOTSUPP);
    assert_int_equal(check(&dialect_b_context, DIALECT_AFTER_INIT, 7, 8, 0, &op), -EOPNOTSUPP);
    assert_int_equal(check(&dialect_b_context, DIALECT_AFTER_INIT, UINT32_MAX, 8, 0, &op),
                     -EOPNOTSUPP);
    assert_int_equal(op, 99);
}

static void wrong_number_of_fds_is_refused(void **state)
{
    const struct dialect_table *t = &dialect_b_context;
    uint32_t op = 99;

    (void)state;
    assert_int_equal(check(t, DIALECT_BEFORE_INIT, CTX_OP_INIT, 16, 0, &op), -EBADF);
    assert_int_equal(check(t, DIALECT_BEFORE_INIT, CTX_OP_INIT, 16, 3, &op), -EBADF);
    assert_int_equal(check(t, DIALECT_AFTER_INIT, CTX_OP_IMPORT_RESOURCE, 24, 0, &op), -EBADF);
    assert_int_equal(check(t, DIALECT_AFTER_INIT, CTX_OP_IMPORT_RESOURCE, 24, 2, &op), -EBADF);
    assert_int_equal(check(t, DIALECT_AFTER_INIT, CTX_OP_SUBMIT_CMD, 264, 1, &op), -EBADF);
    assert_int_equal(check(&dialect_b_server, DIALECT_AFTER_INIT, SRV_OP_RESET, 4, 1, &op), -EBADF);
    assert_int_equal(op, 99);
    assert_int_equal(check(t, DIALECT_BEFORE_INIT, CTX_OP_INIT, 16, 1, &op), 0);
    assert_int_equal(check(t, DIALECT_BEFORE_INIT, CTX_OP_INIT, 16, 2, &op), 0);
}

static void order_is_kept(void **state)
{
    const struct dialect_table *t = &dialect_b_context;
    uint32_t op = 99;

    (void)state;
    assert_int_equal(check(t, DIALECT_AFTER_INIT, CTX_OP_INIT, 16, 1, &op), -EPROTO);
    for (uint32_t i = CTX_OP_CREATE_RESOURCE; i < CTX_OP_COUNT; i++) {
        const struct dialect_rule *rule = &t->rules[i];

        assert_int_equal(check(t, DIALECT_BEFORE_INIT, i, rule->size, rule->min_fds, &op), -EPROTO);
    }
    assert_int_equal(op, 99);
    assert_int_equal(check(t, DIALECT_BEFORE_INIT, CTX_OP_NOP, 4, 0, &op), 0);
}

static void errors_have_words(void **state)
{
    (void)state;
    assert_string_equal(dialect_error_text(-EMSGSIZE), "wrong size for its op");
    assert_string_equal(dialect_error_text(-ENOTTY), "unknown error");
    assert_string_equal(dialect_op_name(&dialect_b_context, CTX_OP_SUBMIT_CMD), "SUBMIT_CMD");
    assert_string_equal(dialect_op_name(&dialect_b_context, 7), "unknown op");
}

static void speaker_of_a_gives_itself_away(void **state)
{
    union ctx_request request = { .op = CTX_OP_SUBMIT_CMD };

    (void)state;
    assert_true(dialect_looks_like_a(&request, DIALECT_A_SUBMIT_CMD_SIZE));
    assert_false(dialect_looks_like_a(&request, sizeof(struct ctx_submit_cmd)));
    assert_false(dialect_looks_like_a(&request, 0));
    request.op = CTX_OP_SUBMIT_FENCE;
    assert_false(dialect_looks_like_a(&request, DIALECT_A_SUBMIT_CMD_SIZE));
}

static void maps_tell_the_library(void **state)
{
    static const struct {
        const char *path;
        enum dialect_id dialect;
        const char *library;
    } cases[] = {
        { "/usr/lib/x86_64-linux-gnu/libvirglrenderer.so.1.6.4", DIALECT_A,
          "libvirglrenderer.so.1.6.4" },
        { "/usr/lib/libvirglrenderer.so.1.7.7", DIALECT_A, "libvirglrenderer.so.1.7.7" },
        { "/usr/lib/libvirglrenderer.so.1.8.8", DIALECT_B, "libvirglrenderer.so.1.8.8" },
        { "/usr/lib/libvirglrenderer.so.1.11.0", DIALECT_B, "libvirglrenderer.so.1.11.0" },
        { "/usr/lib/libvirglrenderer.so.1.7.7 (deleted)", DIALECT_A, "libvirglrenderer.so.1.7.7" },
        { "/x/libvirglrenderer.so.1.99999999999999999999", DIALECT_B,
          "libvirglrenderer.so.1.99999999999999999999" },
        { "/usr/lib/libvirglrenderer.so.1", DIALECT_UNKNOWN, "" },
        { "/usr/lib/libvirglrenderer.so.1.", DIALECT_UNKNOWN, "" },
        { "/usr/lib/libvirglrenderer.so.1.\033[2J", DIALECT_UNKNOWN, "" },
        { "/usr/lib/libvirglrenderer.so.1.7.7/other", DIALECT_UNKNOWN, "" },
        { "/usr/lib/xlibvirglrenderer.so.1.7.7", DIALECT_UNKNOWN, "" },
        { "/usr/lib/libvirglrenderer.so.1."
          "1111111111111111111111111111111111111111111111111111111111111111",
          DIALECT_UNKNOWN, "" },
        { "[heap]", DIALECT_UNKNOWN, "" },
        { "/", DIALECT_UNKNOWN, "" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct dialect_vmm vmm = { 0 };
        char line[256] = "7f0000000000-7f0000001000 r-xp 00000000 fe:00 1234    ";
        bool found;

        strcat(line, cases[i].path);
        found = dialect_from_maps_line(line, &vmm);
        assert_int_equal(found, cases[i].dialect != DIALECT_UNKNOWN);
        assert_int_equal(vmm.dialect, cases[i].dialect);
        assert_string_equal(vmm.library, cases[i].library);
    }
}

static void process_without_the_library_is_unknown(void **state)
{
    struct dialect_vmm vmm;
    int pair[2];

    (void)state;
    assert_int_equal(seqpacket_pair(pair), 0);
    dialect_detect(pair[0], &vmm);
    assert_int_equal(vmm.dialect, DIALECT_UNKNOWN);
    assert_int_equal(vmm.pid, getpid());
    assert_string_equal(vmm.library, "");
    close(pair[0]);
    close(pair[1]);
    dialect_detect(-1, &vmm);
    assert_int_equal(vmm.dialect, DIALECT_UNKNOWN);
    assert_int_equal(vmm.pid, 0);
}

static void refusal_names_version_and_remedy(void **state)
{
    struct dialect_vmm vmm = {
        .dialect = DIALECT_A,
        .pid = 42,
        .library = "libvirglrenderer.so.1.7.7",
    };
    char buf[256];

    (void)state;
    dialect_refusal(&vmm, buf, sizeof(buf));
    assert_non_null(strstr(buf, "pid 42"));
    assert_non_null(strstr(buf, "libvirglrenderer.so.1.7.7"));
    assert_non_null(strstr(buf, "install libvirglrenderer 1.0.0 or later"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(every_op_has_one_size),
        HARNESS_TEST(sizes_are_those_of_the_wire),
        HARNESS_TEST(unknown_op_is_refused),
        HARNESS_TEST(wrong_number_of_fds_is_refused),
        HARNESS_TEST(order_is_kept),
        HARNESS_TEST(errors_have_words),
        HARNESS_TEST(speaker_of_a_gives_itself_away),
        HARNESS_TEST(maps_tell_the_library),
        HARNESS_TEST(process_without_the_library_is_unknown),
        HARNESS_TEST(refusal_names_version_and_remedy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
