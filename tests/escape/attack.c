#include "tests/escape/attack.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/worker_wire.h"

static long target; /* a process id, as the host counts */
static int context_socket;
static struct worker_record *own_record;

/* Attempts return >= 0 when they got what they wanted, else -1 with errno. */
#define ATTEMPT(name) static long name(void)

static long of_target(const char *file, int flags)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%ld/%s", target, file);
    return open(path, flags | O_CLOEXEC);
}

/* ---- another context's process, and the VMM's --------------------------------------------- */

ATTEMPT(read_memory)
{
    char bytes[8];
    struct iovec here = { bytes, 8 }, there = { (void *)(uintptr_t)0x400000, 8 };

    return process_vm_readv((pid_t)target, &here, 1, &there, 1, 0);
}
ATTEMPT(write_memory)
{
    char bytes[8] = { 0 };
    struct iovec here = { bytes, 8 }, there = { (void *)(uintptr_t)0x400000, 8 };

    return process_vm_writev((pid_t)target, &here, 1, &there, 1, 0);
}
ATTEMPT(memory_file)
{
    return of_target("mem", O_RDONLY);
}
ATTEMPT(memory_file_write)
{
    return of_target("mem", O_RDWR);
}
ATTEMPT(memory_map)
{
    return of_target("maps", O_RDONLY);
}
ATTEMPT(descriptors)
{
    return of_target("fd", O_RDONLY | O_DIRECTORY);
}
ATTEMPT(trace)
{
    return ptrace(PTRACE_SEIZE, (pid_t)target, 0, 0);
}
ATTEMPT(send_signal)
{
    return kill((pid_t)target, SIGCONT);
}
ATTEMPT(thread_signal)
{
    return syscall(SYS_tgkill, target, target, SIGCONT);
}
ATTEMPT(process_descriptor)
{
    return syscall(SYS_pidfd_open, target, 0);
}
ATTEMPT(compare)
{
    return syscall(SYS_kcmp, getpid(), target, 0, 0, 0);
}
ATTEMPT(renice)
{
    return syscall(SYS_setpriority, 0, target, 19);
}

/* ---- the VMM's sockets, the network -------------------------------------------------------- */

ATTEMPT(vmm_socket)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/cordon-vmm-%ld", target);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&a, sizeof(a));
}

/* The sockets that it has lead to its own context and its own server; sends go nowhere else. */
ATTEMPT(vmm_socket_by_name)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    (void)snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/cordon-vmm-%ld", target);
    return sendto(context_socket, "x", 1, 0, (struct sockaddr *)&a, sizeof(a));
}

/* Nothing of the server's or the VMM's was left open for us. */
ATTEMPT(foreign_descriptors)
{
    for (int fd = 0; fd < 4096; fd++) {
        struct stat st;

        if (fstat(fd, &st) == 0 && (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))) {
            return fd;
        }
    }
    errno = EBADF;
    return -1;
}

ATTEMPT(reconnect)
{
    struct sockaddr a = { .sa_family = AF_UNSPEC };

    return connect(context_socket, &a, sizeof(a));
}
ATTEMPT(accept_more)
{
    return accept4(WORKER_FD_CONTROL, NULL, NULL, SOCK_CLOEXEC);
}
ATTEMPT(internet)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
ATTEMPT(datagrams)
{
    return socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}
ATTEMPT(netlink)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
}
ATTEMPT(socket_pair)
{
    int pair[2];

    return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
}

/* ---- files ------------------------------------------------------------------------------------ */

ATTEMPT(passwd)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}
ATTEMPT(secret)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/tmp/cordon-secret-%ld", target);
    return open(path, O_RDONLY | O_CLOEXEC);
}
ATTEMPT(home)
{
    return open("/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
ATTEMPT(new_file)
{
    return open("/tmp/cordon-planted", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}
ATTEMPT(new_folder)
{
    return mkdir("/usr/lib/cordon-planted", 0700);
}

/* The library that this very code is in: whoever could write it would be in the next worker. */
static const char *own_path(void)
{
    Dl_info info;

    return dladdr((void *)(uintptr_t)own_path, &info) ? info.dli_fname : "";
}
ATTEMPT(own_library)
{
    return open(own_path(), O_RDWR | O_CLOEXEC);
}
ATTEMPT(unlink_library)
{
    return unlink(own_path());
}
ATTEMPT(rename_library)
{
    return rename(own_path(), "/tmp/cordon-renamed");
}
ATTEMPT(truncate_library)
{
    return truncate(own_path(), 0);
}
ATTEMPT(change_mode)
{
    return chmod(own_path(), 0777);
}
ATTEMPT(remount)
{
    return syscall(SYS_mount, NULL, "/", NULL, 0x21 /* MS_REMOUNT|MS_RDONLY off */, NULL);
}

/* ---- processes and code ----------------------------------------------------------------------- */

ATTEMPT(fork_process)
{
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid == 0) {
        _exit(0);
    }
    return pid;
}
ATTEMPT(new_namespaces)
{
    return unshare(CLONE_NEWUSER | CLONE_NEWNS);
}
ATTEMPT(run_shell)
{
    char *const argv[] = { (char *)"sh", NULL };

    return execv("/bin/sh", argv);
}
ATTEMPT(load_library)
{
    return dlopen("libcrypt.so.1", RTLD_NOW) ? 0 : (errno = ELIBACC, -1);
}
ATTEMPT(code_from_file)
{
    int fd = memfd_create("code", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, 4096) < 0) {
        return -1;
    }
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0;
}
ATTEMPT(new_code)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) == MAP_FAILED
               ? -1
               : 0;
}
ATTEMPT(own_filter)
{
    return syscall(SYS_seccomp, 1 /* SET_MODE_FILTER */, 8 /* NEW_LISTENER */, NULL);
}
ATTEMPT(async_calls)
{
    char params[120] = { 0 };

    return syscall(SYS_io_uring_setup, 4, params);
}

