#include "server/render/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char options_help[] =
    "usage: cordon-render-server --socket-fd N [OPTION...]\n"
    "\n"
    "Serves the Vulkan contexts of one virtual machine, each in a confined worker process.\n"
    "Started by a VMM (set RENDER_SERVER_EXEC_PATH to this program), not by hand.\n"
    "\n"
    "  --socket-fd N                the VMM's connected SEQPACKET socket\n"
    "  --sandbox=LEVEL              strict (at start), default, minimal or off\n"
    "  --sandbox-allow-missing=LIST layers that this host may lack, e.g. userns,landlock;\n"
    "                               implies --sandbox=default\n"
    "  --sandbox-learn              for trusted guests only: let calls through that the policy does\n"
    "                               not list, and print the lines that would list them\n"
    "  --policy-dir FOLDER          worker.DRIVER.policy from there instead of the one that is built\n"
    "                               in: cordon-sandbox(7)\n"
    "  --driver NAME                the host driver whose policy confines workers: auto (at\n"
    "                               start), lavapipe, radv, anv-i915, anv-xe, nvk, turnip, panvk,\n"
    "                               nvidia\n"
    "  --device NODE                the render node they may use (/dev/dri/renderD128...)\n"
    "  --worker PATH                the worker program\n"
    "  --spare N                    workers kept ready for the next contexts (1)\n"
    "  --ready-timeout SECONDS      for a worker to load its driver and seal itself (30)\n"
    "  --validate                   run guests under the Khronos validation layer, whose messages go\n"
    "                               to the log: slow, for the tests of this program\n"
    "  --limit NAME=NUMBER,...      what the VM may hold: memory, vm-memory, heap, blob, shm (bytes;\n"
    "                               K, M, G), objects, blobs, rings, files, threads, contexts; and\n"
    "                               starts per second, devices lost per minute; with cgroups ram,\n"
    "                               vm-ram, cpu, cpu-weight: cordon-sandbox(7)\n"
    "  --cgroup auto|off|FOLDER     the delegated cgroup in which workers get groups of their own;\n"
    "                               auto (at start): this process's, if it is delegated\n"
    "  --stats FILE                 write the server's numbers there, as JSON\n"
    "  --log-level LEVEL            error, warn, info (at start) or debug\n"
    "  --help, --version\n"
    "\n"
    "Options in the environment variable CORDON_OPTIONS, separated by spaces, come before these: for\n"
    "a VMM that passes none (crosvm).\n"
    "\n"
    "Accepted for virgl_render_server's sake, without effect, since workers are always filtered:\n"
    "  --worker-seccomp-bpf FILE, --worker-seccomp-minijail-policy FILE,\n"
    "  --worker-seccomp-minijail-log\n";

enum option {
    OPTION_SOCKET_FD,
    OPTION_SANDBOX,
    OPTION_ALLOW_MISSING,
    OPTION_DRIVER,
    OPTION_DEVICE,
    OPTION_WORKER,
    OPTION_SPARE,
    OPTION_READY_TIMEOUT,
    OPTION_VALIDATE,
    OPTION_LEARN,
    OPTION_LIMIT,
    OPTION_CGROUP,
    OPTION_POLICY_DIR,
    OPTION_STATS,
    OPTION_LOG_LEVEL,
    OPTION_SECCOMP_BPF,
    OPTION_SECCOMP_POLICY,
    OPTION_SECCOMP_LOG,
    OPTION_HELP_,
    OPTION_VERSION_,
    OPTION_COUNT,
};

