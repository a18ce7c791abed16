/*
 * The host's instance behind a guest's: made for it, or the one that warm-up left ready.
 *
 * A ready one was made before the guest was known, so its driver was never told the name of the
 * guest's application. It is given out only where the driver is known not to care (vulkan.h:
 * any_application), with every version that we speak; what the guest may use of it is still
 * limited by the version that it asked for.
 */
#ifndef CORDON_WORKER_INSTANCE_H
#define CORDON_WORKER_INSTANCE_H

#include <vulkan/vulkan_core.h>

struct instance;
struct vulkan;

/* Reads all about the warm instance, so that a guest's vkCreateInstance asks the driver nothing.
 * Where that cannot be, each guest instance is made when it is asked for. */
void instance_prepare(struct vulkan *vulkan);
void instance_unprepare(struct vulkan *vulkan);

/* Any thread. VK_SUCCESS or the host's error. */
VkResult instance_create(struct vulkan *vulkan, const VkApplicationInfo *app,
                         struct instance **ret);
/* The end of its host side, which may be given out again; `inst` itself is for instance_free. No
 * device of it is left. */
void instance_end(struct vulkan *vulkan, struct instance *inst);

#endif
