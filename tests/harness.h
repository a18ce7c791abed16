/*
 * What every cmocka test of ours gets: a deadline, and a look after each test at what it left
 * behind (fds, children, threads, scratch files). A leak makes the test red.
 *
 * In a forked child use no cmocka assertion: a failed one would run the rest of the suite there
 * again. The child ends with _exit(code) and the parent asserts on the code.
 */
#ifndef CORDON_TESTS_HARNESS_H
#define CORDON_TESTS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ipc/base.h"

#define HARNESS_DEADLINE_S 60

/* For the test table. */
#define HARNESS_TEST(fn) cmocka_unit_test_setup_teardown(fn, harness_setup, harness_teardown)

int harness_setup(void **state);
/* 0, or -1 and what was leaked on stderr. */
int harness_teardown(void **state);

/* Moves the running test's deadline: `seconds` from now. */
void harness_deadline(unsigned seconds);

/* A folder of this test's own, removed after it with all it holds. */
const char *harness_scratch(void);

/* Runs fn in a forked child and returns its wait status. fn's result is the exit code. */
int harness_in_child(int (*fn)(void *arg), void *arg);

/* ---- let the nth call fail -----------------------------------------------------------------
 *
 *     int __wrap_sendmsg(...) { if (harness_fault()) { errno = ENOMEM; return -1; } ... }
 *
 *     for (int n = 0; harness_fault_next(n); n++) { ... must fail cleanly ... }
 *
 * The loop's body runs with the nth wrapped call failing, until a run in which none did (that
 * one included: in it everything must succeed). */
bool harness_fault_next(int n);
/* Is this the call that must fail? */
bool harness_fault(void);
/* Did a call fail in this run? */
bool harness_faulted(void);
/* No more faults from here on; harness_teardown does it too. */
void harness_fault_off(void);

#endif
