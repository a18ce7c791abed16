#include "worker/submit_filter.h"

#include "worker/arena.h"
#include "worker/chain.h"

/* One array of a batch that has an element per wait. */
struct parallel {
    const void **array;
    uint32_t count; /* of this array: an optional one may be longer or shorter than the waits */
    uint32_t *ret_count;
    size_t size;
};

/* Leaves the elements of `p` whose index is not in `drop`. */
static bool shrink(struct arena *a, const struct parallel *p, const bool *drop, uint32_t n_waits)
{
    uint8_t *copy;
    uint32_t kept = 0;

    if (!*p->array || p->count == 0) {
        return true;
    }
    copy = arena_array(a, p->count, p->size);
    if (!copy) {
        return false;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (i < n_waits && drop[i]) {
            continue;
        }
        memcpy(copy + kept++ * p->size, (const uint8_t *)*p->array + i * p->size, p->size);
    }
    *p->array = copy;
    *p->ret_count = kept;
    return true;
}

/* The waits of one batch that are to go, or NULL in *ret_drop if none is. */
static bool choose(struct arena *a, const VkSemaphore *waits, uint32_t count, submit_take take,
                   void *arg, bool **ret_drop)
{
    bool *drop = NULL;

    for (uint32_t i = 0; waits && i < count; i++) {
        if (!take(arg, waits[i])) {
            continue;
        }
        if (!drop) {
            drop = arena_array(a, count, sizeof(*drop));
            if (!drop) {
                return false;
            }
        }
        drop[i] = true;
    }
    *ret_drop = drop;
    return true;
}

static bool shrink_timeline(struct arena *a, void *batch, const bool *drop, uint32_t n_waits)
{
    VkTimelineSemaphoreSubmitInfo *t =
        chain_find(batch, VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO);
    const void *values;
    struct parallel p;

    if (!t) {
        return true;
    }
    values = t->pWaitSemaphoreValues;
    p = (struct parallel){ &values, t->waitSemaphoreValueCount, &t->waitSemaphoreValueCount,
                           sizeof(*t->pWaitSemaphoreValues) };
    if (!shrink(a, &p, drop, n_waits)) {
        return false;
    }
    t->pWaitSemaphoreValues = values;
    return true;
}

static bool shrink_group(struct arena *a, void *batch, const bool *drop, uint32_t n_waits)
{
    VkDeviceGroupSubmitInfo *g = chain_find(batch, VK_STRUCTURE_TYPE_DEVICE_GROUP_SUBMIT_INFO);
    const void *indices;
    struct parallel p;

    if (!g) {
        return true;
    }
    indices = g->pWaitSemaphoreDeviceIndices;
    p = (struct parallel){ &indices, g->waitSemaphoreCount, &g->waitSemaphoreCount,
                           sizeof(*g->pWaitSemaphoreDeviceIndices) };
    if (!shrink(a, &p, drop, n_waits)) {
        return false;
    }
    g->pWaitSemaphoreDeviceIndices = indices;
    return true;
}

bool submit_filter(struct arena *a, VkSubmitInfo *submits, uint32_t count, submit_take take,
                   void *arg)
{
    for (uint32_t i = 0; i < count; i++) {
        VkSubmitInfo *s = &submits[i];
        const uint32_t n = s->waitSemaphoreCount;
        const void *waits = s->pWaitSemaphores, *stages = s->pWaitDstStageMask;
        uint32_t kept = n;
        bool *drop;

        if (!choose(a, s->pWaitSemaphores, n, take, arg, &drop)) {
            return false;
        }
        if (!drop) {
            continue;
        }
        if (!shrink(a, &(struct parallel){ &stages, n, &kept, sizeof(VkPipelineStageFlags) }, drop,
                    n) ||
            !shrink(a, &(struct parallel){ &waits, n, &kept, sizeof(VkSemaphore) }, drop, n) ||
            !shrink_timeline(a, s, drop, n) || !shrink_group(a, s, drop, n)) {
            return false;
        }
        s->pWaitSemaphores = waits;
        s->pWaitDstStageMask = stages;
        s->waitSemaphoreCount = kept;
    }
    return true;
}

bool submit_filter2(struct arena *a, VkSubmitInfo2 *submits, uint32_t count, submit_take take,
                    void *arg)
{
    for (uint32_t i = 0; i < count; i++) {
        VkSubmitInfo2 *s = &submits[i];
        VkSemaphoreSubmitInfo *copy;
        uint32_t kept = 0;

        if (!s->pWaitSemaphoreInfos || s->waitSemaphoreInfoCount == 0) {
            continue;
        }
        copy = arena_array(a, s->waitSemaphoreInfoCount, sizeof(*copy));
        if (!copy) {
            return false;
        }
        for (uint32_t j = 0; j < s->waitSemaphoreInfoCount; j++) {
            if (!take(arg, s->pWaitSemaphoreInfos[j].semaphore)) {
                copy[kept++] = s->pWaitSemaphoreInfos[j];
            }
        }
        s->pWaitSemaphoreInfos = copy;
        s->waitSemaphoreInfoCount = kept;
    }
    return true;
}

bool submit_filter_sparse(struct arena *a, VkBindSparseInfo *binds, uint32_t count,
                          submit_take take, void *arg)
{
    for (uint32_t i = 0; i < count; i++) {
        VkBindSparseInfo *s = &binds[i];
        const uint32_t n = s->waitSemaphoreCount;
        const void *waits = s->pWaitSemaphores;
        uint32_t kept = n;
        bool *drop;

        if (!choose(a, s->pWaitSemaphores, n, take, arg, &drop)) {
            return false;
        }
        if (!drop) {
            continue;
        }
        if (!shrink(a, &(struct parallel){ &waits, n, &kept, sizeof(VkSemaphore) }, drop, n) ||
            !shrink_timeline(a, s, drop, n)) {
            return false;
        }
        s->pWaitSemaphores = waits;
        s->waitSemaphoreCount = kept;
    }
    return true;
}
