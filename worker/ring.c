/*
 * A ring: commands that the guest writes into shared memory, run on a thread of their own.
 *
 * Positions are free-running byte counters. The guest stores tail behind whole commands; we copy
 * everything between head and tail into private memory, run it command by command, and store head
 * behind each, after its reply.
 *
 * A ring without work polls for its idle timeout, then sets IDLE and sleeps until it is notified.
 * The guest stores tail, then loads the status; we set IDLE, then load tail: with sequential
 * consistency on both sides one of the two sees the other, so no command is left lying.
 */
#include "worker/ring.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "ipc/checked.h"
#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "ipc/worker_wire.h"
#include "worker/context.h"
#include "worker/control.h"
#include "worker/decoder.h"
#include "worker/idle.h"
#include "worker/limits.h"
#include "worker/pace.h"
#include "worker/requests.h"
#include "worker/resources.h"
#include "worker/vulkan.h"

/* A ring that has run dry this long, while the context thread waits for a position that its tail
 * has not reached, is taken to be stuck for ever: the client stores tail before it asks. */
#define DEADLOCK_NS (100 * 1000 * 1000)
/* How often the context thread yields before it sleeps for a ring's head: some 20 us. */
#define WAIT_LOOKS 50
/* First and longest slice in which the context thread sleeps for a ring's head. */
#define WAIT_FIRST_NS (500 * 1000)
#define WAIT_LAST_NS (50 * 1000 * 1000)

struct ring {
    /* Set at creation, then const. */
    struct context *ctx;
    uint64_t id;
    uint32_t number;
    struct ring_layout layout;
    struct resource *resource;
    _Atomic uint32_t *head, *tail, *status; /* in shared memory */
    const uint8_t *buffer;                  /* in shared memory: copied, never decoded */
    uint8_t *extra;
    struct list link; /* context::rings */
    pthread_t thread;

    /* Context thread only. */
    bool orphaned; /* its resource is gone for the guest */

    /* Ring thread only. */
    struct decoder decoder;
    uint8_t *copy; /* buffer_size bytes: what is being decoded */
    uint32_t at;   /* our head: the shared word is for the guest to read */
    struct pace_habit habit;
    uint32_t at_base; /* head at the start of the copy being decoded */
    bool crowded;     /* others wanted the processor, the last time */

    /* Any thread, under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;     /* the ring thread sleeps here */
    pthread_cond_t progress; /* the context thread waits here for head */
    bool notified;           /* look at tail again before sleeping */
    uint64_t virtqueue_seqno;

    _Atomic bool stopping;
    _Atomic uint64_t waiter; /* 0, or WAITER | the position that the context thread waits for */
};

#define WAITER (1ull << 32)

/* ---- layout ----------------------------------------------------------------------------- */

struct region {
    const char *name;
    uint64_t begin, size;
};

