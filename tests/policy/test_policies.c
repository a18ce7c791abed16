/* Every compiled policy against a table of calls: what is given, refused softly, or asked about. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base.h"
#include "policy/filter.h"
#include "policy/program.h"
#include "tests/policy/simulate.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif

#define ALLOW SECCOMP_RET_ALLOW
#define ASK SECCOMP_RET_USER_NOTIF
#define KILL SECCOMP_RET_KILL_PROCESS
#define SOFT(e) (SECCOMP_RET_ERRNO | (e))
#define TELL(e) (SECCOMP_RET_USER_NOTIF | (e)) /* refused by the supervisor, which logs it */

#define THREAD 0x3d0f00
#define HIGH (UINT64_C(1) << 32)
#define IOC(type, nr) (0xc0100000u | (unsigned)(type) << 8 | (nr))

struct call_case {
    uint32_t expected;
    long nr;
    uint64_t args[6];
};

/* True of every sealed worker. */
static const struct call_case common[] = {
    { ALLOW, SYS_futex, {} },
    { ALLOW, SYS_read, { 3, 4, 5 } },
    { ALLOW, SYS_sendmsg, {} },
    { ALLOW, SYS_recvmsg, {} },
    { ALLOW, SYS_sched_yield, {} },
    { ALLOW, SYS_epoll_pwait, {} },
    { ALLOW, SYS_epoll_ctl, {} },
    { ALLOW, SYS_timerfd_settime, {} },
    { ALLOW, SYS_clock_nanosleep, {} },
    { ALLOW, SYS_exit_group, {} },
    { ALLOW, SYS_close, {} },
    { ALLOW, SYS_clone, { THREAD } },
    { SOFT(ENOSYS), SYS_clone3, {} },
    { ALLOW, SYS_memfd_create, { 0, 1 } },
    { ALLOW, SYS_memfd_create, { 0, 11 } },
    { ASK, SYS_memfd_create, { 0, 4 /* hugetlb */ } },
    { ASK, SYS_memfd_create, { 0, 16 /* exec */ } },
    { ASK, SYS_memfd_create, { 0, 1 | HIGH } },
    { ALLOW, SYS_eventfd2, { 0, 0x80801 } },
    { ASK, SYS_eventfd2, { 0, 2 } },
    { ALLOW, SYS_fcntl, { 3, 1033 } },
    { ALLOW, SYS_fcntl, { 3, 1030 } },
    { SOFT(EINVAL), SYS_fcntl, { 3, F_SETFL } },
    { SOFT(EINVAL), SYS_fcntl, { 3, F_SETOWN } },
    { ALLOW, SYS_prctl, { PR_SET_NAME } },
    { SOFT(EINVAL), SYS_prctl, { PR_SET_DUMPABLE } },
    { SOFT(EINVAL), SYS_prctl, { PR_SET_SECCOMP } },
    { ALLOW, SYS_madvise, { 0, 0, MADV_DONTNEED } },
    { ALLOW, SYS_madvise, { 0, 0, 102 } },
    { SOFT(EINVAL), SYS_madvise, { 0, 0, MADV_HWPOISON } },
    { ALLOW, SYS_mremap, { 0, 0, 0, MREMAP_MAYMOVE } },
    { ASK, SYS_mremap, { 0, 0, 0, MREMAP_MAYMOVE | MREMAP_FIXED } },
    { ALLOW, SYS_sendto, { 3, 0, 0, 0, 0 } },
    { ASK, SYS_sendto, { 3, 0, 0, 0, 0x1000 } },
    { ASK, SYS_recvfrom, { 3, 0, 0, 0, HIGH } },
    { ALLOW, SYS_openat, { 0, 0, O_RDONLY | O_CLOEXEC } },
    { ALLOW, SYS_openat, { 0, 0, O_RDONLY | O_DIRECTORY } },
    { ASK, SYS_openat, { 0, 0, O_RDWR | O_CLOEXEC } },
    { ASK, SYS_openat, { 0, 0, O_WRONLY } },
    { ASK, SYS_openat, { 0, 0, O_RDONLY | O_CREAT } },
    { ASK, SYS_openat, { 0, 0, O_PATH } },
    { ALLOW, SYS_rt_sigaction, { 33 } },
    { SOFT(EPERM), SYS_rt_sigaction, { 6 } },
    { SOFT(EPERM), SYS_tgkill, {} },
    { SOFT(EPERM), SYS_setpriority, {} },
    { SOFT(EPERM), SYS_prlimit64, {} },
    { TELL(EAFNOSUPPORT), SYS_socket, { 1 } },
    { TELL(EACCES), SYS_connect, {} },
    { TELL(EACCES), SYS_unlinkat, {} },
    { TELL(EPERM), SYS_mknodat, {} },
    { SOFT(ENOSYS), SYS_statx, {} },
    { ALLOW, SYS_mmap, { 0, 4096, PROT_READ | PROT_WRITE } },
    { ALLOW, SYS_mmap, { 0, 4096, PROT_NONE } },
    { ALLOW, SYS_mprotect, { 0, 4096, PROT_READ } },
    { ALLOW, SYS_ioctl, { 3, IOC('b', 0x00) } },
    { ALLOW, SYS_ioctl, { 3, IOC('b', 0x03) } },
    { ASK, SYS_ioctl, { 3, IOC('b', 0x03) | HIGH } },
    { ASK, SYS_ioctl, { 3, IOC('b', 0x01) } },
    { ASK, SYS_ioctl, { 3, 0x5412 /* TIOCSTI */ } },
    { ASK, SYS_ioctl, { 3, 0xae01 /* KVM_CREATE_VM */ } },
    { ASK, SYS_ioctl, { 3, 0x40049409 /* FICLONE */ } },
    { ASK, SYS_execve, {} },
    { ASK, SYS_execveat, {} },
    { ASK, SYS_ptrace, {} },
    { ASK, SYS_mount, {} },
    { ASK, SYS_unshare, {} },
    { ASK, SYS_setns, {} },
    { ASK, SYS_bpf, {} },
    { ASK, SYS_keyctl, {} },
    { ASK, SYS_io_uring_setup, {} },
    { ASK, SYS_userfaultfd, {} },
    { ASK, SYS_perf_event_open, {} },
    { ASK, SYS_seccomp, {} },
    { ASK, SYS_kill, {} },
    { ASK, SYS_setuid, {} },
    { ASK, SYS_capset, {} },
    { ASK, SYS_process_vm_readv, {} },
    { ASK, SYS_pidfd_open, {} },
    { ASK, SYS_openat2, {} },
    { ASK, SYS_bind, {} },
    { ASK, SYS_socketpair, {} },
    { ASK, SYS_personality, {} },
    { ASK, SYS_epoll_create1, {} },
    { ASK, 600, {} }, /* newer than any kernel we know */
    { ASK, 0x3fffffff, {} },
};

