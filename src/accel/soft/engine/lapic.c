/*
 * lapic: the local APIC's registers and priorities (SDM 3A chapter 11), in xAPIC and x2APIC form. Messages
 * between APICs are in lapic_bus.c, the timer in lapic_timer.c.
 *
 * Threads: the owner's thread does everything but three things. Any thread may set a bit of IRR and TMR
 * (atomic) and then asks for attention; and any thread may read what decides whether a message is meant for
 * this APIC (base, id, LDR, DFR, SVR), each one word.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

enum {
    SVR_ENABLE = 0x100,
    SVR_NO_EOI = 0x1000,
    LVT_MASKED = 0x10000,
    LVT_MODE = 0x700,
    VERSION = 0x00050014
};
enum { ESR_ILLEGAL_SEND = 0x20, ESR_ILLEGAL_REGISTER = 0x80 };

static const uint32_t lvt_writable[6] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

static struct lapic *apic(const struct cpu *c)
{
    return &c->priv->lapic;
}

/* What other threads read is written whole. */
static void put(uint32_t *r, uint32_t v)
{
    __atomic_store_n(r, v, __ATOMIC_RELAXED);
}

bool lapic_x2(const struct lapic *a)
{
    return __atomic_load_n(&a->base, __ATOMIC_RELAXED) & APIC_BASE_X2APIC;
}

