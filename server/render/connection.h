/* The VMM's connection: requests in, one reply out. Bad messages are logged and ignored. */
#ifndef CORDON_SERVER_RENDER_CONNECTION_H
#define CORDON_SERVER_RENDER_CONNECTION_H

#include <stdbool.h>

#include "ipc/base.h"
#include "ipc/dialect.h"
#include "ipc/log.h"

struct contexts;
struct loop;
struct loop_source;

struct connection {
    struct loop *loop;
    struct loop_source *source;
    struct contexts *contexts;
    int fd; /* borrowed */
    struct log_limit limit;
};

/* Stops the loop with code 0 when the VMM hangs up. 0 or a negative errno. */
MUST_USE int connection_init(struct connection *c, struct loop *loop, int fd,
                             struct contexts *contexts);
void connection_fini(struct connection *c);

/* Does this VMM's library speak what we serve? If not a line says what to do. */
bool connection_vmm_is_served(int fd);
/* For one that does not: no context, ever, until it hangs up. Its own process goes on. */
void connection_refuse_all(int fd);

#endif
