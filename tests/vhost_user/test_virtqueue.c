#include "ipc/virtqueue.h"

#include <errno.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/vhost_user/fake_guest.h"

#define DATA (FAKE_GUEST + FAKE_DATA)

static struct fake_guest guest;
static struct virtqueue_chain chain;

static int setup(void **state)
{
    return harness_setup(state) || fake_guest_init(&guest, 8);
}

static int teardown(void **state)
{
    fake_guest_fini(&guest);
    return harness_teardown(state);
}

static int pop(void)
{
    return virtqueue_pop(&guest.queue, &guest.memory, &chain);
}

static void a_chain_comes_out_as_it_went_in(void **state)
{
    static const char text[] = "readable, in two pieces";
    char got[sizeof(text)];
    uint32_t entry[2];

    (void)state;
    memcpy(guest.bytes + FAKE_DATA, text, 8);
    memcpy(guest.bytes + FAKE_DATA + 0x100, text + 8, sizeof(text) - 8);
    fake_desc(&guest, 3, DATA, 8, FAKE_NEXT, 5);
    fake_desc(&guest, 5, DATA + 0x100, sizeof(text) - 8, FAKE_NEXT, 0);
    fake_desc(&guest, 0, DATA + 0x200, 4, FAKE_WRITE | FAKE_NEXT, 1);
    fake_desc(&guest, 1, DATA + 0x300, 100, FAKE_WRITE, 7);
    assert_int_equal(pop(), 0);
    fake_offer(&guest, 3);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.head, 3);
    assert_int_equal(chain.n_out, 2);
    assert_int_equal(chain.n_in, 2);
    assert_int_equal(chain.out_size, sizeof(text));
    assert_int_equal(chain.in_size, 104);
    assert_int_equal(virtqueue_read(&chain, &guest.memory, 0, got, sizeof(got)), 0);
    assert_string_equal(got, text);
    assert_int_equal(virtqueue_read(&chain, &guest.memory, 9, got, 4), 0);
    assert_memory_equal(got, text + 9, 4);
    assert_int_equal(virtqueue_read(&chain, &guest.memory, 1, got, sizeof(got)), -EFAULT);
    assert_int_equal(virtqueue_write(chain.segments + 2, chain.n_in, &guest.memory, text,
                                     sizeof(text)),
                     sizeof(text));
    assert_memory_equal(guest.bytes + FAKE_DATA + 0x200, text, 4);
    assert_memory_equal(guest.bytes + FAKE_DATA + 0x300, text + 4, sizeof(text) - 4);
    virtqueue_push(&guest.queue, chain.head, 24);
    assert_int_equal(fake_used_idx(&guest), 1);
    memcpy(entry, guest.bytes + FAKE_USED + 4, sizeof(entry));
    assert_int_equal(entry[0], 3);
    assert_int_equal(entry[1], 24);
    assert_int_equal(pop(), 0);
}

static void a_table_of_its_own_is_followed(void **state)
{
    (void)state;
    fake_desc_at(&guest, FAKE_DATA, 0, DATA + 0x100, 16, FAKE_NEXT, 2);
    fake_desc_at(&guest, FAKE_DATA, 2, DATA + 0x200, 24, FAKE_WRITE, 0);
    fake_desc(&guest, 0, DATA, 3 * 16, FAKE_INDIRECT, 0);
    fake_offer(&guest, 0);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.n_out, 1);
    assert_int_equal(chain.n_in, 1);
    assert_int_equal(chain.segments[1].addr, DATA + 0x200);
}

/* One descriptor or table that is wrong; the queue must go on with the next. */
static void bad(void)
{
    fake_offer(&guest, 0);
    assert_int_equal(pop(), -EBADMSG);
    assert_int_equal(chain.head, 0);
    virtqueue_push(&guest.queue, chain.head, 0);
    fake_desc(&guest, 7, DATA, 8, 0, 0);
    fake_offer(&guest, 7);
    assert_int_equal(pop(), 1);
    virtqueue_push(&guest.queue, chain.head, 0);
}