bool lapic_is_page(const struct cpu *c, uint64_t gpa)
{
    uint64_t base = apic(c)->base;

    return (base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE &&
           (gpa & ~0xfffull) == (base & ~0xfffull);
}

/* ---- priorities (SDM 3A 11.8) ---- */

static int highest(const uint32_t *bits)
{
    for (int i = 7; i >= 0; i--) {
        uint32_t w = __atomic_load_n(&bits[i], __ATOMIC_RELAXED);
        if (w)
            return i * 32 + 31 - __builtin_clz(w);
    }
    return -1;
}

static uint32_t ppr(const struct lapic *a)
{
    int isr = highest(a->isr);
    uint32_t served = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

    return (a->tpr & 0xf0) >= served ? a->tpr : served;
}

int lapic_pending(struct cpu *c)
{
    struct lapic *a = apic(c);

    if (!(a->base & APIC_BASE_ENABLE) || !(a->svr & SVR_ENABLE))
        return -1;
    int v = highest(a->irr);
    return v >= 0 && ((uint32_t)v & 0xf0) > (ppr(a) & 0xf0) ? v : -1;
}

void lapic_accept(struct cpu *c, uint8_t vector)
{
    struct lapic *a = apic(c);

    __atomic_fetch_and(&a->irr[vector >> 5], ~(1u << (vector & 31)), __ATOMIC_SEQ_CST);
    a->isr[vector >> 5] |= 1u << (vector & 31);
}

bool lapic_extint(struct cpu *c)
{
    struct lapic *a = apic(c);

    if (!__atomic_load_n(&a->extint, __ATOMIC_ACQUIRE))
        return false;
    return !(a->base & APIC_BASE_ENABLE) || (a->lvt[3] & (LVT_MASKED | LVT_MODE)) == 0x700;
}

static void look_again(struct cpu *c)
{
    cpu_attention(c, ATT_INTR);
}

uint8_t lapic_tpr(const struct cpu *c)
{
    return (uint8_t)apic(c)->tpr;
}

void lapic_set_tpr(struct cpu *c, uint8_t tpr)
{
    apic(c)->tpr = tpr;
    look_again(c);
}

static void end_of_interrupt(struct cpu *c)
{
    struct lapic *a = apic(c);
    struct engine *en = c->engine;
    int v = highest(a->isr);

    if (v < 0)
        return;
    a->isr[v >> 5] &= ~(1u << (v & 31));
    if ((__atomic_load_n(&a->tmr[v >> 5], __ATOMIC_RELAXED) >> (v & 31) & 1) && !(a->svr & SVR_NO_EOI) &&
        en->out.eoi) {
        cpu_leave(c);
        en->out.eoi(en->opaque, (uint8_t)v);
        cpu_enter(c);
    }
    look_again(c);
}

/* ---- registers, by MMIO offset / 16 ---- */

static uint32_t x2_ldr(uint32_t id)
{
    return (id & ~0xfu) << 12 | 1u << (id & 15);
}

static bool register_read(struct cpu *c, uint32_t r, uint32_t *v)
{
    struct lapic *a = apic(c);

    switch (r) {
    case X86_LAPIC_ID:
        *v = a->id;
        return true;
    case X86_LAPIC_VERSION:
        *v = VERSION;
        return true;
    case X86_LAPIC_TPR:
        *v = a->tpr;
        return true;
    case 0x0a: /* PPR */
        *v = ppr(a);
        return true;
    case X86_LAPIC_LDR:
        *v = a->ldr;
        return true;
    case X86_LAPIC_DFR:
        *v = a->dfr;
        return !lapic_x2(a);
    case X86_LAPIC_SVR:
        *v = a->svr;
        return true;
    case X86_LAPIC_ESR:
        *v = a->esr;
        return true;
    case X86_LAPIC_ICR:
        *v = a->icr_low;
        return true;
    case X86_LAPIC_ICR2:
        *v = a->icr_high;
        return !lapic_x2(a);
    case X86_LAPIC_TIMER_INITIAL:
        *v = a->timer_initial;
        return true;
    case X86_LAPIC_TIMER_CURRENT:
        *v = lapic_timer_current(c);
        return true;
    case X86_LAPIC_TIMER_DIVIDE:
        *v = a->timer_divide;
        return true;
    default:
        break;
    }
    if (r >= X86_LAPIC_ISR && r < X86_LAPIC_ISR + 8)
        *v = a->isr[r - X86_LAPIC_ISR];
    else if (r >= X86_LAPIC_TMR && r < X86_LAPIC_TMR + 8)
        *v = __atomic_load_n(&a->tmr[r - X86_LAPIC_TMR], __ATOMIC_RELAXED);
    else if (r >= X86_LAPIC_IRR && r < X86_LAPIC_IRR + 8)
        *v = __atomic_load_n(&a->irr[r - X86_LAPIC_IRR], __ATOMIC_RELAXED);
    else if (r >= X86_LAPIC_LVT_TIMER && r <= X86_LAPIC_LVT_ERROR)
        *v = a->lvt[r - X86_LAPIC_LVT_TIMER];
    else
        return false;
    return true;
}

static void write_svr(struct cpu *c, uint32_t v)
{
    struct lapic *a = apic(c);

    put(&a->svr, v & 0x1ff);
    if (!(v & SVR_ENABLE))
        for (unsigned i = 0; i < 6; i++)
            a->lvt[i] |= LVT_MASKED;
    look_again(c);
}

static void write_lvt(struct cpu *c, unsigned i, uint32_t v)
{
    struct lapic *a = apic(c);
    uint32_t was = a->lvt[i];

    v &= lvt_writable[i] | LVT_MASKED;
    if (i == 0 && !cpu_has(c, X86_F_TSC_DEADLINE))
        v &= ~0x40000u;
    if (!(a->svr & SVR_ENABLE))
        v |= LVT_MASKED;
    a->lvt[i] = v;
    if (i == 0 && ((was ^ v) & 0x60000))
        lapic_timer_mode(c, was);
    look_again(c);
}

/* false: no such register, or not writable. */
static bool register_write(struct cpu *c, uint32_t r, uint32_t v)
{
    struct lapic *a = apic(c);

    switch (r) {
    case X86_LAPIC_ID:
        if (lapic_x2(a))
            return false;
        put(&a->id, v & 0xff000000u);
        return true;
    case X86_LAPIC_TPR:
        lapic_set_tpr(c, (uint8_t)v);
        return true;
    case 0x0b: /* EOI */
        end_of_interrupt(c);
        return true;
    case X86_LAPIC_LDR:
        if (lapic_x2(a))
            return false;
        put(&a->ldr, v & 0xff000000u);
        return true;
    case X86_LAPIC_DFR:
        if (lapic_x2(a))
            return false;
        put(&a->dfr, v | 0x0fffffffu);
        return true;
    case X86_LAPIC_SVR:
        write_svr(c, v);
        return true;
    case X86_LAPIC_ESR:
        a->esr = __atomic_exchange_n(&a->esr_next, 0, __ATOMIC_RELAXED);
        return true;
    case X86_LAPIC_ICR:
        a->icr_low = v & 0xcffff & ~0x1000u; /* delivery is at once: never "send pending" */
        lapic_send(c, a->icr_low, lapic_x2(a) ? a->icr_high : a->icr_high >> 24);
        return true;
    case X86_LAPIC_ICR2:
        a->icr_high = v & 0xff000000u;
        return !lapic_x2(a);
    case X86_LAPIC_TIMER_INITIAL:
        lapic_timer_start(c, v);
        return true;
    case X86_LAPIC_TIMER_DIVIDE:
        lapic_timer_divide(c, v & 0xb);
        return true;
    default:
        break;
    }
    if (r >= X86_LAPIC_LVT_TIMER && r <= X86_LAPIC_LVT_ERROR) {
        write_lvt(c, r - X86_LAPIC_LVT_TIMER, v);
        return true;
    }
    return false;
}

void lapic_error(struct cpu *c, uint32_t bits)
{
    struct lapic *a = apic(c);

    __atomic_fetch_or(&a->esr_next, bits, __ATOMIC_RELAXED);
    if (!(a->lvt[5] & LVT_MASKED) && (a->lvt[5] & 0xff) > 15)
        lapic_inject(c, (uint8_t)a->lvt[5], false);
}

/* ---- the xAPIC page: 32-bit registers at multiples of 16 ---- */

uint64_t lapic_mmio_read(struct cpu *c, uint64_t gpa, unsigned size)
{
    uint32_t off = (uint32_t)gpa & 0xfff, v = 0;

    if ((off & 0xf) > 3)
        return 0;
    if (!register_read(c, off >> 4, &v))
        lapic_error(c, ESR_ILLEGAL_REGISTER);
    return (v >> (off & 3) * 8) & mask_size(size > 4 ? 4 : size);
}

void lapic_mmio_write(struct cpu *c, uint64_t gpa, unsigned size, uint64_t value)
{
    uint32_t off = (uint32_t)gpa & 0xfff;

    if (size < 4 || (off & 0xf))
        return; /* undefined by the SDM (11.4.1): nothing */
    if (!register_write(c, off >> 4, (uint32_t)value))
        lapic_error(c, ESR_ILLEGAL_REGISTER);
}

/* ---- x2APIC MSRs (SDM 3A 11.12) ---- */

bool lapic_msr_read(struct cpu *c, uint32_t index, uint64_t *value)
{
    struct lapic *a = apic(c);
    uint32_t r = index - MSR_X2APIC_FIRST, v = 0;

    if (!lapic_x2(a) || r == 0x0b || r == 0x3f || !register_read(c, r, &v))
        return false;
    *value = r == X86_LAPIC_ICR ? v | (uint64_t)a->icr_high << 32 : v;
    return true;
}

bool lapic_msr_write(struct cpu *c, uint32_t index, uint64_t value)
{
    struct lapic *a = apic(c);
    uint32_t r = index - MSR_X2APIC_FIRST, v = (uint32_t)value;

    if (!lapic_x2(a))
        return false;
    if (r == X86_LAPIC_ICR) {
        if (v & ~0xccfffu)
            return false;
        a->icr_high = (uint32_t)(value >> 32);
        return register_write(c, r, v);
    }
    if (value >> 32)
        return false;
    switch (r) {
    case 0x3f: /* SELF IPI */
        if (v > 0xff)
            return false;
        lapic_inject(c, (uint8_t)v, false);
        return true;
    case 0x0b:
    case X86_LAPIC_ESR:
        if (v)
            return false;
        break;
    case X86_LAPIC_TPR:
        if (v > 0xff)
            return false;
        break;
    case X86_LAPIC_SVR:
        if (v & ~0x11ffu)
            return false;
        break;
    case X86_LAPIC_ICR2:
        return false;
    default:
        break;
    }
    if (r >= X86_LAPIC_LVT_TIMER && r <= X86_LAPIC_LVT_ERROR &&
        (v & ~(lvt_writable[r - X86_LAPIC_LVT_TIMER] | LVT_MASKED | 0x5000u)))
        return false;
    return register_write(c, r, v);
}

/* ---- IA32_APIC_BASE: modes and their transitions (SDM 3A 11.12.5) ---- */

bool lapic_base_write(struct cpu *c, uint64_t value, bool host)
{
    struct lapic *a = apic(c);
    uint64_t mode = value & (APIC_BASE_ENABLE | APIC_BASE_X2APIC),
             was = a->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);

    if (!host) {
        if ((mode & APIC_BASE_X2APIC) &&
            (mode != (APIC_BASE_ENABLE | APIC_BASE_X2APIC) || !cpu_has(c, X86_F_X2APIC)))
            return false;
        if ((was & APIC_BASE_X2APIC) && mode == APIC_BASE_ENABLE)
            return false;
        if (!was && (mode & APIC_BASE_X2APIC))
            return false;
        if (value & (c->priv->phys_reserved | 0xfff00000000002ffull))
            return false;
    }
    __atomic_store_n(&a->base, value, __ATOMIC_RELAXED);
    if (mode != was) {
        if (mode & APIC_BASE_X2APIC) {
            put(&a->id, c->index);
            put(&a->ldr, x2_ldr(c->index));
        } else if (!mode || (was & APIC_BASE_X2APIC)) {
            lapic_reset(c, false);
        }
    }
    tlb_reset(c);
    look_again(c);
    return true;
}

