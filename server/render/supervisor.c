#include "server/render/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ipc/cleanup.h"
#include "ipc/fdset.h"
#include "ipc/loop.h"
#include "ipc/seqpacket.h"
#include "server/render/command_names.h"
#include "server/render/verify.h"

/* A worker that was told to end closes a device or two; then the kernel can do the rest. */
#define END_GRACE_MS 1000
/* Messages of one worker handled before the loop may look elsewhere. */
#define CONTROL_BATCH 64
/* Pipes hold 64 KiB: what a dead worker can have left unread. */
#define LOG_READS_AT_END 64

union worker_message {
    uint32_t op;
    struct worker_ready ready;
    struct worker_timeline timeline;
    struct worker_ring ring;
    struct worker_ring_gone ring_gone;
};

void supervisor_init(struct supervisor *s, struct loop *loop, const struct spawn_config *spawn,
                     uint32_t ready_timeout_ms, const struct supervisor_owner *owner)
{
    *s = (struct supervisor){
        .loop = loop,
        .spawn = spawn,
        .ready_timeout_ms = ready_timeout_ms,
        .owner = *owner,
        .limit = LOG_LIMIT_INIT(20, 10000),
    };
    list_init(&s->workers);
}

struct worker *supervisor_first(struct supervisor *s, enum worker_state state)
{
    list_for_each(pos, &s->workers)
    {
        struct worker *w = list_entry(pos, struct worker, link);

        if (w->state == state) {
            return w;
        }
    }
    return NULL;
}

uint32_t supervisor_count(const struct supervisor *s, enum worker_state state)
{
    uint32_t n = 0;

    list_for_each(pos, &s->workers)
    {
        n += list_entry(pos, struct worker, link)->state == state;
    }
    return n;
}

static void add_counts(struct record_counts *sum, const struct worker *w)
{
    struct record_counts c;

    record_count(w->record, &c);
    sum->commands += c.commands;
    sum->replies += c.replies;
    sum->rings += c.rings;
}

struct record_counts supervisor_counts(const struct supervisor *s)
{
    struct record_counts sum = s->stats.counts;

    list_for_each(pos, &s->workers)
    {
        add_counts(&sum, list_entry(pos, struct worker, link));
    }
    return sum;
}

/* ---- the end ------------------------------------------------------------------------------ */

static void send_kill(struct worker *w)
{
    w->killed = true;
    w->state = WORKER_ENDING;
    loop_timer_disarm(w->deadline);
    /* Only a worker that is dead already can be missed here. */
    (void)syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
}

void worker_kill(struct worker *w, const char *fmt, ...)
{
    va_list args;

    if (!w->why[0]) {
        va_start(args, fmt);
        (void)vsnprintf(w->why, sizeof(w->why), fmt, args);
        va_end(args);
    }
    send_kill(w);
}

void worker_end(struct worker *w)
{
    if (w->state == WORKER_ENDING) {
        return;
    }
    w->state = WORKER_ENDING;
    (void)shutdown(w->control_fd, SHUT_RDWR);
    w->control_source = loop_source_remove(w->control_source);
    loop_timer_arm(w->deadline, END_GRACE_MS);
}

static void on_deadline(void *arg)
{
    struct worker *w = arg;

    if (w->state == WORKER_STARTING) {
        worker_kill(w, "not ready after %u ms", w->supervisor->ready_timeout_ms);
    } else {
        log_line(LOG_LEVEL_DEBUG, w->ctx_id, "worker %u: still there %d ms after its context, "
                                             "killed",
                 w->number, END_GRACE_MS);
        send_kill(w);
    }
}

static void worker_free(struct worker *w)
{
    list_remove(&w->link);
    w->supervisor->n_workers--;
    loop_source_remove(w->pidfd_source);
    loop_source_remove(w->control_source);
    loop_source_remove(w->log_source);
    loop_source_remove(w->deadline);
    notify_destroy(w->notify);
    estate_fini(&w->estate);
    close_fd(&w->control_fd);
    close_fd(&w->log_fd);
    close_fd(&w->pidfd);
    spawn_unmap_record(w->record);
    free(w);
}

static void drain_control(struct worker *w);

static void drain_log(struct worker *w)
{
    for (int i = 0; i < LOG_READS_AT_END; i++) {
        int r = log_relay_read(&w->relay, w->log_fd);

        if (r < 0) {
            break;
        }
    }
    log_relay_end(&w->relay);
}

/* The process is a zombie: its last messages are still to be read, and say what it leaves. */
static void bury(struct worker *w)
{
    struct supervisor *s = w->supervisor;
    siginfo_t info = { 0 };
    struct obituary o;

    (void)waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED);
    if (w->control_source) {
        drain_control(w);
    }
    o = (struct obituary){
        .code = info.si_code,
        .status = info.si_status,
        .served = w->ctx_id != 0,
        .killed_by_us = w->killed,
        .why = w->why[0] ? w->why : NULL,
        .command_name = command_name,
    };
    add_counts(&s->stats.counts, w);
    s->stats.died += !obituary_is_peaceful(&o);
    /* First the guest that waits, then the people who read logs. */
    estate_settle(&w->estate);
    drain_log(w);
    s->owner.dead(s->owner.arg, w, &o);
    worker_free(w);
}

