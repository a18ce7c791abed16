#include "worker/backing.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "ipc/base.h"
#include "ipc/log.h"
#include "worker/chain.h"
#include "worker/device.h"

static const VkExternalMemoryHandleTypeFlagBits handle_types[BACKING_KINDS] = {
    [BACKING_HOST_POINTER] = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
    [BACKING_DMA_BUF] = VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT,
    [BACKING_OPAQUE_FD] = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT,
};

VkExternalMemoryHandleTypeFlagBits backing_handle_type(enum backing_kind kind)
{
    return handle_types[kind];
}

const struct backing *backing_of(enum backing_kind kind)
{
    static const struct backing *const all[BACKING_KINDS] = {
        [BACKING_PLAIN] = &backing_plain,
        [BACKING_HOST_POINTER] = &backing_host_pointer,
        [BACKING_DMA_BUF] = &backing_dma_buf,
        [BACKING_OPAQUE_FD] = &backing_opaque_fd,
    };

    return all[kind];
}

enum backing_kind backing_choose(const struct backing_facts *f)
{
    /* A CPU driver's memory is ordinary pages: ours are as good as its own, and a memfd is what
     * every VMM can map. A GPU has better things to do than to follow page tables of a process,
     * and its dma-bufs can be mapped too. An opaque descriptor needs Vulkan in the VMM: last. */
    static const enum backing_kind on_cpu[] = { BACKING_HOST_POINTER, BACKING_DMA_BUF,
                                                BACKING_OPAQUE_FD };
    static const enum backing_kind on_gpu[] = { BACKING_DMA_BUF, BACKING_HOST_POINTER,
                                                BACKING_OPAQUE_FD };
    const enum backing_kind *order = f->cpu ? on_cpu : on_gpu;

    if (!(f->flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT)) {
        return BACKING_PLAIN;
    }
    for (size_t i = 0; i < ARRAY_SIZE(on_cpu); i++) {
        if (f->can[order[i]]) {
            return order[i];
        }
    }
    return BACKING_PLAIN;
}

enum backing_kind backings_main_kind(const struct backings *b)
{
    enum backing_kind best = BACKING_PLAIN;
    int most = 0;

    for (enum backing_kind kind = BACKING_HOST_POINTER; kind < BACKING_KINDS; kind++) {
        const int n = __builtin_popcount(b->types[kind]);

        if (n > most) {
            most = n;
            best = kind;
        }
    }
    return best;
}

uint32_t backings_allowed(const struct backings *b, uint32_t bits, bool external)
{
    uint32_t allowed = b->types[BACKING_PLAIN];

    if (external) {
        allowed |= b->types[b->kind];
    }
    return bits & allowed ? bits & allowed : bits;
}

/* The driver's word on buffers: may memory of this kind be made, without being dedicated? */
static VkExternalMemoryProperties buffer_word(const struct physical *p,
                                              VkExternalMemoryHandleTypeFlagBits type)
{
    const VkPhysicalDeviceExternalBufferInfo info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
        .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .handleType = type,
    };
    VkExternalBufferProperties properties = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES,
    };

    p->vk->GetPhysicalDeviceExternalBufferProperties(p->handle, &info, &properties);
    return properties.externalMemoryProperties;
}

static bool exports(const VkExternalMemoryProperties *word, VkExternalMemoryHandleTypeFlagBits type)
{
    return (word->externalMemoryFeatures & VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT) &&
           !(word->externalMemoryFeatures & VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT) &&
           (word->compatibleHandleTypes & type);
}

/* What a person asks first when mapped memory is slow or missing. */
static void say_backings(const struct physical *p, const struct backings *b)
{
    char text[160];
    size_t used = 0;

    text[0] = '\0';
    for (enum backing_kind kind = BACKING_PLAIN; kind < BACKING_KINDS; kind++) {
        if (b->types[kind]) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%stypes 0x%x %s",
                                     used ? ", " : "", b->types[kind], backing_of(kind)->name);
            assert(used < sizeof(text));
        }
    }
    log_info("memory of %s: %s", p->properties.deviceName, used ? text : "none");
    /* Types of another kind than the main one are kept from buffers and images: no harm there. */
    if (b->kind == BACKING_OPAQUE_FD) {
        log_warn("%s: memory of types 0x%x can leave only as opaque descriptors, which a VMM maps "
                 "with Vulkan in its own process or not at all: vtest and vhost-user cannot",
                 p->properties.deviceName, b->types[BACKING_OPAQUE_FD]);
    }
}

void backings_probe(struct device *dev)
{
    const struct physical *p = dev->physical;
    const bool cpu = p->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    struct backings *b = &dev->backings;
    VkExternalMemoryProperties dma_buf = { 0 }, opaque = { 0 };

    *b = (struct backings){ .alignment = p->host_pointer_alignment };
    if (dev->procs.GetMemoryFdKHR) {
        opaque = buffer_word(p, handle_types[BACKING_OPAQUE_FD]);
        b->opaque_fd = exports(&opaque, handle_types[BACKING_OPAQUE_FD]);
        if (physical_has(p, VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME)) {
            dma_buf = buffer_word(p, handle_types[BACKING_DMA_BUF]);
            b->dma_buf = exports(&dma_buf, handle_types[BACKING_DMA_BUF]);
        }
        b->dma_buf_and_opaque = b->dma_buf && b->opaque_fd &&
                                (dma_buf.compatibleHandleTypes & handle_types[BACKING_OPAQUE_FD]) &&
                                (opaque.compatibleHandleTypes & handle_types[BACKING_DMA_BUF]);
    }
    /* Only where it would be chosen: what imports pages into a GPU is a call of the kernel's driver
     * with a bad history, which the policies of drivers that export dma-bufs leave out. */
    if (cpu || !b->dma_buf) {
        b->host_pointer_types = backing_host_pointer_types(dev);
    }

    for (uint32_t i = 0; i < p->memory.memoryTypeCount; i++) {
        const struct backing_facts facts = {
            .flags = p->memory.memoryTypes[i].propertyFlags,
            .can = { [BACKING_HOST_POINTER] = b->host_pointer_types & (1u << i),
                     [BACKING_DMA_BUF] = b->dma_buf,
                     [BACKING_OPAQUE_FD] = b->opaque_fd },
            .cpu = cpu,
        };
        const enum backing_kind kind = backing_choose(&facts);

        b->of_type[i] = (uint8_t)kind;
        b->types[kind] |= 1u << i;
    }
    b->kind = backings_main_kind(b);
    say_backings(p, b);
}

int backing_export_handle(struct memory *m, VkExternalMemoryHandleTypeFlagBits type, int *ret_fd)
{
    const VkMemoryGetFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR,
        .memory = m->handle,
        .handleType = type,
    };
    const struct wire_procs *vk = &m->device->procs;
    int fd = -1;

    if (!vk->GetMemoryFdKHR || vk->GetMemoryFdKHR(vk->device, &info, &fd) != VK_SUCCESS || fd < 0) {
        return -ENOTSUP;
    }
    *ret_fd = fd;
    return 0;
}
