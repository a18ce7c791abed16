/*
 * The reply window, and command streams that lie in shared memory. Such a stream is copied whole
 * before a byte of it is decoded: the guest can write there at any time.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "ipc/checked.h"
#include "wire/commands.h"
#include "worker/context.h"
#include "worker/decoder.h"
#include "worker/limits.h"
#include "worker/resources.h"

/* A big copy buffer is given back after this many executions that did not need it. */
#define STREAM_UNUSED_MAX 64

void cmd_vkSetReplyCommandStreamMESA(struct decoder *d, struct wire_vkSetReplyCommandStreamMESA *c)
{
    (void)reply_set(d, c->pStream->resourceId, c->pStream->offset, c->pStream->size);
}

void cmd_vkSeekReplyCommandStreamMESA(struct decoder *d,
                                      struct wire_vkSeekReplyCommandStreamMESA *c)
{
    (void)reply_seek(d, c->position);
}

static void stream_buffer_free(struct decoder *d)
{
    if (d->stream) {
        munmap(d->stream, d->stream_size);
    }
    d->stream = NULL;
    d->stream_size = 0;
}

/* At least `size` bytes at d->stream. */
static bool stream_buffer_reserve(struct decoder *d, uint64_t size)
{
    size_t want = LIMIT_STREAM_KEEP / 16;
    void *p;

    if (size <= d->stream_size) {
        return true;
    }
    while (want < size) {
        want *= 2;
    }
    stream_buffer_free(d);
    p = mmap(NULL, want, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return false;
    }
    d->stream = p;
    d->stream_size = want;
    return true;
}

/* After an execution whose longest stream had `used` bytes. */
static void stream_buffer_trim(struct decoder *d, uint64_t used)
{
    if (d->stream_size <= LIMIT_STREAM_KEEP || used > LIMIT_STREAM_KEEP) {
        d->stream_unused = 0;
    } else if (++d->stream_unused == STREAM_UNUSED_MAX) {
        d->stream_unused = 0;
        stream_buffer_free(d);
    }
}

/* Copies a stream to d->stream. */
static bool stream_copy(struct decoder *d, const VkCommandStreamDescriptionMESA *stream)
{
    struct resource *r = resources_get(&d->ctx->resources, stream->resourceId);
    bool ok = false;

    if (!r || !r->map) {
        decoder_fail(d, "stream in resource %u, which is not shared memory of this context",
                     stream->resourceId);
    } else if (!range_in(stream->offset, stream->size, r->size)) {
        decoder_fail(d, "stream at %zu of %zu bytes, resource %u has %" PRIu64, stream->offset,
                     stream->size, stream->resourceId, r->size);
    } else if (stream->size > LIMIT_STREAM_BYTES) {
        decoder_fail(d, "stream of %zu bytes, %llu are the most", stream->size, LIMIT_STREAM_BYTES);
    } else if (!stream_buffer_reserve(d, stream->size)) {
        decoder_fail(d, "no memory to copy a stream of %zu bytes", stream->size);
    } else {
        memcpy(d->stream, (const uint8_t *)r->map + stream->offset, stream->size);
        ok = true;
    }
    resource_unref(r);
    return ok;
}

/* Runs what is in d->stream as commands of its own; the reader and the arena of the command that
 * executes it are put aside. False if the rest must not run. */
static bool stream_run(struct decoder *d, size_t size)
{
    const uint8_t *pos = d->pos, *end = d->end;
    uint32_t command = d->command, flags = d->flags;
    struct arena outer;
    int r;

    if (!d->spare.current && arena_init(&d->spare, LIMIT_COMMAND_MEMORY) < 0) {
        decoder_fail(d, "no memory for a nested stream");
        return false;
    }
    outer = d->arena;
    d->arena = d->spare;
    d->nesting++;
    r = decoder_run(d, d->stream, size, NULL, NULL);
    d->nesting--;
    d->spare = d->arena;
    d->arena = outer;
    d->command = command;
    d->flags = flags;
    d->device = NULL;
    d->end = end;
    d->pos = r == 0 ? pos : end;
    if (r == -ECANCELED) {
        d->cancelled = true;
    }
    return r == 0;
}

void cmd_vkExecuteCommandStreamsMESA(struct decoder *d, struct wire_vkExecuteCommandStreamsMESA *c)
{
    uint64_t longest = 0;

    if (d->nesting > 0) {
        decoder_fail(d, "called from a stream that is itself executed");
        return;
    }
    if (c->streamCount == 0 || c->streamCount > LIMIT_STREAMS) {
        decoder_fail(d, "%u streams, 1 to %u are allowed", c->streamCount, LIMIT_STREAMS);
        return;
    }
    for (uint32_t i = 0; i < c->streamCount; i++) {
        const VkCommandStreamDescriptionMESA *stream = &c->pStreams[i];

        if (c->pReplyPositions && !reply_seek(d, c->pReplyPositions[i])) {
            return;
        }
        if (stream->size == 0) {
            continue;
        }
        if (!stream_copy(d, stream) || !stream_run(d, stream->size)) {
            return;
        }
        longest = MAX(longest, stream->size);
    }
    stream_buffer_trim(d, longest);
}
