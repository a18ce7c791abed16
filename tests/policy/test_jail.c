/* The jail's configuration, and that it fails closed: what cannot be put on stops the worker. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base.h"
#include "policy/jail.h"
#include "policy/profile.h"

static const struct sandbox_config strict = { .level = SANDBOX_LEVEL_STRICT };

static struct sandbox_failure failure;
static struct jail_plan plan;

static void make_plan(const struct sandbox_config *config)
{
    assert_int_equal(jail_plan_init(&plan, config, policy_worker("lavapipe"), &failure), 0);
}

/* The layers that this host can give; the tests below are about us, not about it. */
static void make_possible_plan(void)
{
    struct sandbox_config any = { .level = SANDBOX_LEVEL_DEFAULT, .allow_missing = SANDBOX_ALL };
    uint32_t missing;

    make_plan(&any);
    assert_int_equal(jail_probe(&plan, &any, &missing, &failure), 0);
}

static const struct jail_path *find_path(const char *path)
{
    for (unsigned i = 0; i < plan.n_paths; i++) {
        if (strcmp(plan.paths[i].path, path) == 0) {
            return &plan.paths[i];
        }
    }
    return NULL;
}

static int spawn(const char *program, struct jail_child *child)
{
    char *const argv[] = { "worker", NULL };
    const char *const env[] = { NULL };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), r;

    plan.exec_fd = open(program, O_RDONLY | O_CLOEXEC);
    plan.n_fds = 3;
    plan.fds[0] = plan.fds[1] = plan.fds[2] = null;
    r = jail_spawn(&plan, argv, env, child, &failure);
    close(null);
    close(plan.exec_fd);
    return r;
}

static int reap(struct jail_child *child)
{
    int status = -1;

    close(child->pidfd);
    (void)waitpid(child->pid, &status, 0);
    return status;
}

/* ---- names -------------------------------------------------------------------------------------- */

static void allow_missing_takes_names(void **state)
{
    const char *bad = NULL;
    uint32_t mask = 0;

    (void)state;
    assert_int_equal(sandbox_parse_allow_missing("userns,landlock", &mask, &bad), 0);
    assert_int_equal(mask, SANDBOX_USERNS | SANDBOX_LANDLOCK);
    assert_int_equal(sandbox_parse_allow_missing("", &mask, &bad), 0);
    assert_int_equal(mask, 0);
}

static void allow_missing_refuses_what_is_never_missing(void **state)
{
    static const char *const names[] = { "seccomp", "fds", "caps", "rlimits", "no_new_privs" };
    const char *bad = NULL;
    uint32_t mask = 7;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_int_equal(sandbox_parse_allow_missing(names[i], &mask, &bad), -EPERM);
    }
    assert_int_equal(sandbox_parse_allow_missing("userns,voodoo", &mask, &bad), -EINVAL);
    assert_string_equal(bad, "voodoo");
    assert_int_equal(sandbox_parse_allow_missing("user", &mask, &bad), -EINVAL);
    assert_int_equal(mask, 7);
}

static void levels_want_their_layers(void **state)
{
    struct sandbox_config config = { .level = SANDBOX_LEVEL_MINIMAL };
    enum sandbox_level level;

    (void)state;
    assert_int_equal(sandbox_wanted(&strict, true), SANDBOX_ALL);
    assert_int_equal(sandbox_wanted(&strict, false), SANDBOX_ALL & ~SANDBOX_MDWE);
    assert_true(sandbox_wanted(&config, true) & SANDBOX_SECCOMP);
    assert_false(sandbox_wanted(&config, true) & (SANDBOX_NAMESPACES | SANDBOX_LANDLOCK));
    config.level = SANDBOX_LEVEL_OFF;
    assert_int_equal(sandbox_wanted(&config, true), SANDBOX_FDS);
    assert_int_equal(sandbox_parse_level("minimal", &level), 0);
    assert_int_equal(level, SANDBOX_LEVEL_MINIMAL);
    assert_int_equal(sandbox_parse_level("maximal", &level), -EINVAL);
}

