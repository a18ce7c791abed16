#include "server/render/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/descriptors.h"
#include "ipc/log.h"
#include "ipc/map.h"
#include "ipc/seqpacket.h"
#include "ipc/worker_wire.h"
#include "policy/profile.h"
#include "server/render/driver.h"
#include "server/render/quota.h"

static int failed(struct sandbox_failure *failure, int error, int exit_code, const char *what)
{
    *failure = (struct sandbox_failure){ .error = -error, .exit_code = exit_code };
    (void)snprintf(failure->what, sizeof(failure->what), "%s", what);
    return error;
}

static int open_program(const char *path, struct spawner *s, struct sandbox_failure *failure)
{
    char what[sizeof(failure->what)];

    /* Readable, not O_PATH: a sealed jail lets Landlock name it by this descriptor. */
    s->worker_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->worker_fd < 0) {
        (void)snprintf(what, sizeof(what), "open(%.100s)", path);
        return failed(failure, -errno, SANDBOX_EXIT_EXEC, what);
    }
    return 0;
}

/* Those that a worker keeps itself; it has its own for what is 0 here. */
static void limits_text(const struct limits *l, char *text, size_t size)
{
    const struct {
        const char *name;
        uint64_t value;
    } list[] = {
        { "shm", l->shm },     { "objects", l->objects }, { "blobs", l->blobs },
        { "rings", l->rings }, { "lost", l->lost },
    };
    int n = snprintf(text, size, "CORDON_LIMITS=memory=%" PRIu64, l->memory);

    for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
        if (list[i].value) {
            n += snprintf(text + n, size - (size_t)n, ",%s=%" PRIu64, list[i].name, list[i].value);
        }
    }
}

/* What a worker cannot know by itself: see its --help. */
static void tell_worker(struct spawner *s, const char *log_level, const struct limits *limits,
                        bool validate)
{
    const char *seal = !(s->plan.layers & SANDBOX_SECCOMP) ? "none"
                       : s->plan.layers & SANDBOX_MDWE     ? "all"
                                                           : "seccomp";
    size_t n = 0;

    while (s->env[n]) {
        n++;
    }
    (void)snprintf(s->env_log, sizeof(s->env_log), "CORDON_WORKER_LOG=%s", log_level);
    (void)snprintf(s->env_seal, sizeof(s->env_seal), "CORDON_SEAL=%s", seal);
    (void)snprintf(s->env_policy, sizeof(s->env_policy), "CORDON_POLICY=%s", s->driver->name);
    s->env[n++] = s->env_log;
    s->env[n++] = s->env_seal;
    s->env[n++] = s->env_policy;
    limits_text(limits, s->env_limits, sizeof(s->env_limits));
    s->env[n++] = s->env_limits;
    /* Without a user namespace of its own the kernel counts all that a user runs, or nothing. */
    if (!(s->plan.layers & SANDBOX_USERNS)) {
        s->env[n++] = "CORDON_ASK_THREADS=1";
    }
    if (s->policy_fd >= 0) {
        s->env[n++] = "CORDON_POLICY_OWN=1";
    }
    if (validate) {
        s->env[n++] = "CORDON_VALIDATE=1";
    }
    s->env[n] = NULL;
}

/* Control groups are used where there are some. What only they can give and the operator has asked
 * for must be there; the rest has its rlimits and the workers' own accounts. */
static int set_up_cgroup(struct spawner *s, const struct limits *limits, const char *wanted,
                         struct sandbox_failure *failure)
{
    struct cgroup_limits l = {
        .memory = limits->ram,
        .vm_memory = limits->vm_ram,
        .tasks = limits->threads,
        .cpu = limits->cpu,
        .weight = limits->cpu_weight ? limits->cpu_weight : 50,
    };
    bool named = wanted[0] == '/';
    const char *limit;
    char why[sizeof(failure->what) - 32], what[sizeof(failure->what)];
    int r = -ENOENT;

