/*
 * msr: model-specific registers. The table of x86/msr.h says which exist, which bits may be written and what
 * they start with; here is what some of them do.
 */
#include "accel/soft/engine/private.h"

static uint64_t *plain_field(struct cpu *c, uint32_t index)
{
    switch (index) {
    case MSR_STAR:
        return &c->star;
    case MSR_LSTAR:
        return &c->lstar;
    case MSR_CSTAR:
        return &c->cstar;
    case MSR_SYSCALL_MASK:
        return &c->sfmask;
    case MSR_KERNEL_GS_BASE:
        return &c->kernel_gs_base;
    case MSR_TSC_AUX:
        return &c->tsc_aux;
    case MSR_SYSENTER_CS:
        return &c->sysenter_cs;
    case MSR_SYSENTER_ESP:
        return &c->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &c->sysenter_eip;
    case MSR_PAT:
        return &c->pat;
    case MSR_XSS:
        return &c->xss;
    case MSR_PKRS:
        return &c->pkrs;
    case MSR_KVM_STEAL_TIME:
        return &c->steal_msr;
    default:
        return NULL;
    }
}

/* How many are stored; the count may be a taken-over process's word to the VMM. */
static uint32_t stored_count(const struct cpu *c)
{
    uint32_t n = __atomic_load_n(&c->msr_count, __ATOMIC_RELAXED);

    return n > X86_MAX_MSRS ? X86_MAX_MSRS : n;
}

static struct x86_msr *stored(struct cpu *c, uint32_t index)
{
    for (uint32_t i = 0, n = stored_count(c); i < n; i++)
        if (c->msrs[i].index == index)
            return &c->msrs[i];
    return NULL;
}

bool msr_read(struct cpu *c, uint32_t index, uint64_t *value)
{
    const struct x86_msr_info *row = x86_msr_find(&c->priv->cpuid, index);

    if (!row || (row->flags & X86_MSR_WRITEONLY))
        return false;
    if (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST)
        return lapic_msr_read(c, index, value);
    const uint64_t *field = plain_field(c, index);
    if (field) {
        *value = *field;
        return true;
    }
    switch (index) {
    case MSR_TSC:
        *value = cpu_tsc(c);
        return true;
    case MSR_TSC_ADJUST:
        *value = c->tsc_adjust;
        return true;
    case MSR_TSC_DEADLINE:
        *value = c->priv->lapic.tsc_deadline;
        return true;
    case MSR_APIC_BASE:
        *value = c->priv->lapic.base;
        return true;
    case MSR_EFER:
        *value = c->efer;
        return true;
    case MSR_FS_BASE:
        *value = c->seg[X86_FS].base;
        return true;
    case MSR_GS_BASE:
        *value = c->seg[X86_GS].base;
        return true;
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_OLD:
        *value = c->pvclock_msr;
        return true;
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_OLD:
        *value = c->wallclock_msr;
        return true;
    default:
        break;
    }
    const struct x86_msr *m = stored(c, index);
    *value = m ? m->value : x86_msr_reset(&c->priv->cpuid, index);
    return true;
}

static bool write_efer(struct cpu *c, uint64_t v)
{
    if (((v ^ c->efer) & EFER_LME) && (c->cr0 & CR0_PG))
        return false;
    if (((v & EFER_NXE) && !cpu_has(c, X86_F_NX)) || ((v & EFER_SCE) && !cpu_has(c, X86_F_SYSCALL)))
        return false;
    bool nx = (v ^ c->efer) & EFER_NXE;
    c->efer = (v & ~EFER_LMA) | (c->efer & EFER_LMA);
    if (nx)
        tlb_reset(c);
    cpu_update_mode(c);
    return true;
}

/* Eight memory types: 0, 1, 4 to 7 (SDM 3A 12.12.2). */
static bool pat_valid(uint64_t v)
{
    for (unsigned i = 0; i < 8; i++, v >>= 8)
        if ((v & 0xff) > 7 || (v & 0xff) == 2 || (v & 0xff) == 3)
            return false;
    return true;
}

static bool memory_type(uint64_t v)
{
    return v < 7 && v != 2 && v != 3;
}

