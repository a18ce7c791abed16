/*
 * The hand-written commands on the host's driver (lavapipe does) under the Khronos validation
 * layer: what a valid guest asks for must make no valid layer complain. Handlers are called as
 * the decoder calls them. Skipped where no driver is installed.
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
#include "wire/commands.h"
#include "wire/mesa.h"
#include "wire/objects.h"
#include "worker/budget.h"
#include "worker/context.h"
#include "worker/device.h"
#include "worker/image.h"
#include "worker/instance.h"
#include "worker/memory.h"
#include "worker/queue.h"
#include "worker/resources.h"
#include "worker/vulkan.h"

enum { INSTANCE = 1, PHYSICAL = 2, DEVICE = 10, QUEUE = 11 };

struct host {
    struct recorder recorder;
    struct vulkan vulkan;
    struct context ctx;
    int log_fd;
    uint32_t *words; /* timelines, as the VMM sees them */

    struct object *instance, *physical, *device, *queue;
    struct device *dev;
    const struct wire_procs *vk;
    uint64_t next_id;
};

static struct object *object_of(struct host *h, uint64_t id)
{
    struct object *o = objects_find_any(&h->ctx.objects, id);

    assert_non_null(o);
    return o;
}

static struct decoder *command(struct host *h)
{
    struct decoder *d = &h->ctx.decoder;

    arena_reset(&d->arena);
    objects_quiesce(d->objects, &d->reader);
    return d;
}

static void assert_fine(struct decoder *d)
{
    if (d->failed) {
        fail_msg("%s", d->why);
    }
}

/* A failure that the guest has earned; the decoder is as good as new afterwards. */
static void assert_refused(struct decoder *d, const char *part)
{
    assert_true(d->failed);
    if (!strstr(d->why, part)) {
        fail_msg("\"%s\" does not say \"%s\"", d->why, part);
    }
    d->failed = false;
}

static bool has_layer(void)
{
    return access("/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json", R_OK) == 0;
}

static void assert_valid(struct host *h)
{
    char text[8192];
    ssize_t n = pread(h->log_fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = 0;
    if (strstr(text, "validation:")) {
        fail_msg("%s", text);
    }
}

/* ---- a guest that starts up --------------------------------------------------------------- */

static void create_instance(struct host *h)
{
    const VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "test",
        .apiVersion = VK_API_VERSION_1_3,
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &app,
    };
    uint64_t id = INSTANCE;
    struct wire_vkCreateInstance c = { .pCreateInfo = &info, .pInstance = &id };
    struct decoder *d = command(h);

    cmd_vkCreateInstance(d, &c);
    assert_fine(d);
    assert_int_equal(c.ret, VK_SUCCESS);
    h->instance = object_of(h, INSTANCE);
}

static void enumerate(struct host *h)
{
    uint32_t count = 0;
    uint64_t ids[8];
    struct wire_vkEnumeratePhysicalDevices c = {
        .instance_obj = h->instance,
        .pPhysicalDeviceCount = &count,
    };
    struct decoder *d = command(h);

    cmd_vkEnumeratePhysicalDevices(d, &c);
    assert_fine(d);
    assert_in_range(count, 1, 8);
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = PHYSICAL + i;
    }
    c.pPhysicalDevices = ids;
    cmd_vkEnumeratePhysicalDevices(d, &c);
    assert_fine(d);
    assert_int_equal(c.ret, VK_SUCCESS);
    h->physical = object_of(h, PHYSICAL);
}

/* Set for the one test that needs it: validation layers may be too old to know it. */
static bool want_host_copies;
/* As start-up does. The layer would be in the way of it. */
static bool want_ready;

static VkResult create_device(struct host *h, const char *const *extensions, uint32_t n,
                              uint64_t id)
{
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkPhysicalDeviceVulkan13Features features13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
        .synchronization2 = VK_TRUE,
        .maintenance4 = VK_TRUE,
    };
    VkPhysicalDeviceVulkan12Features features12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = &features13,
        .timelineSemaphore = VK_TRUE,
        .bufferDeviceAddress = VK_TRUE,
    };
    VkPhysicalDeviceHostImageCopyFeatures copies = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_HOST_IMAGE_COPY_FEATURES,
        .pNext = &features12,
        .hostImageCopy = VK_TRUE,
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = want_host_copies ? (void *)&copies : &features12,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = n,
        .ppEnabledExtensionNames = extensions,
    };
    struct wire_vkCreateDevice c = {
        .physicalDevice_obj = h->physical,
        .pCreateInfo = &info,
        .pDevice = &id,
    };
    struct decoder *d = command(h);

    cmd_vkCreateDevice(d, &c);
    assert_fine(d);
    return c.ret;
}

static void get_queue(struct host *h, uint64_t device, uint64_t id, uint32_t ring_idx)
{
    VkDeviceQueueTimelineInfoMESA timeline = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_TIMELINE_INFO_MESA,
        .ringIdx = ring_idx,
    };
    VkDeviceQueueInfo2 info = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_INFO_2,
                                .pNext = &timeline };
    struct wire_vkGetDeviceQueue2 c = {
        .device_obj = object_of(h, device),
        .pQueueInfo = &info,
        .pQueue = &id,
    };

    cmd_vkGetDeviceQueue2(command(h), &c);
}

/* The last one only for host copies. */
static const char *const usual_extensions[] = {
    VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME,
    VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME,
    VK_EXT_HOST_IMAGE_COPY_EXTENSION_NAME,
};

