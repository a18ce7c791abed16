/*
 * One line per event, one write(2) per line, at most LOG_LINE_MAX bytes:
 *
 *     cordon-render-server: error  ctx=7 "vkcube"  ring 2: tail moved 70000 bytes, ring holds 65536
 *
 * A worker has no say in where its lines go: it writes "<3>text" into a pipe (LOG_STYLE_RELAYED),
 * and the server bounds the line, adds the context and prints it (struct log_relay). Bytes that
 * are not printable ASCII are escaped in either process, so no text can forge a line or drive a
 * terminal. All functions but the setters may be called from any thread and keep errno.
 */
#ifndef CORDON_IPC_LOG_H
#define CORDON_IPC_LOG_H

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base.h"

#define LOG_LINE_MAX 1024 /* with the newline; below PIPE_BUF, so lines never mix */
#define LOG_QUOTE_MAX 160 /* room for log_quote() of what a guest chose */

/* Numbers of syslog, as in the "<3>" prefix. */
enum log_level {
    LOG_LEVEL_ERROR = 3, /* a user lost something */
    LOG_LEVEL_WARN = 4,  /* going on without something */
    LOG_LEVEL_INFO = 6,  /* life events, a handful per context */
    LOG_LEVEL_DEBUG = 7,
};

enum log_style {
    LOG_STYLE_TEXT,    /* for people: program, level, context, text */
    LOG_STYLE_RELAYED, /* for log_relay: "<level>text" */
};

/* Setters: call them before the first thread, or from the only thread that logs. */
void log_set_program(const char *name); /* borrowed for ever; NULL = no prefix */
void log_set_level(enum log_level most_verbose);
void log_set_style(enum log_style style);
void log_to_fd(int fd); /* borrowed; 2 at start; -1 = nowhere */

bool log_enabled(enum log_level level);
/* "error", "warn", "info", "debug". 0 or -EINVAL. */
int log_level_parse(const char *text, enum log_level *ret_level);

/* ctx 0 = of no context. Newlines in the text are escaped; do not end with one. */
void log_line(enum log_level level, uint32_t ctx, const char *fmt, ...) PRINTF(3, 4);
/* With the context's name, which may be NULL and may be anything: it is quoted here. */
void log_named(enum log_level level, uint32_t ctx, const char *name, const char *fmt, ...)
    PRINTF(4, 5);
void log_vnamed(enum log_level level, uint32_t ctx, const char *name, const char *fmt, va_list ap)
    PRINTF(4, 0);

#define log_error(...) log_line(LOG_LEVEL_ERROR, 0, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, 0, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, 0, __VA_ARGS__)
#define log_debug(...)                                 \
    do {                                               \
        if (log_enabled(LOG_LEVEL_DEBUG)) {            \
            log_line(LOG_LEVEL_DEBUG, 0, __VA_ARGS__); \
        }                                              \
    } while (0)

/* Writes bytes[0..len) (or up to a NUL) into buf as "quoted", escaped, cut with ... after the
 * closing quote if it does not fit. Returns buf. size >= 8. */
const char *log_quote(char *buf, size_t size, const char *bytes, size_t len);
/* The same as an expression; lives until the end of the enclosing block. */
#define LOG_QUOTE(bytes, len) log_quote((char[LOG_QUOTE_MAX]){ 0 }, LOG_QUOTE_MAX, (bytes), (len))

/* ---- rate limit: what a guest can cause again and again ----------------------------------- */

struct log_limit {
    pthread_mutex_t lock;
    uint32_t burst;       /* lines allowed per interval; const */
    uint32_t interval_ms; /* const */
    uint64_t since_ms;    /* start of the running interval; under lock */
    uint32_t used;        /* in it; under lock */
    uint32_t swallowed;   /* not yet told; under lock */
};

#define LOG_LIMIT_INIT(burst_, interval_ms_)                                                 \
    {                                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .burst = (burst_), .interval_ms = (interval_ms_), \
    }

/* May one more line go out now? If so *ret_swallowed is how many did not since the last one. */
bool log_limit_pass(struct log_limit *l, uint32_t *ret_swallowed);
/* log_line under a limit; tells first how many lines it has swallowed. */
void log_limited(struct log_limit *l, enum log_level level, uint32_t ctx, const char *fmt, ...)
    PRINTF(4, 5);

/* ---- reading side: a worker's lines ------------------------------------------------------- */

#define LOG_RELAY_LINE_MAX 768 /* bytes of one worker line that are kept; the rest is cut */

/* Splits a worker's bytes into lines and prints each with the context. A line without a level is
 * something else's output (a driver, the loader): shown as info. One with a level that we do not
 * know is refused. Lines are rate limited: a worker cannot fill a disk. */
struct log_relay {
    uint32_t ctx;
    char name[32];
    char line[LOG_RELAY_LINE_MAX];
    size_t used;
    bool cut; /* the line did not fit */
    uint32_t refused;
    struct log_limit limit;
};

/* ctx 0 and name "" until the worker has a context. */
void log_relay_init(struct log_relay *r);
void log_relay_set_context(struct log_relay *r, uint32_t ctx, const char *name);
void log_relay_feed(struct log_relay *r, const void *bytes, size_t size);
/* Reads once from the pipe and feeds. 0; -EAGAIN nothing there (or EINTR); -ENODATA the end. */
int log_relay_read(struct log_relay *r, int fd);
/* The worker is gone: prints an unfinished line, tells what was swallowed or refused. */
void log_relay_end(struct log_relay *r);

#endif
