/*
 * Somebody may have put a system call filter on us before we started (crosvm does). What it
 * refuses raises SIGSYS, which ends a process that does not expect it; and some VMMs end with
 * their render server. So under such a filter a refused call becomes ENOSYS, like that of an old
 * kernel, and whoever made the call says what follows from it.
 */
#ifndef CORDON_SERVER_RENDER_OUTER_JAIL_H
#define CORDON_SERVER_RENDER_OUTER_JAIL_H

#include <stdbool.h>

/* Before any call that is out of the ordinary. True if there is such a filter. */
bool outer_jail_expect(void);

/* The number of the first call that was refused so far, or -1. */
int outer_jail_refused(void);

#endif
