#include "server/vtest/syncs.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/vtest/ids.h"
#include "tests/harness.h"

static bool ready(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, 0) == 1;
}

static void ids_are_given_back_last_first(void **state)
{
    struct syncs *t = calloc(1, sizeof(*t));
    uint32_t id;
    uint64_t v;

    (void)state;
    syncs_init(t);
    for (uint32_t want = 1; want <= 5; want++) {
        assert_int_equal(syncs_create(t, want, &id), 0);
        assert_int_equal(id, want);
    }
    syncs_unref(t, 2);
    syncs_unref(t, 4);
    syncs_unref(t, 4);
    syncs_unref(t, 0);
    syncs_unref(t, 99);
    assert_int_equal(syncs_read(t, 4, &v), -ENOENT);
    assert_int_equal(syncs_create(t, 40, &id), 0);
    assert_int_equal(id, 4);
    assert_int_equal(syncs_create(t, 20, &id), 0);
    assert_int_equal(id, 2);
    assert_int_equal(syncs_read(t, 2, &v), 0);
    assert_int_equal(v, 20);
    syncs_fini(t);
    free(t);
}

static void any_and_all_mean_what_they_say(void **state)
{
    struct syncs *t = calloc(1, sizeof(*t));
    const uint32_t list[] = { 1, 5, 0, 2, 5, 0 };
    uint32_t id;
    int any, all, none, fd;

    (void)state;
    syncs_init(t);
    assert_int_equal(syncs_create(t, 0, &id), 0);
    assert_int_equal(syncs_create(t, 0, &id), 0);
    assert_int_equal(syncs_wait(t, true, UINT64_MAX, list, 2, &any), 0);
    assert_int_equal(syncs_wait(t, false, UINT64_MAX, list, 2, &all), 0);
    assert_int_equal(syncs_wait(t, false, UINT64_MAX, list, 0, &none), 0);
    assert_true(ready(none));
    close(none);
    assert_int_equal(syncs_wait(t, true, UINT64_MAX, list, 0, &none), 0);
    assert_true(ready(none));
    assert_int_equal(t->n_waits, 2);
    assert_int_equal(syncs_write(t, 2, 6), 0);
    assert_true(ready(any));
    assert_false(ready(all));
    assert_int_equal(syncs_write(t, 1, 5), 0);
    assert_true(ready(all));
    assert_int_equal(t->n_waits, 0);
    assert_int_equal(t->n_points, 0);
    assert_int_equal(syncs_wait(t, false, 0, (uint32_t[]){ 3, 0, 0 }, 1, &fd), -ENOENT);
    close(any);
    close(all);
    close(none);
    syncs_fini(t);
    free(t);
}

static void waits_are_forgotten_at_their_deadline(void **state)
{
    struct syncs *t = calloc(1, sizeof(*t));
    uint32_t id;
    int soon, late;

    (void)state;
    syncs_init(t);
    assert_int_equal(syncs_create(t, 0, &id), 0);
    assert_int_equal(syncs_wait(t, false, 100, (uint32_t[]){ 1, 1, 0 }, 1, &soon), 0);
    assert_int_equal(syncs_wait(t, false, 200, (uint32_t[]){ 1, 1, 0 }, 1, &late), 0);
    assert_int_equal(syncs_expire(t, 99), 100);
    assert_int_equal(syncs_expire(t, 150), 200);
    assert_int_equal(t->n_waits, 1);
    assert_int_equal(syncs_write(t, 1, 1), 0);
    assert_false(ready(soon));
    assert_true(ready(late));
    assert_int_equal(syncs_expire(t, 150), UINT64_MAX);
    close(soon);
    close(late);
    syncs_fini(t);
    free(t);
}

static void updates_hold_their_syncs(void **state)
{
    struct syncs *t = calloc(1, sizeof(*t));
    struct sync_update *u, *never;
    uint32_t id;
    int fd;

    (void)state;
    syncs_init(t);
    assert_int_equal(syncs_create(t, 0, &id), 0);
    assert_int_equal(syncs_hold(t, (uint32_t[]){ 1, 9, 0 }, 1, &u), 0);
    assert_int_equal(syncs_hold(t, (uint32_t[]){ 1, 9, 0 }, 1, &never), 0);
    assert_int_equal(syncs_wait(t, false, UINT64_MAX, (uint32_t[]){ 1, 9, 0 }, 1, &fd), 0);
    syncs_unref(t, 1);
    assert_false(ready(fd));
    syncs_apply(t, u);
    assert_true(ready(fd));
    syncs_drop(t, never);
    close(fd);
    syncs_fini(t);
    free(t);
}

static void what_a_client_may_hold_is_bounded(void **state)
{
    struct syncs *t = calloc(1, sizeof(*t));
    static uint32_t list[3 * SYNCS_MAX_POINTS + 3];
    struct sync_update *u;
    uint32_t id;
    int fds[SYNCS_MAX_WAITS], fd;

    (void)state;
    syncs_init(t);
    for (uint32_t i = 0; i < SYNCS_MAX; i++) {
        assert_int_equal(syncs_create(t, 0, &id), 0);
    }
    assert_int_equal(syncs_create(t, 0, &id), -ENOSPC);
    for (size_t i = 0; i < ARRAY_SIZE(list); i += 3) {
        list[i] = 1;
        list[i + 1] = 1;
    }
    assert_int_equal(syncs_hold(t, list, SYNCS_MAX_POINTS + 1, &u), -ENOSPC);
    assert_int_equal(syncs_hold(t, list, SYNCS_MAX_POINTS, &u), 0);
    assert_int_equal(syncs_wait(t, false, UINT64_MAX, list, 1, &fd), -ENOSPC);
    syncs_drop(t, u);
    for (int i = 0; i < SYNCS_MAX_WAITS; i++) {
        assert_int_equal(syncs_wait(t, false, UINT64_MAX, list, 1, &fds[i]), 0);
    }
    assert_int_equal(syncs_wait(t, false, UINT64_MAX, list, 1, &fd), -ENOSPC);
    for (int i = 0; i < SYNCS_MAX_WAITS; i++) {
        close(fds[i]);
    }
    syncs_fini(t);
    free(t);
}

static void resource_ids_end_and_come_back(void **state)
{
    struct ids *t = calloc(1, sizeof(*t));

    (void)state;
    for (uint32_t i = 1; i <= IDS_MAX; i++) {
        assert_int_equal(ids_take(t), i);
    }
    assert_int_equal(ids_take(t), 0);
    assert_false(ids_live(t, 0));
    assert_false(ids_live(t, IDS_MAX + 1));
    assert_true(ids_live(t, IDS_MAX));
    ids_give(t, 17);
    assert_false(ids_live(t, 17));
    assert_int_equal(ids_take(t), 17);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(ids_are_given_back_last_first),
        HARNESS_TEST(any_and_all_mean_what_they_say),
        HARNESS_TEST(waits_are_forgotten_at_their_deadline),
        HARNESS_TEST(updates_hold_their_syncs),
        HARNESS_TEST(what_a_client_may_hold_is_bounded),
        HARNESS_TEST(resource_ids_end_and_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
