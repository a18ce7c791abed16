#include "worker/program.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/log.h"
#include "ipc/seqpacket.h"
#include "ipc/worker_wire.h"
#include "worker/serve.h"
#include "worker/stages.h"

#ifndef CORDON_VERSION
#error "the build gives the version"
#endif

static void usage(FILE *to)
{
    fprintf(to,
            "Usage: cordon-worker\n"
            "\n"
            "Runs the Vulkan commands of one guest context. It is started by\n"
            "cordon-render-server, which gives it its sockets; there is nothing to gain from\n"
            "starting it by hand.\n"
            "\n"
            "  -h, --help      show this\n"
            "  -V, --version   show the version\n"
            "\n"
            "Environment (the server passes these on):\n"
            "  CORDON_WORKER_LOG   most verbose level: error, warn, info (default) or debug\n"
            "  CORDON_SEAL         layers that the worker puts on itself: all (default), seccomp\n"
            "                      (no W^X) or none\n"
            "  CORDON_ASK_THREADS=1  the start of a thread asks the server, which counts them\n"
            "  CORDON_POLICY       the policy that the server chose: lavapipe, radv, ...\n"
            "  CORDON_VALIDATE=1   run guests under the Khronos validation layer, for tests\n"
            "  VK_DRIVER_FILES     driver manifests for the Vulkan loader\n");
}

static void set_up_log(void)
{
    const char *text = getenv("CORDON_WORKER_LOG");
    enum log_level level = LOG_LEVEL_INFO;

    log_set_style(LOG_STYLE_RELAYED);
    if (text && log_level_parse(text, &level) < 0) {
        log_warn("CORDON_WORKER_LOG=%s is not error, warn, info or debug; using info",
                 LOG_QUOTE(text, strlen(text)));
    }
    log_set_level(level);
}

int cordon_worker_main(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    static struct worker worker;
    int c;

    while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
        switch (c) {
        case 'h':
            usage(stdout);
            return WORKER_EXIT_OK;
        case 'V':
            printf("cordon-worker %s\n", CORDON_VERSION);
            return WORKER_EXIT_OK;
        default:
            usage(stderr);
            return WORKER_EXIT_USAGE;
        }
    }
    if (optind < argc) {
        usage(stderr);
        return WORKER_EXIT_USAGE;
    }
    if (seqpacket_check(WORKER_FD_CONTROL) < 0) {
        fprintf(stderr,
                "cordon-worker: is started by cordon-render-server, which gives it its "
                "sockets; descriptor %d is no such socket\n",
                WORKER_FD_CONTROL);
        return WORKER_EXIT_USAGE;
    }
    set_up_log();
    c = stages_run(&worker);
    if (c == 0) {
        c = serve(&worker.context, worker.loop, worker.socket_fd);
    }
    /* No exit handlers: rings and the driver's threads are still running. */
    _exit(c < 0 ? WORKER_EXIT_OK : c);
}
