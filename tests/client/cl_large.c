/*
 * Much of everything, and too much of it: thousands of objects and descriptor sets, long command
 * buffers and chains, many regions, barriers, submissions and fences in one call, a large pipeline
 * cache. What is too much has to be refused with an error code, and everything else go on after it.
 */
#include "vkapp.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fill_comp.h"

#define N_OBJECTS 10000u
#define N_SETS 5000u
#define N_REGIONS 10000u
#define N_FENCES 4000u
#define N_THREADS 256u
#define GIB (1ull << 30)

/* Success, or one of the errors that stand for "too much". */
static bool answered(VkResult result)
{
    return result == VK_SUCCESS || result == VK_ERROR_OUT_OF_DEVICE_MEMORY ||
           result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_POOL_MEMORY ||
           result == VK_ERROR_TOO_MANY_OBJECTS || result == VK_ERROR_FRAGMENTATION;
}

/* Does the device still do what it is told? */
static bool alive(struct app *app)
{
    struct buffer buffer = buffer_create(app, 4096, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    VkCommandBuffer commands = commands_begin(app);
    bool filled;

    vkCmdFillBuffer(commands, buffer.buffer, 0, 4096, 0x600df00d);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    filled = *(uint32_t *)buffer.map == 0x600df00d;
    buffer_destroy(app, &buffer);
    return filled;
}

/* ---- memory ------------------------------------------------------------------------------- */

/* Allocations as large as may be asked for, until the heap has no more or two heaps are taken. */
static void exhaust_type(struct app *app, uint32_t type)
{
    const VkDeviceSize heap = app->memory.memoryHeaps[app->memory.memoryTypes[type].heapIndex].size;
    VkDeviceMemory memories[64];
    uint32_t n = 0;
    VkResult result = VK_SUCCESS;
    VkPhysicalDeviceMaintenance3Properties limits = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
    };
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &limits,
    };
    VkDeviceSize size;
    char name[48];

    vkGetPhysicalDeviceProperties2(app->physical, &properties);
    size = heap / 4 < limits.maxMemoryAllocationSize ? heap / 4 : limits.maxMemoryAllocationSize;
    for (VkDeviceSize total = 0; total < 2 * heap && n < ARRAY_SIZE(memories); total += size) {
        const VkMemoryAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
            .allocationSize = size,
            .memoryTypeIndex = type,
        };

        result = vkAllocateMemory(app->device, &info, NULL, &memories[n]);
        if (result != VK_SUCCESS) {
            break;
        }
        n++;
    }
    snprintf(name, sizeof(name), "exhausted_type_%u", type);
    check(n > 0 && answered(result), name, "%d after %u of %llu MiB", result, n,
          (unsigned long long)(size >> 20));
    for (uint32_t i = 0; i < n; i++) {
        vkFreeMemory(app->device, memories[i], NULL);
    }
}

/* More than there is. The specification lets a device say so, whatever its heaps are. */
static void refused_sizes(struct app *app)
{
    static const VkDeviceSize sizes[] = { 1ull << 40, 1ull << 47, 1ull << 62, UINT64_MAX - 4095 };
    uint32_t n_wrong = 0;

    for (uint32_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        const VkMemoryAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
            .allocationSize = sizes[i],
        };
        VkDeviceMemory memory = VK_NULL_HANDLE;
        VkResult result = vkAllocateMemory(app->device, &info, NULL, &memory);

        n_wrong += !answered(result);
        vkFreeMemory(app->device, result == VK_SUCCESS ? memory : VK_NULL_HANDLE, NULL);
    }
    check(n_wrong == 0, "refused_sizes", "%u answers are neither success nor out of memory",
          n_wrong);
}

static void test_memory(struct app *app)
{
    for (uint32_t i = 0; i < app->memory.memoryTypeCount; i++) {
        if (!(app->memory.memoryTypes[i].propertyFlags & VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT)) {
            exhaust_type(app, i);
        }
    }
    if (!app->validating) {
        refused_sizes(app);
    }
    check(alive(app), "alive_after_memory", "no");
}

