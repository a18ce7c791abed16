/* The render server as a VMM sees it, with a worker that does what the test says. */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cordon/cordon.h"
#include "ipc/base.h"
#include "ipc/dialect_b.h"
#include "ipc/fdset.h"
#include "ipc/seqpacket.h"
#include "policy/profile.h"
#include "tests/harness.h"
#include "tests/server/fake_worker.h"

extern char **environ;

static const char *server_path, *worker_path;

struct fixture {
    char log_path[128];
    pid_t pid;
    int socket; /* the VMM's end */
};

/* The server's stderr goes to a file of the test's. */
static void start(struct fixture *f, const char *const *extra)
{
    posix_spawn_file_actions_t actions;
    const char *argv[16] = { server_path, "--socket-fd=3", "--worker",
                             worker_path, "--log-level",   "debug" };
    int pair[2], n = 6, log_fd;

    while (extra && *extra) {
        argv[n++] = *extra++;
    }
    assert_int_equal(seqpacket_pair(pair), 0);
    log_fd = open(f->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(log_fd >= 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, log_fd, 2);
    posix_spawn_file_actions_adddup2(&actions, pair[1], 3);
    assert_int_equal(
        posix_spawn(&f->pid, server_path, &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(log_fd);
    close(pair[1]);
    f->socket = pair[0];
}

/* Hangs up (unless a test has) and expects an orderly end. */
static void stop(struct fixture *f)
{
    int status = -1;

    if (f->socket >= 0) {
        close(f->socket);
        f->socket = -1;
    }
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    f->pid = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void nap(long ms)
{
    struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&ts, NULL);
}

static char log_text[1 << 20]; /* as log_has last read it */

static bool log_has(struct fixture *f, const char *text)
{
    int fd = open(f->log_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, log_text, sizeof(log_text) - 1);

    close(fd);
    log_text[n > 0 ? n : 0] = '\0';
    return strstr(log_text, text) != NULL;
}

/* Lines of a worker's end come when it is reaped. */
static void expect_log(struct fixture *f, const char *text)
{
    for (int i = 0; i < 500; i++) {
        if (log_has(f, text)) {
            return;
        }
        nap(20);
    }
    fail_msg("`%s` is not in the log:\n%s", text, log_text);
}

static struct cordon_server *adopt(struct fixture *f)
{
    struct cordon_server *server;

    assert_int_equal(cordon_server_adopt(f->socket, &server), 0);
    f->socket = -1;
    return server;
}

static struct cordon_context *context(struct cordon_server *server, uint32_t id)
{
    struct cordon_context *c;

    assert_int_equal(cordon_context_create(server, id, "vkcube \"x\"\n", &c), 0);
    return c;
}

static void say(struct cordon_context *c, uint32_t command, uint32_t argument)
{
    const uint32_t stream[] = { command, argument };

    assert_int_equal(cordon_submit(c, stream, sizeof(stream)), 0);
}

static void expect_fence(struct cordon_context *c, uint32_t ring)
{
    uint32_t seqno;

    assert_int_equal(cordon_fence(c, ring, &seqno), 0);
    assert_int_equal(cordon_fence_wait(c, ring, seqno, 10000), 0);
}

static int setup(void **state)
{
    static struct fixture f;
    int r = harness_setup(state);

    f = (struct fixture){ .socket = -1 };
    snprintf(f.log_path, sizeof(f.log_path), "%s/log", harness_scratch());
    *state = &f;
    return r;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->pid > 0) { /* the test has failed half-way */
        kill(f->pid, SIGKILL);
        waitpid(f->pid, NULL, 0);
    }
    unsetenv("vk_fake_worker");
    return harness_teardown(state);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* ---- tests -------------------------------------------------------------------------------- */

static void hang_up_ends_the_server_with_status_0(void **state)
{
    struct fixture *f = *state;

    start(f, NULL);
    stop(f);
    assert_true(log_has(f, "0 contexts served"));
}

static void commands_fences_and_blobs_reach_the_worker(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;
    struct cordon_blob blob;
    uint32_t big[50000];

    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    say(c, FAKE_SAY, 4711);
    for (size_t i = 0; i < ARRAY_SIZE(big); i++) {
        big[i] = FAKE_NOTHING;
    }
    assert_int_equal(cordon_submit(c, big, sizeof(big)), 0);
    expect_fence(c, 0);
    expect_fence(c, 5);
    assert_int_equal(cordon_blob_create(c, 1, 0, 4097, CORDON_BLOB_MAPPABLE, &blob), 0);
    assert_int_equal(blob.fd_type, CORDON_FD_SHM);
    close(blob.fd);
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
    assert_true(log_has(f, "ctx=7 \"vkcube ?x??\""));
    /* A worker's text cannot end a line or move the cursor. */
    assert_true(log_has(f, "said 4711\\nand \\x1b[31m more") ||
                log_has(f, "said 4711\\x0aand \\x1b[31m more"));
    assert_true(log_has(f, "25001 commands decoded"));
}

static void a_live_id_and_id_0_are_refused(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c, *other;

    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    assert_int_equal(cordon_context_create(server, 7, "again", &other), -EREMOTEIO);
    expect_fence(c, 0);
    cordon_context_destroy(c);
    c = context(server, 7);
    expect_fence(c, 0);
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
    assert_true(log_has(f, "the id belongs to a live context"));
}

static void garbage_on_the_server_socket_is_ignored(void **state)
{
    struct fixture *f = *state;
    static char big[70000];
    const uint32_t bad_op[] = { 99, 1 };
    struct srv_create_context m = { .op = SRV_OP_CREATE_CONTEXT, .ctx_id = 0, .name = "zero" };
    struct srv_create_context_reply reply = { .ok = 9 };
    struct srv_reset reset = { SRV_OP_RESET };
    struct srv_destroy_context destroy = { SRV_OP_DESTROY_CONTEXT, 1234 };
    AUTO_FDSET struct fdset fds = { 0 };
    size_t size;

    start(f, NULL);
    assert_int_equal(seqpacket_send(f->socket, "x", 1, NULL, 0), 0);
    assert_int_equal(seqpacket_send(f->socket, bad_op, sizeof(bad_op), (int[]){ 1, 2 }, 2), 0);
    assert_int_equal(seqpacket_send(f->socket, big, sizeof(big), NULL, 0), 0);
    assert_int_equal(seqpacket_send(f->socket, &m, sizeof(m) - 1, NULL, 0), 0);
    assert_int_equal(seqpacket_send(f->socket, &destroy, sizeof(destroy), NULL, 0), 0);
    assert_int_equal(seqpacket_send(f->socket, &reset, sizeof(reset), NULL, 0), 0);
    assert_int_equal(seqpacket_send(f->socket, &m, sizeof(m), NULL, 0), 0);
    assert_int_equal(seqpacket_recv(f->socket, &reply, sizeof(reply), &size, &fds), 0);
    assert_int_equal(size, 1);
    assert_int_equal(reply.ok, 0);
    assert_int_equal(fds.count, 0);
    m.ctx_id = 3;
    assert_int_equal(seqpacket_send(f->socket, &m, sizeof(m), NULL, 0), 0);
    assert_int_equal(seqpacket_recv(f->socket, &reply, sizeof(reply), &size, &fds), 0);
    assert_int_equal(reply.ok, 1);
    assert_int_equal(fds.count, 1);
    stop(f);
}

static void context_257_is_refused_and_reset_makes_room(void **state)
{
    struct fixture *f = *state;
    struct srv_create_context m = { .op = SRV_OP_CREATE_CONTEXT, .name = "many" };
    struct srv_reset reset = { SRV_OP_RESET };

    setenv("vk_fake_worker", "hang", 1);
    start(f, (const char *[]){ "--spare", "0", NULL });
    for (uint32_t i = 1; i <= 258; i++) {
        struct srv_create_context_reply reply = { .ok = 9 };
        AUTO_FDSET struct fdset fds = { 0 };
        size_t size;

        m.ctx_id = i;
        if (i == 258) {
            assert_int_equal(seqpacket_send(f->socket, &reset, sizeof(reset), NULL, 0), 0);
        }
        assert_int_equal(seqpacket_send(f->socket, &m, sizeof(m), NULL, 0), 0);
        assert_int_equal(seqpacket_recv(f->socket, &reply, sizeof(reply), &size, &fds), 0);
        assert_int_equal(reply.ok, i != 257);
    }
    stop(f);
}

static void a_crash_is_told_and_fences_and_blobs_do_not_hang(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c, *other;
    struct cordon_blob blob;
    uint32_t pending, status, *map;

    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    other = context(server, 8);
    assert_int_equal(cordon_blob_create(c, 1, 0, 4096, CORDON_BLOB_MAPPABLE, &blob), 0);
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, blob.fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    map[32] = 4 | 1; /* ALIVE, IDLE */
    say(c, FAKE_RING, 128);
    say(c, FAKE_HOLD_FENCES, 1);
    assert_int_equal(cordon_fence(c, 3, &pending), 0);
    say(c, FAKE_CRASH, 0);
    /* The pending one and new ones, on any ring. */
    assert_int_equal(cordon_fence_wait(c, 3, pending, 10000), 0);
    expect_fence(c, 3);
    expect_fence(c, 0);
    expect_fence(c, 63);
    status = map[32];
    assert_int_equal(status, 2 | 1);
    assert_int_equal(cordon_blob_create(c, 2, 0, 4096, CORDON_BLOB_MAPPABLE,
                                        &(struct cordon_blob){ 0 }),
                     -EREMOTEIO);
    expect_fence(other, 1);
    expect_log(f, "killed by SIGILL");
    assert_true(log_has(f, "1001, 1005, 1006"));
    munmap(map, 4096);
    close(blob.fd);
    cordon_context_destroy(c);
    cordon_context_destroy(other);
    cordon_server_close(server, NULL);
    stop(f);
}

static void a_death_that_owes_an_answer_is_answered(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;
    struct cordon_blob blob;

    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    assert_int_equal(cordon_blob_create(c, 1, FAKE_BLOB_DIE, 4096, CORDON_BLOB_MAPPABLE, &blob),
                     -EREMOTEIO);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cordon_blob_create(c, 1, 0, 4096, CORDON_BLOB_MAPPABLE, &blob),
                         -EREMOTEIO);
    }
    expect_log(f, "exited with status 7");
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
}

static void a_death_between_head_and_tail_keeps_the_ghost_in_step(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;
    uint32_t stream[1000] = { FAKE_EXIT, 3 };

    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    expect_fence(c, 0);
    say(c, FAKE_EXIT, 9);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(cordon_submit(c, stream, sizeof(stream)), 0);
        expect_fence(c, i);
    }
    expect_log(f, "exited with status 9; its own words: told to exit 9");
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
}

