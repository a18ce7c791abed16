#include "policy/program.h"

#include <string.h>

#include "ipc/base.h"
#include "policy/profile.h"

extern const struct policy_program policy_worker_lavapipe, policy_worker_radv,
    policy_worker_anv_i915, policy_worker_anv_xe, policy_worker_nvk, policy_worker_turnip,
    policy_worker_panvk, policy_worker_nvidia;

static const char *const names[] = {
    "lavapipe", "radv", "anv-i915", "anv-xe", "nvk", "turnip", "panvk", "nvidia", NULL,
};

static const struct policy_program *const programs[] = {
    &policy_worker_lavapipe, &policy_worker_radv,   &policy_worker_anv_i915, &policy_worker_anv_xe,
    &policy_worker_nvk,      &policy_worker_turnip, &policy_worker_panvk,    &policy_worker_nvidia,
};
_Static_assert(ARRAY_SIZE(names) == ARRAY_SIZE(programs) + 1, "one program per name");

const struct policy_program *policy_worker(const char *driver)
{
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        if (strcmp(names[i], driver) == 0) {
            return policy_profile.instead ? policy_profile.instead : programs[i];
        }
    }
    return NULL;
}

const char *const *policy_worker_names(void)
{
    return names;
}
