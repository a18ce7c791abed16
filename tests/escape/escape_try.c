/*
 * escape_try LAYERS NAME TARGETS...: seals itself as a worker does and then makes one attempt to
 * get out. Prints "ESCAPED" or "REFUSED <errno name>"; a supervisor may kill it first. Every
 * attempt is chosen so that it does no harm where it succeeds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base.h"
#include "policy/jail.h"
#include "tests/escape/jailed.h"

static pid_t victim;       /* a process of the same user, outside */
static const char *folder; /* of the same user: secret, secret2 (0600), socket */
static int port;           /* of a TCP and a UDP socket on 127.0.0.1 */
static const char *abstract_name;
static int shm_id;
static uint64_t victim_address; /* of 8 readable bytes in the victim */

static const char *in_folder(const char *name)
{
    static char paths[2][256];
    static unsigned turn;
    char *path = paths[turn++ % 2];

    (void)snprintf(path, 256, "%s/%s", folder, name);
    return path;
}

static const char *of_victim(const char *name)
{
    static char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", victim, name);
    return path;
}

/* Attempts return >= 0 when they got what they wanted, else -1 with errno. */
#define ATTEMPT(name) static long name(void)

static long read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char c;

    return fd < 0 ? -1 : read(fd, &c, 1) == 1 ? 0 : (errno = EIO, -1);
}

ATTEMPT(read_passwd)
{
    return read_file("/etc/passwd");
}
ATTEMPT(read_secret)
{
    return read_file(in_folder("secret"));
}
ATTEMPT(write_secret)
{
    return open(in_folder("secret"), O_WRONLY | O_CLOEXEC);
}
ATTEMPT(create_file)
{
    return open(in_folder("created"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}
ATTEMPT(write_cache)
{
    return open(JAIL_CACHE "/created", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}
ATTEMPT(unlink_file)
{
    return unlink(in_folder("secret2"));
}
ATTEMPT(rename_file)
{
    return rename(in_folder("secret2"), in_folder("renamed"));
}
ATTEMPT(plant_symlink)
{
    return symlink("/etc/passwd", in_folder("planted"));
}
ATTEMPT(hard_link)
{
    return link(in_folder("secret"), in_folder("linked"));
}
ATTEMPT(proc_root)
{
    return read_file(of_victim("root/etc/passwd"));
}

ATTEMPT(leaked_directory)
{
    for (int fd = JAILED_FD_EXTRA + 1; fd < 256; fd++) {
        if (openat(fd, "etc/passwd", O_RDONLY | O_CLOEXEC) >= 0) {
            return 0;
        }
    }
    return -1;
}

ATTEMPT(leaked_fchdir)
{
    for (int fd = JAILED_FD_EXTRA + 1; fd < 256; fd++) {
        if (fchdir(fd) == 0) {
            return 0;
        }
    }
    return -1;
}

ATTEMPT(exec_shell)
{
    char *const argv[] = { "sh", "-c", "echo ESCAPED", NULL };

    return execv("/bin/sh", argv);
}

ATTEMPT(exec_memfd)
{
    /* A program that ends with status 77. */
    static const unsigned char elf[] = {
        0x7f, 'E',  'L',  'F', 2, 1,    1,    0,    0, 0,    0, 0,    0,    0, 0,    0,  2,
        0,    62,   0,    1,   0, 0,    0,    0x78, 0, 0x40, 0, 0,    0,    0, 0,    64, 0,
        0,    0,    0,    0,   0, 0,    0,    0,    0, 0,    0, 0,    0,    0, 0,    0,  0,
        0,    64,   0,    56,  0, 1,    0,    0,    0, 0,    0, 0,    0,    1, 0,    0,  0,
        5,    0,    0,    0,   0, 0,    0,    0,    0, 0,    0, 0,    0,    0, 0x40, 0,  0,
        0,    0,    0,    0,   0, 0x40, 0,    0,    0, 0,    0, 0x84, 0,    0, 0,    0,  0,
        0,    0,    0x84, 0,   0, 0,    0,    0,    0, 0,    0, 0x10, 0,    0, 0,    0,  0,
        0,    0xbf, 77,   0,   0, 0,    0xb8, 60,   0, 0,    0, 0x0f, 0x05,
    };
    char *const argv[] = { "x", NULL };
    char *const env[] = { NULL };
    int fd = memfd_create("x", MFD_CLOEXEC);

    if (fd < 0 || write(fd, elf, sizeof(elf)) != (ssize_t)sizeof(elf)) {
        return -1;
    }
    return syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH);
}

static long clone_with(unsigned long flags)
{
    long pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid == 0) {
        _exit(0);
    }
    return pid;
}

ATTEMPT(fork_process)
{
    return clone_with(0);
}
ATTEMPT(unshare_user)
{
    return unshare(CLONE_NEWUSER);
}
ATTEMPT(unshare_user_net)
{
    return unshare(CLONE_NEWUSER | CLONE_NEWNET);
}
ATTEMPT(clone_user_net)
{
    return clone_with(CLONE_NEWUSER | CLONE_NEWNET);
}

ATTEMPT(clone3_user)
{
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
    long pid = syscall(SYS_clone3, &args, sizeof(args));

    if (pid == 0) {
        _exit(0);
    }
    return pid;
}

ATTEMPT(setns_net)
{
    int fd = open(of_victim("ns/net"), O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -1 : setns(fd, CLONE_NEWNET);
}

ATTEMPT(setns_any)
{
    return setns(JAILED_FD_EXTRA, 0);
}
ATTEMPT(ptrace_sibling)
{
    return ptrace(PTRACE_SEIZE, victim, 0, 0);
}

ATTEMPT(vm_read_sibling)
{
    char bytes[8];
    struct iovec here = { bytes, 8 }, there = { (void *)(uintptr_t)victim_address, 8 };

    return process_vm_readv(victim, &here, 1, &there, 1, 0);
}

ATTEMPT(sibling_mem)
{
    return open(of_victim("mem"), O_RDONLY | O_CLOEXEC);
}
ATTEMPT(signal_sibling)
{
    return kill(victim, SIGCONT);
}

ATTEMPT(steal_descriptor)
{
    int pidfd = (int)syscall(SYS_pidfd_open, victim, 0);

    return pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, 0, 0);
}

ATTEMPT(queue_signal)
{
    siginfo_t info = { .si_signo = SIGCONT, .si_code = SI_QUEUE };

    return syscall(SYS_rt_sigqueueinfo, victim, SIGCONT, &info);
}

static long inet_socket(int type, bool listening)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)(listening ? 0 : port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -1;
    }
    if (type == SOCK_DGRAM) {
        return sendto(fd, "x", 1, 0, (struct sockaddr *)&a, sizeof(a));
    }
    if (listening) {
        return bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -1 : listen(fd, 1);
    }
    return connect(fd, (struct sockaddr *)&a, sizeof(a));
}