static void a_tail_that_looks_like_a_request_is_none(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;
    struct ctx_create_resource_reply reply;
    struct cordon_blob blob;
    uint32_t stream[(256 + 32) / 4] = { 0 };
    ssize_t n = -1;

    stream[64] = CTX_OP_CREATE_RESOURCE;
    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    say(c, FAKE_EXIT, 9);
    expect_log(f, "exited with status 9");
    /* The answer that the worker may have owed. */
    for (int i = 0; i < 500 && n < 0; i++) {
        n = recv(cordon_context_fd(c), &reply, sizeof(reply), MSG_DONTWAIT);
        nap(10);
    }
    assert_int_equal(n, sizeof(reply));
    expect_fence(c, 0);
    assert_int_equal(cordon_submit(c, stream, sizeof(stream)), 0);
    assert_int_equal(cordon_blob_create(c, 1, 0, 4096, CORDON_BLOB_MAPPABLE, &blob), -EREMOTEIO);
    nap(100);
    assert_int_equal(recv(cordon_context_fd(c), &reply, sizeof(reply), MSG_DONTWAIT), -1);
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
}

static void a_forbidden_call_is_named_and_kills(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;

    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    say(c, FAKE_FORBIDDEN, 0);
    expect_fence(c, 0);
    if (policy_profile.note) { /* a sanitizer build's filter has no such list */
        say(c, FAKE_EXIT, 3);
    }
    expect_log(f, policy_profile.note ? "exited with status 3" : "getpriority");
    assert_true(log_has(f, "ctx=7"));
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
}

