#include "worker/requests.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "ipc/cleanup.h"
#include "ipc/dialect.h"
#include "ipc/list.h"
#include "ipc/log.h"
#include "ipc/seqpacket.h"
#include "worker/context.h"
#include "worker/control.h"
#include "worker/limits.h"
#include "worker/memory.h"
#include "worker/ring.h"

/* Commands that a VMM sends all the time, one per message. */
#define WIRE_NOTIFY_RING 190u
#define WIRE_SUBMIT_VIRTQUEUE_SEQNO 251u
#define WIRE_WAIT_RING_SEQNO 253u
#define WIRE_SMALL_SIZE 24u /* of each of these, and too small for another command behind it */

/* A tail that the VMM could not send is longer than its socket's buffer, which is never smaller
 * than this: then a request may stand in its place. */
#define TAIL_LOST_MIN (128u << 10)

struct request {
    struct list link; /* requests::queue */
    uint32_t op;
    union {
        struct ctx_init init;
        struct ctx_create_resource create_resource;
        struct ctx_import_resource import_resource;
        struct ctx_destroy_resource destroy_resource;
        struct ctx_submit_fence submit_fence;
        uint8_t bytes[sizeof(struct ctx_create_resource)]; /* the largest */
    };
    struct fdset fds;
    size_t size; /* of the command stream; SUBMIT_CMD only */
    uint8_t commands[];
};

static_assert(sizeof(struct ctx_init) <= sizeof(struct ctx_create_resource) &&
                  sizeof(struct ctx_import_resource) <= sizeof(struct ctx_create_resource),
              "request::bytes");

struct requests {
    /* Set at creation, then const. */
    struct context *ctx;
    int socket_fd;
    requests_watch_fn watch;
    void *watch_arg;
    pthread_t thread;

    bool reading_is_mine; /* context thread only: it holds `reading` */

    /* Whoever holds it reads the socket: the context thread unless a request may take long. */
    pthread_mutex_t reading;
    enum dialect_state state;
    uint8_t *buffer;         /* one message; LIMIT_SUBMIT_BYTES */
    struct request *partial; /* a SUBMIT_CMD whose tail is due; NULL if it is too long to come */
    uint32_t tail_due;       /* bytes; 0 = none */
    struct list queue;       /* read and not yet taken up */
    uint32_t n_queued;
    uint64_t bytes_queued;

    _Atomic bool stopping;
    _Atomic uint64_t n_messages;   /* read so far */
    _Atomic uint32_t n_unfinished; /* requests queued or being run */
};

static struct request *request_new(uint32_t op, size_t size)
{
    struct request *r = calloc(1, sizeof(*r) + size);

    if (r) {
        r->op = op;
        r->size = size;
        list_init(&r->link);
    }
    return r;
}

static struct request *request_free(struct request *r)
{
    if (r) {
        fdset_close(&r->fds);
        free(r);
    }
    return NULL;
}

/* ---- the context thread: one handler per request ------------------------------------------ */

static void run_init(struct context *ctx, struct request *r)
{
    uint64_t size = r->init.shmem_size;
    uint32_t n_words = (uint32_t)MIN(size / sizeof(uint32_t), TIMELINE_COUNT);
    int err;

    if ((r->init.flags & CTX_CAPSET_MASK) != CTX_CAPSET_VENUS) {
        context_fatal(ctx, "INIT for capset %u, only Venus (%u) is served",
                      r->init.flags & CTX_CAPSET_MASK, CTX_CAPSET_VENUS);
        return;
    }
    /* The server moves the fences on if this process dies; it needs the words before the first. */
    err =
        control_timeline(ctx->control_fd, n_words, fdset_peek(&r->fds, 0), fdset_peek(&r->fds, 1));
    if (err < 0) {
        context_fatal(ctx, "INIT: cannot tell the server of the timelines: %s", strerror(-err));
        return;
    }
    err = timelines_open(&ctx->timelines, fdset_take(&r->fds, 0), size, fdset_take(&r->fds, 1));
    if (err < 0) {
        context_fatal(ctx, "INIT: no timelines from %" PRIu64 " bytes of shared memory: %s", size,
                      strerror(-err));
    }
}

/* Memory that the guest allocated: exported, and kept under the resource's id, so that the same
 * context may import it again. *ret_fd is the resource's. */
static int create_from_memory(struct context *ctx, const struct ctx_create_resource *c,
                              struct ctx_create_resource_reply *reply, int *ret_fd)
{
    struct memory_blob blob = { .fd = -1 };
    int err;

