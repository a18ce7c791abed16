/* Is a worker that says it is confined really confined? Seen from outside, through /proc. */
#ifndef CORDON_SERVER_RENDER_VERIFY_H
#define CORDON_SERVER_RENDER_VERIFY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"

struct sandbox_config;

/* 0 with the layers that were seen, or are of a kind that nobody can see from outside and the
 * worker claims; -EPERM with `why` naming the layer and what was seen instead. */
MUST_USE int verify_worker(pid_t pid, const struct sandbox_config *config, uint32_t claimed,
                           uint32_t *ret_layers, char *why, size_t why_size);

/* Pure: the number after "\nKey:" in a /proc/PID/status, in base 10 or 16. -ENOENT. */
MUST_USE int status_field(const char *status, const char *key, int base, uint64_t *ret);

#endif