static const struct {
    const char *name;
    bool has_value;
} rules[OPTION_COUNT] = {
    [OPTION_SOCKET_FD] = { "--socket-fd", true },
    [OPTION_SANDBOX] = { "--sandbox", true },
    [OPTION_ALLOW_MISSING] = { "--sandbox-allow-missing", true },
    [OPTION_DRIVER] = { "--driver", true },
    [OPTION_DEVICE] = { "--device", true },
    [OPTION_WORKER] = { "--worker", true },
    [OPTION_SPARE] = { "--spare", true },
    [OPTION_READY_TIMEOUT] = { "--ready-timeout", true },
    [OPTION_VALIDATE] = { "--validate", false },
    [OPTION_LEARN] = { "--sandbox-learn", false },
    [OPTION_LIMIT] = { "--limit", true },
    [OPTION_POLICY_DIR] = { "--policy-dir", true },
    [OPTION_CGROUP] = { "--cgroup", true },
    [OPTION_STATS] = { "--stats", true },
    [OPTION_LOG_LEVEL] = { "--log-level", true },
    [OPTION_SECCOMP_BPF] = { "--worker-seccomp-bpf", true },
    [OPTION_SECCOMP_POLICY] = { "--worker-seccomp-minijail-policy", true },
    [OPTION_SECCOMP_LOG] = { "--worker-seccomp-minijail-log", false },
    [OPTION_HELP_] = { "--help", false },
    [OPTION_VERSION_] = { "--version", false },
};

static int parse_number(const char *text, uint32_t max, uint32_t *ret)
{
    char *end;
    unsigned long v;

    if (text[0] < '0' || text[0] > '9') {
        return -EINVAL;
    }
    errno = 0;
    v = strtoul(text, &end, 10);
    if (errno != 0 || *end || v > max) {
        return -EINVAL;
    }
    *ret = (uint32_t)v;
    return 0;
}

static int parse_level(const char *value, struct options *o, char *why, size_t size)
{
    if (sandbox_parse_level(value, &o->level) < 0) {
        (void)snprintf(why, size, "--sandbox=%s is no level; use strict, default, minimal or off",
                       value);
        return -EINVAL;
    }
    return 0;
}

static int parse_allow_missing(const char *value, struct options *o, char *why, size_t size)
{
    const char *bad = value;
    int r = sandbox_parse_allow_missing(value, &o->allow_missing, &bad);

    if (r < 0) {
        (void)snprintf(why, size, "--sandbox-allow-missing: \"%.*s\" %s", (int)strcspn(bad, ","),
                       bad,
                       r == -EPERM ? "must never be missing; leave it out"
                                   : "is no layer; use userns, mounts, pidns, netns, ipcns, "
                                     "utsns, landlock or mdwe");
        return -EINVAL;
    }
    return 0;
}

static int apply(enum option option, const char *value, struct options *o, char *why, size_t size)
{
    uint32_t n;

    switch (option) {
    case OPTION_SOCKET_FD:
        if (parse_number(value, INT32_MAX, &n) < 0) {
            (void)snprintf(why, size, "--socket-fd %s: give the number of an inherited socket",
                           value);
            return -EINVAL;
        }
        o->socket_fd = (int)n;
        return 0;
    case OPTION_SANDBOX:
        return parse_level(value, o, why, size);
    case OPTION_ALLOW_MISSING:
        return parse_allow_missing(value, o, why, size);
    case OPTION_DRIVER:
        o->driver = value;
        return 0;
    case OPTION_DEVICE:
        o->device = value;
        return 0;
    case OPTION_WORKER:
        o->worker_path = value;
        return 0;
    case OPTION_SPARE:
        if (parse_number(value, 16, &o->spares) < 0) {
            (void)snprintf(why, size, "--spare %s: give a number from 0 to 16", value);
            return -EINVAL;
        }
        return 0;
    case OPTION_READY_TIMEOUT:
        if (parse_number(value, 3600, &n) < 0 || n == 0) {
            (void)snprintf(why, size, "--ready-timeout %s: give seconds, 1 to 3600", value);
            return -EINVAL;
        }
        o->ready_timeout_ms = n * 1000;
        return 0;
    case OPTION_VALIDATE:
        o->validate = true;
        return 0;
    case OPTION_LEARN:
        o->learn = true;
        return 0;
    case OPTION_LIMIT:
        return limits_parse(value, &o->limits, why, size);
    case OPTION_CGROUP:
        if (strcmp(value, "auto") != 0 && strcmp(value, "off") != 0 && value[0] != '/') {
            (void)snprintf(why, size, "--cgroup %s: use auto, off or the absolute path of a cgroup",
                           value);
            return -EINVAL;
        }
        o->cgroup = value;
        return 0;
    case OPTION_POLICY_DIR:
        o->policy_dir = value;
        return 0;
    case OPTION_STATS:
        o->stats_path = value;
        return 0;
    case OPTION_LOG_LEVEL:
        if (log_level_parse(value, &o->log_level) < 0) {
            (void)snprintf(why, size, "--log-level %s: use error, warn, info or debug", value);
            return -EINVAL;
        }
        o->log_level_name = value;
        return 0;
    case OPTION_SECCOMP_BPF:
    case OPTION_SECCOMP_POLICY:
    case OPTION_SECCOMP_LOG:
        o->peer_option = rules[option].name;
        return 0;
    case OPTION_HELP_:
        o->action = OPTIONS_HELP;
        return 0;
    case OPTION_VERSION_:
        o->action = OPTIONS_VERSION;
        return 0;
    case OPTION_COUNT:
        break;
    }
    return -EINVAL;
}

