#include "ipc/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)

static bool old_kernel; /* refuse flags that it would not know */

int __real_memfd_create(const char *name, unsigned flags);
int __wrap_memfd_create(const char *name, unsigned flags);
int __real_ftruncate64(int fd, off_t size);
int __wrap_ftruncate64(int fd, off_t size);
int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, unsigned long arg);
void *__real_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
off_t __real_lseek64(int fd, off_t offset, int whence);
off_t __wrap_lseek64(int fd, off_t offset, int whence);

static bool fails(void)
{
    if (harness_fault()) {
        errno = EIO;
        return true;
    }
    return false;
}

int __wrap_memfd_create(const char *name, unsigned flags)
{
    if (old_kernel && (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING)) != 0) {
        errno = EINVAL;
        return -1;
    }
    return fails() ? -1 : __real_memfd_create(name, flags);
}

int __wrap_ftruncate64(int fd, off_t size)
{
    return fails() ? -1 : __real_ftruncate64(fd, size);
}

int __wrap_fstat64(int fd, struct stat *st)
{
    return fails() ? -1 : __real_fstat64(fd, st);
}

int __wrap_fcntl64(int fd, int command, unsigned long arg)
{
    return fails() ? -1 : __real_fcntl64(fd, command, arg);
}

void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : __real_mmap64(at, size, prot, flags, fd, offset);
}

off_t __wrap_lseek64(int fd, off_t offset, int whence)
{
    return fails() ? -1 : __real_lseek64(fd, offset, whence);
}

static void memfd_has_its_size_and_can_be_sealed(void **state)
{
    uint64_t size = 0;
    unsigned seals = 0;
    int fd = -1;

    (void)state;
    assert_int_equal(memfd_create_sized("test", 4097, &fd), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fd_size(fd, &size), 0);
    assert_int_equal(size, 4097);
    assert_int_equal(fd_seals(fd, &seals), 0);
    assert_int_equal(seals & SEALS, 0);
    assert_int_equal(seals & F_SEAL_WRITE, 0);
    assert_int_equal(fd_require_seals(fd, SEALS), -EPERM);
    assert_int_equal(fd_seal(fd, SEALS), 0);
    assert_int_equal(fd_require_seals(fd, SEALS), 0);
    assert_int_equal(fd_require_seals(fd, F_SEAL_SHRINK), 0);
    assert_int_equal(fd_require_seals(fd, SEALS | F_SEAL_WRITE), -EPERM);
    assert_int_equal(ftruncate(fd, 1), -1);
    assert_int_equal(fd_seal(fd, F_SEAL_WRITE), -EPERM);
    close(fd);
}

static void old_kernel_gets_a_memfd_too(void **state)
{
    int fd = -1;

    (void)state;
    old_kernel = true;
    assert_int_equal(memfd_create_sized("test", 100, &fd), 0);
    old_kernel = false;
    assert_int_equal(fd_seal(fd, SEALS), 0);
    close(fd);
}

static void impossible_sizes_are_refused(void **state)
{
    int fd = -1;

    (void)state;
    assert_int_equal(memfd_create_sized("test", 0, &fd), -EINVAL);
    assert_int_equal(memfd_create_sized("test", UINT64_MAX, &fd), -EINVAL);
    assert_int_equal(memfd_create_sized("test", (uint64_t)INT64_MAX + 1, &fd), -EINVAL);
    assert_int_equal(fd, -1);
}

static void two_mappings_show_the_same_bytes(void **state)
{
    void *a = NULL, *b = NULL;
    int fd = -1;

    (void)state;
    assert_int_equal(memfd_create_sized("test", 8192, &fd), 0);
    assert_int_equal(map_shared(fd, 8192, &a), 0);
    assert_int_equal(map_shared(fd, 4096, &b), 0);
    memcpy((char *)a + 4000, "hello", 6);
    assert_string_equal((char *)b + 4000, "hello");
    unmap(a, 8192);
    unmap(b, 4096);
    unmap(NULL, 4096);
    close(fd);
}

static void mapping_past_the_end_is_refused(void **state)
{
    void *p = NULL;
    int fd = -1;

    (void)state;
    assert_int_equal(memfd_create_sized("test", 4096, &fd), 0);
    assert_int_equal(map_shared(fd, 4097, &p), -EINVAL);
    assert_int_equal(map_shared(fd, 0, &p), -EINVAL);
    assert_int_equal(map_shared(fd, UINT64_MAX, &p), -EINVAL);
    assert_null(p);
    close(fd);
    assert_int_equal(map_shared(-1, 4096, &p), -EBADF);
}

static void things_without_size_or_seals_are_told(void **state)
{
    uint64_t size = 7;
    unsigned seals = 7;
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fd_size(fds[0], &size), -ESPIPE);
    assert_int_equal(size, 7);
    assert_int_equal(fd_seals(fds[0], &seals), -EINVAL);
    assert_int_equal(fd_require_seals(fds[0], F_SEAL_SHRINK), -EINVAL);
    assert_int_equal(seals, 7);
    close(fds[0]);
    close(fds[1]);
}

static int create_seal_map(void)
{
    void *p = NULL;
    int fd = -1;
    int r = memfd_create_sized("test", 4096, &fd);

    if (r < 0) {
        assert_int_equal(fd, -1);
        return r;
    }
    r = fd_seal(fd, SEALS);
    if (r == 0) {
        r = fd_require_seals(fd, SEALS);
    }
    if (r == 0) {
        r = map_shared(fd, 4096, &p);
        if (r < 0) {
            assert_null(p);
        }
        unmap(p, 4096);
    }
    close(fd);
    return r;
}

static void any_call_may_fail(void **state)
{
    int n;

    (void)state;
    for (n = 0; harness_fault_next(n); n++) {
        int r = create_seal_map();

        assert_int_equal(r, harness_faulted() ? -EIO : 0);
    }
    /* memfd_create, ftruncate, two fcntl, fstat, mmap; and the run without a fault */
    assert_int_equal(n, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(memfd_has_its_size_and_can_be_sealed),
        HARNESS_TEST(old_kernel_gets_a_memfd_too),
        HARNESS_TEST(impossible_sizes_are_refused),
        HARNESS_TEST(two_mappings_show_the_same_bytes),
        HARNESS_TEST(mapping_past_the_end_is_refused),
        HARNESS_TEST(things_without_size_or_seals_are_told),
        HARNESS_TEST(any_call_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
