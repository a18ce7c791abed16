/*
 * What each layer of a worker's jail costs, in microseconds: a child that is jailed and ends, with
 * all layers, and with all but one; the difference is that one's. Then what it costs a sealed worker
 * to open a device through the broker. One line of JSON.
 *
 *   jail_stages [--quick]
 */
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "policy/filter.h"
#include "policy/jail.h"
#include "policy/notify.h"
#include "policy/program.h"
#include "policy/sandbox.h"
#include "tests/bench/timing.h"

#define MOST_ROUNDS 101
#define OPENS 1000

static const uint32_t layers[] = {
    SANDBOX_USERNS,       SANDBOX_MOUNTS,   SANDBOX_PIDNS,   SANDBOX_NETNS,
    SANDBOX_IPCNS,        SANDBOX_UTSNS,    SANDBOX_RLIMITS, SANDBOX_CAPS,
    SANDBOX_NO_NEW_PRIVS, SANDBOX_LANDLOCK, SANDBOX_SECCOMP,
};

/* Below 0: it cannot be done without that layer here. */
static double jail_once(struct jail_plan *plan, uint32_t in_force)
{
    struct sandbox_failure failure;
    struct jail_child child;
    double begin = now_us();
    int r;

    plan->layers = in_force;
    if (jail_spawn(plan, NULL, NULL, &child, &failure) < 0) {
        return -1;
    }
    r = jail_entered(&child, &failure);
    begin = now_us() - begin;
    (void)waitpid(child.pid, NULL, 0);
    close(child.pidfd);
    return r < 0 ? -1 : begin;
}

/* ---- the broker --------------------------------------------------------------------------------- */

/* Stands for a GPU's node. */
static const char *const node[] = { "/dev/full", NULL };

/* In the child: seals itself, says which descriptor its listener is, and then how long the opens
 * took. */
static void open_often(const struct policy_program *program, int out)
{
    double begin;
    int listener;

    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    listener = filter_install(program, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (write(out, &listener, sizeof(listener)) != sizeof(listener)) {
        _exit(1);
    }
    begin = now_us();
    for (int i = 0; i < OPENS; i++) {
        int fd = open(node[0], O_RDWR | O_CLOEXEC);

        if (fd < 0) {
            _exit(1);
        }
        close(fd);
    }
    begin = now_us() - begin;
    _exit(write(out, &begin, sizeof(begin)) == sizeof(begin) ? 0 : 1);
}

/* Of the open and its close; below 0: it cannot be measured here. */
static double broker_open(void)
{
    struct policy_program program = *policy_worker("lavapipe");
    AUTO_CLOSE int pidfd = -1;
    int listener = -1, out[2];
    double took = -1;
    struct notify n;
    char line[512];
    pid_t pid;

    program.broker = node;
    if (pipe2(out, O_CLOEXEC) < 0) {
        return -1;
    }
    pid = fork();
    if (pid == 0) {
        open_often(&program, out[1]);
    }
    close(out[1]);
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (read(out[0], &listener, sizeof(listener)) == sizeof(listener) && listener >= 0) {
        listener = (int)syscall(SYS_pidfd_getfd, pidfd, listener, 0);
    }
    if (listener >= 0 &&
        notify_init(&n, listener, notify_open_memory(pid), pid, &program, node, 64) == 0) {
        struct pollfd p[] = { { .fd = listener, .events = POLLIN },
                              { .fd = out[0], .events = POLLIN } };

        while (poll(p, 2, 1000) > 0 && !p[1].revents &&
               notify_handle(&n, line, sizeof(line)) == NOTIFY_ANSWERED) {
        }
        if (read(out[0], &took, sizeof(took)) != sizeof(took)) {
            took = -1;
        }
        notify_fini(&n);
    }
    (void)waitpid(pid, NULL, 0);
    close(out[0]);
    return took / OPENS;
}

int main(int argc, char **argv)
{
    static double times[sizeof(layers) / sizeof(layers[0]) + 1][MOST_ROUNDS];
    const struct sandbox_config config = { .level = SANDBOX_LEVEL_STRICT };
    const uint32_t n = argc > 1 && strcmp(argv[1], "--quick") == 0 ? 11 : MOST_ROUNDS;
    const size_t n_layers = sizeof(layers) / sizeof(layers[0]);
    struct sandbox_failure failure;
    struct jail_plan plan;
    uint32_t missing = 0, all;
    double open_us;

    if (jail_plan_init(&plan, &config, policy_worker("lavapipe"), &failure) < 0 ||
        jail_probe(&plan, &config, &missing, &failure) < 0) {
        fprintf(stderr, "jail_stages: %s cannot be done here\n", failure.what);
        return 77;
    }
    all = plan.layers;
    for (uint32_t round = 0; round < n; round++) {
        times[n_layers][round] = jail_once(&plan, all);
        for (size_t i = 0; i < n_layers; i++) {
            double without = jail_once(&plan, all & ~layers[i]);

            times[i][round] = without < 0 ? 0 : times[n_layers][round] - without;
        }
    }
    printf("{\"jail\":{\"unit\":\"us\",\"median\":%.1f}", median(times[n_layers], n));
    for (size_t i = 0; i < n_layers; i++) {
        double cost = median(times[i], n);

        printf(",\"jail_%s\":{\"unit\":\"us\",\"median\":%.1f}", sandbox_layer_name(layers[i]),
               cost > 0 ? cost : 0);
    }
    open_us = broker_open();
    if (open_us >= 0) {
        printf(",\"broker_open\":{\"unit\":\"us\",\"median\":%.1f}", open_us);
    }
    puts("}");
    return 0;
}
