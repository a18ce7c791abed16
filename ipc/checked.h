/* Arithmetic on numbers that somebody else chose: overflow is told, never wrapped. */
#ifndef CORDON_IPC_CHECKED_H
#define CORDON_IPC_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

/* Rounds up to a power-of-two alignment; false if the result does not fit. */
static inline bool checked_align(uint64_t v, uint64_t align, uint64_t *ret)
{
    uint64_t sum;

    if (!checked_add(v, align - 1, &sum)) {
        return false;
    }
    *ret = sum & ~(align - 1);
    return true;
}

/* Does [off, off + len) lie inside [0, size)? An empty range at off == size does. */
static inline bool range_in(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

static inline bool is_power_of_two(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

#endif