/* ---- resources that nobody binds ---------------------------------------------------------- */

static void test_resources(struct app *app)
{
    const VkBufferCreateInfo buffer_info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = 4 * GIB - 256,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
    };
    const VkImageCreateInfo image_info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .extent = { app->properties.limits.maxImageDimension2D,
                    app->properties.limits.maxImageDimension2D, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .usage = VK_IMAGE_USAGE_SAMPLED_BIT,
    };
    VkMemoryRequirements requirements;
    VkBuffer buffer;
    VkImage image;
    VkResult result;

    result = vkCreateBuffer(app->device, &buffer_info, NULL, &buffer);
    if (result == VK_SUCCESS) {
        vkGetBufferMemoryRequirements(app->device, buffer, &requirements);
        vkDestroyBuffer(app->device, buffer, NULL);
        check(requirements.size >= buffer_info.size, "largest_buffer", "needs too little");
    } else {
        check(answered(result), "largest_buffer", "%d", result);
    }
    result = vkCreateImage(app->device, &image_info, NULL, &image);
    if (result == VK_SUCCESS) {
        vkGetImageMemoryRequirements(app->device, image, &requirements);
        vkDestroyImage(app->device, image, NULL);
        check(requirements.size >=
                  (VkDeviceSize)image_info.extent.width * image_info.extent.height * 4,
              "largest_image", "needs too little");
    } else {
        check(answered(result), "largest_image", "%d", result);
    }
}

/* ---- objects ------------------------------------------------------------------------------ */

#define MANY(name, type, create, destroy)                            \
    do {                                                             \
        type *many = must_alloc(N_OBJECTS, sizeof(*many));           \
        uint32_t n = 0;                                              \
        VkResult result = VK_SUCCESS;                                \
                                                                     \
        for (; n < N_OBJECTS && result == VK_SUCCESS; n++) {         \
            result = create(app->device, &info, NULL, &many[n]);     \
        }                                                            \
        n -= result != VK_SUCCESS;                                   \
        check(result == VK_SUCCESS, name, "%d after %u", result, n); \
        for (uint32_t i = 0; i < n; i++) {                           \
            destroy(app->device, many[i], NULL);                     \
        }                                                            \
        free(many);                                                  \
    } while (0)

static void many_fences(struct app *app)
{
    const VkFenceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };

    MANY("many_fences", VkFence, vkCreateFence, vkDestroyFence);
}

static void many_semaphores(struct app *app)
{
    const VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    const VkSemaphoreCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = app->features12.timelineSemaphore ? &type : NULL,
    };

    MANY("many_semaphores", VkSemaphore, vkCreateSemaphore, vkDestroySemaphore);
}

static void many_events(struct app *app)
{
    const VkEventCreateInfo info = { .sType = VK_STRUCTURE_TYPE_EVENT_CREATE_INFO };

    MANY("many_events", VkEvent, vkCreateEvent, vkDestroyEvent);
}

static void many_layouts(struct app *app)
{
    const VkDescriptorSetLayoutBinding binding = { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1,
                                                   VK_SHADER_STAGE_ALL, NULL };
    const VkDescriptorSetLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = 1,
        .pBindings = &binding,
    };

    MANY("many_layouts", VkDescriptorSetLayout, vkCreateDescriptorSetLayout,
         vkDestroyDescriptorSetLayout);
}

static void many_modules(struct app *app)
{
    const struct spirv code = SPIRV(fill_comp);
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = code.size,
        .pCode = code.words,
    };

    MANY("many_modules", VkShaderModule, vkCreateShaderModule, vkDestroyShaderModule);
}

static void many_buffers(struct app *app)
{
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = 65536,
        .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };

    MANY("many_buffers", VkBuffer, vkCreateBuffer, vkDestroyBuffer);
}

static void many_views(struct app *app)
{
    struct image image =
        image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, 16, 16, VK_IMAGE_USAGE_SAMPLED_BIT);
    const VkImageViewCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
        .image = image.image,
        .viewType = VK_IMAGE_VIEW_TYPE_2D,
        .format = image.format,
        .subresourceRange = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1 },
    };

    MANY("many_views", VkImageView, vkCreateImageView, vkDestroyImageView);
    image_destroy(app, &image);
}