static int setup(void **state)
{
    struct host *h = calloc(1, sizeof(*h));
    char why[256];
    int fd = -1, words_fd = -1;

    setenv("VK_LOADER_LAYERS_DISABLE", "~implicit~", 1);
    setenv("VK_ICD_FILENAMES", "/usr/share/vulkan/icd.d/lvp_icd.json", 0);
    h->log_fd = memfd_create("log", MFD_CLOEXEC);
    log_to_fd(h->log_fd);
    h->vulkan.validate = has_layer() && !want_host_copies && !want_ready;
    if (vulkan_open(&h->vulkan, NULL, why, sizeof(why)) < 0) {
        print_message("skipped: %s\n", why);
        free(h);
        *state = NULL;
        return 0;
    }
    if (want_ready) {
        instance_prepare(&h->vulkan);
    }
    if (memfd_create_sized("record", sizeof(struct worker_record), &fd) < 0 ||
        recorder_init(&h->recorder, fd) < 0 ||
        context_init(&h->ctx, 7, "test", &h->recorder, &h->vulkan, -1) < 0 ||
        memfd_create_sized("words", 4096, &words_fd) < 0 ||
        fd_seal(words_fd, F_SEAL_SHRINK | F_SEAL_GROW) < 0 ||
        map_shared(words_fd, 4096, (void **)&h->words) < 0 ||
        timelines_open(&h->ctx.timelines, words_fd, 256, -1) < 0) {
        return -1;
    }
    objects_wake(&h->ctx.objects, &h->ctx.decoder.reader);
    h->next_id = 100;
    create_instance(h);
    enumerate(h);
    assert_int_equal(create_device(h, usual_extensions, want_host_copies ? 3 : 2, DEVICE),
                     VK_SUCCESS);
    h->device = object_of(h, DEVICE);
    h->dev = h->device->data;
    h->vk = &h->dev->procs;
    get_queue(h, DEVICE, QUEUE, 1);
    assert_fine(&h->ctx.decoder);
    h->queue = object_of(h, QUEUE);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct host *h = *state;
    struct wire_vkDestroyInstance c;

    if (!h) {
        return 0;
    }
    c = (struct wire_vkDestroyInstance){ .instance_obj = h->instance };
    cmd_vkDestroyInstance(command(h), &c);
    assert_null(objects_find_any(&h->ctx.objects, DEVICE));
    assert_valid(h);
    munmap(h->words, 4096);
    context_fini(&h->ctx);
    munmap(h->recorder.page, sizeof(struct worker_record));
    instance_unprepare(&h->vulkan);
    vulkan_close(&h->vulkan);
    log_to_fd(2);
    close(h->log_fd);
    free(h);
    return 0;
}

/* ---- creations, as the generated code does them -------------------------------------------- */

static struct object *insert(struct host *h, uint32_t type, uint64_t handle)
{
    struct object *o = object_new(h->next_id++, type, handle, h->device);

    assert_non_null(o);
    return o;
}

static struct object *create_buffer(struct host *h, VkDeviceSize size)
{
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = size,
        .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                 VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
    };
    struct wire_vkCreateBuffer c = { .device_obj = h->device, .pCreateInfo = &info };
    struct decoder *d = command(h);
    struct object *o;
    VkBuffer buffer;

    assert_true(prepare_vkCreateBuffer(d, &c));
    assert_int_equal(h->vk->CreateBuffer(h->vk->device, &info, NULL, &buffer), VK_SUCCESS);
    o = insert(h, VK_OBJECT_TYPE_BUFFER, (uint64_t)buffer);
    created_vkCreateBuffer(d, &c, o);
    assert_int_equal(objects_insert(d->objects, o), 0);
    return o;
}

static struct object *create_image(struct host *h, VkImageCreateInfo *info)
{
    struct wire_vkCreateImage c = { .device_obj = h->device, .pCreateInfo = info };
    struct decoder *d = command(h);
    struct object *o;
    VkImage image;

    assert_true(prepare_vkCreateImage(d, &c));
    assert_int_equal(h->vk->CreateImage(h->vk->device, info, NULL, &image), VK_SUCCESS);
    o = insert(h, VK_OBJECT_TYPE_IMAGE, (uint64_t)image);
    created_vkCreateImage(d, &c, o);
    assert_int_equal(objects_insert(d->objects, o), 0);
    return o;
}

static struct object *create_semaphore(struct host *h, bool exportable)
{
    VkExportSemaphoreCreateInfo export = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO,
        .handleTypes = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    VkSemaphoreCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = exportable ? &export : NULL,
    };
    struct wire_vkCreateSemaphore c = { .device_obj = h->device, .pCreateInfo = &info };
    struct decoder *d = command(h);
    struct object *o;
    VkSemaphore semaphore;

    assert_true(prepare_vkCreateSemaphore(d, &c));
    assert_int_equal(h->vk->CreateSemaphore(h->vk->device, &info, NULL, &semaphore), VK_SUCCESS);
    o = insert(h, VK_OBJECT_TYPE_SEMAPHORE, (uint64_t)semaphore);
    created_vkCreateSemaphore(d, &c, o);
    assert_int_equal(objects_insert(d->objects, o), 0);
    return o;
}

static struct object *create_fence(struct host *h)
{
    const VkFenceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    struct object *o;
    VkFence fence;

    assert_int_equal(h->vk->CreateFence(h->vk->device, &info, NULL, &fence), VK_SUCCESS);
    o = insert(h, VK_OBJECT_TYPE_FENCE, (uint64_t)fence);
    assert_int_equal(objects_insert(&h->ctx.objects, o), 0);
    return o;
}

