#include "policy/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/cleanup.h"

static const struct {
    uint32_t layer;
    const char *name;
    int exit_code;
} layers[] = {
    { SANDBOX_FDS, "fds", SANDBOX_EXIT_FDS },
    { SANDBOX_USERNS, "userns", SANDBOX_EXIT_USERNS },
    { SANDBOX_MOUNTS, "mounts", SANDBOX_EXIT_MOUNTS },
    { SANDBOX_PIDNS, "pidns", SANDBOX_EXIT_NAMESPACES },
    { SANDBOX_NETNS, "netns", SANDBOX_EXIT_NAMESPACES },
    { SANDBOX_IPCNS, "ipcns", SANDBOX_EXIT_NAMESPACES },
    { SANDBOX_UTSNS, "utsns", SANDBOX_EXIT_NAMESPACES },
    { SANDBOX_RLIMITS, "rlimits", SANDBOX_EXIT_RLIMITS },
    { SANDBOX_CAPS, "caps", SANDBOX_EXIT_CAPS },
    { SANDBOX_NO_NEW_PRIVS, "no_new_privs", SANDBOX_EXIT_CAPS },
    { SANDBOX_LANDLOCK, "landlock", SANDBOX_EXIT_LANDLOCK },
    { SANDBOX_SECCOMP, "seccomp", SANDBOX_EXIT_SECCOMP },
    { SANDBOX_MDWE, "mdwe", SANDBOX_EXIT_MDWE },
};

static const char *const levels[] = {
    [SANDBOX_LEVEL_STRICT] = "strict",
    [SANDBOX_LEVEL_DEFAULT] = "default",
    [SANDBOX_LEVEL_MINIMAL] = "minimal",
    [SANDBOX_LEVEL_OFF] = "off",
};

/* Each of these costs nothing on any kernel that runs us, so its absence is always a fault. */
#define NEVER_MISSING \
    (SANDBOX_FDS | SANDBOX_RLIMITS | SANDBOX_CAPS | SANDBOX_NO_NEW_PRIVS | SANDBOX_SECCOMP)

const char *sandbox_layer_name(uint32_t layer)
{
    for (size_t i = 0; i < ARRAY_SIZE(layers); i++) {
        if (layers[i].layer == layer) {
            return layers[i].name;
        }
    }
    return NULL;
}

int sandbox_exit_code(uint32_t layer)
{
    for (size_t i = 0; i < ARRAY_SIZE(layers); i++) {
        if (layers[i].layer == layer) {
            return layers[i].exit_code;
        }
    }
    return SANDBOX_EXIT_VERIFY;
}

/* Appends; the text stays NUL-terminated and is cut when full. */
static void append(char *text, size_t size, const char *fmt, ...) PRINTF(3, 4);

static void append(char *text, size_t size, const char *fmt, ...)
{
    size_t used = strnlen(text, size);
    va_list args;

    if (used + 1 >= size) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(text + used, size - used, fmt, args);
    va_end(args);
}

void sandbox_layers_text(uint32_t mask, char *text, size_t size)
{
    if (size == 0) {
        return;
    }
    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(layers); i++) {
        if (mask & layers[i].layer) {
            append(text, size, "%s%s", text[0] ? "," : "", layers[i].name);
        }
    }
    if (!text[0]) {
        append(text, size, "none");
    }
}

int sandbox_parse_allow_missing(const char *text, uint32_t *ret_layers, const char **ret_bad)
{
    uint32_t mask = 0;

    while (*text) {
        size_t len = strcspn(text, ",");
        uint32_t layer = 0;

        for (size_t i = 0; i < ARRAY_SIZE(layers); i++) {
            if (strlen(layers[i].name) == len && strncmp(layers[i].name, text, len) == 0) {
                layer = layers[i].layer;
            }
        }
        if (!layer || (layer & NEVER_MISSING)) {
            *ret_bad = text;
            return layer ? -EPERM : -EINVAL;
        }
        mask |= layer;
        text += len;
        text += *text == ',';
    }
    *ret_layers = mask;
    return 0;
}

