/*
 * Semaphores and fences as sync files: exported, polled, imported, used again after that. With a
 * kernel that has vgem also ones that somebody else signals, and has not signalled yet.
 */
#include "vkapp.h"

#include <dirent.h>
#include <drm.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The kernel's vgem interface, whose header libdrm does not carry. */
struct drm_vgem_fence_attach {
    uint32_t handle;
    uint32_t flags;
    uint32_t out_fence;
    uint32_t pad;
};

struct drm_vgem_fence_signal {
    uint32_t fence;
    uint32_t flags;
};

#define VGEM_FENCE_WRITE 1
#define DRM_IOCTL_VGEM_FENCE_ATTACH DRM_IOWR(DRM_COMMAND_BASE + 1, struct drm_vgem_fence_attach)
#define DRM_IOCTL_VGEM_FENCE_SIGNAL DRM_IOW(DRM_COMMAND_BASE + 2, struct drm_vgem_fence_signal)

#define LATER_NS 300000000ull

struct sync {
    struct app app;
    struct buffer data;
    int vgem; /* a node of that driver, -1 if there is none */
};

/* ---- sync files ------------------------------------------------------------------------- */

static bool is_sync_file(int fd)
{
    struct sync_file_info info = { 0 };

    return ioctl(fd, SYNC_IOC_FILE_INFO, &info) == 0;
}

/* -1 stands for "signalled already", in Vulkan too. */
static bool signals(int fd, int timeout_ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return fd < 0 || (poll(&p, 1, timeout_ms) == 1 && p.revents == POLLIN);
}

static int open_vgem(void)
{
    DIR *dir = opendir("/dev/dri");
    const struct dirent *entry;
    int found = -1;

    while (dir && found < 0 && (entry = readdir(dir))) {
        char path[300], name[16] = "";
        struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };

        if (strncmp(entry->d_name, "card", 4) == 0) {
            snprintf(path, sizeof(path), "/dev/dri/%s", entry->d_name);
            found = open(path, O_RDWR | O_CLOEXEC);
            if (found >= 0 &&
                (ioctl(found, DRM_IOCTL_VERSION, &version) < 0 || strcmp(name, "vgem") != 0)) {
                close(found);
                found = -1;
            }
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

/* A sync file that is signalled when `fence` is. */
struct foreign {
    int node;
    uint32_t fence;
    int fd;
};

static struct foreign foreign_create(const struct sync *s)
{
    struct foreign f = { .node = s->vgem };
    struct drm_mode_create_dumb dumb = { .width = 64, .height = 64, .bpp = 32 };
    struct drm_prime_handle prime = { .flags = DRM_CLOEXEC | DRM_RDWR };
    struct drm_vgem_fence_attach attach = { .flags = VGEM_FENCE_WRITE };
    struct dma_buf_export_sync_file out = { .flags = DMA_BUF_SYNC_READ };

    if (ioctl(f.node, DRM_IOCTL_MODE_CREATE_DUMB, &dumb) < 0) {
        fatal("vgem: no buffer");
    }
    prime.handle = attach.handle = dumb.handle;
    if (ioctl(f.node, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) < 0 ||
        ioctl(f.node, DRM_IOCTL_VGEM_FENCE_ATTACH, &attach) < 0 ||
        ioctl(prime.fd, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &out) < 0) {
        fatal("vgem: no fence");
    }
    close(prime.fd);
    f.fence = attach.out_fence;
    f.fd = out.fd;
    return f;
}

static void foreign_signal(const struct foreign *f)
{
    struct drm_vgem_fence_signal signal = { .fence = f->fence };

    if (ioctl(f->node, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signal) < 0) {
        fatal("vgem: the fence cannot be signalled");
    }
}

static void *signal_later(void *arg)
{
    sleep_ns(LATER_NS);
    foreign_signal(arg);
    return NULL;
}

/* ---- Vulkan's side ---------------------------------------------------------------------- */

static VkSemaphore semaphore_create(struct app *app, bool exported)
{
    const VkExportSemaphoreCreateInfo export = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO,
        .handleTypes = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    const VkSemaphoreCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = exported ? &export : NULL,
    };
    VkSemaphore semaphore;

    MUST(vkCreateSemaphore(app->device, &info, NULL, &semaphore));
    return semaphore;
}

static VkFence fence_create(struct app *app, bool exported)
{
    const VkExportFenceCreateInfo export = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_FENCE_CREATE_INFO,
        .handleTypes = VK_EXTERNAL_FENCE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    const VkFenceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO,
        .pNext = exported ? &export : NULL,
    };
    VkFence fence;

    MUST(vkCreateFence(app->device, &info, NULL, &fence));
    return fence;
}

