/* One command's way: into a lane or to its handler, to its answer, to its fence. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/cleanup.h"
#include "server/front/capset.h"
#include "server/vhost_user/gpu.h"

/* A request buffer larger than this is not kept. */
#define KEEP_ROOM 65536

/* ---- answers ------------------------------------------------------------------------------- */

void command_free(struct command *c)
{
    if (c) {
        free(c->bytes);
        free(c);
    }
}

/* What waits for somebody's answer needs only its header. */
static void command_trim(struct command *c)
{
    if (c->room > KEEP_ROOM && !c->held) {
        free(take_ptr(c->bytes));
        c->room = 0;
    }
}

struct command *command_new(struct gpu *g)
{
    struct command *c = g->spare ? g->spare : calloc(1, sizeof(*c));

    g->spare = NULL;
    if (c) {
        list_init(&c->link);
        list_init(&c->op_link);
        c->gpu = g;
        c->ran = c->held = false;
        c->answer_size = sizeof(c->answer.header);
    }
    return c;
}

void command_drop(struct gpu *g, struct command *c)
{
    list_remove(&c->link);
    list_remove(&c->op_link);
    if (c->held) {
        g->held_bytes -= c->size;
    }
    if (g->spare || c->room > KEEP_ROOM) {
        command_free(c);
    } else {
        g->spare = c;
    }
}

void command_answer(struct gpu *g, struct command *c)
{
    struct virtio_gpu_header *h = &c->answer.header;
    int64_t written;

    list_remove(&c->link);
    list_remove(&c->op_link);
    if (!c->queue) {
        command_drop(g, c);
        return;
    }
    if (!c->queue->running) {
        list_append(&g->held, &c->link);
        return;
    }
    h->flags = c->header.flags & (VIRTIO_GPU_FLAG_FENCE | VIRTIO_GPU_FLAG_INFO_RING_IDX);
    h->fence_id = c->header.fence_id;
    h->ctx_id = c->header.ctx_id;
    h->ring_idx = c->header.ring_idx;
    memset(h->pad, 0, sizeof(h->pad));
    written = virtqueue_write(c->in, c->n_in, g->memory, &c->answer, c->answer_size);
    queue_push(c->queue, c->head, written > 0 ? (uint32_t)written : 0);
    command_drop(g, c);
}

/* Fences of the device's own timeline come after everything that was there before them. */
static void settle_waiters(struct gpu *g)
{
    while (!list_empty(&g->waiters)) {
        struct command *c = list_entry(g->waiters.next, struct command, link);

        if (!list_empty(&g->ops) &&
            list_entry(g->ops.next, struct command, op_link)->serial < c->serial) {
            return;
        }
        command_answer(g, c);
    }
}

/* The context on whose timeline the command's fence is; NULL: the device's own. */
static struct context *fence_context(const struct gpu *g, const struct command *c)
{
    struct context *x = NULL;

    if ((c->header.flags & VIRTIO_GPU_FLAG_INFO_RING_IDX) != 0 ||
        c->header.type == VIRTIO_GPU_SUBMIT_3D) {
        x = context_find(g, c->header.ctx_id);
    }
    return x && x->state == CONTEXT_ALIVE ? x : NULL;
}

static void ask_fence(struct gpu *g, struct command *c)
{
    struct context *x = fence_context(g, c);
    uint32_t ring = (c->header.flags & VIRTIO_GPU_FLAG_INFO_RING_IDX) != 0 ? c->header.ring_idx : 0;
    int r;

    if (!x) {
        list_append(&g->waiters, &c->link);
        list_remove(&c->op_link);
        settle_waiters(g);
        return;
    }
    r = context_flush(x);
    if (r == 0) {
        r = cordon_fence(x->cordon, ring, &c->seqno);
    }
    if (r == -EAGAIN) {
        context_wait(x, c, true);
        context_want_write(x);
    } else if (r < 0) {
        /* It cannot come any more; the guest must not wait. */
        command_answer(g, c);
    } else {
        list_append(&x->fences[ring], &c->link);
        list_remove(&c->op_link);
        command_trim(c);
    }
}

void command_finish(struct gpu *g, struct command *c, uint32_t type)
{
    list_remove(&c->link);
    c->answer.header.type = type;
    if (type >= VIRTIO_GPU_ERR_UNSPEC) {
        c->answer_size = sizeof(c->answer.header);
    }
    c->ran = true;
    /* Nothing of the cursor queue waits for anything. */
    if (c->queue != &g->queues[GPU_QUEUE_CONTROL] ||
        (c->header.flags & VIRTIO_GPU_FLAG_FENCE) == 0) {
        command_answer(g, c);
    } else {
        ask_fence(g, c);
    }
    settle_waiters(g);
}

