#include "policy/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ipc/cleanup.h"

#define SERVER_GROUP "cordon-server"
#define GROUP_PREFIX "cordon-"
#define WORKER_PREFIX "worker-"
#define DIRECTORY (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
/* The inode of the first cgroup namespace, fixed by the kernel (proc_ns.h). */
#define FIRST_NAMESPACE 0xEFFFFFFBu

static const struct {
    enum cgroup_controller bit;
    const char *name;
} controllers[] = {
    { CGROUP_MEMORY, "memory" },
    { CGROUP_PIDS, "pids" },
    { CGROUP_CPU, "cpu" },
};

static int read_at(int dir, const char *file, char *text, size_t size)
{
    AUTO_CLOSE int fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    size_t used = 0;

    while (fd >= 0 && used < size - 1) {
        ssize_t n = read(fd, text + used, size - 1 - used);

        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        used += (size_t)n;
    }
    text[used] = '\0';
    return fd < 0 ? -errno : 0;
}

static int write_at(int dir, const char *file, const char *text)
{
    AUTO_CLOSE int fd = openat(dir, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    size_t len = strlen(text);
    ssize_t n;

    if (fd < 0) {
        return -errno;
    }
    n = write(fd, text, len);
    return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
}

static int write_number(int dir, const char *file, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    return write_at(dir, file, text);
}

uint64_t cgroup_field(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ' ') {
            return strtoull(line + len + 1, NULL, 10);
        }
    }
    return 0;
}

/* ---- where ----------------------------------------------------------------------------------- */

const char *cgroup_own_path(char *proc_text)
{
    char *save = NULL;

    for (char *line = strtok_r(proc_text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "0::/", 4) == 0) {
            return line + 3;
        }
    }
    return NULL;
}

bool cgroup_mount_point(const char *line, char point[256], char root[256])
{
    const char *type = strstr(line, " - ");

    return type && strncmp(type, " - cgroup2 ", 11) == 0 &&
           sscanf(line, "%*s %*s %*s %255s %255s", root, point) == 2;
}

/* The directory of our own group. 0, or -ENOENT with the reason. */
static int own_directory(char *path, size_t size, char *why, size_t why_size)
{
    AUTO_CLOSE int proc = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char text[4096], line[1024], point[256], root[256];
    const char *own = NULL;
    bool found = false;
    FILE *mounts;

    if (proc >= 0 && read_at(proc, "cgroup", text, sizeof(text)) == 0) {
        own = cgroup_own_path(text);
    }
    mounts = fopen("/proc/self/mountinfo", "re");
    while (mounts && !found && fgets(line, sizeof(line), mounts)) {
        found = cgroup_mount_point(line, point, root);
    }
    if (mounts) {
        (void)fclose(mounts);
    }
    if (!own || !found) {
        (void)snprintf(why, why_size, "cgroup v2 is not mounted here");
        return -ENOENT;
    }
    /* A mount may show a part of the hierarchy only. */
    if (strcmp(root, "/") != 0 && strncmp(own, root, strlen(root)) == 0) {
        own += strlen(root);
    }
    if (snprintf(path, size, "%s%s", point, strcmp(own, "/") == 0 ? "" : own) >= (int)size) {
        (void)snprintf(why, why_size, "the path of this process's cgroup is too long");
        return -ENOENT;
    }
    return 0;
}

/* Ours to divide? Whoever is not root may write only where somebody let it. Root may everywhere, so
 * it needs a sign: systemd's mark, or the top of a cgroup namespace of its own. */
static bool delegated(const char *path, bool top)
{
    static const char *const marks[] = { "user.delegate", "trusted.delegate" };
    struct stat st;

    if (access(path, W_OK) < 0) {
        return false;
    }
    if (geteuid() != 0) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
        char value[4];

        if (getxattr(path, marks[i], value, sizeof(value)) >= 1 && value[0] == '1') {
            return true;
        }
    }
    return top && stat("/proc/self/ns/cgroup", &st) == 0 && st.st_ino != FIRST_NAMESPACE;
}

/* No processes but ours, or none at all: then it may hand out controllers. */
static bool alone(int dir, bool *ret_ours)
{
    char text[256];
    long only;
    char *end;

    if (read_at(dir, "cgroup.procs", text, sizeof(text)) < 0) {
        return false;
    }
    *ret_ours = text[0] != '\0';
    if (!text[0]) {
        return true;
    }
    only = strtol(text, &end, 10);
    return only == getpid() && strcmp(end, "\n") == 0;
}

