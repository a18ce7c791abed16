/* What output blobs must hold, what a device is asked for, and the map of host handles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "worker/cmd_bounds.h"
#include "worker/device.h"
#include "worker/handle_map.h"
#include "worker/image.h"

static void query_results_fit_or_not(void **state)
{
    const VkQueryResultFlags wide = VK_QUERY_RESULT_64_BIT,
                             told = VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WITH_AVAILABILITY_BIT;

    (void)state;
    assert_true(query_results_fit(4, 1, 1, 0, 0));
    assert_false(query_results_fit(3, 1, 1, 0, 0));
    assert_true(query_results_fit(8, 1, 1, wide, 1000)); /* one: the stride says nothing */
    assert_true(query_results_fit(32, 2, 1, told, 16));
    assert_false(query_results_fit(31, 2, 1, told, 16));
    assert_true(query_results_fit(11 * 8, 1, 11, wide, 0));
    assert_false(query_results_fit(UINT64_MAX, 3, 1, wide, UINT64_MAX / 2 + 1));
}

static int region_size(const struct image *image, struct image_region r, uint64_t *ret)
{
    if (r.subresource.aspectMask == 0) {
        r.subresource.aspectMask = VK_IMAGE_ASPECT_COLOR_BIT;
    }
    if (r.subresource.layerCount == 0) {
        r.subresource.layerCount = 1;
    }
    return image_region_size(image, &r, ret);
}

static void regions_have_their_size(void **state)
{
    const struct image rgba = { .format = VK_FORMAT_R8G8B8A8_UNORM,
                                .extent = { 64, 32, 1 },
                                .mip_levels = 3,
                                .array_layers = 4 };
    const struct image bc1 = { .format = VK_FORMAT_BC1_RGB_UNORM_BLOCK,
                               .extent = { 10, 10, 1 },
                               .mip_levels = 1,
                               .array_layers = 1 };
    const struct image ycbcr = { .format = VK_FORMAT_G8_B8R8_2PLANE_420_UNORM,
                                 .extent = { 16, 16, 1 },
                                 .mip_levels = 1,
                                 .array_layers = 1 };
    const struct image depth = { .format = VK_FORMAT_D24_UNORM_S8_UINT,
                                 .extent = { 8, 8, 1 },
                                 .mip_levels = 1,
                                 .array_layers = 1 };
    uint64_t size;

    (void)state;
    assert_int_equal(region_size(&rgba, (struct image_region){ .extent = { 64, 32, 1 } }, &size),
                     0);
    assert_int_equal(size, 64 * 32 * 4);
    assert_int_equal(region_size(&rgba,
                                 (struct image_region){ .row_length = 100,
                                                        .image_height = 50,
                                                        .subresource = { .layerCount = 2 },
                                                        .extent = { 64, 32, 1 } },
                                 &size),
                     0);
    assert_int_equal(size, (100 * 50 + 100 * 31 + 64) * 4);
    assert_int_equal(region_size(&bc1, (struct image_region){ .extent = { 10, 10, 1 } }, &size), 0);
    assert_int_equal(size, 3 * 3 * 8);
    assert_int_equal(region_size(&ycbcr,
                                 (struct image_region){
                                     .subresource = { .aspectMask = VK_IMAGE_ASPECT_PLANE_1_BIT },
                                     .extent = { 8, 8, 1 } },
                                 &size),
                     0);
    assert_int_equal(size, 8 * 8 * 2);
    assert_int_equal(region_size(&depth,
                                 (struct image_region){
                                     .subresource = { .aspectMask = VK_IMAGE_ASPECT_STENCIL_BIT },
                                     .extent = { 8, 8, 1 } },
                                 &size),
                     0);
    assert_int_equal(size, 64);
}

