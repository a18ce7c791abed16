/* The render server that a front end starts for itself. */
#ifndef CORDON_SERVER_FRONT_RENDERER_H
#define CORDON_SERVER_FRONT_RENDERER_H

#include <stdbool.h>
#include <stddef.h>

/* Its options that a front end takes and hands on, as --help shows them. */
#define RENDERER_OPTIONS_HELP                                                              \
    "Given on to the render server, whose --help explains them:\n"                         \
    "  --sandbox=LEVEL, --sandbox-allow-missing=LIST, --sandbox-learn, --limit LIST,\n"    \
    "  --driver NAME, --device NODE, --worker PATH, --spare N, --ready-timeout SECONDS,\n" \
    "  --stats FILE, --cgroup FOLDER, --policy-dir FOLDER, --validate\n"

/* "--name" or "--name=value" where `name` is "--name". */
bool option_is(const char *argument, const char *name);
/* Is this one to hand on? It has a value. */
bool renderer_option(const char *argument);
/* The same, of one that has none. */
bool renderer_flag(const char *argument);

/* Beside this program, in the build tree, or where it was installed. Returns buf. */
const char *renderer_find(char *buf, size_t size);

#endif
