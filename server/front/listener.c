#include "server/front/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ipc/cleanup.h"

/* Clients that connect while we are busy. */
#define BACKLOG 16
/* Somebody else may hold a lock on a folder like /tmp for ever: a second, and not longer. */
#define LOCK_RETRIES 100
#define LOCK_RETRY_NS 10000000

/* While the result is open no other of us makes or removes a socket in the same folder: one that ends
 * late would else remove its successor's. Where the folder cannot be locked that is left to luck. */
static int lock_folder(const char *path)
{
    const struct timespec moment = { .tv_nsec = LOCK_RETRY_NS };
    const char *slash = strrchr(path, '/');
    char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)] = ".";
    int fd;

    if (slash) {
        (void)snprintf(folder, sizeof(folder), "%.*s/", (int)(slash - path), path);
    }
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_RETRIES && flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        (void)nanosleep(&moment, NULL);
    }
    return fd;
}

/* Removes a socket that nobody listens at. 0: the way is free. */
static int clear_stale(const struct sockaddr_un *address)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;

    if (lstat(address->sun_path, &st) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (!S_ISSOCK(st.st_mode)) {
        return -EEXIST;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN) {
        return -EADDRINUSE;
    }
    if (errno != ECONNREFUSED) {
        return -errno;
    }
    return unlink(address->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

int listener_open(struct listener *l, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    AUTO_CLOSE int lock = -1;
    AUTO_CLOSE int fd = -1;
    struct stat st;
    mode_t mask;
    int r;

    *l = (struct listener){ .fd = -1 };
    if (strlen(path) >= sizeof(address.sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    lock = lock_folder(path);
    r = clear_stale(&address);
    if (r < 0) {
        return r;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    /* A client runs code on this host's driver: other users are not invited. */
    mask = umask(077);
    r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    (void)umask(mask);
    if (r < 0) {
        return r;
    }
    if (listen(fd, BACKLOG) < 0 || lstat(path, &st) < 0) {
        r = -errno;
        (void)unlink(path);
        return r;
    }
    *l = (struct listener){ .fd = take_fd(&fd), .path = path, .dev = st.st_dev, .ino = st.st_ino };
    return 0;
}

void listener_remove(const struct listener *l)
{
    AUTO_CLOSE int lock = -1;
    struct stat st;

    lock = lock_folder(l->path);
    if (lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino) {
        (void)unlink(l->path);
    }
}

void listener_close(struct listener *l)
{
    if (l->fd >= 0) {
        listener_remove(l);
    }
    close_fd(&l->fd);
}
