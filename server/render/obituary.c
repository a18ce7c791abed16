#include "server/render/obituary.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ipc/worker_wire.h"
#include "policy/sandbox.h"

/* Of a worker with dozens of rings, the first few tell enough. */
#define LANES_TOLD 4

static void append(char *text, size_t size, const char *fmt, ...) PRINTF(3, 4);

static void append(char *text, size_t size, const char *fmt, ...)
{
    size_t used = strnlen(text, size);
    va_list args;

    if (used + 1 >= size) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(text + used, size - used, fmt, args);
    va_end(args);
}

void record_count(const struct worker_record *record, struct record_counts *ret)
{
    *ret = (struct record_counts){
        .replies = atomic_load_explicit(&record->replies, memory_order_relaxed),
    };
    for (size_t i = 0; i < WORKER_RECORD_LANES; i++) {
        ret->commands += atomic_load_explicit(&record->lanes[i].commands, memory_order_relaxed);
    }
}

bool obituary_is_peaceful(const struct obituary *o)
{
    return !o->why && ((o->code == CLD_EXITED && o->status == 0) || o->killed_by_us);
}

bool obituary_is_verdict(const struct obituary *o)
{
    return o->served && !o->why && o->code == CLD_EXITED && o->status == WORKER_EXIT_CONTEXT;
}

static const char *stage(int exit_code)
{
    switch (exit_code) {
    case SANDBOX_EXIT_FDS:
        return "while sorting its descriptors";
    case SANDBOX_EXIT_USERNS:
        return "while entering its user namespace";
    case SANDBOX_EXIT_MOUNTS:
        return "while building its file tree";
    case SANDBOX_EXIT_NAMESPACES:
        return "while entering its namespaces";
    case SANDBOX_EXIT_RLIMITS:
        return "while setting its limits";
    case SANDBOX_EXIT_CAPS:
        return "while dropping its capabilities";
    case SANDBOX_EXIT_LANDLOCK:
        return "while setting up Landlock";
    case SANDBOX_EXIT_CGROUP:
        return "while joining its cgroup";
    case SANDBOX_EXIT_EXEC:
        return "while starting its program";
    case SANDBOX_EXIT_WARM_UP:
        return "while loading the Vulkan driver";
    case SANDBOX_EXIT_MDWE:
        return "while giving up writable code";
    case SANDBOX_EXIT_SECCOMP:
        return "while installing its system call filter";
    case SANDBOX_EXIT_VERIFY:
        return "in the check of its sandbox";
    default:
        return NULL;
    }
}

static void append_cause(const struct obituary *o, char *text, size_t size)
{
    if (obituary_is_verdict(o)) {
        append(text, size, "the context failed");
    } else if (o->code == CLD_EXITED) {
        const char *where = o->served ? NULL : stage(o->status);

        append(text, size, "exited with status %d", o->status);
        if (where) {
            append(text, size, " %s", where);
        }
    } else if (o->killed_by_us) {
        append(text, size, "killed by the server");
    } else {
        const char *name = sigabbrev_np(o->status);

        append(text, size, "killed by %s%s", name ? "SIG" : "signal ", name ? name : "");
        if (!name) {
            append(text, size, "%d", o->status);
        }
        if (o->status == SIGKILL && !o->why) {
            append(text, size,
                   " from outside: most likely the host or its cgroup ran out of "
                   "memory");
        } else if (o->status == SIGXCPU || o->status == SIGXFSZ) {
            append(text, size, ": over one of its limits");
        }
        if (o->code == CLD_DUMPED) {
            append(text, size, ", core dumped");
        }
    }
    if (o->why) {
        append(text, size, ": %s", o->why);
    }
}

/* Whatever it is, it becomes one line of printable text. */
static void copy_text(char *ret, size_t size, const char *text, size_t text_size)
{
    size_t n = strnlen(text, MIN(text_size, size - 1));

    for (size_t i = 0; i < n; i++) {
        ret[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    }
    ret[n] = '\0';
}

/* A worker that ended its context itself says why; that is the news then, and comes first. */
static bool append_reason(const struct obituary *o, const struct worker_record *record, char *text,
                          size_t size)
{
    char copy[sizeof(record->reason)], reason[sizeof(record->reason)];

    memcpy(copy, record->reason, sizeof(copy));
    copy_text(reason, sizeof(reason), copy, sizeof(copy));
    if (!reason[0]) {
        return false;
    }
    append(text, size, obituary_is_verdict(o) ? "%s" : "; its own words: %s", reason);
    return true;
}

static void append_lane(const struct obituary *o, const struct recorder_lane *lane, char *text,
                        size_t size)
{
    uint64_t commands = atomic_load_explicit(&lane->commands, memory_order_relaxed);
    uint32_t what = atomic_load_explicit(&lane->what, memory_order_relaxed);
    uint64_t n = MIN(commands, WORKER_RECORD_LAST);

    if (what == 0) {
        append(text, size, "; last on the context stream:");
    } else {
        append(text, size, "; last on ring %" PRIu32 ":", what);
    }
    for (uint64_t i = 1; i <= n; i++) {
        uint32_t number = atomic_load_explicit(&lane->last[(commands - i) % WORKER_RECORD_LAST],
                                               memory_order_relaxed);
        const char *name = o->command_name ? o->command_name(number) : NULL;

        if (name) {
            append(text, size, " %s", name);
        } else {
            append(text, size, " %" PRIu32, number);
        }
        append(text, size, "%s", i < n ? "," : "");
    }
}

void obituary_text(const struct obituary *o, const struct worker_record *record, char *text,
                   size_t size)
{
    struct record_counts counts;
    int told = 0;

    if (size == 0) {
        return;
    }
    text[0] = '\0';
    if (!record) {
        append_cause(o, text, size);
        return;
    }
    if (obituary_is_verdict(o)) {
        if (!append_reason(o, record, text, size)) {
            append_cause(o, text, size);
        }
    } else {
        append_cause(o, text, size);
        append_reason(o, record, text, size);
    }
    record_count(record, &counts);
    if (!o->served || counts.commands == 0) {
        return;
    }
    append(text, size, "; after %" PRIu64 " commands", counts.commands);
    for (size_t i = 0; i < WORKER_RECORD_LANES && told < LANES_TOLD; i++) {
        const struct recorder_lane *lane = &record->lanes[i];

        if (atomic_load_explicit(&lane->in_use, memory_order_relaxed) &&
            atomic_load_explicit(&lane->commands, memory_order_relaxed) > 0) {
            append_lane(o, lane, text, size);
            told++;
        }
    }
}