static struct object *allocate(struct host *h, VkDeviceSize size, const void *next, VkResult *ret)
{
    uint64_t id = h->next_id++;
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = next,
        .allocationSize = size,
    };
    struct wire_vkAllocateMemory c = {
        .device_obj = h->device,
        .pAllocateInfo = &info,
        .pMemory = &id,
    };
    struct decoder *d = command(h);

    cmd_vkAllocateMemory(d, &c);
    assert_fine(d);
    if (ret) {
        *ret = c.ret;
    } else {
        assert_int_equal(c.ret, VK_SUCCESS);
    }
    return c.ret == VK_SUCCESS ? object_of(h, id) : NULL;
}

static VkMemoryRequirements requirements(struct host *h, struct object *buffer)
{
    VkMemoryRequirements r = { 0 };
    struct wire_vkGetBufferMemoryRequirements c = {
        .device_obj = h->device,
        .device = h->vk->device,
        .buffer = (VkBuffer)buffer->handle,
        .pMemoryRequirements = &r,
    };

    cmd_vkGetBufferMemoryRequirements(command(h), &c);
    return r;
}

static struct object *memory_for(struct host *h, struct object *buffer)
{
    const VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    struct object *memory = allocate(h, requirements(h, buffer).size, &flags, NULL);

    assert_int_equal(h->vk->BindBufferMemory(h->vk->device, (VkBuffer)buffer->handle,
                                             (VkDeviceMemory)memory->handle, 0),
                     VK_SUCCESS);
    return memory;
}

/* As the VMM maps a blob: all of it, by its descriptor. */
static void *map_blob(struct host *h, struct object *memory, uint64_t size)
{
    struct memory_blob blob = { .fd = -1 };
    uint64_t there;
    void *p;

    assert_int_equal(memory_export(&h->ctx, memory->id, size, BLOB_MAPPABLE, &blob), 0);
    charge_unref(blob.charge); /* no resource is made of it */
    assert_int_equal(blob.fd_type, RESOURCE_SHM);
    assert_int_equal(blob.map_info, MAP_INFO_CACHED);
    assert_int_equal(fd_size(blob.fd, &there), 0);
    assert_int_equal(there, size);
    assert_int_equal(fd_require_seals(blob.fd, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    assert_int_equal(fd_seal(blob.fd, F_SEAL_SEAL), 0); /* as the VMM does */
    assert_int_equal(map_shared(blob.fd, size, &p), 0);
    close(blob.fd);
    return p;
}

static VkCommandBuffer record_copy(struct host *h, VkBuffer from, VkBuffer to, VkDeviceSize size)
{
    const VkCommandPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
    };
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
    };
    const VkBufferCopy copy = { .size = size };
    VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandBufferCount = 1,
    };
    VkCommandBuffer buffer;
    struct object *o;

    assert_int_equal(h->vk->CreateCommandPool(h->vk->device, &pool_info, NULL, &info.commandPool),
                     VK_SUCCESS);
    o = insert(h, VK_OBJECT_TYPE_COMMAND_POOL, (uint64_t)info.commandPool);
    assert_int_equal(objects_insert(&h->ctx.objects, o), 0);
    assert_int_equal(h->vk->AllocateCommandBuffers(h->vk->device, &info, &buffer), VK_SUCCESS);
    h->vk->BeginCommandBuffer(buffer, &begin);
    h->vk->CmdCopyBuffer(buffer, from, to, 1, &copy);
    h->vk->EndCommandBuffer(buffer);
    return buffer;
}

static VkResult submit(struct host *h, VkSubmitInfo *info, uint32_t count, VkFence fence)
{
    struct wire_vkQueueSubmit c = {
        .queue_obj = h->queue,
        .queue = (VkQueue)(uintptr_t)h->queue->handle,
        .submitCount = count,
        .pSubmits = info,
        .fence = fence,
    };
    struct decoder *d = command(h);

    cmd_vkQueueSubmit(d, &c);
    assert_fine(d);
    return c.ret;
}

static VkResult wait_fence(struct host *h, VkFence fence, uint64_t timeout)
{
    struct wire_vkWaitForFences c = {
        .device_obj = h->device,
        .device = h->vk->device,
        .fenceCount = 1,
        .pFences = &fence,
        .waitAll = VK_TRUE,
        .timeout = timeout,
    };

    cmd_vkWaitForFences(command(h), &c);
    return c.ret;
}

#define HOST(state)            \
    struct host *h = *(state); \
    if (!h) {                  \
        skip();                \
    }

/* ---- tests --------------------------------------------------------------------------------- */

static void the_guest_hears_of_what_we_supply(void **state)
{
    HOST(state);
    const struct physical *p = h->physical->data;
    bool found = false;
    VkPhysicalDeviceExternalSemaphoreInfo info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_SEMAPHORE_INFO,
        .handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT,
    };
    VkExternalSemaphoreProperties out = { 0 };
    struct wire_vkGetPhysicalDeviceExternalSemaphoreProperties c = {
        .physicalDevice_obj = h->physical,
        .pExternalSemaphoreInfo = &info,
        .pExternalSemaphoreProperties = &out,
    };
    VkSemaphoreTypeCreateInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };

    for (uint32_t i = 0; i < p->n_extensions; i++) {
        found |= strcmp(p->extensions[i].extensionName, "VK_KHR_external_semaphore_fd") == 0;
        assert_string_not_equal(p->extensions[i].extensionName, "VK_KHR_swapchain");
    }
    assert_true(found);
    cmd_vkGetPhysicalDeviceExternalSemaphoreProperties(command(h), &c);
    assert_int_equal(out.externalSemaphoreFeatures,
                     VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT |
                         VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT);
    info.pNext = &timeline;
    cmd_vkGetPhysicalDeviceExternalSemaphoreProperties(command(h), &c);
    assert_int_equal(out.externalSemaphoreFeatures, 0);
}