ATTEMPT(tcp_connect)
{
    return inet_socket(SOCK_STREAM, false);
}
ATTEMPT(udp_send)
{
    return inet_socket(SOCK_DGRAM, false);
}
ATTEMPT(tcp_listen)
{
    return inet_socket(SOCK_STREAM, true);
}

static long unix_connect(bool abstract)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len;

    if (fd < 0) {
        return -1;
    }
    (void)snprintf(a.sun_path + abstract, sizeof(a.sun_path) - 1, "%s",
                   abstract ? abstract_name : in_folder("socket"));
    len = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(a.sun_path + abstract);
    return connect(fd, (struct sockaddr *)&a, (socklen_t)len);
}

ATTEMPT(unix_abstract)
{
    return unix_connect(true);
}
ATTEMPT(unix_path)
{
    return unix_connect(false);
}
ATTEMPT(netlink)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
}
ATTEMPT(vsock)
{
    return socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
ATTEMPT(alg)
{
    return socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}
ATTEMPT(packet)
{
    return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
}

ATTEMPT(new_socketpair)
{
    int pair[2];

    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}

ATTEMPT(sysv_shm)
{
    return syscall(SYS_shmat, shm_id, NULL, 010000 /* SHM_RDONLY */) == -1 ? -1 : 0;
}
ATTEMPT(message_queue)
{
    return syscall(SYS_mq_open, "cordon-escape", O_RDWR | O_CREAT, 0600, NULL);
}
ATTEMPT(mount_tmpfs)
{
    return mount("x", "/usr", "tmpfs", 0, NULL);
}
ATTEMPT(umount_root)
{
    return umount2("/", MNT_DETACH);
}
ATTEMPT(open_tree_root)
{
    return syscall(SYS_open_tree, AT_FDCWD, "/", 1);
}
ATTEMPT(chroot_root)
{
    return chroot("/usr");
}
ATTEMPT(mknod_mem)
{
    return mknod(in_folder("mem"), S_IFCHR | 0600, makedev(1, 1));
}
ATTEMPT(open_kvm)
{
    return open("/dev/kvm", O_RDWR | O_CLOEXEC);
}
ATTEMPT(open_device)
{
    return open("/dev/full", O_RDWR | O_CLOEXEC);
}

ATTEMPT(file_flags)
{
    int flags;

    return ioctl(JAILED_FD_EXTRA, FS_IOC_GETFLAGS, &flags);
}

ATTEMPT(io_uring)
{
    char params[120] = { 0 };

    return syscall(SYS_io_uring_setup, 4, params);
}

ATTEMPT(userfault)
{
    return syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* user mode only */);
}

