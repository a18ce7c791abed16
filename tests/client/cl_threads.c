/*
 * Threads: each records primary and secondary command buffers from a pool of its own and submits
 * to the shared queue, while also creating and destroying objects of many kinds; the main thread
 * does the same. Everything that Vulkan lets threads do at once is done at once.
 */
#include "vkapp.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "fill_comp.h"
#include "flat_frag.h"
#include "flat_vert.h"

#define MAX_THREADS 64
#define WORDS 4096
#define SIZE 64

struct fill_push {
    uint32_t count;
    uint32_t factor;
    uint32_t base;
};

struct flat_push {
    float rect[4];
    float color[4];
    float depth;
};

struct shared {
    struct app app;
    int n_threads;
    int n_rounds;
    pthread_mutex_t queue_lock;
    pthread_barrier_t start;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout compute_layout;
    VkRenderPass pass;
    VkPipelineLayout flat_layout;
};

struct worker {
    struct shared *shared;
    uint32_t number;
    VkPipeline compute;
    VkPipeline flat;
    VkCommandPool pool;
    struct buffer words;
    struct buffer pixels;
    struct image target;
    VkFramebuffer framebuffer;
    VkDescriptorPool descriptors;
    VkDescriptorSet set;
    uint32_t n_wrong_words;
    uint32_t n_wrong_pixels;
    uint64_t hash;
};

static VkCommandBuffer allocate(struct worker *w, VkCommandBufferLevel level)
{
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = w->pool,
        .level = level,
        .commandBufferCount = 1,
    };
    VkCommandBuffer commands;

    MUST(vkAllocateCommandBuffers(w->shared->app.device, &info, &commands));
    return commands;
}

static void begin(VkCommandBuffer commands, const VkCommandBufferInheritanceInfo *inheritance,
                  VkCommandBufferUsageFlags flags)
{
    const VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = flags,
        .pInheritanceInfo = inheritance,
    };

    MUST(vkBeginCommandBuffer(commands, &info));
}

static VkCommandBuffer record_compute(struct worker *w, uint32_t round)
{
    const VkCommandBufferInheritanceInfo inheritance = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_INHERITANCE_INFO,
    };
    const struct fill_push push = { WORDS, round + 2, w->number };
    VkCommandBuffer commands = allocate(w, VK_COMMAND_BUFFER_LEVEL_SECONDARY);

    begin(commands, &inheritance, VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, w->compute);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, w->shared->compute_layout, 0,
                            1, &w->set, 0, NULL);
    vkCmdPushConstants(commands, w->shared->compute_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                       sizeof(push), &push);
    vkCmdDispatch(commands, WORDS / 64, 1, 1);
    MUST(vkEndCommandBuffer(commands));
    return commands;
}

/* Rows of one colour per round and thread, drawn as single lines. */
static VkCommandBuffer record_draws(struct worker *w, uint32_t round)
{
    const VkCommandBufferInheritanceInfo inheritance = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_INHERITANCE_INFO,
        .renderPass = w->shared->pass,
        .framebuffer = w->framebuffer,
    };
    VkCommandBuffer commands = allocate(w, VK_COMMAND_BUFFER_LEVEL_SECONDARY);

    begin(commands, &inheritance,
          VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT |
              VK_COMMAND_BUFFER_USAGE_RENDER_PASS_CONTINUE_BIT);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, w->flat);
    set_viewport(commands, SIZE, SIZE);
    for (uint32_t row = 0; row < SIZE; row++) {
        const struct flat_push push = {
            .rect = { -1, -1 + 2.0f * (float)row / SIZE, 2, 2.0f / SIZE },
            .color = { (float)w->number / 255, (float)(round & 255) / 255, (float)row / 255, 1 },
        };

        vkCmdPushConstants(commands, w->shared->flat_layout,
                           VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, 0,
                           sizeof(push), &push);
        vkCmdDraw(commands, 6, 1, 0, 0);
    }
    MUST(vkEndCommandBuffer(commands));
    return commands;
}

static void record_primary(struct worker *w, VkCommandBuffer commands, uint32_t round)
{
    static const float clear[4] = { 0, 0, 0, 0 };
    const VkBufferImageCopy region = {
        .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 },
        .imageExtent = { SIZE, SIZE, 1 },
    };
    VkCommandBuffer compute = record_compute(w, round), draws = record_draws(w, round);

    begin(commands, NULL, VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT);
    barrier_memory(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_WRITE_BIT,
                   VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                   VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT);
    vkCmdExecuteCommands(commands, 1, &compute);
    render_pass_begin(commands, w->shared->pass, w->framebuffer, SIZE, SIZE, clear,
                      VK_SUBPASS_CONTENTS_SECONDARY_COMMAND_BUFFERS);
    vkCmdExecuteCommands(commands, 1, &draws);
    vkCmdEndRenderPass(commands);
    vkCmdCopyImageToBuffer(commands, w->target.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                           w->pixels.buffer, 1, &region);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                   VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    MUST(vkEndCommandBuffer(commands));
}

