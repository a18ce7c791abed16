/* pNext chains of structures that we own: decoded ones (in the arena) and our own. */
#ifndef CORDON_WORKER_CHAIN_H
#define CORDON_WORKER_CHAIN_H

#include <vulkan/vulkan_core.h>

/* The first structure of this type behind `head`, or NULL. */
static inline void *chain_find(const void *head, VkStructureType type)
{
    VkBaseOutStructure *s = ((const VkBaseOutStructure *)head)->pNext;

    while (s && s->sType != type) {
        s = s->pNext;
    }
    return s;
}

/* Takes every structure of this type out. */
static inline void chain_drop(void *head, VkStructureType type)
{
    VkBaseOutStructure *s = head;

    while (s->pNext) {
        if (s->pNext->sType == type) {
            s->pNext = s->pNext->pNext;
        } else {
            s = s->pNext;
        }
    }
}

/* Puts `item` directly behind `head`. */
static inline void chain_push(void *head, void *item)
{
    ((VkBaseOutStructure *)item)->pNext = ((VkBaseOutStructure *)head)->pNext;
    ((VkBaseOutStructure *)head)->pNext = item;
}

#endif