static void regions_outside_are_refused(void **state)
{
    const struct image image = {
        .format = VK_FORMAT_R8_UNORM, .extent = { 64, 32, 1 }, .mip_levels = 3, .array_layers = 4
    };
    const struct image strange = {
        .format = (VkFormat)12345, .extent = { 1, 1, 1 }, .mip_levels = 1, .array_layers = 1
    };
    const struct image_region bad[] = {
        { .extent = { 65, 32, 1 } },
        { .extent = { 64, 32, 2 } },
        { .extent = { 0, 32, 1 } },
        { .offset = { -1, 0, 0 }, .extent = { 1, 1, 1 } },
        { .offset = { 1, 0, 0 }, .extent = { 64, 32, 1 } },
        { .extent = { 64, 32, 1 }, .subresource = { .mipLevel = 1 } },
        { .extent = { 1, 1, 1 }, .subresource = { .mipLevel = 3 } },
        { .extent = { 1, 1, 1 }, .subresource = { .mipLevel = 0xffffffff } },
        { .extent = { 1, 1, 1 }, .subresource = { .baseArrayLayer = 4 } },
        { .extent = { 1, 1, 1 }, .subresource = { .baseArrayLayer = 3, .layerCount = 2 } },
        { .extent = { 1, 1, 1 }, .subresource = { .aspectMask = VK_IMAGE_ASPECT_PLANE_2_BIT } },
        { .extent = { 1, 1, 1 }, .subresource = { .aspectMask = 3 } },
        { .extent = { 64, 32, 1 }, .row_length = 63 },
    };
    uint64_t size;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(region_size(&image, bad[i], &size), -EINVAL);
    }
    assert_int_equal(region_size(&strange, (struct image_region){ .extent = { 1, 1, 1 } }, &size),
                     -ENOTSUP);
    assert_int_equal(region_size(&image,
                                 (struct image_region){
                                     .extent = { 64, 32, 1 },
                                     .row_length = 0xffffffff,
                                     .image_height = 0xffffffff,
                                     .subresource = { .layerCount = VK_REMAINING_ARRAY_LAYERS } },
                                 &size),
                     -EINVAL);
}

static VkExtensionProperties host_extensions[] = {
    { "VK_KHR_external_memory_fd", 1 },
    { "VK_EXT_external_memory_host", 1 },
    { "VK_KHR_acceleration_structure", 13 },
    { "VK_KHR_deferred_host_operations", 4 },
    { "VK_KHR_swapchain", 70 },
};
static VkExtensionProperties guest_extensions[] = {
    { "VK_KHR_external_memory_fd", 1 },
    { "VK_KHR_acceleration_structure", 13 },
    { "VK_KHR_external_semaphore_fd", 1 },
};
static const struct physical physical = {
    .host_extensions = host_extensions,
    .n_host_extensions = ARRAY_SIZE(host_extensions),
    .extensions = guest_extensions,
    .n_extensions = ARRAY_SIZE(guest_extensions),
};

static bool listed(const struct device_extensions *list, const char *name)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < list->count; i++) {
        n += strcmp(list->names[i], name) == 0;
    }
    assert_true(n <= 1);
    return n == 1;
}

static void extensions_are_what_the_host_has_and_we_need(void **state)
{
    const char *const asked[] = { "VK_KHR_external_memory_fd", "VK_KHR_external_semaphore_fd",
                                  "VK_KHR_acceleration_structure", "VK_KHR_external_memory_fd" };
    const char *names[ARRAY_SIZE(asked) + DEVICE_EXTRA_EXTENSIONS];
    struct device_extensions list = { .names = names };

    (void)state;
    assert_int_equal(device_choose_extensions(&physical, asked, ARRAY_SIZE(asked), &list),
                     VK_SUCCESS);
    assert_true(listed(&list, "VK_KHR_external_memory_fd"));
    assert_true(listed(&list, "VK_EXT_external_memory_host"));
    assert_true(listed(&list, "VK_KHR_deferred_host_operations"));
    assert_false(listed(&list, "VK_KHR_external_semaphore_fd")); /* ours alone */
    assert_false(listed(&list, "VK_EXT_external_memory_dma_buf"));
    assert_int_equal(list.count, 4);
}