static void garbage_from_a_worker_kills_it(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;

    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    say(c, FAKE_GARBAGE, 0);
    expect_fence(c, 0);
    expect_log(f, "broke the protocol with its server");
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
}

static void a_worker_that_never_gets_ready_is_killed(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;

    setenv("vk_fake_worker", "hang", 1);
    start(f, (const char *[]){ "--ready-timeout", "1", NULL });
    server = adopt(f);
    c = context(server, 7);
    expect_fence(c, 0); /* by the ghost */
    expect_log(f, "not ready after 1000 ms");
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
}

static void a_worker_that_is_not_sealed_gets_no_guest(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;

    setenv("vk_fake_worker", "unsealed", 1);
    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    say(c, FAKE_SAY, 4712);
    expect_fence(c, 0);
    expect_log(f, policy_profile.note ? "FAILED the check from outside: only "
                                      : "did not hand over its system call listener");
    assert_false(log_has(f, "said 4712"));
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
}

static void when_workers_do_not_start_contexts_are_refused(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;

    setenv("vk_fake_worker", "exit", 1);
    start(f, NULL);
    server = adopt(f);
    expect_log(f, "exited with status 90 while loading the Vulkan driver");
    assert_int_equal(cordon_context_create(server, 7, "x", &c), -EREMOTEIO);
    assert_true(log_has(f, "workers do not start"));
    cordon_server_close(server, NULL);
    stop(f);
}

