/* Does the harness notice what it is there to notice? */
#include "tests/harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The complaints are wanted here; they would only look like failures. */
static int quiet_teardown(void)
{
    int saved = dup(STDERR_FILENO);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int r;

    dup2(null, STDERR_FILENO);
    close(null);
    /* `saved` is open while it counts, so the baseline of these tests has one spare fd. */
    r = harness_teardown(NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    return r;
}

/* A baseline as quiet_teardown will find it. */
static void begin(void)
{
    int spare = dup(STDERR_FILENO);

    harness_setup(NULL);
    close(spare);
}

static void clean_test_is_green(void **state)
{
    (void)state;
    begin();
    assert_int_equal(quiet_teardown(), 0);
}

static void leaked_fd_is_noticed(void **state)
{
    int fd;

    (void)state;
    begin();
    fd = dup(STDERR_FILENO);
    assert_int_equal(quiet_teardown(), -1);
    close(fd);
}

static void leaked_child_is_noticed(void **state)
{
    pid_t pid;

    (void)state;
    begin();
    pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    assert_int_equal(quiet_teardown(), -1);
    kill(pid, SIGKILL);
    assert_int_equal(quiet_teardown(), -1); /* not reaped */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(quiet_teardown(), 0);
}

static void *wait_for_end(void *arg)
{
    char c;

    (void)!read(*(int *)arg, &c, 1);
    return NULL;
}

static void leaked_thread_is_noticed(void **state)
{
    pthread_t thread;
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    begin();
    assert_int_equal(pthread_create(&thread, NULL, wait_for_end, &fds[0]), 0);
    assert_int_equal(quiet_teardown(), -1);
    assert_int_equal(write(fds[1], "x", 1), 1);
    pthread_join(thread, NULL);
    assert_int_equal(quiet_teardown(), 0);
    close(fds[0]);
    close(fds[1]);
}

static void scratch_is_removed(void **state)
{
    char path[128], copy[64];
    struct stat st;
    FILE *f;

    (void)state;
    snprintf(copy, sizeof(copy), "%s", harness_scratch());
    snprintf(path, sizeof(path), "%s/file", copy);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    begin();
    assert_int_equal(quiet_teardown(), 0);
    assert_int_equal(stat(copy, &st), -1);
}

static int overstay(void *arg)
{
    (void)arg;
    harness_deadline(1);
    fclose(stderr);
    pause(); /* ends in the deadline's handler */
    return 0;
}

static void deadline_ends_the_program(void **state)
{
    int status = harness_in_child(overstay, NULL);

    (void)state;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 124);
}

static void faults_come_one_by_one_and_end(void **state)
{
    int runs = 0, faults = 0;

    (void)state;
    for (int n = 0; harness_fault_next(n); n++) {
        runs++;
        for (int i = 0; i < 3; i++) {
            faults += harness_fault();
        }
        assert_int_equal(harness_faulted(), n < 3);
    }
    assert_int_equal(runs, 4);
    assert_int_equal(faults, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean_test_is_green),
        cmocka_unit_test(leaked_fd_is_noticed),
        cmocka_unit_test(leaked_child_is_noticed),
        cmocka_unit_test(leaked_thread_is_noticed),
        cmocka_unit_test(scratch_is_removed),
        cmocka_unit_test(deadline_ends_the_program),
        cmocka_unit_test(faults_come_one_by_one_and_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