void command_keep(struct gpu *g, struct command *c)
{
    if (list_empty(&c->op_link)) {
        list_append(&g->ops, &c->op_link);
    }
    if (list_empty(&c->link)) {
        command_trim(c);
    }
}

/* ---- capsets --------------------------------------------------------------------------------- */

int capset_get_info(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_get_capset_info *m = (const void *)c->bytes;
    struct virtio_gpu_capset_info *i = &c->answer.capset_info;

    (void)g;
    if (m->index != 0) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    i->capset_id = VIRTIO_GPU_CAPSET_VENUS;
    i->max_version = 0;
    i->max_size = VIRTIO_GPU_CAPSET_VENUS_SIZE;
    i->pad = 0;
    c->answer_size = sizeof(*i);
    return VIRTIO_GPU_OK_CAPSET_INFO;
}

int capset_get(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_get_capset *m = (const void *)c->bytes;

    (void)g;
    if (m->capset_id != VIRTIO_GPU_CAPSET_VENUS || m->version != 0) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    static_assert(CAPSET_WORDS * 4 == VIRTIO_GPU_CAPSET_VENUS_SIZE, "one capset");
    capset_fill(c->answer.capset.words);
    c->answer_size = sizeof(c->answer.capset);
    return VIRTIO_GPU_OK_CAPSET;
}

/* Belongs to renderers that know formats; a Venus guest never sends it. */
static int refuse_3d(struct gpu *g, struct command *c)
{
    (void)g;
    (void)c;
    return VIRTIO_GPU_ERR_UNSPEC;
}

/* ---- the table ----------------------------------------------------------------------------- */

enum lane {
    LANE_NONE,     /* runs at once */
    LANE_CONTEXT,  /* of the context in the header */
    LANE_RESOURCE, /* of the context that made the resource, the first word of the body */
};

struct rule {
    const char *name;
    uint32_t size; /* at least; more is what the command says */
    command_fn run;
    enum lane lane;
    bool cursor; /* belongs to the cursor queue */
};

/* By type: 0x01xx, 0x02xx, 0x03xx. */
static const struct rule rules[3][16] = {
    /* clang-format off */
    {
        [0x00] = { "GET_DISPLAY_INFO", sizeof(struct virtio_gpu_header), display_get_info, LANE_NONE },
        [0x01] = { "RESOURCE_CREATE_2D", sizeof(struct virtio_gpu_create_2d), resource_create_2d, LANE_NONE },
        [0x02] = { "RESOURCE_UNREF", sizeof(struct virtio_gpu_resource), resource_unref, LANE_RESOURCE },
        [0x03] = { "SET_SCANOUT", sizeof(struct virtio_gpu_set_scanout), scanout_set, LANE_NONE },
        [0x04] = { "RESOURCE_FLUSH", sizeof(struct virtio_gpu_flush), resource_flush, LANE_NONE },
        [0x05] = { "TRANSFER_TO_HOST_2D", sizeof(struct virtio_gpu_transfer_2d), resource_transfer_2d, LANE_NONE },
        [0x06] = { "RESOURCE_ATTACH_BACKING", sizeof(struct virtio_gpu_attach_backing), resource_attach_backing, LANE_NONE },
        [0x07] = { "RESOURCE_DETACH_BACKING", sizeof(struct virtio_gpu_resource), resource_detach_backing, LANE_NONE },
        [0x08] = { "GET_CAPSET_INFO", sizeof(struct virtio_gpu_get_capset_info), capset_get_info, LANE_NONE },
        [0x09] = { "GET_CAPSET", sizeof(struct virtio_gpu_get_capset), capset_get, LANE_NONE },
        [0x0a] = { "GET_EDID", sizeof(struct virtio_gpu_get_edid), display_get_edid, LANE_NONE },
        [0x0b] = { "RESOURCE_ASSIGN_UUID", sizeof(struct virtio_gpu_resource), resource_uuid, LANE_RESOURCE },
        [0x0c] = { "RESOURCE_CREATE_BLOB", sizeof(struct virtio_gpu_create_blob), resource_create_blob, LANE_CONTEXT },
        [0x0d] = { "SET_SCANOUT_BLOB", sizeof(struct virtio_gpu_set_scanout_blob), scanout_set_blob, LANE_NONE },
    },
    {
        [0x00] = { "CTX_CREATE", sizeof(struct virtio_gpu_ctx_create), context_create, LANE_CONTEXT },
        [0x01] = { "CTX_DESTROY", sizeof(struct virtio_gpu_header), context_destroy, LANE_CONTEXT },
        [0x02] = { "CTX_ATTACH_RESOURCE", sizeof(struct virtio_gpu_resource), context_attach, LANE_CONTEXT },
        [0x03] = { "CTX_DETACH_RESOURCE", sizeof(struct virtio_gpu_resource), context_detach, LANE_CONTEXT },
        [0x04] = { "RESOURCE_CREATE_3D", sizeof(struct virtio_gpu_header), refuse_3d, LANE_NONE },
        [0x05] = { "TRANSFER_TO_HOST_3D", sizeof(struct virtio_gpu_header), refuse_3d, LANE_NONE },
        [0x06] = { "TRANSFER_FROM_HOST_3D", sizeof(struct virtio_gpu_header), refuse_3d, LANE_NONE },
        [0x07] = { "SUBMIT_3D", sizeof(struct virtio_gpu_submit_3d), context_submit, LANE_CONTEXT },
        [0x08] = { "RESOURCE_MAP_BLOB", sizeof(struct virtio_gpu_map_blob), resource_map, LANE_RESOURCE },
        [0x09] = { "RESOURCE_UNMAP_BLOB", sizeof(struct virtio_gpu_resource), resource_unmap, LANE_RESOURCE },
    },
    {
        [0x00] = { "UPDATE_CURSOR", sizeof(struct virtio_gpu_cursor), cursor_update, LANE_NONE, true },
        [0x01] = { "MOVE_CURSOR", sizeof(struct virtio_gpu_cursor), cursor_update, LANE_NONE, true },
    },
    /* clang-format on */
};

