/*
 * What calls cost, seen from a client: round trips, back to back and after idle gaps, recording,
 * descriptor updates, submits, memory, creation of instance and device.
 *
 * The result line gains a "bench" object: name to {"median": ..., "p99": ..., "unit": ...}.
 *
 * For whoever watches the server meanwhile: --marks says on standard output when a measurement of
 * so many calls begins and ends, and waits for a line each time; --hold keeps an idle device and
 * --calls makes calls, for so many seconds from the first line on, and says how many.
 */
#include "vkapp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flat_frag.h"
#include "flat_vert.h"
#include "matmul_comp.h"

#define SIZE 16
#define PAGE 4096

struct flat_push {
    float rect[4];
    float color[4];
    float depth;
};

struct bench {
    struct app app;
    const char *only;
    bool quick;
    bool list;
    bool hold;
    bool marks;
    int calls_s;
    char *json;
    struct image target;
    VkImage linear;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkDescriptorSetLayout set_layout;
    VkDescriptorPool pool;
    VkDescriptorSet sets[2];
    VkPipelineLayout layout;
    VkPipeline pipeline;
    struct buffer buffer;
    struct buffer small;
};

static bool wanted(struct bench *b, const char *name)
{
    if (b->list) {
        fprintf(stderr, "%s\n", name);
        return false;
    }
    return !b->only || strcmp(b->only, name) == 0;
}

/* How many samples: fewer with --quick. */
static uint32_t samples(const struct bench *b, uint32_t n)
{
    return b->quick ? (n + 19) / 20 : n;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void append(struct bench *b, const char *name, const char *json)
{
    char *joined;

    if (asprintf(&joined, "%s%s\"%s\":%s", b->json ? b->json : "", b->json ? "," : "", name, json) <
        0) {
        fatal("out of memory");
    }
    free(b->json);
    b->json = joined;
    fprintf(stderr, "%-28s %s\n", name, json);
}

static void report_times(struct bench *b, const char *name, uint64_t *times, uint32_t n)
{
    char text[160];

    qsort(times, n, sizeof(*times), by_number);
    snprintf(text, sizeof(text),
             "{\"unit\":\"us\",\"median\":%.3f,\"min\":%.3f,\"p99\":%.3f,\"n\":%u}",
             (double)times[n / 2] / 1e3, (double)times[0] / 1e3,
             (double)times[(uint32_t)((double)(n - 1) * 0.99)] / 1e3, n);
    append(b, name, text);
}

/* Median of rates; `what` says per second of what. */
static void report_rate(struct bench *b, const char *name, uint64_t *times, uint32_t n,
                        uint64_t count, const char *what)
{
    char text[160];

    qsort(times, n, sizeof(*times), by_number);
    snprintf(text, sizeof(text), "{\"unit\":\"%s/s\",\"median\":%.0f,\"best\":%.0f,\"n\":%u}", what,
             (double)count * 1e9 / (double)times[n / 2], (double)count * 1e9 / (double)times[0], n);
    append(b, name, text);
}

/* Says where it is, and goes on when it is told to. */
static bool say_and_wait(const char *what)
{
    char text[16];

    puts(what);
    fflush(stdout);
    return fgets(text, sizeof(text), stdin) != NULL;
}

static void mark(const struct bench *b, const char *what, const char *name, uint64_t calls)
{
    char text[128];

    if (b->marks) {
        snprintf(text, sizeof(text), "%s %s %llu", what, name, (unsigned long long)calls);
        (void)say_and_wait(text);
    }
}

/* A call that the driver cannot answer by itself: the layout of a linear image. */
static void round_trip(struct bench *b)
{
    const VkImageSubresource subresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0 };
    VkSubresourceLayout layout;

    vkGetImageSubresourceLayout(b->app.device, b->linear, &subresource, &layout);
    if (layout.rowPitch == 0) {
        fatal("a row pitch of 0");
    }
}

