/*
 * mode: what follows from CS, SS, CR0, CR4, EFER and RFLAGS: how code decodes, which TLB set serves, which
 * segments need no checks.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

static void fast_segments(struct cpu *c)
{
    if (c->mode == MODE_64) { /* often: every system call and interrupt comes here */
        c->fast_read = c->fast_write = (1u << X86_SEGS) - 1;
        memset(c->fast_base, 0, sizeof c->fast_base);
        c->fast_base[X86_FS] = c->seg[X86_FS].base;
        c->fast_base[X86_GS] = c->seg[X86_GS].base;
        return;
    }
    c->fast_read = c->fast_write = 0;
    for (unsigned i = 0; i < X86_SEGS; i++) {
        const struct x86_seg *s = &c->seg[i];
        c->fast_base[i] = 0;
        if (s->base || s->limit != 0xffffffffu || (s->attr & (X86_SEG_UNUSABLE | 0xc)) == 4 ||
            (s->attr & X86_SEG_UNUSABLE))
            continue;
        bool code = s->attr & 8, rw = s->attr & 2;
        if (cpu_real(c) || !code || rw)
            c->fast_read |= (uint8_t)(1u << i);
        if (cpu_real(c) || (!code && rw))
            c->fast_write |= (uint8_t)(1u << i);
    }
}

static void choose_tlb(struct cpu *c)
{
    if (c->cpl == 3)
        c->tlb_user = (c->cr0 & CR0_AM) && (c->rflags & X86_AC) ? TLB_USER_CHECK : TLB_USER;
    else
        c->tlb_user = (c->cr4 & CR4_SMAP) && !(c->rflags & X86_AC) ? TLB_SUPER_SMAP : TLB_SUPER;
    c->tlb_now = c->tlb[c->tlb_user];
    cpu_update_jump(c);
}

void cpu_update_mode(struct cpu *c)
{
    c->long_mode = (c->efer & EFER_LMA) != 0;
    if (!cpu_pe(c))
        c->cpl = 0;
    else if (cpu_v86(c))
        c->cpl = 3;
    if (c->long_mode && !cpu_v86(c) && (c->seg[X86_CS].attr & X86_SEG_L))
        c->mode = MODE_64;
    else
        c->mode = c->seg[X86_CS].attr & X86_SEG_DB ? MODE_32 : MODE_16;
    choose_tlb(c);
    fast_segments(c);
    c->leave_block = 1;
}

void cpu_update_ac(struct cpu *c)
{
    choose_tlb(c);
}
