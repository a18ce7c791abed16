/*
 * Hosts that no driver at hand is like: several devices and groups, memory types of every kind,
 * drivers that can export little or nothing. Handlers are called as the decoder calls them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/log.h"
#include "ipc/map.h"
#include "tests/fakevk/fakevk.h"
#include "wire/commands.h"
#include "wire/mesa.h"
#include "wire/objects.h"
#include "worker/budget.h"
#include "worker/context.h"
#include "worker/device.h"
#include "worker/memory.h"
#include "worker/resources.h"
#include "worker/venus/wire.h"

enum { INSTANCE = 1, DEVICE = 10, PHYSICAL = 20 };

#define LOCAL VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define VISIBLE VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT
#define COHERENT VK_MEMORY_PROPERTY_HOST_COHERENT_BIT
#define CACHED VK_MEMORY_PROPERTY_HOST_CACHED_BIT

#define DMA_BUF VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT
#define OPAQUE VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT
#define POINTER VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT

struct host {
    struct recorder recorder;
    struct vulkan vulkan;
    struct context ctx;
    struct object *instance, *device;
    uint64_t next_id;
    int log_fd;
};

static int setup(void **state)
{
    struct host *h = calloc(1, sizeof(*h));
    int fd = -1;

    fakevk_host_reset();
    h->log_fd = memfd_create("log", MFD_CLOEXEC);
    h->next_id = 100;
    log_to_fd(h->log_fd);
    fakevk_open(&h->vulkan);
    if (memfd_create_sized("record", sizeof(struct worker_record), &fd) < 0 ||
        recorder_init(&h->recorder, fd) < 0 ||
        context_init(&h->ctx, 7, "test", &h->recorder, &h->vulkan, -1) < 0) {
        return -1;
    }
    objects_wake(&h->ctx.objects, &h->ctx.decoder.reader);
    *state = h;
    return 0;
}

static struct decoder *command(struct host *h)
{
    struct decoder *d = &h->ctx.decoder;

    arena_reset(&d->arena);
    objects_quiesce(d->objects, &d->reader);
    return d;
}

static int teardown(void **state)
{
    struct host *h = *state;
    struct wire_vkDestroyInstance c = { .instance_obj = h->instance };

    cmd_vkDestroyInstance(command(h), &c);
    context_fini(&h->ctx);
    munmap(h->recorder.page, sizeof(struct worker_record));
    log_to_fd(2);
    close(h->log_fd);
    free(h);
    fakevk_host_reset();
    return 0;
}

static bool logged(const struct host *h, const char *part)
{
    char text[8192];
    ssize_t n = pread(h->log_fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = 0;
    return strstr(text, part) != NULL;
}

/* The guest's first commands, on the host that fakevk_host describes now. */
static void create_instance(struct host *h)
{
    const VkInstanceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO };
    uint64_t id = INSTANCE;
    struct wire_vkCreateInstance c = { .pCreateInfo = &info, .pInstance = &id };

    cmd_vkCreateInstance(command(h), &c);
    assert_int_equal(c.ret, VK_SUCCESS);
    h->instance = objects_find_any(&h->ctx.objects, INSTANCE);
}

static VkResult enumerate(struct host *h, uint32_t *count)
{
    uint64_t ids[8];
    struct wire_vkEnumeratePhysicalDevices c = {
        .instance_obj = h->instance,
        .pPhysicalDeviceCount = count,
        .pPhysicalDevices = ids,
    };

    for (uint32_t i = 0; i < 8; i++) {
        ids[i] = PHYSICAL + i;
    }
    cmd_vkEnumeratePhysicalDevices(command(h), &c);
    return c.ret;
}

static void create_device(struct host *h)
{
    static const char *const extensions[] = {
        VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME,
        VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME,
        VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME,
        VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME,
    };
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = ARRAY_SIZE(extensions),
        .ppEnabledExtensionNames = extensions,
    };
    uint32_t count = 1;
    uint64_t id = DEVICE;
    struct wire_vkCreateDevice c = { .pCreateInfo = &info, .pDevice = &id };

    create_instance(h);
    assert_int_equal(enumerate(h, &count), VK_SUCCESS);
    c.physicalDevice_obj = objects_find_any(&h->ctx.objects, PHYSICAL);
    cmd_vkCreateDevice(command(h), &c);
    assert_int_equal(c.ret, VK_SUCCESS);
    h->device = objects_find_any(&h->ctx.objects, DEVICE);
}