int ring_layout_check(const struct ring_layout *l, uint64_t resource_size, const char **ret_why)
{
    const struct region regions[] = {
        { "head", l->head, 4 },
        { "tail", l->tail, 4 },
        { "status", l->status, 4 },
        { "buffer", l->buffer, l->buffer_size },
        { "extra", l->extra, l->extra_size },
    };

    if (!range_in(l->offset, l->size, resource_size)) {
        *ret_why = "the ring does not lie inside its resource";
        return -EPROTO;
    }
    if (l->offset % 4 != 0) {
        *ret_why = "the ring's offset is not a multiple of 4";
        return -EPROTO;
    }
    if (!is_power_of_two(l->buffer_size) || l->buffer_size % 4 != 0 ||
        l->buffer_size > LIMIT_RING_BUFFER) {
        *ret_why = "the buffer's size is not a power of two from 4 to 16 MiB";
        return -EPROTO;
    }
    for (size_t i = 0; i < ARRAY_SIZE(regions); i++) {
        const struct region *a = &regions[i];

        if (!range_in(a->begin, a->size, l->size)) {
            *ret_why = "a region does not lie inside the ring";
            return -EPROTO;
        }
        if (a->begin % 4 != 0 || a->size % 4 != 0) {
            *ret_why = "a region does not begin and end at a multiple of 4";
            return -EPROTO;
        }
        for (size_t j = 0; j < i; j++) {
            const struct region *b = &regions[j];

            if (a->begin < b->begin + b->size && b->begin < a->begin + a->size) {
                *ret_why = "two regions overlap";
                return -EPROTO;
            }
        }
    }
    return 0;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* That many from now, for pthread_cond_timedwait. */
static struct timespec in_ns(uint64_t ns)
{
    const uint64_t until = now_ns() + ns;

    return (struct timespec){ .tv_sec = (time_t)(until / 1000000000u),
                              .tv_nsec = (long)(until % 1000000000u) };
}

/* ---- the ring thread -------------------------------------------------------------------- */

uint32_t ring_number(const struct ring *r)
{
    return r->number;
}

bool ring_stopping(const struct ring *r)
{
    return atomic_load_explicit(&r->stopping, memory_order_relaxed) || context_is_fatal(r->ctx);
}

/* Has `head` reached `seqno`? Positions wrap. */
static bool reached(uint32_t head, uint32_t seqno)
{
    return (int32_t)(head - seqno) >= 0;
}

/* The context thread sleeps in slices, so a progress that is missed by a hair (the flag is read
 * without a fence, to keep one off the path of every command) costs it a slice and no more. */
static void ring_progress(struct ring *r)
{
    uint64_t waiter = atomic_load_explicit(&r->waiter, memory_order_relaxed);

    if (UNLIKELY(waiter != 0) && reached(r->at, (uint32_t)waiter)) {
        LOCK_SCOPE(&r->lock);
        pthread_cond_signal(&r->progress);
    }
}

static void ring_command_done(void *arg, size_t consumed)
{
    struct ring *r = arg;

    r->at = r->at_base + (uint32_t)consumed;
    /* Pairs with the guest's acquire load: whoever sees this head sees the reply. */
    atomic_store_explicit(r->head, r->at, memory_order_release);
    ring_progress(r);
}

/* Copies what is pending out of the guest's reach; the buffer wraps. */
static void ring_copy(struct ring *r, uint32_t pending)
{
    uint32_t size = (uint32_t)r->layout.buffer_size;
    uint32_t begin = r->at & (size - 1);
    uint32_t first = MIN(pending, size - begin);

    memcpy(r->copy, r->buffer + begin, first);
    memcpy(r->copy + first, r->buffer, pending - first);
}

static void ring_run(struct ring *r, uint32_t pending)
{
    if (pending > r->layout.buffer_size || pending % 4 != 0) {
        context_fatal(r->ctx, "ring %u: tail is %u bytes past head, the buffer holds %" PRIu64,
                      r->number, pending, r->layout.buffer_size);
        return;
    }
    ring_copy(r, pending);
    r->at_base = r->at;
    if (decoder_run(&r->decoder, r->copy, pending, ring_command_done, r) == -EPROTO) {
        context_fatal(r->ctx, "ring %u: %s", r->number, r->decoder.why);
    }
}

/* A step of sleep, which ring_wake() ends. */
static void ring_doze(struct ring *r, uint64_t ns)
{
    const struct timespec ts = in_ns(ns);
    LOCK_SCOPE(&r->lock);

    if (!r->notified) {
        (void)pthread_cond_timedwait(&r->wake, &r->lock, &ts);
    }
    r->notified = false;
}

/* A client that has nothing else to do calls again before a clock is read twice. */
static bool ring_glance(const struct ring *r)
{
    for (uint32_t i = 0; i < pace_ring.glances; i++) {
        if (atomic_load_explicit(r->tail, memory_order_acquire) != r->at) {
            return true;
        }
        pace_pause();
    }
    return false;
}

/* Polls until there is work (returns true), the idle timeout is over, or the ring is to stop. */
static bool ring_poll(struct ring *r)
{
    struct pace pace;
    bool asleep = false;
    bool work = false;

    if (!r->decoder.submitted && !r->crowded && ring_glance(r)) {
        return true;
    }
    pace_start(&pace, &pace_ring, &r->habit, r->layout.idle_timeout_ns);
    pace.polite = r->decoder.submitted || r->crowded;
    pace.crowded = r->crowded;
    r->decoder.submitted = false;
    while (!ring_stopping(r)) {
        if (atomic_load_explicit(r->tail, memory_order_acquire) != r->at) {
            work = true;
            break;
        }
        if (!pace_next(&pace)) {
            break;
        }
        if (pace.sleep_ns != 0 && !asleep) {
            objects_sleep(r->decoder.objects, &r->decoder.reader);
            asleep = true;
        }
        if (pace.sleep_ns != 0) {
            ring_doze(r, pace.sleep_ns);
        } else {
            pace_wait(&pace);
        }
    }
    r->habit = pace_learn(&pace, work);
    r->crowded = pace.crowded;
    if (asleep) {
        objects_wake(r->decoder.objects, &r->decoder.reader);
    }
    return work;
}

/* Sleeps until notified. The last of a context's rings to fall silent finds after a while that no
 * other has run anything either. Called with the lock held. */
static void ring_sleep(struct ring *r)
{
    const struct timespec ts = in_ns(IDLE_NS);
    const uint64_t commands = recorder_commands(r->ctx->recorder);
    int err = 0;

    while (!r->notified && !ring_stopping(r) && err != ETIMEDOUT) {
        err = pthread_cond_timedwait(&r->wake, &r->lock, &ts);
    }
    if (err == ETIMEDOUT && recorder_commands(r->ctx->recorder) == commands) {
        pthread_mutex_unlock(&r->lock);
        idle_give_back(r->ctx->vulkan && r->ctx->vulkan->const_code);
        pthread_mutex_lock(&r->lock);
    }
    while (!r->notified && !ring_stopping(r)) {
        pthread_cond_wait(&r->wake, &r->lock);
    }
}

/* Sets IDLE and sleeps until notified, unless work came in the meantime. */
static void ring_idle(struct ring *r)
{
    objects_sleep(r->decoder.objects, &r->decoder.reader);
    {
        LOCK_SCOPE(&r->lock);

        r->notified = false;
        atomic_fetch_or_explicit(r->status, RING_STATUS_IDLE, memory_order_seq_cst);
        if (atomic_load_explicit(r->tail, memory_order_seq_cst) == r->at) {
            ring_sleep(r);
        }
        atomic_fetch_and_explicit(r->status, ~RING_STATUS_IDLE, memory_order_seq_cst);
    }
    objects_wake(r->decoder.objects, &r->decoder.reader);
}

static void *ring_main(void *arg)
{
    struct ring *r = arg;
    char name[16];

    snprintf(name, sizeof(name), "ring-%u", r->number);
    pthread_setname_np(pthread_self(), name);
    if (r->layout.has_priority) {
        /* A wish: without privilege it can only go down, and the sandbox may refuse even that. */
        (void)setpriority(PRIO_PROCESS, 0, r->layout.priority);
    }
    while (!ring_stopping(r)) {
        uint32_t tail = atomic_load_explicit(r->tail, memory_order_acquire);

        if (LIKELY(tail != r->at)) {
            ring_run(r, tail - r->at);
            continue;
        }
        if (!ring_poll(r)) {
            ring_idle(r);
        }
    }
    if (context_is_fatal(r->ctx)) {
        /* Also when this ring was listed only after all rings were told. */
        atomic_fetch_or_explicit(r->status, RING_STATUS_FATAL, memory_order_seq_cst);
    }
    objects_sleep(r->decoder.objects, &r->decoder.reader);
    return NULL;
}

int ring_wait_virtqueue_seqno(struct ring *r, uint64_t seqno)
{
    bool there;

    objects_sleep(r->decoder.objects, &r->decoder.reader);
    {
        LOCK_SCOPE(&r->lock);

        while (r->virtqueue_seqno < seqno && !ring_stopping(r)) {
            pthread_cond_wait(&r->wake, &r->lock);
        }
        there = r->virtqueue_seqno >= seqno;
    }
    objects_wake(r->decoder.objects, &r->decoder.reader);
    return there ? 0 : -ECANCELED;
}

/* ---- life ------------------------------------------------------------------------------- */

static void ring_wake(struct ring *r)
{
    LOCK_SCOPE(&r->lock);

    r->notified = true;
    pthread_cond_broadcast(&r->wake);
    pthread_cond_broadcast(&r->progress);
}

/* Context thread: the list changes on no other, so no lock is needed to look. */
static struct ring *ring_find(struct context *ctx, uint64_t id)
{
    list_for_each (link, &ctx->rings) {
        struct ring *r = list_entry(link, struct ring, link);

        if (r->id == id) {
            return r;
        }
    }
    return NULL;
}

static struct ring *ring_free(struct ring *r)
{
    if (r) {
        if (r->decoder.ctx) {
            decoder_fini(&r->decoder);
        }
        if (r->copy) {
            munmap(r->copy, r->layout.buffer_size);
        }
        pthread_cond_destroy(&r->progress);
        pthread_cond_destroy(&r->wake);
        pthread_mutex_destroy(&r->lock);
        resource_unref(r->resource);
        free(r);
    }
    return NULL;
}

/* A ring that nobody knows of yet. Takes a reference to the resource, which holds the layout. */
static int ring_make(struct context *ctx, uint64_t id, const struct ring_layout *l,
                     struct resource *resource, struct ring **ret_ring)
{
    uint8_t *base = (uint8_t *)resource->map + l->offset;
    pthread_condattr_t monotonic;
    struct ring *r = calloc(1, sizeof(*r));
    void *copy;
    int err;

    if (!r) {
        return -ENOMEM;
    }
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &monotonic);
    pthread_cond_init(&r->progress, &monotonic);
    pthread_condattr_destroy(&monotonic);
    r->ctx = ctx;
    r->id = id;
    r->number = ctx->next_ring_number + 1;
    r->layout = *l;
    r->resource = resource_ref(resource);
    r->head = (_Atomic uint32_t *)(base + l->head);
    r->tail = (_Atomic uint32_t *)(base + l->tail);
    r->status = (_Atomic uint32_t *)(base + l->status);
    r->buffer = base + l->buffer;
    r->extra = base + l->extra;
    list_init(&r->link);
    copy = mmap(NULL, l->buffer_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) {
        err = -errno;
        ring_free(r);
        return err;
    }
    r->copy = copy;
    err = decoder_init(&r->decoder, ctx, r);
    if (err < 0) {
        r->decoder.ctx = NULL;
        ring_free(r);
        return err;
    }
    *ret_ring = r;
    return 0;
}

