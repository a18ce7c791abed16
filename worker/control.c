#include "worker/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base.h"
#include "ipc/fdset.h"
#include "ipc/seqpacket.h"
#include "ipc/worker_wire.h"

static int tell(int control_fd, const void *message, size_t size, const int *fds, uint32_t n_fds)
{
    return control_fd < 0 ? 0 : seqpacket_send(control_fd, message, size, fds, n_fds);
}

int control_ready(int control_fd, uint32_t layers, const char *device, const char *driver,
                  int listener_fd)
{
    struct worker_ready m = { .op = WORKER_OP_READY, .layers = layers };

    snprintf(m.device, sizeof(m.device), "%s", device);
    snprintf(m.driver, sizeof(m.driver), "%s", driver);
    return tell(control_fd, &m, sizeof(m), &listener_fd, listener_fd >= 0);
}

int control_timeline(int control_fd, uint32_t n_words, int words_fd, int event_fd)
{
    const struct worker_timeline m = { .op = WORKER_OP_TIMELINE, .words = n_words };
    const int fds[] = { words_fd, event_fd };

    return tell(control_fd, &m, sizeof(m), fds, event_fd >= 0 ? 2 : 1);
}

int control_ring(int control_fd, uint32_t number, int shm_fd, uint64_t status_offset)
{
    const struct worker_ring m = { .op = WORKER_OP_RING,
                                   .number = number,
                                   .status_offset = status_offset };

    return tell(control_fd, &m, sizeof(m), &shm_fd, 1);
}

int control_ring_gone(int control_fd, uint32_t number)
{
    const struct worker_ring_gone m = { .op = WORKER_OP_RING_GONE, .number = number };

    return tell(control_fd, &m, sizeof(m), NULL, 0);
}

int control_receive_context(int control_fd, struct worker_context *ret_context, int *ret_fd)
{
    AUTO_FDSET struct fdset fds = { 0 };
    struct worker_context m;
    size_t size;
    int r;

    r = seqpacket_recv(control_fd, &m, sizeof(m), &size, &fds);
    if (r < 0) {
        return r;
    }
    if (size != sizeof(m) || m.op != WORKER_OP_CONTEXT || fds.count != 1 ||
        m.dialect_reserved != 0 || m.name[sizeof(m.name) - 1] != '\0') {
        return -EPROTO;
    }
    *ret_context = m;
    *ret_fd = fdset_take(&fds, 0);
    return 0;
}
