#include "server/vhost_user/window.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "ipc/checked.h"
#include "ipc/cleanup.h"
#include "ipc/log.h"
#include "ipc/loop.h"
#include "ipc/virtio_gpu_wire.h"

struct window_request {
    struct list link; /* window::asked */
    uint32_t request;
    window_fn fn;
    void *arg;
};

void window_init(struct window *w, struct loop *loop, uint64_t size)
{
    *w = (struct window){ .loop = loop, .size = size, .link = { .fd = -1 } };
    list_init(&w->asked);
    list_init(&w->areas);
}

/* The oldest request has its answer. */
static void answered(struct window *w, bool ok)
{
    struct window_request *r = list_entry(w->asked.next, struct window_request, link);
    window_fn fn = r->fn;
    void *arg = r->arg;

    list_remove(&r->link);
    free(r);
    if (fn) {
        fn(arg, ok);
    }
}

void window_disconnect(struct window *w)
{
    w->source = loop_source_remove(w->source);
    link_fini(&w->link);
    while (!list_empty(&w->asked)) {
        answered(w, false);
    }
}

/* The front end's answer to a map may come before its guest's processors see the mapping (QEMU commits
 * it afterwards), and our own answer may reach the guest at once. What is asked next is answered after
 * that; this is what changes least. False: the answer has to do. */
static bool ask_to_settle(struct window *w, struct window_request *r)
{
    if (!w->can_settle || link_send(&w->link, VHOST_USER_BACKEND_CONFIG_CHANGE,
                                    VHOST_USER_NEED_REPLY, NULL, 0, -1) < 0) {
        return false;
    }
    r->request = VHOST_USER_BACKEND_CONFIG_CHANGE;
    list_remove(&r->link);
    list_append(&w->asked, &r->link);
    return true;
}

static int take_answer(struct window *w)
{
    const struct vhost_user_header *h = &w->link.header;
    struct window_request *oldest;
    bool ok = w->link.payload.u64 == 0;

    if (list_empty(&w->asked)) {
        return -EPROTO;
    }
    oldest = list_entry(w->asked.next, struct window_request, link);
    if (h->request != oldest->request || h->size != sizeof(uint64_t) ||
        (h->flags & VHOST_USER_REPLY) == 0) {
        return -EPROTO;
    }
    link_next(&w->link);
    if (!ok || oldest->request != VHOST_USER_BACKEND_SHMEM_MAP || !ask_to_settle(w, oldest)) {
        answered(w, ok || oldest->request == VHOST_USER_BACKEND_CONFIG_CHANGE);
    }
    return 0;
}

static void on_channel(void *arg, int fd, uint32_t events)
{
    struct window *w = arg;
    int r;

    (void)events;
    for (;;) {
        r = link_receive(&w->link);
        if (r == 1) {
            r = take_answer(w);
        } else if (r == 0) {
            return;
        }
        /* An answer may have ended the connection. */
        if (w->link.fd != fd) {
            return;
        }
        if (r < 0) {
            break;
        }
    }
    if (r != -ECONNRESET) {
        log_error("the front end's answer on the back-end channel makes no sense; channel closed, "
                  "no more blobs can be mapped");
    }
    window_disconnect(w);
}

int window_connect(struct window *w, int own_fd, bool acked, bool can_settle)
{
    window_disconnect(w);
    link_init(&w->link, own_fd);
    w->acked = acked;
    w->can_settle = acked && can_settle;
    return loop_add_io(w->loop, own_fd, EPOLLIN, on_channel, w, &w->source);
}

static int ask(struct window *w, uint32_t request, uint64_t offset, uint64_t size, int fd,
               window_fn fn, void *arg)
{
    struct vhost_user_shmem_map m = {
        .shmid = VIRTIO_GPU_SHM_ID_HOST_VISIBLE,
        .shm_offset = offset,
        .len = size,
        .flags = request == VHOST_USER_BACKEND_SHMEM_MAP ? VHOST_USER_SHMEM_RW : 0,
    };
    AUTO_FREE struct window_request *r = NULL;

    if (w->link.fd < 0) {
        return -ENOTCONN;
    }
    r = malloc(sizeof(*r));
    if (!r) {
        return -ENOMEM;
    }
    if (link_send(&w->link, request, w->acked ? VHOST_USER_NEED_REPLY : 0, &m, sizeof(m), fd) < 0) {
        return -EPIPE;
    }
    *r = (struct window_request){ .request = request, .fn = fn, .arg = arg };
    list_append(&w->asked, &take_ptr(r)->link);
    if (!w->acked) {
        answered(w, true);
    }
    return 0;
}

int window_map(struct window *w, struct window_area *area, int fd, uint64_t offset, uint64_t size,
               window_fn fn, void *arg)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int r;

    if (size == 0 || offset % page != 0 || size % page != 0 || !range_in(offset, size, w->size)) {
        return -EINVAL;
    }
    list_for_each (pos, &w->areas) {
        const struct window_area *a = list_entry(pos, struct window_area, link);

        if (offset < a->offset + a->size && a->offset < offset + size) {
            return -EEXIST;
        }
    }
    area->offset = offset;
    area->size = size;
    list_append(&w->areas, &area->link);
    r = ask(w, VHOST_USER_BACKEND_SHMEM_MAP, offset, size, fd, fn, arg);
    if (r < 0) {
        list_remove(&area->link);
        area->size = 0;
    }
    return r;
}

int window_unmap(struct window *w, struct window_area *area, window_fn fn, void *arg)
{
    uint64_t offset = area->offset, size = area->size;

    if (size == 0) {
        return -EINVAL;
    }
    list_remove(&area->link);
    area->size = 0;
    return ask(w, VHOST_USER_BACKEND_SHMEM_UNMAP, offset, size, -1, fn, arg);
}
