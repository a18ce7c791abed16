#include "server/front/renderer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/beside.h"

static const char *const with_value[] = {
    "--sandbox", "--sandbox-allow-missing", "--limit", "--driver", "--device",     "--worker",
    "--spare",   "--ready-timeout",         "--stats", "--cgroup", "--policy-dir", NULL,
};

static const char *const flags[] = { "--validate", "--sandbox-learn", NULL };

bool option_is(const char *argument, const char *name)
{
    size_t n = strcspn(argument, "=");

    return strlen(name) == n && strncmp(name, argument, n) == 0;
}

static bool is_in(const char *const *names, const char *argument)
{
    while (*names && !option_is(argument, *names)) {
        names++;
    }
    return *names;
}

int arguments_next(struct arguments *a, char *why, size_t size)
{
    const int first = ++a->at;
    const char *equals;
    bool theirs;

    if (first >= a->argc) {
        return 0;
    }
    a->name = a->argv[first];
    a->value = NULL;
    equals = strchr(a->name, '=');
    theirs = is_in(with_value, a->name) || option_is(a->name, "--log-level");
    if (theirs || is_in(a->with_value, a->name)) {
        if (!equals && ++a->at >= a->argc) {
            (void)snprintf(why, size, "%s needs a value; --help says which", a->name);
            return -EINVAL;
        }
        a->value = equals ? equals + 1 : a->argv[a->at];
    } else if (!equals && is_in(flags, a->name)) {
        theirs = true;
    } else if (equals || !is_in(a->flags, a->name)) {
        (void)snprintf(why, size, "unknown argument \"%s\"; --help lists what there is", a->name);
        return -EINVAL;
    }
    for (int i = first; theirs && i <= a->at; i++) {
        if (a->n_passed == RENDERER_PASSED_MAX) {
            (void)snprintf(why, size, "too many options; leave some out");
            return -EINVAL;
        }
        a->passed[a->n_passed++] = a->argv[i];
    }
    return 1;
}

const char *renderer_find(char *buf, size_t size)
{
    static const char *const folders[] = { "", "../render", CORDON_LIBEXECDIR, NULL };

    (void)beside_find(folders, "cordon-render-server", X_OK, buf, size);
    return buf;
}
