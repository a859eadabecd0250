/*
 * phys: guest-physical memory, by the engine's slots.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

const struct engine_slot *slot_find(struct cpu *c, uint64_t gpa)
{
    const struct engine *en = c->engine;
    uint32_t i = __atomic_load_n(&c->priv->last_slot, __ATOMIC_RELAXED); /* once: another may change it */

    if (likely(i < en->slot_count) && gpa - en->slot[i].gpa < en->slot[i].size)
        return &en->slot[i];
    uint32_t lo = 0, hi = en->slot_count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (en->slot[mid].gpa <= gpa)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0 || gpa - en->slot[lo - 1].gpa >= en->slot[lo - 1].size)
        return NULL;
    c->priv->last_slot = lo - 1;
    return &en->slot[lo - 1];
}

uint8_t *phys_host(struct cpu *c, uint64_t gpa, unsigned len, bool write)
{
    const struct engine_slot *s = slot_find(c, gpa);

    if (!s || (write && s->readonly) || len > s->size - (gpa - s->gpa))
        return NULL;
    return s->host + (gpa - s->gpa);
}

void cpu_code_written(struct cpu *c, uint64_t gpa, unsigned n)
{
    const struct engine_slot *s = slot_find(c, gpa);

    if (!s || !s->notes || !s->gens)
        return;
    uint64_t page = (gpa - s->gpa) >> 12;
    c->priv->n_inval++;
    c->leave_block = 1;
    if (!xcache_written(c, gpa, n))
        page_without_code(&s->notes[page], &s->gens[page]);
}

void phys_written(struct cpu *c, uint64_t gpa, unsigned len)
{
    while (len) {
        const struct engine_slot *s = slot_find(c, gpa);
        unsigned n = 4096 - (unsigned)(gpa & 4095);
        if (n > len)
            n = len;
        if (s && s->notes) {
            uint8_t *note = &s->notes[(gpa - s->gpa) >> 12];
            if (c->engine->dirty_log)
                __atomic_fetch_or(note, NOTE_WRITTEN, __ATOMIC_RELAXED);
            note_written(c, note, gpa, n);
        }
        gpa += n;
        len -= n;
    }
}

bool phys_read(struct cpu *c, uint64_t gpa, void *out, unsigned len)
{
    uint8_t *to = out;

    while (len) {
        unsigned n = 4096 - (unsigned)(gpa & 4095);
        if (n > len)
            n = len;
        const uint8_t *from = phys_host(c, gpa, n, false);
        if (!from)
            return false;
        host_copy(to, from, n);
        to += n;
        gpa += n;
        len -= n;
    }
    return true;
}

bool phys_write(struct cpu *c, uint64_t gpa, const void *in, unsigned len)
{
    const uint8_t *from = in;

    while (len) {
        unsigned n = 4096 - (unsigned)(gpa & 4095);
        if (n > len)
            n = len;
        uint8_t *to = phys_host(c, gpa, n, true);
        if (!to)
            return false;
        host_copy(to, from, n);
        phys_written(c, gpa, n);
        from += n;
        gpa += n;
        len -= n;
    }
    return true;
}
