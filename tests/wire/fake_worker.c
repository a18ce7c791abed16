/* Stand-ins for worker/{arena,decoder,objects,reply}.c; see fakes.h. */
#include "tests/wire/fakes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/commands.h"

/* ---- arena: every piece is its own allocation, so that ASan sees each overrun. */

struct arena_chunk {
    struct arena_chunk *next;
    _Alignas(16) uint8_t bytes[];
};

static uint8_t no_bytes[16]; /* the current chunk is always full */

void *arena_grow(struct arena *a, size_t size)
{
    struct arena_chunk *c;

    if (size > a->cap - a->total) {
        return NULL;
    }
    c = calloc(1, sizeof(*c) + size);
    c->next = a->current;
    a->current = c;
    a->total += size;
    return c->bytes;
}

/* ---- objects */

#define MAX_OBJECTS 4096

static struct object *objects[MAX_OBJECTS];
static uint32_t n_objects;
uint32_t fake_inserted, fake_removed;
uint64_t fake_missing_id;

void fake_objects_reset(void)
{
    for (uint32_t i = 0; i < n_objects; i++) {
        free(objects[i]);
    }
    n_objects = 0;
    fake_inserted = fake_removed = 0;
    fake_missing_id = 0;
}

static struct object *keep(uint64_t id, uint32_t type, uint64_t handle)
{
    struct object *o = calloc(1, sizeof(*o));

    o->id = id;
    o->type = type;
    o->handle = handle;
    o->vk = &fake_procs;
    if (n_objects == MAX_OBJECTS) {
        abort();
    }
    objects[n_objects++] = o;
    return o;
}

struct object *objects_find(struct objects *t, uint64_t id, uint32_t type)
{
    (void)t;
    if (id == fake_missing_id) {
        return NULL;
    }
    for (uint32_t i = 0; i < n_objects; i++) {
        if (objects[i]->id == id && objects[i]->type == type) {
            return objects[i];
        }
    }
    /* The host's handle is told from the guest's id. */
    return keep(id, type, id | UINT64_C(1) << 32);
}

bool objects_id_free(struct objects *t, uint64_t id)
{
    (void)t;
    return id != 0;
}

struct object *object_new(uint64_t id, uint32_t type, uint64_t handle, struct object *parent)
{
    struct object *o = keep(id, type, handle);

    o->parent = parent;
    return o;
}

void object_drop(struct object *o)
{
    o->id = 0;
}

int objects_insert(struct objects *t, struct object *o)
{
    (void)t;
    (void)o;
    fake_inserted++;
    return 0;
}

bool objects_remove(struct objects *t, struct object *o, void (*gone)(struct object *o, void *arg),
                    void *arg)
{
    (void)t;
    if (o->retired_at) {
        return false;
    }
    o->retired_at = 1;
    fake_removed++;
    gone(o, arg);
    return true;
}

void objects_remove_children(struct objects *t, struct object *o,
                             void (*gone)(struct object *o, void *arg), void *arg)
{
    (void)t;
    (void)o;
    (void)gone;
    (void)arg;
}

/* ---- decoder */

void decoder_fail(struct decoder *d, const char *fmt, ...)
{
    va_list args;

    d->pos = d->end;
    if (!d->failed) {
        d->failed = true;
        va_start(args, fmt);
        vsnprintf(d->why, sizeof(d->why), fmt, args);
        va_end(args);
    }
}

void decoder_short(struct decoder *d)
{
    decoder_fail(d, "the command is cut off");
}

void decoder_no_memory(struct decoder *d, uint64_t count)
{
    decoder_fail(d, "no memory for %llu elements", (unsigned long long)count);
}

struct object *decoder_bad_handle(struct decoder *d, uint64_t id, uint32_t type, const char *field)
{
    decoder_fail(d, "%s: no object %llu of type %u", field, (unsigned long long)id, type);
    return NULL;
}

bool reply_begin(struct decoder *d)
{
    if (!d->reply.base) {
        decoder_fail(d, "no reply stream");
        return false;
    }
    d->out = d->reply.base + d->reply.pos;
    d->out_end = d->reply.base + d->reply.size;
    return true;
}

void reply_end(struct decoder *d)
{
    d->reply.pos = (uint64_t)(d->out - d->reply.base);
}

void reply_overflow(struct decoder *d)
{
    decoder_fail(d, "reply overflow");
}

void fake_decoder_init(struct decoder *d, const void *bytes, size_t n, void *window, size_t size)
{
    *d = (struct decoder){ .pos = bytes, .end = (const uint8_t *)bytes + n };
    d->arena.cap = 1 << 20;
    d->arena.pos = d->arena.end = no_bytes;
    d->reply.base = window;
    d->reply.size = size;
}

void fake_decoder_fini(struct decoder *d)
{
    struct arena_chunk *c = d->arena.current;

    while (c) {
        struct arena_chunk *next = c->next;

        free(c);
        c = next;
    }
}

void fake_decoder_run(struct decoder *d)
{
    const struct wire_command *command;

    d->command = decode_u32(d);
    d->flags = decode_u32(d);
    if (d->failed) {
        return;
    }
    command = d->command < WIRE_COMMAND_COUNT ? &wire_commands[d->command] : NULL;
    if (!command || !command->run) {
        decoder_fail(d, "refused: %s", command ? command->reason : "no such number");
        return;
    }
    command->run(d);
}

/* ---- the host */

void (*fake_fill[WIRE_COMMAND_COUNT])(void *c);
uint32_t fake_runs;

void fake_run(uint32_t number, void *c)
{
    fake_runs++;
    if (fake_fill[number]) {
        fake_fill[number](c);
    }
}

uint64_t fake_handle(void)
{
    static uint64_t last = 0x1000;

    return last += 0x10;
}
