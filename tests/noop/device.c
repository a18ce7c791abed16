/*
 * What a GPU that does nothing lacks in Mesa's no-op DRM devices ("drm-shim") before memory can
 * leave the process: each buffer has pages of its own, a memfd, which PRIME gives out and takes
 * back. It is linked with Mesa's files by scripts/host-drivers, not by the build.
 *
 * And what makes it a test of the sandbox: each ioctl on the render node is also made for real, on
 * the node that the broker gave, so that the worker's filter judges the very numbers that a GPU
 * would get. What the node answers does not count.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <dlfcn.h>

#include "drm-shim/drm_shim.h"
#include "drm-uapi/drm.h"
#include "util/hash_table.h"

/* Newer than Mesa 25's headers: what the call begins with. */
#define MSM_VM_BIND 0x0d
#define MSM_VM_BIND_FENCE_FD_OUT 0x2

struct msm_vm_bind {
    uint32_t flags;
    uint32_t n_ops;
    int32_t fence_fd;
};

/* Larger than any driver's own struct around a shim_bo. */
#define BO_SIZE 256

struct pages {
    struct shim_bo *bo;
    int fd;
    unsigned handles; /* in all open files */
};

/* Of every buffer that has been mapped or shared; under shim_device.mem_lock. */
static struct hash_table *all_pages;

extern ioctl_fn_t core_ioctls[];

int __real_drm_shim_ioctl(int fd, unsigned long request, void *arg);
int __real_drm_shim_bo_init(struct shim_bo *bo, size_t size);
void __real_drm_shim_driver_init(void);

static struct pages *pages_find(struct shim_bo *bo)
{
    struct hash_entry *entry = _mesa_hash_table_search(all_pages, bo);

    return entry ? entry->data : NULL;
}

/* own_fd -1: fresh pages. NULL if there are none to be had. */
static struct pages *pages_add(struct shim_bo *bo, int own_fd)
{
    struct pages *pages = calloc(1, sizeof(*pages));

    *pages = (struct pages){ .bo = bo, .fd = own_fd, .handles = 1 };
    if (own_fd < 0) {
        pages->fd = memfd_create("no-op buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    if (pages->fd < 0 || (own_fd < 0 && ftruncate(pages->fd, bo->size) < 0)) {
        free(pages);
        return NULL;
    }
    _mesa_hash_table_insert(all_pages, bo, pages);
    return pages;
}

static struct pages *pages_of(struct shim_bo *bo)
{
    struct pages *pages = pages_find(bo);

    return pages ? pages : pages_add(bo, -1);
}

/* The buffer whose pages `fd` is. */
static struct pages *pages_behind(int fd)
{
    struct stat theirs, ours;

    if (fstat(fd, &theirs) < 0) {
        return NULL;
    }
    hash_table_foreach (all_pages, entry) {
        struct pages *pages = entry->data;

        if (fstat(pages->fd, &ours) == 0 && ours.st_ino == theirs.st_ino &&
            ours.st_dev == theirs.st_dev) {
            return pages;
        }
    }
    return NULL;
}

void *__wrap_drm_shim_mmap(struct shim_fd *shim_fd, size_t length, int prot, int flags, int fd,
                           off64_t offset)
{
    struct shim_bo *bo;
    struct pages *pages;
    int pages_fd;

    mtx_lock(&shim_device.mem_lock);
    bo = _mesa_hash_table_u64_search(shim_device.offset_map, (uint64_t)offset);
    pages = bo && length <= bo->size ? pages_of(bo) : NULL;
    pages_fd = pages ? pages->fd : -1;
    mtx_unlock(&shim_device.mem_lock);
    return pages_fd < 0 ? MAP_FAILED : mmap(NULL, length, prot, flags, pages_fd, 0);
}

static int handle_to_fd(int fd, unsigned long request, void *arg)
{
    struct drm_prime_handle *prime = arg;
    struct shim_bo *bo = drm_shim_bo_lookup(drm_shim_fd_lookup(fd), (int)prime->handle);
    struct pages *pages;

    if (!bo) {
        return -ENOENT;
    }
    mtx_lock(&shim_device.mem_lock);
    pages = pages_of(bo);
    prime->fd = pages ? fcntl(pages->fd, F_DUPFD_CLOEXEC, 0) : -1;
    mtx_unlock(&shim_device.mem_lock);
    return prime->fd < 0 ? -ENOMEM : 0;
}

/* The handle that a file has for a buffer; 0: none. */
static uint32_t handle_of(struct shim_fd *shim_fd, const struct shim_bo *bo)
{
    uint32_t found = 0;

    mtx_lock(&shim_fd->handle_lock);
    hash_table_foreach (shim_fd->handles, entry) {
        if (entry->data == bo) {
            found = (uint32_t)(uintptr_t)entry->key;
        }
    }
    mtx_unlock(&shim_fd->handle_lock);
    return found;
}

/* Somebody else's pages become a buffer. */
static struct pages *import_pages(int fd)
{
    const off_t size = lseek(fd, 0, SEEK_END);
    struct shim_bo *bo = calloc(1, BO_SIZE);

