/*
 * seg: descriptors and segment registers (SDM 3A 3.4, 5.5 to 5.8).
 */
#include "accel/soft/engine/private.h"

bool desc_fetch(struct cpu *c, uint16_t sel, struct descriptor *d)
{
    uint64_t base = c->gdtr.base;
    uint32_t limit = c->gdtr.limit;

    if (sel & 4) {
        if (c->ldtr.attr & X86_SEG_UNUSABLE)
            return false;
        base = c->ldtr.base;
        limit = c->ldtr.limit;
    }
    if ((sel | 7u) > limit)
        return false;
    d->at = base + (sel & ~7u);
    if (!c->long_mode)
        d->at = (uint32_t)d->at;
    uint64_t v = cpu_sys_load(c, d->at, 8);
    d->low = (uint32_t)v;
    d->high = (uint32_t)(v >> 32);
    d->base = (d->low >> 16) | (d->high & 0xff) << 16 | (d->high & 0xff000000u);
    d->limit = (d->low & 0xffff) | (d->high & 0xf0000);
    d->attr = d->high >> 8 & 0xf0ff;
    if (d->attr & X86_SEG_G)
        d->limit = d->limit << 12 | 0xfff;
    return true;
}

void desc_fetch_system64(struct cpu *c, uint16_t sel, struct descriptor *d)
{
    uint32_t limit = sel & 4 ? c->ldtr.limit : c->gdtr.limit;

    if ((sel & ~7u) + 15 > limit)
        cpu_gp(c, sel & 0xfffc);
    uint64_t v = cpu_sys_load(c, d->at + 8, 8);
    if (v >> 40 & 0x1f) /* the type field of the upper half must be 0 */
        cpu_gp(c, sel & 0xfffc);
    d->base |= v << 32;
}

bool desc_whole64(struct cpu *c, uint16_t sel, const struct descriptor *d)
{
    uint32_t limit = sel & 4 ? c->ldtr.limit : c->gdtr.limit;

    return (sel & ~7u) + 15 <= limit && !(cpu_sys_load(c, d->at + 8, 8) >> 40 & 0x1f);
}

void desc_set_accessed(struct cpu *c, struct descriptor *d)
{
    if (d->attr & 1)
        return;
    uint8_t type = (uint8_t)cpu_sys_load(c, d->at + 5, 1);
    cpu_sys_store(c, d->at + 5, 1, type | 1u);
    d->attr |= 1;
}

void desc_to_seg(const struct descriptor *d, uint16_t sel, struct x86_seg *s)
{
    *s = (struct x86_seg){.sel = sel, .base = d->base, .limit = d->limit, .attr = d->attr};
}

struct x86_seg seg_null(const struct cpu *c, uint16_t sel)
{
    (void)c;
    return (struct x86_seg){.sel = sel, .attr = X86_SEG_UNUSABLE | (sel & 3u) << 5};
}

struct x86_seg seg_v86(uint16_t sel)
{
    return (struct x86_seg){.sel = sel, .base = (uint64_t)sel << 4, .limit = 0xffff, .attr = 0xf3};
}

/* Real mode changes selector and base only; limits and the size bit stay as they were ("unreal" mode, SDM
 * 3A 9.9.2). */
static void load_real(struct cpu *c, unsigned seg, uint16_t sel)
{
    struct x86_seg *s = &c->seg[seg];

    if (cpu_v86(c)) {
        *s = seg_v86(sel);
    } else {
        s->sel = sel;
        s->base = (uint64_t)sel << 4;
        if (s->attr & X86_SEG_UNUSABLE)
            s->limit = 0xffff;
        s->attr = (s->attr & (X86_SEG_DB | X86_SEG_G)) | 0x93;
    }
}

static void load_stack(struct cpu *c, uint16_t sel)
{
    struct descriptor d;
    uint32_t error = sel & 0xfffc;

    if (!error) {
        if (c->mode != MODE_64 || c->cpl == 3 || (sel & 3) != c->cpl)
            cpu_gp(c, 0);
        c->seg[X86_SS] = seg_null(c, sel);
        return;
    }
    if (!desc_fetch(c, sel, &d))
        cpu_gp(c, error);
    if ((sel & 3) != c->cpl || X86_SEG_DPL(d.attr) != c->cpl ||
        (d.attr & (X86_SEG_S | 0xa)) != (X86_SEG_S | 2))
        cpu_gp(c, error);
    if (!(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_SS_VEC, error);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, &c->seg[X86_SS]);
}

static void load_data(struct cpu *c, unsigned seg, uint16_t sel)
{
    struct descriptor d;
    uint32_t error = sel & 0xfffc;

    if (!error) {
        c->seg[seg] = seg_null(c, sel);
        return;
    }
    if (!desc_fetch(c, sel, &d))
        cpu_gp(c, error);
    if (!(d.attr & X86_SEG_S) || (d.attr & 0xa) == 8)
        cpu_gp(c, error);
    unsigned dpl = X86_SEG_DPL(d.attr);
    if ((d.attr & 0xc) != 0xc && (dpl < c->cpl || dpl < (sel & 3u)))
        cpu_gp(c, error);
    if (!(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, error);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, &c->seg[seg]);
}