    err = memory_export(ctx, c->blob_id, c->blob_size, c->blob_flags, &blob);
    if (err < 0) {
        return err;
    }
    err = resources_import(&ctx->resources, c->res_id, blob.fd_type, blob.fd, c->blob_size, true);
    if (err < 0) {
        charge_unref(blob.charge);
        return err;
    }
    resources_keep_charge(&ctx->resources, c->res_id, blob.charge);
    reply->fd_type = (int32_t)blob.fd_type;
    reply->map_info = blob.map_info;
    if (blob.fd_type == RESOURCE_OPAQUE) {
        memcpy(reply->device_uuid, blob.device_uuid, sizeof(reply->device_uuid));
        memcpy(reply->driver_uuid, blob.driver_uuid, sizeof(reply->driver_uuid));
        reply->allocation_size = blob.allocation_size;
        reply->memory_type_index = blob.memory_type_index;
    }
    *ret_fd = blob.fd;
    return 0;
}

/* *ret_fd goes with the reply; *ret_own_fd is to be closed after that. */
static int create_resource(struct context *ctx, const struct ctx_create_resource *c,
                           struct ctx_create_resource_reply *reply, int *ret_fd, int *ret_own_fd)
{
    int err;

    if (c->blob_id != 0) {
        return create_from_memory(ctx, c, reply, ret_fd);
    }
    if (c->blob_flags != BLOB_MAPPABLE) {
        return -EINVAL;
    }
    err = resources_create_shm(&ctx->resources, c->res_id, c->blob_size, ret_own_fd);
    if (err == 0) {
        reply->fd_type = RESOURCE_SHM;
        reply->map_info = MAP_INFO_CACHED;
        *ret_fd = *ret_own_fd;
    }
    return err;
}

/* The VMM's main thread waits for this. One that does not must not wait for us to read instead. If
 * it is gone, the main thread will see that. */
static void send_reply(struct requests *q, struct ctx_create_resource_reply *reply, int fd)
{
    const struct iovec iov = { .iov_base = reply, .iov_len = sizeof(*reply) };

    if (seqpacket_sendv(q->socket_fd, &iov, 1, &fd, fd >= 0, MSG_DONTWAIT) == -EAGAIN) {
        requests_let_go(q);
        (void)seqpacket_sendv(q->socket_fd, &iov, 1, &fd, fd >= 0, 0);
    }
}

/* Errors of the table of resources that are limits, by name. */
static const char *refusal(int err, char text[64])
{
    if (err == -EDQUOT) {
        (void)snprintf(text, 64, "limit blobs: more than %" PRIu32, limits_from_server.blobs);
    } else if (err == -ENOSPC) {
        (void)snprintf(text, 64, "limit shm: more than %" PRIu64 " MiB",
                       limits_from_server.shm >> 20);
    } else if (err == -EFBIG) {
        (void)snprintf(text, 64, "limit blob: larger than RLIMIT_FSIZE");
    } else {
        (void)snprintf(text, 64, "%s", strerror(-err));
    }
    return text;
}

static void run_create_resource(struct requests *q, struct request *r)
{
    static struct log_limit limit = LOG_LIMIT_INIT(5, 10000);
    const struct ctx_create_resource *c = &r->create_resource;
    struct ctx_create_resource_reply reply = { .fd_type = CTX_FD_NONE };
    AUTO_CLOSE int own_fd = -1;
    int fd = -1;
    char text[64];
    int err;

    err = create_resource(q->ctx, c, &reply, &fd, &own_fd);
    if (err < 0) {
        log_limited(&limit, LOG_LEVEL_WARN, 0,
                    "resource %u from blob %" PRIu64 " of %" PRIu64 " bytes, flags %u: %s; refused",
                    c->res_id, c->blob_id, c->blob_size, c->blob_flags, refusal(err, text));
        reply = (struct ctx_create_resource_reply){ .fd_type = CTX_FD_NONE };
    }
    send_reply(q, &reply, fd);
}

static void run_import_resource(struct context *ctx, struct request *r)
{
    static struct log_limit limit = LOG_LIMIT_INIT(5, 10000);
    const struct ctx_import_resource *c = &r->import_resource;
    char text[64];
    int err = -EINVAL;

    if (c->fd_type == RESOURCE_DMABUF || c->fd_type == RESOURCE_OPAQUE ||
        c->fd_type == RESOURCE_SHM) {
        err = resources_import(&ctx->resources, c->res_id, (enum resource_kind)c->fd_type,
                               fdset_take(&r->fds, 0), c->size, false);
    }
    /* There is no reply: the guest's use of the id will fail. */
    if (err < 0) {
        log_limited(&limit, LOG_LEVEL_WARN, 0,
                    "import of resource %u, type %d, %" PRIu64 " bytes: %s; ignored", c->res_id,
                    c->fd_type, c->size, refusal(err, text));
    }
}

