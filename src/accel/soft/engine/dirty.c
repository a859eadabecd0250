/* dirty: which pages vCPUs wrote. A store through a TLB entry that was filled while tracking marks the page's
 * note (tlb.c, phys.c); collecting turns those marks into PAGE_DIRTY and drops the entries, so that the next
 * store marks anew. */
#include "accel/soft/engine/private.h"

/* With the world stopped: every vCPU comes inside again through cpu_enter, which looks at this before any
 * other store. */
static void flush_all(struct engine *en)
{
    __atomic_fetch_add(&en->flush_version, 1, __ATOMIC_SEQ_CST);
}

static void sweep(struct engine *en, uint8_t becomes)
{
    for (uint32_t i = 0; i < en->slot_count; i++) {
        const struct engine_slot *s = &en->slot[i];
        for (uint64_t page = 0; s->notes && page < s->size >> 12; page++)
            if (__atomic_load_n(&s->notes[page], __ATOMIC_RELAXED) & NOTE_WRITTEN) {
                __atomic_fetch_and(&s->notes[page], (uint8_t)~NOTE_WRITTEN, __ATOMIC_SEQ_CST);
                __atomic_fetch_or(&s->notes[page], becomes, __ATOMIC_SEQ_CST);
            }
    }
}

void engine_dirty_log(struct engine *en, bool on)
{
    world_stop(en, NULL);
    sweep(en, 0);
    en->dirty_log = on;
    flush_all(en);
    world_go(en);
}

void engine_dirty_collect(struct engine *en)
{
    world_stop(en, NULL);
    sweep(en, PAGE_DIRTY);
    flush_all(en);
    world_go(en);
}
