/*
 * libcordon. Every message goes out with MSG_DONTWAIT and a deadline, every answer is waited for
 * with the same one. An answer that comes after its deadline is counted as owed and thrown away
 * when the next one is read, so a slow moment costs one call and not the connection.
 */
#include "cordon/cordon.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/cleanup.h"
#include "ipc/dialect_b.h"
#include "ipc/fdset.h"
#include "ipc/map.h"
#include "ipc/seqpacket.h"
#include "ipc/start_server.h"

#define SAME(public_, wire) \
    static_assert((uint32_t)(public_) == (uint32_t)(wire), "public header and wire")
SAME(CORDON_RING_COUNT, CTX_TIMELINES);
SAME(CORDON_FD_DMABUF, CTX_FD_DMABUF);
SAME(CORDON_FD_OPAQUE, CTX_FD_OPAQUE);
SAME(CORDON_FD_SHM, CTX_FD_SHM);
SAME(CORDON_MAP_NONE, CTX_MAP_NONE);
SAME(CORDON_MAP_CACHED, CTX_MAP_CACHED);
SAME(CORDON_MAP_UNCACHED, CTX_MAP_UNCACHED);
SAME(CORDON_MAP_WC, CTX_MAP_WC);
SAME(CORDON_BLOB_MAPPABLE, CTX_BLOB_MAPPABLE);
SAME(CORDON_BLOB_SHAREABLE, CTX_BLOB_SHAREABLE);
SAME(CORDON_BLOB_CROSS_DEVICE, CTX_BLOB_CROSS_DEVICE);

#define TIMELINE_BYTES (CTX_TIMELINES * sizeof(uint32_t))
#define TIMELINE_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)
/* The largest submission worth asking the kernel for: what QEMU lets a guest submit. */
#define SUBMIT_WANTED (4u << 20)

struct cordon_server {
    /* Set at creation, then const. */
    int pid;    /* 0 = adopted */
    int pid_fd; /* -1 = adopted */

    _Atomic int timeout_ms; /* any thread */
    _Atomic uint32_t users; /* whoever has it, and each context */

    pthread_mutex_t lock; /* one request and its answer at a time */
    /* Under lock. */
    int fd;        /* -1 = closed; contexts are left */
    uint32_t owed; /* late answers to come */
};

struct cordon_context {
    /* Set at creation, then const. */
    struct cordon_server *server;
    uint32_t id;
    int fd;
    int event_fd;
    size_t submit_max;
    _Atomic uint32_t *words; /* shared with the worker, which stores; anyone here loads */

    /* The context's thread only. */
    bool broken; /* half a message went out: nothing may follow */
    bool no_wait;
    uint8_t *tail; /* of a submission that did not fit into the socket; NULL = none */
    size_t tail_size;
    uint32_t begun_id; /* resource of cordon_blob_begin; 0 = none */
    uint64_t begun_size;
    uint32_t owed;
    uint32_t seqno[CTX_TIMELINES]; /* last one asked for, per ring */
};

/* ---- messages with a deadline -------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t deadline_in(const struct cordon_server *server, int timeout_ms)
{
    if (timeout_ms < 0) {
        timeout_ms = atomic_load_explicit(&server->timeout_ms, memory_order_relaxed);
    }
    return now_ms() + (uint64_t)timeout_ms;
}

/* Waits until something is up with one of the fds. 0, -ETIMEDOUT, or another errno. */
static int poll_until(struct pollfd *fds, nfds_t n_fds, uint64_t deadline)
{
    for (;;) {
        uint64_t now = now_ms();
        int n = poll(fds, n_fds, deadline > now ? (int)(deadline - now) : 0);

        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0 && now_ms() >= deadline) {
            return -ETIMEDOUT;
        }
    }
}

static int wait_for(int fd, short events, uint64_t deadline)
{
    struct pollfd p = { .fd = fd, .events = events };

    return poll_until(&p, 1, deadline);
}