/* ---- descriptor sets ---------------------------------------------------------------------- */

static void test_sets(struct app *app)
{
    const VkDescriptorSetLayoutBinding binding = { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 4,
                                                   VK_SHADER_STAGE_COMPUTE_BIT, NULL };
    const VkDescriptorPoolSize size = { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 4000000 };
    const VkDescriptorPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .flags = VK_DESCRIPTOR_POOL_CREATE_FREE_DESCRIPTOR_SET_BIT,
        .maxSets = 1000000,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VkDescriptorSetLayout layout = set_layout_create(app, &binding, 1);
    VkDescriptorSetLayout *layouts = must_alloc(N_SETS, sizeof(*layouts));
    VkDescriptorSet *sets = must_alloc(N_SETS, sizeof(*sets));
    VkWriteDescriptorSet *writes = must_alloc(N_SETS, sizeof(*writes));
    struct buffer buffer =
        buffer_create(app, 4096, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, HOST_MEMORY);
    const VkDescriptorBufferInfo buffers[4] = {
        { buffer.buffer, 0, 256 },
        { buffer.buffer, 256, 256 },
        { buffer.buffer, 512, 256 },
        { buffer.buffer, 1024, VK_WHOLE_SIZE },
    };
    VkDescriptorPool pool;
    VkResult result;

    result = vkCreateDescriptorPool(app->device, &pool_info, NULL, &pool);
    check(answered(result), "huge_pool", "%d", result);
    if (result == VK_SUCCESS) {
        const VkDescriptorSetAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
            .descriptorPool = pool,
            .descriptorSetCount = N_SETS,
            .pSetLayouts = layouts,
        };

        for (uint32_t i = 0; i < N_SETS; i++) {
            layouts[i] = layout;
        }
        result = vkAllocateDescriptorSets(app->device, &info, sets);
        check(result == VK_SUCCESS, "many_sets", "%d", result);
        for (uint32_t i = 0; result == VK_SUCCESS && i < N_SETS; i++) {
            writes[i] = (VkWriteDescriptorSet){
                .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                .dstSet = sets[i],
                .descriptorCount = 4,
                .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                .pBufferInfo = buffers,
            };
        }
        if (result == VK_SUCCESS) {
            vkUpdateDescriptorSets(app->device, N_SETS, writes, 0, NULL);
            MUST(vkFreeDescriptorSets(app->device, pool, N_SETS / 2, sets));
        }
        vkDestroyDescriptorPool(app->device, pool, NULL);
    }
    check(alive(app), "alive_after_sets", "no");
    vkDestroyDescriptorSetLayout(app->device, layout, NULL);
    buffer_destroy(app, &buffer);
    free(layouts);
    free(sets);
    free(writes);
}

/* ---- commands ----------------------------------------------------------------------------- */