static const struct call_case lavapipe[] = {
    { ALLOW, SYS_mmap, { 0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS } },
    { ASK, SYS_mmap, { 0, 4096, 7, MAP_SHARED } },
    { ASK, SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE } },
    { ALLOW, SYS_mprotect, { 0, 4096, PROT_READ | PROT_EXEC } },
    { ASK, SYS_mprotect, { 0, 4096, 7 } },
    { ALLOW, SYS_ioctl, { 3, IOC('u', 0x42) } },
    { ASK, SYS_ioctl, { 3, IOC('d', 0x00) } },
};

static const struct call_case hardware[] = {
    { SOFT(EPERM), SYS_mmap, { 0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS } },
    { SOFT(EPERM), SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC } },
    { SOFT(EPERM), SYS_mmap, { 0, 4096, PROT_READ | HIGH } },
    { SOFT(EPERM), SYS_mprotect, { 0, 4096, PROT_READ | PROT_EXEC } },
    { ASK, SYS_ioctl, { 3, IOC('u', 0x42) } },
};

static const struct call_case drm[] = {
    { ALLOW, SYS_ioctl, { 3, IOC('d', 0x00) } },
    { ALLOW, SYS_ioctl, { 3, IOC('d', 0x09) } },
    { ALLOW, SYS_ioctl, { 3, IOC('d', 0xc3) } },
    { ALLOW, SYS_ioctl, { 3, IOC('d', 0xcd) } },
    { ALLOW, SYS_ioctl, { 3, IOC('>', 0x04) } },
    /* A larger structure of a newer header is the same call. */
    { ALLOW, SYS_ioctl, { 3, 0xc02864c3 } },
    { ASK, SYS_ioctl, { 3, IOC('d', 0x0a) /* GEM_FLINK */ } },
    { ASK, SYS_ioctl, { 3, IOC('d', 0x0b) /* GEM_OPEN */ } },
    { ASK, SYS_ioctl, { 3, IOC('d', 0x11) /* AUTH_MAGIC */ } },
    { ASK, SYS_ioctl, { 3, IOC('d', 0x1e) /* SET_MASTER */ } },
    { ASK, SYS_ioctl, { 3, IOC('d', 0xa0) /* MODE_GETRESOURCES */ } },
    { ASK, SYS_ioctl, { 3, IOC('e', 0x00) } },
    { ASK, SYS_ioctl, { 3, IOC('F', 0x2a) } },
};