ATTEMPT(bpf_map)
{
    union bpf_attr attr = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1
    };

    return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

ATTEMPT(perf)
{
    struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
                                    .size = sizeof(attr),
                                    .config = PERF_COUNT_SW_CPU_CLOCK,
                                    .exclude_kernel = 1 };

    return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

ATTEMPT(keyctl_session)
{
    return syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -3, 1);
}
ATTEMPT(add_a_key)
{
    return syscall(SYS_add_key, "user", "cordon", "x", 1, -2);
}

ATTEMPT(become_root)
{
    bool was_root = getuid() == 0;

    return setuid(0) < 0 ? -1 : was_root ? (errno = EALREADY, -1) : 0;
}

ATTEMPT(gain_caps)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[2] = { { .effective = 1u << CAP_SYS_ADMIN,
                                                .permitted = 1u << CAP_SYS_ADMIN } };

    return syscall(SYS_capset, &header, caps);
}

ATTEMPT(read_implies_exec)
{
    return personality(READ_IMPLIES_EXEC);
}

ATTEMPT(map_rwx)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? -1 : 0;
}

ATTEMPT(write_then_exec)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

ATTEMPT(map_memfd_exec)
{
    int fd = memfd_create("x", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, 4096) < 0) {
        return -1;
    }
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0;
}

ATTEMPT(many_descriptors)
{
    for (int i = 0; i < 40000; i++) {
        if (eventfd(0, EFD_CLOEXEC) < 0) {
            return -1;
        }
    }
    return 0;
}

static void *wait_for_ever(void *arg)
{
    static pthread_mutex_t never = PTHREAD_MUTEX_INITIALIZER;

    (void)arg;
    (void)pthread_mutex_lock(&never);
    (void)pthread_mutex_lock(&never);
    return NULL;
}

ATTEMPT(many_threads)
{
    pthread_attr_t attr;

    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, 65536);
    for (int i = 0; i < 1000; i++) {
        pthread_t t;
        int r = pthread_create(&t, &attr, wait_for_ever, NULL);

        if (r != 0) {
            errno = r;
            return -1;
        }
    }
    return 0;
}

