#include "ipc/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/harness.h"

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void taken_fd_stays_open_and_the_rest_is_closed(void **state)
{
    int a = dup(2), b = dup(2), taken;

    (void)state;
    {
        AUTO_FDSET struct fdset s = { 0 };

        assert_int_equal(fdset_add(&s, a), 0);
        assert_int_equal(fdset_add(&s, b), 0);
        assert_int_equal(s.count, 2);
        assert_int_equal(fdset_peek(&s, 0), a);
        taken = fdset_take(&s, 0);
        assert_int_equal(taken, a);
        assert_int_equal(fdset_take(&s, 0), -1);
        assert_int_equal(fdset_peek(&s, 0), -1);
        assert_int_equal(fdset_take(&s, 2), -1);
        assert_int_equal(fdset_peek(&s, UINT32_MAX), -1);
    }
    assert_true(is_open(a));
    assert_false(is_open(b));
    close(taken);
}

static void ninth_fd_is_refused_and_closed(void **state)
{
    AUTO_FDSET struct fdset s = { 0 };
    int ninth;

    (void)state;
    for (int i = 0; i < FDSET_MAX; i++) {
        assert_int_equal(fdset_add(&s, dup(2)), 0);
    }
    ninth = dup(2);
    assert_int_equal(fdset_add(&s, ninth), -ENOSPC);
    assert_false(is_open(ninth));
    fdset_close(&s);
    assert_int_equal(s.count, 0);
    fdset_close(&s);
}

/* Against the naive version: an array of fds and who owns each. */
static void random_operations_match_the_model(void **state)
{
    unsigned seed = 20240607;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct fdset s = { 0 };
        int model[FDSET_MAX], n = 0;

        for (int i = 0; i < 40; i++) {
            if (rand_r(&seed) % 2 == 0) {
                int fd = dup(2);
                int r = fdset_add(&s, fd);

                assert_int_equal(r, n < FDSET_MAX ? 0 : -ENOSPC);
                if (r == 0) {
                    model[n++] = fd;
                }
            } else {
                int at = rand_r(&seed) % (FDSET_MAX + 1);
                int fd = fdset_take(&s, (uint32_t)at);

                assert_int_equal(fd, at < n ? model[at] : -1);
                if (fd >= 0) {
                    model[at] = -1;
                    close(fd);
                }
            }
        }
        fdset_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(taken_fd_stays_open_and_the_rest_is_closed),
        HARNESS_TEST(ninth_fd_is_refused_and_closed),
        HARNESS_TEST(random_operations_match_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
