#include "policy/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ipc/cleanup.h"
#include "ipc/descriptors.h"
#include "policy/filter.h"
#include "policy/landlock.h"

static int failed(struct sandbox_failure *failure, uint32_t layer, const char *call)
{
    return sandbox_failed(failure, layer, -errno, "%s", call);
}

static int failed_at(struct sandbox_failure *failure, uint32_t layer, const char *call,
                     const char *path)
{
    return sandbox_failed(failure, layer, -errno, "%s %.90s", call, path);
}

/* ---- clone ------------------------------------------------------------------------------------ */

static const struct {
    uint32_t layer;
    uint64_t flag;
    const char *call;
} namespaces[] = {
    { SANDBOX_USERNS, CLONE_NEWUSER, "clone3(CLONE_NEWUSER)" },
    { SANDBOX_MOUNTS, CLONE_NEWNS, "clone3(CLONE_NEWNS)" },
    { SANDBOX_PIDNS, CLONE_NEWPID, "clone3(CLONE_NEWPID)" },
    { SANDBOX_NETNS, CLONE_NEWNET, "clone3(CLONE_NEWNET)" },
    { SANDBOX_IPCNS, CLONE_NEWIPC, "clone3(CLONE_NEWIPC)" },
    { SANDBOX_UTSNS, CLONE_NEWUTS, "clone3(CLONE_NEWUTS)" },
};

uint64_t jail_clone_flags(const struct jail_plan *plan)
{
    uint64_t flags = 0;

    for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
        if (plan->layers & namespaces[i].layer) {
            flags |= namespaces[i].flag;
        }
    }
    return flags;
}

static pid_t clone_child(uint64_t flags, int cgroup_fd, int *pidfd)
{
    struct clone_args args = {
        .flags = flags | (pidfd ? CLONE_PIDFD : 0),
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
    };

    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }

    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static int try_clone(uint64_t flags, int cgroup_fd)
{
    pid_t pid = clone_child(flags, cgroup_fd, NULL);

    if (pid == 0) {
        _exit(0);
    }
    if (pid < 0) {
        return -errno;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return 0;
}

/* The kernel does not say which flag it refused: ask for each on its own. */
static int clone_failed(const struct jail_plan *plan, struct sandbox_failure *failure)
{
    uint64_t user = plan->layers & SANDBOX_USERNS ? CLONE_NEWUSER : 0;
    int error = -errno;

    if (plan->cgroup_fd >= 0) {
        int r = try_clone(0, plan->cgroup_fd);

        if (r < 0) {
            (void)sandbox_failed(failure, 0, r, "clone3(CLONE_INTO_CGROUP)");
            failure->exit_code = SANDBOX_EXIT_CGROUP;
            return r;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
        if (plan->layers & namespaces[i].layer) {
            int r = try_clone(namespaces[i].flag | user, -1);

            if (r < 0) {
                return sandbox_failed(failure, namespaces[i].layer, r, "%s", namespaces[i].call);
            }
        }
    }
    (void)sandbox_failed(failure, 0, error, "clone3");
    failure->exit_code = SANDBOX_EXIT_EXEC;
    return error;
}

static int write_proc(pid_t pid, const char *file, const char *text,
                      struct sandbox_failure *failure)
{
    AUTO_CLOSE int fd = -1;
    char path[64];
    size_t len = strlen(text);

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return failed_at(failure, SANDBOX_USERNS, "open", path);
    }
    if (write(fd, text, len) != (ssize_t)len) {
        return failed_at(failure, SANDBOX_USERNS, "write", path);
    }
    return 0;
}

/* "5 5 1": number 5 is itself; ours and, if that differs, the other. */
static void identity_map(char *text, size_t size, unsigned ours, unsigned other)
{
    int n = snprintf(text, size, "%u %u 1\n", ours, ours);

    if (other != ours) {
        (void)snprintf(text + n, size - (size_t)n, "%u %u 1\n", other, other);
    }
}

int jail_write_id_maps(pid_t pid, uid_t uid, gid_t gid, struct sandbox_failure *ret_failure)
{
    char map[64];
    int r;

    /* Without this an ordinary user may not map its group. Root must be able to drop its groups. */
    if (geteuid() != 0) {
        r = write_proc(pid, "setgroups", "deny", ret_failure);
        if (r < 0) {
            return r;
        }
    }
    identity_map(map, sizeof(map), geteuid(), uid);
    r = write_proc(pid, "uid_map", map, ret_failure);
    if (r < 0) {
        return r;
    }
    identity_map(map, sizeof(map), getegid(), gid);
    return write_proc(pid, "gid_map", map, ret_failure);
}

/* ---- child: descriptors and signals ------------------------------------------------------------ */

static int reset_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < _NSIG; sig++) {
        /* Some cannot be set (SIGKILL, libc's own); they are at their default already. */
        (void)signal(sig, SIG_DFL);
    }
    /* A memfd beyond RLIMIT_FSIZE is an error to report, not the end; a peer that hangs up too. */
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Moves the plan's descriptors to 0.., exec_fd and status_fd behind them, closes all others. */
static int arrange_fds(const struct jail_plan *plan, int *status_fd,
                       struct sandbox_failure *failure)
{
    const unsigned n = plan->n_fds;
    int fds[JAIL_MAX_FDS + 2], r;