static void ring_list(struct context *ctx, struct ring *r)
{
    LOCK_SCOPE(&ctx->rings_lock);

    ctx->next_ring_number = r->number;
    ctx->n_rings++;
    list_append(&ctx->rings, &r->link);
}

static void ring_unlist(struct context *ctx, struct ring *r)
{
    LOCK_SCOPE(&ctx->rings_lock);

    ctx->n_rings--;
    list_remove(&r->link);
}

static int ring_start(struct ring *r, char *why, size_t why_size)
{
    struct context *ctx = r->ctx;
    int err;

    /* The server first: should this process die, it tells the guest through the status word. */
    err = control_ring(ctx->control_fd, r->number, r->resource->fd,
                       r->layout.offset + r->layout.status);
    if (err < 0) {
        snprintf(why, why_size, "cannot tell the server of the ring: %s", strerror(-err));
        return err;
    }
    ring_list(ctx, r);
    err = -pthread_create(&r->thread, NULL, ring_main, r);
    if (err < 0) {
        snprintf(why, why_size, "no thread for the ring: %s", strerror(-err));
        ring_unlist(ctx, r);
        (void)control_ring_gone(ctx->control_fd, r->number);
        return err;
    }
    if (r->layout.monitor_period_us != 0) {
        context_monitor(ctx, r->layout.monitor_period_us);
    }
    return 0;
}

