/*
 * Synchronisation objects: timeline semaphores signalled and waited for by host and queue, binary
 * semaphores, fences, events and batches of submits.
 */
#include "vkapp.h"

#include <pthread.h>
#include <string.h>

struct sync {
    struct app app;
    struct buffer data;
    VkCommandPool pool;
};

static VkSemaphore timeline_create(struct app *app, uint64_t initial)
{
    const VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
        .initialValue = initial,
    };
    const VkSemaphoreCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = &type,
    };
    VkSemaphore semaphore;

    MUST(vkCreateSemaphore(app->device, &info, NULL, &semaphore));
    return semaphore;
}

static void timeline_signal(struct app *app, VkSemaphore semaphore, uint64_t number)
{
    const VkSemaphoreSignalInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO,
        .semaphore = semaphore,
        .value = number,
    };

    MUST(vkSignalSemaphore(app->device, &info));
}

static VkResult timeline_wait(struct app *app, const VkSemaphore *semaphores,
                              const uint64_t *numbers, uint32_t n, bool any, uint64_t timeout)
{
    const VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .flags = any ? VK_SEMAPHORE_WAIT_ANY_BIT : 0,
        .semaphoreCount = n,
        .pSemaphores = semaphores,
        .pValues = numbers,
    };

    return vkWaitSemaphores(app->device, &info, timeout);
}

static uint64_t timeline_read(struct app *app, VkSemaphore semaphore)
{
    uint64_t number = UINT64_MAX;

    MUST(vkGetSemaphoreCounterValue(app->device, semaphore, &number));
    return number;
}

/* A command buffer that writes `word` to word `at` of the buffer. */
static VkCommandBuffer record_fill(struct sync *s, uint32_t at, uint32_t word)
{
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = s->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    const VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
    VkCommandBuffer commands;

    MUST(vkAllocateCommandBuffers(s->app.device, &info, &commands));
    MUST(vkBeginCommandBuffer(commands, &begin));
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT);
    vkCmdFillBuffer(commands, s->data.buffer, 4ull * at, 4, word);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    MUST(vkEndCommandBuffer(commands));
    return commands;
}

static void submit(struct app *app, VkSemaphore wait, uint64_t wait_number, VkSemaphore signal,
                   uint64_t signal_number, VkCommandBuffer commands, VkFence fence)
{
    const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = wait ? 1 : 0,
        .pWaitSemaphoreValues = &wait_number,
        .signalSemaphoreValueCount = signal ? 1 : 0,
        .pSignalSemaphoreValues = &signal_number,
    };
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .waitSemaphoreCount = wait ? 1 : 0,
        .pWaitSemaphores = &wait,
        .pWaitDstStageMask = &stage,
        .commandBufferCount = commands ? 1 : 0,
        .pCommandBuffers = &commands,
        .signalSemaphoreCount = signal ? 1 : 0,
        .pSignalSemaphores = &signal,
    };

    MUST(vkQueueSubmit(app->queue, 1, &info, fence));
}

static void test_host(struct sync *s)
{
    struct app *app = &s->app;
    VkSemaphore a = timeline_create(app, 7);
    uint64_t before = timeline_read(app, a), after;
    VkResult early, late;
    uint64_t start;

    start = now_ns();
    early = timeline_wait(app, &a, &(uint64_t){ 8 }, 1, false, 20000000);
    check(early == VK_TIMEOUT && now_ns() - start >= 19000000, "host_wait_times_out", "result %d",
          early);
    early = timeline_wait(app, &a, &(uint64_t){ 8 }, 1, false, 0);
    check(early == VK_TIMEOUT, "host_poll_times_out", "result %d", early);
    timeline_signal(app, a, 1ull << 40);
    late = timeline_wait(app, &a, &(uint64_t){ 8 }, 1, false, UINT64_MAX);
    after = timeline_read(app, a);
    check(before == 7 && after == 1ull << 40 && late == VK_SUCCESS, "host_signal",
          "%llu then %llu, wait %d", (unsigned long long)before, (unsigned long long)after, late);
    vkDestroySemaphore(app->device, a, NULL);
}

