/* Did a test leave a descriptor or a child behind? For cmocka's setup and teardown. */
#ifndef CORDON_TESTS_UNIT_LEAKS_H
#define CORDON_TESTS_UNIT_LEAKS_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

struct leaks {
    int n_fds;
};

static inline int leaks_count_fds_(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (dir && readdir(dir)) {
        n++;
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

static inline void leaks_begin(struct leaks *l)
{
    l->n_fds = leaks_count_fds_();
}

/* 0, or -1 with a line that says what was left. */
static inline int leaks_end(const struct leaks *l)
{
    int n = leaks_count_fds_();

    if (n != l->n_fds) {
        fprintf(stderr, "leak: %d descriptors before, %d after\n", l->n_fds, n);
        return -1;
    }
    if (waitpid(-1, NULL, WNOHANG) >= 0) {
        fprintf(stderr, "leak: a child was left behind\n");
        return -1;
    }
    return 0;
}

#endif
