#include "server/vtest/session.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "cordon/cordon.h"
#include "ipc/loop.h"
#include "server/vtest/client.h"
#include "server/vtest/commands.h"
#include "server/vtest/front.h"

/* Edge-triggered, so that it can stay: an answer comes once, and one that nobody asked for must not
 * wake us again and again. */
#define CONTEXT_ANSWERS (EPOLLIN | EPOLLET)

static void on_context(void *arg, int fd, uint32_t events)
{
    struct client *c = arg;

    (void)fd;
    if (events & (EPOLLHUP | EPOLLERR)) {
        log_line(LOG_LEVEL_ERROR, c->ctx_id, "the render server has given this context up");
        client_destroy(c);
        return;
    }
    client_go_on(c);
}

static void on_fence(void *arg, int fd, uint32_t events)
{
    (void)fd;
    (void)events;
    command_fences(arg);
}

static uint32_t free_ctx_id(struct front *f)
{
    for (;;) {
        uint32_t id = ++f->next_ctx_id;
        bool taken = id == 0;

        list_for_each (pos, &f->clients) {
            taken = taken || list_entry(pos, struct client, link)->ctx_id == id;
        }
        if (!taken) {
            return id;
        }
    }
}

int session_open(struct client *c)
{
    uint32_t id = free_ctx_id(c->front);
    int r;

    r = cordon_context_create(c->front->server, id, c->name, &c->context);
    if (r < 0) {
        return r;
    }
    c->ctx_id = id;
    cordon_context_set_wait(c->context, false);
    c->context_events = CONTEXT_ANSWERS;
    r = loop_add_io(c->front->loop, cordon_context_fd(c->context), c->context_events, on_context, c,
                    &c->context_source);
    if (r == 0) {
        r = loop_add_io(c->front->loop, cordon_context_fence_fd(c->context), EPOLLIN, on_fence, c,
                        &c->fence_source);
    }
    if (r < 0) {
        session_close(c);
    }
    return r;
}

void session_close(struct client *c)
{
    c->context_source = loop_source_remove(c->context_source);
    c->fence_source = loop_source_remove(c->fence_source);
    c->context = cordon_context_destroy(c->context);
}

void session_watch(struct client *c)
{
    uint32_t events = CONTEXT_ANSWERS;

    if (!c->context) {
        return;
    }
    if (c->state == CLIENT_RUN ? !c->progress.begun : cordon_context_flush(c->context) == -EAGAIN) {
        events = EPOLLOUT;
    }
    if (events != c->context_events) {
        /* Fails for lack of kernel memory only, and then the next step tries again. */
        (void)loop_source_set_events(c->context_source, events);
        c->context_events = events;
    }
}

void session_arm_timer(struct client *c, uint64_t deadline_ms)
{
    uint64_t now = loop_now_ms();

    if (deadline_ms == 0 || deadline_ms >= c->timer_ms) {
        return;
    }
    c->timer_ms = deadline_ms;
    loop_timer_arm(c->timer, deadline_ms > now ? deadline_ms - now : 0);
}
