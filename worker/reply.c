/*
 * The reply window. A window holds a reference to its resource, so that its mapping stays as long
 * as a reply may be written to it; the guest who destroys the resource loses the window at the
 * next reply, as if it had never been set.
 */
#include <inttypes.h>

#include "ipc/checked.h"
#include "worker/context.h"
#include "worker/decoder.h"
#include "worker/recorder.h"
#include "worker/resources.h"

void reply_unset(struct decoder *d)
{
    resource_unref(d->reply.resource);
    d->reply = (struct reply_window){ 0 };
}

bool reply_set(struct decoder *d, uint32_t resource_id, uint64_t offset, uint64_t size)
{
    struct resource *r = d->reply.resource;

    /* The client sets a window before each reply, nearly always in the same resource. */
    if (!r || r->id != resource_id || atomic_load_explicit(&r->removed, memory_order_relaxed)) {
        reply_unset(d);
        r = resources_get(&d->ctx->resources, resource_id);
        d->reply.resource = r;
    }
    if (UNLIKELY(!r || !r->map)) {
        decoder_fail(d, "reply stream in resource %u, which is not shared memory of this context",
                     resource_id);
        return false;
    }
    if (UNLIKELY(!range_in(offset, size, r->size))) {
        decoder_fail(d,
                     "reply stream at %" PRIu64 " of %" PRIu64 " bytes, resource %u has %" PRIu64,
                     offset, size, resource_id, r->size);
        return false;
    }
    d->reply.base = (uint8_t *)r->map + offset;
    d->reply.size = size;
    d->reply.pos = 0;
    return true;
}

bool reply_seek(struct decoder *d, uint64_t position)
{
    if (!d->reply.resource) {
        decoder_fail(d, "seek to %" PRIu64 ", but no reply stream is set", position);
        return false;
    }
    if (position > d->reply.size) {
        decoder_fail(d, "seek to %" PRIu64 " in a reply stream of %" PRIu64 " bytes", position,
                     d->reply.size);
        return false;
    }
    d->reply.pos = position;
    return true;
}

bool reply_begin(struct decoder *d)
{
    struct reply_window *w = &d->reply;

    if (UNLIKELY(w->resource &&
                 atomic_load_explicit(&w->resource->removed, memory_order_relaxed))) {
        reply_unset(d);
    }
    if (UNLIKELY(!w->resource)) {
        d->out = d->out_end = NULL;
        decoder_fail(d, "asks for a reply, but no reply stream is set");
        return false;
    }
    d->out = w->base + w->pos;
    d->out_end = w->base + w->size;
    return true;
}

void reply_end(struct decoder *d)
{
    struct reply_window *w = &d->reply;
    _Atomic uint64_t *replies = &d->ctx->recorder->page->replies;

    if (UNLIKELY(d->failed)) {
        return;
    }
    w->pos = MIN(((uint64_t)(d->out - w->base) + 3) & ~(uint64_t)3, w->size);
    d->out = d->out_end = NULL;
    /* For people who look at a dead worker: a lost count does not matter, a bus lock would. */
    atomic_store_explicit(replies, atomic_load_explicit(replies, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

void reply_overflow(struct decoder *d)
{
    decoder_fail(d, "the reply is larger than the %" PRIu64 " bytes left in the reply stream",
                 d->reply.size - d->reply.pos);
    d->out_end = d->out;
}
