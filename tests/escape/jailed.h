/* Runs a program as a worker is run: jail, exec from a descriptor, seal, supervision. */
#ifndef CORDON_TESTS_ESCAPE_JAILED_H
#define CORDON_TESTS_ESCAPE_JAILED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the program finds open, beside /dev/null as 0 and the output pipe as 1 and 2. */
enum jailed_fd {
    JAILED_FD_CONTROL = 3, /* its side: send "R" (with the listener), then wait for one byte */
    JAILED_FD_EXTRA = 4,   /* passed through from the caller, if any */
};

struct jailed_result {
    int status;         /* of waitpid */
    bool violation;     /* killed by the supervisor; `line` says for what */
    unsigned denied;    /* opens answered ENOENT */
    unsigned opened;    /* devices brokered */
    char line[512];     /* the last violation or denied open, or what went wrong before the start */
    char output[65536]; /* what it wrote */
};

/* `layers`: bits of enum sandbox_layer, taken from the wanted ones; 0: plain fork and exec, no
 * jail, every descriptor inherited. Returns 0 when the program ran to its end, however it ended;
 * negative errno with result->line if it could not be confined as asked. Once per process: it
 * puts the server's own filter on the caller. */
int jailed_run(uint32_t layers, const char *program, char *const *argv, int extra_fd,
               struct jailed_result *result);

/* The driver's policy that $CORDON_POLICY names; lavapipe's if it names none. */
struct policy_program;
const struct policy_program *jailed_policy(void);

/* Program's side, for the same policy: seals, hands the listener over and waits until the
 * supervisor has verified it. Does nothing but wait when it runs with no jail. */
void jailed_seal(uint32_t layers);

#endif
