/* Resources of the guest: what each is, who has it, blobs, and the window. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ipc/cleanup.h"
#include "server/vhost_user/gpu.h"

static struct list *bucket(const struct gpu *g, uint32_t id)
{
    return (struct list *)&g->resources[id % GPU_BUCKETS];
}

struct resource *resource_find(const struct gpu *g, uint32_t id)
{
    list_for_each (pos, bucket(g, id)) {
        struct resource *r = list_entry(pos, struct resource, link);

        if (r->id == id) {
            return r;
        }
    }
    return NULL;
}

struct resource *resource_new(struct gpu *g, uint32_t id, enum resource_kind kind)
{
    struct resource *r = g->n_resources < GPU_RESOURCES_MAX ? calloc(1, sizeof(*r)) : NULL;

    if (!r) {
        return NULL;
    }
    r->id = id;
    r->kind = kind;
    r->blob.fd = -1;
    list_init(&r->attachments);
    list_init(&r->area.link);
    list_append(bucket(g, id), &r->link);
    g->n_resources++;
    return r;
}

void resource_remove(struct gpu *g, struct resource *r)
{
    list_for_each_safe (pos, &r->attachments) {
        attachment_remove(g, list_entry(pos, struct attachment, of_resource));
    }
    if (r->area.size != 0) {
        /* Without a channel there is no window either. */
        (void)window_unmap(g->window, &r->area, NULL, NULL);
    }
    display_forget(&g->display, r->id);
    resource_forget_entries(g, r);
    g->pixel_bytes -= surface_bytes(&r->surface);
    surface_fini(&r->surface);
    close_fd(&r->blob.fd);
    list_remove(&r->link);
    g->n_resources--;
    free(r);
}

/* ---- attachments ----------------------------------------------------------------------------- */

void attachment_add(struct gpu *g, struct attachment *own, struct context *x, struct resource *r)
{
    own->context = x;
    own->resource = r;
    list_append(&x->attachments, &own->of_context);
    list_append(&r->attachments, &own->of_resource);
    g->n_attachments++;
}

void attachment_remove(struct gpu *g, struct attachment *a)
{
    if (a->resource->kind == RESOURCE_HOST3D) {
        context_doom(a->context, a->resource->id);
    }
    list_remove(&a->of_context);
    list_remove(&a->of_resource);
    g->n_attachments--;
    free(a);
}

/* ---- blobs ----------------------------------------------------------------------------------- */

static int ask_worker(struct gpu *g, struct context *x, struct resource *r, struct command *c)
{
    const struct virtio_gpu_create_blob *m = (const void *)c->bytes;
    int e = context_flush(x);

    if (e == 0) {
        e = cordon_blob_begin(x->cordon, r->id, m->blob_id, m->size, m->blob_flags);
    }
    if (e == -EAGAIN) {
        return -EAGAIN;
    }
    if (e < 0) {
        return VIRTIO_GPU_ERR_UNSPEC;
    }
    x->blob = c;
    c->resource_id = r->id;
    command_keep(g, c);
    context_want_read(x);
    return 0;
}

static int create_host3d(struct gpu *g, struct resource *r, struct command *c)
{
    const struct virtio_gpu_create_blob *m = (const void *)c->bytes;
    struct context *x = context_find(g, c->header.ctx_id);
    int e = 0;

    if (!x || x->state == CONTEXT_BARE) {
        return VIRTIO_GPU_ERR_INVALID_CONTEXT_ID;
    }
    if (x->state != CONTEXT_ALIVE) {
        return VIRTIO_GPU_ERR_UNSPEC;
    }
    r->owner = x->id;
    if (m->blob_mem == VIRTIO_GPU_BLOB_HOST3D_GUEST) {
        e = resource_take_entries(g, r, c, sizeof(*m), m->n_entries);
    } else if (m->n_entries != 0) {
        e = VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    return e != 0 ? e : ask_worker(g, x, r, c);
}

int resource_create_blob(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_create_blob *m = (const void *)c->bytes;
    struct resource *r;
    int e;

    if (m->resource_id == 0 || resource_find(g, m->resource_id)) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (m->size == 0 || m->size > INT64_MAX || (m->blob_flags & ~VIRTIO_GPU_BLOB_FLAGS) != 0 ||
        m->blob_mem < VIRTIO_GPU_BLOB_GUEST || m->blob_mem > VIRTIO_GPU_BLOB_HOST3D_GUEST) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    r = resource_new(g, m->resource_id,
                     m->blob_mem == VIRTIO_GPU_BLOB_GUEST ? RESOURCE_GUEST : RESOURCE_HOST3D);
    if (!r) {
        return VIRTIO_GPU_ERR_OUT_OF_MEMORY;
    }
    r->size = m->size;
    r->flags = m->blob_flags;
    if (r->kind == RESOURCE_GUEST) {
        e = resource_take_entries(g, r, c, sizeof(*m), m->n_entries);
        r->ready = true;
        e = e != 0 ? e : VIRTIO_GPU_OK_NODATA;
    } else {
        e = create_host3d(g, r, c);
    }
    if (e != 0 && e != VIRTIO_GPU_OK_NODATA) {
        resource_remove(g, r);
    }
    return e;
}

void resource_blob_done(struct gpu *g, struct context *x, int error, struct cordon_blob *own_blob)
{
    struct command *c = take_ptr(x->blob);
    struct resource *r = resource_find(g, c->resource_id);
    struct attachment *a = NULL;
    struct stat st;

    x->deadline_ms = 0;
    if (error == 0 && g->n_attachments < GPU_ATTACHMENTS_MAX) {
        a = malloc(sizeof(*a));
    }
    if (!a) {
        if (error == 0) {
            close_fd(&own_blob->fd);
            context_doom(x, r->id);
        }
        resource_remove(g, r);
        command_finish(g, c, error == 0 ? VIRTIO_GPU_ERR_OUT_OF_MEMORY : VIRTIO_GPU_ERR_UNSPEC);
        return;
    }
    r->blob = *own_blob;
    if (fstat(r->blob.fd, &st) == 0) {
        r->dev = st.st_dev;
        r->ino = st.st_ino;
    }
    r->ready = true;
    attachment_add(g, a, x, r);
    command_finish(g, c, VIRTIO_GPU_OK_NODATA);
}

bool gpu_has_mapped(const struct gpu *g, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return false;
    }
    list_for_each (pos, &g->window->areas) {
        const struct window_area *a = list_entry(pos, struct window_area, link);
        const struct resource *r = CONTAINER_OF(a, struct resource, area);

        if (r->dev == st.st_dev && r->ino == st.st_ino) {
            return true;
        }
    }
    return false;
}