static void chains_that_make_no_sense_are_given_back(void **state)
{
    (void)state;
    fake_desc(&guest, 0, DATA, 8, FAKE_NEXT, 0); /* itself */
    bad();
    fake_desc(&guest, 0, DATA, 8, FAKE_NEXT, 1);
    fake_desc(&guest, 1, DATA, 8, FAKE_NEXT, 0); /* a circle */
    bad();
    fake_desc(&guest, 1, DATA, 8, FAKE_NEXT, 8); /* no such descriptor */
    bad();
    fake_desc(&guest, 0, DATA, 0, 0, 0); /* empty */
    bad();
    fake_desc(&guest, 0, FAKE_GUEST + FAKE_SIZE - 4, 8, 0, 0); /* beyond memory */
    bad();
    fake_desc(&guest, 0, FAKE_GUEST - 1, 8, 0, 0);
    bad();
    fake_desc(&guest, 0, UINT64_MAX - 3, 8, 0, 0); /* wraps */
    bad();
    fake_desc(&guest, 0, DATA, 8, FAKE_WRITE | FAKE_NEXT, 1);
    fake_desc(&guest, 1, DATA, 8, 0, 0); /* readable behind writable */
    bad();
}

static void tables_that_make_no_sense_are_given_back(void **state)
{
    (void)state;
    fake_desc_at(&guest, FAKE_DATA, 0, DATA, 8, FAKE_NEXT, 1);
    fake_desc_at(&guest, FAKE_DATA, 1, DATA, 8, FAKE_NEXT, 0); /* a circle */
    fake_desc(&guest, 0, DATA, 32, FAKE_INDIRECT, 0);
    bad();
    fake_desc_at(&guest, FAKE_DATA, 1, DATA, 8, FAKE_NEXT, 2); /* out of the table */
    bad();
    fake_desc_at(&guest, FAKE_DATA, 1, DATA, 8, FAKE_INDIRECT, 0); /* a table in a table */
    bad();
    fake_desc_at(&guest, FAKE_DATA, 1, DATA, 8, 0, 0);
    fake_desc(&guest, 0, DATA, 31, FAKE_INDIRECT, 0); /* half a descriptor */
    bad();
    fake_desc(&guest, 0, DATA, 0, FAKE_INDIRECT, 0);
    bad();
    fake_desc(&guest, 0, DATA, 32, FAKE_INDIRECT | FAKE_NEXT, 1);
    bad();
    fake_desc(&guest, 0, FAKE_GUEST + FAKE_SIZE - 16, 32, FAKE_INDIRECT, 0);
    bad();
    fake_desc(&guest, 0, DATA, 0xfffffff0, FAKE_INDIRECT, 0);
    bad();
}

static void more_pieces_than_there_is_room_for_are_refused(void **state)
{
    uint32_t n = VIRTQUEUE_SEGMENTS_MAX + 1;

    (void)state;
    for (uint32_t i = 0; i < n; i++) {
        fake_desc_at(&guest, FAKE_DATA, i, DATA, 1, i + 1 < n ? FAKE_NEXT : 0, (uint16_t)(i + 1));
    }
    fake_desc(&guest, 0, DATA, n * 16, FAKE_INDIRECT, 0);
    bad();
    fake_desc_at(&guest, FAKE_DATA, n - 2, DATA, 1, 0, 0);
    fake_offer(&guest, 0);
    assert_int_equal(pop(), 1);
    assert_int_equal(chain.n_out, n - 1);
}

static void a_queue_that_makes_no_sense_stops(void **state)
{
    (void)state;
    fake_avail_idx(&guest, 9);
    assert_int_equal(pop(), -EPROTO);
    fake_avail_idx(&guest, 0);
    fake_offer(&guest, 8);
    assert_int_equal(pop(), -EPROTO);
}

static void a_chain_handed_out_twice_stops_the_queue(void **state)
{
    (void)state;
    fake_desc(&guest, 0, DATA, 8, 0, 0);
    for (int i = 0; i < 8; i++) {
        fake_offer(&guest, 0);
        assert_int_equal(pop(), 1);
    }
    fake_offer(&guest, 0);
    assert_int_equal(pop(), -EPROTO);
}

