#include "ipc/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Set before the first thread, then const; the level may change at any time. */
static const char *log_program;
static enum log_style log_style = LOG_STYLE_TEXT;
static int log_fd = STDERR_FILENO;
static _Atomic int log_most = LOG_LEVEL_INFO;

/* A line being built. `room` always leaves a place for "...\n". */
struct line {
    char text[LOG_LINE_MAX];
    size_t used;
    bool cut;
};

#define LINE_ROOM (LOG_LINE_MAX - 4)

static const struct {
    enum log_level level;
    const char *name;
} levels[] = {
    { LOG_LEVEL_ERROR, "error" },
    { LOG_LEVEL_WARN, "warn" },
    { LOG_LEVEL_INFO, "info" },
    { LOG_LEVEL_DEBUG, "debug" },
};

static const char *level_name(int level)
{
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if ((int)levels[i].level == level) {
            return levels[i].name;
        }
    }
    return NULL;
}

void log_set_program(const char *name)
{
    log_program = name;
}

void log_set_level(enum log_level most_verbose)
{
    atomic_store_explicit(&log_most, (int)most_verbose, memory_order_relaxed);
}

void log_set_style(enum log_style style)
{
    log_style = style;
}

void log_to_fd(int fd)
{
    log_fd = fd;
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_most, memory_order_relaxed);
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if (strcmp(levels[i].name, text) == 0) {
            *ret_level = levels[i].level;
            return 0;
        }
    }
    return -EINVAL;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f;
}

/* Writes c, escaped if it must be, to `out` (4 bytes of room); returns how many. */
static size_t escape(unsigned char c, bool quoted, char *out)
{
    static const char hex[] = "0123456789abcdef";

    if (quoted && (c == '"' || c == '\\')) {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (is_plain(c)) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = hex[c >> 4];
    out[3] = hex[c & 15];
    return 4;
}

static void line_add(struct line *l, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len && !l->cut; i++) {
        char piece[4];
        size_t n = escape((unsigned char)bytes[i], false, piece);

        if (n > LINE_ROOM - l->used) {
            l->cut = true;
            return;
        }
        memcpy(l->text + l->used, piece, n);
        l->used += n;
    }
}

static void line_add_text(struct line *l, const char *text)
{
    line_add(l, text, strlen(text));
}

static void line_start(struct line *l, enum log_level level, uint32_t ctx, const char *name)
{
    char head[48];

    if (log_style == LOG_STYLE_RELAYED) {
        snprintf(head, sizeof(head), "<%d>", (int)level);
        line_add_text(l, head);
        return;
    }
    if (log_program) {
        line_add_text(l, log_program);
        line_add_text(l, ": ");
    }
    line_add_text(l, level_name((int)level));
    line_add_text(l, "  ");
    if (ctx != 0) {
        snprintf(head, sizeof(head), "ctx=%u", ctx);
        line_add_text(l, head);
        if (name && name[0] != '\0') {
            line_add_text(l, " ");
            line_add_text(l, LOG_QUOTE(name, strlen(name)));
        }
        line_add_text(l, "  ");
    }
}

static void line_write(struct line *l)
{
    ssize_t n;

    if (l->cut) {
        memcpy(l->text + l->used, "...", 3);
        l->used += 3;
    }
    l->text[l->used++] = '\n';
    do {
        n = write(log_fd, l->text, l->used);
    } while (n < 0 && errno == EINTR);
    /* A log that cannot be written has nobody left to tell. */
}

void log_vnamed(enum log_level level, uint32_t ctx, const char *name, const char *fmt, va_list ap)
{
    int saved = errno;
    struct line l = { .used = 0 };
    char text[LOG_LINE_MAX];
    int n;

    if (!log_enabled(level) || log_fd < 0) {
        return;
    }
    line_start(&l, level, ctx, name);
    errno = saved; /* for %m */
    n = vsnprintf(text, sizeof(text), fmt, ap);
    if (n > 0) {
        size_t got = MIN((size_t)n, sizeof(text) - 1);

        line_add(&l, text, got);
        l.cut = l.cut || got < (size_t)n;
    }
    line_write(&l);
    errno = saved;
}

void log_named(enum log_level level, uint32_t ctx, const char *name, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_vnamed(level, ctx, name, fmt, ap);
    va_end(ap);
}

void log_line(enum log_level level, uint32_t ctx, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_vnamed(level, ctx, NULL, fmt, ap);
    va_end(ap);
}

const char *log_quote(char *buf, size_t size, const char *bytes, size_t len)
{
    size_t used = 0;
    /* Room kept back for the closing quote, "..." and the NUL. */
    size_t room = size - 5;
    bool cut = false;

    buf[used++] = '"';
    for (size_t i = 0; i < len && bytes[i] != '\0'; i++) {
        char piece[4];
        size_t n = escape((unsigned char)bytes[i], true, piece);

        if (n > room - used) {
            cut = true;
            break;
        }
        memcpy(buf + used, piece, n);
        used += n;
    }
    memcpy(buf + used, cut ? "\"..." : "\"", cut ? 5 : 2);
    return buf;
}