static void bench_round_trips(struct bench *b)
{
    static const struct {
        const char *name;
        uint64_t gap_ns;
        uint32_t n;
    } rows[] = {
        { "call_back_to_back", 0, 20000 },    { "call_after_20us", 20000, 2000 },
        { "call_after_50us", 50000, 2000 },   { "call_after_200us", 200000, 2000 },
        { "call_after_900us", 900000, 1000 }, { "call_after_2ms", 2000000, 400 },
        { "call_after_10ms", 10000000, 100 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        /* All of those without a gap: the scheduler needs some to give each side a processor. */
        uint32_t n = rows[i].gap_ns ? samples(b, rows[i].n) : rows[i].n;
        uint64_t *times;

        if (!wanted(b, rows[i].name)) {
            continue;
        }
        times = must_alloc(n, sizeof(*times));
        mark(b, "begin", rows[i].name, n + 10);
        for (uint32_t k = 0; k < n + 10; k++) {
            uint64_t start;

            if (rows[i].gap_ns) {
                sleep_ns(rows[i].gap_ns);
            }
            start = now_ns();
            round_trip(b);
            times[k < 10 ? 0 : k - 10] = now_ns() - start;
        }
        mark(b, "end", rows[i].name, n + 10);
        report_times(b, rows[i].name, times, n);
        free(times);
    }
}

/* Recording: `n` commands of one kind; the time to record them, and until the renderer has them. */

typedef void (*record_fn)(struct bench *b, VkCommandBuffer commands, uint32_t n);

static void record_draws(struct bench *b, VkCommandBuffer commands, uint32_t n)
{
    (void)b;
    for (uint32_t i = 0; i < n; i++) {
        vkCmdDraw(commands, 3, 1, 0, i);
    }
}

static void record_push_constants(struct bench *b, VkCommandBuffer commands, uint32_t n)
{
    struct flat_push push = { { 0, 0, 1, 1 }, { 1, 1, 1, 1 }, 0 };

    for (uint32_t i = 0; i < n; i++) {
        push.depth = (float)(i & 255) / 256;
        vkCmdPushConstants(commands, b->layout,
                           VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, 0,
                           sizeof(push), &push);
    }
}

static void record_binds(struct bench *b, VkCommandBuffer commands, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, b->layout, 0, 1,
                                &b->sets[i & 1], 0, NULL);
    }
}

/* What a draw costs in a typical renderer: set, constants, draw. */
static void record_mixed(struct bench *b, VkCommandBuffer commands, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        record_binds(b, commands, 1);
        record_push_constants(b, commands, 1);
        vkCmdDraw(commands, 3, 1, 0, i);
    }
}

static void record_barriers(struct bench *b, VkCommandBuffer commands, uint32_t n)
{
    const VkBufferMemoryBarrier2 barrier = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_MEMORY_BARRIER_2,
        .srcStageMask = VK_PIPELINE_STAGE_2_COPY_BIT,
        .srcAccessMask = VK_ACCESS_2_TRANSFER_WRITE_BIT,
        .dstStageMask = VK_PIPELINE_STAGE_2_COPY_BIT,
        .dstAccessMask = VK_ACCESS_2_TRANSFER_READ_BIT,
        .srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .buffer = b->small.buffer,
        .size = VK_WHOLE_SIZE,
    };
    const VkDependencyInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO,
        .bufferMemoryBarrierCount = 1,
        .pBufferMemoryBarriers = &barrier,
    };

    for (uint32_t i = 0; i < n; i++) {
        vkCmdPipelineBarrier2(commands, &info);
    }
}

static void record_copies(struct bench *b, VkCommandBuffer commands, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const VkBufferCopy region = { (i & 63) * 16, 0, 16 };

        vkCmdCopyBuffer(commands, b->buffer.buffer, b->small.buffer, 1, &region);
    }
}

static void record_once(struct bench *b, record_fn record, bool in_pass, uint32_t n,
                        uint64_t *ret_recorded, uint64_t *ret_processed)
{
    static const float clear[4] = { 0, 0, 0, 0 };
    uint64_t start = now_ns();
    VkCommandBuffer commands = commands_begin(&b->app);

    if (in_pass) {
        render_pass_begin(commands, b->pass, b->framebuffer, SIZE, SIZE, clear,
                          VK_SUBPASS_CONTENTS_INLINE);
        vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, b->pipeline);
        set_viewport(commands, SIZE, SIZE);
        record_binds(b, commands, 1);
        record_push_constants(b, commands, 1);
    }
    record(b, commands, n);
    if (in_pass) {
        vkCmdEndRenderPass(commands);
    }
    MUST(vkEndCommandBuffer(commands));
    *ret_recorded = now_ns() - start;
    round_trip(b);
    *ret_processed = now_ns() - start;
    vkFreeCommandBuffers(b->app.device, b->app.pool, 1, &commands);
}

