#include "policy/profile.h"

extern const struct policy_program policy_worker_sanitizer;

/* The runtime reads its own mappings. */
static const char *const files[] = { "/proc", NULL };

/* The leak check attaches to the process from outside its threads, which no layer allows. */
static const char *const env[] = { "ASAN_OPTIONS=detect_leaks=0:abort_on_error=0",
                                   "UBSAN_OPTIONS=print_stacktrace=1", NULL };

const struct policy_profile policy_profile = {
    .note = "sanitizer build: workers run under worker.sanitizer.policy, which is not a sandbox",
    .instead = &policy_worker_sanitizer,
    .read = files,
    .env = env,
    .unlimited_data = true, /* shadow memory */
};
