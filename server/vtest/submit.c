#include "server/vtest/submit.h"

#include <errno.h>

#include "ipc/checked.h"

/* Words of a batch header: vtest protocol, SUBMIT_CMD2. */
enum {
    BATCH_FLAGS,
    BATCH_CMD_OFFSET,
    BATCH_CMD_SIZE,
    BATCH_SYNC_OFFSET,
    BATCH_SYNC_COUNT,
    BATCH_RING_IDX,
    BATCH_WORDS_3,                     /* up to protocol version 3 */
    BATCH_IN_SYNCOBJS = BATCH_WORDS_3, /* from version 4 on */
    BATCH_OUT_SYNCOBJS,
    BATCH_WORDS_4,
};

#define FLAG_RING_IDX 1u
#define FLAG_FENCE_IN 2u
#define FLAG_FENCE_OUT 4u
#define SYNC_WORDS 3
#define MAX_RINGS 64

static int broken(const char **ret_why, const char *why)
{
    *ret_why = why;
    return -EPROTO;
}

int submit_open(const uint32_t *words, size_t n_words, struct submit *ret, const char **ret_why)
{
    uint32_t n_batches, first, stride;

    if (n_words == 0) {
        return broken(ret_why, "empty payload");
    }
    n_batches = words[0];
    if (n_batches == 0) {
        *ret = (struct submit){ .words = words, .n_words = n_words };
        return 0;
    }
    /* Both header sizes are in use whatever version was agreed on. The first command stream
     * starts right behind the headers, which tells them apart. */
    if (n_words <= 1 + BATCH_CMD_OFFSET || n_batches > (n_words - 1) / BATCH_WORDS_3) {
        return broken(ret_why, "more batches than the payload holds");
    }
    first = words[1 + BATCH_CMD_OFFSET];
    if (first == 0 || (first - 1) % n_batches != 0) {
        return broken(ret_why, "the first command stream does not follow the batch headers");
    }
    stride = (first - 1) / n_batches;
    if (stride != BATCH_WORDS_3 && stride != BATCH_WORDS_4) {
        return broken(ret_why, "batch headers are neither 6 nor 8 words");
    }
    if (first > n_words) {
        return broken(ret_why, "batch headers reach past the payload");
    }
    *ret = (struct submit){ words, n_words, n_batches, stride };
    return 0;
}

int submit_batch(const struct submit *s, uint32_t i, struct submit_batch *ret, const char **ret_why)
{
    const uint32_t *h = s->words + 1 + (size_t)i * s->stride;
    bool fenced = h[BATCH_FLAGS] & FLAG_RING_IDX;

    if (h[BATCH_FLAGS] & (FLAG_FENCE_IN | FLAG_FENCE_OUT)) {
        return broken(ret_why, "fence descriptors, which a Venus client never asks for");
    }
    if (s->stride == BATCH_WORDS_4 && (h[BATCH_IN_SYNCOBJS] || h[BATCH_OUT_SYNCOBJS])) {
        return broken(ret_why, "DRM sync objects, which this server does not offer");
    }
    if (!range_in(h[BATCH_CMD_OFFSET], h[BATCH_CMD_SIZE], s->n_words)) {
        return broken(ret_why, "a command stream reaches past the payload");
    }
    if (!range_in(h[BATCH_SYNC_OFFSET], (uint64_t)h[BATCH_SYNC_COUNT] * SYNC_WORDS, s->n_words)) {
        return broken(ret_why, "a sync list reaches past the payload");
    }
    if (fenced && h[BATCH_RING_IDX] >= MAX_RINGS) {
        return broken(ret_why, "ring index over 63");
    }
    *ret = (struct submit_batch){
        .commands = s->words + h[BATCH_CMD_OFFSET],
        .size = (size_t)h[BATCH_CMD_SIZE] * sizeof(uint32_t),
        .fenced = fenced,
        .ring_idx = fenced ? h[BATCH_RING_IDX] : 0,
        .syncs = s->words + h[BATCH_SYNC_OFFSET],
        .n_syncs = h[BATCH_SYNC_COUNT],
    };
    return 0;
}

struct submit_sync submit_sync(const uint32_t *syncs, uint32_t i)
{
    const uint32_t *w = syncs + (size_t)i * SYNC_WORDS;

    return (struct submit_sync){ .id = w[0], .value = w[1] | (uint64_t)w[2] << 32 };
}
