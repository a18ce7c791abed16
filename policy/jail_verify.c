/* Looks at a worker from outside: what the kernel says about it, not what it says itself. */
#include "policy/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/cleanup.h"

static const char *field(const char *status, const char *name)
{
    const char *at = strstr(status, name);

    return at ? at + strlen(name) : NULL;
}

/* Reads /proc/PID/status; 0 or a negative errno. */
static int read_status(const char *path, char *status, size_t size)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, status, size - 1);

    if (n <= 0) {
        return n < 0 ? -errno : -EIO;
    }
    status[n] = '\0';
    return 0;
}

long jail_count_threads(pid_t pid)
{
    char path[64], status[8192];
    const char *value;
    int r;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
    r = read_status(path, status, sizeof(status));
    value = r == 0 ? field(status, "\nThreads:") : NULL;
    return value ? strtol(value, NULL, 10) : r < 0 ? r : -EIO;
}

/* The field is there since Linux 5.9. */
static long count_filters(const char *status)
{
    const char *value = field(status, "\nSeccomp_filters:");

    return value ? strtol(value, NULL, 10) : 0;
}

static int check_status(pid_t pid, uint32_t layers, char *text, size_t size)
{
    static const char *const sets[] = { "\nCapInh:", "\nCapPrm:", "\nCapEff:", "\nCapAmb:",
                                        "\nCapBnd:" };
    char path[64], status[8192], ours[8192];
    const char *value;
    int r;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
    r = read_status(path, status, sizeof(status));
    if (r == 0) {
        r = read_status("/proc/self/status", ours, sizeof(ours));
    }
    if (r < 0) {
        (void)snprintf(text, size, "%s: %s", path, strerror(-r));
        return -EPERM;
    }
    if (layers & SANDBOX_SECCOMP) {
        value = field(status, "\nSeccomp:");
        if (!value || strtol(value, NULL, 10) != 2) {
            (void)snprintf(text, size, "no seccomp filter");
            return -EPERM;
        }
        /* Two more than it has inherited from us, and it cannot take one off. */
        if (count_filters(status) < count_filters(ours) + 2) {
            (void)snprintf(text, size, "only %ld seccomp filters, %ld of them ours",
                           count_filters(status), count_filters(ours));
            return -EPERM;
        }
    }
    if (layers & SANDBOX_NO_NEW_PRIVS) {
        value = field(status, "\nNoNewPrivs:");
        if (!value || strtol(value, NULL, 10) != 1) {
            (void)snprintf(text, size, "no_new_privs is not set");
            return -EPERM;
        }
    }
    for (size_t i = 0; (layers & SANDBOX_CAPS) && i < ARRAY_SIZE(sets); i++) {
        /* See drop_caps: outside a namespace an ordinary user's bounding set stays. */
        if (!(layers & SANDBOX_USERNS) && i == ARRAY_SIZE(sets) - 1) {
            break;
        }
        value = field(status, sets[i]);
        if (!value || strtoull(value, NULL, 16) != 0) {
            (void)snprintf(text, size, "capabilities left: %s%.20s", sets[i] + 1,
                           value ? value : "");
            return -EPERM;
        }
    }
    return 0;
}

static int check_namespace(pid_t pid, const char *kind, char *text, size_t size)
{
    char ours[64], theirs[64];
    struct stat a, b;

    (void)snprintf(ours, sizeof(ours), "/proc/self/ns/%s", kind);
    (void)snprintf(theirs, sizeof(theirs), "/proc/%d/ns/%s", pid, kind);
    if (stat(ours, &a) < 0 || stat(theirs, &b) < 0) {
        (void)snprintf(text, size, "%s: %s", theirs, strerror(errno));
        return -EPERM;
    }
    if (a.st_ino == b.st_ino && a.st_dev == b.st_dev) {
        (void)snprintf(text, size, "the %s namespace is ours", kind);
        return -EPERM;
    }
    return 0;
}

int jail_verify(pid_t pid, uint32_t layers, char *text, size_t size)
{
    static const struct {
        uint32_t layer;
        const char *kind;
    } kinds[] = {
        { SANDBOX_USERNS, "user" }, { SANDBOX_MOUNTS, "mnt" }, { SANDBOX_PIDNS, "pid" },
        { SANDBOX_NETNS, "net" },   { SANDBOX_IPCNS, "ipc" },  { SANDBOX_UTSNS, "uts" },
    };
    int r = check_status(pid, layers, text, size);

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(kinds); i++) {
        if (layers & kinds[i].layer) {
            r = check_namespace(pid, kinds[i].kind, text, size);
        }
    }
    return r;
}
