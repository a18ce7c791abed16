#include "tests/unit/worker_fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vulkan/vulkan_core.h>

#include "worker/limits.h"
#include "worker/resources.h"

static struct decoder *decoder_of(void **state)
{
    struct fixture *f = *state;

    objects_wake(&f->ctx.objects, &f->ctx.decoder.reader);
    return &f->ctx.decoder;
}

static uint8_t *make_shm(void **state, uint32_t id, uint64_t size)
{
    struct fixture *f = *state;
    struct resource *r;
    uint8_t *map;
    int fd = -1;

    assert_int_equal(resources_create_shm(&f->ctx.resources, id, size, &fd), 0);
    close(fd);
    r = resources_get(&f->ctx.resources, id);
    map = r->map;
    resource_unref(r);
    return map;
}

static int run(struct decoder *d, const struct bytes *b)
{
    return decoder_run(d, b->data, b->size, NULL, NULL);
}

static void nothing_is_fine(void **state)
{
    assert_int_equal(decoder_run(decoder_of(state), "", 0, NULL, NULL), 0);
}

struct seen {
    size_t at[8];
    int count;
};

static void note_done(void *arg, size_t consumed)
{
    struct seen *seen = arg;

    seen->at[seen->count++] = consumed;
}

static void told_after_each_command(void **state)
{
    struct decoder *d = decoder_of(state);
    struct bytes b = { .size = 0 };
    struct seen seen = { .count = 0 };

    put_version(&b, false);
    put_version(&b, false);
    put_version(&b, false);
    assert_int_equal(decoder_run(d, b.data, b.size, note_done, &seen), 0);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.at[0], 16);
    assert_int_equal(seen.at[2], 48);
    assert_int_equal(fake_versions, 3);
    assert_int_equal(d->lane->commands, 3);
    assert_int_equal(d->lane->last[2], FAKE_VERSION);
}

static void every_cut_is_told(void **state)
{
    for (size_t size = 1; size < 16; size++) {
        struct fixture *f;
        struct bytes b = { .size = 0 };
        struct seen seen = { .count = 0 };
        void *own = NULL;

        (void)state;
        assert_int_equal(fixture_setup(&own), 0);
        f = own;
        put_version(&b, false);
        put_version(&b, false);
        assert_int_equal(decoder_run(decoder_of(&own), b.data, 16 + size, note_done, &seen),
                         -EPROTO);
        assert_non_null(strstr(f->ctx.decoder.why, "cut off"));
        assert_int_equal(seen.count, 1);
        assert_int_equal(fake_versions, 1);
        assert_int_equal(fixture_teardown(&own), 0);
    }
}

