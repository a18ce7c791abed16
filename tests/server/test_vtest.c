/* cordon-vtest as Mesa's Venus driver sees it, with a worker that does what the test says. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/vtest_wire.h"
#include "tests/harness.h"
#include "tests/server/fake_worker.h"

extern char **environ;

struct fixture {
    char socket_path[100], log_path[128];
    pid_t pid;
};

static void nap(long ms)
{
    struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&ts, NULL);
}

static int try_connect(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int connect_to(struct fixture *f)
{
    for (int i = 0; i < 500; i++) {
        int fd = try_connect(f->socket_path);

        if (fd >= 0) {
            return fd;
        }
        nap(10);
    }
    fail_msg("nobody listens at %s", f->socket_path);
    return -1;
}

static pid_t launch(struct fixture *f, const char *const *extra)
{
    const char *argv[24] = { getenv("CORDON_VTEST"),  "--socket-path",         f->socket_path,
                             "--render-server",       getenv("CORDON_SERVER"), "--worker",
                             getenv("CORDON_WORKER"), "--log-level=debug" };
    posix_spawn_file_actions_t actions;
    int n = 8;
    pid_t pid;

    while (extra && *extra) {
        argv[n++] = *extra++;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, f->log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static int wait_for_end(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void stop(struct fixture *f)
{
    pid_t pid = f->pid;

    kill(pid, SIGTERM);
    f->pid = 0;
    assert_int_equal(wait_for_end(pid), 0);
    assert_int_equal(access(f->socket_path, F_OK), -1);
}

static bool log_has(struct fixture *f, const char *text)
{
    static char log[1 << 20];
    int fd = open(f->log_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, log, sizeof(log) - 1);

    close(fd);
    log[n > 0 ? n : 0] = '\0';
    return strstr(log, text) != NULL;
}

static int setup(void **state)
{
    static struct fixture f;
    int r = harness_setup(state);

    f = (struct fixture){ .pid = 0 };
    snprintf(f.socket_path, sizeof(f.socket_path), "%.80s/vtest", harness_scratch());
    snprintf(f.log_path, sizeof(f.log_path), "%.100s/log", harness_scratch());
    *state = &f;
    return r;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->pid > 0) {
        kill(f->pid, SIGKILL);
        waitpid(f->pid, NULL, 0);
    }
    unsetenv("vk_fake_worker");
    return harness_teardown(state);
}

/* ---- a client ------------------------------------------------------------------------------- */

static void put(int fd, const void *bytes, size_t size)
{
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
}

static void request(int fd, uint32_t command, const uint32_t *payload, uint32_t n_words)
{
    const uint32_t header[] = { n_words, command };

    put(fd, header, sizeof(header));
    if (n_words > 0) {
        put(fd, payload, n_words * 4);
    }
}

static void get(int fd, void *buf, size_t size)
{
    size_t got = 0;

    while (got < size) {
        ssize_t n = read(fd, (char *)buf + got, size - got);

        if (n <= 0) {
            fail_msg("read gave %zd (%s)", n, strerror(errno));
        }
        got += (size_t)n;
    }
}

static void expect_reply(int fd, uint32_t command, uint32_t *payload, uint32_t n_words)
{
    uint32_t header[2];

    get(fd, header, sizeof(header));
    assert_int_equal(header[1], command);
    assert_int_equal(header[0], n_words);
    get(fd, payload, n_words * 4);
}

/* The byte with the descriptor, in a message of its own. */
static int expect_fd(int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    char bytes[2];
    struct iovec iov = { bytes, sizeof(bytes) };
    struct msghdr m = { .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof(control.bytes) };
    int got;

    assert_int_equal(recvmsg(fd, &m, MSG_CMSG_CLOEXEC), 1);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(m.msg_controllen, CMSG_SPACE(sizeof(int)));
    memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
    return got;
}

/* What Mesa turns into "lost connection" and an end; anything else would let it hang. */
static void expect_reset(int fd)
{
    uint32_t byte;

    assert_int_equal(read(fd, &byte, sizeof(byte)), -1);
    assert_int_equal(errno, ECONNRESET);
    close(fd);
}