/* The other side's end shows in two ways; callers see one. */
static int gone_is_pipe(int r)
{
    return r == -ECONNRESET ? -EPIPE : r;
}

static int send_by(int fd, const struct iovec *iov, uint32_t n_iov, const int *fds, uint32_t n_fds,
                   uint64_t deadline)
{
    for (;;) {
        int r = seqpacket_sendv(fd, iov, n_iov, fds, n_fds, MSG_DONTWAIT);

        if (r != -EAGAIN) {
            return gone_is_pipe(r);
        }
        r = wait_for(fd, POLLOUT, deadline);
        if (r < 0) {
            return r;
        }
    }
}

static int recv_by(int fd, void *buf, size_t cap, size_t *ret_size, struct fdset *fds,
                   uint64_t deadline)
{
    for (;;) {
        int r = seqpacket_recv_flags(fd, buf, cap, ret_size, fds, MSG_DONTWAIT);

        if (r != -EAGAIN) {
            return gone_is_pipe(r);
        }
        r = wait_for(fd, POLLIN, deadline);
        if (r < 0) {
            return r;
        }
    }
}

/* Receives the answer to the request just sent: exactly `size` bytes. Late answers to earlier
 * requests come first and are dropped. On -ETIMEDOUT this one is owed too. */
static int recv_reply(int fd, uint32_t *owed, void *buf, size_t size, struct fdset *ret_fds,
                      uint64_t deadline)
{
    for (;;) {
        AUTO_FDSET struct fdset fds = { 0 };
        size_t got = 0;
        int r = recv_by(fd, buf, size, &got, &fds, deadline);

        if (r == -ETIMEDOUT) {
            ++*owed;
        }
        if (r < 0 && (r != -EBADMSG || *owed == 0)) {
            return r == -EBADMSG ? -EPROTO : r;
        }
        if (*owed > 0) {
            --*owed;
            continue;
        }
        if (got != size) {
            return -EPROTO;
        }
        *ret_fds = fds;
        fds.count = 0;
        return 0;
    }
}

/* ---- server -------------------------------------------------------------------------------- */

static int server_send(struct cordon_server *server, const void *msg, size_t size,
                       uint64_t deadline)
{
    struct iovec iov = { .iov_base = (void *)msg, .iov_len = size };

    return send_by(server->fd, &iov, 1, NULL, 0, deadline);
}

/* Takes own_fd on success only; sends INIT. */
static int server_new(int own_fd, struct cordon_server **ret_server)
{
    static const struct srv_init init = {
        .op = SRV_OP_INIT,
        .flags = SRV_INIT_THREAD_SYNC | SRV_INIT_VENUS | SRV_INIT_NO_VIRGL |
                 SRV_INIT_ASYNC_FENCE_CB | SRV_INIT_RENDER_SERVER,
    };
    AUTO_FREE struct cordon_server *server = calloc(1, sizeof(*server));
    int r;

    if (!server) {
        return -ENOMEM;
    }
    server->fd = own_fd;
    server->pid_fd = -1;
    atomic_init(&server->timeout_ms, CORDON_TIMEOUT_DEFAULT_MS);
    atomic_init(&server->users, 1);
    r = server_send(server, &init, sizeof(init), deadline_in(server, -1));
    if (r < 0) {
        return r;
    }
    pthread_mutex_init(&server->lock, NULL); /* cannot fail with default attributes */
    *ret_server = take_ptr(server);
    return 0;
}

int cordon_server_adopt(int own_socket, struct cordon_server **ret_server)
{
    AUTO_CLOSE int fd = own_socket;
    int r;

    r = seqpacket_check(fd);
    if (r < 0) {
        return r;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        return -errno;
    }
    r = server_new(fd, ret_server);
    if (r < 0) {
        return r;
    }
    (void)take_fd(&fd); /* now the server's */
    return 0;
}

