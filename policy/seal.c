#include "policy/seal.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "policy/filter.h"

/* Linux 6.3. */
#define SET_MDWE 65
#define MDWE_REFUSE_EXEC_GAIN 1UL

static int install(const struct policy_program *program, bool ask_threads, int *ret_listener)
{
    int (*put_on)(const struct policy_program *, unsigned long) =
        ask_threads ? filter_install_asking : filter_install;
    unsigned long flags = SECCOMP_FILTER_FLAG_TSYNC;
    int r;

    *ret_listener = -1;
    if (!program->notify) {
        return filter_install(program, flags);
    }
    /* ESRCH, because with a listener the kernel could not also return a thread's number. Killable:
     * a driver's signal must not make the broker answer a call that was already given up. */
    flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    r = put_on(program, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    if (r == -EINVAL) {
        r = put_on(program, flags); /* before Linux 5.19 */
    }
    if (r >= 0) {
        *ret_listener = r;
        r = 0;
    }
    return r;
}

int seal(const struct policy_program *program, uint32_t layers, bool ask_threads, int *ret_listener,
         uint32_t *ret_layers, struct sandbox_failure *ret_failure)
{
    uint32_t added = 0;
    int listener = -1;

    if ((layers & SANDBOX_MDWE) && program->mdwe) {
        if (prctl(SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) < 0) {
            return sandbox_failed(ret_failure, SANDBOX_MDWE, -errno, "prctl(PR_SET_MDWE)");
        }
        added |= SANDBOX_MDWE;
    }
    /* No core, no ptrace, no /proc entries for others of the same user. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return sandbox_failed(ret_failure, SANDBOX_CAPS, -errno, "prctl(PR_SET_DUMPABLE)");
    }
    if (layers & SANDBOX_SECCOMP) {
        int r = install(program, ask_threads, &listener);

        if (r != 0) {
            /* Without a listener a positive number is a thread that has a filter of its own. */
            return sandbox_failed(ret_failure, SANDBOX_SECCOMP, r < 0 ? r : -ESRCH,
                                  "seccomp(stage 2)");
        }
        added |= SANDBOX_SECCOMP;
    }
    *ret_listener = listener;
    *ret_layers = added;
    return 0;
}
