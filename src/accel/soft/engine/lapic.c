/*
 * lapic: the local APIC, as xAPIC (one page of registers) and x2APIC (MSRs 0x800 to 0x83f). SDM 3A chapter 11.
 *
 * IRR and TMR bits are set by any thread (messages, IPIs); everything else is its own CPU's. The timer counts in guest time: one tick of the
 * bus clock is a nanosecond.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

enum {
    REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_APR = 0x09, REG_PPR = 0x0a, REG_EOI = 0x0b, REG_LDR = 0x0d, REG_DFR = 0x0e,
    REG_SVR = 0x0f, REG_ISR = 0x10, REG_TMR = 0x18, REG_IRR = 0x20, REG_ESR = 0x28, REG_ICR = 0x30, REG_ICR_HIGH = 0x31,
    REG_LVT = 0x32, REG_LVT_LAST = 0x37, REG_INITIAL = 0x38, REG_CURRENT = 0x39, REG_DIVIDE = 0x3e, REG_SELF_IPI = 0x3f,
};
enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR };
enum { MODE_FIXED, MODE_LOWEST, MODE_SMI, MODE_RESERVED, MODE_NMI, MODE_INIT, MODE_SIPI, MODE_EXTINT };
enum { ESR_SEND_ILLEGAL = 0x20, ESR_RECEIVE_ILLEGAL = 0x40, ESR_REGISTER = 0x80 };
enum { VERSION = 0x00050014, LVT_MASKED = 0x10000, LEVEL = 0x8000, ASSERT = 0x4000, SVR_ENABLE = 0x100 };
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE };

/* Bits of each LVT entry that software may write; delivery status and remote IRR are never set here. */
static const uint32_t lvt_mask[6] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

static struct lapic *apic(const struct cpu *c)
{
    return &c->priv->lapic;
}

static bool enabled(const struct lapic *l)
{
    return l->base & APIC_BASE_ENABLE;
}

static bool x2apic(const struct lapic *l)
{
    return (l->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
}

static bool software_enabled(const struct lapic *l)
{
    return enabled(l) && (l->svr & SVR_ENABLE);
}

/* ---- vectors as bits ---- */

static void set_bit(uint32_t *bits, unsigned v)
{
    __atomic_fetch_or(&bits[v / 32], 1u << v % 32, __ATOMIC_SEQ_CST);
}

static void clear_bit(uint32_t *bits, unsigned v)
{
    __atomic_fetch_and(&bits[v / 32], ~(1u << v % 32), __ATOMIC_SEQ_CST);
}

static bool test_bit(const uint32_t *bits, unsigned v)
{
    return __atomic_load_n(&bits[v / 32], __ATOMIC_SEQ_CST) >> v % 32 & 1;
}

static int highest(const uint32_t *bits)
{
    for (int i = 7; i >= 0; i--) {
        uint32_t w = __atomic_load_n(&bits[i], __ATOMIC_SEQ_CST);
        if (w)
            return i * 32 + 31 - __builtin_clz(w);
    }
    return -1;
}

static uint32_t ppr(const struct lapic *l)
{
    int isr = highest(l->isr);
    uint32_t in_service = isr < 0 ? 0 : (uint32_t)isr & 0xf0;
    return (l->tpr & 0xf0) >= in_service ? l->tpr : in_service;
}

int lapic_pending(struct cpu *c)
{
    struct lapic *l = apic(c);
    int v = software_enabled(l) ? highest(l->irr) : -1;
    return v >= 0 && ((uint32_t)v & 0xf0) > (ppr(l) & 0xf0) ? v : -1;
}

void lapic_accept(struct cpu *c, uint8_t vector)
{
    struct lapic *l = apic(c);
    clear_bit(l->irr, vector);
    set_bit(l->isr, vector);
}

bool lapic_extint(struct cpu *c)
{
    const struct lapic *l = apic(c);
    if (!__atomic_load_n(&l->extint, __ATOMIC_SEQ_CST))
        return false;
    return !enabled(l) || (!(l->lvt[LVT_LINT0] & LVT_MASKED) && (l->lvt[LVT_LINT0] >> 8 & 7) == MODE_EXTINT);
}

/* ---- delivery to one CPU ---- */

static void raise_error(struct cpu *c, uint32_t bits)
{
    struct lapic *l = apic(c);
    if (__atomic_fetch_or(&l->esr_next, bits, __ATOMIC_SEQ_CST) & bits)
        return;
    uint32_t lvt = __atomic_load_n(&l->lvt[LVT_ERROR], __ATOMIC_RELAXED);
    if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16) {
        set_bit(l->irr, lvt & 0xff);
        engine_poke(c->engine, c->index, ATT_INTR);
    }
}

