/* Access to guest memory: by host pointer, copy, aligned scalar; and dispatch of what is not memory. */
#include <errno.h>
#include <string.h>
#include "base/range.h"
#include "guest/map.h"

static bool is_memory(const struct mem_section *s, bool write)
{
    return s->kind == MEM_RAM || (!write && (s->kind == MEM_ROM || s->kind == MEM_ROMD));
}

/* Host bytes at gpa and how many of `len` lie in the same section; NULL when they are not memory. */
static uint8_t *piece(const struct mem_view *v, uint64_t gpa, uint64_t len, bool write, uint64_t *n,
                      const struct mem_section **section)
{
    const struct mem_section *s = mem_find(v, gpa);
    if (!s || !is_memory(s, write))
        return NULL;
    uint64_t in = gpa - s->base, left = s->size - in;
    *n = len < left ? len : left;
    if (section)
        *section = s;
    return s->region->ram->host + s->offset + in;
}

void *mem_at(const struct mem_map *m, uint64_t gpa, uint64_t len, bool write)
{
    uint64_t n;
    uint8_t *p = piece(mem_view(m), gpa, len, write, &n, NULL);
    return p && n == len ? p : NULL;
}

static void note_written(const struct mem_section *s, uint64_t gpa, uint64_t n)
{
    ram_written(s->region->ram, s->offset + (gpa - s->base), n);
}

void mem_written(const struct mem_map *m, uint64_t gpa, uint64_t len)
{
    const struct mem_view *v = mem_view(m);
    while (len) {
        const struct mem_section *s;
        uint64_t n;
        if (!piece(v, gpa, len, true, &n, &s))
            return;
        note_written(s, gpa, n);
        gpa += n;
        len -= n;
    }
}

/* The guest writes while we copy: that is its right, and its problem, since every field is checked after it
 * was read. The thread sanitizer is told nothing of these bytes (inline assembly is opaque to it), so that it
 * tells us of real races. */
static void copy(void *to, const void *from, uint64_t n)
{
#ifdef __SANITIZE_THREAD__
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
#else
    memcpy(to, from, n);
#endif
}

static void fill(void *to, uint8_t byte, uint64_t n)
{
#ifdef __SANITIZE_THREAD__
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
#else
    memset(to, byte, n);
#endif
}

int mem_read(const struct mem_map *m, uint64_t gpa, void *out, uint64_t len)
{
    const struct mem_view *v = mem_view(m);
    for (uint64_t n; len; gpa += n, len -= n, out = (uint8_t *)out + n) {
        const uint8_t *p = piece(v, gpa, len, false, &n, NULL);
        if (!p)
            return -EFAULT;
        copy(out, p, n);
    }
    return 0;
}

int mem_write(const struct mem_map *m, uint64_t gpa, const void *in, uint64_t len)
{
    const struct mem_view *v = mem_view(m);
    const struct mem_section *s;
    for (uint64_t n; len; gpa += n, len -= n, in = (const uint8_t *)in + n) {
        uint8_t *p = piece(v, gpa, len, true, &n, &s);
        if (!p)
            return -EFAULT;
        copy(p, in, n);
        note_written(s, gpa, n);
    }
    return 0;
}

int mem_fill(const struct mem_map *m, uint64_t gpa, uint8_t byte, uint64_t len)
{
    const struct mem_view *v = mem_view(m);
    const struct mem_section *s;
    for (uint64_t n; len; gpa += n, len -= n) {
        uint8_t *p = piece(v, gpa, len, true, &n, &s);
        if (!p)
            return -EFAULT;
        fill(p, byte, n);
        note_written(s, gpa, n);
    }
    return 0;
}

static uint64_t load(const uint8_t *p, unsigned size)
{
    switch (size) {
    case 1:
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);
    case 2:
        return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
    case 4:
        return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_ACQUIRE);
    default:
        return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_ACQUIRE);
    }
}

static void store(uint8_t *p, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        __atomic_store_n(p, (uint8_t)v, __ATOMIC_RELEASE);
        break;
    case 2:
        __atomic_store_n((uint16_t *)(void *)p, (uint16_t)v, __ATOMIC_RELEASE);
        break;
    case 4:
        __atomic_store_n((uint32_t *)(void *)p, (uint32_t)v, __ATOMIC_RELEASE);
        break;
    default:
        __atomic_store_n((uint64_t *)(void *)p, v, __ATOMIC_RELEASE);
        break;
    }
}

