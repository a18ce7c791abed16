#include "worker/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/worker_wire.h"

/* Before each file: its path below the folder, without an end, and its bytes follow. */
struct entry {
    uint32_t path_size, size;
};

#define PATH_SIZE 256
/* Mesa's index of what was used when takes 1.3 MiB, is empty, and is made again. */
#define FILE_SIZE (1u << 20)

static int write_all(int fd, const void *data, size_t size)
{
    const uint8_t *p = data;

    while (size > 0) {
        ssize_t n = write(fd, p, size);

        if (n < 0) {
            return -errno;
        }
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

static int read_file(const char *path, void *ret, size_t size)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, ret, size, 0);

    return n < 0 ? -errno : (size_t)n == size ? 0 : -EIO;
}

/* nftw hands no argument through. Start-up is one thread. */
static struct {
    int fd, error;
    size_t prefix, total;
} saving;

static int save_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    const char *name = path + saving.prefix;
    struct entry e = { (uint32_t)strlen(name), (uint32_t)st->st_size };
    AUTO_FREE uint8_t *bytes = NULL;

    (void)at;
    if (type != FTW_F || st->st_size <= 0 || st->st_size > FILE_SIZE || e.path_size >= PATH_SIZE) {
        return 0;
    }
    saving.total += sizeof(e) + e.path_size + e.size;
    bytes = malloc(e.size);
    saving.error = !bytes                             ? -ENOMEM
                   : saving.total > WORKER_CACHE_SIZE ? -EFBIG
                                                      : read_file(path, bytes, e.size);
    if (saving.error == 0) {
        saving.error = write_all(saving.fd, &e, sizeof(e));
    }
    if (saving.error == 0) {
        saving.error = write_all(saving.fd, name, e.path_size);
    }
    if (saving.error == 0) {
        saving.error = write_all(saving.fd, bytes, e.size);
    }
    return saving.error != 0; /* ends the walk */
}

int cache_save(const char *folder, int fd)
{
    int r;

    saving.fd = fd;
    saving.error = 0;
    saving.total = 0;
    saving.prefix = strlen(folder) + 1;
    r = nftw(folder, save_file, 8, FTW_PHYS) < 0 ? -errno : saving.error;
    if (r < 0) {
        (void)!ftruncate(fd, 0);
    }
    return r;
}

/* Makes the folders on the way, and the file. */
static int load_file(const char *folder, const uint8_t *name, size_t name_size,
                     const uint8_t *bytes, size_t size)
{
    AUTO_CLOSE int fd = -1;
    char path[2 * PATH_SIZE];
    int n = snprintf(path, sizeof(path), "%s/%.*s", folder, (int)name_size, (const char *)name);

    if (n < 0 || (size_t)n >= sizeof(path) || strstr(path, "..")) {
        return -EPROTO;
    }
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
            return -errno;
        }
        *slash = '/';
    }
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : write_all(fd, bytes, size);
}

int cache_load(int fd, const char *folder)
{
    AUTO_FREE uint8_t *all = NULL;
    struct stat st;
    size_t at = 0, size;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0) {
        return 0;
    }
    size = (size_t)st.st_size;
    if (size > WORKER_CACHE_SIZE) {
        return -EFBIG;
    }
    all = malloc(size);
    if (!all) {
        return -ENOMEM;
    }
    /* The descriptor's place belongs to all workers together. */
    if (pread(fd, all, size, 0) != (ssize_t)size) {
        return -EIO;
    }
    while (at < size) {
        struct entry e;
        int r;

        if (size - at < sizeof(e)) {
            return -EPROTO;
        }
        memcpy(&e, all + at, sizeof(e));
        at += sizeof(e);
        if (e.path_size == 0 || e.path_size >= PATH_SIZE || e.path_size > size - at ||
            e.size > size - at - e.path_size) {
            return -EPROTO;
        }
        r = load_file(folder, all + at, e.path_size, all + at + e.path_size, e.size);
        if (r < 0) {
            return r;
        }
        at += (size_t)e.path_size + e.size;
    }
    return 1;
}
