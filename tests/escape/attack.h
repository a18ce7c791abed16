/*
 * A library that a test has a real worker load: code of an attacker's choice in a sealed process
 * that serves a guest. The worker that loads it is built for this test alone (worker_hook.c).
 */
#ifndef CORDON_TESTS_ESCAPE_ATTACK_H
#define CORDON_TESTS_ESCAPE_ATTACK_H

/* `order`: "NAME NUMBER" of what to try and on whom, for example "ptrace 4711". Returns "refused
 * ERRNO", "ESCAPED", or NULL if it knows no such attempt. What is killed does not return. */
struct worker_record;

typedef const char *(*attack_fn)(const char *order, int context_fd, struct worker_record *record);

const char *attack(const char *order, int context_fd, struct worker_record *record);

#endif