static bool is_worker(pid_t pid)
{
    char path[64], name[32] = "";
    FILE *comm;

    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    comm = fopen(path, "re");
    if (comm) {
        if (!fgets(name, sizeof(name), comm)) {
            name[0] = '\0';
        }
        (void)fclose(comm);
    }
    return strcmp(name, "fake-worker\n") == 0;
}

/* A worker that serves nobody; 0: there is none yet, or it is still being confined. */
static pid_t spare_worker(struct fixture *f, pid_t serving)
{
    char path[64];
    int pid, found = 0;
    FILE *children;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)f->pid, (int)f->pid);
    children = fopen(path, "re");
    assert_non_null(children);
    while (fscanf(children, "%d", &pid) == 1) {
        if (pid != serving && is_worker(pid)) {
            found = pid;
        }
    }
    (void)fclose(children);
    return found;
}

static void one_spare_that_fails_after_others_worked_costs_no_context(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *first, *second;
    int serving;
    pid_t spare = 0;

    setenv("vk_fake_worker", "slow", 1);
    start(f, NULL);
    server = adopt(f);
    first = context(server, 7);
    expect_fence(first, 0);
    expect_log(f, "served by worker ");
    assert_int_equal(
        sscanf(strstr(log_text, "served by worker "), "served by worker %*d (pid %d", &serving), 1);
    for (int i = 0; i < 5000 && spare == 0; i++) {
        nap(2);
        spare = spare_worker(f, serving);
    }
    assert_int_not_equal(spare, 0);
    assert_int_equal(kill(spare, SIGKILL), 0);
    expect_log(f, "before it had a context: killed by");
    second = context(server, 8);
    expect_fence(second, 0);
    cordon_context_destroy(first);
    cordon_context_destroy(second);
    cordon_server_close(server, NULL);
    stop(f);
}

static void a_missing_worker_program_is_named(void **state)
{
    struct fixture *f = *state;

    start(f, (const char *[]){ "--worker", "/nonexistent/worker", NULL });
    stop(f);
    assert_true(log_has(f, "/nonexistent/worker"));
}

static void a_killed_server_takes_its_workers_with_it(void **state)
{
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;
    int fd, status;
    uint32_t seqno;

    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    expect_fence(c, 0);
    fd = cordon_context_fd(c);
    assert_true(fd >= 0);
    kill(f->pid, SIGKILL);
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    f->pid = 0;
    for (int i = 0; i < 200 && cordon_fence(c, 0, &seqno) == 0; i++) {
        nap(10);
    }
    assert_int_equal(cordon_fence(c, 0, &seqno), -EPIPE);
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
}

static void a_context_ends_when_the_vmm_closes_its_socket(void **state)
{
    struct fixture *f = *state;
    struct srv_create_context m = { .op = SRV_OP_CREATE_CONTEXT, .ctx_id = 9, .name = "closer" };
    struct srv_create_context_reply reply;
    size_t size;

    start(f, NULL);
    for (int i = 0; i < 2; i++) {
        AUTO_FDSET struct fdset fds = { 0 };

        assert_int_equal(seqpacket_send(f->socket, &m, sizeof(m), NULL, 0), 0);
        assert_int_equal(seqpacket_recv(f->socket, &reply, sizeof(reply), &size, &fds), 0);
        assert_int_equal(reply.ok, 1);
        fdset_close(&fds);
        if (i == 0) {
            expect_log(f, "ctx=9 \"closer\"  ended");
        }
    }
    stop(f);
}

