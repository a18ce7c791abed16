#include "server/front/renderer.h"

#include <string.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/beside.h"

static const char *const options[] = {
    "--sandbox", "--sandbox-allow-missing", "--limit", "--driver", "--device",     "--worker",
    "--spare",   "--ready-timeout",         "--stats", "--cgroup", "--policy-dir",
};

bool option_is(const char *argument, const char *name)
{
    size_t n = strcspn(argument, "=");

    return strlen(name) == n && strncmp(name, argument, n) == 0;
}

bool renderer_option(const char *argument)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        if (option_is(argument, options[i])) {
            return true;
        }
    }
    return false;
}

bool renderer_flag(const char *argument)
{
    return strcmp(argument, "--validate") == 0 || strcmp(argument, "--sandbox-learn") == 0;
}

const char *renderer_find(char *buf, size_t size)
{
    static const char *const folders[] = { "", "../render", CORDON_LIBEXECDIR, NULL };

    (void)beside_find(folders, "cordon-render-server", X_OK, buf, size);
    return buf;
}