/* ---- rate limit ---------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

bool log_limit_pass(struct log_limit *l, uint32_t *ret_swallowed)
{
    uint64_t now = now_ms();
    bool pass;

    pthread_mutex_lock(&l->lock);
    if (now - l->since_ms >= l->interval_ms) {
        l->since_ms = now;
        l->used = 0;
    }
    pass = l->used < l->burst;
    if (pass) {
        l->used++;
        *ret_swallowed = l->swallowed;
        l->swallowed = 0;
    } else {
        l->swallowed++;
    }
    pthread_mutex_unlock(&l->lock);
    return pass;
}

void log_limited(struct log_limit *l, enum log_level level, uint32_t ctx, const char *fmt, ...)
{
    int saved = errno;
    uint32_t swallowed = 0;
    va_list ap;

    if (!log_enabled(level) || !log_limit_pass(l, &swallowed)) {
        errno = saved;
        return;
    }
    if (swallowed > 0) {
        log_line(level, ctx, "%u lines like the next were not shown", swallowed);
    }
    errno = saved;
    va_start(ap, fmt);
    log_vnamed(level, ctx, NULL, fmt, ap);
    va_end(ap);
}

/* ---- reading side -------------------------------------------------------------------------- */

/* Lines of one worker per interval: far more than a healthy one writes. */
#define RELAY_BURST 200
#define RELAY_INTERVAL_MS 10000

void log_relay_init(struct log_relay *r)
{
    *r = (struct log_relay){ .limit = LOG_LIMIT_INIT(RELAY_BURST, RELAY_INTERVAL_MS) };
}

void log_relay_set_context(struct log_relay *r, uint32_t ctx, const char *name)
{
    size_t len = strnlen(name, sizeof(r->name) - 1);

    r->ctx = ctx;
    memcpy(r->name, name, len);
    r->name[len] = '\0';
}

/* Reads "<3>" at the start of a line. 0 without one; -EINVAL with one that we do not know. */
static int relay_level(const char *line, size_t len, enum log_level *ret_level, size_t *ret_skip)
{
    int level;

    *ret_level = LOG_LEVEL_INFO;
    *ret_skip = 0;
    if (len == 0 || line[0] != '<') {
        return 0;
    }
    if (len < 3 || line[2] != '>') {
        return -EINVAL;
    }
    level = line[1] - '0';
    if (!level_name(level)) {
        return -EINVAL;
    }
    *ret_level = (enum log_level)level;
    *ret_skip = 3;
    return 0;
}

static void relay_line(struct log_relay *r)
{
    enum log_level level;
    uint32_t swallowed = 0;
    size_t skip;

    if (r->used == 0 && !r->cut) {
        return;
    }
    if (relay_level(r->line, r->used, &level, &skip) < 0) {
        r->refused++;
    } else if (log_enabled(level) && log_limit_pass(&r->limit, &swallowed)) {
        if (swallowed > 0) {
            log_named(LOG_LEVEL_WARN, r->ctx, r->name, "%u lines of the worker were not shown",
                      swallowed);
        }
        log_named(level, r->ctx, r->name, "%.*s%s", (int)(r->used - skip), r->line + skip,
                  r->cut ? "..." : "");
    }
    r->used = 0;
    r->cut = false;
}

void log_relay_feed(struct log_relay *r, const void *bytes, size_t size)
{
    const char *p = bytes;

    for (size_t i = 0; i < size; i++) {
        if (p[i] == '\n') {
            relay_line(r);
        } else if (r->used < sizeof(r->line)) {
            /* A NUL would end the text early when printed. */
            r->line[r->used++] = p[i] != '\0' ? p[i] : '?';
        } else {
            r->cut = true;
        }
    }
}

int log_relay_read(struct log_relay *r, int fd)
{
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof(buf));

    if (n < 0) {
        return errno == EINTR ? -EAGAIN : -errno;
    }
    if (n == 0) {
        return -ENODATA;
    }
    log_relay_feed(r, buf, (size_t)n);
    return 0;
}

void log_relay_end(struct log_relay *r)
{
    relay_line(r);
    if (r->limit.swallowed > 0) {
        log_named(LOG_LEVEL_WARN, r->ctx, r->name, "%u lines of the worker were not shown",
                  r->limit.swallowed);
        r->limit.swallowed = 0;
    }
    if (r->refused > 0) {
        log_named(LOG_LEVEL_WARN, r->ctx, r->name,
                  "%u lines of the worker had an unknown level and were refused", r->refused);
        r->refused = 0;
    }
}
