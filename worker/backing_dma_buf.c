/* Memory that the driver allocates and exports as a dma-buf. */
#include <errno.h>

#include "ipc/cleanup.h"
#include "ipc/map.h"
#include "worker/arena.h"
#include "worker/backing.h"
#include "worker/chain.h"
#include "worker/device.h"
#include "worker/resources.h"

static VkResult dma_buf_attach(struct memory *m, struct arena *a, VkMemoryAllocateInfo *info)
{
    VkExportMemoryAllocateInfo *export =
        chain_find(info, VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO);

    (void)m;
    if (export) {
        export->handleTypes |= VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT;
        return VK_SUCCESS;
    }
    export = arena_alloc(a, sizeof(*export));
    if (!export) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    export->sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO;
    export->handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT;
    chain_push(info, export);
    return VK_SUCCESS;
}

static int dma_buf_export_fd(struct memory *m, uint64_t size, struct memory_blob *ret_blob)
{
    AUTO_CLOSE int fd = -1;
    uint64_t there;
    int r;

    r = backing_export_handle(m, VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT, &fd);
    if (r < 0) {
        return r;
    }
    r = fd_size(fd, &there);
    if (r < 0) {
        return r;
    }
    if (there < size) {
        return -EINVAL;
    }
    ret_blob->fd_type = RESOURCE_DMABUF;
    ret_blob->fd = take_fd(&fd);
    return 0;
}

static void dma_buf_release(struct memory *m)
{
    (void)m;
}

const struct backing backing_dma_buf = {
    .name = "dma-buf",
    .attach = dma_buf_attach,
    .export_fd = dma_buf_export_fd,
    .release = dma_buf_release,
};
