/*
 * time: the TSC and the paravirtual clock. Both are pure functions of guest time (engine_outside.now_ns), so they agree with each other and with
 * every timer, and stop when the machine is paused.
 */
#include "accel/soft/engine/private.h"

uint64_t tsc_at(const struct cpu *c, uint64_t now_ns)
{
    return (uint64_t)((unsigned __int128)now_ns * c->priv->tsc_khz / 1000000) + (uint64_t)c->tsc_offset;
}

uint64_t tsc_to_ns(const struct cpu *c, uint64_t tsc)
{
    uint64_t ticks = tsc - (uint64_t)c->tsc_offset;
    if ((int64_t)ticks <= 0)
        return 0; /* past already */
    unsigned __int128 ns = ((unsigned __int128)ticks * 1000000 + c->priv->tsc_khz - 1) / c->priv->tsc_khz;
    return ns > INT64_MAX ? INT64_MAX : (uint64_t)ns;
}

uint64_t cpu_tsc(struct cpu *c)
{
    return tsc_at(c, engine_now(c->engine));
}

/* ---- paravirtual clock: the kernel's Documentation/virt/kvm/x86/msr.rst; layouts of asm/pvclock-abi.h ---- */

struct pvclock_time {
    uint32_t version, pad;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad2[2];
};

struct pvclock_wall {
    uint32_t version, sec, nsec;
};

enum { PVCLOCK_ENABLE = 1, PVCLOCK_TSC_STABLE = 1 };

/* ns = (ticks << shift) * mul >> 32, mul as large as it goes. */
static void scale(uint32_t khz, uint32_t *mul, int8_t *shift)
{
    unsigned __int128 ratio = ((unsigned __int128)1000000 << 64) / khz; /* ns per tick, 64 fraction bits */
    int s = 0;
    while (ratio >> 32) {
        ratio >>= 1;
        s++;
    }
    *mul = (uint32_t)ratio;
    *shift = (int8_t)(s - 32);
}

/* Version is odd while the fields change. */
void pvclock_update(struct cpu *c)
{
    uint64_t gpa = c->pvclock_msr & ~1ull, now;
    struct pvclock_time t = {.flags = PVCLOCK_TSC_STABLE};
    uint32_t version = (uint32_t)c->pvclock_version;
    if (!(c->pvclock_msr & PVCLOCK_ENABLE) || !c->engine->attached)
        return;
    now = engine_now(c->engine);
    t.version = version + 1;
    t.system_time = now;
    t.tsc_timestamp = tsc_at(c, now);
    scale(c->priv->tsc_khz, &t.tsc_to_system_mul, &t.tsc_shift);
    c->pvclock_version = version + 2;
    if (!phys_write(c, gpa, &t.version, sizeof t.version))
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    phys_write(c, gpa, &t, sizeof t);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    t.version++;
    phys_write(c, gpa, &t.version, sizeof t.version);
}

/* The wall clock at guest time 0. */
static void write_wall(struct cpu *c)
{
    struct engine *en = c->engine;
    uint64_t boot = en->out.wall_ns(en->opaque) - engine_now(en);
    struct pvclock_wall w = {.version = 2, .sec = (uint32_t)(boot / 1000000000), .nsec = (uint32_t)(boot % 1000000000)};
    phys_write(c, c->wallclock_msr, &w, sizeof w);
}

bool pvclock_write(struct cpu *c, uint32_t index, uint64_t value)
{
    if (index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_WALL_CLOCK_OLD) {
        c->wallclock_msr = value;
        if (value && c->engine->attached)
            write_wall(c);
    } else {
        c->pvclock_msr = value;
        pvclock_update(c);
    }
    return true;
}