ATTEMPT(much_memory)
{
    void *p = mmap(NULL, UINT64_C(4) << 30, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? -1 : 0;
}

ATTEMPT(large_memfd)
{
    int fd = memfd_create("x", MFD_CLOEXEC);

    return fd < 0 ? -1 : ftruncate(fd, INT64_C(3) << 30);
}

ATTEMPT(dumpable)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

ATTEMPT(realtime)
{
    struct sched_param p = { .sched_priority = 1 };

    return sched_setscheduler(0, SCHED_FIFO, &p);
}

ATTEMPT(renice_sibling)
{
    return setpriority(PRIO_PROCESS, (id_t)victim, 5);
}

ATTEMPT(raise_limit)
{
    struct rlimit l = { 1 << 20, 1 << 20 };

    return setrlimit(RLIMIT_MEMLOCK, &l);
}

ATTEMPT(limit_sibling)
{
    struct rlimit l = { 64, 64 };

    return prlimit(victim, RLIMIT_CORE, &l, NULL);
}

ATTEMPT(shrink_shared)
{
    return ftruncate(JAILED_FD_EXTRA, 0);
}

#if defined(__x86_64__)
ATTEMPT(i386_call)
{
    long r;

    __asm__ volatile("int $0x80" : "=a"(r) : "a"(20 /* getpid */) : "memory");
    errno = (int)-r;
    return r < 0 ? -1 : 0;
}

ATTEMPT(x32_call)
{
    return syscall(0x40000000 | SYS_getpid);
}
ATTEMPT(io_ports)
{
    return syscall(SYS_iopl, 3);
}
ATTEMPT(local_descriptors)
{
    char ldt[16];

    return syscall(SYS_modify_ldt, 0, ldt, sizeof(ldt));
}
#endif

ATTEMPT(file_handle)
{
    struct {
        struct file_handle h;
        char space[128];
    } f = { .h.handle_bytes = 128 };
    int mount_id;

    return name_to_handle_at(AT_FDCWD, "/", &f.h, &mount_id, 0);
}

ATTEMPT(fanotify)
{
    return syscall(SYS_fanotify_init, 0x200 /* FAN_REPORT_FID */, O_RDONLY);
}
ATTEMPT(set_mm)
{
    return prctl(PR_SET_MM, PR_SET_MM_BRK, sbrk(0), 0, 0);
}

ATTEMPT(kernel_log)
{
    char text[256];

    return syscall(SYS_syslog, 3 /* READ_ALL */, text, sizeof(text));
}

ATTEMPT(set_host_name)
{
    return sethostname("cordon", 6);
}

ATTEMPT(set_clock)
{
    struct timespec now;

    return clock_gettime(CLOCK_REALTIME, &now) < 0 ? -1 : clock_settime(CLOCK_REALTIME, &now);
}

ATTEMPT(reboot_machine)
{
    return syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF,
                   0);
}

ATTEMPT(load_module)
{
    return syscall(SYS_finit_module, JAILED_FD_EXTRA, "", 0);
}

ATTEMPT(own_listener)
{
    struct sock_filter allow[] = { { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW } };
    struct sock_fprog prog = { 1, allow };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 && errno != EINVAL) {
        return -1;
    }
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
}

ATTEMPT(read_environ)
{
    return read_file("/proc/self/environ");
}
ATTEMPT(read_sys_kernel)
{
    return read_file("/sys/kernel/notes");
}
ATTEMPT(list_processes)
{
    return open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

ATTEMPT(broker_dots)
{
    return open("/dev/dri/../full", O_RDWR | O_CLOEXEC);
}
ATTEMPT(broker_slashes)
{
    return open("/dev//full", O_RDWR | O_CLOEXEC);
}

ATTEMPT(broker_unmapped)
{
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || munmap(p + 4096, 4096) < 0) {
        return -1;
    }
    memset(p, '/', 4096);
    return open(p + 4090, O_RDWR | O_CLOEXEC);
}

ATTEMPT(broker_flood)
{
    for (int i = 0; i < 20000; i++) {
        if (open("/dev/full", O_RDWR | O_CLOEXEC) >= 0) {
            return 0;
        }
    }
    return -1;
}

static long is_full(int fd)
{
    struct stat st;

    if (fd < 0) {
        return -1;
    }
    if (fstat(fd, &st) == 0 && st.st_rdev == makedev(1, 7)) {
        return 0;
    }
    errno = EACCES; /* what it may have, not what it wanted */
    return -1;
}

static char racing_path[32];
static _Atomic bool racing;

static void *race(void *arg)
{
    while (racing) {
        memcpy(racing_path, "/dev/udmabuf", 13);
        memcpy(racing_path, "/dev/full\0\0\0", 13);
    }
    return arg;
}

/* The path changes between the trap and the broker's look at it. */
ATTEMPT(broker_race)
{
    pthread_t thread;
    long r = -1;

    racing = true;
    if (pthread_create(&thread, NULL, race, NULL) != 0) {
        return -1;
    }
    for (int i = 0; i < 1000 && r < 0; i++) {
        int fd = open(racing_path, O_RDWR | O_CLOEXEC);

        r = is_full(fd);
        if (fd >= 0) {
            close(fd);
        }
    }
    racing = false;
    (void)pthread_join(thread, NULL);
    errno = ENOENT;
    return r;
}

/* A name that the broker gives, leading somewhere else in the worker's own tree. */
ATTEMPT(broker_symlink)
{
    (void)unlink("/dev/udmabuf");
    if (symlink("/dev/full", "/dev/udmabuf") < 0 && errno != EEXIST) {
        return -1;
    }
    return is_full(open("/dev/udmabuf", O_RDWR | O_CLOEXEC));
}

