#include "server/render/contexts.h"

#include <errno.h>
#include <sys/socket.h>

#include "ipc/cleanup.h"
#include "ipc/loop.h"
#include "ipc/seqpacket.h"
#include "server/render/ghost.h"

/* What a context socket should take at once: a submission as large as QEMU allows. The VMM's own
 * limit would be some 200 KB; it cannot raise it, but we make the pair. */
#define SOCKET_MESSAGE (4u << 20)

/* A context is at its busiest right after its start: a worker that loads its driver beside it takes
 * the processor that it needs. So its replacement is started a little later... */
#define REFILL_DELAY_MS 250
/* ...unless a context has come in vain lately: then more are likely to come. */
#define RUSH_MS 1000
/* A spare worker that fails is tried again after a second, two, four and so on; after that the next
 * context brings the next try. */
#define RETRY_MS 1000
#define RETRIES 5

/* The VMM has closed its end, and everything that it sent has been read. */
static bool at_end(int fd)
{
    char byte;

    return recv(fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void end(struct contexts *c, struct context *ctx)
{
    if (ctx->worker) {
        ctx->worker->context = NULL;
        worker_end(ctx->worker);
        ctx->worker = NULL;
    }
    ctx->ghost = ghost_destroy(ctx->ghost);
    registry_remove(&c->registry, ctx);
    c->changed(c->arg);
}

/* The VMM has hung up on a ghost. */
static void on_ghost_gone(void *arg)
{
    struct context *ctx = arg;

    end(ctx->contexts, ctx);
}

/* Nobody serves this context any more, or ever will. */
static void give_to_ghost(struct contexts *c, struct context *ctx, bool served,
                          struct estate *own_estate)
{
    int r =
        ghost_create(c->loop, ctx->socket_fd, served, own_estate, on_ghost_gone, ctx, &ctx->ghost);

    if (r < 0) {
        end(c, ctx);
    }
}

static struct context *first_waiting(struct contexts *c)
{
    list_for_each (pos, &c->registry.contexts) {
        struct context *ctx = list_entry(pos, struct context, link);

        if (!ctx->worker && !ctx->ghost) {
            return ctx;
        }
    }
    return NULL;
}

static uint32_t count_waiting(struct contexts *c)
{
    uint32_t n = 0;

    list_for_each (pos, &c->registry.contexts) {
        struct context *ctx = list_entry(pos, struct context, link);

        n += !ctx->worker && !ctx->ghost;
    }
    return n;
}

static void fail_waiting(struct contexts *c, struct context *ctx, const char *why)
{
    struct estate nothing;

    c->stats.lost++;
    log_named(LOG_LEVEL_ERROR, ctx->id, ctx->name, "%s; the context is lost", why);
    estate_init(&nothing);
    give_to_ghost(c, ctx, false, &nothing);
}

/* Workers that are or will be ready. */
static uint32_t count_coming(struct contexts *c)
{
    return supervisor_count(&c->supervisor, WORKER_STARTING) +
           supervisor_count(&c->supervisor, WORKER_READY);
}

/* Contexts for which no worker is on its way: told now, not left waiting. */
static void fail_hopeless(struct contexts *c, const char *why)
{
    for (uint32_t n = count_waiting(c), coming = count_coming(c); n > coming; n--) {
        fail_waiting(c, first_waiting(c), why);
    }
}

static void start_up_to(struct contexts *c, uint32_t want)
{
    struct worker *w;

    for (uint32_t have = count_coming(c); have < want; have++) {
        if (supervisor_start(&c->supervisor, &w) < 0) {
            c->failing = true;
            fail_hopeless(c, "no worker could be started");
            return;
        }
    }
}

static void top_up(struct contexts *c)
{
    start_up_to(c, count_waiting(c) + c->spares);
}

void contexts_begin(struct contexts *c, bool usable)
{
    c->begun = true;
    if (usable) {
        top_up(c);
    } else {
        c->failing = true;
        fail_hopeless(c, "no worker can be started, see above");
    }
}

static void on_refill(void *arg)
{
    struct contexts *c = arg;

    c->refill_at_ms = UINT64_MAX;
    top_up(c);
}

/* A later reason does not put off an earlier one. */
static void refill_after(struct contexts *c, uint64_t delay_ms)
{
    uint64_t at_ms = loop_now_ms() + delay_ms;

    if (at_ms < c->refill_at_ms) {
        c->refill_at_ms = at_ms;
        loop_timer_arm(c->refill, delay_ms);
    }
}

static void pair_up(struct contexts *c)
{
    for (;;) {
        struct worker *w = supervisor_first(&c->supervisor, WORKER_READY);
        struct context *ctx = w ? first_waiting(c) : NULL;

        if (!ctx) {
            return;
        }
        if (worker_serve(w, ctx->id, ctx->name, ctx->socket_fd) < 0) {
            fail_waiting(c, ctx, "its worker ended before it could take it");
            continue;
        }
        w->context = ctx;
        ctx->worker = w;
        c->retries = 0;
        log_named(LOG_LEVEL_INFO, ctx->id, ctx->name, "served by worker %u (pid %d)", w->number,
                  (int)w->pid);
    }
}

/* After a change: who waits gets a worker, those who still wait get one started now, and spares
 * come when that disturbs nobody. */
void contexts_settle(struct contexts *c)
{
    uint32_t waiting;

    if (!c->begun) {
        return;
    }
    pair_up(c);
    waiting = count_waiting(c);
    if (waiting > 0) {
        c->rush_until_ms = loop_now_ms() + RUSH_MS;
        start_up_to(c, waiting);
    } else if (count_coming(c) < c->spares) {
        bool now = c->failing || loop_now_ms() < c->rush_until_ms;

        refill_after(c, now ? 0 : REFILL_DELAY_MS);
    }
}

static void on_ready(void *arg, struct worker *w)
{
    struct contexts *c = arg;

    (void)w;
    c->failing = false;
    c->proven = true;
    c->n_failed = 0;
    contexts_settle(c);
}

static void note_loss(struct contexts *c)
{
    uint64_t now = loop_now_ms();
    bool closed = now < c->gate.closed_until_ms;

    if (gate_note_lost(&c->gate, now) && !closed) {
        log_warn("limit lost: %u times in a minute this VM lost a device or had a worker killed; "
                 "no new contexts for a minute",
                 c->gate.limits->lost);
    }
}

/* A device that was hung or crashed: once may be an accident, again and again it takes the host's
 * GPU from everybody else. The number is the worker's word, so as many count as can matter. */
static void count_devices(struct contexts *c, struct worker *w)
{
    uint64_t lost = atomic_load_explicit(&w->record->devices_lost, memory_order_relaxed);

    if (lost > w->lost_counted + LIMITS_MAX_LOST) {
        w->lost_counted = lost - LIMITS_MAX_LOST;
    }
    for (; w->lost_counted < lost; w->lost_counted++) {
        note_loss(c);
    }
}

/* A context that goes on after it lost its device counts as much as one that ends. */
static void count_living(struct contexts *c)
{
    list_for_each (pos, &c->supervisor.workers) {
        count_devices(c, list_entry(pos, struct worker, link));
    }
}

static void count_loss(struct contexts *c, struct worker *w, const struct obituary *o)
{
    count_devices(c, w);
    if (o->killed_by_us && o->why) {
        note_loss(c);
    }
}

/* A worker that served: its context's end, or a loss that the guest has to be told of. */
static void on_served_dead(struct contexts *c, struct worker *w, const struct obituary *o)
{
    struct context *ctx = w->context;
    char text[1024];

    count_loss(c, w, o);
    obituary_text(o, w->record, text, sizeof(text));
    if (!ctx) {
        if (!obituary_is_peaceful(o)) {
            log_named(LOG_LEVEL_WARN, w->ctx_id, w->name, "worker %u, after its context: %s",
                      w->number, text);
        }
        return;
    }
    ctx->worker = NULL;
    if (obituary_is_peaceful(o) && at_end(ctx->socket_fd)) {
        log_named(LOG_LEVEL_INFO, ctx->id, ctx->name, "ended");
        end(c, ctx);
        return;
    }
    c->stats.lost++;
    if (obituary_is_verdict(o)) {
        log_named(LOG_LEVEL_ERROR, ctx->id, ctx->name, "%s; the context is lost", text);
    } else {
        log_named(LOG_LEVEL_ERROR, ctx->id, ctx->name, "worker %u %s; the context is lost",
                  w->number, text);
    }
    give_to_ghost(c, ctx, true, &w->estate);
}

static void on_dead(void *arg, struct worker *w, const struct obituary *o)
{
    struct contexts *c = arg;
    char text[1024];

    if (o->served) {
        on_served_dead(c, w, o);
        return;
    }
    if (!o->asked || !obituary_is_peaceful(o)) {
        obituary_text(o, w->record, text, sizeof(text));
        log_error("worker %u, before it had a context: %s", w->number, text);
    }
    if (o->asked) {
        return;
    }
    /* What has worked before and fails once had bad luck (a sibling may have used up what they
     * share, such as descriptors in flight). Otherwise it would most likely fail again, for ever. */
    if (!o->ready && (++c->n_failed > 1 || !c->proven)) {
        c->failing = true;
    }
    if (c->failing) {
        fail_hopeless(c, "its worker did not start");
    } else if (count_waiting(c) > 0) {
        contexts_settle(c);
    }
    if (c->retries < RETRIES && count_coming(c) < c->spares) {
        refill_after(c, (uint64_t)RETRY_MS << c->retries++);
    }
}

int contexts_init(struct contexts *c, struct loop *loop, struct spawner *spawner,
                  const struct limits *limits, uint32_t ready_timeout_ms, uint32_t spares,
                  void (*changed)(void *arg), void *arg)
{
    const struct supervisor_owner owner = { .ready = on_ready, .dead = on_dead, .arg = c };

    *c = (struct contexts){
        .loop = loop,
        .spares = spares,
        .refill_at_ms = UINT64_MAX,
        .changed = changed,
        .arg = arg,
    };
    registry_init(&c->registry);
    gate_init(&c->gate, limits, loop_now_ms());
    supervisor_init(&c->supervisor, loop, spawner, ready_timeout_ms, &owner);
    return loop_add_timer(loop, on_refill, c, &c->refill);
}

void contexts_fini(struct contexts *c)
{
    c->refill = loop_source_remove(c->refill);
    contexts_reset(c);
    supervisor_fini(&c->supervisor);
}

int contexts_create(struct contexts *c, uint32_t id, const char *name, int *ret_fd)
{
    AUTO_CLOSE int vmm_fd = -1;
    struct context *ctx;
    int pair[2];
    int r;

    r = registry_check(&c->registry, id);
    if (r < 0) {
        return r;
    }
    count_living(c);
    r = gate_pass(&c->gate, loop_now_ms(), c->registry.count, supervisor_memory(&c->supervisor),
                  c->gate_why, sizeof(c->gate_why));
    if (r < 0) {
        return r;
    }
    /* What has just failed would fail again; the VMM can tell its guest now rather than later. */
    if (c->failing && !supervisor_first(&c->supervisor, WORKER_READY)) {
        return -ECHILD;
    }
    r = seqpacket_pair(pair);
    if (r < 0) {
        return r;
    }
    vmm_fd = pair[0];
    /* As large as the host grants; a jail that forbids it leaves the usual size. */
    (void)seqpacket_raise_max(vmm_fd, SOCKET_MESSAGE);
    /* The VMM waits for each answer. A worker that sends more without being asked would hold
     * descriptors in flight that all of its user's processes share, other workers among them. */
    (void)seqpacket_lower_max(pair[1]);
    r = registry_add(&c->registry, id, name, pair[1], &ctx);
    if (r < 0) {
        return r;
    }
    ctx->contexts = c;
    c->stats.created++;
    *ret_fd = take_fd(&vmm_fd);
    return 0;
}

void contexts_destroy(struct contexts *c, uint32_t id)
{
    struct context *ctx = registry_find(&c->registry, id);

    if (ctx) {
        log_named(LOG_LEVEL_INFO, ctx->id, ctx->name, "destroyed");
        end(c, ctx);
    }
}

void contexts_reset(struct contexts *c)
{
    list_for_each_safe (pos, &c->registry.contexts) {
        end(c, list_entry(pos, struct context, link));
    }
}
