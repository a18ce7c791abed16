/*
 * What this machine itself needs for the steps that a render server is made of: the least that any
 * server could take. One line of JSON: name to {"median": ..., "unit": "us"}.
 *
 *   limits [--quick]
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/fdset.h"
#include "ipc/seqpacket.h"
#include "tests/bench/timing.h"

struct page {
    _Alignas(64) _Atomic uint32_t ping;
    _Alignas(64) _Atomic uint32_t pong;
};

static struct page *page;
static uint32_t samples;
static bool first = true;

/* The median of `n` runs of `step`, each after a pause. */
static void measure(const char *name, uint32_t n, uint32_t pause_us, void (*step)(void))
{
    double *times = calloc(n, sizeof(*times)), middle;

    if (!times) {
        die("calloc");
    }
    for (uint32_t i = 0; i < n; i++) {
        double start;

        if (pause_us) {
            sleep_us(pause_us);
        }
        start = now_us();
        step();
        times[i] = now_us() - start;
    }
    middle = median(times, n);
    printf("%s\"%s\":{\"unit\":\"us\",\"median\":%.3f,\"min\":%.3f}", first ? "{" : ",", name,
           middle, times[0]);
    first = false;
    free(times);
}

/* A child that spins must not outlive us, however we end. */
static pid_t fork_bound(void)
{
    pid_t pid = fork();

    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    return pid;
}

static pid_t start(void (*other)(void))
{
    pid_t pid;

    atomic_store(&page->ping, 0);
    atomic_store(&page->pong, 0);
    pid = fork_bound();
    if (pid == 0) {
        other();
        _exit(0);
    }
    return pid;
}

