#include "ipc/loop.h"

#include <assert.h>
#include <limits.h>
#include <time.h>

#include "ipc/cleanup.h"
#include "ipc/list.h"

#define EVENTS_PER_ROUND 16

enum source_kind {
    SOURCE_IO,
    SOURCE_SIGNAL,
    SOURCE_TIMER,
};

struct loop_source {
    struct loop *loop;
    enum source_kind kind;
    bool removed;
    bool armed;        /* timers */
    int fd;            /* io: borrowed; signal: owned; timer: -1 */
    uint64_t due_ms;   /* timers, when armed */
    uint64_t armed_in; /* timers: the loop::round it was armed in */
    void *arg;
    union {
        loop_io_fn io;
        loop_signal_fn signal;
        loop_timer_fn timer;
    } fn;
    struct list link; /* loop::sources, or loop::removed */
};

struct loop {
    int epoll_fd;
    uint64_t round;
    bool dispatching;
    bool stopping;
    int code;
    struct list sources;
    struct list removed; /* freed at the end of the round */
};

uint64_t loop_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int loop_create(struct loop **ret_loop)
{
    AUTO_FREE struct loop *l = calloc(1, sizeof(*l));

    if (!l) {
        return -ENOMEM;
    }
    list_init(&l->sources);
    list_init(&l->removed);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        return -errno;
    }
    *ret_loop = take_ptr(l);
    return 0;
}

static void free_removed(struct loop *l)
{
    list_for_each_safe (pos, &l->removed) {
        list_remove(pos);
        free(list_entry(pos, struct loop_source, link));
    }
}

struct loop *loop_destroy(struct loop *l)
{
    if (!l) {
        return NULL;
    }
    assert(!l->dispatching);
    list_for_each_safe (pos, &l->sources) {
        loop_source_remove(list_entry(pos, struct loop_source, link));
    }
    close_fd(&l->epoll_fd);
    free(l);
    return NULL;
}

static struct loop_source *source_new(struct loop *l, enum source_kind kind, int fd, void *arg)
{
    struct loop_source *s = calloc(1, sizeof(*s));

    if (s) {
        s->loop = l;
        s->kind = kind;
        s->fd = fd;
        s->arg = arg;
        list_init(&s->link);
    }
    return s;
}

static int source_watch(struct loop_source *s, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = s };

    return epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_ADD, s->fd, &ev) < 0 ? -errno : 0;
}

/* Makes a complete source the loop's. */
static void source_keep(struct loop_source *s, struct loop_source **ret_source)
{
    list_append(&s->loop->sources, &s->link);
    if (ret_source) {
        *ret_source = s;
    }
}

int loop_add_io(struct loop *l, int fd, uint32_t events, loop_io_fn fn, void *arg,
                struct loop_source **ret_source)
{
    AUTO_FREE struct loop_source *s = source_new(l, SOURCE_IO, fd, arg);
    int r;

    if (!s) {
        return -ENOMEM;
    }
    s->fn.io = fn;
    r = source_watch(s, events);
    if (r < 0) {
        return r;
    }
    source_keep(take_ptr(s), ret_source);
    return 0;
}

int loop_source_set_events(struct loop_source *s, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = s };

    assert(s->kind == SOURCE_IO && !s->removed);
    return epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev) < 0 ? -errno : 0;
}

int loop_add_signals(struct loop *l, const sigset_t *signals, loop_signal_fn fn, void *arg,
                     struct loop_source **ret_source)
{
    AUTO_CLOSE int fd = -1;
    AUTO_FREE struct loop_source *s = NULL;
    int r;

    r = pthread_sigmask(SIG_BLOCK, signals, NULL);
    if (r != 0) {
        return -r;
    }
    fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    s = source_new(l, SOURCE_SIGNAL, fd, arg);
    if (!s) {
        return -ENOMEM;
    }
    s->fn.signal = fn;
    r = source_watch(s, EPOLLIN);
    if (r < 0) {
        return r;
    }
    (void)take_fd(&fd); /* now the source's */
    source_keep(take_ptr(s), ret_source);
    return 0;
}