static void an_unknown_extension_is_not_present(void **state)
{
    HOST(state);
    static const char *const names[] = { "VK_KHR_swapchain" };

    assert_int_equal(create_device(h, names, 1, 77), VK_ERROR_EXTENSION_NOT_PRESENT);
}

static void ids_of_physical_devices_do_not_change(void **state)
{
    HOST(state);
    uint32_t count = 1;
    uint64_t id = PHYSICAL + 50;
    struct wire_vkEnumeratePhysicalDevices c = {
        .instance_obj = h->instance,
        .pPhysicalDeviceCount = &count,
        .pPhysicalDevices = &id,
    };

    cmd_vkEnumeratePhysicalDevices(command(h), &c);
    assert_refused(&h->ctx.decoder, "already");
}

static void groups_name_devices_by_the_guests_ids(void **state)
{
    HOST(state);
    uint32_t count = 4;
    VkPhysicalDeviceGroupProperties groups[4] = { 0 };
    struct wire_vkEnumeratePhysicalDeviceGroups c = {
        .instance_obj = h->instance,
        .pPhysicalDeviceGroupCount = &count,
        .pPhysicalDeviceGroupProperties = groups,
    };
    struct instance *inst = h->instance->data;

    cmd_vkEnumeratePhysicalDeviceGroups(command(h), &c);
    assert_int_equal(c.ret, VK_SUCCESS);
    assert_int_equal((uintptr_t)groups[0].physicalDevices[0], PHYSICAL);
    for (uint32_t i = 1; i < VK_MAX_DEVICE_GROUP_SIZE; i++) {
        assert_null(groups[0].physicalDevices[i]);
    }
    /* Before the guest has named them. */
    inst->physicals[0].id = 0;
    count = 4;
    cmd_vkEnumeratePhysicalDeviceGroups(command(h), &c);
    assert_int_equal(c.ret, VK_ERROR_INITIALIZATION_FAILED);
    assert_null(groups[0].physicalDevices[0]);
    assert_int_equal(groups[0].physicalDeviceCount, 0);
    inst->physicals[0].id = PHYSICAL;
}

static void a_queue_is_fetched_once_with_a_timeline(void **state)
{
    HOST(state);

    get_queue(h, DEVICE, 12, 2);
    assert_refused(&h->ctx.decoder, "before");
}

static void the_vmm_maps_what_the_device_copies(void **state)
{
    HOST(state);
    struct object *from = create_buffer(h, 5000), *to = create_buffer(h, 5000);
    struct object *from_memory = memory_for(h, from), *to_memory = memory_for(h, to);
    uint8_t *src = map_blob(h, from_memory, 8192), *dst = map_blob(h, to_memory, 8192);
    VkCommandBuffer copy = record_copy(h, (VkBuffer)from->handle, (VkBuffer)to->handle, 5000);
    struct object *fence = create_fence(h);
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &copy,
    };

    for (int i = 0; i < 5000; i++) {
        assert_int_equal(src[i], 0); /* fresh memory is empty */
        src[i] = (uint8_t)(i * 7);
    }
    assert_int_equal(submit(h, &info, 1, (VkFence)fence->handle), VK_SUCCESS);
    assert_int_equal(wait_fence(h, (VkFence)fence->handle, UINT64_MAX), VK_SUCCESS);
    assert_memory_equal(src, dst, 5000);
    munmap(src, 8192);
    munmap(dst, 8192);
    assert_valid(h);
}

/* As a VMM maps an opaque descriptor: with Vulkan, by the type and the size of the reply. */
static uint8_t *map_opaque(struct host *h, struct object *memory, VkDeviceMemory *ret_view)
{
    struct memory_blob blob = { .fd = -1 };
    VkImportMemoryFdInfoKHR import = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR,
        .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT,
    };
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = &import,
    };
    void *p;

    assert_int_equal(memory_export(&h->ctx, memory->id, 8192, BLOB_MAPPABLE, &blob), 0);
    charge_unref(blob.charge);
    assert_int_equal(blob.fd_type, RESOURCE_OPAQUE);
    import.fd = blob.fd; /* the driver's from here on */
    info.allocationSize = blob.allocation_size;
    info.memoryTypeIndex = blob.memory_type_index;
    assert_int_equal(h->vk->AllocateMemory(h->vk->device, &info, NULL, ret_view), VK_SUCCESS);
    assert_int_equal(h->vk->MapMemory(h->vk->device, *ret_view, 0, VK_WHOLE_SIZE, 0, &p),
                     VK_SUCCESS);
    return p;
}

