/* The broker: what a filtered process gets for its opens, and how a violation is named. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base.h"
#include "policy/filter.h"
#include "policy/notify.h"

/* Opens of /dev/full stand for those of a GPU; the link leads to another device. */
#define MANY_OPENS 10000
#define MAX_THREADS 8

static char link_path[64];
static const char *const rules[] = { "/dev/full", "/dev/tty[0-9]+", "/dev/random", link_path,
                                     NULL };

static struct policy_program make_program(void)
{
    struct policy_program program = *policy_worker("lavapipe");

    program.broker = rules;
    return program;
}

static void *wait_for_ever(void *arg)
{
    (void)pthread_mutex_lock(arg);
    return NULL;
}

/* As many threads as may be, the caller among them, and no more however often it asks. */
static bool threads_are_counted(void)
{
    static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread;

    (void)pthread_mutex_lock(&held);
    for (int i = 1; i < MAX_THREADS; i++) {
        if (pthread_create(&thread, NULL, wait_for_ever, &held) != 0) {
            return false;
        }
    }
    for (int i = 0; i < 3; i++) {
        if (pthread_create(&thread, NULL, wait_for_ever, &held) != EAGAIN) {
            return false;
        }
    }
    return true;
}

/* One line is enough for all: opens, then a violation. Exit status: the first thing that is not
 * as it should be. */
static int act(void)
{
    struct stat st;
    int fd = open("/dev/full", O_RDWR | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_rdev != makedev(1, 7)) {
        return 1;
    }
    /* Without O_CLOEXEC too: a descriptor of the broker never survives an exec. */
    fd = open("/dev/full", O_RDWR);
    if (fd < 0 || fcntl(fd, F_GETFD) != FD_CLOEXEC) {
        return 2;
    }
    if (open("/dev/zero", O_RDWR) >= 0 || errno != ENOENT) {
        return 3;
    }
    if (open("/dev/full", O_RDWR | O_CREAT, 0600) >= 0 || errno != ENOENT) {
        return 4;
    }
    if (open("/dev/./full", O_RDWR) >= 0 || open("/dev/../dev/full", O_RDWR) >= 0 ||
        open("dev/full", O_RDWR) >= 0 || open("", O_RDWR) >= 0) {
        return 5;
    }
    if (open("/dev/tty1", O_RDWR) >= 0 || errno != ENOENT) {
        return 6; /* the rule fits, but this one was not given to the worker */
    }
    if (open(link_path, O_RDWR) >= 0) {
        return 7; /* given, but what stands there is a link */
    }
    if (open("/dev/random", O_RDWR) >= 0 || errno != ENOENT) {
        return 10; /* given, but by now another device stands there */
    }
    if (open("/etc/hostname", O_WRONLY) >= 0 || errno != ENOENT) {
        return 8;
    }
    for (int i = 0; i < 3; i++) {
        if (socket(AF_UNIX, SOCK_STREAM, 0) >= 0 || errno != EAFNOSUPPORT) {
            return 11;
        }
    }
    if (rename("/tmp/cordon-notify", "/tmp/cordon") >= 0 || errno != EACCES) {
        return 12;
    }
    /* What drivers do out of habit: refused, and not told. */
    if (mkdir("/tmp/cordon-notify", 0700) >= 0 || errno != EACCES) {
        return 13;
    }
    for (int i = 0; i < 2; i++) {
        if (open("/proc/self/task/17/comm", O_RDWR) >= 0 || errno != ENOENT) {
            return 14;
        }
    }
    /* NVIDIA opens its node for each mapping: no end to that but the limit of descriptors. */
    for (int i = 0; i < MANY_OPENS; i++) {
        fd = open("/dev/full", O_RDWR | O_CLOEXEC);
        if (fd < 0 || close(fd) < 0) {
            return 15;
        }
    }
    do {
        fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    } while (fd >= 0);
    if (errno != EMFILE) {
        return 16;
    }
    if (!threads_are_counted()) {
        return 17;
    }
    (void)ptrace(PTRACE_SEIZE, 1, 0, 0);
    return 9;
}

static int child_main(int socket)
{
    const struct rlimit files = { 64, 64 };
    struct policy_program program = make_program();
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u = { 0 };
    struct iovec iov = { "x", 1 };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u)
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    int listener;

    (void)setrlimit(RLIMIT_NOFILE, &files);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)prctl(PR_SET_NAME, "bad\nname");
    listener = filter_install_asking(&program, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (listener < 0) {
        return 20;
    }
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &listener, sizeof(int));
    if (sendmsg(socket, &msg, 0) != 1) {
        return 21;
    }
    close(listener);
    return act();
}

