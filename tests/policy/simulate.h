/* Runs a compiled policy on one system call, as the kernel would. */
#ifndef CORDON_TESTS_POLICY_SIMULATE_H
#define CORDON_TESTS_POLICY_SIMULATE_H

#include <linux/seccomp.h>
#include <stdint.h>

#include "policy/program.h"

/* The action (SECCOMP_RET_*), or 0xffffffff if the program is not one that the kernel accepts.
 * *ret_steps: instructions executed. */
uint32_t simulate(const struct policy_program *program, const struct seccomp_data *data,
                  unsigned *ret_steps);

#endif