static void bench_recording(struct bench *b)
{
    static const struct {
        const char *name;
        record_fn record;
        bool in_pass;
    } rows[] = {
        { "draw", record_draws, true },
        { "push_constants", record_push_constants, true },
        { "bind_descriptor_sets", record_binds, true },
        { "bind_push_draw", record_mixed, true },
        { "barrier2", record_barriers, false },
        { "copy_buffer", record_copies, false },
    };
    enum { COUNT = 20000 };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint32_t n = samples(b, 60);
        uint64_t recorded[64], processed[64];
        char name[64];

        if (!wanted(b, rows[i].name) ||
            (rows[i].record == record_barriers && !b->app.features13.synchronization2)) {
            continue;
        }
        mark(b, "begin", rows[i].name, (uint64_t)n * COUNT);
        for (uint32_t k = 0; k < n; k++) {
            record_once(b, rows[i].record, rows[i].in_pass, COUNT, &recorded[k], &processed[k]);
        }
        mark(b, "end", rows[i].name, (uint64_t)n * COUNT);
        snprintf(name, sizeof(name), "%s_recorded", rows[i].name);
        report_rate(b, name, recorded, n, COUNT, rows[i].name);
        snprintf(name, sizeof(name), "%s_processed", rows[i].name);
        report_rate(b, name, processed, n, COUNT, rows[i].name);
    }
}

static void bench_updates(struct bench *b)
{
    enum { COUNT = 10000 };
    uint32_t n = samples(b, 40);
    uint64_t times[64];

    if (!wanted(b, "update_descriptor_sets")) {
        return;
    }
    for (uint32_t k = 0; k < n; k++) {
        uint64_t start = now_ns();

        for (uint32_t i = 0; i < COUNT; i++) {
            descriptor_write_buffer(&b->app, b->sets[i & 1], 0, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER,
                                    i & 2 ? &b->buffer : &b->small);
        }
        round_trip(b);
        times[k] = now_ns() - start;
    }
    report_rate(b, "update_descriptor_sets", times, n, COUNT, "update");
}

/* One call for `items` descriptors, and until the renderer has them; per item. */
static void bench_update_arrays(struct bench *b)
{
    static const struct {
        const char *name;
        uint32_t items, n;
    } rows[] = { { "update_of_10000_per_item", 10000, 100 },
                 { "update_of_100_per_item", 100, 1000 } };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const uint32_t n = samples(b, rows[i].n), items = rows[i].items;
        VkDescriptorBufferInfo buffer = { b->small.buffer, 0, VK_WHOLE_SIZE };
        VkWriteDescriptorSet *writes;
        uint64_t *times;

        if (!wanted(b, rows[i].name)) {
            continue;
        }
        writes = must_alloc(items, sizeof(*writes));
        times = must_alloc(n, sizeof(*times));
        for (uint32_t k = 0; k < items; k++) {
            writes[k] = (VkWriteDescriptorSet){
                .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                .dstSet = b->sets[k & 1],
                .descriptorCount = 1,
                .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER,
                .pBufferInfo = &buffer,
            };
        }
        for (uint32_t k = 0; k < n; k++) {
            uint64_t start = now_ns();

            vkUpdateDescriptorSets(b->app.device, items, writes, 0, NULL);
            round_trip(b);
            times[k] = (now_ns() - start) / items;
        }
        report_times(b, rows[i].name, times, n);
        free(writes);
        free(times);
    }
}

/* Square matrices of floats and what multiplies them: the product of the third and one of the first
 * two becomes the other. */
struct matmul {
    uint32_t size;
    struct buffer matrices[3];
    VkDescriptorSetLayout set_layout;
    VkDescriptorPool pool;
    VkDescriptorSet sets[2];
    VkPipelineLayout layout;
    VkPipeline pipeline;
};

