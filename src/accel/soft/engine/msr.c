/*
 * msr: RDMSR and WRMSR over the table of x86/msr.h. What has a home in struct cpu goes there; the rest is only stored.
 */
#include "accel/soft/engine/private.h"

static uint64_t *stored(struct cpu *c, uint32_t index, bool make)
{
    for (uint32_t i = 0; i < c->msr_count; i++)
        if (c->msrs[i].index == index)
            return &c->msrs[i].value;
    if (!make || c->msr_count == X86_MAX_MSRS)
        return NULL;
    c->msrs[c->msr_count] = (struct x86_msr){.index = index, .value = x86_msr_reset(&c->priv->cpuid, index)};
    return &c->msrs[c->msr_count++].value;
}

/* The field of struct cpu that simply is the MSR, or NULL. */
static uint64_t *plain(struct cpu *c, uint32_t index)
{
    switch (index) {
    case MSR_SYSENTER_CS:
        return &c->sysenter_cs;
    case MSR_SYSENTER_ESP:
        return &c->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &c->sysenter_eip;
    case MSR_STAR:
        return &c->star;
    case MSR_LSTAR:
        return &c->lstar;
    case MSR_CSTAR:
        return &c->cstar;
    case MSR_SYSCALL_MASK:
        return &c->sfmask;
    case MSR_FS_BASE:
        return &c->seg[X86_FS].base;
    case MSR_GS_BASE:
        return &c->seg[X86_GS].base;
    case MSR_KERNEL_GS_BASE:
        return &c->kernel_gs_base;
    case MSR_TSC_AUX:
        return &c->tsc_aux;
    case MSR_PAT:
        return &c->pat;
    case MSR_EFER:
        return &c->efer;
    case MSR_XSS:
        return &c->xss;
    case MSR_TSC_ADJUST:
        return &c->tsc_adjust;
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_OLD:
        return &c->wallclock_msr;
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_OLD:
        return &c->pvclock_msr;
    default:
        return NULL;
    }
}

bool msr_read(struct cpu *c, uint32_t index, uint64_t *value)
{
    const struct x86_msr_info *r = x86_msr_find(&c->priv->cpuid, index);
    const uint64_t *p;
    *value = 0;
    if (!r || (r->flags & X86_MSR_WRITEONLY))
        return false;
    if (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST)
        return lapic_msr_read(c, index, value);
    if (index == MSR_TSC)
        *value = c->engine->attached ? cpu_tsc(c) : 0;
    else if (index == MSR_APIC_BASE)
        *value = c->priv->lapic.base;
    else if (index == MSR_TSC_DEADLINE)
        *value = c->priv->lapic.tsc_deadline;
    else if ((p = plain(c, index)) || (p = stored(c, index, false)))
        *value = *p;
    else
        *value = x86_msr_reset(&c->priv->cpuid, index);
    return true;
}

/* ---- writing ---- */

/* Every byte is a memory type: 0, 1, 4, 5, 6, and with `uc_minus` 7 (SDM 3A tables 11-8 and 11-10). */
static bool memory_types(uint64_t value, unsigned bytes, bool uc_minus)
{
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t t = (uint8_t)(value >> i * 8);
        if (t == 2 || t == 3 || t > (uc_minus ? 7 : 6))
            return false;
    }
    return true;
}

static bool acceptable(uint32_t index, uint64_t value)
{
    if (index == MSR_PAT)
        return memory_types(value, 8, true);
    if (index == MSR_MTRR_DEF_TYPE)
        return memory_types(value, 1, false);
    if (index >= MSR_MTRR_PHYSBASE0 && index < MSR_MTRR_PHYSBASE0 + 16)
        return index & 1 ? !(value & 0x7ff) : memory_types(value, 1, false) && !(value & 0xf00);
    if (index == MSR_MTRR_FIX64K || index == MSR_MTRR_FIX16K_80 || index == MSR_MTRR_FIX16K_A0 ||
        (index >= MSR_MTRR_FIX4K_C0 && index < MSR_MTRR_FIX4K_C0 + 8))
        return memory_types(value, 8, false);
    if (index >= MSR_MC0_CTL && index < MSR_MC0_CTL + 16)
        return index % 4 == 1 ? value == 0 : index % 4 != 0 || value == 0 || value == ~0ull; /* STATUS is only cleared */
    return true;
}

