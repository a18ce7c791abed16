/*
 * The payload of SUBMIT_CMD2: batch headers, then command streams, then sync lists. Pure; every
 * offset and size is checked before anything is handed out. Works on a private copy.
 */
#ifndef CORDON_SERVER_VTEST_SUBMIT_H
#define CORDON_SERVER_VTEST_SUBMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base.h"

struct submit {
    const uint32_t *words; /* the whole payload */
    size_t n_words;
    uint32_t n_batches;
    uint32_t stride; /* words per batch header: 6 or 8, told by the message itself */
};

struct submit_sync {
    uint32_t id;
    uint64_t value;
};

struct submit_batch {
    const uint32_t *commands;
    size_t size; /* bytes; may be 0 */
    bool fenced; /* the syncs wait for ring_idx; else they are set at once */
    uint32_t ring_idx;
    const uint32_t *syncs; /* three words each: submit_sync() reads them */
    uint32_t n_syncs;
};

/* 0, or -EPROTO with *ret_why naming the broken rule. */
MUST_USE int submit_open(const uint32_t *words, size_t n_words, struct submit *ret,
                         const char **ret_why);

/* Batch i of n_batches: 0, or -EPROTO with *ret_why. */
MUST_USE int submit_batch(const struct submit *s, uint32_t i, struct submit_batch *ret,
                          const char **ret_why);

/* Entry i of a list of syncs: id, value low, value high. */
struct submit_sync submit_sync(const uint32_t *syncs, uint32_t i);

#endif
