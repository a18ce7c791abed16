#include "tests/unit/worker_fixture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "worker/resources.h"

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

static int run(void **state, const struct bytes *b)
{
    struct fixture *f = *state;

    objects_wake(&f->ctx.objects, &f->ctx.decoder.reader);
    return decoder_run(&f->ctx.decoder, b->data, b->size, NULL, NULL);
}

static const char *why(void **state)
{
    return ((struct fixture *)*state)->ctx.decoder.why;
}

static uint32_t word_at(const uint8_t *p, size_t at)
{
    uint32_t v;

    memcpy(&v, p + at, sizeof(v));
    return v;
}

static void replies_follow_each_other(void **state)
{
    uint8_t *shm = make_shm(state, 3, 4096);
    struct bytes b = { .size = 0 };

    put_set_reply(&b, 3, 8, 200);
    put_version(&b, true);
    put_version(&b, false);
    put_version(&b, true);
    assert_int_equal(run(state, &b), 0);
    assert_int_equal(word_at(shm, 4), 0);
    assert_int_equal(word_at(shm, 8), FAKE_VERSION);
    assert_int_equal(word_at(shm, 24), FAKE_VERSION_ANSWER);
    assert_int_equal(word_at(shm, 28), FAKE_VERSION);
    assert_int_equal(word_at(shm, 44), FAKE_VERSION_ANSWER);
    assert_int_equal(word_at(shm, 48), 0);
}

static void no_window_no_reply(void **state)
{
    struct bytes b = { .size = 0 };

    put_version(&b, true);
    assert_int_equal(run(state, &b), -EPROTO);
    assert_non_null(strstr(why(state), "no reply stream"));
}

/* The window is the limit, not the resource behind it. */
static void reply_stays_inside_its_window(void **state)
{
    uint8_t *shm = make_shm(state, 3, 4096);
    struct bytes b = { .size = 0 };

    put_set_reply(&b, 3, 100, FAKE_VERSION_REPLY_SIZE - 4);
    put_version(&b, true);
    assert_int_equal(run(state, &b), -EPROTO);
    assert_non_null(strstr(why(state), "larger than the 16 bytes"));
    assert_int_equal(word_at(shm, 100 + FAKE_VERSION_REPLY_SIZE - 4), 0);
}

static void exact_window_is_enough(void **state)
{
    struct bytes b = { .size = 0 };

    make_shm(state, 3, 4096);
    put_set_reply(&b, 3, 4096 - FAKE_VERSION_REPLY_SIZE, FAKE_VERSION_REPLY_SIZE);
    put_version(&b, true);
    assert_int_equal(run(state, &b), 0);
}

static void windows_outside_are_refused(void **state)
{
    const struct {
        uint32_t id;
        uint64_t offset, size;
    } cases[] = {
        { 9, 0, 16 },
        { 0, 0, 0 },
        { 3, 4097, 0 },
        { 3, 0, 4097 },
        { 3, 4000, UINT64_MAX - 100 },
        { 3, UINT64_MAX, 2 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes b = { .size = 0 };
        void *own = NULL;

        assert_int_equal(fixture_setup(&own), 0);
        make_shm(&own, 3, 4096);
        put_set_reply(&b, cases[i].id, cases[i].offset, cases[i].size);
        assert_int_equal(run(&own, &b), -EPROTO);
        assert_int_equal(fixture_teardown(&own), 0);
    }
}

static void seek_moves_inside_the_window(void **state)
{
    uint8_t *shm = make_shm(state, 3, 4096);
    struct bytes b = { .size = 0 };

    put_set_reply(&b, 3, 0, 100);
    put_seek(&b, 40);
    put_version(&b, true);
    put_seek(&b, 100);
    assert_int_equal(run(state, &b), 0);
    assert_int_equal(word_at(shm, 40), FAKE_VERSION);
    b.size = 0;
    put_seek(&b, 101);
    assert_int_equal(run(state, &b), -EPROTO);
    assert_non_null(strstr(why(state), "101"));
}

static void seek_needs_a_window(void **state)
{
    struct bytes b = { .size = 0 };

    put_seek(&b, 0);
    assert_int_equal(run(state, &b), -EPROTO);
}

static void destroyed_resource_unsets_the_window(void **state)
{
    struct fixture *f = *state;
    struct bytes b = { .size = 0 };

    make_shm(state, 3, 4096);
    put_set_reply(&b, 3, 0, 100);
    put_version(&b, true);
    assert_int_equal(run(state, &b), 0);
    assert_true(resources_remove(&f->ctx.resources, 3));
    b.size = 0;
    put_version(&b, true);
    assert_int_equal(run(state, &b), -EPROTO);
    assert_non_null(strstr(why(state), "no reply stream"));
    assert_int_equal(f->ctx.resources.shm_bytes, 0);
}

static void new_resource_of_the_same_id_is_taken(void **state)
{
    struct fixture *f = *state;
    struct bytes b = { .size = 0 };
    uint8_t *shm;

    make_shm(state, 3, 4096);
    put_set_reply(&b, 3, 0, 100);
    assert_int_equal(run(state, &b), 0);
    assert_true(resources_remove(&f->ctx.resources, 3));
    shm = make_shm(state, 3, 8192);
    b.size = 0;
    put_set_reply(&b, 3, 8000, 100);
    put_version(&b, true);
    assert_int_equal(run(state, &b), 0);
    assert_int_equal(word_at(shm, 8000), FAKE_VERSION);
}

static void bytes_are_padded_with_zeros(void **state)
{
    struct fixture *f = *state;
    struct decoder *d = &f->ctx.decoder;
    uint8_t *shm = make_shm(state, 3, 4096);

    memset(shm, 0xff, 64);
    assert_true(reply_set(d, 3, 0, 64));
    assert_true(reply_begin(d));
    encode_bytes(d, "abcde", 5);
    encode_bytes(d, NULL, 0);
    reply_end(d);
    assert_memory_equal(shm, "abcde\0\0\0\xff", 9);
    assert_int_equal(d->reply.pos, 8);
    assert_true(reply_begin(d));
    encode_bytes(d, "x", UINT64_MAX - 1);
    assert_true(d->failed);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(replies_follow_each_other),
        T(no_window_no_reply),
        T(reply_stays_inside_its_window),
        T(exact_window_is_enough),
        cmocka_unit_test(windows_outside_are_refused),
        T(seek_moves_inside_the_window),
        T(seek_needs_a_window),
        T(destroyed_resource_unsets_the_window),
        T(new_resource_of_the_same_id_is_taken),
        T(bytes_are_padded_with_zeros),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
