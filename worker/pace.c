#include "worker/pace.h"

#include <sched.h>
#include <time.h>

#include "ipc/base.h"

/* Between two looks at the clock and at the guest's word; each pause is 40 to 150 cycles on
 * current processors. */
#define PAUSES_PER_LOOK 4

/* So often must work have come when it was due before all is set on it, ... */
#define SURE 2
/* ... and then it may as often not come at all, but for one, before that is forgotten. */
#define MOST_SURE 4

/* A yield that finds nobody returns within a tenth of this. */
#define CROWDED_NS 3000

/* tests/bench/bench_ring.c has measured these. A busy client's next synchronous call comes within
 * some 10 us, or at a rhythm of its own: one that has lately called within most_look_ns finds us
 * looking, which costs that much processor at most each time; one with longer silences does not.
 * (Two processors, Mesa's client: 0.7 us instead of 7 after 20 us, 0.8 instead of 27 after 200.)
 * After that each sleep costs 2 us of processor (10 on a virtual machine) and saves latency: with
 * sleeps as long as the time already waited a call comes at most twice as late as it could, and
 * 900 us of silence take 6 of them. Who calls at a slower rhythm is waited for about when the call is
 * due. (Gaps of 900 us: 2 to 10 us instead of 50, for less processor time.) */
#define GLANCES 32
#define LOOK_NS (10 * 1000)
#define MOST_LOOK_NS (300 * 1000)
#define AROUND_NS (40 * 1000)

struct pace_rules pace_ring = {
    .glances = GLANCES,
    .keep_ns = 500,
    .look_ns = LOOK_NS,
    .most_look_ns = MOST_LOOK_NS,
    .crowd_yields = 16,
    .yield_ns = 0,
    .first_sleep_ns = 20 * 1000,
    .growth_percent = 100,
    .last_sleep_ns = 2 * 1000 * 1000,
    .early_ns = AROUND_NS,
    .late_ns = AROUND_NS,
};

void pace_init(unsigned n_cpus)
{
    cpu_set_t set;

    if (n_cpus == 0 && sched_getaffinity(0, sizeof(set), &set) == 0) {
        n_cpus = (unsigned)CPU_COUNT(&set);
    }
    /* With one processor the guest needs ours to make progress. */
    pace_ring.glances = n_cpus > 1 ? GLANCES : 0;
    pace_ring.look_ns = n_cpus > 1 ? LOOK_NS : 0;
    pace_ring.most_look_ns = n_cpus > 1 ? MOST_LOOK_NS : 0;
    pace_ring.early_ns = pace_ring.late_ns = n_cpus > 1 ? AROUND_NS : 0;
    pace_ring.yield_ns = n_cpus > 1 ? 0 : 10 * 1000;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void pace_start(struct pace *p, const struct pace_rules *rules, const struct pace_habit *habit,
                uint64_t limit_ns)
{
    *p = (struct pace){
        .rules = rules,
        .begin_ns = now_ns(),
        /* A look that is under way is worth its end. */
        .limit_ns = habit->due_ns != 0 && habit->due_ns < limit_ns
                        ? MAX(limit_ns, habit->due_ns + rules->late_ns)
                        : limit_ns,
        .look_ns = MAX(rules->look_ns, habit->look_ns),
        .due_ns = habit->due_ns,
        .sure = habit->sure,
    };
}

struct pace_habit pace_learn(const struct pace *p, bool work)
{
    const struct pace_rules *r = p->rules;
    struct pace_habit habit = { 0 };

    if (p->waited_ns < r->most_look_ns) {
        /* waited_ns is from before the last sleep, so work may have come at up to twice that. */
        habit.look_ns = MIN(MAX(p->waited_ns * 2, p->look_ns - p->look_ns / 16), r->most_look_ns);
        return habit;
    }
    /* Looking on would have been in vain. */
    habit.look_ns = p->look_ns / 2;
    if (!work) {
        /* Once is no change of habit. */
        habit.sure = p->sure - MIN(p->sure, 1u);
        habit.due_ns = habit.sure ? p->due_ns : 0;
    } else if (p->sleep_ns != 0) {
        /* It was due when the last sleep began, as far as one can tell: the next wait looks from
         * there on, and in a few all is known. */
        habit.due_ns = r->early_ns ? p->waited_ns + r->early_ns : 0;
    } else if (p->due_ns != 0) {
        habit.due_ns = p->due_ns - p->due_ns / 4 + p->waited_ns / 4;
        habit.sure = MIN(p->sure + 1, MOST_SURE);
    }
    return habit;
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

/* Looks about when work is due, if it has a rhythm; else sleeps, and not past that. */
static uint64_t next_sleep_ns(const struct pace *p)
{
    const uint64_t from_ns = p->due_ns - MIN(p->due_ns, p->rules->early_ns);
    uint64_t ns;

    if (p->due_ns != 0 && p->waited_ns >= from_ns) {
        if (p->waited_ns < p->due_ns + p->rules->late_ns && p->n_given < p->rules->crowd_yields) {
            return 0;
        }
        return pace_sleep_ns(p->rules, p->waited_ns - from_ns, p->limit_ns - from_ns);
    }
    if (p->sure >= SURE) {
        return MIN(from_ns - p->waited_ns, p->rules->last_sleep_ns);
    }
    ns = pace_sleep_ns(p->rules, p->waited_ns, p->limit_ns);
    return p->due_ns != 0 ? MIN(ns, from_ns - p->waited_ns) : ns;
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
    p->sleep_ns = looks(p) ? 0 : next_sleep_ns(p);
    return true;
}

void pace_wait(const struct pace *p)
{
    if (p->yield) {
        sched_yield();
        return;
    }
    for (int i = 0; i < PAUSES_PER_LOOK; i++) {
        pace_pause();
    }
}