/* The option that argument i spells: "--name" or "--name=value". OPTION_COUNT: none. */
static enum option find(const char *argument, const char **ret_value)
{
    size_t n = strcspn(argument, "=");

    for (int i = 0; i < OPTION_COUNT; i++) {
        if (strlen(rules[i].name) == n && strncmp(rules[i].name, argument, n) == 0) {
            *ret_value = argument[n] ? argument + n + 1 : NULL;
            return (enum option)i;
        }
    }
    return OPTION_COUNT;
}

char **options_with(const char *text, int *argc, char **argv)
{
    char *copy = text ? strdup(text) : NULL;
    char **all = copy ? calloc((size_t)*argc + strlen(copy) / 2 + 2, sizeof(*all)) : NULL;
    char *save = NULL;
    int n = 0;

    if (!all) {
        free(copy);
        return argv;
    }
    all[n++] = argv[0];
    for (char *one = strtok_r(copy, " \t\n", &save); one; one = strtok_r(NULL, " \t\n", &save)) {
        all[n++] = one;
    }
    for (int i = 1; i < *argc; i++) {
        all[n++] = argv[i];
    }
    *argc = n;
    return all;
}

int options_parse(int argc, char *const *argv, struct options *ret, char *why, size_t size)
{
    struct options o = {
        .socket_fd = -1,
        .level = SANDBOX_LEVEL_STRICT,
        .limits = limits_default,
        .driver = "auto",
        .cgroup = "auto",
        .log_level = LOG_LEVEL_INFO,
        .log_level_name = "info",
        .spares = 1,
        .ready_timeout_ms = 30000,
    };

    for (int i = 1; i < argc; i++) {
        const char *value;
        enum option option = find(argv[i], &value);
        int r;

        if (option == OPTION_COUNT) {
            (void)snprintf(why, size, "unknown argument \"%s\"; --help lists what there is",
                           argv[i]);
            return -EINVAL;
        }
        if (rules[option].has_value && !value) {
            if (++i >= argc) {
                (void)snprintf(why, size, "%s needs a value; --help says which",
                               rules[option].name);
                return -EINVAL;
            }
            value = argv[i];
        } else if (!rules[option].has_value && value) {
            (void)snprintf(why, size, "%s takes no value; leave =%s out", rules[option].name,
                           value);
            return -EINVAL;
        }
        r = apply(option, value, &o, why, size);
        if (r < 0) {
            return r;
        }
    }
    if (o.allow_missing && o.level == SANDBOX_LEVEL_STRICT) {
        o.level = SANDBOX_LEVEL_DEFAULT;
    }
    if (o.action == OPTIONS_RUN && o.socket_fd < 0) {
        (void)snprintf(why, size,
                       "--socket-fd N is missing; this program is started by a VMM (set "
                       "RENDER_SERVER_EXEC_PATH for it) or by cordon-vtest");
        return -EINVAL;
    }
    *ret = o;
    return 0;
}