static void deliver(struct cpu *c, unsigned mode, uint8_t vector, bool level)
{
    struct lapic *l = apic(c);
    switch (mode) {
    case MODE_FIXED:
    case MODE_LOWEST:
        if (!software_enabled(l))
            return;
        if (vector < 16) {
            raise_error(c, ESR_RECEIVE_ILLEGAL);
            return;
        }
        if (level)
            set_bit(l->tmr, vector);
        else
            clear_bit(l->tmr, vector);
        set_bit(l->irr, vector);
        engine_poke(c->engine, c->index, ATT_INTR);
        break;
    case MODE_NMI:
        engine_poke(c->engine, c->index, ATT_NMI);
        break;
    case MODE_INIT:
        engine_poke(c->engine, c->index, ATT_INIT);
        break;
    case MODE_SIPI:
        __atomic_store_n(&l->sipi_vector, vector, __ATOMIC_SEQ_CST);
        engine_poke(c->engine, c->index, ATT_SIPI);
        break;
    default: /* SMI: there is no SMM. ExtINT by message: only the wire of the PIC is there. */
        break;
    }
}

/* Does a destination name this CPU? (SDM 3A 11.6.2) `wide`: a 32-bit x2APIC destination. */
static bool matches(const struct lapic *l, uint32_t dest, bool logical, bool wide)
{
    if (dest == (wide ? 0xffffffffu : 0xffu))
        return true;
    if (!logical)
        return dest == l->id;
    if (x2apic(l))
        return dest >> 16 == l->ldr >> 16 && (dest & l->ldr & 0xffff);
    uint32_t mine = l->ldr >> 24;
    if (l->dfr >> 28 == 0xf)
        return mine & dest & 0xff;
    return (mine >> 4) == (dest >> 4 & 0xf) && (mine & dest & 0xf);
}

/* Send to all that match; lowest priority: to one, taking turns. */
static int send(struct engine *en, uint32_t dest, bool logical, bool wide, unsigned mode, uint8_t vector, bool level)
{
    int count = 0;
    uint32_t first = mode == MODE_LOWEST ? __atomic_fetch_add(&en->arb, 1, __ATOMIC_RELAXED) : 0;
    for (uint32_t i = 0; i < en->cpus; i++) {
        struct cpu *t = en->cpu[(first + i) % en->cpus];
        if (!enabled(apic(t)) || !matches(apic(t), dest, logical, wide))
            continue;
        if (mode == MODE_LOWEST && !software_enabled(apic(t)))
            continue;
        deliver(t, mode, vector, level);
        count++;
        if (mode == MODE_LOWEST)
            break;
    }
    return count;
}

/* Address and data as SDM 3A 11.11 lays them out. The redirection hint asks for one target of several. */
int engine_msi(struct engine *en, uint64_t address, uint32_t data)
{
    unsigned mode = data >> 8 & 7;
    bool logical = address >> 2 & 1, hint = address >> 3 & 1;
    if ((address & 0xfff00000) != APIC_BASE_ADDR)
        return 0;
    if (hint && logical && mode == MODE_FIXED)
        mode = MODE_LOWEST;
    return send(en, (uint32_t)(address >> 12) & 0xff, logical, false, mode, (uint8_t)data, data & LEVEL);
}

