#include "server/render/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "ipc/cleanup.h"
#include "ipc/fdset.h"
#include "ipc/loop.h"
#include "ipc/seqpacket.h"
#include "policy/jail.h"
#include "server/render/command_names.h"
#include "server/render/driver.h"
#include "server/render/quota.h"

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

void supervisor_init(struct supervisor *s, struct loop *loop, struct spawner *spawner,
                     uint32_t ready_timeout_ms, const struct supervisor_owner *owner)
{
    *s = (struct supervisor){
        .loop = loop,
        .spawner = spawner,
        .ready_timeout_ms = ready_timeout_ms,
        .owner = *owner,
        .limit = LOG_LIMIT_INIT(20, 10000),
    };
    list_init(&s->workers);
}

struct worker *supervisor_first(struct supervisor *s, enum worker_state state)
{
    list_for_each (pos, &s->workers) {
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

    list_for_each (pos, &s->workers) {
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
}

struct record_counts supervisor_counts(const struct supervisor *s)
{
    struct record_counts sum = s->stats.counts;

    list_for_each (pos, &s->workers) {
        add_counts(&sum, list_entry(pos, struct worker, link));
    }
    return sum;
}

uint64_t supervisor_memory(const struct supervisor *s)
{
    uint64_t sum = 0, bytes;

    list_for_each (pos, &s->workers) {
        const struct worker *w = list_entry(pos, struct worker, link);

        bytes = atomic_load_explicit(&w->record->memory_bytes, memory_order_relaxed);
        sum = bytes > UINT64_MAX - sum ? UINT64_MAX : sum + bytes;
    }
    return sum;
}

/* ---- the end ------------------------------------------------------------------------------ */

static void send_kill(struct worker *w)
{
    w->killed = true;
    w->state = WORKER_ENDING;
    loop_timer_disarm(w->deadline);
    spawn_kill(w->supervisor->spawner, w->pid, w->death_fd);
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
    w->asked = true;
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
        log_line(LOG_LEVEL_DEBUG, w->ctx_id,
                 "worker %u: still there %d ms after its context, "
                 "killed",
                 w->number, END_GRACE_MS);
        send_kill(w);
    }
}

static void worker_free(struct worker *w)
{
    list_remove(&w->link);
    w->supervisor->n_workers--;
    loop_source_remove(w->death_source);
    loop_source_remove(w->status_source);
    loop_source_remove(w->control_source);
    loop_source_remove(w->log_source);
    loop_source_remove(w->deadline);
    loop_source_remove(w->notify_source);
    if (w->has_notify) {
        notify_fini(&w->notify);
    }
    close_fd(&w->mem_fd);
    close_fd(&w->cache_fd);
    estate_fini(&w->estate);
    close_fd(&w->control_fd);
    close_fd(&w->status_fd);
    close_fd(&w->log_fd);
    close_fd(&w->death_fd);
    if (w->cgroup_fd >= 0) {
        close_fd(&w->cgroup_fd);
        spawn_remove_cgroup(w->supervisor->spawner, w->cgroup_number);
    }
    spawn_unmap_record(w->record);
    free(w);
}

static void drain_control(struct worker *w);
static void on_status(void *arg, int fd, uint32_t events);

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

/* What the kernel held against it. Out of memory comes without a word from the worker. */
static void read_cgroup(struct worker *w)
{
    const struct limits *l = w->supervisor->spawner->limits;
    struct cgroup_events events;

    if (w->cgroup_fd < 0) {
        return;
    }
    cgroup_read_events(w->cgroup_fd, &events);
    if (events.tasks_refused) {
        log_line(LOG_LEVEL_WARN, w->ctx_id,
                 "limit threads: worker %u was refused a thread %llu times (--limit threads=N)",
                 w->number, (unsigned long long)events.tasks_refused);
    }
    if (events.oom_kills && !w->why[0]) {
        (void)snprintf(w->why, sizeof(w->why),
                       "limit %s: out of memory with %llu MiB in use (--limit %s=SIZE)",
                       l->ram ? "ram" : "vm-ram", (unsigned long long)(events.memory_peak >> 20),
                       l->ram ? "ram" : "vm-ram");
    }
}

/* The process is a zombie: its last messages are still to be read, and say what it leaves. */
static void bury(struct worker *w)
{
    struct supervisor *s = w->supervisor;
    siginfo_t info = { 0 };
    struct obituary o;

    spawn_reap(s->spawner, w->pid, w->death_fd, &info);
    if (w->status_source) {
        on_status(w, w->status_fd, 0);
    }
    /* What it left us; not a READY, which comes too late. */
    if (w->control_source && w->ctx_id != 0) {
        drain_control(w);
    }
    w->state = WORKER_ENDING;
    read_cgroup(w);
    o = (struct obituary){
        .code = info.si_code,
        .status = info.si_status,
        .ready = w->ready,
        .served = w->ctx_id != 0,
        .asked = w->asked,
        .killed_by_us = w->killed,
        .why = w->why[0] ? w->why : NULL,
        .command_name = command_name,
    };
    add_counts(&s->stats.counts, w);
    s->stats.died += !obituary_is_peaceful(&o);
    /* First the guest that waits, then the people who read logs. */
    estate_settle(&w->estate);
    drain_log(w);
    if (w->has_notify) {
        log_line(LOG_LEVEL_DEBUG, w->ctx_id,
                 "worker %u: sealed, it was given %u devices and denied %u opens", w->number,
                 w->notify.opened, w->notify.denied);
    }
    s->owner.dead(s->owner.arg, w, &o);
    worker_free(w);
}

static void on_death(void *arg, int fd, uint32_t events)
{
    (void)fd;
    (void)events;
    bury(arg);
}

void supervisor_fini(struct supervisor *s)
{
    uint64_t until = loop_now_ms() + END_GRACE_MS, now;

    list_for_each (pos, &s->workers) {
        worker_end(list_entry(pos, struct worker, link));
    }
    /* Their deadlines kill those that stay. */
    while (s->n_workers > 0 && (now = loop_now_ms()) < until + END_GRACE_MS) {
        if (loop_run_once(s->loop, (int)(until + END_GRACE_MS - now)) < 0) {
            break;
        }
    }
    list_for_each_safe (pos, &s->workers) {
        worker_free(list_entry(pos, struct worker, link));
    }
}

/* What was, why, what it means, what to do: a line each. */
void log_failure(const struct sandbox_failure *failure)
{
    char text[1024];
    char *save = NULL;

    sandbox_failure_text(failure, text, sizeof(text));
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        log_error("%s", line);
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

/* A call that its filter does not list. */
static void on_notify(void *arg, int fd, uint32_t events)
{
    struct worker *w = arg;
    char line[320];

    (void)fd;
    /* The last thread under the filter has gone; the process may take seconds to give its memory
     * back, and the descriptor would be ready all that time. */
    if (!(events & EPOLLIN)) {
        w->notify_source = loop_source_remove(w->notify_source);
        return;
    }
    switch (notify_handle(&w->notify, line, sizeof(line))) {
    case NOTIFY_ANSWERED:
        break;
    case NOTIFY_DENIED:
        log_named(LOG_LEVEL_WARN, w->ctx_id, w->ctx_id ? w->name : NULL, "sandbox: worker %u: %s",
                  w->number, line);
        break;
    case NOTIFY_NO_THREAD:
        log_named(LOG_LEVEL_WARN, w->ctx_id, w->ctx_id ? w->name : NULL,
                  "limit threads: worker %u has %llu, and was refused another (--limit threads=N)",
                  w->number, (unsigned long long)w->notify.max_threads);
        break;
    case NOTIFY_VIOLATION:
        w->notify_source = loop_source_remove(w->notify_source);
        worker_kill(w, "sandbox: %s", line);
        break;
    case NOTIFY_GONE:
        w->notify_source = loop_source_remove(w->notify_source);
        break;
    }
}

static void clean_text(char *ret, size_t size, const char *text, size_t text_size)
{
    size_t n = strnlen(text, MIN(text_size, size - 1));

    for (size_t i = 0; i < n; i++) {
        ret[i] =
            text[i] >= ' ' && text[i] <= '~' && text[i] != '"' && text[i] != '\\' ? text[i] : '?';
    }
    ret[n] = '\0';
}

static int watch_notify(struct worker *w, int own_listener, const struct policy_program *program)
{
    const struct driver_choice *driver = w->supervisor->spawner->driver;
    int r = notify_init(&w->notify, own_listener, w->mem_fd, w->pid, program, driver->devices,
                        w->supervisor->spawner->plan.limits.threads);

    if (r < 0) {
        close_fd(&own_listener);
        return r;
    }
    w->mem_fd = -1;
    w->notify.learn = w->supervisor->learn;
    w->has_notify = true;
    return loop_add_io(w->supervisor->loop, w->notify.listener, EPOLLIN, on_notify, w,
                       &w->notify_source);
}

/* The worker's word is that it is sealed, and which driver it found. 0, or -EPERM with w->why. */
static int check_ready(struct worker *w, const char *driver, struct fdset *fds)
{
    const struct spawner *spawner = w->supervisor->spawner;
    uint32_t layers = spawner->plan.layers;
    const struct policy_program *program = spawner->driver->program;
    char text[128];
    int r;

    if (strcmp(driver, spawner->driver->name) != 0) {
        worker_kill(w,
                    "its driver is \"%s\", but the server has prepared for \"%s\"; start the "
                    "server with --driver",
                    driver, spawner->driver->name);
        return -EPERM;
    }
    if ((layers & SANDBOX_SECCOMP) && program->notify && fds->count == 0) {
        worker_kill(w, "sandbox: it did not hand over its system call listener");
        return -EPERM;
    }
    if (fds->count > 0) {
        r = watch_notify(w, fdset_take(fds, 0), program);
        if (r < 0) {
            worker_kill(w, "sandbox: its system call listener cannot be used: %s", strerror(-r));
            return -EPERM;
        }
    }
    r = jail_verify(w->pid, layers, text, sizeof(text));
    if (r == 0 && w->cgroup_fd >= 0 && !cgroup_holds(w->cgroup_fd, w->pid)) {
        (void)snprintf(text, sizeof(text), "it is not in its cgroup");
        r = -EPERM;
    }
    if (r < 0) {
        worker_kill(w, "sandbox: FAILED the check from outside: %s", text);
    }
    return r;
}

static int handle_ready(struct worker *w, const struct worker_ready *m, struct fdset *fds)
{
    struct supervisor *s = w->supervisor;
    char driver[sizeof(m->driver)];

    if (w->state != WORKER_STARTING) {
        return -EPROTO;
    }
    clean_text(driver, sizeof(driver), m->driver, sizeof(m->driver));
    if (check_ready(w, driver, fds) < 0) {
        return 0; /* on its way out */
    }
    loop_timer_disarm(w->deadline);
    /* Before it can have a guest. */
    spawn_keep_cache(s->spawner, take_fd(&w->cache_fd));
    w->state = WORKER_READY;
    w->ready = true;
    /* W^X is the one layer that cannot be seen from outside, nor is put on by us. */
    w->layers = s->spawner->plan.layers & (m->layers | ~(uint32_t)SANDBOX_MDWE);
    s->stats.layers = w->layers;
    (void)snprintf(s->stats.driver, sizeof(s->stats.driver), "%s", driver);
    clean_text(s->stats.device, sizeof(s->stats.device), m->device, sizeof(m->device));
    log_debug("worker %u ready after %llu ms on \"%s\"", w->number,
              (unsigned long long)(loop_now_ms() - w->started_ms), s->stats.device);
    s->owner.ready(s->owner.arg, w);
    return 0;
}

static int handle_ring(struct worker *w, const struct worker_ring *m, struct fdset *fds)
{
    int r = estate_add_ring(&w->estate, m->number, fdset_take(fds, 0), m->status_offset);

    w->supervisor->stats.rings++;
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
        estate_remove_ring(&w->estate, m->ring_gone.number);
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
            /* It ends; death_fd tells when. If it only closed its end, it ends all the same. */
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

/* The jail stands and the worker's program runs; or not, and then we hear which step failed. */
static void on_status(void *arg, int fd, uint32_t events)
{
    struct worker *w = arg;
    struct sandbox_failure failure = { 0 };
    struct jail_child child = { .status_fd = fd };
    int r;

    (void)events;
    w->status_source = loop_source_remove(w->status_source);
    (void)take_fd(&w->status_fd); /* jail_entered closes it */
    r = jail_entered(&child, &failure);
    if (r < 0) {
        log_failure(&failure);
        return;
    }
    w->mem_fd = notify_open_memory(w->pid);
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
    r = loop_add_io(loop, w->death_fd, EPOLLIN, on_death, w, &w->death_source);
    if (r < 0) {
        return r;
    }
    r = loop_add_io(loop, w->control_fd, EPOLLIN, on_control, w, &w->control_source);
    if (r < 0) {
        return r;
    }
    r = loop_add_io(loop, w->status_fd, EPOLLIN, on_status, w, &w->status_source);
    if (r < 0) {
        return r;
    }
    return loop_add_io(loop, w->log_fd, EPOLLIN, on_log, w, &w->log_source);
}

int supervisor_start(struct supervisor *s, struct worker **ret)
{
    struct sandbox_failure failure = { 0 };
    struct worker *w = calloc(1, sizeof(*w));
    struct spawned p = { 0 };
    int r;

    if (!w) {
        log_error("cannot start a worker: out of memory");
        return -ENOMEM;
    }
    r = spawn_worker(s->spawner, &p, &failure);
    if (r < 0) {
        free(w);
        log_failure(&failure);
        return r;
    }
    *w = (struct worker){
        .supervisor = s,
        .state = WORKER_STARTING,
        .number = ++s->next_number,
        .pid = p.pid,
        .death_fd = p.death_fd,
        .status_fd = p.status_fd,
        .mem_fd = -1,
        .cache_fd = p.cache_fd,
        .cgroup_fd = p.cgroup_fd,
        .cgroup_number = p.number,
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
        spawn_kill(s->spawner, w->pid, w->death_fd);
        spawn_reap(s->spawner, w->pid, w->death_fd, &info);
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
