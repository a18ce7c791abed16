/*
 * The whole vhost-user device behind its socket, without processes: the input is what a front end
 * and a guest do, in any order, and what workers answer. In place of libcordon and the starter's
 * thread are a few lines at the end of this file; all the rest is what the program runs.
 *
 * An input is a list of steps, each a byte (enum step) and what that step needs.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cordon/cordon.h"
#include "ipc/cleanup.h"
#include "ipc/loop.h"
#include "ipc/map.h"
#include "server/vhost_user/frontend.h"
#include "server/vhost_user/starter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
    STEP_MESSAGE,   /* request, flags and kinds of fds, size of payload, payload */
    STEP_MEMORY,    /* where / 4 (u16), size, bytes: into the guest's memory */
    STEP_COMMAND,   /* type, context, flags, ring, size of body, body: in a queue */
    STEP_KICK,      /* queue */
    STEP_STARTED,   /* good, refused, or no server at all */
    STEP_WORKER,    /* what the next calls on workers come to */
    STEP_BLOB,      /* the worker answers */
    STEP_FENCES,    /* those of all contexts move on by so many */
    STEP_MAPPED,    /* the front end answers on the back-end channel; its error */
    STEP_BEGIN,     /* a front end that has said all that must be said, queues running */
    STEP_RECONNECT, /* it goes, another comes */
    STEP_SCREENSHOT,
    STEP_TICK,
    STEPS,
};

#define MEMORY 0x20000u
#define SMALL 0x2000u
#define GUEST 0x100000u
#define USER 0x7f0000000000u
#define QUEUE_SIZE 64u
/* A queue's descriptors, available and used ring; then room for requests and answers. */
#define QUEUE_AT(i) ((i)*0x1000u)
#define AVAIL 0x400u
#define USED 0x800u
#define REQUESTS 0x4000u
#define REQUEST_SIZE 0x400u
#define ANSWERS 0xc000u
#define ANSWER_SIZE 0x600u
#define SLOTS 32u

struct input {
    const uint8_t *at, *end;
};

static struct {
    struct loop *loop;
    struct frontend frontend;
    int memory_fd, small_fd, screenshot_fd;
    uint8_t *memory, *small; /* the latter is what is in flight, and every blob */
    int front, channel;      /* the front end's ends; -1: none */
    int kicks[GPU_QUEUES];
    uint16_t avail[GPU_QUEUES];

    struct starter_events events;
    uint64_t tickets[GPU_CONTEXTS_MAX];
    uint32_t n_tickets;
    uint32_t fences_done;
    uint8_t worker; /* see outcome() */
    uint32_t n_contexts;
} t;

static uint8_t byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* As many bytes as the next one says, times 4; at most `most` and what is left. */
static size_t bytes(struct input *in, size_t most, const uint8_t **ret)
{
    size_t n = byte(in);

    n = MIN(MIN(n * 4, most), (size_t)(in->end - in->at));
    *ret = in->at;
    in->at += n;
    return n;
}

static void settle(void)
{
    for (int i = 0; i < 2; i++) {
        assert(loop_run_once(t.loop, 0) == 0);
    }
}

/* ---- the front end ----------------------------------------------------------------------------- */

static void drain(int fd)
{
    char scrap[4096];

    while (fd >= 0 && recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT) > 0) {
    }
}

static void connect_front(void)
{
    int pair[2];

    if (frontend_connected(&t.frontend)) {
        return;
    }
    close_fd(&t.front);
    close_fd(&t.channel);
    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    t.front = pair[0];
    assert(frontend_connect(&t.frontend, pair[1]) == 0);
    t.avail[0] = t.avail[1] = 0;
}

static int new_channel(void)
{
    int pair[2];

    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    close_fd(&t.channel);
    t.channel = pair[0];
    return pair[1];
}