static int semaphore_fd(struct app *app, VkSemaphore semaphore)
{
    const VkSemaphoreGetFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_GET_FD_INFO_KHR,
        .semaphore = semaphore,
        .handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    int fd = -1;

    MUST(vkGetSemaphoreFdKHR(app->device, &info, &fd));
    return fd;
}

static int fence_fd(struct app *app, VkFence fence)
{
    const VkFenceGetFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_FENCE_GET_FD_INFO_KHR,
        .fence = fence,
        .handleType = VK_EXTERNAL_FENCE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    int fd = -1;

    MUST(vkGetFenceFdKHR(app->device, &info, &fd));
    return fd;
}

/* The driver takes the descriptor. */
static void semaphore_import(struct app *app, VkSemaphore semaphore, int fd)
{
    const VkImportSemaphoreFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_SEMAPHORE_FD_INFO_KHR,
        .semaphore = semaphore,
        .flags = VK_SEMAPHORE_IMPORT_TEMPORARY_BIT,
        .handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
        .fd = fd,
    };

    MUST(vkImportSemaphoreFdKHR(app->device, &info));
}

static void fence_import(struct app *app, VkFence fence, int fd)
{
    const VkImportFenceFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_FENCE_FD_INFO_KHR,
        .fence = fence,
        .flags = VK_FENCE_IMPORT_TEMPORARY_BIT,
        .handleType = VK_EXTERNAL_FENCE_HANDLE_TYPE_SYNC_FD_BIT,
        .fd = fd,
    };

    MUST(vkImportFenceFdKHR(app->device, &info));
}

/* Fills the buffer with `word`; any of the objects may be null. */
static void fill(struct sync *s, uint32_t word, VkSemaphore wait, VkSemaphore signal, VkFence fence)
{
    static const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkCommandBuffer commands = commands_begin(&s->app);
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .waitSemaphoreCount = wait ? 1 : 0,
        .pWaitSemaphores = &wait,
        .pWaitDstStageMask = &stage,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
        .signalSemaphoreCount = signal ? 1 : 0,
        .pSignalSemaphores = &signal,
    };

    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT);
    vkCmdFillBuffer(commands, s->data.buffer, 0, s->data.size, word);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    MUST(vkEndCommandBuffer(commands));
    MUST(vkQueueSubmit(s->app.queue, 1, &submit, fence));
}

static bool filled(const struct sync *s, uint32_t word)
{
    const uint32_t *words = s->data.map;

    return words[0] == word && words[s->data.size / 4 - 1] == word;
}

/* ---- checks ----------------------------------------------------------------------------- */

static const char *const semaphore_checks[] = { "semaphore_exported", "semaphore_exported_signals",
                                                "semaphore_imported",
                                                "semaphore_imported_signalled" };
static const char *const fence_checks[] = { "fence_exported", "fence_exported_signals",
                                            "fence_exported_is_reset", "fence_imported",
                                            "fence_imported_signalled" };
static const char *const foreign_checks[] = { "foreign_unsignalled", "foreign_semaphore",
                                              "foreign_fence_waits", "foreign_fence" };

static void skip_all(const char *const *names, size_t n, const char *why)
{
    for (size_t i = 0; i < n; i++) {
        skip(names[i], why);
    }
}