static void write_icr(struct cpu *c, uint32_t low, uint32_t high)
{
    struct lapic *l = apic(c);
    struct engine *en = c->engine;
    unsigned mode = low >> 8 & 7, shorthand = low >> 18 & 3;
    uint8_t vector = (uint8_t)low;
    bool level = low & LEVEL;
    l->icr_low = low & ~0x1000u;
    l->icr_high = high;
    c->leave_block = 1;
    if (mode == MODE_INIT && level && !(low & ASSERT))
        return; /* INIT level de-assert: of no effect on these processors */
    if ((mode == MODE_FIXED || mode == MODE_LOWEST) && vector < 16) {
        raise_error(c, ESR_SEND_ILLEGAL);
        return;
    }
    level = level && mode != MODE_FIXED && mode != MODE_LOWEST; /* IPIs are edge triggered */
    switch (shorthand) {
    case 0:
        send(en, x2apic(l) ? high : high >> 24, low & 0x800, x2apic(l), mode, vector, level);
        break;
    case 1:
        deliver(c, mode, vector, level);
        break;
    default:
        for (uint32_t i = 0; i < en->cpus; i++)
            if (shorthand == 2 || en->cpu[i] != c)
                deliver(en->cpu[i], mode == MODE_LOWEST ? MODE_FIXED : mode, vector, level);
    }
}

static void end_of_interrupt(struct cpu *c)
{
    struct lapic *l = apic(c);
    struct engine *en = c->engine;
    int v = highest(l->isr);
    if (v < 0)
        return;
    clear_bit(l->isr, (unsigned)v);
    if (test_bit(l->tmr, (unsigned)v)) {
        cpu_leave(c);
        en->out.eoi(en->opaque, (uint8_t)v);
        cpu_enter(c);
    }
    cpu_attention(c, ATT_INTR);
    c->leave_block = 1;
}

uint8_t lapic_tpr(const struct cpu *c)
{
    return (uint8_t)apic(c)->tpr;
}

void lapic_set_tpr(struct cpu *c, uint8_t tpr)
{
    apic(c)->tpr = tpr;
    cpu_attention(c, ATT_INTR);
    c->leave_block = 1;
}

/* ---- timer ---- */

static unsigned timer_mode(const struct lapic *l)
{
    return l->lvt[LVT_TIMER] >> 17 & 3;
}

/* Nanoseconds per count: the divide register is bits 0, 1 and 3 (SDM 3A figure 11-10). */
static uint64_t divider(const struct lapic *l)
{
    unsigned d = (l->timer_divide & 3) | (l->timer_divide >> 1 & 4);
    return d == 7 ? 1 : 2ull << d;
}

static void set_due(struct cpu *c, uint64_t due)
{
    apic(c)->timer_due = due;
    c->priv->timer_due = due;
    cpu_attention(c, ATT_TIMER); /* due at once, perhaps */
    c->leave_block = 1;
}

static void start_count(struct cpu *c, uint64_t now)
{
    struct lapic *l = apic(c);
    l->timer_start = now;
    set_due(c, l->timer_initial ? now + l->timer_initial * divider(l) : UINT64_MAX);
}

static uint32_t current_count(struct cpu *c)
{
    const struct lapic *l = apic(c);
    uint64_t now = engine_now(c->engine);
    if (timer_mode(l) == TIMER_DEADLINE || l->timer_due == UINT64_MAX)
        return 0;
    uint64_t left = l->timer_due > now ? l->timer_due - now : 0;
    if (!left && timer_mode(l) == TIMER_PERIODIC) {
        uint64_t period = l->timer_initial * divider(l);
        left = period - (now - l->timer_due) % period;
    }
    return (uint32_t)((left + divider(l) - 1) / divider(l));
}

void lapic_set_deadline(struct cpu *c, uint64_t tsc)
{
    struct lapic *l = apic(c);
    if (timer_mode(l) != TIMER_DEADLINE)
        return;
    l->tsc_deadline = tsc;
    set_due(c, tsc ? tsc_to_ns(c, tsc) : UINT64_MAX);
}

void lapic_timer_rearm(struct cpu *c)
{
    if (timer_mode(apic(c)) == TIMER_DEADLINE)
        lapic_set_deadline(c, apic(c)->tsc_deadline);
}

void lapic_timer_poll(struct cpu *c, uint64_t now)
{
    struct lapic *l = apic(c);
    uint32_t lvt = l->lvt[LVT_TIMER];
    if (now < l->timer_due)
        return;
    if (timer_mode(l) == TIMER_PERIODIC && l->timer_initial) {
        uint64_t period = l->timer_initial * divider(l);
        l->timer_due += ((now - l->timer_due) / period + 1) * period;
    } else {
        l->timer_due = UINT64_MAX;
        l->tsc_deadline = 0;
    }
    c->priv->timer_due = l->timer_due;
    if (!(lvt & LVT_MASKED))
        deliver(c, MODE_FIXED, (uint8_t)lvt, false);
}

