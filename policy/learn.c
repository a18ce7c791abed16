#include "policy/learn.h"

#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "ipc/base.h"

/* The argument by which policies tell calls of one number apart. */
static const struct {
    int nr, arg;
} looked_at[] = {
    { SYS_ioctl, 1 },  { SYS_mmap, 2 },    { SYS_mprotect, 2 },     { SYS_clone, 0 },
    { SYS_mremap, 3 }, { SYS_madvise, 2 }, { SYS_memfd_create, 1 }, { SYS_eventfd2, 0 },
    { SYS_fcntl, 1 },  { SYS_prctl, 0 },   { SYS_sendto, 4 },       { SYS_recvfrom, 4 },
};

static int argument_of(int nr)
{
    for (size_t i = 0; i < ARRAY_SIZE(looked_at); i++) {
        if (looked_at[i].nr == nr) {
            return looked_at[i].arg;
        }
    }
    return -1;
}

void learn_note(struct learn *l, int nr, const uint64_t args[6], const char *path,
                const char *thread)
{
    int arg = argument_of(nr);
    uint64_t value = arg < 0 ? 0 : args[arg];
    struct learned *c;

    path = path ? path : "";
    if (nr == SYS_ioctl) {
        value &= 0xffff; /* type and number; the size grows with the structures */
    }
    for (unsigned i = 0; i < l->n_calls; i++) {
        c = &l->calls[i];
        if (c->nr == nr && c->value == value && strncmp(c->path, path, sizeof(c->path) - 1) == 0) {
            c->count++;
            return;
        }
    }
    if (l->n_calls == LEARN_MAX) {
        l->lost++;
        return;
    }
    c = &l->calls[l->n_calls++];
    *c = (struct learned){ .nr = nr, .value = value, .count = 1 };
    (void)snprintf(c->path, sizeof(c->path), "%s", path);
    (void)snprintf(c->thread, sizeof(c->thread), "%s", thread);
}

const char *learn_line(const struct learn *l, unsigned i, char *text, size_t size)
{
    const struct learned *c = &l->calls[i];
    char rule[200];
    char *name;
    int arg;

    if (i >= l->n_calls) {
        return NULL;
    }
    name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, c->nr);
    arg = argument_of(c->nr);
    if (c->path[0]) {
        (void)snprintf(rule, sizeof(rule), "broker: rw %s", c->path);
    } else if (c->nr == SYS_ioctl) {
        unsigned type = (unsigned)(c->value >> 8);
        const char *what = type > ' ' && type < 0x7f ? "" : "not a letter: ";

        (void)snprintf(rule, sizeof(rule), "ioctl-nr: %s%c 0x%02x", what, *what ? '?' : (int)type,
                       (unsigned)(c->value & 0xff));
    } else if (arg >= 0) {
        (void)snprintf(rule, sizeof(rule), "%s: arg%d == %#" PRIx64, name ? name : "?", arg,
                       c->value);
    } else {
        (void)snprintf(rule, sizeof(rule), "%s: allow", name ? name : "?");
    }
    (void)snprintf(text, size, "%s  # %" PRIu64 " times, first by thread %s", rule, c->count,
                   c->thread);
    free(name);
    return text;
}
