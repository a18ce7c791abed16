#include "server/render/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ipc/cleanup.h"
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
    s->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (s->null_fd < 0) {
        return failed(failure, -errno, SANDBOX_EXIT_FDS, "open(/dev/null)");
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

int spawner_init(struct spawner *s, const struct sandbox_config *config,
                 const struct driver_choice *driver, const struct limits *limits,
                 const char *worker_path, const char *log_level, bool validate, const char *cgroup,
                 char *const *environment, uint32_t *ret_missing,
                 struct sandbox_failure *ret_failure)
{
    int r;

    *s = (struct spawner){
        .driver = driver,
        .limits = limits,
        .cgroup = { .fd = -1, .base_fd = -1 },
        .worker_fd = -1,
        .null_fd = -1,
    };
    r = open_program(worker_path, s, ret_failure);
    if (r < 0) {
        return r;
    }
    r = jail_plan_init(&s->plan, config, driver->program, ret_failure);
    if (r < 0) {
        return r;
    }
    s->plan.limits = (struct jail_limits){
        .files = limits->files,
        .threads = limits->threads,
        .data = policy_profile.unlimited_data ? RLIM_INFINITY : limits->heap,
        .file_size = limits->blob,
    };
    r = set_up_cgroup(s, limits, cgroup, ret_failure);
    if (r < 0) {
        return r;
    }
    r = probe(s, config, ret_missing, ret_failure);
    if (r < 0) {
        return r;
    }
    jail_environment(&s->plan, environment, s->env);
    tell_worker(s, log_level, limits, validate);
    return 0;
}

void spawner_fini(struct spawner *s)
{
    if (s->cgroup.fd >= 0) {
        cgroup_fini(&s->cgroup);
    }
    close_fd(&s->worker_fd);
    close_fd(&s->null_fd);
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

int spawn_worker(struct spawner *s, struct spawned *ret, struct sandbox_failure *ret_failure)
{
    AUTO_CLOSE int control_ours = -1;
    AUTO_CLOSE int control_theirs = -1;
    AUTO_CLOSE int log_ours = -1;
    AUTO_CLOSE int log_theirs = -1;
    AUTO_CLOSE int record_fd = -1;
    const struct worker_record *record = NULL;
    struct jail_child child;
    char *const argv[] = { (char *)"cordon-worker", NULL };
    int pair[2];
    int r;

    if (s->worker_fd < 0 || s->null_fd < 0) {
        return failed(ret_failure, -ENOENT, SANDBOX_EXIT_EXEC, "the worker's program, see above");
    }
    r = seqpacket_pair(pair);
    if (r < 0) {
        return failed(ret_failure, r, SANDBOX_EXIT_FDS, "socketpair");
    }
    control_ours = pair[0];
    control_theirs = pair[1];
    r = make_log_pipe(&log_ours, &log_theirs);
    if (r < 0) {
        return failed(ret_failure, r, SANDBOX_EXIT_FDS, "pipe2");
    }
    r = make_record(&record_fd, &record);
    if (r < 0) {
        return failed(ret_failure, r, SANDBOX_EXIT_FDS, "memfd_create");
    }
    s->plan.exec_fd = s->worker_fd;
    s->plan.n_fds = WORKER_FD_COUNT;
    s->plan.fds[WORKER_FD_NULL] = s->null_fd;
    s->plan.fds[WORKER_FD_LOG_OUT] = log_theirs;
    s->plan.fds[WORKER_FD_LOG] = log_theirs;
    s->plan.fds[WORKER_FD_CONTROL] = control_theirs;
    s->plan.fds[WORKER_FD_RECORD] = record_fd;
    r = make_cgroup(s, ++s->n_started, ret_failure);
    if (r < 0) {
        spawn_unmap_record(record);
        return r;
    }
    r = jail_spawn(&s->plan, argv, s->env, &child, ret_failure);
    if (r < 0) {
        close_fd(&s->plan.cgroup_fd);
        spawn_remove_cgroup(s, s->n_started);
        spawn_unmap_record(record);
        return r;
    }
    *ret = (struct spawned){
        .child = child,
        .control_fd = take_fd(&control_ours),
        .log_fd = take_fd(&log_ours),
        .record = record,
        .cgroup_fd = take_fd(&s->plan.cgroup_fd),
        .number = s->n_started,
    };
    return 0;
}
