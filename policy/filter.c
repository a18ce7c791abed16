#include "policy/filter.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

int filter_install(const struct policy_program *program, unsigned long flags)
{
    struct sock_fprog prog = {
        .len = program->n_code,
        .filter = (struct sock_filter *)program->code, /* the kernel copies it */
    };
    long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);

    return r < 0 ? -errno : (int)r;
}
