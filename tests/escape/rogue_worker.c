/*
 * A worker that has been taken over. The real server starts, confines and checks it like the real
 * one; then its context arrives, whose name says what it tries. It knows all that an attacker in a
 * worker knows: the control socket, its listener's way, the record page, the context socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/dialect_b.h"
#include "ipc/fdset.h"
#include "ipc/log.h"
#include "ipc/map.h"
#include "ipc/seqpacket.h"
#include "ipc/worker_wire.h"
#include "policy/seal.h"

static struct worker_record *record;
static int context_fd, epoll_fd;

#define MANY_FDS 250 /* the kernel takes 253 */

/* By hand: what it sends is not what a worker may send. */
static int tell(const void *m, size_t size, int fd, uint32_t n_fds)
{
    static union {
        char space[CMSG_SPACE(MANY_FDS * sizeof(int))];
        struct cmsghdr align;
    } u;
    struct iovec iov = { (void *)m, size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    int fds[MANY_FDS];

    if (n_fds > 0) {
        for (uint32_t i = 0; i < n_fds; i++) {
            fds[i] = fd;
        }
        msg.msg_control = &u;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        u.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                    .cmsg_type = SCM_RIGHTS,
                                    .cmsg_len = CMSG_LEN(n_fds * sizeof(int)) };
        memcpy(CMSG_DATA(&u.align), fds, n_fds * sizeof(int));
    }
    return sendmsg(WORKER_FD_CONTROL, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int tell_ring(int fd, uint32_t number, uint64_t status_offset)
{
    struct worker_ring m = { .op = WORKER_OP_RING,
                             .number = number,
                             .status_offset = status_offset };

    return tell(&m, sizeof(m), fd, 1);
}

static int memory(void)
{
    int fd = -1;

    return memfd_create_sized("rogue", 4096, &fd) < 0 ? -1 : fd;
}

/* ---- what it tries ----------------------------------------------------------------------- */

static void do_ptrace(void)
{
    (void)syscall(SYS_ptrace, 16, 1, 0, 0);
}

static void *ptrace_thread(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "evil \"thread\"\n");
    do_ptrace();
    return arg;
}

static void other_thread(void)
{
    pthread_t t;

    if (pthread_create(&t, NULL, ptrace_thread, NULL) == 0) {
        (void)pthread_join(t, NULL);
    }
}

/* Closing everything does not take the supervisor's end of the listener away. */
static void close_all(void)
{
    for (int fd = 0; fd < 64; fd++) {
        (void)close(fd);
    }
    do_ptrace();
}

static void ready_again(void)
{
    struct worker_ready m = { .op = WORKER_OP_READY, .layers = ~0u, .driver = "lavapipe" };

    (void)tell(&m, sizeof(m), -1, 0);
}

static void oversized(void)
{
    /* As long as its socket takes; no message is half as long. */
    static char big[3000] = { WORKER_OP_RING };

    (void)tell(big, sizeof(big), -1, 0);
}

static void truncated(void)
{
    (void)tell("\4\0", 2, -1, 0);
}

static void unknown_op(void)
{
    const uint32_t op = 0x7fffffff;

    (void)tell(&op, sizeof(op), -1, 0);
}

/* Far more descriptors than any message may carry. */
static void descriptor_flood(void)
{
    struct worker_ring m = { .op = WORKER_OP_RING, .number = 1 };

    for (int i = 0; i < 2000 && tell(&m, sizeof(m), 1, MANY_FDS) == 0; i++) {
    }
}

static void ring_device(void)
{
    (void)tell_ring(WORKER_FD_NULL, 1, 0);
}

static void ring_socket(void)
{
    (void)tell_ring(context_fd, 1, 0);
}

static void ring_epoll(void)
{
    (void)tell_ring(epoll_fd, 1, 0);
}

static void ring_beyond(void)
{
    (void)tell_ring(memory(), 1, 4094);
}

static void ring_overflow(void)
{
    (void)tell_ring(memory(), 1, UINT64_MAX - 1);
}

/* More rings than a guest may have: the server holds a bounded number of descriptors. */
static void ring_flood(void)
{
    int fd = memory();

    for (uint32_t i = 1; i < 20000 && tell_ring(fd, i, 0) == 0; i++) {
    }
    (void)poll(NULL, 0, -1);
}

static void timeline_twice(void)
{
    struct worker_timeline m = { .op = WORKER_OP_TIMELINE, .words = 64 };
    int fd = memory();

    (void)tell(&m, sizeof(m), fd, 1);
    (void)tell(&m, sizeof(m), fd, 1);
}

static void timeline_huge(void)
{
    struct worker_timeline m = { .op = WORKER_OP_TIMELINE, .words = UINT32_MAX };

    (void)tell(&m, sizeof(m), memory(), 1);
}

/* The server's copy of this page is what it writes obituaries from. */
static void scribble(void)
{
    memset(record, 0xff, sizeof(*record));
    (void)!ftruncate(WORKER_FD_RECORD, 1);
    _exit(WORKER_EXIT_CONTEXT);
}

/* Ignores that it was told to end. */
static void stay(void)
{
    for (;;) {
        (void)syscall(SYS_clock_nanosleep, 0, 0, &(struct timespec){ .tv_sec = 1 }, NULL);
    }
}

static void log_flood(void)
{
    static char line[1000];

    memset(line, '\x1b', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    for (int i = 0; i < 20000; i++) {
        (void)!write(WORKER_FD_LOG, line, sizeof(line));
    }
    _exit(1);
}

/* Holds all the descriptors it can get when its context needs one more. */
static void descriptors_then_exit(void)
{
    while (fcntl(0, F_DUPFD_CLOEXEC, 0) >= 0) {
    }
    if (tell_ring(0, 1, 0) == 0) {
        _exit(1);
    }
}

static void *notify_thread(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        (void)open("/dev/full", O_RDWR | O_CLOEXEC);
    }
    return arg;
}

static void notify_flood(void)
{
    pthread_t t[64];

    for (int i = 0; i < 64; i++) {
        (void)pthread_create(&t[i], NULL, notify_thread, NULL);
    }
    for (int i = 0; i < 64; i++) {
        (void)pthread_join(t[i], NULL);
    }
    log_info("flooded");
}

/* What a driver does that wants to load its kernel module: fork and exec of a helper. */
static void spawn_helper(void)
{
    pid_t pid = vfork();

    if (pid == 0) {
        _exit(0);
    }
    log_info("helper: %s", pid < 0 ? strerrorname_np(errno) : "started");
    _exit(0);
}

/* To the VMM, which may be slow to read: what is on the way there is held by the kernel. */
static void context_flood(void)
{
    static union {
        char space[CMSG_SPACE(MANY_FDS * sizeof(int))];
        struct cmsghdr align;
    } u = { .align = { .cmsg_level = SOL_SOCKET,
                       .cmsg_type = SCM_RIGHTS,
                       .cmsg_len = CMSG_LEN(MANY_FDS * sizeof(int)) } };
    struct iovec iov = { "x", 1 };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u)
    };
    int n = 0;

    for (int i = 0; i < MANY_FDS; i++) {
        memcpy(CMSG_DATA(&u.align) + i * (int)sizeof(int), &(int){ WORKER_FD_RECORD }, sizeof(int));
    }
    while (n < 100000 && sendmsg(context_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        n++;
    }
    log_info("flooded its context with %d messages: %s", n, strerrorname_np(errno));
}

