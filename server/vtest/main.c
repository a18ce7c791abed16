#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cordon/cordon.h"
#include "ipc/cleanup.h"
#include "ipc/descriptors.h"
#include "ipc/log.h"
#include "ipc/loop.h"
#include "server/front/listener.h"
#include "server/front/renderer.h"
#include "server/vtest/client.h"
#include "server/vtest/front.h"
#include "server/vtest/options.h"

#define EXIT_USAGE 2

static int set_listening(struct front *f, bool on)
{
    return f->listen_source ? loop_source_set_events(f->listen_source, on ? EPOLLIN : 0) : 0;
}

void front_client_gone(struct front *f)
{
    if (f->once) {
        loop_stop(f->loop, EXIT_SUCCESS);
    } else {
        (void)set_listening(f, true);
    }
}

static void on_connection(void *arg, int fd, uint32_t events)
{
    struct front *f = arg;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int r;

    (void)events;
    if (client < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
            /* Out of descriptors, most likely: the next one who leaves makes room. */
            log_limited(&f->limit, LOG_LEVEL_WARN, 0, "cannot accept a client: %s",
                        strerror(errno));
            (void)set_listening(f, f->n_clients == 0);
        }
        return;
    }
    if (f->once) {
        f->listen_source = loop_source_remove(f->listen_source);
    } else if (f->n_clients + 1 >= f->max_clients) {
        (void)set_listening(f, false);
    }
    r = client_create(f, client);
    if (r < 0) {
        log_limited(&f->limit, LOG_LEVEL_ERROR, 0, "client dropped: %s", strerror(-r));
    }
}

static void on_server(void *arg, int fd, uint32_t events)
{
    struct front *f = arg;

    (void)fd;
    (void)events;
    log_error("the render server has ended; so does this program, and with it every client's "
              "device");
    f->server_source = loop_source_remove(f->server_source);
    loop_stop(f->loop, EXIT_FAILURE);
}

static void on_signal(void *arg, const struct signalfd_siginfo *info)
{
    struct front *f = arg;

    log_info("told to end by %s", strsignal((int)info->ssi_signo));
    loop_stop(f->loop, EXIT_SUCCESS);
}

static int start_server(struct front *f, const struct vtest_options *o)
{
    char path[4096];
    const char *program = o->render_server ? o->render_server : renderer_find(path, sizeof(path));
    int r = cordon_server_spawn(program, o->passed, &f->server);

    if (r < 0) {
        log_error("cannot start the render server %s: %s", program, strerror(-r));
        return r;
    }
    return loop_add_io(f->loop, cordon_server_fd(f->server), EPOLLRDHUP, on_server, f,
                       &f->server_source);
}

static int start_listening(struct front *f, struct listener *l, const struct vtest_options *o)
{
    int r = listener_open(l, o->socket_path);

    if (r == -EADDRINUSE) {
        log_error("another server listens at %s; end it or use --socket-path", o->socket_path);
    } else if (r == -EEXIST) {
        log_error("%s is there and is no socket; remove it or use --socket-path", o->socket_path);
    } else if (r < 0) {
        log_error("cannot listen at %s: %s", o->socket_path, strerror(-r));
    }
    if (r < 0) {
        return r;
    }
    r = loop_add_io(f->loop, l->fd, EPOLLIN, on_connection, f, &f->listen_source);
    if (r == 0) {
        log_info("listening on %s; run a client with: VN_DEBUG=vtest VTEST_SOCKET_NAME=%s "
                 "VK_DRIVER_FILES=/usr/share/vulkan/icd.d/virtio_icd.json vulkaninfo --summary",
                 o->socket_path, o->socket_path);
    }
    return r;
}

static int watch_signals(struct front *f)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return loop_add_signals(f->loop, &set, on_signal, f, NULL);
}

static int serve(const struct vtest_options *o)
{
    struct front f = {
        .max_clients = o->max_clients,
        .once = o->once,
        .limit = LOG_LIMIT_INIT(20, 10000),
    };
    struct listener listener = { .fd = -1 };
    int code = EXIT_FAILURE, r;

    list_init(&f.clients);
    r = loop_create(&f.loop);
    if (r == 0) {
        r = watch_signals(&f);
    }
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        f.loop = loop_destroy(f.loop);
        return EXIT_FAILURE;
    }
    if (start_server(&f, o) == 0 && start_listening(&f, &listener, o) == 0) {
        code = loop_run(f.loop);
        code = code < 0 ? EXIT_FAILURE : code;
    }
    f.once = false;
    list_for_each_safe (pos, &f.clients) {
        client_destroy(list_entry(pos, struct client, link));
    }
    f.listen_source = loop_source_remove(f.listen_source);
    listener_close(&listener);
    f.server_source = loop_source_remove(f.server_source);
    f.server = cordon_server_close(f.server, NULL);
    f.loop = loop_destroy(f.loop);
    return code;
}

/*
 * One process, one loop, one render server; a context of that server for each client:
 *
 *     client (Mesa's venus) --- vtest socket --- cordon-vtest --- server socket --- render server
 *       |                                          |                                   |
 *       |                                          +-------- context socket ------- worker
 *       +---- shared memory of its ring and its blobs ---------------------------------+
 *
 * Clients need not trust each other: each has its worker, its small numbers and its bounds here,
 * and none can make the loop wait.
 */
int main(int argc, char **argv)
{
    struct vtest_options options;
    char why[256];

    log_set_program("cordon-vtest");
    if (vtest_options_parse(argc, argv, getenv("VTEST_SOCKET_NAME"), &options, why, sizeof(why)) <
        0) {
        fprintf(stderr, "cordon-vtest: %s\n", why);
        return EXIT_USAGE;
    }
    if (options.action == VTEST_HELP) {
        fputs(vtest_help, stdout);
        return EXIT_SUCCESS;
    }
    if (options.action == VTEST_VERSION) {
        puts("cordon-vtest " CORDON_VERSION);
        return EXIT_SUCCESS;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    descriptors_raise_limit();
    log_set_level(options.log_level);
    return serve(&options);
}
