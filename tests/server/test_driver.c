#include "server/render/driver.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

static void manifests_and_kernel_drivers_name_a_policy(void **state)
{
    (void)state;
    assert_string_equal(driver_of_manifest("/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"),
                        "lavapipe");
    assert_string_equal(driver_of_manifest("radeon_icd.json"), "radv");
    assert_null(driver_of_manifest("/opt/mine.json"));
    assert_string_equal(driver_of_kernel("xe"), "anv-xe");
    assert_null(driver_of_kernel("virtio-pci"));
}

static void the_choice_can_be_made_for_us(void **state)
{
    struct driver_choice c;
    char why[256];

    (void)state;
    assert_int_equal(driver_choose("auto", NULL, "/x/lvp_icd.json", &c, why, sizeof(why)), 0);
    assert_string_equal(c.name, "lavapipe");
    assert_string_equal(c.manifests, "");
    assert_int_equal(driver_choose("radv", "/dev/dri/renderD130", NULL, &c, why, sizeof(why)), 0);
    assert_string_equal(c.name, "radv");
    assert_string_equal(c.devices[0], "/dev/dri/renderD130");
    assert_string_equal(c.read[0], "/sys/dev/char");
    assert_int_equal(driver_choose("mine", NULL, NULL, &c, why, sizeof(why)), -EINVAL);
    assert_int_equal(driver_choose("radv", "/dev/kvm", NULL, &c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "/dev/kvm is no render node"));
    /* Two kinds in the list: the host decides. */
    assert_int_equal(
        driver_choose("auto", NULL, "/x/lvp_icd.json:/x/radeon_icd.json", &c, why, sizeof(why)), 0);
    assert_string_not_equal(c.why, "named by VK_DRIVER_FILES");
}

static void manifests_of_the_usual_folders_come_along(void **state)
{
    struct driver_choice c;
    char why[256];

    (void)state;
    if (access("/usr/share/vulkan/icd.d/lvp_icd.json", F_OK) < 0) {
        skip();
    }
    assert_int_equal(driver_choose("lavapipe", NULL, NULL, &c, why, sizeof(why)), 0);
    assert_non_null(strstr(c.manifests, "/usr/share/vulkan/icd.d/lvp_icd.json"));
    assert_null(strstr(c.manifests, "radeon"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_TEST(manifests_and_kernel_drivers_name_a_policy),
        HARNESS_TEST(the_choice_can_be_made_for_us),
        HARNESS_TEST(manifests_of_the_usual_folders_come_along),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