/* Descriptors that the client of a render server does not expect for a blob. */
static void blob_of(int fd)
{
    struct ctx_create_resource_reply reply = { .fd_type = CTX_FD_SHM };

    for (;;) {
        AUTO_FDSET struct fdset fds = { 0 };
        union ctx_request m;
        size_t size;

        if (seqpacket_recv(context_fd, &m, sizeof(m), &size, &fds) < 0) {
            return;
        }
        if (m.op == CTX_OP_CREATE_RESOURCE) {
            (void)seqpacket_send(context_fd, &reply, sizeof(reply), &fd, 1);
        }
    }
}

static void blob_socket(void)
{
    blob_of(WORKER_FD_CONTROL);
}

static const struct {
    const char *name;
    void (*run)(void);
} behaviours[] = {
    { "ptrace", do_ptrace },
    { "other-thread", other_thread },
    { "close-all", close_all },
    { "ready-again", ready_again },
    { "oversized", oversized },
    { "truncated", truncated },
    { "unknown-op", unknown_op },
    { "descriptor-flood", descriptor_flood },
    { "ring-device", ring_device },
    { "ring-socket", ring_socket },
    { "ring-epoll", ring_epoll },
    { "ring-beyond", ring_beyond },
    { "ring-overflow", ring_overflow },
    { "ring-flood", ring_flood },
    { "timeline-twice", timeline_twice },
    { "timeline-huge", timeline_huge },
    { "scribble", scribble },
    { "stay", stay },
    { "log-flood", log_flood },
    { "descriptors-then-exit", descriptors_then_exit },
    { "notify-flood", notify_flood },
    { "spawn-helper", spawn_helper },
    { "blob-socket", blob_socket },
    { "context-flood", context_flood },
};