int cordon_server_spawn(const char *path, const char *const *extra_args,
                        struct cordon_server **ret_server)
{
    AUTO_CLOSE int fd = -1;
    AUTO_CLOSE int pid_fd = -1;
    struct cordon_server *server;
    pid_t pid = 0;
    int r;

    r = start_server(path, extra_args, &fd, &pid);
    if (r < 0) {
        return r;
    }
    pid_fd = pidfd_open(pid, 0);
    r = pid_fd < 0 ? -errno : server_new(fd, &server);
    if (r < 0) {
        (void)kill(pid, SIGKILL); /* not reaped yet, so the pid is still its own */
        (void)waitpid(pid, NULL, 0);
        return r;
    }
    (void)take_fd(&fd); /* now the server's */
    server->pid = pid;
    server->pid_fd = take_fd(&pid_fd);
    *ret_server = server;
    return 0;
}

void cordon_server_set_timeout(struct cordon_server *server, int timeout_ms)
{
    atomic_store_explicit(&server->timeout_ms, MAX(timeout_ms, 1), memory_order_relaxed);
}

/* Gives the child the timeout to end, then ends it. Its wait status, or -1. */
static int server_reap(struct cordon_server *server)
{
    siginfo_t info = { 0 };

    if (wait_for(server->pid_fd, POLLIN, deadline_in(server, -1)) < 0) {
        (void)pidfd_send_signal(server->pid_fd, SIGKILL, NULL, 0);
    }
    while (waitid(P_PIDFD, (id_t)server->pid_fd, &info, WEXITED) < 0) {
        if (errno != EINTR) {
            return -1; /* the VMM reaps every child itself */
        }
    }
    return info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0)
                                      : W_EXITCODE(0, info.si_status);
}

static void server_unref(struct cordon_server *server)
{
    /* Pairs with itself: the last one sees what the others did. */
    if (atomic_fetch_sub_explicit(&server->users, 1, memory_order_acq_rel) == 1) {
        pthread_mutex_destroy(&server->lock);
        free(server);
    }
}

struct cordon_server *cordon_server_close(struct cordon_server *server, int *ret_status)
{
    int status = -1;

    if (!server) {
        return NULL;
    }
    pthread_mutex_lock(&server->lock);
    close_fd(&server->fd);
    pthread_mutex_unlock(&server->lock);
    if (server->pid_fd >= 0) {
        status = server_reap(server);
        close_fd(&server->pid_fd);
    }
    if (ret_status) {
        *ret_status = status;
    }
    server_unref(server);
    return NULL;
}

int cordon_server_fd(const struct cordon_server *server)
{
    return server->fd;
}

int cordon_server_pid(const struct cordon_server *server)
{
    return server->pid;
}

static void server_destroy_context(struct cordon_server *server, uint32_t ctx_id)
{
    struct srv_destroy_context msg = { .op = SRV_OP_DESTROY_CONTEXT, .ctx_id = ctx_id };

    LOCK_SCOPE(&server->lock);
    if (server->fd < 0) {
        return;
    }
    /* No answer; and if the server is gone, so is the context. */
    (void)server_send(server, &msg, sizeof(msg), deadline_in(server, -1));
}

