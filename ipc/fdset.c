#include "ipc/fdset.h"

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
