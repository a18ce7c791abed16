/* Puts a compiled policy on the calling thread or process. Either side. */
#ifndef CORDON_POLICY_FILTER_H
#define CORDON_POLICY_FILTER_H

#include <sched.h> /* CLONE_ */

#include "policy/program.h"

/* `flags` are SECCOMP_FILTER_FLAG_*. Returns 0, or the listener with NEW_LISTENER; -ESRCH if a
 * thread could not be taken along (TSYNC), or another negative errno. */
int filter_install(const struct policy_program *program, unsigned long flags);

/* What libc starts a thread with. Policies allow nothing else. */
#define FILTER_THREAD_FLAGS                                                             \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

/* As filter_install, but the start of a thread asks the listener, who counts them. */
int filter_install_asking(const struct policy_program *program, unsigned long flags);

#endif