static void the_vmm_maps_an_opaque_descriptor(void **state)
{
    HOST(state);
    struct backings *b = &h->dev->backings, as_found = *b;
    struct object *from, *to, *from_memory, *to_memory, *fence = create_fence(h);
    VkDeviceMemory views[2];
    uint8_t *src, *dst;
    VkCommandBuffer copy;
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &copy,
    };

    if (!b->opaque_fd) {
        skip();
    }
    /* As on a driver that can do nothing better. */
    b->kind = BACKING_OPAQUE_FD;
    b->of_type[0] = BACKING_OPAQUE_FD;
    memset(b->types, 0, sizeof(b->types));
    b->types[BACKING_OPAQUE_FD] = 1;
    from = create_buffer(h, 5000);
    to = create_buffer(h, 5000);
    from_memory = memory_for(h, from);
    to_memory = memory_for(h, to);
    src = map_opaque(h, from_memory, &views[0]);
    dst = map_opaque(h, to_memory, &views[1]);
    copy = record_copy(h, (VkBuffer)from->handle, (VkBuffer)to->handle, 5000);
    for (int i = 0; i < 5000; i++) {
        src[i] = (uint8_t)(i * 11);
    }
    assert_int_equal(submit(h, &info, 1, (VkFence)fence->handle), VK_SUCCESS);
    assert_int_equal(wait_fence(h, (VkFence)fence->handle, UINT64_MAX), VK_SUCCESS);
    assert_memory_equal(src, dst, 5000);
    for (int i = 0; i < 2; i++) {
        h->vk->FreeMemory(h->vk->device, views[i], NULL);
    }
    *b = as_found;
    assert_valid(h);
}

static void memory_is_exported_once_and_with_its_size(void **state)
{
    HOST(state);
    struct object *memory = allocate(h, 5000, NULL, NULL);
    struct memory_blob blob;
    void *p;

    assert_int_equal(memory_export(&h->ctx, memory->id, 4096, BLOB_MAPPABLE, &blob), -EINVAL);
    assert_int_equal(memory_export(&h->ctx, memory->id, 8192 + 65536, BLOB_MAPPABLE, &blob),
                     -EINVAL);
    assert_int_equal(memory_export(&h->ctx, memory->id, 8192, BLOB_MAPPABLE | BLOB_CROSS_DEVICE,
                                   &blob),
                     -ENOTSUP);
    p = map_blob(h, memory, 8192);
    assert_int_equal(memory_export(&h->ctx, memory->id, 8192, BLOB_MAPPABLE, &blob), -EALREADY);
    assert_int_equal(memory_export(&h->ctx, 999999, 8192, BLOB_MAPPABLE, &blob), -ENOENT);
    munmap(p, 8192);
}

static void a_blob_may_end_inside_its_last_page(void **state)
{
    HOST(state);
    struct object *buffer = create_buffer(h, 5000), *memory = memory_for(h, buffer);
    uint8_t *p = map_blob(h, memory, 5000); /* checks the descriptor's size */

    p[4999] = 1;
    munmap(p, 5000);
    assert_valid(h);
}

static void a_blob_outlives_its_memory(void **state)
{
    HOST(state);
    struct object *memory = allocate(h, 4096, NULL, NULL);
    uint8_t *p = map_blob(h, memory, 4096);
    struct wire_vkFreeMemory c = { .device_obj = h->device, .memory_obj = memory };

    cmd_vkFreeMemory(command(h), &c);
    assert_null(objects_find_any(&h->ctx.objects, memory->id));
    p[4095] = 1;
    munmap(p, 4096);
}

static void exported_memory_can_come_back_as_a_resource(void **state)
{
    HOST(state);
    struct object *memory = allocate(h, 8192, NULL, NULL), *again;
    struct memory_blob blob;
    VkImportMemoryResourceInfoMESA import = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_RESOURCE_INFO_MESA,
        .resourceId = 5,
    };
    VkMemoryResourcePropertiesMESA properties = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_RESOURCE_PROPERTIES_MESA,
    };
    struct wire_vkGetMemoryResourcePropertiesMESA c = {
        .device_obj = h->device,
        .resourceId = 5,
        .pMemoryResourceProperties = &properties,
    };
    VkResult result;

    assert_int_equal(memory_export(&h->ctx, memory->id, 8192, BLOB_MAPPABLE, &blob), 0);
    assert_int_equal(resources_import(&h->ctx.resources, 5, RESOURCE_SHM, blob.fd, 8192, true), 0);
    resources_keep_charge(&h->ctx.resources, 5, blob.charge);
    cmd_vkGetMemoryResourcePropertiesMESA(command(h), &c);
    assert_int_equal(c.ret, VK_SUCCESS);
    assert_int_equal(properties.memoryTypeBits, h->dev->backings.host_pointer_types);
    again = allocate(h, 8192, &import, NULL);
    assert_true(resources_remove(&h->ctx.resources, 5));
    assert_int_equal(memory_export(&h->ctx, again->id, 8192, BLOB_MAPPABLE, &blob), -ENOTSUP);
    /* More than there is. */
    assert_int_equal(resources_create_shm(&h->ctx.resources, 6, 4096, &blob.fd), 0);
    close(blob.fd);
    import.resourceId = 6;
    import.pNext = NULL;
    assert_null(allocate(h, 8192, &import, &result));
    assert_int_equal(result, VK_ERROR_INVALID_EXTERNAL_HANDLE);
    assert_valid(h);
}

static void what_cannot_be_allocated_says_so(void **state)
{
    HOST(state);
    const VkExportMemoryAllocateInfo strange = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO,
        .handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
    };
    VkResult result;

    assert_null(allocate(h, UINT64_MAX, NULL, &result));
    assert_int_equal(result, VK_ERROR_OUT_OF_DEVICE_MEMORY);
    assert_null(allocate(h, 0, NULL, &result));
    assert_int_equal(result, VK_ERROR_UNKNOWN);
    assert_null(allocate(h, 4096, &strange, &result));
    assert_int_equal(result, VK_ERROR_INVALID_EXTERNAL_HANDLE);
}

