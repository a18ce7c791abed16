/*
 * A render server for test_client: no worker, no policy, one process. It does what the name of a
 * context or the number of a blob says, good or bad.
 *
 *   options       --linger: stays after the end of its socket; --exit=N: exits with N then
 *   context name  refuse, bare (ok without fd), two (two fds), late (answers after 300 ms),
 *                 silent (never answers), stall (never reads the context), gone (closes it)
 *   blob id       0 shm; 1 refuse; 2 late; 3 short answer; 4 not sealable; 5 half the size;
 *                 6 two fds; 7 dma-buf; 8 opaque; 9 unknown type; 10 silent; 11 ends the context
 *   fence         ring 0: at once; 1: never; 2: ends the context; others after 50 ms
 *   words         ring 62 = sum of the bytes submitted last, ring 63 = their number
 *
 * Exits 97 if it finds a signal blocked or ignored, 98 if more open fds than it should have, 99 if a message does not fit the table.
 */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/cleanup.h"
#include "ipc/dialect.h"
#include "ipc/map.h"
#include "ipc/seqpacket.h"

#define CONTEXTS 8
#define LATE_US 300000

static struct fake_context {
    uint32_t id; /* 0 = free */
    int fd;
    int event_fd;
    bool stall;
    _Atomic uint32_t *words;
    uint8_t *tail; /* of a submission: the next message */
    size_t tail_size;
    uint32_t sum, size;
} contexts[CONTEXTS];

static void expect(bool ok, int code)
{
    if (!ok) {
        _exit(code);
    }
}

static void check_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    expect(n == 2 + 4 + 1, 98); /* the dots; 0 to 3; the folder itself */
}

static void check_signals(void)
{
    sigset_t blocked;

    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int i = 1; i < SIGRTMIN; i++) {
        struct sigaction action;

        expect(sigismember(&blocked, i) == 0, 97);
        /* The C library keeps two signals for itself and tells nothing about them. */
        expect(sigaction(i, NULL, &action) < 0 || action.sa_handler != SIG_IGN, 97);
    }
}

static void end_context(struct fake_context *c)
{
    close_fd(&c->fd);
    close_fd(&c->event_fd);
    unmap((void *)c->words, CTX_TIMELINES * 4);
    free(c->tail);
    memset(c, 0, sizeof(*c));
}

static void set_word(struct fake_context *c, uint32_t ring, uint32_t value)
{
    uint64_t one = 1;

    atomic_store_explicit(&c->words[ring], value, memory_order_release);
    (void)!write(c->event_fd, &one, sizeof(one));
}

static void create_context(int fd, const struct srv_create_context *msg)
{
    struct fake_context *c = contexts;
    struct srv_create_context_reply reply = { .ok = 1 };
    const char *name = msg->name;
    int pair[2];

    expect(memchr(name, 0, sizeof(msg->name)) != NULL, 99);
    if (strcmp(name, "silent") == 0) {
        return;
    }
    if (strcmp(name, "refuse") == 0) {
        reply.ok = 0;
    }
    if (strcmp(name, "refuse") == 0 || strcmp(name, "bare") == 0) {
        seqpacket_send(fd, &reply, sizeof(reply), NULL, 0);
        return;
    }
    if (strcmp(name, "late") == 0) {
        usleep(LATE_US);
    }
    while (c->id != 0) {
        c++;
        expect(c < contexts + CONTEXTS, 99);
    }
    expect(seqpacket_pair(pair) == 0, 99);
    *c = (struct fake_context){
        .id = msg->ctx_id,
        .fd = pair[0],
        .event_fd = -1,
        .stall = strcmp(name, "stall") == 0,
    };
    seqpacket_send(fd, &reply, sizeof(reply), (int[]){ pair[1], pair[1] },
                   strcmp(name, "two") == 0 ? 2 : 1);
    close(pair[1]);
    if (strcmp(name, "gone") == 0) {
        end_context(c);
    }
}

static void destroy_context(uint32_t id)
{
    for (int i = 0; i < CONTEXTS; i++) {
        if (contexts[i].id == id) {
            end_context(&contexts[i]);
        }
    }
}

static bool serve_server(int fd)
{
    union srv_request msg;
    size_t size = 0;
    uint32_t op;

    if (seqpacket_recv(fd, &msg, sizeof(msg), &size, NULL) < 0) {
        return false;
    }
    expect(dialect_check_request(&dialect_b_server, DIALECT_AFTER_INIT, &msg, size, 0, &op) == 0,
           99);
    if (op == SRV_OP_CREATE_CONTEXT) {
        create_context(fd, &msg.create_context);
    } else if (op == SRV_OP_DESTROY_CONTEXT) {
        destroy_context(msg.destroy_context.ctx_id);
    }
    return true;
}

static void init(struct fake_context *c, const struct ctx_init *msg, struct fdset *fds)
{
    void *words;

    expect(fds->count == 2 && msg->shmem_size == CTX_TIMELINES * 4, 99);
    expect((msg->flags & CTX_CAPSET_MASK) == CTX_CAPSET_VENUS, 99);
    expect(fd_require_seals(fdset_peek(fds, 0), 0x7) == 0, 99);
    expect(map_shared(fdset_peek(fds, 0), msg->shmem_size, &words) == 0, 99);
    c->words = words;
    c->event_fd = fdset_take(fds, 1);
}