/* 64 MiB of data inside of one command buffer. */
static void test_updates(struct app *app)
{
    const VkDeviceSize step = 65536;
    const uint32_t n_steps = 1024;
    struct buffer result =
        buffer_create(app, step * n_steps, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    uint32_t *words = must_alloc(step / 4, 4);
    VkCommandBuffer commands = commands_begin(app);
    uint32_t n_wrong = 0;

    for (uint32_t i = 0; i < n_steps; i++) {
        for (uint32_t w = 0; w < step / 4; w++) {
            words[w] = i * 16777259u ^ w * 2654435761u;
        }
        vkCmdUpdateBuffer(commands, result.buffer, i * step, step, words);
    }
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    for (uint32_t i = 0; i < n_steps; i++) {
        for (uint32_t w = 0; w < step / 4; w++) {
            n_wrong += ((const uint32_t *)result.map)[i * (step / 4) + w] !=
                       (i * 16777259u ^ w * 2654435761u);
        }
    }
    check(n_wrong == 0, "long_command_buffer", "%u words wrong", n_wrong);
    buffer_destroy(app, &result);
    free(words);
}

/* Every word copied by a region of its own, in reverse, between thousands of barriers. */
static void test_regions(struct app *app)
{
    struct buffer source =
        buffer_create(app, N_REGIONS * 4, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, HOST_MEMORY);
    struct buffer result =
        buffer_create(app, N_REGIONS * 4, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    VkBufferCopy *regions = must_alloc(N_REGIONS, sizeof(*regions));
    VkBufferMemoryBarrier *barriers = must_alloc(N_REGIONS, sizeof(*barriers));
    VkCommandBuffer commands = commands_begin(app);
    uint32_t n_wrong = 0;

    for (uint32_t i = 0; i < N_REGIONS; i++) {
        ((uint32_t *)source.map)[i] = i * 40503u;
        regions[i] = (VkBufferCopy){ i * 4, (N_REGIONS - 1 - i) * 4, 4 };
        barriers[i] = (VkBufferMemoryBarrier){
            .sType = VK_STRUCTURE_TYPE_BUFFER_MEMORY_BARRIER,
            .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
            .dstAccessMask = VK_ACCESS_HOST_READ_BIT,
            .srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
            .dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
            .buffer = result.buffer,
            .offset = i * 4,
            .size = 4,
        };
    }
    vkCmdCopyBuffer(commands, source.buffer, result.buffer, N_REGIONS, regions);
    vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 0,
                         NULL, N_REGIONS, barriers, 0, NULL);
    commands_run(app, commands);
    for (uint32_t i = 0; i < N_REGIONS; i++) {
        n_wrong += ((const uint32_t *)result.map)[N_REGIONS - 1 - i] != i * 40503u;
    }
    check(n_wrong == 0, "many_regions", "%u words wrong", n_wrong);
    buffer_destroy(app, &source);
    buffer_destroy(app, &result);
    free(regions);
    free(barriers);
}

/* Thousands of command buffers, of submissions in one call, and of fences in one wait. */
static void test_submissions(struct app *app)
{
    struct buffer result =
        buffer_create(app, N_FENCES * 4, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    VkCommandBuffer *commands = must_alloc(N_FENCES, sizeof(*commands));
    VkSubmitInfo *submits = must_alloc(N_FENCES, sizeof(*submits));
    VkFence *fences = must_alloc(N_FENCES, sizeof(*fences));
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = app->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = N_FENCES,
    };
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
    };
    const VkFenceCreateInfo fence = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    uint32_t n_wrong = 0;

    MUST(vkAllocateCommandBuffers(app->device, &info, commands));
    for (uint32_t i = 0; i < N_FENCES; i++) {
        MUST(vkBeginCommandBuffer(commands[i], &begin));
        vkCmdFillBuffer(commands[i], result.buffer, i * 4, 4, i + 7);
        barrier_memory(commands[i], VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                       VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
        MUST(vkEndCommandBuffer(commands[i]));
        submits[i] = (VkSubmitInfo){
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
            .commandBufferCount = 1,
            .pCommandBuffers = &commands[i],
        };
        MUST(vkCreateFence(app->device, &fence, NULL, &fences[i]));
    }
    MUST(vkQueueSubmit(app->queue, N_FENCES / 2, submits, fences[0]));
    for (uint32_t i = 1; i < N_FENCES; i++) {
        const uint32_t work = i >= N_FENCES / 2;

        MUST(vkQueueSubmit(app->queue, work, work ? &submits[i] : NULL, fences[i]));
    }
    MUST(vkWaitForFences(app->device, N_FENCES, fences, VK_TRUE, UINT64_MAX));
    for (uint32_t i = 0; i < N_FENCES; i++) {
        n_wrong += ((const uint32_t *)result.map)[i] != i + 7;
    }
    check(n_wrong == 0, "many_submissions", "%u words wrong", n_wrong);
    MUST(vkResetFences(app->device, N_FENCES, fences));
    check(vkGetFenceStatus(app->device, fences[N_FENCES - 1]) == VK_NOT_READY, "many_resets",
          "a fence is still signalled");
    for (uint32_t i = 0; i < N_FENCES; i++) {
        vkDestroyFence(app->device, fences[i], NULL);
    }
    vkFreeCommandBuffers(app->device, app->pool, N_FENCES, commands);
    buffer_destroy(app, &result);
    free(commands);
    free(submits);
    free(fences);
}

/* ---- threads ------------------------------------------------------------------------------ */

struct compilers {
    struct app *app;
    VkPipelineLayout layout;
    pthread_barrier_t barrier;
};

static void *compile(void *data)
{
    struct compilers *c = data;
    VkPipeline pipeline;

    pthread_barrier_wait(&c->barrier);
    pipeline = compute_pipeline_create(c->app, SPIRV(fill_comp), c->layout, NULL);
    /* Mesa's guest driver keeps a ring for each thread that lives: all of them at once. */
    pthread_barrier_wait(&c->barrier);
    vkDestroyPipeline(c->app->device, pipeline, NULL);
    return NULL;
}

/* A large machine's compiler threads. */
static void test_threads(struct app *app)
{
    const VkDescriptorSetLayoutBinding binding = { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1,
                                                   VK_SHADER_STAGE_COMPUTE_BIT, NULL };
    VkDescriptorSetLayout set_layout = set_layout_create(app, &binding, 1);
    struct compilers c = {
        .app = app,
        .layout = pipeline_layout_create(app, &set_layout, 1, VK_SHADER_STAGE_COMPUTE_BIT, 16),
    };
    static pthread_t threads[N_THREADS];

    pthread_barrier_init(&c.barrier, NULL, N_THREADS);
    for (uint32_t i = 0; i < N_THREADS; i++) {
        if (pthread_create(&threads[i], NULL, compile, &c) != 0) {
            fatal("cannot start thread %u", i);
        }
    }
    for (uint32_t i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&c.barrier);
    check(alive(app), "many_threads", "the device is dead");
    vkDestroyPipelineLayout(app->device, c.layout, NULL);
    vkDestroyDescriptorSetLayout(app->device, set_layout, NULL);
}

/* ---- pipeline caches ---------------------------------------------------------------------- */

/* Data of another version of the driver, and much of it: to be ignored. */
static void test_cache(struct app *app)
{
    const size_t size = 32u << 20;
    uint8_t *data = must_alloc(size, 1);
    const VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = size,
        .pInitialData = data,
    };
    VkPipelineCache cache = VK_NULL_HANDLE;
    size_t left = 0;
    VkResult result;

    memset(data, 0x5a, size);
    memcpy(data,
           &(VkPipelineCacheHeaderVersionOne){
               .headerSize = sizeof(VkPipelineCacheHeaderVersionOne),
               .headerVersion = VK_PIPELINE_CACHE_HEADER_VERSION_ONE,
               .vendorID = app->properties.vendorID,
               .deviceID = app->properties.deviceID,
           },
           sizeof(VkPipelineCacheHeaderVersionOne));
    result = vkCreatePipelineCache(app->device, &info, NULL, &cache);
    if (result == VK_SUCCESS) {
        result = vkGetPipelineCacheData(app->device, cache, &left, NULL);
        vkDestroyPipelineCache(app->device, cache, NULL);
    }
    check(answered(result), "foreign_cache", "%d", result);
    free(data);
}

