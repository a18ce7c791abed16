/*
 * Somebody may have put a system call filter on us before we started (crosvm does). What it
 * refuses raises SIGSYS, which ends a process that does not expect it; and some VMMs end with
 * their render server. So under such a filter a refused call becomes ENOSYS, like that of an old
 * kernel, is named in the log once, and whoever made the call says what follows from it.
 *
 * What the filter refuses of what confining a worker takes is found out beforehand, each question
 * in a child of its own: a filter may also kill.
 */
#ifndef CORDON_SERVER_RENDER_OUTER_JAIL_H
#define CORDON_SERVER_RENDER_OUTER_JAIL_H

#include <stdbool.h>
#include <stddef.h>

struct outer_jail {
    bool filtered;   /* a filter was in force when we started */
    bool no_exec;    /* no program may be started */
    bool no_seccomp; /* no filter of our own */
    bool no_jit;     /* no memory becomes executable but a file's */
};

/* Before any call that is out of the ordinary. */
void outer_jail_expect(struct outer_jail *ret);

/* In a forked child whose standard error is read by log_relay. */
void outer_jail_relayed(void);

/* The layers that stand around this process, whoever made them: "a system call filter,
 * no_new_privs, no capabilities, user, pid and net namespaces". */
void outer_jail_describe(char *text, size_t size);

#endif
