#include "ipc/fdset.h"

#include <string.h>
#include <sys/socket.h>

#include "ipc/cleanup.h"

int fdset_add(struct fdset *s, int own_fd)
{
    if (s->count >= FDSET_MAX) {
        close_fd(&own_fd);
        return -ENOSPC;
    }
    s->fds[s->count++] = own_fd;
    return 0;
}

int fdset_collect(struct fdset *s, struct msghdr *msg)
{
    int result = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd, r;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            r = fdset_add(s, fd);
            if (r < 0) {
                result = r;
            }
        }
    }
    return result;
}

int fdset_take(struct fdset *s, uint32_t i)
{
    return i < s->count ? take_fd(&s->fds[i]) : -1;
}

int fdset_peek(const struct fdset *s, uint32_t i)
{
    return i < s->count ? s->fds[i] : -1;
}

void fdset_close(struct fdset *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        close_fd(&s->fds[i]);
    }
    s->count = 0;
}
