#include "server/vhost_user/frontend.h"

#include <errno.h>
#include <string.h>

#include "ipc/cleanup.h"
#include "ipc/loop.h"
#include "server/vhost_user/rings.h"

#define BIT(n) (1ull << (n))
#define VIRTIO_F_VERSION_1 32
#define VIRTIO_F_RING_RESET 40

/* vhost-user-gpu-pci of QEMU turns these on without asking. A queue reset reaches us as
 * GET_VRING_BASE, so it needs nothing. */
#define FEATURES_UNASKED (BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_RING_RESET))

#define PROTOCOL_FEATURES                                                                 \
    (BIT(VHOST_USER_PROTOCOL_MQ) | BIT(VHOST_USER_PROTOCOL_REPLY_ACK) |                   \
     BIT(VHOST_USER_PROTOCOL_BACKEND_REQ) | BIT(VHOST_USER_PROTOCOL_CONFIG) |             \
     BIT(VHOST_USER_PROTOCOL_BACKEND_SEND_FD) | BIT(VHOST_USER_PROTOCOL_INFLIGHT_SHMFD) | \
     BIT(VHOST_USER_PROTOCOL_RESET_DEVICE) | BIT(VHOST_USER_PROTOCOL_STATUS))

static uint64_t offered(const struct frontend *f)
{
    return gpu_features(&f->gpu) | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
           BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VHOST_USER_F_PROTOCOL_FEATURES);
}

static uint64_t protocol_offered(const struct frontend *f)
{
    return PROTOCOL_FEATURES | BIT(f->shmem_bit);
}

static bool agreed(const struct frontend *f, uint32_t protocol_bit)
{
    return (f->protocol & BIT(protocol_bit)) != 0;
}

int frontend_reply(struct frontend *f, const void *payload, uint32_t size)
{
    return link_send(&f->link, f->link.header.request, VHOST_USER_REPLY, payload, size, -1);
}

static int reply_u64(struct frontend *f, uint64_t value)
{
    return frontend_reply(f, &value, sizeof(value));
}

/* ---- features -------------------------------------------------------------------------------- */

static int get_features(struct frontend *f)
{
    return reply_u64(f, offered(f));
}

static int set_features(struct frontend *f)
{
    uint64_t wanted = f->link.payload.u64;

    if ((wanted & ~(offered(f) | FEATURES_UNASKED)) != 0) {
        return -EINVAL;
    }
    f->features = wanted;
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        f->gpu.queues[i].vq.event_idx = (wanted & BIT(VIRTIO_RING_F_EVENT_IDX)) != 0;
        if ((wanted & BIT(VHOST_USER_F_PROTOCOL_FEATURES)) == 0) {
            f->rings[i].enabled = true; /* such a front end cannot say so */
        }
    }
    return 0;
}

static int get_protocol_features(struct frontend *f)
{
    return reply_u64(f, protocol_offered(f));
}

static int set_protocol_features(struct frontend *f)
{
    uint64_t wanted = f->link.payload.u64;

    if ((wanted & ~protocol_offered(f)) != 0) {
        return -EINVAL;
    }
    f->protocol = wanted;
    if (!agreed(f, f->shmem_bit) || !agreed(f, VHOST_USER_PROTOCOL_BACKEND_REQ)) {
        log_warn("this front end cannot map memory for its guest (protocol feature %u), which will "
                 "have no Vulkan; see \"front ends\" in cordon-vhost-user-gpu(1)",
                 f->shmem_bit);
    }
    return 0;
}

static int get_queue_num(struct frontend *f)
{
    return reply_u64(f, GPU_QUEUES);
}

static int set_owner(struct frontend *f)
{
    (void)f;
    return 0;
}

static int set_status(struct frontend *f)
{
    f->status = f->link.payload.u64;
    return 0;
}

static int get_status(struct frontend *f)
{
    return reply_u64(f, f->status);
}

/* ---- configuration --------------------------------------------------------------------------- */

static int get_config(struct frontend *f)
{
    struct vhost_user_config *c = &f->link.payload.config;
    struct virtio_gpu_config config;
    uint8_t all[VHOST_USER_CONFIG_MAX] = { 0 };

    if (vhost_user_check_config(c, f->link.header.size) < 0) {
        return -EBADMSG;
    }
    gpu_config(&f->gpu, &config);
    memcpy(all, &config, sizeof(config));
    memcpy(c->bytes, all + c->offset, c->size);
    return frontend_reply(f, c, (uint32_t)offsetof(struct vhost_user_config, bytes) + c->size);
}

/* events_clear is all that a driver writes, and there never are events. */
static int set_config(struct frontend *f)
{
    return vhost_user_check_config(&f->link.payload.config, f->link.header.size);
}

