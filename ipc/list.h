/* Intrusive doubly linked list. A member says which list: struct list link; (registry::contexts) */
#ifndef CORDON_IPC_LIST_H
#define CORDON_IPC_LIST_H

#include <stdbool.h>

#include "ipc/base.h"

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}

/* Leaves the item in a list of its own, so a second removal is harmless. */
static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

#define list_entry(ptr, type, member) CONTAINER_OF(ptr, type, member)
#define list_for_each(pos, head) \
    for (struct list *pos = (head)->next; pos != (head); pos = pos->next)
/* The current item may be removed (and freed) in the body; no other may. */
#define list_for_each_safe(pos, head)                                             \
    for (struct list *pos = (head)->next, *pos##_next = pos->next; pos != (head); \
         pos = pos##_next, pos##_next = pos->next)

#endif
