/* The arithmetic of output bounds, for its tests. */
#ifndef CORDON_WORKER_CMD_BOUNDS_H
#define CORDON_WORKER_CMD_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

/* Do the results of `queries` (> 0) queries of so many values each fit in `size` bytes? Pure. */
bool query_results_fit(uint64_t size, uint32_t queries, uint32_t values, VkQueryResultFlags flags,
                       uint64_t stride);

#endif
