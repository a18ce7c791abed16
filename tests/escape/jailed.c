#include "tests/escape/jailed.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "policy/filter.h"
#include "policy/jail.h"
#include "policy/notify.h"

const struct policy_program *jailed_policy(void)
{
    const char *name = getenv("CORDON_POLICY");

    return policy_worker(name ? name : "lavapipe");
}

static int fail(struct jailed_result *result, int error, const char *what)
{
    (void)snprintf(result->line, sizeof(result->line), "%s: %s", what, strerror(error));
    return -error;
}

static int spawn_plain(const char *program, char *const *argv, int out, int control, int extra,
                       struct jail_child *child)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Out of the way of the low numbers first. */
        out = fcntl(out, F_DUPFD, 50);
        control = fcntl(control, F_DUPFD, 50);
        extra = extra >= 0 ? fcntl(extra, F_DUPFD, 50) : -1;
        (void)dup2(out, 1);
        (void)dup2(out, 2);
        (void)dup2(control, JAILED_FD_CONTROL);
        if (extra >= 0) {
            (void)dup2(extra, JAILED_FD_EXTRA);
        }
        (void)execv(program, argv);
        _exit(SANDBOX_EXIT_EXEC);
    }
    *child = (struct jail_child){ .pid = pid, .pidfd = -1, .status_fd = -1 };
    return pid < 0 ? -errno : 0;
}

static int spawn_jailed(uint32_t layers, const char *program, char *const *argv, int out,
                        int control, int extra, struct jail_child *child,
                        struct jailed_result *result)
{
    static const struct sandbox_config config = { .level = SANDBOX_LEVEL_STRICT };
    AUTO_CLOSE int binary = open(program, O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const char *env[JAIL_MAX_ENV + 2];
    char policy[64];
    unsigned n = 0;
    struct sandbox_failure failure;
    struct jail_plan plan;
    int r;

    r = jail_plan_init(&plan, &config, jailed_policy(), &failure);
    if (r == 0) {
        plan.layers &= layers;
        plan.exec_fd = binary;
        plan.fds[0] = null;
        plan.fds[1] = out;
        plan.fds[2] = out;
        plan.fds[JAILED_FD_CONTROL] = control;
        plan.fds[JAILED_FD_EXTRA] = extra >= 0 ? extra : null;
        plan.n_fds = JAILED_FD_EXTRA + 1;
        jail_environment(&plan, environ, env);
        while (env[n]) {
            n++;
        }
        (void)snprintf(policy, sizeof(policy), "CORDON_POLICY=%s",
                       getenv("CORDON_POLICY") ? getenv("CORDON_POLICY") : "lavapipe");
        env[n] = policy;
        env[n + 1] = NULL;
        r = jail_spawn(&plan, argv, env, child, &failure);
    }
    if (r == 0) {
        r = jail_entered(child, &failure);
        if (r < 0) {
            (void)waitpid(child->pid, NULL, 0);
        }
    }
    if (r < 0) {
        sandbox_failure_text(&failure, result->line, sizeof(result->line));
    }
    return r;
}

static int receive_ready(int control, int *ret_listener)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u;
    char byte;
    struct iovec iov = { &byte, 1 };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u)
    };
    struct cmsghdr *cmsg;

    if (recvmsg(control, &msg, MSG_CMSG_CLOEXEC) != 1) {
        return -EPIPE;
    }
    cmsg = CMSG_FIRSTHDR(&msg);
    if (cmsg && cmsg->cmsg_type == SCM_RIGHTS) {
        memcpy(ret_listener, CMSG_DATA(cmsg), sizeof(int));
    }
    return 0;
}

static void collect(int out, struct jailed_result *result)
{
    size_t used = strlen(result->output);
    ssize_t n = read(out, result->output + used, sizeof(result->output) - 1 - used);

    result->output[used + (size_t)MAX(n, 0)] = '\0';
}

