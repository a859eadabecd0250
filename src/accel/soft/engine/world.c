/*
 * world: vCPU threads coming inside and going outside, stopping them all, and the callouts.
 */
#include <sched.h>
#include "accel/soft/engine/private.h"

void cpu_enter(struct cpu *c)
{
    struct engine *en = c->engine;

    for (;;) {
        __atomic_store_n(&c->priv->inside, 1, __ATOMIC_SEQ_CST);
        if (likely(!__atomic_load_n(&en->stop, __ATOMIC_SEQ_CST)))
            break;
        cpu_leave(c);
        while (__atomic_load_n(&en->stop, __ATOMIC_ACQUIRE))
            sched_yield();
    }
    if (unlikely(c->priv->slots_seen != __atomic_load_n(&en->slots_version, __ATOMIC_ACQUIRE))) {
        c->priv->slots_seen = en->slots_version;
        c->priv->last_slot = 0;
        tlb_reset(c);
        block_flush(c);
    }
    if (unlikely(c->priv->xcache_seen != xcache_generation(en)))
        xcache_emptied(c);
    if (unlikely(c->priv->flush_seen != __atomic_load_n(&en->flush_version, __ATOMIC_ACQUIRE))) {
        c->priv->flush_seen = en->flush_version;
        tlb_reset(c);
    }
}

enum {
    STOP_FREE,
    STOP_VCPU,
    STOP_OTHER
}; /* whose stop_lock is: in a process of the engine's own, its or ours */

void world_stop(struct engine *en, struct cpu *self)
{
    if (self)
        cpu_leave(self);
    for (;;) {
        uint32_t nobody = STOP_FREE;
        if (__atomic_compare_exchange_n(&en->stop_lock, &nobody, self ? STOP_VCPU : STOP_OTHER, false,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            break;
        sched_yield();
    }
    __atomic_store_n(&en->stop, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < en->cpus; i++)
        cpu_attention(en->cpu[i], ATT_STOP);
    for (unsigned i = 0; i < en->cpus; i++)
        while (__atomic_load_n(&en->cpu[i]->priv->inside, __ATOMIC_SEQ_CST))
            sched_yield();
}

void world_go(struct engine *en)
{
    __atomic_store_n(&en->stop, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&en->stop_lock, STOP_FREE, __ATOMIC_RELEASE);
}

void engine_vcpus_died(struct engine *en)
{
    uint32_t theirs = STOP_VCPU;

    for (unsigned i = 0; i < en->cpus; i++)
        cpu_leave(en->cpu[i]);
    __atomic_compare_exchange_n(&en->stop_lock, &theirs, STOP_FREE, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_RELAXED);
}

/* From a callout. A kick that came meanwhile, most likely by the device itself, is heeded behind this very
 * instruction (accel.h, vcpu_kick); and so is code that the device wrote, as translated code does it. */
static void come_back(struct cpu *c)
{
    cpu_enter(c);
    if (unlikely(__atomic_load_n(&c->attention, __ATOMIC_RELAXED) & (ATT_KICK | ATT_DEVICE_CODE)))
        c->leave_block = 1;
}

uint64_t cpu_mmio_read(struct cpu *c, uint64_t gpa, unsigned size)
{
    struct engine *en = c->engine;

    if (unlikely(lapic_is_page(c, gpa)))
        return lapic_mmio_read(c, gpa, size);
    c->priv->n_mmio++;
    c->priv->budget -= c->priv->budget > 16 ? 16 : 0;
    cpu_leave(c);
    uint64_t v = en->out.mmio_read(en->opaque, gpa, size);
    come_back(c);
    return v & mask_size(size);
}

void cpu_mmio_write(struct cpu *c, uint64_t gpa, unsigned size, uint64_t value)
{
    struct engine *en = c->engine;

    if (unlikely(lapic_is_page(c, gpa))) {
        lapic_mmio_write(c, gpa, size, value);
        return;
    }
    c->priv->n_mmio++;
    c->priv->budget -= c->priv->budget > 16 ? 16 : 0;
    cpu_leave(c);
    en->out.mmio_write(en->opaque, gpa, size, value & mask_size(size));
    come_back(c);
}

uint32_t cpu_in(struct cpu *c, uint16_t port, unsigned size)
{
    struct engine *en = c->engine;

    c->priv->n_pio++;
    c->priv->budget -= c->priv->budget > 16 ? 16 : 0;
    cpu_leave(c);
    uint32_t v = en->out.pio_read(en->opaque, port, size);
    come_back(c);
    return v & (uint32_t)mask_size(size);
}

void cpu_out(struct cpu *c, uint16_t port, unsigned size, uint32_t value)
{
    struct engine *en = c->engine;

    c->priv->n_pio++;
    c->priv->budget -= c->priv->budget > 16 ? 16 : 0;
    cpu_leave(c);
    en->out.pio_write(en->opaque, port, size, value & (uint32_t)mask_size(size));
    come_back(c);
}