static void on_pidfd(void *arg, int fd, uint32_t events)
{
    (void)fd;
    (void)events;
    bury(arg);
}

void supervisor_fini(struct supervisor *s)
{
    list_for_each_safe(pos, &s->workers)
    {
        struct worker *w = list_entry(pos, struct worker, link);
        siginfo_t info;

        add_counts(&s->stats.counts, w);
        send_kill(w);
        (void)waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED);
        worker_free(w);
    }
}

/* ---- what it says ------------------------------------------------------------------------- */

static void on_log(void *arg, int fd, uint32_t events)
{
    struct worker *w = arg;

    (void)events;
    if (log_relay_read(&w->relay, fd) == -ENODATA) {
        w->log_source = loop_source_remove(w->log_source);
    }
}

static void on_violation(void *arg, const char *text)
{
    worker_kill(arg, "%s", text);
}

static void clean_text(char *ret, size_t size, const char *text, size_t text_size)
{
    size_t n = strnlen(text, MIN(text_size, size - 1));

    for (size_t i = 0; i < n; i++) {
        ret[i] = text[i] >= ' ' && text[i] <= '~' && text[i] != '"' && text[i] != '\\' ? text[i]
                                                                                       : '?';
    }
    ret[n] = '\0';
}

/* The worker says that it is sealed. We look for ourselves. */
static int handle_ready(struct worker *w, const struct worker_ready *m, struct fdset *fds)
{
    struct supervisor *s = w->supervisor;
    char why[160];
    int r;

    if (w->state != WORKER_STARTING) {
        return -EPROTO;
    }
    if (fds->count > 0) {
        r = notify_create(s->loop, w->pid, fdset_take(fds, 0), s->spawn->sandbox, on_violation, w,
                          &w->notify);
        if (r < 0) {
            worker_kill(w, "its system call notifications cannot be read: %s", strerror(-r));
            return 0;
        }
    }
    r = verify_worker(w->pid, s->spawn->sandbox, m->layers, &w->layers, why, sizeof(why));
    if (r < 0) {
        worker_kill(w, "sandbox: FAILED %s", why);
        return 0;
    }
    loop_timer_disarm(w->deadline);
    w->state = WORKER_READY;
    s->stats.layers = w->layers;
    clean_text(s->stats.device, sizeof(s->stats.device), m->device, sizeof(m->device));
    clean_text(s->stats.driver, sizeof(s->stats.driver), m->driver, sizeof(m->driver));
    log_debug("worker %u ready after %llu ms on \"%s\"", w->number,
              (unsigned long long)(loop_now_ms() - w->started_ms), s->stats.device);
    s->owner.ready(s->owner.arg, w);
    return 0;
}

static int handle_ring(struct worker *w, const struct worker_ring *m, struct fdset *fds)
{
    int r = estate_add_ring(&w->estate, m->number, fdset_take(fds, 0), m->status_offset);

    if (r == -ENOSPC || r == -ENOMEM) {
        log_limited(&w->supervisor->limit, LOG_LEVEL_WARN, w->ctx_id,
                    "ring %u is not watched: %s; should the worker die, the guest would not be "
                    "told through it",
                    m->number, r == -ENOSPC ? "too many rings" : "out of memory");
        return 0;
    }
    return r;
}

struct control_rule {
    size_t size;
    uint32_t min_fds, max_fds;
};

static const struct control_rule control_rules[] = {
    [WORKER_OP_READY] = { sizeof(struct worker_ready), 0, 1 },
    [WORKER_OP_TIMELINE] = { sizeof(struct worker_timeline), 1, 2 },
    [WORKER_OP_RING] = { sizeof(struct worker_ring), 1, 1 },
    [WORKER_OP_RING_GONE] = { sizeof(struct worker_ring_gone), 0, 0 },
};

static int handle_control(struct worker *w, const union worker_message *m, size_t size,
                          struct fdset *fds)
{
    const struct control_rule *rule;

    if (size < sizeof(m->op) || m->op >= ARRAY_SIZE(control_rules)) {
        return -EPROTO;
    }
    rule = &control_rules[m->op];
    if (rule->size != size || fds->count < rule->min_fds || fds->count > rule->max_fds) {
        return -EPROTO;
    }
    if (m->op != WORKER_OP_READY && w->ctx_id == 0) {
        return -EPROTO;
    }
    switch (m->op) {
    case WORKER_OP_READY:
        return handle_ready(w, &m->ready, fds);
    case WORKER_OP_TIMELINE:
        return estate_set_words(&w->estate, fdset_take(fds, 0), fdset_take(fds, 1),
                                m->timeline.words);
    case WORKER_OP_RING:
        return handle_ring(w, &m->ring, fds);
    case WORKER_OP_RING_GONE:
        /* Unknown where it was one too many. */
        (void)estate_remove_ring(&w->estate, m->ring_gone.number);
        return 0;
    default:
        return -EPROTO;
    }
}