/* Buffers of others by their global number, or by a number that only they should know. */
ATTEMPT(gem_open)
{
    uint64_t arg[2] = { 1 };

    return syscall(SYS_ioctl, JAILED_FD_EXTRA, 0xc010640bu, arg);
}
ATTEMPT(gem_flink)
{
    uint64_t arg = 1;

    return syscall(SYS_ioctl, JAILED_FD_EXTRA, 0xc008640au, &arg);
}
ATTEMPT(prime_import)
{
    int32_t arg[3] = { 0, 0, 5 };

    return syscall(SYS_ioctl, JAILED_FD_EXTRA, 0xc00c642eu, arg);
}

/* A type and number that the policy allows, in an argument with bits that the kernel ignores. */
ATTEMPT(ioctl_high_bits)
{
    return syscall(SYS_ioctl, JAILED_FD_EXTRA, UINT64_C(0x1540086200), 0);
}
ATTEMPT(ioctl_drm)
{
    return syscall(SYS_ioctl, JAILED_FD_EXTRA, 0xc0406400u, 0);
}
ATTEMPT(ioctl_tiocsti)
{
    return ioctl(0, TIOCSTI, "x");
}
ATTEMPT(ioctl_kvm)
{
    return ioctl(JAILED_FD_EXTRA, 0xae01 /* KVM_CREATE_VM */, 0);
}
ATTEMPT(ioctl_ficlone)
{
    return ioctl(JAILED_FD_EXTRA, FICLONE, 0);
}
ATTEMPT(write_root)
{
    return open("/x", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}
ATTEMPT(remove_limits)
{
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0);
}
ATTEMPT(change_root_owner)
{
    return chmod("/", 0777);
}
ATTEMPT(set_groups)
{
    return syscall(SYS_setgroups, 0, NULL);
}
ATTEMPT(splice_pages)
{
    return vmsplice(1, &(struct iovec){ "x", 1 }, 1, 0);
}
ATTEMPT(aio)
{
    aio_context_t ctx = 0;
    return syscall(SYS_io_setup, 1, &ctx);
}

