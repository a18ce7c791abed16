/*
 * What a recorded command costs the worker by itself: the driver does nothing (tests/fakevk), no
 * client and no ring thread are there, the bytes are copied and decoded in batches as a ring does.
 *
 *   bench_decode [--count N] [--rounds N] [KIND...]
 *
 * Prints one JSON object, KIND to {"ns": processor time per command, "commands": N}, best of the
 * rounds. Under callgrind with --toggle-collect=bench_decode_run, one KIND and one round, what is
 * collected is those N commands; tests/bench/decode.py does that.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "ipc/log.h"
#include "ipc/map.h"
#include "ipc/worker_wire.h"
#include "tests/fakevk/fakevk.h"
#include "worker/context.h"
#include "worker/device.h"
#include "worker/recorder.h"
#include "worker/resources.h"

#define RING_BYTES (128u << 10) /* Mesa's */

enum {
    INSTANCE = 1,
    DEVICE = 3,
    COMMANDS = 5,
    LAYOUT,
    IMAGE,
    SET,
    BUFFER = SET + 1000,
    LAST = 4000
};

/* As in tests/fuzz/fuzz_commands.c: instance 1, physical device 2, device 3. */
static const uint32_t start[] = {
    /* clang-format off */
    0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0,
    2, 0, 1, 0, 1, 0, 1, 1, 0, 2, 0,
    11, 0, 2, 0, 1, 0, 3, 0, 0, 0, 1, 1, 0, 2, 0, 0, 0, 0, 1, 1, 0, 0x3f800000,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 0,
    /* clang-format on */
};

struct stream {
    uint8_t *bytes;
    size_t size, room;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_decode: %s\n", what);
    exit(1);
}

static void put(struct stream *s, const void *bytes, size_t n)
{
    if (s->size + n > s->room) {
        s->room = (s->size + n) * 2;
        s->bytes = realloc(s->bytes, s->room);
        if (!s->bytes) {
            die("out of memory");
        }
    }
    memcpy(s->bytes + s->size, bytes, n);
    s->size += n;
}

static void put32(struct stream *s, uint32_t v)
{
    put(s, &v, sizeof(v));
}

static void put64(struct stream *s, uint64_t v)
{
    put(s, &v, sizeof(v));
}

static void put_command(struct stream *s, uint32_t number, uint64_t first)
{
    put32(s, number);
    put32(s, 0);
    put64(s, first);
}

/* ---- one command of each kind, the i-th ---------------------------------------------------- */

static void draw(struct stream *s, uint32_t i)
{
    put_command(s, 106, COMMANDS);
    put32(s, 3);
    put32(s, 1);
    put32(s, 0);
    put32(s, i);
}

static void push_constants(struct stream *s, uint32_t i)
{
    put_command(s, 132, COMMANDS);
    put64(s, LAYOUT);
    put32(s, VK_SHADER_STAGE_VERTEX_BIT);
    put32(s, 0);
    put32(s, 36);
    put64(s, 36);
    for (int k = 0; k < 9; k++) {
        put32(s, i);
    }
}

static void bind_descriptor_sets(struct stream *s, uint32_t i)
{
    put_command(s, 103, COMMANDS);
    put32(s, VK_PIPELINE_BIND_POINT_GRAPHICS);
    put64(s, LAYOUT);
    put32(s, 0);
    put32(s, 1);
    put64(s, 1);
    put64(s, SET + i % 1000);
    put32(s, 0);
    put64(s, 0);
}

static void pipeline_barrier2(struct stream *s, uint32_t i)
{
    put_command(s, 204, COMMANDS);
    put64(s, 1);
    put32(s, VK_STRUCTURE_TYPE_DEPENDENCY_INFO);
    put64(s, 0);
    put32(s, 0); /* dependencyFlags */
    put32(s, 0);
    put64(s, 0); /* no memory barriers */
    put32(s, 1);
    put64(s, 1);
    put32(s, VK_STRUCTURE_TYPE_BUFFER_MEMORY_BARRIER_2);
    put64(s, 0);
    for (int k = 0; k < 4; k++) {
        put64(s, VK_PIPELINE_STAGE_2_COPY_BIT);
    }
    put32(s, VK_QUEUE_FAMILY_IGNORED);
    put32(s, VK_QUEUE_FAMILY_IGNORED);
    put64(s, BUFFER + i % 1000);
    put64(s, 0);
    put64(s, VK_WHOLE_SIZE);
    put32(s, 0);
    put64(s, 0); /* no image barriers */
}

