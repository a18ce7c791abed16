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
    uint32_t glances;        /* looks before the time is counted: ring.c */
    uint32_t keep_ns;        /* look again and again, keeping the processor, for this long; ... */
    uint32_t look_ns;        /* ... then, yielding, until this much time has passed, ... */
    uint32_t most_look_ns;   /* ... or up to this much if work has been coming so soon, ... */
    uint32_t crowd_yields;   /* ... or until others have had the processor this often; */
    uint32_t yield_ns;       /* ... then, giving the processor away each time, until this much, */
    uint32_t first_sleep_ns; /* then sleep this long at least, ... */
    uint32_t growth_percent; /* ... rather this share of the time waited so far, ... */
    uint32_t last_sleep_ns;  /* ... but no longer than this; */
    uint32_t early_ns;       /* but look from so long before work is due, by rhythm, ... */
    uint32_t late_ns;        /* ... until so long after */
};

/* For rings. Chosen by pace_init(), before there are threads. */
extern struct pace_rules pace_ring;
/* n_cpus: how many the process may run on; 0 asks the kernel. */
void pace_init(unsigned n_cpus);

/* What earlier waits have taught; zeros at first. */
struct pace_habit {
    uint64_t look_ns; /* work has been coming so soon */
    uint64_t due_ns;  /* or after so long each time; 0: not known */
    uint32_t sure;    /* how often it did, lately */
};

struct pace {
    const struct pace_rules *rules;
    uint64_t begin_ns, limit_ns;
    uint64_t look_ns; /* rules->look_ns, or more by habit */
    uint64_t due_ns;  /* by habit, */
    uint32_t sure;
    uint64_t waited_ns; /* at the last step */
    bool polite;        /* yield from the start: others have work to do */
    bool crowded;       /* the last yield gave the processor to somebody: others want it */
    uint64_t given_ns;  /* the time that such yields took, */
    uint32_t n_given;   /* and their number */
    uint64_t sleep_ns;  /* the next step: a sleep of the caller's, or, if 0, pace_wait(), */
    bool yield;         /* which gives the processor away or does not */
};

void pace_start(struct pace *p, const struct pace_rules *rules, const struct pace_habit *habit,
                uint64_t limit_ns);
/* Decides the next step; false when the limit is reached. */
bool pace_next(struct pace *p);
/* After a wait: what the next one should know, seeing how long this one took, and if `work` came. */
struct pace_habit pace_learn(const struct pace *p, bool work);
/* The pure part: how long to sleep after `waited_ns`. */
uint64_t pace_sleep_ns(const struct pace_rules *rules, uint64_t waited_ns, uint64_t limit_ns);
/* The shortest step of all, which tells the processor that we wait. */
static inline void pace_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
/* The shortest that pace_next knows: before the next look. */
void pace_wait(const struct pace *p);

#endif
