/*
 * The context socket. The context thread reads a message, runs what it asks for and reads the next,
 * which takes one wake-up. But a VMM blocks on a socket that fills up, so while a request may take
 * long the main thread reads: it checks each message and queues it, whatever the guest's commands
 * are doing.
 */
#ifndef CORDON_WORKER_REQUESTS_H
#define CORDON_WORKER_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/fdset.h"

struct context;
struct requests;

/* True: from now on the main thread is to call requests_read once when the socket becomes readable;
 * false: no longer. Any thread. */
typedef void (*requests_watch_fn)(void *arg, bool on);

/* Starts the context thread, which reads at first. socket_fd is borrowed: replies go there. 0 or a
 * negative errno. */
int requests_create(struct context *ctx, int socket_fd, requests_watch_fn watch, void *arg,
                    struct requests **ret_requests);
/* Drops what has not run and joins the thread (which ring_stopping or context_fatal must be able
 * to wake, if a ring still makes it wait). NULL is fine; returns NULL. */
struct requests *requests_destroy(struct requests *q);

/* Main thread: reads and queues everything that is there, unless the context thread reads, and
 * watches on. 0; -ECONNRESET: the VMM has closed it; -EPROTO: the context has ended (context_fatal
 * was called). */
int requests_read(struct requests *q);

/* Context thread: what it runs is about to wait, so the main thread is to read. NULL is fine. */
void requests_let_go(struct requests *q);

/* Have n messages been read and what they ask for been run, or has the context ended? Tests. */
bool requests_done(const struct requests *q, uint64_t n_messages);

#endif