static void send_message(uint32_t request, uint32_t flags, const void *payload, uint32_t size,
                         uint32_t claimed, const int *fds, uint32_t n_fds)
{
    struct vhost_user_header h = { request, flags, claimed };
    struct iovec iov[] = { { &h, sizeof(h) }, { (void *)payload, size } };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = { 0 };
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

    if (n_fds > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
        CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
        CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n_fds * sizeof(int));
    }
    (void)!sendmsg(t.front, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    settle();
    drain(t.front);
}

/* Two bits a file descriptor: none, the memory, something else, an eventfd or a socket. */
static void message(struct input *in)
{
    uint8_t request = byte(in), how = byte(in), kinds = byte(in);
    const uint8_t *payload;
    size_t size = bytes(in, 300, &payload);
    int fds[4], made = -1;
    uint32_t n = 0;

    for (int i = 0; i < 4; i++) {
        switch (kinds >> (i * 2) & 3) {
        case 1:
            fds[n++] = t.memory_fd;
            break;
        case 2:
            fds[n++] = how & 16 ? t.memory_fd : t.small_fd;
            break;
        case 3:
            if (made < 0) {
                made = request == VHOST_USER_SET_BACKEND_REQ_FD
                           ? new_channel()
                           : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            }
            fds[n++] = made;
            break;
        default:
            break;
        }
    }
    send_message(request % 64, how & 7 ? (how & 8) | 1 : how, payload, (uint32_t)size,
                 (uint32_t)size + (how & 32 ? byte(in) : 0), fds, n);
    close_fd(&made);
}

static void tell(uint32_t request, const void *payload, uint32_t size, int fd)
{
    send_message(request, VHOST_USER_VERSION, payload, size, size, &fd, fd >= 0);
}

static void tell_u64(uint32_t request, uint64_t value, int fd)
{
    tell(request, &value, sizeof(value), fd);
}

static void begin(void)
{
    struct vhost_user_mem_table table = { .n = 1, .regions = { { GUEST, MEMORY, USER, 0 } } };
    struct vhost_user_inflight inflight = { 0, 0, GPU_QUEUES, QUEUE_SIZE, 0 };
    int channel = new_channel();

    tell_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
             1 << VHOST_USER_PROTOCOL_REPLY_ACK | 1 << VHOST_USER_PROTOCOL_BACKEND_REQ |
                 1 << VHOST_USER_PROTOCOL_SHMEM,
             -1);
    tell(VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, channel);
    close_fd(&channel);
    tell_u64(VHOST_USER_SET_FEATURES, 1ull << 32 | 1 << 30 | 0xd, -1);
    tell(VHOST_USER_SET_MEM_TABLE, &table, 40, t.memory_fd);
    inflight.mmap_size = 2 * vhost_user_inflight_stride(QUEUE_SIZE);
    tell(VHOST_USER_SET_INFLIGHT_FD, &inflight, sizeof(inflight), t.small_fd);
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        uint64_t at = USER + QUEUE_AT(i);
        struct vhost_user_vring_addr addr = { i, 0, at, at + USED, at + AVAIL, 0 };

        memset(t.memory + QUEUE_AT(i), 0, 0x1000);
        t.avail[i] = 0;
        tell(VHOST_USER_SET_VRING_NUM, (uint32_t[]){ i, QUEUE_SIZE }, 8, -1);
        tell(VHOST_USER_SET_VRING_BASE, (uint32_t[]){ i, 0 }, 8, -1);
        tell(VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1);
        tell_u64(VHOST_USER_SET_VRING_KICK, i, t.kicks[i]);
        tell(VHOST_USER_SET_VRING_ENABLE, (uint32_t[]){ i, 1 }, 8, -1);
    }
}