static void copy_buffer(struct stream *s, uint32_t i)
{
    put_command(s, 112, COMMANDS);
    put64(s, BUFFER + i % 1000);
    put64(s, BUFFER);
    put32(s, 1);
    put64(s, 1);
    put64(s, i * 16);
    put64(s, 0);
    put64(s, 16);
}

static void updates(struct stream *s, uint32_t n)
{
    put_command(s, 79, DEVICE);
    put32(s, n);
    put64(s, n);
    for (uint32_t i = 0; i < n; i++) {
        put32(s, VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET);
        put64(s, 0);
        put64(s, SET + i % 1000);
        put32(s, 0);
        put32(s, 0);
        put32(s, 1);
        put32(s, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER);
        put64(s, 0);
        put64(s, 1);
        put64(s, BUFFER + i % 1000);
        put64(s, 0);
        put64(s, VK_WHOLE_SIZE);
        put64(s, 0);
    }
    put32(s, 0);
    put64(s, 0); /* no copies */
}

static void update_1(struct stream *s, uint32_t i)
{
    (void)i;
    updates(s, 1);
}

static void update_100(struct stream *s, uint32_t i)
{
    (void)i;
    updates(s, 100);
}

static void update_10000(struct stream *s, uint32_t i)
{
    (void)i;
    updates(s, 10000);
}

/* With a reply, as a synchronous call has. */
static void subresource_layout(struct stream *s, uint32_t i)
{
    (void)i;
    put32(s, 179); /* vkSeekReplyCommandStreamMESA */
    put32(s, 0);
    put64(s, 0);
    put32(s, 56);
    put32(s, WIRE_FLAG_REPLY);
    put64(s, DEVICE);
    put64(s, IMAGE);
    put64(s, 1);
    put32(s, VK_IMAGE_ASPECT_COLOR_BIT);
    put32(s, 0);
    put32(s, 0);
    put64(s, 1);
}

static const struct kind {
    const char *name;
    void (*put)(struct stream *s, uint32_t i);
    uint32_t items; /* one command counts for so many */
} kinds[] = {
    { "draw", draw, 1 },
    { "push_constants", push_constants, 1 },
    { "bind_descriptor_sets", bind_descriptor_sets, 1 },
    { "pipeline_barrier2", pipeline_barrier2, 1 },
    { "copy_buffer", copy_buffer, 1 },
    { "update_descriptor_sets_1", update_1, 1 },
    { "update_descriptor_sets_100", update_100, 100 },
    { "update_descriptor_sets_10000", update_10000, 10000 },
    { "call_with_reply", subresource_layout, 1 },
};

/* ---- running -------------------------------------------------------------------------------- */

static struct recorder recorder;
static struct vulkan vulkan;
static struct context ctx;
static uint8_t *copy;
static _Atomic uint32_t head;
static uint32_t at_base;

static void fail_if_failed(const struct decoder *d)
{
    if (d->failed) {
        die(d->why);
    }
}

static void add(uint64_t id, uint32_t type, struct object *parent)
{
    struct object *o = object_new(id, type, id << 8, parent);

    if (!o || objects_insert(&ctx.objects, o) < 0) {
        die("cannot make an object");
    }
}