/* Answers calls and collects output until the program's side of both is gone. */
static void supervise(struct notify *notify, int out, int control, const struct jail_child *child,
                      struct jailed_result *result)
{
    struct pollfd fds[] = {
        { .fd = notify->listener, .events = POLLIN },
        { .fd = out, .events = POLLIN },
        { .fd = control, .events = POLLIN },
        { .fd = child->pidfd, .events = POLLIN },
    };

    /* Before Linux 6.11 a listener says that nobody is left only when the last one is reaped. */
    while (fds[1].fd >= 0 || (fds[0].fd >= 0 && !fds[3].revents)) {
        char line[400];

        if (poll(fds, ARRAY_SIZE(fds), 60000) <= 0) {
            (void)snprintf(result->line, sizeof(result->line), "no end within a minute");
            (void)kill(child->pid, SIGKILL);
            return;
        }
        if (fds[1].revents & POLLIN) {
            collect(out, result);
        } else if (fds[1].revents) {
            fds[1].fd = -1;
        }
        if (fds[2].revents & ~POLLIN) {
            fds[2].fd = -1;
        }
        if (fds[0].revents & POLLIN) {
            enum notify_verdict v = notify_handle(notify, line, sizeof(line));

            if (v == NOTIFY_VIOLATION || v == NOTIFY_DENIED) {
                (void)snprintf(result->line, sizeof(result->line), "%s", line);
            }
            if (v == NOTIFY_VIOLATION) {
                result->violation = true;
                (void)kill(child->pid, SIGKILL);
            }
        } else if (fds[0].revents) {
            fds[0].fd = -1;
        }
    }
}

int jailed_run(uint32_t layers, const char *program, char *const *argv, int extra_fd,
               struct jailed_result *result)
{
    static const char *const devices[] = { "/dev/udmabuf", NULL };
    const struct policy_program *policy = jailed_policy();
    struct notify notify = { .listener = -1, .mem = -1 };
    AUTO_CLOSE int ours = -1, out = -1, listener = -1, mem = -1;
    int pair[2], pipe_fds[2], r;
    struct jail_child child;

    memset(result, 0, sizeof(*result));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
        pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return fail(result, errno, "socketpair");
    }
    ours = pair[0];
    out = pipe_fds[0];
    /* As the server does once it has started; its workers inherit the filter. */
    if ((layers & SANDBOX_SECCOMP) &&
        (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || filter_install(&policy_server, 0) < 0)) {
        return fail(result, errno, "the server's own filter");
    }
    r = layers ? spawn_jailed(layers, program, argv, pipe_fds[1], pair[1], extra_fd, &child, result)
               : spawn_plain(program, argv, pipe_fds[1], pair[1], extra_fd, &child);
    close(pair[1]);
    close(pipe_fds[1]);
    if (r < 0) {
        return r;
    }
    mem = layers ? notify_open_memory(child.pid) : -1;
    r = receive_ready(ours, &listener);
    if (r == 0 && layers) {
        char text[256];

        r = jail_verify(child.pid, layers & ~SANDBOX_MDWE, text, sizeof(text));
        if (r < 0) {
            (void)snprintf(result->line, sizeof(result->line), "verify: %s", text);
        } else {
            r = notify_init(&notify, take_fd(&listener), take_fd(&mem), child.pid, policy,
                            access(devices[0], F_OK) == 0 ? devices : NULL, 640);
        }
    } else if (r < 0) {
        collect(out, result);
        (void)snprintf(result->line, sizeof(result->line), "not ready: %.400s", result->output);
    }
    if (r == 0) {
        (void)send(ours, "g", 1, MSG_NOSIGNAL);
        supervise(&notify, out, ours, &child, result);
    } else {
        (void)kill(child.pid, SIGKILL);
    }
    (void)waitpid(child.pid, &result->status, 0);
    result->denied = notify.denied;
    result->opened = notify.opened;
    notify_fini(&notify);
    close_fd(&child.pidfd);
    return r;
}
