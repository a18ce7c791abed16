#include "ipc/seqpacket.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"

static int interrupts; /* so many calls are interrupted first */

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
int __real_socketpair(int domain, int type, int protocol, int fds[2]);
int __wrap_socketpair(int domain, int type, int protocol, int fds[2]);
int __real_getsockopt(int fd, int level, int option, void *value, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *len);
int __real_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len);

static bool fails(void)
{
    if (interrupts > 0) {
        interrupts--;
        errno = EINTR;
        return true;
    }
    if (harness_fault()) {
        errno = ENOBUFS;
        return true;
    }
    return false;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return fails() ? -1 : __real_sendmsg(fd, msg, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
    return fails() ? -1 : __real_recvmsg(fd, msg, flags);
}

int __wrap_socketpair(int domain, int type, int protocol, int fds[2])
{
    /* What a VMM's jail allows, to the bit. */
    assert_int_equal(domain, AF_UNIX);
    assert_int_equal(type, SOCK_SEQPACKET | SOCK_CLOEXEC);
    assert_int_equal(protocol, 0);
    return fails() ? -1 : __real_socketpair(domain, type, protocol, fds);
}

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    return fails() ? -1 : __real_getsockopt(fd, level, option, value, len);
}

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    return fails() ? -1 : __real_setsockopt(fd, level, option, value, len);
}

static void make_pair(int pair[2])
{
    assert_int_equal(seqpacket_pair(pair), 0);
}

static void close_pair(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

/* Sends without any of our own checks. */
static void send_raw(int fd, const void *bytes, size_t size, uint32_t n_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(32 * sizeof(int))];
    } control = { 0 };
    struct iovec iov = { .iov_base = (void *)bytes, .iov_len = size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (n_fds > 0) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        for (uint32_t i = 0; i < n_fds; i++) {
            int two = 2;

            memcpy(CMSG_DATA(c) + i * sizeof(int), &two, sizeof(two));
        }
    }
    assert_int_equal(__real_sendmsg(fd, &msg, 0), size);
}

static void pair_is_seqpacket_and_closes_on_exec(void **state)
{
    int pair[2];

    (void)state;
    make_pair(pair);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(seqpacket_check(pair[i]), 0);
        assert_int_equal(fcntl(pair[i], F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(pair[i], F_GETFL) & O_NONBLOCK, 0);
    }
    close_pair(pair);
}

static void other_things_are_no_seqpacket_sockets(void **state)
{
    int pair[2];

    (void)state;
    assert_int_equal(__real_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(seqpacket_check(pair[0]), -EPROTOTYPE);
    close_pair(pair);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(seqpacket_check(pair[0]), -ENOTSOCK);
    close_pair(pair);
    assert_int_equal(seqpacket_check(-1), -EBADF);
}

static void message_arrives_with_its_fds(void **state)
{
    AUTO_FDSET struct fdset fds = { 0 };
    struct stat sent, got;
    char buf[16];
    size_t size = 0;
    int pair[2], pipe_fds[2], fd;

    (void)state;
    make_pair(pair);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(seqpacket_send(pair[0], "hello", 5, pipe_fds, 2), 0);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, &fds), 0);
    assert_int_equal(size, 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(fds.count, 2);
    fd = fdset_take(&fds, 1);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fstat(pipe_fds[1], &sent), 0);
    assert_int_equal(fstat(fd, &got), 0);
    assert_int_equal(sent.st_ino, got.st_ino);
    close(fd);
    close_pair(pipe_fds);
    close_pair(pair);
}

static void eight_fds_fit(void **state)
{
    static const int twos[FDSET_MAX] = { 2, 2, 2, 2, 2, 2, 2, 2 };
    AUTO_FDSET struct fdset fds = { 0 };
    char buf[16];
    size_t size = 0;
    int pair[2];

    (void)state;
    make_pair(pair);
    assert_int_equal(seqpacket_send(pair[0], "x", 1, twos, FDSET_MAX), 0);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, &fds), 0);
    assert_int_equal(fds.count, FDSET_MAX);
    close_pair(pair);
}

static void pieces_become_one_message(void **state)
{
    struct iovec iov[] = {
        { .iov_base = "ab", .iov_len = 2 },
        { .iov_base = NULL, .iov_len = 0 },
        { .iov_base = "cde", .iov_len = 3 },
    };
    char buf[16];
    size_t size = 0;
    int pair[2];

    (void)state;
    make_pair(pair);
    assert_int_equal(seqpacket_sendv(pair[0], iov, 3, NULL, 0, 0), 0);
    assert_int_equal(seqpacket_send(pair[0], "next", 4, NULL, 0), 0);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, NULL), 0);
    assert_int_equal(size, 5);
    assert_memory_equal(buf, "abcde", 5);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, NULL), 0);
    assert_int_equal(size, 4);
    close_pair(pair);
}

