/* A policy text once it is read and merged: between the compiler and the exporter. Build time. */
#ifndef CORDON_POLICY_POLICYC_H
#define CORDON_POLICY_POLICYC_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define MAX_TESTS 128
#define MAX_CONJ 64

enum test_op { OP_EQ, OP_NE, OP_IN, OP_MASKED_EQ };

struct test {
    enum test_op op;
    unsigned arg;
    uint64_t mask, value;
};

struct conjunction {
    struct test tests[MAX_TESTS / 8];
    unsigned n_tests;
};

struct rule {
    char name[48];
    int nr;
    uint32_t otherwise; /* seccomp action when no conjunction holds */
    bool always;        /* `otherwise` is the only answer: allow, or return */
    struct conjunction any[MAX_CONJ];
    unsigned n_any;
    const char *file;
    int line;
};

struct ioctl_rule {
    uint32_t key;    /* type << 8 | number */
    uint32_t action; /* allow, or an errno */
};

struct policy {
    const char *name; /* of the text, without folders */
    const struct rule *rules;
    unsigned n_rules;
    const struct ioctl_rule *ioctls; /* the hot ones first */
    unsigned n_ioctls;
    char *const *broker;
    unsigned n_broker;
    bool mdwe;
    uint32_t default_action;
};

/* Plain minijail text, the dialect of its compile_seccomp_policy.py. */
void policy_export(FILE *f, const struct policy *policy);

#endif