int mem_load(const struct mem_map *m, uint64_t gpa, unsigned size, uint64_t *value)
{
    uint64_t n;
    if (gpa % size) {
        *value = 0;
        return mem_read(m, gpa, value, size);
    }
    const uint8_t *p = piece(mem_view(m), gpa, size, false, &n, NULL);
    if (!p || n < size)
        return -EFAULT;
    *value = load(p, size);
    return 0;
}

int mem_store(const struct mem_map *m, uint64_t gpa, unsigned size, uint64_t value)
{
    const struct mem_section *s;
    uint64_t n;
    if (gpa % size)
        return mem_write(m, gpa, &value, size);
    uint8_t *p = piece(mem_view(m), gpa, size, true, &n, &s);
    if (!p || n < size)
        return -EFAULT;
    store(p, size, value);
    note_written(s, gpa, size);
    return 0;
}

int mem_iov(const struct mem_map *m, uint64_t gpa, uint64_t len, bool write, struct iovec *iov, int max)
{
    const struct mem_view *v = mem_view(m);
    int count = 0;
    for (uint64_t n; len; gpa += n, len -= n) {
        uint8_t *p = piece(v, gpa, len, write, &n, NULL);
        if (!p)
            return -EFAULT;
        if (count && (uint8_t *)iov[count - 1].iov_base + iov[count - 1].iov_len == p) {
            iov[count - 1].iov_len += n;
            continue;
        }
        if (count == max)
            return -E2BIG;
        iov[count++] = (struct iovec){.iov_base = p, .iov_len = n};
    }
    return count;
}

/* ---- what is not memory ---- */

static uint64_t size_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << size * 8) - 1;
}

/* Where in the region an access falls; a section of flash counts in its memory block. */
static uint64_t call_offset(const struct mem_section *s, uint64_t gpa)
{
    return s->offset + (gpa - s->base) - (s->region->ram ? s->region->ram_offset : 0);
}

/* The largest piece of an access at gpa that may go out at once: a power of two, aligned, within the section
 * and the device's limit. Where nobody is, bytes: the next one may be somebody's. */
static unsigned whole(const struct mem_section *s, uint64_t gpa, unsigned size)
{
    unsigned n = !s ? 1 : s->region->ops && s->region->ops->max_size ? s->region->ops->max_size : 8;
    while (n > size || (gpa & (n - 1)) || (s && gpa - s->base + n > s->size))
        n /= 2;
    return n;
}

uint64_t mem_mmio_read(struct mem_map *m, uint64_t gpa, unsigned size)
{
    const struct mem_view *v = mem_view(m);
    uint64_t value = 0, part;
    for (unsigned done = 0, n; done < size; done += n, gpa += n) {
        const struct mem_section *s = mem_find(v, gpa);
        n = whole(s, gpa, size - done);
        if (s && is_memory(s, false)) {
            part = load(s->region->ram->host + s->offset + (gpa - s->base), n);
        } else if (s && s->region->ops->read) {
            const struct mem_region *r = s->region;
            if (r->lock)
                lock_take(r->lock);
            part = r->ops->read(r->opaque, call_offset(s, gpa), n);
            if (r->lock)
                lock_drop(r->lock);
        } else {
            part = UINT64_MAX;
        }
        value |= (part & size_mask(n)) << done * 8;
    }
    return value;
}

void mem_mmio_write(struct mem_map *m, uint64_t gpa, unsigned size, uint64_t value)
{
    const struct mem_view *v = mem_view(m);
    for (unsigned done = 0, n; done < size; done += n, gpa += n) {
        const struct mem_section *s = mem_find(v, gpa);
        n = whole(s, gpa, size - done);
        uint64_t part = value >> done * 8 & size_mask(n);
        if (s && s->kind == MEM_RAM) {
            store(s->region->ram->host + s->offset + (gpa - s->base), n, part);
            note_written(s, gpa, n);
        } else if (s && (s->kind == MEM_MMIO || s->kind == MEM_ROMD) && s->region->ops->write) {
            const struct mem_region *r = s->region;
            if (r->lock)
                lock_take(r->lock);
            r->ops->write(r->opaque, call_offset(s, gpa), n, part);
            if (r->lock)
                lock_drop(r->lock);
        }
    }
}
