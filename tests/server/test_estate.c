#include "server/render/estate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/map.h"
#include "tests/harness.h"

#define WINDOW 0x7fffffffu

static int memory(uint64_t size)
{
    int fd;

    assert_int_equal(memfd_create_sized("test", size, &fd), 0);
    return fd;
}

static uint32_t word(int fd, unsigned i)
{
    uint32_t w;

    assert_int_equal(pread(fd, &w, 4, i * 4), 4);
    return w;
}

static void set_word(int fd, unsigned i, uint32_t w)
{
    assert_int_equal(pwrite(fd, &w, 4, i * 4), 4);
}

static void strange_descriptors_are_refused(void **state)
{
    struct estate e;
    int pipe_fds[2];

    (void)state;
    estate_init(&e);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(estate_set_words(&e, pipe_fds[0], -1, 64), -EPROTO);
    assert_int_equal(estate_set_words(&e, memory(256), pipe_fds[1], 64), -EPROTO);
    assert_int_equal(estate_set_words(&e, open("/dev/null", O_RDWR | O_CLOEXEC), -1, 64), -EPROTO);
    assert_int_equal(estate_set_words(&e, memory(252), -1, 64), -EPROTO);
    assert_int_equal(estate_set_words(&e, memory(4096), -1, 65), -EPROTO);
    assert_int_equal(estate_set_words(&e, memory(256), -1, 0), -EPROTO);
    assert_int_equal(estate_set_words(&e, -1, -1, 64), -EPROTO);
    assert_int_equal(estate_add_ring(&e, 1, memory(4096), 4096), -EPROTO);
    assert_int_equal(estate_add_ring(&e, 1, memory(4096), 4094), -EPROTO);
    assert_int_equal(estate_add_ring(&e, 1, memory(4096), UINT64_MAX - 3), -EPROTO);
    assert_int_equal(estate_add_ring(&e, 1, memory(4096), 4092), 0);
    assert_int_equal(estate_add_ring(&e, 1, memory(4096), 0), -EEXIST);
    assert_int_equal(estate_set_words(&e, memory(256), -1, 64), 0);
    assert_int_equal(estate_set_words(&e, memory(256), -1, 64), -EEXIST);
    estate_fini(&e);
}

static void rings_say_fatal_and_no_longer_alive(void **state)
{
    struct estate e;
    int fd = memory(4096), shrunk = memory(4096);

    (void)state;
    estate_init(&e);
    set_word(fd, 3, 4 | 1);
    assert_int_equal(estate_add_ring(&e, 1, dup(fd), 12), 0);
    assert_int_equal(estate_add_ring(&e, 2, dup(fd), 16), 0);
    assert_int_equal(estate_add_ring(&e, 3, dup(shrunk), 4000), 0);
    assert_int_equal(ftruncate(shrunk, 16), 0); /* must not hurt us */
    estate_remove_ring(&e, 2);
    estate_remove_ring(&e, 77);
    assert_int_equal(estate_settle(&e), 1);
    assert_int_equal(word(fd, 3), 2 | 1);
    assert_int_equal(word(fd, 4), 0);
    estate_fini(&e);
    close(fd);
    close(shrunk);
}

static void pending_fences_are_done_and_later_ones_move_the_word(void **state)
{
    const uint32_t starts[] = { 0, 5, 0x7fffffff, 0xfffffff0 };
    struct estate e;
    uint64_t count;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        int words = memory(256), event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        uint32_t seqno = starts[i];

        estate_init(&e);
        set_word(words, 63, starts[i]);
        assert_int_equal(estate_set_words(&e, dup(words), dup(event), 64), 0);
        estate_settle(&e);
        assert_int_equal(read(event, &count, 8), 8);
        for (uint32_t pending = 1; pending < 1000; pending++) {
            assert_true(word(words, 63) - (seqno + pending) < WINDOW);
        }
        seqno += 1000;
        for (int n = 0; n < 100; n++) {
            uint32_t before = word(words, 63);

            assert_int_equal(estate_cover(&e, 63, ++seqno), 0);
            assert_int_not_equal(word(words, 63), before);
            assert_true(word(words, 63) - seqno < WINDOW);
            assert_int_equal(read(event, &count, 8), 8);
        }
        assert_int_equal(estate_cover(&e, 64, 1), -EPROTO);
        estate_fini(&e);
        close(words);
        close(event);
    }
}

static void a_worker_that_lied_about_its_words_blocks_nothing(void **state)
{
    struct estate e;
    int words = memory(256), event = eventfd(0, EFD_CLOEXEC);
    uint64_t full = UINT64_MAX - 1;

    (void)state;
    estate_init(&e);
    set_word(words, 0, 1000);
    /* The counter is full and the descriptor blocks. */
    assert_int_equal(write(event, &full, 8), 8);
    assert_int_equal(estate_set_words(&e, dup(words), dup(event), 64), 0);
    estate_settle(&e);
    /* The real numbers are elsewhere: then the word follows what is asked. */
    assert_int_equal(estate_cover(&e, 0, 0x90000000), 0);
    assert_true(word(words, 0) - 0x90000000 < WINDOW);
    estate_fini(&e);
    estate_init(&e);
    assert_int_equal(estate_cover(&e, 0, 1), -ENODATA);
    estate_fini(&e);
    close(words);
    close(event);
}

static void what_is_left_can_move(void **state)
{
    struct estate a, b;
    int words = memory(256);

    (void)state;
    estate_init(&a);
    assert_int_equal(estate_set_words(&a, dup(words), -1, 64), 0);
    estate_settle(&a);
    estate_move(&a, &b);
    estate_fini(&a);
    assert_int_equal(estate_cover(&b, 2, 9), 0);
    assert_true(word(words, 2) - 9 < WINDOW);
    estate_fini(&b);
    close(words);
}

static void the_number_of_rings_is_bounded(void **state)
{
    struct estate e;
    int fd = memory(4096);

    (void)state;
    estate_init(&e);
    for (uint32_t i = 0; i < ESTATE_MAX_RINGS; i++) {
        assert_int_equal(estate_add_ring(&e, i, dup(fd), 0), 0);
    }
    assert_int_equal(estate_add_ring(&e, ESTATE_MAX_RINGS, dup(fd), 0), -ENOSPC);
    estate_fini(&e);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(strange_descriptors_are_refused),
        HARNESS_TEST(rings_say_fatal_and_no_longer_alive),
        HARNESS_TEST(pending_fences_are_done_and_later_ones_move_the_word),
        HARNESS_TEST(a_worker_that_lied_about_its_words_blocks_nothing),
        HARNESS_TEST(what_is_left_can_move),
        HARNESS_TEST(the_number_of_rings_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
