/* What a driver records into: worker/command_heap.h. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base.h"
#include "worker/command_heap.h"

#define SCOPE VK_SYSTEM_ALLOCATION_SCOPE_OBJECT

static void *take(const VkAllocationCallbacks *heap, size_t size, size_t alignment)
{
    void *memory = heap->pfnAllocation(heap->pUserData, size, alignment, SCOPE);

    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % alignment, 0);
    memset(memory, (int)(size & 0xff), size);
    return memory;
}

static void give(const VkAllocationCallbacks *heap, void *memory)
{
    heap->pfnFree(heap->pUserData, memory);
}

static bool holds(const uint8_t *memory, size_t size, int byte)
{
    for (size_t i = 0; i < size; i++) {
        if (memory[i] != byte) {
            return false;
        }
    }
    return true;
}

static void any_size_and_alignment(void **state)
{
    VkAllocationCallbacks *heap = command_heap_new();
    uint8_t *memory[3000];

    (void)state;
    assert_non_null(heap);
    for (int round = 0; round < 3; round++) {
        for (size_t size = 0; size < ARRAY_SIZE(memory); size++) {
            memory[size] = take(heap, size, (size_t)1 << (size + (size_t)round) % 8);
        }
        for (size_t size = 0; size < ARRAY_SIZE(memory); size++) {
            assert_true(holds(memory[size], size, (int)(size & 0xff)));
            give(heap, memory[size]);
        }
    }
    give(heap, NULL);
    command_heap_free(heap);
    command_heap_free(NULL);
}

static void what_is_freed_is_used_again(void **state)
{
    VkAllocationCallbacks *heap = command_heap_new();
    void *first = take(heap, 40, 8);
    void *second = take(heap, 56, 8);

    (void)state;
    /* Neighbours, as blocks of 48 and 64 bytes are. */
    assert_ptr_equal(second, (uint8_t *)first + 48);
    give(heap, first);
    give(heap, second);
    assert_ptr_equal(take(heap, 50, 8), second);
    assert_ptr_equal(take(heap, 33, 16), first);
    command_heap_free(heap); /* with all that is left in it */
}

static void *grow(const VkAllocationCallbacks *heap, void *memory, size_t size)
{
    return heap->pfnReallocation(heap->pUserData, memory, size, 8, SCOPE);
}

static void contents_move_along(void **state)
{
    VkAllocationCallbacks *heap = command_heap_new();
    uint8_t *memory = grow(heap, NULL, 10);

    (void)state;
    memset(memory, 7, 10);
    for (size_t size = 100; size < 100000; size *= 10) {
        memory = grow(heap, memory, size);
        assert_non_null(memory);
        assert_true(holds(memory, 10, 7));
    }
    memory = grow(heap, memory, 5);
    assert_true(holds(memory, 5, 7));
    assert_null(grow(heap, memory, 0));
    command_heap_free(heap);
}

static void too_much_is_refused(void **state)
{
    VkAllocationCallbacks *heap = command_heap_new();

    (void)state;
    assert_null(heap->pfnAllocation(heap->pUserData, SIZE_MAX, 8, SCOPE));
    assert_null(heap->pfnAllocation(heap->pUserData, SIZE_MAX - 20, 8, SCOPE));
    assert_null(heap->pfnAllocation(heap->pUserData, 8, (size_t)1 << 40, SCOPE));
    command_heap_free(heap);
}

static void *hammer(void *arg)
{
    const VkAllocationCallbacks *heap = arg;
    uint8_t *memory[64] = { NULL };

    for (unsigned i = 0; i < 40000; i++) {
        const size_t slot = i * 7 % ARRAY_SIZE(memory);

        if (memory[slot] && !holds(memory[slot], slot, (int)slot)) {
            return heap->pUserData;
        }
        give(heap, memory[slot]);
        memory[slot] = heap->pfnAllocation(heap->pUserData, slot, 8, SCOPE);
        if (!memory[slot]) {
            return heap->pUserData;
        }
        memset(memory[slot], (int)slot, slot);
    }
    for (size_t slot = 0; slot < ARRAY_SIZE(memory); slot++) {
        give(heap, memory[slot]);
    }
    return NULL;
}

/* What Vulkan forbids, and a guest may do: record for one pool on two rings. */
static void two_threads_do_no_harm(void **state)
{
    VkAllocationCallbacks *heap = command_heap_new();
    pthread_t threads[3];
    void *bad;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, heap), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_join(threads[i], &bad), 0);
        assert_null(bad);
    }
    command_heap_free(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_size_and_alignment), cmocka_unit_test(what_is_freed_is_used_again),
        cmocka_unit_test(contents_move_along),    cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(two_threads_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
