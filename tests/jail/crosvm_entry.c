/*
 * Entered by LD_PRELOAD: takes the place of __libc_start_main, so that it runs when the program's
 * libraries are loaded and its main has not begun, and puts up crosvm's jail for a render server
 * from inside: its file tree, no capabilities, no_new_privs, its filter.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/base.h"
#include "policy/program.h"
#include "tests/jail/crosvm_entry.h"

/* Where the tree is built; any folder does. */
#define ROOT "/mnt"

extern const struct policy_program policy_crosvm_stock, policy_crosvm_jit;

typedef int main_fn(int argc, char **argv, char **envp);
typedef int start_fn(main_fn *main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                     void (*rtld_fini)(void), void *stack_end);

__attribute__((visibility("default"))) start_fn __libc_start_main;

static main_fn *program_main;

static void need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "crosvm_entry: %s: %s\n", what, strerror(errno));
        _exit(126);
    }
}

static void make_parents(const char *path)
{
    char part[4096];

    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        need(mkdir(part, 0755) == 0 || errno == EEXIST, part);
    }
}

/* As the host has it, or not at all. */
static void show(const char *outside, const char *inside)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID };
    char target[4096];
    struct stat st;
    int fd;

    if (stat(outside, &st) < 0) {
        return;
    }
    (void)snprintf(target, sizeof(target), ROOT "%s", inside);
    make_parents(target);
    if (S_ISDIR(st.st_mode)) {
        need(mkdir(target, 0755) == 0 || errno == EEXIST, target);
    } else {
        fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
        need(fd >= 0, target);
        close(fd);
    }
    need(mount(outside, target, NULL, MS_BIND | MS_REC, NULL) == 0, outside);
    need(mount_setattr(AT_FDCWD, target, AT_RECURSIVE, &attr, sizeof(attr)) == 0, target);
}

static void show_more(const char *list)
{
    char *copy = strdup(list), *save = NULL;

    for (char *one = strtok_r(copy, ":", &save); one; one = strtok_r(NULL, ":", &save)) {
        char *inside = strchr(one, '=');

        need(inside != NULL, one);
        *inside = '\0';
        show(one, inside + 1);
    }
    free(copy);
}

static void enter_tree(void)
{
    static const char *const shown[] = {
        "/sys/dev/char",
        "/sys/devices",
        "/dev/udmabuf",
        "/dev/mali0",
        "/dev/pvr_sync",
        "/usr/lib",
        "/usr/lib64",
        "/lib",
        "/lib64",
        "/run/perfetto",
        "/usr/share/drirc.d",
        "/usr/share/glvnd",
        "/usr/share/libdrm",
        "/usr/share/vulkan",
        "/dev/log",
    };
    const char *more = getenv("CORDON_JAIL_BINDS");
    char node[64];

    need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "mount(MS_PRIVATE)");
    need(mount("tmpfs", ROOT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64M,mode=755") == 0,
         "mount(tmpfs)");
    for (size_t i = 0; i < ARRAY_SIZE(shown); i++) {
        show(shown[i], shown[i]);
    }
    for (int minor = 128; minor < 192; minor++) {
        (void)snprintf(node, sizeof(node), "/dev/dri/renderD%d", minor);
        /* Not what another library in LD_PRELOAD makes of it. */
        if (syscall(SYS_access, node, F_OK) < 0) {
            break;
        }
        show(node, node);
    }
    if (more) {
        show_more(more);
    }
    need(mkdir(ROOT "/proc", 0755) == 0, "mkdir(/proc)");
    need(mount("proc", ROOT "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL) ==
             0,
         "mount(proc)");
    need(chdir(ROOT) == 0 && syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root");
    need(umount2(".", MNT_DETACH) == 0 && chdir("/") == 0, "umount2");
}

static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[2] = { 0 };

    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        need(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0, "PR_CAPBSET_DROP");
    }
    need(syscall(SYS_capset, &header, none) == 0, "capset");
    need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
}

/* Before the tree is ours: the file is not in it. */
static scmp_filter_ctx read_policy(const char *path)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
    FILE *f = fopen(path, "re");
    char line[256], name[64];

    need(ctx && f, path);
    while (fgets(line, sizeof(line), f)) {
        int nr;

        if (line[0] == '#' || sscanf(line, "%63[a-z_0-9]: 1", name) != 1) {
            continue;
        }
        nr = seccomp_syscall_resolve_name(name);
        /* A call that is newer than the library is not ours to judge. */
        need(nr == __NR_SCMP_ERROR || seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0) == 0, name);
    }
    (void)fclose(f);
    return ctx;
}

static void install(const struct policy_program *program)
{
    struct sock_fprog prog = {
        .len = program->n_code,
        .filter = (struct sock_filter *)program->code,
    };

    need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0, "seccomp");
}

static int jailed_main(int argc, char **argv, char **envp)
{
    const char *kind = getenv("CORDON_JAIL");
    const char *preload = getenv("LD_PRELOAD");
    const char *rest = preload ? strchr(preload, ':') : NULL;
    scmp_filter_ctx policy = NULL;

    (void)envp;
    need(kind != NULL, "CORDON_JAIL is not set");
    if (kind[0] == '/') {
        policy = read_policy(kind);
    }
    /* Its own entry goes, what is behind it stays. */
    if (rest) {
        (void)setenv("LD_PRELOAD", rest + 1, 1);
    } else {
        (void)unsetenv("LD_PRELOAD");
    }
    enter_tree();
    drop_capabilities();
    if (policy) {
        need(seccomp_load(policy) == 0, "seccomp_load");
        seccomp_release(policy);
    } else {
        install(strcmp(kind, "jit") == 0 ? &policy_crosvm_jit : &policy_crosvm_stock);
    }
    return program_main(argc, argv, environ);
}

int __libc_start_main(main_fn *main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    void *symbol = dlsym(RTLD_NEXT, "__libc_start_main");
    start_fn *next;

    memcpy(&next, &symbol, sizeof(next));
    program_main = main;
    return next(jailed_main, argc, argv, init, fini, rtld_fini, stack_end);
}
