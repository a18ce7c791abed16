#include "server/render/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

static int some_fd(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void ids_are_unique_while_they_live(void **state)
{
    struct registry r;
    struct context *c, *other;

    (void)state;
    registry_init(&r);
    assert_int_equal(registry_add(&r, 0, "x", some_fd(), &c), -EINVAL);
    assert_int_equal(registry_add(&r, 7, "x", some_fd(), &c), 0);
    assert_int_equal(registry_add(&r, 7, "y", some_fd(), &other), -EEXIST);
    assert_ptr_equal(registry_find(&r, 7), c);
    assert_null(registry_find(&r, 8));
    registry_remove(&r, c);
    assert_null(registry_find(&r, 7));
    assert_int_equal(registry_add(&r, 7, "y", some_fd(), &c), 0);
    registry_remove(&r, c);
}

static void names_become_printable_and_short(void **state)
{
    char name[CONTEXT_NAME_SIZE];
    struct registry r;
    struct context *c;

    (void)state;
    registry_init(&r);
    memset(name, 'a', sizeof(name)); /* not terminated */
    name[0] = '\n';
    name[1] = '"';
    name[2] = '\x1b';
    name[3] = '\xc3';
    name[4] = '\\';
    assert_int_equal(registry_add(&r, 1, name, some_fd(), &c), 0);
    assert_string_equal(c->name, "?????aaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_int_equal(strlen(c->name), CONTEXT_NAME_SIZE - 1);
    registry_remove(&r, c);
}

static void there_is_an_end_to_contexts(void **state)
{
    struct registry r;
    struct context *c;

    (void)state;
    registry_init(&r);
    for (uint32_t id = 1; id <= REGISTRY_MAX; id++) {
        assert_int_equal(registry_add(&r, id, "", some_fd(), &c), 0);
    }
    assert_int_equal(registry_add(&r, 9999, "", some_fd(), &c), -ENOSPC);
    /* A live id is the better reason. */
    assert_int_equal(registry_check(&r, 5), -EEXIST);
    for (uint32_t id = 1; id <= REGISTRY_MAX; id++) {
        registry_remove(&r, registry_find(&r, id));
    }
    assert_int_equal(r.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(ids_are_unique_while_they_live),
        HARNESS_TEST(names_become_printable_and_short),
        HARNESS_TEST(there_is_an_end_to_contexts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
