/* What the worker tells the server (ipc/worker_wire.h). A control_fd of -1 tells nobody: tests. */
#ifndef CORDON_WORKER_CONTROL_H
#define CORDON_WORKER_CONTROL_H

#include <stdint.h>

struct worker_context;

/* Each sends one message and returns 0 or a negative errno. fds are borrowed. */
int control_ready(int control_fd, uint32_t layers, const char *device, const char *driver,
                  int listener_fd);
int control_timeline(int control_fd, uint32_t n_words, int words_fd, int event_fd);
int control_ring(int control_fd, uint32_t number, int shm_fd, uint64_t status_offset);
int control_ring_gone(int control_fd, uint32_t number);

/* Waits for CONTEXT. *ret_fd is the context socket, the caller's. -ECONNRESET: the server is gone
 * or does not need this worker; -EPROTO: not what it should be. */
int control_receive_context(int control_fd, struct worker_context *ret_context, int *ret_fd);

#endif
