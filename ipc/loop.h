/*
 * One epoll loop: fds, signals, timers. One thread owns it; callbacks run on that thread.
 *
 * Any source may be removed at any time, also from a callback, also by itself: it is marked and
 * leaves epoll at once, and its memory is freed when the running round is over, so events that
 * were already fetched for it find the mark and are dropped.
 *
 * Timers are the timeout of epoll_wait, nothing else: a VMM's jail may forbid timerfd. A forked
 * child must not use its parent's loop (it shares the epoll set).
 */
#ifndef CORDON_IPC_LOOP_H
#define CORDON_IPC_LOOP_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "ipc/base.h"

struct loop;
struct loop_source;

/* `events` are EPOLL*; EPOLLHUP and EPOLLERR come unasked. */
typedef void (*loop_io_fn)(void *arg, int fd, uint32_t events);
typedef void (*loop_signal_fn)(void *arg, const struct signalfd_siginfo *info);
typedef void (*loop_timer_fn)(void *arg);

int loop_create(struct loop **ret_loop);
/* Removes what is left; not from a callback. NULL is fine; returns NULL. */
struct loop *loop_destroy(struct loop *l);

/* Watches fd (borrowed: remove the source before closing it). Level-triggered unless asked
 * otherwise. One source per fd. 0 or a negative errno. ret_source may be NULL: then it lives as
 * long as the loop. */
int loop_add_io(struct loop *l, int fd, uint32_t events, loop_io_fn fn, void *arg,
                struct loop_source **ret_source);
/* io sources only. 0 events = paused (hang-ups still come). */
int loop_source_set_events(struct loop_source *s, uint32_t events);

/* Blocks the signals in this thread (before others are made, which inherit that) and reports
 * them. They stay blocked after removal. */
int loop_add_signals(struct loop *l, const sigset_t *signals, loop_signal_fn fn, void *arg,
                     struct loop_source **ret_source);

/* A timer, not yet armed. */
int loop_add_timer(struct loop *l, loop_timer_fn fn, void *arg, struct loop_source **ret_source);
/* Fires once, delay_ms from now (0: next round); arming again moves it. */
void loop_timer_arm(struct loop_source *s, uint64_t delay_ms);
void loop_timer_disarm(struct loop_source *s);

/* NULL is fine; returns NULL, so that `s = loop_source_remove(s);` also clears. */
struct loop_source *loop_source_remove(struct loop_source *s);

/* Runs until loop_stop; returns its code (>= 0), or a negative errno. */
int loop_run(struct loop *l);
/* One round: waits at most timeout_ms (-1: for ever), dispatches. 0 or a negative errno. */
int loop_run_once(struct loop *l, int timeout_ms);
void loop_stop(struct loop *l, int code);

/* CLOCK_MONOTONIC. */
uint64_t loop_now_ms(void);

#endif