void lapic_reset(struct cpu *c, bool init)
{
    struct lapic *a = apic(c);
    bool keep = init && lapic_x2(a);
    uint32_t id = keep ? a->id : c->index << 24;

    put(&a->id, id);
    put(&a->ldr, keep ? x2_ldr(id) : 0);
    put(&a->dfr, 0xffffffff);
    put(&a->svr, 0xff);
    a->tpr = a->esr = a->icr_low = a->icr_high = a->timer_initial = a->timer_divide = 0;
    put(&a->esr_next, 0);
    a->tsc_deadline = 0;
    for (unsigned i = 0; i < 6; i++)
        a->lvt[i] = LVT_MASKED;
    for (unsigned i = 0; i < 8; i++) {
        a->isr[i] = 0;
        put(&a->tmr[i], 0);
        put(&a->irr[i], 0);
    }
    lapic_timer_off(c);
}

/* ---- state ---- */

void lapic_get(struct cpu *c, struct x86_lapic *out)
{
    struct lapic *a = apic(c);

    memset(out, 0, sizeof(*out));
    for (uint32_t r = 0; r < 64; r++)
        register_read(c, r, &out->regs[r]);
    out->regs[X86_LAPIC_DFR] = a->dfr;
    out->regs[X86_LAPIC_ICR2] = a->icr_high;
    out->timer_remaining_ns = lapic_timer_remaining(c);
}

