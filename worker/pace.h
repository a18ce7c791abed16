/*
 * How a thread waits for something that only a shared page can tell: first by looking again and
 * again, then by sleeps that grow with the time waited, until its patience is over. The numbers
 * are the whole trade between latency and processor time; tests/bench measures them.
 */
#ifndef CORDON_WORKER_PACE_H
#define CORDON_WORKER_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace_rules {
    uint32_t spin_ns;        /* look without sleeping for this long */
    bool yield;              /* give the processor away between two looks of that phase */
    uint32_t first_sleep_ns; /* then sleep this long, ... */
    uint32_t growth_percent; /* ... then this share of the time waited so far, ... */
    uint32_t last_sleep_ns;  /* ... but no longer than this */
};

/* For rings. Chosen by pace_init(), before there are threads. */
extern struct pace_rules pace_ring;
/* n_cpus: how many the process may run on; 0 asks the kernel. */
void pace_init(unsigned n_cpus);

struct pace {
    const struct pace_rules *rules;
    uint64_t begin_ns, limit_ns;
    uint64_t sleep_ns; /* what pace_wait will do: 0 = look again at once */
};

void pace_start(struct pace *p, const struct pace_rules *rules, uint64_t limit_ns);
/* Decides the next step; false when the limit is reached. */
bool pace_next(struct pace *p);
/* The pure part: the step after `waited_ns`. */
uint64_t pace_sleep_ns(const struct pace_rules *rules, uint64_t waited_ns, uint64_t limit_ns);
void pace_wait(const struct pace *p);

#endif