/* What one driver gives and leaves out, as ioctl type and numbers. */
static const struct {
    const char *driver;
    char type;
    uint8_t given[24]; /* 0 at the end */
    uint8_t left_out[12];
} overlays[] = {
    { "radv",
      'd',
      { 0x40, 0x41, 0x42, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x50, 0x53 },
      { 0x43, 0x52, 0x54, 0x55, 0x56, 0x57, 0x58 } },
    { "anv-i915",
      'd',
      { 0x46, 0x5b, 0x61, 0x62, 0x63, 0x64, 0x69, 0x6c, 0x6d, 0x6e, 0x6f, 0x71, 0x72, 0x74, 0x75,
        0x79, 0x7a, 0x7b, 0x7c },
      { 0x40, 0x76, 0x77, 0x78 } },
    { "anv-xe",
      'd',
      { 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a },
      { 0x4b } },
    { "nvk",
      'd',
      { 0x40, 0x42, 0x43, 0x47, 0x50, 0x51, 0x52, 0x53, 0x80, 0x82, 0x83, 0x84 },
      { 0x41, 0x48, 0x49, 0x81 } },
    { "turnip",
      'd',
      { 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x4a, 0x4b, 0x4c, 0x4d },
      { 0x49, 0x4e } },
    { "panvk",
      'd',
      { 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c },
      { 0x4d } },
    { "nvidia",
      'F',
      { 0x27, 0x29, 0x2a, 0x2b, 0x34, 0x35, 0x41, 0x4a, 0x4e, 0x4f, 0x54,
        0x57, 0x58, 0x5c, 0x5d, 0x5e, 0xc8, 0xd2, 0xd4, 0xd6, 0xd7, 0xda },
      { 0xd3, 0x39, 0x4d, 0x38, 0x33, 0x56 } },
};

static const struct call_case stage1[] = {
    { ALLOW, SYS_execveat, {} },
    { ALLOW, SYS_seccomp, {} },
    { ALLOW, SYS_openat, { 0, 0, O_RDWR } },
    { ALLOW, SYS_clone, { THREAD } },
    { ASK, SYS_clone, { CLONE_NEWUSER } },
    { ASK, SYS_clone, { THREAD | CLONE_NEWNS } },
    { SOFT(ENOSYS), SYS_clone3, {} },
    { SOFT(ENOSYS), SYS_kcmp, {} },
    { ALLOW, SYS_socket, { 1 } },
    { ASK, SYS_socket, { 2 } },
    { ASK, SYS_socket, { 16 } },
    { ALLOW, SYS_personality, { 0xffffffff } },
    { ASK, SYS_personality, { 0x0400000 } },
    { ASK, SYS_mount, {} },
    { ASK, SYS_ptrace, {} },
    { ASK, SYS_process_vm_readv, {} },
    { ASK, SYS_bpf, {} },
    { ASK, SYS_keyctl, {} },
    { ASK, SYS_io_uring_setup, {} },
    { ASK, SYS_userfaultfd, {} },
    { ASK, SYS_perf_event_open, {} },
    { ASK, SYS_setns, {} },
    { ASK, SYS_unshare, {} },
    { ASK, SYS_finit_module, {} },
    { ASK, SYS_kexec_load, {} },
};

