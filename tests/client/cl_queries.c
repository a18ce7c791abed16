/*
 * Query pools: occlusion, pipeline statistics and timestamps, read by the host with and without
 * waiting and availability, copied by the device, reset by device and host.
 */
#include "vkapp.h"

#include <string.h>

#include "flat_frag.h"
#include "flat_vert.h"

#define SIZE 64
#define N_QUERIES 8

struct flat_push {
    float rect[4];
    float color[4];
    float depth;
};

struct queries {
    struct app app;
    struct image target;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkPipelineLayout layout;
    VkPipeline pipeline;
};

static VkQueryPool pool_create(struct app *app, VkQueryType type, uint32_t n,
                               VkQueryPipelineStatisticFlags statistics)
{
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = type,
        .queryCount = n,
        .pipelineStatistics = statistics,
    };
    VkQueryPool pool;

    MUST(vkCreateQueryPool(app->device, &info, NULL, &pool));
    return pool;
}

static void begin_pass(struct queries *q, VkCommandBuffer commands)
{
    static const float black[4] = { 0, 0, 0, 1 };

    render_pass_begin(commands, q->pass, q->framebuffer, SIZE, SIZE, black,
                      VK_SUBPASS_CONTENTS_INLINE);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, q->pipeline);
    set_viewport(commands, SIZE, SIZE);
}

/* A rectangle of `width` by `height` pixels. */
static void draw(struct queries *q, VkCommandBuffer commands, uint32_t width, uint32_t height)
{
    const struct flat_push push = {
        .rect = { -1, -1, 2.0f * (float)width / SIZE, 2.0f * (float)height / SIZE },
        .color = { 1, 1, 1, 1 },
    };

    vkCmdPushConstants(commands, q->layout,
                       VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, 0, sizeof(push),
                       &push);
    vkCmdDraw(commands, 6, 1, 0, 0);
}

static void record_occlusion(struct queries *q, VkCommandBuffer commands, VkQueryPool pool)
{
    vkCmdResetQueryPool(commands, pool, 0, N_QUERIES);
    begin_pass(q, commands);
    for (uint32_t i = 0; i < N_QUERIES - 1; i++) {
        vkCmdBeginQuery(commands, pool, i, VK_QUERY_CONTROL_PRECISE_BIT);
        if (i > 0) {
            draw(q, commands, 4 * i, 8 * i);
        }
        vkCmdEndQuery(commands, pool, i);
    }
    vkCmdEndRenderPass(commands);
}

