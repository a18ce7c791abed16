/* Starting a render server. */
#ifndef CORDON_IPC_START_SERVER_H
#define CORDON_IPC_START_SERVER_H

#include <sys/types.h>

#include "ipc/base.h"

/* Runs `path --socket-fd N extra_args...` (NULL, or ended by NULL). The child gets stdin, stdout,
 * stderr, the socket and no other fd; the environment; default signals; a session of its
 * own. *ret_socket is the other end, not yet spoken on; the caller reaps *ret_pid. 0 or a negative
 * errno. */
MUST_USE int start_server(const char *path, const char *const *extra_args, int *ret_socket,
                          pid_t *ret_pid);

#endif