/* Each of these must leave no fd behind and keep the socket usable. */
static void expect_refusal(const void *bytes, size_t size, uint32_t n_fds, size_t cap,
                           struct fdset *fds)
{
    size_t got = 77;
    char buf[64];
    int pair[2];

    make_pair(pair);
    send_raw(pair[0], bytes, size, n_fds);
    assert_int_equal(seqpacket_recv(pair[1], buf, cap, &got, fds), -EBADMSG);
    assert_int_equal(got, 77);
    if (fds) {
        assert_int_equal(fds->count, 0);
    }
    assert_int_equal(seqpacket_send(pair[0], "ok", 2, NULL, 0), 0);
    assert_int_equal(seqpacket_recv(pair[1], buf, cap, &got, fds), 0);
    close_pair(pair);
}

static void long_message_is_refused(void **state)
{
    struct fdset fds = { 0 };

    (void)state;
    expect_refusal("12345", 5, 0, 4, &fds);
    expect_refusal("12345", 5, 2, 4, &fds);
    expect_refusal("12345", 5, 0, 4, NULL);
}

static void ninth_fd_is_refused(void **state)
{
    struct fdset fds = { 0 };

    (void)state;
    expect_refusal("12345", 5, FDSET_MAX + 1, 16, &fds);
    expect_refusal("12345", 5, 32, 16, &fds);
}

static void fds_where_none_are_expected_are_refused(void **state)
{
    (void)state;
    expect_refusal("12345", 5, 1, 16, NULL);
}

static void fds_without_bytes_are_refused(void **state)
{
    struct fdset fds = { 0 };

    (void)state;
    expect_refusal("", 0, 1, 16, &fds);
}

static void full_fd_table_is_told_and_leaks_nothing(void **state)
{
    struct rlimit old, tight;
    struct fdset fds = { 0 };
    size_t size = 0;
    char buf[16];
    int pair[2], next, r;

    (void)state;
    make_pair(pair);
    send_raw(pair[0], "x", 1, 4);
    next = dup(2);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    tight = old;
    tight.rlim_cur = (rlim_t)next + 2; /* two of the four fit */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    r = seqpacket_recv(pair[1], buf, sizeof(buf), &size, &fds);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(r, -EBADMSG);
    close_pair(pair);
}

static void the_end_is_told(void **state)
{
    size_t size = 0;
    char buf[16];
    int pair[2];

    (void)state;
    make_pair(pair);
    assert_int_equal(seqpacket_send(pair[0], "last", 4, NULL, 0), 0);
    close(pair[0]);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, NULL), 0);
    assert_int_equal(size, 4);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, NULL), -ECONNRESET);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, NULL), -ECONNRESET);
    close(pair[1]);
}

static void an_empty_message_counts_as_the_end(void **state)
{
    size_t size = 0;
    char buf[16];
    int pair[2];

    (void)state;
    make_pair(pair);
    send_raw(pair[0], "", 0, 0);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, NULL), -ECONNRESET);
    close_pair(pair);
}

static void last_words_are_read_although_ours_were_not(void **state)
{
    AUTO_FDSET struct fdset fds = { 0 };
    size_t size = 0;
    char buf[16];
    int pair[2];

    (void)state;
    make_pair(pair);
    assert_int_equal(seqpacket_send(pair[1], "unread", 6, NULL, 0), 0);
    send_raw(pair[0], "last", 4, 1);
    close(pair[0]);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, &fds), 0);
    assert_int_equal(size, 4);
    assert_int_equal(fds.count, 1);
    fdset_close(&fds);
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, &fds), -ECONNRESET);
    close(pair[1]);
}

static void sending_to_nobody_raises_no_signal(void **state)
{
    int pair[2];

    (void)state;
    signal(SIGPIPE, SIG_DFL);
    make_pair(pair);
    close(pair[0]);
    assert_int_equal(seqpacket_send(pair[1], "x", 1, NULL, 0), -EPIPE);
    close(pair[1]);
}