static void test_occlusion(struct queries *q)
{
    struct app *app = &q->app;
    VkQueryPool pool;
    VkCommandBuffer commands;
    struct buffer copied;
    uint64_t wide[N_QUERIES][2];
    uint32_t narrow[N_QUERIES];
    uint32_t n_wrong = 0, n_copied_wrong = 0;
    VkResult r;

    if (!app->features.occlusionQueryPrecise) {
        skip("occlusion", "occlusionQueryPrecise");
        return;
    }
    pool = pool_create(app, VK_QUERY_TYPE_OCCLUSION, N_QUERIES, 0);
    copied = buffer_create(app, sizeof(uint64_t) * N_QUERIES, VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                           HOST_MEMORY);
    commands = commands_begin(app);
    record_occlusion(q, commands, pool);
    vkCmdCopyQueryPoolResults(commands, pool, 0, N_QUERIES - 1, copied.buffer, 0, 8,
                              VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);

    r = vkGetQueryPoolResults(app->device, pool, 0, N_QUERIES - 1, sizeof(narrow), narrow, 4,
                              VK_QUERY_RESULT_WAIT_BIT);
    must(r, "vkGetQueryPoolResults");
    for (uint32_t i = 0; i < N_QUERIES - 1; i++) {
        n_wrong += narrow[i] != 32 * i * i;
        n_copied_wrong += ((uint64_t *)copied.map)[i] != 32 * i * i;
    }
    check(n_wrong == 0, "occlusion_wait_32", "%u wrong, third is %u", n_wrong, narrow[2]);
    check(n_copied_wrong == 0, "occlusion_copy", "%u wrong", n_copied_wrong);

    /* The last query was reset and never begun. */
    memset(wide, 0xee, sizeof(wide));
    r = vkGetQueryPoolResults(app->device, pool, 0, N_QUERIES, sizeof(wide), wide, 16,
                              VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WITH_AVAILABILITY_BIT);
    n_wrong = 0;
    for (uint32_t i = 0; i < N_QUERIES - 1; i++) {
        n_wrong += wide[i][0] != 32 * i * i || wide[i][1] == 0;
    }
    check(n_wrong == 0 && wide[N_QUERIES - 1][1] == 0 && (r == VK_SUCCESS || r == VK_NOT_READY),
          "occlusion_availability", "%u wrong, last available %llu, result %d", n_wrong,
          (unsigned long long)wide[N_QUERIES - 1][1], r);
    r = vkGetQueryPoolResults(app->device, pool, N_QUERIES - 1, 1, 8, wide, 8,
                              VK_QUERY_RESULT_64_BIT);
    check(r == VK_NOT_READY, "occlusion_not_ready", "result %d", r);

    if (app->features12.hostQueryReset) {
        vkResetQueryPool(app->device, pool, 0, N_QUERIES);
        r = vkGetQueryPoolResults(app->device, pool, 2, 1, 8, wide, 8, VK_QUERY_RESULT_64_BIT);
        check(r == VK_NOT_READY, "host_reset", "result %d", r);
    } else {
        skip("host_reset", "hostQueryReset");
    }
    vkDestroyQueryPool(app->device, pool, NULL);
    buffer_destroy(app, &copied);
}

static void test_statistics(struct queries *q)
{
    static const VkQueryPipelineStatisticFlags flags =
        VK_QUERY_PIPELINE_STATISTIC_INPUT_ASSEMBLY_VERTICES_BIT |
        VK_QUERY_PIPELINE_STATISTIC_INPUT_ASSEMBLY_PRIMITIVES_BIT |
        VK_QUERY_PIPELINE_STATISTIC_VERTEX_SHADER_INVOCATIONS_BIT |
        VK_QUERY_PIPELINE_STATISTIC_CLIPPING_PRIMITIVES_BIT |
        VK_QUERY_PIPELINE_STATISTIC_FRAGMENT_SHADER_INVOCATIONS_BIT;
    struct app *app = &q->app;
    VkQueryPool pool;
    VkCommandBuffer commands;
    uint64_t results[6] = { 0 };

    if (!app->features.pipelineStatisticsQuery) {
        skip("statistics", "pipelineStatisticsQuery");
        return;
    }
    pool = pool_create(app, VK_QUERY_TYPE_PIPELINE_STATISTICS, 2, flags);
    commands = commands_begin(app);
    vkCmdResetQueryPool(commands, pool, 0, 2);
    begin_pass(q, commands);
    vkCmdBeginQuery(commands, pool, 1, 0);
    draw(q, commands, 32, 32);
    draw(q, commands, 16, 16);
    vkCmdEndQuery(commands, pool, 1);
    vkCmdEndRenderPass(commands);
    commands_run(app, commands);
    MUST(vkGetQueryPoolResults(app->device, pool, 1, 1, sizeof(results), results, sizeof(results),
                               VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT |
                                   VK_QUERY_RESULT_WITH_AVAILABILITY_BIT));
    check(results[0] == 12 && results[1] == 4 && results[5] != 0, "statistics",
          "%llu vertices, %llu primitives", (unsigned long long)results[0],
          (unsigned long long)results[1]);
    /* The rest may count helper work: the same driver must say the same. */
    value("statistics", fnv1a(results, 5 * sizeof(results[0])));
    vkDestroyQueryPool(app->device, pool, NULL);
}

