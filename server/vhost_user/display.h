/*
 * A display that nobody looks at: it keeps what the guest shows and how often, and can write it as
 * a PNG file.
 */
#ifndef CORDON_SERVER_VHOST_USER_DISPLAY_H
#define CORDON_SERVER_VHOST_USER_DISPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base.h"
#include "ipc/virtio_gpu_wire.h"

#define SURFACE_SIDE_MAX 8192

/* Pixels of 4 bytes, top row first. */
struct surface {
    uint32_t width, height;
    uint32_t format; /* enum virtio_gpu_format */
    uint8_t *pixels;
};

bool surface_valid(uint32_t width, uint32_t height, uint32_t format);
/* 0 or -ENOMEM. The arguments are valid. */
MUST_USE int surface_init(struct surface *s, uint32_t width, uint32_t height, uint32_t format);
void surface_fini(struct surface *s);
static inline uint64_t surface_bytes(const struct surface *s)
{
    return s->pixels ? (uint64_t)s->width * s->height * 4 : 0;
}

struct display_mode {
    uint32_t width, height; /* 0: no display */
};

/* What is shown: part of a resource. */
struct scanout {
    uint32_t resource_id; /* 0: nothing */
    struct virtio_gpu_rect rect;
    /* Of a blob; of a 2D resource they are its own. */
    bool blob;
    uint32_t format, stride, offset, height;
};

struct display {
    struct display_mode mode;
    struct scanout scanout;
    uint64_t flushes;
    uint32_t cursor_id; /* 0: hidden */
    uint32_t cursor_x, cursor_y, hot_x, hot_y;
};

void display_init(struct display *d, const struct display_mode *mode);
void display_reset(struct display *d);
/* The resource goes. */
void display_forget(struct display *d, uint32_t resource_id);
void display_flush(struct display *d, uint32_t resource_id);

/* Writes the EDID of such a display; returns its size, 128. */
uint32_t display_edid(const struct display_mode *mode, uint8_t ret_edid[128]);

struct gpu;
/* Writes the scanout, cursor and all, to fd (borrowed) as PNG, in place of what is there. 0;
 * -ENODATA: nothing is shown; or another errno. */
MUST_USE int display_screenshot(const struct gpu *g, int fd);

#endif
