/*
 * Which host driver the workers are going to use, as far as it can be known without Vulkan: it
 * decides which policy confines them and which device nodes they are given. A worker whose driver
 * turns out to be another one is not let near a guest.
 */
#ifndef CORDON_SERVER_RENDER_DRIVER_H
#define CORDON_SERVER_RENDER_DRIVER_H

#include "ipc/base.h"

struct policy_program;

#define DRIVER_MAX_PATHS 8

struct driver_choice {
    const char *name; /* of the policy: "lavapipe", "radv", ... */
    const struct policy_program *program;
    const char *why; /* for the log */
    char node[64];   /* the render node, "" if none */
    /* The driver's manifests in the loader's usual folders, separated by colons; "" if it has none
     * there, or if VK_DRIVER_FILES or the like names manifests. */
    char manifests[512];
    /* NULL at the end; for sandbox_config. */
    const char *devices[DRIVER_MAX_PATHS];
    const char *read[DRIVER_MAX_PATHS];
};

/* wanted: "auto" or a policy's name. device: a render node, or NULL for the first. manifest_list: the
 * value of VK_DRIVER_FILES, or NULL. 0, or -EINVAL with one line in `why`. */
MUST_USE int driver_choose(const char *wanted, const char *device, const char *manifest_list,
                           struct driver_choice *ret, char *why, size_t why_size);

/* Pure: a policy's name, or NULL. */
const char *driver_of_manifest(const char *manifest);
const char *driver_of_kernel(const char *kernel_driver);

#endif
