#include "worker/venus/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "wire/names.h"
#include "wire/objects.h"

/* ---- what is wrong ---------------------------------------------------------------------------- */

void wire_bad_size(struct decoder *d, const char *field, uint64_t n, uint64_t want)
{
    decoder_fail(d, "%s: array of %" PRIu64 ", expected %" PRIu64, field, n, want);
}

void wire_bad_handle(struct decoder *d, const char *field)
{
    decoder_fail(d, "%s: the first parameter is NULL", field);
}

void wire_bad_value(struct decoder *d, const char *field, uint64_t value, const char *why)
{
    decoder_fail(d, "%s: %" PRIu64 " %s", field, value, why);
}

void wire_no_proc(struct decoder *d)
{
    decoder_fail(d, "%s: the host driver has no such command (extension not enabled)",
                 wire_command_name(d->command));
}

void wire_lost(struct decoder *d)
{
    decoder_fail(d, "%s: the device is lost", wire_command_name(d->command));
}

/* ---- arrays ------------------------------------------------------------------------------------ */

void *wire_room(struct decoder *d, uint64_t n, size_t size, size_t least)
{
    if (UNLIKELY(least > 0 && n > (uint64_t)(d->end - d->pos) / least)) {
        decoder_short(d);
        return NULL;
    }
    return decode_alloc(d, n, size);
}

const void *wire_items(struct decoder *d, uint64_t n, size_t size, size_t align)
{
    const void *p;
    void *copy;

    if (n == 0) {
        return NULL;
    }
    if (UNLIKELY(n > (uint64_t)(d->end - d->pos) / size)) {
        decoder_short(d);
        return NULL;
    }
    p = decode_bytes(d, n * size);
    if (LIKELY(((uintptr_t)p & (align - 1)) == 0)) {
        return p;
    }
    copy = decode_alloc(d, n, size);
    return copy ? memcpy(copy, p, n * size) : NULL;
}

void *wire_copy(struct decoder *d, uint64_t n, size_t size)
{
    const void *p = wire_items(d, n, size, 1);
    void *copy = p ? decode_alloc(d, n, size) : NULL;

    return copy ? memcpy(copy, p, n * size) : NULL;
}

static const char *string_body(struct decoder *d, uint64_t n, const char *field)
{
    const char *s = decode_bytes(d, n);

    if (s && UNLIKELY(s[n - 1] != '\0')) {
        wire_bad_value(d, field, n, "bytes of string do not end in NUL");
        return NULL;
    }
    return s;
}

const char *wire_string(struct decoder *d, bool required, const char *field)
{
    uint64_t n = decode_u64(d);

    if (n == 0) {
        if (required) {
            wire_bad_value(d, field, 0, "is NULL and must not be");
        }
        return NULL;
    }
    return string_body(d, n, field);
}

const char *const *wire_strings(struct decoder *d, uint64_t n, const char *field)
{
    const char **strings;

    if (n == 0) {
        return NULL;
    }
    /* The shortest: its size, and one byte padded to 4. */
    strings = wire_room(d, n, sizeof(*strings), 12);
    for (uint64_t i = 0; i < n && !d->failed; i++) {
        strings[i] = wire_string(d, true, field);
    }
    return strings;
}

void *wire_handles(struct decoder *d, uint64_t n, uint32_t type, const char *field,
                   struct object ***ret_objects)
{
    void **handles;
    struct object **objects;
    const uint8_t *p;

    if (ret_objects) {
        *ret_objects = NULL;
    }
    if (n == 0) {
        return NULL;
    }
    handles = wire_room(d, n, sizeof(*handles), 8);
    p = handles ? decode_bytes(d, n * 8) : NULL;
    if (!p) {
        return NULL;
    }
    if (!ret_objects) {
        for (uint64_t i = 0; i < n; i++) {
            handles[i] = wire_handle(d, p + i * 8, type, field);
        }
        return handles;
    }
    objects = decode_alloc(d, n, sizeof(struct object *));
    for (uint64_t i = 0; i < n && !d->failed; i++) {
        objects[i] = wire_object(d, p + i * 8, type, field);
        handles[i] = wire_host(objects[i]);
    }
    *ret_objects = objects;
    return handles;
}

uint64_t *wire_ids(struct decoder *d, uint64_t n)
{
    return wire_copy(d, n, sizeof(uint64_t));
}

/* ---- pNext chains ------------------------------------------------------------------------------ */

/* Before each structure of a chain while it is decoded; keeps the structure 16-aligned. */
struct chain_node {
    struct chain_node *previous;
    const struct wire_link *link;
};
_Static_assert(sizeof(struct chain_node) == 16, "moves the structure off its alignment");