static void images_of_all_kinds_can_be_bound(void **state)
{
    HOST(state);
    VkImageCreateInfo infos[] = {
        { .format = VK_FORMAT_R8G8B8A8_UNORM,
          .tiling = VK_IMAGE_TILING_OPTIMAL,
          .usage = VK_IMAGE_USAGE_SAMPLED_BIT | VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT },
        { .format = VK_FORMAT_R8G8B8A8_UNORM,
          .tiling = VK_IMAGE_TILING_LINEAR,
          .usage = VK_IMAGE_USAGE_TRANSFER_SRC_BIT },
        { .format = VK_FORMAT_D32_SFLOAT,
          .tiling = VK_IMAGE_TILING_OPTIMAL,
          .usage = VK_IMAGE_USAGE_DEPTH_STENCIL_ATTACHMENT_BIT |
                   VK_IMAGE_USAGE_TRANSIENT_ATTACHMENT_BIT },
        { .format = VK_FORMAT_BC1_RGB_UNORM_BLOCK,
          .tiling = VK_IMAGE_TILING_OPTIMAL,
          .usage = VK_IMAGE_USAGE_SAMPLED_BIT },
    };

    for (size_t i = 0; i < ARRAY_SIZE(infos); i++) {
        VkImageCreateInfo info = infos[i];
        VkMemoryDedicatedAllocateInfo dedicated = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO,
        };
        VkMemoryRequirements r;
        struct wire_vkGetImageMemoryRequirements c = {
            .device_obj = h->device,
            .device = h->vk->device,
            .pMemoryRequirements = &r,
        };
        struct object *image, *memory;

        info.sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO;
        info.imageType = VK_IMAGE_TYPE_2D;
        info.extent = (VkExtent3D){ 100, 100, 1 };
        info.mipLevels = info.arrayLayers = 1;
        info.samples = VK_SAMPLE_COUNT_1_BIT;
        image = create_image(h, &info);
        c.image = (VkImage)image->handle;
        cmd_vkGetImageMemoryRequirements(command(h), &c);
        assert_int_not_equal(r.memoryTypeBits, 0);
        dedicated.image = (VkImage)image->handle;
        memory = allocate(h, r.size, i % 2 ? &dedicated : NULL, NULL);
        assert_int_equal(h->vk->BindImageMemory(h->vk->device, (VkImage)image->handle,
                                                (VkDeviceMemory)memory->handle, 0),
                         VK_SUCCESS);
    }
    assert_valid(h);
}

static void an_imported_semaphore_holds_nothing_up(void **state)
{
    HOST(state);
    struct object *semaphore = create_semaphore(h, false), *fence = create_fence(h);
    VkImportSemaphoreResourceInfoMESA from = { .semaphore = (VkSemaphore)semaphore->handle };
    struct wire_vkImportSemaphoreResourceMESA import = {
        .device_obj = h->device,
        .pImportSemaphoreResourceInfo = &from,
    };
    VkSemaphore handle = (VkSemaphore)semaphore->handle;
    const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    VkSubmitInfo info[2] = {
        {
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
            .waitSemaphoreCount = 1,
            .pWaitSemaphores = &handle,
            .pWaitDstStageMask = &stage,
            .signalSemaphoreCount = 1,
            .pSignalSemaphores = &handle,
        },
        {
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
            .waitSemaphoreCount = 1,
            .pWaitSemaphores = &handle,
            .pWaitDstStageMask = &stage,
        },
    };

    cmd_vkImportSemaphoreResourceMESA(command(h), &import);
    assert_fine(&h->ctx.decoder);
    /* The first wait is for the import, the second for the signal in between. */
    assert_int_equal(submit(h, info, 2, (VkFence)fence->handle), VK_SUCCESS);
    assert_int_equal(info[0].waitSemaphoreCount, h->dev->physical->semaphore_import ? 1 : 0);
    assert_int_equal(info[1].waitSemaphoreCount, 1);
    assert_int_equal(wait_fence(h, (VkFence)fence->handle, UINT64_MAX), VK_SUCCESS);
    from.resourceId = 3;
    cmd_vkImportSemaphoreResourceMESA(command(h), &import);
    assert_refused(&h->ctx.decoder, "resource 3");
    assert_valid(h);
}

