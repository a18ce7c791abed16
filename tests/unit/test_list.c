#include "ipc/list.h"

#include "tests/harness.h"

struct item {
    int number;
    struct list link; /* items */
};

static int digits(struct list *items)
{
    int all = 0;

    list_for_each (pos, items) {
        all = all * 10 + list_entry(pos, struct item, link)->number;
    }
    return all;
}

static void items_keep_their_order(void **state)
{
    struct item a = { .number = 1 }, b = { .number = 2 }, c = { .number = 3 };
    struct list items;

    (void)state;
    list_init(&items);
    assert_true(list_empty(&items));
    list_append(&items, &a.link);
    list_append(&items, &b.link);
    list_append(&items, &c.link);
    assert_false(list_empty(&items));
    assert_int_equal(digits(&items), 123);
    list_remove(&b.link);
    assert_int_equal(digits(&items), 13);
}

static void second_removal_is_harmless(void **state)
{
    struct item a = { .number = 1 }, b = { .number = 2 };
    struct list items;

    (void)state;
    list_init(&items);
    list_append(&items, &a.link);
    list_append(&items, &b.link);
    list_remove(&a.link);
    list_remove(&a.link);
    assert_int_equal(digits(&items), 2);
}

static void current_item_may_be_removed(void **state)
{
    struct item all[5];
    struct list items;

    (void)state;
    list_init(&items);
    for (int i = 0; i < 5; i++) {
        all[i].number = i + 1;
        list_append(&items, &all[i].link);
    }
    list_for_each_safe (pos, &items) {
        if (list_entry(pos, struct item, link)->number % 2 == 1) {
            list_remove(pos);
        }
    }
    assert_int_equal(digits(&items), 24);
    list_for_each_safe (pos, &items) {
        list_remove(pos);
    }
    assert_true(list_empty(&items));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(items_keep_their_order),
        HARNESS_TEST(second_removal_is_harmless),
        HARNESS_TEST(current_item_may_be_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