static void statistics_are_written(void **state)
{
    struct fixture *f = *state;
    char path[140], text[2048];
    struct cordon_server *server;
    struct cordon_context *c;
    FILE *file;

    snprintf(path, sizeof(path), "%s.json", f->log_path);
    start(f, (const char *[]){ "--stats", path, NULL });
    server = adopt(f);
    c = context(server, 7);
    say(c, FAKE_SAY, 1);
    expect_fence(c, 0);
    cordon_context_destroy(c);
    cordon_server_close(server, NULL);
    stop(f);
    file = fopen(path, "re");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    unlink(path);
    assert_non_null(strstr(text, "\"contexts\": 1,"));
    assert_non_null(strstr(text, "\"commands\": 1,"));
    assert_non_null(strstr(text, "\"device\": \"fake ?device?\""));
    assert_non_null(strstr(text, "\"layers\": [\"fds\", "));
    assert_non_null(strstr(text, ", \"seccomp\""));
}

static void every_level_serves_and_says_how_loose_it_is(void **state)
{
    static const struct {
        const char *option, *line;
    } levels[] = {
        { "--sandbox=strict", "sandbox strict: fds,userns,mounts" },
        { "--sandbox=minimal", "no namespaces and no Landlock" },
        { "--sandbox=off", "sandbox: OFF" },
        { "--sandbox-allow-missing=landlock", "sandbox default: " },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        struct cordon_server *server;
        struct cordon_context *c;

        start(f, (const char *[]){ levels[i].option, NULL });
        server = adopt(f);
        c = context(server, 7);
        expect_fence(c, 0);
        say(c, FAKE_CRASH, 0);
        expect_fence(c, 0);
        expect_log(f, "killed by SIGILL");
        cordon_context_destroy(c);
        cordon_server_close(server, NULL);
        stop(f);
        assert_true(log_has(f, levels[i].line));
    }
}

static void event_loops_need_not_wait_for_a_worker(void **state)
{
    static uint32_t big[40000];
    struct fixture *f = *state;
    struct cordon_server *server;
    struct cordon_context *c;
    struct cordon_blob blob;
    uint32_t seqno;
    int r = 0;

    start(f, NULL);
    server = adopt(f);
    c = context(server, 7);
    cordon_context_set_wait(c, false);
    assert_int_equal(cordon_blob_finish(c, &blob), -EINVAL);
    assert_int_equal(cordon_blob_begin(c, 1, FAKE_BLOB_SLOW, 4096, CORDON_BLOB_MAPPABLE), 0);
    assert_int_equal(cordon_blob_begin(c, 2, 0, 4096, CORDON_BLOB_MAPPABLE), -EBUSY);
    assert_int_equal(cordon_blob_finish(c, &blob), -EAGAIN);
    while ((r = cordon_blob_finish(c, &blob)) == -EAGAIN) {
        nap(10);
    }
    assert_int_equal(r, 0);
    close(blob.fd);
    say(c, FAKE_STOP, 0);
    for (int i = 0; i < 10000 && (r = cordon_submit(c, big, sizeof(big))) == 0; i++) {
    }
    assert_int_equal(r, -EAGAIN);
    assert_int_equal(cordon_fence(c, 0, &seqno), -EAGAIN);
    (void)cordon_context_flush(c);
    cordon_context_destroy(c); /* with a tail kept */
    cordon_server_close(server, NULL);
    stop(f);
}

/* As crosvm's stock jail does: what is not listed there raises SIGSYS. */
static int filter_and_exec(void *arg)
{
    static const int refused[] = {
        SCMP_SYS(close_range),

        SCMP_SYS(setrlimit),
        SCMP_SYS(pidfd_send_signal),
        SCMP_SYS(seccomp),
        SCMP_SYS(unshare),
        SCMP_SYS(mount),
        SCMP_SYS(fsopen),
        SCMP_SYS(open_tree),
        SCMP_SYS(execveat),
        SCMP_SYS(setsockopt),
        SCMP_SYS(wait4),
        SCMP_SYS(setsid),
        SCMP_SYS(umask),
        SCMP_SYS(landlock_create_ruleset),
    };
    const int *socket = arg;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        if (seccomp_rule_add(filter, SCMP_ACT_TRAP, refused[i], 0) < 0) {
            return 101;
        }
    }
    /* The dynamic linker asks for a limit; crosvm's filter comes after that. */
    if (seccomp_rule_add(filter, SCMP_ACT_TRAP, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_NE, 0)) <
        0) {
        return 104;
    }
    if (dup2(socket[0], 3) < 0 || dup2(socket[1], 2) < 0 || dup2(socket[1], 9) < 0 ||
        seccomp_load(filter) < 0) {
        return 102;
    }
    execl(server_path, server_path, "--socket-fd", "3", "--worker", worker_path, NULL);
    return 103;
}

