#include "server/vtest/client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "cordon/cordon.h"
#include "ipc/cleanup.h"
#include "ipc/loop.h"
#include "server/vtest/commands.h"
#include "server/vtest/front.h"
#include "server/vtest/session.h"

/* Requests of one client before the others get their turn. */
#define CLIENT_BATCH 64
/* A payload buffer larger than this is not kept. */
#define CLIENT_KEEP 65536

/* ---- the end ------------------------------------------------------------------------------ */

struct client *client_destroy(struct client *c)
{
    struct front *f;

    if (!c) {
        return NULL;
    }
    f = c->front;
    session_close(c);
    for (uint32_t ring = 0; ring < VTEST_TIMELINES; ring++) {
        list_for_each_safe (pos, &c->fences[ring]) {
            struct client_fence *fence = list_entry(pos, struct client_fence, link);

            list_remove(&fence->link);
            syncs_drop(&c->syncs, fence->update);
            free(fence);
        }
    }
    syncs_drop(&c->syncs, c->progress.update);
    syncs_fini(&c->syncs);
    loop_source_remove(c->source);
    loop_source_remove(c->again);
    loop_source_remove(c->timer);
    close_fd(&c->reply_fd);
    close_fd(&c->fd);
    list_remove(&c->link);
    f->n_clients--;
    log_named(LOG_LEVEL_INFO, c->ctx_id, c->name, "client gone");
    free(c->payload);
    free(c);
    front_client_gone(f);
    return NULL;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Up to `size` bytes; MSG_PEEK leaves them. > 0, -EAGAIN, -ECONNRESET (the client is gone), or
 * another errno. */
static ssize_t receive(struct client *c, void *buf, size_t size, int flags)
{
    ssize_t n;

    do {
        n = recv(c->fd, buf, size, flags | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n > 0 ? n : n == 0 ? -ECONNRESET : -errno;
}

/* Sees exactly `size` bytes and leaves them. 0, -EAGAIN or another errno. */
static int peek(struct client *c, void *buf, size_t size)
{
    ssize_t n = receive(c, buf, size, MSG_PEEK);

    return n < 0 ? (int)n : (size_t)n < size ? -EAGAIN : 0;
}

/* Adds to buf[got..size). 0 once it is full. */
static int fill(struct client *c, uint8_t *buf, size_t size)
{
    while (c->got < size) {
        ssize_t n = receive(c, buf + c->got, size - c->got, 0);

        if (n < 0) {
            return (int)n;
        }
        c->got += (size_t)n;
    }
    return 0;
}

/* How much of the request stays unread until it has succeeded: its last word, or what there is.
 * Of a request without payload, that is the header's. */
static size_t last_size(const struct client *c)
{
    return c->request.size == 0 ? sizeof(uint32_t) : MIN(c->request.size, sizeof(uint32_t));
}

static int make_room(struct client *c)
{
    uint8_t *p;

    if (c->request.size <= c->payload_room) {
        return 0;
    }
    p = realloc(c->payload, c->request.size);
    if (!p) {
        return -ENOMEM;
    }
    c->payload = p;
    c->payload_room = c->request.size;
    return 0;
}

/* Takes bytes that nobody needs any more. */
static int drop(struct client *c, size_t *size)
{
    uint8_t bytes[CLIENT_SMALL];

    while (*size > 0) {
        ssize_t n = receive(c, bytes, MIN(*size, sizeof(bytes)), 0);

        if (n < 0) {
            return (int)n;
        }
        *size -= (size_t)n;
    }
    return 0;
}

/* Is there a whole request behind those that are done? -EMSGSIZE: one that cannot be seen as a whole,
 * or is no request; -EAGAIN: not yet. */
static int next_seen(struct client *c)
{
    const uint8_t *bytes = c->seen + c->n_done;
    const size_t n = c->n_seen - c->n_done;

    if (n < VTEST_HEADER_SIZE) {
        return -EAGAIN;
    }
    if (vtest_request_parse(bytes, &c->request) < 0 ||
        c->request.size > CLIENT_SMALL - VTEST_HEADER_SIZE || make_room(c) < 0) {
        return -EMSGSIZE;
    }
    if (n < VTEST_HEADER_SIZE + c->request.size) {
        return -EAGAIN;
    }
    memcpy(c->header, bytes, VTEST_HEADER_SIZE);
    if (c->request.size > 0) {
        memcpy(c->payload, bytes + VTEST_HEADER_SIZE, c->request.size);
    }
    return 0;
}

/* Takes those that are done, and sees what is behind them. */
static int see(struct client *c)
{
    ssize_t n;
    int r = drop(c, &c->n_done);

    c->n_seen = 0;
    if (r < 0) {
        return r;
    }
    n = receive(c, c->seen, sizeof(c->seen), MSG_PEEK);
    if (n < 0) {
        return (int)n;
    }
    c->n_seen = (size_t)n;
    return 0;
}

/* A small request is left unread until it is over; others are read piece by piece. */
static int look_ahead(struct client *c)
{
    int r = next_seen(c);

    if (r < 0) {
        r = see(c);
        if (r == 0) {
            r = next_seen(c);
        }
    }
    if (r == -EMSGSIZE) {
        c->n_seen = 0;
        c->state = CLIENT_LENGTH;
        return 0;
    }
    if (r == 0) {
        c->state = CLIENT_RUN;
    }
    return r;
}

static int read_command(struct client *c, const char **ret_why)
{
    uint8_t *command = c->header + sizeof(uint32_t);
    int r;

    r = peek(c, command, sizeof(uint32_t));
    if (r < 0) {
        return r;
    }
    r = vtest_request_parse(c->header, &c->request);
    if (r < 0) {
        memcpy(&c->request.command, command, sizeof(uint32_t));
        *ret_why = r == -EMSGSIZE ? "a length that this command cannot have"
                                  : "a command that a Venus client does not use";
        return -EPROTO;
    }
    r = make_room(c);
    if (r < 0) {
        *ret_why = "out of memory";
        return -EPROTO;
    }
    c->got = 0;
    c->unread = last_size(c);
    if (c->request.size == 0) {
        c->state = CLIENT_RUN;
        return 0;
    }
    c->state = CLIENT_PAYLOAD;
    return (int)MIN(receive(c, command, sizeof(uint32_t), 0), 0);
}

/* ---- replying ----------------------------------------------------------------------------- */

static int send_reply(struct client *c)
{
    const uint8_t *bytes = (const uint8_t *)c->reply;

    while (c->reply_sent < c->reply_size) {
        ssize_t n = send(c->fd, bytes + c->reply_sent, c->reply_size - c->reply_sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        c->reply_sent += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* One byte in a message of its own: the client reads what is before it without looking for
 * descriptors. */
static int send_descriptor(struct client *c)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    char byte = 0;
    struct iovec iov = { &byte, 1 };
    struct msghdr m = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&m);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &c->reply_fd, sizeof(int));
    while (sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    close_fd(&c->reply_fd);
    return 0;
}

static int reply(struct client *c)
{
    int r = send_reply(c);

    if (r == 0 && c->reply_fd >= 0) {
        r = send_descriptor(c);
    }
    return r;
}

/* ---- one request after the other ------------------------------------------------------------ */

static void next_request(struct client *c)
{
    assert(!c->progress.update && c->reply_fd < 0);
    if (c->n_seen > 0) {
        c->n_done += VTEST_HEADER_SIZE + c->request.size;
    }
    c->progress = (struct client_progress){ .begun = false };
    c->got = 0;
    c->reply_size = c->reply_sent = 0;
    c->state = CLIENT_AHEAD;
    if (c->payload_room > CLIENT_KEEP) {
        free(take_ptr(c->payload));
        c->payload_room = 0;
    }
}

/* Is there room for our reply again? Not asked otherwise: it wakes us for each read of the client. */
static void watch_room(struct client *c, bool on)
{
    if (on != c->watches_room) {
        c->watches_room = on;
        (void)loop_source_set_events(c->source, EPOLLIN | EPOLLET | (on ? EPOLLOUT : 0));
    }
}

/* One step. 0: on to the next; -EAGAIN: something has to happen first; -EPROTO: *ret_why;
 * anything else: the client is gone. */
static int step(struct client *c, const char **ret_why)
{
    size_t before_last;
    int r = 0;

    switch (c->state) {
    case CLIENT_AHEAD:
        return look_ahead(c);
    case CLIENT_LENGTH:
        r = fill(c, c->header, sizeof(uint32_t));
        break;
    case CLIENT_COMMAND:
        return read_command(c, ret_why);
    case CLIENT_PAYLOAD:
        r = fill(c, c->payload, c->request.size - last_size(c));
        break;
    case CLIENT_LAST:
        before_last = c->request.size - last_size(c);
        r = peek(c, c->payload + before_last, last_size(c));
        break;
    case CLIENT_RUN:
        r = command_run(c, ret_why);
        if (r < 0 && r != -EAGAIN) {
            return -EPROTO;
        }
        break;
    case CLIENT_REPLY:
        r = reply(c);
        watch_room(c, r == -EAGAIN);
        break;
    case CLIENT_CONSUME:
        r = drop(c, &c->unread);
        if (r == 0) {
            next_request(c);
            return 0;
        }
        break;
    }
    if (r == 0) {
        c->state++;
    }
    return r;
}

void client_go_on(struct client *c)
{
    const char *why = NULL;
    int r = 0;

    for (int requests = 0; r == 0 && requests < CLIENT_BATCH;) {
        r = step(c, &why);
        requests += c->state == CLIENT_AHEAD;
    }
    if (r == 0) {
        loop_timer_arm(c->again, 0);
    }
    if (r == 0 || r == -EAGAIN) {
        session_watch(c);
        return;
    }
    if (r == -EPROTO) {
        /* Its last word is still unread: it will see a reset. */
        log_limited(&c->front->limit, LOG_LEVEL_ERROR, c->ctx_id, "\"%s\" %s: %s; client dropped",
                    c->name, vtest_command_name(c->request.command), why);
    }
    client_destroy(c);
}

static void on_socket(void *arg, int fd, uint32_t events)
{
    struct client *c = arg;

    (void)fd;
    /* Both directions closed: whatever it waits for, it is not there to see it. */
    if (events & (EPOLLHUP | EPOLLERR)) {
        client_destroy(c);
        return;
    }
    /* While a request runs, its context says when to go on. */
    if (c->state != CLIENT_RUN) {
        client_go_on(c);
    }
}

static void on_again(void *arg)
{
    client_go_on(arg);
}

static void on_timer(void *arg)
{
    struct client *c = arg;
    uint64_t next = syncs_expire(&c->syncs, loop_now_ms());

    c->timer_ms = UINT64_MAX;
    session_arm_timer(c, next);
}

int client_create(struct front *front, int own_fd)
{
    AUTO_CLOSE int fd = own_fd;
    struct client *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        return -ENOMEM;
    }
    c->front = front;
    c->fd = take_fd(&fd);
    c->reply_fd = -1;
    c->timer_ms = UINT64_MAX;
    syncs_init(&c->syncs);
    for (uint32_t ring = 0; ring < VTEST_TIMELINES; ring++) {
        list_init(&c->fences[ring]);
    }
    list_append(&front->clients, &c->link);
    front->n_clients++;
    r = loop_add_timer(front->loop, on_again, c, &c->again);
    if (r == 0) {
        r = loop_add_timer(front->loop, on_timer, c, &c->timer);
    }
    if (r == 0) {
        /* Edge-triggered: what is left unread on purpose must not wake us again and again. */
        r = loop_add_io(front->loop, c->fd, EPOLLIN | EPOLLET, on_socket, c, &c->source);
    }
    if (r < 0) {
        client_destroy(c);
    }
    return r;
}
