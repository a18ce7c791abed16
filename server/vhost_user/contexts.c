/* Contexts of the guest: a worker each, a lane of commands, fences. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/cleanup.h"
#include "ipc/loop.h"
#include "server/vhost_user/gpu.h"
#include "server/vhost_user/starter.h"

/* A worker that takes or answers nothing for so long is given up. */
#define CONTEXT_PATIENCE_MS 30000

struct context *context_find(const struct gpu *g, uint32_t id)
{
    list_for_each (pos, &g->contexts) {
        struct context *x = list_entry(pos, struct context, link);

        if (x->id == id) {
            return x;
        }
    }
    return NULL;
}

struct context *context_making(const struct gpu *g, uint32_t resource_id)
{
    list_for_each (pos, &g->contexts) {
        struct context *x = list_entry(pos, struct context, link);

        list_for_each (inner, &x->lane) {
            const struct command *c = list_entry(inner, struct command, link);
            const struct virtio_gpu_create_blob *m = (const void *)c->bytes;

            if (!c->ran && c->header.type == VIRTIO_GPU_RESOURCE_CREATE_BLOB &&
                c->size >= sizeof(*m) && m->resource_id == resource_id) {
                return x;
            }
        }
    }
    return NULL;
}

bool context_busy(const struct context *x)
{
    return x->state == CONTEXT_STARTING || x->blob || !list_empty(&x->lane);
}

void context_wait(struct context *x, struct command *c, bool front)
{
    if (!c->held) {
        c->held = true;
        x->gpu->held_bytes += c->size;
    }
    list_remove(&c->link);
    list_append(front ? x->lane.next : &x->lane, &c->link);
    command_keep(x->gpu, c);
}

static void set_deadline(struct context *x)
{
    if (x->deadline_ms == 0) {
        x->deadline_ms = loop_now_ms() + CONTEXT_PATIENCE_MS;
    }
}

static void watch(struct context *x, uint32_t events)
{
    if (x->source && events != x->events) {
        /* Fails for lack of kernel memory only; the tick then gives the context up. */
        (void)loop_source_set_events(x->source, events);
        x->events = events;
    }
}

void context_want_write(struct context *x)
{
    set_deadline(x);
    watch(x, x->events | EPOLLOUT);
}

void context_want_read(struct context *x)
{
    set_deadline(x);
    watch(x, x->events | EPOLLIN);
}

/* ---- resources to be taken away -------------------------------------------------------------- */

void context_doom(struct context *x, uint32_t resource_id)
{
    if (x->state != CONTEXT_ALIVE) {
        return;
    }
    if (x->n_doomed == x->doomed_room) {
        uint32_t room = x->doomed_room ? x->doomed_room * 2 : 16;
        uint32_t *p = realloc(x->doomed, room * sizeof(*p));

        if (!p) {
            context_lose(x, "out of memory");
            return;
        }
        x->doomed = p;
        x->doomed_room = room;
    }
    x->doomed[x->n_doomed++] = resource_id;
    if (context_flush(x) == -EAGAIN) {
        context_want_write(x);
    }
}

int context_flush(struct context *x)
{
    uint32_t n = 0;
    int r = cordon_context_flush(x->cordon);

    while (r == 0 && n < x->n_doomed) {
        r = cordon_resource_destroy(x->cordon, x->doomed[n]);
        n += r == 0;
    }
    if (n > 0) {
        x->n_doomed -= n;
        memmove(x->doomed, x->doomed + n, x->n_doomed * sizeof(*x->doomed));
    }
    return r;
}

/* ---- fences ---------------------------------------------------------------------------------- */

static void on_fence(void *arg, int fd, uint32_t events)
{
    struct context *x = arg;
    struct gpu *g = x->gpu;

    (void)fd;
    (void)events;
    cordon_context_fence_drain(x->cordon);
    for (uint32_t ring = 0; ring < CORDON_RING_COUNT; ring++) {
        while (!list_empty(&x->fences[ring])) {
            struct command *c = list_entry(x->fences[ring].next, struct command, link);

            if (!cordon_context_fence_done(x->cordon, ring, c->seqno)) {
                break;
            }
            command_answer(g, c);
        }
    }
    queue_flush(&g->queues[GPU_QUEUE_CONTROL]);
}

