/*
 * A worker without Vulkan, for tests of the server and its front ends: seals itself like the real
 * one, and does what its guest's command streams say. A stream is 32-bit words: enum fake_command
 * and an argument. Before that, the variable vk_fake_worker may tell it to misbehave at start (its
 * name is one that passes into a worker's environment).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/dialect_b.h"
#include "ipc/fdset.h"
#include "ipc/log.h"
#include "ipc/map.h"
#include "ipc/seqpacket.h"
#include "ipc/worker_wire.h"
#include "policy/seal.h"
#include "tests/server/fake_worker.h"

struct fake {
    struct worker_record *record;
    int socket_fd;
    _Atomic uint32_t *words;
    uint32_t n_words;
    int event_fd;
    bool hold_fences;         /* FAKE_HOLD_FENCES: none is ever done */
    int ring_fd;              /* memory of the newest blob, kept for FAKE_RING and FAKE_STAMP */
    _Atomic uint64_t *stamps; /* FAKE_STAMP; NULL: not asked for */
};

static int say_ready(int listener, uint32_t layers)
{
    struct worker_ready m = { .op = WORKER_OP_READY, .layers = layers };
    const char *policy = getenv("CORDON_POLICY");

    snprintf(m.device, sizeof(m.device), "fake \"device\"");
    snprintf(m.driver, sizeof(m.driver), "%s", policy ? policy : "lavapipe");
    return seqpacket_send(WORKER_FD_CONTROL, &m, sizeof(m), &listener, listener >= 0 ? 1 : 0);
}

static int seal_as_told(int *ret_listener, uint32_t *ret_layers)
{
    const char *what = getenv("CORDON_SEAL");
    struct sandbox_failure failure;
    uint32_t layers = SANDBOX_SECCOMP | SANDBOX_MDWE;

    if (what && strcmp(what, "none") == 0) {
        return 0;
    }
    if (what && strcmp(what, "seccomp") == 0) {
        layers = SANDBOX_SECCOMP;
    }
    return seal(policy_worker(getenv("CORDON_POLICY")), layers, false, ret_listener, ret_layers,
                &failure);
}

static void note(struct fake *f, uint32_t command)
{
    struct recorder_lane *lane = &f->record->lanes[0];
    uint64_t n = atomic_load(&lane->commands);

    atomic_store(&lane->in_use, 1);
    atomic_store(&lane->last[n % WORKER_RECORD_LAST], (uint16_t)command);
    atomic_store(&lane->commands, n + 1);
}

static void tell_ring(struct fake *f, uint32_t status_offset)
{
    struct worker_ring m = { .op = WORKER_OP_RING, .number = 1, .status_offset = status_offset };

    (void)seqpacket_send(WORKER_FD_CONTROL, &m, sizeof(m), &f->ring_fd, 1);
}

static void stamp(struct fake *f, int place)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    atomic_store(&f->stamps[place], (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec);
}

static void start_stamps(struct fake *f)
{
    void *map;

    if (!f->stamps && map_shared(f->ring_fd, 2 * sizeof(uint64_t), &map) == 0) {
        f->stamps = map;
    }
    if (f->stamps) {
        stamp(f, 0);
    }
}

static void run(struct fake *f, const uint32_t *words, size_t n)
{
    for (size_t i = 0; i + 1 < n; i += 2) {
        note(f, words[i]);
        switch (words[i]) {
        case FAKE_CRASH:
            __builtin_trap();
        case FAKE_EXIT:
            snprintf(f->record->reason, sizeof(f->record->reason), "told to exit %u", words[i + 1]);
            _exit((int)words[i + 1]);
        case FAKE_FORBIDDEN:
            (void)syscall(SYS_getpriority, 0, 0);
            break;
        case FAKE_GARBAGE:
            (void)seqpacket_send(WORKER_FD_CONTROL, "garbage", 7, NULL, 0);
            break;
        case FAKE_HOLD_FENCES:
            f->hold_fences = words[i + 1] != 0;
            break;
        case FAKE_RING:
            tell_ring(f, words[i + 1]);
            break;
        case FAKE_STAMP:
            start_stamps(f);
            break;
        case FAKE_STOP:
            (void)poll(NULL, 0, -1);
            break;
        case FAKE_SAY:
            log_info("said %u\nand \x1b[31m more", words[i + 1]);
            break;
        default:
            break;
        }
    }
}

static int take_init(struct fake *f, const struct ctx_init *m, struct fdset *fds)
{
    struct worker_timeline t = { .op = WORKER_OP_TIMELINE, .words = (uint32_t)(m->shmem_size / 4) };
    int own[2] = { fdset_take(fds, 0), fdset_take(fds, 1) };
    void *map;

    if (map_shared(own[0], m->shmem_size, &map) < 0) {
        return -EPROTO;
    }
    f->words = map;
    f->n_words = t.words;
    f->event_fd = own[1];
    return seqpacket_send(WORKER_FD_CONTROL, &t, sizeof(t), own, own[1] >= 0 ? 2 : 1);
}