static void matmul_create(struct app *app, struct matmul *m, uint32_t size,
                          VkMemoryPropertyFlags memory)
{
    VkDescriptorSetLayoutBinding bindings[3];

    m->size = size;
    for (uint32_t i = 0; i < 3; i++) {
        bindings[i] = (VkDescriptorSetLayoutBinding){ i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1,
                                                      VK_SHADER_STAGE_COMPUTE_BIT, NULL };
        m->matrices[i] = buffer_create(app, (VkDeviceSize)size * size * sizeof(float),
                                       VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, memory);
    }
    m->set_layout = set_layout_create(app, bindings, 3);
    m->layout = pipeline_layout_create(app, &m->set_layout, 1, VK_SHADER_STAGE_COMPUTE_BIT,
                                       sizeof(m->size));
    m->pipeline = compute_pipeline_create(app, SPIRV(matmul_comp), m->layout, NULL);
    m->pool = descriptor_pool_create(app, 2, 6, 0);
    for (uint32_t i = 0; i < 2; i++) {
        m->sets[i] = descriptor_set_allocate(app, m->pool, m->set_layout);
        descriptor_write_buffer(app, m->sets[i], 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                &m->matrices[i]);
        descriptor_write_buffer(app, m->sets[i], 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                &m->matrices[2]);
        descriptor_write_buffer(app, m->sets[i], 2, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                &m->matrices[1 - i]);
    }
}

static void matmul_destroy(struct app *app, struct matmul *m)
{
    vkDestroyPipeline(app->device, m->pipeline, NULL);
    vkDestroyPipelineLayout(app->device, m->layout, NULL);
    vkDestroyDescriptorPool(app->device, m->pool, NULL);
    vkDestroyDescriptorSetLayout(app->device, m->set_layout, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        buffer_destroy(app, &m->matrices[i]);
    }
}

/* Products that need one another. */
static void matmul_record(const struct matmul *m, VkCommandBuffer commands, uint32_t layers)
{
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, m->pipeline);
    vkCmdPushConstants(commands, m->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(m->size),
                       &m->size);
    for (uint32_t i = 0; i < layers; i++) {
        vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, m->layout, 0, 1,
                                &m->sets[i & 1], 0, NULL);
        vkCmdDispatch(commands, m->size / 32, m->size / 32, 1);
        barrier_memory(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                       VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT);
    }
}

/* What a token costs an inference engine: layers of matrix products, recorded, submitted and waited
 * for. */
static void bench_matmul(struct bench *b)
{
    struct app *app = &b->app;
    const uint32_t n = samples(b, 100);
    struct matmul m;
    uint64_t *times;

    if (!wanted(b, "matmul_token")) {
        return;
    }
    matmul_create(app, &m, 128, HOST_MEMORY);
    times = must_alloc(n, sizeof(*times));
    for (uint32_t k = 0; k < n; k++) {
        uint64_t start = now_ns();
        VkCommandBuffer commands = commands_begin(app);

        matmul_record(&m, commands, 32);
        commands_run(app, commands);
        times[k] = now_ns() - start;
    }
    report_times(b, "matmul_token", times, n);
    free(times);
    matmul_destroy(app, &m);
}

/* Frames in which the GPU is the limit: recorded anew each time, several in flight, as applications
 * have them. */

enum { IN_FLIGHT = 3, FRAME_SIZE = 2048 };

struct frames {
    struct matmul matmul;
    struct image target;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkPipeline pipeline;
    VkFence fences[IN_FLIGHT];
};

typedef void (*frame_fn)(struct bench *b, struct frames *f, VkCommandBuffer commands);

static void frame_compute(struct bench *b, struct frames *f, VkCommandBuffer commands)
{
    (void)b;
    matmul_record(&f->matmul, commands, 4);
}

static void frame_draw(struct bench *b, struct frames *f, VkCommandBuffer commands)
{
    static const float clear[4] = { 0, 0, 0, 0 };
    struct flat_push push = { { -1, -1, 2, 2 }, { 0.01F, 0.02F, 0.03F, 0.5F }, 0 };

    barrier_image(commands, &f->target, VK_IMAGE_ASPECT_COLOR_BIT, VK_IMAGE_LAYOUT_UNDEFINED,
                  VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL);
    render_pass_begin(commands, f->pass, f->framebuffer, FRAME_SIZE, FRAME_SIZE, clear,
                      VK_SUBPASS_CONTENTS_INLINE);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, f->pipeline);
    set_viewport(commands, FRAME_SIZE, FRAME_SIZE);
    record_binds(b, commands, 1);
    for (uint32_t i = 0; i < 256; i++) {
        push.color[i % 3] += 0.001F;
        vkCmdPushConstants(commands, b->layout,
                           VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, 0,
                           sizeof(push), &push);
        vkCmdDraw(commands, 6, 1, 0, 0);
    }
    vkCmdEndRenderPass(commands);
}

