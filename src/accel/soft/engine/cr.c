/*
 * cr: control registers with all their rules (SDM 3A 2.5, 4.1, 9.8.5).
 */
#include "accel/soft/engine/private.h"

static const uint64_t cr0_defined =
    CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;

/* CR4 bits that this CPU has. */
static uint64_t cr4_defined(const struct cpu *c)
{
    static const struct {
        uint64_t bits;
        uint32_t feature;
    } rows[] = {
        {CR4_VME | CR4_PVI, X86_FEATURE(X86_W_1_EDX, 1)},
        {CR4_TSD, X86_FEATURE(X86_W_1_EDX, 4)},
        {CR4_DE, X86_FEATURE(X86_W_1_EDX, 2)},
        {CR4_PSE, X86_FEATURE(X86_W_1_EDX, 3)},
        {CR4_PAE, X86_FEATURE(X86_W_1_EDX, 6)},
        {CR4_MCE, X86_FEATURE(X86_W_1_EDX, 7)},
        {CR4_PGE, X86_FEATURE(X86_W_1_EDX, 13)},
        {CR4_OSFXSR, X86_FEATURE(X86_W_1_EDX, 24)},
        {CR4_OSXMMEXCPT, X86_FEATURE(X86_W_1_EDX, 25)},
        {CR4_UMIP, X86_F_UMIP},
        {CR4_FSGSBASE, X86_F_FSGSBASE},
        {CR4_PCIDE, X86_F_PCID},
        {CR4_OSXSAVE, X86_F_XSAVE},
        {CR4_SMEP, X86_F_SMEP},
        {CR4_SMAP, X86_F_SMAP},
        {CR4_PKE, X86_F_PKU},
        {CR4_PKS, X86_F_PKS},
        {CR4_LA57, X86_F_LA57},
    };
    uint64_t all = CR4_PCE;

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (cpu_has(c, rows[i].feature))
            all |= rows[i].bits;
    return all;
}

static bool pae_tables(const struct cpu *c, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    (void)c;
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

static void set_cr0(struct cpu *c, uint64_t v)
{
    uint64_t was = c->cr0, efer = c->efer;

    if (v >> 32)
        cpu_gp(c, 0);
    v = (v & cr0_defined) | CR0_ET;
    if (((v & CR0_PG) && !(v & CR0_PE)) || ((v & CR0_NW) && !(v & CR0_CD)))
        cpu_gp(c, 0);
    if ((v & CR0_PG) && !(was & CR0_PG) && (efer & EFER_LME)) {
        if (!(c->cr4 & CR4_PAE) || (c->seg[X86_CS].attr & X86_SEG_L))
            cpu_gp(c, 0);
        efer |= EFER_LMA;
    }
    if (!(v & CR0_PG) && (was & CR0_PG)) {
        if (c->mode == MODE_64 || (c->cr4 & CR4_PCIDE))
            cpu_gp(c, 0);
        efer &= ~EFER_LMA;
    }
    if (pae_tables(c, v, c->cr4, efer) && ((v ^ was) & (CR0_PG | CR0_CD | CR0_NW)) &&
        !cpu_load_pdptes(c, c->cr3))
        cpu_gp(c, 0);
    c->cr0 = v;
    c->efer = efer;
    if ((v ^ was) & (CR0_PG | CR0_WP | CR0_PE))
        tlb_reset(c);
    cpu_update_mode(c);
}

static void set_cr3(struct cpu *c, uint64_t v)
{
    bool keep = false;

    if (c->long_mode) {
        if (c->cr4 & CR4_PCIDE) {
            keep = v >> 63;
            v &= ~(1ull << 63);
        }
        if (v & (c->priv->phys_reserved | 0xfff0000000000000ull))
            cpu_gp(c, 0);
    } else {
        v &= 0xffffffffull;
        if (pae_tables(c, c->cr0, c->cr4, c->efer) && !cpu_load_pdptes(c, v))
            cpu_gp(c, 0);
    }
    c->cr3 = v;
    tlb_new_pcid(c, c->cr4 & CR4_PCIDE ? v & 0xfff : 0, keep);
}

static void set_cr4(struct cpu *c, uint64_t v)
{
    const uint64_t flushing =
        CR4_PGE | CR4_PSE | CR4_PAE | CR4_SMEP | CR4_SMAP | CR4_PCIDE | CR4_PKE | CR4_PKS | CR4_LA57;
    uint64_t was = c->cr4;

    if (v & ~cr4_defined(c))
        cpu_gp(c, 0);
    if (c->long_mode && (!(v & CR4_PAE) || ((v ^ was) & CR4_LA57)))
        cpu_gp(c, 0);
    if ((v & CR4_PCIDE) && !(was & CR4_PCIDE) && (!c->long_mode || (c->cr3 & 0xfff)))
        cpu_gp(c, 0);
    if (pae_tables(c, c->cr0, v, c->efer) && ((v ^ was) & (CR4_PGE | CR4_PSE | CR4_PAE | CR4_SMEP)) &&
        !cpu_load_pdptes(c, c->cr3))
        cpu_gp(c, 0);
    c->cr4 = v;
    if ((v ^ was) & flushing)
        tlb_reset(c);
    cpu_update_mode(c);
}

void cpu_set_cr(struct cpu *c, unsigned cr, uint64_t value)
{
    switch (cr) {
    case 0:
        set_cr0(c, value);
        break;
    case 2:
        c->cr2 = value;
        break;
    case 3:
        set_cr3(c, value);
        break;
    case 4:
        set_cr4(c, value);
        break;
    case 8:
        if (value > 15)
            cpu_gp(c, 0);
        lapic_set_tpr(c, (uint8_t)(value << 4));
        break;
    default:
        cpu_ud(c);
    }
}

uint64_t cpu_get_cr(struct cpu *c, unsigned cr)
{
    switch (cr) {
    case 0:
        return c->cr0;
    case 2:
        return c->cr2;
    case 3:
        return c->cr3;
    case 4:
        return c->cr4;
    case 8:
        return lapic_tpr(c) >> 4;
    default:
        cpu_ud(c);
    }
}
