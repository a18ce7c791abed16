#include "worker/decoder.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "wire/commands.h"
#include "wire/names.h"
#include "worker/context.h"
#include "worker/limits.h"
#include "worker/recorder.h"
#include "worker/resources.h"
#include "worker/ring.h"

int decoder_init(struct decoder *d, struct context *ctx, struct ring *ring)
{
    int r;

    *d = (struct decoder){ .ctx = ctx, .ring = ring, .objects = &ctx->objects };
    r = arena_init(&d->arena, LIMIT_COMMAND_MEMORY);
    if (r < 0) {
        return r;
    }
    d->lane = recorder_lane_take(ctx->recorder, ring ? ring_number(ring) : 0);
    objects_reader_add(d->objects, &d->reader);
    return 0;
}

void decoder_fini(struct decoder *d)
{
    objects_reader_remove(d->objects, &d->reader);
    recorder_lane_give(d->ctx->recorder, d->lane);
    reply_unset(d);
    if (d->stream) {
        munmap(d->stream, d->stream_size);
    }
    arena_fini(&d->spare);
    arena_fini(&d->arena);
}

/* ---- errors ----------------------------------------------------------------------------- */

void decoder_fail(struct decoder *d, const char *fmt, ...)
{
    const char *name = d->command < WIRE_COMMAND_COUNT ? wire_commands[d->command].name : NULL;
    va_list args;

    d->pos = d->end;
    if (d->failed) {
        return;
    }
    d->failed = true;
    va_start(args, fmt);
    vsnprintf(d->why, sizeof(d->why), fmt, args);
    va_end(args);
    /* The command leads the line, unless the message begins with it already. */
    if (name && strncmp(d->why, name, strlen(name)) != 0) {
        char why[sizeof(d->why)];

        memcpy(why, d->why, sizeof(why));
        snprintf(d->why, sizeof(d->why), "%s: %.*s", name, (int)(sizeof(d->why) - strlen(name) - 3),
                 why);
    }
}

void decoder_short(struct decoder *d)
{
    decoder_fail(d, "the command is cut off");
}

void decoder_no_memory(struct decoder *d, uint64_t count)
{
    decoder_fail(d, "wants memory for %" PRIu64 " more elements, a command may use %llu bytes",
                 count, LIMIT_COMMAND_MEMORY);
}

static bool is_free_memory(const struct decoder *d)
{
    return strcmp(wire_commands[d->command].name, "vkFreeMemory") == 0;
}

struct object *decoder_bad_handle(struct decoder *d, uint64_t id, uint32_t type, const char *field)
{
    struct object *o = objects_find_any(d->objects, id);

    if (o && o->type == OBJECT_TYPE_NEVER_MADE) {
        if (is_free_memory(d)) {
            (void)objects_remove(d->objects, o, NULL, NULL);
            return NULL;
        }
        decoder_fail(d,
                     "%s: %s %" PRIu64 " could not be allocated, which the guest did not wait "
                     "to hear",
                     field, wire_object_type_name(type), id);
        return NULL;
    }
    if (!o) {
        decoder_fail(d, "%s: no %s with id %" PRIu64, field, wire_object_type_name(type), id);
    } else if (o->type != type) {
        decoder_fail(d, "%s: id %" PRIu64 " is a %s, not a %s", field, id,
                     wire_object_type_name(o->type), wire_object_type_name(type));
    } else {
        decoder_fail(d, "%s: %s %" PRIu64 " belongs to another device", field,
                     wire_object_type_name(type), id);
    }
    return NULL;
}

/* ---- running ---------------------------------------------------------------------------- */

/* Is the command known, handled and allowed on this stream? */
static const struct wire_command *command_find(struct decoder *d)
{
    const struct wire_command *command;

    if (d->command >= WIRE_COMMAND_COUNT) {
        decoder_fail(d, "command %u is not in the protocol, which ends at %u", d->command,
                     WIRE_COMMAND_COUNT - 1);
        return NULL;
    }
    command = &wire_commands[d->command];
    if (!command->run) {
        decoder_fail(d, "command %u (%s) is refused: %s", d->command,
                     command->name ? command->name : "no name",
                     command->reason ? command->reason : "not in the protocol");
        return NULL;
    }
    if ((command->stream == WIRE_STREAM_CONTEXT && d->ring) ||
        (command->stream == WIRE_STREAM_RING && !d->ring)) {
        decoder_fail(d, "not allowed on %s", d->ring ? "a ring" : "the context stream");
        return NULL;
    }
    return command;
}

static void run_one(struct decoder *d)
{
    const struct wire_command *command;

    d->command = WIRE_COMMAND_COUNT; /* none, should the number itself be cut off */
    d->command = decode_u32(d);
    d->flags = decode_u32(d);
    if (UNLIKELY(d->failed)) {
        return;
    }
    recorder_note(d->lane, d->command);
    command = command_find(d);
    if (UNLIKELY(!command)) {
        return;
    }
    d->device = NULL;
    command->run(d);
}

int decoder_run(struct decoder *d, const void *bytes, size_t size,
                void (*done)(void *arg, size_t consumed), void *arg)
{
    const uint8_t *start = bytes;

    d->pos = start;
    d->end = start + size;
    while (d->pos < d->end) {
        if (UNLIKELY(context_is_fatal(d->ctx))) {
            return -ECANCELED;
        }
        run_one(d);
        arena_reset(&d->arena);
        objects_quiesce(d->objects, &d->reader);
        if (UNLIKELY(d->failed || d->cancelled)) {
            return d->failed ? -EPROTO : -ECANCELED;
        }
        if (done) {
            done(arg, (size_t)(d->pos - start));
        }
    }
    return 0;
}
