#include "server/vhost_user/starter.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "cordon/cordon.h"
#include "ipc/cleanup.h"
#include "ipc/list.h"
#include "ipc/loop.h"
#include "server/vhost_user/keeper.h"

enum job_kind {
    JOB_MAKE,
    JOB_END,
    JOB_SERVER, /* a render server in place of the one that has ended */
};

struct job {
    struct list link;               /* starter::todo, then starter::done */
    struct cordon_context *context; /* to be ended; or made */
    enum job_kind kind;
    bool cancelled; /* under starter::lock */
    bool again;     /* JOB_MAKE: has met a server that had ended */
    int error;
    uint64_t ticket;
    uint32_t ctx_id;
    char name[32];
};

struct starter {
    /* Set at creation, then const. */
    struct loop *loop;
    struct keeper *keeper;
    struct starter_events events;
    int event_fd;
    pthread_t thread;
    struct loop_source *source;

    /* The loop's thread only. */
    struct loop_source *server_source; /* NULL: it has ended */
    bool replacing;                    /* a JOB_SERVER is on its way */

    /* The starter's thread only; the loop's while no JOB_SERVER is on its way. */
    struct cordon_server *server; /* NULL: none could be started */

    pthread_mutex_t lock;
    pthread_cond_t more;
    /* Under lock. */
    struct list todo, done;
    struct job *running;
    bool ending;
};

/* ---- the starter's thread ---------------------------------------------------------------------- */

static int connect_server(struct starter *s)
{
    int fd, r;

    s->server = cordon_server_close(s->server, NULL);
    r = keeper_ask(s->keeper, &fd);
    return r < 0 ? r : cordon_server_adopt(fd, &s->server);
}

static bool has_ended(const struct cordon_server *server)
{
    struct pollfd p = { .fd = cordon_server_fd(server), .events = POLLRDHUP };

    return poll(&p, 1, 0) > 0;
}

/* -ENOTCONN: there is no server to ask. */
static int make(struct starter *s, struct job *j)
{
    int r = -ENOTCONN;

    if (s->server) {
        r = cordon_context_create(s->server, j->ctx_id, j->name, &j->context);
    }
    return r < 0 && s->server && has_ended(s->server) ? -ENOTCONN : r;
}

static void work(struct starter *s, struct job *j)
{
    switch (j->kind) {
    case JOB_MAKE:
        j->error = make(s, j);
        break;
    case JOB_END:
        j->context = cordon_context_destroy(j->context);
        break;
    case JOB_SERVER:
        j->error = connect_server(s);
        break;
    }
}

static struct job *next_job(struct starter *s)
{
    struct job *j;

    LOCK_SCOPE(&s->lock);
    while (list_empty(&s->todo) && !s->ending) {
        pthread_cond_wait(&s->more, &s->lock);
    }
    if (list_empty(&s->todo)) {
        return NULL;
    }
    j = list_entry(s->todo.next, struct job, link);
    list_remove(&j->link);
    /* At the end nothing new is begun. */
    if (s->ending) {
        j->kind = JOB_END;
    }
    s->running = j;
    return j;
}

/* Hands over what was done. False: nobody waits for it. */
static bool hand_over(struct starter *s, struct job *j)
{
    LOCK_SCOPE(&s->lock);
    s->running = NULL;
    if (j->kind == JOB_END || j->cancelled) {
        return false;
    }
    list_append(&s->done, &j->link);
    (void)eventfd_write(s->event_fd, 1); /* fails only when it is readable anyway */
    return true;
}

static void *run(void *arg)
{
    struct starter *s = arg;
    struct job *j;

    while ((j = next_job(s))) {
        work(s, j);
        if (!hand_over(s, j)) {
            cordon_context_destroy(j->context);
            free(j);
        }
    }
    return NULL;
}

/* ---- the loop's thread ------------------------------------------------------------------------- */

static void add(struct starter *s, struct job *j)
{
    LOCK_SCOPE(&s->lock);
    list_append(&s->todo, &j->link);
    pthread_cond_signal(&s->more);
}

/* Without memory for it the next context tries again. */
static void replace_server(struct starter *s)
{
    struct job *j = s->replacing ? NULL : calloc(1, sizeof(*j));

    if (j) {
        j->kind = JOB_SERVER;
        s->replacing = true;
        add(s, j);
    }
}

static void on_server(void *arg, int fd, uint32_t events)
{
    struct starter *s = arg;

    (void)fd;
    (void)events;
    s->server_source = loop_source_remove(s->server_source);
    replace_server(s);
    s->events.server_lost(s->events.arg);
}

static int watch_server(struct starter *s)
{
    return loop_add_io(s->loop, cordon_server_fd(s->server), EPOLLRDHUP, on_server, s,
                       &s->server_source);
}

