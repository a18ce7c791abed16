#include "ipc/vtest_wire.h"

#include <errno.h>
#include <string.h>

#include "ipc/base.h"
#include "ipc/checked.h"

#define SYNC_WORDS 3

/* Payload lengths in words, except for CREATE_RENDERER, whose header counts bytes. */
struct command_rule {
    const char *name; /* NULL = not served */
    uint32_t min, max;
};

static const struct command_rule rules[] = {
    [VTEST_RESOURCE_UNREF] = { "RESOURCE_UNREF", 1, 1 },
    [VTEST_RESOURCE_BUSY_WAIT] = { "RESOURCE_BUSY_WAIT", 2, 2 },
    [VTEST_CREATE_RENDERER] = { "CREATE_RENDERER", 0, VTEST_NAME_MAX },
    [VTEST_PING_PROTOCOL_VERSION] = { "PING_PROTOCOL_VERSION", 0, 0 },
    [VTEST_PROTOCOL_VERSION] = { "PROTOCOL_VERSION", 1, 1 },
    [VTEST_GET_PARAM] = { "GET_PARAM", 1, 1 },
    [VTEST_GET_CAPSET] = { "GET_CAPSET", 2, 2 },
    [VTEST_CONTEXT_INIT] = { "CONTEXT_INIT", 1, 1 },
    [VTEST_RESOURCE_CREATE_BLOB] = { "RESOURCE_CREATE_BLOB", 6, 6 },
    [VTEST_SYNC_CREATE] = { "SYNC_CREATE", 2, 2 },
    [VTEST_SYNC_UNREF] = { "SYNC_UNREF", 1, 1 },
    [VTEST_SYNC_READ] = { "SYNC_READ", 1, 1 },
    [VTEST_SYNC_WRITE] = { "SYNC_WRITE", 3, 3 },
    [VTEST_SYNC_WAIT] = { "SYNC_WAIT", 2, 2 + SYNC_WORDS *VTEST_WAIT_SYNCS_MAX },
    [VTEST_SUBMIT_CMD2] = { "SUBMIT_CMD2", 1, VTEST_SUBMIT_MAX / 4 },
};

static const struct command_rule *rule_of(uint32_t command)
{
    if (command >= ARRAY_SIZE(rules) || !rules[command].name) {
        return NULL;
    }
    return &rules[command];
}

int vtest_request_parse(const uint8_t header[VTEST_HEADER_SIZE], struct vtest_request *ret_request)
{
    const struct command_rule *rule;
    uint32_t words[2];

    memcpy(words, header, sizeof(words));
    rule = rule_of(words[1]);
    if (!rule) {
        return -EOPNOTSUPP;
    }
    if (words[0] < rule->min || words[0] > rule->max) {
        return -EMSGSIZE;
    }
    ret_request->command = words[1];
    ret_request->size = words[1] == VTEST_CREATE_RENDERER ? words[0] : words[0] * 4;
    return 0;
}

const char *vtest_command_name(uint32_t command)
{
    const struct command_rule *rule = rule_of(command);

    return rule ? rule->name : "unknown command";
}

void vtest_reply_header(uint32_t command, uint32_t n_words, uint32_t ret_header[2])
{
    ret_header[0] = n_words;
    ret_header[1] = command;
}

struct vtest_sync vtest_sync_at(const uint32_t *syncs, uint32_t i)
{
    const uint32_t *w = syncs + (size_t)i * SYNC_WORDS;

    return (struct vtest_sync){ .id = w[0], .value = vtest_u64(w + 1) };
}

int vtest_wait_parse(const uint32_t *words, size_t n_words, struct vtest_wait *ret_wait)
{
    if (n_words < 2 || (n_words - 2) % SYNC_WORDS != 0 ||
        (n_words - 2) / SYNC_WORDS > VTEST_WAIT_SYNCS_MAX || (words[0] & ~VTEST_WAIT_ANY) != 0) {
        return -EBADMSG;
    }
    *ret_wait = (struct vtest_wait){
        .flags = words[0],
        .timeout_ms = words[1],
        .n_syncs = (uint32_t)((n_words - 2) / SYNC_WORDS),
        .syncs = words + 2,
    };
    return 0;
}

/* Words of a batch header. */
enum {
    BATCH_FLAGS = 0,
    BATCH_CMD_OFFSET = 1,
    BATCH_CMD_SIZE = 2,
    BATCH_SYNC_OFFSET = 3,
    BATCH_SYNC_COUNT = 4,
    BATCH_RING_IDX = 5,
    BATCH_STRIDE_SHORT = 6,
    BATCH_IN_SYNCOBJS = 6,
    BATCH_OUT_SYNCOBJS = 7,
    BATCH_STRIDE_LONG = 8,
};