static void write_lvt(struct cpu *c, unsigned i, uint32_t value)
{
    struct lapic *l = apic(c);
    unsigned was = timer_mode(l);
    value &= lvt_mask[i];
    if (i == LVT_TIMER && ((value >> 17 & 3) == 3 ||
                           ((value >> 17 & 3) == TIMER_DEADLINE && !cpu_has(c, X86_FEATURE(X86_W_1_ECX, 24)))))
        value &= ~0x60000u;
    if (!(l->svr & SVR_ENABLE))
        value |= LVT_MASKED;
    __atomic_store_n(&l->lvt[i], value, __ATOMIC_RELAXED);
    /* A change to or from deadline mode disarms (SDM 3A 11.5.4.1). */
    if (i == LVT_TIMER && (was == TIMER_DEADLINE) != (timer_mode(l) == TIMER_DEADLINE)) {
        l->tsc_deadline = 0;
        l->timer_initial = 0;
        set_due(c, UINT64_MAX);
    }
    if (i == LVT_LINT0) {
        cpu_attention(c, ATT_INTR); /* the PIC's line may pass now */
        c->leave_block = 1;
    }
}

static void write_svr(struct cpu *c, uint32_t value)
{
    struct lapic *l = apic(c);
    l->svr = value & 0x1ff;
    if (!(value & SVR_ENABLE))
        for (unsigned i = 0; i < 6; i++)
            l->lvt[i] |= LVT_MASKED;
    cpu_attention(c, ATT_INTR);
}

/* ---- registers; `r` is the offset / 16 of the page, the MSR number less 0x800 ---- */

static bool read_reg(struct cpu *c, unsigned r, uint32_t *v)
{
    const struct lapic *l = apic(c);
    switch (r) {
    case REG_ID:
        *v = x2apic(l) ? l->id : l->id << 24;
        break;
    case REG_VERSION:
        *v = VERSION;
        break;
    case REG_TPR:
        *v = l->tpr;
        break;
    case REG_PPR:
        *v = ppr(l);
        break;
    case REG_LDR:
        *v = l->ldr;
        break;
    case REG_DFR:
        *v = l->dfr;
        return !x2apic(l);
    case REG_SVR:
        *v = l->svr;
        break;
    case REG_ISR ... REG_ISR + 7:
        *v = l->isr[r - REG_ISR];
        break;
    case REG_TMR ... REG_TMR + 7:
        *v = __atomic_load_n(&l->tmr[r - REG_TMR], __ATOMIC_RELAXED);
        break;
    case REG_IRR ... REG_IRR + 7:
        *v = __atomic_load_n(&l->irr[r - REG_IRR], __ATOMIC_RELAXED);
        break;
    case REG_ESR:
        *v = l->esr;
        break;
    case REG_ICR:
        *v = l->icr_low;
        break;
    case REG_ICR_HIGH:
        *v = l->icr_high;
        return !x2apic(l);
    case REG_LVT ... REG_LVT_LAST:
        *v = l->lvt[r - REG_LVT];
        break;
    case REG_INITIAL:
        *v = l->timer_initial;
        break;
    case REG_CURRENT:
        *v = current_count(c);
        break;
    case REG_DIVIDE:
        *v = l->timer_divide;
        break;
    case REG_APR:
        *v = 0;
        return !x2apic(l);
    default:
        *v = 0;
        return false;
    }
    return true;
}

