#include "policy/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/cleanup.h"

static int install(const struct sock_filter *code, size_t n_code, unsigned long flags)
{
    struct sock_fprog prog = {
        .len = (unsigned short)n_code,
        .filter = (struct sock_filter *)code, /* the kernel copies it */
    };
    long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);

    return r < 0 ? -errno : (int)r;
}

int filter_install(const struct policy_program *program, unsigned long flags)
{
    return install(program->code, program->n_code, flags);
}

#if defined(__x86_64__)
#define AUDIT_ARCH_NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define AUDIT_ARCH_NATIVE AUDIT_ARCH_AARCH64
#else
#error "which architecture do filters see?"
#endif

#define LOAD(field) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
/* Else on, past so many instructions. */
#define MUST_BE(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)

int filter_install_asking(const struct policy_program *program, unsigned long flags)
{
    /* In front of the program, as only one filter may have a listener. Of the argument the kernel
     * takes the low half. */
    static const struct sock_filter ask[] = {
        LOAD(arch),
        MUST_BE(AUDIT_ARCH_NATIVE, 5),
        LOAD(nr),
        MUST_BE(SYS_clone, 3),
        LOAD(args[0]),
        MUST_BE(FILTER_THREAD_FLAGS, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    size_t n = ARRAY_SIZE(ask) + program->n_code;
    AUTO_FREE struct sock_filter *code = n <= BPF_MAXINSNS ? malloc(n * sizeof(*code)) : NULL;

    if (!code) {
        return n <= BPF_MAXINSNS ? -ENOMEM : -E2BIG;
    }
    memcpy(code, ask, sizeof(ask));
    memcpy(code + ARRAY_SIZE(ask), program->code, program->n_code * sizeof(*code));
    return install(code, n, flags);
}