static const uint32_t *batch_header(const struct vtest_submit *s, uint32_t i)
{
    return s->words + 1 + (size_t)i * s->stride;
}

/* Clients of the same protocol version write headers of 6 or of 8 words; the first command stream
 * starts right behind the headers and so tells which. */
static int submit_stride(const uint32_t *words, uint32_t n_words, uint32_t n_batches,
                         uint32_t *ret_stride)
{
    uint64_t headers, bytes;

    /* Each batch has at least a short header: after this nothing below overflows. */
    if (!checked_mul(n_batches, BATCH_STRIDE_SHORT, &bytes) || !range_in(1, bytes, n_words)) {
        return -EBADMSG;
    }
    headers = (uint64_t)words[1 + BATCH_CMD_OFFSET] - 1;
    if (words[1 + BATCH_CMD_OFFSET] == 0) {
        return -EBADMSG;
    }
    if (headers == (uint64_t)n_batches * BATCH_STRIDE_SHORT) {
        *ret_stride = BATCH_STRIDE_SHORT;
        return 0;
    }
    if (headers == (uint64_t)n_batches * BATCH_STRIDE_LONG && range_in(1, headers, n_words)) {
        *ret_stride = BATCH_STRIDE_LONG;
        return 0;
    }
    return -EBADMSG;
}

static int batch_check(const struct vtest_submit *s, uint32_t i)
{
    const uint32_t *h = batch_header(s, i);
    uint64_t headers_end = 1 + (uint64_t)s->n_batches * s->stride;
    uint64_t sync_words = (uint64_t)h[BATCH_SYNC_COUNT] * SYNC_WORDS;

    if ((h[BATCH_FLAGS] & ~VTEST_BATCH_RING_IDX) != 0) {
        return -EOPNOTSUPP;
    }
    if (s->stride == BATCH_STRIDE_LONG &&
        (h[BATCH_IN_SYNCOBJS] != 0 || h[BATCH_OUT_SYNCOBJS] != 0)) {
        return -EOPNOTSUPP;
    }
    if (h[BATCH_CMD_SIZE] != 0 && (h[BATCH_CMD_OFFSET] < headers_end ||
                                   !range_in(h[BATCH_CMD_OFFSET], h[BATCH_CMD_SIZE], s->n_words))) {
        return -EBADMSG;
    }
    if (sync_words != 0 && (h[BATCH_SYNC_OFFSET] < headers_end ||
                            !range_in(h[BATCH_SYNC_OFFSET], sync_words, s->n_words))) {
        return -EBADMSG;
    }
    if ((h[BATCH_FLAGS] & VTEST_BATCH_RING_IDX) != 0 && h[BATCH_RING_IDX] >= VTEST_TIMELINES) {
        return -EBADMSG;
    }
    return 0;
}

int vtest_submit_parse(const uint32_t *words, size_t n_words, struct vtest_submit *ret_submit)
{
    struct vtest_submit s = { .words = words, .stride = BATCH_STRIDE_SHORT };
    int r;

    if (n_words < 1 || n_words > VTEST_SUBMIT_MAX / 4) {
        return -EBADMSG;
    }
    s.n_words = (uint32_t)n_words;
    s.n_batches = words[0];
    if (s.n_batches > 0) {
        r = submit_stride(words, s.n_words, s.n_batches, &s.stride);
        if (r < 0) {
            return r;
        }
    }
    for (uint32_t i = 0; i < s.n_batches; i++) {
        r = batch_check(&s, i);
        if (r < 0) {
            return r;
        }
    }
    *ret_submit = s;
    return 0;
}

struct vtest_batch vtest_submit_batch(const struct vtest_submit *s, uint32_t i)
{
    const uint32_t *h = batch_header(s, i);

    return (struct vtest_batch){
        .cmd = h[BATCH_CMD_SIZE] != 0 ? s->words + h[BATCH_CMD_OFFSET] : NULL,
        .cmd_words = h[BATCH_CMD_SIZE],
        .syncs = h[BATCH_SYNC_COUNT] != 0 ? s->words + h[BATCH_SYNC_OFFSET] : NULL,
        .n_syncs = h[BATCH_SYNC_COUNT],
        .has_ring = (h[BATCH_FLAGS] & VTEST_BATCH_RING_IDX) != 0,
        .ring_idx = h[BATCH_RING_IDX],
    };
}
