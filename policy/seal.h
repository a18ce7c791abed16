/*
 * The worker's side: it has warmed up and holds no guest byte yet; now it gives away what is left.
 * Needs neither libseccomp nor libcap.
 */
#ifndef CORDON_POLICY_SEAL_H
#define CORDON_POLICY_SEAL_H

#include "policy/program.h"
#include "policy/sandbox.h"

/* Seals the whole process, all threads. `layers`: those of the plan that are still to come
 * (seccomp, mdwe); anything else is ignored. Without seccomp in it nothing is filtered.
 * `ask_threads`: the start of a thread asks the server, which counts them, where no user namespace
 * of the process's own makes the kernel count (RLIMIT_NPROC); for programs that have a listener.
 *
 * On success *ret_listener is the seccomp listener for the server (close-on-exec, send it with
 * READY and close it), or -1 if the program has none, and *ret_layers what was added. On failure
 * the process must end with ret_failure->exit_code. */
int seal(const struct policy_program *program, uint32_t layers, bool ask_threads, int *ret_listener,
         uint32_t *ret_layers, struct sandbox_failure *ret_failure);

#endif