static int make_blob(struct fake *f, const struct ctx_create_resource *m)
{
    struct ctx_create_resource_reply reply = { .fd_type = CTX_FD_NONE };
    int fd = -1, r;

    if (m->blob_id == FAKE_BLOB_REFUSE) {
        return seqpacket_send(f->socket_fd, &reply, sizeof(reply), NULL, 0);
    }
    if (m->blob_id == FAKE_BLOB_DIE) {
        _exit(7);
    }
    if (m->blob_id == FAKE_BLOB_SLOW) {
        struct timespec ts = { .tv_nsec = 300000000 };

        nanosleep(&ts, NULL);
    }
    r = memfd_create_sized("fake", m->blob_size, &fd);
    if (r < 0) {
        return r;
    }
    reply.fd_type = m->blob_id == FAKE_BLOB_OPAQUE ? CTX_FD_OPAQUE : CTX_FD_SHM;
    reply.map_info = CTX_MAP_CACHED;
    r = seqpacket_send(f->socket_fd, &reply, sizeof(reply), &fd, 1);
    close_fd(&f->ring_fd);
    f->ring_fd = fd;
    return r;
}

static void retire(struct fake *f, const struct ctx_submit_fence *m)
{
    const uint64_t one = 1;

    if (f->hold_fences || m->ring_idx >= f->n_words) {
        return;
    }
    if (f->stamps) {
        stamp(f, 1);
    }
    atomic_store(&f->words[m->ring_idx], m->seqno);
    (void)!write(f->event_fd, &one, sizeof(one));
}

static int submit(struct fake *f, const struct ctx_submit_cmd *m)
{
    static uint32_t stream[(4u << 20) / 4];
    size_t size, first = MIN(m->size, CTX_SUBMIT_INLINE);

    if (m->size > sizeof(stream)) {
        return -EPROTO;
    }
    memcpy(stream, m->cmd, first);
    if (m->size > first) {
        int r = seqpacket_recv(f->socket_fd, (uint8_t *)stream + first, sizeof(stream) - first,
                               &size, NULL);

        if (r < 0 || size != m->size - first) {
            return -EPROTO;
        }
    }
    atomic_fetch_add(&f->record->replies, 1);
    run(f, stream, m->size / 4);
    return 0;
}

static int serve(struct fake *f)
{
    for (;;) {
        AUTO_FDSET struct fdset fds = { 0 };
        union ctx_request m;
        struct pollfd p[] = { { f->socket_fd, POLLIN, 0 }, { WORKER_FD_CONTROL, 0, 0 } };
        size_t size;
        int r;

        if (poll(p, 2, -1) < 0 || p[1].revents) {
            return 0;
        }
        r = seqpacket_recv(f->socket_fd, &m, sizeof(m), &size, &fds);
        if (r < 0) {
            return r == -ECONNRESET ? 0 : 3;
        }
        switch (m.op) {
        case CTX_OP_INIT:
            r = take_init(f, &m.init, &fds);
            break;
        case CTX_OP_CREATE_RESOURCE:
            r = make_blob(f, &m.create_resource);
            break;
        case CTX_OP_SUBMIT_CMD:
            r = submit(f, &m.submit_cmd);
            break;
        case CTX_OP_SUBMIT_FENCE:
            retire(f, &m.submit_fence);
            break;
        default:
            break;
        }
        if (r < 0) {
            return 4;
        }
    }
}

int main(void)
{
    const char *mode = getenv("vk_fake_worker");
    struct fake f = { .event_fd = -1, .ring_fd = -1 };
    AUTO_FDSET struct fdset fds = { 0 };
    struct worker_context ctx;
    int listener = -1;
    uint32_t layers = 0;
    void *map;
    size_t size;

    mode = mode ? mode : "";
    log_set_style(LOG_STYLE_RELAYED);
    if (strcmp(mode, "hang") == 0) {
        pause();
    }
    if (strcmp(mode, "slow") == 0) {
        (void)poll(NULL, 0, 500);
    }
    if (strcmp(mode, "exit") == 0) {
        return SANDBOX_EXIT_WARM_UP;
    }
    if (map_shared(WORKER_FD_RECORD, sizeof(struct worker_record), &map) < 0) {
        return SANDBOX_EXIT_FDS;
    }
    f.record = map;
    if (strcmp(mode, "unsealed") != 0 && seal_as_told(&listener, &layers) < 0) {
        return SANDBOX_EXIT_SECCOMP;
    }
    if (strcmp(mode, "die-sealed") == 0) {
        return SANDBOX_EXIT_MDWE;
    }
    if (say_ready(listener, layers) < 0) {
        return 5;
    }
    close_fd(&listener);
    if (seqpacket_recv(WORKER_FD_CONTROL, &ctx, sizeof(ctx), &size, &fds) < 0) {
        return 0;
    }
    f.socket_fd = fdset_take(&fds, 0);
    return serve(&f);
}
