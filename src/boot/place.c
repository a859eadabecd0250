#include "boot/place.h"
#include "base/range.h"
#include "boot/boot.h"

bool place_is_ram(const struct place *p, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < p->cfg->ranges; i++) {
        const struct boot_range *r = &p->cfg->range[i];
        if (r->type == BOOT_RAM && base >= r->base && range_inside(base - r->base, size, r->size))
            return true;
    }
    return false;
}

/* Index of what holds a byte of [base, base+size), or -1. */
static int holder(const struct place *p, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < p->count; i++)
        if (range_overlap(base, size, p->taken[i].base, p->taken[i].size))
            return (int)i;
    return -1;
}

bool place_is_free(const struct place *p, uint64_t base, uint64_t size)
{
    return holder(p, base, size) < 0;
}

bool place_take(struct place *p, uint64_t base, uint64_t size)
{
    if (p->count == PLACE_MAX)
        return false;
    p->taken[p->count].base = base;
    p->taken[p->count++].size = size;
    return true;
}

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t lowest(const struct place *p, uint64_t size, uint64_t align, uint64_t from, uint64_t end)
{
    for (;;) {
        uint64_t at = align_up(from, align);
        if (at < from || at > end || size > end - at)
            return PLACE_NONE;
        int h = holder(p, at, size);
        if (h < 0)
            return at;
        from = p->taken[h].base + p->taken[h].size;
    }
}

static uint64_t highest(const struct place *p, uint64_t size, uint64_t align, uint64_t from, uint64_t end)
{
    for (;;) {
        if (end < from || size > end - from)
            return PLACE_NONE;
        uint64_t at = align_down(end - size, align);
        if (at < from)
            return PLACE_NONE;
        int h = holder(p, at, size);
        if (h < 0)
            return at;
        end = p->taken[h].base;
    }
}

static uint64_t find(struct place *p, uint64_t size, uint64_t align, uint64_t min, uint64_t max, bool high)
{
    uint64_t best = PLACE_NONE;
    for (unsigned i = 0; i < p->cfg->ranges; i++) {
        const struct boot_range *r = &p->cfg->range[i];
        if (r->type != BOOT_RAM || !r->size || !range_no_wrap(r->base, r->size))
            continue;
        uint64_t from = r->base > min ? r->base : min, end = min_of(r->base + (r->size - 1), max - 1) + 1;
        uint64_t at = high ? highest(p, size, align, from, end) : lowest(p, size, align, from, end);
        if (at != PLACE_NONE && (best == PLACE_NONE || (high ? at > best : at < best)))
            best = at;
    }
    return best != PLACE_NONE && place_take(p, best, size) ? best : PLACE_NONE;
}

uint64_t place_low(struct place *p, uint64_t size, uint64_t align, uint64_t min, uint64_t max)
{
    return find(p, size, align, min, max, false);
}

uint64_t place_high(struct place *p, uint64_t size, uint64_t align, uint64_t min, uint64_t max)
{
    return find(p, size, align, min, max, true);
}

uint64_t place_ram_top(const struct place *p, uint64_t max)
{
    uint64_t top = 0;
    for (unsigned i = 0; i < p->cfg->ranges; i++) {
        const struct boot_range *r = &p->cfg->range[i];
        if (r->type != BOOT_RAM || r->base >= max || !range_no_wrap(r->base, r->size))
            continue;
        uint64_t end = min_of(r->base + r->size, max);
        top = end > top ? end : top;
    }
    return top;
}