static void test_any_all(struct sync *s)
{
    struct app *app = &s->app;
    VkSemaphore both[] = { timeline_create(app, 0), timeline_create(app, 0) };
    const uint64_t numbers[] = { 3, 4 };
    VkResult all, any;

    submit(app, VK_NULL_HANDLE, 0, both[1], 4, VK_NULL_HANDLE, VK_NULL_HANDLE);
    any = timeline_wait(app, both, numbers, 2, true, UINT64_MAX);
    all = timeline_wait(app, both, numbers, 2, false, 10000000);
    check(any == VK_SUCCESS, "wait_any", "result %d", any);
    check(all == VK_TIMEOUT, "wait_all_times_out", "result %d", all);
    timeline_signal(app, both[0], 3);
    all = timeline_wait(app, both, numbers, 2, false, UINT64_MAX);
    check(all == VK_SUCCESS, "wait_all", "result %d", all);
    vkDestroySemaphore(app->device, both[0], NULL);
    vkDestroySemaphore(app->device, both[1], NULL);
}

/* Sixteen submits that each wait for the one before; the first waits for the host. */
static void test_chain(struct sync *s)
{
    struct app *app = &s->app;
    VkSemaphore gate = timeline_create(app, 0);
    const uint32_t *words = s->data.map;
    VkResult r;
    uint32_t early;
    bool monotonic = true;
    uint64_t last = 0;

    memset(s->data.map, 0, s->data.size);
    for (uint32_t i = 0; i < 16; i++) {
        submit(app, gate, i + 1, gate, i + 2, record_fill(s, 0, 100 + i), VK_NULL_HANDLE);
    }
    early = words[0];
    timeline_signal(app, gate, 1);
    while (last < 17) {
        uint64_t now = timeline_read(app, gate);

        monotonic &= now >= last;
        last = now;
    }
    r = timeline_wait(app, &gate, &(uint64_t){ 17 }, 1, false, UINT64_MAX);
    check(r == VK_SUCCESS && monotonic && early == 0 && words[0] == 115, "queue_chain",
          "wait %d, word %u, early %u", r, words[0], early);
    MUST(vkQueueWaitIdle(app->queue));
    vkDestroySemaphore(app->device, gate, NULL);
}

struct waiter {
    struct app *app;
    VkSemaphore semaphore;
    VkResult result;
};

static void *wait_thread(void *data)
{
    struct waiter *w = data;

    w->result = timeline_wait(w->app, &w->semaphore, &(uint64_t){ 5 }, 1, false, UINT64_MAX);
    return NULL;
}

/* Another thread waits before the signal is even submitted. */
static void test_wait_before_signal(struct sync *s)
{
    struct waiter w = { &s->app, timeline_create(&s->app, 0), VK_NOT_READY };
    pthread_t thread;

    if (pthread_create(&thread, NULL, wait_thread, &w) != 0) {
        fatal("cannot start a thread");
    }
    sleep_ns(5000000);
    submit(&s->app, VK_NULL_HANDLE, 0, w.semaphore, 5, record_fill(s, 1, 55), VK_NULL_HANDLE);
    pthread_join(thread, NULL);
    check(w.result == VK_SUCCESS && ((uint32_t *)s->data.map)[1] == 55, "wait_before_signal",
          "result %d", w.result);
    MUST(vkQueueWaitIdle(s->app.queue));
    vkDestroySemaphore(s->app.device, w.semaphore, NULL);
}

static void test_binary(struct sync *s)
{
    struct app *app = &s->app;
    const VkSemaphoreCreateInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO };
    const VkFenceCreateInfo fence_info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    const uint32_t *words = s->data.map;
    VkSemaphore a, b;
    VkFence fence;
    VkResult r;

    MUST(vkCreateSemaphore(app->device, &info, NULL, &a));
    MUST(vkCreateSemaphore(app->device, &info, NULL, &b));
    MUST(vkCreateFence(app->device, &fence_info, NULL, &fence));
    for (uint32_t i = 0; i < 8; i++) {
        submit(app, VK_NULL_HANDLE, 0, a, 0, record_fill(s, 2, i), VK_NULL_HANDLE);
        submit(app, a, 0, b, 0, record_fill(s, 2, 100 + i), VK_NULL_HANDLE);
        submit(app, b, 0, VK_NULL_HANDLE, 0, record_fill(s, 3, 200 + i), fence);
        r = vkWaitForFences(app->device, 1, &fence, VK_TRUE, UINT64_MAX);
        must(r, "vkWaitForFences");
        MUST(vkResetFences(app->device, 1, &fence));
    }
    check(words[2] == 107 && words[3] == 207, "binary_semaphores", "words %u and %u", words[2],
          words[3]);
    vkDestroySemaphore(app->device, a, NULL);
    vkDestroySemaphore(app->device, b, NULL);
    vkDestroyFence(app->device, fence, NULL);
}

