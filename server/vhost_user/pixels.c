/* Guest memory behind resources, and those that are pixels. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/checked.h"
#include "ipc/cleanup.h"
#include "server/vhost_user/gpu.h"

/* Pages of the largest surface. */
#define RESOURCE_ENTRIES_MAX 65536

/* ---- guest memory ---------------------------------------------------------------------------- */

void resource_forget_entries(struct gpu *g, struct resource *r)
{
    g->n_entries -= r->n_entries;
    r->n_entries = 0;
    free(take_ptr(r->entries));
}

int resource_take_entries(struct gpu *g, struct resource *r, const struct command *c, size_t offset,
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
            resource_forget_entries(g, r);
            return VIRTIO_GPU_ERR_INVALID_PARAMETER;
        }
    }
    if (r->kind != RESOURCE_2D && sum < r->size) {
        resource_forget_entries(g, r);
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
    e = resource_take_entries(g, r, c, sizeof(*m), m->n_entries);
    return e != 0 ? e : VIRTIO_GPU_OK_NODATA;
}

int resource_detach_backing(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_resource *m = (const void *)c->bytes;
    struct resource *r = resource_find(g, m->resource_id);

    if (!r || r->kind != RESOURCE_2D) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    resource_forget_entries(g, r);
    return VIRTIO_GPU_OK_NODATA;
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