    memcpy(fds, plan->fds, n * sizeof(*fds));
    fds[n] = plan->exec_fd >= 0 ? plan->exec_fd : *status_fd;
    fds[n + 1] = *status_fd;
    r = descriptors_arrange(fds, n + 2, n);
    *status_fd = fds[n + 1];
    return r < 0 ? sandbox_failed(failure, SANDBOX_FDS, r, "fcntl or close_range") : 0;
}

/* ---- child: the tree --------------------------------------------------------------------------- */

static int make_parents(int root, const char *path)
{
    char part[256];

    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdirat(root, part, 0755) < 0 && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

static int make_target(int root, const char *path, bool directory)
{
    AUTO_CLOSE int fd = -1;
    int r = make_parents(root, path);

    if (r < 0) {
        errno = -r;
        return -1;
    }
    if (directory) {
        return mkdirat(root, path, 0755) < 0 && errno != EEXIST ? -1 : 0;
    }
    fd = openat(root, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    return fd < 0 ? -1 : 0;
}

/* The descriptor of a new one, to be moved to where it belongs; or a negative errno. */
static int make_tmpfs(const char *size, const char *names, const char *mode, uint64_t attributes,
                      struct sandbox_failure *failure)
{
    AUTO_CLOSE int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    int mounted;

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", names, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "mode", mode, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return failed(failure, SANDBOX_MOUNTS, "fsconfig(tmpfs)");
    }
    mounted = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attributes);
    if (mounted < 0) {
        return failed(failure, SANDBOX_MOUNTS, "fsmount(tmpfs)");
    }
    return mounted;
}

/* Nobody but the worker sees it. Two drivers' caches of a warm-up take 2 MiB. */
static int make_scratch(int root, const char *inside, struct sandbox_failure *failure)
{
    AUTO_CLOSE int fs =
        make_tmpfs("8m", "128", "01777", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
                   failure);

    if (fs < 0) {
        return fs;
    }
    if (make_target(root, inside, true) < 0) {
        return failed_at(failure, SANDBOX_MOUNTS, "mkdir", inside);
    }
    if (move_mount(fs, "", root, inside, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return failed_at(failure, SANDBOX_MOUNTS, "move_mount", inside);
    }
    return 0;
}

static int bind_path(int root, const struct jail_path *p, struct sandbox_failure *failure)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID };
    const char *inside = p->path + 1; /* relative to the new root */
    AUTO_CLOSE int tree = -1;

    if (p->kind == JAIL_LINK) {
        if (make_parents(root, inside) < 0 || symlinkat(p->link, root, inside) < 0) {
            return failed_at(failure, SANDBOX_MOUNTS, "symlink", p->path);
        }
        return 0;
    }
    if (p->kind == JAIL_SCRATCH) {
        return make_scratch(root, inside, failure);
    }
    attr.attr_set |= p->kind == JAIL_DEVICE ? MOUNT_ATTR_NOEXEC : MOUNT_ATTR_NODEV;
    if (p->kind == JAIL_READ) {
        attr.attr_set |= MOUNT_ATTR_NOEXEC;
    }
    if (make_target(root, inside, p->directory) < 0) {
        return failed_at(failure, SANDBOX_MOUNTS, "mkdir", p->path);
    }
    /* Recursive: what the host mounted inside may be a part of it, and locked to it. */
    tree = open_tree(AT_FDCWD, p->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0) {
        return failed_at(failure, SANDBOX_MOUNTS, "open_tree", p->path);
    }
    if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0) {
        return failed_at(failure, SANDBOX_MOUNTS, "mount_setattr", p->path);
    }
    if (move_mount(tree, "", root, inside, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return failed_at(failure, SANDBOX_MOUNTS, "move_mount", p->path);
    }
    return 0;
}

