#include "accel/soft/slots.h"
#include "base/range.h"

static bool is_memory(const struct mem_section *s)
{
    return s->region->ram && (s->kind == MEM_RAM || s->kind == MEM_ROM || s->kind == MEM_ROMD);
}

static bool follows(const struct engine_slot *s, const struct engine_slot *next)
{
    return s->gpa + s->size == next->gpa && s->host + s->size == next->host &&
           s->readonly == next->readonly && s->notes + s->size / MEM_PAGE == next->notes;
}

unsigned soft_slots(const struct mem_view *v, struct engine_slot *out)
{
    unsigned n = 0;

    for (size_t i = 0; i < v->count; i++) {
        const struct mem_section *s = &v->section[i];
        uint64_t from = align_up(s->base, MEM_PAGE), to = align_down(s->base + s->size, MEM_PAGE);
        if (!is_memory(s) || from < s->base || to <= from)
            continue;
        uint64_t off = s->offset + (from - s->base);
        struct ram *r = s->region->ram;
        if (off % MEM_PAGE)
            continue;
        struct engine_slot slot = {.gpa = from,
                                   .size = to - from,
                                   .host = r->host + off,
                                   .notes = r->notes + off / MEM_PAGE,
                                   .gens = r->gens + off / MEM_PAGE,
                                   .readonly = s->kind != MEM_RAM};
        if (n && follows(&out[n - 1], &slot))
            out[n - 1].size += slot.size;
        else if (n < ENGINE_MAX_SLOTS)
            out[n++] = slot;
    }
    return n;
}
