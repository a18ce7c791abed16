#include "worker/pace.h"

#include <sched.h>
#include <time.h>

#include "ipc/base.h"

/* Between two looks at the clock and at the guest's word; each pause is 40 to 150 cycles on
 * current processors. */
#define PAUSES_PER_LOOK 4

/* A yield that finds nobody returns within a tenth of this. */
#define CROWDED_NS 3000

/* tests/bench/bench_ring.c has measured these. A busy client's next synchronous call comes within
 * some 10 us, or at a rhythm of its own: one that has lately called within most_look_ns finds us
 * looking, which costs that much processor at most each time; one with longer silences does not.
 * (Two processors, Mesa's client: 0.7 us instead of 7 after 20 us, 0.8 instead of 27 after 200.)
 * After that each sleep costs 2 us of processor (10 on a virtual machine) and saves latency: with
 * sleeps as long as the time already waited a call comes at most twice as late as it could, and
 * 900 us of silence take 6 of them. */
struct pace_rules pace_ring = {
    .keep_ns = 500,
    .look_ns = 10 * 1000,
    .most_look_ns = 300 * 1000,
    .crowd_yields = 16,
    .yield_ns = 0,
    .first_sleep_ns = 20 * 1000,
    .growth_percent = 100,
    .last_sleep_ns = 2 * 1000 * 1000,
};

void pace_init(unsigned n_cpus)
{
    cpu_set_t set;

    if (n_cpus == 0 && sched_getaffinity(0, sizeof(set), &set) == 0) {
        n_cpus = (unsigned)CPU_COUNT(&set);
    }
    /* With one processor the guest needs ours to make progress. */
    pace_ring.look_ns = n_cpus > 1 ? 10 * 1000 : 0;
    pace_ring.most_look_ns = n_cpus > 1 ? 300 * 1000 : 0;
    pace_ring.yield_ns = n_cpus > 1 ? 0 : 10 * 1000;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void pace_start(struct pace *p, const struct pace_rules *rules, uint64_t habit_ns,
                uint64_t limit_ns)
{
    *p = (struct pace){
        .rules = rules,
        .begin_ns = now_ns(),
        .limit_ns = limit_ns,
        .look_ns = MAX(rules->look_ns, habit_ns),
    };
}

uint64_t pace_habit(const struct pace *p)
{
    if (p->waited_ns >= p->rules->most_look_ns) {
        return p->look_ns / 2; /* in vain */
    }
    /* waited_ns is from before the last sleep, so work may have come at up to twice that. */
    return MIN(MAX(p->waited_ns * 2, p->look_ns - p->look_ns / 16), p->rules->most_look_ns);
}

uint64_t pace_sleep_ns(const struct pace_rules *rules, uint64_t waited_ns, uint64_t limit_ns)
{
    uint64_t ns;

    if (waited_ns < MAX(rules->look_ns, rules->yield_ns)) {
        return 0;
    }
    ns = MIN(waited_ns, UINT32_MAX) * rules->growth_percent / 100;
    ns = MIN(MAX(ns, rules->first_sleep_ns), rules->last_sleep_ns);
    return MIN(ns, limit_ns - MIN(waited_ns, limit_ns));
}

/* After a yield. What others took of the time is no look of ours; but among many a look is over when
 * each of them, one of whom is the guest, has had some turns: going on would take turns from them.
 * (64 clients on two processors: 320,000 calls a second instead of 280,000.) */
static void note_yield(struct pace *p, uint64_t took_ns)
{
    p->crowded = took_ns >= CROWDED_NS;
    if (p->crowded) {
        p->given_ns += took_ns;
        p->n_given++;
    }
}

static bool looks(const struct pace *p)
{
    return p->n_given < p->rules->crowd_yields && p->waited_ns - p->given_ns < p->look_ns;
}

bool pace_next(struct pace *p)
{
    const uint64_t before_ns = p->waited_ns;

    p->waited_ns = now_ns() - p->begin_ns;
    if (p->yield && p->sleep_ns == 0) {
        note_yield(p, p->waited_ns - before_ns);
    }
    if (p->waited_ns >= p->limit_ns) {
        return false;
    }
    /* After the time in which a busy client calls again, others come first. A guest that shares our
     * processor got its turn only after all of a long look, 320 us later; with yields 15. Four
     * clients on two processors made 140,000 calls a second when the first 10 us were kept, now
     * 400,000; and a single one, which nobody disturbs, pays less than a tenth of a microsecond. */
    p->yield = p->polite || p->waited_ns >= p->rules->keep_ns;
    p->sleep_ns = looks(p) ? 0 : pace_sleep_ns(p->rules, p->waited_ns, p->limit_ns);
    return true;
}

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void pace_wait(const struct pace *p)
{
    if (p->yield) {
        sched_yield();
        return;
    }
    for (int i = 0; i < PAUSES_PER_LOOK; i++) {
        cpu_pause();
    }
}
