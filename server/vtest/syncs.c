#include "server/vtest/syncs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "ipc/cleanup.h"
#include "ipc/vtest_wire.h"

struct sync {
    uint64_t value;
    uint32_t refs; /* its id, and every point of a wait or update */
};

struct sync_wait {
    struct list link; /* syncs::waits */
    bool any;
    int event_fd;
    uint64_t deadline_ms;
    struct sync_update *on;
};

static struct sync *find(const struct syncs *t, uint32_t id)
{
    return id > 0 && id <= t->n_used ? t->slots[id - 1] : NULL;
}

static void release(struct sync *s)
{
    assert(s->refs > 0);
    if (--s->refs == 0) {
        free(s);
    }
}

static bool satisfied(const struct sync_update *on, bool any)
{
    for (uint32_t i = 0; i < on->n; i++) {
        bool reached = on->points[i].sync->value >= on->points[i].value;

        if (reached == any) {
            return any;
        }
    }
    /* All of none is reached; and so is any of none, since there is nothing to wait for. */
    return !any || on->n == 0;
}

static void end_wait(struct syncs *t, struct sync_wait *w)
{
    list_remove(&w->link);
    t->n_waits--;
    syncs_drop(t, w->on);
    close_fd(&w->event_fd);
    free(w);
}

static void wake(struct syncs *t)
{
    list_for_each_safe (pos, &t->waits) {
        struct sync_wait *w = list_entry(pos, struct sync_wait, link);

        if (satisfied(w->on, w->any)) {
            /* Fresh eventfd: the first write cannot fail or block. */
            (void)eventfd_write(w->event_fd, 1);
            end_wait(t, w);
        }
    }
}

void syncs_init(struct syncs *t)
{
    *t = (struct syncs){ .n_free = 0 };
    list_init(&t->waits);
}

void syncs_fini(struct syncs *t)
{
    list_for_each_safe (pos, &t->waits) {
        end_wait(t, list_entry(pos, struct sync_wait, link));
    }
    for (uint32_t id = 1; id <= t->n_used; id++) {
        syncs_unref(t, id);
    }
    free(t->slots);
    free(t->free_ids);
}

/* Room for one id more. */
static int grow(struct syncs *t)
{
    const uint32_t n = t->n_slots ? 2 * t->n_slots : 64;
    struct sync **slots;
    uint32_t *free_ids;

    if (t->n_used < t->n_slots) {
        return 0;
    }
    if (t->n_slots == SYNCS_MAX) {
        return -ENOSPC;
    }
    slots = realloc(t->slots, n * sizeof(*slots));
    if (!slots) {
        return -ENOMEM;
    }
    t->slots = slots;
    free_ids = realloc(t->free_ids, n * sizeof(*free_ids));
    if (!free_ids) {
        return -ENOMEM;
    }
    t->free_ids = free_ids;
    t->n_slots = n;
    return 0;
}

int syncs_create(struct syncs *t, uint64_t value, uint32_t *ret_id)
{
    struct sync *s;
    uint32_t id;
    int r = t->n_free > 0 ? 0 : grow(t);

    if (r < 0) {
        return r;
    }
    s = malloc(sizeof(*s));
    if (!s) {
        return -ENOMEM;
    }
    *s = (struct sync){ .value = value, .refs = 1 };
    id = t->n_free > 0 ? t->free_ids[--t->n_free] : ++t->n_used;
    t->slots[id - 1] = s;
    *ret_id = id;
    return 0;
}

void syncs_unref(struct syncs *t, uint32_t id)
{
    struct sync *s = find(t, id);

    if (!s) {
        return;
    }
    t->slots[id - 1] = NULL;
    t->free_ids[t->n_free++] = id;
    release(s);
}

int syncs_read(const struct syncs *t, uint32_t id, uint64_t *ret_value)
{
    struct sync *s = find(t, id);

    if (!s) {
        return -ENOENT;
    }
    *ret_value = s->value;
    return 0;
}

int syncs_write(struct syncs *t, uint32_t id, uint64_t value)
{
    struct sync *s = find(t, id);

    if (!s) {
        return -ENOENT;
    }
    s->value = value;
    wake(t);
    return 0;
}

int syncs_hold(struct syncs *t, const uint32_t *list, uint32_t n, struct sync_update **ret)
{
    struct sync_update *u;

    if (n > SYNCS_MAX_POINTS - t->n_points) {
        return -ENOSPC;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!find(t, vtest_sync_at(list, i).id)) {
            return -ENOENT;
        }
    }
    u = malloc(sizeof(*u) + n * sizeof(u->points[0]));
    if (!u) {
        return -ENOMEM;
    }
    u->n = n;
    for (uint32_t i = 0; i < n; i++) {
        struct vtest_sync wanted = vtest_sync_at(list, i);

        u->points[i] = (struct sync_point){ find(t, wanted.id), wanted.value };
        u->points[i].sync->refs++;
    }
    t->n_points += n;
    *ret = u;
    return 0;
}

void syncs_drop(struct syncs *t, struct sync_update *own)
{
    if (!own) {
        return;
    }
    for (uint32_t i = 0; i < own->n; i++) {
        release(own->points[i].sync);
    }
    t->n_points -= own->n;
    free(own);
}

void syncs_apply(struct syncs *t, struct sync_update *own)
{
    for (uint32_t i = 0; i < own->n; i++) {
        own->points[i].sync->value = own->points[i].value;
    }
    syncs_drop(t, own);
    wake(t);
}

int syncs_wait(struct syncs *t, bool any, uint64_t deadline_ms, const uint32_t *list, uint32_t n,
               int *ret_fd)
{
    AUTO_CLOSE int event_fd = -1;
    struct sync_update *on;
    struct sync_wait *w;
    bool done;
    int r;

    r = syncs_hold(t, list, n, &on);
    if (r < 0) {
        return r;
    }
    done = satisfied(on, any);
    event_fd = eventfd(done, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd < 0) {
        r = -errno;
        syncs_drop(t, on);
        return r;
    }
    if (done || deadline_ms == 0) {
        syncs_drop(t, on);
        *ret_fd = take_fd(&event_fd);
        return 0;
    }
    w = t->n_waits < SYNCS_MAX_WAITS ? malloc(sizeof(*w)) : NULL;
    if (!w) {
        syncs_drop(t, on);
        return t->n_waits < SYNCS_MAX_WAITS ? -ENOMEM : -ENOSPC;
    }
    *w = (struct sync_wait){
        .any = any,
        .event_fd = fcntl(event_fd, F_DUPFD_CLOEXEC, 0),
        .deadline_ms = deadline_ms,
        .on = on,
    };
    if (w->event_fd < 0) {
        r = -errno;
        syncs_drop(t, on);
        free(w);
        return r;
    }
    list_append(&t->waits, &w->link);
    t->n_waits++;
    *ret_fd = take_fd(&event_fd);
    return 0;
}

uint64_t syncs_expire(struct syncs *t, uint64_t now_ms)
{
    uint64_t next = UINT64_MAX;

    list_for_each_safe (pos, &t->waits) {
        struct sync_wait *w = list_entry(pos, struct sync_wait, link);

        if (w->deadline_ms <= now_ms) {
            end_wait(t, w);
        } else {
            next = MIN(next, w->deadline_ms);
        }
    }
    return next;
}