static int make_root(struct sandbox_failure *failure)
{
    /* Empty but for mount points: 1 MiB and 256 names are plenty. */
    return make_tmpfs("1m", "256", "0755", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, failure);
}

static int enter_tree(const struct jail_plan *plan, struct sandbox_failure *failure)
{
    struct mount_attr sealed = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC };
    AUTO_CLOSE int root = -1;

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return failed(failure, SANDBOX_MOUNTS, "mount(MS_PRIVATE)");
    }
    root = make_root(failure);
    if (root < 0) {
        return root;
    }
    /* Stacked on "/": absolute paths still lead to the old tree until pivot_root. */
    if (move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return failed(failure, SANDBOX_MOUNTS, "move_mount(tmpfs)");
    }
    for (unsigned i = 0; i < plan->n_paths; i++) {
        int r = bind_path(root, &plan->paths[i], failure);

        if (r < 0) {
            return r;
        }
    }
    if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0) {
        return failed(failure, SANDBOX_MOUNTS, "pivot_root");
    }
    /* The old tree is now stacked on the new root; take it off. */
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return failed(failure, SANDBOX_MOUNTS, "umount2(old root)");
    }
    if (mount_setattr(AT_FDCWD, "/", 0, &sealed, sizeof(sealed)) < 0) {
        return failed(failure, SANDBOX_MOUNTS, "mount_setattr(/)");
    }
    return 0;
}

/* ---- child: limits and privileges -------------------------------------------------------------- */

static int lower_limit(__rlimit_resource_t which, uint64_t value)
{
    struct rlimit now;

    if (getrlimit(which, &now) < 0) {
        return -1;
    }
    /* The host's own limit may be lower already; it cannot be raised and need not be. */
    now.rlim_max = MIN(now.rlim_max, value);
    now.rlim_cur = now.rlim_max;
    return setrlimit(which, &now);
}

static int set_limits(const struct jail_plan *plan, struct sandbox_failure *failure)
{
    const struct {
        __rlimit_resource_t which;
        uint64_t value;
        const char *call;
    } limits[] = {
        { RLIMIT_CORE, 0, "setrlimit(CORE)" },
        { RLIMIT_MEMLOCK, 0, "setrlimit(MEMLOCK)" },
        { RLIMIT_MSGQUEUE, 0, "setrlimit(MSGQUEUE)" },
        { RLIMIT_RTPRIO, 0, "setrlimit(RTPRIO)" },
        { RLIMIT_NICE, 0, "setrlimit(NICE)" },
        { RLIMIT_NOFILE, plan->limits.files, "setrlimit(NOFILE)" },
        { RLIMIT_FSIZE, plan->limits.file_size, "setrlimit(FSIZE)" },
        { RLIMIT_DATA, plan->limits.data, "setrlimit(DATA)" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        if (lower_limit(limits[i].which, limits[i].value) < 0) {
            return failed(failure, SANDBOX_RLIMITS, limits[i].call);
        }
    }
    /* Elsewhere it would count all that the user runs, and refuse a thread because of them. */
    if ((plan->layers & SANDBOX_USERNS) && lower_limit(RLIMIT_NPROC, plan->limits.threads) < 0) {
        return failed(failure, SANDBOX_RLIMITS, "setrlimit(NPROC)");
    }
    return 0;
}

static int read_caps(struct __user_cap_data_struct caps[2])
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

    return (int)syscall(SYS_capget, &header, caps);
}

/* Away from root, for good: nothing in an own user namespace maps to what is given up here. */
static int become(const struct jail_plan *plan, struct sandbox_failure *failure)
{
    if (plan->uid == geteuid()) {
        return 0;
    }
    if (setgroups(0, NULL) < 0 || setresgid(plan->gid, plan->gid, plan->gid) < 0 ||
        setresuid(plan->uid, plan->uid, plan->uid) < 0) {
        return failed(failure, SANDBOX_CAPS, "setresuid");
    }
    /* The kernel has forgotten it with the user. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
        return failed(failure, SANDBOX_CAPS, "prctl(PR_SET_PDEATHSIG)");
    }
    return 0;
}

static int drop_caps(const struct jail_plan *plan, struct sandbox_failure *failure)
{
    const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                               SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                               SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[2] = { 0 };
    int r;

    if (read_caps(caps) < 0) {
        return failed(failure, SANDBOX_CAPS, "capget");
    }
    /* An ordinary user without a namespace cannot empty its bounding set; with nothing in its
     * other sets and no_new_privs it has no use for it either. */
    if (caps[0].effective & (1u << CAP_SETPCAP)) {
        for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
            if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
                return failed(failure, SANDBOX_CAPS, "prctl(PR_CAPBSET_DROP)");
            }
        }
        if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0) {
            return failed(failure, SANDBOX_CAPS, "prctl(PR_SET_SECUREBITS)");
        }
    }
    r = become(plan, failure);
    if (r < 0) {
        return r;
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
        return failed(failure, SANDBOX_CAPS, "prctl(PR_CAP_AMBIENT)");
    }
    memset(caps, 0, sizeof(caps));
    if (syscall(SYS_capset, &header, caps) < 0) {
        return failed(failure, SANDBOX_CAPS, "capset");
    }
    return 0;
}

