/*
 * Everything of the ground floor that takes bytes from outside and decides. The first byte says
 * which:
 *
 *   0, 1  a message on the server or context socket: second byte = fds (low 4 bits) and state
 *   2     a vtest request header
 *   3     a vtest SUBMIT_CMD2 payload
 *   4     a vtest SYNC_WAIT payload
 *   5     a line of /proc/PID/maps
 *   6     a worker's log bytes
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base.h"
#include "ipc/dialect.h"
#include "ipc/log.h"
#include "ipc/vtest_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void message(const struct dialect_table *t, const uint8_t *data, size_t size)
{
    enum dialect_state state;
    uint32_t op = UINT32_MAX, n_fds;
    int r;

    if (size < 1) {
        return;
    }
    n_fds = data[0] & 15;
    state = (data[0] & 16) != 0 ? DIALECT_AFTER_INIT : DIALECT_BEFORE_INIT;
    r = dialect_check_request(t, state, data + 1, size - 1, n_fds, &op);
    (void)dialect_looks_like_a(data + 1, size - 1);
    assert(strcmp(dialect_error_text(r), "") != 0);
    if (r == 0) {
        const struct dialect_rule *rule = &t->rules[op];

        assert(op < t->n_rules && size - 1 == rule->size);
        assert(n_fds >= rule->min_fds && n_fds <= rule->max_fds);
        assert((rule->when & state) != 0);
    } else {
        assert(op == UINT32_MAX);
    }
}

static void vtest_header(const uint8_t *data, size_t size)
{
    struct vtest_request r;

    if (size >= VTEST_HEADER_SIZE && vtest_request_parse(data, &r) == 0) {
        assert(r.size <= VTEST_SUBMIT_MAX);
        assert(strcmp(vtest_command_name(r.command), "unknown command") != 0);
    }
}

/* Reads every word that the parser says may be read; ASan knows where the payload ends. */
static void read_words(const uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)*(const volatile uint32_t *)&words[i];
    }
}

static void vtest_submit(const uint32_t *words, size_t n_words)
{
    struct vtest_submit s;

    if (vtest_submit_parse(words, n_words, &s) < 0) {
        return;
    }
    for (uint32_t i = 0; i < s.n_batches; i++) {
        struct vtest_batch b = vtest_submit_batch(&s, i);

        assert(!b.has_ring || b.ring_idx < VTEST_TIMELINES);
        read_words(b.cmd, b.cmd_words);
        for (uint32_t j = 0; j < b.n_syncs; j++) {
            (void)vtest_sync_at(b.syncs, j);
        }
        read_words(b.syncs, (size_t)b.n_syncs * 3);
    }
}

static void vtest_wait(const uint32_t *words, size_t n_words)
{
    struct vtest_wait w;

    if (vtest_wait_parse(words, n_words, &w) == 0) {
        read_words(w.syncs, (size_t)w.n_syncs * 3);
    }
}

static void payload(void (*fn)(const uint32_t *, size_t), const uint8_t *data, size_t size)
{
    size_t n_words = size / 4;
    uint32_t *words = malloc(n_words > 0 ? n_words * 4 : 1);

    if (words) {
        memcpy(words, data, n_words * 4);
        fn(words, n_words);
        free(words);
    }
}

static void maps_line(const uint8_t *data, size_t size)
{
    struct dialect_vmm vmm = { 0 };
    char *line = strndup((const char *)data, size);

    if (line && dialect_from_maps_line(line, &vmm)) {
        assert(vmm.dialect != DIALECT_UNKNOWN);
        for (const char *p = vmm.library; *p != '\0'; p++) {
            assert(*p >= 0x20 && *p < 0x7f);
        }
    }
    free(line);
}

static void log_bytes(const uint8_t *data, size_t size)
{
    struct log_relay r;

    log_to_fd(-1);
    log_relay_init(&r);
    log_relay_set_context(&r, 1, "fuzz");
    log_relay_feed(&r, data, size);
    log_relay_end(&r);
    (void)LOG_QUOTE((const char *)data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    switch (data[0]) {
    case 0:
        message(&dialect_b_server, data + 1, size - 1);
        break;
    case 1:
        message(&dialect_b_context, data + 1, size - 1);
        break;
    case 2:
        vtest_header(data + 1, size - 1);
        break;
    case 3:
        payload(vtest_submit, data + 1, size - 1);
        break;
    case 4:
        payload(vtest_wait, data + 1, size - 1);
        break;
    case 5:
        maps_line(data + 1, size - 1);
        break;
    case 6:
        log_bytes(data + 1, size - 1);
        break;
    }
    return 0;
}