static void queues_must_lie_in_memory_and_be_aligned(void **state)
{
    struct virtqueue q = guest.queue;

    (void)state;
    assert_int_equal(virtqueue_set_num(&q, 0), -EINVAL);
    assert_int_equal(virtqueue_set_num(&q, 12), -EINVAL);
    assert_int_equal(virtqueue_set_num(&q, 2048), -EINVAL);
    q.desc_user = FAKE_USER + 8;
    assert_int_equal(virtqueue_resolve(&q, &guest.memory), -EINVAL);
    assert_false(virtqueue_ready(&q));
    q = guest.queue;
    q.used_user = FAKE_USER + FAKE_SIZE - 8;
    assert_int_equal(virtqueue_resolve(&q, &guest.memory), -EFAULT);
    q.used_user = UINT64_MAX - 7;
    assert_int_equal(virtqueue_resolve(&q, &guest.memory), -EFAULT);
    q = (struct virtqueue){ .num = 0 };
    assert_int_equal(virtqueue_resolve(&q, &guest.memory), -EINVAL);
}

static void notifications_follow_the_flag(void **state)
{
    (void)state;
    fake_desc(&guest, 0, DATA, 8, 0, 0);
    fake_offer(&guest, 0);
    assert_int_equal(pop(), 1);
    assert_false(virtqueue_notify(&guest.queue));
    virtqueue_push(&guest.queue, 0, 0);
    assert_true(virtqueue_notify(&guest.queue));
    assert_false(virtqueue_notify(&guest.queue));
    guest.bytes[FAKE_AVAIL] = 1;
    fake_offer(&guest, 0);
    assert_int_equal(pop(), 1);
    virtqueue_push(&guest.queue, 0, 0);
    assert_false(virtqueue_notify(&guest.queue));
}

static void notifications_follow_the_event_index(void **state)
{
    uint16_t event = 1, armed;

    (void)state;
    guest.queue.event_idx = true;
    memcpy(guest.bytes + FAKE_AVAIL + 4 + 8 * 2, &event, 2); /* tell me about the second */
    fake_desc(&guest, 0, DATA, 8, 0, 0);
    for (int i = 0; i < 3; i++) {
        fake_offer(&guest, 0);
        assert_int_equal(pop(), 1);
        virtqueue_push(&guest.queue, 0, 0);
        assert_int_equal(virtqueue_notify(&guest.queue), i == 1);
    }
    assert_false(virtqueue_arm(&guest.queue));
    memcpy(&armed, guest.bytes + FAKE_USED + 4 + 8 * 8, 2);
    assert_int_equal(armed, 3);
    fake_offer(&guest, 0);
    assert_true(virtqueue_arm(&guest.queue));
}

static void indices_wrap(void **state)
{
    (void)state;
    fake_avail_idx(&guest, 0xfffe);
    memcpy(guest.bytes + FAKE_USED + 2, &guest.avail_idx, 2);
    virtqueue_start(&guest.queue, 0xfffe);
    fake_desc(&guest, 0, DATA, 8, 0, 0);
    for (int i = 0; i < 4; i++) {
        fake_offer(&guest, 0);
        assert_int_equal(pop(), 1);
        virtqueue_push(&guest.queue, 0, 0);
        assert_true(virtqueue_notify(&guest.queue));
    }
    assert_int_equal(fake_used_idx(&guest), 2);
}

static void memory_may_be_in_pieces(void **state)
{
    struct guest_memory m = { 0 };
    struct guest_region low = { .guest = 0, .size = 0x1000, .user = 0x10000 };
    struct guest_region high = { .guest = 0x1000, .size = 0x1000, .user = 0x20000 };
    char text[16] = "across the seam", got[16];
    int fd;

    (void)state;
    high.fd_offset = 0x1000;
    assert_int_equal(memfd_create_sized("test", 0x2000, &fd), 0);
    assert_int_equal(guest_memory_add(&m, &low, fd), 0);
    assert_int_equal(guest_memory_add(&m, &high, fd), 0);
    assert_true(guest_memory_has(&m, 0xff8, 16));
    assert_false(guest_memory_has(&m, 0xff8, 0x1009));
    assert_false(guest_memory_has(&m, 1, UINT64_MAX));
    assert_int_equal(guest_memory_write(&m, 0xff8, text, 16), 0);
    assert_int_equal(guest_memory_read(&m, 0xff8, got, 16), 0);
    assert_string_equal(got, text);
    assert_null(guest_memory_user(&m, 0x10ff8, 16));
    assert_non_null(guest_memory_user(&m, 0x20000, 0x1000));
    assert_null(guest_memory_user(&m, 0x20001, 0x1000));

    /* Same again, the size too large, empty, not on a page, wrapping. */
    assert_int_equal(guest_memory_add(&m, &low, fd), -EEXIST);
    low.guest = low.user = 0x100000;
    low.size = 0x3000;
    assert_int_equal(guest_memory_add(&m, &low, fd), -EINVAL);
    low.size = 0;
    assert_int_equal(guest_memory_add(&m, &low, fd), -EINVAL);
    low.size = 0x1000;
    low.fd_offset = 1;
    assert_int_equal(guest_memory_add(&m, &low, fd), -EINVAL);
    low.fd_offset = 0;
    low.guest = UINT64_MAX - 0xfff;
    assert_int_equal(guest_memory_add(&m, &low, fd), -EINVAL);

    guest_memory_fini(&m);
    close(fd);
}