static uint64_t run_frames(struct bench *b, struct frames *f, frame_fn record, uint32_t n)
{
    struct app *app = &b->app;
    VkCommandBuffer commands[IN_FLIGHT];
    const uint64_t start = now_ns();

    for (uint32_t k = 0; k < n + IN_FLIGHT; k++) {
        const uint32_t slot = k % IN_FLIGHT;

        if (k >= IN_FLIGHT && k - IN_FLIGHT < n) {
            MUST(vkWaitForFences(app->device, 1, &f->fences[slot], VK_TRUE, UINT64_MAX));
            MUST(vkResetFences(app->device, 1, &f->fences[slot]));
            vkFreeCommandBuffers(app->device, app->pool, 1, &commands[slot]);
        }
        if (k < n) {
            commands[slot] = commands_begin(app);
            record(b, f, commands[slot]);
            MUST(vkEndCommandBuffer(commands[slot]));
            MUST(vkQueueSubmit(app->queue, 1,
                               &(VkSubmitInfo){ .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                                                .commandBufferCount = 1,
                                                .pCommandBuffers = &commands[slot] },
                               f->fences[slot]));
        }
    }
    return now_ns() - start;
}

static void bench_frames(struct bench *b)
{
    static const struct {
        const char *name;
        frame_fn record;
    } rows[] = { { "gpu_compute_frame", frame_compute }, { "gpu_draw_frame", frame_draw } };
    struct app *app = &b->app;
    struct frames f = { 0 };
    bool any = false;

    /* A processor that draws would take minutes. */
    if (!b->list && app->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU) {
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t times[5];
        uint32_t n;

        if (!wanted(b, rows[i].name)) {
            continue;
        }
        if (!any) {
            any = true;
            matmul_create(app, &f.matmul, FRAME_SIZE, DEVICE_MEMORY);
            f.target = image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, FRAME_SIZE, FRAME_SIZE,
                                       VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT);
            f.pass =
                render_pass_create(app, f.target.format, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL);
            f.framebuffer =
                framebuffer_create(app, f.pass, &f.target.view, 1, FRAME_SIZE, FRAME_SIZE);
            f.pipeline = graphics_pipeline_create(app, &(struct graphics_info){
                                                           .vertex = SPIRV(flat_vert),
                                                           .fragment = SPIRV(flat_frag),
                                                           .layout = b->layout,
                                                           .pass = f.pass,
                                                           .blend = true,
                                                       });
            for (uint32_t k = 0; k < IN_FLIGHT; k++) {
                MUST(vkCreateFence(app->device,
                                   &(VkFenceCreateInfo){ .sType =
                                                             VK_STRUCTURE_TYPE_FENCE_CREATE_INFO },
                                   NULL, &f.fences[k]));
            }
        }
        (void)run_frames(b, &f, rows[i].record, IN_FLIGHT);
        /* Half a second each. */
        n = (uint32_t)(500000000u * IN_FLIGHT / run_frames(b, &f, rows[i].record, IN_FLIGHT)) + 1;
        for (size_t k = 0; k < ARRAY_SIZE(times); k++) {
            times[k] = run_frames(b, &f, rows[i].record, n) / n;
        }
        report_times(b, rows[i].name, times, ARRAY_SIZE(times));
    }
    if (any) {
        for (uint32_t k = 0; k < IN_FLIGHT; k++) {
            vkDestroyFence(app->device, f.fences[k], NULL);
        }
        vkDestroyPipeline(app->device, f.pipeline, NULL);
        vkDestroyFramebuffer(app->device, f.framebuffer, NULL);
        vkDestroyRenderPass(app->device, f.pass, NULL);
        image_destroy(app, &f.target);
        matmul_destroy(app, &f.matmul);
    }
}

static void bench_submits(struct bench *b)
{
    struct app *app = &b->app;
    uint32_t n = samples(b, 2000);
    const VkFenceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    uint64_t *times;
    VkFence fence;

    if (!wanted(b, "submit_and_wait")) {
        return;
    }
    times = must_alloc(n, sizeof(*times));
    MUST(vkCreateFence(app->device, &info, NULL, &fence));
    for (uint32_t k = 0; k < n; k++) {
        uint64_t start = now_ns();

        MUST(vkQueueSubmit(app->queue, 0, NULL, fence));
        MUST(vkWaitForFences(app->device, 1, &fence, VK_TRUE, UINT64_MAX));
        times[k] = now_ns() - start;
        MUST(vkResetFences(app->device, 1, &fence));
    }
    report_times(b, "submit_and_wait", times, n);
    vkDestroyFence(app->device, fence, NULL);
    free(times);
}