static void an_exported_semaphore_is_consumed(void **state)
{
    HOST(state);
    struct object *semaphore = create_semaphore(h, true), *fence = create_fence(h);
    VkSemaphore handle = (VkSemaphore)semaphore->handle;
    struct wire_vkWaitSemaphoreResourceMESA wait = {
        .device_obj = h->device,
        .semaphore = handle,
    };
    struct wire_vkDestroySemaphore destroy = {
        .device_obj = h->device,
        .semaphore_obj = semaphore,
    };
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &handle,
    };

    /* Twice: the second signal is valid only if the first was consumed. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(submit(h, &info, 1, VK_NULL_HANDLE), VK_SUCCESS);
        cmd_vkWaitSemaphoreResourceMESA(command(h), &wait);
        assert_fine(&h->ctx.decoder);
    }
    assert_int_equal(submit(h, NULL, 0, (VkFence)fence->handle), VK_SUCCESS);
    assert_int_equal(wait_fence(h, (VkFence)fence->handle, UINT64_MAX), VK_SUCCESS);
    cmd_vkDestroySemaphore(command(h), &destroy);
    assert_false(semaphores_any_tracked(&h->dev->semaphores));
    assert_valid(h);
}

static void a_pending_fence_is_reset_without_waiting(void **state)
{
    HOST(state);
    VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    VkSemaphoreCreateInfo semaphore_info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = &type,
    };
    const uint64_t one = 1;
    VkTimelineSemaphoreSubmitInfo values = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = 1,
        .pWaitSemaphoreValues = &one,
    };
    const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    VkSemaphore gate;
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &values,
        .waitSemaphoreCount = 1,
        .pWaitSemaphores = &gate,
        .pWaitDstStageMask = &stage,
    };
    struct object *fence = create_fence(h);
    struct wire_vkResetFenceResourceMESA reset = {
        .device_obj = h->device,
        .fence_obj = fence,
        .fence = (VkFence)fence->handle,
    };
    VkSemaphoreSignalInfo signal = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO,
        .value = 1,
    };

    assert_int_equal(h->vk->CreateSemaphore(h->vk->device, &semaphore_info, NULL, &gate),
                     VK_SUCCESS);
    assert_int_equal(submit(h, &info, 1, (VkFence)fence->handle), VK_SUCCESS);
    assert_int_equal(wait_fence(h, (VkFence)fence->handle, 200000000), VK_TIMEOUT);
    cmd_vkResetFenceResourceMESA(command(h), &reset);
    assert_fine(&h->ctx.decoder);
    assert_int_not_equal(fence->handle, (uint64_t)reset.fence);
    signal.semaphore = gate;
    assert_int_equal(h->vk->SignalSemaphore(h->vk->device, &signal), VK_SUCCESS);
    /* The fresh one is unsignalled and can be used at once. */
    assert_int_equal(h->vk->GetFenceStatus(h->vk->device, (VkFence)fence->handle), VK_NOT_READY);
    assert_int_equal(submit(h, NULL, 0, (VkFence)fence->handle), VK_SUCCESS);
    assert_int_equal(wait_fence(h, (VkFence)fence->handle, UINT64_MAX), VK_SUCCESS);
    h->vk->DestroySemaphore(h->vk->device, gate, NULL);
    assert_valid(h);
}

static void virtqueue_fences_retire_in_order(void **state)
{
    HOST(state);

    for (uint32_t i = 1; i <= 100; i++) {
        assert_int_equal(timeline_submit_fence(&h->ctx, 1, i), 0);
    }
    for (int i = 0; i < 2000 && __atomic_load_n(&h->words[1], __ATOMIC_ACQUIRE) != 100; i++) {
        usleep(1000);
    }
    assert_int_equal(__atomic_load_n(&h->words[1], __ATOMIC_ACQUIRE), 100);
    assert_valid(h);
}

static void query_results_stay_in_their_blob(void **state)
{
    HOST(state);
    VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = 4,
    };
    struct wire_vkCreateQueryPool create = { .device_obj = h->device, .pCreateInfo = &info };
    struct object *pool;
    uint64_t data[8] = { 0 };
    VkQueryPool handle;
    struct wire_vkGetQueryPoolResults c;

    assert_true(prepare_vkCreateQueryPool(command(h), &create));
    assert_int_equal(h->vk->CreateQueryPool(h->vk->device, &info, NULL, &handle), VK_SUCCESS);
    pool = insert(h, VK_OBJECT_TYPE_QUERY_POOL, (uint64_t)handle);
    created_vkCreateQueryPool(command(h), &create, pool);
    assert_int_equal(objects_insert(&h->ctx.objects, pool), 0);
    c = (struct wire_vkGetQueryPoolResults){
        .device_obj = h->device,
        .device = h->vk->device,
        .queryPool_obj = pool,
        .queryPool = handle,
        .firstQuery = 2,
        .queryCount = 3,
        .dataSize = sizeof(data),
        .pData = data,
        .stride = 8,
        .flags = VK_QUERY_RESULT_64_BIT,
    };
    cmd_vkGetQueryPoolResults(command(h), &c);
    assert_refused(&h->ctx.decoder, "do not fit");
    c.queryCount = 2;
    c.dataSize = 15;
    cmd_vkGetQueryPoolResults(command(h), &c);
    assert_refused(&h->ctx.decoder, "do not fit");
}

static int setup_host_copies(void **state)
{
    int r;

    want_host_copies = true;
    r = setup(state);
    want_host_copies = false;
    return r;
}

