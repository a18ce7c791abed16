/*
 * A compiled policy as bytes: what cordon-policyc makes of an operator's own text, and the server
 * hands to its workers. The writer is the operator's compiler, so the reader checks shape, not
 * intent; the kernel checks the program.
 */
#ifndef CORDON_POLICY_BLOB_H
#define CORDON_POLICY_BLOB_H

#include <assert.h>
#include <stdint.h>

#include "policy/program.h"

#define POLICY_BLOB_MAGIC 0x706c6f63u /* "colp" */
#define POLICY_BLOB_PATH 104
#define POLICY_BLOB_MAX_BROKER 16
#define POLICY_BLOB_MAX_ANSWERS 512

/* Followed by n_code struct sock_filter, n_answers struct policy_answer, n_broker paths of
 * POLICY_BLOB_PATH bytes. */
struct policy_blob {
    uint32_t magic;
    uint32_t n_code, n_answers, n_broker;
    uint32_t notify, mdwe, cache; /* 0 or 1 */
    char name[64];
};
static_assert(sizeof(struct policy_blob) == 92, "same for writer and reader");

/* Reads the whole file. The program lives as long as the process. -EBADMSG if it is none, or another
 * negative errno. */
int policy_load(int fd, const struct policy_program **ret);

#endif
