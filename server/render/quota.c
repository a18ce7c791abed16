#include "server/render/quota.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/cgroup.h"
#include "server/render/registry.h"

#define WINDOW_MS 60000
#define BURST 10

const struct limits limits_default = {
    .heap = UINT64_C(4) << 30,
    .blob = UINT64_C(2) << 30,
    .files = 32768,
    .threads = 640,
    .contexts = REGISTRY_MAX,
    .starts = 32, /* a burst of 320: a VM that starts every context it may have at once */
    .lost = 3,
};

static const struct {
    const char *name;
    size_t offset;
    bool wide; /* uint64_t */
    uint64_t min, max;
} rules[] = {
    { "memory", offsetof(struct limits, memory), true, 0, INT64_MAX },
    { "vm-memory", offsetof(struct limits, vm_memory), true, 0, INT64_MAX },
    /* Below these not even an idle worker lives. */
    { "heap", offsetof(struct limits, heap), true, UINT64_C(256) << 20, INT64_MAX },
    { "blob", offsetof(struct limits, blob), true, UINT64_C(1) << 20, INT64_MAX },
    { "objects", offsetof(struct limits, objects), false, 0, 1u << 20 },
    { "shm", offsetof(struct limits, shm), true, UINT64_C(16) << 20, UINT64_C(2) << 30 },
    { "blobs", offsetof(struct limits, blobs), false, 16, 9216 },
    { "rings", offsetof(struct limits, rings), false, 1, 512 },
    { "files", offsetof(struct limits, files), false, 64, 1u << 20 },
    { "threads", offsetof(struct limits, threads), false, 8, 1u << 20 },
    { "contexts", offsetof(struct limits, contexts), false, 1, REGISTRY_MAX },
    { "starts", offsetof(struct limits, starts), false, 0, 1000 },
    { "lost", offsetof(struct limits, lost), false, 0, LIMITS_MAX_LOST },
    { "ram", offsetof(struct limits, ram), true, UINT64_C(128) << 20, INT64_MAX },
    { "vm-ram", offsetof(struct limits, vm_ram), true, UINT64_C(128) << 20, INT64_MAX },
    { "cpu", offsetof(struct limits, cpu), false, 1, 1u << 20 },
    { "cpu-weight", offsetof(struct limits, cpu_weight), false, 1, 10000 },
};

/* "12", "4G". */
static int parse_size(const char *text, size_t len, uint64_t *ret)
{
    static const char units[] = "KMGT";
    const char *unit;
    uint64_t value;
    char *end;

    if (len == 0 || text[0] < '0' || text[0] > '9') {
        return -EINVAL;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno) {
        return -EINVAL;
    }
    unit = end < text + len ? strchr(units, *end) : NULL;
    if (unit) {
        unsigned shift = 10 * (unsigned)(unit - units + 1);

        if (value > UINT64_MAX >> shift) {
            return -EINVAL;
        }
        value <<= shift;
        end++;
    }
    if (end != text + len) {
        return -EINVAL;
    }
    *ret = value;
    return 0;
}

static int parse_one(const char *text, size_t len, struct limits *limits, char *why,
                     size_t why_size)
{
    size_t name = strcspn(text, "=,");

    for (size_t i = 0; i < ARRAY_SIZE(rules) && name < len && text[name] == '='; i++) {
        uint64_t value;

        if (strlen(rules[i].name) != name || strncmp(rules[i].name, text, name) != 0) {
            continue;
        }
        if (parse_size(text + name + 1, len - name - 1, &value) < 0 || value < rules[i].min ||
            value > rules[i].max) {
            (void)snprintf(why, why_size,
                           "--limit %.*s: give a number from %" PRIu64 " to %" PRIu64, (int)len,
                           text, rules[i].min, rules[i].max);
            return -EINVAL;
        }
        if (rules[i].wide) {
            memcpy((char *)limits + rules[i].offset, &value, sizeof(value));
        } else {
            uint32_t narrow = (uint32_t)value;

            memcpy((char *)limits + rules[i].offset, &narrow, sizeof(narrow));
        }
        return 0;
    }
    (void)snprintf(
        why, why_size,
        "--limit %.*s: use NAME=NUMBER with memory, vm-memory, heap, blob, shm, objects, "
        "blobs, rings, files, threads, contexts, starts, lost, ram, vm-ram, cpu or cpu-weight",
        (int)len, text);
    return -EINVAL;
}

