#include "ipc/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"

static int is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* As in a jail: the call fails, and nothing of /dev is there. */
static int without(int call)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

    if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0) < 0 ||
        seccomp_load(filter) < 0) {
        return -1;
    }
    seccomp_release(filter);
    return 0;
}

static int close_one_by_one(void *arg)
{
    int kept = dup(2), closed = fcntl(2, F_DUPFD, 100);

    (void)arg;
    if (without(SCMP_SYS(close_range)) < 0) {
        return 2;
    }
    return descriptors_close(100, 200) == 0 && is_open(kept) && !is_open(closed) && is_open(0) ? 0
                                                                                               : 1;
}

static int close_in_vain(void *arg)
{
    (void)arg;
    if (without(SCMP_SYS(close_range)) < 0 || without(SCMP_SYS(openat)) < 0) {
        return 2;
    }
    return descriptors_close(100, 200) == -ENOSYS ? 0 : 1;
}

static void a_range_that_stays_open_is_told(void **state)
{
    (void)state;
    assert_int_equal(harness_in_child(close_in_vain, NULL), 0);
}

static void a_range_is_closed_also_without_close_range(void **state)
{
    (void)state;
    assert_int_equal(harness_in_child(close_one_by_one, NULL), 0);
}

static int arrange(void *arg)
{
    int pair[2], fds[4], more = fcntl(2, F_DUPFD, 50);
    struct stat want, got;

    (void)arg;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 || fstat(pair[1], &want) < 0) {
        return 2;
    }
    /* Each where another is to go. */
    fds[0] = 2;
    fds[1] = pair[1];
    fds[2] = 1;
    fds[3] = 0;
    if (descriptors_arrange(fds, 4, 3) < 0 || fstat(1, &got) < 0 || fds[3] != 3) {
        return 3;
    }
    if (got.st_ino != want.st_ino || !is_open(0) || !is_open(2) || is_open(more) || is_open(4)) {
        return 1;
    }
    return fcntl(1, F_GETFD) == 0 && fcntl(3, F_GETFD) == FD_CLOEXEC ? 0 : 4;
}

static void descriptors_come_to_their_numbers_and_others_go(void **state)
{
    (void)state;
    assert_int_equal(harness_in_child(arrange, NULL), 0);
}

/* One that fails leaves each where `fds` says. */
static int arrange_what_is_not_open(void *arg)
{
    int fds[] = { 2, 1, 99 };
    struct stat want, got;

    (void)arg;
    if (fstat(1, &want) < 0 || descriptors_arrange(fds, 3, 3) != -EBADF ||
        fstat(fds[1], &got) < 0) {
        return 1;
    }
    return got.st_ino == want.st_ino && fds[2] == 99 ? 0 : 2;
}

static void a_failure_loses_no_descriptor(void **state)
{
    (void)state;
    assert_int_equal(harness_in_child(arrange_what_is_not_open, NULL), 0);
}

static int open_null_without_devices(void *arg)
{
    char byte;
    int fd;

    (void)arg;
    if (without(SCMP_SYS(openat)) < 0) {
        return 2;
    }
    fd = descriptors_open_null();
    return fd >= 0 && read(fd, &byte, 1) == 0 && send(fd, "x", 1, MSG_NOSIGNAL) < 0 ? 0 : 1;
}

static void null_needs_no_device(void **state)
{
    int fd = descriptors_open_null();
    char byte;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(read(fd, &byte, 1), 0);
    close(fd);
    assert_int_equal(harness_in_child(open_null_without_devices, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(a_range_is_closed_also_without_close_range),
        HARNESS_TEST(a_range_that_stays_open_is_told),
        HARNESS_TEST(descriptors_come_to_their_numbers_and_others_go),
        HARNESS_TEST(a_failure_loses_no_descriptor),
        HARNESS_TEST(null_needs_no_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
