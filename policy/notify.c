#include "policy/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/cleanup.h"
#include "policy/filter.h"
#include "policy/jail.h"
#include "policy/learn.h"

#define PATH_LIMIT 256
/* An honest driver asks a few times per instance, and is rarely refused... */
#define RATE_PER_SECOND 1000.0
#define RATE_BURST 4096.0
/* ...but NVIDIA's opens its nodes for each mapping, which an application may make by the thousand.
 * How many it may have open is the limit of its descriptors. */
#define GRANT_COST 0.05

int notify_open_memory(pid_t pid)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Does a path match a broker rule, in which "[0-9]+" stands for a number? */
static bool rule_matches(const char *rule, const char *path)
{
    while (*rule) {
        if (strncmp(rule, "[0-9]+", 6) == 0) {
            size_t digits = strspn(path, "0123456789");

            if (digits == 0) {
                return false;
            }
            path += digits;
            rule += 6;
        } else if (*rule++ != *path++) {
            return false;
        }
    }
    return *path == '\0';
}

static bool brokered(const struct policy_program *program, const char *path)
{
    for (const char *const *rule = program->broker; *rule; rule++) {
        if (rule_matches(*rule, path)) {
            return true;
        }
    }
    return false;
}

int notify_init(struct notify *n, int own_listener, int own_mem, pid_t pid,
                const struct policy_program *program, const char *const *devices,
                uint64_t max_threads)
{
    struct notify fresh = {
        .listener = own_listener,
        .mem = own_mem,
        .pid = pid,
        .program = program,
        .max_threads = max_threads,
        .tokens = RATE_BURST,
    };

    for (; devices && *devices; devices++) {
        struct notify_device *d = &fresh.devices[fresh.n_devices];
        struct stat st;

        if (!brokered(program, *devices)) {
            continue;
        }
        if (fresh.n_devices == NOTIFY_MAX_DEVICES || strlen(*devices) >= sizeof(d->path)) {
            return -E2BIG;
        }
        if (stat(*devices, &st) < 0 || !S_ISCHR(st.st_mode)) {
            return -ENODEV;
        }
        (void)snprintf(d->path, sizeof(d->path), "%s", *devices);
        d->rdev = st.st_rdev;
        fresh.n_devices++;
    }
    *n = fresh;
    return 0;
}

void notify_fini(struct notify *n)
{
    close_fd(&n->listener);
    close_fd(&n->mem);
}

/* What a question costs that is granted; a refusal costs the rest of a token. */
static bool take_token(struct notify *n)
{
    struct timespec now;
    int64_t ns;

    clock_gettime(CLOCK_MONOTONIC, &now);
    ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    if (n->last_ns) {
        n->tokens += (double)(ns - n->last_ns) * (RATE_PER_SECOND / 1e9);
        n->tokens = MIN(n->tokens, RATE_BURST);
    }
    n->last_ns = ns;
    if (n->tokens < GRANT_COST) {
        return false;
    }
    n->tokens -= GRANT_COST;
    return true;
}

/* Through the descriptor if it could be opened in time; otherwise the kernel lets us read the
 * worker if its user namespace is one that we made. */
static ssize_t read_memory(const struct notify *n, uint64_t address, char *to, size_t size)
{
    struct iovec local = { to, size };
    struct iovec remote = { (void *)(uintptr_t)address, size };

    if (n->mem >= 0) {
        return pread(n->mem, to, size, (off_t)address);
    }
    return process_vm_readv(n->pid, &local, 1, &remote, 1, 0);
}

/* The caller's path, once, into our memory. -EPERM if we may not look at all, another errno if it
 * has no end or is not there. Page by page: a path may end just before an unmapped one. */
static int read_path(const struct notify *n, uint64_t address, char path[PATH_LIMIT])
{
    size_t used = 0;

    while (used < PATH_LIMIT) {
        size_t to_page_end = 4096 - ((address + used) & 4095);
        ssize_t got =
            read_memory(n, address + used, path + used, MIN(to_page_end, PATH_LIMIT - used));

        if (got <= 0) {
            return got < 0 ? -errno : -EFAULT;
        }
        if (memchr(path + used, '\0', (size_t)got)) {
            return 0;
        }
        used += (size_t)got;
    }
    return -ENAMETOOLONG;
}

