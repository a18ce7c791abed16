#include "worker/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct limits limits_from_server = { .objects = LIMIT_OBJECTS };

static int take(const char *name, size_t len, uint64_t value)
{
    if (len == strlen("memory") && memcmp(name, "memory", len) == 0) {
        limits_from_server.memory = value;
        return 0;
    }
    if (len == strlen("objects") && memcmp(name, "objects", len) == 0 && value > 0 &&
        value <= LIMIT_OBJECTS) {
        limits_from_server.objects = (uint32_t)value;
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
