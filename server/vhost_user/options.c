#include "server/vhost_user/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/vhost_user_wire.h"

#define WINDOW_DEFAULT (4ull << 30)
#define WINDOW_MIN (16ull << 20)
#define WINDOW_MAX (1ull << 40)
/* What the EDID's timing has room for. */
#define SIDE_X_MAX 3840
#define SIDE_Y_MAX 2160

const char options_help[] =
    "usage: cordon-vhost-user-gpu --socket-path PATH [OPTION...]\n"
    "\n"
    "A virtio-gpu device with Venus for one VM, over vhost-user: the VMM holds no GPU code.\n"
    "\n"
    "  --socket-path PATH    where the VMM connects; without it, what systemd has opened\n"
    "  --fd N                the socket is open already, at descriptor N: listening or connected\n"
    "  --display WxH         a display that nobody sees, at most 3840x2160 (none)\n"
    "  --screenshot PNG      write what it shows there on SIGUSR1 and at the end (1280x800)\n"
    "  --window-size SIZE    of guest address space for mapped memory, as 512M or 4G (4G)\n"
    "  --shmem-bit N         20 or 21 for front ends older than QEMU 11.1 (22)\n"
    "  --render-server PATH  the render server to start\n"
    "  --log-level LEVEL     error, warn, info (at start) or debug; the render server's too\n"
    "  --print-capabilities, --help, --version\n"
    "\n" RENDERER_OPTIONS_HELP "--sandbox and --sandbox-allow-missing are for this process too.\n";

static int refuse(char *why, size_t size, const char *name, const char *value, const char *remedy)
{
    (void)snprintf(why, size, "%s %s: %s", name, value, remedy);
    return -EINVAL;
}

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end || n < min || n > max) {
        return false;
    }
    *ret = n;
    return true;
}

static bool parse_size(const char *text, uint64_t *ret)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = *end == 'M' ? 20 : *end == 'G' ? 30 : 0;

    if (text[0] < '0' || text[0] > '9' || shift == 0 || end[1] || n > WINDOW_MAX >> shift) {
        return false;
    }
    *ret = n << shift;
    /* A PCI BAR is a power of two. */
    return *ret >= WINDOW_MIN && (*ret & (*ret - 1)) == 0;
}

static bool parse_mode(const char *text, struct display_mode *ret)
{
    char *end = (char *)text;
    unsigned long x = 0, y = 0;

    if (*text >= '0' && *text <= '9') {
        x = strtoul(text, &end, 10);
    }
    if (*end == 'x' && end[1] >= '0' && end[1] <= '9') {
        y = strtoul(end + 1, &end, 10);
    }
    if (*end || x < 64 || y < 64 || x > SIDE_X_MAX || y > SIDE_Y_MAX) {
        return false;
    }
    *ret = (struct display_mode){ (uint32_t)x, (uint32_t)y };
    return true;
}

static int apply(struct options *o, const char *name, const char *value, char *why, size_t size)
{
    const char *bad;
    uint64_t n;

    if (strcmp(name, "--help") == 0) {
        o->action = OPTIONS_HELP;
    } else if (strcmp(name, "--version") == 0) {
        o->action = OPTIONS_VERSION;
    } else if (strcmp(name, "--print-capabilities") == 0) {
        o->action = OPTIONS_CAPABILITIES;
    } else if (option_is(name, "--socket-path")) {
        o->socket_path = value;
    } else if (option_is(name, "--render-server")) {
        o->render_server = value;
    } else if (option_is(name, "--screenshot")) {
        o->screenshot = value;
    } else if (option_is(name, "--fd")) {
        if (!parse_number(value, 3, INT32_MAX, &n)) {
            return refuse(why, size, "--fd", value, "give the number of an open socket");
        }
        o->fd = (int)n;
    } else if (option_is(name, "--display")) {
        if (!parse_mode(value, &o->device.mode)) {
            return refuse(why, size, "--display", value, "give a size, as 1280x800");
        }
    } else if (option_is(name, "--window-size")) {
        if (!parse_size(value, &o->device.window_size)) {
            return refuse(why, size, "--window-size", value,
                          "give a power of two from 16M to 1024G, as 512M or 4G");
        }
    } else if (option_is(name, "--shmem-bit")) {
        if (!parse_number(value, 20, VHOST_USER_PROTOCOL_SHMEM, &n)) {
            return refuse(why, size, "--shmem-bit", value, "use 20, 21 or 22");
        }
        o->device.shmem_bit = (uint32_t)n;
    } else if (option_is(name, "--sandbox")) {
        if (sandbox_parse_level(value, &o->sandbox) < 0) {
            return refuse(why, size, "--sandbox", value, "use strict, default, minimal or off");
        }
    } else if (option_is(name, "--sandbox-allow-missing")) {
        if (sandbox_parse_allow_missing(value, &o->allow_missing, &bad) < 0) {
            return refuse(why, size, "--sandbox-allow-missing", bad,
                          "not a layer that may be missing");
        }
    } else if (option_is(name, "--log-level") && log_level_parse(value, &o->log_level) < 0) {
        return refuse(why, size, "--log-level", value, "use error, warn, info or debug");
    }
    return 0;
}

static int finish(struct options *o, char *why, size_t size)
{
    if (o->socket_path && o->fd >= 0) {
        (void)snprintf(why, size, "--socket-path and --fd: give one of them");
        return -EINVAL;
    }
    if (o->screenshot && o->device.mode.width == 0) {
        o->device.mode = (struct display_mode){ 1280, 800 };
    }
    return 0;
}

int options_parse(int argc, char *const *argv, struct options *ret, char *why, size_t size)
{
    struct options o = {
        .fd = -1,
        .device = { .window_size = WINDOW_DEFAULT, .shmem_bit = VHOST_USER_PROTOCOL_SHMEM },
        .log_level = LOG_LEVEL_INFO,
        .sandbox = SANDBOX_LEVEL_DEFAULT,
    };
    static const char *const with_value[] = {
        "--socket-path", "--fd",        "--display",       "--screenshot",
        "--window-size", "--shmem-bit", "--render-server", NULL,
    };
    static const char *const flags[] = { "--help", "--version", "--print-capabilities", NULL };
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
    r = r < 0 ? r : finish(&o, why, size);
    if (r == 0) {
        *ret = o;
    }
    return r;
}
