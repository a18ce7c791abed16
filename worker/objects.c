/*
 * The table is open addressing with linear probing: ids of the usual client are dense, so
 * `id & mask` is a perfect hash for it. A slot is NULL (end of every probe), a tombstone (an
 * object was here, probing goes on) or an object. Slots change under the lock and are read
 * without it.
 *
 * Reclamation. Whatever leaves the table is stamped with the epoch at that time, then the epoch
 * moves on. A reader that quiesces copies the epoch into `seen`; once every awake reader has seen
 * a later epoch than the stamp, none can hold the object: it looked again after the slot was
 * emptied. A sleeping reader holds nothing; it wakes under the lock, so that it either shows
 * itself to the reclaimer or sees what was removed before the reclaimer looked.
 */
#include "worker/objects.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include <vulkan/vulkan_core.h>

#include "ipc/cleanup.h"

#define TABLE_FIRST 1024u

typedef _Atomic(struct object *) slot_t;

struct object_table {
    uint64_t mask;
    uint64_t used;      /* slots that are not NULL; under the lock */
    uint64_t displaced; /* objects that are not at their own slot; under the lock */
    struct object_table *retired_next;
    uint64_t retired_at;
    slot_t slots[];
};

static struct object tombstone;

static struct object_table *table_create(uint64_t n_slots)
{
    struct object_table *table = calloc(1, sizeof(*table) + n_slots * sizeof(slot_t));

    if (table) {
        table->mask = n_slots - 1;
    }
    return table;
}

int objects_init(struct objects *t, uint64_t max)
{
    struct object_table *table = table_create(TABLE_FIRST);

    if (!table) {
        return -ENOMEM;
    }
    *t = (struct objects){ .max = max };
    atomic_init(&t->table, table);
    atomic_init(&t->epoch, 1);
    pthread_mutex_init(&t->lock, NULL);
    list_init(&t->readers);
    t->retired_tail = &t->retired;
    return 0;
}

static void object_free(struct object *o)
{
    if (o->data_free) {
        o->data_free(o->data);
    }
    free(o);
}

void object_drop(struct object *o)
{
    if (o) {
        assert(o->retired_at == 0 && list_empty(&o->sibling));
        object_free(o);
    }
}

static void free_retired(struct object *o, struct object_table *table)
{
    while (o) {
        struct object *next = o->retired_next;

        object_free(o);
        o = next;
    }
    while (table) {
        struct object_table *next = table->retired_next;

        free(table);
        table = next;
    }
}

void objects_fini(struct objects *t)
{
    struct object_table *table = atomic_load_explicit(&t->table, memory_order_relaxed);

    assert(list_empty(&t->readers));
    for (uint64_t i = 0; i <= table->mask; i++) {
        struct object *o = atomic_load_explicit(&table->slots[i], memory_order_relaxed);

        if (o && o != &tombstone) {
            object_free(o);
        }
    }
    free(table);
    free_retired(t->retired, t->retired_tables);
    pthread_mutex_destroy(&t->lock);
}

/* ---- readers ---------------------------------------------------------------------------- */

void objects_reader_add(struct objects *t, struct objects_reader *r)
{
    LOCK_SCOPE(&t->lock);

    atomic_init(&r->seen, atomic_load_explicit(&t->epoch, memory_order_relaxed));
    list_append(&t->readers, &r->link);
}

void objects_reader_remove(struct objects *t, struct objects_reader *r)
{
    LOCK_SCOPE(&t->lock);

    list_remove(&r->link);
}

void objects_sleep(struct objects *t, struct objects_reader *r)
{
    (void)t;
    /* Pairs with the acquire load in reclaim_take(). */
    atomic_store_explicit(&r->seen, 0, memory_order_release);
}

void objects_wake(struct objects *t, struct objects_reader *r)
{
    LOCK_SCOPE(&t->lock);

    atomic_store_explicit(&r->seen, atomic_load_explicit(&t->epoch, memory_order_relaxed),
                          memory_order_release);
}

/* Takes off the lists what no reader can hold any more; the caller frees it without the lock. */
static void reclaim_take(struct objects *t, struct object **ret_objects,
                         struct object_table **ret_tables)
{
    uint64_t oldest = UINT64_MAX;
    struct object **end = &t->retired;
    struct object_table **table = &t->retired_tables;

