/*
 * Makes of the worker's own objects one that loads a library of the test before it seals itself,
 * and runs it on a thread once it serves a context. The linker puts these functions before three of
 * the worker's (--wrap); the worker that is installed has neither.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base.h"
#include "ipc/log.h"
#include "ipc/worker_wire.h"
#include "tests/escape/attack.h"
#include "worker/control.h"
#include "worker/recorder.h"
#include "worker/vulkan.h"

int __real_vulkan_open(struct vulkan *v, const char *policy, char *why, size_t why_size);
int __wrap_vulkan_open(struct vulkan *v, const char *policy, char *why, size_t why_size);
int __real_control_receive_context(int control_fd, struct worker_context *ret, int *ret_fd);
int __wrap_control_receive_context(int control_fd, struct worker_context *ret, int *ret_fd);

int __real_recorder_init(struct recorder *r, int fd);
int __wrap_recorder_init(struct recorder *r, int fd);

static attack_fn run;
static struct worker_record *record;
static struct {
    char order[32];
    int context_fd;
} task;

/* The library lies beside a manifest, whose folder the jail shows to the worker. */
static void load_attack(void)
{
    const char *manifest = getenv("VK_ICD_FILENAMES");
    const char *slash = manifest ? strrchr(manifest, '/') : NULL;
    char path[512];
    void *library, *symbol;

    if (!slash) {
        return;
    }
    (void)snprintf(path, sizeof(path), "%.*s/libattack.so", (int)(slash - manifest), manifest);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    symbol = library ? dlsym(library, "attack") : NULL;
    if (!symbol) {
        log_error("attack: %s", dlerror());
        return;
    }
    memcpy(&run, &symbol, sizeof(run));
}

static void *attack_thread(void *arg)
{
    const char *outcome = run(task.order, task.context_fd, record);

    if (outcome) {
        log_warn("attack %s: %s", task.order, outcome);
    }
    return arg;
}

int __wrap_recorder_init(struct recorder *r, int fd)
{
    int result = __real_recorder_init(r, fd);

    record = r->page;
    return result;
}

int __wrap_vulkan_open(struct vulkan *v, const char *policy, char *why, size_t why_size)
{
    load_attack();
    return __real_vulkan_open(v, policy, why, why_size);
}

int __wrap_control_receive_context(int control_fd, struct worker_context *ret, int *ret_fd)
{
    int r = __real_control_receive_context(control_fd, ret, ret_fd);
    pthread_t thread;

    if (r == 0 && run) {
        (void)snprintf(task.order, sizeof(task.order), "%s", ret->name);
        task.context_fd = *ret_fd;
        if (pthread_create(&thread, NULL, attack_thread, NULL) != 0) {
            log_error("attack: no thread");
        }
    }
    return r;
}
