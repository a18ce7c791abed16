/* What tests can make the fake worker do. */
#ifndef CORDON_TESTS_SERVER_FAKE_WORKER_H
#define CORDON_TESTS_SERVER_FAKE_WORKER_H

/* First of two words in a command stream; the second is the argument. */
enum fake_command {
    FAKE_NOTHING = 1000,
    FAKE_CRASH,
    FAKE_EXIT,        /* with this status, leaving last words */
    FAKE_FORBIDDEN,   /* a system call that no policy lists */
    FAKE_GARBAGE,     /* on the control socket */
    FAKE_HOLD_FENCES, /* 1: fences are never done */
    FAKE_RING,        /* a ring in the newest blob; argument: offset of the status word */
    FAKE_STOP,        /* never reads its socket again */
    FAKE_SAY,         /* a log line with the number */
    FAKE_STAMP,       /* from here on: CLOCK_MONOTONIC ns of this command, and of each fence that is
                         done, as the first two u64 of the newest blob */
};

/* Ids of "memory" that a blob is made of; 0 and others: a memfd. */
enum fake_blob {
    FAKE_BLOB_REFUSE = 1001,
    FAKE_BLOB_DIE,  /* instead of answering */
    FAKE_BLOB_SLOW, /* answers after 0.3 s */
    FAKE_BLOB_OPAQUE,
};

#endif
