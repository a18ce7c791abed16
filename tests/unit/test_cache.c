#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/worker_wire.h"
#include "tests/harness.h"
#include "worker/cache.h"

static char folder[] = "/tmp/cordon-test-cache-XXXXXX";

/* In the folder. */
static void run(const char *script)
{
    char command[512];

    (void)snprintf(command, sizeof(command), "cd %s && %s", folder, script);
    assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    *state = (void *)(intptr_t)memfd_create("cache", MFD_CLOEXEC);
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[128];

    close((int)(intptr_t)*state);
    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static void what_was_saved_is_there_again(void **state)
{
    int fd = (int)(intptr_t)*state;

    run("mkdir -p a/b && printf one > a/b/c && printf two > d && : > empty && "
        "truncate -s 2M large");
    assert_int_equal(cache_save(folder, fd), 0);
    run("rm -r ./*");
    /* The descriptor's place is where saving has left it. */
    assert_int_equal(cache_load(fd, folder), 1);
    run("test \"$(cat a/b/c)\" = one && test \"$(cat d)\" = two && ! test -e empty && "
        "! test -e large");
    assert_int_equal(cache_load(fd, folder), -EEXIST);
}

static void nothing_is_no_cache(void **state)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    assert_int_equal(cache_load((int)(intptr_t)*state, folder), 0);
    assert_int_equal(cache_load(null, folder), 0);
    assert_int_equal(cache_load(-1, folder), 0);
    close(null);
}

static void too_much_leaves_nothing(void **state)
{
    int fd = (int)(intptr_t)*state;

    run("for i in 1 2 3 4 5; do truncate -s 1M $i; done");
    assert_int_equal(cache_save(folder, fd), -EFBIG);
    assert_int_equal(lseek(fd, 0, SEEK_END), 0);
    assert_int_equal(cache_save("/nonexistent/folder", fd), -ENOENT);
    assert_int_equal(lseek(fd, 0, SEEK_END), 0);
    assert_int_equal(ftruncate(fd, WORKER_CACHE_SIZE + 1), 0);
    assert_int_equal(cache_load(fd, folder), -EFBIG);
}

static int load_bytes(int fd, const uint32_t *words, size_t size)
{
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, words, size, 0), (ssize_t)size);
    return cache_load(fd, folder);
}

static void what_is_not_a_cache_is_refused(void **state)
{
    int fd = (int)(intptr_t)*state;
    const uint32_t dots[] = { 4, 0, 0x612f2e2e }; /* ../a */

    assert_int_equal(load_bytes(fd, (uint32_t[]){ 1 }, 4), -EPROTO);
    assert_int_equal(load_bytes(fd, (uint32_t[]){ 0, 0 }, 8), -EPROTO);
    assert_int_equal(load_bytes(fd, (uint32_t[]){ 5, 0, 'a' }, 12), -EPROTO);
    assert_int_equal(load_bytes(fd, (uint32_t[]){ 1, 4, 'a' }, 12), -EPROTO);
    assert_int_equal(load_bytes(fd, (uint32_t[]){ UINT32_MAX, UINT32_MAX, 'a' }, 12), -EPROTO);
    assert_int_equal(load_bytes(fd, (uint32_t[]){ 4, UINT32_MAX, 'a' }, 12), -EPROTO);
    assert_int_equal(load_bytes(fd, dots, sizeof(dots)), -EPROTO);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(what_was_saved_is_there_again),
        CASE(nothing_is_no_cache),
        CASE(too_much_leaves_nothing),
        CASE(what_is_not_a_cache_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