    if (!l.vm_memory) {
        l.vm_memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 8 * 7;
    }
    (void)snprintf(why, sizeof(why), "--cgroup=off");
    if (strcmp(wanted, "off") != 0) {
        r = cgroup_init(&s->cgroup, named ? wanted : NULL, &l, why, sizeof(why));
        if (r < 0 && named) {
            return failed(failure, r, SANDBOX_EXIT_CGROUP, why);
        }
    }
    limit = limits_need_cgroup(limits, r < 0 ? 0 : s->cgroup.controllers);
    if (limit) {
        (void)snprintf(what, sizeof(what), "--limit %s: %s", limit,
                       r < 0 ? why : "no such controller in this cgroup");
        return failed(failure, r < 0 ? r : -ENOTSUP, SANDBOX_EXIT_CGROUP, what);
    }
    if (r < 0) {
        log_info("no cgroup for workers, rlimits and their own accounts bound them: %s", why);
    } else {
        log_info("workers are bounded by cgroups below %s (%s%s%s)", why,
                 s->cgroup.controllers & CGROUP_MEMORY ? "memory " : "",
                 s->cgroup.controllers & CGROUP_PIDS ? "pids " : "",
                 s->cgroup.controllers & CGROUP_CPU ? "cpu" : "");
    }
    return 0;
}

static int make_cgroup(struct spawner *s, uint32_t number, struct sandbox_failure *failure)
{
    int r;

    s->plan.cgroup_fd = -1;
    if (s->cgroup.fd < 0) {
        return 0;
    }
    r = cgroup_make(&s->cgroup, number, &s->plan.cgroup_fd);
    return r < 0 ? failed(failure, r, SANDBOX_EXIT_CGROUP, "a new cgroup for the worker") : 0;
}

void spawn_remove_cgroup(struct spawner *s, uint32_t number)
{
    if (s->cgroup.fd >= 0) {
        cgroup_remove(&s->cgroup, number);
    }
}

/* In a group like a worker's, which is number 0. */
static int probe(struct spawner *s, const struct sandbox_config *config, uint32_t *ret_missing,
                 struct sandbox_failure *failure)
{
    int r = make_cgroup(s, 0, failure);

    if (r == 0) {
        r = jail_probe(&s->plan, config, ret_missing, failure);
        close_fd(&s->plan.cgroup_fd);
        spawn_remove_cgroup(s, 0);
    }
    return r;
}

/* Confined by us. */
static int prepare_exec(struct spawner *s, const struct spawner_config *config,
                        uint32_t *ret_missing, struct sandbox_failure *ret_failure)
{
    const struct limits *limits = config->limits;
    int r;

    r = open_program(config->worker_path, s, ret_failure);
    if (r < 0) {
        return r;
    }
    r = jail_plan_init(&s->plan, &config->sandbox, config->driver->program, ret_failure);
    if (r < 0) {
        return r;
    }
    s->plan.limits = (struct jail_limits){
        .files = limits->files,
        .threads = limits->threads,
        .data = policy_profile.unlimited_data ? RLIM_INFINITY : limits->heap,
        .file_size = limits->blob,
    };
    r = set_up_cgroup(s, limits, config->cgroup, ret_failure);
    if (s->cgroup.controllers & CGROUP_PIDS) {
        /* The group's limit is to be met first: it keeps count, which the log then tells. */
        s->plan.limits.threads++;
    }
    return r < 0 ? r : probe(s, &config->sandbox, ret_missing, ret_failure);
}

/* Of our layers only those that take nobody's leave. */
static int prepare_fork(struct spawner *s, const struct spawner_config *config,
                        struct sandbox_failure *ret_failure)
{
    const char *limit = limits_need_cgroup(config->limits, 0);
    char what[sizeof(ret_failure->what)];
    uint32_t layers;
    int r;

    if (limit || config->cgroup[0] == '/') {
        (void)snprintf(what, sizeof(what), "%s%s: no cgroup can be made inside this jail",
                       limit ? "--limit " : "--cgroup", limit ? limit : "");
        return failed(ret_failure, -ENOTSUP, SANDBOX_EXIT_CGROUP, what);
    }
    r = forked_init(&s->forked, config->loop, &layers);
    if (r < 0) {
        return failed(ret_failure, r, SANDBOX_EXIT_EXEC, "signalfd(SIGCHLD)");
    }
    s->forks = true;
    s->library = config->library;
    s->plan = (struct jail_plan){ .layers = layers, .uid = geteuid(), .gid = getegid() };
    return 0;
}

