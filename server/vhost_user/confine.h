/*
 * This process sees all of a guest's memory and parses what the guest writes, so it gives away
 * what it does not need: the file system (Landlock), then every system call but a few (seccomp).
 */
#ifndef CORDON_SERVER_VHOST_USER_CONFINE_H
#define CORDON_SERVER_VHOST_USER_CONFINE_H

#include "policy/sandbox.h"

/* The calling thread and all that it starts: before threads, after the last file was opened and
 * the render server started. 0, or the process must end with ret_failure->exit_code. */
MUST_USE int confine_files(enum sandbox_level level, uint32_t allow_missing,
                           struct sandbox_failure *ret_failure);
/* All threads; the last thing before the first byte from outside. As above. */
MUST_USE int confine_calls(enum sandbox_level level, struct sandbox_failure *ret_failure);

#endif
