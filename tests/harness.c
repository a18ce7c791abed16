#include "tests/harness.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A joined thread, or an fd that a dying child held, may show for a moment longer. */
#define SETTLE_TRIES 200
#define SETTLE_US 5000

static struct {
    int fds, threads;
    char scratch[64]; /* "" = none */
    int fault_at;     /* -1 = off */
    int calls;
    bool faulted;
} harness = { .fault_at = -1 };

/* Entries of a /proc folder, less the two dots and, for fds, the one that reads it. */
static int count_entries(const char *path, int less)
{
    DIR *dir = opendir(path);
    int n = 0;

    if (!dir) {
        return -1;
    }
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n - 2 - less;
}

static int count_fds(void)
{
    return count_entries("/proc/self/fd", 1);
}

static int count_threads(void)
{
    return count_entries("/proc/self/task", 0);
}

/* Children that run or wait to be reaped. */
static bool has_children(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void deadline_passed(int signo)
{
    static const char text[] = "harness: the test's deadline has passed\n";

    (void)signo;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(124);
}

void harness_deadline(unsigned seconds)
{
    signal(SIGALRM, deadline_passed);
    alarm(seconds);
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* A sanitizer may start a helper thread along with the first of ours, and that is no leak. */
static void settle_threads(void)
{
    static bool settled;
    pthread_t thread;

    if (!settled && pthread_create(&thread, NULL, do_nothing, NULL) == 0) {
        pthread_join(thread, NULL);
        usleep(SETTLE_US);
        settled = true;
    }
}

int harness_setup(void **state)
{
    (void)state;
    harness_fault_off();
    settle_threads();
    harness.fds = count_fds();
    harness.threads = count_threads();
    harness_deadline(HARNESS_DEADLINE_S);
    return 0;
}

static bool settles(int (*count)(void), int expected, int *ret_count)
{
    for (int i = 0; i < SETTLE_TRIES; i++) {
        *ret_count = count();
        if (*ret_count == expected) {
            return true;
        }
        usleep(SETTLE_US);
    }
    return false;
}

static void print_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *e;

    while (dir && (e = readdir(dir))) {
        char path[300], target[300];
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
        n = readlink(path, target, sizeof(target) - 1);
        if (n > 0 && atoi(e->d_name) != dirfd(dir)) {
            target[n] = '\0';
            fprintf(stderr, "harness:   fd %s -> %s\n", e->d_name, target);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int harness_teardown(void **state)
{
    int result = 0, n;

    (void)state;
    alarm(0);
    harness_fault_off();
    if (harness.scratch[0] != '\0') {
        (void)nftw(harness.scratch, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        harness.scratch[0] = '\0';
    }
    if (has_children()) {
        fprintf(stderr, "harness: the test left a child process\n");
        result = -1;
    }
    if (!settles(count_threads, harness.threads, &n)) {
        fprintf(stderr, "harness: %d threads before the test, %d after\n", harness.threads, n);
        result = -1;
    }
    if (!settles(count_fds, harness.fds, &n)) {
        fprintf(stderr, "harness: %d fds before the test, %d after\n", harness.fds, n);
        print_fds();
        result = -1;
    }
    return result;
}

const char *harness_scratch(void)
{
    if (harness.scratch[0] == '\0') {
        strcpy(harness.scratch, "/tmp/cordon-test-XXXXXX");
        if (!mkdtemp(harness.scratch)) {
            fail_msg("no scratch folder: %s", strerror(errno));
        }
    }
    return harness.scratch;
}

int harness_in_child(int (*fn)(void *arg), void *arg)
{
    int status = -1;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        _exit(fn(arg));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        fail_msg("no child: %s", strerror(errno));
    }
    return status;
}

bool harness_fault_next(int n)
{
    if (n > 0 && !harness.faulted) {
        harness_fault_off();
        return false;
    }
    harness.fault_at = n;
    harness.calls = 0;
    harness.faulted = false;
    return true;
}

bool harness_fault(void)
{
    if (harness.fault_at < 0 || harness.calls++ != harness.fault_at) {
        return false;
    }
    harness.faulted = true;
    return true;
}

bool harness_faulted(void)
{
    return harness.faulted;
}

void harness_fault_off(void)
{
    harness.fault_at = -1;
    harness.faulted = false;
}
