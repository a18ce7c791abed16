/* The render server that a front end starts for itself, and what both are told on a command line. */
#ifndef CORDON_SERVER_FRONT_RENDERER_H
#define CORDON_SERVER_FRONT_RENDERER_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/base.h"

/* Its options that a front end takes and hands on, as --help shows them. */
#define RENDERER_OPTIONS_HELP                                                              \
    "Given on to the render server, whose --help explains them:\n"                         \
    "  --sandbox=LEVEL, --sandbox-allow-missing=LIST, --sandbox-learn, --limit LIST,\n"    \
    "  --driver NAME, --device NODE, --worker PATH, --spare N, --ready-timeout SECONDS,\n" \
    "  --stats FILE, --cgroup FOLDER, --policy-dir FOLDER, --validate\n"

#define RENDERER_PASSED_MAX 64

/* "--name" or "--name=value" where `name` is "--name". */
bool option_is(const char *argument, const char *name);

/* A front end's command line. What it points to stays the caller's. */
struct arguments {
    int argc;
    char *const *argv;
    const char *const *with_value; /* its own options, beside --log-level; NULL at the end */
    const char *const *flags;      /* those without a value, likewise */
    const char **passed; /* takes what the render server gets: RENDERER_PASSED_MAX at most */
    size_t n_passed;
    int at; /* where the latest option ends */
    const char *name;
    const char *value; /* NULL: it has none */
};

/* Goes to the next option; one of the render server's, or --log-level, is also handed on. 1; 0: there
 * are no more; -EINVAL with one line in `why` that says what to do. */
MUST_USE int arguments_next(struct arguments *a, char *why, size_t size);

/* Beside this program, in the build tree, or where it was installed. Returns buf. */
const char *renderer_find(char *buf, size_t size);

#endif