static void server_replaced(struct starter *s, int error)
{
    s->replacing = false;
    if (error == 0) {
        error = watch_server(s);
    }
    if (error < 0) {
        s->events.server_failed(s->events.arg, error);
    }
}

static struct job *next_done(struct starter *s)
{
    struct job *j;

    LOCK_SCOPE(&s->lock);
    if (list_empty(&s->done)) {
        return NULL;
    }
    j = list_entry(s->done.next, struct job, link);
    list_remove(&j->link);
    return j;
}

/* A context for which there was no server is tried once more, with the next one. */
static bool try_again(struct starter *s, struct job *j)
{
    if (j->error != -ENOTCONN || j->again) {
        return false;
    }
    if (s->server_source) {
        on_server(s, -1, 0);
    } else {
        replace_server(s);
    }
    j->again = true;
    add(s, j);
    return true;
}

static void on_done(void *arg, int fd, uint32_t events)
{
    struct starter *s = arg;
    eventfd_t count;
    struct job *j;

    (void)events;
    (void)eventfd_read(fd, &count);
    while ((j = next_done(s))) {
        if (j->kind == JOB_SERVER) {
            server_replaced(s, j->error);
        } else if (try_again(s, j)) {
            continue;
        } else {
            s->events.made(s->events.arg, j->ticket, j->error, take_ptr(j->context));
        }
        free(j);
    }
}

static void starter_free(struct starter *s)
{
    loop_source_remove(s->server_source);
    cordon_server_close(s->server, NULL);
    loop_source_remove(s->source);
    close_fd(&s->event_fd);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static int start_thread(struct starter *s)
{
    sigset_t all, before;
    int e;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    e = pthread_create(&s->thread, NULL, run, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -e;
}

int starter_create(struct loop *loop, struct keeper *keeper, const struct starter_events *events,
                   struct starter **ret_starter)
{
    struct starter *s = calloc(1, sizeof(*s));
    int r;

    if (!s) {
        return -ENOMEM;
    }
    s->loop = loop;
    s->keeper = keeper;
    s->events = *events;
    list_init(&s->todo);
    list_init(&s->done);
    pthread_mutex_init(&s->lock, NULL); /* cannot fail with default attributes; nor the next */
    pthread_cond_init(&s->more, NULL);
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = s->event_fd < 0 ? -errno : loop_add_io(loop, s->event_fd, EPOLLIN, on_done, s, &s->source);
    if (r == 0) {
        r = connect_server(s);
    }
    if (r == 0) {
        r = watch_server(s);
    }
    if (r == 0) {
        r = start_thread(s);
    }
    if (r < 0) {
        starter_free(s);
        return r;
    }
    *ret_starter = s;
    return 0;
}

struct starter *starter_destroy(struct starter *s)
{
    struct job *j;

    if (!s) {
        return NULL;
    }
    pthread_mutex_lock(&s->lock);
    s->ending = true;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    while ((j = next_done(s))) {
        cordon_context_destroy(j->context);
        free(j);
    }
    starter_free(s);
    return NULL;
}

int starter_make(struct starter *s, uint64_t ticket, uint32_t ctx_id, const char *name)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j) {
        return -ENOMEM;
    }
    j->kind = JOB_MAKE;
    j->ticket = ticket;
    j->ctx_id = ctx_id;
    memcpy(j->name, name, strnlen(name, sizeof(j->name) - 1));
    add(s, j);
    return 0;
}

void starter_cancel(struct starter *s, uint64_t ticket)
{
    LOCK_SCOPE(&s->lock);
    if (s->running && s->running->kind == JOB_MAKE && s->running->ticket == ticket) {
        s->running->cancelled = true;
        return;
    }
    list_for_each_safe (pos, &s->todo) {
        struct job *j = list_entry(pos, struct job, link);

        if (j->kind == JOB_MAKE && j->ticket == ticket) {
            list_remove(&j->link);
            free(j);
            return;
        }
    }
    list_for_each_safe (pos, &s->done) {
        struct job *j = list_entry(pos, struct job, link);

        if (j->kind == JOB_MAKE && j->ticket == ticket) {
            /* Before everything else: its number may be wanted again. */
            list_remove(&j->link);
            j->kind = JOB_END;
            list_append(s->todo.next, &j->link);
            pthread_cond_signal(&s->more);
            return;
        }
    }
}

void starter_end(struct starter *s, struct cordon_context *own_context)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j) {
        /* Waiting a moment is better than keeping a worker for ever. */
        cordon_context_destroy(own_context);
        return;
    }
    j->kind = JOB_END;
    j->context = own_context;
    add(s, j);
}
