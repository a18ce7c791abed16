#include "worker/semaphores.h"

#include <errno.h>
#include <stdlib.h>

#include "ipc/cleanup.h"

struct semaphore_entry {
    VkSemaphore semaphore;
    bool marked, tracked;
    struct queue *signaller;
    struct semaphore_entry *next;
};

void semaphores_init(struct semaphores *s)
{
    *s = (struct semaphores){ .marked = 0 };
    pthread_mutex_init(&s->lock, NULL);
}

void semaphores_fini(struct semaphores *s)
{
    for (uint32_t i = 0; i < SEMAPHORE_BUCKETS; i++) {
        while (s->buckets[i]) {
            struct semaphore_entry *e = s->buckets[i];

            s->buckets[i] = e->next;
            free(e);
        }
    }
    pthread_mutex_destroy(&s->lock);
}

/* The pointer to the entry, or to the end of its bucket. */
static struct semaphore_entry **find(struct semaphores *s, VkSemaphore semaphore)
{
    /* Host handles are often pointers: the low bits say nothing. */
    uint64_t hash = (uint64_t)semaphore * 0x9e3779b97f4a7c15u;
    struct semaphore_entry **e = &s->buckets[(hash >> 32) % SEMAPHORE_BUCKETS];

    while (*e && (*e)->semaphore != semaphore) {
        e = &(*e)->next;
    }
    return e;
}

static struct semaphore_entry *find_or_add(struct semaphores *s, VkSemaphore semaphore)
{
    struct semaphore_entry **e = find(s, semaphore);

    if (!*e) {
        *e = calloc(1, sizeof(**e));
        if (*e) {
            (*e)->semaphore = semaphore;
        }
    }
    return *e;
}

static void set(bool *flag, _Atomic uint32_t *count, bool value)
{
    if (*flag != value) {
        *flag = value;
        atomic_fetch_add_explicit(count, value ? 1u : -1u, memory_order_relaxed);
    }
}

static void drop_if_unused(struct semaphore_entry **e)
{
    struct semaphore_entry *dead = *e;

    if (!dead->marked && !dead->tracked) {
        *e = dead->next;
        free(dead);
    }
}

int semaphores_track(struct semaphores *s, VkSemaphore semaphore)
{
    struct semaphore_entry *e;
    LOCK_SCOPE(&s->lock);

    e = find_or_add(s, semaphore);
    if (!e) {
        return -ENOMEM;
    }
    set(&e->tracked, &s->tracked, true);
    return 0;
}

int semaphores_mark(struct semaphores *s, VkSemaphore semaphore)
{
    struct semaphore_entry *e;
    LOCK_SCOPE(&s->lock);

    e = find_or_add(s, semaphore);
    if (!e) {
        return -ENOMEM;
    }
    set(&e->marked, &s->marked, true);
    return 0;
}

bool semaphores_unmark(struct semaphores *s, VkSemaphore semaphore)
{
    struct semaphore_entry **e;
    LOCK_SCOPE(&s->lock);

    e = find(s, semaphore);
    if (!*e || !(*e)->marked) {
        return false;
    }
    set(&(*e)->marked, &s->marked, false);
    drop_if_unused(e);
    return true;
}

void semaphores_forget(struct semaphores *s, VkSemaphore semaphore)
{
    struct semaphore_entry **e;

    if (!semaphores_any_marked(s) && !semaphores_any_tracked(s)) {
        return;
    }
    LOCK_SCOPE(&s->lock);
    e = find(s, semaphore);
    if (*e) {
        set(&(*e)->marked, &s->marked, false);
        set(&(*e)->tracked, &s->tracked, false);
        drop_if_unused(e);
    }
}

void semaphores_signalled(struct semaphores *s, VkSemaphore semaphore, struct queue *q)
{
    struct semaphore_entry *e;
    LOCK_SCOPE(&s->lock);

    e = *find(s, semaphore);
    if (e) {
        e->signaller = q;
    }
}

struct queue *semaphores_signaller(struct semaphores *s, VkSemaphore semaphore)
{
    const struct semaphore_entry *e;
    LOCK_SCOPE(&s->lock);

    e = *find(s, semaphore);
    return e ? e->signaller : NULL;
}