/* Opens the group to divide. With a server in it, that moves one down. */
static int open_base(const char *path, char *why, size_t why_size, int *ret_fd)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int sub = -1;
    bool ours = false;
    int r;

    if (fd < 0) {
        r = -errno;
        (void)snprintf(why, why_size, "%s: %s", path, strerror(-r));
        return r;
    }
    if (!alone(fd, &ours)) {
        (void)snprintf(why, why_size,
                       "%s holds other processes and so cannot be divided (systemd: "
                       "DelegateSubgroup=)",
                       path);
        return -EBUSY;
    }
    if (ours) {
        if (mkdirat(fd, SERVER_GROUP, 0755) < 0 && errno != EEXIST) {
            r = -errno;
            (void)snprintf(why, why_size, "mkdir %s/%s: %s", path, SERVER_GROUP, strerror(-r));
            return r;
        }
        sub = openat(fd, SERVER_GROUP, DIRECTORY);
        r = sub < 0 ? -errno : write_at(sub, "cgroup.procs", "0");
        if (r < 0) {
            (void)snprintf(why, why_size, "%s/%s cannot be entered: %s", path, SERVER_GROUP,
                           strerror(-r));
            return r;
        }
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

static int find_base(char *path, size_t size, char *why, size_t why_size, int *ret_fd)
{
    char parent[256], *slash;
    int r = own_directory(path, size, why, why_size);

    if (r < 0) {
        return r;
    }
    /* Put into a subgroup of a delegated one, we divide that. */
    (void)snprintf(parent, sizeof(parent), "%s", path);
    slash = strrchr(parent, '/');
    if (slash && slash != parent) {
        *slash = '\0';
        if (delegated(parent, false) && open_base(parent, why, why_size, ret_fd) == 0) {
            (void)snprintf(path, size, "%s", parent);
            return 0;
        }
    }
    if (!delegated(path, true)) {
        (void)snprintf(why, why_size, "%s is not delegated to us (systemd: Delegate=yes)", path);
        return -ENOENT;
    }
    return open_base(path, why, why_size, ret_fd);
}

/* ---- the server's group ------------------------------------------------------------------------ */

static uint32_t hand_out(int dir)
{
    uint32_t mask = 0;

    for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
        char text[16];

        (void)snprintf(text, sizeof(text), "+%s", controllers[i].name);
        if (write_at(dir, "cgroup.subtree_control", text) == 0) {
            mask |= controllers[i].bit;
        }
    }
    return mask;
}

static void for_each_group(int parent, const char *prefix,
                           void (*call)(int parent, const char *name))
{
    int copy = openat(parent, ".", DIRECTORY);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;

    if (!dir) {
        close_fd(&copy);
        return;
    }
    while ((entry = readdir(dir))) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
            call(parent, entry->d_name);
        }
    }
    closedir(dir);
}

