/*
 * --sandbox-learn: calls that a policy does not list are let through and remembered, and become the
 * lines that would list them. For whoever writes a policy, with a guest that they trust: a worker
 * that learns is not confined by its filter.
 */
#ifndef CORDON_POLICY_LEARN_H
#define CORDON_POLICY_LEARN_H

#include <stddef.h>
#include <stdint.h>

#define LEARN_MAX 256

struct learned {
    int nr;
    uint64_t value; /* of the argument that policies look at; 0 if at none */
    char path[128]; /* of an open that was not read-only; "" for all else */
    char thread[20];
    uint64_t count;
};

struct learn {
    struct learned calls[LEARN_MAX];
    unsigned n_calls;
    uint64_t lost; /* found no room */
};

/* One call; path NULL if there is none, or if it could not be read. */
void learn_note(struct learn *l, int nr, const uint64_t args[6], const char *path,
                const char *thread);

/* The i-th policy line, in the order in which they were first needed. Returns `text`, or NULL after
 * the last. */
const char *learn_line(const struct learn *l, unsigned i, char *text, size_t size);

#endif
