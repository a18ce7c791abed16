#include "server/render/obituary.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ipc/worker_wire.h"
#include "policy/sandbox.h"
#include "server/render/command_names.h"
#include "tests/harness.h"

static struct worker_record record;

static const char *tell(const struct obituary *o)
{
    static char text[2048];

    obituary_text(o, &record, text, sizeof(text));
    return text;
}

static void signals_and_codes_have_names(void **state)
{
    (void)state;
    memset(&record, 0, sizeof(record));
    assert_string_equal(tell(&(struct obituary){ .code = CLD_KILLED, .status = SIGSEGV }),
                        "killed by SIGSEGV");
    assert_string_equal(tell(&(struct obituary){ .code = CLD_DUMPED, .status = SIGABRT }),
                        "killed by SIGABRT, core dumped");
    assert_non_null(
        strstr(tell(&(struct obituary){ .code = CLD_KILLED, .status = SIGKILL }), "out of memory"));
    assert_string_equal(
        tell(&(struct obituary){
            .code = CLD_KILLED, .status = SIGKILL, .killed_by_us = true, .why = "not ready" }),
        "killed by the server: not ready");
    assert_string_equal(
        tell(&(struct obituary){ .code = CLD_EXITED, .status = SANDBOX_EXIT_WARM_UP }),
        "exited with status 90 while loading the Vulkan driver");
    /* Once it serves, the number means something else. */
    assert_string_equal(tell(&(struct obituary){
                            .code = CLD_EXITED, .served = true, .status = SANDBOX_EXIT_WARM_UP }),
                        "exited with status 90");
    assert_string_equal(tell(&(struct obituary){ .code = CLD_KILLED, .status = 99 }),
                        "killed by signal 99");
}

static void the_last_commands_are_told_newest_first(void **state)
{
    struct recorder_lane *ring = &record.lanes[1];
    struct obituary o = {
        .code = CLD_KILLED, .status = SIGSEGV, .served = true, .command_name = command_name
    };

    (void)state;
    memset(&record, 0, sizeof(record));
    ring->in_use = 1;
    ring->what = 3;
    ring->commands = 10;
    for (uint16_t i = 0; i < 10; i++) {
        ring->last[i % WORKER_RECORD_LAST] = i;
    }
    assert_string_equal(tell(&o),
                        "killed by SIGSEGV; after 10 commands; last on ring 3: "
                        "vkGetInstanceProcAddr, vkGetPhysicalDeviceMemoryProperties, "
                        "vkGetPhysicalDeviceQueueFamilyProperties, vkGetPhysicalDeviceProperties, "
                        "vkGetPhysicalDeviceImageFormatProperties, "
                        "vkGetPhysicalDeviceFormatProperties, vkGetPhysicalDeviceFeatures, "
                        "vkEnumeratePhysicalDevices");
}

static void what_a_worker_wrote_cannot_hurt(void **state)
{
    struct obituary o = {
        .code = CLD_KILLED, .status = SIGSEGV, .served = true, .command_name = command_name
    };
    char small[8];

    (void)state;
    memset(&record, 0xff, sizeof(record));
    assert_non_null(strstr(tell(&o), "its own words: ????"));
    assert_null(strchr(tell(&o), '\n'));
    memset(record.reason, 'x', sizeof(record.reason));
    record.reason[0] = '\n';
    assert_non_null(strstr(tell(&o), "its own words: ?xxx"));
    obituary_text(&o, &record, small, sizeof(small));
    assert_int_equal(strlen(small), sizeof(small) - 1);
    obituary_text(&o, NULL, small, sizeof(small));
}

static void peace_is_an_exit_0_or_our_own_kill_without_a_reason(void **state)
{
    (void)state;
    assert_true(obituary_is_peaceful(&(struct obituary){ .code = CLD_EXITED }));
    assert_true(obituary_is_peaceful(
        &(struct obituary){ .code = CLD_KILLED, .status = SIGKILL, .killed_by_us = true }));
    assert_false(obituary_is_peaceful(&(struct obituary){
        .code = CLD_KILLED, .status = SIGKILL, .killed_by_us = true, .why = "hung" }));
    assert_false(obituary_is_peaceful(&(struct obituary){ .code = CLD_KILLED, .status = SIGKILL }));
    assert_false(obituary_is_peaceful(&(struct obituary){ .code = CLD_EXITED, .status = 1 }));
}

static void every_command_of_the_list_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(command_name(0), "vkCreateInstance");
    assert_string_equal(command_name(188), "vkCreateRingMESA");
    assert_null(command_name(100000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(signals_and_codes_have_names),
        HARNESS_TEST(the_last_commands_are_told_newest_first),
        HARNESS_TEST(what_a_worker_wrote_cannot_hurt),
        HARNESS_TEST(peace_is_an_exit_0_or_our_own_kill_without_a_reason),
        HARNESS_TEST(every_command_of_the_list_has_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