/* The node, opened by the server's own name for it and compared with what it was at the start. */
static int open_device(const struct notify_device *device, uint64_t flags)
{
    struct open_how how = {
        .flags = O_RDWR | O_CLOEXEC | O_NOCTTY | (flags & O_NONBLOCK),
        .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    AUTO_CLOSE int fd = (int)syscall(SYS_openat2, AT_FDCWD, device->path, &how, sizeof(how));
    struct stat st;

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != device->rdev) {
        return -ENODEV;
    }
    return take_fd(&fd);
}

static int answer_error(struct notify *n, uint64_t id, int error)
{
    struct seccomp_notif_resp resp = { .id = id, .error = -error };

    return ioctl(n->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) < 0 ? -errno : 0;
}

static int answer_fd(struct notify *n, uint64_t id, int fd)
{
    struct seccomp_notif_addfd add = {
        .id = id,
        .flags = SECCOMP_ADDFD_FLAG_SEND,
        .srcfd = (uint32_t)fd,
        .newfd_flags = O_CLOEXEC,
    };

    return ioctl(n->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 ? -errno : 0;
}

/* Printable; "?" if the thread is gone. */
static void thread_name(const struct notify *n, pid_t tid, char name[32])
{
    AUTO_CLOSE int fd = -1;
    char path[64];
    ssize_t got;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", n->pid, tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    got = fd < 0 ? -1 : read(fd, name, 31);
    (void)snprintf(name + MAX(got, 0), 2, "%s", got > 0 ? "" : "?");
    name[strcspn(name, "\n")] = '\0';
    for (char *c = name; *c; c++) {
        *c = *c < ' ' || *c > '~' ? '?' : *c;
    }
}

/* "thread=NAME: call(args) [nr]"; the worker's strings are shown in printable ASCII. */
static void describe(const struct notify *n, const struct seccomp_notif *req, const char *path,
                     char *line, size_t size)
{
    AUTO_FREE char *name = seccomp_syscall_resolve_num_arch(seccomp_arch_native(), req->data.nr);
    char comm[32], quoted[PATH_LIMIT] = "";

    thread_name(n, (pid_t)req->pid, comm);
    for (size_t i = 0; path && path[i] && i < sizeof(quoted) - 1; i++) {
        quoted[i] = path[i] < ' ' || path[i] > '~' || path[i] == '"' ? '?' : path[i];
    }
    (void)snprintf(line, size, "thread=%s: %s(%#llx, %#llx, %#llx%s%s%s%s, ...) [%d] not in %s",
                   comm, name ? name : "?", (unsigned long long)req->data.args[0],
                   (unsigned long long)req->data.args[1], (unsigned long long)req->data.args[2],
                   path ? ", path=" : "", path ? "\"" : "", path ? quoted : "", path ? "\"" : "",
                   req->data.nr, n->program->name);
}

/* Lets the call happen, whatever it is. Its arguments may change before the kernel reads them again,
 * so this is no way to decide anything. */
static enum notify_verdict let_pass(struct notify *n, const struct seccomp_notif *req,
                                    const char *path)
{
    struct seccomp_notif_resp resp = { .id = req->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
    char comm[32];

    thread_name(n, (pid_t)req->pid, comm);
    learn_note(n->learn, req->data.nr, (const uint64_t *)req->data.args, path, comm);
    (void)ioctl(n->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
    return NOTIFY_ANSWERED;
}

/* Where glibc's pthread_setname_np writes, for another thread than its caller's. */
#define THREAD_NAME "/proc/self/task/[0-9]+/comm"

/* What every worker of a driver asks for: the name of a thread, or a node that the policy names and
 * this host lacks. */
static bool is_habit(const struct notify *n, const char *path)
{
    bool named = false;

    if (rule_matches(THREAD_NAME, path)) {
        return true;
    }
    for (const char *const *rule = n->program->broker; *rule; rule++) {
        named |= strcmp(*rule, path) == 0;
    }
    for (unsigned i = 0; i < n->n_devices; i++) {
        named &= strcmp(n->devices[i].path, path) != 0;
    }
    return named;
}

/* Not seen yet of this worker, and room to say so. */
static bool is_news(struct notify *n, int nr, int error, const char *path)
{
    uint32_t hash = 2166136261u ^ (uint32_t)nr ^ (uint32_t)error << 16;

    for (; path && *path; path++) {
        hash = (hash ^ (unsigned char)*path) * 16777619u;
    }
    for (unsigned i = 0; i < n->n_seen; i++) {
        if (n->seen[i] == hash) {
            return false;
        }
    }
    if (n->n_seen == NOTIFY_MAX_SEEN) {
        return false;
    }
    n->seen[n->n_seen++] = hash;
    return true;
}

static enum notify_verdict refuse(struct notify *n, const struct seccomp_notif *req, int error,
                                  const char *path, char *line, size_t size)
{
    bool news = !(path && is_habit(n, path)) && is_news(n, req->data.nr, error, path);

    /* Before the answer: then the thread goes on, and may end. */
    if (news) {
        describe(n, req, path, line, size);
        (void)snprintf(line + strlen(line), size - strlen(line), ": refused with %s",
                       strerrorname_np(error));
    }
    n->denied++;
    n->tokens -= 1 - GRANT_COST;
    (void)answer_error(n, req->id, error);
    return news ? NOTIFY_DENIED : NOTIFY_ANSWERED;
}

static int told_error(const struct policy_program *program, int nr)
{
    for (const struct policy_answer *a = program->answers; a->nr >= 0; a++) {
        if (a->nr == nr) {
            return a->error;
        }
    }
    return 0;
}

/* Answers an open, or says why not. */
static enum notify_verdict handle_open(struct notify *n, const struct seccomp_notif *req,
                                       uint64_t address, uint64_t flags, char *line, size_t size)
{
    AUTO_CLOSE int fd = -1;
    char path[PATH_LIMIT];
    int r = read_path(n, address, path);

    /* The thread may be gone and its number reused: then what was read is somebody else's. */
    if (ioctl(n->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &req->id) < 0) {
        return NOTIFY_ANSWERED;
    }
    if (r < 0 && r != -EPERM && !n->learn) {
        describe(n, req, NULL, line, size);
        return NOTIFY_VIOLATION;
    }
    if (r == 0 && !(flags & ~(uint64_t)(O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY))) {
        for (unsigned i = 0; i < n->n_devices && fd < 0; i++) {
            if (strcmp(n->devices[i].path, path) == 0) {
                fd = open_device(&n->devices[i], flags);
            }
        }
    }
    if (fd >= 0) {
        r = answer_fd(n, req->id, fd);
        if (r == 0 || r == -ENOENT) { /* or the caller was killed while it waited */
            n->opened += r == 0;
            return NOTIFY_ANSWERED;
        }
        return refuse(n, req, -r, path, line, size); /* EMFILE: it has as many as it may have */
    }
    if (n->learn) {
        return let_pass(n, req, r == 0 ? path : NULL);
    }
    return refuse(n, req, ENOENT, r == 0 ? path : NULL, line, size);
}

/* Its flags are in a register: what was asked about is what the kernel will do. */
static enum notify_verdict handle_thread(struct notify *n, const struct seccomp_notif *req)
{
    struct seccomp_notif_resp resp = { .id = req->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
    long count = jail_count_threads(n->pid);
    bool first = !n->threads_met;

    if (count >= 0 && (uint64_t)count < n->max_threads) {
        (void)ioctl(n->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
        return NOTIFY_ANSWERED;
    }
    n->threads_met = true;
    n->tokens -= 1 - GRANT_COST;
    (void)answer_error(n, req->id, EAGAIN);
    return first ? NOTIFY_NO_THREAD : NOTIFY_ANSWERED;
}

enum notify_verdict notify_handle(struct notify *n, char *line, size_t size)
{
    struct seccomp_notif req = { 0 };
    int error;

    line[0] = '\0';
    if (ioctl(n->listener, SECCOMP_IOCTL_NOTIF_RECV, &req) < 0) {
        /* ENOENT: the caller was killed while it waited. */
        return errno == EINTR || errno == ENOENT ? NOTIFY_ANSWERED : NOTIFY_GONE;
    }
    if (!n->learn && !take_token(n)) {
        describe(n, &req, NULL, line, size);
        (void)snprintf(line + strlen(line), size - strlen(line), ", and too often (flood)");
        return NOTIFY_VIOLATION;
    }
    if (req.data.nr == SYS_clone && req.data.args[0] == FILTER_THREAD_FLAGS) {
        return handle_thread(n, &req);
    }
    switch (req.data.nr) {
    case SYS_openat:
        return handle_open(n, &req, req.data.args[1], req.data.args[2], line, size);
#ifdef SYS_open
    case SYS_open:
        return handle_open(n, &req, req.data.args[0], req.data.args[1], line, size);
#endif
    default:
        error = told_error(n->program, req.data.nr);
        if (error) {
            return refuse(n, &req, error, NULL, line, size);
        }
        if (n->learn) {
            return let_pass(n, &req, NULL);
        }
        describe(n, &req, NULL, line, size);
        return NOTIFY_VIOLATION;
    }
}