    if (size <= 0 || size > UINT32_MAX || drm_shim_bo_init(bo, (size_t)size) < 0) {
        free(bo);
        return NULL;
    }
    mtx_lock(&shim_device.mem_lock);
    return pages_add(bo, fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

static int fd_to_handle(int fd, unsigned long request, void *arg)
{
    struct shim_fd *shim_fd = drm_shim_fd_lookup(fd);
    struct drm_prime_handle *prime = arg;
    struct pages *pages;

    mtx_lock(&shim_device.mem_lock);
    pages = pages_behind(prime->fd);
    if (pages) {
        /* One file has one handle for a buffer, however often it imports it. */
        prime->handle = handle_of(shim_fd, pages->bo);
        pages->handles += prime->handle == 0;
    } else {
        mtx_unlock(&shim_device.mem_lock);
        pages = import_pages(prime->fd);
        if (!pages) {
            return -EINVAL;
        }
        prime->handle = 0;
    }
    mtx_unlock(&shim_device.mem_lock);
    if (prime->handle == 0) {
        prime->handle = (uint32_t)drm_shim_bo_get_handle(shim_fd, pages->bo);
    }
    return 0;
}

static void bo_free(struct shim_bo *bo, struct pages *pages)
{
    if (pages) {
        _mesa_hash_table_remove_key(all_pages, bo);
        close(pages->fd);
        free(pages);
    }
    if (bo->map) {
        munmap(bo->map, bo->size);
    }
    _mesa_hash_table_u64_remove(shim_device.offset_map, bo->mem_addr);
    util_vma_heap_free(&shim_device.mem_heap, bo->mem_addr, bo->size);
    free(bo);
}

static int gem_close(int fd, unsigned long request, void *arg)
{
    struct shim_fd *shim_fd = drm_shim_fd_lookup(fd);
    const struct drm_gem_close *c = arg;
    struct hash_entry *entry;
    struct shim_bo *bo = NULL;

    mtx_lock(&shim_fd->handle_lock);
    entry = _mesa_hash_table_search(shim_fd->handles, (void *)(uintptr_t)c->handle);
    if (entry) {
        bo = entry->data;
        _mesa_hash_table_remove(shim_fd->handles, entry);
    }
    mtx_unlock(&shim_fd->handle_lock);
    if (!bo) {
        return -EINVAL;
    }
    mtx_lock(&shim_device.mem_lock);
    struct pages *pages = pages_find(bo);

    if (!pages || --pages->handles == 0) {
        bo_free(bo, pages);
    }
    mtx_unlock(&shim_device.mem_lock);
    return 0;
}

/* Turnip of Mesa 26 binds addresses itself, and waits for that: a file is always ready. */
static int vm_bind(struct msm_vm_bind *bind)
{
    if (bind->flags & MSM_VM_BIND_FENCE_FD_OUT) {
        bind->fence_fd = fcntl(shim_device.mem_fd, F_DUPFD_CLOEXEC, 0);
    }
    return 0;
}

int __wrap_drm_shim_ioctl(int fd, unsigned long request, void *arg)
{
    int r;

    (void)syscall(SYS_ioctl, fd, request, arg);
    if (_IOC_NR(request) == DRM_COMMAND_BASE + MSM_VM_BIND &&
        strcmp(shim_device.driver_name, "msm") == 0) {
        return vm_bind(arg);
    }
    r = __real_drm_shim_ioctl(fd, request, arg);
    if (r < -1) {
        errno = -r;
        return -1;
    }
    return r;
}

/* A worker's environment is made from nothing, so the GPU to be is named by a file beside us. */
static void choose_gpu(void)
{
    char path[4096], line[128];
    Dl_info info;
    char *slash, *is;
    FILE *file;

    if (!dladdr((void *)(uintptr_t)choose_gpu, &info)) {
        return;
    }
    snprintf(path, sizeof(path), "%s", info.dli_fname);
    slash = strrchr(path, '/');
    snprintf(slash ? slash + 1 : path, 8, "gpu");
    file = fopen(path, "re");
    if (!file) {
        return;
    }
    if (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        is = strchr(line, '=');
        if (is) {
            *is = '\0';
            setenv(line, is + 1, 1);
        }
    }
    fclose(file);
}

/* Drivers find out with empty buffers whether the kernel knows an extension. */
int __wrap_drm_shim_bo_init(struct shim_bo *bo, size_t size)
{
    return __real_drm_shim_bo_init(bo, size ? size : 4096);
}

void __wrap_drm_shim_driver_init(void)
{
    choose_gpu();
    all_pages = _mesa_pointer_hash_table_create(NULL);
    core_ioctls[_IOC_NR(DRM_IOCTL_GEM_CLOSE)] = gem_close;
    core_ioctls[_IOC_NR(DRM_IOCTL_PRIME_HANDLE_TO_FD)] = handle_to_fd;
    core_ioctls[_IOC_NR(DRM_IOCTL_PRIME_FD_TO_HANDLE)] = fd_to_handle;
    __real_drm_shim_driver_init();
    /* The oldest kernel that RADV of Mesa 26 runs on; to older ones it is just newer. */
    if (strcmp(shim_device.driver_name, "amdgpu") == 0) {
        shim_device.version_minor = MAX2(shim_device.version_minor, 54);
    }
}