static void run_destroy_resource(struct context *ctx, const struct request *r)
{
    uint32_t id = r->destroy_resource.res_id;
    struct resource *resource = resources_get(&ctx->resources, id);
    uint32_t n;

    /* Unknown ids are ordinary: old VMMs tell every context of every resource. */
    if (!resource) {
        return;
    }
    /* So a guest process ends that was killed: its kernel takes its memory away piece by piece,
     * rings included, and ends the context after that. */
    n = rings_orphan(ctx, resource);
    if (n > 0) {
        log_info("%u %s in resource %u, which is destroyed: stopped", n, n > 1 ? "rings" : "ring",
                 id);
    }
    (void)resources_remove(&ctx->resources, id);
    resource_unref(resource);
}

static void run_submit_cmd(struct context *ctx, const struct request *r)
{
    if (decoder_run(&ctx->decoder, r->commands, r->size, NULL, NULL) == -EPROTO) {
        context_fatal(ctx, "context stream: %s", ctx->decoder.why);
    }
}

static void run_submit_fence(struct context *ctx, const struct request *r)
{
    uint32_t ring_idx = r->submit_fence.ring_idx;
    int err = timeline_submit_fence(ctx, ring_idx, r->submit_fence.seqno);

    if (err == -ERANGE) {
        context_fatal(ctx, "fence on timeline %u, the context has %u", ring_idx,
                      ctx->timelines.n_words);
    } else if (err < 0) {
        context_fatal(ctx, "fence %u on timeline %u: %s", r->submit_fence.seqno, ring_idx,
                      strerror(-err));
    }
}

static void run_request(struct requests *q, struct request *r)
{
    struct context *ctx = q->ctx;

    switch ((enum ctx_op)r->op) {
    case CTX_OP_NOP:
        return;
    case CTX_OP_INIT:
        run_init(ctx, r);
        return;
    case CTX_OP_CREATE_RESOURCE:
        run_create_resource(q, r);
        return;
    case CTX_OP_IMPORT_RESOURCE:
        run_import_resource(ctx, r);
        return;
    case CTX_OP_DESTROY_RESOURCE:
        run_destroy_resource(ctx, r);
        return;
    case CTX_OP_SUBMIT_CMD:
        run_submit_cmd(ctx, r);
        return;
    case CTX_OP_SUBMIT_FENCE:
        run_submit_fence(ctx, r);
        return;
    case CTX_OP_COUNT:
        return;
    }
}

/* ---- reading: whoever holds `reading` ----------------------------------------------------- */

/* Takes own_request. */
static int queue_put(struct requests *q, struct request *own_request)
{
    if (q->n_queued < LIMIT_QUEUED_REQUESTS &&
        own_request->size <= LIMIT_QUEUED_BYTES - q->bytes_queued) {
        list_append(&q->queue, &own_request->link);
        q->n_queued++;
        q->bytes_queued += own_request->size;
        atomic_fetch_add_explicit(&q->n_unfinished, 1, memory_order_relaxed);
        return 0;
    }
    request_free(own_request);
    context_fatal(q->ctx,
                  "more than %u requests or %llu bytes wait for the context's commands to finish",
                  LIMIT_QUEUED_REQUESTS, LIMIT_QUEUED_BYTES);
    return -EPROTO;
}

static int no_memory(struct requests *q, size_t size)
{
    context_fatal(q->ctx, "no memory for a request of %zu bytes", size);
    return -EPROTO;
}

static int feed_submit(struct requests *q, const uint8_t *bytes)
{
    const uint8_t *cmd = bytes + offsetof(struct ctx_submit_cmd, cmd);
    struct request *r;
    uint32_t size;

    memcpy(&size, bytes + offsetof(struct ctx_submit_cmd, size), sizeof(size));
    if (size == 0 || size % 4 != 0) {
        context_fatal(q->ctx, "SUBMIT_CMD of %u bytes: not a multiple of 4 above 0", size);
        return -EPROTO;
    }
    if (size > LIMIT_SUBMIT_BYTES) {
        q->tail_due = size - CTX_SUBMIT_INLINE;
        return 0;
    }
    r = request_new(CTX_OP_SUBMIT_CMD, size);
    if (!r) {
        return no_memory(q, size);
    }
    memcpy(r->commands, cmd, MIN(size, CTX_SUBMIT_INLINE));
    if (size > CTX_SUBMIT_INLINE) {
        q->partial = r;
        q->tail_due = size - CTX_SUBMIT_INLINE;
        return 0;
    }
    return queue_put(q, r);
}