static void set_up(void)
{
    struct object *device;
    int fd = -1;

    log_to_fd(-1); /* failures are told by fail_if_failed */
    fakevk_open(&vulkan);
    if (memfd_create_sized("record", sizeof(struct worker_record), &fd) < 0 ||
        recorder_init(&recorder, fd) < 0 ||
        context_init(&ctx, 1, "bench", &recorder, &vulkan, -1) < 0 ||
        resources_create_shm(&ctx.resources, 3, 65536, &fd) < 0) {
        die("cannot make a context");
    }
    close(fd);
    objects_wake(&ctx.objects, &ctx.decoder.reader);
    (void)reply_set(&ctx.decoder, 3, 0, 65536);
    (void)decoder_run(&ctx.decoder, start, sizeof(start), NULL, NULL);
    fail_if_failed(&ctx.decoder);
    device = objects_find(&ctx.objects, DEVICE, VK_OBJECT_TYPE_DEVICE);
    add(COMMANDS, VK_OBJECT_TYPE_COMMAND_BUFFER, device);
    add(LAYOUT, VK_OBJECT_TYPE_PIPELINE_LAYOUT, device);
    add(IMAGE, VK_OBJECT_TYPE_IMAGE, device);
    for (uint64_t id = SET; id < LAST; id++) {
        add(id, id < BUFFER ? VK_OBJECT_TYPE_DESCRIPTOR_SET : VK_OBJECT_TYPE_BUFFER, device);
    }
}

static void done(void *arg, size_t consumed)
{
    (void)arg;
    atomic_store_explicit(&head, at_base + (uint32_t)consumed, memory_order_release);
}

/* The stream in batches of at most a ring's bytes, `ends` saying where commands end. A command
 * that is longer comes by itself, as it does through vkExecuteCommandStreamsMESA. */
void bench_decode_run(const struct stream *s, const size_t *ends, uint32_t n);
__attribute__((noinline)) void bench_decode_run(const struct stream *s, const size_t *ends,
                                                uint32_t n)
{
    size_t begin = 0;

    for (uint32_t i = 0; i < n;) {
        do {
            i++;
        } while (i < n && ends[i] - begin <= RING_BYTES);
        memcpy(copy, s->bytes + begin, ends[i - 1] - begin);
        at_base = (uint32_t)begin;
        (void)decoder_run(&ctx.decoder, copy, ends[i - 1] - begin, done, NULL);
        begin = ends[i - 1];
    }
}

static uint64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static double bench(const struct kind *kind, uint32_t n, uint32_t rounds)
{
    struct stream s = { .bytes = NULL };
    size_t *ends = malloc(n * sizeof(*ends));
    uint64_t best = UINT64_MAX;

    if (!ends) {
        die("out of memory");
    }
    for (uint32_t i = 0; i < n; i++) {
        kind->put(&s, i);
        ends[i] = s.size;
    }
    copy = malloc(s.size);
    if (!copy) {
        die("out of memory");
    }
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t before = cpu_ns();

        bench_decode_run(&s, ends, n);
        best = MIN(best, cpu_ns() - before);
        fail_if_failed(&ctx.decoder);
    }
    free(copy);
    free(ends);
    free(s.bytes);
    return (double)best / ((double)n * kind->items);
}

static bool wanted(const char *name, char *const *names)
{
    if (!*names) {
        return true;
    }
    for (; *names; names++) {
        if (strcmp(name, *names) == 0) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    uint32_t count = 100000, rounds = 10;
    const char *comma = "";

    argv++;
    for (; argc > 2 && argv[0] && argv[1] && strncmp(argv[0], "--", 2) == 0; argv += 2) {
        uint32_t *number = strcmp(argv[0], "--count") == 0    ? &count
                           : strcmp(argv[0], "--rounds") == 0 ? &rounds
                                                              : NULL;

        if (!number || atoi(argv[1]) <= 0) {
            die("usage: bench_decode [--count N] [--rounds N] [KIND...]");
        }
        *number = (uint32_t)atoi(argv[1]);
    }
    set_up();
    printf("{");
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        uint32_t n = MAX(count / kinds[i].items, 1);

        if (wanted(kinds[i].name, argv)) {
            printf("%s\"%s\": {\"ns\": %.2f, \"commands\": %" PRIu64 "}", comma, kinds[i].name,
                   bench(&kinds[i], n, rounds), (uint64_t)n * kinds[i].items);
            comma = ", ";
        }
    }
    printf("}\n");
    if (!*comma) {
        die("no such kind");
    }
    objects_sleep(&ctx.objects, &ctx.decoder.reader);
    context_fini(&ctx);
    munmap(recorder.page, sizeof(struct worker_record));
    return 0;
}
