/*
 * The state of one thread that decodes commands (the context stream or one ring): a bounded
 * reader over a PRIVATE copy of the bytes, per-command memory, the reply window, and what the
 * command may refer to. The generated code stands on this header alone.
 *
 * Errors: the first one is kept (decoder_fail) and ends the context; readers then yield zeros,
 * so that generated code needs no branch per field. Nothing may be called on a driver when
 * `d->failed` is set.
 */
#ifndef CORDON_WORKER_DECODER_H
#define CORDON_WORKER_DECODER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ipc/base.h"
#include "worker/arena.h"
#include "worker/objects.h"

struct context;
struct resource;
struct ring;
struct recorder_lane;

#define WIRE_FLAG_REPLY 1u /* VK_COMMAND_GENERATE_REPLY_BIT_EXT; other bits are ignored */
/* Longest pNext chain accepted; the largest set of the protocol has 120 types. */
#define WIRE_MAX_CHAIN 256

/* Where the next reply goes. The window is the guest's, in a shared-memory resource: written,
 * never read. */
struct reply_window {
    struct resource *resource; /* referenced; NULL = none set */
    uint8_t *base;             /* start of the window in our mapping */
    uint64_t size;             /* of the window */
    uint64_t pos;              /* where the next reply starts; <= size */
};

struct decoder {
    /* The reader. */
    const uint8_t *pos, *end;
    bool failed;
    bool submitted; /* a thread of the driver has been given work; cleared by the ring */
    bool cancelled; /* a wait in a handler was cut short: the rest must not run */

    /* The writer of the current command's reply (inside the window). */
    uint8_t *out, *out_end;

    struct arena arena;
    struct objects *objects;
    /* Device of the command being decoded: input handles must belong to it. NULL above devices. */
    struct object *device;

    uint32_t command; /* number of the command being decoded, for messages */
    uint32_t flags;
    uint32_t nesting; /* > 0 inside vkExecuteCommandStreamsMESA */

    /* cmd_stream.c: private copy of the stream being executed, kept from one to the next. */
    uint8_t *stream;
    size_t stream_size;
    uint32_t stream_unused; /* executions since it was last too big to keep */
    struct arena spare;     /* the arena of nested commands; empty until the first */

    /* Set at creation, then const. */
    struct context *ctx;
    struct ring *ring; /* NULL on the context stream */
    struct recorder_lane *lane;

    struct reply_window reply;
    struct objects_reader reader;
    char why[240]; /* the first error, for the one log line */
};

/* ---- errors ---------------------------------------------------------------------------- */

/* Keeps the first reason, empties the reader. Format: what, the number, the limit. */
COLD void decoder_fail(struct decoder *d, const char *fmt, ...) PRINTF(2, 3);

/* ---- reading ---------------------------------------------------------------------------- */

COLD void decoder_short(struct decoder *d); /* decoder_fail: "the command is cut off" */

static inline bool decoder_need(struct decoder *d, uint64_t n)
{
    if (UNLIKELY((uint64_t)(d->end - d->pos) < n)) {
        decoder_short(d);
        return false;
    }
    return true;
}

static inline uint32_t decode_u32(struct decoder *d)
{
    uint32_t v = 0;

    if (LIKELY(decoder_need(d, 4))) {
        memcpy(&v, d->pos, 4);
        d->pos += 4;
    }
    return v;
}

static inline int32_t decode_i32(struct decoder *d)
{
    return (int32_t)decode_u32(d);
}

static inline float decode_f32(struct decoder *d)
{
    uint32_t v = decode_u32(d);
    float f;

    memcpy(&f, &v, 4);
    return f;
}

/* 8-byte items are only 4-aligned on the wire, hence memcpy. */
static inline uint64_t decode_u64(struct decoder *d)
{
    uint64_t v = 0;

    if (LIKELY(decoder_need(d, 8))) {
        memcpy(&v, d->pos, 8);
        d->pos += 8;
    }
    return v;
}

static inline int64_t decode_i64(struct decoder *d)
{
    return (int64_t)decode_u64(d);
}

static inline double decode_f64(struct decoder *d)
{
    uint64_t v = decode_u64(d);
    double f;

    memcpy(&f, &v, 8);
    return f;
}

/* Presence of a simple pointer: any nonzero value. */
static inline bool decode_present(struct decoder *d)
{
    return decode_u64(d) != 0;
}

/* `size` packed bytes plus padding to 4, used in place. NULL (and failed) when cut off. The
 * pointer is 4-aligned relative to the stream and valid until the command ends. */
