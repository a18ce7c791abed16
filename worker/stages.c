#include "worker/stages.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "ipc/loop.h"
#include "ipc/seqpacket.h"
#include "ipc/worker_wire.h"
#include "policy/blob.h"
#include "policy/jail.h"
#include "policy/sandbox.h"
#include "policy/seal.h"
#include "worker/cache.h"
#include "worker/control.h"
#include "worker/instance.h"
#include "worker/limits.h"
#include "worker/pace.h"

#define WHY_SIZE 320

static int check_fds(struct worker *w, char *why)
{
    struct stat st;
    int r;

    (void)w;
    r = seqpacket_check(WORKER_FD_CONTROL);
    if (r < 0) {
        snprintf(why, WHY_SIZE, "descriptor %d is not the control socket: %s", WORKER_FD_CONTROL,
                 strerror(-r));
        return r;
    }
    if (fstat(WORKER_FD_RECORD, &st) < 0 || !S_ISREG(st.st_mode)) {
        snprintf(why, WHY_SIZE, "descriptor %d is not the record page", WORKER_FD_RECORD);
        return -EBADF;
    }
    return 0;
}

static int map_record(struct worker *w, char *why)
{
    int r = recorder_init(&w->recorder, WORKER_FD_RECORD);

    if (r < 0) {
        snprintf(why, WHY_SIZE, "the record page cannot be mapped: %s", strerror(-r));
    }
    return r;
}

/* One heap for all threads, in steps: a thread's own grows by a page and a system call at a time,
 * and what warm-up has left of pages is not there for it: 2 of 13 ms from socket to device, and 4 MiB.
 * Two threads that allocate all the time pay 60 ns instead of 35 for an allocation and its end;
 * recordings have heaps of their own (command_heap.h). */
static void keep_heap(void)
{
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_TOP_PAD, 1 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 32 << 20);
    (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
}

static int learn_host(struct worker *w, char *why)
{
    int r;

    keep_heap();
    pace_init(0);
    r = limits_parse(getenv("CORDON_LIMITS"));
    if (r < 0) {
        snprintf(why, WHY_SIZE, "CORDON_LIMITS is not what a server of this build writes");
        return r;
    }
    r = loop_create(&w->loop); /* a sealed process makes no more of these */
    if (r < 0) {
        snprintf(why, WHY_SIZE, "no event loop: %s", strerror(-r));
        return r;
    }
    /* Rings sleep for tens of microseconds; the default slack of 50 would double that. Threads
     * inherit it. Without it they are a little late. */
    (void)prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    return 0;
}

/* A cache is only ever a gain: without one, warm-up takes longer. */
static void take_cache(struct worker *w)
{
    int r = cache_load(WORKER_FD_CACHE, JAIL_CACHE);

    if (r < 0) {
        log_debug("start: no use of an earlier worker's cache: %s", strerror(-r));
    }
    w->vulkan.cached = r == 1;
}

/* Complete only when the instance that filled it has ended. */
static void leave_cache(const struct worker *w)
{
    struct stat st;

    if (!w->vulkan.cached && fstat(WORKER_FD_CACHE, &st) == 0 && S_ISREG(st.st_mode) &&
        st.st_size == 0) {
        (void)!cache_save(JAIL_CACHE, WORKER_FD_CACHE);
    }
    close(WORKER_FD_CACHE);
}

static int load_driver(struct worker *w, char *why)
{
    const char *validate = getenv("CORDON_VALIDATE");
    int r;

    w->vulkan.validate = validate && strcmp(validate, "1") == 0;
    if (w->vulkan.validate) {
        /* The server keeps every layer out; of those that are asked for, this one is let in. */
        (void)setenv("VK_LOADER_LAYERS_DISABLE", "~implicit~", 1);
    }
    take_cache(w);
    r = vulkan_open(&w->vulkan, getenv("CORDON_POLICY"), why, WHY_SIZE);
    leave_cache(w);
    if (r == 0) {
        instance_prepare(&w->vulkan);
        /* What the driver's compiler has freed: with lavapipe 11 MiB, for a millisecond. */
        (void)malloc_trim(0);
    }
    return r;
}

