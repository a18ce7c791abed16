/* The queues' side of a front end: where they lie, their doorbells, when they run, and the record of
 * what is in flight. */
#include "server/vhost_user/rings.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "ipc/checked.h"
#include "ipc/cleanup.h"
#include "ipc/loop.h"
#include "ipc/map.h"
#include "server/vhost_user/frontend.h"

static void on_kick(void *arg, int fd, uint32_t events)
{
    struct ring *r = arg;
    struct frontend *f = r->frontend;

    (void)fd;
    (void)events;
    gpu_run(&f->gpu, &f->gpu.queues[r - f->rings]);
}

static void close_kick(struct ring *r)
{
    r->kick = loop_source_remove(r->kick);
    close_fd(&r->kick_fd);
}

static void use_record(struct frontend *f, uint32_t i)
{
    struct queue *q = &f->gpu.queues[i];
    uint64_t stride = vhost_user_inflight_stride(f->inflight_layout.queue_size);

    q->inflight = NULL;
    if (f->inflight && i < f->inflight_layout.num_queues &&
        f->inflight_layout.queue_size >= q->vq.num) {
        q->inflight =
            (void *)((uint8_t *)f->inflight + f->inflight_layout.mmap_offset + i * stride);
    }
}

/* A queue that goes on where it stopped belongs to a guest that was paused; one that begins
 * anew, to a new driver, for which nothing of the old one exists. */
static bool goes_on(struct frontend *f, uint32_t i)
{
    struct ring *r = &f->rings[i];
    struct queue *q = &f->gpu.queues[i];

    return r->stopped && r->base != 0 && r->base == q->vq.next_avail && queue_resume(q) == 0 &&
           virtqueue_same_used(&q->vq);
}

static int try_start(struct frontend *f, uint32_t i)
{
    struct ring *r = &f->rings[i];
    struct queue *q = &f->gpu.queues[i];
    int e = 0;

    if (!r->enabled || r->kick_fd < 0 || q->running) {
        return 0;
    }
    if (!goes_on(f, i)) {
        queue_stop(q);
        if (i == GPU_QUEUE_CONTROL) {
            gpu_reset(&f->gpu);
        }
        use_record(f, i);
        e = queue_start(q, r->base, true);
    }
    r->stopped = false;
    if (e == 0) {
        gpu_resume(&f->gpu);
    }
    return e;
}

/* The queue of a message whose index is in its first word. NULL: no such queue. */
static struct queue *indexed(struct frontend *f, uint32_t i)
{
    return i < GPU_QUEUES ? &f->gpu.queues[i] : NULL;
}

int ring_set_num(struct frontend *f)
{
    const struct vhost_user_vring_state *s = &f->link.payload.vring_state;
    struct queue *q = indexed(f, s->index);

    if (!q || q->running) {
        return -EINVAL;
    }
    /* One of another size is another queue. */
    f->rings[s->index].stopped &= s->num == q->vq.num;
    return virtqueue_set_num(&q->vq, s->num);
}

int ring_set_addr(struct frontend *f)
{
    const struct vhost_user_vring_addr *a = &f->link.payload.vring_addr;
    struct queue *q = indexed(f, a->index);

    /* Flag 1 asks for a log of writes, for migration. */
    if (!q || q->running || a->flags != 0) {
        return -EINVAL;
    }
    q->vq.desc_user = a->desc;
    q->vq.used_user = a->used;
    q->vq.avail_user = a->avail;
    return 0;
}

int ring_set_base(struct frontend *f)
{
    const struct vhost_user_vring_state *s = &f->link.payload.vring_state;
    struct queue *q = indexed(f, s->index);

    if (!q || q->running || s->num > UINT16_MAX) {
        return -EINVAL;
    }
    f->rings[s->index].base = (uint16_t)s->num;
    return 0;
}

int ring_get_base(struct frontend *f)
{
    struct vhost_user_vring_state s = f->link.payload.vring_state;
    struct queue *q = indexed(f, s.index);

    if (!q) {
        return -EINVAL;
    }
    queue_stop(q);
    close_kick(&f->rings[s.index]);
    f->rings[s.index].stopped = true;
    s.num = q->vq.next_avail;
    return frontend_reply(f, &s, sizeof(s));
}

