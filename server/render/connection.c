#include "server/render/connection.h"

#include <errno.h>
#include <string.h>

#include "ipc/cleanup.h"
#include "ipc/fdset.h"
#include "ipc/loop.h"
#include "ipc/seqpacket.h"
#include "server/render/contexts.h"

static int reply(struct connection *c, bool ok, int fd)
{
    const struct srv_create_context_reply message = { .ok = ok };
    const struct iovec iov = { (void *)&message, sizeof(message) };

    /* The VMM waits for it, so there is room; a VMM that does not read must not stop us. */
    return seqpacket_sendv(c->fd, &iov, 1, &fd, ok ? 1 : 0, MSG_DONTWAIT);
}

static const char *refusal(const struct contexts *c, int error)
{
    switch (error) {
    case -EINVAL:
        return "context id 0";
    case -EEXIST:
        return "the id belongs to a live context";
    case -ENOSPC:
        return "256 contexts are the most that one VM may have";
    case -EDQUOT:
        return c->gate_why;
    case -ECHILD:
        return "workers do not start, see above; trying again for the next one";
    default:
        return strerror(-error);
    }
}

static void handle_create(struct connection *c, const struct srv_create_context *m)
{
    AUTO_CLOSE int fd = -1;
    int r = contexts_create(c->contexts, m->ctx_id, m->name, &fd);

    if (r < 0) {
        c->contexts->stats.refused++;
        log_limited(&c->limit, LOG_LEVEL_ERROR, m->ctx_id, "context refused: %s",
                    refusal(c->contexts, r));
        r = reply(c, false, -1);
    } else {
        r = reply(c, true, fd);
        if (r < 0) {
            contexts_destroy(c->contexts, m->ctx_id);
        }
    }
    if (r < 0) {
        log_limited(&c->limit, LOG_LEVEL_WARN, m->ctx_id, "the VMM did not take its answer: %s",
                    strerror(-r));
    }
    /* Only now what takes time. */
    contexts_settle(c->contexts);
}

static void handle(struct connection *c, const union srv_request *req)
{
    switch (req->op) {
    case SRV_OP_NOP:
        break;
    case SRV_OP_INIT:
        log_debug("the VMM says INIT with flags 0x%x", req->init.flags);
        break;
    case SRV_OP_RESET:
        log_info("the VM was reset");
        contexts_reset(c->contexts);
        break;
    case SRV_OP_CREATE_CONTEXT:
        handle_create(c, &req->create_context);
        break;
    case SRV_OP_DESTROY_CONTEXT:
        contexts_destroy(c->contexts, req->destroy_context.ctx_id);
        break;
    default:
        break;
    }
}

/* One message; an error here costs that message only. -ECONNRESET: the VMM has hung up. */
static int receive(struct connection *c)
{
    AUTO_FDSET struct fdset fds = { 0 };
    union srv_request req;
    size_t size = 0;
    uint32_t op = 0;
    int r;

    r = seqpacket_recv_flags(c->fd, &req, sizeof(req), &size, &fds, MSG_DONTWAIT);
    if (r == -EAGAIN || r == -ECONNRESET) {
        return r;
    }
    if (r == -EBADMSG) {
        log_limited(&c->limit, LOG_LEVEL_WARN, 0,
                    "message ignored: longer than any request, or with too many descriptors");
        return 0;
    }
    if (r < 0) {
        /* The socket itself is broken: nothing can come over it any more. */
        log_error("cannot read from the VMM: %s", strerror(-r));
        return -ECONNRESET;
    }
    /* INIT is accepted at any time, also again: a VMM resets and goes on. */
    r = dialect_check_request(&dialect_b_server, DIALECT_ANY_TIME, &req, size, fds.count, &op);
    if (r < 0) {
        log_limited(&c->limit, LOG_LEVEL_WARN, 0, "message ignored: %s, %zu bytes: %s",
                    size >= sizeof(req.op) ? dialect_op_name(&dialect_b_server, req.op) : "no op",
                    size, dialect_error_text(r));
        return 0;
    }
    handle(c, &req);
    return 0;
}

static void on_socket(void *arg, int fd, uint32_t events)
{
    struct connection *c = arg;

    (void)fd;
    (void)events;
    /* One at a time: between two contexts the workers get their turn. */
    if (receive(c) == -ECONNRESET) {
        log_debug("the VMM has hung up");
        c->source = loop_source_remove(c->source);
        loop_stop(c->loop, 0);
    }
}

int connection_init(struct connection *c, struct loop *loop, int fd, struct contexts *contexts)
{
    *c = (struct connection){
        .loop = loop,
        .contexts = contexts,
        .fd = fd,
        .limit = LOG_LIMIT_INIT(20, 10000),
    };
    return loop_add_io(loop, fd, EPOLLIN, on_socket, c, &c->source);
}

void connection_fini(struct connection *c)
{
    c->source = loop_source_remove(c->source);
}

bool connection_vmm_is_served(int fd)
{
    struct dialect_vmm vmm;
    char text[512];

    dialect_detect(fd, &vmm);
    if (vmm.dialect != DIALECT_A) {
        return true;
    }
    log_error("%s", dialect_refusal(&vmm, text, sizeof(text)));
    return false;
}

void connection_refuse_all(int fd)
{
    const struct srv_create_context_reply no = { .ok = 0 };
    int r;

    do {
        AUTO_FDSET struct fdset fds = { 0 };
        union srv_request req;
        size_t size = 0;
        uint32_t op = 0;

        r = seqpacket_recv(fd, &req, sizeof(req), &size, &fds);
        if (r == 0 &&
            dialect_check_request(&dialect_b_server, DIALECT_ANY_TIME, &req, size, fds.count,
                                  &op) == 0 &&
            op == SRV_OP_CREATE_CONTEXT) {
            r = seqpacket_send(fd, &no, sizeof(no), NULL, 0);
        }
    } while (r == 0 || r == -EINTR || r == -EBADMSG);
}
