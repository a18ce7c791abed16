#include "server/render/outer_jail.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>

#include "policy/sandbox.h"

static _Atomic int first_refused = -1;

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    int none = -1;

    (void)sig;
    atomic_compare_exchange_strong(&first_refused, &none, info->si_syscall);
    uc->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
}

bool outer_jail_expect(void)
{
    struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER };

    if (sandbox_seccomp_mode() != 2) {
        return false;
    }
    (void)sigaction(SIGSYS, &action, NULL);
    return true;
}

int outer_jail_refused(void)
{
    return atomic_load(&first_refused);
}
