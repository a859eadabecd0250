/*
 * time: TSC and the paravirtual clock, all derived from guest time in nanoseconds, so that every vCPU agrees
 * and a stopped machine's clocks stand.
 *
 * guest TSC = guest ns * kHz / 10^6 + offset. The clock page's layout and MSRs: the kernel's
 * Documentation/virt/kvm/x86/msr.rst, pvclock-abi.h.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

void tsc_set_khz(struct cpu *c, uint32_t khz)
{
    c->priv->tsc_khz = khz;
    c->priv->tsc_mul = ((uint64_t)khz << TSC_SHIFT) / 1000000;
}

uint64_t tsc_at(const struct cpu *c, uint64_t now_ns)
{
    return (uint64_t)((unsigned __int128)now_ns * c->priv->tsc_mul >> TSC_SHIFT) + (uint64_t)c->tsc_offset;
}

uint64_t tsc_to_ns(const struct cpu *c, uint64_t tsc)
{
    uint64_t ticks = tsc - (uint64_t)c->tsc_offset;

    if ((int64_t)ticks < 0) /* before guest time 0 */
        return 0;
    unsigned __int128 ns = ((unsigned __int128)ticks << TSC_SHIFT) / c->priv->tsc_mul + 1;
    return ns > UINT64_MAX - 1 ? UINT64_MAX - 1 : (uint64_t)ns;
}

uint64_t cpu_tsc(struct cpu *c)
{
    return tsc_at(c, engine_now(c->engine));
}

/* The clock page is guest memory, and may hold code: only the vCPU's own thread writes there. */
static void update_page(struct cpu *c, bool host)
{
    c->pvclock_late = host;
    if (!host)
        pvclock_update(c);
}

static void offset_changed(struct cpu *c, bool host)
{
    lapic_timer_rearm(c);
    update_page(c, host);
}

/* SDM 3B 17.17.3: a write of the TSC moves TSC_ADJUST by as much. */
void tsc_write(struct cpu *c, uint64_t value, bool host)
{
    uint64_t by = value - cpu_tsc(c);

    c->tsc_offset = (int64_t)((uint64_t)c->tsc_offset + by);
    c->tsc_adjust += by;
    offset_changed(c, host);
}

void tsc_adjust_write(struct cpu *c, uint64_t value)
{
    c->tsc_offset = (int64_t)((uint64_t)c->tsc_offset + (value - c->tsc_adjust));
    c->tsc_adjust = value;
    offset_changed(c, false);
}

/* ---- paravirtual clock ---- */

struct clock_page {
    uint32_t version, pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad[2];
};
_Static_assert(sizeof(struct clock_page) == 32, "pvclock_vcpu_time_info");
enum { CLOCK_STABLE = 1 };

struct wall_page {
    uint32_t version, sec, nsec;
};

/* mul and shift with ns = ((ticks << shift) * mul) >> 32, mul as large as fits (most precise). */
static void tick_scale(uint32_t khz, uint32_t *mul, int8_t *shift)
{
    uint64_t hz = (uint64_t)khz * 1000, second = 1000000000;
    int s = 0;

    while (hz > second * 2) {
        hz >>= 1;
        s--;
    }
    while (hz <= second) {
        hz <<= 1;
        s++;
    }
    *mul = (uint32_t)((second << 32) / hz);
    *shift = (int8_t)s;
}

void pvclock_update(struct cpu *c)
{
    struct clock_page p = {0};
    uint64_t gpa = c->pvclock_msr & ~1ull;

    c->pvclock_late = 0;
    if (!(c->pvclock_msr & 1) || !c->engine->attached || !phys_read(c, gpa, &p, sizeof(p)))
        return;
    uint64_t now = engine_now(c->engine);
    p.version = (p.version | 1) + 2;
    phys_write(c, gpa, &p.version, 4); /* odd: readers wait */
    p.tsc_timestamp = tsc_at(c, now);
    p.system_time = now;
    tick_scale(c->priv->tsc_khz, &p.tsc_to_system_mul, &p.tsc_shift);
    p.flags = CLOCK_STABLE;
    phys_write(c, gpa + 4, (const uint8_t *)&p + 4, sizeof(p) - 4);
    p.version++;
    phys_write(c, gpa, &p.version, 4);
}

static void write_wall(struct cpu *c, uint64_t gpa)
{
    struct engine *en = c->engine;
    uint64_t boot = en->out.wall_ns(en->opaque) - engine_now(en);
    struct wall_page w = {0};

    if (!phys_read(c, gpa, &w, sizeof(w)))
        return;
    w.version = (w.version | 1) + 1;
    w.sec = (uint32_t)(boot / 1000000000);
    w.nsec = (uint32_t)(boot % 1000000000);
    phys_write(c, gpa, &w, sizeof(w));
}

bool pvclock_write(struct cpu *c, uint32_t index, uint64_t value, bool host)
{
    if (index == MSR_KVM_SYSTEM_TIME || index == MSR_KVM_SYSTEM_TIME_OLD) {
        c->pvclock_msr = value;
        update_page(c, host);
    } else {
        c->wallclock_msr = value;
        if (!host)
            write_wall(c, value);
    }
    return true;
}
