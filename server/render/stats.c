#include "server/render/stats.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "policy/sandbox.h"
#include "server/render/contexts.h"

void stats_log(const struct contexts *c, const char *sandbox_level)
{
    const struct supervisor_stats *s = &c->supervisor.stats;
    struct record_counts counts = supervisor_counts(&c->supervisor);
    char layers[160];

    if (s->layers) {
        sandbox_layers_text(s->layers, layers, sizeof(layers));
    } else {
        (void)snprintf(layers, sizeof(layers), "no worker was ever ready");
    }
    log_info("%" PRIu64 " contexts served (%u live, %" PRIu64 " lost, %" PRIu64
             " refused) by %" PRIu64 " workers; %" PRIu64 " commands decoded, %" PRIu64
             " replies, %" PRIu64 " rings; sandbox %s: %s",
             c->stats.created, c->registry.count, c->stats.lost, c->stats.refused, s->started,
             counts.commands, counts.replies, s->rings, sandbox_level, layers);
}

/* "fds", "seccomp": what goes between the brackets of a list. */
static void list_layers(uint32_t layers, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t bit = 1; bit & SANDBOX_ALL; bit <<= 1) {
        if (layers & bit) {
            int n = snprintf(text + used, size - used, "%s\"%s\"", used > 0 ? ", " : "",
                             sandbox_layer_name(bit));

            used += (size_t)n;
            assert(used < size);
        }
    }
}

static int print(const struct contexts *c, const char *sandbox_level, char *text, size_t size)
{
    const struct supervisor_stats *s = &c->supervisor.stats;
    struct record_counts counts = supervisor_counts(&c->supervisor);
    char layers[256];

    list_layers(s->layers, layers, sizeof(layers));
    /* device and driver hold neither quotes nor backslashes: the supervisor cleaned them. */
    return snprintf(text, size,
                    "{\n"
                    "  \"contexts\": %" PRIu64 ",\n"
                    "  \"contexts_live\": %" PRIu32 ",\n"
                    "  \"contexts_lost\": %" PRIu64 ",\n"
                    "  \"contexts_refused\": %" PRIu64 ",\n"
                    "  \"workers\": %" PRIu64 ",\n"
                    "  \"workers_died\": %" PRIu64 ",\n"
                    "  \"commands\": %" PRIu64 ",\n"
                    "  \"replies\": %" PRIu64 ",\n"
                    "  \"rings\": %" PRIu64 ",\n"
                    "  \"device\": \"%s\",\n"
                    "  \"policy\": \"%s\",\n"
                    "  \"sandbox\": \"%s\",\n"
                    "  \"layers\": [%s]\n"
                    "}\n",
                    c->stats.created, c->registry.count, c->stats.lost, c->stats.refused,
                    s->started, s->died, counts.commands, counts.replies, s->rings, s->device,
                    s->driver, sandbox_level, layers);
}

static int write_file(const char *path, const char *text, size_t size)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    ssize_t n;

    if (fd < 0) {
        return -errno;
    }
    n = write(fd, text, size);
    return n == (ssize_t)size ? 0 : n < 0 ? -errno : -EIO;
}

void stats_write(const struct contexts *c, const char *sandbox_level, const char *path)
{
    char text[2048], temporary[4096];
    int n = print(c, sandbox_level, text, sizeof(text));
    int r;

    if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary)) {
        log_warn("statistics not written: the path is too long");
        return;
    }
    r = write_file(temporary, text, (size_t)n);
    if (r == 0 && rename(temporary, path) < 0) {
        r = -errno;
    }
    if (r < 0) {
        log_warn("statistics not written to %s: %s", path, strerror(-r));
    }
}
