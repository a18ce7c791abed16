/* What the benchmarks of processes measure with. Microseconds throughout. */
#ifndef CORDON_TESTS_BENCH_TIMING_H
#define CORDON_TESTS_BENCH_TIMING_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static inline void sleep_us(uint32_t us)
{
    const struct timespec ts = { us / 1000000, us % 1000000 * 1000 };

    (void)nanosleep(&ts, NULL);
}

static inline void die(const char *what)
{
    perror(what);
    exit(1);
}

static inline int by_number(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts them. */
static inline double median(double *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), by_number);
    return values[n / 2];
}

#endif