/* Reads what is there. A worker that breaks the protocol has been taken over, or is broken. */
static void drain_control(struct worker *w)
{
    for (int i = 0; i < CONTROL_BATCH && w->control_source; i++) {
        AUTO_FDSET struct fdset fds = { 0 };
        union worker_message m;
        size_t size;
        int r;

        r = seqpacket_recv_flags(w->control_fd, &m, sizeof(m), &size, &fds, MSG_DONTWAIT);
        if (r == -EAGAIN) {
            return;
        }
        if (r == 0) {
            r = handle_control(w, &m, size, &fds);
        }
        if (r == -ECONNRESET) {
            /* It ends; the pidfd tells how. If it only closed its end, it ends all the same. */
            w->control_source = loop_source_remove(w->control_source);
            if (w->state != WORKER_ENDING) {
                w->state = WORKER_ENDING;
                loop_timer_arm(w->deadline, END_GRACE_MS);
            }
            return;
        }
        if (r < 0) {
            w->control_source = loop_source_remove(w->control_source);
            worker_kill(w, "broke the protocol with its server (message %u of %zu bytes: %s)",
                        size >= sizeof(m.op) ? m.op : 0, size, strerror(-r));
            return;
        }
    }
}

static void on_control(void *arg, int fd, uint32_t events)
{
    (void)fd;
    (void)events;
    drain_control(arg);
}

/* ---- the beginning ------------------------------------------------------------------------ */

static int watch(struct worker *w)
{
    struct loop *loop = w->supervisor->loop;
    int r;

    r = loop_add_timer(loop, on_deadline, w, &w->deadline);
    if (r < 0) {
        return r;
    }
    r = loop_add_io(loop, w->pidfd, EPOLLIN, on_pidfd, w, &w->pidfd_source);
    if (r < 0) {
        return r;
    }
    r = loop_add_io(loop, w->control_fd, EPOLLIN, on_control, w, &w->control_source);
    if (r < 0) {
        return r;
    }
    return loop_add_io(loop, w->log_fd, EPOLLIN, on_log, w, &w->log_source);
}

int supervisor_start(struct supervisor *s, struct worker **ret)
{
    struct sandbox_failure failure = { 0 };
    struct worker *w = calloc(1, sizeof(*w));
    struct spawned p;
    int r;

    if (!w) {
        log_error("cannot start a worker: out of memory");
        return -ENOMEM;
    }
    r = spawn_worker(s->spawn, &p, &failure);
    if (r < 0) {
        char text[1024];

        free(w);
        sandbox_failure_text(&failure, text, sizeof(text));
        for (char *save, *line = strtok_r(text, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save)) {
            log_limited(&s->limit, LOG_LEVEL_ERROR, 0, "%s", line);
        }
        return r;
    }
    *w = (struct worker){
        .supervisor = s,
        .state = WORKER_STARTING,
        .number = ++s->next_number,
        .pid = p.pid,
        .pidfd = p.pidfd,
        .control_fd = p.control_fd,
        .log_fd = p.log_fd,
        .record = p.record,
        .started_ms = loop_now_ms(),
    };
    estate_init(&w->estate);
    log_relay_init(&w->relay);
    list_append(&s->workers, &w->link);
    s->n_workers++;
    s->stats.started++;
    r = watch(w);
    if (r < 0) {
        siginfo_t info;

        log_error("cannot watch worker %u: %s", w->number, strerror(-r));
        (void)syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
        (void)waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED);
        worker_free(w);
        return r;
    }
    loop_timer_arm(w->deadline, s->ready_timeout_ms);
    *ret = w;
    return 0;
}

int worker_serve(struct worker *w, uint32_t ctx_id, const char *name, int socket_fd)
{
    struct worker_context m = { .op = WORKER_OP_CONTEXT, .ctx_id = ctx_id };
    const struct iovec iov = { &m, sizeof(m) };
    int r;

    assert(w->state == WORKER_READY);
    (void)snprintf(m.name, sizeof(m.name), "%s", name);
    w->state = WORKER_SERVING;
    w->ctx_id = ctx_id;
    (void)snprintf(w->name, sizeof(w->name), "%s", name);
    log_relay_set_context(&w->relay, ctx_id, name);
    /* It has never been written to, so there is room. */
    r = seqpacket_sendv(w->control_fd, &iov, 1, &socket_fd, 1, MSG_DONTWAIT);
    if (r < 0) {
        worker_kill(w, "did not take its context: %s", strerror(-r));
    }
    return r;
}
