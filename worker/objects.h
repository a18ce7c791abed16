/*
 * One table of objects per context: the guest's 64-bit id -> a typed host object, parents tracked.
 *
 * A look-up takes no lock and may run on any decoder thread at any time. Insert and remove take
 * the table's lock. A removed object's memory (and a replaced table) is freed only when every
 * registered reader has passed a point between two commands since (quiescent-state reclamation):
 * a guest that destroys on one ring what it uses on another can confuse its own driver only.
 */
#ifndef CORDON_WORKER_OBJECTS_H
#define CORDON_WORKER_OBJECTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/list.h"

struct wire_procs; /* generated (wire/procs.h): the host's entry points of one instance or device */

/* The object types are VkObjectType's numbers (all of ours are below 2^31), and one of our own: an
 * id whose creation failed without the guest hearing of it. */
#define OBJECT_TYPE_NEVER_MADE 0u /* VK_OBJECT_TYPE_UNKNOWN */

struct object {
    uint64_t id;           /* the guest's; const */
    uint64_t handle;       /* the host's; const after insert unless a handler says otherwise */
    uint32_t type;         /* VkObjectType; const */
    uint32_t queue_family; /* command pools and queues only: for handlers */
    struct object *device; /* the VkDevice it belongs to; itself for a device; NULL above */
    struct object *parent; /* what ends it: pool, device, instance; NULL for the instance */
    const struct wire_procs *vk; /* the host's entry points for calls on it */
    void *data;                  /* private to the type's handlers: struct device, memory, queue; a
                                  * command pool's VkAllocationCallbacks, or NULL */
    void (*data_free)(void *data); /* NULL, or ends `data` when no thread can hold the object */
    struct list children;          /* under the table's lock */
    struct list sibling;           /* object::children of parent, under the table's lock */
    struct object *retired_next;   /* reclamation list, under the table's lock */
    uint64_t retired_at;           /* 0 while in the table or not yet in it */
};

/* A thread that may hold object pointers. One per decoder; lives in it. */
struct objects_reader {
    _Atomic uint64_t seen; /* newest epoch this thread has passed; 0 = holds nothing (asleep) */
    struct list link;      /* objects::readers, under the table's lock */
};

struct object_slot;  /* private */
struct object_table; /* private: the slots, replaced when they fill up */

struct objects {
    _Atomic(struct object_table *) table;
    _Atomic uint64_t epoch;
    pthread_mutex_t lock;
    struct list readers;
    struct object *retired; /* oldest first */
    struct object **retired_tail;
    struct object_table *retired_tables;
    uint64_t count, max; /* live objects; most allowed (limits.h) */
    uint64_t n_retired;  /* out of sight, not yet freed; at most `max` too */
};

int objects_init(struct objects *t, uint64_t max);
/* Frees every object without touching the host's; no reader may be left. */
void objects_fini(struct objects *t);

/* Any thread, for the reader's thread: it starts awake. */
void objects_reader_add(struct objects *t, struct objects_reader *r);
void objects_reader_remove(struct objects *t, struct objects_reader *r);

/* Between two commands: this thread holds no object pointer now. One load and one store. */
static inline void objects_quiesce(struct objects *t, struct objects_reader *r)
{
    /* Pairs with the acquire load of `seen` in the reclaimer: all uses happen before. */
    atomic_store_explicit(&r->seen, atomic_load_explicit(&t->epoch, memory_order_acquire),
                          memory_order_release);
}
/* Before a long sleep (waiting for ring work) and after it. Asleep, a thread may not look up. */
void objects_sleep(struct objects *t, struct objects_reader *r);
void objects_wake(struct objects *t, struct objects_reader *r);

/* The object with this id and type, or NULL. Valid until the caller's next quiesce. */
struct object *objects_find(struct objects *t, uint64_t id, uint32_t type);
/* Any type; for messages and duplicate checks. */
struct object *objects_find_any(struct objects *t, uint64_t id);

/* A new object, not yet visible. `parent` NULL only for the instance. `device` and `vk` are
 * taken from the parent (an object made directly below a device gets it as both). Returns NULL
 * when out of memory. */
struct object *object_new(uint64_t id, uint32_t type, uint64_t handle, struct object *parent);
/* Frees an object that was never inserted. */
void object_drop(struct object *o);

/* Makes it visible. 0; -EEXIST: the id is 0 or in use; -ENOSPC: limit; -ENOMEM; -ENOENT: the
 * parent has left the table meanwhile. On failure the caller still owns it. */
int objects_insert(struct objects *t, struct object *o);
/* True if the id may be given to a new object now: not 0 and unused. Advisory (insert decides). */
bool objects_id_free(struct objects *t, uint64_t id);

/* Takes it (and all below it) out of sight, calling `gone` for each, children first, without the
 * lock; memory is reclaimed later. False if it had left the table already: another thread won. */
bool objects_remove(struct objects *t, struct object *o, void (*gone)(struct object *o, void *arg),
                    void *arg);
/* Takes all children of `o` out of sight, as above, and leaves `o`. */
void objects_remove_children(struct objects *t, struct object *o,
                             void (*gone)(struct object *o, void *arg), void *arg);

#endif