static void hello(int fd)
{
    const uint32_t name[2] = { 8, VTEST_CREATE_RENDERER };

    put(fd, name, sizeof(name));
    put(fd, "vkcube\0\0", 8);
}

/* As Mesa begins, in its order. */
static int client(struct fixture *f)
{
    int fd = connect_to(f);
    uint32_t reply[64];

    hello(fd);
    request(fd, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
    request(fd, VTEST_RESOURCE_BUSY_WAIT, (uint32_t[]){ 0, 0 }, 2);
    expect_reply(fd, VTEST_PING_PROTOCOL_VERSION, reply, 0);
    expect_reply(fd, VTEST_RESOURCE_BUSY_WAIT, reply, 1);
    assert_int_equal(reply[0], 0);
    request(fd, VTEST_PROTOCOL_VERSION, (uint32_t[]){ 4 }, 1);
    expect_reply(fd, VTEST_PROTOCOL_VERSION, reply, 1);
    assert_int_equal(reply[0], 3);
    request(fd, VTEST_GET_PARAM, (uint32_t[]){ 1 }, 1);
    expect_reply(fd, VTEST_GET_PARAM, reply, 2);
    assert_int_equal(reply[0], 1);
    assert_int_equal(reply[1], 64);
    request(fd, VTEST_GET_CAPSET, (uint32_t[]){ 4, 0 }, 2);
    expect_reply(fd, VTEST_GET_CAPSET, reply, 41);
    assert_int_equal(reply[0], 1);
    assert_int_equal(reply[1], 1);         /* wire format */
    assert_int_equal(reply[1 + 4], 1);     /* blob id 0 */
    assert_int_equal(reply[1 + 5] & 1, 1); /* the mask counts */
    assert_int_equal(reply[1 + 37], 1);
    assert_int_equal(reply[1 + 38], 1);
    assert_int_equal(reply[1 + 39], 0);
    request(fd, VTEST_CONTEXT_INIT, (uint32_t[]){ 4 }, 1);
    return fd;
}

static uint32_t blob(int fd, uint64_t id, uint64_t size, int *ret_fd)
{
    const uint32_t w[] = {
        2, 1, (uint32_t)size, (uint32_t)(size >> 32), (uint32_t)id, (uint32_t)(id >> 32)
    };
    uint32_t res_id;

    request(fd, VTEST_RESOURCE_CREATE_BLOB, w, ARRAY_SIZE(w));
    expect_reply(fd, VTEST_RESOURCE_CREATE_BLOB, &res_id, 1);
    *ret_fd = expect_fd(fd);
    return res_id;
}

static void unref(int fd, uint32_t id)
{
    request(fd, VTEST_RESOURCE_UNREF, &id, 1);
}

static void say(int fd, uint32_t command, uint32_t argument)
{
    const uint32_t w[] = { 1, 1, 7, 2, 9, 0, 0, command, argument };

    request(fd, VTEST_SUBMIT_CMD2, w, ARRAY_SIZE(w));
}

static uint32_t make_sync(int fd, uint64_t value)
{
    uint32_t id;

    request(fd, VTEST_SYNC_CREATE, (uint32_t[]){ (uint32_t)value, (uint32_t)(value >> 32) }, 2);
    expect_reply(fd, VTEST_SYNC_CREATE, &id, 1);
    return id;
}

static uint64_t read_sync(int fd, uint32_t id)
{
    uint32_t w[2];

    request(fd, VTEST_SYNC_READ, &id, 1);
    expect_reply(fd, VTEST_SYNC_READ, w, 2);
    return vtest_u64(w);
}

static int wait_sync(int fd, uint32_t flags, uint32_t timeout, const uint32_t *list, uint32_t n)
{
    uint32_t w[64] = { flags, timeout };

    memcpy(w + 2, list, n * 12);
    request(fd, VTEST_SYNC_WAIT, w, 2 + n * 3);
    expect_reply(fd, VTEST_SYNC_WAIT, NULL, 0);
    return expect_fd(fd);
}

static bool is_ready(int fd, int timeout_ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, timeout_ms) == 1;
}