int spawner_init(struct spawner *s, const struct spawner_config *config, uint32_t *ret_missing,
                 struct sandbox_failure *ret_failure)
{
    int r;

    *s = (struct spawner)SPAWNER_NONE;
    s->policy_fd = config->policy_fd;
    s->driver = config->driver;
    s->limits = config->limits;
    r = config->worker_path ? prepare_exec(s, config, ret_missing, ret_failure)
                            : prepare_fork(s, config, ret_failure);
    if (r < 0) {
        return r;
    }
    s->null_fd = descriptors_open_null();
    if (s->null_fd < 0) {
        return failed(ret_failure, s->null_fd, SANDBOX_EXIT_FDS, "open(/dev/null)");
    }
    jail_environment(&s->plan, config->environment, s->env);
    tell_worker(s, config->log_level, config->limits, config->validate);
    return 0;
}

void spawner_fini(struct spawner *s)
{
    if (s->forks) {
        forked_fini(&s->forked);
    }
    if (s->cgroup.fd >= 0) {
        cgroup_fini(&s->cgroup);
    }
    close_fd(&s->worker_fd);
    close_fd(&s->null_fd);
    close_fd(&s->policy_fd);
    close_fd(&s->cache_fd);
}

/* A page that the worker writes and we read, also when it is dead: of fixed size, so that no
 * shrinking raises SIGBUS here. */
static int make_record(int *ret_fd, const struct worker_record **ret_record)
{
    AUTO_CLOSE int fd = -1;
    void *map;
    int r;

    r = memfd_create_sized("cordon-record", sizeof(struct worker_record), &fd);
    if (r < 0) {
        return r;
    }
    r = fd_seal(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    if (r < 0) {
        return r;
    }
    map = mmap(NULL, sizeof(struct worker_record), PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        return -errno;
    }
    *ret_record = map;
    *ret_fd = take_fd(&fd);
    return 0;
}

void spawn_unmap_record(const struct worker_record *record)
{
    if (record) {
        (void)munmap((void *)record, sizeof(*record));
    }
}

/* For a worker to be the first to fill; what it writes beyond the limit is not kept. -1: not wanted,
 * or not to be had, and then each worker compiles for itself. */
static int make_cache(const struct spawner *s)
{
    const bool wanted = s->plan.cache && (s->plan.layers & SANDBOX_MOUNTS);

    return wanted && s->cache_fd < 0 ? memfd_create("cordon-cache", MFD_CLOEXEC | MFD_ALLOW_SEALING)
                                     : -1;
}

void spawn_keep_cache(struct spawner *s, int own_fd)
{
    AUTO_CLOSE int fd = own_fd;
    struct stat st;

    if (s->cache_fd < 0 && fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 &&
        st.st_size <= WORKER_CACHE_SIZE &&
        fd_seal(fd, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        s->cache_fd = take_fd(&fd);
    }
}

/* Only our end is non-blocking: it is a file of its own. */
static int make_log_pipe(int *ret_read, int *ret_write)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return -errno;
    }
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
        int r = -errno;

        close(fds[0]);
        close(fds[1]);
        return r;
    }
    *ret_read = fds[0];
    *ret_write = fds[1];
    return 0;
}

static int start_exec(struct spawner *s, const int *fds, char *const *argv, struct spawned *ret,
                      struct sandbox_failure *ret_failure)
{
    struct jail_child child;
    int r;

    s->plan.exec_fd = s->worker_fd;
    s->plan.n_fds = WORKER_FD_COUNT;
    memcpy(s->plan.fds, fds, WORKER_FD_COUNT * sizeof(*fds));
    if (s->policy_fd >= 0) {
        s->plan.fds[WORKER_FD_POLICY] = s->policy_fd;
        s->plan.n_fds = WORKER_FD_POLICY + 1;
    }
    r = make_cgroup(s, ++s->n_started, ret_failure);
    if (r < 0) {
        return r;
    }
    r = jail_spawn(&s->plan, argv, s->env, &child, ret_failure);
    if (r < 0) {
        close_fd(&s->plan.cgroup_fd);
        spawn_remove_cgroup(s, s->n_started);
        return r;
    }
    ret->cgroup_fd = take_fd(&s->plan.cgroup_fd);
    ret->number = s->n_started;
    ret->pid = child.pid;
    ret->death_fd = child.pidfd;
    ret->status_fd = child.status_fd;
    return 0;
}

