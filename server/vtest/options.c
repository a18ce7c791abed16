#include "server/vtest/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/front/renderer.h"

const char vtest_help[] =
    "usage: cordon-vtest [OPTION...]\n"
    "\n"
    "Serves Mesa's Venus driver on a Unix socket: Vulkan through Cordon without a VM.\n"
    "\n"
    "  --socket-path PATH    where to listen ($VTEST_SOCKET_NAME, else /tmp/.virgl_test)\n"
    "  --once                serve one client, then end\n"
    "  --max-clients N       at the same time (64)\n"
    "  --render-server PATH  the render server to start\n"
    "  --log-level LEVEL     error, warn, info (at start) or debug; the render server's too\n"
    "  --help, --version\n"
    "\n" RENDERER_OPTIONS_HELP;

static int apply(struct vtest_options *o, const char *name, const char *value, char *why,
                 size_t size)
{
    if (option_is(name, "--socket-path")) {
        o->socket_path = value;
    } else if (option_is(name, "--render-server")) {
        o->render_server = value;
    } else if (option_is(name, "--max-clients")) {
        char *end;
        unsigned long n = strtoul(value, &end, 10);

        if (value[0] < '0' || value[0] > '9' || *end || n == 0 || n > 256) {
            (void)snprintf(why, size, "--max-clients %s: give a number from 1 to 256", value);
            return -EINVAL;
        }
        o->max_clients = (uint32_t)n;
    } else if (log_level_parse(value, &o->log_level) < 0) {
        (void)snprintf(why, size, "--log-level %s: use error, warn, info or debug", value);
        return -EINVAL;
    }
    return 0;
}

static bool has_value(const char *argument)
{
    return option_is(argument, "--socket-path") || option_is(argument, "--render-server") ||
           option_is(argument, "--max-clients") || option_is(argument, "--log-level") ||
           renderer_option(argument);
}

int vtest_options_parse(int argc, char *const *argv, const char *socket_name,
                        struct vtest_options *ret, char *why, size_t size)
{
    struct vtest_options o = {
        .socket_path = socket_name && socket_name[0] ? socket_name : "/tmp/.virgl_test",
        .max_clients = 64,
        .log_level = LOG_LEVEL_INFO,
    };
    const char *validate = NULL, *learn = NULL;
    size_t n = 0;

    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = strchr(name, '=');
        bool split = !value;
        int r;

        if (strcmp(name, "--once") == 0) {
            o.once = true;
            continue;
        }
        if (strcmp(name, "--validate") == 0) {
            validate = name;
            continue;
        }
        if (strcmp(name, "--sandbox-learn") == 0) {
            learn = name;
            continue;
        }
        if (strcmp(name, "--help") == 0 || strcmp(name, "--version") == 0) {
            o.action = strcmp(name, "--help") == 0 ? VTEST_HELP : VTEST_VERSION;
            continue;
        }
        if (!has_value(name)) {
            (void)snprintf(why, size, "unknown argument \"%s\"; --help lists what there is", name);
            return -EINVAL;
        }
        if (split && i + 1 >= argc) {
            (void)snprintf(why, size, "%s needs a value; --help says which", name);
            return -EINVAL;
        }
        value = split ? argv[++i] : value + 1;
        if (renderer_option(name) || option_is(name, "--log-level")) {
            if (n + 4 > VTEST_PASSED_MAX) { /* and the two without a value */
                (void)snprintf(why, size, "too many options; leave some out");
                return -EINVAL;
            }
            o.passed[n++] = name;
            if (split) {
                o.passed[n++] = value;
            }
        }
        r = renderer_option(name) ? 0 : apply(&o, name, value, why, size);
        if (r < 0) {
            return r;
        }
    }
    if (validate) {
        o.passed[n++] = validate;
    }
    o.passed[n] = learn;
    *ret = o;
    return 0;
}
