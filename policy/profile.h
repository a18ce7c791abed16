/* What a build as such changes in the sandbox: nothing, unless it is a sanitizer build. */
#ifndef CORDON_POLICY_PROFILE_H
#define CORDON_POLICY_PROFILE_H

#include "policy/program.h"

struct policy_profile {
    const char *note; /* to be logged as a warning per worker; NULL for the real thing */
    const struct policy_program *instead; /* of every driver's overlay */
    const char *const *read;              /* more to see in the jail, NULL at the end */
    const char *const *env;               /* more in a worker's environment, NULL at the end */
    bool unlimited_data;
};

extern const struct policy_profile policy_profile;

#endif