int sandbox_parse_level(const char *text, enum sandbox_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if (strcmp(levels[i], text) == 0) {
            *ret_level = (enum sandbox_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *sandbox_level_name(enum sandbox_level level)
{
    return levels[level];
}

uint32_t sandbox_wanted(const struct sandbox_config *config, bool mdwe)
{
    uint32_t mask = SANDBOX_ALL;

    switch (config->level) {
    case SANDBOX_LEVEL_STRICT:
    case SANDBOX_LEVEL_DEFAULT:
        break;
    case SANDBOX_LEVEL_MINIMAL:
        mask &= ~(SANDBOX_NAMESPACES | SANDBOX_LANDLOCK);
        break;
    case SANDBOX_LEVEL_OFF:
        return SANDBOX_FDS;
    }
    return mdwe ? mask : mask & ~SANDBOX_MDWE;
}

uint32_t sandbox_goes_with(uint32_t layer)
{
    if (layer == SANDBOX_USERNS && geteuid() != 0) {
        return SANDBOX_NAMESPACES;
    }
    return layer;
}

/* Reads a small file of /proc or /sys into text, newline cut. False if it is not there. */
static bool read_line(const char *path, char *text, size_t size)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0) {
        return false;
    }
    n = read(fd, text, size - 1);
    if (n < 0) {
        return false;
    }
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return true;
}

static long read_number(const char *path, long missing)
{
    char text[32];

    return read_line(path, text, sizeof(text)) ? strtol(text, NULL, 10) : missing;
}

int sandbox_seccomp_mode(void)
{
    AUTO_CLOSE int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    char text[4096];
    const char *at;
    ssize_t n;

    if (fd < 0) {
        return -errno;
    }
    n = read(fd, text, sizeof(text) - 1);
    if (n < 0) {
        return -errno;
    }
    text[n] = '\0';
    at = strstr(text, "\nSeccomp:");
    return at ? (int)strtol(at + strlen("\nSeccomp:"), NULL, 10) : 0;
}

int sandbox_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return abi > 0 ? (int)abi : 0;
}

static pid_t parent_of(pid_t pid)
{
    char path[64], line[512];
    const char *at;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (!read_line(path, line, sizeof(line))) {
        return 0;
    }
    /* "pid (name) state ppid": the name may hold anything, the last ')' ends it. */
    at = strrchr(line, ')');
    return at && strlen(at) > strlen(") S ") ? (pid_t)strtol(at + strlen(") S "), NULL, 10) : 0;
}

static bool same_root(const char *theirs, bool *ret_known)
{
    struct statx a, b;

    *ret_known = statx(AT_FDCWD, theirs, 0, STATX_INO | STATX_MNT_ID, &a) == 0 &&
                 statx(AT_FDCWD, "/", 0, STATX_INO | STATX_MNT_ID, &b) == 0;
    return *ret_known && a.stx_ino == b.stx_ino && a.stx_mnt_id == b.stx_mnt_id;
}

/* In a chroot the kernel refuses user namespaces and pivot_root. We are in one if an ancestor in
 * our mount namespace has another root, or if no mount point is seen as "/". */
static bool in_chroot(void)
{
    AUTO_CLOSE int fd = -1;
    struct stat ours, theirs;
    char text[65536], path[64];
    size_t used = 0;

    for (pid_t pid = getppid(); pid > 0; pid = parent_of(pid)) {
        bool known;

        (void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
        if (stat(path, &theirs) < 0 || stat("/proc/self/ns/mnt", &ours) < 0 ||
            ours.st_ino != theirs.st_ino) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "/proc/%d/root/", pid);
        if (!same_root(path, &known) && known) {
            return true;
        }
    }
    fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    while (used < sizeof(text) - 1) {
        ssize_t n = read(fd, text + used, sizeof(text) - 1 - used);

        if (n <= 0) {
            break;
        }
        used += (size_t)n;
    }
    text[used] = '\0';
    /* The fifth field is the mount point as seen from our root; outside a chroot one is "/". */
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char point[256];

        if (sscanf(line, "%*s %*s %*s %*s %255s", point) == 1 && strcmp(point, "/") == 0) {
            return false;
        }
    }
    return true;
}

