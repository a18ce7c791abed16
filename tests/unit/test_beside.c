#include "ipc/beside.h"

#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

#define SELF "test_beside"

static char path[4096];

static void the_first_folder_that_has_it_counts(void **state)
{
    static const char *const folders[] = { "/nonexistent", "..", "", "/tmp", NULL };

    (void)state;
    assert_true(beside_find(folders, SELF, X_OK, path, sizeof(path)));
    assert_string_equal(strrchr(path, '/'), "/" SELF);
    assert_null(strstr(path, ".."));
    assert_int_equal(access(path, X_OK), 0);
}

static void nowhere_is_where_it_would_be_installed(void **state)
{
    static const char *const folders[] = { "", "..", "/opt/cordon", "/usr", NULL };

    (void)state;
    assert_false(beside_find(folders, "no-such", F_OK, path, sizeof(path)));
    assert_string_equal(path, "/opt/cordon/no-such");
}

static void a_path_that_does_not_fit_is_passed_over(void **state)
{
    static const char *const folders[] = { "", "../../../../../../../..", "/tmp", NULL };
    char little[sizeof("/tmp/" SELF)];

    (void)state;
    assert_false(beside_find(folders, SELF, X_OK, little, sizeof(little)));
    assert_string_equal(little, "/tmp/" SELF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(the_first_folder_that_has_it_counts),
        HARNESS_TEST(nowhere_is_where_it_would_be_installed),
        HARNESS_TEST(a_path_that_does_not_fit_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
