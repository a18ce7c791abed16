/*
 * The layers of a worker's sandbox: their names, what a failure of each means, and the level that
 * an operator may choose. Server and worker share this file; it starts nothing.
 */
#ifndef CORDON_POLICY_SANDBOX_H
#define CORDON_POLICY_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base.h"

/* In the order in which they are put on. */
enum sandbox_layer {
    SANDBOX_FDS = 1u << 0,
    SANDBOX_USERNS = 1u << 1,
    SANDBOX_MOUNTS = 1u << 2, /* mount namespace and pivot_root */
    SANDBOX_PIDNS = 1u << 3,
    SANDBOX_NETNS = 1u << 4,
    SANDBOX_IPCNS = 1u << 5,
    SANDBOX_UTSNS = 1u << 6,
    SANDBOX_RLIMITS = 1u << 7,
    SANDBOX_CAPS = 1u << 8,
    SANDBOX_NO_NEW_PRIVS = 1u << 9,
    SANDBOX_LANDLOCK = 1u << 10,
    SANDBOX_SECCOMP = 1u << 11,
    SANDBOX_MDWE = 1u << 12,
    SANDBOX_ALL = (1u << 13) - 1,
};

#define SANDBOX_NAMESPACES                                                             \
    (SANDBOX_USERNS | SANDBOX_MOUNTS | SANDBOX_PIDNS | SANDBOX_NETNS | SANDBOX_IPCNS | \
     SANDBOX_UTSNS)

/* Exit codes of a process that could not confine itself (and of the server's check of it). */
enum sandbox_exit {
    SANDBOX_EXIT_FDS = 81,
    SANDBOX_EXIT_USERNS = 82,
    SANDBOX_EXIT_MOUNTS = 83,
    SANDBOX_EXIT_NAMESPACES = 84, /* pid, net, ipc, uts */
    SANDBOX_EXIT_RLIMITS = 85,
    SANDBOX_EXIT_CAPS = 86, /* and no_new_privs */
    SANDBOX_EXIT_LANDLOCK = 87,
    SANDBOX_EXIT_CGROUP = 88,
    SANDBOX_EXIT_EXEC = 89,
    SANDBOX_EXIT_WARM_UP = 90,
    SANDBOX_EXIT_MDWE = 91,
    SANDBOX_EXIT_SECCOMP = 92,
    SANDBOX_EXIT_VERIFY = 93,
};

enum sandbox_level {
    SANDBOX_LEVEL_STRICT,  /* every layer, nothing may be missing */
    SANDBOX_LEVEL_DEFAULT, /* every layer; those in allow_missing may be missing */
    SANDBOX_LEVEL_MINIMAL, /* no namespaces, no Landlock: for hosts that have neither */
    SANDBOX_LEVEL_OFF,     /* descriptor hygiene only */
};

struct sandbox_config {
    enum sandbox_level level;
    uint32_t allow_missing; /* bits of enum sandbox_layer */
    /* Further things the driver needs, absolute paths, NULL-terminated lists or NULL. */
    const char *const *read_exec; /* library directories or files */
    const char *const *read;      /* data directories or files */
    const char *const *devices; /* device nodes; the broker opens these read-write, see notify.h */
    /* Manifests that the loader may find by itself, separated by colons, or NULL: what they lead to
     * is added as far as it is there. Those that VK_DRIVER_FILES names must be. */
    const char *icd_manifests;
};

/* What failed, as told by whoever tried. `layer` 0: not a layer, see exit_code. */
struct sandbox_failure {
    uint32_t layer;
    int error; /* positive errno, 0 if none */
    int exit_code;
    char what[128]; /* the call, for example "clone3(CLONE_NEWUSER)" */
};

/* "userns"; NULL for what is not exactly one layer. */
const char *sandbox_layer_name(uint32_t layer);

/* "fds,userns"; always NUL-terminated. */
void sandbox_layers_text(uint32_t layers, char *text, size_t size);

/* Parses "userns,landlock" into bits. -EINVAL for an unknown name (its place in *ret_bad), -EPERM
 * for seccomp, fds, caps, rlimits or no_new_privs, which must never be missing. */
int sandbox_parse_allow_missing(const char *text, uint32_t *ret_layers, const char **ret_bad);

/* -EINVAL for an unknown name. */
int sandbox_parse_level(const char *text, enum sandbox_level *ret_level);
const char *sandbox_level_name(enum sandbox_level level);

/* The layers that a configuration asks for; mdwe says whether the driver runs under W^X. */
uint32_t sandbox_wanted(const struct sandbox_config *config, bool mdwe);

/* The layers that go when `layer` cannot be had: without a user namespace an unprivileged server
 * has none of the others. */
uint32_t sandbox_goes_with(uint32_t layer);

int sandbox_exit_code(uint32_t layer);

/* Looks on this host for the reason why a layer cannot be installed and writes "cause; remedy" in
 * one line. Checks, never guesses: with nothing found it says that nothing known is wrong. */
void sandbox_explain(uint32_t layer, int error, char *text, size_t size);

/* Fills in what failed: the layer's exit code, and the call as a format. error: a negative errno,
 * which is returned; -EINVAL is if it is 0. */
int sandbox_failed(struct sandbox_failure *ret, uint32_t layer, int error, const char *fmt, ...)
    PRINTF(4, 5);

/* The whole report of a failure, four lines: what, cause, effect, how to go on. */
void sandbox_failure_text(const struct sandbox_failure *failure, char *text, size_t size);

/* The Landlock ABI of the running kernel, 0 if there is none. */
int sandbox_landlock_abi(void);

/* The `Seccomp:` mode of this process: 2 means that somebody has filtered us before we started.
 * -ENOENT without /proc. */
int sandbox_seccomp_mode(void);

#endif
