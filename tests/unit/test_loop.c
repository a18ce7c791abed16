#include "ipc/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

static struct loop *loop;

/* A pipe with a byte in it, watched. */
struct ear {
    int fds[2];
    int heard;
    struct loop_source *source;
    struct ear *victim; /* whose source this one removes when it hears something */
};

static void hear(void *arg, int fd, uint32_t events)
{
    struct ear *e = arg;
    char c;

    assert_int_equal(fd, e->fds[0]);
    assert_true((events & EPOLLIN) != 0);
    assert_int_equal(read(fd, &c, 1), 1);
    e->heard++;
    if (e->victim) {
        e->victim->source = loop_source_remove(e->victim->source);
    }
}

static void ear_open(struct ear *e)
{
    memset(e, 0, sizeof(*e));
    assert_int_equal(pipe2(e->fds, O_CLOEXEC), 0);
    assert_int_equal(loop_add_io(loop, e->fds[0], EPOLLIN, hear, e, &e->source), 0);
}

static void ear_close(struct ear *e)
{
    loop_source_remove(e->source);
    close(e->fds[0]);
    close(e->fds[1]);
}

static void speak(struct ear *e)
{
    assert_int_equal(write(e->fds[1], "x", 1), 1);
}

static void begin(void)
{
    assert_int_equal(loop_create(&loop), 0);
}

static void end(void)
{
    loop = loop_destroy(loop);
    assert_null(loop);
}

static void io_is_reported(void **state)
{
    struct ear e;

    (void)state;
    begin();
    ear_open(&e);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(e.heard, 0);
    speak(&e);
    assert_int_equal(loop_run_once(loop, -1), 0);
    assert_int_equal(e.heard, 1);
    ear_close(&e);
    end();
}

static void paused_source_is_silent(void **state)
{
    struct ear e;

    (void)state;
    begin();
    ear_open(&e);
    speak(&e);
    assert_int_equal(loop_source_set_events(e.source, 0), 0);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(e.heard, 0);
    assert_int_equal(loop_source_set_events(e.source, EPOLLIN), 0);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(e.heard, 1);
    ear_close(&e);
    end();
}

static void same_fd_twice_is_refused(void **state)
{
    struct ear e;

    (void)state;
    begin();
    ear_open(&e);
    assert_int_equal(loop_add_io(loop, e.fds[0], EPOLLIN, hear, &e, NULL), -EEXIST);
    assert_int_equal(loop_add_io(loop, -1, EPOLLIN, hear, &e, NULL), -EBADF);
    ear_close(&e);
    end();
}

static void source_may_remove_itself(void **state)
{
    struct ear e;

    (void)state;
    begin();
    ear_open(&e);
    e.victim = &e;
    speak(&e);
    speak(&e);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(e.heard, 1);
    ear_close(&e);
    end();
}

/* Both have an event in the same round; whichever runs first removes the other. */
static void removed_source_hears_nothing_more(void **state)
{
    struct ear a, b;

    (void)state;
    begin();
    ear_open(&a);
    ear_open(&b);
    a.victim = &b;
    b.victim = &a;
    speak(&a);
    speak(&b);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(a.heard + b.heard, 1);
    ear_close(&a);
    ear_close(&b);
    end();
}

/* The classic trap: a removed source's fd number comes back at once for a new one. */
struct swap {
    struct ear *old;
    struct ear fresh;
    bool done;
};

static void swap_old_for_fresh(void *arg, int fd, uint32_t events)
{
    struct swap *s = arg;
    char c;

    (void)events;
    assert_int_equal(read(fd, &c, 1), 1);
    if (!s->done) {
        s->done = true;
        ear_close(s->old);
        ear_open(&s->fresh);
        assert_int_equal(s->fresh.fds[0], s->old->fds[0]);
    }
}

static void reused_fd_number_gets_no_stale_event(void **state)
{
    struct ear old;
    struct swap s = { .old = &old };
    struct loop_source *source;
    int fds[2];

    (void)state;
    begin();
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(write(fds[1], "x", 1), 1); /* ready first, so epoll reports it first */
    assert_int_equal(loop_add_io(loop, fds[0], EPOLLIN, swap_old_for_fresh, &s, &source), 0);
    ear_open(&old);
    speak(&old);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_true(s.done);
    assert_int_equal(old.heard, 0);
    assert_int_equal(s.fresh.heard, 0);
    ear_close(&s.fresh);
    loop_source_remove(source);
    close(fds[0]);
    close(fds[1]);
    end();
}

static char ticks[16];

struct clock {
    char letter;
    struct loop_source *source;
    struct clock *victim;
    int again; /* so many more times, at once */
};

static void tick(void *arg)
{
    struct clock *c = arg;

    ticks[strlen(ticks)] = c->letter;
    assert_true(strlen(ticks) < sizeof(ticks) - 1);
    if (c->victim) {
        c->victim->source = loop_source_remove(c->victim->source);
    }
    if (c->again > 0) {
        c->again--;
        loop_timer_arm(c->source, 0);
    }
}

