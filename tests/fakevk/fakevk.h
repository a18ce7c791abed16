/*
 * A Vulkan driver and loader in one that does nothing and agrees to everything: every entry point
 * exists, calls succeed, creations give handles that are never 0 and never the same twice, lists
 * hold one of everything. For tests and fuzzers of what lies in front of a driver.
 */
#ifndef CORDON_TESTS_FAKEVK_H
#define CORDON_TESTS_FAKEVK_H

#include <vulkan/vulkan_core.h>

#include "worker/vulkan.h"

PFN_vkVoidFunction VKAPI_PTR fakevk_get_instance_proc_addr(VkInstance instance, const char *name);

/* As vulkan_open leaves it, with this driver. */
void fakevk_open(struct vulkan *v);

#endif