static void stop(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

/* ---- shared memory, spinning ---------------------------------------------------------------- */

static void spin_other(void)
{
    for (uint32_t n = 1;; n++) {
        while (atomic_load_explicit(&page->ping, memory_order_acquire) != n) {
        }
        atomic_store_explicit(&page->pong, n, memory_order_release);
    }
}

/* Many at once: one alone is as long as reading the clock. */
#define SPINS 1000

static void spin_step(void)
{
    uint32_t n = atomic_load(&page->ping);

    for (int i = 0; i < SPINS; i++) {
        atomic_store_explicit(&page->ping, ++n, memory_order_release);
        while (atomic_load_explicit(&page->pong, memory_order_acquire) != n) {
        }
    }
}

/* ---- shared memory, sleeping ---------------------------------------------------------------- */

static void futex_wait(_Atomic uint32_t *word, uint32_t old)
{
    while (atomic_load(word) == old) {
        (void)syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
    }
}

static void futex_wake(_Atomic uint32_t *word)
{
    atomic_fetch_add(word, 1);
    (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_other(void)
{
    for (uint32_t n = 0;; n++) {
        futex_wait(&page->ping, n);
        futex_wake(&page->pong);
    }
}

static void futex_step(void)
{
    uint32_t n = atomic_load(&page->pong);

    futex_wake(&page->ping);
    futex_wait(&page->pong, n);
}

/* ---- sockets and processes ------------------------------------------------------------------ */

static int sockets[2];

static void socket_other(void)
{
    char message[32];

    while (recv(sockets[1], message, sizeof(message), 0) > 0) {
        (void)send(sockets[1], message, sizeof(message), 0);
    }
}

static void socket_step(void)
{
    char message[32] = { 0 };

    if (send(sockets[0], message, sizeof(message), 0) < 0 ||
        recv(sockets[0], message, sizeof(message), 0) < 0) {
        die("sockets");
    }
}

/* A waiting process is handed a socket and answers on it. */
static void pass_other(void)
{
    for (;;) {
        struct fdset fds = { 0 };
        char message[8];
        size_t size;
        int fd;

        if (seqpacket_recv(sockets[1], message, sizeof(message), &size, &fds) < 0) {
            return;
        }
        fd = fdset_take(&fds, 0);
        (void)send(fd, message, 1, 0);
        close(fd);
    }
}

static void pass_step(void)
{
    char message[8] = { 0 };
    int pair[2];

    if (seqpacket_pair(pair) < 0 ||
        seqpacket_send(sockets[0], message, sizeof(message), &pair[1], 1) < 0) {
        die("pass");
    }
    close(pair[1]);
    if (recv(pair[0], message, sizeof(message), 0) < 0) {
        die("recv");
    }
    close(pair[0]);
}

static void exec_step(void)
{
    pid_t pid = vfork();

    if (pid < 0) {
        die("vfork");
    }
    if (pid == 0) {
        execl("/proc/self/exe", "limits", "--nothing", (char *)NULL);
        _exit(1);
    }
    (void)waitpid(pid, NULL, 0);
}

/* ---- memory --------------------------------------------------------------------------------- */

#define COPY (64u << 20)

static char *from, *to;

static void copy_step(void)
{
    memcpy(to, from, COPY);
}

#define TOUCHED 4096u

/* Pages of a memfd, as a guest's memory is. */
static void touch_step(void)
{
    int fd = memfd_create("touch", MFD_CLOEXEC);
    volatile char *map;

    if (fd < 0 || ftruncate(fd, TOUCHED * 4096) < 0) {
        die("memfd_create");
    }
    map = mmap(NULL, TOUCHED * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        die("mmap");
    }
    for (size_t i = 0; i < TOUCHED; i++) {
        map[i * 4096] = 1;
    }
    (void)munmap((void *)map, TOUCHED * 4096);
    close(fd);
}

/* ---- more processes than processors ---------------------------------------------------------- */

#define PAIRS 64u

static void yield_until(_Atomic uint32_t *word, uint32_t n)
{
    while (atomic_load_explicit(word, memory_order_acquire) != n) {
        sched_yield();
    }
}

static void yield_ping(struct page *p)
{
    for (uint32_t n = 1;; n++) {
        atomic_store_explicit(&p->ping, n, memory_order_release);
        yield_until(&p->pong, n);
    }
}

static void yield_pong(struct page *p)
{
    for (uint32_t n = 1;; n++) {
        yield_until(&p->ping, n);
        atomic_store_explicit(&p->pong, n, memory_order_release);
    }
}

static uint64_t answers(struct page *pages)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < PAIRS; i++) {
        sum += atomic_load(&pages[i].pong);
    }
    return sum;
}

/* What all pairs together answer in a second, if each gives the processor away as long as it waits,
 * and there is nothing else to do. */
static void measure_pairs(uint32_t ms)
{
    struct page *pages = mmap(NULL, PAIRS * sizeof(*pages), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[2 * PAIRS];
    double start;
    uint64_t before;

    if (pages == MAP_FAILED) {
        die("mmap");
    }
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
        pids[i] = fork_bound();
        if (pids[i] == 0) {
            (i % 2 ? yield_pong : yield_ping)(&pages[i / 2]);
        }
    }
    sleep_us(100000);
    before = answers(pages);
    start = now_us();
    sleep_us(ms * 1000);
    printf(",\"yielding_pairs\":{\"unit\":\"/s\",\"median\":%.0f}",
           (double)(answers(pages) - before) * 1e6 / (now_us() - start));
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
        stop(pids[i]);
    }
}

int main(int argc, char **argv)
{
    pid_t other;

    if (argc > 1 && strcmp(argv[1], "--nothing") == 0) {
        return 0;
    }
    samples = argc > 1 && strcmp(argv[1], "--quick") == 0 ? 50 : 500;
    page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    from = malloc(COPY);
    to = malloc(COPY);
    if (page == MAP_FAILED || !from || !to || seqpacket_pair(sockets) < 0) {
        die("start");
    }
    memset(from, 1, COPY);
    memset(to, 1, COPY);

    other = start(spin_other);
    measure("spin_1000", samples, 0, spin_step);
    stop(other);
    other = start(futex_other);
    measure("futex", samples * 10, 0, futex_step);
    measure("futex_after_900us", samples, 900, futex_step);
    measure("futex_after_10ms", samples / 5, 10000, futex_step);
    stop(other);
    other = start(socket_other);
    measure("seqpacket", samples * 10, 0, socket_step);
    stop(other);
    other = start(pass_other);
    measure("pass_socket", samples, 2000, pass_step);
    stop(other);
    measure("fork_exec", samples / 5, 0, exec_step);
    measure("memcpy_64mib", 10, 0, copy_step);
    measure("touch_16mib", 10, 0, touch_step);
    measure_pairs(samples * 4);
    puts("}");
    return 0;
}
