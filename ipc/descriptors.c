#include "ipc/descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int close_listed(unsigned first, unsigned last)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    int r;

    if (!dir) {
        return -errno;
    }
    while (errno = 0, entry = readdir(dir)) {
        unsigned fd = (unsigned)strtoul(entry->d_name, NULL, 10);

        if (entry->d_name[0] != '.' && fd >= first && fd <= last && (int)fd != dirfd(dir)) {
            close((int)fd);
        }
    }
    r = -errno;
    closedir(dir);
    return r;
}

int descriptors_close(unsigned first, unsigned last)
{
    if (first <= last && syscall(SYS_close_range, first, last, 0) < 0) {
        return close_listed(first, last);
    }
    return 0;
}

int descriptors_open_null(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int pair[2];

    if (fd >= 0) {
        return fd;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    close(pair[1]);
    return pair[0];
}

void descriptors_raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int descriptors_arrange(int *fds, unsigned n, unsigned n_inherited)
{
    /* First out of the way of the final numbers, so that no move overwrites one still needed. */
    for (unsigned i = 0; i < n; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, (int)n);

        if (fd < 0) {
            return -errno;
        }
        fds[i] = fd;
    }
    for (unsigned i = 0; i < n; i++) {
        int to = (int)i;

        /* Of dup2 and dup3 each is refused by some VMM's jail. */
        close(to);
        if (fcntl(fds[i], F_DUPFD_CLOEXEC, to) < 0 ||
            (i < n_inherited && fcntl(to, F_SETFD, 0) < 0)) {
            return -errno;
        }
        fds[i] = to;
    }
    return descriptors_close(n, ~0u);
}
