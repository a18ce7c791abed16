/* Small numbers for things of one client: 1 and up, the one freed last is given first. */
#ifndef CORDON_SERVER_VTEST_IDS_H
#define CORDON_SERVER_VTEST_IDS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base.h"

/* As many resources as a worker allows. */
#define IDS_MAX 9216

struct ids {
    uint16_t free[IDS_MAX];
    uint32_t n_free, n_used; /* n_used: the highest ever given */
    bool live[IDS_MAX + 1];
};

/* 0 when all are in use. */
static inline uint32_t ids_take(struct ids *t)
{
    uint32_t id = 0;

    if (t->n_free > 0) {
        id = t->free[--t->n_free];
    } else if (t->n_used < IDS_MAX) {
        id = ++t->n_used;
    }
    t->live[id] = id != 0;
    return id;
}

static inline bool ids_live(const struct ids *t, uint32_t id)
{
    return id > 0 && id <= IDS_MAX && t->live[id];
}

/* The id is live. */
static inline void ids_give(struct ids *t, uint32_t id)
{
    t->live[id] = false;
    t->free[t->n_free++] = (uint16_t)id;
}

#endif
