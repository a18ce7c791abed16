#include "policy/profile.h"

static const char *const nothing[] = { NULL };

const struct policy_profile policy_profile = { .read = nothing, .env = nothing };