static void create_resource(struct fake_context *c, const struct ctx_create_resource *msg)
{
    struct ctx_create_resource_reply reply = { .fd_type = CTX_FD_SHM, .map_info = CTX_MAP_CACHED };
    size_t reply_size = sizeof(reply);
    uint64_t size = msg->blob_size;
    AUTO_CLOSE int fd = -1;
    uint32_t n_fds = 1;

    switch (msg->blob_id) {
    case 1:
        reply = (struct ctx_create_resource_reply){ .fd_type = CTX_FD_NONE };
        n_fds = 0;
        break;
    case 2:
        usleep(LATE_US);
        break;
    case 3:
        reply_size = 8;
        break;
    case 5:
        size /= 2;
        break;
    case 6:
        n_fds = 2;
        break;
    case 7:
    case 12:
        reply.fd_type = CTX_FD_DMABUF;
        break;
    case 8:
        reply.fd_type = CTX_FD_OPAQUE;
        reply.allocation_size = 12345;
        reply.memory_type_index = 3;
        memset(reply.device_uuid, 0xd, sizeof(reply.device_uuid));
        break;
    case 9:
        reply.fd_type = 3;
        break;
    case 10:
        return;
    case 11:
        end_context(c);
        return;
    }
    if (msg->blob_id == 4 || msg->blob_id == 12) {
        fd = memfd_create("unsealable", MFD_CLOEXEC);
        expect(ftruncate(fd, (off_t)size) == 0, 99);
    } else {
        expect(memfd_create_sized("blob", size, &fd) == 0, 99);
    }
    seqpacket_send(c->fd, &reply, reply_size, (int[]){ fd, fd }, n_fds);
}

static void add_bytes(struct fake_context *c, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        c->sum += bytes[i];
    }
    c->size += (uint32_t)size;
}

static void submit(struct fake_context *c, const struct ctx_submit_cmd *msg)
{
    size_t first = MIN(msg->size, (size_t)CTX_SUBMIT_INLINE);

    c->sum = c->size = 0;
    add_bytes(c, msg->cmd, first);
    if (msg->size > first) {
        c->tail_size = msg->size - first;
        c->tail = malloc(c->tail_size);
        expect(c->tail != NULL, 99);
    }
}

static void fence(struct fake_context *c, const struct ctx_submit_fence *msg)
{
    set_word(c, 62, c->sum);
    set_word(c, 63, c->size);
    if (msg->ring_idx == 2) {
        end_context(c);
        return;
    }
    if (msg->ring_idx > 2) {
        usleep(50000);
    }
    if (msg->ring_idx != 1) {
        set_word(c, msg->ring_idx, msg->seqno);
    }
}

static void serve_context(struct fake_context *c)
{
    AUTO_FDSET struct fdset fds = { 0 };
    union ctx_request msg;
    size_t size = 0;
    uint32_t op;

    if (c->tail) {
        expect(seqpacket_recv(c->fd, c->tail, c->tail_size, &size, NULL) == 0, 99);
        expect(size == c->tail_size, 99);
        add_bytes(c, c->tail, size);
        free(take_ptr(c->tail));
        return;
    }
    if (seqpacket_recv(c->fd, &msg, sizeof(msg), &size, &fds) < 0) {
        end_context(c);
        return;
    }
    expect(dialect_check_request(&dialect_b_context,
                                 c->words ? DIALECT_AFTER_INIT : DIALECT_BEFORE_INIT, &msg, size,
                                 fds.count, &op) == 0,
           99);
    switch (op) {
    case CTX_OP_INIT:
        init(c, &msg.init, &fds);
        break;
    case CTX_OP_CREATE_RESOURCE:
        create_resource(c, &msg.create_resource);
        break;
    case CTX_OP_SUBMIT_CMD:
        submit(c, &msg.submit_cmd);
        break;
    case CTX_OP_SUBMIT_FENCE:
        fence(c, &msg.submit_fence);
        break;
    }
}

static void serve(int fd)
{
    for (;;) {
        struct pollfd polls[CONTEXTS + 1];

        for (int i = 0; i < CONTEXTS; i++) {
            bool quiet = contexts[i].id == 0 || contexts[i].stall;

            polls[i] = (struct pollfd){ .fd = quiet ? -1 : contexts[i].fd, .events = POLLIN };
        }
        polls[CONTEXTS] = (struct pollfd){ .fd = fd, .events = POLLIN };
        expect(poll(polls, CONTEXTS + 1, -1) > 0, 99);
        if (polls[CONTEXTS].revents != 0) {
            if (!serve_server(fd)) {
                return;
            }
            continue; /* contexts may have gone */
        }
        for (int i = 0; i < CONTEXTS; i++) {
            if (contexts[i].id != 0 && polls[i].revents != 0) {
                serve_context(&contexts[i]);
            }
        }
    }
}

int main(int argc, char **argv)
{
    int code = 0, fd;
    bool linger = false;

    expect(argc >= 3 && strcmp(argv[1], "--socket-fd") == 0, 99);
    fd = (int)strtol(argv[2], NULL, 10);
    check_fds();
    check_signals();
    for (int i = 3; i < argc; i++) {
        linger = linger || strcmp(argv[i], "--linger") == 0;
        if (strncmp(argv[i], "--exit=", strlen("--exit=")) == 0) {
            code = (int)strtol(argv[i] + strlen("--exit="), NULL, 10);
        }
    }
    serve(fd);
    for (int i = 0; i < CONTEXTS; i++) {
        if (contexts[i].id != 0) {
            end_context(&contexts[i]);
        }
    }
    if (linger) {
        for (;;) {
            pause();
        }
    }
    return code;
}
