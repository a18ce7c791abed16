/*
 * A worker's life until it serves, as an ordered list. Each stage takes away what the ones after
 * it do not need; a stage that fails ends the process with its exit code and one line.
 *
 *   fds       only the descriptors of enum worker_fd are there, and are what they should be
 *   record    the flight recorder is mapped; from here on a reason survives us
 *   host      what is learnt from this machine, and the event loop
 *   warm-up   loader and driver are loaded and have run once; no guest byte exists yet
 *   seal      no new files, programs or privileges any more (policy/seal.h)
 *   ready     the server has been told, and has looked for itself before it answers
 *   context   the guest's socket is here: everything from now on is hostile
 */
#ifndef CORDON_WORKER_STAGES_H
#define CORDON_WORKER_STAGES_H

#include "worker/context.h"
#include "worker/recorder.h"
#include "worker/vulkan.h"

struct loop;

struct worker {
    struct recorder recorder;
    struct loop *loop;
    struct vulkan vulkan;
    uint32_t layers; /* of the sandbox, as we believe */
    int listener_fd; /* for the server; -1 = none */
    struct context context;
    int socket_fd; /* the guest's */
};

/* Runs them all. 0: serve w->context on w->socket_fd. Above 0: the exit code; the line is
 * written. Below 0: the server went away or has no use for this worker, exit quietly. */
int stages_run(struct worker *w);

#endif
