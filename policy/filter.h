/* Puts a compiled policy on the calling thread or process. Either side. */
#ifndef CORDON_POLICY_FILTER_H
#define CORDON_POLICY_FILTER_H

#include "policy/program.h"

/* `flags` are SECCOMP_FILTER_FLAG_*. Returns 0, or the listener with NEW_LISTENER; -ESRCH if a
 * thread could not be taken along (TSYNC), or another negative errno. */
int filter_install(const struct policy_program *program, unsigned long flags);

#endif