    *ret_objects = NULL;
    *ret_tables = NULL;
    if (!t->retired && !t->retired_tables) {
        return;
    }
    list_for_each (link, &t->readers) {
        struct objects_reader *r = list_entry(link, struct objects_reader, link);
        uint64_t seen = atomic_load_explicit(&r->seen, memory_order_acquire);

        if (seen != 0 && seen < oldest) {
            oldest = seen;
        }
    }
    while (*end && (*end)->retired_at < oldest) {
        end = &(*end)->retired_next;
        t->n_retired--;
    }
    if (end != &t->retired) {
        *ret_objects = t->retired;
        t->retired = *end;
        *end = NULL;
        if (!t->retired) {
            t->retired_tail = &t->retired;
        }
    }
    while (*table) {
        struct object_table *one = *table;

        if (one->retired_at >= oldest) {
            table = &one->retired_next;
            continue;
        }
        *table = one->retired_next;
        one->retired_next = *ret_tables;
        *ret_tables = one;
    }
}

/* ---- look-up ---------------------------------------------------------------------------- */

struct object *objects_find_any(struct objects *t, uint64_t id)
{
    const struct object_table *table = atomic_load_explicit(&t->table, memory_order_acquire);

    for (uint64_t i = id;; i++) {
        struct object *o =
            atomic_load_explicit(&table->slots[i & table->mask], memory_order_acquire);

        if (!o) {
            return NULL;
        }
        /* The tombstone's id is 0, which no object has. */
        if (LIKELY(o->id == id) && LIKELY(o != &tombstone)) {
            return o;
        }
    }
}

struct object *objects_find(struct objects *t, uint64_t id, uint32_t type)
{
    struct object *o = objects_find_any(t, id);

    return o && o->type == type ? o : NULL;
}

bool objects_id_free(struct objects *t, uint64_t id)
{
    return id != 0 && !objects_find_any(t, id);
}

/* ---- insertion -------------------------------------------------------------------------- */

struct object *object_new(uint64_t id, uint32_t type, uint64_t handle, struct object *parent)
{
    struct object *o = calloc(1, sizeof(*o));

    if (!o) {
        return NULL;
    }
    o->id = id;
    o->type = type;
    o->handle = handle;
    o->parent = parent;
    if (parent) {
        o->device = parent->device;
        o->vk = parent->vk;
    }
    if (type == VK_OBJECT_TYPE_DEVICE) {
        o->device = o;
    }
    list_init(&o->children);
    list_init(&o->sibling);
    return o;
}

/* The slot for a new `id`, or NULL if the id is in the table. Keeps a free slot in the table. */
static slot_t *table_place(struct object_table *table, uint64_t id)
{
    slot_t *place = NULL;

    for (uint64_t i = id;; i++) {
        slot_t *slot = &table->slots[i & table->mask];
        const struct object *o = atomic_load_explicit(slot, memory_order_relaxed);

        if (!o) {
            return place ? place : slot;
        }
        if (o == &tombstone) {
            place = place ? place : slot;
        } else if (o->id == id) {
            return NULL;
        }
    }
}

static void slot_set(struct object_table *table, slot_t *slot, struct object *o)
{
    if (!atomic_load_explicit(slot, memory_order_relaxed)) {
        table->used++;
    }
    table->displaced += slot != &table->slots[o->id & table->mask];
    /* Pairs with the acquire load in objects_find_any(): the object is complete. */
    atomic_store_explicit(slot, o, memory_order_release);
}

/* Replaces the table by one that is at most a quarter full. */
static int table_replace(struct objects *t)
{
    struct object_table *old = atomic_load_explicit(&t->table, memory_order_relaxed);
    struct object_table *table;
    uint64_t n_slots = TABLE_FIRST;
    uint64_t epoch;

    while (n_slots < (t->count + 1) * 4) {
        n_slots *= 2;
    }
    table = table_create(n_slots);
    if (!table) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i <= old->mask; i++) {
        struct object *o = atomic_load_explicit(&old->slots[i], memory_order_relaxed);

        if (o && o != &tombstone) {
            slot_set(table, table_place(table, o->id), o);
        }
    }
    atomic_store_explicit(&t->table, table, memory_order_release);
    epoch = atomic_load_explicit(&t->epoch, memory_order_relaxed);
    old->retired_at = epoch;
    old->retired_next = t->retired_tables;
    t->retired_tables = old;
    atomic_store_explicit(&t->epoch, epoch + 1, memory_order_release);
    return 0;
}

static int insert_locked(struct objects *t, struct object *o)
{
    struct object_table *table = atomic_load_explicit(&t->table, memory_order_relaxed);
    int r;

    if (o->parent && o->parent->retired_at != 0) {
        return -ENOENT;
    }
    if (t->count >= t->max || t->n_retired >= t->max) {
        return -ENOSPC;
    }
    if (!table_place(table, o->id)) {
        return -EEXIST;
    }
    if ((table->used + 1) * 2 > table->mask + 1) {
        r = table_replace(t);
        if (r < 0) {
            return r;
        }
        table = atomic_load_explicit(&t->table, memory_order_relaxed);
    }
    if (o->parent) {
        list_append(&o->parent->children, &o->sibling);
    }
    t->count++;
    slot_set(table, table_place(table, o->id), o);
    return 0;
}