int ring_set_enable(struct frontend *f)
{
    const struct vhost_user_vring_state *s = &f->link.payload.vring_state;
    struct queue *q = indexed(f, s->index);
    struct ring *r;

    if (!q || s->num > 1) {
        return -EINVAL;
    }
    r = &f->rings[s->index];
    r->enabled = s->num == 1;
    if (!r->enabled && q->running) {
        queue_stop(q);
        r->stopped = true;
        r->base = q->vq.next_avail;
    }
    return try_start(f, s->index);
}

static int vring_fd(struct frontend *f, uint32_t *ret_index)
{
    int r =
        vhost_user_check_vring_fd(f->link.payload.u64, f->link.fds.count, GPU_QUEUES, ret_index);

    return r < 0 ? r : fdset_take(&f->link.fds, 0); /* -1: none */
}

int ring_set_kick(struct frontend *f)
{
    uint32_t i;
    int fd = vring_fd(f, &i), e;

    if (fd < 0) {
        return -EINVAL; /* guests that want to be polled are not served */
    }
    close_kick(&f->rings[i]);
    f->rings[i].kick_fd = fd;
    /* Edge-triggered: each doorbell counts, and none has to be read. */
    e = loop_add_io(f->loop, fd, EPOLLIN | EPOLLET, on_kick, &f->rings[i], &f->rings[i].kick);
    if (e < 0) {
        close_fd(&f->rings[i].kick_fd);
        return e;
    }
    return try_start(f, i);
}

static int replace_fd(struct frontend *f, bool call)
{
    uint32_t i;
    int fd = vring_fd(f, &i);
    int *place;

    if (fd < -1) {
        return fd;
    }
    place = call ? &f->gpu.queues[i].call_fd : &f->gpu.queues[i].err_fd;
    close_fd(place);
    *place = fd;
    if (call && fd >= 0 && f->gpu.queues[i].running) {
        /* What was answered while the old one was going may have been told to nobody. */
        (void)eventfd_write(fd, 1);
    }
    return 0;
}

int ring_set_call(struct frontend *f)
{
    return replace_fd(f, true);
}

int ring_set_err(struct frontend *f)
{
    return replace_fd(f, false);
}

void rings_stop(struct frontend *f)
{
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        queue_stop(&f->gpu.queues[i]);
        close_kick(&f->rings[i]);
        f->rings[i].stopped = false;
        f->rings[i].enabled = false;
        f->rings[i].base = 0;
    }
}

/* ---- what is in flight ----------------------------------------------------------------------- */

static bool inflight_valid(const struct vhost_user_inflight *l)
{
    return l->num_queues > 0 && l->num_queues <= GPU_QUEUES && l->queue_size > 0 &&
           l->queue_size <= VIRTQUEUE_NUM_MAX;
}

int ring_get_inflight_fd(struct frontend *f)
{
    struct vhost_user_inflight l = f->link.payload.inflight;
    AUTO_CLOSE int fd = -1;
    int r;

    if (!inflight_valid(&l)) {
        return -EINVAL;
    }
    l.mmap_offset = 0;
    l.mmap_size = l.num_queues * vhost_user_inflight_stride(l.queue_size);
    r = memfd_create_sized("cordon-inflight", l.mmap_size, &fd);
    if (r < 0) {
        return r;
    }
    return link_send(&f->link, f->link.header.request, VHOST_USER_REPLY, &l, f->link.header.size,
                     fd);
}

void rings_forget_record(struct frontend *f)
{
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        f->gpu.queues[i].inflight = NULL;
    }
    unmap(take_ptr(f->inflight), f->inflight_size);
}

int ring_set_inflight_fd(struct frontend *f)
{
    const struct vhost_user_inflight *l = &f->link.payload.inflight;
    uint64_t size;
    void *p;
    int r;

    if (!inflight_valid(l) || l->mmap_offset % sizeof(uint64_t) != 0 ||
        l->mmap_size < l->num_queues * vhost_user_inflight_stride(l->queue_size) ||
        !checked_add(l->mmap_offset, l->mmap_size, &size)) {
        return -EINVAL;
    }
    r = map_shared(fdset_peek(&f->link.fds, 0), size, &p);
    if (r < 0) {
        return r;
    }
    rings_forget_record(f);
    f->inflight = p;
    f->inflight_size = size;
    f->inflight_layout = *l;
    return 0;
}