static const struct wire_link *chain_find(const struct wire_chain *chain, uint32_t stype)
{
    uint32_t low = 0, high = chain->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct wire_link *link = &wire_links[chain->links[middle]];

        if (link->stype == stype) {
            return link;
        }
        if (link->stype < stype) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

void wire_bad_stype(struct decoder *d, const struct wire_chain *chain, uint32_t stype)
{
    decoder_fail(d, "%s: sType is %" PRIu32 " (%s), expected %" PRIu32, chain->name, stype,
                 wire_stype_name(stype), chain->stype);
}

void *wire_decode_chain(struct decoder *d, const struct wire_chain *chain, bool partial)
{
    struct chain_node *newest = NULL;
    VkBaseOutStructure *first = NULL, *last = NULL;
    uint32_t count = 0;

    do {
        uint32_t stype = decode_u32(d);
        const struct wire_link *link = d->failed ? NULL : chain_find(chain, stype);
        struct chain_node *node;
        VkBaseOutStructure *v;

        if (UNLIKELY(!link)) {
            decoder_fail(d, "%s: %s (sType %" PRIu32 ") is not allowed in its pNext chain",
                         chain->name, wire_stype_name(stype), stype);
            return NULL;
        }
        if (UNLIKELY(++count > WIRE_MAX_CHAIN)) {
            decoder_fail(d, "%s: pNext chain of more than %d links", chain->name, WIRE_MAX_CHAIN);
            return NULL;
        }
        node = decode_alloc(d, 1, sizeof(*node) + link->size);
        if (UNLIKELY(!node)) {
            return NULL;
        }
        node->previous = newest;
        node->link = link;
        newest = node;
        v = (VkBaseOutStructure *)(node + 1);
        v->sType = (VkStructureType)stype;
        if (last) {
            last->pNext = v;
        } else {
            first = v;
        }
        last = v;
    } while (decode_u64(d) != 0);

    /* All sTypes came first; the bodies follow, last link first. */
    for (struct chain_node *n = newest; n && !d->failed; n = n->previous) {
        if (partial) {
            n->link->decode_partial(d, n + 1);
        } else {
            n->link->decode(d, n + 1);
        }
    }
    return first;
}

void wire_encode_chain(struct decoder *d, const struct wire_chain *chain, const void *next)
{
    const VkBaseInStructure *structs[WIRE_MAX_CHAIN];
    const struct wire_link *links[WIRE_MAX_CHAIN];
    uint32_t count = 0;

    for (const VkBaseInStructure *v = next; v; v = v->pNext) {
        const struct wire_link *link = chain_find(chain, v->sType);

        if (UNLIKELY(!link || count == WIRE_MAX_CHAIN)) {
            decoder_fail(d, "%s: reply with %s in its pNext chain", chain->name,
                         wire_stype_name(v->sType));
            return;
        }
        encode_u64(d, 1);
        encode_u32(d, v->sType);
        structs[count] = v;
        links[count++] = link;
    }
    encode_u64(d, 0);
    while (count > 0) {
        count--;
        links[count]->encode(d, structs[count]);
    }
}

/* ---- creation and destruction ------------------------------------------------------------------ */

bool wire_id_free(struct decoder *d, uint64_t id, const char *field)
{
    if (UNLIKELY(!objects_id_free(d->objects, id))) {
        wire_bad_value(d, field, id, "is no free id for a new object");
        return false;
    }
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

bool wire_ids_free(struct decoder *d, const uint64_t *ids, uint64_t n, const char *field)
{
    bool rising = true;

    for (uint64_t i = 0; i < n; i++) {
        if (!wire_id_free(d, ids[i], field)) {
            return false;
        }
        rising = rising && (i == 0 || ids[i - 1] < ids[i]);
    }
    /* Clients count ids up, so distinct is nearly always seen at once. */
    if (!rising) {
        uint64_t *sorted = decode_alloc(d, n, sizeof(*sorted));

        if (!sorted) {
            return false;
        }
        memcpy(sorted, ids, n * sizeof(*sorted));
        qsort(sorted, n, sizeof(*sorted), compare_ids);
        for (uint64_t i = 1; i < n; i++) {
            if (sorted[i] == sorted[i - 1]) {
                wire_bad_value(d, field, sorted[i], "is the id of two new objects");
                return false;
            }
        }
    }
    return true;
}

void wire_destroy_host(uint64_t handle, uint32_t type, const struct object *parent)
{
    const struct object lost = {
        .handle = handle, .type = type, .device = parent->device, .vk = parent->vk
    };

    wire_destroy_object(&lost);
}

struct object *wire_new_object(struct decoder *d, uint64_t id, uint32_t type, uint64_t handle,
                               struct object *parent)
{
    struct object *o = object_new(id, type, handle, parent);

    if (UNLIKELY(!o)) {
        wire_destroy_host(handle, type, parent);
        decoder_fail(d, "no memory for a new object");
    }
    return o;
}

bool wire_insert_object(struct decoder *d, struct object *o)
{
    int r = objects_insert(d->objects, o);

    if (LIKELY(r == 0)) {
        return true;
    }
    decoder_fail(d, "object %" PRIu64 " cannot enter the table: %s", o->id,
                 r == -EEXIST   ? "its id is in use"
                 : r == -ENOSPC ? "limit objects: there are too many"
                 : r == -ENOENT ? "its parent is gone"
                                : "no memory");
    wire_destroy_object(o);
    object_drop(o);
    return false;
}

static void destroy_gone(struct object *o, void *arg)
{
    (void)arg;
    wire_destroy_object(o);
}

static void forget_gone(struct object *o, void *arg)
{
    (void)o;
    (void)arg;
}

void wire_remove_object(struct decoder *d, struct object *o)
{
    (void)objects_remove(d->objects, o, destroy_gone, NULL);
}

bool wire_forget_object(struct decoder *d, struct object *o)
{
    return objects_remove(d->objects, o, forget_gone, NULL);
}

void wire_forget_children(struct decoder *d, struct object *o)
{
    objects_remove_children(d->objects, o, forget_gone, NULL);
}
