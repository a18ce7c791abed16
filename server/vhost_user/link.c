#include "server/vhost_user/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "ipc/cleanup.h"

#define HEADER sizeof(struct vhost_user_header)

void link_init(struct link *l, int own_fd)
{
    *l = (struct link){ .fd = own_fd };
}

void link_fini(struct link *l)
{
    fdset_close(&l->fds);
    close_fd(&l->fd);
}

/* Adds up to `size` bytes. > 0, 0 (not yet), or a negative errno. */
static int receive(struct link *l, void *buf, size_t size)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDSET_MAX * sizeof(int))];
    } control;
    struct iovec iov = { buf, size };
    struct msghdr m = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    ssize_t n;

    do {
        n = recvmsg(l->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN ? 0 : -errno;
    }
    if (fdset_collect(&l->fds, &m) < 0 || (m.msg_flags & MSG_CTRUNC) != 0) {
        return -EBADMSG;
    }
    l->got += (size_t)n;
    return n > 0 ? (int)n : -ECONNRESET;
}

int link_receive(struct link *l)
{
    while (l->got < HEADER) {
        int r = receive(l, (uint8_t *)&l->header + l->got, HEADER - l->got);

        if (r <= 0) {
            return r;
        }
    }
    if (l->header.size > sizeof(l->payload)) {
        return -EMSGSIZE;
    }
    while (l->got < HEADER + l->header.size) {
        size_t at = l->got - HEADER;
        int r = receive(l, (uint8_t *)&l->payload + at, l->header.size - at);

        if (r <= 0) {
            return r;
        }
    }
    return 1;
}

void link_next(struct link *l)
{
    fdset_close(&l->fds);
    l->got = 0;
    memset(&l->payload, 0, sizeof(l->payload));
}

int link_send(const struct link *l, uint32_t request, uint32_t flags, const void *payload,
              uint32_t size, int fd)
{
    struct vhost_user_header header = {
        .request = request,
        .flags = VHOST_USER_VERSION | flags,
        .size = size,
    };
    struct iovec iov[] = {
        { &header, sizeof(header) },
        { (void *)payload, size },
    };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov) };
    ssize_t n;

    if (fd >= 0) {
        struct cmsghdr *c;

        m.msg_control = control.bytes;
        m.msg_controllen = sizeof(control.bytes);
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    do {
        n = sendmsg(l->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    return (size_t)n == sizeof(header) + size ? 0 : -EPIPE;
}
