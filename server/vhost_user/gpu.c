#include "server/vhost_user/gpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ipc/loop.h"
#include "server/vhost_user/starter.h"

/* Time for commands of one queue before the loop looks at the rest: a front end that wants to be
 * answered may hold up its whole VM. */
#define RUN_MS 5
/* How often deadlines are looked at. */
#define TICK_MS 1000

/* ---- taking commands from a queue ---------------------------------------------------------- */

static bool read_request(struct gpu *g, struct command *c)
{
    size_t size = MIN(g->chain.out_size, (uint64_t)GPU_COMMAND_MAX);

    if (size > c->room) {
        uint8_t *p = realloc(c->bytes, size);

        if (!p) {
            return false;
        }
        c->bytes = p;
        c->room = size;
    }
    c->size = size;
    if (size < sizeof(c->header) || virtqueue_read(&g->chain, g->memory, 0, c->bytes, size) < 0) {
        return false;
    }
    memcpy(&c->header, c->bytes, sizeof(c->header));
    c->header.flags &= VIRTIO_GPU_FLAG_FENCE | VIRTIO_GPU_FLAG_INFO_RING_IDX;
    return true;
}

static void take(struct gpu *g, struct queue *q)
{
    struct command *c = command_new(g);

    if (!c || g->chain.n_in > COMMAND_IN_MAX || !read_request(g, c)) {
        log_limited(&g->limit, LOG_LEVEL_WARN, 0,
                    "buffer of %u + %u pieces, %llu bytes given back unanswered", g->chain.n_out,
                    g->chain.n_in, (unsigned long long)g->chain.out_size);
        queue_push(q, g->chain.head, 0);
        if (c) {
            command_drop(g, c);
        }
        return;
    }
    c->queue = q;
    c->head = g->chain.head;
    c->n_in = g->chain.n_in;
    memcpy(c->in, g->chain.segments + g->chain.n_out, c->n_in * sizeof(c->in[0]));
    c->serial = g->next_serial++;
    command_dispatch(g, c);
}

void gpu_run(struct gpu *g, struct queue *q)
{
    uint64_t end = loop_now_ms() + RUN_MS;

    while (q->running && g->held_bytes < GPU_HELD_MAX) {
        int r = queue_pop(q, &g->chain);

        if (r == 0 && !virtqueue_arm(&q->vq)) {
            break;
        }
        if (r == 1) {
            take(g, q);
        } else if (r == -EBADMSG) {
            log_limited(&g->limit, LOG_LEVEL_WARN, 0,
                        "descriptors that loop or lie outside memory; given back unanswered");
            queue_push(q, g->chain.head, 0);
        }
        if (loop_now_ms() >= end) {
            loop_timer_arm(g->again, 0);
            break;
        }
    }
    g->full = g->held_bytes >= GPU_HELD_MAX;
    queue_flush(q);
}

static void on_again(void *arg)
{
    struct gpu *g = arg;

    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        gpu_run(g, &g->queues[i]);
    }
}

void gpu_resume(struct gpu *g)
{
    list_for_each_safe (pos, &g->held) {
        struct command *c = list_entry(pos, struct command, link);

        if (c->queue->running) {
            command_answer(g, c);
        }
    }
    on_again(g);
}

static void on_tick(void *arg)
{
    struct gpu *g = arg;

    context_tick(g);
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        queue_flush(&g->queues[i]);
    }
    loop_timer_arm(g->tick, TICK_MS);
}

/* ---- life ----------------------------------------------------------------------------------- */

uint64_t gpu_features(const struct gpu *g)
{
    uint64_t f = 1ull << VIRTIO_GPU_F_VIRGL | 1ull << VIRTIO_GPU_F_RESOURCE_UUID |
                 1ull << VIRTIO_GPU_F_RESOURCE_BLOB | 1ull << VIRTIO_GPU_F_CONTEXT_INIT;

    return g->display.mode.width > 0 ? f | 1ull << VIRTIO_GPU_F_EDID : f;
}

void gpu_config(const struct gpu *g, struct virtio_gpu_config *ret_config)
{
    *ret_config = (struct virtio_gpu_config){
        .num_scanouts = g->display.mode.width > 0,
        .num_capsets = 1,
    };
}

int gpu_init(struct gpu *g, struct loop *loop, struct keeper *keeper, struct guest_memory *memory,
             struct window *window, const struct display_mode *mode)
{
    const struct starter_events events = {
        .made = context_started,
        .server_lost = context_server_lost,
        .server_failed = context_server_failed,
        .arg = g,
    };
    int r;

    *g = (struct gpu){
        .loop = loop,
        .memory = memory,
        .window = window,
        .limit = LOG_LIMIT_INIT(20, 10000),
    };
    list_init(&g->contexts);
    list_init(&g->ops);
    list_init(&g->waiters);
    list_init(&g->redo);
    list_init(&g->held);
    for (uint32_t i = 0; i < GPU_BUCKETS; i++) {
        list_init(&g->resources[i]);
    }
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        queue_init(&g->queues[i], memory);
    }
    display_init(&g->display, mode);
    if (getrandom(g->uuid, sizeof(g->uuid), 0) != sizeof(g->uuid)) {
        return -EIO;
    }
    r = loop_add_timer(loop, on_again, g, &g->again);
    if (r == 0) {
        r = loop_add_timer(loop, on_tick, g, &g->tick);
    }
    if (r == 0) {
        r = starter_create(loop, keeper, &events, &g->starter);
    }
    if (r == 0) {
        loop_timer_arm(g->tick, TICK_MS);
    }
    return r;
}

static void forget_answers(struct list *commands, struct gpu *g)
{
    list_for_each_safe (pos, commands) {
        command_drop(g, list_entry(pos, struct command, link));
    }
}

void gpu_reset(struct gpu *g)
{
    /* Nobody wants these answers. What the front end has still to answer frees its command then. */
    list_for_each (pos, &g->ops) {
        list_entry(pos, struct command, op_link)->queue = NULL;
    }
    list_for_each_safe (pos, &g->contexts) {
        context_remove(list_entry(pos, struct context, link));
    }
    forget_answers(&g->redo, g);
    forget_answers(&g->waiters, g);
    forget_answers(&g->held, g);
    for (uint32_t i = 0; i < GPU_BUCKETS; i++) {
        list_for_each_safe (pos, &g->resources[i]) {
            resource_remove(g, list_entry(pos, struct resource, link));
        }
    }
    display_reset(&g->display);
}

void gpu_fini(struct gpu *g)
{
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        queue_fini(&g->queues[i]);
    }
    gpu_reset(g);
    window_disconnect(g->window);
    g->starter = starter_destroy(g->starter);
    g->again = loop_source_remove(g->again);
    g->tick = loop_source_remove(g->tick);
    command_free(g->spare);
}