const char *limits_need_cgroup(const struct limits *l, uint32_t controllers)
{
    if (l->ram && !(controllers & CGROUP_MEMORY)) {
        return "ram";
    }
    if (l->vm_ram && !(controllers & CGROUP_MEMORY)) {
        return "vm-ram";
    }
    if (l->cpu && !(controllers & CGROUP_CPU)) {
        return "cpu";
    }
    return l->cpu_weight && !(controllers & CGROUP_CPU) ? "cpu-weight" : NULL;
}

int limits_parse(const char *text, struct limits *limits, char *why, size_t why_size)
{
    struct limits copy = *limits;

    do {
        size_t len = strcspn(text, ",");
        int r = parse_one(text, len, &copy, why, why_size);

        if (r < 0) {
            return r;
        }
        text += len;
    } while (*text++ == ',');
    *limits = copy;
    return 0;
}

/* ---- the gate ------------------------------------------------------------------------------ */

void gate_init(struct gate *g, const struct limits *limits, uint64_t now_ms)
{
    *g = (struct gate){ .limits = limits, .tokens = BURST * limits->starts, .last_ms = now_ms };
}

bool gate_note_lost(struct gate *g, uint64_t now_ms)
{
    uint32_t lost = g->limits->lost;
    uint64_t first;

    if (lost == 0) {
        return false;
    }
    g->lost_ms[g->n_lost++ % LIMITS_MAX_LOST] = now_ms;
    if (g->n_lost < lost) {
        return false;
    }
    first = g->lost_ms[(g->n_lost - lost) % LIMITS_MAX_LOST];
    if (now_ms - first >= WINDOW_MS) {
        return false;
    }
    g->closed_until_ms = now_ms + WINDOW_MS;
    return true;
}

static bool take_token(struct gate *g, uint64_t now_ms)
{
    double rate = g->limits->starts;

    if (rate == 0) {
        return true;
    }
    g->tokens += (double)(now_ms - g->last_ms) * rate / 1000;
    g->tokens = MIN(g->tokens, BURST * rate);
    g->last_ms = now_ms;
    if (g->tokens < 1) {
        return false;
    }
    g->tokens--;
    return true;
}

int gate_pass(struct gate *g, uint64_t now_ms, uint32_t contexts, uint64_t memory, char *why,
              size_t why_size)
{
    const struct limits *l = g->limits;

    if (now_ms < g->closed_until_ms) {
        (void)snprintf(why, why_size,
                       "limit lost: %u times in a minute this VM lost a device or had a worker "
                       "killed; refused for another %" PRIu64 " s (--limit lost=0: never)",
                       l->lost, (g->closed_until_ms - now_ms + 999) / 1000);
        return -EDQUOT;
    }
    if (contexts >= l->contexts) {
        (void)snprintf(why, why_size, "limit contexts: this VM has %u (--limit contexts=N)",
                       contexts);
        return -EDQUOT;
    }
    if (l->vm_memory && memory >= l->vm_memory) {
        (void)snprintf(why, why_size,
                       "limit vm-memory: this VM holds %" PRIu64 " MiB of device memory (--limit "
                       "vm-memory=SIZE)",
                       memory >> 20);
        return -EDQUOT;
    }
    if (!take_token(g, now_ms)) {
        (void)snprintf(why, why_size,
                       "limit starts: more than %u contexts a second (--limit starts=N)",
                       l->starts);
        return -EDQUOT;
    }
    return 0;
}