/* The server clones workers, maps their ids, and its children mount and exec. */
static const struct call_case server[] = {
    { ALLOW, SYS_clone3, {} },
    { ALLOW, SYS_mount, {} },
    { ALLOW, SYS_pivot_root, {} },
    { ALLOW, SYS_execveat, {} },
    { ALLOW, SYS_pidfd_send_signal, {} },
    { ALLOW, SYS_process_vm_readv, {} },
    { ALLOW, SYS_seccomp, {} },
    { ASK, SYS_ptrace, {} },
    { ASK, SYS_io_uring_setup, {} },
    { ASK, SYS_bpf, {} },
    { ASK, SYS_socket, { 2 } },
};

static void expect_action(const struct policy_program *program, uint32_t arch,
                          const struct call_case *c)
{
    struct seccomp_data data = { .nr = (int)c->nr, .arch = arch };
    unsigned steps;
    uint32_t got;

    memcpy(data.args, c->args, sizeof(c->args));
    got = simulate(program, &data, &steps);
    if (got != c->expected) {
        fail_msg("%s: call %ld(%#llx, %#llx, %#llx, %#llx): 0x%08x instead of 0x%08x",
                 program->name, c->nr, (unsigned long long)c->args[0],
                 (unsigned long long)c->args[1], (unsigned long long)c->args[2],
                 (unsigned long long)c->args[3], got, c->expected);
    }
}

static void expect_actions(const struct policy_program *program, const struct call_case *cases,
                           size_t n)
{
    assert_non_null(program);
    for (size_t i = 0; i < n; i++) {
        expect_action(program, ARCH, &cases[i]);
    }
}

/* Pages of a process never reach a GPU; drivers find out by trying. */
static void user_pointers_are_not_there(void **state)
{
    static const struct call_case amdgpu = { SOFT(ENODEV), SYS_ioctl, { 3, IOC('d', 0x51) } };
    static const struct call_case i915 = { SOFT(ENODEV), SYS_ioctl, { 3, IOC('d', 0x73) } };
    static const struct call_case high = { ASK, SYS_ioctl, { 3, IOC('d', 0x73) | HIGH } };

    (void)state;
    expect_action(policy_worker("radv"), ARCH, &amdgpu);
    expect_action(policy_worker("anv-i915"), ARCH, &i915);
    expect_action(policy_worker("anv-i915"), ARCH, &high);
}

static void every_worker_keeps_the_common_rules(void **state)
{
    (void)state;
    for (const char *const *name = policy_worker_names(); *name; name++) {
        expect_actions(policy_worker(*name), common, ARRAY_SIZE(common));
        assert_true(policy_worker(*name)->notify);
    }
}

static void lavapipe_has_its_exceptions_and_no_more(void **state)
{
    (void)state;
    expect_actions(policy_worker("lavapipe"), lavapipe, ARRAY_SIZE(lavapipe));
    assert_false(policy_worker("lavapipe")->mdwe);
    assert_string_equal(policy_worker("lavapipe")->broker[0], "/dev/udmabuf");
    assert_null(policy_worker("lavapipe")->broker[1]);
}

static void hardware_drivers_have_no_executable_memory(void **state)
{
    (void)state;
    for (const char *const *name = policy_worker_names(); *name; name++) {
        if (strcmp(*name, "lavapipe") != 0) {
            expect_actions(policy_worker(*name), hardware, ARRAY_SIZE(hardware));
            assert_true(policy_worker(*name)->mdwe);
        }
        if (strcmp(*name, "lavapipe") != 0 && strcmp(*name, "nvidia") != 0) {
            expect_actions(policy_worker(*name), drm, ARRAY_SIZE(drm));
        }
    }
}