static int feed_request(struct requests *q, const uint8_t *bytes, size_t size, struct fdset *fds)
{
    struct request *r;
    uint32_t op;
    int err;

    err = dialect_check_request(&dialect_b_context, q->state, bytes, size, fds->count, &op);
    if (err < 0 && dialect_looks_like_a(bytes, size)) {
        context_fatal(q->ctx, "the VMM speaks the protocol of virglrenderer 0.10, which is not "
                              "served; install libvirglrenderer 1.0.0 or later for it");
        return -EPROTO;
    }
    if (err < 0) {
        memcpy(&op, bytes, sizeof(op));
        context_fatal(q->ctx, "context socket: message of %zu bytes with %u descriptors (%s): %s",
                      size, fds->count, dialect_op_name(&dialect_b_context, op),
                      dialect_error_text(err));
        return -EPROTO;
    }
    if (op == CTX_OP_SUBMIT_CMD) {
        return feed_submit(q, bytes);
    }
    r = request_new(op, 0);
    if (!r) {
        return no_memory(q, size);
    }
    memcpy(r->bytes, bytes, size);
    r->fds = *fds;
    *fds = (struct fdset){ 0 };
    if (op == CTX_OP_INIT) {
        q->state = DIALECT_AFTER_INIT;
    }
    return queue_put(q, r);
}

/* One message, as received; takes the fds that it needs out of the set. 0 or -EPROTO. */
static int feed(struct requests *q, const void *bytes, size_t size, struct fdset *fds)
{
    static struct log_limit limit = LOG_LIMIT_INIT(5, 10000);
    uint32_t tail_due = q->tail_due;
    struct request *r = q->partial;
    uint32_t op;

    if (tail_due == 0) {
        return feed_request(q, bytes, size, fds);
    }
    q->tail_due = 0;
    q->partial = NULL;
    if (size == tail_due && r && fds->count == 0) {
        memcpy(r->commands + CTX_SUBMIT_INLINE, bytes, size);
        return queue_put(q, r);
    }
    request_free(r);
    /* The VMM could not send a tail beyond its socket's buffer, told the guest, and went on. */
    if (tail_due >= TAIL_LOST_MIN &&
        dialect_check_request(&dialect_b_context, q->state, bytes, size, fds->count, &op) == 0) {
        log_limited(&limit, LOG_LEVEL_WARN, 0,
                    "SUBMIT_CMD of %u bytes is more than the VMM can send; dropped",
                    tail_due + CTX_SUBMIT_INLINE);
        return feed_request(q, bytes, size, fds);
    }
    context_fatal(q->ctx, "context socket: %zu bytes where the last %u of a SUBMIT_CMD were due",
                  size, tail_due);
    return -EPROTO;
}

/* Reads one message and queues the request that it completes. `flags`: 0 or MSG_DONTWAIT. 0;
 * -EAGAIN; -ECONNRESET: the VMM has closed it; -EPROTO: the context has ended. */
static int read_message(struct requests *q, int flags)
{
    AUTO_FDSET struct fdset fds = { 0 };
    size_t cap = MAX(sizeof(union ctx_request), MIN(q->tail_due, LIMIT_SUBMIT_BYTES));
    size_t size;
    int r;

    if (context_is_fatal(q->ctx)) {
        return -EPROTO;
    }
    do {
        r = seqpacket_recv_flags(q->socket_fd, q->buffer, cap, &size, &fds, flags);
    } while (r == -EINTR);
    if (r == -EAGAIN || r == -ECONNRESET) {
        return r;
    }
    if (r < 0) {
        context_fatal(q->ctx, "context socket: a message of more than %zu bytes, or broken: %s",
                      cap, strerror(-r));
        return -EPROTO;
    }
    r = feed(q, q->buffer, size, &fds);
    /* Pairs with requests_done(): the request was counted before. */
    atomic_fetch_add_explicit(&q->n_messages, 1, memory_order_release);
    return r;
}

int requests_read(struct requests *q)
{
    int r;

    if (pthread_mutex_trylock(&q->reading) != 0) {
        return 0; /* the context thread is back and reads */
    }
    do {
        r = read_message(q, MSG_DONTWAIT);
    } while (r == 0);
    if (r == -EAGAIN) {
        q->watch(q->watch_arg, true);
        r = 0;
    }
    pthread_mutex_unlock(&q->reading);
    return r;
}

/* ---- the context thread ------------------------------------------------------------------- */