static void failures_name_layer_cause_and_way_on(void **state)
{
    char text[1024];

    (void)state;
    failure = (struct sandbox_failure){ SANDBOX_USERNS, ENOSPC, SANDBOX_EXIT_USERNS, "clone3" };
    sandbox_failure_text(&failure, text, sizeof(text));
    assert_non_null(strstr(text, "layer=userns"));
    assert_non_null(strstr(text, "error=ENOSPC"));
    assert_non_null(strstr(text, "cause: "));
    assert_non_null(strstr(text, "--sandbox-allow-missing=userns"));
    failure.layer = SANDBOX_SECCOMP;
    sandbox_failure_text(&failure, text, sizeof(text));
    assert_null(strstr(text, "allow-missing"));
}

/* ---- plan and environment ----------------------------------------------------------------------- */

static void environment_is_built_from_nothing(void **state)
{
    char *const from[] = { "LD_PRELOAD=/evil.so",
                           "LP_NUM_THREADS=2",
                           "PATH=/bin",
                           "HOME=/root",
                           "vk_x11_override=1",
                           "MESA_VK_VERSION_OVERRIDE=1.0",
                           "LP_NUM_THREADSX=1",
                           "VK_LAYER_PATH=/evil",
                           "MESA_SHADER_CACHE_DIR=/x",
                           NULL };
    const char *env[JAIL_MAX_ENV + 1];
    unsigned n = 0;
    bool threads = false, driconf = false;

    (void)state;
    make_plan(&strict);
    plan.layers &= ~(uint32_t)SANDBOX_MOUNTS;
    jail_environment(&plan, from, env);
    for (; env[n]; n++) {
        assert_null(strstr(env[n], "evil"));
        assert_null(strstr(env[n], "VERSION_OVERRIDE"));
        assert_null(strstr(env[n], "CACHE_DIR"));
        assert_string_not_equal(env[n], "HOME=/root");
        threads |= strcmp(env[n], "LP_NUM_THREADS=2") == 0;
        driconf |= strcmp(env[n], "vk_x11_override=1") == 0;
    }
    assert_true(threads && driconf);
    assert_string_equal(env[0], "HOME=/nonexistent");
}

static void environment_has_an_end(void **state)
{
    char *from[JAIL_MAX_ENV * 2 + 1];
    const char *env[JAIL_MAX_ENV + 1];
    unsigned n = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(from) - 1; i++) {
        from[i] = "LP_NUM_THREADS=2";
    }
    from[ARRAY_SIZE(from) - 1] = NULL;
    make_plan(&strict);
    jail_environment(&plan, from, env);
    while (env[n]) {
        n++;
    }
    assert_int_equal(n, JAIL_MAX_ENV);
}

static void plan_shows_libraries_and_nothing_private(void **state)
{
    (void)state;
    make_plan(&strict);
    assert_non_null(find_path("/usr/lib"));
    assert_non_null(find_path("/dev/null"));
    assert_null(find_path("/"));
    assert_null(find_path("/etc"));
    assert_null(find_path("/home"));
    assert_null(find_path("/usr"));
    assert_true(policy_profile.note || !find_path("/proc"));
}

static void missing_paths_of_the_configuration_are_refused(void **state)
{
    static const char *const missing[] = { "/nonexistent/lib", NULL };
    static const char *const relative[] = { "usr/lib", NULL };
    static const char *const everything[] = { "/usr/..", NULL };
    static const char *const no_device[] = { "/etc/passwd", NULL };
    struct sandbox_config config = { .read_exec = missing };

    (void)state;
    assert_int_equal(jail_plan_init(&plan, &config, policy_worker("lavapipe"), &failure), -ENOENT);
    assert_non_null(strstr(failure.what, "/nonexistent/lib"));
    config = (struct sandbox_config){ .read = relative };
    assert_true(jail_plan_init(&plan, &config, policy_worker("lavapipe"), &failure) < 0);
    config = (struct sandbox_config){ .read = everything };
    assert_int_equal(jail_plan_init(&plan, &config, policy_worker("lavapipe"), &failure), -EINVAL);
    config = (struct sandbox_config){ .devices = no_device };
    assert_int_equal(jail_plan_init(&plan, &config, policy_worker("lavapipe"), &failure), -ENODEV);
}