/* A process is a violation, but for the one driver that habitually starts a helper and copes. */
static void nobody_starts_processes(void **state)
{
    static const uint64_t kinds[] = {
        SIGCHLD,
        CLONE_VM | CLONE_VFORK | SIGCHLD,
        THREAD | CLONE_NEWUSER,
        THREAD | HIGH,
    };

    (void)state;
    for (const char *const *name = policy_worker_names(); *name; name++) {
        uint32_t expected = strcmp(*name, "nvidia") == 0 ? SOFT(EPERM) : ASK;
        struct call_case vfork_case = { expected, SYS_vfork, {} };

        expect_action(policy_worker(*name), ARCH, &vfork_case);
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
            struct call_case c = { expected, SYS_clone, { kinds[i] } };

            expect_action(policy_worker(*name), ARCH, &c);
        }
    }
}

static void each_driver_gets_its_own_ioctls(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(overlays); i++) {
        const struct policy_program *program = policy_worker(overlays[i].driver);

        for (const uint8_t *nr = overlays[i].given; *nr; nr++) {
            struct call_case c = { ALLOW, SYS_ioctl, { 3, IOC(overlays[i].type, *nr) } };

            expect_action(program, ARCH, &c);
        }
        for (const uint8_t *nr = overlays[i].left_out; *nr; nr++) {
            struct call_case c = { ASK, SYS_ioctl, { 3, IOC(overlays[i].type, *nr) } };

            expect_action(program, ARCH, &c);
        }
    }
}

/* All 65536 types and numbers: the search must not find what the list does not hold. */
static void exactly_the_listed_ioctls_pass(void **state)
{
    static const struct {
        const char *driver;
        unsigned n;
    } counts[] = {
        { "lavapipe", 4 }, { "radv", 32 },   { "anv-i915", 40 }, { "anv-xe", 32 },
        { "nvk", 33 },     { "turnip", 34 }, { "panvk", 34 },    { "nvidia", 30 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        const struct policy_program *program = policy_worker(counts[i].driver);
        unsigned n = 0, steps;

        for (uint32_t request = 0; request < 0x10000; request++) {
            struct seccomp_data data = { .nr = SYS_ioctl, .arch = ARCH, .args = { 3, request } };

            n += simulate(program, &data, &steps) == ALLOW;
        }
        assert_int_equal(n, counts[i].n);
    }
}

static void stage1_leaves_what_loading_needs(void **state)
{
    (void)state;
    expect_actions(&policy_worker_stage1, stage1, ARRAY_SIZE(stage1));
}

static void server_can_still_make_jails(void **state)
{
    (void)state;
    expect_actions(&policy_server, server, ARRAY_SIZE(server));
}

/* The vhost-user device sees a guest's memory: nothing to open, start or reach. */
static const struct call_case vhost_user[] = {
    { ALLOW, SYS_epoll_pwait, {} },
    { ALLOW, SYS_sendmsg, {} },
    { ALLOW, SYS_recvmsg, {} },
    { ALLOW, SYS_accept4, {} },
    { ALLOW, SYS_mmap, { 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED } },
    { KILL, SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE } },
    { KILL, SYS_mprotect, { 0, 4096, PROT_READ | PROT_EXEC } },
    { KILL, SYS_mremap, { 0, 0, 0, MREMAP_MAYMOVE | MREMAP_FIXED } },
    { KILL, SYS_memfd_create, { 0, 16 /* exec */ } },
    { SOFT(EINVAL), SYS_fcntl, { 3, F_SETOWN } },
    { SOFT(EACCES), SYS_newfstatat, { 0, 0, 0, 0 } },
    { KILL, SYS_openat2, {} },
    { KILL, SYS_openat, {} },
    { KILL, SYS_unlinkat, {} },
    { KILL, SYS_execve, {} },
    { KILL, SYS_clone, {} },
    { KILL, SYS_clone3, {} },
    { KILL, SYS_socket, {} },
    { KILL, SYS_connect, {} },
    { KILL, SYS_bind, {} },
    { KILL, SYS_ioctl, {} },
    { KILL, SYS_kill, {} },
    { KILL, SYS_pidfd_send_signal, {} },
    { KILL, SYS_ptrace, {} },
    { KILL, SYS_process_vm_readv, {} },
    { KILL, SYS_prctl, { PR_SET_DUMPABLE, 1 } },
    { KILL, SYS_setrlimit, {} },
    { KILL, SYS_prlimit64, {} },
    { KILL, SYS_io_uring_setup, {} },
    { KILL, SYS_userfaultfd, {} },
    { KILL, SYS_bpf, {} },
};