static void run_semaphores(struct sync *s)
{
    struct app *app = &s->app;
    VkSemaphore ours = semaphore_create(app, true), theirs = semaphore_create(app, false);
    VkFence fence = fence_create(app, false);
    bool good = true, done = true, reached = true;

    /* More than once: an export leaves the semaphore unsignalled, ready for the next signal. */
    for (uint32_t round = 1; round <= 5; round++) {
        int fd;

        fill(s, round, VK_NULL_HANDLE, ours, VK_NULL_HANDLE);
        fd = semaphore_fd(app, ours);
        good = good && (fd < 0 || is_sync_file(fd));
        done = done && signals(fd, 10000) && filled(s, round);
        semaphore_import(app, theirs, fd);
        fill(s, round + 100, theirs, VK_NULL_HANDLE, fence);
        MUST(vkWaitForFences(app->device, 1, &fence, VK_TRUE, UINT64_MAX));
        MUST(vkResetFences(app->device, 1, &fence));
        reached = reached && filled(s, round + 100);
    }
    check(good, "semaphore_exported", "not a sync file");
    check(done, "semaphore_exported_signals", "signalled too early, or never");
    check(reached, "semaphore_imported", "the batch behind it did not run");

    semaphore_import(app, theirs, -1);
    fill(s, 200, theirs, VK_NULL_HANDLE, fence);
    check(vkWaitForFences(app->device, 1, &fence, VK_TRUE, 10000000000ull) == VK_SUCCESS &&
              filled(s, 200),
          "semaphore_imported_signalled", "the batch behind it did not run");
    MUST(vkQueueWaitIdle(app->queue));
    vkDestroySemaphore(app->device, ours, NULL);
    vkDestroySemaphore(app->device, theirs, NULL);
    vkDestroyFence(app->device, fence, NULL);
}

static void run_fences(struct sync *s)
{
    struct app *app = &s->app;
    VkFence ours = fence_create(app, true), theirs = fence_create(app, false);
    bool good = true, done = true, reset = true, reached = true;

    for (uint32_t round = 1; round <= 5; round++) {
        int fd;

        fill(s, round, VK_NULL_HANDLE, VK_NULL_HANDLE, ours);
        fd = fence_fd(app, ours);
        good = good && (fd < 0 || is_sync_file(fd));
        done = done && signals(fd, 10000) && filled(s, round);
        reset = reset && vkGetFenceStatus(app->device, ours) == VK_NOT_READY;
        fence_import(app, theirs, fd);
        reached = reached &&
                  vkWaitForFences(app->device, 1, &theirs, VK_TRUE, 10000000000ull) == VK_SUCCESS;
        MUST(vkResetFences(app->device, 1, &theirs));
    }
    check(good, "fence_exported", "not a sync file");
    check(done, "fence_exported_signals", "signalled too early, or never");
    check(reset, "fence_exported_is_reset", "still signalled");
    check(reached, "fence_imported", "never signalled");

    fence_import(app, theirs, -1);
    check(vkGetFenceStatus(app->device, theirs) == VK_SUCCESS, "fence_imported_signalled",
          "it is not");
    MUST(vkQueueWaitIdle(app->queue));
    vkDestroyFence(app->device, ours, NULL);
    vkDestroyFence(app->device, theirs, NULL);
}

/* The submission may wait, or the queue: but nothing may run before the signal. */
static void run_foreign_semaphore(struct sync *s)
{
    struct app *app = &s->app;
    VkSemaphore semaphore = semaphore_create(app, false);
    VkFence fence = fence_create(app, false);
    struct foreign foreign = foreign_create(s);
    const uint64_t begun = now_ns();
    pthread_t thread;

    check(!signals(foreign.fd, 0), "foreign_unsignalled", "signalled from the start");
    if (pthread_create(&thread, NULL, signal_later, &foreign) != 0) {
        fatal("no thread");
    }
    semaphore_import(app, semaphore, foreign.fd);
    fill(s, 300, semaphore, VK_NULL_HANDLE, fence);
    MUST(vkWaitForFences(app->device, 1, &fence, VK_TRUE, UINT64_MAX));
    check(now_ns() - begun >= LATER_NS && filled(s, 300), "foreign_semaphore",
          "did not wait for the signal");
    pthread_join(thread, NULL);
    MUST(vkQueueWaitIdle(app->queue));
    vkDestroySemaphore(app->device, semaphore, NULL);
    vkDestroyFence(app->device, fence, NULL);
}