static int restrict_files(const struct jail_plan *plan, int exec_fd,
                          struct sandbox_failure *failure)
{
    AUTO_CLOSE int ruleset = landlock_new();

    if (ruleset < 0) {
        return sandbox_failed(failure, SANDBOX_LANDLOCK, ruleset, "landlock_create_ruleset");
    }
    for (unsigned i = 0; i < plan->n_paths; i++) {
        const struct jail_path *p = &plan->paths[i];
        int r = 0;

        if (p->kind == JAIL_SCRATCH) {
            r = plan->layers & SANDBOX_MOUNTS ? landlock_allow_scratch(ruleset, p->path) : 0;
        } else if (p->kind != JAIL_LINK) {
            r = landlock_allow(ruleset, p->path, p->kind == JAIL_DEVICE, p->kind == JAIL_READ_EXEC);
        }
        if (r < 0) {
            return sandbox_failed(failure, SANDBOX_LANDLOCK, r, "landlock_add_rule %.90s", p->path);
        }
    }
    if (plan->exec_fd >= 0) {
        int r = landlock_allow_fd(ruleset, exec_fd, false, true);

        if (r < 0) {
            return sandbox_failed(failure, SANDBOX_LANDLOCK, r, "landlock_add_rule worker");
        }
    }
    if (landlock_restrict(ruleset) < 0) {
        return failed(failure, SANDBOX_LANDLOCK, "landlock_restrict_self");
    }
    return 0;
}

/* Waits for the parent's word that the id maps are written. Nothing comes from a dead parent, and
 * one that dies later takes us along: in an own pid namespace getppid() could not tell. */
static int await_parent(int status_fd)
{
    char go;
    ssize_t n;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
        return -1;
    }
    do {
        n = recv(status_fd, &go, 1, 0);
    } while (n < 0 && errno == EINTR);
    if (n == 0) {
        errno = EPIPE;
    }
    return n == 1 ? 0 : -1;
}

/* So that no characters can be pushed into somebody's shell. Where there is no terminal the session
 * stays the server's: the scheduler shares processors out by session first, and one worker alone in
 * its own would get as much as a VMM with all that it runs. */
static void leave_terminal(void)
{
    AUTO_CLOSE int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (fd >= 0 || errno != ENXIO) {
        (void)setsid();
    }
}

int jail_enter(const struct jail_plan *plan, int *status_fd, struct sandbox_failure *ret_failure)
{
    int r;

    if (reset_signals() < 0) {
        return failed(ret_failure, SANDBOX_FDS, "sigprocmask");
    }
    r = arrange_fds(plan, status_fd, ret_failure);
    if (r < 0) {
        return r;
    }
    if (await_parent(*status_fd) < 0) {
        return failed(ret_failure, SANDBOX_FDS, "prctl(PR_SET_PDEATHSIG)");
    }
    leave_terminal();
    umask(022); /* the tree is to be seen by whom we become */
    if (plan->layers & SANDBOX_MOUNTS) {
        r = enter_tree(plan, ret_failure);
        if (r < 0) {
            return r;
        }
    }
    umask(077);
    if (plan->layers & SANDBOX_RLIMITS) {
        r = set_limits(plan, ret_failure);
        if (r < 0) {
            return r;
        }
    }
    if (plan->layers & SANDBOX_CAPS) {
        r = drop_caps(plan, ret_failure);
        if (r < 0) {
            return r;
        }
    }
    if ((plan->layers & SANDBOX_NO_NEW_PRIVS) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return failed(ret_failure, SANDBOX_NO_NEW_PRIVS, "prctl(PR_SET_NO_NEW_PRIVS)");
    }
    if (plan->layers & SANDBOX_LANDLOCK) {
        r = restrict_files(plan, (int)plan->n_fds, ret_failure);
        if (r < 0) {
            return r;
        }
    }
    if ((plan->layers & SANDBOX_SECCOMP) && plan->stage1) {
        r = filter_install(plan->stage1, 0);
        if (r < 0) {
            return sandbox_failed(ret_failure, SANDBOX_SECCOMP, r, "seccomp(stage 1)");
        }
    }
    return 0;
}