/* ---- the window ------------------------------------------------------------------------------ */

static void mapped(void *arg, bool ok)
{
    struct command *c = arg;
    struct gpu *g = c->gpu;
    struct resource *r = resource_find(g, c->resource_id);

    if (r && r->mapping == c) {
        r->mapping = NULL;
        if (!ok && r->area.size != 0) {
            list_remove(&r->area.link);
            r->area.size = 0;
        }
    }
    if (!ok) {
        log_limited(&g->limit, LOG_LEVEL_ERROR, 0,
                    "the front end did not map resource %u; its log says why", c->resource_id);
    }
    command_finish(g, c, ok ? VIRTIO_GPU_OK_MAP_INFO : VIRTIO_GPU_ERR_UNSPEC);
    queue_flush(&g->queues[GPU_QUEUE_CONTROL]);
}

int resource_map(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_map_blob *m = (const void *)c->bytes;
    struct resource *r = resource_find(g, m->resource_id);
    uint64_t offset = m->offset;
    int e;

    if (!r) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (!r->ready) {
        return -EBUSY;
    }
    if (r->kind != RESOURCE_HOST3D || (r->flags & VIRTIO_GPU_BLOB_MAPPABLE) == 0 ||
        r->area.size != 0) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    if (r->blob.fd_type == CORDON_FD_OPAQUE) {
        return VIRTIO_GPU_ERR_UNSPEC; /* the host driver exports it in no form that can be mapped */
    }
    c->resource_id = r->id;
    c->answer.map_info.map_info = r->blob.map_info;
    c->answer.map_info.pad = 0;
    c->answer_size = sizeof(c->answer.map_info);
    r->mapping = c;
    command_keep(g, c);
    /* The answer may come before this returns; then the command is gone. */
    e = window_map(g->window, &r->area, r->blob.fd, offset, r->size, mapped, c);
    if (e < 0) {
        r->mapping = NULL;
        return e == -ENOTCONN || e == -EPIPE ? VIRTIO_GPU_ERR_UNSPEC
                                             : VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    return 0;
}

static void unmapped(void *arg, bool ok)
{
    struct command *c = arg;
    struct gpu *g = c->gpu;

    command_finish(g, c, ok ? VIRTIO_GPU_OK_NODATA : VIRTIO_GPU_ERR_UNSPEC);
    queue_flush(&g->queues[GPU_QUEUE_CONTROL]);
}

int resource_unmap(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_resource *m = (const void *)c->bytes;
    struct resource *r = resource_find(g, m->resource_id);

    if (!r) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (!r->ready) {
        return -EBUSY;
    }
    if (r->area.size == 0) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    r->mapping = NULL;
    command_keep(g, c);
    return window_unmap(g->window, &r->area, unmapped, c) < 0 ? VIRTIO_GPU_ERR_UNSPEC : 0;
}

int resource_unref(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_resource *m = (const void *)c->bytes;
    struct resource *r = resource_find(g, m->resource_id);

    if (!r) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (!r->ready) {
        return -EBUSY;
    }
    resource_remove(g, r);
    return VIRTIO_GPU_OK_NODATA;
}

/* Of this run of the device and this resource; version 4, variant 1 as of random ones. */
int resource_uuid(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_resource *m = (const void *)c->bytes;
    struct virtio_gpu_uuid *u = &c->answer.uuid;

    if (!resource_find(g, m->resource_id)) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    memcpy(u->uuid, g->uuid, sizeof(u->uuid));
    memcpy(u->uuid + 12, &m->resource_id, sizeof(m->resource_id));
    u->uuid[6] = (uint8_t)(0x40 | (u->uuid[6] & 0x0f));
    u->uuid[8] = (uint8_t)(0x80 | (u->uuid[8] & 0x3f));
    c->answer_size = sizeof(*u);
    return VIRTIO_GPU_OK_RESOURCE_UUID;
}
