#include "ipc/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

static int log_pipe[2];
static char text[65536];

static void begin(void)
{
    assert_int_equal(pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK), 0);
    log_to_fd(log_pipe[1]);
    log_set_level(LOG_LEVEL_INFO);
    log_set_style(LOG_STYLE_TEXT);
    log_set_program(NULL);
}

/* What has been logged since the last look. */
static const char *logged(void)
{
    ssize_t n = read(log_pipe[0], text, sizeof(text) - 1);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void end(void)
{
    log_to_fd(2);
    close(log_pipe[0]);
    close(log_pipe[1]);
}

/* A literal, with whatever NULs it holds. */
#define FEED(relay, literal) log_relay_feed((relay), (literal), sizeof(literal) - 1)

static int count(const char *haystack, const char *needle)
{
    int n = 0;

    for (const char *p = haystack; (p = strstr(p, needle)); p += strlen(needle)) {
        n++;
    }
    return n;
}

static void line_says_who_and_what(void **state)
{
    (void)state;
    begin();
    log_error("lost %d", 3);
    assert_string_equal(logged(), "error  lost 3\n");
    log_set_program("cordon-test");
    log_line(LOG_LEVEL_WARN, 7, "odd");
    assert_string_equal(logged(), "cordon-test: warn  ctx=7  odd\n");
    log_named(LOG_LEVEL_INFO, 7, "vk\"cube\n", "up");
    assert_string_equal(logged(), "cordon-test: info  ctx=7 \"vk\\\"cube\\x0a\"  up\n");
    log_named(LOG_LEVEL_INFO, 7, "", "up");
    assert_string_equal(logged(), "cordon-test: info  ctx=7  up\n");
    end();
}

static void level_silences(void **state)
{
    enum log_level level = LOG_LEVEL_ERROR;

    (void)state;
    begin();
    log_debug("no");
    assert_string_equal(logged(), "");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("yes");
    assert_string_equal(logged(), "debug  yes\n");
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("no");
    assert_string_equal(logged(), "");
    assert_int_equal(log_level_parse("warn", &level), 0);
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_int_equal(log_level_parse("loud", &level), -EINVAL);
    assert_int_equal(level, LOG_LEVEL_WARN);
    end();
}

static void text_forges_no_line_and_drives_no_terminal(void **state)
{
    (void)state;
    begin();
    log_info("a\nerror  b\033[2J\xff\x7f");
    assert_string_equal(logged(), "info  a\\x0aerror  b\\x1b[2J\\xff\\x7f\n");
    end();
}

static void long_line_is_cut(void **state)
{
    char big[4000];
    const char *got;

    (void)state;
    begin();
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    log_info("%s", big);
    got = logged();
    assert_int_equal(strlen(got), LOG_LINE_MAX);
    assert_string_equal(got + LOG_LINE_MAX - 4, "...\n");
    memset(big, '\n', sizeof(big) - 1);
    log_info("%s", big);
    got = logged();
    assert_true(strlen(got) <= LOG_LINE_MAX);
    assert_int_equal(count(got, "\n"), 1);
    assert_string_equal(got + strlen(got) - 4, "...\n");
    end();
}

static void errno_is_kept_and_shown(void **state)
{
    (void)state;
    begin();
    errno = ENOENT;
    log_error("%m");
    assert_int_equal(errno, ENOENT);
    assert_string_equal(logged(), "error  No such file or directory\n");
    log_to_fd(-1);
    log_error("nowhere");
    assert_int_equal(errno, ENOENT);
    end();
}

static void quotes_are_escaped_and_cut(void **state)
{
    char buf[12];

    (void)state;
    assert_string_equal(LOG_QUOTE("abc", 3), "\"abc\"");
    assert_string_equal(LOG_QUOTE("abc", 2), "\"ab\"");
    assert_string_equal(LOG_QUOTE("a\0c", 3), "\"a\"");
    assert_string_equal(LOG_QUOTE("a\"\\\t", 4), "\"a\\\"\\\\\\x09\"");
    assert_string_equal(LOG_QUOTE("", 0), "\"\"");
    assert_string_equal(log_quote(buf, sizeof(buf), "abcdefghijkl", 12), "\"abcdef\"...");
    assert_string_equal(log_quote(buf, sizeof(buf), "abcdef", 6), "\"abcdef\"");
    assert_string_equal(log_quote(buf, sizeof(buf), "abcde\n", 6), "\"abcde\"...");
    assert_string_equal(log_quote(buf, 8, "abcdefghijkl", 12), "\"ab\"...");
}

static void limit_swallows_and_tells(void **state)
{
    static struct log_limit limit = LOG_LIMIT_INIT(2, 50);
    const char *got;

    (void)state;
    begin();
    for (int i = 0; i < 5; i++) {
        log_limited(&limit, LOG_LEVEL_WARN, 7, "again");
    }
    assert_int_equal(count(logged(), "again"), 2);
    usleep(60000);
    log_limited(&limit, LOG_LEVEL_WARN, 7, "again");
    got = logged();
    assert_string_equal(got, "warn  ctx=7  3 lines like the next were not shown\n"
                             "warn  ctx=7  again\n");
    end();
}

static void relayed_lines_get_their_context(void **state)
{
    struct log_relay r;

    (void)state;
    begin();
    log_relay_init(&r);
    FEED(&r, "<6>warm\n");
    assert_string_equal(logged(), "info  warm\n");
    log_relay_set_context(&r, 7, "vkcube");
    FEED(&r, "<3>bad");
    assert_string_equal(logged(), "");
    FEED(&r, " ring\n<7>hidden\nplain\n\n");
    assert_string_equal(logged(), "error  ctx=7 \"vkcube\"  bad ring\n"
                                  "info  ctx=7 \"vkcube\"  plain\n");
    FEED(&r, "<4>unfinished");
    log_relay_end(&r);
    assert_string_equal(logged(), "warn  ctx=7 \"vkcube\"  unfinished\n");
    log_relay_end(&r);
    assert_string_equal(logged(), "");
    end();
}

static void relay_reads_what_log_writes(void **state)
{
    struct log_relay r;
    int worker[2];

    (void)state;
    begin();
    assert_int_equal(pipe2(worker, O_CLOEXEC | O_NONBLOCK), 0);
    log_relay_init(&r);
    assert_int_equal(log_relay_read(&r, worker[0]), -EAGAIN);
    log_set_style(LOG_STYLE_RELAYED);
    log_to_fd(worker[1]);
    log_line(LOG_LEVEL_ERROR, 9, "from %s", "inside");
    log_set_style(LOG_STYLE_TEXT);
    log_to_fd(log_pipe[1]);
    assert_int_equal(log_relay_read(&r, worker[0]), 0);
    assert_string_equal(logged(), "error  from inside\n");
    close(worker[1]);
    assert_int_equal(log_relay_read(&r, worker[0]), -ENODATA);
    close(worker[0]);
    end();
}

static void relay_refuses_unknown_levels_and_says_so(void **state)
{
    struct log_relay r;

    (void)state;
    begin();
    log_relay_init(&r);
    FEED(&r, "<0>a\n<9>b\n<x>c\n<33>d\n<\n<3\n");
    assert_string_equal(logged(), "");
    log_relay_end(&r);
    assert_string_equal(logged(),
                        "warn  6 lines of the worker had an unknown level and were refused\n");
    end();
}

static void relay_bounds_lines_and_their_number(void **state)
{
    struct log_relay r;
    char big[3000];
    const char *got;

    (void)state;
    begin();
    log_relay_init(&r);
    memset(big, 'x', sizeof(big));
    log_relay_feed(&r, big, sizeof(big));
    log_relay_feed(&r, big, sizeof(big));
    FEED(&r, "\n");
    got = logged();
    assert_int_equal(count(got, "\n"), 1);
    assert_int_equal(count(got, "x"), LOG_RELAY_LINE_MAX);
    assert_int_equal(count(got, "...\n"), 1);
    FEED(&r, "<3>a\0b\033\n");
    assert_string_equal(logged(), "error  a?b\\x1b\n");
    for (int i = 0; i < 1000; i++) {
        FEED(&r, "<3>flood\n");
    }
    assert_in_range(count(logged(), "flood"), 100, 300);
    log_relay_end(&r);
    assert_int_equal(count(logged(), "lines of the worker were not shown"), 1);
    end();
}

static struct log_limit shared_limit = LOG_LIMIT_INIT(1000, 60000);

static void *write_lines(void *arg)
{
    for (int i = 0; i < 100; i++) {
        log_limited(&shared_limit, LOG_LEVEL_INFO, 1, "%s %d", (const char *)arg, i);
    }
    return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
    pthread_t threads[4];
    const char *got;

    (void)state;
    begin();
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, "word"), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    got = logged();
    assert_int_equal(count(got, "info  ctx=1  word "), 400);
    assert_int_equal(count(got, "\n"), 400);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(line_says_who_and_what),
        HARNESS_TEST(level_silences),
        HARNESS_TEST(text_forges_no_line_and_drives_no_terminal),
        HARNESS_TEST(long_line_is_cut),
        HARNESS_TEST(errno_is_kept_and_shown),
        HARNESS_TEST(quotes_are_escaped_and_cut),
        HARNESS_TEST(limit_swallows_and_tells),
        HARNESS_TEST(relayed_lines_get_their_context),
        HARNESS_TEST(relay_reads_what_log_writes),
        HARNESS_TEST(relay_refuses_unknown_levels_and_says_so),
        HARNESS_TEST(relay_bounds_lines_and_their_number),
        HARNESS_TEST(threads_do_not_mix_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
