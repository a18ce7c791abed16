#include "server/render/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/vtest/options.h"
#include "tests/harness.h"

#define PARSE(ret, ...) parse((const char *[]){ "x", __VA_ARGS__, NULL }, ret)

static char why[256];

static int count(const char *const *argv)
{
    int n = 0;

    while (argv[n]) {
        n++;
    }
    return n;
}

static int parse(const char *const *argv, struct options *ret)
{
    why[0] = '\0';
    return options_parse(count(argv), (char *const *)argv, ret, why, sizeof(why));
}

static void both_spellings_of_a_value_work(void **state)
{
    struct options o;

    (void)state;
    assert_int_equal(PARSE(&o, "--socket-fd", "7"), 0);
    assert_int_equal(o.socket_fd, 7);
    assert_int_equal(o.level, SANDBOX_LEVEL_STRICT);
    assert_false(o.validate);
    assert_int_equal(PARSE(&o, "--socket-fd=8", "--sandbox=minimal"), 0);
    assert_int_equal(o.socket_fd, 8);
    assert_int_equal(o.level, SANDBOX_LEVEL_MINIMAL);
}

static void the_peer_s_options_are_accepted(void **state)
{
    struct options o;

    (void)state;
    assert_int_equal(PARSE(&o, "--socket-fd=3", "--worker-seccomp-bpf", "f",
                           "--worker-seccomp-minijail-policy=f", "--worker-seccomp-minijail-log"),
                     0);
    assert_string_equal(o.peer_option, "--worker-seccomp-minijail-log");
}

static void allowing_a_layer_to_be_missing_is_not_strict(void **state)
{
    struct options o;

    (void)state;
    assert_int_equal(PARSE(&o, "--socket-fd=3", "--sandbox-allow-missing=userns,landlock"), 0);
    assert_int_equal(o.level, SANDBOX_LEVEL_DEFAULT);
    assert_int_equal(o.allow_missing, SANDBOX_USERNS | SANDBOX_LANDLOCK);
    assert_int_equal(PARSE(&o, "--socket-fd=3", "--sandbox-allow-missing=seccomp"), -EINVAL);
    assert_non_null(strstr(why, "\"seccomp\" must never be missing"));
    assert_int_equal(PARSE(&o, "--socket-fd=3", "--sandbox-allow-missing=userns,foo"), -EINVAL);
    assert_non_null(strstr(why, "\"foo\" is no layer"));
}

static void folders_of_the_operator_are_taken(void **state)
{
    struct options o;

    (void)state;
    assert_int_equal(PARSE(&o, "--socket-fd=3"), 0);
    assert_string_equal(o.cgroup, "auto");
    assert_null(o.policy_dir);
    assert_int_equal(PARSE(&o, "--socket-fd=3", "--cgroup", "/sys/fs/cgroup/x", "--policy-dir=own",
                           "--limit=cpu=150,cpu-weight=10,ram=1G,vm-ram=2G"),
                     0);
    assert_string_equal(o.cgroup, "/sys/fs/cgroup/x");
    assert_string_equal(o.policy_dir, "own");
    assert_int_equal(o.limits.cpu, 150);
    assert_int_equal(o.limits.cpu_weight, 10);
    assert_int_equal(o.limits.vm_ram, UINT64_C(2) << 30);
    assert_string_equal(limits_need_cgroup(&o.limits, 0), "ram");
    assert_string_equal(limits_need_cgroup(&o.limits, 1), "cpu"); /* memory is there */
    assert_null(limits_need_cgroup(&o.limits, 7));
    assert_null(limits_need_cgroup(&limits_default, 0));
}

