#include "ipc/descriptors.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARRANGE_MOST 16

static void close_listed(unsigned first, unsigned last)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        unsigned fd = (unsigned)strtoul(entry->d_name, NULL, 10);

        if (entry->d_name[0] != '.' && fd >= first && fd <= last && (int)fd != dirfd(dir)) {
            close((int)fd);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

void descriptors_close(unsigned first, unsigned last)
{
    if (first <= last && syscall(SYS_close_range, first, last, 0) < 0) {
        close_listed(first, last);
    }
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

int descriptors_arrange(const int *fds, unsigned n)
{
    int source[ARRANGE_MOST];

    assert(n <= ARRANGE_MOST);
    /* First out of the way of the final numbers, so that no move overwrites one still needed. */
    for (unsigned i = 0; i < n; i++) {
        source[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, ARRANGE_MOST);
        if (source[i] < 0) {
            return -errno;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (dup2(source[i], (int)i) < 0) {
            return -errno;
        }
    }
    descriptors_close(n, ~0u);
    return 0;
}
