/*
 * Why a worker died, in words. Pure text: reads the record page through one private copy, since
 * the worker may have written anything there.
 */
#ifndef CORDON_SERVER_RENDER_OBITUARY_H
#define CORDON_SERVER_RENDER_OBITUARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base.h"

struct worker_record;

struct obituary {
    int code;          /* siginfo::si_code of its end: CLD_EXITED, CLD_KILLED, CLD_DUMPED */
    int status;        /* exit code or signal */
    bool ready;        /* it had become ready */
    bool served;       /* it had its context */
    bool asked;        /* by us, to end */
    bool killed_by_us; /* then `why` says what for */
    const char *why;   /* what we know beyond that, or NULL: "not ready after 20 s" */
    const char *(*command_name)(uint32_t number); /* NULL where unknown; may be NULL itself */
};

/* Everything counted in a record page, once its writer is dead (or while it runs, about). */
struct record_counts {
    uint64_t commands, replies;
};
void record_count(const struct worker_record *record, struct record_counts *ret);

/* An orderly end: exit code 0, or a kill that nobody needs to hear of. */
bool obituary_is_peaceful(const struct obituary *o);
/* The worker itself found its context broken and left its reason in the record page. */
bool obituary_is_verdict(const struct obituary *o);

/* "killed by SIGSEGV; after 1203 commands; last on the context stream: vkCmdDraw, ..."; a verdict
 * starts with the worker's reason instead. Commands newest first. */
void obituary_text(const struct obituary *o, const struct worker_record *record, char *text,
                   size_t size);

#endif
