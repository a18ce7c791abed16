/* Memory that nobody but the device sees. */
#include <errno.h>

#include "worker/backing.h"

static VkResult plain_attach(struct memory *m, struct arena *a, VkMemoryAllocateInfo *info)
{
    (void)m;
    (void)a;
    (void)info;
    return VK_SUCCESS;
}

static int plain_export_fd(struct memory *m, uint64_t size, struct memory_blob *ret_blob)
{
    (void)m;
    (void)size;
    (void)ret_blob;
    return -ENOTSUP;
}

static void plain_release(struct memory *m)
{
    (void)m;
}

const struct backing backing_plain = {
    .name = "plain",
    .attach = plain_attach,
    .export_fd = plain_export_fd,
    .release = plain_release,
};
