#include "ipc/map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ipc/cleanup.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3 */
#endif

int memfd_create_sized(const char *name, uint64_t size, int *ret_fd)
{
    AUTO_CLOSE int fd = -1;

    if (size == 0 || size > INT64_MAX) {
        return -EINVAL;
    }
    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        /* A kernel before 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        return -errno;
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

int fd_size(int fd, uint64_t *ret_size)
{
    struct stat st;
    off_t end;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (S_ISREG(st.st_mode) && st.st_size > 0) {
        *ret_size = (uint64_t)st.st_size;
        return 0;
    }
    /* A dma-buf tells its size by seeking only, on older kernels. */
    end = lseek(fd, 0, SEEK_END);
    if (end < 0) {
        return -errno;
    }
    *ret_size = (uint64_t)end;
    return 0;
}

int fd_seals(int fd, unsigned *ret_seals)
{
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0) {
        return -errno;
    }
    *ret_seals = (unsigned)seals;
    return 0;
}

int fd_seal(int fd, unsigned seals)
{
    return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int fd_require_seals(int fd, unsigned seals)
{
    unsigned have;
    int r = fd_seals(fd, &have);

    if (r < 0) {
        return r;
    }
    return (have & seals) == seals ? 0 : -EPERM;
}

int map_shared(int fd, uint64_t size, void **ret_ptr)
{
    uint64_t have;
    void *p;
    int r = fd_size(fd, &have);

    if (r < 0) {
        return r;
    }
    if (size == 0 || size > have) {
        return -EINVAL;
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    *ret_ptr = p;
    return 0;
}

void unmap(void *ptr, uint64_t size)
{
    if (ptr) {
        (void)munmap(ptr, size); /* fails only for arguments that never came from map_shared */
    }
}