static void manifest_brings_its_library_along(void **state)
{
    char folder[] = "/tmp/cordon-jail-XXXXXX", path[128], *text;
    struct sandbox_config config = { .icd_manifests = path };
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/icd.json", folder);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_true(asprintf(&text, "{ \"ICD\": { \"library_path\" : \"./libx.so\" } }") > 0);
    (void)fputs(text, f);
    (void)fclose(f);
    free(text);
    make_plan(&config);
    assert_non_null(find_path(path));
    assert_int_equal(find_path(path)->kind, JAIL_READ);
    (void)snprintf(path, sizeof(path), "%s/.", folder);
    assert_non_null(find_path(path));
    assert_int_equal(find_path(path)->kind, JAIL_READ_EXEC);
    (void)snprintf(path, sizeof(path), "%s/icd.json", folder);
    f = fopen(path, "we");
    (void)fputs("{}", f);
    (void)fclose(f);
    make_plan(&config);
    assert_int_equal(setenv("VK_DRIVER_FILES", path, 1), 0);
    assert_int_equal(jail_plan_init(&plan, &config, policy_worker("lavapipe"), &failure), -EINVAL);
    assert_int_equal(unsetenv("VK_DRIVER_FILES"), 0);
    (void)unlink(path);
    (void)rmdir(folder);
}

/* Any device with a bus will do; most machines have one of these. */
static void device_comes_with_what_sysfs_says_of_it(void **state)
{
    static const char *const candidates[] = { "/dev/dri/renderD128", "/dev/rtc0", "/dev/ttyS0",
                                              "/dev/nvram", "/dev/hwrng" };
    const char *devices[] = { NULL, NULL };
    struct sandbox_config config = { .devices = devices };
    struct jail_child child;
    char link[96];
    struct stat st;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(candidates) && !devices[0]; i++) {
        if (stat(candidates[i], &st) == 0) {
            (void)snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/device", major(st.st_rdev),
                           minor(st.st_rdev));
            devices[0] = access(link, F_OK) == 0 ? candidates[i] : NULL;
        }
    }
    if (!devices[0]) {
        skip();
    }
    make_possible_plan();
    if (!(plan.layers & SANDBOX_MOUNTS)) {
        skip();
    }
    make_plan(&config);
    assert_int_equal(find_path(devices[0])->kind, JAIL_DEVICE);
    *strrchr(link, '/') = '\0';
    assert_non_null(find_path(link));
    assert_int_equal(find_path(link)->kind, JAIL_LINK);
    /* And such a tree can be built. */
    assert_int_equal(spawn("/usr/bin/true", &child), 0);
    if (jail_entered(&child, &failure) < 0) {
        fail_msg("%s", failure.what);
    }
    assert_int_equal(reap(&child), 0);
}

/* ---- the jail ------------------------------------------------------------------------------------ */

static void program_runs_in_the_jail(void **state)
{
    struct jail_child child;

    (void)state;
    make_possible_plan();
    assert_int_equal(spawn("/usr/bin/true", &child), 0);
    assert_int_equal(jail_entered(&child, &failure), 0);
    assert_int_equal(reap(&child), 0);
}

static void failed_exec_is_told(void **state)
{
    struct jail_child child;
    int status;

    (void)state;
    make_possible_plan();
    assert_int_equal(spawn("/etc/passwd", &child), 0);
    assert_true(jail_entered(&child, &failure) < 0);
    assert_int_equal(failure.exit_code, SANDBOX_EXIT_EXEC);
    assert_non_null(strstr(failure.what, "execveat"));
    status = reap(&child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == SANDBOX_EXIT_EXEC);
}

/* A path that went away between plan and start. */
static void vanished_path_stops_the_worker(void **state)
{
    struct jail_child child;
    int status;

    (void)state;
    make_possible_plan();
    if (!(plan.layers & (SANDBOX_MOUNTS | SANDBOX_LANDLOCK))) {
        skip();
    }
    plan.paths[plan.n_paths++] =
        (struct jail_path){ .kind = JAIL_READ, .directory = true, .path = "/nonexistent/cordon" };
    assert_int_equal(spawn("/usr/bin/true", &child), 0);
    assert_int_equal(jail_entered(&child, &failure), -ENOENT);
    assert_non_null(strstr(failure.what, "/nonexistent/cordon"));
    status = reap(&child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == sandbox_exit_code(failure.layer));
}

