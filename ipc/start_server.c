#include "ipc/start_server.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/seqpacket.h"

/* What the server finds its socket at. */
#define CHILD_SOCKET_FD 3

/* path, --socket-fd, N, extra..., NULL. NULL when out of memory; the strings are borrowed. */
static char **make_argv(const char *path, const char *const *extra_args)
{
    static const char option[] = "--socket-fd";
    static const char number[] = { '0' + CHILD_SOCKET_FD, '\0' };
    size_t n = 0;
    char **argv;

    while (extra_args && extra_args[n]) {
        n++;
    }
    argv = calloc(n + 4, sizeof(*argv));
    if (!argv) {
        return NULL;
    }
    argv[0] = (char *)path;
    argv[1] = (char *)option;
    argv[2] = (char *)number;
    for (size_t i = 0; i < n; i++) {
        argv[3 + i] = (char *)extra_args[i];
    }
    return argv;
}

/* The child keeps 0, 1, 2 and its socket; all signals are as at boot. Returns a positive errno,
 * as posix_spawn does. */
static int spawn_child(const char *path, char *const *argv, int socket_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    int e;

    e = posix_spawn_file_actions_init(&actions);
    if (e != 0) {
        return e;
    }
    e = posix_spawnattr_init(&attr);
    if (e != 0) {
        goto out_actions;
    }
    sigfillset(&all);
    sigemptyset(&none);
    e = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                            POSIX_SPAWN_SETSID);
    if (e == 0) {
        e = posix_spawnattr_setsigdefault(&attr, &all);
    }
    if (e == 0) {
        e = posix_spawnattr_setsigmask(&attr, &none);
    }
    if (e == 0) {
        e = posix_spawn_file_actions_adddup2(&actions, socket_fd, CHILD_SOCKET_FD);
    }
    if (e == 0) {
        e = posix_spawn_file_actions_addclosefrom_np(&actions, CHILD_SOCKET_FD + 1);
    }
    if (e == 0) {
        e = posix_spawn(ret_pid, path, &actions, &attr, argv, environ);
    }
    posix_spawnattr_destroy(&attr);
out_actions:
    posix_spawn_file_actions_destroy(&actions);
    return e;
}

int start_server(const char *path, const char *const *extra_args, int *ret_socket, pid_t *ret_pid)
{
    AUTO_FREE char **argv = make_argv(path, extra_args);
    int pair[2] = { -1, -1 };
    AUTO_CLOSE int ours = -1;
    AUTO_CLOSE int theirs = -1;
    int r;

    if (!argv) {
        return -ENOMEM;
    }
    r = seqpacket_pair(pair);
    if (r < 0) {
        return r;
    }
    ours = pair[0];
    theirs = pair[1];
    r = spawn_child(path, argv, theirs, ret_pid);
    if (r != 0) {
        return -r;
    }
    *ret_socket = take_fd(&ours);
    return 0;
}
