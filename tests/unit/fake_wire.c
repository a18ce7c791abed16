/* A command table of a few commands, in place of the generated one: unit tests of the core need
 * neither Vulkan nor handlers. */
#include <unistd.h>

#include <vulkan/vulkan_core.h>

#include "tests/unit/worker_fixture.h"
#include "wire/commands.h"
#include "wire/names.h"
#include "worker/context.h"
#include "worker/decoder.h"

_Atomic uint32_t fake_versions;
_Atomic bool fake_awake;

const char *wire_object_type_name(uint32_t type)
{
    return type == VK_OBJECT_TYPE_BUFFER ? "VkBuffer" : "other";
}

static void run_version(struct decoder *d)
{
    bool present = decode_present(d);

    if (d->failed) {
        return;
    }
    atomic_fetch_add(&fake_versions, 1);
    if ((d->flags & WIRE_FLAG_REPLY) && reply_begin(d)) {
        encode_u32(d, d->command);
        encode_i32(d, VK_SUCCESS);
        encode_u64(d, present);
        encode_u32(d, FAKE_VERSION_ANSWER);
        reply_end(d);
    }
}

static void run_alloc(struct decoder *d)
{
    uint64_t bytes = decode_u64(d);

    (void)decode_alloc(d, bytes, 1);
}

static void run_find(struct decoder *d)
{
    (void)decode_object(d, VK_OBJECT_TYPE_BUFFER, "buffer");
}

static void run_sleep(struct decoder *d)
{
    const uint64_t end = test_now_ns() + decode_u32(d) * 1000ull;

    while (test_now_ns() < end && !context_is_fatal(d->ctx) &&
           !atomic_exchange(&fake_awake, false)) {
        usleep(50);
    }
}

static VkCommandStreamDescriptionMESA decode_description(struct decoder *d)
{
    VkCommandStreamDescriptionMESA v = { .resourceId = decode_u32(d) };

    v.offset = decode_u64(d);
    v.size = decode_u64(d);
    return v;
}

static void run_set_reply(struct decoder *d)
{
    VkCommandStreamDescriptionMESA v;
    struct wire_vkSetReplyCommandStreamMESA c = { .pStream = &v };

    (void)decode_present(d);
    v = decode_description(d);
    if (!d->failed) {
        cmd_vkSetReplyCommandStreamMESA(d, &c);
    }
}

static void run_seek(struct decoder *d)
{
    struct wire_vkSeekReplyCommandStreamMESA c = { .position = decode_u64(d) };

    if (!d->failed) {
        cmd_vkSeekReplyCommandStreamMESA(d, &c);
    }
}

static void run_execute(struct decoder *d)
{
    struct wire_vkExecuteCommandStreamsMESA c = { .streamCount = decode_u32(d) };
    VkCommandStreamDescriptionMESA *streams = decode_alloc(d, decode_u64(d), sizeof(*streams));
    size_t *positions = NULL;
    uint64_t n_positions;

    for (uint32_t i = 0; streams && i < c.streamCount; i++) {
        streams[i] = decode_description(d);
    }
    n_positions = decode_u64(d);
    if (n_positions) {
        positions = decode_alloc(d, n_positions, sizeof(*positions));
        for (uint64_t i = 0; positions && i < n_positions; i++) {
            positions[i] = decode_u64(d);
        }
    }
    decode_u32(d);
    decode_u64(d);
    decode_u32(d);
    c.pStreams = streams;
    c.pReplyPositions = positions;
    if (!d->failed) {
        cmd_vkExecuteCommandStreamsMESA(d, &c);
    }
}

static void run_wait_virtqueue(struct decoder *d)
{
    struct wire_vkWaitVirtqueueSeqnoMESA c = { .seqno = decode_u64(d) };

    if (!d->failed) {
        cmd_vkWaitVirtqueueSeqnoMESA(d, &c);
    }
}

const struct wire_command wire_commands[WIRE_COMMAND_COUNT] = {
    [FAKE_ALLOC] = { .name = "fakeAlloc", .run = run_alloc, .stream = WIRE_STREAM_BOTH },
    [FAKE_FIND] = { .name = "fakeFind", .run = run_find, .stream = WIRE_STREAM_BOTH },
    [FAKE_CHAIN_END] = { .name = "fakeRefused", .reason = "not today" },
    [FAKE_SLEEP] = { .name = "fakeSleep", .run = run_sleep, .stream = WIRE_STREAM_BOTH },
    [FAKE_VERSION] = { .name = "fakeVersion", .run = run_version, .stream = WIRE_STREAM_BOTH },
    [178] = { .name = "vkSetReplyCommandStreamMESA",
              .run = run_set_reply,
              .stream = WIRE_STREAM_BOTH },
    [179] = { .name = "vkSeekReplyCommandStreamMESA", .run = run_seek, .stream = WIRE_STREAM_BOTH },
    [180] = { .name = "vkExecuteCommandStreamsMESA",
              .run = run_execute,
              .stream = WIRE_STREAM_BOTH },
    [252] = { .name = "vkWaitVirtqueueSeqnoMESA",
              .run = run_wait_virtqueue,
              .stream = WIRE_STREAM_RING },
};
