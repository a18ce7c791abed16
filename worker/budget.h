/*
 * How many bytes a context may make its host hold in device memory. Counted where the guest can
 * raise them, so that it runs into an error of its own before the host runs out; what a worker
 * that was taken over may hold is bounded from outside (cgroup, rlimits).
 */
#ifndef CORDON_WORKER_BUDGET_H
#define CORDON_WORKER_BUDGET_H

#include <stdatomic.h>
#include <stdint.h>

struct budget {
    uint64_t max;           /* as the operator says; 0: what budget_take is told */
    _Atomic uint64_t *used; /* in the record page: the server sums them up */
};

/* Of one allocation, held by it and by the blob resource that was made of it: an exported memory
 * stays where it is until both are gone. */
struct charge {
    struct budget *budget;
    uint64_t size;
    _Atomic uint32_t refs;
};

/* NULL when that would be more than the budget's max, or `usual` if it has none; or out of memory.
 * Any thread. */
struct charge *budget_take(struct budget *b, uint64_t size, uint64_t usual);

struct charge *charge_ref(struct charge *c);
/* NULL is fine; returns NULL. */
struct charge *charge_unref(struct charge *c);

#endif
