#include "ipc/seqpacket.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "ipc/base.h"

#define IOV_MOST 8

/* Control data for FDSET_MAX fds. The kernel fills no more, and says MSG_CTRUNC then. */
union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(FDSET_MAX * sizeof(int))];
};

int seqpacket_pair(int ret_fds[2])
{
    /* Exactly this type argument: a VMM's jail compares it, so no SOCK_NONBLOCK here. */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0) {
        return -errno;
    }
    return 0;
}

static int get_int_option(int fd, int option, int *ret_value)
{
    int value = 0;
    socklen_t len = sizeof(value);

    if (getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0) {
        return -errno;
    }
    *ret_value = value;
    return 0;
}

int seqpacket_check(int fd)
{
    int domain, type, r;

    r = get_int_option(fd, SO_DOMAIN, &domain);
    if (r < 0) {
        return r;
    }
    r = get_int_option(fd, SO_TYPE, &type);
    if (r < 0) {
        return r;
    }
    return domain == AF_UNIX && type == SOCK_SEQPACKET ? 0 : -EPROTOTYPE;
}

int seqpacket_sendv(int fd, const struct iovec *iov, uint32_t n_iov, const int *fds, uint32_t n_fds,
                    int flags)
{
    struct iovec copy[IOV_MOST];
    union control control = { 0 };
    struct msghdr msg = { .msg_iov = copy, .msg_iovlen = n_iov };
    ssize_t n;

    assert(n_iov <= IOV_MOST && n_fds <= FDSET_MAX && (flags & ~MSG_DONTWAIT) == 0);
    memcpy(copy, iov, n_iov * sizeof(*iov));
    if (n_fds > 0) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    do {
        n = sendmsg(fd, &msg, flags | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int seqpacket_send(int fd, const void *buf, size_t size, const int *fds, uint32_t n_fds)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = size };

    return seqpacket_sendv(fd, &iov, 1, fds, n_fds, 0);
}

/* A peer that closes with our messages unread raises ECONNRESET once, ahead of what it had sent
 * before: the second try reads that. */
static ssize_t recvmsg_again(int fd, struct msghdr *msg, int flags)
{
    size_t controllen = msg->msg_controllen;
    bool reset = false;
    ssize_t n;

    for (;;) {
        msg->msg_controllen = controllen;
        n = recvmsg(fd, msg, flags);
        if (n >= 0) {
            return n;
        }
        if (errno == ECONNRESET && !reset) {
            reset = true;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
}

int seqpacket_recv_flags(int fd, void *buf, size_t cap, size_t *ret_size, struct fdset *fds,
                         int flags)
{
    struct iovec iov = { .iov_base = buf, .iov_len = cap };
    union control control = { 0 };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = fds ? control.bytes : NULL,
        .msg_controllen = fds ? sizeof(control.bytes) : 0,
    };
    AUTO_FDSET struct fdset got = { 0 };
    ssize_t n;
    int r;

    assert((flags & ~MSG_DONTWAIT) == 0 && (!fds || fds->count == 0));
    n = recvmsg_again(fd, &msg, flags | MSG_CMSG_CLOEXEC);
    if (n < 0) {
        return (int)n;
    }
    r = fdset_collect(&got, &msg);
    /* MSG_CTRUNC: more fds than fit, fds where none are expected, or our fd table is full. */
    if (r < 0 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        return -EBADMSG;
    }
    if (n == 0) {
        /* An empty message looks like the end, and nobody has a reason to send one. */
        return got.count > 0 ? -EBADMSG : -ECONNRESET;
    }
    if (fds) {
        *fds = got;
        got.count = 0;
    }
    *ret_size = (size_t)n;
    return 0;
}

int seqpacket_recv(int fd, void *buf, size_t cap, size_t *ret_size, struct fdset *fds)
{
    return seqpacket_recv_flags(fd, buf, cap, ret_size, fds, 0);
}

int seqpacket_max_message(int fd, size_t *ret_size)
{
    int sndbuf, r;

    r = get_int_option(fd, SO_SNDBUF, &sndbuf);
    if (r < 0) {
        return r;
    }
    *ret_size = sndbuf > SEQPACKET_OVERHEAD ? (size_t)sndbuf - SEQPACKET_OVERHEAD : 0;
    return 0;
}

int seqpacket_raise_max(int fd, size_t size)
{
    size_t now;
    /* The kernel doubles what it is asked for. */
    int ask = (int)(MIN(size + SEQPACKET_OVERHEAD, (size_t)1 << 30) / 2 + 1);
    int r = seqpacket_max_message(fd, &now);

    if (r < 0 || now >= size) {
        return r;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &ask, sizeof(ask)) < 0) {
        return -errno;
    }
    return 0;
}

int seqpacket_lower_max(int fd)
{
    int ask = 0; /* as little as the kernel has: 4608 bytes */

    return setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &ask, sizeof(ask)) < 0 ? -errno : 0;
}
