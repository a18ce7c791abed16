/*
 * The context socket. The main thread reads it at once, whatever the guest's commands are doing:
 * a VMM blocks on a socket that fills up. It checks each message and queues it; the context
 * thread runs the queue in order.
 */
#ifndef CORDON_WORKER_REQUESTS_H
#define CORDON_WORKER_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/fdset.h"

struct context;
struct requests;

/* Starts the context thread. socket_fd is borrowed: replies go there. 0 or a negative errno. */
int requests_create(struct context *ctx, int socket_fd, struct requests **ret_requests);
/* Drops what has not run and joins the thread (which ring_stopping or context_fatal must be able
 * to wake, if a ring still makes it wait). NULL is fine; returns NULL. */
struct requests *requests_destroy(struct requests *q);

/* Main thread: reads and queues everything that is there. 0: nothing is left to read; -ECONNRESET:
 * the VMM has closed it; -EPROTO: the context has ended (context_fatal was called). */
int requests_read(struct requests *q);

/* One message, as received; takes the fds that it needs out of the set. 0 or -EPROTO. */
int requests_feed(struct requests *q, const void *bytes, size_t size, struct fdset *fds);
/* Waits until everything queued has run, or the context has ended. Tests. */
void requests_drain(struct requests *q);

#endif
