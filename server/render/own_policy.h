/* --policy-dir: an operator's own text instead of the policy that is built in. */
#ifndef CORDON_SERVER_RENDER_OWN_POLICY_H
#define CORDON_SERVER_RENDER_OWN_POLICY_H

#include <stddef.h>

#include "ipc/base.h"

struct driver_choice;

/* Has cordon-policyc compile FOLDER/worker.DRIVER.policy, and puts that program in place of the
 * driver's. *ret_fd is it as bytes, for workers. 0, or a negative errno with the compiler's own
 * line, FILE:LINE: WHY, in `why`. Starts a process: before the server seals itself. */
MUST_USE int own_policy_compile(const char *folder, struct driver_choice *driver, int *ret_fd,
                                char *why, size_t why_size);

#endif