int objects_insert(struct objects *t, struct object *o)
{
    struct object *dead;
    struct object_table *dead_tables;
    int r;

    if (o->id == 0) {
        return -EEXIST;
    }
    pthread_mutex_lock(&t->lock);
    reclaim_take(t, &dead, &dead_tables);
    r = insert_locked(t, o);
    pthread_mutex_unlock(&t->lock);
    free_retired(dead, dead_tables);
    return r;
}

/* ---- removal ---------------------------------------------------------------------------- */

/* Empties the object's slot. No tombstone is needed where no probe passes: when every object is
 * at its own slot, as with dense ids, or when the next slot ends the probe anyway. */
static void slot_clear(struct object_table *table, const struct object *o)
{
    uint64_t i = o->id;
    bool passed;

    while (atomic_load_explicit(&table->slots[i & table->mask], memory_order_relaxed) != o) {
        i++;
    }
    passed = table->displaced != 0 &&
             atomic_load_explicit(&table->slots[(i + 1) & table->mask], memory_order_relaxed);
    table->displaced -= ((i ^ o->id) & table->mask) != 0;
    table->used -= !passed;
    atomic_store_explicit(&table->slots[i & table->mask], passed ? &tombstone : NULL,
                          memory_order_release);
}

struct gone_list {
    struct object *first, **tail;
};

/* Takes `o` out of the table and its parent; it joins the list. It has no children left. */
static void take_out(struct objects *t, struct object *o, struct gone_list *gone)
{
    slot_clear(atomic_load_explicit(&t->table, memory_order_relaxed), o);
    list_remove(&o->sibling);
    o->retired_at = 1; /* out; the true stamp comes with retire() */
    o->retired_next = NULL;
    *gone->tail = o;
    gone->tail = &o->retired_next;
    t->count--;
    t->n_retired++;
}

/* All below `top`, the deepest first. No recursion: depth is the guest's to choose. */
static void take_children(struct objects *t, struct object *top, struct gone_list *gone)
{
    struct object *o = top;

    for (;;) {
        while (!list_empty(&o->children)) {
            o = list_entry(o->children.next, struct object, sibling);
        }
        if (o == top) {
            return;
        }
        struct object *parent = o->parent;

        take_out(t, o, gone);
        o = parent;
    }
}

/* Nobody can find these any more; they wait until nobody can hold them. */
static void retire(struct objects *t, struct gone_list *gone, struct object **ret_dead,
                   struct object_table **ret_dead_tables)
{
    uint64_t epoch = atomic_load_explicit(&t->epoch, memory_order_relaxed);

    for (struct object *o = gone->first; o; o = o->retired_next) {
        o->retired_at = epoch;
    }
    if (gone->first) {
        *t->retired_tail = gone->first;
        t->retired_tail = gone->tail;
    }
    /* Pairs with the acquire load in objects_quiesce(): the slots are empty. */
    atomic_store_explicit(&t->epoch, epoch + 1, memory_order_release);
    reclaim_take(t, ret_dead, ret_dead_tables);
}

static bool remove_objects(struct objects *t, struct object *o, bool itself,
                           void (*gone_fn)(struct object *o, void *arg), void *arg)
{
    struct gone_list gone = { .first = NULL };
    struct object *dead;
    struct object_table *dead_tables;

    gone.tail = &gone.first;
    pthread_mutex_lock(&t->lock);
    if (o->retired_at != 0) {
        pthread_mutex_unlock(&t->lock);
        return false;
    }
    take_children(t, o, &gone);
    if (itself) {
        take_out(t, o, &gone);
    }
    pthread_mutex_unlock(&t->lock);

    for (struct object *p = gone.first; gone_fn && p; p = p->retired_next) {
        gone_fn(p, arg);
    }

    pthread_mutex_lock(&t->lock);
    retire(t, &gone, &dead, &dead_tables);
    pthread_mutex_unlock(&t->lock);
    free_retired(dead, dead_tables);
    return true;
}

bool objects_remove(struct objects *t, struct object *o, void (*gone)(struct object *o, void *arg),
                    void *arg)
{
    return remove_objects(t, o, true, gone, arg);
}

void objects_remove_children(struct objects *t, struct object *o,
                             void (*gone)(struct object *o, void *arg), void *arg)
{
    (void)remove_objects(t, o, false, gone, arg);
}