static void run_foreign_fence(struct sync *s)
{
    struct app *app = &s->app;
    VkFence fence = fence_create(app, false);
    struct foreign foreign = foreign_create(s);

    fence_import(app, fence, foreign.fd);
    check(vkGetFenceStatus(app->device, fence) == VK_NOT_READY &&
              vkWaitForFences(app->device, 1, &fence, VK_TRUE, 50000000) == VK_TIMEOUT,
          "foreign_fence_waits", "signalled too early");
    foreign_signal(&foreign);
    check(vkWaitForFences(app->device, 1, &fence, VK_TRUE, 10000000000ull) == VK_SUCCESS,
          "foreign_fence", "never signalled");
    vkDestroyFence(app->device, fence, NULL);
}

static void run_foreign(struct sync *s)
{
    s->vgem = open_vgem();
    if (s->vgem < 0) {
        skip_all(foreign_checks, ARRAY_SIZE(foreign_checks), "no vgem");
        return;
    }
    run_foreign_semaphore(s);
    run_foreign_fence(s);
    close(s->vgem);
}

static bool semaphores_external(struct app *app)
{
    const VkPhysicalDeviceExternalSemaphoreInfo info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_SEMAPHORE_INFO,
        .handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    VkExternalSemaphoreProperties p = { .sType = VK_STRUCTURE_TYPE_EXTERNAL_SEMAPHORE_PROPERTIES };
    const VkExternalSemaphoreFeatureFlags both =
        VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT;

    vkGetPhysicalDeviceExternalSemaphoreProperties(app->physical, &info, &p);
    return app_has(app, VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME) &&
           (p.externalSemaphoreFeatures & both) == both;
}

static bool fences_external(struct app *app)
{
    const VkPhysicalDeviceExternalFenceInfo info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_FENCE_INFO,
        .handleType = VK_EXTERNAL_FENCE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    VkExternalFenceProperties p = { .sType = VK_STRUCTURE_TYPE_EXTERNAL_FENCE_PROPERTIES };
    const VkExternalFenceFeatureFlags both =
        VK_EXTERNAL_FENCE_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_FENCE_FEATURE_IMPORTABLE_BIT;

    vkGetPhysicalDeviceExternalFenceProperties(app->physical, &info, &p);
    return app_has(app, VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME) &&
           (p.externalFenceFeatures & both) == both;
}

int main(int argc, char **argv)
{
    static struct sync s;
    struct want wants[] = {
        { VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME, NULL },
        { VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME, NULL },
    };
    bool semaphores, fences;

    app_open(&s.app, "cl_sync", argc, argv, NULL, wants, ARRAY_SIZE(wants));
    s.data = buffer_create(&s.app, 1 << 20, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    semaphores = semaphores_external(&s.app);
    fences = fences_external(&s.app);
    if (semaphores) {
        run_semaphores(&s);
    } else {
        skip_all(semaphore_checks, ARRAY_SIZE(semaphore_checks), "not as SYNC_FD");
    }
    if (fences) {
        run_fences(&s);
    } else {
        skip_all(fence_checks, ARRAY_SIZE(fence_checks), "not as SYNC_FD");
    }
    if (semaphores && fences) {
        run_foreign(&s);
    } else {
        skip_all(foreign_checks, ARRAY_SIZE(foreign_checks), "not as SYNC_FD");
    }
    buffer_destroy(&s.app, &s.data);
    return app_close(&s.app);
}
