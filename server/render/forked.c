#include "server/render/forked.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ipc/cleanup.h"
#include "ipc/descriptors.h"
#include "ipc/loop.h"
#include "ipc/seqpacket.h"
#include "policy/sandbox.h"
#include "server/render/outer_jail.h"

#define ENTRY "cordon_worker_main"
#define MAX_FDS 8

#define NAMESPACES (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

struct child {
    struct list link;
    pid_t pid;
    int death_fd;
    int report_fd; /* with namespaces: how the worker ended, told by their process 1; else -1 */
};

/* What that tells. */
struct report {
    int code, status; /* siginfo_t */
};

extern char **environ;

/* ---- deaths ------------------------------------------------------------------------------- */

static bool has_ended(pid_t pid)
{
    siginfo_t info = { 0 };

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

static struct child *find(struct forked *f, pid_t pid)
{
    list_for_each (pos, &f->children) {
        struct child *c = list_entry(pos, struct child, link);

        if (c->pid == pid) {
            return c;
        }
    }
    return NULL;
}

/* In that jail we are process 1: what a worker's driver has started and left behind is ours. */
static void reap_orphans(struct forked *f)
{
    siginfo_t info = { 0 };

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
           !find(f, info.si_pid)) {
        (void)waitid(P_PID, (id_t)info.si_pid, &info, WEXITED);
        info.si_pid = 0;
    }
}

static void on_deaths(void *arg, const struct signalfd_siginfo *info)
{
    const uint64_t one = 1;
    struct forked *f = arg;

    (void)info; /* signals merge: it may stand for several */
    list_for_each (pos, &f->children) {
        struct child *c = list_entry(pos, struct child, link);

        if (has_ended(c->pid)) {
            (void)!write(c->death_fd, &one, sizeof(one));
        }
    }
    reap_orphans(f);
}

/* Like fork, but libc does not know of it: the child may do little before it forks once more. */
static pid_t clone_into(uint64_t namespaces)
{
    return (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, 0);
}

static bool has_namespaces(void)
{
    siginfo_t info = { 0 };
    pid_t pid = clone_into(NAMESPACES);

    if (pid == 0) {
        _exit(0);
    }
    return pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED) == 0 && info.si_code == CLD_EXITED &&
           info.si_status == 0;
}

int forked_init(struct forked *f, struct loop *loop, uint32_t *ret_layers)
{
    sigset_t set;

    *f = (struct forked){ .namespaces = has_namespaces() ? NAMESPACES : 0 };
    *ret_layers = SANDBOX_FDS;
    if (f->namespaces) {
        *ret_layers |= SANDBOX_USERNS | SANDBOX_PIDNS | SANDBOX_NETNS;
    }
    list_init(&f->children);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    return loop_add_signals(loop, &set, on_deaths, f, &f->deaths);
}

static void forget(struct child *c)
{
    list_remove(&c->link);
    close_fd(&c->death_fd);
    close_fd(&c->report_fd);
    free(c);
}

void forked_fini(struct forked *f)
{
    list_for_each_safe (pos, &f->children) {
        forget(list_entry(pos, struct child, link));
    }
    f->deaths = loop_source_remove(f->deaths);
}

void forked_reap(struct forked *f, pid_t pid, siginfo_t *ret)
{
    struct child *c = find(f, pid);
    struct report report;

    while (waitid(P_PID, (id_t)pid, ret, WEXITED) < 0 && errno == EINTR) {
    }
    /* Nothing is told by a process 1 that was killed itself. */
    if (c && c->report_fd >= 0 &&
        recv(c->report_fd, &report, sizeof(report), MSG_DONTWAIT) == sizeof(report)) {
        ret->si_code = report.code;
        ret->si_status = report.status;
    }
    if (c) {
        forget(c);
    }
    reap_orphans(f);
}

/* ---- the child ---------------------------------------------------------------------------- */

/* Pages that we share with other workers: their records and rings. Not the one that we share with
 * all of them, which says what the log has named already (its file is /dev/zero). */
static void unmap_shared(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];

    /* "7f00-7f20 rw-s ..." */
    while (maps && fgets(line, sizeof(line), maps)) {
        char *at = line;
        unsigned long from = strtoul(at, &at, 16), to = strtoul(at + 1, &at, 16);

        if (to > from && strncmp(at, " ", 1) == 0 && at[4] == 's' && !strstr(at, "/dev/zero")) {
            (void)munmap((void *)from, to - from);
        }
    }
    if (maps) {
        (void)fclose(maps);
    }
}

/* As for a worker that is exec'd, but for SIGSYS: the jail is still there. */
static void reset_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < _NSIG; sig++) {
        if (sig != SIGSYS) {
            (void)signal(sig, SIG_DFL); /* fails for the few that cannot be set */
        }
    }
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The new environment is made of copies, and the old one wiped: it is not this process's business,
 * and stays in its memory. False: no memory. */
