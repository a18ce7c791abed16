/* Messages about queues. Each takes the front end's message and returns 0 or a negative errno. */
#ifndef CORDON_SERVER_VHOST_USER_RINGS_H
#define CORDON_SERVER_VHOST_USER_RINGS_H

#include "ipc/base.h"

struct frontend;

int ring_set_num(struct frontend *f);
int ring_set_addr(struct frontend *f);
int ring_set_base(struct frontend *f);
int ring_get_base(struct frontend *f);
int ring_set_enable(struct frontend *f);
int ring_set_kick(struct frontend *f);
int ring_set_call(struct frontend *f);
int ring_set_err(struct frontend *f);
int ring_get_inflight_fd(struct frontend *f);
int ring_set_inflight_fd(struct frontend *f);

/* Stops all, as if they had never run. */
void rings_stop(struct frontend *f);
/* Gives up the record of what is in flight. */
void rings_forget_record(struct frontend *f);

#endif
