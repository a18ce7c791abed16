/*
 * What a ring costs, without any driver: a client in this process sends commands with a reply
 * and waits for each. Prints the round trip and the processor time that the ring's thread takes
 * per call for several pauses between calls, and what an idle ring costs.
 *
 *   bench_ring [look_us yield_us first_sleep_us growth_percent]   tries other numbers of pace.h
 */
#include "tests/unit/worker_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "worker/pace.h"
#include "worker/resources.h"
#include "worker/ring.h"

static const struct ring_layout layout = {
    .resource_id = 3,
    .size = 192 + 131072 + 4,
    .head = 0,
    .tail = 64,
    .status = 128,
    .buffer = 192,
    .buffer_size = 131072,
    .extra = 192 + 131072,
    .extra_size = 4,
    .idle_timeout_ns = 1000000,
};

static struct context *ctx;
static uint8_t *shm;
static _Atomic uint32_t *head, *tail, *status;
static uint32_t at;

static void send_bytes(const struct bytes *b)
{
    uint32_t begin = at & (uint32_t)(layout.buffer_size - 1);
    size_t first = MIN(b->size, layout.buffer_size - begin);

    memcpy(shm + layout.buffer + begin, b->data, first);
    memcpy(shm + layout.buffer, b->data + first, b->size - first);
    at += (uint32_t)b->size;
    atomic_store(tail, at);
    if (atomic_load(status) & RING_STATUS_IDLE) {
        ring_notify(ctx, 1);
    }
}

static void wait_done(void)
{
    while (atomic_load_explicit(head, memory_order_acquire) != at) {
    }
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static uint64_t process_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void calls(uint64_t pause_ns, int n)
{
    struct bytes b = { .size = 0 };
    double *us = calloc((size_t)n, sizeof(*us));
    uint64_t cpu;

    put_set_reply(&b, 3, 192 + 131072 + 64, 64);
    put_version(&b, true);
    cpu = process_cpu_ns() - thread_cpu_ns();
    for (int i = 0; i < n; i++) {
        uint64_t start = test_now_ns();

        send_bytes(&b);
        wait_done();
        us[i] = (double)(test_now_ns() - start) / 1000;
        if (pause_ns) {
            struct timespec ts = { .tv_nsec = (long)pause_ns };

            nanosleep(&ts, NULL);
        }
    }
    cpu = process_cpu_ns() - thread_cpu_ns() - cpu;
    qsort(us, (size_t)n, sizeof(*us), compare);
    printf("pause %6.0f us: round trip min %.2f  median %.2f  90%% %.2f  99%% %.2f us; "
           "server %.1f us/call\n",
           (double)pause_ns / 1000, us[0], us[n / 2], us[n * 9 / 10], us[n * 99 / 100],
           (double)cpu / 1000 / n);
    free(us);
}

static void stream(void)
{
    struct bytes b = { .size = 0 };
    uint64_t start;
    int n = 20000;

    for (int i = 0; i < 100; i++) {
        put_version(&b, false);
    }
    start = test_now_ns();
    for (int i = 0; i < n; i++) {
        while (at - atomic_load_explicit(head, memory_order_acquire) + b.size >
               layout.buffer_size) {
            sched_yield();
        }
        send_bytes(&b);
    }
    wait_done();
    printf("stream: %.1f ns per command\n", (double)(test_now_ns() - start) / (n * 100.0));
}

static void idle(void)
{
    struct rusage before, after;
    uint64_t cpu;

    usleep(20000);
    getrusage(RUSAGE_SELF, &before);
    cpu = process_cpu_ns();
    sleep(1);
    cpu = process_cpu_ns() - cpu;
    getrusage(RUSAGE_SELF, &after);
    printf("idle for 1 s: %.0f us of processor, %ld switches (1 is our own)\n", (double)cpu / 1000,
           after.ru_nvcsw - before.ru_nvcsw);
}

int main(int argc, char **argv)
{
    struct fixture *f;
    struct resource *r;
    void *state = NULL;
    char why[160];
    int fd = -1;

    pace_init(0);
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    if (argc > 4) {
        pace_ring.look_ns = (uint32_t)atoi(argv[1]) * 1000;
        pace_ring.yield_ns = (uint32_t)atoi(argv[2]) * 1000;
        pace_ring.first_sleep_ns = (uint32_t)atoi(argv[3]) * 1000;
        pace_ring.growth_percent = (uint32_t)atoi(argv[4]);
    }
    if (fixture_setup(&state) < 0) {
        return 1;
    }
    f = state;
    ctx = &f->ctx;
    if (resources_create_shm(&ctx->resources, 3, 1 << 20, &fd) < 0) {
        return 1;
    }
    close(fd);
    r = resources_get(&ctx->resources, 3);
    shm = r->map;
    resource_unref(r);
    head = (_Atomic uint32_t *)(shm + layout.head);
    tail = (_Atomic uint32_t *)(shm + layout.tail);
    status = (_Atomic uint32_t *)(shm + layout.status);
    if (ring_create(ctx, 1, &layout, why, sizeof(why)) < 0) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    calls(0, 20000);
    calls(20 * 1000, 2000);
    calls(100 * 1000, 2000);
    calls(300 * 1000, 1000);
    calls(900 * 1000, 1000);
    calls(3000 * 1000, 300);
    stream();
    idle();
    return fixture_teardown(&state) == 0 ? 0 : 1;
}
