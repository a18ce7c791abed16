#include "worker/budget.h"

#include <stdlib.h>

struct charge *budget_take(struct budget *b, uint64_t size, uint64_t usual)
{
    uint64_t max = b->max ? b->max : usual;
    uint64_t used = atomic_load_explicit(b->used, memory_order_relaxed);
    struct charge *c;

    do {
        if (used > max || size > max - used) {
            return NULL;
        }
    } while (!atomic_compare_exchange_weak_explicit(b->used, &used, used + size,
                                                    memory_order_relaxed, memory_order_relaxed));
    c = malloc(sizeof(*c));
    if (!c) {
        atomic_fetch_sub_explicit(b->used, size, memory_order_relaxed);
        return NULL;
    }
    c->budget = b;
    c->size = size;
    atomic_init(&c->refs, 1);
    return c;
}

struct charge *charge_ref(struct charge *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

struct charge *charge_unref(struct charge *c)
{
    if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1) {
        atomic_fetch_sub_explicit(c->budget->used, c->size, memory_order_relaxed);
        free(c);
    }
    return NULL;
}