static void test_timestamps(struct queries *q)
{
    struct app *app = &q->app;
    VkQueryPool pool;
    VkCommandBuffer commands;
    uint64_t times[3];

    if (app->family_properties.timestampValidBits == 0) {
        skip("timestamps", "timestampValidBits is 0");
        return;
    }
    pool = pool_create(app, VK_QUERY_TYPE_TIMESTAMP, 3, 0);
    commands = commands_begin(app);
    vkCmdResetQueryPool(commands, pool, 0, 3);
    vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, pool, 0);
    begin_pass(q, commands);
    for (int i = 0; i < 50; i++) {
        draw(q, commands, SIZE, SIZE);
    }
    vkCmdEndRenderPass(commands);
    vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, 1);
    if (app->features13.synchronization2) {
        vkCmdWriteTimestamp2(commands, VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, pool, 2);
    } else {
        vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, 2);
    }
    commands_run(app, commands);
    MUST(vkGetQueryPoolResults(app->device, pool, 0, 3, sizeof(times), times, 8,
                               VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT));
    check(times[0] > 0 && times[0] <= times[1] && times[1] <= times[2], "timestamps",
          "%llu %llu %llu", (unsigned long long)times[0], (unsigned long long)times[1],
          (unsigned long long)times[2]);
    vkDestroyQueryPool(app->device, pool, NULL);
}

/* The same pool used, reset and read again, many times: results never come from an older round. */
static void test_reuse(struct queries *q)
{
    struct app *app = &q->app;
    VkQueryPool pool = pool_create(app, VK_QUERY_TYPE_OCCLUSION, 1, 0);
    const bool precise = app->features.occlusionQueryPrecise;
    uint32_t n_wrong = 0;

    for (uint32_t i = 1; i <= 32; i++) {
        VkCommandBuffer commands = commands_begin(app);
        uint32_t got = 0;

        vkCmdResetQueryPool(commands, pool, 0, 1);
        begin_pass(q, commands);
        vkCmdBeginQuery(commands, pool, 0, precise ? VK_QUERY_CONTROL_PRECISE_BIT : 0);
        draw(q, commands, i, i);
        vkCmdEndQuery(commands, pool, 0);
        vkCmdEndRenderPass(commands);
        commands_run(app, commands);
        MUST(vkGetQueryPoolResults(app->device, pool, 0, 1, 4, &got, 4, VK_QUERY_RESULT_WAIT_BIT));
        n_wrong += precise ? got != i * i : got == 0;
    }
    check(n_wrong == 0, "reuse", "%u of 32 rounds wrong", n_wrong);
    vkDestroyQueryPool(app->device, pool, NULL);
}

int main(int argc, char **argv)
{
    static struct queries q;
    struct app *app = &q.app;

    app_open(app, "cl_queries", argc, argv, NULL, NULL, 0);
    q.target = image_create_2d(app, VK_FORMAT_R8G8B8A8_UNORM, SIZE, SIZE,
                               VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT);
    q.pass = render_pass_create(app, q.target.format, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL);
    q.framebuffer = framebuffer_create(app, q.pass, &q.target.view, 1, SIZE, SIZE);
    q.layout = pipeline_layout_create(app, NULL, 0,
                                      VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT,
                                      sizeof(struct flat_push));
    q.pipeline = graphics_pipeline_create(app, &(struct graphics_info){
                                                   .vertex = SPIRV(flat_vert),
                                                   .fragment = SPIRV(flat_frag),
                                                   .layout = q.layout,
                                                   .pass = q.pass,
                                               });
    test_occlusion(&q);
    test_statistics(&q);
    test_timestamps(&q);
    test_reuse(&q);
    vkDestroyPipeline(app->device, q.pipeline, NULL);
    vkDestroyPipelineLayout(app->device, q.layout, NULL);
    vkDestroyFramebuffer(app->device, q.framebuffer, NULL);
    vkDestroyRenderPass(app->device, q.pass, NULL);
    image_destroy(app, &q.target);
    return app_close(app);
}