static void inside_a_foreign_jail_the_server_stays_up(void **state)
{
    struct fixture *f = *state;
    struct srv_create_context m = { .op = SRV_OP_CREATE_CONTEXT, .ctx_id = 9, .name = "jailed" };
    struct srv_create_context_reply reply = { .ok = 9 };
    AUTO_FDSET struct fdset fds = { 0 };
    int pair[2], fd[2];
    size_t size;

    if (policy_profile.note) {
        puts("SKIP: a sanitizer's own start cannot bear such a filter");
        skip();
    }
    assert_int_equal(seqpacket_pair(pair), 0);
    fd[0] = pair[1];
    fd[1] = open(f->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(seqpacket_send(pair[0], &m, sizeof(m), NULL, 0), 0);
    assert_int_equal(shutdown(pair[0], SHUT_WR), 0);
    assert_int_equal(harness_in_child(filter_and_exec, fd), 0);
    close(fd[0]);
    close(fd[1]);
    assert_int_equal(seqpacket_recv(pair[0], &reply, sizeof(reply), &size, &fds), 0);
    assert_int_equal(reply.ok, 0);
    close(pair[0]);
    /* This worker is no shared object. */
    assert_true(log_has(f, "forbids to start programs, and shows no libcordon-worker.so"));
}

static int run(const char *const *args)
{
    const char *argv[8] = { server_path };
    posix_spawn_file_actions_t actions;
    int status = -1, n = 1;
    pid_t pid;

    while (*args) {
        argv[n++] = *args++;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawn(&pid, server_path, &actions, NULL, (char *const *)argv, environ),
                     0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void wrong_options_end_with_status_2(void **state)
{
    (void)state;
    assert_int_equal(run((const char *[]){ NULL }), 2);
    assert_int_equal(run((const char *[]){ "--bogus", NULL }), 2);
    assert_int_equal(run((const char *[]){ "--socket-fd", "0", NULL }), 2);
    assert_int_equal(run((const char *[]){ "--help", NULL }), 0);
    assert_int_equal(run((const char *[]){ "--version", NULL }), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hang_up_ends_the_server_with_status_0),
        TEST(commands_fences_and_blobs_reach_the_worker),
        TEST(a_live_id_and_id_0_are_refused),
        TEST(garbage_on_the_server_socket_is_ignored),
        TEST(context_257_is_refused_and_reset_makes_room),
        TEST(a_crash_is_told_and_fences_and_blobs_do_not_hang),
        TEST(a_death_that_owes_an_answer_is_answered),
        TEST(a_death_between_head_and_tail_keeps_the_ghost_in_step),
        TEST(a_tail_that_looks_like_a_request_is_none),
        TEST(a_forbidden_call_is_named_and_kills),
        TEST(garbage_from_a_worker_kills_it),
        TEST(a_worker_that_never_gets_ready_is_killed),
        TEST(a_worker_that_is_not_sealed_gets_no_guest),
        TEST(when_workers_do_not_start_contexts_are_refused),
        TEST(one_spare_that_fails_after_others_worked_costs_no_context),
        TEST(a_missing_worker_program_is_named),
        TEST(a_killed_server_takes_its_workers_with_it),
        TEST(a_context_ends_when_the_vmm_closes_its_socket),
        TEST(statistics_are_written),
        TEST(every_level_serves_and_says_how_loose_it_is),
        TEST(event_loops_need_not_wait_for_a_worker),
        TEST(inside_a_foreign_jail_the_server_stays_up),
        TEST(wrong_options_end_with_status_2),
    };

    server_path = getenv("CORDON_SERVER");
    worker_path = getenv("CORDON_WORKER");
    if (!server_path || !worker_path) {
        fprintf(stderr, "set CORDON_SERVER and CORDON_WORKER to the programs to test\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