static int get_shmem_config(struct frontend *f)
{
    struct vhost_user_shmem_config c = { .n = 1 };

    c.sizes[VIRTIO_GPU_SHM_ID_HOST_VISIBLE] = f->window.size;
    return frontend_reply(f, &c, sizeof(c));
}

static int set_backend_req_fd(struct frontend *f)
{
    return window_connect(&f->window, fdset_take(&f->link.fds, 0),
                          agreed(f, VHOST_USER_PROTOCOL_REPLY_ACK),
                          agreed(f, VHOST_USER_PROTOCOL_CONFIG));
}

/* ---- memory ---------------------------------------------------------------------------------- */

static struct guest_region region_of(const struct vhost_user_region *r)
{
    return (struct guest_region){
        .guest = r->guest,
        .size = r->size,
        .user = r->user,
        .fd_offset = r->fd_offset,
    };
}

static int memory_changed(struct frontend *f)
{
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        /* A queue that is lost by this has said so. */
        (void)queue_memory_changed(&f->gpu.queues[i]);
    }
    return 0;
}

/* The front end counts what it has mapped for us as memory of the guest, and sends it back: that
 * is the worker's, and no queue or buffer is looked for there. */
static int set_mem_table(struct frontend *f)
{
    const struct vhost_user_mem_table *t = &f->link.payload.mem_table;
    struct guest_region want[VHOST_USER_TABLE_REGIONS];
    int fds[VHOST_USER_TABLE_REGIONS], r;
    uint32_t n = 0;

    if (vhost_user_check_mem_table(t, f->link.header.size, f->link.fds.count) < 0) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < t->n; i++) {
        int fd = fdset_peek(&f->link.fds, i);

        if (!gpu_has_mapped(&f->gpu, fd)) {
            want[n] = region_of(&t->regions[i]);
            fds[n++] = fd;
        }
    }
    r = guest_memory_replace(&f->memory, want, fds, n);
    return r < 0 ? r : memory_changed(f);
}

static int add_mem_reg(struct frontend *f)
{
    struct guest_region want = region_of(&f->link.payload.mem_region.region);
    int fd = fdset_peek(&f->link.fds, 0), r;

    if (gpu_has_mapped(&f->gpu, fd)) {
        return 0;
    }
    r = guest_memory_add(&f->memory, &want, fd);
    return r < 0 ? r : memory_changed(f);
}

static int rem_mem_reg(struct frontend *f)
{
    const struct vhost_user_region *r = &f->link.payload.mem_region.region;

    /* One that was not taken is not there. */
    (void)!guest_memory_remove(&f->memory, r->guest, r->size, r->user);
    return memory_changed(f);
}

/* ---- the end of a driver ---------------------------------------------------------------------- */