/* Checks all that depends on the context and its memory. On success the caller owns a reference
 * to the resource. */
static int ring_check(struct context *ctx, uint64_t id, const struct ring_layout *l, char *why,
                      size_t why_size, struct resource **ret_resource)
{
    struct resource *resource;
    const char *broken;
    const uint8_t *base;

    if (id == 0 || ring_find(ctx, id)) {
        snprintf(why, why_size, "ring id %" PRIu64 " is %s", id, id ? "in use" : "reserved");
        return -EPROTO;
    }
    if (ctx->n_rings >= limits_from_server.rings) {
        snprintf(why, why_size, "limit rings: more than %" PRIu32, limits_from_server.rings);
        return -ENOSPC;
    }
    resource = resources_get(&ctx->resources, l->resource_id);
    if (!resource || !resource->map) {
        snprintf(why, why_size, "resource %u is not shared memory of this context", l->resource_id);
        resource_unref(resource);
        return -EPROTO;
    }
    if (ring_layout_check(l, resource->size, &broken) < 0) {
        snprintf(why, why_size, "%s", broken);
        resource_unref(resource);
        return -EPROTO;
    }
    base = (const uint8_t *)resource->map + l->offset;
    if (atomic_load((const _Atomic uint32_t *)(base + l->head)) != 0 ||
        atomic_load((const _Atomic uint32_t *)(base + l->status)) != 0) {
        snprintf(why, why_size, "head or status is not 0 in a new ring");
        resource_unref(resource);
        return -EPROTO;
    }
    *ret_resource = resource;
    return 0;
}

