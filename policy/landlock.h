/* Landlock: everything it can refuse is refused, then single paths are allowed. */
#ifndef CORDON_POLICY_LANDLOCK_H
#define CORDON_POLICY_LANDLOCK_H

#include <stdbool.h>

/* A ruleset that refuses all that the running kernel's ABI knows: files, TCP, abstract sockets and
 * signals beyond the sandbox. Negative errno (-ENOSYS, -EOPNOTSUPP without Landlock). */
int landlock_new(void);

/* Allows reading below `path`; for a device node also writing and its ioctls. */
int landlock_allow(int ruleset, const char *path, bool device, bool exec);
int landlock_allow_fd(int ruleset, int fd, bool device, bool exec);
/* Allows reading, making and removing files and folders below `path`; nothing to be executed. */
int landlock_allow_scratch(int ruleset, const char *path);

/* The calling thread and all that it starts. Needs no_new_privs. */
int landlock_restrict(int ruleset);

#endif
