/*
 * state: struct cpu to and from struct x86_state.
 */
#include <errno.h>
#include <string.h>
#include "accel/soft/engine/private.h"
#include "base/range.h"

static void get_msrs(struct cpu *c, struct x86_state *s)
{
    size_t n;
    const struct x86_msr_info *t = x86_msr_table(&n);

    for (size_t i = 0; i < n; i++) {
        if (!(t[i].flags & X86_MSR_SAVE) || x86_msr_find(&c->priv->cpuid, t[i].first) != &t[i])
            continue;
        for (uint32_t k = 0; k < t[i].count; k++) {
            uint64_t v;
            if (msr_read(c, t[i].first + k, &v))
                x86_state_msr_set(s, t[i].first + k, v);
        }
    }
}

void engine_get(struct engine *en, unsigned cpu, struct x86_state *s)
{
    struct cpu *c = en->cpu[cpu];
    const struct cpu_private *p = c->priv;

    memset(s, 0, sizeof(*s));
    memcpy(s->gpr, c->gpr, sizeof(s->gpr));
    s->rip = c->rip;
    s->rflags = c->rflags;
    memcpy(s->seg, c->seg, sizeof(s->seg));
    s->ldtr = c->ldtr;
    s->tr = c->tr;
    s->gdtr = c->gdtr;
    s->idtr = c->idtr;
    s->cr0 = c->cr0;
    s->cr2 = c->cr2;
    s->cr3 = c->cr3;
    s->cr4 = c->cr4;
    s->cr8 = lapic_tpr(c) >> 4;
    s->efer = c->efer;
    s->xcr0 = c->xcr0;
    s->xss = c->xss;
    memcpy(s->pdpte, c->pdpte, sizeof(s->pdpte));
    s->pdpte_valid = (c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !c->long_mode;
    memcpy(s->dr, c->dr, sizeof(s->dr));
    s->dr6 = c->dr6;
    s->dr7 = c->dr7;
    s->mp_state = c->halted ? X86_MP_HALTED : c->mp_state;
    s->apic_base = p->lapic.base;
    s->fpu = c->fpu;
    if (p->has_inject)
        s->events = p->inject;
    s->events.shadow = c->shadow;
    uint32_t attention = __atomic_load_n(&c->attention, __ATOMIC_RELAXED);
    s->events.nmi_pending = (uint8_t)((attention & ATT_NMI ? 1 : 0) + (attention & ATT_NMI2 ? 1 : 0));
    s->events.nmi_masked = c->nmi_masked;
    s->events.sipi_vector = p->lapic.sipi_vector;
    lapic_get(c, &s->lapic);
    s->tsc_khz = p->tsc_khz;
    s->tsc = tsc_at(c, en->attached ? engine_now_outside(en) : 0);
    get_msrs(c, s);
}

static bool plausible(const struct cpu *c, const struct x86_state *s)
{
    if (!(s->rflags & 2) || ((s->cr0 & CR0_PG) && !(s->cr0 & CR0_PE)))
        return false;
    if ((s->efer & EFER_LMA) && !((s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && (s->efer & EFER_LME)))
        return false;
    if ((s->efer & EFER_LME) && (s->cr0 & CR0_PG) && !(s->efer & EFER_LMA))
        return false;
    if (s->msr_count > X86_MAX_MSRS || s->mp_state > X86_MP_UNINITIALIZED)
        return false;
    if ((s->cr4 & CR4_LA57 && !cpu_has(c, X86_F_LA57)) ||
        (s->xcr0 & ~(XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU)) || !(s->xcr0 & XCR0_X87))
        return false;
    return !((s->efer & EFER_LMA) && (s->rflags & X86_VM)) && !(s->cr3 & c->priv->phys_reserved);
}

static void set_registers(struct cpu *c, const struct x86_state *s)
{
    memcpy(c->gpr, s->gpr, sizeof(c->gpr));
    c->rip = c->next_rip = s->rip;
    c->rflags = (s->rflags & 0x3f7fd7) | 2;
    memcpy(c->seg, s->seg, sizeof(c->seg));
    c->ldtr = s->ldtr;
    c->tr = s->tr;
    c->gdtr = s->gdtr;
    c->idtr = s->idtr;
    c->cr0 = (s->cr0 & 0xe005003f) | CR0_ET;
    c->cr2 = s->cr2;
    c->cr3 = s->cr3;
    c->cr4 = s->cr4;
    c->efer = s->efer;
    c->xcr0 = s->xcr0;
    c->xss = s->xss;
    memcpy(c->dr, s->dr, sizeof(c->dr));
    c->dr6 = s->dr6;
    c->dr7 = s->dr7;
    c->fpu = s->fpu;
    c->cpl = (uint8_t)(s->cr0 & CR0_PE ? X86_SEG_DPL(s->seg[X86_SS].attr) : 0);
}

static void set_events(struct cpu *c, const struct x86_state *s)
{
    struct cpu_private *p = c->priv;
    const struct x86_events *e = &s->events;

    c->halted = s->mp_state == X86_MP_HALTED;
    c->mp_state = s->mp_state == X86_MP_HALTED ? X86_MP_RUNNABLE : s->mp_state;
    c->shadow = e->shadow & 3;
    c->shadow_set = 0;
    c->in_exception = 0;
    c->db_pending = 0;
    c->nmi_masked = e->nmi_masked;
    p->has_inject =
        e->exc_injected || e->exc_pending || e->int_injected || e->nmi_injected || e->triple_fault;
    p->inject = *e;
    p->lapic.sipi_vector = e->sipi_vector;
    /* a kick meant for this vCPU is not lost by setting its state */
    __atomic_fetch_and(&c->attention, ATT_KICK | ATT_STOP, __ATOMIC_SEQ_CST);
    cpu_attention(c, ATT_INTR | ATT_TIMER | (e->nmi_pending ? ATT_NMI : 0) |
                         (e->nmi_pending > 1 ? ATT_NMI2 : 0));
}

int engine_set(struct engine *en, unsigned cpu, const struct x86_state *s)
{
    struct cpu *c = en->cpu[cpu];
    uint64_t now = en->attached ? engine_now_outside(en) : 0;

    if (!plausible(c, s))
        return -EINVAL;
    set_registers(c, s);
    set_events(c, s);
    if (s->tsc_khz)
        tsc_set_khz(c, s->tsc_khz);
    c->tsc_offset = 0;
    c->tsc_offset = (int64_t)(s->tsc - tsc_at(c, now));
    lapic_base_write(c, s->apic_base, true);
    for (uint32_t i = 0; i < s->msr_count; i++)
        if (s->msrs[i].index != MSR_TSC_DEADLINE)
            msr_write(c, s->msrs[i].index, s->msrs[i].value, true);
    lapic_set(c, &s->lapic, x86_state_msr(s, MSR_TSC_DEADLINE, 0));
    lapic_set_tpr(c, (uint8_t)(s->cr8 << 4 | (s->lapic.regs[X86_LAPIC_TPR] & 0xf)));
    cpu_update_mode(c);
    if (s->pdpte_valid)
        memcpy(c->pdpte, s->pdpte, sizeof(c->pdpte));
    else if ((c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !c->long_mode)
        cpu_load_pdptes(c, c->cr3);
    debug_update(c);
    tlb_reset(c);
    block_flush(c);
    xcache_distrust(en);
    return 0;
}

void cpu_init_signal(struct cpu *c)
{
    struct x86_state s;
    uint64_t caches = c->cr0 & (CR0_CD | CR0_NW), xcr0 = c->xcr0, xss = c->xss;
    struct x86_fpu fpu = c->fpu;

    x86_state_reset(&s, c->priv->lapic.base & APIC_BASE_BSP, c->index);
    s.gpr[X86_RDX] = x86_cpuid_get(&c->priv->cpuid, 1, 0).eax;
    s.events.nmi_masked = 0;
    set_registers(c, &s);
    c->cr0 = CR0_ET | caches;
    c->xcr0 = xcr0;
    c->xss = xss;
    c->fpu = fpu;
    c->halted = c->shadow = c->in_exception = c->db_pending = 0;
    c->nmi_masked = 0;
    c->mp_state = s.mp_state;
    c->priv->has_inject = 0;
    lapic_reset(c, true);
    cpu_update_mode(c);
    debug_update(c);
    tlb_reset(c);
}