static void check_round(struct worker *w, uint32_t *expected, uint32_t round)
{
    const uint32_t *words = w->words.map;
    const uint8_t *pixels = w->pixels.map;

    for (uint32_t i = 0; i < WORDS; i++) {
        expected[i] = expected[i] * (round + 2) + i + w->number;
        w->n_wrong_words += words[i] != expected[i];
    }
    for (uint32_t row = 0; row < SIZE; row++) {
        const uint8_t *p = pixels + 4 * (row * SIZE + row);

        w->n_wrong_pixels += p[0] != w->number || p[1] != (round & 255) || p[2] != row;
    }
}

/* Objects that live for a moment, so that other threads' object work happens in between. */
static void create_and_destroy(struct worker *w, uint32_t round)
{
    struct app *app = &w->shared->app;
    const VkSemaphoreCreateInfo semaphore_info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
    };
    const VkEventCreateInfo event_info = { .sType = VK_STRUCTURE_TYPE_EVENT_CREATE_INFO };
    const VkSamplerCreateInfo sampler_info = {
        .sType = VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO,
        .maxLod = (float)(round % 8),
    };
    struct buffer buffer = buffer_create(app, 256 + 16 * round, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
                                         round % 2 ? HOST_MEMORY : DEVICE_MEMORY);
    struct image image = image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, 8 + round % 8, 8,
                                         VK_IMAGE_USAGE_SAMPLED_BIT);
    VkSemaphore semaphore;
    VkEvent event;
    VkSampler sampler;

    MUST(vkCreateSemaphore(app->device, &semaphore_info, NULL, &semaphore));
    MUST(vkCreateEvent(app->device, &event_info, NULL, &event));
    MUST(vkCreateSampler(app->device, &sampler_info, NULL, &sampler));
    if (buffer.map) {
        memset(buffer.map, (int)round, buffer.size);
    }
    if (round % 8 == 0) {
        VkPipeline pipeline =
            compute_pipeline_create(app, SPIRV(fill_comp), w->shared->compute_layout, NULL);

        vkDestroyPipeline(app->device, pipeline, NULL);
    }
    vkDestroySampler(app->device, sampler, NULL);
    vkDestroyEvent(app->device, event, NULL);
    vkDestroySemaphore(app->device, semaphore, NULL);
    image_destroy(app, &image);
    buffer_destroy(app, &buffer);
}

static void run_round(struct worker *w, VkFence fence, uint32_t *expected, uint32_t round)
{
    struct shared *s = w->shared;
    VkCommandBuffer commands;
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
    };

    MUST(vkResetCommandPool(s->app.device, w->pool, 0));
    commands = allocate(w, VK_COMMAND_BUFFER_LEVEL_PRIMARY);
    record_primary(w, commands, round);
    pthread_mutex_lock(&s->queue_lock);
    MUST(vkQueueSubmit(s->app.queue, 1, &submit, fence));
    pthread_mutex_unlock(&s->queue_lock);
    create_and_destroy(w, round);
    MUST(vkWaitForFences(s->app.device, 1, &fence, VK_TRUE, UINT64_MAX));
    MUST(vkResetFences(s->app.device, 1, &fence));
    check_round(w, expected, round);
}

static void worker_create(struct worker *w)
{
    struct shared *s = w->shared;
    struct app *app = &s->app;
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
        .queueFamilyIndex = app->family,
    };

    /* Mesa gives a thread that makes pipelines before it submits a ring of its own. */
    w->compute = compute_pipeline_create(app, SPIRV(fill_comp), s->compute_layout, NULL);
    w->flat = graphics_pipeline_create(app, &(struct graphics_info){
                                                .vertex = SPIRV(flat_vert),
                                                .fragment = SPIRV(flat_frag),
                                                .layout = s->flat_layout,
                                                .pass = s->pass,
                                            });
    MUST(vkCreateCommandPool(app->device, &pool, NULL, &w->pool));
    w->words = buffer_create(app, 4 * WORDS, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, HOST_MEMORY);
    memset(w->words.map, 0, 4 * WORDS);
    w->pixels = buffer_create(app, 4 * SIZE * SIZE, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    w->target =
        image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, SIZE, SIZE,
                        VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT);
    w->framebuffer = framebuffer_create(app, s->pass, &w->target.view, 1, SIZE, SIZE);
    w->descriptors = descriptor_pool_create(app, 1, 1, 0);
    w->set = descriptor_set_allocate(app, w->descriptors, s->set_layout);
    descriptor_write_buffer(app, w->set, 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &w->words);
}