static bool write_reg(struct cpu *c, unsigned r, uint32_t v)
{
    struct lapic *l = apic(c);
    switch (r) {
    case REG_TPR:
        lapic_set_tpr(c, (uint8_t)v);
        break;
    case REG_EOI:
        end_of_interrupt(c);
        return !(x2apic(l) && v);
    case REG_LDR:
        if (x2apic(l))
            return false;
        l->ldr = v & 0xff000000;
        break;
    case REG_DFR:
        if (x2apic(l))
            return false;
        l->dfr = v | 0x0fffffff;
        break;
    case REG_SVR:
        write_svr(c, v);
        break;
    case REG_ESR:
        l->esr = __atomic_exchange_n(&l->esr_next, 0, __ATOMIC_SEQ_CST);
        return !(x2apic(l) && v);
    case REG_ICR:
        write_icr(c, v, l->icr_high);
        break;
    case REG_ICR_HIGH:
        if (x2apic(l))
            return false;
        l->icr_high = v;
        break;
    case REG_LVT ... REG_LVT_LAST:
        write_lvt(c, r - REG_LVT, v);
        break;
    case REG_INITIAL:
        if (timer_mode(l) != TIMER_DEADLINE) {
            l->timer_initial = v;
            start_count(c, engine_now(c->engine));
        }
        break;
    case REG_DIVIDE:
        l->timer_divide = v & 0xb;
        if (timer_mode(l) != TIMER_DEADLINE && l->timer_due != UINT64_MAX)
            start_count(c, engine_now(c->engine));
        break;
    case REG_SELF_IPI:
        if (!x2apic(l))
            return false;
        deliver(c, MODE_FIXED, (uint8_t)v, false);
        c->leave_block = 1;
        break;
    case REG_ID:
        return !x2apic(l); /* read-only, as on current processors */
    default:
        return false;
    }
    return true;
}

bool lapic_is_page(const struct cpu *c, uint64_t gpa)
{
    const struct lapic *l = apic(c);
    return enabled(l) && !x2apic(l) && (gpa ^ l->base) < 0x1000;
}

uint64_t lapic_mmio_read(struct cpu *c, uint64_t gpa, unsigned size)
{
    uint32_t v, byte = (uint32_t)gpa & 0xf;
    if (byte + size > 4)
        return 0; /* the upper 12 bytes of a register's slot: undefined (SDM 3A 11.4.1) */
    if (!read_reg(c, (uint32_t)(gpa & 0xfff) >> 4, &v))
        raise_error(c, ESR_REGISTER);
    return (uint64_t)v >> byte * 8;
}

void lapic_mmio_write(struct cpu *c, uint64_t gpa, unsigned size, uint64_t value)
{
    if (size < 4 || (gpa & 0xf))
        return;
    if (!write_reg(c, (uint32_t)(gpa & 0xfff) >> 4, (uint32_t)value))
        raise_error(c, ESR_REGISTER);
}

bool lapic_msr_read(struct cpu *c, uint32_t index, uint64_t *value)
{
    const struct lapic *l = apic(c);
    uint32_t v, r = index - MSR_X2APIC_FIRST;
    if (!x2apic(l) || r == REG_EOI || r == REG_SELF_IPI || !read_reg(c, r, &v))
        return false;
    *value = r == REG_ICR ? (uint64_t)l->icr_high << 32 | v : v;
    return true;
}

bool lapic_msr_write(struct cpu *c, uint32_t index, uint64_t value)
{
    uint32_t r = index - MSR_X2APIC_FIRST;
    if (!x2apic(apic(c)))
        return false;
    if (r == REG_ICR) {
        write_icr(c, (uint32_t)value, (uint32_t)(value >> 32));
        return true;
    }
    if (value >> 32 || r == REG_ID || (r == REG_EOI && value) || (r == REG_ESR && value) || (r == REG_TPR && value > 0xff))
        return false;
    return write_reg(c, r, (uint32_t)value);
}

/* ---- life ---- */

static void set_x2apic_ids(struct cpu *c)
{
    struct lapic *l = apic(c);
    if (x2apic(l)) {
        l->id = c->index;
        l->ldr = (l->id >> 4) << 16 | 1u << (l->id & 15);
        l->dfr = 0xffffffff;
    }
}

void lapic_reset(struct cpu *c, bool init)
{
    struct lapic *l = apic(c);
    uint64_t base = init ? l->base : APIC_BASE_ADDR | APIC_BASE_ENABLE | (c->index == 0 ? APIC_BASE_BSP : 0);
    uint32_t extint = __atomic_load_n(&l->extint, __ATOMIC_SEQ_CST), sipi = __atomic_load_n(&l->sipi_vector, __ATOMIC_SEQ_CST);
    memset(l, 0, sizeof *l);
    l->base = base;
    l->extint = extint;
    l->sipi_vector = sipi;
    l->id = c->index;
    l->dfr = 0xffffffff;
    l->svr = 0xff;
    for (unsigned i = 0; i < 6; i++)
        l->lvt[i] = LVT_MASKED;
    l->timer_due = c->priv->timer_due = UINT64_MAX;
    set_x2apic_ids(c);
}

