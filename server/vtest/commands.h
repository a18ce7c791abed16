/* What each vtest command does. Requests are complete and of a size that the command allows. */
#ifndef CORDON_SERVER_VTEST_COMMANDS_H
#define CORDON_SERVER_VTEST_COMMANDS_H

#include "ipc/base.h"

struct client;

/* Executes client::request, or goes on with it. 0: done, a reply may be waiting in the client;
 * -EAGAIN: when the context's socket is ready again; anything else ends the client, with the
 * reason in `why`. */
MUST_USE int command_run(struct client *c, const char **ret_why);

/* The fence eventfd was readable: sets what is due. */
void command_fences(struct client *c);

#endif