void lapic_set(struct cpu *c, const struct x86_lapic *in, uint64_t deadline)
{
    struct lapic *a = apic(c);

    put(&a->id, lapic_x2(a) ? c->index : in->regs[X86_LAPIC_ID] & 0xff000000u);
    put(&a->ldr, lapic_x2(a) ? x2_ldr(c->index) : in->regs[X86_LAPIC_LDR] & 0xff000000u);
    put(&a->dfr, in->regs[X86_LAPIC_DFR] | 0x0fffffffu);
    put(&a->svr, in->regs[X86_LAPIC_SVR] & 0x11ff);
    a->tpr = in->regs[X86_LAPIC_TPR] & 0xff;
    a->esr = in->regs[X86_LAPIC_ESR];
    a->esr_next = 0;
    a->icr_low = in->regs[X86_LAPIC_ICR] & ~0x1000u;
    a->icr_high = in->regs[X86_LAPIC_ICR2];
    for (unsigned i = 0; i < 6; i++)
        a->lvt[i] = in->regs[X86_LAPIC_LVT_TIMER + i] & (lvt_writable[i] | LVT_MASKED);
    for (unsigned i = 0; i < 8; i++) {
        a->isr[i] = in->regs[X86_LAPIC_ISR + i];
        put(&a->tmr[i], in->regs[X86_LAPIC_TMR + i]);
        put(&a->irr[i], in->regs[X86_LAPIC_IRR + i]);
    }
    a->timer_initial = in->regs[X86_LAPIC_TIMER_INITIAL];
    a->timer_divide = in->regs[X86_LAPIC_TIMER_DIVIDE] & 0xb;
    lapic_timer_resume(c, in->timer_remaining_ns, deadline);
}
