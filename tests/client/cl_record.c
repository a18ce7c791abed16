/*
 * What a program can do with a device before it has memory: pipelines, command buffers and their
 * submission, in ever new ones. With --pipelines it ends after the first, neither waiting nor
 * cleaning up: more cannot be done with RADV's null winsys, which has no memory types, no fences and
 * no way to record or to wait.
 */
#include "vkapp.h"

#include <stdlib.h>

#include "alone_comp.h"
#include "flat_vert.h"

#define ROUNDS 8
#define DISPATCHES 64

struct push {
    float rect[4], color[4], depth;
};

static VkPipeline compute, graphics;
static VkPipelineLayout compute_layout, graphics_layout;

static void make_pipelines(struct app *app)
{
    const VkPipelineCacheCreateInfo cache = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
    };

    MUST(vkCreatePipelineCache(app->device, &cache, NULL, &app->pipeline_cache));
    compute_layout =
        pipeline_layout_create(app, NULL, 0, VK_SHADER_STAGE_COMPUTE_BIT, sizeof(uint32_t));
    graphics_layout =
        pipeline_layout_create(app, NULL, 0, VK_SHADER_STAGE_VERTEX_BIT, sizeof(struct push));
    compute = compute_pipeline_create(app, SPIRV(alone_comp), compute_layout, NULL);
    graphics = graphics_pipeline_create(app, &(struct graphics_info){
                                                 .vertex = SPIRV(flat_vert),
                                                 .layout = graphics_layout,
                                                 .cache = app->pipeline_cache,
                                             });
    check(compute && graphics, "pipelines", "null handles");
}

static void record_compute(VkCommandBuffer commands)
{
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, compute);
    for (uint32_t i = 0; i < DISPATCHES; i++) {
        vkCmdPushConstants(commands, compute_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(i), &i);
        vkCmdDispatch(commands, 1 + i, 1, 1);
        barrier_memory(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                       VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT);
    }
}

/* Draws that no attachment receives. */
static void record_graphics(VkCommandBuffer commands)
{
    const struct push push = { .rect = { -0.5f, -0.5f, 1.0f, 1.0f } };
    const VkRenderingInfo rendering = {
        .sType = VK_STRUCTURE_TYPE_RENDERING_INFO,
        .renderArea = { { 0, 0 }, { 64, 64 } },
        .layerCount = 1,
    };

    vkCmdBeginRendering(commands, &rendering);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, graphics);
    set_viewport(commands, 64, 64);
    vkCmdPushConstants(commands, graphics_layout, VK_SHADER_STAGE_VERTEX_BIT, 0, sizeof(push),
                       &push);
    vkCmdDraw(commands, 6, 16, 0, 0);
    vkCmdEndRendering(commands);
}

static void submit(struct app *app, bool with_graphics)
{
    VkCommandBuffer commands = commands_begin(app);
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
    };

    record_compute(commands);
    if (with_graphics) {
        record_graphics(commands);
    }
    MUST(vkEndCommandBuffer(commands));
    MUST(vkQueueSubmit(app->queue, 1, &info, VK_NULL_HANDLE));
}

/* An answer of the device: all that went before has been executed. */
static void check_executed(struct app *app)
{
    size_t size = 0;
    uint8_t *data;
    VkResult result;

    MUST(vkGetPipelineCacheData(app->device, app->pipeline_cache, &size, NULL));
    data = must_alloc(size, 1);
    result = vkGetPipelineCacheData(app->device, app->pipeline_cache, &size, data);
    check(result == VK_SUCCESS, "executed", "VkResult %d", result);
    free(data);
}

int main(int argc, char **argv)
{
    static struct app app;
    bool only_pipelines = false;
    const struct option_rule options[] = {
        { "--pipelines", OPTION_FLAG, &only_pipelines, "make pipelines, then end" },
        { 0 },
    };

    app_open(&app, "cl_record", argc, argv, options, NULL, 0);
    make_pipelines(&app);
    for (uint32_t i = 0; i < ROUNDS && !only_pipelines; i++) {
        submit(&app, app.api >= VK_API_VERSION_1_3);
    }
    check_executed(&app);
    if (only_pipelines) {
        return app_leave();
    }
    MUST(vkDeviceWaitIdle(app.device));
    vkDestroyPipeline(app.device, graphics, NULL);
    vkDestroyPipeline(app.device, compute, NULL);
    vkDestroyPipelineLayout(app.device, graphics_layout, NULL);
    vkDestroyPipelineLayout(app.device, compute_layout, NULL);
    vkDestroyPipelineCache(app.device, app.pipeline_cache, NULL);
    return app_close(&app);
}
