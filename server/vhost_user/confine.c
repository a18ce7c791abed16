#include "server/vhost_user/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "policy/landlock.h"
#include "policy/seal.h"

/* No capability is left, and what the guest has in its memory comes into no core dump. */
static int give_up_rights(struct sandbox_failure *failure)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[2] = { 0 };
    const struct rlimit no_core = { 0, 0 };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return sandbox_failed(failure, SANDBOX_NO_NEW_PRIVS, -errno, "prctl(PR_SET_NO_NEW_PRIVS)");
    }
    if (setrlimit(RLIMIT_CORE, &no_core) < 0) {
        return sandbox_failed(failure, SANDBOX_RLIMITS, -errno, "setrlimit(CORE)");
    }
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0) {
        return sandbox_failed(failure, SANDBOX_CAPS, -errno, "capset");
    }
    return 0;
}

int confine_files(enum sandbox_level level, uint32_t allow_missing,
                  struct sandbox_failure *ret_failure)
{
    AUTO_CLOSE int ruleset = -1;
    int r;

    if (level == SANDBOX_LEVEL_OFF) {
        return 0;
    }
    r = give_up_rights(ret_failure);
    if (r < 0 || level == SANDBOX_LEVEL_MINIMAL) {
        return r;
    }
    ruleset = landlock_new();
    r = ruleset < 0 ? ruleset : landlock_restrict(ruleset);
    if (r < 0 && level == SANDBOX_LEVEL_DEFAULT && (allow_missing & SANDBOX_LANDLOCK) != 0) {
        log_warn("continuing without Landlock");
        return 0;
    }
    return r < 0 ? sandbox_failed(ret_failure, SANDBOX_LANDLOCK, r, "landlock_restrict_self") : 0;
}

int confine_calls(enum sandbox_level level, struct sandbox_failure *ret_failure)
{
    uint32_t layers;
    int listener;

    if (level == SANDBOX_LEVEL_OFF) {
        log_warn("this process is not confined (--sandbox=off)");
        return 0;
    }
    return seal(&policy_vhost_user, SANDBOX_SECCOMP, false, &listener, &layers, ret_failure);
}
