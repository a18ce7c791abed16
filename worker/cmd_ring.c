/* Ring commands: all but one come on the context stream and act on rings by id. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "wire/commands.h"
#include "worker/context.h"
#include "worker/decoder.h"
#include "worker/ring.h"

/* False and failed if the chain breaks a rule of its own. */
static bool layout_from_chain(struct decoder *d, const void *next, struct ring_layout *l)
{
    for (const VkBaseInStructure *s = next; s; s = s->pNext) {
        if (s->sType == (VkStructureType)VK_STRUCTURE_TYPE_RING_MONITOR_INFO_MESA) {
            const VkRingMonitorInfoMESA *monitor = (const VkRingMonitorInfoMESA *)s;

            if (monitor->maxReportingPeriodMicroseconds == 0) {
                decoder_fail(d, "the monitor's period is 0");
                return false;
            }
            l->monitor_period_us = monitor->maxReportingPeriodMicroseconds;
        } else if (s->sType == (VkStructureType)VK_STRUCTURE_TYPE_RING_PRIORITY_INFO_MESA) {
            l->has_priority = true;
            l->priority = ((const VkRingPriorityInfoMESA *)s)->priority;
        }
    }
    return true;
}

void cmd_vkCreateRingMESA(struct decoder *d, struct wire_vkCreateRingMESA *c)
{
    const VkRingCreateInfoMESA *info = c->pCreateInfo;
    struct ring_layout layout = {
        .resource_id = info->resourceId,
        .offset = info->offset,
        .size = info->size,
        .head = info->headOffset,
        .tail = info->tailOffset,
        .status = info->statusOffset,
        .buffer = info->bufferOffset,
        .buffer_size = info->bufferSize,
        .extra = info->extraOffset,
        .extra_size = info->extraSize,
        .idle_timeout_ns = info->idleTimeout,
    };
    char why[160];

    if (!layout_from_chain(d, info->pNext, &layout)) {
        return;
    }
    if (ring_create(d->ctx, c->ring, &layout, why, sizeof(why)) < 0) {
        decoder_fail(d, "%s", why);
    }
}

static void unknown_ring(struct decoder *d, uint64_t id)
{
    decoder_fail(d, "no ring with id %" PRIu64, id);
}

void cmd_vkDestroyRingMESA(struct decoder *d, struct wire_vkDestroyRingMESA *c)
{
    if (ring_destroy(d->ctx, c->ring) < 0) {
        unknown_ring(d, c->ring);
    }
}

void cmd_vkNotifyRingMESA(struct decoder *d, struct wire_vkNotifyRingMESA *c)
{
    if (ring_notify(d->ctx, c->ring) < 0) {
        unknown_ring(d, c->ring);
    }
}

void cmd_vkWriteRingExtraMESA(struct decoder *d, struct wire_vkWriteRingExtraMESA *c)
{
    int r = ring_write_extra(d->ctx, c->ring, c->offset, c->value);

    if (r == -ENOENT) {
        unknown_ring(d, c->ring);
    } else if (r < 0) {
        decoder_fail(d, "offset %zu is outside the ring's extra region", c->offset);
    }
}

void cmd_vkSubmitVirtqueueSeqnoMESA(struct decoder *d, struct wire_vkSubmitVirtqueueSeqnoMESA *c)
{
    if (ring_submit_virtqueue_seqno(d->ctx, c->ring, c->seqno) < 0) {
        unknown_ring(d, c->ring);
    }
}

void cmd_vkWaitVirtqueueSeqnoMESA(struct decoder *d, struct wire_vkWaitVirtqueueSeqnoMESA *c)
{
    if (ring_wait_virtqueue_seqno(d->ring, c->seqno) < 0) {
        d->cancelled = true; /* the ring is being stopped */
    }
}

void cmd_vkWaitRingSeqnoMESA(struct decoder *d, struct wire_vkWaitRingSeqnoMESA *c)
{
    int r = ring_wait_seqno(d->ctx, c->ring, c->seqno);

    if (r == -ENOENT) {
        unknown_ring(d, c->ring);
    } else if (r == -EDEADLK) {
        decoder_fail(d,
                     "waits for %" PRIu64 ", which the ring will never reach: it has run all "
                     "that is in it, or its memory was taken away",
                     c->seqno);
    } else if (r < 0) {
        d->cancelled = true; /* the context is over */
    }
}