int ring_create(struct context *ctx, uint64_t id, const struct ring_layout *l, char *why,
                size_t why_size)
{
    struct resource *resource = NULL;
    struct ring *r = NULL;
    int err;

    err = ring_check(ctx, id, l, why, why_size, &resource);
    if (err < 0) {
        return err;
    }
    err = ring_make(ctx, id, l, resource, &r);
    resource_unref(resource);
    if (err < 0) {
        snprintf(why, why_size, "no memory for the ring: %s", strerror(-err));
        return err;
    }
    err = ring_start(r, why, why_size);
    if (err < 0) {
        ring_free(r);
    }
    return err;
}

static void ring_stop(struct ring *r)
{
    atomic_store_explicit(&r->stopping, true, memory_order_relaxed);
    ring_wake(r);
    pthread_join(r->thread, NULL);
}

int ring_destroy(struct context *ctx, uint64_t id)
{
    struct ring *r = ring_find(ctx, id);

    if (!r) {
        return -ENOENT;
    }
    ring_stop(r);
    ring_unlist(ctx, r);
    (void)control_ring_gone(ctx->control_fd, r->number);
    ring_free(r);
    return 0;
}

/* ---- from the context thread ------------------------------------------------------------- */

int ring_notify(struct context *ctx, uint64_t id)
{
    struct ring *r = ring_find(ctx, id);

    if (!r) {
        return -ENOENT;
    }
    ring_wake(r);
    return 0;
}

int ring_write_extra(struct context *ctx, uint64_t id, uint64_t offset, uint32_t value)
{
    struct ring *r = ring_find(ctx, id);

    if (!r) {
        return -ENOENT;
    }
    if (offset % 4 != 0 || !range_in(offset, 4, r->layout.extra_size)) {
        return -EPROTO;
    }
    /* Pairs with the guest's acquire load: what the context stream did before is visible. */
    atomic_store_explicit((_Atomic uint32_t *)(r->extra + offset), value, memory_order_release);
    return 0;
}

int ring_submit_virtqueue_seqno(struct context *ctx, uint64_t id, uint64_t seqno)
{
    struct ring *r = ring_find(ctx, id);

    if (!r) {
        return -ENOENT;
    }
    {
        LOCK_SCOPE(&r->lock);
        r->virtqueue_seqno = seqno;
    }
    ring_wake(r);
    return 0;
}

/* Sleeps at most `ns` for the ring's progress. */
static void ring_wait_slice(struct ring *r, uint32_t seqno, uint64_t ns)
{
    const struct timespec ts = in_ns(ns);
    LOCK_SCOPE(&r->lock);

    if (!reached(atomic_load_explicit(r->head, memory_order_seq_cst), seqno) && !ring_stopping(r)) {
        (void)pthread_cond_timedwait(&r->progress, &r->lock, &ts);
    }
}

