/*
 * A policy as plain minijail text, for people whose jail reads that. Minijail has no masked
 * equality, which ioctls are matched by here; but "no bit outside" and "this one bit" it has, and
 * those together are the same.
 */
#include <inttypes.h>
#include <linux/seccomp.h>
#include <string.h>

#include "policy/policyc.h"

/* (arg & mask) == value */
static void write_masked(FILE *f, unsigned arg, uint64_t mask, uint64_t value)
{
    fprintf(f, "arg%u in %#" PRIx64, arg, ~mask | value);
    for (unsigned bit = 0; bit < 64; bit++) {
        if (value & UINT64_C(1) << bit) {
            fprintf(f, " && arg%u & %#" PRIx64, arg, UINT64_C(1) << bit);
        }
    }
}

static void write_test(FILE *f, const struct test *t)
{
    switch (t->op) {
    case OP_EQ:
        fprintf(f, "arg%u == %#" PRIx64, t->arg, t->value);
        break;
    case OP_NE:
        fprintf(f, "arg%u != %#" PRIx64, t->arg, t->value);
        break;
    case OP_IN:
        fprintf(f, "arg%u in %#" PRIx64, t->arg, t->mask);
        break;
    case OP_MASKED_EQ:
        write_masked(f, t->arg, t->mask, t->value);
        break;
    }
}

/* 32 bits of request, of which the low 16 count: the rest says how large the argument is. */
static void write_ioctl(FILE *f, uint32_t key)
{
    write_masked(f, 1, ~UINT64_C(0xffff0000), key);
}

static void write_conditions(FILE *f, const struct rule *rule, const struct policy *p)
{
    const char * or = "";

    for (unsigned i = 0; i < rule->n_any; i++) {
        fputs(or, f);
        for (unsigned j = 0; j < rule->any[i].n_tests; j++) {
            fputs(j ? " && " : "", f);
            write_test(f, &rule->any[i].tests[j]);
        }
        or = " || ";
    }
    if (strcmp(rule->name, "ioctl") != 0) {
        return;
    }
    /* Its compiler tries the last one first. */
    for (unsigned i = p->n_ioctls; i-- > 0;) {
        if (p->ioctls[i].action == SECCOMP_RET_ALLOW) {
            fputs(or, f);
            write_ioctl(f, p->ioctls[i].key);
            or = " || ";
        }
    }
}

/* The numbers that get an answer of their own: alternatives that follow the conditions. */
static void write_answered(FILE *f, const struct policy *p)
{
    for (unsigned i = 0; i < p->n_ioctls; i++) {
        if (p->ioctls[i].action != SECCOMP_RET_ALLOW) {
            fputs(", ", f);
            write_ioctl(f, p->ioctls[i].key);
            fprintf(f, "; return %u", p->ioctls[i].action & SECCOMP_RET_DATA);
        }
    }
}

static bool answers_any(const struct policy *p)
{
    for (unsigned i = 0; i < p->n_ioctls; i++) {
        if (p->ioctls[i].action != SECCOMP_RET_ALLOW) {
            return true;
        }
    }
    return false;
}

static void write_rule(FILE *f, const struct rule *rule, const struct policy *p)
{
    uint32_t action = rule->otherwise & SECCOMP_RET_ACTION_FULL;
    unsigned error = rule->otherwise & SECCOMP_RET_DATA;

    /* Nobody to tell. */
    if (action == SECCOMP_RET_USER_NOTIF && error) {
        action = SECCOMP_RET_ERRNO;
    }

    if (rule->always && action == SECCOMP_RET_ALLOW) {
        fprintf(f, "%s: 1\n", rule->name);
    } else if (rule->always && action == SECCOMP_RET_ERRNO) {
        fprintf(f, "%s: return %u\n", rule->name, error);
    } else if (rule->always) {
        fprintf(f, "# %s: left to the default action\n", rule->name);
    } else {
        bool soft = action == SECCOMP_RET_ERRNO;
        bool answered = strcmp(rule->name, "ioctl") == 0 && answers_any(p);

        fprintf(f, "%s: %s", rule->name, soft || answered ? "{ " : "");
        write_conditions(f, rule, p);
        if (answered) {
            write_answered(f, p);
        }
        if (soft) {
            fprintf(f, ", return %u", error);
        }
        fputs(soft || answered ? " }\n" : "\n", f);
    }
}

void policy_export(FILE *f, const struct policy *p)
{
    fprintf(f,
            "# From %s, by policyc --export. For compile_seccomp_policy.py, not for text mode.\n"
            "# What is not listed: %s.\n",
            p->name,
            p->default_action == SECCOMP_RET_ALLOW ? "allow; plain minijail has no such default"
                                                   : "--default-action trap, or user-notify");
    if (p->mdwe) {
        fprintf(f, "# The driver runs under PR_SET_MDWE as well.\n");
    }
    for (unsigned i = 0; i < p->n_broker; i++) {
        fprintf(f,
                "# A broker opens %s; without one, put the node in the jail and allow\n"
                "# openat with O_RDWR.\n",
                p->broker[i]);
    }
    for (unsigned i = 0; i < p->n_rules; i++) {
        write_rule(f, &p->rules[i], p);
    }
}
