/* Control groups: what is read, and, in a tree of plain files, what is written. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "policy/cgroup.h"
#include "tests/harness.h"

static char base[64], why[256];

static void own_group_is_the_line_without_a_controller(void **state)
{
    char text[] = "9:name=systemd:/x\n0::/user.slice/a b.scope\n";
    char old[] = "9:name=systemd:/x\n4:memory:/y\n";

    (void)state;
    assert_string_equal(cgroup_own_path(text), "/user.slice/a b.scope");
    assert_null(cgroup_own_path(old));
}

static void mount_point_is_of_version_two_only(void **state)
{
    char point[256], root[256];

    (void)state;
    assert_true(cgroup_mount_point("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 "
                                   "cgroup2 rw,nsdelegate\n",
                                   point, root));
    assert_string_equal(point, "/sys/fs/cgroup");
    assert_string_equal(root, "/");
    assert_false(cgroup_mount_point("30 23 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
                                    point, root));
    assert_false(cgroup_mount_point("", point, root));
}

static void fields_are_found_by_their_whole_name(void **state)
{
    const char text[] = "low 1\noom 2\noom_kill 3\noom_group_kill 4\n";

    (void)state;
    assert_int_equal(cgroup_field(text, "oom_kill"), 3);
    assert_int_equal(cgroup_field(text, "oom"), 2);
    assert_int_equal(cgroup_field(text, "max"), 0);
    assert_int_equal(cgroup_field("", "max"), 0);
}

/* ---- a tree of plain files --------------------------------------------------------------------- */

static void put(const char *path, const char *text)
{
    char full[256];
    FILE *file;

    (void)snprintf(full, sizeof(full), "%s/%s", base, path);
    file = fopen(full, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
}

static const char *get(const char *path)
{
    static char text[256];
    char full[256];
    FILE *file;
    size_t n;

    (void)snprintf(full, sizeof(full), "%s/%s", base, path);
    file = fopen(full, "r");
    assert_non_null(file);
    n = fread(text, 1, sizeof(text) - 1, file);
    text[n] = '\0';
    assert_int_equal(fclose(file), 0);
    return text;
}

static void make_group(const char *path, const char *const *files)
{
    char full[256];

    (void)snprintf(full, sizeof(full), "%s/%s", base, path);
    assert_int_equal(mkdir(full, 0755), 0);
    for (; *files; files++) {
        (void)snprintf(full, sizeof(full), "%s/%s", path, *files);
        put(full, "");
    }
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(base, sizeof(base), "/tmp/cordon-cgroup-XXXXXX");
    return mkdtemp(base) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command);
}

static void limits_are_written_where_they_belong(void **state)
{
    static const char *const vm_files[] = { "cgroup.subtree_control", "memory.max", "cpu.max",
                                            "cpu.weight", NULL };
    static const char *const worker_files[] = { "memory.oom.group", "memory.swap.max", "memory.max",
                                                "pids.max",         "cgroup.procs",    NULL };
    const struct cgroup_limits limits = {
        .memory = 1 << 30, .vm_memory = 3u << 30, .tasks = 128, .cpu = 250, .weight = 50
    };
    char vm[32], worker[64], file[128], text[32];
    struct cgroup_events events;
    struct cgroup g;
    int fd = -1;

    (void)state;
    put("cgroup.procs", "");
    put("cgroup.subtree_control", "");
    (void)snprintf(vm, sizeof(vm), "cordon-%d", (int)getpid());
    (void)snprintf(worker, sizeof(worker), "%s/worker-7", vm);
    make_group(vm, vm_files);
    make_group(worker, worker_files);
    assert_int_equal(cgroup_init(&g, base, &limits, why, sizeof(why)), 0);
    assert_int_equal(g.controllers, CGROUP_MEMORY | CGROUP_PIDS | CGROUP_CPU);
    assert_non_null(strstr(why, vm));
    (void)snprintf(file, sizeof(file), "%s/memory.max", vm);
    assert_string_equal(get(file), "3221225472");
    (void)snprintf(file, sizeof(file), "%s/cpu.max", vm);
    assert_string_equal(get(file), "250000 100000");
    (void)snprintf(file, sizeof(file), "%s/cpu.weight", vm);
    assert_string_equal(get(file), "50");
    assert_int_equal(cgroup_make(&g, 7, &fd), 0);
    (void)snprintf(file, sizeof(file), "%s/memory.max", worker);
    assert_string_equal(get(file), "1073741824");
    (void)snprintf(file, sizeof(file), "%s/pids.max", worker);
    assert_string_equal(get(file), "128");
    (void)snprintf(file, sizeof(file), "%s/memory.oom.group", worker);
    assert_string_equal(get(file), "1");

    /* What comes back from there. */
    assert_false(cgroup_holds(fd, getpid()));
    (void)snprintf(file, sizeof(file), "%s/cgroup.procs", worker);
    (void)snprintf(text, sizeof(text), "1\n%d\n", (int)getpid());
    put(file, text);
    assert_true(cgroup_holds(fd, getpid()));
    (void)snprintf(file, sizeof(file), "%s/memory.events", worker);
    put(file, "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n");
    (void)snprintf(file, sizeof(file), "%s/pids.events", worker);
    put(file, "max 9\n");
    cgroup_read_events(fd, &events);
    assert_int_equal(events.oom_kills, 1);
    assert_int_equal(events.tasks_refused, 9);
    assert_int_equal(events.memory_peak, 0);
    close_fd(&fd);
    cgroup_fini(&g);
}

