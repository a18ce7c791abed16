/*
 * crosvm_jail ARG...: starts the render server CORDON_JAILED the way crosvm does that confines it: as
 * process 1 of new namespaces, entered from inside by a library in LD_PRELOAD (crosvm_entry.c). The
 * environment says what the jail is like: crosvm_entry.h.
 *
 * It stands in for crosvm's minijail: keeps none of the descriptors, takes the server along when it
 * is killed, and ends with its status.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/jail/crosvm_entry.h"

static int write_file(pid_t pid, const char *name, const char *text)
{
    char path[64];
    ssize_t n = -1;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = write(fd, text, strlen(text));
        close(fd);
    }
    if (n < 0) {
        perror(path);
    }
    return n < 0 ? -1 : 0;
}

/* Root inside is us outside. */
static int write_maps(pid_t pid)
{
    char uid[32], gid[32];

    (void)snprintf(uid, sizeof(uid), "0 %u 1\n", geteuid());
    (void)snprintf(gid, sizeof(gid), "0 %u 1\n", getegid());
    if (write_file(pid, "setgroups", "deny") < 0 || write_file(pid, "uid_map", uid) < 0) {
        return -1;
    }
    return write_file(pid, "gid_map", gid);
}

static int run(char **argv, int go)
{
    const struct rlimit files = { 32768, 32768 };
    const char *more = getenv("CORDON_JAIL_PRELOAD");
    char preload[PATH_MAX + 4096], self[PATH_MAX], byte;
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || read(go, &byte, 1) != 1 || n < 0) {
        return 125;
    }
    close(go);
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    (void)snprintf(preload, sizeof(preload), "%s/" CROSVM_ENTRY_LIBRARY "%s%s", self,
                   more ? ":" : "", more ? more : "");
    (void)setenv("LD_PRELOAD", preload, 1);
    (void)setrlimit(RLIMIT_NOFILE, &files);
    argv[0] = getenv("CORDON_JAILED");
    (void)execv(argv[0], argv);
    perror(argv[0]);
    return 127;
}

int main(int argc, char **argv)
{
    int go[2], status;
    pid_t pid;

    (void)argc;
    if (!getenv("CORDON_JAILED") || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go) < 0) {
        return 2;
    }
    pid = (pid_t)syscall(SYS_clone,
                         CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | SIGCHLD, NULL,
                         NULL, NULL, 0);
    if (pid == 0) {
        _exit(run(argv, go[0]));
    }
    (void)signal(SIGCHLD, SIG_DFL);
    if (pid < 0 || write_maps(pid) < 0 || write(go[1], "g", 1) != 1) {
        perror("SKIP: no new namespaces");
        return CROSVM_JAIL_IMPOSSIBLE;
    }
    (void)syscall(SYS_close_range, 3, ~0u, 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