static void test_fences(struct sync *s)
{
    struct app *app = &s->app;
    VkFenceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    VkFence fences[4];
    VkSemaphore gate = timeline_create(app, 0);
    VkResult unsignalled, timeout, any, polled;
    uint32_t n_polls = 0;

    for (int i = 0; i < 4; i++) {
        info.flags = i == 3 ? VK_FENCE_CREATE_SIGNALED_BIT : 0;
        MUST(vkCreateFence(app->device, &info, NULL, &fences[i]));
    }
    unsignalled = vkGetFenceStatus(app->device, fences[0]);
    check(unsignalled == VK_NOT_READY && vkGetFenceStatus(app->device, fences[3]) == VK_SUCCESS,
          "fence_initial_status", "result %d", unsignalled);
    submit(app, gate, 1, VK_NULL_HANDLE, 0, VK_NULL_HANDLE, fences[0]);
    submit(app, gate, 1, VK_NULL_HANDLE, 0, record_fill(s, 4, 44), fences[1]);
    timeout = vkWaitForFences(app->device, 2, fences, VK_TRUE, 5000000);
    check(timeout == VK_TIMEOUT, "fence_wait_times_out", "result %d", timeout);
    any = vkWaitForFences(app->device, 4, fences, VK_FALSE, UINT64_MAX);
    check(any == VK_SUCCESS, "fence_wait_any", "result %d", any);
    timeline_signal(app, gate, 1);
    while ((polled = vkGetFenceStatus(app->device, fences[1])) == VK_NOT_READY) {
        n_polls++;
    }
    check(polled == VK_SUCCESS && ((uint32_t *)s->data.map)[4] == 44, "fence_polling",
          "result %d after %u polls", polled, n_polls);
    MUST(vkWaitForFences(app->device, 2, fences, VK_TRUE, UINT64_MAX));
    MUST(vkResetFences(app->device, 4, fences));
    check(vkGetFenceStatus(app->device, fences[0]) == VK_NOT_READY &&
              vkGetFenceStatus(app->device, fences[3]) == VK_NOT_READY,
          "fence_reset", "still signalled");
    MUST(vkQueueSubmit(app->queue, 0, NULL, fences[2]));
    MUST(vkWaitForFences(app->device, 1, &fences[2], VK_TRUE, UINT64_MAX));
    check(vkGetFenceStatus(app->device, fences[2]) == VK_SUCCESS, "fence_of_empty_submit", "unset");
    MUST(vkQueueWaitIdle(app->queue));
    for (int i = 0; i < 4; i++) {
        vkDestroyFence(app->device, fences[i], NULL);
    }
    vkDestroySemaphore(app->device, gate, NULL);
}

static void test_events(struct sync *s)
{
    struct app *app = &s->app;
    const VkEventCreateInfo info = { .sType = VK_STRUCTURE_TYPE_EVENT_CREATE_INFO };
    const uint32_t *words = s->data.map;
    VkEvent host, device;
    VkCommandBuffer commands;
    VkResult a, b, c, d;

    MUST(vkCreateEvent(app->device, &info, NULL, &host));
    MUST(vkCreateEvent(app->device, &info, NULL, &device));
    a = vkGetEventStatus(app->device, host);
    MUST(vkSetEvent(app->device, host));
    b = vkGetEventStatus(app->device, host);
    MUST(vkResetEvent(app->device, host));
    c = vkGetEventStatus(app->device, host);
    check(a == VK_EVENT_RESET && b == VK_EVENT_SET && c == VK_EVENT_RESET, "event_by_host",
          "%d %d %d", a, b, c);

    MUST(vkSetEvent(app->device, host));
    commands = commands_begin(app);
    vkCmdWaitEvents(commands, 1, &host, VK_PIPELINE_STAGE_HOST_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
                    0, NULL, 0, NULL, 0, NULL);
    vkCmdFillBuffer(commands, s->data.buffer, 20, 4, 77);
    vkCmdSetEvent(commands, device, VK_PIPELINE_STAGE_TRANSFER_BIT);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    d = vkGetEventStatus(app->device, device);
    check(d == VK_EVENT_SET && words[5] == 77, "event_by_device", "status %d, word %u", d,
          words[5]);

    commands = commands_begin(app);
    vkCmdResetEvent(commands, device, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT);
    commands_run(app, commands);
    d = vkGetEventStatus(app->device, device);
    check(d == VK_EVENT_RESET, "event_reset_by_device", "status %d", d);
    vkDestroyEvent(app->device, host, NULL);
    vkDestroyEvent(app->device, device, NULL);
}