static VkResult allocate(struct host *h, uint32_t type, uint32_t export, uint64_t *ret_id)
{
    VkExportMemoryAllocateInfo wish = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO,
        .handleTypes = export,
    };
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = export ? &wish : NULL,
        .allocationSize = 65536,
        .memoryTypeIndex = type,
    };
    uint64_t id = h->next_id++;
    struct wire_vkAllocateMemory c = {
        .device_obj = h->device,
        .pAllocateInfo = &info,
        .pMemory = &id,
    };

    cmd_vkAllocateMemory(command(h), &c);
    *ret_id = id;
    return c.ret;
}

/* What becomes of a blob of this memory type: its map_info, or a negative errno. */
static int blob_of(struct host *h, uint32_t type, uint32_t export, uint32_t flags,
                   uint32_t *ret_kind)
{
    struct memory_blob blob = { .fd = -1 };
    uint64_t id;
    int r;

    assert_int_equal(allocate(h, type, export, &id), VK_SUCCESS);
    r = memory_export(&h->ctx, id, 65536, flags, &blob);
    if (r < 0) {
        return r;
    }
    charge_unref(blob.charge);
    close(blob.fd);
    *ret_kind = blob.fd_type;
    return (int)blob.map_info;
}

/* ---- groups -------------------------------------------------------------------------------- */

static VkResult groups(struct host *h, uint32_t *count, VkPhysicalDeviceGroupProperties *out)
{
    struct wire_vkEnumeratePhysicalDeviceGroups c = {
        .instance_obj = h->instance,
        .pPhysicalDeviceGroupCount = count,
        .pPhysicalDeviceGroupProperties = out,
    };

    cmd_vkEnumeratePhysicalDeviceGroups(command(h), &c);
    return c.ret;
}

static void assert_group(const VkPhysicalDeviceGroupProperties *g, uint64_t first, uint64_t second)
{
    assert_int_equal(g->physicalDeviceCount, 2);
    assert_int_equal((uintptr_t)g->physicalDevices[0], first);
    assert_int_equal((uintptr_t)g->physicalDevices[1], second);
    for (uint32_t i = 2; i < VK_MAX_DEVICE_GROUP_SIZE; i++) {
        assert_null(g->physicalDevices[i]);
    }
}

static void two_groups_whole_and_incomplete(void **state)
{
    struct host *h = *state;
    VkPhysicalDeviceGroupProperties g[3];
    uint32_t count = 8;

    fakevk_host.n_physical = 4;
    fakevk_host.n_groups = 2;
    create_instance(h);

    /* Nobody has named the devices: no pointer of the host's may show. */
    memset(g, 0xee, sizeof(g));
    count = 2;
    assert_int_equal(groups(h, &count, g), VK_ERROR_INITIALIZATION_FAILED);
    assert_int_equal(g[1].physicalDeviceCount, 0);
    assert_null(g[1].physicalDevices[0]);

    count = 8;
    assert_int_equal(enumerate(h, &count), VK_SUCCESS);
    assert_int_equal(count, 4);
    assert_int_equal(groups(h, &count, NULL), VK_SUCCESS);
    assert_int_equal(count, 2);

    memset(g, 0xee, sizeof(g));
    count = 3;
    assert_int_equal(groups(h, &count, g), VK_SUCCESS);
    assert_int_equal(count, 2);
    assert_group(&g[0], PHYSICAL, PHYSICAL + 2);
    assert_group(&g[1], PHYSICAL + 1, PHYSICAL + 3);

    memset(g, 0xee, sizeof(g));
    count = 1;
    assert_int_equal(groups(h, &count, g), VK_INCOMPLETE);
    assert_int_equal(count, 1);
    assert_group(&g[0], PHYSICAL, PHYSICAL + 2);
}

/* The guest knows of two devices out of four; a group holds one that it has not named. */
static void a_group_with_a_device_that_has_no_id(void **state)
{
    struct host *h = *state;
    VkPhysicalDeviceGroupProperties g[2];
    uint32_t count = 2;

    fakevk_host.n_physical = 4;
    fakevk_host.n_groups = 2;
    create_instance(h);
    assert_int_equal(enumerate(h, &count), VK_INCOMPLETE);
    memset(g, 0xee, sizeof(g));
    assert_int_equal(groups(h, &count, g), VK_ERROR_INITIALIZATION_FAILED);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(g[i].physicalDeviceCount, 0);
        for (uint32_t j = 0; j < VK_MAX_DEVICE_GROUP_SIZE; j++) {
            assert_null(g[i].physicalDevices[j]);
        }
    }
}

/* ---- memory types -------------------------------------------------------------------------- */

static const VkMemoryPropertyFlags all_types[] = {
    LOCAL,
    VISIBLE | COHERENT,
    VISIBLE | COHERENT | CACHED,
    VISIBLE | CACHED,
    LOCAL | VISIBLE | COHERENT,
    LOCAL | VISIBLE | COHERENT | CACHED,
};

