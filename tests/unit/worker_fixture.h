/* A context without driver, server or VMM, for unit tests of the worker's core. */
#ifndef CORDON_TESTS_WORKER_FIXTURE_H
#define CORDON_TESTS_WORKER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/context.h"
#include "worker/recorder.h"

struct fixture {
    struct recorder recorder;
    struct context ctx;
};

/* cmocka setup and teardown; *state is a struct fixture. Teardown counts descriptors. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* Open descriptors of this process. */
int count_fds(void);
uint64_t test_now_ns(void);
/* Polls until *word == value (masked); false after two seconds. */
bool wait_word(_Atomic uint32_t *word, uint32_t mask, uint32_t value);

/* A small writer of command bytes. */
struct bytes {
    uint8_t data[4096];
    size_t size;
};
void put_u32(struct bytes *b, uint32_t v);
void put_u64(struct bytes *b, uint64_t v);

/* The commands of the tests' own table (fake_wire.c), and how to write them. */
#define FAKE_ALLOC 1u     /* u64 bytes: takes memory of the arena */
#define FAKE_FIND 2u      /* u64 id: a VkBuffer */
#define FAKE_CHAIN_END 3u /* refused */
#define FAKE_SLEEP 4u     /* u32 microseconds at most: until fake_awake or the context's end */
#define FAKE_VERSION \
    137u /* u64 present; reply: u32 command, i32 0, u64 1, u32 FAKE_VERSION_ANSWER */
#define FAKE_VERSION_ANSWER 0x00404157u
#define FAKE_VERSION_REPLY_SIZE 20u
void put_version(struct bytes *b, bool reply);
void put_set_reply(struct bytes *b, uint32_t resource_id, uint64_t offset, uint64_t size);
void put_seek(struct bytes *b, uint64_t position);
void put_wait_virtqueue(struct bytes *b, uint64_t seqno);
struct stream_at {
    uint32_t resource_id;
    uint64_t offset, size;
};
void put_execute(struct bytes *b, const struct stream_at *streams, uint32_t count,
                 const uint64_t *positions);

extern _Atomic uint32_t fake_versions; /* how many FAKE_VERSION have run */
extern _Atomic bool fake_awake;        /* ends a FAKE_SLEEP, once */

#endif