static int receive_fd(int socket)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u = { 0 };
    char byte;
    struct iovec iov = { &byte, 1 };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u)
    };
    int fd = -1;

    if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&msg)) {
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
    }
    return fd;
}

static void broker_opens_what_was_given_and_names_the_rest(void **state)
{
    const char *const devices[] = { "/dev/full", "/dev/null" /* no rule: dropped */, "/dev/random",
                                    link_path, NULL };
    struct policy_program program = make_program();
    enum notify_verdict verdict = NOTIFY_ANSWERED;
    unsigned denied = 0, sockets = 0, renames = 0, no_thread = 0;
    struct notify n;
    char line[512];
    int pair[2], status;
    pid_t pid;

    (void)state;
    (void)snprintf(link_path, sizeof(link_path), "/tmp/cordon-notify-%d", getpid());
    assert_int_equal(symlink("/dev/full", link_path), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    pid = fork();
    if (pid == 0) {
        _exit(child_main(pair[1]));
    }
    close(pair[1]);
    assert_int_equal(notify_init(&n, receive_fd(pair[0]), notify_open_memory(pid), pid, &program,
                                 devices, MAX_THREADS),
                     0);
    assert_int_equal(n.n_devices, 3);
    assert_string_equal(n.devices[1].path, "/dev/random");
    n.devices[1].rdev = makedev(1, 3);
    (void)alarm(20);
    while (verdict != NOTIFY_VIOLATION && verdict != NOTIFY_GONE) {
        struct pollfd p = { .fd = n.listener, .events = POLLIN };

        assert_int_equal(poll(&p, 1, 10000), 1);
        if (!(p.revents & POLLIN)) {
            break;
        }
        verdict = notify_handle(&n, line, sizeof(line));
        denied += verdict == NOTIFY_DENIED;
        no_thread += verdict == NOTIFY_NO_THREAD;
        sockets += strstr(line, ": socket(") && strstr(line, "refused with EAFNOSUPPORT");
        renames += strstr(line, ": rename(") && strstr(line, "refused with EACCES");
    }
    (void)alarm(0);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)unlink(link_path);
    if (WIFEXITED(status)) {
        fail_msg("the child found fault %d", WEXITSTATUS(status));
    }
    assert_int_equal(verdict, NOTIFY_VIOLATION);
    assert_non_null(strstr(line, "ptrace(0x4206, 0x1, "));
    assert_non_null(strstr(line, "not in worker.lavapipe.policy"));
    assert_non_null(strstr(line, "thread=bad: "));
    assert_null(strchr(line, '\n'));
    assert_in_range(n.opened, 2 + MANY_OPENS + 1, 2 + MANY_OPENS + 64);
    /* Each kind is told once, whoever tries it how often. */
    assert_int_equal(n.denied, 10 + 4 + 2 + 1);
    assert_int_equal(denied, 10 + 2 + 1);
    assert_int_equal(sockets, 1);
    assert_int_equal(renames, 1);
    assert_int_equal(no_thread, 1);
    notify_fini(&n);
    close(pair[0]);
}

static void devices_must_be_devices(void **state)
{
    static const char *const file[] = { "/dev/full", "/dev/tty0x", NULL };
    static const char *const none[] = { "/dev/tty9999", NULL };
    struct policy_program program = make_program();
    struct notify n;

    (void)state;
    /* "/dev/tty0x" fits no rule and is dropped; "/dev/tty9999" fits and does not exist. */
    assert_int_equal(notify_init(&n, -1, -1, getpid(), &program, file, 8), 0);
    assert_int_equal(n.n_devices, 1);
    assert_int_equal(notify_init(&n, -1, -1, getpid(), &program, none, 8), -ENODEV);
}

static void listener_of_a_dead_process_is_gone(void **state)
{
    struct policy_program program = make_program();
    struct notify n;
    char line[64];

    (void)state;
    assert_int_equal(notify_init(&n, open("/dev/null", O_RDONLY | O_CLOEXEC), -1, getpid(),
                                 &program, NULL, 8),
                     0);
    assert_int_equal(notify_handle(&n, line, sizeof(line)), NOTIFY_GONE);
    notify_fini(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broker_opens_what_was_given_and_names_the_rest),
        cmocka_unit_test(devices_must_be_devices),
        cmocka_unit_test(listener_of_a_dead_process_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
