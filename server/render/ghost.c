#include "server/render/ghost.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ipc/cleanup.h"
#include "ipc/dialect.h"
#include "ipc/fdset.h"
#include "ipc/loop.h"
#include "ipc/seqpacket.h"
#include "server/render/estate.h"

/* Requests handled before the loop may look elsewhere. */
#define GHOST_BATCH 64

struct ghost {
    struct loop_source *source;
    int fd; /* borrowed */
    struct estate estate;
    bool served;
    bool mid_message; /* the next message may be the tail of a SUBMIT_CMD */
    size_t tail;      /* its size; 0: not known, the worker took the head with it */
    ghost_gone_fn gone;
    void *arg;
};

static int refuse_resource(struct ghost *g)
{
    const struct ctx_create_resource_reply reply = { .fd_type = CTX_FD_NONE };
    const struct iovec iov = { (void *)&reply, sizeof(reply) };

    return seqpacket_sendv(g->fd, &iov, 1, NULL, 0, MSG_DONTWAIT);
}

static int handle_init(struct ghost *g, const union ctx_request *req, struct fdset *fds)
{
    uint32_t n_words = (uint32_t)MIN(req->init.shmem_size / sizeof(uint32_t), CTX_TIMELINES);

    return estate_set_words(&g->estate, fdset_take(fds, 0), fdset_take(fds, 1), n_words);
}

static int handle_request(struct ghost *g, const union ctx_request *req, struct fdset *fds)
{
    switch (req->op) {
    case CTX_OP_INIT:
        return handle_init(g, req, fds);
    case CTX_OP_CREATE_RESOURCE:
        return refuse_resource(g);
    case CTX_OP_SUBMIT_CMD:
        g->mid_message = req->submit_cmd.size > CTX_SUBMIT_INLINE;
        g->tail = g->mid_message ? req->submit_cmd.size - CTX_SUBMIT_INLINE : 0;
        return 0;
    case CTX_OP_SUBMIT_FENCE:
        return estate_cover(&g->estate, req->submit_fence.ring_idx, req->submit_fence.seqno);
    default:
        return 0;
    }
}

/* One message. A message where a tail is due is that tail if its size is right or not known to be
 * wrong and it is no request: the VMM's library goes on with the next request when a big tail
 * could not be sent. */
static int handle_message(struct ghost *g, const union ctx_request *req, size_t size,
                          struct fdset *fds)
{
    bool mid_message = g->mid_message;
    size_t tail = g->tail;
    uint32_t op;

    g->mid_message = false;
    g->tail = 0;
    if (mid_message && tail == size) {
        return 0;
    }
    if (dialect_check_request(&dialect_b_context, DIALECT_ANY_TIME, req, size, fds->count, &op) <
        0) {
        return 0;
    }
    return handle_request(g, req, fds);
}

/* 0: nothing is left to read; 1: more may be there; -ECONNRESET: the end; or why it cannot go on. */
static int drain(struct ghost *g)
{
    for (int i = 0; i < GHOST_BATCH; i++) {
        AUTO_FDSET struct fdset fds = { 0 };
        union ctx_request req;
        size_t size;
        int r;

        r = seqpacket_recv_flags(g->fd, &req, sizeof(req), &size, &fds, MSG_DONTWAIT);
        if (r == -EAGAIN) {
            return 0;
        }
        if (r == -EBADMSG) {
            /* Longer than any request: a tail, or nothing that we could answer. */
            g->mid_message = false;
            continue;
        }
        if (r < 0) {
            return r;
        }
        r = handle_message(g, &req, size, &fds);
        /* A fence that cannot be moved on must not be waited for: break the socket, which the
         * VMM notices. Everything else may fail. */
        if (r == -ENODATA) {
            return r;
        }
    }
    return 1;
}

static void on_socket(void *arg, int fd, uint32_t events)
{
    struct ghost *g = arg;
    int r = drain(g);

    (void)fd;
    (void)events;
    /* The words are with the dead worker: it had read INIT and not yet shown them to us. */
    if (r == 0 && g->served && g->estate.words_fd < 0) {
        r = -ENODATA;
    }
    if (r < 0) {
        g->source = loop_source_remove(g->source);
        (void)shutdown(g->fd, SHUT_RDWR);
        g->gone(g->arg);
    }
}

/* What is on the socket now: 0 something, -EAGAIN nothing, -ECONNRESET its end. */
static int peek(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);

    return n > 0 ? 0 : n == 0 ? -ECONNRESET : -errno;
}

int ghost_create(struct loop *loop, int socket_fd, bool served, struct estate *own_estate,
                 ghost_gone_fn gone, void *arg, struct ghost **ret)
{
    struct ghost *g;
    int r = peek(socket_fd);

    if (r == -EAGAIN) {
        r = served && own_estate->words_fd < 0 ? -ENODATA : 0;
    }
    g = r == 0 ? calloc(1, sizeof(*g)) : NULL;
    if (!g) {
        estate_fini(own_estate);
        return r < 0 ? r : -ENOMEM;
    }
    *g = (struct ghost){
        .fd = socket_fd,
        .served = served,
        .mid_message = served,
        .gone = gone,
        .arg = arg,
    };
    estate_move(own_estate, &g->estate);
    r = loop_add_io(loop, socket_fd, EPOLLIN, on_socket, g, &g->source);
    if (r < 0) {
        ghost_destroy(g);
        return r;
    }
    /* Did the worker owe a reply? Nobody knows, and the VMM waits for it without end. All of our
     * replies are the same refusal, so one too many is merely the answer to the next request. */
    if (served) {
        (void)refuse_resource(g);
    }
    *ret = g;
    return 0;
}

struct ghost *ghost_destroy(struct ghost *g)
{
    if (g) {
        loop_source_remove(g->source);
        estate_fini(&g->estate);
        free(g);
    }
    return NULL;
}
