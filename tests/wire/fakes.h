/*
 * What the wire tests put in place of the worker: a host driver that only counts, hand-written
 * parts that do nothing, and a table of objects that has whatever a request names.
 */
#ifndef CORDON_TESTS_WIRE_FAKES_H
#define CORDON_TESTS_WIRE_FAKES_H

#include <stdint.h>

#include "wire/procs.h"
#include "worker/decoder.h"

/* Generated: every entry point of the host. */
extern const struct wire_procs fake_procs;

/* Called by the host function or the hand-written part of a command with its struct wire_vkX. */
extern void (*fake_fill[])(void *c);
extern uint32_t fake_runs; /* host calls and hand-written parts so far */
void fake_run(uint32_t number, void *c);
uint64_t fake_handle(void);

/* Objects. */
extern uint32_t fake_inserted, fake_removed;
extern uint64_t fake_missing_id; /* the one id that the table does not have */
void fake_objects_reset(void);

/* A decoder over exactly these bytes, with a reply window of `size` bytes at `window`. */
void fake_decoder_init(struct decoder *d, const void *bytes, size_t n, void *window, size_t size);
void fake_decoder_fini(struct decoder *d);
/* Runs one command as the worker does: header, table, run. */
void fake_decoder_run(struct decoder *d);

#endif
