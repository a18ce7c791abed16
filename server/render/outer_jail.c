#include "server/render/outer_jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "ipc/base.h"
#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "policy/sandbox.h"

#define MAX_CALLS 512

/* Shared with forked workers, so that each call is named once and not once per worker. */
struct told {
    _Atomic bool call[MAX_CALLS];
};

static struct told *told;           /* NULL: no filter, or nothing to be said now */
static char (*names)[24];           /* a handler cannot ask libseccomp, which allocates */
static volatile sig_atomic_t quiet; /* we are asking, and expect to be refused */

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    unsigned nr = (unsigned)info->si_syscall;
    int saved = errno;

    (void)sig;
    uc->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
    if (!quiet && told && nr < MAX_CALLS && !atomic_exchange(&told->call[nr], true)) {
        log_info(
            "the filter that was in force at our start refuses %s(%lld, ...), call %u: answered "
            "ENOSYS",
            names[nr], (long long)uc->uc_mcontext.gregs[REG_RDI], nr);
    }
    errno = saved;
}

static void prepare_to_tell(void)
{
    void *page =
        mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    names = calloc(MAX_CALLS, sizeof(*names));
    if (page == MAP_FAILED || !names) {
        return;
    }
    for (int nr = 0; nr < MAX_CALLS; nr++) {
        AUTO_FREE char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);

        (void)snprintf(names[nr], sizeof(*names), "%s", name ? name : "an unknown call");
    }
    told = page;
}

/* ---- what is refused ---------------------------------------------------------------------- */

static bool is_refusal(long r)
{
    return r < 0 && (errno == ENOSYS || errno == EPERM || errno == EACCES);
}

/* With arguments that start nothing. */
static bool exec_refused(void)
{
    return is_refusal(syscall(SYS_execveat, -1, "", NULL, NULL, 0));
}

static bool seccomp_refused(void)
{
    uint32_t action = SECCOMP_RET_TRAP;

    return is_refusal(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
}

/* What a compiler at run time does with its memory. */
static bool jit_refused(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) < 0;
}

static bool refuses(bool (*question)(void))
{
    siginfo_t info = { 0 };
    pid_t pid = fork();

    if (pid == 0) {
        quiet = 1;
        _exit(question() ? 1 : 0);
    }
    if (pid < 0 || waitid(P_PID, (id_t)pid, &info, WEXITED) < 0) {
        return true;
    }
    return info.si_code != CLD_EXITED || info.si_status != 0;
}

void outer_jail_expect(struct outer_jail *ret)
{
    struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER };

    *ret = (struct outer_jail){ .filtered = sandbox_seccomp_mode() == 2 };
    if (!ret->filtered) {
        return;
    }
    (void)sigaction(SIGSYS, &action, NULL);
    prepare_to_tell();
    ret->no_exec = refuses(exec_refused);
    ret->no_seccomp = refuses(seccomp_refused);
    ret->no_jit = refuses(jit_refused);
}

void outer_jail_relayed(void)
{
    log_set_style(LOG_STYLE_RELAYED);
}

/* ---- what stands around us ---------------------------------------------------------------- */

static void add(char *text, size_t size, const char *what)
{
    size_t used = strnlen(text, size);

    if (used + 1 < size) {
        (void)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", what);
    }
}

/* The numbers of the first namespaces are the kernel's ABI (linux/nsfs.h). */
static bool is_first(const char *path, ino_t first)
{
    struct stat st;

    return stat(path, &st) < 0 || st.st_ino == first;
}

/* Is there an interface besides the loopback? */
static bool has_network(void)
{
    AUTO_CLOSE int fd = open("/proc/self/net/dev", O_RDONLY | O_CLOEXEC);
    char text[4096];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    int lines = 0;

    if (n < 0) {
        return true;
    }
    for (ssize_t i = 0; i < n; i++) {
        lines += text[i] == '\n';
    }
    return lines > 3; /* two of headings */
}

static bool has_capabilities(void)
{
    AUTO_CLOSE int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    char text[4096];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    const char *at;

    if (n < 0) {
        return true;
    }
    text[n] = '\0';
    at = strstr(text, "\nCapEff:");
    return !at || strtoull(at + strlen("\nCapEff:"), NULL, 16) != 0;
}

void outer_jail_describe(char *text, size_t size)
{
    text[0] = '\0';
    add(text, size, "a system call filter");
    if (!has_capabilities()) {
        add(text, size, "no capabilities");
    }
    if (!is_first("/proc/self/ns/user", 0xeffffffd)) {
        add(text, size, "a user namespace");
    }
    if (getpid() == 1 || !is_first("/proc/self/ns/pid", 0xeffffffc)) {
        add(text, size, "a pid namespace");
    }
    if (access("/etc", F_OK) < 0) {
        add(text, size, "a file tree");
    }
    if (!has_network()) {
        add(text, size, "no network");
    }
}
