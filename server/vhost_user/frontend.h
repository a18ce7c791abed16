/*
 * The front end (a VMM) that is connected, and its messages. One at a time: when it goes, all that
 * its guest had goes, and the next may come.
 */
#ifndef CORDON_SERVER_VHOST_USER_FRONTEND_H
#define CORDON_SERVER_VHOST_USER_FRONTEND_H

#include <stdbool.h>
#include <stdint.h>

#include "server/vhost_user/gpu.h"
#include "server/vhost_user/link.h"
#include "server/vhost_user/window.h"

struct keeper;
struct loop;
struct loop_source;

/* Around the gpu's queue of the same number. */
struct ring {
    struct frontend *frontend;
    int kick_fd; /* owned; -1: not to be started */
    struct loop_source *kick;
    bool enabled;
    uint16_t base; /* where the front end wants it to start */
    bool stopped;  /* by GET_VRING_BASE; may go on where it was */
};

struct frontend {
    /* Set at creation, then const. */
    struct loop *loop;
    void (*leaving)(void *arg); /* told when the front end is about to go */
    void *arg;
    uint32_t shmem_bit; /* its protocol feature; VHOST_USER_PROTOCOL_SHMEM */

    struct link link;
    struct loop_source *source;
    uint64_t features, protocol;
    uint64_t status;
    struct guest_memory memory;
    struct window window;
    struct gpu gpu;
    struct ring rings[GPU_QUEUES];
    /* SET_INFLIGHT_FD's memory. */
    void *inflight;
    uint64_t inflight_size;
    struct vhost_user_inflight inflight_layout;
};

struct frontend_config {
    struct display_mode mode;
    uint64_t window_size;
    uint32_t shmem_bit;
};

MUST_USE int frontend_init(struct frontend *f, struct loop *loop, struct keeper *keeper,
                           const struct frontend_config *config, void (*leaving)(void *arg),
                           void *arg);
void frontend_fini(struct frontend *f);

/* Takes own_fd, a connected socket, success or not; there must be no front end. */
MUST_USE int frontend_connect(struct frontend *f, int own_fd);
void frontend_disconnect(struct frontend *f);
/* Answers the message that is being served. 0, or a negative errno: the connection is of no use. */
MUST_USE int frontend_reply(struct frontend *f, const void *payload, uint32_t size);
static inline bool frontend_connected(const struct frontend *f)
{
    return f->link.fd >= 0;
}

#endif
