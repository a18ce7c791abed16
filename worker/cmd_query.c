/* Query results: the driver writes as much as it is asked for, wherever the blob ends. */
#include <time.h>

#include "ipc/checked.h"
#include "wire/commands.h"
#include "worker/cmd_bounds.h"
#include "worker/context.h"
#include "worker/decoder.h"
#include "worker/device.h"

/* Between two looks at a query that is not there yet. */
#define FIRST_NAP_NS 20000u
#define LONGEST_NAP_NS 2000000u

/* What object::data of a query pool holds: how many queries, and values in each result. */
struct pool_shape {
    uint32_t queries;
    uint32_t values;
};

/* Values that one query of this type writes, without availability or status. 0: not known. */
static uint32_t values_of(const VkQueryPoolCreateInfo *info)
{
    switch ((int)info->queryType) {
    case VK_QUERY_TYPE_OCCLUSION:
    case VK_QUERY_TYPE_TIMESTAMP:
    case VK_QUERY_TYPE_PRIMITIVES_GENERATED_EXT:
    case VK_QUERY_TYPE_MESH_PRIMITIVES_GENERATED_EXT:
    case VK_QUERY_TYPE_ACCELERATION_STRUCTURE_COMPACTED_SIZE_KHR:
    case VK_QUERY_TYPE_ACCELERATION_STRUCTURE_SERIALIZATION_SIZE_KHR:
    case VK_QUERY_TYPE_ACCELERATION_STRUCTURE_SERIALIZATION_BOTTOM_LEVEL_POINTERS_KHR:
    case VK_QUERY_TYPE_ACCELERATION_STRUCTURE_SIZE_KHR:
        return 1;
    case VK_QUERY_TYPE_TRANSFORM_FEEDBACK_STREAM_EXT:
        return 2;
    case VK_QUERY_TYPE_PIPELINE_STATISTICS:
        return (uint32_t)__builtin_popcount(info->pipelineStatistics);
    default:
        return 0;
    }
}

bool prepare_vkCreateQueryPool(struct decoder *d, struct wire_vkCreateQueryPool *c)
{
    if (values_of(c->pCreateInfo) == 0) {
        decoder_fail(d, "vkCreateQueryPool: query type %d with statistics 0x%x is not known",
                     (int)c->pCreateInfo->queryType, c->pCreateInfo->pipelineStatistics);
        return false;
    }
    return true;
}

void created_vkCreateQueryPool(struct decoder *d, struct wire_vkCreateQueryPool *c,
                               struct object *o)
{
    const struct pool_shape shape = {
        .queries = c->pCreateInfo->queryCount,
        .values = values_of(c->pCreateInfo),
    };

    (void)d;
    _Static_assert(sizeof(shape) == sizeof(o->data), "fits the pointer");
    memcpy(&o->data, &shape, sizeof(shape));
}

bool query_results_fit(uint64_t size, uint32_t queries, uint32_t values, VkQueryResultFlags flags,
                       uint64_t stride)
{
    uint64_t result = values, last, need;

    if (flags & (VK_QUERY_RESULT_WITH_AVAILABILITY_BIT | VK_QUERY_RESULT_WITH_STATUS_BIT_KHR)) {
        result++;
    }
    result *= flags & VK_QUERY_RESULT_64_BIT ? 8 : 4;
    return checked_mul(queries - 1, stride, &last) && checked_add(last, result, &need) &&
           need <= size;
}

/* vkGetQueryPoolResults with WAIT, in naps: a query that never ends must not hold the ring. */
static VkResult wait_results(struct decoder *d, const struct wire_vkGetQueryPoolResults *c)
{
    PFN_vkGetQueryPoolResults get = c->device_obj->vk->GetQueryPoolResults;
    const VkQueryResultFlags flags =
        c->flags & ~(VkQueryResultFlags)(VK_QUERY_RESULT_WAIT_BIT | VK_QUERY_RESULT_PARTIAL_BIT);
    struct timespec nap = { .tv_nsec = FIRST_NAP_NS };
    VkResult result;

    result = get(c->device, c->queryPool, c->firstQuery, c->queryCount, c->dataSize, c->pData,
                 c->stride, flags);
    if (result != VK_NOT_READY) {
        return result;
    }
    objects_sleep(d->objects, &d->reader);
    while (result == VK_NOT_READY && !decoder_stopping(d)) {
        nanosleep(&nap, NULL);
        nap.tv_nsec = MIN(nap.tv_nsec * 2, LONGEST_NAP_NS);
        result = get(c->device, c->queryPool, c->firstQuery, c->queryCount, c->dataSize, c->pData,
                     c->stride, flags);
    }
    objects_wake(d->objects, &d->reader);
    d->device = NULL;
    return result;
}

void cmd_vkGetQueryPoolResults(struct decoder *d, struct wire_vkGetQueryPoolResults *c)
{
    struct pool_shape shape;

    if (!c->queryPool_obj) {
        decoder_fail(d, "vkGetQueryPoolResults: no pool");
        return;
    }
    memcpy(&shape, &c->queryPool_obj->data, sizeof(shape));
    if (c->queryCount == 0) {
        c->ret = VK_SUCCESS;
        return;
    }
    if (!range_in(c->firstQuery, c->queryCount, shape.queries) ||
        !query_results_fit(c->dataSize, c->queryCount, shape.values, c->flags, c->stride)) {
        decoder_fail(d,
                     "vkGetQueryPoolResults: queries %u + %u of %u, stride %llu, do not fit in %zu "
                     "bytes",
                     c->firstQuery, c->queryCount, shape.queries, (unsigned long long)c->stride,
                     c->dataSize);
        return;
    }
    if (c->flags & VK_QUERY_RESULT_WAIT_BIT) {
        c->ret = wait_results(d, c);
        return;
    }
    c->ret = c->device_obj->vk->GetQueryPoolResults(c->device, c->queryPool, c->firstQuery,
                                                    c->queryCount, c->dataSize, c->pData, c->stride,
                                                    c->flags);
}
