#include "server/vhost_user/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "ipc/seqpacket.h"
#include "tests/harness.h"

/* As the keeper's process says it: the question's number, and an error. */
static void answer(int fd, uint32_t number, int32_t error, int socket)
{
    const uint32_t words[] = { number, (uint32_t)error };

    assert_int_equal(seqpacket_send(fd, words, sizeof(words), &socket, socket >= 0), 0);
}

static void an_answer_that_came_too_late_is_thrown_away(void **state)
{
    int pair[2], server[2], socket = -1;
    struct keeper k = { .n_asked = 7 };
    char byte;

    (void)state;
    assert_int_equal(seqpacket_pair(pair), 0);
    assert_int_equal(seqpacket_pair(server), 0);
    k.fd = pair[0];
    answer(pair[1], 7, 0, server[1]);
    answer(pair[1], 8, -EAGAIN, -1);
    close(server[1]);
    assert_int_equal(keeper_ask(&k, &socket), -EAGAIN);
    /* The server that it was about is hung up on. */
    assert_int_equal(read(server[0], &byte, 1), 0);
    answer(pair[1], 9, 0, server[0]);
    assert_int_equal(keeper_ask(&k, &socket), 0);
    assert_true(fcntl(socket, F_GETFD) >= 0);
    close(socket);
    close(server[0]);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(an_answer_that_came_too_late_is_thrown_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
