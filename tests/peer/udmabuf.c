/*
 * Preloaded into the peer's server on kernels without udmabuf, as virtual machines have them: what
 * it takes for a dma-buf is then the memfd itself, which can be mapped all the same. Without this
 * its clients can map no memory of lavapipe over vtest, and there is nothing to compare with.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>

#include <linux/udmabuf.h>

#define EXPORT __attribute__((visibility("default")))
#define PATH "/dev/udmabuf"

EXPORT int open(const char *path, int flags, ...);
EXPORT int open64(const char *path, int flags, ...);
EXPORT int ioctl(int fd, unsigned long request, ...);

/* Of variadic functions each is called as itself, never through another's type. */
typedef int (*open_fn)(const char *path, int flags, ...);
typedef int (*ioctl_fn)(int fd, unsigned long request, ...);

static void find(const char *name, void *ret_fn)
{
    void *found = dlsym(RTLD_NEXT, name);

    memcpy(ret_fn, &found, sizeof(found));
}

static int open_next(const char *name, const char *path, int flags, unsigned mode)
{
    open_fn next = NULL;

    if (strcmp(path, PATH) == 0) {
        return eventfd(0, EFD_CLOEXEC); /* any descriptor does */
    }
    find(name, &next);
    return next(path, flags, mode);
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...)                       \
    {                                                                \
        va_list args;                                                \
        unsigned mode = 0;                                           \
                                                                     \
        va_start(args, flags);                                       \
        if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
            mode = va_arg(args, unsigned);                           \
        }                                                            \
        va_end(args);                                                \
        return open_next(#name, path, flags, mode);                  \
    }

OPEN(open)
OPEN(open64)

int ioctl(int fd, unsigned long request, ...)
{
    ioctl_fn next = NULL;
    va_list args;
    void *arg;

    va_start(args, request);
    arg = va_arg(args, void *);
    va_end(args);
    if (request == UDMABUF_CREATE) {
        return fcntl((int)((struct udmabuf_create *)arg)->memfd, F_DUPFD_CLOEXEC, 0);
    }
    find("ioctl", &next);
    return next(fd, request, arg);
}
