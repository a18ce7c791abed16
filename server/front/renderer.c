#include "server/front/renderer.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ipc/base.h"

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
    static const char *const beside[] = { "cordon-render-server",
                                          "../render/cordon-render-server" };
    char self[2048];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    self[MAX(n, 0)] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < ARRAY_SIZE(beside); i++) {
        *slash = '\0';
        if (snprintf(buf, size, "%s/%s", self, beside[i]) < (int)size && access(buf, X_OK) == 0) {
            return buf;
        }
    }
    return CORDON_LIBEXECDIR "/cordon-render-server";
}

void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}
