/*
 * cordon-worker: runs the Vulkan commands of one guest context on the host's driver, confined.
 * Started by cordon-render-server, one per context, with the descriptors of enum worker_fd; see
 * stages.h for its life.
 *
 * It comes as a program, which the server execs, and as libcordon-worker.so, which a forked child
 * of the server loads where somebody else's jail forbids exec. Both are this.
 */
#ifndef CORDON_WORKER_PROGRAM_H
#define CORDON_WORKER_PROGRAM_H

/* A worker's whole life, from its command line on; its environment is read. Ends the process, or
 * returns the exit status of a worker that has not begun. */
__attribute__((visibility("default"))) int cordon_worker_main(int argc, char **argv);

#endif
