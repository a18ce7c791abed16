#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/descriptors.h"
#include "ipc/loop.h"
#include "server/front/listener.h"
#include "server/front/renderer.h"
#include "server/vhost_user/confine.h"
#include "server/vhost_user/frontend.h"
#include "server/vhost_user/keeper.h"
#include "server/vhost_user/options.h"

#define EXIT_USAGE 2
/* sd_listen_fds(3) */
#define SYSTEMD_FIRST_FD 3

struct program {
    const struct options *options;
    struct loop *loop;
    struct keeper keeper;
    struct loop_source *listen_source;
    struct listener listener;
    int connected_fd; /* -1: nobody yet */
    struct frontend frontend;
    int screenshot_fd;
    bool ending;
};

static void screenshot(struct program *p)
{
    int r;

    if (p->screenshot_fd < 0) {
        return;
    }
    r = display_screenshot(&p->frontend.gpu, p->screenshot_fd);
    if (r == -ENODATA) {
        log_info("the guest shows nothing; no screenshot");
    } else if (r < 0) {
        log_error("cannot write the screenshot: %s", strerror(-r));
    } else {
        log_info("wrote %s", p->options->screenshot);
    }
}

static void on_leaving(void *arg)
{
    struct program *p = arg;

    screenshot(p);
    if (p->listen_source) {
        (void)loop_source_set_events(p->listen_source, EPOLLIN);
    } else if (!p->ending) {
        loop_stop(p->loop, EXIT_SUCCESS); /* nobody else can come */
    }
}

static void on_connection(void *arg, int fd, uint32_t events)
{
    struct program *p = arg;
    int front_end = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int r;

    (void)events;
    if (front_end < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
            log_error("cannot accept a front end: %s", strerror(errno));
        }
        return;
    }
    /* The next has to wait until this one has gone. */
    (void)loop_source_set_events(p->listen_source, 0);
    r = frontend_connect(&p->frontend, front_end);
    if (r < 0) {
        log_error("cannot serve the front end: %s", strerror(-r));
        (void)loop_source_set_events(p->listen_source, EPOLLIN);
    }
}

static void on_signal(void *arg, const struct signalfd_siginfo *info)
{
    struct program *p = arg;

    if (info->ssi_signo == SIGUSR1) {
        screenshot(p);
        return;
    }
    log_info("told to end by signal %u", info->ssi_signo);
    loop_stop(p->loop, EXIT_SUCCESS);
}

static int watch_signals(struct program *p)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    return loop_add_signals(p->loop, &set, on_signal, p, NULL);
}

static int start_keeper(struct program *p)
{
    const struct options *o = p->options;
    char path[4096];
    const char *program = o->render_server ? o->render_server : renderer_find(path, sizeof(path));
    int r = keeper_start(&p->keeper, program, o->passed, o->socket_path ? &p->listener : NULL);

    if (r < 0) {
        log_error("cannot start a process: %s", strerror(-r));
    }
    return r;
}

/* The socket that systemd has opened for us; -1: none. */
static int systemd_socket(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");

    if (!pid || !fds || strtol(pid, NULL, 10) != getpid() || strcmp(fds, "1") != 0) {
        return -1;
    }
    return SYSTEMD_FIRST_FD;
}

static int open_path(struct program *p)
{
    const char *path = p->options->socket_path;
    int r = listener_open(&p->listener, path);

    if (r == -EADDRINUSE) {
        log_error("another program listens at %s; end it or use another path", path);
    } else if (r == -EEXIST) {
        log_error("%s is there and is no socket; remove it or use another path", path);
    } else if (r < 0) {
        log_error("cannot listen at %s: %s", path, strerror(-r));
    }
    return r;
}

static int socket_fact(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

/* A socket that somebody else has opened: checked while a mistake can still be told apart from a
 * front end that has gone. */
static int take_socket(struct program *p, int fd)
{
    struct sockaddr_un peer;
    socklen_t size = sizeof(peer);

    if (socket_fact(fd, SO_DOMAIN) != AF_UNIX || socket_fact(fd, SO_TYPE) != SOCK_STREAM) {
        log_error("descriptor %d is no Unix stream socket", fd);
        return -EINVAL;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        return -errno;
    }
    if (socket_fact(fd, SO_ACCEPTCONN) == 1) {
        p->listener.fd = fd;
    } else if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0) {
        p->connected_fd = fd;
    } else {
        log_error("the socket at descriptor %d neither listens nor is connected", fd);
        return -ENOTCONN;
    }
    return 0;
}

/* Where the VMM is, or will connect. */
static int open_socket(struct program *p)
{
    const struct options *o = p->options;
    int fd = o->fd >= 0 ? o->fd : systemd_socket();
    int r;

    if (o->socket_path) {
        r = open_path(p);
    } else if (fd >= 0) {
        r = take_socket(p, fd);
    } else {
        log_error("where shall the VMM connect? Give --socket-path PATH");
        return -EINVAL;
    }
    if (r == 0 && p->listener.fd >= 0) {
        r = loop_add_io(p->loop, p->listener.fd, EPOLLIN, on_connection, p, &p->listen_source);
    }
    return r;
}

