#include "server/vhost_user/display.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/checked.h"
#include "ipc/cleanup.h"
#include "ipc/map.h"
#include "server/vhost_user/gpu.h"
#include "server/vhost_user/png.h"

/* ---- surfaces -------------------------------------------------------------------------------- */

/* Where red, green, blue and alpha lie in a pixel; alpha 4: there is none. */
struct layout {
    uint8_t r, g, b, a;
};

static bool layout_of(uint32_t format, struct layout *ret)
{
    switch (format) {
    case VIRTIO_GPU_B8G8R8A8:
        *ret = (struct layout){ 2, 1, 0, 3 };
        return true;
    case VIRTIO_GPU_B8G8R8X8:
        *ret = (struct layout){ 2, 1, 0, 4 };
        return true;
    case VIRTIO_GPU_A8R8G8B8:
        *ret = (struct layout){ 1, 2, 3, 0 };
        return true;
    case VIRTIO_GPU_X8R8G8B8:
        *ret = (struct layout){ 1, 2, 3, 4 };
        return true;
    case VIRTIO_GPU_R8G8B8A8:
        *ret = (struct layout){ 0, 1, 2, 3 };
        return true;
    case VIRTIO_GPU_X8B8G8R8:
        *ret = (struct layout){ 3, 2, 1, 4 };
        return true;
    case VIRTIO_GPU_A8B8G8R8:
        *ret = (struct layout){ 3, 2, 1, 0 };
        return true;
    case VIRTIO_GPU_R8G8B8X8:
        *ret = (struct layout){ 0, 1, 2, 4 };
        return true;
    default:
        return false;
    }
}

bool surface_valid(uint32_t width, uint32_t height, uint32_t format)
{
    struct layout l;

    return width > 0 && height > 0 && width <= SURFACE_SIDE_MAX && height <= SURFACE_SIDE_MAX &&
           layout_of(format, &l);
}

int surface_init(struct surface *s, uint32_t width, uint32_t height, uint32_t format)
{
    s->pixels = calloc((size_t)width * height, 4);
    if (!s->pixels) {
        return -ENOMEM;
    }
    s->width = width;
    s->height = height;
    s->format = format;
    return 0;
}

void surface_fini(struct surface *s)
{
    free(take_ptr(s->pixels));
}

/* ---- the display ----------------------------------------------------------------------------- */

void display_init(struct display *d, const struct display_mode *mode)
{
    *d = (struct display){ .mode = *mode };
}

void display_reset(struct display *d)
{
    display_init(d, &(struct display_mode){ d->mode.width, d->mode.height });
}

void display_forget(struct display *d, uint32_t resource_id)
{
    if (d->scanout.resource_id == resource_id) {
        d->scanout = (struct scanout){ 0 };
    }
    if (d->cursor_id == resource_id) {
        d->cursor_id = 0;
    }
}

void display_flush(struct display *d, uint32_t resource_id)
{
    d->flushes += d->scanout.resource_id == resource_id;
}

/* ---- EDID 1.4 -------------------------------------------------------------------------------- */

/* Blanking as a plain monitor has it; 60 pictures a second. */
#define BLANK_X 160u
#define BLANK_Y 35u
#define HZ 60u

static void edid_timing(const struct display_mode *m, uint8_t *t)
{
    uint32_t clock = (m->width + BLANK_X) * (m->height + BLANK_Y) * HZ / 10000;
    uint32_t mm_x = m->width * 254 / 960, mm_y = m->height * 254 / 960; /* 96 dots an inch */

    t[0] = (uint8_t)clock;
    t[1] = (uint8_t)(clock >> 8);
    t[2] = (uint8_t)m->width;
    t[3] = BLANK_X & 0xff;
    t[4] = (uint8_t)((m->width >> 8) << 4 | BLANK_X >> 8);
    t[5] = (uint8_t)m->height;
    t[6] = BLANK_Y & 0xff;
    t[7] = (uint8_t)((m->height >> 8) << 4 | BLANK_Y >> 8);
    t[8] = 48;          /* front porch, pixels */
    t[9] = 32;          /* sync, pixels */
    t[10] = 3 << 4 | 6; /* the same in lines */
    t[12] = (uint8_t)mm_x;
    t[13] = (uint8_t)mm_y;
    t[14] = (uint8_t)((mm_x >> 8) << 4 | mm_y >> 8);
    t[17] = 0x1e; /* digital, separate sync, both positive */
}