static int start_fork(struct spawner *s, const int *fds, char *const *argv, struct spawned *ret,
                      struct sandbox_failure *ret_failure)
{
    const struct forked_start start = {
        .library = s->library,
        .fds = fds,
        .n_fds = WORKER_FD_COUNT,
        .argv = argv,
        .env = s->env,
    };
    int r;

    ret->cgroup_fd = -1;
    r = forked_start(&s->forked, &start, &ret->pid, &ret->death_fd, &ret->status_fd);

    return r < 0 ? failed(ret_failure, r, SANDBOX_EXIT_EXEC, "fork") : 0;
}

int spawn_worker(struct spawner *s, struct spawned *ret, struct sandbox_failure *ret_failure)
{
    AUTO_CLOSE int control_ours = -1;
    AUTO_CLOSE int control_theirs = -1;
    AUTO_CLOSE int log_ours = -1;
    AUTO_CLOSE int log_theirs = -1;
    AUTO_CLOSE int record_fd = -1;
    AUTO_CLOSE int cache_fd = -1;
    const struct worker_record *record = NULL;
    char *const argv[] = { (char *)"cordon-worker", NULL };
    int fds[WORKER_FD_COUNT], pair[2];
    int r;

    if (s->null_fd < 0) {
        return failed(ret_failure, -ENOENT, SANDBOX_EXIT_EXEC, "the worker's program, see above");
    }
    r = seqpacket_pair(pair);
    if (r < 0) {
        return failed(ret_failure, r, SANDBOX_EXIT_FDS, "socketpair");
    }
    control_ours = pair[0];
    control_theirs = pair[1];
    (void)seqpacket_lower_max(control_theirs); /* see contexts_create */
    r = make_log_pipe(&log_ours, &log_theirs);
    if (r < 0) {
        return failed(ret_failure, r, SANDBOX_EXIT_FDS, "pipe2");
    }
    r = make_record(&record_fd, &record);
    if (r < 0) {
        return failed(ret_failure, r, SANDBOX_EXIT_FDS, "memfd_create");
    }
    fds[WORKER_FD_NULL] = s->null_fd;
    fds[WORKER_FD_LOG_OUT] = log_theirs;
    fds[WORKER_FD_LOG] = log_theirs;
    fds[WORKER_FD_CONTROL] = control_theirs;
    fds[WORKER_FD_RECORD] = record_fd;
    cache_fd = make_cache(s);
    fds[WORKER_FD_CACHE] = cache_fd >= 0 ? cache_fd : s->cache_fd >= 0 ? s->cache_fd : s->null_fd;
    r = s->forks ? start_fork(s, fds, argv, ret, ret_failure)
                 : start_exec(s, fds, argv, ret, ret_failure);
    if (r < 0) {
        spawn_unmap_record(record);
        return r;
    }
    ret->control_fd = take_fd(&control_ours);
    ret->log_fd = take_fd(&log_ours);
    ret->record = record;
    ret->cache_fd = take_fd(&cache_fd);
    return 0;
}

void spawn_kill(const struct spawner *s, pid_t pid, int death_fd)
{
    if (s->forks ||
        (syscall(SYS_pidfd_send_signal, death_fd, SIGKILL, NULL, 0) < 0 && errno == ENOSYS)) {
        (void)kill(pid, SIGKILL);
    }
}

void spawn_reap(struct spawner *s, pid_t pid, int death_fd, siginfo_t *ret)
{
    if (s->forks) {
        forked_reap(&s->forked, pid, ret);
    } else {
        (void)waitid(P_PIDFD, (id_t)death_fd, ret, WEXITED);
    }
}