/* ---- chains ------------------------------------------------------------------------------- */

/* Every feature structure up to Vulkan 1.2 and extensions that came with it, in one chain. */
static void test_chain(struct app *app)
{
#define FEATURES(X)                                                       \
    X(16BIT_STORAGE, 16BitStorage)                                        \
    X(8BIT_STORAGE, 8BitStorage)                                          \
    X(BUFFER_DEVICE_ADDRESS, BufferDeviceAddress)                         \
    X(DESCRIPTOR_INDEXING, DescriptorIndexing)                            \
    X(HOST_QUERY_RESET, HostQueryReset)                                   \
    X(IMAGELESS_FRAMEBUFFER, ImagelessFramebuffer)                        \
    X(MULTIVIEW, Multiview)                                               \
    X(PROTECTED_MEMORY, ProtectedMemory)                                  \
    X(SAMPLER_YCBCR_CONVERSION, SamplerYcbcrConversion)                   \
    X(SCALAR_BLOCK_LAYOUT, ScalarBlockLayout)                             \
    X(SEPARATE_DEPTH_STENCIL_LAYOUTS, SeparateDepthStencilLayouts)        \
    X(SHADER_ATOMIC_INT64, ShaderAtomicInt64)                             \
    X(SHADER_DRAW_PARAMETERS, ShaderDrawParameters)                       \
    X(SHADER_FLOAT16_INT8, ShaderFloat16Int8)                             \
    X(SHADER_SUBGROUP_EXTENDED_TYPES, ShaderSubgroupExtendedTypes)        \
    X(TIMELINE_SEMAPHORE, TimelineSemaphore)                              \
    X(UNIFORM_BUFFER_STANDARD_LAYOUT, UniformBufferStandardLayout)        \
    X(VARIABLE_POINTERS, VariablePointers)                                \
    X(VULKAN_MEMORY_MODEL, VulkanMemoryModel)                             \
    X(DYNAMIC_RENDERING, DynamicRendering)                                \
    X(IMAGE_ROBUSTNESS, ImageRobustness)                                  \
    X(INLINE_UNIFORM_BLOCK, InlineUniformBlock)                           \
    X(MAINTENANCE_4, Maintenance4)                                        \
    X(PIPELINE_CREATION_CACHE_CONTROL, PipelineCreationCacheControl)      \
    X(PRIVATE_DATA, PrivateData)                                          \
    X(SHADER_DEMOTE_TO_HELPER_INVOCATION, ShaderDemoteToHelperInvocation) \
    X(SHADER_INTEGER_DOT_PRODUCT, ShaderIntegerDotProduct)                \
    X(SHADER_TERMINATE_INVOCATION, ShaderTerminateInvocation)             \
    X(SUBGROUP_SIZE_CONTROL, SubgroupSizeControl)                         \
    X(SYNCHRONIZATION_2, Synchronization2)                                \
    X(TEXTURE_COMPRESSION_ASTC_HDR, TextureCompressionASTCHDR)            \
    X(ZERO_INITIALIZE_WORKGROUP_MEMORY, ZeroInitializeWorkgroupMemory)

#define X(word, name) VkPhysicalDevice##name##Features with##name;
    struct {
        FEATURES(X)
    } f = { 0 };
#undef X
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
    };
    VkBaseOutStructure *last = (VkBaseOutStructure *)&features;

    if (app->api < VK_API_VERSION_1_3) {
        skip("long_chain", "Vulkan 1.3");
        return;
    }
