/* A compiled policy: what policyc.c makes of a text, as data in the binary. */
#ifndef CORDON_POLICY_PROGRAM_H
#define CORDON_POLICY_PROGRAM_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the supervisor answers to a call that is refused and told of. */
struct policy_answer {
    int nr;
    int error;
};

struct policy_program {
    const char *name; /* the text's file name: "worker.lavapipe.policy" */
    const struct sock_filter *code;
    uint16_t n_code;
    bool notify; /* what is not listed asks the supervisor: the program needs a listener */
    bool mdwe;   /* the driver runs under W^X */
    bool cache;  /* what it compiled while it warmed up, it uses when sealed: jail.h, JAIL_CACHE */
    /* Paths that the broker may open read-write; "[0-9]+" stands for a number. NULL at the end. */
    const char *const *broker;
    const struct policy_answer *answers; /* nr -1 at the end */
};

/* Overlay of a driver by name: "lavapipe", "radv", ...; NULL for an unknown one. In a sanitizer
 * build it is the looser profile that sanitizers need, whatever the driver: see profile.h. */
const struct policy_program *policy_worker(const char *driver);

/* All overlays, NULL at the end, for messages and tests. */
const char *const *policy_worker_names(void);

extern const struct policy_program policy_worker_stage1; /* before exec of the worker */
extern const struct policy_program policy_server; /* the supervisor's own; looser with sanitizers */

extern const struct policy_program policy_vhost_user; /* of the vhost-user device; looser too */

#endif