static void remove_group(int parent, const char *name)
{
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

/* A server that was killed leaves its group, and those of its workers. One that lives is passed
 * over; the kernel would not remove a group with processes in it either. */
static void remove_if_left(int base, const char *name)
{
    long pid = strtol(name + strlen(GROUP_PREFIX), NULL, 10);
    AUTO_CLOSE int fd = -1;

    if (pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH) {
        return;
    }
    fd = openat(base, name, DIRECTORY);
    if (fd >= 0) {
        for_each_group(fd, WORKER_PREFIX, remove_group);
        remove_group(base, name);
    }
}

static int limit_all(struct cgroup *g, char *why, size_t why_size)
{
    const struct cgroup_limits *l = &g->limits;
    const char *file = "";
    int r = 0;

    if (l->vm_memory && (g->controllers & CGROUP_MEMORY)) {
        file = "memory.max";
        r = write_number(g->fd, file, l->vm_memory);
    }
    if (r == 0 && l->cpu && (g->controllers & CGROUP_CPU)) {
        char text[48];

        /* So many microseconds of each 100,000. */
        (void)snprintf(text, sizeof(text), "%" PRIu64 " 100000", (uint64_t)l->cpu * 1000);
        file = "cpu.max";
        r = write_at(g->fd, file, text);
    }
    if (r == 0 && l->weight && (g->controllers & CGROUP_CPU)) {
        file = "cpu.weight";
        r = write_number(g->fd, file, l->weight);
    }
    if (r < 0) {
        (void)snprintf(why, why_size, "%s/%s/%s: %s", g->path, g->name, file, strerror(-r));
    }
    return r;
}

int cgroup_init(struct cgroup *g, const char *base, const struct cgroup_limits *limits, char *why,
                size_t why_size)
{
    int r;

    *g = (struct cgroup){ .fd = -1, .base_fd = -1, .limits = *limits };
    if (base) {
        (void)snprintf(g->path, sizeof(g->path), "%s", base);
        r = open_base(base, why, why_size, &g->base_fd);
    } else {
        r = find_base(g->path, sizeof(g->path), why, why_size, &g->base_fd);
    }
    if (r < 0) {
        return r;
    }
    g->controllers = hand_out(g->base_fd);
    if (!(g->controllers & (CGROUP_MEMORY | CGROUP_PIDS))) {
        (void)snprintf(why, why_size, "%s hands out neither memory nor pids", g->path);
        close_fd(&g->base_fd);
        return -ENOTSUP;
    }
    for_each_group(g->base_fd, GROUP_PREFIX, remove_if_left);
    (void)snprintf(g->name, sizeof(g->name), GROUP_PREFIX "%d", (int)getpid());
    if (mkdirat(g->base_fd, g->name, 0755) < 0 && errno != EEXIST) {
        r = -errno;
        (void)snprintf(why, why_size, "mkdir %s/%s: %s", g->path, g->name, strerror(-r));
        close_fd(&g->base_fd);
        return r;
    }
    g->fd = openat(g->base_fd, g->name, DIRECTORY);
    if (g->fd < 0) {
        r = -errno;
        (void)snprintf(why, why_size, "%s/%s: %s", g->path, g->name, strerror(-r));
    } else {
        g->controllers &= hand_out(g->fd);
        r = limit_all(g, why, why_size);
    }
    if (r < 0) {
        cgroup_fini(g);
        return r;
    }
    (void)snprintf(why, why_size, "%s/%s", g->path, g->name);
    return 0;
}

void cgroup_fini(struct cgroup *g)
{
    close_fd(&g->fd);
    if (g->base_fd >= 0) {
        (void)unlinkat(g->base_fd, g->name, AT_REMOVEDIR);
        close_fd(&g->base_fd);
    }
}

/* ---- one worker -------------------------------------------------------------------------------- */

static void group_name(uint32_t number, char name[24])
{
    (void)snprintf(name, 24, WORKER_PREFIX "%" PRIu32, number);
}

static int limit_one(const struct cgroup *g, int fd)
{
    const struct cgroup_limits *l = &g->limits;
    int r = 0;

    if (g->controllers & CGROUP_MEMORY) {
        /* One worker's processes end together, and what is over the limit is not swapped out at the
         * cost of everybody; a kernel without swap accounting has no such file. */
        r = write_number(fd, "memory.oom.group", 1);
        (void)write_number(fd, "memory.swap.max", 0);
        if (r == 0 && l->memory) {
            r = write_number(fd, "memory.max", l->memory);
        }
    }
    if (r == 0 && l->tasks && (g->controllers & CGROUP_PIDS)) {
        r = write_number(fd, "pids.max", l->tasks);
    }
    return r;
}

int cgroup_make(struct cgroup *g, uint32_t number, int *ret_fd)
{
    AUTO_CLOSE int fd = -1;
    char name[24];
    int r;

    group_name(number, name);
    if (mkdirat(g->fd, name, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    fd = openat(g->fd, name, DIRECTORY);
    r = fd < 0 ? -errno : limit_one(g, fd);
    if (r < 0) {
        cgroup_remove(g, number);
        return r;
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

void cgroup_remove(struct cgroup *g, uint32_t number)
{
    char name[24];

    group_name(number, name);
    (void)unlinkat(g->fd, name, AT_REMOVEDIR);
}

bool cgroup_holds(int fd, pid_t pid)
{
    char text[256], *save = NULL;

    if (read_at(fd, "cgroup.procs", text, sizeof(text)) < 0) {
        return false;
    }
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (strtol(line, NULL, 10) == pid) {
            return true;
        }
    }
    return false;
}

void cgroup_read_events(int fd, struct cgroup_events *ret)
{
    char text[512];

    *ret = (struct cgroup_events){ 0 };
    if (read_at(fd, "memory.events", text, sizeof(text)) == 0) {
        ret->oom_kills = cgroup_field(text, "oom_kill");
    }
    if (read_at(fd, "pids.events", text, sizeof(text)) == 0) {
        ret->tasks_refused = cgroup_field(text, "max");
    }
    if (read_at(fd, "memory.peak", text, sizeof(text)) == 0) {
        ret->memory_peak = strtoull(text, NULL, 10);
    }
}
