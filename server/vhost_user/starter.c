#include "server/vhost_user/starter.h"

#include <errno.h>
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

struct job {
    struct list link;               /* starter::todo, then starter::done */
    struct cordon_context *context; /* to be ended; or made */
    bool make;
    bool cancelled; /* under starter::lock */
    int error;
    uint64_t ticket;
    uint32_t ctx_id;
    char name[32];
};

struct starter {
    /* Set at creation, then const. */
    struct cordon_server *server;
    starter_fn fn;
    void *arg;
    int event_fd;
    pthread_t thread;
    struct loop_source *source;

    pthread_mutex_t lock;
    pthread_cond_t more;
    /* Under lock. */
    struct list todo, done;
    struct job *running;
    bool ending;
};

static void work(struct starter *s, struct job *j)
{
    if (j->make) {
        j->error = cordon_context_create(s->server, j->ctx_id, j->name, &j->context);
    } else {
        j->context = cordon_context_destroy(j->context);
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
    if (s->ending && j->make) {
        j->make = false;
    }
    s->running = j;
    return j;
}

/* Hands over what was made. False: nobody wants it. */
static bool hand_over(struct starter *s, struct job *j)
{
    LOCK_SCOPE(&s->lock);
    s->running = NULL;
    if (!j->make || j->cancelled) {
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

static void on_done(void *arg, int fd, uint32_t events)
{
    struct starter *s = arg;
    eventfd_t count;
    struct job *j;

    (void)events;
    (void)eventfd_read(fd, &count);
    while ((j = next_done(s))) {
        s->fn(s->arg, j->ticket, j->error, take_ptr(j->context));
        free(j);
    }
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

int starter_create(struct loop *loop, struct cordon_server *server, starter_fn fn, void *arg,
                   struct starter **ret_starter)
{
    struct starter *s = calloc(1, sizeof(*s));
    int r;

    if (!s) {
        return -ENOMEM;
    }
    s->server = server;
    s->fn = fn;
    s->arg = arg;
    list_init(&s->todo);
    list_init(&s->done);
    pthread_mutex_init(&s->lock, NULL); /* cannot fail with default attributes; nor the next */
    pthread_cond_init(&s->more, NULL);
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = s->event_fd < 0 ? -errno : loop_add_io(loop, s->event_fd, EPOLLIN, on_done, s, &s->source);
    if (r == 0) {
        r = start_thread(s);
    }
    if (r < 0) {
        loop_source_remove(s->source);
        close_fd(&s->event_fd);
        free(s);
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
    loop_source_remove(s->source);
    close_fd(&s->event_fd);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

static void add(struct starter *s, struct job *j)
{
    LOCK_SCOPE(&s->lock);
    list_append(&s->todo, &j->link);
    pthread_cond_signal(&s->more);
}

int starter_make(struct starter *s, uint64_t ticket, uint32_t ctx_id, const char *name)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j) {
        return -ENOMEM;
    }
    j->make = true;
    j->ticket = ticket;
    j->ctx_id = ctx_id;
    memcpy(j->name, name, strnlen(name, sizeof(j->name) - 1));
    add(s, j);
    return 0;
}

void starter_cancel(struct starter *s, uint64_t ticket)
{
    LOCK_SCOPE(&s->lock);
    if (s->running && s->running->make && s->running->ticket == ticket) {
        s->running->cancelled = true;
        return;
    }
    list_for_each_safe (pos, &s->todo) {
        struct job *j = list_entry(pos, struct job, link);

        if (j->make && j->ticket == ticket) {
            list_remove(&j->link);
            free(j);
            return;
        }
    }
    list_for_each_safe (pos, &s->done) {
        struct job *j = list_entry(pos, struct job, link);

        if (j->ticket == ticket) {
            /* Before everything else: its number may be wanted again. */
            list_remove(&j->link);
            j->make = false;
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
    j->context = own_context;
    add(s, j);
}