#define X(word, name)                                                         \
    f.with##name.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_##word##_FEATURES; \
    last = last->pNext = (VkBaseOutStructure *)&f.with##name;
    FEATURES(X)
#undef X
#undef FEATURES
    vkGetPhysicalDeviceFeatures2(app->physical, &features);
    check(f.withSynchronization2.synchronization2 && f.withMaintenance4.maintenance4 &&
              f.withHostQueryReset.hostQueryReset == app->features12.hostQueryReset &&
              f.withMultiview.multiview == app->features11.multiview &&
              f.withSubgroupSizeControl.subgroupSizeControl == app->features13.subgroupSizeControl,
          "long_chain", "not what the structures of the versions say");
}

int main(int argc, char **argv)
{
    static struct app app;

    app_open(&app, "cl_large", argc, argv, NULL, NULL, 0);
    test_memory(&app);
    test_resources(&app);
    many_fences(&app);
    many_semaphores(&app);
    many_events(&app);
    many_layouts(&app);
    many_modules(&app);
    many_buffers(&app);
    many_views(&app);
    check(alive(&app), "alive_after_objects", "no");
    test_sets(&app);
    test_updates(&app);
    test_regions(&app);
    test_submissions(&app);
    test_threads(&app);
    test_cache(&app);
    test_chain(&app);
    check(alive(&app), "alive", "no");
    return app_close(&app);
}
