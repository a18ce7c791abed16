/* Resources of the guest: pixels, blobs of its own memory, blobs of workers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ipc/checked.h"
#include "ipc/cleanup.h"
#include "ipc/loop.h"
#include "server/vhost_user/gpu.h"

/* Pages of the largest surface. */
#define RESOURCE_ENTRIES_MAX 65536

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

static struct resource *resource_new(struct gpu *g, uint32_t id, enum resource_kind kind)
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

static void forget_entries(struct gpu *g, struct resource *r)
{
    g->n_entries -= r->n_entries;
    r->n_entries = 0;
    free(take_ptr(r->entries));
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
    forget_entries(g, r);
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

/* ---- guest memory ---------------------------------------------------------------------------- */

/* Copies the entries behind a command's structure. 0 or an answer's type. */
static int take_entries(struct gpu *g, struct resource *r, const struct command *c, size_t offset,
                        uint32_t n)
{
    uint64_t bytes, sum = 0;

    if (!checked_mul(n, sizeof(*r->entries), &bytes) || !range_in(offset, bytes, c->size)) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    if (n > RESOURCE_ENTRIES_MAX || n > GPU_ENTRIES_MAX - g->n_entries) {
        return VIRTIO_GPU_ERR_OUT_OF_MEMORY;
    }
    if (n == 0) {
        return r->kind == RESOURCE_GUEST ? VIRTIO_GPU_ERR_INVALID_PARAMETER : 0;
    }
    r->entries = malloc(bytes);
    if (!r->entries) {
        return VIRTIO_GPU_ERR_OUT_OF_MEMORY;
    }
    memcpy(r->entries, c->bytes + offset, bytes);
    r->n_entries = n;
    g->n_entries += n;
    for (uint32_t i = 0; i < n; i++) {
        sum += r->entries[i].length;
        if (!guest_memory_has(g->memory, r->entries[i].addr, r->entries[i].length)) {
            forget_entries(g, r);
            return VIRTIO_GPU_ERR_INVALID_PARAMETER;
        }
    }
    if (r->kind != RESOURCE_2D && sum < r->size) {
        forget_entries(g, r);
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    return 0;
}

int resource_read_guest(const struct gpu *g, const struct resource *r, struct place *place,
                        uint64_t offset, void *buf, size_t size)
{
    uint8_t *to = buf;

    if (offset < place->offset) {
        *place = (struct place){ 0 };
    }
    while (size > 0 && place->entry < r->n_entries) {
        const struct virtio_gpu_mem_entry *e = &r->entries[place->entry];
        uint64_t in = offset - place->offset;
        size_t n;

        if (in >= e->length) {
            place->offset += e->length;
            place->entry++;
            continue;
        }
        n = MIN(size, e->length - in);
        if (guest_memory_read(g->memory, e->addr + in, to, n) < 0) {
            return -EFAULT;
        }
        offset += n;
        to += n;
        size -= n;
    }
    return size == 0 ? 0 : -EFAULT;
}

int resource_attach_backing(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_attach_backing *m = (const void *)c->bytes;
    struct resource *r = resource_find(g, m->resource_id);
    int e;

    if (!r || r->kind != RESOURCE_2D || r->entries) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    e = take_entries(g, r, c, sizeof(*m), m->n_entries);
    return e != 0 ? e : VIRTIO_GPU_OK_NODATA;
}

int resource_detach_backing(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_resource *m = (const void *)c->bytes;
    struct resource *r = resource_find(g, m->resource_id);

    if (!r || r->kind != RESOURCE_2D) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    forget_entries(g, r);
    return VIRTIO_GPU_OK_NODATA;
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
        e = take_entries(g, r, c, sizeof(*m), m->n_entries);
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
        e = take_entries(g, r, c, sizeof(*m), m->n_entries);
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

/* ---- pixels ---------------------------------------------------------------------------------- */

int resource_create_2d(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_create_2d *m = (const void *)c->bytes;
    uint64_t bytes = (uint64_t)m->width * m->height * 4;
    struct resource *r;
    int e;

    if (m->resource_id == 0 || resource_find(g, m->resource_id)) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (!surface_valid(m->width, m->height, m->format)) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    if (bytes > GPU_PIXELS_MAX - g->pixel_bytes) {
        return VIRTIO_GPU_ERR_OUT_OF_MEMORY;
    }
    r = resource_new(g, m->resource_id, RESOURCE_2D);
    e = r ? surface_init(&r->surface, m->width, m->height, m->format) : -ENOMEM;
    if (e < 0) {
        if (r) {
            resource_remove(g, r);
        }
        return VIRTIO_GPU_ERR_OUT_OF_MEMORY;
    }
    r->ready = true;
    g->pixel_bytes += bytes;
    return VIRTIO_GPU_OK_NODATA;
}

int resource_transfer_2d(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_transfer_2d *m = (const void *)c->bytes;
    struct resource *r = resource_find(g, m->resource_id);
    struct place place = { 0 };
    uint64_t stride;

    if (!r || r->kind != RESOURCE_2D || !r->entries) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (!range_in(m->rect.x, m->rect.width, r->surface.width) ||
        !range_in(m->rect.y, m->rect.height, r->surface.height)) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    stride = (uint64_t)r->surface.width * 4;
    for (uint32_t y = 0; y < m->rect.height; y++) {
        uint8_t *to = r->surface.pixels + (m->rect.y + y) * stride + (uint64_t)m->rect.x * 4;

        if (resource_read_guest(g, r, &place, m->offset + y * stride, to,
                                (size_t)m->rect.width * 4) < 0) {
            return VIRTIO_GPU_ERR_INVALID_PARAMETER;
        }
    }
    return VIRTIO_GPU_OK_NODATA;
}

int resource_flush(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_flush *m = (const void *)c->bytes;

    if (!resource_find(g, m->resource_id)) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    display_flush(&g->display, m->resource_id);
    return VIRTIO_GPU_OK_NODATA;
}