static void mapped(struct input *in)
{
    struct vhost_user_header h;
    struct vhost_user_shmem_map m;
    uint64_t error = byte(in);

    if (t.channel >= 0 && recv(t.channel, &h, sizeof(h), MSG_DONTWAIT) == sizeof(h)) {
        struct vhost_user_header answer = { h.request, 5, sizeof(error) };

        if (h.request != VHOST_USER_BACKEND_CONFIG_CHANGE) {
            ssize_t n = recv(t.channel, &m, sizeof(m), MSG_DONTWAIT);

            assert(n == sizeof(m) && (h.request == VHOST_USER_BACKEND_SHMEM_MAP ||
                                      h.request == VHOST_USER_BACKEND_SHMEM_UNMAP));
            assert(m.shm_offset < t.frontend.window.size);
            (void)n;
        }
        (void)!send(t.channel, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)!send(t.channel, &error, sizeof(error), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    settle();
}

/* ---- the guest --------------------------------------------------------------------------------- */

static void kick(uint32_t queue)
{
    (void)eventfd_write(t.kicks[queue], 1);
    settle();
}

static void desc(uint32_t queue, uint32_t i, uint64_t addr, uint32_t len, uint16_t flags,
                 uint16_t next)
{
    uint8_t *p = t.memory + QUEUE_AT(queue) + (size_t)i * 16;

    memcpy(p, &addr, 8);
    memcpy(p + 8, &len, 4);
    memcpy(p + 12, &flags, 2);
    memcpy(p + 14, &next, 2);
}

static void command(struct input *in)
{
    uint8_t type = byte(in), ctx = byte(in), flags = byte(in), ring = byte(in);
    uint32_t queue = type >> 7, slot = t.avail[queue] % SLOTS;
    const uint8_t *body;
    size_t size = bytes(in, REQUEST_SIZE - sizeof(struct virtio_gpu_header), &body);
    struct virtio_gpu_header h = {
        .type = ((type >> 5 & 3) + 1u) << 8 | (type & 0x1f),
        .flags = flags & 3,
        .fence_id = t.avail[queue],
        .ctx_id = ctx,
        .ring_idx = ring,
    };
    uint8_t *avail = t.memory + QUEUE_AT(queue) + AVAIL;
    uint32_t request = REQUESTS + slot * REQUEST_SIZE;
    uint16_t head = (uint16_t)(slot * 2);

    memcpy(t.memory + request, &h, sizeof(h));
    memcpy(t.memory + request + sizeof(h), body, size);
    desc(queue, head, GUEST + request, (uint32_t)(sizeof(h) + size), 1, head + 1);
    desc(queue, head + 1u, GUEST + ANSWERS + slot % 16 * ANSWER_SIZE, ANSWER_SIZE, 2, 0);
    memcpy(avail + 4 + t.avail[queue] % QUEUE_SIZE * 2, &head, 2);
    t.avail[queue]++;
    memcpy(avail + 2, &t.avail[queue], 2);
    if (flags & 4) {
        kick(queue);
    }
}

static void write_memory(struct input *in)
{
    uint32_t at = ((uint32_t)byte(in) << 8 | byte(in)) * 4u;
    const uint8_t *from;
    size_t n = bytes(in, 256, &from);

    if (at < MEMORY) {
        memcpy(t.memory + at, from, MIN(n, MEMORY - at));
    } else {
        at %= SMALL;
        memcpy(t.small + at, from, MIN(n, SMALL - at));
    }
}

/* ---- workers ----------------------------------------------------------------------------------- */

struct cordon_context {
    int fd, fence_fd; /* eventfds: the first is always writable */
    bool begun;
    uint32_t seqno[CORDON_RING_COUNT];
};

static void started(struct input *in)
{
    static const int errors[] = { 0, 0, 0, -EREMOTEIO };
    struct cordon_context *context = NULL;
    int error = errors[byte(in) % ARRAY_SIZE(errors)];

    if (t.n_tickets == 0) {
        return;
    }
    if (error == 0) {
        context = calloc(1, sizeof(*context));
        assert(context);
        context->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        context->fence_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        t.n_contexts++;
    }
    t.events.made(t.events.arg, t.tickets[--t.n_tickets], error, context);
    settle();
}

static void on_each_context(void (*fn)(struct cordon_context *c))
{
    list_for_each (pos, &t.frontend.gpu.contexts) {
        struct context *x = list_entry(pos, struct context, link);

        if (x->cordon) {
            fn(x->cordon);
        }
    }
    settle();
}

static void answer_blob(struct cordon_context *c)
{
    (void)eventfd_write(c->fd, 1);
}

static void move_fences(struct cordon_context *c)
{
    (void)eventfd_write(c->fence_fd, 1);
}

/* Two bits for each of the next four calls: good, good, not now, gone. */
static int outcome(void)
{
    static const int errors[] = { 0, 0, -EAGAIN, -EPIPE };
    int r = errors[t.worker & 3];

    t.worker >>= 2;
    return r;
}

static int lowest_fd(void)
{
    int fd = fcntl(t.memory_fd, F_DUPFD_CLOEXEC, 0), lowest = fd;

    close_fd(&fd);
    return lowest;
}

/* ---- one input --------------------------------------------------------------------------------- */

static void setup(void)
{
    void *p;

    log_to_fd(-1);
    (void)signal(SIGPIPE, SIG_IGN);
    t.front = t.channel = -1;
    assert(memfd_create_sized("memory", MEMORY, &t.memory_fd) == 0);
    assert(memfd_create_sized("small", SMALL, &t.small_fd) == 0);
    assert(memfd_create_sized("screenshot", 0x1000, &t.screenshot_fd) == 0);
    assert(map_shared(t.memory_fd, MEMORY, &p) == 0);
    t.memory = p;
    assert(map_shared(t.small_fd, SMALL, &p) == 0);
    t.small = p;
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        t.kicks[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    assert(loop_create(&t.loop) == 0);
}

static void leaving(void *arg)
{
    (void)arg;
}

static void step(struct input *in)
{
    switch (byte(in) % STEPS) {
    case STEP_MESSAGE:
        message(in);
        break;
    case STEP_MEMORY:
        write_memory(in);
        break;
    case STEP_COMMAND:
        command(in);
        break;
    case STEP_KICK:
        kick(byte(in) % GPU_QUEUES);
        break;
    case STEP_STARTED:
        started(in);
        break;
    case STEP_WORKER:
        t.worker = byte(in);
        break;
    case STEP_BLOB:
        on_each_context(answer_blob);
        break;
    case STEP_FENCES:
        t.fences_done += byte(in) % 8;
        on_each_context(move_fences);
        break;
    case STEP_MAPPED:
        mapped(in);
        break;
    case STEP_BEGIN:
        begin();
        break;
    case STEP_RECONNECT:
        frontend_disconnect(&t.frontend);
        break;
    case STEP_SCREENSHOT:
        (void)!display_screenshot(&t.frontend.gpu, t.screenshot_fd);
        break;
    case STEP_TICK:
        if (byte(in) & 1) {
            t.events.server_lost(t.events.arg);
        } else {
            context_tick(&t.frontend.gpu);
        }
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct frontend_config config = {
        .mode = { 64, 64 },
        .window_size = 16 << 20,
        .shmem_bit = VHOST_USER_PROTOCOL_SHMEM,
    };
    struct input in = { data, data + size };
    const struct gpu *g = &t.frontend.gpu;
    int lowest;

    if (!t.loop) {
        setup();
    }
    lowest = lowest_fd();
    memset(t.memory, 0, MEMORY);
    memset(t.small, 0, SMALL);
    t.worker = 0;
    t.fences_done = t.n_tickets = 0;
    assert(frontend_init(&t.frontend, t.loop, NULL, &config, leaving, NULL) == 0);
    while (in.at < in.end) {
        connect_front();
        step(&in);
    }
    frontend_disconnect(&t.frontend);
    assert(g->n_contexts == 0 && g->n_resources == 0 && g->n_attachments == 0);
    assert(g->n_entries == 0 && g->pixel_bytes == 0 && g->held_bytes == 0);
    assert(list_empty(&g->ops) && list_empty(&g->held) && t.n_contexts == 0);
    frontend_fini(&t.frontend);
    close_fd(&t.front);
    close_fd(&t.channel);
    assert(lowest_fd() == lowest);
    return 0;
}

/* ---- in place of the starter ------------------------------------------------------------------- */

int starter_create(struct loop *loop, struct keeper *keeper, const struct starter_events *events,
                   struct starter **ret_starter)
{
    (void)loop;
    (void)keeper;
    t.events = *events;
    *ret_starter = NULL;
    return 0;
}

struct starter *starter_destroy(struct starter *s)
{
    return s;
}

int starter_make(struct starter *s, uint64_t ticket, uint32_t ctx_id, const char *name)
{
    (void)s;
    (void)ctx_id;
    assert(strlen(name) < 64);
    assert(t.n_tickets < GPU_CONTEXTS_MAX);
    t.tickets[t.n_tickets++] = ticket;
    return 0;
}

void starter_cancel(struct starter *s, uint64_t ticket)
{
    uint32_t i = 0;

    (void)s;
    while (t.tickets[i] != ticket) {
        assert(++i < t.n_tickets);
    }
    t.tickets[i] = t.tickets[--t.n_tickets];
}

void starter_end(struct starter *s, struct cordon_context *own_context)
{
    (void)s;
    close_fd(&own_context->fd);
    close_fd(&own_context->fence_fd);
    free(own_context);
    t.n_contexts--;
}

/* ---- in place of libcordon --------------------------------------------------------------------- */

void cordon_context_set_wait(struct cordon_context *context, bool wait)
{
    (void)context;
    assert(!wait);
}

int cordon_context_fd(const struct cordon_context *context)
{
    return context->fd;
}

int cordon_context_fence_fd(const struct cordon_context *context)
{
    return context->fence_fd;
}

void cordon_context_fence_drain(struct cordon_context *context)
{
    eventfd_t n;

    (void)eventfd_read(context->fence_fd, &n);
}

bool cordon_context_fence_done(const struct cordon_context *context, uint32_t ring, uint32_t seqno)
{
    (void)context;
    assert(ring < CORDON_RING_COUNT);
    return seqno <= t.fences_done;
}

int cordon_fence(struct cordon_context *context, uint32_t ring, uint32_t *ret_seqno)
{
    int r = outcome();

    assert(ring < CORDON_RING_COUNT);
    if (r == 0) {
        *ret_seqno = ++context->seqno[ring];
    }
    return r;
}

int cordon_context_flush(struct cordon_context *context)
{
    (void)context;
    return outcome();
}

int cordon_submit(struct cordon_context *context, const void *commands, size_t size)
{
    AUTO_FREE void *copy = malloc(size);

    (void)context;
    assert(size > 0 && size % 4 == 0 && copy);
    memcpy(copy, commands, size); /* all of it is there */
    return outcome();
}

int cordon_blob_begin(struct cordon_context *context, uint32_t res_id, uint64_t blob_id,
                      uint64_t size, uint32_t flags)
{
    int r = outcome();

    (void)blob_id;
    (void)flags;
    assert(res_id != 0 && size > 0 && !context->begun);
    context->begun = r == 0;
    return r;
}

int cordon_blob_finish(struct cordon_context *context, struct cordon_blob *ret_blob)
{
    eventfd_t n;
    int r = outcome();

    assert(context->begun);
    if (r == -EAGAIN) {
        return r;
    }
    (void)eventfd_read(context->fd, &n);
    context->begun = false;
    if (r == 0) {
        *ret_blob = (struct cordon_blob){
            .fd = fcntl(t.small_fd, F_DUPFD_CLOEXEC, 0),
            .fd_type = t.worker & 1 ? CORDON_FD_SHM : CORDON_FD_OPAQUE,
            .map_info = CORDON_MAP_CACHED,
        };
    }
    return r == -EPIPE ? -EREMOTEIO : r;
}

int cordon_resource_import(struct cordon_context *context, uint32_t res_id,
                           enum cordon_fd_type fd_type, int fd, uint64_t size)
{
    (void)context;
    (void)fd_type;
    (void)size;
    assert(res_id != 0 && fd >= 0);
    return outcome();
}

int cordon_resource_destroy(struct cordon_context *context, uint32_t res_id)
{
    (void)context;
    assert(res_id != 0);
    return outcome();
}
