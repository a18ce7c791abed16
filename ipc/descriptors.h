/* The descriptors of a process as a whole: what it starts with, and what a child keeps. None of
 * these needs a call that a VMM's jail is known to refuse. */
#ifndef CORDON_IPC_DESCRIPTORS_H
#define CORDON_IPC_DESCRIPTORS_H

#include "ipc/base.h"

/* Closes the descriptors from first to last. Where close_range is not to be had, one by one, as
 * /proc lists them. 0 or a negative errno: then some may be open. */
int descriptors_close(unsigned first, unsigned last);

/* A new close-on-exec descriptor that reads as empty and holds nothing: /dev/null, or, in a tree
 * without devices, a socket whose other end is closed. Negative errno. */
MUST_USE int descriptors_open_null(void);

/* To what is allowed without asking: every context costs some. */
void descriptors_raise_limit(void);

/* Makes fds[i] descriptor i and closes all others; the first n_inherited survive an exec. fds says
 * where each is, on failure too. 0 or a negative errno. */
MUST_USE int descriptors_arrange(int *fds, unsigned n, unsigned n_inherited);

#endif
