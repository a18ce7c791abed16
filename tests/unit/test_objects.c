#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <vulkan/vulkan_core.h>

#include "worker/objects.h"

#define BUFFER VK_OBJECT_TYPE_BUFFER
#define IMAGE VK_OBJECT_TYPE_IMAGE
#define DEVICE VK_OBJECT_TYPE_DEVICE
#define POOL VK_OBJECT_TYPE_COMMAND_POOL

static int freed;

static void count_free(void *data)
{
    (void)data;
    freed++;
}

static struct object *add(struct objects *t, uint64_t id, uint32_t type, struct object *parent)
{
    struct object *o = object_new(id, type, id * 1000, parent);

    assert_non_null(o);
    o->data_free = count_free;
    assert_int_equal(objects_insert(t, o), 0);
    return o;
}

static void found_by_id_and_type(void **state)
{
    struct objects t;
    struct object *o;

    (void)state;
    assert_int_equal(objects_init(&t, 100), 0);
    o = add(&t, 5, BUFFER, NULL);
    assert_ptr_equal(objects_find(&t, 5, BUFFER), o);
    assert_null(objects_find(&t, 5, IMAGE));
    assert_ptr_equal(objects_find_any(&t, 5), o);
    assert_null(objects_find(&t, 6, BUFFER));
    assert_null(objects_find(&t, 5 + 1024, BUFFER));
    assert_null(objects_find_any(&t, 0));
    assert_false(objects_id_free(&t, 5));
    assert_false(objects_id_free(&t, 0));
    assert_true(objects_id_free(&t, 6));
    objects_fini(&t);
}

static void insertion_refuses_what_it_must(void **state)
{
    struct objects t;
    struct object *o, *parent;

    (void)state;
    assert_int_equal(objects_init(&t, 3), 0);
    o = object_new(0, BUFFER, 1, NULL);
    assert_int_equal(objects_insert(&t, o), -EEXIST);
    object_drop(o);
    parent = add(&t, 1, DEVICE, NULL);
    o = object_new(1, BUFFER, 1, NULL);
    assert_int_equal(objects_insert(&t, o), -EEXIST);
    object_drop(o);
    add(&t, 2, BUFFER, parent);
    add(&t, 3, BUFFER, parent);
    o = object_new(4, BUFFER, 1, NULL);
    assert_int_equal(objects_insert(&t, o), -ENOSPC);
    object_drop(o);
    objects_fini(&t);
}

static void parents_give_device_and_procs(void **state)
{
    struct objects t;
    struct object *physical, *device, *pool, *child;

    (void)state;
    assert_int_equal(objects_init(&t, 100), 0);
    physical = add(&t, 1, VK_OBJECT_TYPE_PHYSICAL_DEVICE, NULL);
    physical->vk = (const struct wire_procs *)&t;
    device = add(&t, 2, DEVICE, physical);
    pool = add(&t, 3, POOL, device);
    child = add(&t, 4, VK_OBJECT_TYPE_COMMAND_BUFFER, pool);
    assert_null(physical->device);
    assert_ptr_equal(device->device, device);
    assert_ptr_equal(pool->device, device);
    assert_ptr_equal(child->device, device);
    assert_ptr_equal(child->parent, pool);
    assert_ptr_equal(child->vk, &t);
    objects_fini(&t);
}

struct gone {
    uint64_t ids[16];
    int count;
};

static void note_gone(struct object *o, void *arg)
{
    struct gone *gone = arg;

    gone->ids[gone->count++] = o->id;
}

static void removal_takes_children_first(void **state)
{
    struct objects t;
    struct object *device, *pool, *o;
    struct objects_reader reader;
    struct gone gone = { .count = 0 };

    (void)state;
    assert_int_equal(objects_init(&t, 100), 0);
    objects_reader_add(&t, &reader);
    device = add(&t, 1, DEVICE, NULL);
    pool = add(&t, 2, POOL, device);
    add(&t, 3, VK_OBJECT_TYPE_COMMAND_BUFFER, pool);
    add(&t, 4, VK_OBJECT_TYPE_COMMAND_BUFFER, pool);
    add(&t, 5, BUFFER, device);
    assert_true(objects_remove(&t, device, note_gone, &gone));
    assert_int_equal(gone.count, 5);
    assert_int_equal(gone.ids[0], 3);
    assert_int_equal(gone.ids[1], 4);
    assert_int_equal(gone.ids[2], 2);
    assert_int_equal(gone.ids[3], 5);
    assert_int_equal(gone.ids[4], 1);
    for (uint64_t id = 1; id <= 5; id++) {
        assert_null(objects_find_any(&t, id));
    }
    /* Once gone it cannot go again, nor have children. */
    assert_false(objects_remove(&t, device, note_gone, &gone));
    assert_int_equal(gone.count, 5);
    o = object_new(9, BUFFER, 1, device);
    assert_int_equal(objects_insert(&t, o), -ENOENT);
    object_drop(o);
    objects_reader_remove(&t, &reader);
    objects_fini(&t);
}

static void children_alone_can_go(void **state)
{
    struct objects t;
    struct object *pool;
    struct gone gone = { .count = 0 };

    (void)state;
    assert_int_equal(objects_init(&t, 100), 0);
    pool = add(&t, 2, POOL, NULL);
    add(&t, 3, VK_OBJECT_TYPE_COMMAND_BUFFER, pool);
    add(&t, 4, VK_OBJECT_TYPE_COMMAND_BUFFER, pool);
    objects_remove_children(&t, pool, note_gone, &gone);
    assert_int_equal(gone.count, 2);
    assert_ptr_equal(objects_find_any(&t, 2), pool);
    assert_null(objects_find_any(&t, 3));
    add(&t, 3, VK_OBJECT_TYPE_COMMAND_BUFFER, pool);
    objects_fini(&t);
}