static void bench_memory(struct bench *b)
{
    static const struct {
        const char *name;
        VkDeviceSize size;
        uint32_t n;
    } rows[] = { { "alloc_map_4kib", 4096, 1000 }, { "alloc_map_256mib", 256 << 20, 20 } };
    struct app *app = &b->app;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint32_t n = samples(b, rows[i].n);
        uint64_t *mapped, *freed, *touched;
        char name[64];

        if (!wanted(b, rows[i].name)) {
            continue;
        }
        mapped = must_alloc(n, sizeof(*mapped));
        freed = must_alloc(n, sizeof(*freed));
        touched = must_alloc(n, sizeof(*touched));
        for (uint32_t k = 0; k < n; k++) {
            const VkMemoryAllocateInfo info = {
                .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                .allocationSize = rows[i].size,
                .memoryTypeIndex = memory_type(app, ~0u, HOST_MEMORY),
            };
            uint64_t start = now_ns();
            VkDeviceMemory memory;
            volatile char *map;

            MUST(vkAllocateMemory(app->device, &info, NULL, &memory));
            MUST(vkMapMemory(app->device, memory, 0, VK_WHOLE_SIZE, 0, (void **)&map));
            mapped[k] = now_ns() - start;
            start = now_ns();
            for (VkDeviceSize at = 0; at < rows[i].size; at += PAGE) {
                map[at] = 1;
            }
            touched[k] = now_ns() - start;
            start = now_ns();
            vkFreeMemory(app->device, memory, NULL);
            round_trip(b);
            freed[k] = now_ns() - start;
        }
        report_times(b, rows[i].name, mapped, n);
        snprintf(name, sizeof(name), "%s_first_touch", rows[i].name);
        report_times(b, name, touched, n);
        snprintf(name, sizeof(name), "%s_free", rows[i].name);
        report_times(b, name, freed, n);
        free(mapped);
        free(freed);
        free(touched);
    }
}

/* Long enough for a server to have its next worker ready, also on a driver that takes 100 ms. */
#define BETWEEN_CONTEXTS_NS 600000000u

/* Before anything else, as these make and destroy the instance and device of struct app. An
 * instance of ours stays, so that no row counts how the client's own loader loads its driver. */
static void bench_creation(struct bench *b)
{
    const uint32_t n = b->quick ? 5 : 20;
    uint64_t instance[32], device[32], both[32], end[32], row[32];
    struct app keep = b->app;

    if (!wanted(b, "instance_and_device")) {
        return;
    }
    app_create_instance(&keep);
    for (uint32_t k = 0; k < n; k++) {
        uint64_t start;

        sleep_ns(BETWEEN_CONTEXTS_NS);
        start = now_ns();
        app_create_instance(&b->app);
        instance[k] = now_ns() - start;
        app_create_device(&b->app, NULL, 0);
        both[k] = now_ns() - start;
        device[k] = both[k] - instance[k];
        start = now_ns();
        app_destroy_device(&b->app);
        app_destroy_instance(&b->app);
        end[k] = now_ns() - start;
    }
    for (uint32_t k = 0; k < n; k++) {
        const uint64_t start = now_ns();

        app_create_instance(&b->app);
        app_create_device(&b->app, NULL, 0);
        app_destroy_device(&b->app);
        app_destroy_instance(&b->app);
        row[k] = now_ns() - start;
    }
    app_destroy_instance(&keep);
    report_times(b, "devices_in_a_row", row, n);
    report_times(b, "create_instance", instance, n);
    report_times(b, "create_device", device, n);
    report_times(b, "socket_to_device", both, n);
    report_times(b, "destroy_both", end, n);
}

static void create_linear(struct bench *b)
{
    const VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .extent = { 64, 64, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_LINEAR,
        .usage = VK_IMAGE_USAGE_TRANSFER_SRC_BIT,
    };

    MUST(vkCreateImage(b->app.device, &info, NULL, &b->linear));
}

