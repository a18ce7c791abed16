/* libcordon against tests/unit/fake_server.c, which says there what its names and numbers do. */
#include "cordon/cordon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/dialect_b.h"
#include "ipc/map.h"
#include "ipc/seqpacket.h"
#include "tests/harness.h"

#define SHORT_MS 100

static struct cordon_server *server;

static void start(const char *option)
{
    const char *args[] = { option, NULL };

    assert_int_equal(cordon_server_spawn(getenv("CORDON_FAKE_SERVER"), args, &server), 0);
    assert_true(cordon_server_pid(server) > 0);
}

static void stop(void)
{
    int status = -1;

    server = cordon_server_close(server, &status);
    assert_null(server);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static struct cordon_context *open_context(uint32_t id, const char *name)
{
    struct cordon_context *c = NULL;

    assert_int_equal(cordon_context_create(server, id, name, &c), 0);
    return c;
}

/* Round trip: the server has handled everything sent on c before. */
static void sync_context(struct cordon_context *c)
{
    uint32_t seqno = 0;

    assert_int_equal(cordon_fence(c, 0, &seqno), 0);
    assert_int_equal(cordon_fence_wait(c, 0, seqno, -1), 0);
}

static void server_comes_and_goes(void **state)
{
    (void)state;
    start(NULL);
    stop();
    assert_null(cordon_server_close(NULL, NULL));
    assert_null(cordon_context_destroy(NULL));
}

static void exit_status_is_told(void **state)
{
    int status = -1;

    (void)state;
    start("--exit=7");
    cordon_server_close(server, &status);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void server_that_lingers_is_killed(void **state)
{
    int status = -1;

    (void)state;
    start("--linger");
    cordon_server_set_timeout(server, SHORT_MS);
    cordon_server_close(server, &status);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void missing_server_is_told(void **state)
{
    (void)state;
    assert_int_equal(cordon_server_spawn("/nonexistent/server", NULL, &server), -ENOENT);
}

/* The fake server exits 98 or 97 if it finds something; stop() would see that. */
static void child_inherits_no_fd_and_no_signal_state(void **state)
{
    int leak = fcntl(STDERR_FILENO, F_DUPFD, 50); /* not close-on-exec, on purpose */
    sigset_t block, old;

    (void)state;
    assert_true(leak >= 50);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &block, &old);
    signal(SIGUSR1, SIG_IGN);
    start(NULL);
    signal(SIGUSR1, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    cordon_context_destroy(open_context(1, "one"));
    stop();
    close(leak);
}

static void only_seqpacket_sockets_are_adopted(void **state)
{
    int pair[2];

    (void)state;
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(cordon_server_adopt(pair[0], &server), -ENOTSOCK);
    close(pair[1]);
    assert_int_equal(seqpacket_pair(pair), 0);
    close(pair[1]);
    assert_int_equal(cordon_server_adopt(pair[0], &server), -EPIPE);
}

static void adopted_socket_gets_init(void **state)
{
    struct srv_init init = { 0 };
    size_t size = 0;
    int pair[2];

    (void)state;
    assert_int_equal(seqpacket_pair(pair), 0);
    assert_int_equal(cordon_server_adopt(pair[0], &server), 0);
    assert_int_equal(cordon_server_pid(server), 0);
    assert_int_equal(cordon_server_fd(server), pair[0]);
    assert_int_equal(seqpacket_recv(pair[1], &init, sizeof(init), &size, NULL), 0);
    assert_int_equal(size, sizeof(init));
    assert_int_equal(init.op, SRV_OP_INIT);
    assert_int_equal(init.flags & (SRV_INIT_VENUS | SRV_INIT_NO_VIRGL),
                     SRV_INIT_VENUS | SRV_INIT_NO_VIRGL);
    cordon_server_close(server, NULL);
    close(pair[1]);
}

static void contexts_outlive_their_server(void **state)
{
    struct cordon_context *a;

    (void)state;
    start(NULL);
    a = open_context(1, "one");
    sync_context(a);
    stop();
    assert_int_equal(cordon_resource_destroy(a, 1), -EPIPE);
    cordon_context_destroy(a);
}

static void contexts_come_and_go(void **state)
{
    struct cordon_context *a, *b;

    (void)state;
    start(NULL);
    a = open_context(1, "one");
    b = open_context(2, "a name that is longer than the 31 bytes of the wire");
    sync_context(a);
    sync_context(b);
    assert_null(cordon_context_destroy(a));
    sync_context(b);
    cordon_context_destroy(b);
    stop();
}

static void refused_context_is_told(void **state)
{
    struct cordon_context *c = NULL;

    (void)state;
    start(NULL);
    assert_int_equal(cordon_context_create(server, 0, "zero", &c), -EINVAL);
    assert_int_equal(cordon_context_create(server, 1, "refuse", &c), -EREMOTEIO);
    assert_int_equal(cordon_context_create(server, 1, "bare", &c), -EPROTO);
    assert_int_equal(cordon_context_create(server, 1, "two", &c), -EPROTO);
    assert_null(c);
    cordon_context_destroy(open_context(1, "good"));
    stop();
}

static void late_answer_costs_one_context_only(void **state)
{
    struct cordon_context *c = NULL;

    (void)state;
    start(NULL);
    cordon_server_set_timeout(server, SHORT_MS);
    assert_int_equal(cordon_context_create(server, 1, "late", &c), -ETIMEDOUT);
    cordon_server_set_timeout(server, CORDON_TIMEOUT_DEFAULT_MS);
    c = open_context(1, "good");
    sync_context(c);
    cordon_context_destroy(c);
    stop();
}

static void silent_server_is_not_waited_for(void **state)
{
    struct cordon_context *c = NULL;

    (void)state;
    start(NULL);
    cordon_server_set_timeout(server, SHORT_MS);
    assert_int_equal(cordon_context_create(server, 1, "silent", &c), -ETIMEDOUT);
    stop();
}

static void shm_blob_is_sealed_and_mappable(void **state)
{
    struct cordon_context *c;
    struct cordon_blob blob;
    void *map = NULL;

    (void)state;
    start(NULL);
    c = open_context(1, "one");
    assert_int_equal(cordon_blob_create(c, 5, 0, 4097, CORDON_BLOB_MAPPABLE, &blob), 0);
    assert_int_equal(blob.fd_type, CORDON_FD_SHM);
    assert_int_equal(blob.map_info, CORDON_MAP_CACHED);
    assert_int_equal(fcntl(blob.fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fd_require_seals(blob.fd, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    assert_int_equal(map_shared(blob.fd, 4097, &map), 0);
    unmap(map, 4097);
    assert_int_equal(cordon_resource_import(c, 6, CORDON_FD_SHM, blob.fd, 4097), 0);
    close(blob.fd);
    assert_int_equal(cordon_resource_destroy(c, 5), 0);
    assert_int_equal(cordon_resource_destroy(c, 5), 0);
    sync_context(c);
    cordon_context_destroy(c);
    stop();
}

static void memory_blobs_keep_their_type(void **state)
{
    struct cordon_context *c;
    struct cordon_blob blob;

    (void)state;
    start(NULL);
    c = open_context(1, "one");
    assert_int_equal(cordon_blob_create(c, 5, 7, 4096, CORDON_BLOB_SHAREABLE, &blob), 0);
    assert_int_equal(blob.fd_type, CORDON_FD_DMABUF);
    assert_int_equal(fd_require_seals(blob.fd, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    close(blob.fd);
    assert_int_equal(cordon_blob_create(c, 6, 8, 4096, 0, &blob), 0);
    assert_int_equal(blob.fd_type, CORDON_FD_OPAQUE);
    assert_int_equal(blob.allocation_size, 12345);
    assert_int_equal(blob.memory_type_index, 3);
    assert_int_equal(blob.device_uuid[15], 0xd);
    close(blob.fd);
    cordon_context_destroy(c);
    stop();
}

static void refused_blob_leaves_the_context_alive(void **state)
{
    struct cordon_blob blob = { .fd = -7 };
    struct cordon_context *c;

    (void)state;
    start(NULL);
    c = open_context(1, "one");
    assert_int_equal(cordon_blob_create(c, 5, 1, 4096, 0, &blob), -EREMOTEIO);
    assert_int_equal(cordon_blob_create(c, 0, 0, 4096, 1, &blob), -EINVAL);
    assert_int_equal(cordon_blob_create(c, 5, 0, 0, 1, &blob), -EINVAL);
    assert_int_equal(cordon_blob_create(c, 5, 0, UINT64_MAX, 1, &blob), -EINVAL);
    assert_int_equal(blob.fd, -7);
    sync_context(c);
    cordon_context_destroy(c);
    stop();
}

static void dishonest_blobs_are_refused(void **state)
{
    static const uint64_t wrong[] = { 4, 5, 6, 9, 12 };
    struct cordon_blob blob = { .fd = -7 };
    struct cordon_context *c;

    (void)state;
    start(NULL);
    c = open_context(1, "one");
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_int_equal(cordon_blob_create(c, 5, wrong[i], 8192, 1, &blob), -EPROTO);
    }
    sync_context(c);
    /* An answer of the wrong size leaves nothing to rely on. */
    assert_int_equal(cordon_blob_create(c, 5, 3, 8192, 1, &blob), -EPROTO);
    assert_int_equal(cordon_blob_create(c, 5, 0, 8192, 1, &blob), -EPIPE);
    assert_int_equal(blob.fd, -7);
    cordon_context_destroy(c);
    stop();
}

static void late_blob_is_thrown_away(void **state)
{
    struct cordon_blob blob = { .fd = -7 };
    struct cordon_context *c;

    (void)state;
    start(NULL);
    c = open_context(1, "one");
    cordon_server_set_timeout(server, SHORT_MS);
    assert_int_equal(cordon_blob_create(c, 5, 2, 4096, 1, &blob), -ETIMEDOUT);
    assert_int_equal(blob.fd, -7);
    cordon_server_set_timeout(server, CORDON_TIMEOUT_DEFAULT_MS);
    assert_int_equal(cordon_blob_create(c, 6, 7, 4096, 1, &blob), 0);
    assert_int_equal(blob.fd_type, CORDON_FD_DMABUF); /* not the late one, which is shm */
    close(blob.fd);
    cordon_context_destroy(c);
    stop();
}

static void expect_word(struct cordon_context *c, uint32_t ring, uint32_t value)
{
    assert_true(cordon_context_fence_done(c, ring, value));
    assert_false(cordon_context_fence_done(c, ring, value + 1));
}

static void submissions_arrive_whole(void **state)
{
    struct cordon_context *c;
    size_t most;
    uint8_t *bytes;

    (void)state;
    start(NULL);
    c = open_context(1, "one");
    most = cordon_submit_max(c);
    assert_true(most > 200000 && most % 4 == 0);
    bytes = malloc(most + 4);
    assert_non_null(bytes);
    for (size_t i = 0; i < most + 4; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    for (int i = 0; i < 6; i++) {
        size_t sizes[] = { 4, 252, 256, 260, 65536, most };
        uint32_t sum = 0;

        for (size_t j = 0; j < sizes[i]; j++) {
            sum += bytes[j];
        }
        assert_int_equal(cordon_submit(c, bytes, sizes[i]), 0);
        sync_context(c);
        expect_word(c, 62, sum);
        expect_word(c, 63, (uint32_t)sizes[i]);
    }
    assert_int_equal(cordon_submit(c, bytes, most + 4), -EMSGSIZE);
    assert_int_equal(cordon_submit(c, bytes, 0), -EINVAL);
    assert_int_equal(cordon_submit(c, bytes, 6), -EINVAL);
    sync_context(c);
    free(bytes);
    cordon_context_destroy(c);
    stop();
}

static void fences_wake_the_eventfd(void **state)
{
    struct cordon_context *c;
    struct pollfd p;
    uint32_t first = 0, second = 0;

    (void)state;
    start(NULL);
    c = open_context(1, "one");
    assert_int_equal(cordon_fence(c, 64, &first), -EINVAL);
    assert_false(cordon_context_fence_done(c, 64, 0));
    assert_int_equal(cordon_fence(c, 5, &first), 0);
    assert_int_equal(cordon_fence(c, 5, &second), 0);
    assert_int_equal(first, 1);
    assert_int_equal(second, 2);
    assert_int_equal(cordon_fence_wait(c, 5, second, -1), 0);
    assert_true(cordon_context_fence_done(c, 5, first));
    assert_int_equal(cordon_fence_wait(c, 5, first, 0), 0);
    cordon_context_fence_drain(c);
    p = (struct pollfd){ .fd = cordon_context_fence_fd(c), .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(cordon_fence(c, 5, &first), 0);
    assert_int_equal(poll(&p, 1, 5000), 1);
    cordon_context_destroy(c);
    stop();
}

static void fence_that_never_comes_times_out(void **state)
{
    struct cordon_context *c;
    uint32_t seqno = 0;

    (void)state;
    start(NULL);
    c = open_context(1, "one");
    assert_int_equal(cordon_fence(c, 1, &seqno), 0);
    assert_int_equal(cordon_fence_wait(c, 1, seqno, SHORT_MS), -ETIMEDOUT);
    assert_int_equal(cordon_fence_wait(c, 64, seqno, SHORT_MS), -EINVAL);
    cordon_context_destroy(c);
    stop();
}

static void lost_context_is_told_everywhere(void **state)
{
    struct cordon_context *a, *b;
    struct cordon_blob blob;
    uint32_t seqno = 0;

    (void)state;
    start(NULL);
    a = open_context(1, "one");
    b = open_context(2, "two too");
    assert_int_equal(cordon_fence(a, 2, &seqno), 0);
    assert_int_equal(cordon_fence_wait(a, 2, seqno, -1), -EPIPE);
    assert_int_equal(cordon_fence(a, 0, &seqno), -EPIPE);
    assert_int_equal(cordon_submit(a, "abcd", 4), -EPIPE);
    assert_int_equal(cordon_resource_destroy(a, 1), -EPIPE);
    assert_int_equal(cordon_blob_create(b, 5, 11, 4096, 1, &blob), -EPIPE);
    cordon_context_destroy(a);
    cordon_context_destroy(b);
    cordon_context_destroy(open_context(3, "three"));
    stop();
}

static void context_that_is_gone_at_once_is_told(void **state)
{
    struct cordon_context *c = NULL;
    uint32_t seqno;
    int r;

    (void)state;
    start(NULL);
    r = cordon_context_create(server, 1, "gone", &c);
    if (r == 0) { /* INIT was sent before the other end closed */
        while ((r = cordon_fence(c, 0, &seqno)) == 0) {
            usleep(1000);
        }
    }
    assert_int_equal(r, -EPIPE);
    cordon_context_destroy(c);
    stop();
}

static void dead_server_is_told(void **state)
{
    struct cordon_context *c = NULL;
    int status = -1;

    (void)state;
    start(NULL);
    c = open_context(1, "one");
    assert_int_equal(kill(cordon_server_pid(server), SIGKILL), 0);
    while (cordon_submit(c, "abcd", 4) == 0) {
        usleep(1000);
    }
    assert_int_equal(cordon_context_create(server, 2, "two", &(struct cordon_context *){ NULL }),
                     -EPIPE);
    cordon_context_destroy(c);
    cordon_server_close(server, &status);
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void worker_that_does_not_read_cannot_hang_us(void **state)
{
    struct cordon_context *c;
    size_t size;
    uint8_t *bytes;
    int r, n = 0;

    (void)state;
    start(NULL);
    c = open_context(1, "stall");
    cordon_server_set_timeout(server, SHORT_MS);
    size = cordon_submit_max(c);
    bytes = calloc(1, size);
    assert_non_null(bytes);
    do {
        r = cordon_submit(c, bytes, 4);
    } while (r == 0 && n++ < 1000000);
    assert_int_equal(r, -ETIMEDOUT);
    assert_int_equal(cordon_submit(c, bytes, size), -ETIMEDOUT);
    free(bytes);
    cordon_context_destroy(c);
    cordon_server_set_timeout(server, CORDON_TIMEOUT_DEFAULT_MS);
    stop();
}

/* Fills the socket of a worker that does not read with submissions of two messages, after
 * `shift` of one. True if the last one got half through, so that the context was given up. */
static bool fill_to_the_half(uint32_t shift)
{
    static const uint8_t bytes[CTX_SUBMIT_INLINE + 4];
    struct cordon_context *c = open_context(1, "stall");
    int r = 0;

    cordon_server_set_timeout(server, 20);
    for (uint32_t i = 0; i < shift; i++) {
        assert_int_equal(cordon_submit(c, bytes, 4), 0);
    }
    while (r == 0) {
        r = cordon_submit(c, bytes, sizeof(bytes));
    }
    assert_int_equal(r, -ETIMEDOUT);
    r = cordon_submit(c, bytes, 4);
    assert_true(r == -EPIPE || r == -ETIMEDOUT);
    cordon_server_set_timeout(server, CORDON_TIMEOUT_DEFAULT_MS);
    cordon_context_destroy(c);
    return r == -EPIPE;
}

static void half_a_submission_ends_the_context(void **state)
{
    int halves = 0, n = 0;

    (void)state;
    start(NULL);
    while (halves == 0 && n < 16) {
        halves += fill_to_the_half((uint32_t)n++);
    }
    assert_int_equal(halves, 1);
    stop();
}

static void *use_a_context(void *arg)
{
    uint32_t id = *(uint32_t *)arg;

    for (int i = 0; i < 5; i++) {
        struct cordon_context *c = NULL;
        uint32_t seqno = 0;

        if (cordon_context_create(server, id, "thread", &c) < 0 ||
            cordon_submit(c, "abcd", 4) < 0 || cordon_fence(c, 0, &seqno) < 0 ||
            cordon_fence_wait(c, 0, seqno, -1) < 0) {
            return (void *)1;
        }
        cordon_context_destroy(c);
    }
    return NULL;
}

static void threads_have_their_own_contexts(void **state)
{
    uint32_t ids[4] = { 1, 2, 3, 4 };
    pthread_t threads[4];

    (void)state;
    start(NULL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use_a_context, &ids[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *result = (void *)2;

        pthread_join(threads[i], &result);
        assert_null(result);
    }
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(server_comes_and_goes),
        HARNESS_TEST(exit_status_is_told),
        HARNESS_TEST(server_that_lingers_is_killed),
        HARNESS_TEST(missing_server_is_told),
        HARNESS_TEST(child_inherits_no_fd_and_no_signal_state),
        HARNESS_TEST(only_seqpacket_sockets_are_adopted),
        HARNESS_TEST(adopted_socket_gets_init),
        HARNESS_TEST(contexts_outlive_their_server),
        HARNESS_TEST(contexts_come_and_go),
        HARNESS_TEST(refused_context_is_told),
        HARNESS_TEST(late_answer_costs_one_context_only),
        HARNESS_TEST(silent_server_is_not_waited_for),
        HARNESS_TEST(shm_blob_is_sealed_and_mappable),
        HARNESS_TEST(memory_blobs_keep_their_type),
        HARNESS_TEST(refused_blob_leaves_the_context_alive),
        HARNESS_TEST(dishonest_blobs_are_refused),
        HARNESS_TEST(late_blob_is_thrown_away),
        HARNESS_TEST(submissions_arrive_whole),
        HARNESS_TEST(fences_wake_the_eventfd),
        HARNESS_TEST(fence_that_never_comes_times_out),
        HARNESS_TEST(lost_context_is_told_everywhere),
        HARNESS_TEST(context_that_is_gone_at_once_is_told),
        HARNESS_TEST(dead_server_is_told),
        HARNESS_TEST(worker_that_does_not_read_cannot_hang_us),
        HARNESS_TEST(half_a_submission_ends_the_context),
        HARNESS_TEST(threads_have_their_own_contexts),
    };

    if (!getenv("CORDON_FAKE_SERVER")) {
        fprintf(stderr, "CORDON_FAKE_SERVER must be the path of fake_server; meson test sets it\n");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
