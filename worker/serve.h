/* The main thread's loop while a context lives. */
#ifndef CORDON_WORKER_SERVE_H
#define CORDON_WORKER_SERVE_H

struct context;
struct loop;

/* Reads socket_fd (the VMM) for the context's requests and watches the control socket, until one
 * of them ends or the context fails. Returns an exit code (enum worker_exit); threads of the
 * context are still running then, so the process must end without running exit handlers. */
int serve(struct context *ctx, struct loop *loop, int socket_fd);

#endif
