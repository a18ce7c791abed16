/*
 * What the driver compiled while a worker warmed up, handed to the next workers of the same server.
 *
 * Made by a worker that has not seen one byte of a guest, and sealed by the server before that one
 * gets its guest: nothing that a guest did can be in it. Each worker has a copy of its own.
 */
#ifndef CORDON_WORKER_CACHE_H
#define CORDON_WORKER_CACHE_H

#include "ipc/base.h"

/* Writes all files below `folder` into fd, an empty file. Those larger than all of ours should be
 * are left out. 0 or a negative errno; then fd is empty again. */
MUST_USE int cache_save(const char *folder, int fd);

/* Makes them again below `folder`. 1: done; 0: fd holds none, or is no such file; or a negative
 * errno, and there may be some. */
MUST_USE int cache_load(int fd, const char *folder);

#endif
