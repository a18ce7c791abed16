#include "tests/unit/worker_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/dialect_b.h"
#include "ipc/map.h"
#include "ipc/seqpacket.h"
#include "worker/limits.h"
#include "worker/memory.h"
#include "worker/requests.h"
#include "worker/resources.h"

static struct {
    int result;
    uint32_t fd_type;
    uint64_t memory_id;
} export;

int memory_export(struct context *ctx, uint64_t memory_id, uint64_t size, uint32_t blob_flags,
                  struct memory_blob *ret_blob)
{
    int fd = -1;

    (void)ctx;
    (void)blob_flags;
    export.memory_id = memory_id;
    if (export.result < 0 || memfd_create_sized("blob", size, &fd) < 0) {
        return export.result;
    }
    *ret_blob = (struct memory_blob){ .fd = fd,
                                      .fd_type = export.fd_type,
                                      .map_info = MAP_INFO_CACHED,
                                      .allocation_size = 777,
                                      .device_uuid = { 1 } };
    return 0;
}

/* A VMM on the other end of the socket. */
static struct requests *requests;
static int vmm_fd, worker_fd;
static uint64_t n_sent;
static _Atomic uint32_t watched; /* is the main thread to read? */
static _Atomic uint32_t *words;

static struct context *ctx_of(void **state)
{
    return &((struct fixture *)*state)->ctx;
}

static _Atomic bool read_at_once; /* a main thread that is as quick as can be */
static _Atomic int left_behind;

static void watch(void *arg, bool on)
{
    const struct ctx_submit_fence m = { CTX_OP_SUBMIT_FENCE, 1, 0, 1 };
    int left = -1;

    (void)arg;
    if (on && atomic_exchange(&read_at_once, false)) {
        (void)seqpacket_send(vmm_fd, &m, sizeof(m), NULL, 0);
        (void)requests_read(requests);
        (void)ioctl(worker_fd, FIONREAD, &left);
        atomic_store(&left_behind, left);
    }
    atomic_store(&watched, on);
}

static int setup(void **state)
{
    int fds[2];

    export.result = 0;
    export.fd_type = RESOURCE_DMABUF;
    if (fixture_setup(state) < 0 || seqpacket_pair(fds) < 0) {
        return -1;
    }
    vmm_fd = fds[0];
    worker_fd = fds[1];
    words = NULL;
    n_sent = 0;
    watched = 0;
    return requests_create(ctx_of(state), worker_fd, watch, NULL, &requests);
}

static int teardown(void **state)
{
    atomic_store(&fake_awake, true);
    shutdown(vmm_fd, SHUT_RDWR);
    requests = requests_destroy(requests);
    atomic_store(&fake_awake, false);
    close(vmm_fd);
    close(worker_fd);
    if (words) {
        munmap((void *)words, 256);
    }
    return fixture_teardown(state);
}

static void send_fds(const void *message, size_t size, const int *fds, uint32_t n)
{
    assert_int_equal(seqpacket_send(vmm_fd, message, size, fds, n), 0);
    n_sent++;
}