static int open_screenshot(struct program *p)
{
    const char *path = p->options->screenshot;

    if (!path) {
        return 0;
    }
    p->screenshot_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (p->screenshot_fd < 0) {
        log_error("cannot write %s: %s", path, strerror(errno));
        return -errno;
    }
    return 0;
}

static void tell_failure(const struct sandbox_failure *failure)
{
    char text[1024];

    sandbox_failure_text(failure, text, sizeof(text));
    fputs(text, stderr);
}

/* Everything that needs the file system or another process comes before the confinement, every
 * byte from outside after it. Returns the exit code. */
static int serve(struct program *p)
{
    const struct options *o = p->options;
    struct sandbox_failure failure;
    int r;

    if (open_screenshot(p) < 0 || open_socket(p) < 0 || start_keeper(p) < 0) {
        return EXIT_FAILURE;
    }
    if (confine_files(o->sandbox, o->allow_missing, &failure) < 0) {
        tell_failure(&failure);
        return failure.exit_code;
    }
    r = frontend_init(&p->frontend, p->loop, &p->keeper, &o->device, on_leaving, p);
    if (r == 0 && confine_calls(o->sandbox, &failure) < 0) {
        tell_failure(&failure);
        return failure.exit_code;
    }
    if (r == 0 && p->connected_fd >= 0) {
        r = frontend_connect(&p->frontend, take_fd(&p->connected_fd));
    }
    if (r < 0) {
        log_error("cannot start: %s", r == -EPIPE
                                          ? "the render server ended by itself, its log says why"
                                          : strerror(-r));
        return EXIT_FAILURE;
    }
    if (p->listen_source) {
        log_info("ready for a VMM at %s", o->socket_path ? o->socket_path : "the socket given");
    }
    r = loop_run(p->loop);
    return r < 0 ? EXIT_FAILURE : r;
}

static int run(const struct options *options)
{
    static struct program p;
    int code = EXIT_FAILURE;

    p = (struct program){
        .options = options,
        .keeper = { .fd = -1 },
        .listener = { .fd = -1 },
        .connected_fd = -1,
        .frontend = { .link = { .fd = -1 } },
        .screenshot_fd = -1,
    };
    if (loop_create(&p.loop) < 0 || watch_signals(&p) < 0) {
        log_error("cannot start: out of memory or descriptors");
        return EXIT_FAILURE;
    }
    code = serve(&p);
    p.ending = true;
    if (p.frontend.loop) {
        frontend_fini(&p.frontend);
    }
    p.listen_source = loop_source_remove(p.listen_source);
    close_fd(&p.listener.fd);
    close_fd(&p.connected_fd);
    keeper_end(&p.keeper);
    close_fd(&p.screenshot_fd);
    p.loop = loop_destroy(p.loop);
    return code;
}

/*
 * One device per VM: one loop, and a thread that waits for the render server:
 *
 *                                               keeper ---- starts, and starts again ---+
 *                                                 |                                     |
 *     VMM (QEMU) --- vhost-user socket --- cordon-vhost-user-gpu --- server socket --- render server
 *       |                                          |                                   |
 *     guest memory: its queues, mapped here        +-------- context socket ------- worker
 *       |                                                                              |
 *       +---- shared memory window: the worker's rings and blobs, mapped by the VMM ---+
 *
 * The guest's queues are parsed here, in a process that can open nothing and start nothing; workers
 * see copies of commands, and none of the guest's memory. What takes more rights is the keeper's,
 * which sees neither.
 */
int main(int argc, char **argv)
{
    struct options options;
    char why[256];

    log_set_program("cordon-vhost-user-gpu");
    if (options_parse(argc, argv, &options, why, sizeof(why)) < 0) {
        fprintf(stderr, "cordon-vhost-user-gpu: %s\n", why);
        return EXIT_USAGE;
    }
    switch (options.action) {
    case OPTIONS_HELP:
        fputs(options_help, stdout);
        return EXIT_SUCCESS;
    case OPTIONS_VERSION:
        puts("cordon-vhost-user-gpu " CORDON_VERSION);
        return EXIT_SUCCESS;
    case OPTIONS_CAPABILITIES:
        puts("{\n  \"type\": \"gpu\",\n  \"features\": []\n}");
        return EXIT_SUCCESS;
    case OPTIONS_RUN:
        break;
    }
    if (options.sandbox == SANDBOX_LEVEL_OFF) {
        log_set_program("cordon-vhost-user-gpu [SANDBOX OFF]");
    }
    (void)signal(SIGPIPE, SIG_IGN);
    descriptors_raise_limit();
    log_set_level(options.log_level);
    return run(&options);
}
