/*
 * What may be asked on a render-server socket, as a table: number, exact size, how many fds, and
 * when. And which dialect a VMM speaks. Layouts: dialect_b.h.
 */
#ifndef CORDON_IPC_DIALECT_H
#define CORDON_IPC_DIALECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/dialect_b.h"

enum dialect_state {
    DIALECT_BEFORE_INIT = 1,
    DIALECT_AFTER_INIT = 2,
    DIALECT_ANY_TIME = 3,
};

struct dialect_rule {
    const char *name;
    uint32_t size;
    uint8_t min_fds, max_fds;
    uint8_t when; /* enum dialect_state */
};

struct dialect_table {
    const char *name;
    const struct dialect_rule *rules; /* by op */
    uint32_t n_rules;
};

extern const struct dialect_table dialect_b_server;
extern const struct dialect_table dialect_b_context;

/* Is this message one that the table allows in this state? `bytes` may be unaligned. Returns
 * 0            *ret_op is below the table's end, and the message is exactly the struct's size
 * -EBADMSG     too short to hold an op
 * -EOPNOTSUPP  no such op
 * -EMSGSIZE    not the op's size
 * -EBADF       too few or too many fds
 * -EPROTO      not at this time (before INIT, or INIT again). */
int dialect_check_request(const struct dialect_table *t, enum dialect_state state,
                          const void *bytes, size_t size, uint32_t n_fds, uint32_t *ret_op);
/* What the errors above mean, for the log line of whoever decides. Never NULL. */
const char *dialect_error_text(int error);
/* The op's name, or "unknown op". */
const char *dialect_op_name(const struct dialect_table *t, uint32_t op);

/* Is this refused context message the SUBMIT_CMD of dialect A? Then say so instead of
 * "wrong size". */
bool dialect_looks_like_a(const void *bytes, size_t size);

/* ---- who is the VMM ------------------------------------------------------------------------ */

enum dialect_id {
    DIALECT_UNKNOWN, /* could not look, or no such library there: assume B */
    DIALECT_A,       /* libvirglrenderer 0.10: not served */
    DIALECT_B,
};

struct dialect_vmm {
    enum dialect_id dialect;
    int32_t pid;      /* 0 = not known (another pid namespace) */
    char library[64]; /* file name, e.g. "libvirglrenderer.so.1.9.0", printable; "" = not seen */
};

/* Looks through SO_PEERCRED and /proc/PID/maps at who made the socket. Cannot fail: what cannot
 * be seen is DIALECT_UNKNOWN. */
void dialect_detect(int socket_fd, struct dialect_vmm *ret_vmm);
/* The line to log before refusing dialect A: names the library and the remedy. Returns buf. */
const char *dialect_refusal(const struct dialect_vmm *vmm, char *buf, size_t size);

/* Pure: looks for the library in one line of /proc/PID/maps. True if found; fills dialect and
 * library of ret_vmm. */
bool dialect_from_maps_line(const char *line, struct dialect_vmm *ret_vmm);

#endif