void requests_let_go(struct requests *q)
{
    if (q && q->reading_is_mine) {
        q->reading_is_mine = false;
        pthread_mutex_unlock(&q->reading);
        /* Not before: a main thread that is told while `reading` is still held reads nothing, and is
         * not told again. */
        q->watch(q->watch_arg, true);
    }
}

static void take_back(struct requests *q)
{
    if (!q->reading_is_mine) {
        pthread_mutex_lock(&q->reading);
        q->reading_is_mine = true;
        q->watch(q->watch_arg, false);
    }
}

/* May it take long, so that somebody else must read meanwhile? Not while the VMM waits for its
 * reply; and the protocol's own small commands let go by themselves, should they have to wait. */
static bool may_take_long(const struct request *r)
{
    uint32_t command = 0;

    if (r->op == CTX_OP_SUBMIT_FENCE) {
        return true; /* a submission to the driver */
    }
    if (r->op != CTX_OP_SUBMIT_CMD) {
        return false;
    }
    if (r->size == WIRE_SMALL_SIZE) {
        memcpy(&command, r->commands, sizeof(command));
    }
    return command != WIRE_NOTIFY_RING && command != WIRE_SUBMIT_VIRTQUEUE_SEQNO &&
           command != WIRE_WAIT_RING_SEQNO;
}

/* The next request, or NULL when the thread is to end. */
static struct request *next_request(struct requests *q)
{
    struct request *r;

    while (list_empty(&q->queue)) {
        if (q->stopping || read_message(q, 0) < 0) {
            return NULL;
        }
    }
    if (q->stopping || context_is_fatal(q->ctx)) {
        return NULL;
    }
    r = list_entry(q->queue.next, struct request, link);
    list_remove(&r->link);
    q->n_queued--;
    q->bytes_queued -= r->size;
    return r;
}

static void *context_main(void *arg)
{
    struct requests *q = arg;
    struct context *ctx = q->ctx;
    struct request *r;

    pthread_setname_np(pthread_self(), "context");
    take_back(q);
    while ((r = next_request(q))) {
        if (may_take_long(r)) {
            requests_let_go(q);
        }
        objects_wake(&ctx->objects, &ctx->decoder.reader);
        run_request(q, r);
        objects_sleep(&ctx->objects, &ctx->decoder.reader);
        request_free(r);
        take_back(q);
        atomic_fetch_sub_explicit(&q->n_unfinished, 1, memory_order_release);
    }
    pthread_mutex_unlock(&q->reading);
    q->watch(q->watch_arg, true); /* the main thread sees the hang-up, if that is why we end */
    return NULL;
}

bool requests_done(const struct requests *q, uint64_t n_messages)
{
    return context_is_fatal(q->ctx) ||
           (atomic_load_explicit(&q->n_messages, memory_order_acquire) >= n_messages &&
            atomic_load_explicit(&q->n_unfinished, memory_order_acquire) == 0);
}

/* ---- life --------------------------------------------------------------------------------- */

int requests_create(struct context *ctx, int socket_fd, requests_watch_fn watch, void *arg,
                    struct requests **ret_requests)
{
    struct requests *q = calloc(1, sizeof(*q));
    int err;

    if (!q) {
        return -ENOMEM;
    }
    q->ctx = ctx;
    q->socket_fd = socket_fd;
    q->watch = watch;
    q->watch_arg = arg;
    q->state = DIALECT_BEFORE_INIT;
    list_init(&q->queue);
    pthread_mutex_init(&q->reading, NULL);
    /* Pages come as they are used: an ordinary context touches one. */
    q->buffer =
        mmap(NULL, LIMIT_SUBMIT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (q->buffer == MAP_FAILED) {
        err = -errno;
        goto fail;
    }
    ctx->requests = q;
    err = -pthread_create(&q->thread, NULL, context_main, q);
    if (err < 0) {
        ctx->requests = NULL;
        munmap(q->buffer, LIMIT_SUBMIT_BYTES);
        goto fail;
    }
    *ret_requests = q;
    return 0;

fail:
    pthread_mutex_destroy(&q->reading);
    free(q);
    return err;
}

struct requests *requests_destroy(struct requests *q)
{
    if (!q) {
        return NULL;
    }
    atomic_store(&q->stopping, true);
    (void)shutdown(q->socket_fd, SHUT_RD); /* wakes it if it reads */
    pthread_join(q->thread, NULL);
    q->ctx->requests = NULL;
    list_for_each_safe (link, &q->queue) {
        request_free(list_entry(link, struct request, link));
    }
    request_free(q->partial);
    munmap(q->buffer, LIMIT_SUBMIT_BYTES);
    pthread_mutex_destroy(&q->reading);
    free(q);
    return NULL;
}
