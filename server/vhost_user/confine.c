#include "server/vhost_user/confine.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "policy/landlock.h"
#include "policy/seal.h"

static int failed(struct sandbox_failure *failure, uint32_t layer, int error, const char *what)
{
    *failure = (struct sandbox_failure){
        .layer = layer,
        .error = error,
        .exit_code = sandbox_exit_code(layer),
    };
    (void)snprintf(failure->what, sizeof(failure->what), "%s", what);
    return -error;
}

int confine_files(enum sandbox_level level, uint32_t allow_missing,
                  struct sandbox_failure *ret_failure)
{
    AUTO_CLOSE int ruleset = -1;
    int r;

    if (level == SANDBOX_LEVEL_OFF) {
        return 0;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return failed(ret_failure, SANDBOX_NO_NEW_PRIVS, errno, "prctl(PR_SET_NO_NEW_PRIVS)");
    }
    if (level == SANDBOX_LEVEL_MINIMAL) {
        return 0;
    }
    ruleset = landlock_new();
    r = ruleset < 0 ? ruleset : landlock_restrict(ruleset);
    if (r < 0 && level == SANDBOX_LEVEL_DEFAULT && (allow_missing & SANDBOX_LANDLOCK) != 0) {
        log_warn("continuing without Landlock");
        return 0;
    }
    return r < 0 ? failed(ret_failure, SANDBOX_LANDLOCK, -r, "landlock_restrict_self") : 0;
}

int confine_calls(enum sandbox_level level, struct sandbox_failure *ret_failure)
{
    uint32_t layers;
    int listener;

    if (level == SANDBOX_LEVEL_OFF) {
        log_warn("this process is not confined (--sandbox=off)");
        return 0;
    }
    return seal(&policy_vhost_user, SANDBOX_SECCOMP, &listener, &layers, ret_failure);
}
