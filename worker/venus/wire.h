/*
 * What generated decoders and encoders stand on, besides worker/decoder.h: arrays, pointers,
 * strings, handles and pNext chains. `field` names the place in messages. A function that finds
 * something wrong fails the decoder; the caller may go on, since the reader then yields nothing.
 */
#ifndef CORDON_WORKER_VENUS_WIRE_H
#define CORDON_WORKER_VENUS_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <vulkan/vulkan_core.h>

#include "worker/decoder.h"

/* Handles and size_t are 8 bytes on the wire and in our memory. */
_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "the decoder needs a 64-bit host");

/* ---- scalars at a place whose length was checked --------------------------------------------- */

static inline uint16_t wire_u16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t wire_u32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline int32_t wire_i32(const uint8_t *p)
{
    return (int32_t)wire_u32(p);
}

static inline uint64_t wire_u64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline int64_t wire_i64(const uint8_t *p)
{
    return (int64_t)wire_u64(p);
}

static inline float wire_f32(const uint8_t *p)
{
    float v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline double wire_f64(const uint8_t *p)
{
    double v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* ---- what is wrong ---------------------------------------------------------------------------- */

COLD void wire_bad_size(struct decoder *d, const char *field, uint64_t n, uint64_t want);
COLD void wire_bad_handle(struct decoder *d, const char *field);
COLD void wire_bad_value(struct decoder *d, const char *field, uint64_t value, const char *why);
/* The host driver lacks the command: its extension is not enabled. */
COLD void wire_no_proc(struct decoder *d);

/* ---- handles ---------------------------------------------------------------------------------- */

/* An id at `p`, as in decode_object. */
static inline struct object *wire_object(struct decoder *d, const uint8_t *p, uint32_t type,
                                         const char *field)
{
    uint64_t id = wire_u64(p);
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
static inline void *wire_handle(struct decoder *d, const uint8_t *p, uint32_t type,
                                const char *field)
{
    const struct object *o = wire_object(d, p, type, field);

    return o ? (void *)(uintptr_t)o->handle : NULL;
}

/* The command's first parameter: never NULL, and its device is the command's. */
static inline struct object *wire_first(struct decoder *d, const uint8_t *p, uint32_t type,
                                        const char *field)
{
    struct object *o;

    d->device = NULL;
    o = wire_object(d, p, type, field);
    if (UNLIKELY(!o)) {
        wire_bad_handle(d, field);
        return NULL;
    }
    d->device = o->device;
    return o;
}

static inline void *wire_host(const struct object *o)
{
    return o ? (void *)(uintptr_t)o->handle : NULL;
}

/* `n` handles, as the host's. ret_objects may be NULL, else gets the objects. NULL for none. */
void *wire_handles(struct decoder *d, uint64_t n, uint32_t type, const char *field,
                   struct object ***ret_objects);
/* `n` ids that the command is to fill with objects, writable. */
uint64_t *wire_ids(struct decoder *d, uint64_t n);

/* ---- arrays and pointers ---------------------------------------------------------------------- */

/* The size of an array that must be there. */
static inline uint64_t wire_size(struct decoder *d, uint64_t want, const char *field)
{
    uint64_t n = decode_u64(d);

    if (UNLIKELY(n != want)) {
        wire_bad_size(d, field, n, want);
        return 0;
    }
    return n;
}

/* The size of an array that may be left out. */
static inline uint64_t wire_size_or_none(struct decoder *d, uint64_t want, const char *field)
{
    uint64_t n = decode_u64(d);

    if (UNLIKELY(n != 0 && n != want)) {
        wire_bad_size(d, field, n, want);
        return 0;
    }
    return n;
}

/* Presence of a pointer that must not be NULL. */
static inline bool wire_required(struct decoder *d, const char *field)
{
    if (UNLIKELY(!decode_present(d))) {
        wire_bad_value(d, field, 0, "is NULL and must not be");
        return false;
    }
    return true;
}

/* A pointer to something that has no wire form. */
static inline void wire_absent(struct decoder *d, const char *field)
{
    uint64_t present = decode_u64(d);

    if (UNLIKELY(present != 0)) {
        wire_bad_value(d, field, present, "has no wire form and must be NULL");
    }
}

/* `bytes` bytes of a fixed array of `n` elements, size included; NULL and failed if not so. */
static inline const void *wire_fixed(struct decoder *d, uint64_t n, uint64_t bytes,
                                     const char *field)
{
    return wire_size(d, n, field) == n ? decode_bytes(d, bytes) : NULL;
}

/* `n` packed elements, in place where `align` allows, else copied. NULL for none. */
const void *wire_items(struct decoder *d, uint64_t n, size_t size, size_t align);
/* The same, always copied. */
void *wire_copy(struct decoder *d, uint64_t n, size_t size);
/* Zeroed memory for `n` elements, each of which takes at least `least` bytes in the stream. */
void *wire_room(struct decoder *d, uint64_t n, size_t size, size_t least);
/* A string with its size; NULL if the size is 0. */
const char *wire_string(struct decoder *d, bool required, const char *field);
/* `n` strings. */
const char *const *wire_strings(struct decoder *d, uint64_t n, const char *field);

/* ---- pNext chains ----------------------------------------------------------------------------- */

/* A structure that may stand in a chain. */
struct wire_link {
    uint32_t stype;
    uint32_t size;
    const char *name;
    void (*decode)(struct decoder *d, void *v); /* members only; NULL: never in this mode */
    void (*decode_partial)(struct decoder *d, void *v);
    void (*encode)(struct decoder *d, const void *v);
};

/* A structure with an sType, and what its chain may hold: indexes into wire_links, by sType. */
struct wire_chain {
    const char *name;
    uint32_t stype;
    uint32_t count;
    const uint16_t *links;
};

extern const struct wire_link wire_links[]; /* generated; sorted by sType */

COLD void wire_bad_stype(struct decoder *d, const struct wire_chain *chain, uint32_t stype);
/* The chain behind a structure whose presence word was not 0, with all its bodies. */
void *wire_decode_chain(struct decoder *d, const struct wire_chain *chain, bool partial);

/* sType and chain; the value for pNext. */
static inline void *wire_head(struct decoder *d, const struct wire_chain *chain, bool partial)
{
    const uint8_t *p = decode_bytes(d, 12);

    if (UNLIKELY(!p)) {
        return NULL;
    }
    if (UNLIKELY(wire_u32(p) != chain->stype)) {
        wire_bad_stype(d, chain, wire_u32(p));
        return NULL;
    }
    if (LIKELY(wire_u64(p + 4) == 0)) {
        return NULL;
    }
    return wire_decode_chain(d, chain, partial);
}

/* The links of a reply and their bodies. */
void wire_encode_chain(struct decoder *d, const struct wire_chain *chain, const void *next);

/* sType and chain of a reply. */
static inline void wire_encode_head(struct decoder *d, const struct wire_chain *chain,
                                    const void *next)
{
    encode_u32(d, chain->stype);
    if (LIKELY(!next)) {
        encode_u64(d, 0);
    } else {
        wire_encode_chain(d, chain, next);
    }
}

/* ---- creation and destruction ----------------------------------------------------------------- */

/* May the guest give this id to a new object? Fails the decoder if not. */
bool wire_id_free(struct decoder *d, uint64_t id, const char *field);
/* The same for all of an array, which must also be distinct. */
bool wire_ids_free(struct decoder *d, const uint64_t *ids, uint64_t n, const char *field);
/* The end of a host object that never became one of ours. */
void wire_destroy_host(uint64_t handle, uint32_t type, const struct object *parent);
/* An object for a host handle that was just made; on failure the host's is destroyed again. */
struct object *wire_new_object(struct decoder *d, uint64_t id, uint32_t type, uint64_t handle,
                               struct object *parent);
/* Makes it visible. On failure it is destroyed. */
bool wire_insert_object(struct decoder *d, struct object *o);
/* Takes it and what is below it out of the table, then destroys the host's. */
void wire_remove_object(struct decoder *d, struct object *o);
/* Takes it out of the table alone: the host's goes with a call of the caller. False: too late. */
bool wire_forget_object(struct decoder *d, struct object *o);
/* Takes all children out of the table; the host's are gone already. */
void wire_forget_children(struct decoder *d, struct object *o);

/* Does this command want a reply now? Opens it. */
static inline bool wire_reply(struct decoder *d)
{
    if (LIKELY(!(d->flags & WIRE_FLAG_REPLY) || d->failed) || !reply_begin(d)) {
        return false;
    }
    encode_u32(d, d->command);
    return true;
}

/* A command without reply lost the device: nobody else would hear of it. */
COLD void wire_lost(struct decoder *d);

#endif
