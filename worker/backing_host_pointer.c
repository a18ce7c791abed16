/*
 * Memory made of a memfd's pages, imported by the driver (VK_EXT_external_memory_host). Before
 * anybody else gets the descriptor it is cut to the blob's size, which the VMM's library insists
 * on, and sealed against resizing, so that nobody can make our mapping fault. It is not sealed
 * against sealing, for the VMM adds its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/checked.h"
#include "ipc/cleanup.h"
#include "ipc/map.h"
#include "worker/arena.h"
#include "worker/backing.h"
#include "worker/chain.h"
#include "worker/device.h"
#include "worker/resources.h"

/* What a memory is rounded up to. Arm guests may have pages of 16 or 64 KiB and ask for more. */
#define GUEST_PAGE 4096u
#define LARGEST_GUEST_PAGE 65536u

static VkResult result_of(int r)
{
    return r == -EMFILE || r == -ENFILE ? VK_ERROR_TOO_MANY_OBJECTS : VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

/*
 * Maps `pages` bytes of the memfd at an address aligned to `align` (a power of two), with zeroed
 * pages of our own up to `whole` bytes: a driver may import in steps greater than a page, and the
 * memfd must have exactly the blob's size.
 */
static int map_aligned(struct memory *m, uint64_t whole, uint64_t align, void **ret_start)
{
    const uint64_t slack = align > GUEST_PAGE ? align : 0;
    uint64_t size, start;
    void *area;

    if (!checked_add(whole, slack, &size)) {
        return -ENOMEM;
    }
    if (slack == 0 && whole == m->pages) {
        area = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
        if (area == MAP_FAILED) {
            return -errno;
        }
        m->area = *ret_start = area;
        m->area_size = whole;
        return 0;
    }
    area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                0);
    if (area == MAP_FAILED) {
        return -errno;
    }
    start = ((uint64_t)(uintptr_t)area + align - 1) & ~(align - 1);
    if (mmap((void *)(uintptr_t)start, m->pages, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             m->fd, 0) == MAP_FAILED) {
        int r = -errno;

        munmap(area, size);
        return r;
    }
    m->area = area;
    m->area_size = size;
    *ret_start = (void *)(uintptr_t)start;
    return 0;
}

static void host_pointer_release(struct memory *m)
{
    if (m->area) {
        munmap(m->area, m->area_size);
        m->area = NULL;
    }
    close_fd(&m->fd);
}

/* The driver imports `size` bytes at `start`. */
static VkResult import_pages(struct arena *a, VkMemoryAllocateInfo *info, void *start,
                             uint64_t size)
{
    VkImportMemoryHostPointerInfoEXT *import = arena_alloc(a, sizeof(*import));

    if (!import) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    import->sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT;
    import->handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
    import->pHostPointer = start;
    /* Left by a guest that asks for no handle type; it may not go with an import. */
    chain_drop(info, VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO);
    chain_push(info, import);
    info->allocationSize = size;
    return VK_SUCCESS;
}