static void worker_destroy(struct worker *w)
{
    struct app *app = &w->shared->app;

    vkDestroyCommandPool(app->device, w->pool, NULL);
    vkDestroyDescriptorPool(app->device, w->descriptors, NULL);
    vkDestroyFramebuffer(app->device, w->framebuffer, NULL);
    image_destroy(app, &w->target);
    buffer_destroy(app, &w->pixels);
    buffer_destroy(app, &w->words);
    vkDestroyPipeline(app->device, w->flat, NULL);
    vkDestroyPipeline(app->device, w->compute, NULL);
}

static void *worker_run(void *data)
{
    struct worker *w = data;
    struct shared *s = w->shared;
    const VkFenceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    uint32_t expected[WORDS] = { 0 };
    VkFence fence;

    pthread_barrier_wait(&s->start);
    worker_create(w);
    MUST(vkCreateFence(s->app.device, &info, NULL, &fence));
    for (int round = 0; round < s->n_rounds; round++) {
        run_round(w, fence, expected, (uint32_t)round);
    }
    w->hash = fnv1a(w->words.map, 4 * WORDS) ^ fnv1a(w->pixels.map, 4 * SIZE * SIZE);
    vkDestroyFence(s->app.device, fence, NULL);
    worker_destroy(w);
    return NULL;
}

static void shared_create(struct shared *s)
{
    struct app *app = &s->app;
    const VkDescriptorSetLayoutBinding binding = { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1,
                                                   VK_SHADER_STAGE_COMPUTE_BIT, NULL };

    s->set_layout = set_layout_create(app, &binding, 1);
    s->compute_layout = pipeline_layout_create(app, &s->set_layout, 1, VK_SHADER_STAGE_COMPUTE_BIT,
                                               sizeof(struct fill_push));
    s->pass =
        render_pass_create(app, VK_FORMAT_R8G8B8A8_UNORM, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    s->flat_layout =
        pipeline_layout_create(app, NULL, 0,
                               VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT,
                               sizeof(struct flat_push));
}

static void shared_destroy(struct shared *s)
{
    struct app *app = &s->app;

    vkDestroyPipelineLayout(app->device, s->flat_layout, NULL);
    vkDestroyRenderPass(app->device, s->pass, NULL);
    vkDestroyPipelineLayout(app->device, s->compute_layout, NULL);
    vkDestroyDescriptorSetLayout(app->device, s->set_layout, NULL);
}

int main(int argc, char **argv)
{
    static struct shared s = { .n_threads = 4,
                               .n_rounds = 40,
                               .queue_lock = PTHREAD_MUTEX_INITIALIZER };
    static struct worker workers[MAX_THREADS];
    static pthread_t threads[MAX_THREADS];
    const struct option_rule options[] = {
        { "--threads", OPTION_INT, &s.n_threads, "default 4" },
        { "--rounds", OPTION_INT, &s.n_rounds, "submits of each thread (default 40)" },
        { NULL },
    };

    app_open(&s.app, "cl_threads", argc, argv, options, NULL, 0);
    if (s.n_threads < 1 || s.n_threads > MAX_THREADS) {
        fatal("--threads is from 1 to %d", MAX_THREADS);
    }
    shared_create(&s);
    pthread_barrier_init(&s.start, NULL, (unsigned)s.n_threads);
    for (int i = 0; i < s.n_threads; i++) {
        workers[i] = (struct worker){ .shared = &s, .number = (uint32_t)i + 1 };
        if (pthread_create(&threads[i], NULL, worker_run, &workers[i]) != 0) {
            fatal("cannot start thread %d", i);
        }
    }
    for (int i = 0; i < s.n_threads; i++) {
        char name[32];

        pthread_join(threads[i], NULL);
        snprintf(name, sizeof(name), "thread_%d", i);
        check(workers[i].n_wrong_words == 0 && workers[i].n_wrong_pixels == 0, name,
              "%u words and %u pixels wrong", workers[i].n_wrong_words, workers[i].n_wrong_pixels);
        value(name, workers[i].hash);
    }
    pthread_barrier_destroy(&s.start);
    shared_destroy(&s);
    return app_close(&s.app);
}