static int ring_wait(struct ring *r, uint32_t seqno)
{
    uint64_t slice = WAIT_FIRST_NS;
    uint64_t dry_since = 0;

    /* Mostly the ring is at it: what is waited for is one allocation of memory. */
    for (int i = 0; i < WAIT_LOOKS; i++) {
        if (reached(atomic_load_explicit(r->head, memory_order_acquire), seqno)) {
            return 0;
        }
        sched_yield();
    }
    for (;;) {
        uint32_t head = atomic_load_explicit(r->head, memory_order_acquire);
        uint32_t tail = atomic_load_explicit(r->tail, memory_order_acquire);

        if (reached(head, seqno)) {
            return 0;
        }
        if (ring_stopping(r)) {
            return -ECANCELED;
        }
        if (head != tail || reached(tail, seqno)) {
            dry_since = 0;
        } else if (dry_since == 0) {
            dry_since = now_ns();
        } else if (now_ns() - dry_since > DEADLOCK_NS) {
            return -EDEADLK;
        }
        requests_let_go(r->ctx->requests);
        ring_wait_slice(r, seqno, slice);
        slice = MIN(slice * 2, WAIT_LAST_NS);
    }
}

int ring_wait_seqno(struct context *ctx, uint64_t id, uint64_t seqno)
{
    struct ring *r = ring_find(ctx, id);
    int err;

    if (!r) {
        return -ENOENT;
    }
    if (r->orphaned) {
        return -EDEADLK;
    }
    ring_wake(r);
    objects_sleep(ctx->decoder.objects, &ctx->decoder.reader);
    atomic_store_explicit(&r->waiter, WAITER | (uint32_t)seqno, memory_order_seq_cst);
    err = ring_wait(r, (uint32_t)seqno);
    atomic_store_explicit(&r->waiter, 0, memory_order_relaxed);
    objects_wake(ctx->decoder.objects, &ctx->decoder.reader);
    return err;
}

/* ---- all rings -------------------------------------------------------------------------- */

void rings_fatal(struct context *ctx)
{
    LOCK_SCOPE(&ctx->rings_lock);

    list_for_each (link, &ctx->rings) {
        struct ring *r = list_entry(link, struct ring, link);

        atomic_fetch_or_explicit(r->status, RING_STATUS_FATAL, memory_order_seq_cst);
        ring_wake(r);
    }
}

/* Does it sleep over work? A guest rings if it sees IDLE after its store of tail; one whose processor
 * does not keep that order sees the word as it was before, and then nobody rings. The words are the
 * guest's to write: what it makes of them wakes its own ring in vain, once per tick. */
static bool ring_is_missed(const struct ring *r)
{
    return (atomic_load_explicit(r->status, memory_order_relaxed) & RING_STATUS_IDLE) != 0 &&
           atomic_load_explicit(r->tail, memory_order_relaxed) !=
               atomic_load_explicit(r->head, memory_order_relaxed);
}

void rings_alive(struct context *ctx)
{
    static struct log_limit limit = LOG_LIMIT_INIT(5, 10000);
    LOCK_SCOPE(&ctx->rings_lock);

    list_for_each (link, &ctx->rings) {
        struct ring *r = list_entry(link, struct ring, link);

        if (r->layout.monitor_period_us != 0) {
            atomic_fetch_or_explicit(r->status, RING_STATUS_ALIVE, memory_order_seq_cst);
        }
        if (ring_is_missed(r)) {
            log_limited(&limit, LOG_LEVEL_DEBUG, 0,
                        "ring %u: work lies in it, and it sleeps; woken", r->number);
            ring_wake(r);
        }
    }
}

void rings_stop(struct context *ctx)
{
    /* All at once, so that they end side by side and not one after the other. */
    {
        LOCK_SCOPE(&ctx->rings_lock);

        list_for_each (link, &ctx->rings) {
            struct ring *r = list_entry(link, struct ring, link);

            atomic_store_explicit(&r->stopping, true, memory_order_relaxed);
            ring_wake(r);
        }
    }
    while (!list_empty(&ctx->rings)) {
        struct ring *r = list_entry(ctx->rings.next, struct ring, link);

        ring_stop(r);
        ring_unlist(ctx, r);
        ring_free(r);
    }
}

uint32_t rings_orphan(struct context *ctx, const struct resource *resource)
{
    uint32_t n = 0;

    list_for_each (link, &ctx->rings) {
        struct ring *r = list_entry(link, struct ring, link);

        if (r->resource == resource && !r->orphaned) {
            r->orphaned = true;
            n++;
            atomic_store_explicit(&r->stopping, true, memory_order_relaxed);
            atomic_fetch_or_explicit(r->status, RING_STATUS_FATAL, memory_order_seq_cst);
            ring_wake(r);
        }
    }
    return n;
}