/* One vkQueueSubmit with many infos, and one vkQueueSubmit2 with waits and signals inside. */
static void test_batches(struct sync *s)
{
    struct app *app = &s->app;
    VkSemaphore order = timeline_create(app, 0);
    const uint32_t *words = s->data.map;
    VkCommandBuffer commands[32];
    VkSubmitInfo infos[32];
    const VkFenceCreateInfo fence_info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    VkFence fence;
    uint32_t n_wrong = 0;

    MUST(vkCreateFence(app->device, &fence_info, NULL, &fence));
    for (uint32_t i = 0; i < ARRAY_SIZE(infos); i++) {
        commands[i] = record_fill(s, 32 + i, 1000 + i);
        infos[i] = (VkSubmitInfo){
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
            .commandBufferCount = 1,
            .pCommandBuffers = &commands[i],
        };
    }
    MUST(vkQueueSubmit(app->queue, ARRAY_SIZE(infos), infos, fence));
    MUST(vkWaitForFences(app->device, 1, &fence, VK_TRUE, UINT64_MAX));
    for (uint32_t i = 0; i < ARRAY_SIZE(infos); i++) {
        n_wrong += words[32 + i] != 1000 + i;
    }
    check(n_wrong == 0, "many_submit_infos", "%u wrong", n_wrong);

    if (app->features13.synchronization2) {
        VkSemaphoreSubmitInfo waits[8], signals[8];
        VkCommandBufferSubmitInfo buffers[8];
        VkSubmitInfo2 submits[8];

        for (uint32_t i = 0; i < 8; i++) {
            waits[i] = (VkSemaphoreSubmitInfo){
                .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO,
                .semaphore = order,
                .value = i,
                .stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT,
            };
            signals[i] = waits[i];
            signals[i].value = i + 1;
            buffers[i] = (VkCommandBufferSubmitInfo){
                .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO,
                .commandBuffer = record_fill(s, 6, 600 + i),
            };
            submits[i] = (VkSubmitInfo2){
                .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2,
                .waitSemaphoreInfoCount = 1,
                .pWaitSemaphoreInfos = &waits[i],
                .commandBufferInfoCount = 1,
                .pCommandBufferInfos = &buffers[i],
                .signalSemaphoreInfoCount = 1,
                .pSignalSemaphoreInfos = &signals[i],
            };
        }
        MUST(vkResetFences(app->device, 1, &fence));
        MUST(vkQueueSubmit2(app->queue, 8, submits, fence));
        MUST(timeline_wait(app, &order, &(uint64_t){ 8 }, 1, false, UINT64_MAX));
        MUST(vkWaitForFences(app->device, 1, &fence, VK_TRUE, UINT64_MAX));
        check(words[6] == 607, "submit2_chain", "word %u", words[6]);
    } else {
        skip("submit2_chain", "synchronization2");
    }
    vkDestroySemaphore(app->device, order, NULL);
    vkDestroyFence(app->device, fence, NULL);
}

int main(int argc, char **argv)
{
    static struct sync s;
    struct app *app = &s.app;

    app_open(app, "cl_timeline", argc, argv, NULL, NULL, 0);
    s.data = buffer_create(app, 4096, VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    memset(s.data.map, 0, s.data.size);
    MUST(vkCreateCommandPool(app->device,
                             &(VkCommandPoolCreateInfo){
                                 .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                 .queueFamilyIndex = app->family,
                             },
                             NULL, &s.pool));
    test_binary(&s);
    test_events(&s);
    if (app->features12.timelineSemaphore) {
        test_host(&s);
        test_any_all(&s);
        test_chain(&s);
        test_wait_before_signal(&s);
        test_fences(&s);
        test_batches(&s);
    } else {
        skip("timeline", "timelineSemaphore");
    }
    vkDestroyCommandPool(app->device, s.pool, NULL);
    buffer_destroy(app, &s.data);
    return app_close(app);
}