static void a_new_table_keeps_what_it_shares_with_the_old(void **state)
{
    struct guest_region want[] = {
        { .guest = 0, .size = 0x1000, .user = 0x10000 },
        { .guest = 0x1000, .size = 0x1000, .user = 0x20000, .fd_offset = 0x1000 },
        { .guest = 0x4000, .size = 0x1000, .user = 0x40000 },
    };
    struct guest_memory m = { 0 };
    const uint8_t *kept;
    int fds[3];

    (void)state;
    assert_int_equal(memfd_create_sized("test", 0x2000, &fds[0]), 0);
    fds[1] = fds[2] = fds[0];
    assert_int_equal(guest_memory_replace(&m, want, fds, 2), 0);
    assert_int_equal(m.n, 2);
    kept = guest_memory_user(&m, 0x20000, 1);
    assert_int_equal(guest_memory_replace(&m, want + 1, fds, 2), 0);
    assert_int_equal(m.n, 2);
    assert_ptr_equal(guest_memory_user(&m, 0x20000, 1), kept);
    assert_null(guest_memory_user(&m, 0x10000, 1));

    /* One that does not work leaves all as it was. */
    want[0].size = 0x3000;
    assert_int_equal(guest_memory_replace(&m, want, fds, 3), -EINVAL);
    want[0].size = 0x1000;
    want[2].guest = 0;
    assert_int_equal(guest_memory_replace(&m, want, fds, 3), -EEXIST);
    assert_int_equal(m.n, 2);
    assert_ptr_equal(guest_memory_user(&m, 0x20000, 1), kept);
    assert_non_null(guest_memory_user(&m, 0x40000, 1));
    assert_int_equal(guest_memory_remove(&m, 0x1000, 0x1000, 0x20001), -ENOENT);
    assert_int_equal(guest_memory_remove(&m, 0x1000, 0x1000, 0x20000), 0);
    assert_int_equal(guest_memory_replace(&m, NULL, NULL, 0), 0);
    assert_int_equal(m.n, 0);
    close(fds[0]);
}

static void a_chain_can_be_taken_again(void **state)
{
    (void)state;
    fake_desc(&guest, 2, DATA, 8, 0, 0);
    assert_int_equal(virtqueue_take(&guest.queue, &guest.memory, 2, &chain), 1);
    assert_int_equal(chain.head, 2);
    assert_int_equal(virtqueue_take(&guest.queue, &guest.memory, 8, &chain), -EPROTO);
    assert_true(virtqueue_same_used(&guest.queue));
    virtqueue_push(&guest.queue, 2, 0);
    assert_true(virtqueue_same_used(&guest.queue));
    guest.bytes[FAKE_USED + 2] = 7;
    assert_false(virtqueue_same_used(&guest.queue));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_chain_comes_out_as_it_went_in),
        TEST(a_table_of_its_own_is_followed),
        TEST(chains_that_make_no_sense_are_given_back),
        TEST(tables_that_make_no_sense_are_given_back),
        TEST(more_pieces_than_there_is_room_for_are_refused),
        TEST(a_queue_that_makes_no_sense_stops),
        TEST(a_chain_handed_out_twice_stops_the_queue),
        TEST(queues_must_lie_in_memory_and_be_aligned),
        TEST(notifications_follow_the_flag),
        TEST(notifications_follow_the_event_index),
        TEST(indices_wrap),
        TEST(a_chain_can_be_taken_again),
        HARNESS_TEST(memory_may_be_in_pieces),
        HARNESS_TEST(a_new_table_keeps_what_it_shares_with_the_old),
    };

    return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
