/*
 * How long a render server takes to start and to start contexts, seen by a VMM. No Vulkan.
 *
 *   starts [--first N] [--row N] SERVER [ARGUMENT...]
 *
 * --first: N servers, each from exec to the answer to its first CREATE_CONTEXT, and later the
 *          answer to a second one, when the server has had time to prepare for it.
 * --row:   N contexts of one server one after the other, each from CREATE_CONTEXT until its own
 *          socket answers a request, then destroyed; the first tenth, the last tenth, and what the
 *          server holds then.
 * One line of JSON: name to {"median": ..., "unit": ...}.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/dialect_b.h"
#include "ipc/fdset.h"
#include "ipc/map.h"
#include "ipc/seqpacket.h"
#include "tests/bench/timing.h"

#define SETTLE_US 400000

struct server {
    pid_t pid;
    int fd;
};

static bool first = true;

static void report(const char *name, const char *unit, double value)
{
    printf("%s\"%s\":{\"unit\":\"%s\",\"median\":%.3f}", first ? "{" : ",", name, unit, value);
    first = false;
}

static void report_times(const char *name, double *times, uint32_t n)
{
    report(name, "us", median(times, n));
}

static struct server server_start(char **command)
{
    struct server s;
    char number[16];
    int pair[2];
    char *argv[32] = { command[0], (char *)"--socket-fd", number };
    int n = 3;
    pid_t pid;

    if (seqpacket_pair(pair) < 0) {
        die("socketpair");
    }
    snprintf(number, sizeof(number), "%d", pair[1]);
    for (char **more = command + 1; *more && n < 31; more++) {
        argv[n++] = *more;
    }
    (void)fcntl(pair[1], F_SETFD, 0);
    s.fd = pair[0];
    pid = vfork();
    if (pid < 0) {
        die("vfork");
    }
    if (pid == 0) {
        execv(argv[0], argv);
        _exit(127);
    }
    s.pid = pid;
    close(pair[1]);
    return s;
}

static void server_init(const struct server *s)
{
    const struct srv_init m = {
        .op = SRV_OP_INIT,
        .flags = SRV_INIT_VENUS | SRV_INIT_NO_VIRGL | SRV_INIT_THREAD_SYNC |
                 SRV_INIT_ASYNC_FENCE_CB | SRV_INIT_RENDER_SERVER,
    };

    if (seqpacket_send(s->fd, &m, sizeof(m), NULL, 0) < 0) {
        die("INIT");
    }
}

static void server_stop(struct server *s)
{
    close(s->fd);
    (void)waitpid(s->pid, NULL, 0);
}

/* The context's socket. */
static int create_context(const struct server *s, uint32_t id)
{
    struct srv_create_context m = { .op = SRV_OP_CREATE_CONTEXT, .ctx_id = id, .name = "starts" };
    struct srv_create_context_reply reply = { 0 };
    struct fdset fds = { 0 };
    size_t size;

    if (seqpacket_send(s->fd, &m, sizeof(m), NULL, 0) < 0 ||
        seqpacket_recv(s->fd, &reply, sizeof(reply), &size, &fds) < 0 || !reply.ok ||
        fds.count != 1) {
        die("CREATE_CONTEXT");
    }
    return fdset_take(&fds, 0);
}

static void destroy_context(const struct server *s, uint32_t id, int own_fd)
{
    struct srv_destroy_context m = { .op = SRV_OP_DESTROY_CONTEXT, .ctx_id = id };

    if (seqpacket_send(s->fd, &m, sizeof(m), NULL, 0) < 0) {
        die("DESTROY_CONTEXT");
    }
    close(own_fd);
}

/* Until the context itself has answered: a page of shared memory. */
static void use_context(int fd)
{
    const struct ctx_init init = { .op = CTX_OP_INIT,
                                   .flags = CTX_CAPSET_VENUS,
                                   .shmem_size = CTX_TIMELINES * sizeof(uint32_t) };
    const struct ctx_create_resource blob = { .op = CTX_OP_CREATE_RESOURCE,
                                              .res_id = 1,
                                              .blob_size = 4096,
                                              .blob_flags = CTX_BLOB_MAPPABLE };
    struct ctx_create_resource_reply reply = { 0 };
    struct fdset fds = { 0 };
    size_t size;
    int words = memfd_create("words", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (words < 0 || ftruncate(words, 4096) < 0 ||
        fcntl(words, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0 ||
        seqpacket_send(fd, &init, sizeof(init), &words, 1) < 0 ||
        seqpacket_send(fd, &blob, sizeof(blob), NULL, 0) < 0 ||
        seqpacket_recv(fd, &reply, sizeof(reply), &size, &fds) < 0 || fds.count != 1) {
        die("CREATE_RESOURCE");
    }
    fdset_close(&fds);
    close(words);
}

static void first_contexts(char **command, uint32_t n)
{
    double *begin = calloc(n, sizeof(*begin)), *answer = calloc(n, sizeof(*answer));

    if (!begin || !answer) {
        die("calloc");
    }
    for (uint32_t i = 0; i < n; i++) {
        double start = now_us();
        struct server s = server_start(command);
        int one, two;

        server_init(&s);
        one = create_context(&s, 1);
        begin[i] = now_us() - start;
        sleep_us(SETTLE_US);
        start = now_us();
        two = create_context(&s, 2);
        answer[i] = now_us() - start;
        close(one);
        close(two);
        server_stop(&s);
    }
    report_times("exec_to_first_context", begin, n);
    report_times("create_context_answer", answer, n);
    free(begin);
    free(answer);
}

static void report_server(const struct server *s)
{
    char path[64], line[128];
    unsigned long kib = 0;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)s->pid);
    status = fopen(path, "re");
    while (status && fgets(line, sizeof(line), status)) {
        if (sscanf(line, "VmRSS: %lu", &kib) == 1) {
            break;
        }
    }
    if (status) {
        fclose(status);
    }
    report("contexts_in_a_row_server_rss", "KiB", (double)kib);
}

static void contexts_in_a_row(char **command, uint32_t n)
{
    double *times = calloc(n, sizeof(*times));
    struct server s = server_start(command);
    const uint32_t tenth = n < 10 ? 1 : n / 10;

    if (!times) {
        die("calloc");
    }
    server_init(&s);
    sleep_us(SETTLE_US);
    for (uint32_t i = 0; i < n; i++) {
        double start = now_us();
        int fd = create_context(&s, i + 1);

        use_context(fd);
        times[i] = now_us() - start;
        destroy_context(&s, i + 1, fd);
    }
    report_server(&s);
    report_times("contexts_in_a_row_first", times, tenth);
    report_times("contexts_in_a_row_last", times + n - tenth, tenth);
    server_stop(&s);
    free(times);
}

int main(int argc, char **argv)
{
    uint32_t n_first = 0, n_row = 0;
    int at = 1;

    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        uint32_t *n = strcmp(argv[at], "--first") == 0 ? &n_first
                      : strcmp(argv[at], "--row") == 0 ? &n_row
                                                       : NULL;

        if (!n) {
            break;
        }
        *n = (uint32_t)strtoul(argv[at + 1], NULL, 10);
    }
    if (at >= argc || argv[at][0] == '-' || n_first + n_row == 0) {
        fputs("usage: starts [--first N] [--row N] SERVER [ARGUMENT...]\n", stderr);
        return 2;
    }
    if (n_first > 0) {
        first_contexts(argv + at, n_first);
    }
    if (n_row > 0) {
        contexts_in_a_row(argv + at, n_row);
    }
    puts("}");
    return 0;
}
