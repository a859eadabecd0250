/*
 * range: arithmetic on offsets and lengths that cannot wrap. Pure.
 */
#ifndef BASE_RANGE_H
#define BASE_RANGE_H
#include <stdbool.h>
#include <stdint.h>

/* [off, off+len) lies inside [0, size). */
static inline bool range_inside(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

/* Last byte of [start, start+len) does not wrap; len 0 counts as fine. */
static inline bool range_no_wrap(uint64_t start, uint64_t len)
{
    return len == 0 || start + (len - 1) >= start;
}

/* [a, a+alen) and [b, b+blen) share a byte. Neither may wrap. */
static inline bool range_overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
    return alen && blen && (a <= b ? b - a < alen : a - b < blen);
}

static inline bool is_pow2(uint64_t v)
{
    return v && !(v & (v - 1));
}

/* `align` is a power of two. align_up may wrap to 0: check with range_no_wrap first when v is not ours. */
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