static void answer_fences(struct context *x)
{
    for (uint32_t ring = 0; ring < CORDON_RING_COUNT; ring++) {
        list_for_each_safe (pos, &x->fences[ring]) {
            command_answer(x->gpu, list_entry(pos, struct command, link));
        }
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

static void take_blob(struct context *x)
{
    struct cordon_blob blob;
    int r = cordon_blob_finish(x->cordon, &blob);

    if (r == -EAGAIN) {
        return;
    }
    watch(x, x->events & ~(uint32_t)EPOLLIN);
    x->deadline_ms = 0;
    if (r < 0 && r != -EREMOTEIO) {
        context_lose(x, "its worker did not make a blob that could be used");
    } else {
        resource_blob_done(x->gpu, x, r, &blob);
    }
}

static void on_context(void *arg, int fd, uint32_t events)
{
    struct context *x = arg;
    struct gpu *g = x->gpu;
    uint32_t id = x->id;

    (void)fd;
    if (events & (EPOLLHUP | EPOLLERR)) {
        context_lose(x, "the render server has given it up");
    } else {
        if (events & EPOLLOUT) {
            x->deadline_ms = 0;
            watch(x, x->events & ~(uint32_t)EPOLLOUT);
            if (context_flush(x) == -EAGAIN) {
                context_want_write(x);
            }
        }
        if ((events & EPOLLIN) && x->blob) {
            take_blob(x);
        }
    }
    context_pump(g, id);
    context_pump_all(g);
    queue_flush(&g->queues[GPU_QUEUE_CONTROL]);
}

static void release(struct context *x)
{
    x->source = loop_source_remove(x->source);
    x->fence_source = loop_source_remove(x->fence_source);
    if (x->state == CONTEXT_STARTING) {
        starter_cancel(x->gpu->starter, x->ticket);
    }
    if (x->cordon) {
        starter_end(x->gpu->starter, take_ptr(x->cordon));
    }
    x->n_doomed = 0;
    x->deadline_ms = 0;
    x->events = 0;
}

void context_lose(struct context *x, const char *why)
{
    if (x->state == CONTEXT_LOST) {
        return;
    }
    log_named(LOG_LEVEL_ERROR, x->id, x->name, "context lost: %s", why);
    release(x);
    x->state = CONTEXT_LOST;
    answer_fences(x);
    if (x->blob) {
        resource_blob_done(x->gpu, x, -EPIPE, NULL);
    }
}

void context_started(void *arg, uint64_t ticket, int error, struct cordon_context *own_context)
{
    struct gpu *g = arg;
    struct context *x = NULL;
    int r = error;

    list_for_each (pos, &g->contexts) {
        struct context *y = list_entry(pos, struct context, link);

        if (y->ticket == ticket && y->state == CONTEXT_STARTING) {
            x = y;
        }
    }
    assert(x); /* or it would have been cancelled */
    x->cordon = own_context;
    x->state = CONTEXT_ALIVE; /* the starter knows no more of it */
    if (r == 0) {
        cordon_context_set_wait(x->cordon, false);
        r = loop_add_io(g->loop, cordon_context_fd(x->cordon), 0, on_context, x, &x->source);
    }
    if (r == 0) {
        r = loop_add_io(g->loop, cordon_context_fence_fd(x->cordon), EPOLLIN, on_fence, x,
                        &x->fence_source);
    }
    if (r < 0) {
        context_lose(x, "the render server refused it; its log says why");
    }
    context_pump(g, x->id);
    context_pump_all(g);
    queue_flush(&g->queues[GPU_QUEUE_CONTROL]);
}

void context_server_lost(void *arg)
{
    struct gpu *g = arg;

    log_error("the render server has ended, and with it all that the guest has; starting another");
    list_for_each (pos, &g->contexts) {
        struct context *x = list_entry(pos, struct context, link);

        if (x->state == CONTEXT_ALIVE) {
            context_lose(x, "the render server has ended");
        }
    }
    context_pump_all(g);
    queue_flush(&g->queues[GPU_QUEUE_CONTROL]);
}

void context_server_failed(void *arg, int error)
{
    struct gpu *g = arg;

    if (error == -ECHILD) {
        log_error("the render server ended by itself, its log says why; so does this program");
        loop_stop(g->loop, EXIT_FAILURE);
        return;
    }
    log_limited(&g->limit, LOG_LEVEL_ERROR, 0,
                error == -EAGAIN ? "no render server: it has ended too often within a minute"
                                 : "cannot start a render server: %s",
                strerror(-error));
}

void context_tick(void *arg)
{
    struct gpu *g = arg;
    uint64_t now = loop_now_ms();

    list_for_each_safe (pos, &g->contexts) {
        struct context *x = list_entry(pos, struct context, link);

        if (x->deadline_ms != 0 && now >= x->deadline_ms) {
            context_lose(x, "its worker takes or answers nothing");
        }
    }
    context_pump_all(g);
}

/* ---- lanes ----------------------------------------------------------------------------------- */

void context_pump(struct gpu *g, uint32_t id)
{
    for (;;) {
        struct context *x = context_find(g, id);
        struct command *c;

        if (!x || x->state == CONTEXT_STARTING || x->blob || list_empty(&x->lane)) {
            break;
        }
        c = list_entry(x->lane.next, struct command, link);
        /* Out of its lane while it runs: it goes back to the front if it must. */
        list_remove(&c->link);
        command_run_lane(g, c, x);
        x = context_find(g, id);
        if (x && list_entry(x->lane.next, struct command, link) == c) {
            break; /* still waits */
        }
    }
    while (!list_empty(&g->redo)) {
        struct command *c = list_entry(g->redo.next, struct command, link);

        list_remove(&c->link);
        command_dispatch(g, c);
    }
    if (g->full && g->held_bytes < GPU_HELD_MAX) {
        loop_timer_arm(g->again, 0);
    }
}

void context_pump_all(struct gpu *g)
{
    uint32_t ids[GPU_CONTEXTS_MAX], n = 0;

    list_for_each (pos, &g->contexts) {
        struct context *x = list_entry(pos, struct context, link);

        if (!list_empty(&x->lane)) {
            ids[n++] = x->id;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        context_pump(g, ids[i]);
    }
}

/* ---- commands -------------------------------------------------------------------------------- */

static struct context *context_new(struct gpu *g, const struct command *c)
{
    const struct virtio_gpu_ctx_create *m = (const void *)c->bytes;
    struct context *x = calloc(1, sizeof(*x));

    if (!x) {
        return NULL;
    }
    x->gpu = g;
    x->id = c->header.ctx_id;
    memcpy(x->name, m->name, strnlen(m->name, sizeof(x->name) - 1));
    list_init(&x->lane);
    list_init(&x->attachments);
    for (uint32_t ring = 0; ring < CORDON_RING_COUNT; ring++) {
        list_init(&x->fences[ring]);
    }
    list_append(&g->contexts, &x->link);
    g->n_contexts++;
    return x;
}

int context_create(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_ctx_create *m = (const void *)c->bytes;
    uint32_t capset = m->context_init & VIRTIO_GPU_CONTEXT_INIT_CAPSET_MASK;
    struct context *x;

    if (c->header.ctx_id == 0 || context_find(g, c->header.ctx_id)) {
        return VIRTIO_GPU_ERR_INVALID_CONTEXT_ID;
    }
    if ((capset != 0 && capset != VIRTIO_GPU_CAPSET_VENUS) || m->name_length > sizeof(m->name)) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    x = g->n_contexts < GPU_CONTEXTS_MAX ? context_new(g, c) : NULL;
    if (!x) {
        return VIRTIO_GPU_ERR_OUT_OF_MEMORY;
    }
    /* A context of no capset is the guest kernel's own, for its console. */
    x->state = CONTEXT_BARE;
    if (capset == VIRTIO_GPU_CAPSET_VENUS) {
        x->state = CONTEXT_STARTING;
        x->ticket = ++g->next_ticket;
        if (starter_make(g->starter, x->ticket, x->id, x->name) < 0) {
            context_remove(x);
            return VIRTIO_GPU_ERR_OUT_OF_MEMORY;
        }
        log_named(LOG_LEVEL_INFO, x->id, x->name, "context begins");
    }
    /* What comes next waits in its lane until the worker is there. */
    return VIRTIO_GPU_OK_NODATA;
}

void context_remove(struct context *x)
{
    struct gpu *g = x->gpu;
    bool bare = x->state == CONTEXT_BARE;

    release(x);
    x->state = CONTEXT_LOST;
    answer_fences(x);
    if (x->blob) {
        resource_blob_done(g, x, -EPIPE, NULL);
    }
    list_for_each_safe (pos, &x->attachments) {
        attachment_remove(g, list_entry(pos, struct attachment, of_context));
    }
    list_for_each_safe (pos, &x->lane) {
        list_remove(pos);
        list_append(&g->redo, pos);
    }
    list_remove(&x->link);
    g->n_contexts--;
    if (!bare) {
        log_named(LOG_LEVEL_INFO, x->id, x->name, "context ended");
    }
    free(x->doomed);
    free(x);
}

int context_destroy(struct gpu *g, struct command *c)
{
    struct context *x = context_find(g, c->header.ctx_id);

    if (!x) {
        return VIRTIO_GPU_ERR_INVALID_CONTEXT_ID;
    }
    context_remove(x);
    return VIRTIO_GPU_OK_NODATA;
}

static struct attachment *attached(const struct context *x, const struct resource *r)
{
    list_for_each (pos, &r->attachments) {
        struct attachment *a = list_entry(pos, struct attachment, of_resource);

        if (a->context == x) {
            return a;
        }
    }
    return NULL;
}

int context_attach(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_resource *m = (const void *)c->bytes;
    struct context *x = context_find(g, c->header.ctx_id);
    struct resource *r = resource_find(g, m->resource_id);
    struct attachment *a;
    int e = 0;

    if (!x) {
        return VIRTIO_GPU_ERR_INVALID_CONTEXT_ID;
    }
    if (r ? !r->ready : context_making(g, m->resource_id) != NULL) {
        return -EBUSY;
    }
    if (!r) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    /* The context that made a blob has it from the start. */
    if (attached(x, r)) {
        return VIRTIO_GPU_OK_NODATA;
    }
    if (x->state == CONTEXT_LOST) {
        return VIRTIO_GPU_ERR_UNSPEC;
    }
    if (r->kind == RESOURCE_HOST3D && x->state == CONTEXT_ALIVE) {
        e = context_flush(x);
        if (e == 0) {
            e = cordon_resource_import(x->cordon, r->id, r->blob.fd_type, r->blob.fd, r->size);
        }
    }
    if (e == -EAGAIN) {
        return -EAGAIN;
    }
    a = e == 0 && g->n_attachments < GPU_ATTACHMENTS_MAX ? malloc(sizeof(*a)) : NULL;
    if (!a) {
        return e < 0 ? VIRTIO_GPU_ERR_UNSPEC : VIRTIO_GPU_ERR_OUT_OF_MEMORY;
    }
    attachment_add(g, a, x, r);
    return VIRTIO_GPU_OK_NODATA;
}

int context_detach(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_resource *m = (const void *)c->bytes;
    struct context *x = context_find(g, c->header.ctx_id);
    struct resource *r = resource_find(g, m->resource_id);
    struct attachment *a;

    if (!x) {
        return VIRTIO_GPU_ERR_INVALID_CONTEXT_ID;
    }
    a = r ? attached(x, r) : NULL;
    if (!a) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    attachment_remove(g, a);
    return VIRTIO_GPU_OK_NODATA;
}

int context_submit(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_submit_3d *m = (const void *)c->bytes;
    struct context *x = context_find(g, c->header.ctx_id);
    int r;

    (void)g;
    if (!x) {
        return VIRTIO_GPU_ERR_INVALID_CONTEXT_ID;
    }
    if (m->size > c->size - sizeof(*m) || m->size % 4 != 0) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    if (x->state == CONTEXT_LOST) {
        return VIRTIO_GPU_ERR_UNSPEC;
    }
    /* Only a fence, perhaps. */
    if (m->size == 0) {
        return VIRTIO_GPU_OK_NODATA;
    }
    if (x->state == CONTEXT_BARE) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    r = context_flush(x);
    if (r == 0) {
        r = cordon_submit(x->cordon, c->bytes + sizeof(*m), m->size);
    }
    if (r == -EAGAIN) {
        return -EAGAIN;
    }
    if (r == -EMSGSIZE) {
        return VIRTIO_GPU_ERR_OUT_OF_MEMORY;
    }
    if (r < 0) {
        context_lose(x, "its worker is gone");
        return VIRTIO_GPU_ERR_UNSPEC;
    }
    return VIRTIO_GPU_OK_NODATA;
}
