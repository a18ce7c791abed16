/* The command line of cordon-vhost-user-gpu. */
#ifndef CORDON_SERVER_VHOST_USER_OPTIONS_H
#define CORDON_SERVER_VHOST_USER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/log.h"
#include "policy/sandbox.h"
#include "server/front/renderer.h"
#include "server/vhost_user/frontend.h"

enum options_action {
    OPTIONS_RUN,
    OPTIONS_HELP,
    OPTIONS_VERSION,
    OPTIONS_CAPABILITIES,
};

struct options {
    enum options_action action;
    const char *socket_path;   /* NULL: fd, or what systemd has opened */
    int fd;                    /* a socket that listens or is connected; -1: none */
    const char *render_server; /* NULL: look for it */
    const char *screenshot;    /* NULL: none */
    struct frontend_config device;
    enum log_level log_level;
    enum sandbox_level sandbox;
    uint32_t allow_missing;
    /* Options of the render server, NULL at the end. */
    const char *passed[RENDERER_PASSED_MAX + 1];
};

/* 0, or -EINVAL with one line in `why` that says what to do. Strings point into argv. */
MUST_USE int options_parse(int argc, char *const *argv, struct options *ret, char *why,
                           size_t why_size);

extern const char options_help[];

#endif