/* Types and reserved bits of the memory type range registers (SDM 3A 12.11.2). */
static bool mtrr_valid(const struct cpu *c, uint32_t index, uint64_t v)
{
    uint64_t reserved = c->priv->phys_reserved | 0xfff0000000000000ull;

    if (index == MSR_MTRR_DEF_TYPE)
        return memory_type(v & 0xff);
    if (index >= MSR_MTRR_PHYSBASE0 && index < MSR_MTRR_PHYSBASE0 + 16) {
        if (index & 1)
            return !(v & (reserved | 0x7ff));
        return memory_type(v & 0xff) && !(v & (reserved | 0xf00));
    }
    if (index < MSR_MTRR_FIX64K || index > MSR_MTRR_FIX4K_C0 + 7)
        return true;
    for (unsigned i = 0; i < 8; i++)
        if (!memory_type(v >> (i * 8) & 0xff))
            return false;
    return true;
}

/* IA32_MCi_CTL takes all ones or all zeroes (SDM 3B 15.3.2.1). */
static bool is_bank_control(uint32_t index)
{
    return index >= MSR_MC0_CTL && index < MSR_MC0_CTL + 4 * 4 && (index & 3) == 0;
}

static void set_base(struct cpu *c, unsigned seg, uint64_t v)
{
    c->seg[seg].base = v;
    if (c->mode == MODE_64)
        c->fast_base[seg] = v;
}

static bool store(struct cpu *c, uint32_t index, uint64_t value)
{
    struct x86_msr *m = stored(c, index);

    if (!m) {
        uint32_t n = stored_count(c);
        if (n == X86_MAX_MSRS)
            return false;
        m = &c->msrs[n];
        m->index = index;
        c->msr_count = n + 1;
    }
    m->value = value;
    return true;
}

/* Registers that do something when written. -1: none of them. */
static int write_active(struct cpu *c, uint32_t index, uint64_t v, bool host)
{
    switch (index) {
    case MSR_TSC:
        tsc_write(c, v, host);
        return 1;
    case MSR_TSC_ADJUST:
        if (host)
            c->tsc_adjust = v; /* the TSC itself comes in its own field */
        else
            tsc_adjust_write(c, v);
        return 1;
    case MSR_TSC_DEADLINE:
        lapic_set_deadline(c, v);
        return 1;
    case MSR_APIC_BASE:
        return lapic_base_write(c, v, host);
    case MSR_EFER:
        return write_efer(c, v);
    case MSR_FS_BASE:
        set_base(c, X86_FS, v);
        return 1;
    case MSR_GS_BASE:
        set_base(c, X86_GS, v);
        return 1;
    case MSR_PKRS:
        tlb_new_keys(c, &c->priv->super_keys, (uint32_t)(v ^ c->pkrs));
        c->pkrs = v;
        return 1;
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_OLD:
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_OLD:
        return pvclock_write(c, index, v, host);
    case MSR_KVM_STEAL_TIME:
        steal_write(c, v);
        return 1;
    default:
        return -1;
    }
}

bool msr_write(struct cpu *c, uint32_t index, uint64_t value, bool host)
{
    const struct x86_msr_info *row = x86_msr_find(&c->priv->cpuid, index);
    uint64_t now = 0;

    if (!row)
        return false;
    if (!host) {
        if (row->flags & X86_MSR_READONLY)
            return false;
        if (row->flags & X86_MSR_IGNORE)
            return true;
        if (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST)
            return lapic_msr_write(c, index, value);
        if ((row->flags & X86_MSR_CANONICAL) && !is_canonical_base(c, value))
            return false;
        if (row->writable != ~0ull && msr_read(c, index, &now) && ((value ^ now) & ~row->writable))
            return false;
        if (index == MSR_PAT ? !pat_valid(value) : !mtrr_valid(c, index, value))
            return false;
        if (is_bank_control(index) && value && value != ~0ull)
            return false;
    }
    int done = write_active(c, index, value, host);
    if (done >= 0)
        return done;
    uint64_t *field = plain_field(c, index);
    if (field) {
        *field = value;
        return true;
    }
    return store(c, index, value);
}
