/* Which memory strategy is chosen, and what a resource may then be bound to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/backing.h"

#define VISIBLE (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)

static enum backing_kind choose(VkMemoryPropertyFlags flags, bool cpu, bool pointer, bool dma_buf,
                                bool opaque)
{
    const struct backing_facts facts = {
        .flags = flags,
        .cpu = cpu,
        .can = { [BACKING_HOST_POINTER] = pointer,
                 [BACKING_DMA_BUF] = dma_buf,
                 [BACKING_OPAQUE_FD] = opaque },
    };

    return backing_choose(&facts);
}

static void memory_that_nobody_maps_is_plain(void **state)
{
    (void)state;
    assert_int_equal(choose(VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, false, true, true, true),
                     BACKING_PLAIN);
    assert_int_equal(choose(VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT, true, true, true, true),
                     BACKING_PLAIN);
}

static void a_cpu_driver_gets_pages(void **state)
{
    (void)state;
    assert_int_equal(choose(VISIBLE, true, true, true, true), BACKING_HOST_POINTER);
    assert_int_equal(choose(VISIBLE, true, false, true, true), BACKING_DMA_BUF);
    assert_int_equal(choose(VISIBLE, true, false, false, true), BACKING_OPAQUE_FD);
}

static void a_gpu_exports_if_it_can(void **state)
{
    (void)state;
    assert_int_equal(choose(VISIBLE, false, true, true, true), BACKING_DMA_BUF);
    assert_int_equal(choose(VISIBLE, false, true, false, true), BACKING_HOST_POINTER);
    assert_int_equal(choose(VISIBLE, false, false, false, true), BACKING_OPAQUE_FD);
    assert_int_equal(choose(VISIBLE, false, false, false, false), BACKING_PLAIN);
}

static void most_types_decide_what_resources_are_made_for(void **state)
{
    struct backings b = { .types = { [BACKING_PLAIN] = 0x1 } };

    (void)state;
    assert_int_equal(backings_main_kind(&b), BACKING_PLAIN);
    b.types[BACKING_OPAQUE_FD] = 0x2;
    assert_int_equal(backings_main_kind(&b), BACKING_OPAQUE_FD);
    b.types[BACKING_DMA_BUF] = 0xc;
    assert_int_equal(backings_main_kind(&b), BACKING_DMA_BUF);
    b.types[BACKING_HOST_POINTER] = 0x30;
    assert_int_equal(backings_main_kind(&b), BACKING_HOST_POINTER);
}

static void types_of_another_kind_are_taken_out(void **state)
{
    const struct backings b = {
        .types = { [BACKING_PLAIN] = 0x1, [BACKING_DMA_BUF] = 0x6, [BACKING_HOST_POINTER] = 0x8 },
        .kind = BACKING_DMA_BUF,
    };

    (void)state;
    assert_int_equal(backings_allowed(&b, 0xf, true), 0x7);
    assert_int_equal(backings_allowed(&b, 0xf, false), 0x1);
    /* Nothing would be left: the driver's answer stands. */
    assert_int_equal(backings_allowed(&b, 0xe, false), 0xe);
    assert_int_equal(backings_allowed(&b, 0, true), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_nobody_maps_is_plain),
        cmocka_unit_test(a_cpu_driver_gets_pages),
        cmocka_unit_test(a_gpu_exports_if_it_can),
        cmocka_unit_test(most_types_decide_what_resources_are_made_for),
        cmocka_unit_test(types_of_another_kind_are_taken_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
