/*
 * under_filter trap|allow FILE PROGRAM ARG...: runs a program under somebody else's system call
 * filter, as a jail would. FILE holds lines "name: 1" or "name: return ERRNO"; for what it does not
 * list: SIGSYS, or leave.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int add(scmp_filter_ctx ctx, const char *name, const char *what)
{
    int nr = seccomp_syscall_resolve_name(name), error;
    uint32_t action = SCMP_ACT_ALLOW;

    if (sscanf(what, "return %d", &error) == 1) {
        action = SCMP_ACT_ERRNO(error);
    } else if (strcmp(what, "1") != 0) {
        fprintf(stderr, "%s: `%s`\n", name, what);
        return -EINVAL;
    }
    /* A call that is newer than the library is not ours to judge. */
    return nr == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(ctx, action, nr, 0);
}

int main(int argc, char **argv)
{
    char line[256], name[64], what[64];
    scmp_filter_ctx ctx;
    FILE *f;

    if (argc < 4) {
        return 2;
    }
    ctx = seccomp_init(strcmp(argv[1], "trap") == 0 ? SCMP_ACT_TRAP : SCMP_ACT_ALLOW);
    f = fopen(argv[2], "r");
    if (!ctx || !f) {
        perror(argv[2]);
        return 2;
    }
    while (fgets(line, sizeof(line), f)) {
        int r = 0;

        if (line[0] != '#' && sscanf(line, "%63[a-z_0-9]: %63[^\n]", name, what) == 2) {
            r = add(ctx, name, what);
        }
        if (r < 0 && r != -EACCES /* what the default says anyway */) {
            fprintf(stderr, "%s: %s", strerror(-r), line);
            return 2;
        }
    }
    fclose(f);
    if (seccomp_load(ctx) < 0) {
        perror("seccomp_load");
        return 2;
    }
    (void)execv(argv[3], argv + 3);
    perror(argv[3]);
    return 2;
}