static void nothing_there_does_not_wait(void **state)
{
    struct iovec iov = { .iov_base = "x", .iov_len = 1 };
    size_t size = 0;
    char buf[16];
    int pair[2], r, n = 0;

    (void)state;
    make_pair(pair);
    assert_int_equal(seqpacket_recv_flags(pair[1], buf, sizeof(buf), &size, NULL, MSG_DONTWAIT),
                     -EAGAIN);
    do {
        r = seqpacket_sendv(pair[0], &iov, 1, NULL, 0, MSG_DONTWAIT);
        n++;
    } while (r == 0);
    assert_int_equal(r, -EAGAIN);
    assert_in_range(n, 10, 100000);
    close_pair(pair);
}

static void interruptions_are_retried(void **state)
{
    size_t size = 0;
    char buf[16];
    int pair[2];

    (void)state;
    make_pair(pair);
    interrupts = 3;
    assert_int_equal(seqpacket_send(pair[0], "x", 1, NULL, 0), 0);
    assert_int_equal(interrupts, 0);
    interrupts = 3;
    assert_int_equal(seqpacket_recv(pair[1], buf, sizeof(buf), &size, NULL), 0);
    assert_int_equal(interrupts, 0);
    close_pair(pair);
}

static void longest_message_is_known_and_can_grow(void **state)
{
    size_t most = 0, more = 0, size = 0;
    char *buf;
    int pair[2];

    (void)state;
    make_pair(pair);
    assert_int_equal(seqpacket_max_message(pair[0], &most), 0);
    buf = calloc(1, most * 2 + 64);
    assert_non_null(buf);
    assert_int_equal(seqpacket_send(pair[0], buf, most + 1, NULL, 0), -EMSGSIZE);
    assert_int_equal(seqpacket_send(pair[0], buf, most, NULL, 0), 0);
    assert_int_equal(seqpacket_recv(pair[1], buf, most, &size, NULL), 0);
    assert_int_equal(size, most);

    assert_int_equal(seqpacket_raise_max(pair[0], most), 0);
    assert_int_equal(seqpacket_max_message(pair[0], &more), 0);
    assert_int_equal(more, most); /* already enough */
    assert_int_equal(seqpacket_raise_max(pair[0], most + 4), 0);
    assert_int_equal(seqpacket_max_message(pair[0], &more), 0);
    assert_true(more > most);
    assert_int_equal(seqpacket_send(pair[0], buf, most + 4, NULL, 0), 0);
    assert_int_equal(seqpacket_raise_max(pair[0], SIZE_MAX / 2), 0);
    free(buf);
    close_pair(pair);
}

static int exchange(void)
{
    AUTO_FDSET struct fdset fds = { 0 };
    size_t size = 0;
    char buf[16];
    int pair[2] = { -1, -1 };
    int r = seqpacket_pair(pair);

    if (r < 0) {
        return r;
    }
    r = seqpacket_check(pair[0]);
    if (r == 0) {
        r = seqpacket_raise_max(pair[0], 300000);
    }
    if (r == 0) {
        r = seqpacket_send(pair[0], "x", 1, (int[]){ 2, 2 }, 2);
    }
    if (r == 0) {
        r = seqpacket_recv(pair[1], buf, sizeof(buf), &size, &fds);
        assert_int_equal(fds.count, r == 0 ? 2 : 0);
    }
    close_pair(pair);
    return r;
}

static void any_call_may_fail(void **state)
{
    int n;

    (void)state;
    for (n = 0; harness_fault_next(n); n++) {
        int r = exchange();

        assert_int_equal(r, harness_faulted() ? -ENOBUFS : 0);
    }
    /* socketpair, three getsockopt, setsockopt, sendmsg, recvmsg; and the run without a fault */
    assert_int_equal(n, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(pair_is_seqpacket_and_closes_on_exec),
        HARNESS_TEST(other_things_are_no_seqpacket_sockets),
        HARNESS_TEST(message_arrives_with_its_fds),
        HARNESS_TEST(eight_fds_fit),
        HARNESS_TEST(pieces_become_one_message),
        HARNESS_TEST(long_message_is_refused),
        HARNESS_TEST(ninth_fd_is_refused),
        HARNESS_TEST(fds_where_none_are_expected_are_refused),
        HARNESS_TEST(fds_without_bytes_are_refused),
        HARNESS_TEST(full_fd_table_is_told_and_leaks_nothing),
        HARNESS_TEST(the_end_is_told),
        HARNESS_TEST(an_empty_message_counts_as_the_end),
        HARNESS_TEST(last_words_are_read_although_ours_were_not),
        HARNESS_TEST(sending_to_nobody_raises_no_signal),
        HARNESS_TEST(nothing_there_does_not_wait),
        HARNESS_TEST(interruptions_are_retried),
        HARNESS_TEST(longest_message_is_known_and_can_grow),
        HARNESS_TEST(any_call_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
