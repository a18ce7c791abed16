#include "policy/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "policy/sandbox.h"

/* Newer than the oldest headers that we build with. */
#define FS_TRUNCATE (UINT64_C(1) << 14)  /* ABI 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5 */
#define NET_BIND_TCP (UINT64_C(1) << 0)  /* ABI 4 */
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT_UNIX (UINT64_C(1) << 0) /* ABI 6 */
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

#define FS_ABI_1 ((UINT64_C(1) << 13) - 1)
#define FS_ABI_2 ((UINT64_C(1) << 14) - 1) /* and REFER */

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FILE_ONLY                                                                                \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | \
     FS_TRUNCATE | FS_IOCTL_DEV)

struct ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

static uint64_t handled_fs(int abi)
{
    uint64_t fs = abi >= 2 ? FS_ABI_2 : FS_ABI_1;

    fs |= abi >= 3 ? FS_TRUNCATE : 0;
    fs |= abi >= 5 ? FS_IOCTL_DEV : 0;
    return fs;
}

int landlock_new(void)
{
    int abi = sandbox_landlock_abi();
    struct ruleset_attr attr = { .handled_access_fs = handled_fs(abi) };
    size_t size = sizeof(attr.handled_access_fs);
    long r;

    if (abi >= 4) {
        attr.handled_access_net = NET_BIND_TCP | NET_CONNECT_TCP;
        size = offsetof(struct ruleset_attr, scoped);
    }
    if (abi >= 6) {
        attr.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
        size = sizeof(attr);
    }
    r = syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    return r < 0 ? -errno : (int)r;
}

int landlock_allow_fd(int ruleset, int fd, bool device, bool exec)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access = READ,
        .parent_fd = fd,
    };
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (exec) {
        rule.allowed_access |= LANDLOCK_ACCESS_FS_EXECUTE;
    }
    if (device) {
        rule.allowed_access |= LANDLOCK_ACCESS_FS_WRITE_FILE | FS_IOCTL_DEV;
    }
    if (!S_ISDIR(st.st_mode)) {
        rule.allowed_access &= FILE_ONLY;
    }
    rule.allowed_access &= handled_fs(sandbox_landlock_abi());
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0) {
        return -errno;
    }
    return 0;
}

int landlock_allow(int ruleset, const char *path, bool device, bool exec)
{
    AUTO_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    return landlock_allow_fd(ruleset, fd, device, exec);
}

int landlock_allow_scratch(int ruleset, const char *path)
{
    AUTO_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr rule = {
        .allowed_access = READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                          LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                          LANDLOCK_ACCESS_FS_REMOVE_DIR | FS_TRUNCATE,
        .parent_fd = fd,
    };

    if (fd < 0) {
        return -errno;
    }
    rule.allowed_access &= handled_fs(sandbox_landlock_abi());
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0) {
        return -errno;
    }
    return 0;
}

int landlock_restrict(int ruleset)
{
    return (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
}
