/*
 * What a context gives back while its guest is silent: the free memory of its heap, and its mappings
 * of large libraries, which the page cache keeps for whoever needs them next.
 */
#ifndef CORDON_WORKER_IDLE_H
#define CORDON_WORKER_IDLE_H

#include <stdbool.h>

/* A ring asks for it once in each silence, after this long: a wake-up, a third of a millisecond. */
#define IDLE_NS (1000 * 1000 * 1000)

/* Any thread. `unmap_code`: nobody in this process writes to code after it was loaded. */
void idle_give_back(bool unmap_code);

#endif