/* ---- devices ------------------------------------------------------------------------------------ */

ATTEMPT(kvm)
{
    return open("/dev/kvm", O_RDWR | O_CLOEXEC);
}
ATTEMPT(memory_device)
{
    return open("/dev/mem", O_RDWR | O_CLOEXEC);
}
ATTEMPT(other_gpu)
{
    return open("/dev/dri/renderD129", O_RDWR | O_CLOEXEC);
}
ATTEMPT(display)
{
    return open("/dev/dri/card0", O_RDWR | O_CLOEXEC);
}
ATTEMPT(nvidia)
{
    return open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
}
ATTEMPT(tty)
{
    return open("/dev/tty", O_RDWR | O_CLOEXEC);
}
ATTEMPT(make_device)
{
    return mknod("/dev/planted", S_IFCHR | 0600, makedev(1, 1));
}
ATTEMPT(device_by_path)
{
    return open("/dev/../dev/udmabuf", O_RDWR | O_CLOEXEC);
}
ATTEMPT(foreign_ioctl)
{
    return ioctl(WORKER_FD_NULL, 0xae01 /* KVM_CREATE_VM */, 0);
}

/* ---- what it may have, until there is too much -------------------------------------------------- */

/* The kernel's count ends this, not the worker's own. */
ATTEMPT(eat_memory)
{
    for (int i = 0; i < 4096; i++) {
        int fd = memfd_create("food", MFD_CLOEXEC);
        void *p;

        if (fd < 0 || ftruncate(fd, 16 << 20) < 0) {
            return -1;
        }
        p = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            return -1;
        }
        memset(p, 1, 16 << 20);
        (void)munmap(p, 16 << 20);
    }
    return 0;
}

static void *sleeper(void *arg)
{
    for (;;) {
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ .tv_sec = 100 }, NULL);
    }
    return arg;
}

ATTEMPT(many_threads)
{
    pthread_attr_t attr;

    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, 65536);
    for (int i = 0; i < 1000; i++) {
        pthread_t t;
        int r = pthread_create(&t, &attr, sleeper, NULL);

        if (r != 0) {
            errno = r;
            return -1;
        }
    }
    return 0;
}

/* What the record page says of lost devices is the worker's word: the worst one. */
ATTEMPT(lose_devices)
{
    atomic_store(&own_record->devices_lost, target < 0 ? UINT64_MAX : (uint64_t)target);
    return 0;
}

static void *spinner(void *arg)
{
    for (volatile uint64_t i = 0;; i++) {
    }
    return arg;
}

ATTEMPT(spin)
{
    for (int i = 0; i < 4; i++) {
        pthread_t t;

        (void)pthread_create(&t, NULL, spinner, NULL);
    }
    (void)spinner(NULL);
    return 0;
}

static const struct {
    const char *name;
    long (*run)(void);
} attempts[] = {
    { "read-memory", read_memory },
    { "write-memory", write_memory },
    { "memory-file", memory_file },
    { "memory-file-write", memory_file_write },
    { "memory-map", memory_map },
    { "descriptors", descriptors },
    { "ptrace", trace },
    { "signal", send_signal },
    { "thread-signal", thread_signal },
    { "pidfd", process_descriptor },
    { "kcmp", compare },
    { "renice", renice },
    { "vmm-socket", vmm_socket },
    { "vmm-sendto", vmm_socket_by_name },
    { "foreign-fds", foreign_descriptors },
    { "reconnect", reconnect },
    { "accept", accept_more },
    { "internet", internet },
    { "datagrams", datagrams },
    { "netlink", netlink },
    { "socketpair", socket_pair },
    { "passwd", passwd },
    { "secret", secret },
    { "home", home },
    { "new-file", new_file },
    { "new-folder", new_folder },
    { "own-library", own_library },
    { "unlink-library", unlink_library },
    { "rename-library", rename_library },
    { "truncate-library", truncate_library },
    { "chmod-library", change_mode },
    { "remount", remount },
    { "fork", fork_process },
    { "namespaces", new_namespaces },
    { "exec", run_shell },
    { "dlopen", load_library },
    { "code-from-file", code_from_file },
    { "new-code", new_code },
    { "own-filter", own_filter },
    { "io-uring", async_calls },
    { "kvm", kvm },
    { "dev-mem", memory_device },
    { "other-gpu", other_gpu },
    { "display", display },
    { "nvidia", nvidia },
    { "tty", tty },
    { "mknod", make_device },
    { "device-by-path", device_by_path },
    { "foreign-ioctl", foreign_ioctl },
    { "eat-memory", eat_memory },
    { "many-threads", many_threads },
    { "lose-devices", lose_devices },
    { "spin", spin },
};

__attribute__((visibility("default"))) const char *attack(const char *order, int context_fd,
                                                          struct worker_record *record)
{
    static char outcome[64];
    size_t len = strcspn(order, " ");

    target = strtol(order + len, NULL, 10);
    context_socket = context_fd;
    own_record = record;
    for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
        long r;

        if (strlen(attempts[i].name) != len || strncmp(attempts[i].name, order, len) != 0) {
            continue;
        }
        errno = 0;
        r = attempts[i].run();
        (void)snprintf(outcome, sizeof(outcome), "%s%s", r >= 0 ? "ESCAPED" : "refused ",
                       r >= 0 ? "" : strerrorname_np(errno));
        return outcome;
    }
    return NULL;
}