static bool replace_environment(const char *const *env)
{
    size_t n = 0;
    char **fresh;

    while (env[n]) {
        n++;
    }
    fresh = calloc(n + 1, sizeof(*fresh));
    for (size_t i = 0; fresh && i < n; i++) {
        fresh[i] = strdup(env[i]);
        if (!fresh[i]) {
            return false;
        }
    }
    for (char **old = environ; fresh && *old; old++) {
        explicit_bzero(*old, strlen(*old));
    }
    environ = fresh;
    return fresh != NULL;
}

static void fail(int status_fd, int error, int exit_code, const char *what)
    __attribute__((noreturn));

static void fail(int status_fd, int error, int exit_code, const char *what)
{
    struct sandbox_failure failure = { .error = error, .exit_code = exit_code };

    (void)snprintf(failure.what, sizeof(failure.what), "%s", what);
    (void)send(status_fd, &failure, sizeof(failure), MSG_NOSIGNAL);
    _exit(exit_code);
}

/* Process 1 of a worker's namespaces: when it ends, all in them do. */
static void watch_over(pid_t worker, int report_fd) __attribute__((noreturn));

static void watch_over(pid_t worker, int report_fd)
{
    siginfo_t info = { 0 };
    struct report report;

    descriptors_close(0, (unsigned)report_fd - 1);
    do {
        info.si_pid = 0;
    } while ((waitid(P_ALL, 0, &info, WEXITED) == 0 || errno == EINTR) && info.si_pid != worker);
    report = (struct report){ .code = info.si_code, .status = info.si_status };
    (void)send(report_fd, &report, sizeof(report), MSG_NOSIGNAL);
    _exit(0);
}

static void run_worker(const struct forked_start *start, int status_fd) __attribute__((noreturn));

static void run_worker(const struct forked_start *start, int status_fd)
{
    int (*entry)(int argc, char **argv);
    void *worker, *symbol;

    worker = dlopen(start->library, RTLD_NOW | RTLD_LOCAL);
    symbol = worker ? dlsym(worker, ENTRY) : NULL;
    if (!symbol) {
        fail(status_fd, ENOEXEC, SANDBOX_EXIT_EXEC, dlerror());
    }
    close(status_fd);
    memcpy(&entry, &symbol, sizeof(entry));
    _exit(entry(1, (char **)start->argv));
}

static void child_main(const struct forked_start *start, int status_fd, int report_fd)
    __attribute__((noreturn));

static void child_main(const struct forked_start *start, int status_fd, int report_fd)
{
    unsigned n = start->n_fds, n_all = report_fd >= 0 ? n + 2 : n + 1;
    int fds[MAX_FDS], r;
    pid_t pid = 0;

    /* Should the jail forbid it: we are process 1 in it, and the end of us is the end of all. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    unmap_shared();
    reset_signals();
    memcpy(fds, start->fds, n * sizeof(*fds));
    fds[n] = status_fd;
    fds[n + 1] = report_fd;
    r = descriptors_arrange(fds, n_all, n_all);
    if (r < 0) {
        fail(fds[n], -r, SANDBOX_EXIT_FDS, "fcntl");
    }
    outer_jail_relayed();
    if (!replace_environment(start->env)) {
        fail((int)n, ENOMEM, SANDBOX_EXIT_EXEC, "setenv");
    }
    if (report_fd >= 0) {
        pid = fork();
        if (pid < 0) {
            fail((int)n, errno, SANDBOX_EXIT_EXEC, "fork");
        }
        if (pid > 0) {
            watch_over(pid, (int)n + 1);
        }
        close((int)n + 1);
    }
    run_worker(start, (int)n);
}

int forked_start(struct forked *f, const struct forked_start *start, pid_t *ret_pid,
                 int *ret_death_fd, int *ret_status_fd)
{
    AUTO_CLOSE int ours = -1;
    AUTO_CLOSE int theirs = -1;
    AUTO_CLOSE int report_ours = -1;
    AUTO_CLOSE int report_theirs = -1;
    AUTO_CLOSE int death = -1;
    AUTO_CLOSE int death_dup = -1;
    AUTO_FREE struct child *c = calloc(1, sizeof(*c));
    int pair[2], r;

    if (!c || start->n_fds + 2 > MAX_FDS) {
        return -ENOMEM;
    }
    r = seqpacket_pair(pair);
    if (r < 0) {
        return r;
    }
    ours = pair[0];
    theirs = pair[1];
    if (f->namespaces) {
        r = seqpacket_pair(pair);
        if (r < 0) {
            return r;
        }
        report_ours = pair[0];
        report_theirs = pair[1];
    }
    death = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    death_dup = death < 0 ? -1 : fcntl(death, F_DUPFD_CLOEXEC, 0);
    if (death_dup < 0) {
        return -errno;
    }
    c->pid = f->namespaces ? clone_into(f->namespaces) : fork();
    if (c->pid < 0) {
        return -errno;
    }
    if (c->pid == 0) {
        child_main(start, theirs, report_theirs);
    }
    *ret_pid = c->pid;
    c->report_fd = take_fd(&report_ours);
    c->death_fd = take_fd(&death);
    list_append(&f->children, &c->link);
    take_ptr(c);
    *ret_death_fd = take_fd(&death_dup);
    *ret_status_fd = take_fd(&ours);
    return 0;
}