static void have_all_types(VkExternalMemoryHandleTypeFlags external, VkPhysicalDeviceType type)
{
    fakevk_host.n_types = ARRAY_SIZE(all_types);
    memcpy(fakevk_host.types, all_types, sizeof(all_types));
    fakevk_host.external = external;
    fakevk_host.type = type;
}

/* Exported memory keeps the caching of its type, which the guest's mapping must have too: two
 * mappings of one page that disagree are undefined on some processors. */
static void map_info_of_exported_memory(VkExternalMemoryHandleTypeFlags how, uint32_t want_kind,
                                        struct host *h)
{
    static const int want[] = { -EINVAL,     MAP_INFO_WC, MAP_INFO_CACHED,
                                MAP_INFO_WC, MAP_INFO_WC, MAP_INFO_CACHED };

    have_all_types(how, VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU);
    create_device(h);
    for (uint32_t i = 0; i < ARRAY_SIZE(all_types); i++) {
        uint32_t kind = 99;

        assert_int_equal(blob_of(h, i, 0, BLOB_MAPPABLE, &kind), want[i]);
        assert_int_equal(kind, want[i] < 0 ? 99 : want_kind);
    }
}

static void map_info_of_dma_bufs(void **state)
{
    map_info_of_exported_memory(DMA_BUF | OPAQUE, RESOURCE_DMABUF, *state);
    assert_false(logged(*state, "opaque"));
}

static void map_info_of_opaque_descriptors(void **state)
{
    map_info_of_exported_memory(OPAQUE, RESOURCE_OPAQUE, *state);
    assert_true(logged(*state, "leaves as an opaque descriptor")); /* three times, then less */
}

static void map_info_of_our_own_pages(void **state)
{
    struct host *h = *state;
    uint32_t kind;

    /* They are ordinary memory whatever the driver's type says of its own. */
    have_all_types(POINTER, VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU);
    create_device(h);
    for (uint32_t i = 1; i < ARRAY_SIZE(all_types); i++) {
        assert_int_equal(blob_of(h, i, 0, BLOB_MAPPABLE, &kind), MAP_INFO_CACHED);
        assert_int_equal(kind, RESOURCE_SHM);
    }
}

static void memory_that_is_not_to_be_mapped_has_no_map_info(void **state)
{
    struct host *h = *state;
    uint32_t kind;

    have_all_types(DMA_BUF, VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU);
    create_device(h);
    for (uint32_t i = 0; i < ARRAY_SIZE(all_types); i++) {
        assert_int_equal(blob_of(h, i, DMA_BUF, BLOB_SHAREABLE, &kind), MAP_INFO_NONE);
        assert_int_equal(kind, RESOURCE_DMABUF);
    }
    assert_int_equal(blob_of(h, 2, DMA_BUF, BLOB_MAPPABLE | BLOB_CROSS_DEVICE, &kind),
                     MAP_INFO_CACHED);
}

static void opaque_descriptors_only_when_nothing_else_is_left(void **state)
{
    struct host *h = *state;
    uint32_t kind;

    have_all_types(OPAQUE | POINTER, VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU);
    create_device(h);
    assert_int_equal(blob_of(h, 2, 0, BLOB_MAPPABLE, &kind), MAP_INFO_CACHED);
    assert_int_equal(kind, RESOURCE_SHM);
    assert_false(logged(h, "opaque"));
}

static void opaque_descriptors_are_never_silent(void **state)
{
    struct host *h = *state;
    uint32_t kind;

    have_all_types(OPAQUE, VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU);
    create_device(h);
    assert_true(logged(h, "can leave only as opaque descriptors"));
    assert_int_equal(blob_of(h, 1, 0, BLOB_MAPPABLE, &kind), MAP_INFO_WC);
    assert_int_equal(kind, RESOURCE_OPAQUE);
    /* What another device is to use must be a dma-buf. */
    assert_int_equal(blob_of(h, 1, OPAQUE, BLOB_MAPPABLE | BLOB_CROSS_DEVICE, &kind), -ENOTSUP);
}

static void a_driver_that_exports_nothing(void **state)
{
    struct host *h = *state;
    uint32_t kind;
    uint64_t id;

    have_all_types(0, VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU);
    create_device(h);
    assert_int_equal(blob_of(h, 1, 0, BLOB_MAPPABLE, &kind), -ENOTSUP);
    assert_int_equal(allocate(h, 1, DMA_BUF, &id), VK_ERROR_INVALID_EXTERNAL_HANDLE);
}

