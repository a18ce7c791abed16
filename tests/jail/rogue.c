/*
 * libcordon-worker.so of an attacker: what a worker in somebody else's jail can do to the server and
 * to other workers. Says what it could, in lines for the server's log, and stays.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/program.h"

/* What /proc shows is counted in the jail; we are in a namespace of our own there. */
static int is_ours(const char *pid)
{
    char path[300], ours[64] = "", theirs[64] = "-";

    (void)snprintf(path, sizeof(path), "/proc/%s/ns/pid", pid);
    return readlink("/proc/self/ns/pid", ours, sizeof(ours) - 1) > 0 &&
           readlink(path, theirs, sizeof(theirs) - 1) > 0 && strcmp(ours, theirs) == 0;
}

int cordon_worker_main(int argc, char **argv)
{
    int seen = 0, opened = 0, signalled = 0;
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    char path[300];

    (void)argc;
    (void)argv;
    while (dir && (entry = readdir(dir))) {
        int fd;

        if (strtol(entry->d_name, NULL, 10) <= 0 || is_ours(entry->d_name)) {
            continue;
        }
        seen++;
        (void)snprintf(path, sizeof(path), "/proc/%s/mem", entry->d_name);
        fd = open(path, O_RDWR | O_CLOEXEC);
        opened += fd >= 0;
    }
    /* By the numbers that it can name: its own process 1, which nothing kills from inside, and what
     * others have in theirs. */
    for (int pid = 3; pid < 300; pid++) {
        signalled += kill(pid, 0) == 0;
    }
    signalled += kill(1, SIGKILL) < 0;
    fprintf(stderr, "<6>rogue: of %d others, opened the memory of %d, signalled %d\n", seen, opened,
            signalled);
    for (;;) {
        pause();
    }
}