static void clock_open(struct clock *c, char letter)
{
    memset(c, 0, sizeof(*c));
    c->letter = letter;
    assert_int_equal(loop_add_timer(loop, tick, c, &c->source), 0);
}

static void timer_fires_once_and_not_early(void **state)
{
    struct clock a;
    uint64_t start;

    (void)state;
    begin();
    memset(ticks, 0, sizeof(ticks));
    clock_open(&a, 'a');
    assert_int_equal(loop_run_once(loop, 10), 0); /* not armed */
    assert_string_equal(ticks, "");
    start = loop_now_ms();
    loop_timer_arm(a.source, 30);
    while (ticks[0] == '\0') {
        assert_int_equal(loop_run_once(loop, -1), 0);
    }
    assert_true(loop_now_ms() - start >= 30);
    assert_int_equal(loop_run_once(loop, 10), 0);
    assert_string_equal(ticks, "a");
    end();
}

static void arming_again_moves_it_and_disarming_stops_it(void **state)
{
    struct clock a, b;

    (void)state;
    begin();
    memset(ticks, 0, sizeof(ticks));
    clock_open(&a, 'a');
    clock_open(&b, 'b');
    loop_timer_arm(a.source, 5);
    loop_timer_arm(a.source, 60000);
    loop_timer_arm(b.source, 5);
    loop_timer_disarm(b.source);
    assert_int_equal(loop_run_once(loop, 20), 0);
    assert_string_equal(ticks, "");
    loop_timer_arm(a.source, 0);
    assert_int_equal(loop_run_once(loop, -1), 0);
    assert_string_equal(ticks, "a");
    end();
}

static void timer_that_arms_itself_starves_nobody(void **state)
{
    struct clock a;
    struct ear e;

    (void)state;
    begin();
    memset(ticks, 0, sizeof(ticks));
    clock_open(&a, 'a');
    ear_open(&e);
    a.again = 3;
    loop_timer_arm(a.source, 0);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_string_equal(ticks, "a");
    speak(&e);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_string_equal(ticks, "aa");
    assert_int_equal(e.heard, 1);
    ear_close(&e);
    end();
}

static void timer_may_remove_itself_and_others(void **state)
{
    struct clock a, b, c;

    (void)state;
    begin();
    memset(ticks, 0, sizeof(ticks));
    clock_open(&a, 'a');
    clock_open(&b, 'b');
    clock_open(&c, 'c');
    a.victim = &b;
    c.victim = &c;
    loop_timer_arm(a.source, 0);
    loop_timer_arm(b.source, 0);
    loop_timer_arm(c.source, 0);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_string_equal(ticks, "ac");
    assert_null(b.source);
    assert_null(c.source);
    end();
}

static int signals_seen;

static void on_signal(void *arg, const struct signalfd_siginfo *info)
{
    assert_int_equal(info->ssi_signo, SIGUSR1);
    signals_seen++;
    loop_stop(arg, 5);
}

static void signals_are_reported(void **state)
{
    struct loop_source *source = NULL;
    sigset_t set, old;

    (void)state;
    begin();
    pthread_sigmask(SIG_SETMASK, NULL, &old);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    assert_int_equal(loop_add_signals(loop, &set, on_signal, loop, &source), 0);
    signals_seen = 0;
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    assert_int_equal(loop_run(loop), 5);
    assert_int_equal(signals_seen, 1);
    loop_source_remove(source);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    end();
}

static void stop_before_run_counts(void **state)
{
    (void)state;
    begin();
    loop_stop(loop, 3);
    assert_int_equal(loop_run(loop), 3);
    end();
}

static void destroy_takes_what_is_left(void **state)
{
    struct ear e;
    struct clock c;

    (void)state;
    assert_null(loop_destroy(NULL));
    assert_null(loop_source_remove(NULL));
    begin();
    ear_open(&e);
    clock_open(&c, 'c');
    loop_timer_arm(c.source, 0);
    end();
    close(e.fds[0]);
    close(e.fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(io_is_reported),
        HARNESS_TEST(paused_source_is_silent),
        HARNESS_TEST(same_fd_twice_is_refused),
        HARNESS_TEST(source_may_remove_itself),
        HARNESS_TEST(removed_source_hears_nothing_more),
        HARNESS_TEST(reused_fd_number_gets_no_stale_event),
        HARNESS_TEST(timer_fires_once_and_not_early),
        HARNESS_TEST(arming_again_moves_it_and_disarming_stops_it),
        HARNESS_TEST(timer_that_arms_itself_starves_nobody),
        HARNESS_TEST(timer_may_remove_itself_and_others),
        HARNESS_TEST(signals_are_reported),
        HARNESS_TEST(stop_before_run_counts),
        HARNESS_TEST(destroy_takes_what_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