uint32_t display_edid(const struct display_mode *mode, uint8_t e[128])
{
    static const uint8_t magic[] = { 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0 };
    uint8_t sum = 0;

    memset(e, 0, 128);
    memcpy(e, magic, sizeof(magic));
    e[8] = 0x0c; /* "CDN", five bits a letter */
    e[9] = 0x8e;
    e[10] = 1;
    e[17] = 2026 - 1990;
    e[18] = 1;
    e[19] = 4;
    e[20] = 0xa5; /* digital, 8 bits a colour, DisplayPort */
    e[21] = (uint8_t)MIN(mode->width * 254 / 9600, 255u);
    e[22] = (uint8_t)MIN(mode->height * 254 / 9600, 255u);
    e[23] = 120;  /* gamma 2.2 */
    e[24] = 0x06; /* sRGB; the first timing is the preferred one */
    memcpy(e + 25, (const uint8_t[]){ 0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54 },
           10);
    memset(e + 38, 1, 16); /* no standard timings */
    edid_timing(mode, e + 54);
    e[75] = 0xfc; /* the name, and the zero with which the next descriptor begins */
    (void)snprintf((char *)e + 77, 14, "%s", "Cordon\n      ");
    e[93] = 0x10; /* two dummy descriptors */
    e[111] = 0x10;
    for (int i = 0; i < 127; i++) {
        sum = (uint8_t)(sum + e[i]);
    }
    e[127] = (uint8_t)-sum;
    return 128;
}

/* ---- commands -------------------------------------------------------------------------------- */

int display_get_info(struct gpu *g, struct command *c)
{
    struct virtio_gpu_display_info *d = &c->answer.display_info;

    memset(d, 0, sizeof(*d));
    if (g->display.mode.width > 0) {
        d->scanouts[0].rect.width = g->display.mode.width;
        d->scanouts[0].rect.height = g->display.mode.height;
        d->scanouts[0].enabled = 1;
    }
    c->answer_size = sizeof(*d);
    return VIRTIO_GPU_OK_DISPLAY_INFO;
}

int display_get_edid(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_get_edid *m = (const void *)c->bytes;
    struct virtio_gpu_edid *e = &c->answer.edid;

    if (m->scanout != 0 || g->display.mode.width == 0) {
        return VIRTIO_GPU_ERR_INVALID_SCANOUT_ID;
    }
    memset(e, 0, sizeof(*e));
    e->size = display_edid(&g->display.mode, e->edid);
    c->answer_size = sizeof(*e);
    return VIRTIO_GPU_OK_EDID;
}

int scanout_set(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_set_scanout *m = (const void *)c->bytes;
    const struct resource *r;

    if (m->scanout_id != 0 || g->display.mode.width == 0) {
        return VIRTIO_GPU_ERR_INVALID_SCANOUT_ID;
    }
    if (m->resource_id == 0) {
        g->display.scanout = (struct scanout){ 0 };
        return VIRTIO_GPU_OK_NODATA;
    }
    r = resource_find(g, m->resource_id);
    if (!r || r->kind != RESOURCE_2D) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (m->rect.width == 0 || m->rect.height == 0 ||
        !range_in(m->rect.x, m->rect.width, r->surface.width) ||
        !range_in(m->rect.y, m->rect.height, r->surface.height)) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    g->display.scanout = (struct scanout){ .resource_id = r->id, .rect = m->rect };
    return VIRTIO_GPU_OK_NODATA;
}