static const struct rule *rule_of(uint32_t type)
{
    uint32_t family = (type >> 8) - 1, i = type & 0xff;

    if (type >> 16 != 0 || family >= ARRAY_SIZE(rules) || i >= ARRAY_SIZE(rules[0]) ||
        !rules[family][i].run) {
        return NULL;
    }
    return &rules[family][i];
}

static struct context *lane_of(const struct gpu *g, const struct command *c, enum lane lane)
{
    const struct virtio_gpu_resource *m = (const void *)c->bytes;
    const struct resource *r;

    switch (lane) {
    case LANE_CONTEXT:
        return context_find(g, c->header.ctx_id);
    case LANE_RESOURCE:
        r = resource_find(g, m->resource_id);
        return r ? context_find(g, r->owner) : context_making(g, m->resource_id);
    default:
        return NULL;
    }
}

static void run(struct gpu *g, struct command *c, const struct rule *rule, struct context *x)
{
    int r = rule->run(g, c);

    if ((r == -EAGAIN || r == -EBUSY) && x) {
        context_wait(x, c, true);
        if (r == -EAGAIN) {
            context_want_write(x);
        }
        return;
    }
    if (r == 0) {
        return;
    }
    if (r >= VIRTIO_GPU_ERR_UNSPEC) {
        log_limited(&g->limit, LOG_LEVEL_WARN, c->header.ctx_id, "%s refused with 0x%x", rule->name,
                    (unsigned)r);
    }
    command_finish(g, c, r > 0 ? (uint32_t)r : VIRTIO_GPU_ERR_UNSPEC);
}

void command_run_lane(struct gpu *g, struct command *c, struct context *x)
{
    if (c->ran) {
        command_finish(g, c, c->answer.header.type);
    } else {
        run(g, c, rule_of(c->header.type), x);
    }
}

void command_dispatch(struct gpu *g, struct command *c)
{
    const struct rule *rule = rule_of(c->header.type);
    struct context *x;

    if (c->ran) {
        command_finish(g, c, c->answer.header.type);
        return;
    }
    /* Nothing is done for a fence on a ring that does not exist; it comes with the error. */
    if ((c->header.flags & VIRTIO_GPU_FLAG_INFO_RING_IDX) != 0 &&
        c->header.ring_idx >= CORDON_RING_COUNT) {
        c->header.flags &= ~VIRTIO_GPU_FLAG_INFO_RING_IDX;
        command_finish(g, c, VIRTIO_GPU_ERR_INVALID_PARAMETER);
        return;
    }
    if (!rule || rule->cursor != (c->queue == &g->queues[GPU_QUEUE_CURSOR])) {
        log_limited(&g->limit, LOG_LEVEL_WARN, 0, "command 0x%x is not one of this queue",
                    c->header.type);
        command_finish(g, c, VIRTIO_GPU_ERR_UNSPEC);
        return;
    }
    if (c->size < rule->size) {
        log_limited(&g->limit, LOG_LEVEL_WARN, 0, "%s of %zu bytes; it has %u", rule->name, c->size,
                    rule->size);
        command_finish(g, c, VIRTIO_GPU_ERR_INVALID_PARAMETER);
        return;
    }
    x = lane_of(g, c, rule->lane);
    if (x && context_busy(x)) {
        context_wait(x, c, false);
        return;
    }
    run(g, c, rule, x);
}