/* CREATE_CONTEXT and its answer. On success *ret_fd is the context socket. */
static int server_create_context(struct cordon_server *server, uint32_t ctx_id, const char *name,
                                 int *ret_fd)
{
    struct srv_create_context msg = { .op = SRV_OP_CREATE_CONTEXT, .ctx_id = ctx_id };
    struct srv_destroy_context undo = { .op = SRV_OP_DESTROY_CONTEXT, .ctx_id = ctx_id };
    struct srv_create_context_reply reply;
    AUTO_FDSET struct fdset fds = { 0 };
    uint64_t deadline = deadline_in(server, -1);
    int r;

    memcpy(msg.name, name, strnlen(name, sizeof(msg.name) - 1));
    LOCK_SCOPE(&server->lock);
    r = server_send(server, &msg, sizeof(msg), deadline);
    if (r < 0) {
        return r;
    }
    r = recv_reply(server->fd, &server->owed, &reply, sizeof(reply), &fds, deadline);
    if (r < 0) {
        /* If the answer is only late, the context must not stay. */
        (void)server_send(server, &undo, sizeof(undo), now_ms());
        return r;
    }
    if (reply.ok == 0 && fds.count == 0) {
        return -EREMOTEIO;
    }
    if (reply.ok != 1 || fds.count != 1 || seqpacket_check(fdset_peek(&fds, 0)) < 0) {
        (void)server_send(server, &undo, sizeof(undo), deadline);
        return -EPROTO;
    }
    *ret_fd = fdset_take(&fds, 0);
    return 0;
}

/* ---- context ------------------------------------------------------------------------------- */

/* Sends a message, or, with wait off, says -EAGAIN. */
static int context_sendv(struct cordon_context *context, const struct iovec *iov, uint32_t n_iov,
                         const int *fds, uint32_t n_fds)
{
    if (context->no_wait) {
        return gone_is_pipe(seqpacket_sendv(context->fd, iov, n_iov, fds, n_fds, MSG_DONTWAIT));
    }
    return send_by(context->fd, iov, n_iov, fds, n_fds, deadline_in(context->server, -1));
}

int cordon_context_flush(struct cordon_context *context)
{
    struct iovec tail = { .iov_base = context->tail, .iov_len = context->tail_size };
    int r;

    if (context->broken) {
        return -EPIPE;
    }
    if (!context->tail) {
        return 0;
    }
    r = context_sendv(context, &tail, 1, NULL, 0);
    if (r == 0) {
        free(take_ptr(context->tail));
    }
    return r;
}

static int context_send(struct cordon_context *context, const void *msg, size_t size,
                        const int *fds, uint32_t n_fds)
{
    struct iovec iov = { .iov_base = (void *)msg, .iov_len = size };
    int r;

    r = cordon_context_flush(context);
    if (r < 0) {
        return r;
    }
    return context_sendv(context, &iov, 1, fds, n_fds);
}

/* Nothing may follow what went out: ends the conversation, so that the worker sees it at once. */
static void context_break(struct cordon_context *context)
{
    context->broken = true;
    (void)shutdown(context->fd, SHUT_RDWR);
}

/* The fence words and the eventfd, then INIT. The worker keeps its own copies. */
static int context_init(struct cordon_context *context)
{
    struct ctx_init init = {
        .op = CTX_OP_INIT,
        .flags = CTX_CAPSET_VENUS,
        .shmem_size = TIMELINE_BYTES,
    };
    AUTO_CLOSE int words_fd = -1;
    void *words;
    int r;

    r = memfd_create_sized("cordon-timelines", TIMELINE_BYTES, &words_fd);
    if (r < 0) {
        return r;
    }
    r = fd_seal(words_fd, TIMELINE_SEALS);
    if (r < 0) {
        return r;
    }
    r = map_shared(words_fd, TIMELINE_BYTES, &words);
    if (r < 0) {
        return r;
    }
    context->words = words;
    context->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (context->event_fd < 0) {
        return -errno;
    }
    return context_send(context, &init, sizeof(init), (int[]){ words_fd, context->event_fd }, 2);
}

/* What one submission may hold: 256 bytes in the message and the rest as the longest message that
 * the socket takes. */
static int context_set_submit_max(struct cordon_context *context)
{
    size_t most;
    int r;

    /* More room is welcome; without it submissions are smaller, and cordon_submit_max says so. */
    (void)seqpacket_raise_max(context->fd, SUBMIT_WANTED - CTX_SUBMIT_INLINE);
    r = seqpacket_max_message(context->fd, &most);
    if (r < 0) {
        return r;
    }
    context->submit_max = MIN(CTX_SUBMIT_INLINE + (most & ~(size_t)3), (size_t)SUBMIT_WANTED);
    return 0;
}