int scanout_set_blob(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_set_scanout_blob *m = (const void *)c->bytes;
    const struct resource *r = resource_find(g, m->resource_id);

    if (m->scanout_id != 0 || g->display.mode.width == 0) {
        return VIRTIO_GPU_ERR_INVALID_SCANOUT_ID;
    }
    if (m->resource_id == 0) {
        g->display.scanout = (struct scanout){ 0 };
        return VIRTIO_GPU_OK_NODATA;
    }
    if (!r || r->kind == RESOURCE_2D || !r->ready) {
        return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (!surface_valid(m->width, m->height, m->format) || m->rect.width == 0 ||
        m->rect.height == 0 || m->strides[0] < (uint64_t)m->width * 4 ||
        !range_in(m->rect.x, m->rect.width, m->width) ||
        !range_in(m->rect.y, m->rect.height, m->height) ||
        !range_in(m->offsets[0], (uint64_t)m->strides[0] * m->height, r->size)) {
        return VIRTIO_GPU_ERR_INVALID_PARAMETER;
    }
    g->display.scanout = (struct scanout){
        .resource_id = r->id,
        .rect = m->rect,
        .blob = true,
        .format = m->format,
        .stride = m->strides[0],
        .offset = m->offsets[0],
        .height = m->height,
    };
    return VIRTIO_GPU_OK_NODATA;
}

int cursor_update(struct gpu *g, struct command *c)
{
    const struct virtio_gpu_cursor *m = (const void *)c->bytes;
    struct display *d = &g->display;

    if (m->position.scanout_id != 0 || d->mode.width == 0) {
        return VIRTIO_GPU_ERR_INVALID_SCANOUT_ID;
    }
    if (c->header.type == VIRTIO_GPU_UPDATE_CURSOR) {
        const struct resource *r = resource_find(g, m->resource_id);

        if (m->resource_id != 0 && (!r || r->kind != RESOURCE_2D)) {
            return VIRTIO_GPU_ERR_INVALID_RESOURCE_ID;
        }
        d->cursor_id = m->resource_id;
        d->hot_x = m->hot_x;
        d->hot_y = m->hot_y;
    }
    d->cursor_x = m->position.x;
    d->cursor_y = m->position.y;
    return VIRTIO_GPU_OK_NODATA;
}

/* ---- screenshot ------------------------------------------------------------------------------ */

/* Copies `size` bytes of the shown resource from `offset` on. `map` is the blob's, or NULL. */
static int read_shown(const struct gpu *g, const struct resource *r, const uint8_t *map,
                      struct place *place, uint64_t offset, uint8_t *row, size_t size)
{
    if (r->kind == RESOURCE_GUEST) {
        return resource_read_guest(g, r, place, offset, row, size);
    }
    memcpy(row, (map ? map : r->surface.pixels) + offset, size);
    return 0;
}

static int copy_rows(const struct gpu *g, const struct resource *r, const uint8_t *map,
                     uint8_t *rgb)
{
    const struct scanout *s = &g->display.scanout;
    uint64_t stride = s->blob ? s->stride : (uint64_t)r->surface.width * 4;
    size_t row_size = (size_t)s->rect.width * 4;
    AUTO_FREE uint8_t *row = malloc(row_size);
    struct layout l = { 0 };
    struct place place = { 0 };

    if (!row) {
        return -ENOMEM;
    }
    (void)layout_of(s->blob ? s->format : r->surface.format, &l); /* checked when it was set */
    for (uint32_t y = 0; y < s->rect.height; y++) {
        uint64_t offset =
            (s->blob ? s->offset : 0) + (s->rect.y + y) * stride + (uint64_t)s->rect.x * 4;
        int e = read_shown(g, r, map, &place, offset, row, row_size);

        if (e < 0) {
            return e;
        }
        for (uint32_t x = 0; x < s->rect.width; x++) {
            *rgb++ = row[x * 4 + l.r];
            *rgb++ = row[x * 4 + l.g];
            *rgb++ = row[x * 4 + l.b];
        }
    }
    return 0;
}

static void blend(uint8_t *to, uint8_t from, uint8_t alpha)
{
    /* The guest's colours are premultiplied. */
    *to = (uint8_t)MIN(from + *to * (255 - alpha) / 255, 255);
}

static void draw_cursor(const struct gpu *g, uint8_t *rgb)
{
    const struct display *d = &g->display;
    const struct virtio_gpu_rect *rect = &d->scanout.rect;
    const struct resource *r = d->cursor_id != 0 ? resource_find(g, d->cursor_id) : NULL;
    struct layout l;

    if (!r || !layout_of(r->surface.format, &l) || l.a > 3) {
        return;
    }
    for (uint32_t y = 0; y < r->surface.height; y++) {
        for (uint32_t x = 0; x < r->surface.width; x++) {
            int64_t at_x = (int64_t)d->cursor_x + x - d->hot_x;
            int64_t at_y = (int64_t)d->cursor_y + y - d->hot_y;
            const uint8_t *p = r->surface.pixels + ((size_t)y * r->surface.width + x) * 4;
            uint8_t *to;

            if (at_x < 0 || at_y < 0 || at_x >= rect->width || at_y >= rect->height) {
                continue;
            }
            to = rgb + ((size_t)at_y * rect->width + (size_t)at_x) * 3;
            blend(to, p[l.r], p[l.a]);
            blend(to + 1, p[l.g], p[l.a]);
            blend(to + 2, p[l.b], p[l.a]);
        }
    }
}

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
    size_t done = 0;

    if (ftruncate(fd, 0) < 0) {
        return -errno;
    }
    while (done < size) {
        ssize_t n = pwrite(fd, bytes + done, size - done, (off_t)done);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int display_screenshot(const struct gpu *g, int fd)
{
    const struct scanout *s = &g->display.scanout;
    const struct resource *r = s->resource_id != 0 ? resource_find(g, s->resource_id) : NULL;
    AUTO_FREE uint8_t *rgb = NULL;
    AUTO_FREE uint8_t *bytes = NULL;
    void *map = NULL;
    size_t size;
    int e;

    if (!r) {
        return -ENODATA;
    }
    if (r->kind == RESOURCE_HOST3D) {
        if (r->blob.fd_type == CORDON_FD_OPAQUE) {
            return -ENOTSUP;
        }
        e = map_shared(r->blob.fd, r->size, &map);
        if (e < 0) {
            return e;
        }
    }
    rgb = malloc((size_t)s->rect.width * s->rect.height * 3);
    e = rgb ? copy_rows(g, r, map, rgb) : -ENOMEM;
    unmap(map, r->size);
    if (e < 0) {
        return e;
    }
    draw_cursor(g, rgb);
    e = png_encode(rgb, s->rect.width, s->rect.height, &bytes, &size);
    return e < 0 ? e : write_all(fd, bytes, size);
}