static void send_init(void)
{
    const struct ctx_init m = { .op = CTX_OP_INIT, .flags = 4, .shmem_size = 256 };
    int fds[2] = { -1, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };

    assert_int_equal(memfd_create_sized("words", 256, &fds[0]), 0);
    assert_int_equal(fd_seal(fds[0], F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    words = mmap(NULL, 256, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    send_fds(&m, sizeof(m), fds, 2);
    close(fds[0]);
    close(fds[1]);
}

static void send_fence(uint32_t ring_idx, uint32_t seqno)
{
    const struct ctx_submit_fence m = { CTX_OP_SUBMIT_FENCE, 1, ring_idx, seqno };

    send_fds(&m, sizeof(m), NULL, 0);
}

/* A stream of `n` commands; `tail` sends what is behind the first 256 bytes as well. */
static void send_versions(uint32_t n, bool tail)
{
    static struct bytes b;
    static uint8_t stream[1 << 20];
    struct ctx_submit_cmd m = { .op = CTX_OP_SUBMIT_CMD, .size = n * 16 };

    b.size = 0;
    put_version(&b, false);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(stream + i * 16, b.data, 16);
    }
    memcpy(m.cmd, stream, MIN(sizeof(m.cmd), m.size));
    send_fds(&m, sizeof(m), NULL, 0);
    if (tail && m.size > 256) {
        send_fds(stream + 256, m.size - 256, NULL, 0);
    }
}

/* Until all that was sent is done; the main thread's part as well. */
static int serve(struct context *ctx)
{
    while (!requests_done(requests, n_sent)) {
        if (atomic_exchange(&watched, false)) {
            (void)requests_read(requests);
        }
        sched_yield();
    }
    LOCK_SCOPE(&ctx->lock); /* whoever ended the context has written why */
    return context_is_fatal(ctx) ? -EPROTO : 0;
}

static void fences_of_the_cpu_timeline(void **state)
{
    (void)state;
    send_init();
    send_fence(0, 1);
    send_fence(5, 9);
    assert_int_equal(serve(ctx_of(state)), 0);
    assert_int_equal(words[0], 1);
    assert_int_equal(words[5], 9);
}

static void order_is_enforced(void **state)
{
    send_fence(0, 1);
    assert_int_equal(serve(ctx_of(state)), -EPROTO);
    assert_true(context_is_fatal(ctx_of(state)));
}

static void second_init_ends_the_context(void **state)
{
    (void)state;
    send_init();
    munmap((void *)words, 256);
    send_init();
    assert_int_equal(serve(ctx_of(state)), -EPROTO);
}

static void other_capsets_are_refused(void **state)
{
    const struct ctx_init m = { .op = CTX_OP_INIT, .flags = 2, .shmem_size = 256 };
    int fd = -1;

    assert_int_equal(memfd_create_sized("words", 256, &fd), 0);
    send_fds(&m, sizeof(m), &fd, 1);
    close(fd);
    serve(ctx_of(state));
    assert_true(context_is_fatal(ctx_of(state)));
    assert_non_null(strstr(ctx_of(state)->why, "capset 2"));
}

static void fence_outside_the_words_ends_the_context(void **state)
{
    send_init();
    send_fence(64, 1);
    serve(ctx_of(state));
    assert_non_null(strstr(ctx_of(state)->why, "timeline 64"));
}

static void streams_come_in_one_or_two_messages(void **state)
{
    (void)state;
    send_init();
    send_versions(1, true);
    send_versions(16, true);
    send_versions(17, true);
    send_versions(5000, true);
    assert_int_equal(serve(ctx_of(state)), 0);
    assert_int_equal(fake_versions, 5034);
}

/* A tail whose length is that of a request is still the tail. */
static void a_tail_is_a_tail_whatever_its_length(void **state)
{
    (void)state;
    send_init();
    send_versions(17, true);     /* 16 bytes: as SUBMIT_FENCE */
    send_versions(16 + 2, true); /* 32: as CREATE_RESOURCE */
    assert_int_equal(serve(ctx_of(state)), 0);
    assert_int_equal(fake_versions, 35);
}

/* The VMM could not send 300,000 bytes and went on. */
static void a_lost_tail_costs_that_command_only(void **state)
{
    send_init();
    send_versions(300000 / 16, false);
    send_fence(0, 1);
    send_versions(2, true);
    assert_int_equal(serve(ctx_of(state)), 0);
    assert_int_equal(words[0], 1);
    assert_int_equal(fake_versions, 2);
    assert_false(context_is_fatal(ctx_of(state)));
}

static void a_stream_longer_than_can_come_is_dropped(void **state)
{
    const struct ctx_submit_cmd m = { .op = CTX_OP_SUBMIT_CMD, .size = 0xfffffffc };

    (void)state;
    send_init();
    send_fds(&m, sizeof(m), NULL, 0);
    send_fence(0, 1);
    assert_int_equal(serve(ctx_of(state)), 0);
    assert_int_equal(words[0], 1);
}

static void a_small_tail_cannot_be_lost(void **state)
{
    send_init();
    send_versions(100, false);
    send_fence(0, 1);
    assert_int_equal(serve(ctx_of(state)), -EPROTO);
    assert_non_null(strstr(ctx_of(state)->why, "were due"));
}

static void bad_messages_end_the_context(void **state)
{
    static const struct {
        uint32_t op;
        size_t size;
    } cases[] = { { CTX_OP_SUBMIT_FENCE, 15 },
                  { CTX_OP_SUBMIT_FENCE, 17 },
                  { 99, 16 },
                  { CTX_OP_IMPORT_RESOURCE, 24 },
                  { 0, 2 },
                  { CTX_OP_SUBMIT_CMD, 264 },
                  { CTX_OP_SUBMIT_CMD, 272 },
                  { 0, 300 } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t message[512] = { 0 };
        void *own = NULL;

        assert_int_equal(setup(&own), 0);
        send_init();
        memcpy(message, &cases[i].op, 4);
        send_fds(message, cases[i].size, NULL, 0);
        assert_int_equal(serve(ctx_of(&own)), -EPROTO);
        assert_true(context_is_fatal(ctx_of(&own)));
        assert_int_equal(teardown(&own), 0);
    }
}

static int create(uint32_t id, uint64_t blob, uint64_t size, uint32_t flags, struct context *ctx,
                  struct ctx_create_resource_reply *reply, int *ret_fd)
{
    const struct ctx_create_resource m = { .op = CTX_OP_CREATE_RESOURCE,
                                           .res_id = id,
                                           .blob_id = blob,
                                           .blob_size = size,
                                           .blob_flags = flags,
                                           .pad = 0x55555555 };
    AUTO_FDSET struct fdset fds = { 0 };
    size_t got = 0;

    send_fds(&m, sizeof(m), NULL, 0);
    assert_int_equal(serve(ctx), 0);
    assert_int_equal(seqpacket_recv(vmm_fd, reply, sizeof(*reply), &got, &fds), 0);
    assert_int_equal(got, 56);
    *ret_fd = fdset_take(&fds, 0);
    return (int)fds.count;
}

static void shared_memory_is_made(void **state)
{
    struct ctx_create_resource_reply reply;
    struct resource *r;
    uint64_t size;
    int fd;

    (void)state;
    send_init();
    assert_int_equal(create(9, 0, 4097, 1, ctx_of(state), &reply, &fd), 1);
    assert_int_equal(reply.fd_type, 2);
    assert_int_equal(reply.map_info, 1);
    assert_int_equal(fd_size(fd, &size), 0);
    assert_int_equal(size, 4097);
    close(fd);
    r = resources_get(&ctx_of(state)->resources, 9);
    assert_non_null(r);
    resource_unref(r);
}

static void failed_creations_say_so(void **state)
{
    static const struct {
        uint32_t id;
        uint64_t blob, size;
        uint32_t flags;
    } cases[] = { { 9, 0, 4096, 3 }, { 9, 0, 4096, 0 },       { 0, 0, 4096, 1 },
                  { 9, 0, 0, 1 },    { 9, 0, 1ull << 60, 1 }, { 9, 5, 4096, 1 } };
    struct ctx_create_resource_reply reply;
    const struct ctx_create_resource_reply failed = { .fd_type = -1 };
    int fd;

    send_init();
    export.result = -EALREADY;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(create(cases[i].id, cases[i].blob, cases[i].size, cases[i].flags,
                                ctx_of(state), &reply, &fd),
                         0);
        assert_memory_equal(&reply, &failed, sizeof(reply));
    }
    assert_false(context_is_fatal(ctx_of(state)));
}

static void memory_is_exported_and_kept(void **state)
{
    struct ctx_create_resource_reply reply;
    struct resource *r;
    int fd;

    send_init();
    assert_int_equal(create(9, 1234, 8192, 1, ctx_of(state), &reply, &fd), 1);
    close(fd);
    assert_int_equal(export.memory_id, 1234);
    assert_int_equal(reply.fd_type, RESOURCE_DMABUF);
    assert_int_equal(reply.allocation_size, 0);
    r = resources_get(&ctx_of(state)->resources, 9);
    assert_true(r->exported_memory);
    resource_unref(r);
    export.fd_type = RESOURCE_OPAQUE;
    assert_int_equal(create(10, 1235, 8192, 1, ctx_of(state), &reply, &fd), 1);
    close(fd);
    assert_int_equal(reply.allocation_size, 777);
    assert_int_equal(reply.device_uuid[0], 1);
}

static void resources_come_and_go(void **state)
{
    struct ctx_import_resource import = {
        .op = CTX_OP_IMPORT_RESOURCE, .res_id = 4, .fd_type = CTX_FD_SHM, .size = 4096
    };
    const struct ctx_destroy_resource destroy = { CTX_OP_DESTROY_RESOURCE, 4 };
    int fd = -1;

    send_init();
    assert_int_equal(memfd_create_sized("shm", 4096, &fd), 0);
    /* Not sealed: ignored, like a type that never arrives. */
    send_fds(&import, sizeof(import), &fd, 1);
    import.fd_type = 3;
    send_fds(&import, sizeof(import), &fd, 1);
    assert_int_equal(serve(ctx_of(state)), 0);
    assert_null(resources_get(&ctx_of(state)->resources, 4));
    assert_int_equal(fd_seal(fd, F_SEAL_SHRINK), 0);
    import.fd_type = CTX_FD_SHM;
    send_fds(&import, sizeof(import), &fd, 1);
    assert_int_equal(serve(ctx_of(state)), 0);
    assert_int_equal(ctx_of(state)->resources.count, 1);
    send_fds(&destroy, sizeof(destroy), NULL, 0);
    send_fds(&destroy, sizeof(destroy), NULL, 0);
    assert_int_equal(serve(ctx_of(state)), 0);
    assert_int_equal(ctx_of(state)->resources.count, 0);
    assert_false(context_is_fatal(ctx_of(state)));
    close(fd);
}

/* The context thread sees it, and lets the main thread see it too. */
static void a_hang_up_is_told(void **state)
{
    (void)state;
    shutdown(vmm_fd, SHUT_RDWR);
    assert_true(wait_word(&watched, 1, 1));
    assert_int_equal(requests_read(requests), -ECONNRESET);
}

static void send_sleep(void)
{
    struct ctx_submit_cmd m = { .op = CTX_OP_SUBMIT_CMD, .size = 12 };
    struct bytes b = { .size = 0 };

    put_u32(&b, FAKE_SLEEP);
    put_u32(&b, 0);
    put_u32(&b, 60000000);
    memcpy(m.cmd, b.data, b.size);
    send_fds(&m, sizeof(m), NULL, 0);
}

/* Short work is done by the thread that reads it; during long work the main thread reads. */
static void who_reads_depends_on_the_work(void **state)
{
    struct ctx_create_resource_reply reply;
    const uint32_t n = 5000; /* more than the socket holds */
    int fd;

    send_init();
    assert_int_equal(create(9, 0, 4096, 1, ctx_of(state), &reply, &fd), 1);
    close(fd);
    assert_int_equal(watched, 0);
    send_sleep();
    assert_true(wait_word(&watched, 1, 1));
    for (uint32_t i = 1; i <= n;) {
        const struct ctx_submit_fence m = { CTX_OP_SUBMIT_FENCE, 1, 0, i };

        if (seqpacket_sendv(vmm_fd, &(struct iovec){ (void *)&m, sizeof(m) }, 1, NULL, 0,
                            MSG_DONTWAIT) == 0) {
            n_sent++;
            i++;
        } else if (atomic_exchange(&watched, 0)) {
            (void)requests_read(requests);
        }
    }
    atomic_store(&fake_awake, true);
    assert_int_equal(serve(ctx_of(state)), 0);
    assert_int_equal(words[0], n);
    assert_int_equal(watched, 0);
}

/* The order of unlocking and telling: else the VMM's next messages would lie there until the work is
 * done. */
static void who_is_told_to_read_can(void **state)
{
    (void)state;
    send_init();
    assert_int_equal(serve(ctx_of(state)), 0);
    atomic_store(&left_behind, -1);
    atomic_store(&read_at_once, true);
    send_sleep();
    assert_true(wait_word(&watched, 1, 1));
    assert_int_equal(left_behind, 0);
    atomic_store(&fake_awake, true);
}

/* A VMM that asks and asks and reads no answer can go on asking. */
static void replies_that_nobody_reads_keep_nobody_from_reading(void **state)
{
    const struct ctx_create_resource m = { .op = CTX_OP_CREATE_RESOURCE, .res_id = 1 };
    uint64_t end = test_now_ns() + 5000000000u;
    struct iovec iov = { (void *)&m, sizeof(m) };

    (void)state;
    send_init();
    while (!watched && test_now_ns() < end) {
        if (seqpacket_sendv(vmm_fd, &iov, 1, NULL, 0, MSG_DONTWAIT) < 0) {
            sched_yield();
        }
    }
    assert_int_equal(watched, 1);
    assert_int_equal(requests_read(requests), 0);
    assert_int_equal(seqpacket_sendv(vmm_fd, &iov, 1, NULL, 0, MSG_DONTWAIT), 0);
}

static void too_much_waiting_ends_the_context(void **state)
{
    const struct ctx_submit_fence m = { CTX_OP_SUBMIT_FENCE, 1, 0, 1 };
    uint32_t sent = 0;

    send_init();
    assert_int_equal(serve(ctx_of(state)), 0);
    send_sleep();
    assert_true(wait_word(&watched, 1, 1));
    while (sent < 2 * LIMIT_QUEUED_REQUESTS && !context_is_fatal(ctx_of(state))) {
        if (seqpacket_sendv(vmm_fd, &(struct iovec){ (void *)&m, sizeof(m) }, 1, NULL, 0,
                            MSG_DONTWAIT) == 0) {
            sent++;
        } else {
            (void)requests_read(requests);
        }
    }
    assert_true(sent >= LIMIT_QUEUED_REQUESTS);
    assert_true(context_is_fatal(ctx_of(state)));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(fences_of_the_cpu_timeline),
        T(order_is_enforced),
        T(second_init_ends_the_context),
        T(other_capsets_are_refused),
        T(fence_outside_the_words_ends_the_context),
        T(streams_come_in_one_or_two_messages),
        T(a_tail_is_a_tail_whatever_its_length),
        T(a_lost_tail_costs_that_command_only),
        T(a_stream_longer_than_can_come_is_dropped),
        T(a_small_tail_cannot_be_lost),
        cmocka_unit_test(bad_messages_end_the_context),
        T(shared_memory_is_made),
        T(failed_creations_say_so),
        T(memory_is_exported_and_kept),
        T(resources_come_and_go),
        T(a_hang_up_is_told),
        T(who_reads_depends_on_the_work),
        T(who_is_told_to_read_can),
        T(replies_that_nobody_reads_keep_nobody_from_reading),
        T(too_much_waiting_ends_the_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
