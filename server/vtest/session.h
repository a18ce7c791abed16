/* A client's context: its life and its events. */
#ifndef CORDON_SERVER_VTEST_SESSION_H
#define CORDON_SERVER_VTEST_SESSION_H

#include <stdint.h>

#include "ipc/base.h"

struct client;

/* A context of the render server, under a number that no other client has. 0 or a negative
 * errno. */
MUST_USE int session_open(struct client *c);
void session_close(struct client *c);

/* Watches the context's socket for what the running request, or a submission not yet sent whole,
 * needs next; for nothing else. */
void session_watch(struct client *c);

/* Waits that end at deadline_ms are to be forgotten then. */
void session_arm_timer(struct client *c, uint64_t deadline_ms);

#endif