int cordon_context_create(struct cordon_server *server, uint32_t ctx_id, const char *name,
                          struct cordon_context **ret_context)
{
    struct cordon_context *context;
    int r;

    if (ctx_id == 0) {
        return -EINVAL;
    }
    context = calloc(1, sizeof(*context));
    if (!context) {
        return -ENOMEM;
    }
    context->server = server;
    context->id = ctx_id;
    context->event_fd = -1;
    r = server_create_context(server, ctx_id, name, &context->fd);
    if (r < 0) {
        free(context);
        return r;
    }
    atomic_fetch_add_explicit(&server->users, 1, memory_order_relaxed);
    r = context_set_submit_max(context);
    if (r >= 0) {
        r = context_init(context);
    }
    if (r < 0) {
        cordon_context_destroy(context);
        return r;
    }
    *ret_context = context;
    return 0;
}

struct cordon_context *cordon_context_destroy(struct cordon_context *context)
{
    if (!context) {
        return NULL;
    }
    server_destroy_context(context->server, context->id);
    close_fd(&context->fd);
    close_fd(&context->event_fd);
    unmap((void *)context->words, TIMELINE_BYTES);
    free(context->tail);
    server_unref(context->server);
    free(context);
    return NULL;
}

void cordon_context_set_wait(struct cordon_context *context, bool wait)
{
    context->no_wait = !wait;
}

int cordon_context_fd(const struct cordon_context *context)
{
    return context->fd;
}

/* ---- resources ----------------------------------------------------------------------------- */