static void memory_waits_for_every_reader(void **state)
{
    struct objects t;
    struct objects_reader a, b;
    struct object *o;

    (void)state;
    assert_int_equal(objects_init(&t, 100), 0);
    objects_reader_add(&t, &a);
    objects_reader_add(&t, &b);
    freed = 0;
    o = add(&t, 1, BUFFER, NULL);
    assert_true(objects_remove(&t, o, NULL, NULL));
    assert_int_equal(freed, 0);
    /* One of two has moved on. */
    objects_quiesce(&t, &a);
    add(&t, 2, BUFFER, NULL);
    assert_int_equal(freed, 0);
    assert_int_equal(o->id, 1);
    /* The other one sleeps. */
    objects_sleep(&t, &b);
    add(&t, 3, BUFFER, NULL);
    assert_int_equal(freed, 1);
    /* It wakes: what goes now waits for it again. */
    objects_wake(&t, &b);
    assert_true(objects_remove(&t, objects_find_any(&t, 2), NULL, NULL));
    objects_quiesce(&t, &a);
    add(&t, 4, BUFFER, NULL);
    assert_int_equal(freed, 1);
    objects_quiesce(&t, &b);
    add(&t, 5, BUFFER, NULL);
    assert_int_equal(freed, 2);
    /* A reader that leaves holds nothing up. */
    assert_true(objects_remove(&t, objects_find_any(&t, 3), NULL, NULL));
    objects_quiesce(&t, &a);
    objects_reader_remove(&t, &b);
    add(&t, 6, BUFFER, NULL);
    assert_int_equal(freed, 3);
    objects_reader_remove(&t, &a);
    objects_fini(&t);
    assert_int_equal(freed, 6);
}

static void rising_ids_leave_no_tombstones(void **state)
{
    struct objects_reader reader;
    struct objects t;
    struct object_table *before;

    (void)state;
    assert_int_equal(objects_init(&t, 1000000), 0);
    /* Never quiesces, so no table's memory comes back under the same address. */
    objects_reader_add(&t, &reader);
    before = t.table;
    for (uint64_t id = 1; id < 50000; id++) {
        add(&t, id, BUFFER, NULL);
        if (id > 200) {
            assert_true(objects_remove(&t, objects_find(&t, id - 200, BUFFER), NULL, NULL));
        }
    }
    assert_ptr_equal(t.table, before);
    objects_reader_remove(&t, &reader);
    objects_fini(&t);
}

/* 100,000 operations against an array. Ids collide on purpose. */
#define MODEL_IDS 4096

static void random_operations_agree_with_a_model(void **state)
{
    unsigned seed = (unsigned)time(NULL);
    static uint32_t model[MODEL_IDS]; /* type, 0 = none */
    struct objects_reader reader;
    struct objects t;
    uint64_t live = 0;

    (void)state;
    print_message("seed %u\n", seed);
    memset(model, 0, sizeof(model));
    assert_int_equal(objects_init(&t, MODEL_IDS), 0);
    objects_reader_add(&t, &reader);
    for (int i = 0; i < 100000; i++) {
        uint64_t n = (uint64_t)(rand_r(&seed) % MODEL_IDS);
        /* Dense ones, ones that meet at the same slot, and ones with high bits. */
        uint64_t id = n % 3 == 0 ? n + 1 : n % 3 == 1 ? (n << 20) + 7 : (n << 44) + n + 1;
        uint32_t type = rand_r(&seed) % 2 ? BUFFER : IMAGE;

        switch (rand_r(&seed) % 4) {
        case 0:
        case 1: {
            struct object *o = object_new(id, type, id, NULL);
            int r = objects_insert(&t, o);

            assert_int_equal(r, model[n] ? -EEXIST : 0);
            if (r < 0) {
                object_drop(o);
            } else {
                model[n] = type;
                live++;
            }
            break;
        }
        case 2: {
            struct object *o = objects_find_any(&t, id);

            assert_int_equal(o != NULL, model[n] != 0);
            if (o) {
                assert_true(objects_remove(&t, o, NULL, NULL));
                model[n] = 0;
                live--;
            }
            break;
        }
        case 3: {
            struct object *o = objects_find(&t, id, type);

            assert_int_equal(o != NULL, model[n] == type);
            if (o) {
                assert_int_equal(o->id, id);
                assert_int_equal(o->handle, id);
            }
            break;
        }
        }
        assert_int_equal(t.count, live);
        if (rand_r(&seed) % 8 == 0) {
            objects_quiesce(&t, &reader);
        }
    }
    objects_reader_remove(&t, &reader);
    objects_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_by_id_and_type),
        cmocka_unit_test(insertion_refuses_what_it_must),
        cmocka_unit_test(parents_give_device_and_procs),
        cmocka_unit_test(removal_takes_children_first),
        cmocka_unit_test(children_alone_can_go),
        cmocka_unit_test(memory_waits_for_every_reader),
        cmocka_unit_test(rising_ids_leave_no_tombstones),
        cmocka_unit_test(random_operations_agree_with_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