int loop_add_timer(struct loop *l, loop_timer_fn fn, void *arg, struct loop_source **ret_source)
{
    struct loop_source *s = source_new(l, SOURCE_TIMER, -1, arg);

    if (!s) {
        return -ENOMEM;
    }
    s->fn.timer = fn;
    source_keep(s, ret_source);
    return 0;
}

void loop_timer_arm(struct loop_source *s, uint64_t delay_ms)
{
    assert(s->kind == SOURCE_TIMER && !s->removed);
    s->due_ms = loop_now_ms() + delay_ms;
    s->armed_in = s->loop->round;
    s->armed = true;
}

void loop_timer_disarm(struct loop_source *s)
{
    assert(s->kind == SOURCE_TIMER);
    s->armed = false;
}

struct loop_source *loop_source_remove(struct loop_source *s)
{
    struct loop *l;

    if (!s) {
        return NULL;
    }
    assert(!s->removed);
    l = s->loop;
    if (s->kind != SOURCE_TIMER) {
        /* Must succeed: an fd closed too early may live on in a child, and its events with it. */
        int r = epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);

        assert(r == 0);
    }
    if (s->kind == SOURCE_SIGNAL) {
        close_fd(&s->fd);
    }
    s->removed = true;
    list_remove(&s->link);
    if (l->dispatching) {
        list_append(&l->removed, &s->link);
    } else {
        free(s);
    }
    return NULL;
}

/* How long epoll_wait may sleep, given what the caller allows. */
static int round_timeout(const struct loop *l, int timeout_ms)
{
    uint64_t now = loop_now_ms();
    uint64_t best = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms;

    list_for_each (pos, &l->sources) {
        const struct loop_source *s = list_entry(pos, struct loop_source, link);

        if (s->kind == SOURCE_TIMER && s->armed) {
            best = MIN(best, s->due_ms > now ? s->due_ms - now : 0);
        }
    }
    if (best == UINT64_MAX) {
        return -1;
    }
    return best > INT_MAX ? INT_MAX : (int)best;
}

static void dispatch_signals(struct loop_source *s)
{
    struct signalfd_siginfo info;

    while (!s->removed && read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        s->fn.signal(s->arg, &info);
    }
}

/* Runs every timer that is due. A callback may remove any source, so the walk starts again after
 * each one; what is armed in this round waits for the next, so the walks end. */
static void dispatch_timers(struct loop *l)
{
    uint64_t now = loop_now_ms();
    bool ran;

    do {
        ran = false;
        list_for_each (pos, &l->sources) {
            struct loop_source *s = list_entry(pos, struct loop_source, link);

            if (s->kind == SOURCE_TIMER && s->armed && s->due_ms <= now &&
                s->armed_in != l->round) {
                s->armed = false;
                s->fn.timer(s->arg);
                ran = true;
                break;
            }
        }
    } while (ran);
}

int loop_run_once(struct loop *l, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_ROUND];
    int n;

    assert(!l->dispatching);
    n = epoll_wait(l->epoll_fd, events, EVENTS_PER_ROUND, round_timeout(l, timeout_ms));
    if (n < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    l->round++;
    l->dispatching = true;
    for (int i = 0; i < n; i++) {
        struct loop_source *s = events[i].data.ptr;

        if (s->removed) {
            continue;
        }
        if (s->kind == SOURCE_SIGNAL) {
            dispatch_signals(s);
        } else {
            s->fn.io(s->arg, s->fd, events[i].events);
        }
    }
    dispatch_timers(l);
    l->dispatching = false;
    free_removed(l);
    return 0;
}

int loop_run(struct loop *l)
{
    while (!l->stopping) {
        int r = loop_run_once(l, -1);

        if (r < 0) {
            return r;
        }
    }
    l->stopping = false;
    return l->code;
}

void loop_stop(struct loop *l, int code)
{
    l->stopping = true;
    l->code = code;
}
