/* The command line of cordon-vtest. */
#ifndef CORDON_SERVER_VTEST_OPTIONS_H
#define CORDON_SERVER_VTEST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base.h"
#include "ipc/log.h"
#include "server/front/renderer.h"

enum vtest_action {
    VTEST_RUN,
    VTEST_HELP,
    VTEST_VERSION,
};

struct vtest_options {
    enum vtest_action action;
    const char *socket_path;
    const char *render_server; /* NULL: look for it */
    bool once;
    uint32_t max_clients;
    enum log_level log_level;
    /* Options of the render server, NULL at the end. */
    const char *passed[RENDERER_PASSED_MAX + 1];
};

/* 0, or -EINVAL with one line in `why` that says what to do. socket_name: the value of
 * $VTEST_SOCKET_NAME or NULL. Strings point into argv. */
MUST_USE int vtest_options_parse(int argc, char *const *argv, const char *socket_name,
                                 struct vtest_options *ret, char *why, size_t why_size);

extern const char vtest_help[];

#endif