static void a_group_that_is_none_is_refused(void **state)
{
    const struct cgroup_limits limits = { .tasks = 1 };
    struct cgroup g;

    (void)state;
    assert_int_equal(cgroup_init(&g, "/nowhere", &limits, why, sizeof(why)), -ENOENT);
    assert_non_null(strstr(why, "/nowhere"));
    /* Not a cgroup at all. */
    assert_int_equal(cgroup_init(&g, base, &limits, why, sizeof(why)), -EBUSY);
    /* Somebody else lives there. */
    put("cgroup.procs", "1\n");
    assert_int_equal(cgroup_init(&g, base, &limits, why, sizeof(why)), -EBUSY);
    assert_non_null(strstr(why, "other processes"));
    /* Nothing is handed out. */
    put("cgroup.procs", "");
    assert_int_equal(cgroup_init(&g, base, &limits, why, sizeof(why)), -ENOTSUP);
    assert_non_null(strstr(why, "neither memory nor pids"));
    assert_int_equal(g.fd, -1);
}

/* A limit that cannot be written is none: the worker must not run without. */
static void a_limit_that_cannot_be_set_stops_the_worker(void **state)
{
    static const char *const vm_files[] = { "cgroup.subtree_control", "memory.max", "cpu.weight",
                                            NULL };
    static const char *const worker_files[] = { "memory.oom.group", "memory.max", NULL };
    const struct cgroup_limits limits = { .memory = 1 << 30, .vm_memory = 1 << 30, .tasks = 9 };
    char vm[32], worker[64];
    struct cgroup g;
    int fd = -1;

    (void)state;
    put("cgroup.procs", "");
    put("cgroup.subtree_control", "");
    (void)snprintf(vm, sizeof(vm), "cordon-%d", (int)getpid());
    (void)snprintf(worker, sizeof(worker), "%s/worker-1", vm);
    make_group(vm, vm_files);
    make_group(worker, worker_files);
    assert_int_equal(cgroup_init(&g, base, &limits, why, sizeof(why)), 0);
    assert_int_equal(cgroup_make(&g, 1, &fd), -ENOENT); /* pids.max */
    assert_int_equal(fd, -1);
    cgroup_fini(&g);
}

static void groups_of_the_dead_are_swept(void **state)
{
    const struct cgroup_limits limits = { 0 };
    char path[128];
    struct cgroup g;

    (void)state;
    put("cgroup.procs", "");
    put("cgroup.subtree_control", "");
    for (int i = 0; i < 3; i++) {
        /* No process has such a number: pid_max is 4194304 at most. */
        static const char *const dirs[] = { "cordon-5000000", "cordon-5000000/worker-3",
                                            "cordon-1" };

        (void)snprintf(path, sizeof(path), "%s/%s", base, dirs[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    (void)snprintf(path, sizeof(path), "%s/cordon-%d", base, (int)getpid());
    assert_int_equal(mkdir(path, 0755), 0);
    /* Its own subgroup hands out nothing here, which is all the same to it without limits. */
    assert_int_equal(cgroup_init(&g, base, &limits, why, sizeof(why)), 0);
    (void)snprintf(path, sizeof(path), "%s/cordon-5000000", base);
    assert_int_equal(access(path, F_OK), -1);
    (void)snprintf(path, sizeof(path), "%s/cordon-1", base);
    assert_int_equal(access(path, F_OK), 0);
    cgroup_fini(&g);
    (void)snprintf(path, sizeof(path), "%s/cordon-%d", base, (int)getpid());
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_group_is_the_line_without_a_controller),
        cmocka_unit_test(mount_point_is_of_version_two_only),
        cmocka_unit_test(fields_are_found_by_their_whole_name),
        cmocka_unit_test_setup_teardown(limits_are_written_where_they_belong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_group_that_is_none_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_limit_that_cannot_be_set_stops_the_worker, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(groups_of_the_dead_are_swept, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