static inline const void *decode_bytes(struct decoder *d, uint64_t size)
{
    const uint8_t *p = d->pos;
    uint64_t left = (uint64_t)(d->end - d->pos);

    /* Padding cannot overflow: it is only computed when size fits what is left. */
    if (UNLIKELY(size > left || ((size + 3) & ~(uint64_t)3) > left)) {
        decoder_short(d);
        return NULL;
    }
    d->pos += (size + 3) & ~(uint64_t)3;
    return p;
}

/* Zeroed per-command memory; NULL and failed when the command wants more than its cap. */
COLD void decoder_no_memory(struct decoder *d, uint64_t bytes);

static inline void *decode_alloc(struct decoder *d, uint64_t count, size_t size)
{
    void *p = arena_array(&d->arena, count, size);

    if (UNLIKELY(!p)) {
        decoder_no_memory(d, count);
    }
    return p;
}

/* ---- objects ---------------------------------------------------------------------------- */

COLD struct object *decoder_bad_handle(struct decoder *d, uint64_t id, uint32_t type,
                                       const char *field);

/*
 * An input handle: 0 gives NULL without complaint; an unknown id, another type, or an object of
 * another device than d->device fails the command. `field` names it in messages.
 */
static inline struct object *decode_object(struct decoder *d, uint32_t type, const char *field)
{
    uint64_t id = decode_u64(d);
    struct object *o;

    if (id == 0) {
        return NULL;
    }
    o = objects_find(d->objects, id, type);
    if (UNLIKELY(!o || (o->device && d->device && o->device != d->device))) {
        return decoder_bad_handle(d, id, type, field);
    }
    return o;
}

/* The same, as the host's handle. */
static inline uint64_t decode_handle(struct decoder *d, uint32_t type, const char *field)
{
    const struct object *o = decode_object(d, type, field);

    return o ? o->handle : 0;
}

/* ---- replies ---------------------------------------------------------------------------- */

/* Sets the window: [offset, offset + size) of a shared-memory resource; position 0. False and
 * failed if it does not lie there. */
bool reply_set(struct decoder *d, uint32_t resource_id, uint64_t offset, uint64_t size);
/* Moves the position inside the window; false and failed if it is outside or none is set. */
bool reply_seek(struct decoder *d, uint64_t position);
/* Forgets the window. */
void reply_unset(struct decoder *d);
/* Opens the reply of the current command in the window: d->out .. d->out_end. False and failed
 * if no window is set, or its resource was destroyed since. */
bool reply_begin(struct decoder *d);
/* Closes it: the window's position moves behind what was written (rounded up to 4). */
void reply_end(struct decoder *d);
COLD void reply_overflow(struct decoder *d);

/* Writes go straight to shared memory, in order, and are never read back. */
static inline uint8_t *reply_take(struct decoder *d, uint64_t n)
{
    uint8_t *p = d->out;

    if (UNLIKELY((uint64_t)(d->out_end - d->out) < n)) {
        reply_overflow(d);
        return NULL;
    }
    d->out += n;
    return p;
}

static inline void encode_u32(struct decoder *d, uint32_t v)
{
    uint8_t *p = reply_take(d, 4);

    if (LIKELY(p != NULL)) {
        memcpy(p, &v, 4);
    }
}

static inline void encode_i32(struct decoder *d, int32_t v)
{
    encode_u32(d, (uint32_t)v);
}

static inline void encode_f32(struct decoder *d, float v)
{
    uint8_t *p = reply_take(d, 4);

    if (LIKELY(p != NULL)) {
        memcpy(p, &v, 4);
    }
}

static inline void encode_u64(struct decoder *d, uint64_t v)
{
    uint8_t *p = reply_take(d, 8);

    if (LIKELY(p != NULL)) {
        memcpy(p, &v, 8);
    }
}

/* Packed bytes and zero padding to 4. */
static inline void encode_bytes(struct decoder *d, const void *bytes, uint64_t n)
{
    uint64_t padded = (n + 3) & ~(uint64_t)3;
    uint8_t *p = padded >= n ? reply_take(d, padded) : (reply_overflow(d), NULL);

    if (LIKELY(p != NULL) && n > 0) {
        memcpy(p, bytes, n);
        memset(p + n, 0, padded - n);
    }
}

/* ---- life, and running commands ----------------------------------------------------------- */

/* `ring` NULL for the context stream. Returns 0 or a negative errno. */
int decoder_init(struct decoder *d, struct context *ctx, struct ring *ring);
void decoder_fini(struct decoder *d);

/*
 * Decodes and runs every command in [bytes, bytes + size), a private copy. After each command
 * `done(arg, consumed)` is told how many bytes from the start are behind us (may be NULL).
 * Returns 0; -EPROTO: d->why says what and the context must end; -ECANCELED: the context is over
 * already.
 */
int decoder_run(struct decoder *d, const void *bytes, size_t size,
                void (*done)(void *arg, size_t consumed), void *arg);

#endif
