/* The command line of cordon-render-server, the peer's spellings included. */
#ifndef CORDON_SERVER_RENDER_OPTIONS_H
#define CORDON_SERVER_RENDER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base.h"
#include "ipc/log.h"
#include "policy/sandbox.h"
#include "server/render/quota.h"

enum options_action {
    OPTIONS_RUN,
    OPTIONS_HELP,
    OPTIONS_VERSION,
};

struct options {
    enum options_action action;
    int socket_fd; /* -1: not given */
    enum sandbox_level level;
    uint32_t allow_missing;
    const char *worker_path; /* NULL: look for it */
    const char *driver;      /* a policy's name, or "auto" */
    const char *device;      /* the render node; NULL: the first */
    const char *stats_path;  /* NULL: none */
    const char *policy_dir;  /* of the operator's own policies; NULL: none */
    const char *cgroup;      /* a delegated group; "auto": look for one; "off" */
    enum log_level log_level;
    const char *log_level_name;
    uint32_t spares;
    uint32_t ready_timeout_ms;
    struct limits limits;
    bool learn;              /* calls that no policy lists are let through and told at the end */
    bool validate;           /* workers load the Khronos validation layer */
    const char *peer_option; /* one of the peer's seccomp options was given: which */
};

/* 0, or -EINVAL with one line in `why` that says what is wrong and what to do. Strings point into
 * argv. Environment variables are not looked at. */
MUST_USE int options_parse(int argc, char *const *argv, struct options *ret, char *why,
                           size_t why_size);

/* The arguments with those of `text`, separated by spaces, in front: for a VMM that passes none of
 * its user's. NULL: as they are. argc and argv as main has them; what is made lives for ever. */
char **options_with(const char *text, int *argc, char **argv);

extern const char options_help[];

#endif