void cpu_load_seg(struct cpu *c, unsigned seg, uint16_t sel)
{
    if (cpu_real(c))
        load_real(c, seg, sel);
    else if (seg == X86_SS)
        load_stack(c, sel);
    else
        load_data(c, seg, sel);
    cpu_update_mode(c);
}

void seg_check_stack(struct cpu *c, uint16_t sel, unsigned dpl, uint8_t vector, unsigned ext,
                     struct x86_seg *out)
{
    struct descriptor d;
    uint32_t error = (sel & 0xfffcu) | ext;

    if (!(sel & 0xfffc))
        cpu_raise_error(c, vector, ext);
    if (!desc_fetch(c, sel, &d))
        cpu_raise_error(c, vector, error);
    if ((sel & 3u) != dpl || X86_SEG_DPL(d.attr) != dpl || (d.attr & (X86_SEG_S | 0xa)) != (X86_SEG_S | 2))
        cpu_raise_error(c, vector, error);
    if (!(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_SS_VEC, error);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, out);
}

void tss_stack(struct cpu *c, unsigned dpl, unsigned ext, uint16_t *ss, uint64_t *sp)
{
    bool wide = c->tr.attr & 8;
    unsigned at = wide ? 4 + dpl * 8 : 2 + dpl * 4;

    if (at + (wide ? 7 : 3) > c->tr.limit)
        cpu_raise_error(c, X86_TS, (c->tr.sel & 0xfffcu) | ext);
    *sp = cpu_sys_load(c, c->tr.base + at, wide ? 4 : 2);
    *ss = (uint16_t)cpu_sys_load(c, c->tr.base + at + (wide ? 4 : 2), 2);
}

uint64_t tss_stack64(struct cpu *c, unsigned at, unsigned ext)
{
    if (at + 7 > c->tr.limit)
        cpu_raise_error(c, X86_TS, (c->tr.sel & 0xfffcu) | ext);
    uint64_t sp = cpu_sys_load(c, c->tr.base + at, 8);
    if (!is_canonical(c, sp))
        cpu_raise_error(c, X86_SS_VEC, ext);
    return sp;
}

void seg_drop_inner(struct cpu *c)
{
    static const uint8_t data[] = {X86_ES, X86_DS, X86_FS, X86_GS};

    for (unsigned i = 0; i < 4; i++) {
        struct x86_seg *s = &c->seg[data[i]];
        if (!(s->attr & X86_SEG_UNUSABLE) && (s->attr & 0xc) != 0xc && X86_SEG_DPL(s->attr) < c->cpl)
            *s = (struct x86_seg){.base = s->base,
                                  .attr = X86_SEG_UNUSABLE}; /* the base stays: GS.base is the user's */
        else if ((s->attr & X86_SEG_UNUSABLE) && s->sel && (s->sel & 3u) < c->cpl)
            s->sel = 0;
    }
}

void cpu_branch(struct cpu *c, uint64_t target, unsigned opsize)
{
    target &= mask_size(opsize);
    if (c->mode == MODE_64 ? !is_canonical(c, target) : target > c->seg[X86_CS].limit)
        cpu_gp(c, 0);
    c->next_rip = target;
}

void cpu_set_rflags(struct cpu *c, uint64_t value, uint64_t mask)
{
    uint64_t was = c->rflags;
    uint64_t may = X86_ARITH_FLAGS | X86_TF | X86_DF | X86_NT | X86_AC | X86_ID | X86_RF;

    if (c->cpl <= (was >> 12 & 3))
        may |= X86_IF;
    if (c->cpl == 0)
        may |= X86_IOPL | X86_VIF | X86_VIP;
    may &= mask;
    c->rflags = (was & ~may) | (value & may) | 2;
    uint64_t changed = was ^ c->rflags;
    if (changed & X86_AC)
        cpu_update_ac(c);
    if (changed & (X86_TF | X86_IF | X86_RF))
        c->leave_block = 1;
}

uint64_t cpu_virtual_flags(const struct cpu *c)
{
    return (c->rflags & ~(uint64_t)X86_IF) | X86_IOPL | (c->rflags & X86_VIF ? X86_IF : 0);
}

void cpu_check_virtual_flags(struct cpu *c, uint64_t value)
{
    if ((value & X86_TF) || ((value & X86_IF) && (c->rflags & X86_VIP)))
        cpu_gp(c, 0);
}

void cpu_set_virtual_flags(struct cpu *c, uint64_t value)
{
    cpu_set_rflags(c, value, X86_ARITH_FLAGS | X86_TF | X86_DF | X86_NT);
    c->rflags = (c->rflags & ~(uint64_t)X86_VIF) | (value & X86_IF ? X86_VIF : 0);
}

void cpu_need_cpl0(struct cpu *c)
{
    if (c->cpl)
        cpu_gp(c, 0);
}
