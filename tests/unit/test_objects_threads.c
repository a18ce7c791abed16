/* Readers without locks against writers. Meant for the thread sanitizer and the address
 * sanitizer: what is read here must never be freed memory. No cmocka assertion off the main
 * thread: threads count, the main thread asserts. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <vulkan/vulkan_core.h>

#include "worker/objects.h"

#define IDS 600
#define ROUNDS 20000

static struct objects table;
static _Atomic int wrong, found;
static _Atomic bool stop;

static void *reader_main(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct objects_reader reader;

    objects_reader_add(&table, &reader);
    while (!atomic_load(&stop)) {
        for (int i = 0; i < 16; i++) {
            uint64_t id = (uint64_t)(rand_r(&seed) % IDS) + 1;
            struct object *o = objects_find(&table, id, VK_OBJECT_TYPE_BUFFER);

            if (o) {
                atomic_fetch_add_explicit(&found, 1, memory_order_relaxed);
                if (o->id != id || o->handle != id * 3 || *(uint64_t *)o->data != id) {
                    atomic_fetch_add(&wrong, 1);
                }
            }
        }
        if (rand_r(&seed) % 64 == 0) {
            objects_sleep(&table, &reader);
            objects_wake(&table, &reader);
        } else {
            objects_quiesce(&table, &reader);
        }
    }
    objects_reader_remove(&table, &reader);
    return NULL;
}

static void *writer_main(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct objects_reader reader;

    objects_reader_add(&table, &reader);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t id = (uint64_t)(rand_r(&seed) % IDS) + 1;
        struct object *o = objects_find_any(&table, id);

        if (o) {
            objects_remove(&table, o, NULL, NULL);
        } else {
            uint64_t *data = malloc(sizeof(*data));

            *data = id;
            o = object_new(id, VK_OBJECT_TYPE_BUFFER, id * 3, NULL);
            o->data = data;
            o->data_free = free;
            if (objects_insert(&table, o) < 0) {
                object_drop(o);
            }
        }
        objects_quiesce(&table, &reader);
    }
    objects_reader_remove(&table, &reader);
    return NULL;
}

static void readers_and_writers_agree(void **state)
{
    pthread_t readers[2], writers[2];

    (void)state;
    assert_int_equal(objects_init(&table, 100000), 0);
    for (uintptr_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, reader_main, (void *)(i + 1)), 0);
        assert_int_equal(pthread_create(&writers[i], NULL, writer_main, (void *)(i + 10)), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(writers[i], NULL);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(readers[i], NULL);
    }
    assert_int_equal(wrong, 0);
    assert_true(found > 0);
    objects_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(readers_and_writers_agree) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
