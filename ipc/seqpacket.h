/*
 * One message with its fds, in or out, over AF_UNIX SOCK_SEQPACKET. Every way in which a message
 * can be cut short is handled here.
 */
#ifndef CORDON_IPC_SEQPACKET_H
#define CORDON_IPC_SEQPACKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ipc/fdset.h"

/* Linux lets a message be this much smaller than SO_SNDBUF (struct unix_skb overhead). */
#define SEQPACKET_OVERHEAD 32

/* A connected pair, close-on-exec, blocking. 0 or a negative errno. */
int seqpacket_pair(int ret_fds[2]);

/* 0 if fd is an AF_UNIX SEQPACKET socket; -ENOTSOCK, -EPROTOTYPE or another errno. */
int seqpacket_check(int fd);

/* Sends one message; fds are borrowed. 0; -EPIPE the other side is gone (no signal); -EMSGSIZE
 * too large for the socket's buffer; -EAGAIN with MSG_DONTWAIT; or another errno. Never partial. */
int seqpacket_send(int fd, const void *buf, size_t size, const int *fds, uint32_t n_fds);
/* flags: 0 or MSG_DONTWAIT. At most 8 pieces. */
int seqpacket_sendv(int fd, const struct iovec *iov, uint32_t n_iov, const int *fds, uint32_t n_fds,
                    int flags);

/* Receives one message; its fds go into `fds` (empty before; NULL = none are expected), all
 * close-on-exec. On failure no fd is left open. Returns
 * 0            *ret_size bytes, at least 1
 * -ECONNRESET  the other side is gone and everything it sent has been read
 * -EBADMSG     longer than cap, more fds than expected, or fds without bytes
 * -EAGAIN      MSG_DONTWAIT and nothing there; or another errno. */
int seqpacket_recv(int fd, void *buf, size_t cap, size_t *ret_size, struct fdset *fds);
/* flags: 0 or MSG_DONTWAIT. */
int seqpacket_recv_flags(int fd, void *buf, size_t cap, size_t *ret_size, struct fdset *fds,
                         int flags);

/* The longest message that can be sent on fd now, from its SO_SNDBUF. */
int seqpacket_max_message(int fd, size_t *ret_size);
/* Asks for messages of `size` bytes; the kernel may grant less (net.core.wmem_max): ask
 * seqpacket_max_message. Never where an outer jail may forbid setsockopt. 0 or a negative errno. */
int seqpacket_raise_max(int fd, size_t size);

/* Leaves room for a handful of small unread messages that are sent on fd. Each may hold 253
 * descriptors in flight, of which a user has only so many for all processes. 0 or a negative errno. */
int seqpacket_lower_max(int fd);

#endif