static void explain_userns(int error, char *text, size_t size)
{
    if (access("/proc/self/ns", F_OK) == 0 && access("/proc/self/ns/user", F_OK) != 0) {
        append(text, size, "the kernel was built without CONFIG_USER_NS; use one that has it");
    } else if (read_number("/proc/sys/user/max_user_namespaces", 1) == 0) {
        append(text, size,
               "/proc/sys/user/max_user_namespaces is 0; "
               "sysctl user.max_user_namespaces=1024");
    } else if (read_number("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0) {
        append(text, size,
               "kernel.unprivileged_userns_clone is 0; "
               "sysctl kernel.unprivileged_userns_clone=1");
    } else if (read_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1) {
        append(text, size,
               "kernel.apparmor_restrict_unprivileged_userns is 1; give the server an "
               "AppArmor profile with the rule `userns,`");
    } else if (in_chroot()) {
        append(text, size,
               "the process is in a chroot, where the kernel refuses user namespaces; "
               "start it in a mount namespace with pivot_root instead");
    } else if (error == ENOSPC || error == EUSERS) {
        append(text, size,
               "all user namespaces of /proc/sys/user/max_user_namespaces are in use "
               "or nested too deep; raise the number");
    }
}

static void explain_mounts(char *text, size_t size)
{
    if (in_chroot()) {
        append(text, size,
               "the process is in a chroot, from which pivot_root is impossible; start "
               "it in a mount namespace with pivot_root instead");
    } else if (read_number("/proc/sys/user/max_mnt_namespaces", 1) == 0) {
        append(text, size,
               "/proc/sys/user/max_mnt_namespaces is 0; "
               "sysctl user.max_mnt_namespaces=1024");
    }
}

static void explain_namespace(uint32_t layer, char *text, size_t size)
{
    const char *kind = layer == SANDBOX_PIDNS   ? "pid"
                       : layer == SANDBOX_NETNS ? "net"
                       : layer == SANDBOX_IPCNS ? "ipc"
                                                : "uts";
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/sys/user/max_%s_namespaces", kind);
    if (read_number(path, 1) == 0) {
        append(text, size, "%s is 0; sysctl user.max_%s_namespaces=1024", path, kind);
        return;
    }
    (void)snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
    if (access("/proc/self/ns", F_OK) == 0 && access(path, F_OK) != 0) {
        append(text, size, "the kernel was built without %s namespaces; use one that has them",
               kind);
    }
}

static void explain_landlock(char *text, size_t size)
{
    char lsm[256];
    int abi = sandbox_landlock_abi();

    if (abi > 0) {
        append(text, size,
               "Landlock ABI %d is present; a path of the configuration is missing "
               "or unreadable",
               abi);
    } else if (read_line("/sys/kernel/security/lsm", lsm, sizeof(lsm)) &&
               !strstr(lsm, "landlock")) {
        append(text, size,
               "landlock is not in the kernel's lsm list (%s); boot with "
               "lsm=landlock,%s",
               lsm, lsm);
    } else {
        append(text, size,
               "the kernel has no Landlock (5.13 or newer, CONFIG_SECURITY_LANDLOCK, "
               "and landlock in the boot option lsm=)");
    }
}

void sandbox_explain(uint32_t layer, int error, char *text, size_t size)
{
    if (size == 0) {
        return;
    }
    text[0] = '\0';
    switch (layer) {
    case SANDBOX_USERNS:
        explain_userns(error, text, size);
        break;
    case SANDBOX_MOUNTS:
        explain_mounts(text, size);
        break;
    case SANDBOX_PIDNS:
    case SANDBOX_NETNS:
    case SANDBOX_IPCNS:
    case SANDBOX_UTSNS:
        explain_namespace(layer, text, size);
        break;
    case SANDBOX_LANDLOCK:
        explain_landlock(text, size);
        break;
    case SANDBOX_SECCOMP:
        if (access("/proc/sys/kernel/seccomp", F_OK) != 0) {
            append(text, size, "the kernel was built without CONFIG_SECCOMP_FILTER");
        }
        break;
    case SANDBOX_MDWE:
        if (error == EINVAL) {
            append(text, size,
                   "the kernel is older than 6.3 and has no PR_SET_MDWE; "
                   "the policy still refuses executable mappings");
        }
        break;
    default:
        break;
    }
    /* Only when nothing that can be seen explains it: the server wears a filter of its own, which
     * allows what a worker's start needs. */
    if (!text[0] && (error == EPERM || error == ENOSYS || error == EACCES) &&
        layer != SANDBOX_LANDLOCK && sandbox_seccomp_mode() == 2) {
        append(text, size,
               "most likely a seccomp filter that was in force when the server started; "
               "loosen the outer jail");
    }
    if (!text[0]) {
        append(text, size, "none of the known causes is present on this host");
    }
}

int sandbox_failed(struct sandbox_failure *ret, uint32_t layer, int error, const char *fmt, ...)
{
    va_list args;

    *ret = (struct sandbox_failure){
        .layer = layer,
        .error = -error,
        .exit_code = sandbox_exit_code(layer),
    };
    va_start(args, fmt);
    (void)vsnprintf(ret->what, sizeof(ret->what), fmt, args);
    va_end(args);
    return error ? error : -EINVAL;
}

void sandbox_failure_text(const struct sandbox_failure *failure, char *text, size_t size)
{
    const char *name = failure->layer ? sandbox_layer_name(failure->layer) : NULL;
    const char *error = failure->error ? strerrorname_np(failure->error) : NULL;
    char cause[384], rest[160];

    if (size == 0) {
        return;
    }
    text[0] = '\0';
    append(text, size, "sandbox: FAILED layer=%s call=%s error=%s\n", name ? name : "-",
           failure->what, error ? error : "-");
    if (name) {
        sandbox_explain(failure->layer, failure->error, cause, sizeof(cause));
        append(text, size, "  cause: %s\n", cause);
    }
    append(text, size,
           "  effect: no GPU context was created; the VM keeps running without "
           "acceleration");
    if (name && !(failure->layer & NEVER_MISSING)) {
        sandbox_layers_text(SANDBOX_ALL & ~sandbox_goes_with(failure->layer), rest, sizeof(rest));
        append(text, size, "\n  to run with the remaining layers (%s): --sandbox-allow-missing=%s",
               rest, name);
    }
}
