#include "worker/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base.h"

struct limits limits_from_server = {
    .shm = LIMIT_SHM_BYTES,
    .objects = LIMIT_OBJECTS,
    .blobs = LIMIT_RESOURCES,
    .rings = LIMIT_RINGS,
};

static const struct {
    const char *name;
    uint64_t *wide;
    uint32_t *narrow;
    uint64_t min, max;
} rules[] = {
    { "memory", &limits_from_server.memory, NULL, 0, UINT64_MAX },
    { "shm", &limits_from_server.shm, NULL, 1, UINT64_MAX },
    { "objects", NULL, &limits_from_server.objects, 1, LIMIT_OBJECTS },
    { "blobs", NULL, &limits_from_server.blobs, 1, LIMIT_RESOURCES },
    { "rings", NULL, &limits_from_server.rings, 1, LIMIT_RINGS },
    { "lost", NULL, &limits_from_server.lost, 0, UINT32_MAX },
};

static int take(const char *name, size_t len, uint64_t value)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        if (len != strlen(rules[i].name) || memcmp(name, rules[i].name, len) != 0) {
            continue;
        }
        if (value < rules[i].min || value > rules[i].max) {
            return -EINVAL;
        }
        if (rules[i].wide) {
            *rules[i].wide = value;
        } else {
            *rules[i].narrow = (uint32_t)value;
        }
        return 0;
    }
    return -EINVAL;
}

int limits_parse(const char *text)
{
    while (text && *text) {
        size_t len = strcspn(text, "=");
        char *end;
        uint64_t value;
        int r;

        if (!text[len]) {
            return -EINVAL;
        }
        if (text[len + 1] < '0' || text[len + 1] > '9') {
            return -EINVAL;
        }
        errno = 0;
        value = strtoull(text + len + 1, &end, 10);
        r = errno ? -errno : take(text, len, value);
        if (r < 0 || (*end && *end != ',')) {
            return -EINVAL;
        }
        text = end + (*end == ',');
    }
    return 0;
}