static bool write_efer(struct cpu *c, uint64_t value)
{
    if (((value ^ c->efer) & EFER_LME) && (c->cr0 & CR0_PG))
        return false;
    if ((value & EFER_NXE) && !cpu_has(c, X86_F_NX))
        return false;
    uint64_t changed = value ^ c->efer;
    c->efer = (value & ~EFER_LMA) | (c->efer & EFER_LMA);
    if (changed & EFER_NXE)
        cpu_tlb_flush(c, true);
    cpu_update_mode(c);
    return true;
}

static void move_tsc(struct cpu *c, uint64_t by)
{
    c->tsc_offset += (int64_t)by;
    lapic_timer_rearm(c);
    pvclock_update(c);
}

/* What a guest's write does beyond being stored; by the host only the value is taken. */
static bool write_special(struct cpu *c, uint32_t index, uint64_t value, bool host)
{
    uint64_t by;
    switch (index) {
    case MSR_TSC:
        by = value - cpu_tsc(c);
        c->tsc_adjust += by; /* SDM 3B 17.17.3 */
        move_tsc(c, by);
        return true;
    case MSR_TSC_ADJUST:
        by = value - c->tsc_adjust;
        c->tsc_adjust = value;
        if (!host)
            move_tsc(c, by);
        return true;
    case MSR_APIC_BASE:
        return lapic_base_write(c, value, host);
    case MSR_TSC_DEADLINE:
        lapic_set_deadline(c, value);
        return true;
    case MSR_EFER:
        return write_efer(c, value);
    default: /* the paravirtual clock */
        if (!host)
            return pvclock_write(c, index, value);
        *plain(c, index) = value;
        pvclock_update(c);
        return true;
    }
}

static bool is_special(uint32_t index)
{
    switch (index) {
    case MSR_TSC:
    case MSR_TSC_ADJUST:
    case MSR_APIC_BASE:
    case MSR_TSC_DEADLINE:
    case MSR_EFER:
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_OLD:
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_OLD:
        return true;
    default:
        return false;
    }
}

bool msr_write(struct cpu *c, uint32_t index, uint64_t value, bool host)
{
    const struct x86_msr_info *r = x86_msr_find(&c->priv->cpuid, index);
    uint64_t was = 0, *p;
    if (!r)
        return false;
    if (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST)
        return lapic_msr_write(c, index, value);
    if (!(r->flags & X86_MSR_WRITEONLY))
        msr_read(c, index, &was);
    if (!host && ((r->flags & X86_MSR_READONLY) || !acceptable(index, value)))
        return false;
    if (!host && !(r->flags & X86_MSR_IGNORE) && ((value ^ was) & ~r->writable))
        return false;
    if ((r->flags & X86_MSR_CANONICAL) && !is_canonical(value))
        return false;
    if (!host && (r->flags & X86_MSR_IGNORE))
        return true;
    if (is_special(index))
        return write_special(c, index, value, host);
    p = plain(c, index);
    if (!p)
        p = stored(c, index, true);
    if (!p)
        return false;
    *p = value;
    if (index == MSR_FS_BASE || index == MSR_GS_BASE)
        cpu_update_mode(c); /* segment bases are cached */
    return true;
}

uint64_t cpu_rdmsr(struct cpu *c, uint32_t index)
{
    uint64_t value;
    if (!msr_read(c, index, &value))
        cpu_gp(c, 0);
    return value;
}

void cpu_wrmsr(struct cpu *c, uint32_t index, uint64_t value)
{
    if (!msr_write(c, index, value, false))
        cpu_gp(c, 0);
}