static void what_is_wrong_is_said_in_a_line(void **state)
{
    static const char *const bad[][4] = {
        { "x", "--socket-fd", NULL },
        { "x", "--socket-fd=-1", NULL },
        { "x", "--socket-fd=3x", NULL },
        { "x", "--socket-fd=99999999999", NULL },
        { "x", "--sandbox=loose", NULL },
        { "x", "--spare=17", NULL },
        { "x", "--cgroup=here", NULL },
        { "x", "--limit=cpu=0", NULL },
        { "x", "--limit=cpu-weight=10001", NULL },
        { "x", "--ready-timeout=0", NULL },
        { "x", "--log-level=loud", NULL },
        { "x", "--help=now", NULL },
        { "x", "--socket-fd=3", "--validate=1", NULL },
        { "x", "stray", NULL },
        { "x", "--socket", "3", NULL },
        { "x", NULL },
        { "x", "--worker-context-fd", "3", NULL },
    };
    struct options o;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(parse(bad[i], &o), -EINVAL);
        assert_true(strlen(why) > 10);
        assert_null(strchr(why, '\n'));
    }
    assert_int_equal(PARSE(&o, "--help"), 0);
    assert_int_equal(o.action, OPTIONS_HELP);
}

static void vtest_passes_the_server_s_options_on(void **state)
{
    const char *argv[] = {
        "x",      "--sandbox=minimal", "--driver", "radv", "--validate", "--log-level", "debug",
        "--once", "--max-clients=3",   NULL
    };
    const char *passed[] = { "--sandbox=minimal", "--driver",    "radv",
                             "--validate",        "--log-level", "debug" };
    struct vtest_options o;

    (void)state;
    assert_int_equal(
        vtest_options_parse(count(argv), (char *const *)argv, "", &o, why, sizeof(why)), 0);
    assert_string_equal(o.socket_path, "/tmp/.virgl_test");
    assert_true(o.once);
    assert_int_equal(o.max_clients, 3);
    assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
    for (size_t i = 0; i < ARRAY_SIZE(passed); i++) {
        assert_string_equal(o.passed[i], passed[i]);
    }
    assert_null(o.passed[ARRAY_SIZE(passed)]);
    assert_int_equal(vtest_options_parse(1, (char *const *)argv, "/run/x", &o, why, sizeof(why)),
                     0);
    assert_string_equal(o.socket_path, "/run/x");
}

static void vtest_refuses_what_is_wrong(void **state)
{
    const char *bad[][4] = {
        { "x", "--max-clients=0" }, { "x", "--once=1" },     { "x", "--validate=1" },
        { "x", "--spare" },         { "x", "--log-level=" }, { "x", "--nonsense" },
    };
    const char *many[RENDERER_PASSED_MAX + 3] = { "x" };
    struct vtest_options o;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(vtest_options_parse(2, (char *const *)bad[i], "", &o, why, sizeof(why)),
                         -EINVAL);
        assert_non_null(strstr(why, "--"));
    }
    for (int i = 1; i <= RENDERER_PASSED_MAX + 1; i++) {
        many[i] = "--validate";
    }
    assert_int_equal(vtest_options_parse(RENDERER_PASSED_MAX + 1, (char *const *)many, "", &o, why,
                                         sizeof(why)),
                     0);
    assert_int_equal(vtest_options_parse(RENDERER_PASSED_MAX + 2, (char *const *)many, "", &o, why,
                                         sizeof(why)),
                     -EINVAL);
}

static void options_of_the_environment_come_first(void **state)
{
    char *argv[] = { (char *)"x", (char *)"--socket-fd=3", (char *)"--spare=2", NULL };
    int argc = 3;
    char **all = options_with(NULL, &argc, argv);
    struct options o;

    (void)state;
    assert_ptr_equal(all, argv);
    all = options_with("--driver radv\t--spare=4 ", &argc, argv);
    assert_int_equal(argc, 6);
    assert_null(all[6]);
    assert_string_equal(all[0], "x");
    assert_int_equal(options_parse(argc, all, &o, why, sizeof(why)), 0);
    assert_string_equal(o.driver, "radv");
    assert_int_equal(o.spares, 2);
    free(all[1]); /* the copy begins at its first word */
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(both_spellings_of_a_value_work),
        HARNESS_TEST(the_peer_s_options_are_accepted),
        HARNESS_TEST(allowing_a_layer_to_be_missing_is_not_strict),
        HARNESS_TEST(folders_of_the_operator_are_taken),
        HARNESS_TEST(what_is_wrong_is_said_in_a_line),
        HARNESS_TEST(options_of_the_environment_come_first),
        HARNESS_TEST(vtest_passes_the_server_s_options_on),
        HARNESS_TEST(vtest_refuses_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
