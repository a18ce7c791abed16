#include "server/vtest/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    if (strcmp(name, "--help") == 0) {
        o->action = VTEST_HELP;
    } else if (strcmp(name, "--version") == 0) {
        o->action = VTEST_VERSION;
    } else if (strcmp(name, "--once") == 0) {
        o->once = true;
    } else if (option_is(name, "--socket-path")) {
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
    } else if (option_is(name, "--log-level") && log_level_parse(value, &o->log_level) < 0) {
        (void)snprintf(why, size, "--log-level %s: use error, warn, info or debug", value);
        return -EINVAL;
    }
    return 0;
}

int vtest_options_parse(int argc, char *const *argv, const char *socket_name,
                        struct vtest_options *ret, char *why, size_t size)
{
    struct vtest_options o = {
        .socket_path = socket_name && socket_name[0] ? socket_name : "/tmp/.virgl_test",
        .max_clients = 64,
        .log_level = LOG_LEVEL_INFO,
    };
    static const char *const with_value[] = { "--socket-path", "--render-server", "--max-clients",
                                              NULL };
    static const char *const flags[] = { "--once", "--help", "--version", NULL };
    struct arguments a = {
        .argc = argc,
        .argv = argv,
        .with_value = with_value,
        .flags = flags,
        .passed = o.passed,
    };
    int r;

    while ((r = arguments_next(&a, why, size)) > 0) {
        r = apply(&o, a.name, a.value, why, size);
        if (r < 0) {
            return r;
        }
    }
    if (r == 0) {
        *ret = o;
    }
    return r;
}