/* Which layers the worker itself is to put on: all, unless the server says less. */
static int layers_wanted(uint32_t *ret_layers, char *why)
{
    const char *text = getenv("CORDON_SEAL");

    *ret_layers = SANDBOX_SECCOMP | SANDBOX_MDWE;
    if (!text || strcmp(text, "all") == 0) {
        return 0;
    }
    if (strcmp(text, "none") == 0) {
        *ret_layers = 0;
        return 0;
    }
    if (strcmp(text, sandbox_layer_name(SANDBOX_SECCOMP)) == 0) {
        *ret_layers = SANDBOX_SECCOMP;
        return 0;
    }
    snprintf(why, WHY_SIZE, "CORDON_SEAL is not all, seccomp or none");
    return -EINVAL;
}

static int seal_process(struct worker *w, char *why)
{
    const struct policy_program *program = policy_worker(w->vulkan.policy);
    const char *own = getenv("CORDON_POLICY_OWN");
    const char *ask = getenv("CORDON_ASK_THREADS");
    struct sandbox_failure failure = { 0 };
    uint32_t layers;
    int r;

    r = layers_wanted(&layers, why);
    if (r < 0 || layers == 0) {
        return r;
    }
    if (!program) {
        snprintf(why, WHY_SIZE, "there is no policy for the driver of \"%s\" (driver id %d)",
                 w->vulkan.device_name, (int)w->vulkan.driver_id);
        return -ENOENT;
    }
    if (own && strcmp(own, "1") == 0) {
        r = policy_load(WORKER_FD_POLICY, &program);
        close(WORKER_FD_POLICY);
        if (r < 0) {
            snprintf(why, WHY_SIZE, "the operator's policy cannot be read: %s", strerror(-r));
            return r;
        }
    }
    r = seal(program, layers, ask && strcmp(ask, "1") == 0, &w->listener_fd, &w->layers, &failure);
    if (r < 0) {
        char cause[160];

        sandbox_explain(failure.layer, failure.error, cause, sizeof(cause));
        snprintf(why, WHY_SIZE, "%s: %s; %s", failure.what, strerror(-r), cause);
    }
    return r;
}

static int say_ready(struct worker *w, char *why)
{
    int r = control_ready(WORKER_FD_CONTROL, w->layers, w->vulkan.device_name, w->vulkan.policy,
                          w->listener_fd);

    close_fd(&w->listener_fd);
    if (r < 0) {
        snprintf(why, WHY_SIZE, "the server cannot be told: %s", strerror(-r));
    }
    return r;
}

static int receive_context(struct worker *w, char *why)
{
    struct worker_context m;
    int r;

    r = control_receive_context(WORKER_FD_CONTROL, &m, &w->socket_fd);
    if (r == -ECONNRESET) {
        return r;
    }
    if (r < 0) {
        snprintf(why, WHY_SIZE, "the server's message is not a context: %s", strerror(-r));
        return r;
    }
    /* Drivers choose per-application behaviour by this name. */
    (void)setenv("MESA_DRICONF_EXECUTABLE_OVERRIDE", m.name, 0);
    r = context_init(&w->context, m.ctx_id, m.name, &w->recorder, &w->vulkan, WORKER_FD_CONTROL);
    if (r < 0) {
        snprintf(why, WHY_SIZE, "no memory for the context: %s", strerror(-r));
    }
    return r;
}

static const struct stage {
    const char *name;
    int exit_code;
    int (*run)(struct worker *w, char *why);
} stages[] = {
    { "fds", SANDBOX_EXIT_FDS, check_fds },
    { "record", SANDBOX_EXIT_FDS, map_record },
    { "host", WORKER_EXIT_INTERNAL, learn_host },
    { "warm-up", SANDBOX_EXIT_WARM_UP, load_driver },
    { "seal", SANDBOX_EXIT_SECCOMP, seal_process },
    { "ready", WORKER_EXIT_INTERNAL, say_ready },
    { "context", WORKER_EXIT_INTERNAL, receive_context },
};

static uint64_t cpu_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

int stages_run(struct worker *w)
{
    char why[WHY_SIZE];

    *w = (struct worker){ .listener_fd = -1, .socket_fd = -1 };
    for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
        const uint64_t begin = cpu_us();
        int r = stages[i].run(w, why);

        if (r == -ECONNRESET || r == -EPIPE) {
            return -ECONNRESET;
        }
        if (r < 0) {
            log_error("start: stage %s failed: %s", stages[i].name, why);
            if (w->recorder.page) {
                recorder_reason(&w->recorder, why);
            }
            return stages[i].exit_code;
        }
        log_debug("start: stage %s took %llu us of processor time%s", stages[i].name,
                  (unsigned long long)(cpu_us() - begin), w->vulkan.cached ? ", with a cache" : "");
    }
    return 0;
}
