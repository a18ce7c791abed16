#include "worker/serve.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipc/log.h"
#include "ipc/loop.h"
#include "ipc/worker_wire.h"
#include "worker/context.h"
#include "worker/limits.h"
#include "worker/requests.h"
#include "worker/ring.h"

struct server {
    struct context *ctx;
    struct requests *requests;
    struct loop *loop;
    struct loop_source *socket, *monitor;
    uint32_t monitor_period_us; /* that the timer runs with; 0 = not armed */
};

/* Once: who reads then asks again. That a VMM hangs up comes unasked, and to no purpose if the
 * context thread reads, which sees it too. */
static void watch_socket(void *arg, bool on)
{
    struct server *s = arg;

    (void)loop_source_set_events(s->socket, EPOLLONESHOT | (on ? EPOLLIN : 0));
}

static void on_socket(void *arg, int fd, uint32_t events)
{
    struct server *s = arg;

    (void)fd;
    (void)events;
    /* After an error the loop ends when whoever ended the context has marked all its rings and
     * written its line: on_wake. */
    if (requests_read(s->requests) == -ECONNRESET) {
        log_debug("the VMM has closed the context");
        loop_stop(s->loop, WORKER_EXIT_OK);
    }
}

/* The server says nothing more; that it ends is news. */
static void on_control(void *arg, int fd, uint32_t events)
{
    struct server *s = arg;

    (void)fd;
    if (!(events & (EPOLLHUP | EPOLLERR))) {
        log_error("the server sent a message that nobody expects");
        loop_stop(s->loop, WORKER_EXIT_INTERNAL);
        return;
    }
    loop_stop(s->loop, WORKER_EXIT_OK);
}

static void monitor_arm(struct server *s)
{
    loop_timer_arm(s->monitor, MAX(s->monitor_period_us, LIMIT_MONITOR_MIN_US) / 1000);
}

static void on_monitor(void *arg)
{
    struct server *s = arg;

    rings_alive(s->ctx);
    monitor_arm(s);
}

static void on_wake(void *arg, int fd, uint32_t events)
{
    struct server *s = arg;
    uint32_t period = atomic_load_explicit(&s->ctx->monitor_period_us, memory_order_relaxed);
    uint64_t count;

    (void)events;
    (void)!read(fd, &count, sizeof(count));
    if (period != s->monitor_period_us) {
        s->monitor_period_us = period;
        monitor_arm(s);
    }
    if (context_is_fatal(s->ctx)) {
        loop_stop(s->loop, WORKER_EXIT_CONTEXT);
    }
}

static int serve_start(struct server *s, int socket_fd)
{
    int r;

    r = loop_add_timer(s->loop, on_monitor, s, &s->monitor);
    if (r < 0) {
        return r;
    }
    r = loop_add_io(s->loop, s->ctx->wake_fd, EPOLLIN, on_wake, s, NULL);
    if (r < 0) {
        return r;
    }
    r = loop_add_io(s->loop, s->ctx->control_fd, EPOLLIN, on_control, s, NULL);
    if (r < 0) {
        return r;
    }
    r = loop_add_io(s->loop, socket_fd, EPOLLONESHOT, on_socket, s, &s->socket);
    if (r < 0) {
        return r;
    }
    return requests_create(s->ctx, socket_fd, watch_socket, s, &s->requests);
}

int serve(struct context *ctx, struct loop *loop, int socket_fd)
{
    struct server s = { .ctx = ctx, .loop = loop };
    int r;

    r = serve_start(&s, socket_fd);
    if (r < 0) {
        log_error("cannot serve the context: %s", strerror(-r));
        return WORKER_EXIT_INTERNAL;
    }
    r = loop_run(s.loop);
    if (r < 0) {
        log_error("the event loop failed: %s", strerror(-r));
        return WORKER_EXIT_INTERNAL;
    }
    return r;
}