static void create(struct bench *b)
{
    struct app *app = &b->app;
    const VkDescriptorSetLayoutBinding binding = { 0, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, 1,
                                                   VK_SHADER_STAGE_VERTEX_BIT, NULL };

    create_linear(b);
    b->target = image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, SIZE, SIZE,
                                VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT);
    b->pass = render_pass_create(app, b->target.format, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL);
    b->framebuffer = framebuffer_create(app, b->pass, &b->target.view, 1, SIZE, SIZE);
    b->set_layout = set_layout_create(app, &binding, 1);
    b->layout = pipeline_layout_create(app, &b->set_layout, 1,
                                       VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT,
                                       sizeof(struct flat_push));
    b->pipeline = graphics_pipeline_create(app, &(struct graphics_info){
                                                    .vertex = SPIRV(flat_vert),
                                                    .fragment = SPIRV(flat_frag),
                                                    .layout = b->layout,
                                                    .pass = b->pass,
                                                });
    b->pool = descriptor_pool_create(app, 2, 2, 0);
    b->buffer = buffer_create(app, 65536,
                              VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
                              HOST_MEMORY);
    b->small = buffer_create(app, 1024,
                             VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                             HOST_MEMORY);
    for (int i = 0; i < 2; i++) {
        b->sets[i] = descriptor_set_allocate(app, b->pool, b->set_layout);
        descriptor_write_buffer(app, b->sets[i], 0, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, &b->small);
    }
}

static void destroy(struct bench *b)
{
    struct app *app = &b->app;

    vkDestroyImage(app->device, b->linear, NULL);
    vkDestroyPipeline(app->device, b->pipeline, NULL);
    vkDestroyPipelineLayout(app->device, b->layout, NULL);
    vkDestroyDescriptorPool(app->device, b->pool, NULL);
    vkDestroyDescriptorSetLayout(app->device, b->set_layout, NULL);
    vkDestroyFramebuffer(app->device, b->framebuffer, NULL);
    vkDestroyRenderPass(app->device, b->pass, NULL);
    image_destroy(app, &b->target);
    buffer_destroy(app, &b->buffer);
    buffer_destroy(app, &b->small);
}

/* A context that has a device and does nothing, or calls and nothing else; watched from outside. */
static void hold(struct bench *b)
{
    uint64_t end, calls = 0;

    app_create_instance(&b->app);
    app_create_device(&b->app, NULL, 0);
    create_linear(b);
    round_trip(b);
    if (say_and_wait("holding") && b->calls_s > 0) {
        end = now_ns() + (uint64_t)b->calls_s * 1000000000u;
        do {
            for (int i = 0; i < 16; i++) {
                round_trip(b);
            }
            calls += 16;
        } while (now_ns() < end);
        printf("calls %llu\n", (unsigned long long)calls);
    }
    vkDestroyImage(b->app.device, b->linear, NULL);
}

int main(int argc, char **argv)
{
    static struct bench b;
    const struct option_rule options[] = {
        { "--only", OPTION_STRING, &b.only, "one measurement; --list names them" },
        { "--list", OPTION_FLAG, &b.list, "names of the measurements, on stderr" },
        { "--quick", OPTION_FLAG, &b.quick, "few samples" },
        { "--hold", OPTION_FLAG, &b.hold, "only keep a device until standard input ends" },
        { "--calls", OPTION_INT, &b.calls_s, "only make calls, for so many seconds" },
        { "--marks", OPTION_FLAG, &b.marks, "say when each measurement begins and ends" },
        { NULL },
    };
    char *json;

    app_parse(&b.app, "bench_calls", argc, argv, options);
    if (b.hold || b.calls_s > 0) {
        hold(&b);
        return app_close(&b.app);
    }
    bench_creation(&b);
    app_create_instance(&b.app);
    app_create_device(&b.app, NULL, 0);
    create(&b);
    bench_round_trips(&b);
    bench_recording(&b);
    bench_updates(&b);
    bench_update_arrays(&b);
    bench_submits(&b);
    bench_memory(&b);
    bench_matmul(&b);
    bench_frames(&b);
    destroy(&b);
    if (b.only && !b.json && !b.list) {
        fatal("no measurement is called %s", b.only);
    }
    if (asprintf(&json, "{%s}", b.json ? b.json : "") < 0) {
        fatal("out of memory");
    }
    extra("bench", json);
    free(json);
    free(b.json);
    return app_close(&b.app);
}