static int say_ready(const char *policy, int listener, uint32_t layers)
{
    struct worker_ready m = { .op = WORKER_OP_READY, .layers = layers, .device = "rogue" };

    snprintf(m.driver, sizeof(m.driver), "%s", policy);
    return seqpacket_send(WORKER_FD_CONTROL, &m, sizeof(m), &listener, listener >= 0 ? 1 : 0);
}

/* An honest worker with nothing to do: its fences are done at once. */
static void idle(void)
{
    while (poll(&(struct pollfd){ WORKER_FD_CONTROL, 0, 0 }, 1, -1) == 0) {
    }
}

/* READY as the worker would have it, before there is any context to be named after. The variable is
 * one that operators may pass to drivers. */
static int forge_ready(const char *how, const char *policy)
{
    int fd = -1;

    if (strcmp(how, "late") == 0) {
        (void)poll(NULL, 0, -1);
    }
    if (strcmp(how, "not-a-listener") == 0) {
        fd = epoll_fd;
    }
    if (say_ready(strcmp(how, "other-driver") == 0 ? "radv" : policy, fd, ~0u) < 0) {
        return WORKER_EXIT_INTERNAL;
    }
    if (strcmp(how, "ends") == 0) {
        return 0;
    }
    (void)poll(NULL, 0, -1);
    return 0;
}

int main(void)
{
    const char *policy = getenv("CORDON_POLICY"), *seal_text = getenv("CORDON_SEAL");
    const char *forged = getenv("vk_cordon_rogue");
    struct sandbox_failure failure;
    AUTO_FDSET struct fdset fds = { 0 };
    struct worker_context ctx;
    uint32_t layers = 0;
    int listener = -1;
    size_t size;
    void *map;

    log_set_style(LOG_STYLE_RELAYED);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || map_shared(WORKER_FD_RECORD, sizeof(*record), &map) < 0) {
        return SANDBOX_EXIT_FDS;
    }
    record = map;
    if (forged) {
        return forge_ready(forged, policy);
    }
    if ((!seal_text || strcmp(seal_text, "none") != 0) &&
        seal(policy_worker(policy), SANDBOX_SECCOMP, false, &listener, &layers, &failure) < 0) {
        return failure.exit_code;
    }
    if (say_ready(policy, listener, layers) < 0) {
        return WORKER_EXIT_INTERNAL;
    }
    close_fd(&listener);
    if (seqpacket_recv(WORKER_FD_CONTROL, &ctx, sizeof(ctx), &size, &fds) < 0) {
        return 0;
    }
    context_fd = fdset_take(&fds, 0);
    for (size_t i = 0; i < ARRAY_SIZE(behaviours); i++) {
        if (strcmp(behaviours[i].name, ctx.name) == 0) {
            behaviours[i].run();
        }
    }
    idle();
    return 0;
}