static void images_are_copied_on_the_host_within_their_bounds(void **state)
{
    HOST(state);
    VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .extent = { 16, 8, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_OPTIMAL,
        .usage = VK_IMAGE_USAGE_HOST_TRANSFER_BIT | VK_IMAGE_USAGE_SAMPLED_BIT,
    };
    struct object *image = create_image(h, &info), *memory;
    VkMemoryRequirements r;
    uint32_t pixels[16 * 8], back[16 * 8] = { 0 };
    VkMemoryToImageCopyMESA region = {
        .dataSize = sizeof(pixels),
        .pData = pixels,
        .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 },
        .imageExtent = { 16, 8, 1 },
    };
    VkCopyMemoryToImageInfoMESA to = {
        .dstImage = (VkImage)image->handle,
        .dstImageLayout = VK_IMAGE_LAYOUT_GENERAL,
        .regionCount = 1,
        .pRegions = &region,
    };
    VkCopyImageToMemoryInfoMESA from = {
        .srcImage = (VkImage)image->handle,
        .srcImageLayout = VK_IMAGE_LAYOUT_GENERAL,
        .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 },
        .imageExtent = { 16, 8, 1 },
    };
    struct wire_vkCopyMemoryToImageMESA in = {
        .device_obj = h->device,
        .device = h->vk->device,
        .pCopyMemoryToImageInfo = &to,
    };
    struct wire_vkCopyImageToMemoryMESA out = {
        .device_obj = h->device,
        .device = h->vk->device,
        .pCopyImageToMemoryInfo = &from,
        .dataSize = sizeof(back),
        .pData = back,
    };
    const VkHostImageLayoutTransitionInfo transition = {
        .sType = VK_STRUCTURE_TYPE_HOST_IMAGE_LAYOUT_TRANSITION_INFO,
        .image = (VkImage)image->handle,
        .newLayout = VK_IMAGE_LAYOUT_GENERAL,
        .subresourceRange = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1 },
    };

    h->vk->GetImageMemoryRequirements(h->vk->device, (VkImage)image->handle, &r);
    memory = allocate(h, r.size, NULL, NULL);
    assert_int_equal(h->vk->BindImageMemory(h->vk->device, (VkImage)image->handle,
                                            (VkDeviceMemory)memory->handle, 0),
                     VK_SUCCESS);
    assert_int_equal(h->vk->TransitionImageLayout(h->vk->device, 1, &transition), VK_SUCCESS);
    for (int i = 0; i < 16 * 8; i++) {
        pixels[i] = 0x01020304u * (uint32_t)i;
    }
    cmd_vkCopyMemoryToImageMESA(command(h), &in);
    assert_fine(&h->ctx.decoder);
    assert_int_equal(in.ret, VK_SUCCESS);
    cmd_vkCopyImageToMemoryMESA(command(h), &out);
    assert_fine(&h->ctx.decoder);
    assert_int_equal(out.ret, VK_SUCCESS);
    assert_memory_equal(pixels, back, sizeof(back));

    /* In the driver's own layout, whose size only the driver knows. */
    from.flags = VK_HOST_IMAGE_COPY_MEMCPY_BIT;
    out.dataSize = 16;
    cmd_vkCopyImageToMemoryMESA(command(h), &out);
    assert_refused(&h->ctx.decoder, "there are 16");
    from.flags = 0;
    out.dataSize = sizeof(back) - 1;
    cmd_vkCopyImageToMemoryMESA(command(h), &out);
    assert_refused(&h->ctx.decoder, "there are 511");
    region.imageExtent.height = 9;
    cmd_vkCopyMemoryToImageMESA(command(h), &in);
    assert_refused(&h->ctx.decoder, "not in the image");
}

static int setup_ready(void **state)
{
    int r;

    want_ready = true;
    r = setup(state);
    want_ready = false;
    return r;
}

static void destroy_instance(struct host *h)
{
    struct wire_vkDestroyInstance c = { .instance_obj = h->instance };

    cmd_vkDestroyInstance(command(h), &c);
    assert_fine(&h->ctx.decoder);
    assert_null(objects_find_any(&h->ctx.objects, INSTANCE));
    assert_null(objects_find_any(&h->ctx.objects, PHYSICAL));
}

/* The guest gets the instance that warm-up has made, once at a time, and again after its end. */
static void the_instance_made_in_advance_is_the_guests(void **state)
{
    struct host *h = *state;
    const VkApplicationInfo app = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                    .apiVersion = VK_API_VERSION_1_1 };
    struct instance *inst;

    if (!h || !h->vulkan.any_application) {
        skip();
    }
    inst = h->instance->data;
    assert_ptr_equal(inst->procs.instance, h->vulkan.warm_instance);
    assert_int_equal(VK_API_VERSION_MINOR(inst->api_version), 3);
    assert_null(h->vulkan.ready);

    assert_int_equal(instance_create(&h->vulkan, &app, &inst), VK_SUCCESS);
    assert_ptr_not_equal(inst->procs.instance, h->vulkan.warm_instance);
    instance_end(&h->vulkan, inst);
    instance_free(inst);
    assert_null(h->vulkan.ready);

    destroy_instance(h);
    assert_non_null(h->vulkan.ready);
    create_instance(h);
    inst = h->instance->data;
    assert_ptr_equal(inst->procs.instance, h->vulkan.warm_instance);
    enumerate(h);
    assert_int_equal(create_device(h, usual_extensions, 2, DEVICE), VK_SUCCESS);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_guest_hears_of_what_we_supply),
        CASE(an_unknown_extension_is_not_present),
        CASE(ids_of_physical_devices_do_not_change),
        CASE(groups_name_devices_by_the_guests_ids),
        CASE(a_queue_is_fetched_once_with_a_timeline),
        CASE(the_vmm_maps_what_the_device_copies),
        CASE(the_vmm_maps_an_opaque_descriptor),
        CASE(memory_is_exported_once_and_with_its_size),
        CASE(a_blob_may_end_inside_its_last_page),
        CASE(a_blob_outlives_its_memory),
        CASE(exported_memory_can_come_back_as_a_resource),
        CASE(what_cannot_be_allocated_says_so),
        CASE(images_of_all_kinds_can_be_bound),
        CASE(an_imported_semaphore_holds_nothing_up),
        CASE(an_exported_semaphore_is_consumed),
        CASE(a_pending_fence_is_reset_without_waiting),
        CASE(virtqueue_fences_retire_in_order),
        CASE(query_results_stay_in_their_blob),
        cmocka_unit_test_setup_teardown(images_are_copied_on_the_host_within_their_bounds,
                                        setup_host_copies, teardown),
        cmocka_unit_test_setup_teardown(the_instance_made_in_advance_is_the_guests, setup_ready,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
