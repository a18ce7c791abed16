#include "tests/unit/worker_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/map.h"
#include "worker/resources.h"

static struct resources *table(void **state)
{
    return &((struct fixture *)*state)->ctx.resources;
}

static void own_memory_is_what_a_vmm_accepts(void **state)
{
    const unsigned wanted = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
    struct resource *r;
    uint64_t size;
    unsigned seals;
    int fd = -1;
    uint8_t *map;

    assert_int_equal(resources_create_shm(table(state), 4, 4097, &fd), 0);
    assert_int_equal(fd_size(fd, &size), 0);
    assert_int_equal(size, 4097);
    assert_int_equal(fd_seals(fd, &seals), 0);
    /* It cannot shrink already, and can still be sealed further. */
    assert_true(seals & F_SEAL_SHRINK);
    assert_false(seals & (F_SEAL_SEAL | F_SEAL_WRITE));
    assert_int_equal(fd_seal(fd, wanted), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 0), -1);
    /* Both see the same bytes. */
    map = mmap(NULL, 4097, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    r = resources_get(table(state), 4);
    assert_int_equal(((uint8_t *)r->map)[4096], 0);
    map[4096] = 9;
    assert_int_equal(((uint8_t *)r->map)[4096], 9);
    resource_unref(r);
    munmap(map, 4097);
    close(fd);
}

static void ids_are_unique_and_not_zero(void **state)
{
    int fd = -1, other = -1;

    assert_int_equal(resources_create_shm(table(state), 0, 4096, &other), -EEXIST);
    assert_int_equal(resources_create_shm(table(state), 4, 0, &other), -EINVAL);
    assert_int_equal(resources_create_shm(table(state), 4, 4096, &fd), 0);
    assert_int_equal(resources_create_shm(table(state), 4, 4096, &other), -EEXIST);
    assert_int_equal(resources_import(table(state), 4, RESOURCE_DMABUF, dup(fd), 4096, false),
                     -EEXIST);
    assert_int_equal(other, -1);
    /* Same bucket. */
    assert_null(resources_get(table(state), 4 + 256));
    assert_true(resources_remove(table(state), 4));
    assert_false(resources_remove(table(state), 4));
    assert_null(resources_get(table(state), 4));
    close(fd);
}

static void limits_are_kept(void **state)
{
    struct resources *t = table(state);
    int fd = -1, other = -1;

    t->max = 2;
    t->max_shm_bytes = 10000;
    assert_int_equal(resources_create_shm(t, 1, 6000, &fd), 0);
    assert_int_equal(resources_create_shm(t, 2, 6000, &other), -ENOSPC);
    assert_int_equal(resources_create_shm(t, 2, UINT64_MAX, &other), -EINVAL);
    assert_int_equal(resources_create_shm(t, 2, 1ull << 60, &other), -ENOSPC);
    assert_int_equal(resources_import(t, 2, RESOURCE_DMABUF, dup(fd), 1 << 30, false), 0);
    assert_int_equal(resources_import(t, 3, RESOURCE_DMABUF, dup(fd), 1, false), -EDQUOT);
    assert_true(resources_remove(t, 1));
    assert_int_equal(t->shm_bytes, 0);
    assert_int_equal(t->count, 1);
    close(fd);
}

static void memory_that_can_shrink_is_refused(void **state)
{
    int fd = -1;

    assert_int_equal(memfd_create_sized("test", 4096, &fd), 0);
    assert_int_equal(resources_import(table(state), 4, RESOURCE_SHM, dup(fd), 4096, false), -EPERM);
    assert_int_equal(fd_seal(fd, F_SEAL_SHRINK), 0);
    assert_int_equal(resources_import(table(state), 4, RESOURCE_SHM, dup(fd), 4097, false),
                     -EINVAL);
    assert_int_equal(resources_import(table(state), 4, RESOURCE_SHM, dup(fd), 0, false), -EINVAL);
    assert_int_equal(resources_import(table(state), 4, RESOURCE_SHM, dup(fd), 4096, false), 0);
    close(fd);
}

static void users_keep_the_mapping(void **state)
{
    struct resource *r;
    int fd = -1;

    assert_int_equal(resources_create_shm(table(state), 4, 4096, &fd), 0);
    close(fd);
    r = resources_get(table(state), 4);
    assert_true(resources_remove(table(state), 4));
    assert_true(r->removed);
    memset(r->map, 1, 4096);
    assert_int_equal(table(state)->shm_bytes, 4096);
    assert_null(resource_unref(r));
    assert_int_equal(table(state)->shm_bytes, 0);
    assert_null(resource_unref(NULL));
}

static void exported_memory_is_not_mapped(void **state)
{
    struct resource *r;
    int fd = -1;

    assert_int_equal(memfd_create_sized("test", 4096, &fd), 0);
    assert_int_equal(resources_import(table(state), 4, RESOURCE_SHM, fd, 4096, true), 0);
    r = resources_get(table(state), 4);
    assert_null(r->map);
    assert_true(r->exported_memory);
    resource_unref(r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(own_memory_is_what_a_vmm_accepts),
        T(ids_are_unique_and_not_zero),
        T(limits_are_kept),
        T(memory_that_can_shrink_is_refused),
        T(users_keep_the_mapping),
        T(exported_memory_is_not_mapped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