static void unknown_and_refused_commands_are_named(void **state)
{
    const struct {
        uint32_t command;
        const char *says;
    } cases[] = {
        { 99999, "99999" },
        { 0xffffffff, "4294967295" },
        { 77, "77" },
        { FAKE_CHAIN_END, "not today" },
        { 252, "vkWaitVirtqueueSeqnoMESA: not allowed on the context stream" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes b = { .size = 0 };
        void *own = NULL;
        struct decoder *d;

        assert_int_equal(fixture_setup(&own), 0);
        d = decoder_of(&own);
        put_u32(&b, cases[i].command);
        put_u32(&b, 0);
        put_u64(&b, 0);
        assert_int_equal(run(d, &b), -EPROTO);
        assert_true(d->failed);
        assert_non_null(strstr(d->why, cases[i].says));
        assert_int_equal(fixture_teardown(&own), 0);
    }
}

static void first_reason_stays(void **state)
{
    struct decoder *d = decoder_of(state);

    d->command = FAKE_VERSION;
    decoder_fail(d, "first %d", 1);
    decoder_fail(d, "second");
    assert_string_equal(d->why, "fakeVersion: first 1");
}

static void a_name_is_not_said_twice(void **state)
{
    struct decoder *d = decoder_of(state);

    d->command = FAKE_VERSION;
    decoder_fail(d, "fakeVersion: %s", "no");
    assert_string_equal(d->why, "fakeVersion: no");
}

static void long_reasons_are_cut(void **state)
{
    struct decoder *d = decoder_of(state);
    char text[1000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    d->command = FAKE_VERSION;
    decoder_fail(d, "%s", text);
    assert_int_equal(strlen(d->why), sizeof(d->why) - 1);
}

static void memory_has_a_cap(void **state)
{
    struct decoder *d = decoder_of(state);
    struct bytes b = { .size = 0 };

    put_u32(&b, FAKE_ALLOC);
    put_u32(&b, 0);
    put_u64(&b, LIMIT_COMMAND_MEMORY + 1);
    assert_int_equal(run(d, &b), -EPROTO);
    assert_non_null(strstr(d->why, "memory"));
}

static void handles_are_checked(void **state)
{
    struct fixture *f = *state;
    struct decoder *d = decoder_of(state);
    struct object *a = object_new(1, VK_OBJECT_TYPE_DEVICE, 1, NULL);
    struct object *b = object_new(2, VK_OBJECT_TYPE_DEVICE, 1, NULL);
    struct object *buffer;
    struct bytes bytes = { .size = 0 };

    objects_insert(&f->ctx.objects, a);
    objects_insert(&f->ctx.objects, b);
    buffer = object_new(3, VK_OBJECT_TYPE_BUFFER, 0x77, a);
    objects_insert(&f->ctx.objects, buffer);

    put_u64(&bytes, 0);
    put_u64(&bytes, 3);
    put_u64(&bytes, 3);
    d->pos = bytes.data;
    d->end = bytes.data + bytes.size;
    d->device = a;
    assert_int_equal(decode_handle(d, VK_OBJECT_TYPE_BUFFER, "x"), 0);
    assert_int_equal(decode_handle(d, VK_OBJECT_TYPE_BUFFER, "x"), 0x77);
    d->device = b;
    assert_int_equal(decode_handle(d, VK_OBJECT_TYPE_BUFFER, "x"), 0);
    assert_true(d->failed);
    assert_non_null(strstr(d->why, "another device"));
}

static void unknown_handle_ends_the_context(void **state)
{
    struct decoder *d = decoder_of(state);
    struct bytes b = { .size = 0 };

    put_u32(&b, FAKE_FIND);
    put_u32(&b, 0);
    put_u64(&b, 4711);
    assert_int_equal(run(d, &b), -EPROTO);
    assert_string_equal(d->why, "fakeFind: buffer: no VkBuffer with id 4711");
}

static void fatal_context_runs_nothing(void **state)
{
    struct fixture *f = *state;
    struct decoder *d = decoder_of(state);
    struct bytes b = { .size = 0 };

    context_fatal(&f->ctx, "over");
    put_version(&b, false);
    assert_int_equal(run(d, &b), -ECANCELED);
    assert_int_equal(fake_versions, 0);
    assert_string_equal(f->recorder.page->reason, "over");
}

static void blobs_are_in_place_and_padded(void **state)
{
    struct decoder *d = decoder_of(state);
    const uint8_t bytes[12] = { 1, 2, 3, 4, 5, 0, 0, 0, 9, 0, 0, 0 };
    volatile uint64_t too_much = 13;

    d->pos = bytes;
    d->end = bytes + sizeof(bytes);
    assert_ptr_equal(decode_bytes(d, 5), bytes);
    assert_int_equal(decode_u32(d), 9);
    d->pos = bytes;
    assert_null(decode_bytes(d, too_much));
    assert_true(d->failed);
}

static void blob_size_cannot_wrap(void **state)
{
    struct decoder *d = decoder_of(state);
    const uint8_t bytes[12] = { 0 };

    d->pos = bytes;
    d->end = bytes + sizeof(bytes);
    assert_null(decode_bytes(d, UINT64_MAX - 1));
    assert_true(d->failed);
}

/* ---- executed streams --------------------------------------------------------------------- */

static void streams_run_in_order_with_their_replies(void **state)
{
    struct decoder *d = decoder_of(state);
    uint8_t *shm = make_shm(state, 5, 4096), *reply = make_shm(state, 6, 4096);
    const uint64_t positions[] = { 0, 100, 200 };
    const struct stream_at streams[] = { { 5, 0, 32 }, { 5, 0, 0 }, { 5, 64, 16 } };
    struct bytes b = { .size = 0 }, s = { .size = 0 };
    uint32_t word;

    put_version(&s, true);
    put_version(&s, false);
    memcpy(shm, s.data, s.size);
    memcpy(shm + 64, s.data, 16);
    put_set_reply(&b, 6, 0, 4096);
    put_execute(&b, streams, 3, positions);
    put_version(&b, true);
    assert_int_equal(run(d, &b), 0);
    assert_int_equal(fake_versions, 4);
    memcpy(&word, reply + 16, 4);
    assert_int_equal(word, FAKE_VERSION_ANSWER);
    memcpy(&word, reply + 100, 4);
    assert_int_equal(word, 0);
    memcpy(&word, reply + 216, 4);
    assert_int_equal(word, FAKE_VERSION_ANSWER);
    /* The command behind goes on where the last stream's replies ended. */
    memcpy(&word, reply + 220 + 16, 4);
    assert_int_equal(word, FAKE_VERSION_ANSWER);
}

static void bad_streams_are_refused(void **state)
{
    const struct {
        struct stream_at at;
        uint32_t count;
        const char *says;
    } cases[] = {
        { { 5, 0, 0 }, 0, "0 streams" },
        { { 9, 0, 16 }, 1, "resource 9" },
        { { 5, 4096, 16 }, 1, "at 4096" },
        { { 5, UINT64_MAX, 16 }, 1, "resource 5" },
        { { 5, 16, UINT64_MAX - 8 }, 1, "resource 5" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes b = { .size = 0 };
        void *own = NULL;
        struct decoder *d;

        assert_int_equal(fixture_setup(&own), 0);
        d = decoder_of(&own);
        make_shm(&own, 5, 4096);
        put_execute(&b, &cases[i].at, cases[i].count, NULL);
        assert_int_equal(run(d, &b), -EPROTO);
        assert_non_null(strstr(d->why, cases[i].says));
        assert_int_equal(fixture_teardown(&own), 0);
    }
}

static void nested_execution_is_refused(void **state)
{
    struct decoder *d = decoder_of(state);
    uint8_t *shm = make_shm(state, 5, 4096);
    struct bytes inner = { .size = 0 }, b = { .size = 0 };

    put_execute(&inner, &(struct stream_at){ 5, 0, 0 }, 1, NULL);
    memcpy(shm, inner.data, inner.size);
    put_execute(&b, &(struct stream_at){ 5, 0, inner.size }, 1, NULL);
    assert_int_equal(run(d, &b), -EPROTO);
    assert_non_null(strstr(d->why, "itself executed"));
}

static void a_failure_inside_stops_everything(void **state)
{
    struct decoder *d = decoder_of(state);
    uint8_t *shm = make_shm(state, 5, 4096);
    struct bytes inner = { .size = 0 }, b = { .size = 0 };

    put_version(&inner, false);
    put_u32(&inner, FAKE_FIND);
    put_u32(&inner, 0);
    put_u64(&inner, 1);
    put_version(&inner, false);
    memcpy(shm, inner.data, inner.size);
    put_execute(&b, &(struct stream_at){ 5, 0, inner.size }, 1, NULL);
    put_version(&b, false);
    assert_int_equal(run(d, &b), -EPROTO);
    assert_int_equal(fake_versions, 1);
    assert_int_equal(d->nesting, 0);
}

static void big_stream_buffers_are_given_back(void **state)
{
    struct decoder *d = decoder_of(state);
    uint8_t *shm = make_shm(state, 5, 4 << 20);
    struct bytes s = { .size = 0 };

    put_version(&s, false);
    for (uint32_t at = 0; at < 4 << 20; at += 16) {
        memcpy(shm + at, s.data, 16);
    }
    for (int i = 0; i < 100; i++) {
        struct bytes b = { .size = 0 };

        put_execute(&b, &(struct stream_at){ 5, 0, i == 0 ? 4 << 20 : 64 }, 1, NULL);
        assert_int_equal(run(d, &b), 0);
        if (i == 1) {
            assert_true(d->stream_size >= 4 << 20);
        }
    }
    assert_true(d->stream_size <= LIMIT_STREAM_KEEP);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nothing_is_fine),
        T(told_after_each_command),
        cmocka_unit_test(every_cut_is_told),
        cmocka_unit_test(unknown_and_refused_commands_are_named),
        T(first_reason_stays),
        T(a_name_is_not_said_twice),
        T(long_reasons_are_cut),
        T(memory_has_a_cap),
        T(handles_are_checked),
        T(unknown_handle_ends_the_context),
        T(fatal_context_runs_nothing),
        T(blobs_are_in_place_and_padded),
        T(blob_size_cannot_wrap),
        T(streams_run_in_order_with_their_replies),
        cmocka_unit_test(bad_streams_are_refused),
        T(nested_execution_is_refused),
        T(a_failure_inside_stops_everything),
        T(big_stream_buffers_are_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