static void device_over_vhost_user(void **state)
{
    (void)state;
    expect_actions(&policy_vhost_user, vhost_user, ARRAY_SIZE(vhost_user));
}

static const struct policy_program *nth_program(size_t i)
{
    static const struct policy_program *const fixed[] = { &policy_worker_stage1, &policy_server,
                                                          &policy_vhost_user };
    size_t n = 0;

    while (policy_worker_names()[n]) {
        n++;
    }
    return i < n                       ? policy_worker(policy_worker_names()[i])
           : i < n + ARRAY_SIZE(fixed) ? fixed[i - n]
                                       : NULL;
}

static void foreign_calls_are_killed(void **state)
{
    const struct call_case foreign = { KILL, SYS_read, {} };
#if defined(__x86_64__)
    const struct call_case x32 = { KILL, 0x40000000 | SYS_read, {} };
#endif

    (void)state;
    for (size_t i = 0; nth_program(i); i++) {
        expect_action(nth_program(i), AUDIT_ARCH_I386, &foreign);
        expect_action(nth_program(i), AUDIT_ARCH_ARM, &foreign);
#if defined(__x86_64__)
        expect_action(nth_program(i), ARCH, &x32);
#endif
    }
}

/* No call takes more than a few dozen instructions, wherever it stands in the list. */
static void every_answer_comes_quickly(void **state)
{
    (void)state;
    for (size_t i = 0; nth_program(i); i++) {
        for (int nr = 0; nr < 500; nr++) {
            struct seccomp_data data = { .nr = nr,
                                         .arch = ARCH,
                                         .args = { -1, -1, -1, -1, -1, -1 } };
            unsigned steps;

            assert_int_not_equal(simulate(nth_program(i), &data, &steps), 0xffffffffu);
            assert_in_range(steps, 1, 64);
        }
    }
}

/* In a child: a filter cannot be taken off again. */
static int install_in_child(const struct policy_program *program)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        _exit(filter_install(program, 0) == 0 ? 0 : 1);
    }
    (void)waitpid(pid, &status, 0);
    return status;
}

static void kernel_accepts_every_program(void **state)
{
    (void)state;
    for (size_t i = 0; nth_program(i); i++) {
        if (install_in_child(nth_program(i)) != 0) {
            fail_msg("%s is refused by the kernel", nth_program(i)->name);
        }
    }
}

static void unknown_driver_has_no_policy(void **state)
{
    (void)state;
    assert_null(policy_worker("voodoo"));
    assert_null(policy_worker(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_worker_keeps_the_common_rules),
        cmocka_unit_test(lavapipe_has_its_exceptions_and_no_more),
        cmocka_unit_test(nobody_starts_processes),
        cmocka_unit_test(user_pointers_are_not_there),
        cmocka_unit_test(hardware_drivers_have_no_executable_memory),
        cmocka_unit_test(each_driver_gets_its_own_ioctls),
        cmocka_unit_test(exactly_the_listed_ioctls_pass),
        cmocka_unit_test(stage1_leaves_what_loading_needs),
        cmocka_unit_test(server_can_still_make_jails),
        cmocka_unit_test(device_over_vhost_user),
        cmocka_unit_test(foreign_calls_are_killed),
        cmocka_unit_test(every_answer_comes_quickly),
        cmocka_unit_test(kernel_accepts_every_program),
        cmocka_unit_test(unknown_driver_has_no_policy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
