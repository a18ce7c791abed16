#include "worker/context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "ipc/worker_wire.h"
#include "worker/limits.h"
#include "worker/ring.h"

int context_init(struct context *ctx, uint32_t id, const char *name, struct recorder *recorder,
                 struct vulkan *vulkan, int control_fd)
{
    int r;

    *ctx = (struct context){
        .id = id,
        .vulkan = vulkan,
        .recorder = recorder,
        .control_fd = control_fd,
        .wake_fd = -1,
    };
    snprintf(ctx->name, sizeof(ctx->name), "%s", name);
    list_init(&ctx->rings);
    ctx->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ctx->wake_fd < 0) {
        return -errno;
    }
    r = objects_init(&ctx->objects, limits_from_server.objects);
    if (r < 0) {
        goto fail_objects;
    }
    pthread_mutex_init(&ctx->lock, NULL);
    pthread_mutex_init(&ctx->rings_lock, NULL);
    (void)resources_init(&ctx->resources);
    ctx->budget =
        (struct budget){ .max = limits_from_server.memory, .used = &recorder->page->memory_bytes };
    (void)timelines_init(&ctx->timelines);
    r = decoder_init(&ctx->decoder, ctx, NULL);
    if (r < 0) {
        goto fail_decoder;
    }
    /* Until the context thread has something to run, it holds no object. */
    objects_sleep(&ctx->objects, &ctx->decoder.reader);
    return 0;

fail_decoder:
    timelines_fini(&ctx->timelines);
    resources_fini(&ctx->resources);
    pthread_mutex_destroy(&ctx->rings_lock);
    pthread_mutex_destroy(&ctx->lock);
    objects_fini(&ctx->objects);
fail_objects:
    close_fd(&ctx->wake_fd);
    return r;
}

void context_fini(struct context *ctx)
{
    decoder_fini(&ctx->decoder);
    timelines_fini(&ctx->timelines);
    resources_fini(&ctx->resources);
    objects_fini(&ctx->objects);
    pthread_mutex_destroy(&ctx->rings_lock);
    pthread_mutex_destroy(&ctx->lock);
    close_fd(&ctx->wake_fd);
}

static void wake_main(struct context *ctx)
{
    const uint64_t one = 1;

    /* EAGAIN: it is awake already. */
    (void)!write(ctx->wake_fd, &one, sizeof(one));
}

void context_fatal(struct context *ctx, const char *fmt, ...)
{
    {
        LOCK_SCOPE(&ctx->lock);
        va_list args;

        if (context_is_fatal(ctx)) {
            return;
        }
        va_start(args, fmt);
        vsnprintf(ctx->why, sizeof(ctx->why), fmt, args);
        va_end(args);
        atomic_store_explicit(&ctx->fatal, true, memory_order_seq_cst);
    }
    /* The server reads the page when we are gone, and tells it once, with the last commands. */
    recorder_reason(ctx->recorder, ctx->why);
    log_debug("%s; ending", ctx->why);
    rings_fatal(ctx);
    wake_main(ctx);
}

void context_monitor(struct context *ctx, uint32_t period_us)
{
    uint32_t now = atomic_load_explicit(&ctx->monitor_period_us, memory_order_relaxed);

    if (now == 0 || period_us < now) {
        atomic_store_explicit(&ctx->monitor_period_us, period_us, memory_order_relaxed);
        wake_main(ctx);
    }
}