static void probe_drops_only_what_may_be_missing(void **state)
{
    struct sandbox_config config = strict;
    uint32_t missing = 0, had;

    (void)state;
    make_possible_plan();
    had = plan.layers;
    if (!(had & SANDBOX_MOUNTS)) {
        skip();
    }
    plan.paths[plan.n_paths++] =
        (struct jail_path){ .kind = JAIL_READ, .directory = true, .path = "/nonexistent/cordon" };
    config.allow_missing = SANDBOX_MOUNTS | SANDBOX_LANDLOCK;
    assert_true(jail_probe(&plan, &config, &missing, &failure) < 0); /* strict stays strict */
    assert_int_equal(plan.layers, had);
    config.level = SANDBOX_LEVEL_DEFAULT;
    assert_int_equal(jail_probe(&plan, &config, &missing, &failure), 0);
    assert_int_equal(missing, (SANDBOX_MOUNTS | SANDBOX_LANDLOCK) & had);
    assert_int_equal(plan.layers, had & ~missing);
    config.allow_missing = SANDBOX_PIDNS;
    plan.layers = had;
    assert_true(jail_probe(&plan, &config, &missing, &failure) < 0);
}

static void verification_sees_a_process_without_a_sandbox(void **state)
{
    char text[256];

    (void)state;
    assert_int_equal(jail_verify(getpid(), SANDBOX_SECCOMP, text, sizeof(text)), -EPERM);
    assert_int_equal(jail_verify(getpid(), SANDBOX_NO_NEW_PRIVS, text, sizeof(text)), -EPERM);
    assert_int_equal(jail_verify(getpid(), SANDBOX_NETNS, text, sizeof(text)), -EPERM);
    assert_non_null(strstr(text, "net namespace is ours"));
    assert_int_equal(jail_verify(getpid(), 0, text, sizeof(text)), 0);
    assert_int_equal(jail_verify(INT_MAX, SANDBOX_SECCOMP, text, sizeof(text)), -EPERM);
}

/* The server dies: its worker must not outlive it, in whatever pid namespace it is. */
static void worker_dies_with_the_server(void **state)
{
    char line[32] = "";
    int report[2], life[2];
    pid_t server;

    (void)state;
    make_possible_plan();
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    assert_int_equal(pipe2(life, O_CLOEXEC), 0);
    server = fork();
    if (server == 0) {
        char *const argv[] = { "sleep", "600", NULL };
        const char *const env[] = { NULL };
        struct jail_child child;

        plan.exec_fd = open("/usr/bin/sleep", O_RDONLY | O_CLOEXEC);
        plan.n_fds = 3;
        plan.fds[0] = plan.fds[1] = plan.fds[2] = life[1]; /* open as long as the worker lives */
        if (jail_spawn(&plan, argv, env, &child, &failure) < 0 ||
            jail_entered(&child, &failure) < 0) {
            _exit(1);
        }
        (void)!write(report[1], "up", 2);
        (void)pause();
        _exit(0);
    }
    close(report[1]);
    close(life[1]);
    assert_int_equal(read(report[0], line, sizeof(line)), 2);
    (void)kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
    (void)alarm(20);
    assert_int_equal(read(life[0], line, sizeof(line)), 0);
    (void)alarm(0);
    close(report[0]);
    close(life[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allow_missing_takes_names),
        cmocka_unit_test(allow_missing_refuses_what_is_never_missing),
        cmocka_unit_test(levels_want_their_layers),
        cmocka_unit_test(failures_name_layer_cause_and_way_on),
        cmocka_unit_test(environment_is_built_from_nothing),
        cmocka_unit_test(environment_has_an_end),
        cmocka_unit_test(plan_shows_libraries_and_nothing_private),
        cmocka_unit_test(missing_paths_of_the_configuration_are_refused),
        cmocka_unit_test(manifest_brings_its_library_along),
        cmocka_unit_test(device_comes_with_what_sysfs_says_of_it),
        cmocka_unit_test(program_runs_in_the_jail),
        cmocka_unit_test(failed_exec_is_told),
        cmocka_unit_test(vanished_path_stops_the_worker),
        cmocka_unit_test(probe_drops_only_what_may_be_missing),
        cmocka_unit_test(verification_sees_a_process_without_a_sandbox),
        cmocka_unit_test(worker_dies_with_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