/* ---- sync files that the driver itself makes ------------------------------------------------ */

static int open_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static struct object *insert(struct host *h, uint32_t type)
{
    struct object *o = object_new(h->next_id, type, 0x5000 + h->next_id, h->device);

    h->next_id++;
    assert_int_equal(objects_insert(&h->ctx.objects, o), 0);
    return o;
}

/* A payload that leaves, signalled or not, is taken out of the driver and the file is closed: the
 * guest's kernel has made its own. Nothing is waited for. */
static void payloads_leave_and_come_by_the_drivers_sync_files(void **state)
{
    struct host *h = *state;
    struct object *semaphore, *fence;
    struct decoder *d;
    int descriptors;

    fakevk_host.sync_fds = true;
    create_device(h);
    semaphore = insert(h, VK_OBJECT_TYPE_SEMAPHORE);
    fence = insert(h, VK_OBJECT_TYPE_FENCE);
    descriptors = open_descriptors();
    fakevk_host.sync_exported = 0;

    d = command(h);
    cmd_vkWaitSemaphoreResourceMESA(d, &(struct wire_vkWaitSemaphoreResourceMESA){
                                           .device_obj = h->device,
                                           .semaphore = (VkSemaphore)semaphore->handle });
    assert_false(d->failed);
    assert_int_equal(fakevk_host.sync_exported, 1);
    cmd_vkResetFenceResourceMESA(
        d, &(struct wire_vkResetFenceResourceMESA){
               .device_obj = h->device, .fence = (VkFence)fence->handle, .fence_obj = fence });
    assert_false(d->failed);
    assert_int_equal(fakevk_host.sync_exported, 2);
    assert_int_equal(open_descriptors(), descriptors);

    VkImportSemaphoreResourceInfoMESA from = {
        .sType = (VkStructureType)VK_STRUCTURE_TYPE_IMPORT_SEMAPHORE_RESOURCE_INFO_MESA,
        .semaphore = (VkSemaphore)semaphore->handle,
    };

    cmd_vkImportSemaphoreResourceMESA(d, &(struct wire_vkImportSemaphoreResourceMESA){
                                             .device_obj = h->device,
                                             .pImportSemaphoreResourceInfo = &from });
    assert_false(d->failed);
    assert_int_equal(fakevk_host.sync_imported, 1);
    assert_int_equal(fakevk_host.last_import.fd, -1);
    assert_int_equal(fakevk_host.last_import.flags, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT);
    assert_int_equal(fakevk_host.last_import.handleType,
                     VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT);
}

/* ---- command pools ------------------------------------------------------------------------- */

static struct object *create_pool(struct host *h, uint64_t id)
{
    const VkCommandPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO };
    struct wire_vkCreateCommandPool c = {
        .device_obj = h->device,
        .pCreateInfo = &info,
        .pCommandPool = &id,
    };

    cmd_vkCreateCommandPool(command(h), &c);
    return h->ctx.decoder.failed ? NULL : objects_find_any(&h->ctx.objects, id);
}

static void pools_return_to_the_heap_that_they_are_from(void **state)
{
    struct host *h = *state;
    struct object *first, *second;
    struct wire_vkDestroyDevice destroy;

    create_device(h);
    first = create_pool(h, 200);
    second = create_pool(h, 201);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_not_equal(first->data, second->data);
    assert_int_equal(fakevk_host.pools, 2);
    wire_remove_object(command(h), first);
    assert_int_equal(fakevk_host.pools, 1);
    /* The other one ends with its device. */
    destroy = (struct wire_vkDestroyDevice){ .device_obj = h->device };
    cmd_vkDestroyDevice(command(h), &destroy);
    assert_int_equal(fakevk_host.pools, 0);
}

static void a_pool_that_cannot_be_leaves_nothing(void **state)
{
    struct host *h = *state;

    create_device(h);
    assert_non_null(create_pool(h, 200));
    assert_null(create_pool(h, 200));
    assert_int_equal(fakevk_host.pools, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(two_groups_whole_and_incomplete),
        T(a_group_with_a_device_that_has_no_id),
        T(map_info_of_dma_bufs),
        T(map_info_of_opaque_descriptors),
        T(map_info_of_our_own_pages),
        T(memory_that_is_not_to_be_mapped_has_no_map_info),
        T(opaque_descriptors_only_when_nothing_else_is_left),
        T(opaque_descriptors_are_never_silent),
        T(a_driver_that_exports_nothing),
        T(payloads_leave_and_come_by_the_drivers_sync_files),
        T(pools_return_to_the_heap_that_they_are_from),
        T(a_pool_that_cannot_be_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