static const struct {
    int number; /* of the threat list; 0: one of our own */
    const char *name;
    long (*run)(void);
} attempts[] = {
    { 1, "read-passwd", read_passwd },
    { 2, "read-secret", read_secret },
    { 3, "write-secret", write_secret },
    { 4, "create-file", create_file },
    { 5, "unlink-file", unlink_file },
    { 6, "rename-file", rename_file },
    { 7, "plant-symlink", plant_symlink },
    { 8, "hard-link", hard_link },
    { 9, "proc-root", proc_root },
    { 10, "leaked-directory", leaked_directory },
    { 11, "leaked-fchdir", leaked_fchdir },
    { 12, "exec-shell", exec_shell },
    { 13, "exec-memfd", exec_memfd },
    { 14, "fork", fork_process },
    { 15, "unshare-user", unshare_user },
    { 16, "unshare-user-net", unshare_user_net },
    { 17, "clone-user-net", clone_user_net },
    { 18, "setns-net", setns_net },
    { 19, "ptrace-sibling", ptrace_sibling },
    { 20, "vm-read-sibling", vm_read_sibling },
    { 21, "sibling-mem", sibling_mem },
    { 22, "signal-sibling", signal_sibling },
    { 23, "steal-descriptor", steal_descriptor },
    { 24, "queue-signal", queue_signal },
    { 25, "tcp-connect", tcp_connect },
    { 26, "udp-send", udp_send },
    { 27, "tcp-listen", tcp_listen },
    { 28, "unix-abstract", unix_abstract },
    { 29, "unix-path", unix_path },
    { 30, "netlink", netlink },
    { 31, "vsock", vsock },
    { 32, "alg", alg },
    { 33, "packet", packet },
    { 34, "sysv-shm", sysv_shm },
    { 35, "message-queue", message_queue },
    { 36, "mount", mount_tmpfs },
    { 37, "umount-root", umount_root },
    { 38, "chroot", chroot_root },
    { 39, "mknod-mem", mknod_mem },
    { 40, "open-kvm", open_kvm },
    { 41, "open-device", open_device },
    { 42, "file-flags", file_flags },
    { 43, "io-uring", io_uring },
    { 44, "userfaultfd", userfault },
    { 45, "bpf", bpf_map },
    { 46, "perf-event", perf },
    { 47, "keyctl", keyctl_session },
    { 48, "add-key", add_a_key },
    { 49, "become-root", become_root },
    { 50, "gain-caps", gain_caps },
    { 51, "read-implies-exec", read_implies_exec },
    { 52, "map-rwx", map_rwx },
    { 53, "write-then-exec", write_then_exec },
    { 54, "many-descriptors", many_descriptors },
    { 55, "many-threads", many_threads },
    { 56, "much-memory", much_memory },
    { 57, "dumpable", dumpable },
    { 58, "realtime", realtime },
    { 59, "renice-sibling", renice_sibling },
    { 60, "raise-limit", raise_limit },
    { 61, "limit-sibling", limit_sibling },
    { 62, "shrink-shared", shrink_shared },
#if defined(__x86_64__)
    { 63, "i386-call", i386_call },
    { 64, "x32-call", x32_call },
    { 67, "io-ports", io_ports },
    { 68, "local-descriptors", local_descriptors },
#endif
    { 65, "file-handle", file_handle },
    { 66, "fanotify", fanotify },
    { 69, "set-mm", set_mm },
    { 70, "kernel-log", kernel_log },
    { 71, "set-host-name", set_host_name },
    { 72, "set-clock", set_clock },
    { 73, "reboot", reboot_machine },
    { 74, "load-module", load_module },
    { 75, "own-listener", own_listener },
    { 76, "read-environ", read_environ },
    { 77, "read-sys-kernel", read_sys_kernel },
    { 78, "broker-dots", broker_dots },
    { 79, "broker-race", broker_race },
    { 80, "broker-unmapped", broker_unmapped },
    { 81, "broker-symlink", broker_symlink },
    { 83, "broker-flood", broker_flood },
    { 84, "ioctl-high-bits", ioctl_high_bits },
    { 85, "ioctl-drm", ioctl_drm },
    { 86, "ioctl-tiocsti", ioctl_tiocsti },
    { 87, "ioctl-kvm", ioctl_kvm },
    { 88, "gem-open", gem_open },
    { 88, "gem-flink", gem_flink },
    { 89, "prime-import", prime_import },
    { 0, "broker-slashes", broker_slashes },
    { 0, "clone3-user", clone3_user },
    { 0, "setns-any", setns_any },
    { 0, "open-tree", open_tree_root },
    { 0, "new-socketpair", new_socketpair },
    { 0, "map-memfd-exec", map_memfd_exec },
    { 0, "large-memfd", large_memfd },
    { 0, "list-processes", list_processes },
    { 0, "ioctl-ficlone", ioctl_ficlone },
    { 0, "write-root", write_root },
    { 0, "ambient-caps", remove_limits },
    { 0, "chmod-root", change_root_owner },
    { 0, "set-groups", set_groups },
    { 0, "vmsplice", splice_pages },
    { 0, "aio", aio },
    { 0, "write-cache", write_cache },
};

int main(int argc, char **argv)
{
    uint32_t layers;
    pthread_t thread;
    long r;

    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
            printf("%d %s\n", attempts[i].number, attempts[i].name);
        }
        return 0;
    }
    if (argc != 9) {
        return 2;
    }
    layers = (uint32_t)strtoul(argv[1], NULL, 0);
    victim = atoi(argv[3]);
    victim_address = strtoull(argv[4], NULL, 0);
    folder = argv[5];
    port = atoi(argv[6]);
    abstract_name = argv[7];
    shm_id = atoi(argv[8]);
    /* A worker has threads when it is sealed: they are sealed with it. */
    if (pthread_create(&thread, NULL, wait_for_ever, NULL) != 0) {
        return 2;
    }
    jailed_seal(layers);
    for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
        if (strcmp(attempts[i].name, argv[2]) == 0) {
            char line[64];
            int len;

            errno = 0;
            r = attempts[i].run();
            len = r >= 0 ? snprintf(line, sizeof(line), "ESCAPED\n")
                         : snprintf(line, sizeof(line), "REFUSED %s\n", strerrorname_np(errno));
            (void)!write(1, line, (size_t)len);
            _exit(0);
        }
    }
    return 2;
}
