#include "server/vhost_user/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "ipc/loop.h"
#include "ipc/seqpacket.h"
#include "ipc/start_server.h"
#include "server/front/listener.h"

/* A guest that finds a way to end render servers gets so many in such a time. */
#define STARTS_MAX 5
#define STARTS_MS 60000
/* One that ends with an error within this time has been told something that it cannot do. */
#define YOUNG_MS 5000
/* How long one that has hung up may take to be gone, and at the end of it all. */
#define GONE_MS 2000
#define END_MS 10000
#define ANSWER_MS 5000

/* To a question, which is a number alone; with a socket if there is no error. */
struct answer {
    uint32_t number;
    int32_t error;
};

/* ---- the keeper's process --------------------------------------------------------------------- */

struct house {
    int fd;
    const char *program;
    const char *const *options;
    int server; /* pidfd; -1: none */
    uint64_t started_ms[STARTS_MAX];
    uint32_t n_started; /* all of them; the latest ones are in started_ms */
};

/* Waits for the server, and ends it if it takes too long. Its status as waitid has it. */
static siginfo_t reap(struct house *h, int patience_ms)
{
    struct pollfd p = { .fd = h->server, .events = POLLIN };
    siginfo_t info = { 0 };

    if (poll(&p, 1, patience_ms) <= 0) {
        (void)pidfd_send_signal(h->server, SIGKILL, NULL, 0);
    }
    while (waitid(P_PIDFD, (id_t)h->server, &info, WEXITED) < 0 && errno == EINTR) {
    }
    close_fd(&h->server);
    return info;
}

static bool is_hopeless(const struct house *h, const siginfo_t *end)
{
    uint64_t age = loop_now_ms() - h->started_ms[(h->n_started - 1) % STARTS_MAX];

    return end->si_code == CLD_EXITED && end->si_status != 0 && age < YOUNG_MS;
}

static int start(struct house *h, int *ret_socket)
{
    uint64_t now = loop_now_ms();
    pid_t pid;
    int r;

    if (h->server >= 0) {
        siginfo_t end = reap(h, GONE_MS);

        if (is_hopeless(h, &end)) {
            return -ECHILD;
        }
    }
    if (h->n_started >= STARTS_MAX && now - h->started_ms[h->n_started % STARTS_MAX] < STARTS_MS) {
        return -EAGAIN;
    }
    h->started_ms[h->n_started++ % STARTS_MAX] = now;
    r = start_server(h->program, h->options, ret_socket, &pid);
    if (r < 0) {
        log_error("cannot start the render server %s: %s", h->program, strerror(-r));
        return r;
    }
    h->server = pidfd_open(pid, 0);
    if (h->server < 0) {
        r = -errno;
        (void)kill(pid, SIGKILL); /* not reaped yet, so the pid is still its own */
        (void)waitpid(pid, NULL, 0);
        close_fd(ret_socket);
    }
    return r;
}

static void answer_all(struct house *h)
{
    struct answer answer;
    size_t size;

    while (seqpacket_recv(h->fd, &answer.number, sizeof(answer.number), &size, NULL) == 0 &&
           size == sizeof(answer.number)) {
        AUTO_CLOSE int socket = -1;

        answer.error = start(h, &socket);
        if (seqpacket_send(h->fd, &answer, sizeof(answer), &socket, socket >= 0) < 0) {
            return;
        }
    }
}

/* It ends when the device does, not by a signal to all of a terminal or a service. */
static void shield(int fd)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)prctl(PR_SET_NAME, "cordon-keeper");
    /* The device's sockets must end with the device. */
    (void)close_range(STDERR_FILENO + 1, (unsigned)fd - 1, 0);
    (void)close_range((unsigned)fd + 1, ~0u, 0);
}

static void live(struct house *h, const struct listener *listener)
{
    shield(h->fd);
    answer_all(h);
    if (listener) {
        listener_remove(listener);
    }
    if (h->server >= 0) {
        (void)reap(h, END_MS);
    }
}

/* ---- the device's side ------------------------------------------------------------------------- */

int keeper_start(struct keeper *k, const char *program, const char *const *options,
                 const struct listener *listener)
{
    struct house h = { .program = program, .options = options, .server = -1 };
    int pair[2], r = seqpacket_pair(pair);

    if (r < 0) {
        return r;
    }
    k->n_asked = 0;
    k->pid = fork();
    if (k->pid == 0) {
        h.fd = pair[1];
        live(&h, listener);
        _exit(0);
    }
    r = k->pid < 0 ? -errno : 0;
    close_fd(&pair[1]);
    if (r < 0) {
        close_fd(&pair[0]);
    }
    k->fd = pair[0];
    return r;
}

/* The next answer, to whichever question. */
static int receive(const struct keeper *k, uint64_t until_ms, struct answer *ret, struct fdset *fds)
{
    struct pollfd p = { .fd = k->fd, .events = POLLIN };
    uint64_t now = loop_now_ms();
    size_t size;
    int r;

    while ((r = poll(&p, 1, until_ms > now ? (int)(until_ms - now) : 0)) < 0 && errno == EINTR) {
    }
    if (r <= 0) {
        return r < 0 ? -errno : -ETIMEDOUT;
    }
    r = seqpacket_recv(k->fd, ret, sizeof(*ret), &size, fds);
    if (r < 0 || size != sizeof(*ret) || (ret->error == 0 && fds->count != 1)) {
        return r < 0 ? r : -EPROTO;
    }
    return 0;
}

int keeper_ask(struct keeper *k, int *ret_socket)
{
    const uint64_t until_ms = loop_now_ms() + ANSWER_MS;
    const uint32_t number = ++k->n_asked;
    int r = seqpacket_send(k->fd, &number, sizeof(number), NULL, 0);

    while (r == 0) {
        AUTO_FDSET struct fdset fds = { 0 };
        struct answer answer;

        r = receive(k, until_ms, &answer, &fds);
        /* What nobody waited for any more goes: the keeper ends that server to start the next. */
        if (r == 0 && answer.number == number) {
            *ret_socket = fdset_take(&fds, 0);
            return answer.error;
        }
    }
    return r;
}

void keeper_end(struct keeper *k)
{
    siginfo_t info;

    if (k->fd < 0) {
        return;
    }
    close_fd(&k->fd);
    while (waitid(P_PID, (id_t)k->pid, &info, WEXITED) < 0 && errno == EINTR) {
    }
}