/* Is the fd what the answer says it is? Whoever maps it relies on its size. */
static int blob_check_fd(uint32_t fd_type, int fd, uint64_t size)
{
    unsigned seals;
    uint64_t have;
    bool sealable;
    int r;

    if (fd_type == CTX_FD_OPAQUE) {
        return 0; /* only Vulkan knows its size */
    }
    /* From here on nobody can resize it, nor take away the right to write. A real dma-buf knows no
     * seals, and has one size for ever; a memfd does not become one by its name. */
    sealable = fd_seals(fd, &seals) == 0;
    if (fd_type == CTX_FD_SHM || sealable) {
        if (!sealable || fd_seal(fd, TIMELINE_SEALS) < 0 || fd_seals(fd, &seals) < 0 ||
            (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
            return -EPROTO;
        }
    }
    r = fd_size(fd, &have);
    if (r < 0) {
        return -EPROTO;
    }
    /* A memory's pages may be more than what a caller that knows no pages asked for. */
    return have >= size ? 0 : -EPROTO;
}

static int blob_from_reply(const struct ctx_create_resource_reply *reply, struct fdset *fds,
                           uint64_t size, struct cordon_blob *ret_blob)
{
    int r;

    if (fds->count == 0) {
        return -EREMOTEIO;
    }
    if (fds->count != 1 || reply->fd_type < CTX_FD_DMABUF || reply->fd_type > CTX_FD_SHM ||
        reply->map_info > CTX_MAP_WC) {
        return -EPROTO;
    }
    r = blob_check_fd((uint32_t)reply->fd_type, fdset_peek(fds, 0), size);
    if (r < 0) {
        return r;
    }
    *ret_blob = (struct cordon_blob){
        .fd = fdset_take(fds, 0),
        .fd_type = (uint32_t)reply->fd_type,
        .map_info = reply->map_info,
        .allocation_size = reply->allocation_size,
        .memory_type_index = reply->memory_type_index,
    };
    memcpy(ret_blob->device_uuid, reply->device_uuid, sizeof(ret_blob->device_uuid));
    memcpy(ret_blob->driver_uuid, reply->driver_uuid, sizeof(ret_blob->driver_uuid));
    return 0;
}

static int blob_request(struct cordon_context *context, uint32_t res_id, uint64_t blob_id,
                        uint64_t size, uint32_t flags)
{
    struct ctx_create_resource msg = {
        .op = CTX_OP_CREATE_RESOURCE,
        .res_id = res_id,
        .blob_id = blob_id,
        .blob_size = size,
        .blob_flags = flags,
    };

    if (res_id == 0 || size == 0 || size > INT64_MAX) {
        return -EINVAL;
    }
    if (context->begun_id != 0) {
        return -EBUSY;
    }
    return context_send(context, &msg, sizeof(msg), NULL, 0);
}

static int blob_answer(struct cordon_context *context, uint32_t res_id, uint64_t size,
                       uint64_t deadline, struct cordon_blob *ret_blob)
{
    struct ctx_create_resource_reply reply;
    AUTO_FDSET struct fdset fds = { 0 };
    int r;

    r = recv_reply(context->fd, &context->owed, &reply, sizeof(reply), &fds, deadline);
    if (r == -EPROTO) {
        context_break(context);
        return r;
    }
    if (r < 0) {
        return r;
    }
    r = blob_from_reply(&reply, &fds, size, ret_blob);
    if (r == -EPROTO) {
        (void)cordon_resource_destroy(context, res_id); /* it exists over there */
    }
    return r;
}

int cordon_blob_create(struct cordon_context *context, uint32_t res_id, uint64_t blob_id,
                       uint64_t size, uint32_t flags, struct cordon_blob *ret_blob)
{
    uint64_t deadline = deadline_in(context->server, -1);
    int r;

    r = blob_request(context, res_id, blob_id, size, flags);
    if (r < 0) {
        return r;
    }
    r = blob_answer(context, res_id, size, deadline, ret_blob);
    if (r == -ETIMEDOUT) {
        (void)cordon_resource_destroy(context, res_id); /* it may yet come to exist */
    }
    return r;
}

int cordon_blob_begin(struct cordon_context *context, uint32_t res_id, uint64_t blob_id,
                      uint64_t size, uint32_t flags)
{
    int r;

    r = blob_request(context, res_id, blob_id, size, flags);
    if (r < 0) {
        return r;
    }
    context->begun_id = res_id;
    context->begun_size = size;
    return 0;
}

int cordon_blob_finish(struct cordon_context *context, struct cordon_blob *ret_blob)
{
    uint32_t res_id = context->begun_id;
    int r;

    if (res_id == 0) {
        return -EINVAL;
    }
    context->begun_id = 0;
    r = blob_answer(context, res_id, context->begun_size, 0, ret_blob);
    if (r == -ETIMEDOUT) {
        /* Nothing was there, or late answers to earlier requests: this one is still to come. */
        context->owed--;
        context->begun_id = res_id;
        return -EAGAIN;
    }
    return r;
}

int cordon_resource_import(struct cordon_context *context, uint32_t res_id,
                           enum cordon_fd_type fd_type, int fd, uint64_t size)
{
    struct ctx_import_resource msg = {
        .op = CTX_OP_IMPORT_RESOURCE,
        .res_id = res_id,
        .fd_type = (int32_t)fd_type,
        .size = size,
    };

    if (res_id == 0 || size == 0) {
        return -EINVAL;
    }
    return context_send(context, &msg, sizeof(msg), &fd, 1);
}

int cordon_resource_destroy(struct cordon_context *context, uint32_t res_id)
{
    struct ctx_destroy_resource msg = { .op = CTX_OP_DESTROY_RESOURCE, .res_id = res_id };

    return context_send(context, &msg, sizeof(msg), NULL, 0);
}

/* ---- commands and fences ------------------------------------------------------------------- */

size_t cordon_submit_max(const struct cordon_context *context)
{
    return context->submit_max;
}

static int keep_tail(struct cordon_context *context, const struct iovec *tail)
{
    context->tail = malloc(tail->iov_len);
    if (!context->tail) {
        return -ENOMEM;
    }
    memcpy(context->tail, tail->iov_base, tail->iov_len);
    context->tail_size = tail->iov_len;
    return 0;
}

int cordon_submit(struct cordon_context *context, const void *commands, size_t size)
{
    static const uint8_t zeros[CTX_SUBMIT_INLINE];
    uint32_t head[2] = { CTX_OP_SUBMIT_CMD, (uint32_t)size };
    size_t first = MIN(size, (size_t)CTX_SUBMIT_INLINE);
    struct iovec iov[] = {
        { .iov_base = head, .iov_len = sizeof(head) },
        { .iov_base = (void *)commands, .iov_len = first },
        { .iov_base = (void *)zeros, .iov_len = CTX_SUBMIT_INLINE - first },
    };
    struct iovec tail = { .iov_base = (uint8_t *)commands + first, .iov_len = size - first };
    int r;

    if (size == 0 || size % 4 != 0) {
        return -EINVAL;
    }
    if (size > context->submit_max) {
        return -EMSGSIZE;
    }
    r = cordon_context_flush(context);
    if (r < 0) {
        return r;
    }
    r = context_sendv(context, iov, ARRAY_SIZE(iov), NULL, 0);
    if (r < 0 || tail.iov_len == 0) {
        return r;
    }
    r = context_sendv(context, &tail, 1, NULL, 0);
    if (r == -EAGAIN) {
        r = keep_tail(context, &tail);
    }
    if (r < 0) {
        context_break(context);
    }
    return r;
}

int cordon_fence(struct cordon_context *context, uint32_t ring_idx, uint32_t *ret_seqno)
{
    struct ctx_submit_fence msg = { .op = CTX_OP_SUBMIT_FENCE, .ring_idx = ring_idx };
    int r;

    if (ring_idx >= CTX_TIMELINES) {
        return -EINVAL;
    }
    msg.seqno = context->seqno[ring_idx] + 1;
    r = context_send(context, &msg, sizeof(msg), NULL, 0);
    if (r < 0) {
        return r;
    }
    context->seqno[ring_idx] = msg.seqno;
    *ret_seqno = msg.seqno;
    return 0;
}

bool cordon_context_fence_done(const struct cordon_context *context, uint32_t ring_idx,
                               uint32_t seqno)
{
    uint32_t word;

    if (ring_idx >= CTX_TIMELINES) {
        return false;
    }
    /* Pairs with the worker's store of the word: what came before it there is visible here. */
    word = atomic_load_explicit(&context->words[ring_idx], memory_order_acquire);
    return word - seqno < 0x7fffffffu;
}

int cordon_context_fence_fd(const struct cordon_context *context)
{
    return context->event_fd;
}

void cordon_context_fence_drain(struct cordon_context *context)
{
    uint64_t count;

    /* Empty is as good: the fd does not block. */
    (void)!read(context->event_fd, &count, sizeof(count));
}

int cordon_fence_wait(struct cordon_context *context, uint32_t ring_idx, uint32_t seqno,
                      int timeout_ms)
{
    uint64_t deadline = deadline_in(context->server, timeout_ms);
    struct pollfd fds[] = {
        { .fd = context->event_fd, .events = POLLIN },
        { .fd = context->fd, .events = 0 }, /* its end comes unasked */
    };

    if (ring_idx >= CTX_TIMELINES) {
        return -EINVAL;
    }
    for (;;) {
        bool gone = (fds[1].revents & (POLLHUP | POLLERR)) != 0;
        int r;

        cordon_context_fence_drain(context);
        if (cordon_context_fence_done(context, ring_idx, seqno)) {
            return 0;
        }
        if (gone) {
            return -EPIPE;
        }
        r = poll_until(fds, ARRAY_SIZE(fds), deadline);
        if (r < 0) {
            return r;
        }
    }
}
