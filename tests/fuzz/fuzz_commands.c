/*
 * Command streams against the whole decoder and every handler, on a driver that agrees to
 * everything (tests/fakevk). The context has what Mesa has after its first commands: instance 1,
 * physical device 2, device 3, queue 4, and shared memory 1 to 3.
 *
 * Input: records, each a 16-bit length and that many bytes of command stream. A record that fails
 * would end the context; here the next one goes on in it, so that one input gets further, and so
 * that a failure must leave everything in order.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/log.h"
#include "ipc/map.h"
#include "ipc/worker_wire.h"
#include "tests/fakevk/fakevk.h"
#include "worker/context.h"
#include "worker/recorder.h"
#include "worker/resources.h"
#include "worker/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* vkCreateInstance(1), vkEnumeratePhysicalDevices(2), vkCreateDevice(3) with one queue,
 * vkGetDeviceQueue2(4) on timeline 1: as on the wire, 32-bit words. */
static const uint32_t start[] = {
    /* clang-format off */
    0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0,
    2, 0, 1, 0, 1, 0, 1, 1, 0, 2, 0,
    11, 0, 2, 0, 1, 0, 3, 0, 0, 0, 1, 1, 0, 2, 0, 0, 0, 0, 1, 1, 0, 0x3f800000,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 0,
    155, 0, 3, 0, 1, 0, 1000145003, 1, 0, 1000384005, 0, 0, 1, 0, 0, 0, 1, 0, 4, 0,
    /* clang-format on */
};

static struct recorder recorder;
static struct vulkan vulkan;

static void set_up(void)
{
    int fd = -1;

    log_to_fd(getenv("FUZZ_LOG") ? 2 : -1); /* to see what a record fails of */
    log_set_level(LOG_LEVEL_DEBUG);
    fakevk_open(&vulkan);
    if (memfd_create_sized("record", sizeof(struct worker_record), &fd) < 0 ||
        recorder_init(&recorder, fd) < 0) {
        abort();
    }
}

static void run(struct context *ctx, const void *bytes, size_t size)
{
    struct decoder *d = &ctx->decoder;
    /* Exactly as large as the stream, so that a read past its end is seen. */
    uint8_t *exact = malloc(size > 0 ? size : 1);

    memcpy(exact, bytes, size);
    (void)reply_set(d, 3, 0, 65536);
    (void)decoder_run(d, exact, size, NULL, NULL);
    free(exact);
    if (d->failed) {
        log_debug("%s", d->why);
    }
    d->failed = d->cancelled = false;
}

static void fill_resource(struct context *ctx, uint32_t id, const uint8_t *data, size_t size)
{
    struct resource *r;
    int fd = -1;

    if (resources_create_shm(&ctx->resources, id, 65536, &fd) < 0) {
        abort();
    }
    close(fd);
    r = resources_get(&ctx->resources, id);
    if (size > 0) {
        memcpy(r->map, data, MIN(size, 65536));
    }
    resource_unref(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct context ctx;

    if (!recorder.page) {
        set_up();
    }
    if (context_init(&ctx, 1, "fuzz", &recorder, &vulkan, -1) < 0) {
        abort();
    }
    for (uint32_t id = 1; id <= 2; id++) {
        fill_resource(&ctx, id, data, size); /* streams to execute */
    }
    fill_resource(&ctx, 3, NULL, 0); /* empty: rings and replies */
    objects_wake(&ctx.objects, &ctx.decoder.reader);
    run(&ctx, start, sizeof(start));
    if (!objects_find_any(&ctx.objects, 4)) {
        abort(); /* the start itself does not decode: the target is worthless */
    }
    while (size >= 2 && !context_is_fatal(&ctx)) {
        size_t n = MIN((size_t)(data[0] | data[1] << 8), size - 2);

        run(&ctx, data + 2, n);
        data += 2 + n;
        size -= 2 + n;
    }
    objects_sleep(&ctx.objects, &ctx.decoder.reader);
    rings_stop(&ctx);
    context_fini(&ctx);
    return 0;
}
