/*
 * One stream of vhost-user messages with their fds, read without waiting. A message may come in
 * pieces; its fds come with its first byte.
 */
#ifndef CORDON_SERVER_VHOST_USER_LINK_H
#define CORDON_SERVER_VHOST_USER_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/fdset.h"
#include "ipc/vhost_user_wire.h"

struct link {
    int fd; /* owned; -1: none */
    struct vhost_user_header header;
    union vhost_user_payload payload;
    size_t got; /* of header and payload together */
    struct fdset fds;
};

void link_init(struct link *l, int own_fd);
void link_fini(struct link *l);

/* Goes on reading a message. Returns
 * 1            complete: header, payload (what was not sent is zero) and fds; link_next before more
 * 0            not yet
 * -ECONNRESET  the other side is gone
 * -EMSGSIZE    longer than any that is served; -EBADMSG too many fds; or another errno. */
MUST_USE int link_receive(struct link *l);
/* Forgets the message and closes the fds that nobody took. */
void link_next(struct link *l);

/* Sends one message; fd is borrowed, -1 = none. 0, or a negative errno, after which the stream is
 * of no use. Does not wait: a front end that leaves so much unread is not there. */
MUST_USE int link_send(const struct link *l, uint32_t request, uint32_t flags, const void *payload,
                       uint32_t size, int fd);

#endif
