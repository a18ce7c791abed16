/*
 * What each layer of a worker's jail costs, in microseconds: a child that is jailed and ends, with
 * all layers, and with all but one; the difference is that one's. One line of JSON.
 *
 *   jail_stages [--quick]
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "policy/jail.h"
#include "policy/program.h"
#include "policy/sandbox.h"

#define MOST_ROUNDS 101

static const uint32_t layers[] = {
    SANDBOX_USERNS,       SANDBOX_MOUNTS,   SANDBOX_PIDNS,   SANDBOX_NETNS,
    SANDBOX_IPCNS,        SANDBOX_UTSNS,    SANDBOX_RLIMITS, SANDBOX_CAPS,
    SANDBOX_NO_NEW_PRIVS, SANDBOX_LANDLOCK, SANDBOX_SECCOMP,
};

static double now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

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

static int by_number(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), by_number);
    return values[n / 2];
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
    puts("}");
    return 0;
}