/* A round trip through everything. */
static void expect_alive(int fd)
{
    uint32_t sync = make_sync(fd, 0);
    const uint32_t w[] = { 1, 1, 7, 2, 9, 1, 0, FAKE_NOTHING, 0, sync, 5, 0 };
    int ready;

    request(fd, VTEST_SUBMIT_CMD2, w, ARRAY_SIZE(w));
    ready = wait_sync(fd, 0, UINT32_MAX, (uint32_t[]){ sync, 5, 0 }, 1);
    assert_true(is_ready(ready, 10000));
    close(ready);
    request(fd, VTEST_SYNC_UNREF, &sync, 1);
}

/* ---- tests -------------------------------------------------------------------------------- */

static void the_beginning_is_as_mesa_expects_it(void **state)
{
    struct fixture *f = *state;
    uint32_t reply[64];
    struct stat st;
    int fd;

    f->pid = launch(f, NULL);
    fd = client(f);
    assert_int_equal(stat(f->socket_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    request(fd, VTEST_CONTEXT_INIT, (uint32_t[]){ 4 }, 1); /* again is harmless */
    request(fd, VTEST_GET_PARAM, (uint32_t[]){ 2 }, 1);
    expect_reply(fd, VTEST_GET_PARAM, reply, 2);
    assert_int_equal(reply[0], 0);
    request(fd, VTEST_GET_CAPSET, (uint32_t[]){ 4, 1 }, 2);
    expect_reply(fd, VTEST_GET_CAPSET, reply, 1);
    assert_int_equal(reply[0], 0);
    request(fd, VTEST_PROTOCOL_VERSION, (uint32_t[]){ 1 }, 1);
    expect_reply(fd, VTEST_PROTOCOL_VERSION, reply, 1);
    assert_int_equal(reply[0], 0);
    expect_alive(fd);
    close(fd);
    stop(f);
}

static void blobs_come_with_small_ids_and_a_descriptor(void **state)
{
    struct fixture *f = *state;
    int fd, memory[3];
    void *map;

    f->pid = launch(f, NULL);
    fd = client(f);
    assert_int_equal(blob(fd, 0, 131268, &memory[0]), 1);
    assert_int_equal(blob(fd, 0, 4097, &memory[1]), 2);
    map = mmap(NULL, 4097, PROT_READ | PROT_WRITE, MAP_SHARED, memory[1], 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    munmap(map, 4097);
    unref(fd, 1);
    unref(fd, 1);
    unref(fd, 4711);
    assert_int_equal(blob(fd, 77, 4096, &memory[2]), 1);
    for (size_t i = 0; i < ARRAY_SIZE(memory); i++) {
        close(memory[i]);
    }
    expect_alive(fd);
    close(fd);
    stop(f);
}

static void syncs_are_values_that_are_waited_for(void **state)
{
    struct fixture *f = *state;
    uint32_t a, b;
    int fd, all, any, now;

    f->pid = launch(f, NULL);
    fd = client(f);
    a = make_sync(fd, 7);
    b = make_sync(fd, UINT64_C(1) << 40);
    assert_int_equal(a, 1);
    assert_int_equal(b, 2);
    assert_int_equal(read_sync(fd, b), UINT64_C(1) << 40);
    request(fd, VTEST_SYNC_WRITE, (uint32_t[]){ a, 2, 0 }, 3); /* down is allowed */
    assert_int_equal(read_sync(fd, a), 2);
    all = wait_sync(fd, 0, UINT32_MAX, (uint32_t[]){ a, 3, 0, b, 0, 256 }, 2);
    any = wait_sync(fd, 1, 60000, (uint32_t[]){ a, 9, 0, b, 0, 512 }, 2);
    now = wait_sync(fd, 1, 0, (uint32_t[]){ a, 9, 0, b, 0, 256 }, 2);
    assert_false(is_ready(all, 50));
    assert_false(is_ready(any, 0));
    assert_true(is_ready(now, 0));
    request(fd, VTEST_SYNC_WRITE, (uint32_t[]){ a, 3, 0 }, 3);
    assert_true(is_ready(all, 10000));
    assert_false(is_ready(any, 50));
    /* A wait keeps a sync that has no id any more; 9 is reached through a fence. */
    {
        const uint32_t w[] = { 1, 1, 7, 0, 7, 1, 5, a, 9, 0 };

        request(fd, VTEST_SUBMIT_CMD2, w, ARRAY_SIZE(w));
    }
    request(fd, VTEST_SYNC_UNREF, &a, 1);
    assert_true(is_ready(any, 10000));
    assert_int_equal(make_sync(fd, 0), a);
    close(all);
    close(any);
    close(now);
    close(fd);
    stop(f);
}

static void both_header_sizes_of_submissions_are_understood(void **state)
{
    struct fixture *f = *state;
    uint32_t sync;
    int fd, ready;

    f->pid = launch(f, NULL);
    fd = client(f);
    sync = make_sync(fd, 0);
    {
        /* Two batches of 8 words: the first sets at once, the second behind a fence. */
        const uint32_t w[] = { 2,        0,  17,       2,  21,   1, 0, 0,    0, /* */
                               1,        19, 2,        24, 1,    3, 0, 0,       /* */
                               FAKE_SAY, 1,  FAKE_SAY, 2,  sync, 1, 0, sync, 2, 0 };

        request(fd, VTEST_SUBMIT_CMD2, w, ARRAY_SIZE(w));
    }
    ready = wait_sync(fd, 0, UINT32_MAX, (uint32_t[]){ sync, 2, 0 }, 1);
    assert_true(is_ready(ready, 10000));
    close(ready);
    {
        /* Two batches of 6 words. */
        const uint32_t w[] = { 2,        1,  13,       2,  17,   1, 0, /* */
                               1,        15, 2,        20, 1,    0,    /* */
                               FAKE_SAY, 3,  FAKE_SAY, 4,  sync, 3, 0, sync, 4, 0 };

        request(fd, VTEST_SUBMIT_CMD2, w, ARRAY_SIZE(w));
    }
    ready = wait_sync(fd, 0, UINT32_MAX, (uint32_t[]){ sync, 4, 0 }, 1);
    assert_true(is_ready(ready, 10000));
    close(ready);
    close(fd);
    stop(f);
    assert_true(log_has(f, "said 1\\"));
    assert_true(log_has(f, "said 4\\"));
}

static void misbehaviour_is_answered_by_a_reset(void **state)
{
    static const struct {
        uint32_t command, n_words, words[14];
    } bad[] = {
        { 1, 0, { 0 } },                           /* OpenGL */
        { 99, 3, { 1, 2, 3 } },                    /* unknown */
        { VTEST_CREATE_RENDERER, 4, { 0 } },       /* again */
        { VTEST_PING_PROTOCOL_VERSION, 1, { 0 } }, /* length */
        { VTEST_GET_PARAM, 0, { 0 } },
        { VTEST_SUBMIT_CMD2, UINT32_MAX, { 0 } },
        { VTEST_CONTEXT_INIT, 1, { 0 } },
        { VTEST_CONTEXT_INIT, 1, { 3 } },
        { VTEST_RESOURCE_CREATE_BLOB, 6, { 2, 1, 0, 0, 0, 0 } }, /* size 0 */
        { VTEST_RESOURCE_CREATE_BLOB, 6, { 1, 1, 4096, 0, 0, 0 } },
        { VTEST_RESOURCE_CREATE_BLOB, 6, { 9, 1, 4096, 0, 0, 0 } },
        { VTEST_RESOURCE_CREATE_BLOB, 6, { 2, 1, 4096, 0, FAKE_BLOB_REFUSE, 0 } },
        { VTEST_RESOURCE_CREATE_BLOB, 6, { 2, 1, 4096, 0, FAKE_BLOB_OPAQUE, 0 } },
        { VTEST_RESOURCE_CREATE_BLOB, 6, { 2, 1, 4096, 0, FAKE_BLOB_DIE, 0 } },
        { VTEST_SYNC_READ, 1, { 5 } },
        { VTEST_SYNC_WRITE, 3, { 5, 0, 0 } },
        { VTEST_SYNC_WAIT, 5, { 0, 0, 5, 0, 0 } },
        { VTEST_SYNC_WAIT, 4, { 0, 0, 5, 0 } },
        { VTEST_SUBMIT_CMD2, 1, { 1 } },
        { VTEST_SUBMIT_CMD2, 9, { 1, 1, 7, 3, 0, 0, 0, 1, 1 } },          /* stream too long */
        { VTEST_SUBMIT_CMD2, 9, { 1, 1, 7, 2, 0, 0, 64, 1, 1 } },         /* ring 64 */
        { VTEST_SUBMIT_CMD2, 9, { 1, 1, 7, 2, 8, 0x55555556, 0, 1, 1 } }, /* list wraps */
        { VTEST_SUBMIT_CMD2, 10, { 1, 1, 7, 0, 7, 1, 0, 5, 1, 0 } },      /* unknown sync */
        { VTEST_SUBMIT_CMD2, 9, { 0x2aaaaaab, 1, 7, 2, 0, 0, 0, 1, 1 } }, /* count wraps */
        { VTEST_SUBMIT_CMD2, 7, { 1, 4, 7, 0, 7, 0, 0 } },                /* wants a fence */
    };
    struct fixture *f = *state;

    f->pid = launch(f, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int fd = client(f);
        const uint32_t header[] = { bad[i].n_words, bad[i].command };
        uint32_t n = MIN(bad[i].n_words, ARRAY_SIZE(bad[i].words));

        put(fd, header, sizeof(header));
        (void)send(fd, bad[i].words, bad[i].command == VTEST_CREATE_RENDERER ? n : n * 4,
                   MSG_NOSIGNAL);
        expect_reset(fd);
    }
    {
        /* Out of order. */
        int fd = connect_to(f);

        request(fd, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
        expect_reset(fd);
        fd = connect_to(f);
        hello(fd);
        request(fd, VTEST_SYNC_CREATE, (uint32_t[]){ 0, 0 }, 2);
        expect_reset(fd);
        fd = connect_to(f);
        hello(fd);
        request(fd, VTEST_RESOURCE_BUSY_WAIT, (uint32_t[]){ 1, 0 }, 2);
        expect_reset(fd);
    }
    stop(f);
}

static void a_dead_worker_ends_its_client_only(void **state)
{
    struct fixture *f = *state;
    const uint32_t w[] = { 2, 1, 4096, 0, 0, 0 };
    int fd, other;

    f->pid = launch(f, NULL);
    fd = client(f);
    other = client(f);
    expect_alive(fd);
    expect_alive(other);
    say(fd, FAKE_CRASH, 0);
    expect_alive(fd); /* fences go on */
    request(fd, VTEST_RESOURCE_CREATE_BLOB, w, ARRAY_SIZE(w));
    expect_reset(fd);
    expect_alive(other);
    close(other);
    stop(f);
}

static void nobody_waits_for_another_client_s_worker(void **state)
{
    struct fixture *f = *state;
    const uint32_t slow[] = { 2, 1, 4096, 0, FAKE_BLOB_SLOW, 0 };
    static uint32_t big[8 + 60000] = { 1, 1, 7, 60000, 7, 0, 0 };
    uint32_t header[] = { ARRAY_SIZE(big) - 1, VTEST_SUBMIT_CMD2 };
    int fd, other, sync_fd, memory;
    struct timespec start, end;
    uint32_t id;

    f->pid = launch(f, NULL);
    fd = client(f);
    other = client(f);
    expect_alive(fd);
    expect_alive(other);
    /* One blob that takes 0.3 s. */
    request(fd, VTEST_RESOURCE_CREATE_BLOB, slow, ARRAY_SIZE(slow));
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < 20; i++) {
        expect_alive(other);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_false(is_ready(fd, 0));
    assert_true((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 < 290);
    expect_reply(fd, VTEST_RESOURCE_CREATE_BLOB, &id, 1);
    memory = expect_fd(fd);
    close(memory);
    /* A worker that reads nothing more, and a client that goes on sending until all is full. */
    say(fd, FAKE_STOP, 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    for (int i = 0, blocked = 0; i < 10000 && blocked < 3; i++) {
        const char *bytes = i % 2 ? (const char *)big : (const char *)header;
        size_t size = i % 2 ? sizeof(big) - 4 : sizeof(header), sent = 0;

        while (sent < size && blocked < 3) {
            ssize_t n = send(fd, bytes + sent, size - sent, MSG_NOSIGNAL);

            sent += n > 0 ? (size_t)n : 0;
            if (n < 0) {
                assert_int_equal(errno, EAGAIN);
                blocked++;
                nap(50);
            } else {
                blocked = 0;
            }
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    expect_alive(other);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true(end.tv_sec - start.tv_sec < 3);
    sync_fd = wait_sync(other, 0, UINT32_MAX, (uint32_t[]){ make_sync(other, 1), 1, 0 }, 1);
    assert_true(is_ready(sync_fd, 0));
    close(sync_fd);
    close(fd); /* and that client can leave */
    for (int i = 0; i < 200 && !log_has(f, "client gone"); i++) {
        nap(10);
    }
    assert_true(log_has(f, "client gone"));
    expect_alive(other);
    close(other);
    stop(f);
}

static void requests_may_come_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    const uint32_t w[] = { 2, VTEST_SYNC_CREATE, 5, 0 };
    int fd;
    uint32_t id;

    f->pid = launch(f, NULL);
    fd = client(f);
    for (size_t i = 0; i < sizeof(w); i++) {
        put(fd, (const char *)w + i, 1);
        nap(2);
    }
    expect_reply(fd, VTEST_SYNC_CREATE, &id, 1);
    assert_int_equal(read_sync(fd, id), 5);
    /* Many at once. */
    for (int i = 0; i < 500; i++) {
        request(fd, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
    }
    for (int i = 0; i < 500; i++) {
        expect_reply(fd, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
    }
    close(fd);
    stop(f);
}

static size_t add(uint32_t *to, uint32_t command, const uint32_t *payload, uint32_t n_words)
{
    to[0] = n_words;
    to[1] = command;
    if (n_words > 0) {
        memcpy(to + 2, payload, n_words * 4);
    }
    return 2 + n_words;
}

/* Small ones are seen together, one that is large in their midst is not. */
static void requests_of_all_sizes_may_come_at_once(void **state)
{
    struct fixture *f = *state;
    const uint32_t blob_words[] = { 2, 1, 4096, 0, 0, 0 };
    uint32_t submit[7 + 200] = { 1, 1, 7, 200, 207 };
    uint32_t bytes[512], value[2], sync, res_id;
    size_t n = 0, cut;
    int fd, blob_fd;

    f->pid = launch(f, NULL);
    fd = client(f);
    sync = make_sync(fd, 5);
    for (uint32_t i = 0; i < 200; i += 2) {
        submit[7 + i] = FAKE_NOTHING;
    }
    n += add(bytes + n, VTEST_SYNC_WRITE, (uint32_t[]){ sync, 6, 0 }, 3);
    n += add(bytes + n, VTEST_SYNC_READ, &sync, 1);
    n += add(bytes + n, VTEST_SUBMIT_CMD2, submit, ARRAY_SIZE(submit));
    n += add(bytes + n, VTEST_RESOURCE_CREATE_BLOB, blob_words, ARRAY_SIZE(blob_words));
    n += add(bytes + n, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
    cut = n * 4 + 10;
    n += add(bytes + n, VTEST_SYNC_READ, &sync, 1);
    put(fd, bytes, cut);
    expect_reply(fd, VTEST_SYNC_READ, value, 2);
    assert_int_equal(value[0], 6);
    expect_reply(fd, VTEST_RESOURCE_CREATE_BLOB, &res_id, 1);
    blob_fd = expect_fd(fd);
    expect_reply(fd, VTEST_PING_PROTOCOL_VERSION, NULL, 0);
    put(fd, (const char *)bytes + cut, n * 4 - cut);
    expect_reply(fd, VTEST_SYNC_READ, value, 2);
    assert_int_equal(value[0], 6);
    expect_alive(fd);
    close(blob_fd);
    close(fd);
    stop(f);
}

static void the_client_limit_holds(void **state)
{
    struct fixture *f = *state;
    uint32_t reply;
    int first, second;

    f->pid = launch(f, (const char *[]){ "--max-clients", "1", NULL });
    first = client(f);
    expect_alive(first);
    second = connect_to(f); /* queued by the kernel */
    hello(second);
    request(second, VTEST_RESOURCE_BUSY_WAIT, (uint32_t[]){ 0, 0 }, 2);
    assert_false(is_ready(second, 100));
    expect_alive(first);
    close(first);
    expect_reply(second, VTEST_RESOURCE_BUSY_WAIT, &reply, 1);
    close(second);
    stop(f);
}

static void once_means_one_client(void **state)
{
    struct fixture *f = *state;
    pid_t pid;
    int fd;

    f->pid = launch(f, (const char *[]){ "--once", NULL });
    fd = client(f);
    expect_alive(fd);
    close(fd);
    pid = f->pid;
    f->pid = 0;
    assert_int_equal(wait_for_end(pid), 0);
    assert_int_equal(access(f->socket_path, F_OK), -1);
}

static void the_end_of_the_render_server_is_told(void **state)
{
    struct fixture *f = *state;
    char line[64];
    FILE *p;
    int fd, server = 0;
    pid_t pid;

    f->pid = launch(f, NULL);
    fd = client(f);
    expect_alive(fd);
    snprintf(line, sizeof(line), "/proc/%d/task/%d/children", (int)f->pid, (int)f->pid);
    p = fopen(line, "re");
    assert_non_null(p);
    assert_int_equal(fscanf(p, "%d", &server), 1);
    fclose(p);
    kill(server, SIGKILL);
    pid = f->pid;
    f->pid = 0;
    assert_int_equal(wait_for_end(pid), 1);
    assert_true(log_has(f, "the render server has ended"));
    assert_int_equal(access(f->socket_path, F_OK), -1);
    close(fd);
}

static void sockets_and_files_of_others_are_respected(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* A stale socket is replaced. */
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->socket_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    f->pid = launch(f, NULL);
    fd = client(f);
    expect_alive(fd);
    /* A live one is not. */
    assert_int_equal(wait_for_end(launch(f, NULL)), 1);
    assert_true(log_has(f, "another server listens"));
    expect_alive(fd);
    close(fd);
    stop(f);
    /* Nor is a file. */
    fd = open(f->socket_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    assert_int_equal(wait_for_end(launch(f, NULL)), 1);
    assert_int_equal(access(f->socket_path, F_OK), 0);
    assert_true(log_has(f, "is no socket"));
}

static void wrong_options_end_with_status_2(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(wait_for_end(launch(f, (const char *[]){ "--bogus", NULL })), 2);
    assert_int_equal(wait_for_end(launch(f, (const char *[]){ "--max-clients", "0", NULL })), 2);
    assert_int_equal(wait_for_end(launch(f, (const char *[]){ "--driver", NULL })), 2);
    assert_int_equal(
        wait_for_end(launch(f, (const char *[]){ "--render-server", "/nonexistent", NULL })), 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_beginning_is_as_mesa_expects_it),
        TEST(blobs_come_with_small_ids_and_a_descriptor),
        TEST(syncs_are_values_that_are_waited_for),
        TEST(both_header_sizes_of_submissions_are_understood),
        TEST(misbehaviour_is_answered_by_a_reset),
        TEST(a_dead_worker_ends_its_client_only),
        TEST(nobody_waits_for_another_client_s_worker),
        TEST(requests_may_come_byte_by_byte),
        TEST(requests_of_all_sizes_may_come_at_once),
        TEST(the_client_limit_holds),
        TEST(once_means_one_client),
        TEST(the_end_of_the_render_server_is_told),
        TEST(sockets_and_files_of_others_are_respected),
        TEST(wrong_options_end_with_status_2),
    };

    if (!getenv("CORDON_VTEST") || !getenv("CORDON_SERVER") || !getenv("CORDON_WORKER")) {
        fprintf(stderr, "set CORDON_VTEST, CORDON_SERVER and CORDON_WORKER to the programs\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