bool lapic_base_write(struct cpu *c, uint64_t value, bool host)
{
    struct lapic *l = apic(c);
    const uint64_t known = APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE, address = ((1ull << 52) - 1) & ~0xfffull;
    const uint64_t mode = APIC_BASE_X2APIC | APIC_BASE_ENABLE;
    uint64_t was = l->base;
    if ((value & ~(known | address)) || (value & address & c->priv->phys_reserved) || (value & mode) == APIC_BASE_X2APIC)
        return false;
    if (!host) {
        if ((value & APIC_BASE_X2APIC) && !cpu_has(c, X86_FEATURE(X86_W_1_ECX, 21)))
            return false;
        /* From x2APIC only to disabled; from disabled only to xAPIC (SDM 3A figure 11-27). */
        if ((was & mode) == mode && (value & mode) == APIC_BASE_ENABLE)
            return false;
        if (!(was & APIC_BASE_ENABLE) && (value & mode) == mode)
            return false;
        if ((was & APIC_BASE_ENABLE) && !(value & APIC_BASE_ENABLE))
            lapic_reset(c, true);
    }
    l->base = value;
    if ((was ^ value) & APIC_BASE_X2APIC)
        set_x2apic_ids(c);
    if ((was ^ value) & (APIC_BASE_ENABLE | address))
        tlb_reset(c);
    cpu_attention(c, ATT_INTR);
    c->leave_block = 1;
    return true;
}

void lapic_get(struct cpu *c, struct x86_lapic *out)
{
    const struct lapic *l = apic(c);
    uint64_t now = c->engine->attached ? engine_now(c->engine) : 0;
    memset(out, 0, sizeof *out);
    for (unsigned r = 0; r < REG_CURRENT; r++)
        read_reg(c, r, &out->regs[r]);
    out->regs[REG_DIVIDE] = l->timer_divide;
    out->regs[REG_DFR] = l->dfr;
    out->regs[REG_ICR_HIGH] = l->icr_high;
    if (timer_mode(l) != TIMER_DEADLINE && l->timer_due != UINT64_MAX)
        out->timer_remaining_ns = l->timer_due > now ? l->timer_due - now : 1;
    if (c->engine->attached)
        out->regs[REG_CURRENT] = current_count(c);
}

void lapic_set(struct cpu *c, const struct x86_lapic *in, uint64_t deadline)
{
    struct lapic *l = apic(c);
    const uint32_t *r = in->regs;
    uint64_t now = c->engine->attached ? engine_now(c->engine) : 0;
    l->id = x2apic(l) ? r[REG_ID] : r[REG_ID] >> 24;
    l->ldr = r[REG_LDR];
    l->dfr = r[REG_DFR];
    l->svr = r[REG_SVR] & 0x1ff;
    l->tpr = r[REG_TPR] & 0xff;
    l->esr = r[REG_ESR];
    l->icr_low = r[REG_ICR];
    l->icr_high = r[REG_ICR_HIGH];
    for (unsigned i = 0; i < 6; i++)
        l->lvt[i] = r[REG_LVT + i] & lvt_mask[i];
    for (unsigned i = 0; i < 8; i++) {
        l->isr[i] = r[REG_ISR + i];
        __atomic_store_n(&l->tmr[i], r[REG_TMR + i], __ATOMIC_SEQ_CST);
        __atomic_store_n(&l->irr[i], r[REG_IRR + i], __ATOMIC_SEQ_CST);
    }
    l->timer_initial = r[REG_INITIAL];
    l->timer_divide = r[REG_DIVIDE] & 0xb;
    l->timer_start = now;
    l->tsc_deadline = 0;
    if (timer_mode(l) == TIMER_DEADLINE)
        lapic_set_deadline(c, deadline);
    else
        set_due(c, in->timer_remaining_ns ? now + in->timer_remaining_ns : UINT64_MAX);
}
