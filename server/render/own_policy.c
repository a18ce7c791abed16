#include "server/render/own_policy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/beside.h"
#include "ipc/cleanup.h"
#include "ipc/map.h"
#include "policy/blob.h"
#include "server/render/driver.h"

#define COMPILER "cordon-policyc"

static const char *const compiler_folders[] = { "", "../../policy", CORDON_LIBEXECDIR, NULL };

/* Its exit status, with what it said in `said`; or a negative errno. */
static int run(const char *compiler, const char *policy, int out, char *said, size_t size)
{
    char *const argv[] = { (char *)COMPILER, (char *)"--binary", (char *)policy, (char *)"-",
                           NULL };
    char *const env[] = { NULL };
    posix_spawn_file_actions_t actions;
    int fds[2], status, r;
    size_t used = 0;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return -errno;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
    r = posix_spawn(&pid, compiler, &actions, NULL, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    while (r == 0 && used < size - 1) {
        ssize_t n = read(fds[0], said + used, size - 1 - used);

        if (n <= 0) {
            break;
        }
        used += (size_t)n;
    }
    said[used] = '\0';
    said[strcspn(said, "\n")] = '\0';
    close(fds[0]);
    if (r != 0) {
        return -r;
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    /* What a signal ends has said nothing. */
    if (WIFSIGNALED(status)) {
        (void)snprintf(said, size, "%s: killed by SIG%s", compiler,
                       sigabbrev_np(WTERMSIG(status)) ? sigabbrev_np(WTERMSIG(status)) : "?");
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int own_policy_compile(const char *folder, struct driver_choice *driver, int *ret_fd, char *why,
                       size_t why_size)
{
    char path[PATH_MAX], policy[PATH_MAX];
    AUTO_CLOSE int fd = memfd_create("cordon-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int r;

    if (fd < 0) {
        r = -errno;
        (void)snprintf(why, why_size, "memfd_create: %s", strerror(-r));
        return r;
    }
    if (snprintf(policy, sizeof(policy), "%s/worker.%s.policy", folder, driver->name) >=
        (int)sizeof(policy)) {
        (void)snprintf(why, why_size, "--policy-dir: the path is too long");
        return -ENAMETOOLONG;
    }
    (void)beside_find(compiler_folders, COMPILER, X_OK, path, sizeof(path));
    r = run(path, policy, fd, why, why_size);
    if (r < 0) {
        (void)snprintf(why, why_size, "%s: %s", path, strerror(-r));
        return r;
    }
    if (r > 0) {
        return -EINVAL;
    }
    /* Its workers share it. */
    r = fd_seal(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    if (r == 0) {
        r = policy_load(fd, &driver->program);
    }
    if (r < 0) {
        (void)snprintf(why, why_size, "%s: what %s made of it cannot be used: %s", policy, path,
                       strerror(-r));
        return r;
    }
    *ret_fd = take_fd(&fd);
    return 0;
}