static VkResult host_pointer_attach(struct memory *m, struct arena *a, VkMemoryAllocateInfo *info)
{
    const uint64_t align = m->device->backings.alignment;
    uint64_t whole;
    void *start;
    VkResult result;
    int r;

    if (!checked_align(info->allocationSize, GUEST_PAGE, &m->pages) ||
        !checked_align(m->pages, MAX(align, GUEST_PAGE), &whole)) {
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    r = memfd_create_sized("device memory", m->pages, &m->fd);
    if (r == 0) {
        r = map_aligned(m, whole, align, &start);
    }
    if (r < 0) {
        host_pointer_release(m);
        return result_of(r);
    }
    result = import_pages(a, info, start, whole);
    if (result != VK_SUCCESS) {
        host_pointer_release(m);
    }
    return result;
}

VkResult backing_attach_resource(struct memory *m, struct arena *a, VkMemoryAllocateInfo *info,
                                 const struct resource *resource)
{
    const uint64_t align = m->device->backings.alignment;
    uint64_t whole;
    VkResult result;

    if (!checked_align(info->allocationSize, MAX(align, GUEST_PAGE), &whole) ||
        whole > resource->size) {
        return VK_ERROR_INVALID_EXTERNAL_HANDLE;
    }
    /* A mapping of our own: the resource may go, the memory stays. It cannot shrink. */
    if (map_shared(resource->fd, whole, &m->area) < 0) {
        return VK_ERROR_INVALID_EXTERNAL_HANDLE;
    }
    m->area_size = whole;
    result = (uintptr_t)m->area % align == 0 ? import_pages(a, info, m->area, whole)
                                             : VK_ERROR_INVALID_EXTERNAL_HANDLE;
    if (result != VK_SUCCESS) {
        host_pointer_release(m);
    }
    return result;
}

static int host_pointer_export_fd(struct memory *m, uint64_t size, struct memory_blob *ret_blob)
{
    uint64_t whole;
    int r;

    if (m->fd < 0) {
        return -ENOTSUP; /* somebody else's pages */
    }
    /* A guest kernel asks for whole pages of its own, a guest without one (vtest) for the very
     * size. Either way all our pages stay: the last one at most ends early, or empty ones follow. */
    if (!checked_align(size, GUEST_PAGE, &whole) || whole < m->pages ||
        whole - m->pages >= LARGEST_GUEST_PAGE) {
        return -EINVAL;
    }
    if (size != m->pages && ftruncate(m->fd, (off_t)size) < 0) {
        return -errno;
    }
    r = fd_seal(m->fd, F_SEAL_SHRINK | F_SEAL_GROW);
    if (r < 0) {
        return r;
    }
    ret_blob->fd_type = RESOURCE_SHM;
    ret_blob->fd = take_fd(&m->fd); /* our mapping stays */
    return 0;
}

const struct backing backing_host_pointer = {
    .name = "host pointer",
    .attach = host_pointer_attach,
    .export_fd = host_pointer_export_fd,
    .release = host_pointer_release,
};

/* Imports the pages for one memory type, for a moment. */
static bool try_import(struct device *dev, uint32_t type, void *start, uint64_t size)
{
    const struct wire_procs *vk = &dev->procs;
    const VkImportMemoryHostPointerInfoEXT import = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
        .pHostPointer = start,
    };
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = &import,
        .allocationSize = size,
        .memoryTypeIndex = type,
    };
    VkDeviceMemory memory;

    if (vk->AllocateMemory(vk->device, &info, NULL, &memory) != VK_SUCCESS) {
        return false;
    }
    vk->FreeMemory(vk->device, memory, NULL);
    return true;
}

uint32_t backing_host_pointer_types(struct device *dev)
{
    const struct wire_procs *vk = &dev->procs;
    const struct physical *p = dev->physical;
    const uint64_t align = dev->backings.alignment;
    const VkPhysicalDeviceExternalBufferInfo buffer_info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
        .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
    };
    VkExternalBufferProperties buffer = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES,
    };
    VkMemoryHostPointerPropertiesEXT properties = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT,
    };
    struct memory trial = { .device = dev, .fd = -1, .pages = GUEST_PAGE };
    const uint64_t whole = MAX(align, GUEST_PAGE);
    uint32_t types = 0;
    void *start;

    if (!vk->GetMemoryHostPointerPropertiesEXT || !is_power_of_two(align)) {
        return 0;
    }
    p->vk->GetPhysicalDeviceExternalBufferProperties(p->handle, &buffer_info, &buffer);
    if (!(buffer.externalMemoryProperties.externalMemoryFeatures &
          VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT) ||
        (buffer.externalMemoryProperties.externalMemoryFeatures &
         VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT)) {
        return 0;
    }
    if (memfd_create_sized("device memory", trial.pages, &trial.fd) == 0 &&
        map_aligned(&trial, whole, align, &start) == 0 &&
        vk->GetMemoryHostPointerPropertiesEXT(
            vk->device, VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT, start,
            &properties) == VK_SUCCESS) {
        for (uint32_t i = 0; i < p->memory.memoryTypeCount; i++) {
            /* Some kernels refuse to give a device pages of a file: only trying tells. */
            if ((properties.memoryTypeBits & (1u << i)) &&
                (p->memory.memoryTypes[i].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) &&
                try_import(dev, i, start, whole)) {
                types |= 1u << i;
            }
        }
    }
    host_pointer_release(&trial);
    return types;
}