static void extensions_not_on_the_list_are_refused(void **state)
{
    static const char *const names_asked[] = { "VK_KHR_swapchain", "VK_KHR_nonsense", "" };
    const char *names[1 + DEVICE_EXTRA_EXTENSIONS];
    struct device_extensions list = { .names = names };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names_asked); i++) {
        assert_int_equal(device_choose_extensions(&physical, &names_asked[i], 1, &list),
                         VK_ERROR_EXTENSION_NOT_PRESENT);
    }
}

static void queues_are_counted_per_family(void **state)
{
    VkQueueFamilyProperties families[] = { { .queueCount = 2 }, { .queueCount = 1 } };
    const struct physical p = { .families = families, .n_families = 2 };
    VkDeviceQueueCreateInfo queues[] = {
        { .queueFamilyIndex = 0, .queueCount = 1 },
        { .queueFamilyIndex = 1, .queueCount = 1 },
        { .queueFamilyIndex = 0, .queueCount = 1, .flags = VK_DEVICE_QUEUE_CREATE_PROTECTED_BIT },
    };
    const VkDeviceCreateInfo info = { .queueCreateInfoCount = 3, .pQueueCreateInfos = queues };

    (void)state;
    assert_true(device_queues_fit(&p, &info));
    queues[2].queueCount = 2;
    assert_false(device_queues_fit(&p, &info));
    queues[2].queueCount = 0xffffffff;
    assert_false(device_queues_fit(&p, &info));
    queues[2].queueCount = 0;
    assert_false(device_queues_fit(&p, &info));
    queues[2].queueCount = 1;
    queues[2].queueFamilyIndex = 2;
    assert_false(device_queues_fit(&p, &info));
}

static void versions_are_capped(void **state)
{
    (void)state;
    assert_int_equal(api_version_cap(VK_MAKE_API_VERSION(0, 1, 3, 99)),
                     VK_MAKE_API_VERSION(0, 1, 3, 99));
    assert_int_equal(api_version_cap(VK_MAKE_API_VERSION(0, 1, 9, 7)),
                     VK_MAKE_API_VERSION(0, 1, 4, 7));
    assert_int_equal(api_version_cap(VK_MAKE_API_VERSION(0, 2, 0, 1)),
                     VK_MAKE_API_VERSION(0, 1, 4, 1));
    assert_int_equal(api_version_cap(VK_MAKE_API_VERSION(3, 1, 2, 1)),
                     VK_MAKE_API_VERSION(0, 1, 2, 1));
}

static void a_map_keeps_what_was_put(void **state)
{
    struct handle_map m, set;
    uint32_t value;

    (void)state;
    handle_map_init(&m, sizeof(value));
    handle_map_init(&set, 0);
    assert_false(handle_map_get(&m, 64, &value));
    for (uint32_t i = 1; i <= 1000; i++) {
        assert_int_equal(handle_map_put(&m, (uint64_t)i << 6, &i), 0);
        assert_int_equal(handle_map_put(&set, i, NULL), 0);
    }
    for (uint32_t i = 1; i <= 1000; i += 2) {
        handle_map_remove(&m, (uint64_t)i << 6);
        handle_map_remove(&m, (uint64_t)i << 6);
    }
    for (uint32_t i = 1; i <= 1000; i++) {
        assert_int_equal(handle_map_get(&m, (uint64_t)i << 6, &value), i % 2 == 0);
        assert_true(i % 2 || value == i);
        assert_true(handle_map_get(&set, i, NULL));
    }
    value = 7;
    assert_int_equal(handle_map_put(&m, 128, &value), 0);
    value = 0;
    assert_true(handle_map_get(&m, 128, &value));
    assert_int_equal(value, 7);
    handle_map_fini(&m);
    handle_map_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_results_fit_or_not),
        cmocka_unit_test(regions_have_their_size),
        cmocka_unit_test(regions_outside_are_refused),
        cmocka_unit_test(extensions_are_what_the_host_has_and_we_need),
        cmocka_unit_test(extensions_not_on_the_list_are_refused),
        cmocka_unit_test(queues_are_counted_per_family),
        cmocka_unit_test(versions_are_capped),
        cmocka_unit_test(a_map_keeps_what_was_put),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