static int reset_device(struct frontend *f)
{
    rings_stop(f);
    gpu_reset(&f->gpu);
    f->status = 0;
    return 0;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* replies: answers itself. */
static const struct {
    int (*run)(struct frontend *f);
    bool replies;
} handlers[VHOST_USER_END] = {
    /* clang-format off */
    [VHOST_USER_GET_FEATURES]          = { get_features,          true },
    [VHOST_USER_SET_FEATURES]          = { set_features,          false },
    [VHOST_USER_SET_OWNER]             = { set_owner,             false },
    [VHOST_USER_RESET_OWNER]           = { reset_device,          false },
    [VHOST_USER_SET_MEM_TABLE]         = { set_mem_table,         false },
    [VHOST_USER_SET_VRING_NUM]         = { ring_set_num,          false },
    [VHOST_USER_SET_VRING_ADDR]        = { ring_set_addr,         false },
    [VHOST_USER_SET_VRING_BASE]        = { ring_set_base,         false },
    [VHOST_USER_GET_VRING_BASE]        = { ring_get_base,         true },
    [VHOST_USER_SET_VRING_KICK]        = { ring_set_kick,         false },
    [VHOST_USER_SET_VRING_CALL]        = { ring_set_call,         false },
    [VHOST_USER_SET_VRING_ERR]         = { ring_set_err,          false },
    [VHOST_USER_GET_PROTOCOL_FEATURES] = { get_protocol_features, true },
    [VHOST_USER_SET_PROTOCOL_FEATURES] = { set_protocol_features, false },
    [VHOST_USER_GET_QUEUE_NUM]         = { get_queue_num,         true },
    [VHOST_USER_SET_VRING_ENABLE]      = { ring_set_enable,       false },
    [VHOST_USER_SET_BACKEND_REQ_FD]    = { set_backend_req_fd,    false },
    [VHOST_USER_GET_CONFIG]            = { get_config,            true },
    [VHOST_USER_SET_CONFIG]            = { set_config,            false },
    [VHOST_USER_GET_INFLIGHT_FD]       = { ring_get_inflight_fd,  true },
    [VHOST_USER_SET_INFLIGHT_FD]       = { ring_set_inflight_fd,  false },
    [VHOST_USER_RESET_DEVICE]          = { reset_device,          false },
    [VHOST_USER_ADD_MEM_REG]           = { add_mem_reg,           false },
    [VHOST_USER_REM_MEM_REG]           = { rem_mem_reg,           false },
    [VHOST_USER_SET_STATUS]            = { set_status,            false },
    [VHOST_USER_GET_STATUS]            = { get_status,            true },
    [VHOST_USER_GET_SHMEM_CONFIG]      = { get_shmem_config,      true },
    /* clang-format on */
};

static const char *reason(int error)
{
    switch (error) {
    case -EOPNOTSUPP:
        return "not offered";
    case -EMSGSIZE:
        return "a size that this message cannot have";
    case -EBADF:
        return "too few or too many file descriptors";
    case -EPROTO:
        return "not a request of version 1";
    case -EBADMSG:
        return "inner lengths that do not agree";
    case -EINVAL:
        return "a value that is not possible, or not now";
    default:
        return strerror(-error);
    }
}

/* One whole message. A failure ends the connection unless the front end wants to be told. */
static int serve(struct frontend *f)
{
    const struct vhost_user_header *h = &f->link.header;
    bool told = (h->flags & VHOST_USER_NEED_REPLY) != 0 && agreed(f, VHOST_USER_PROTOCOL_REPLY_ACK);
    int r = vhost_user_check(h, f->link.fds.count);

    if (r == 0) {
        r = handlers[h->request].run(f);
        if (handlers[h->request].replies && r == 0) {
            return 0;
        }
    }
    if (r < 0) {
        log_limited(&f->gpu.limit, LOG_LEVEL_ERROR, 0, "%s (%u) refused: %s%s",
                    vhost_user_name(h->request), h->request, reason(r),
                    told ? "" : "; front end dropped");
    }
    if (!told) {
        return r;
    }
    return reply_u64(f, r < 0);
}

static void on_message(void *arg, int fd, uint32_t events)
{
    struct frontend *f = arg;
    int r;

    (void)events;
    for (;;) {
        r = link_receive(&f->link);
        if (r == 0) {
            return;
        }
        if (r == 1) {
            r = serve(f);
        } else if (r != -ECONNRESET) {
            log_error("front end dropped: %s", reason(r));
        }
        if (r < 0 || f->link.fd != fd) {
            break;
        }
        link_next(&f->link);
    }
    frontend_disconnect(f);
}

/* ---- life ------------------------------------------------------------------------------------ */

int frontend_init(struct frontend *f, struct loop *loop, struct keeper *keeper,
                  const struct frontend_config *config, void (*leaving)(void *arg), void *arg)
{
    *f = (struct frontend){
        .loop = loop,
        .leaving = leaving,
        .arg = arg,
        .shmem_bit = config->shmem_bit,
        .link = { .fd = -1 },
    };
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        f->rings[i] = (struct ring){ .frontend = f, .kick_fd = -1 };
    }
    window_init(&f->window, loop, config->window_size);
    return gpu_init(&f->gpu, loop, keeper, &f->memory, &f->window, &config->mode);
}

void frontend_fini(struct frontend *f)
{
    frontend_disconnect(f);
    gpu_fini(&f->gpu);
}

int frontend_connect(struct frontend *f, int own_fd)
{
    int r;

    link_init(&f->link, own_fd);
    r = loop_add_io(f->loop, own_fd, EPOLLIN, on_message, f, &f->source);
    if (r < 0) {
        link_fini(&f->link);
        return r;
    }
    log_info("front end connected");
    return 0;
}

void frontend_disconnect(struct frontend *f)
{
    if (!frontend_connected(f)) {
        return;
    }
    f->leaving(f->arg);
    f->source = loop_source_remove(f->source);
    link_fini(&f->link);
    rings_stop(f);
    /* The window goes with the channel: nothing has to be taken out of it. */
    window_disconnect(&f->window);
    gpu_reset(&f->gpu);
    rings_forget_record(f);
    for (uint32_t i = 0; i < GPU_QUEUES; i++) {
        queue_fini(&f->gpu.queues[i]);
        queue_init(&f->gpu.queues[i], &f->memory);
    }
    guest_memory_fini(&f->memory);
    f->features = f->protocol = f->status = 0;
    log_info("front end gone");
}