/* ---- parent ------------------------------------------------------------------------------------ */

static void child_main(const struct jail_plan *plan, int status_fd, char *const *argv,
                       const char *const *env) __attribute__((noreturn));

static void child_main(const struct jail_plan *plan, int status_fd, char *const *argv,
                       const char *const *env)
{
    struct sandbox_failure failure;

    if (jail_enter(plan, &status_fd, &failure) == 0) {
        if (plan->exec_fd < 0) {
            _exit(0);
        }
        (void)syscall(SYS_execveat, plan->n_fds, "", argv, env, AT_EMPTY_PATH);
        (void)failed(&failure, 0, "execveat(worker)");
        failure.exit_code = SANDBOX_EXIT_EXEC;
    }
    (void)send(status_fd, &failure, sizeof(failure), MSG_NOSIGNAL);
    _exit(failure.exit_code);
}

int jail_spawn(const struct jail_plan *plan, char *const *argv, const char *const *env,
               struct jail_child *ret_child, struct sandbox_failure *ret_failure)
{
    AUTO_CLOSE int ours = -1;
    AUTO_CLOSE int theirs = -1;
    AUTO_CLOSE int pidfd = -1;
    int pair[2];
    pid_t pid;
    int r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return failed(ret_failure, SANDBOX_FDS, "socketpair");
    }
    ours = pair[0];
    theirs = pair[1];
    pid = clone_child(jail_clone_flags(plan), plan->cgroup_fd, &pidfd);
    if (pid < 0) {
        return clone_failed(plan, ret_failure);
    }
    if (pid == 0) {
        child_main(plan, theirs, argv, env);
    }
    r = 0;
    if (plan->layers & SANDBOX_USERNS) {
        r = jail_write_id_maps(pid, plan->uid, plan->gid, ret_failure);
    }
    if (r == 0 && send(ours, "g", 1, MSG_NOSIGNAL) != 1) {
        r = failed(ret_failure, SANDBOX_FDS, "send to the new worker");
    }
    if (r < 0) {
        /* It waits for our word and has done nothing. */
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        return r;
    }
    *ret_child = (struct jail_child){
        .pid = pid,
        .pidfd = take_fd(&pidfd),
        .status_fd = take_fd(&ours),
    };
    return 0;
}

int jail_entered(struct jail_child *child, struct sandbox_failure *ret_failure)
{
    struct sandbox_failure failure;
    ssize_t n;

    do {
        n = recv(child->status_fd, &failure, sizeof(failure), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        (void)failed(ret_failure, SANDBOX_FDS, "recv from the new worker");
    }
    close_fd(&child->status_fd);
    if (n == 0) {
        return 0;
    }
    if (n == sizeof(failure)) {
        failure.what[sizeof(failure.what) - 1] = '\0';
        *ret_failure = failure;
    }
    return ret_failure->error ? -ret_failure->error : -EINVAL;
}

int jail_probe(struct jail_plan *plan, const struct sandbox_config *config, uint32_t *ret_missing,
               struct sandbox_failure *ret_failure)
{
    struct jail_plan probe = *plan;
    uint32_t missing = 0;

    probe.exec_fd = -1;
    probe.n_fds = 0;
    for (;;) {
        struct jail_child child;
        uint32_t gone;
        int status, r;

        probe.layers = plan->layers & ~missing;
        r = jail_spawn(&probe, NULL, NULL, &child, ret_failure);
        if (r == 0) {
            r = jail_entered(&child, ret_failure);
            while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
            }
            close_fd(&child.pidfd);
            if (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
                /* It died without a word: a filter around us killed it. */
                errno = EPERM;
                r = failed(ret_failure, SANDBOX_SECCOMP, "the probe was killed");
            }
        }
        if (r == 0) {
            plan->layers &= ~missing;
            *ret_missing = missing;
            return 0;
        }
        if (probe.uid != geteuid()) {
            plan->uid = probe.uid = geteuid();
            plan->gid = probe.gid = getegid();
            continue;
        }
        gone = sandbox_goes_with(ret_failure->layer) & plan->layers;
        if (config->level == SANDBOX_LEVEL_STRICT || !gone ||
            !(config->allow_missing & ret_failure->layer)) {
            return r;
        }
        missing |= gone;
    }
}
