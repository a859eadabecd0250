/*
 * far: far jumps, calls and returns, call gates, IRET (SDM 2A CALL, JMP, IRET, RET; SDM 3A 5.8).
 *
 * A transfer collects the new CS, stack and flags in locals; when all checks and stores are done it is
 * committed in one piece.
 */
#include "accel/soft/engine/private.h"

static uint32_t sel_error(uint16_t sel)
{
    return sel & 0xfffc;
}

/* The offset is within the code segment that is about to be loaded. */
static uint64_t check_target(struct cpu *c, const struct descriptor *d, uint64_t off)
{
    if (c->long_mode && (d->attr & X86_SEG_L)) {
        if (!is_canonical(c, off))
            cpu_gp(c, 0);
        return off;
    }
    off &= 0xffffffffull;
    if (off > d->limit)
        cpu_gp(c, 0);
    return off;
}

/* Everything is checked, the accessed bit set. */
static void commit_cs(struct cpu *c, struct descriptor *d, uint16_t sel, unsigned cpl, uint64_t off)
{
    desc_to_seg(d, (uint16_t)((sel & 0xfffc) | cpl), &c->seg[X86_CS]);
    c->cpl = (uint8_t)cpl;
    c->next_rip = off;
    cpu_update_mode(c);
}

/* L and D may not both be set in long mode. */
static void check_code(struct cpu *c, const struct descriptor *d, uint16_t sel)
{
    if ((d->attr & (X86_SEG_S | 8)) != (X86_SEG_S | 8))
        cpu_gp(c, sel_error(sel));
    if (c->long_mode && (d->attr & X86_SEG_L) && (d->attr & X86_SEG_DB))
        cpu_gp(c, sel_error(sel));
}

static void fetch(struct cpu *c, uint16_t sel, struct descriptor *d)
{
    if (!sel_error(sel))
        cpu_gp(c, 0);
    if (!desc_fetch(c, sel, d))
        cpu_gp(c, sel_error(sel));
}

/* A code segment named directly by JMP or CALL. */
static void check_direct(struct cpu *c, struct descriptor *d, uint16_t sel)
{
    unsigned dpl = X86_SEG_DPL(d->attr), rpl = sel & 3;

    check_code(c, d, sel);
    if (d->attr & 4 ? dpl > c->cpl : rpl > c->cpl || dpl != c->cpl)
        cpu_gp(c, sel_error(sel));
    if (!(d->attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, sel_error(sel));
    desc_set_accessed(c, d);
}

static void real_transfer(struct cpu *c, uint16_t sel, uint64_t off)
{
    struct x86_seg *cs = &c->seg[X86_CS];

    if (cpu_v86(c)) {
        *cs = seg_v86(sel);
    } else {
        cs->sel = sel;
        cs->base = (uint64_t)sel << 4;
    }
    c->next_rip = off;
    cpu_update_mode(c);
}

static void check_real_target(struct cpu *c, uint64_t off)
{
    if (off > c->seg[X86_CS].limit)
        cpu_gp(c, 0);
}

/* ---- gates ---- */

struct call_gate {
    uint64_t offset;
    uint16_t sel;
    uint8_t size, params;
};

/* By the current instruction. */
static void switch_task(struct cpu *c, uint16_t sel, enum task_how how)
{
    task_switch(c, sel, &(struct task_cause){.how = how, .return_rip = c->next_rip, .flags = c->rflags});
    c->next_rip = c->rip;
}

/* What a system descriptor in a JMP or CALL leads to: a call gate is read into *g (true); a task is switched
 * to (false). */
static bool system_target(struct cpu *c, struct descriptor *d, uint16_t sel, bool call, struct call_gate *g)
{
    unsigned type = X86_SEG_TYPE(d->attr), dpl = X86_SEG_DPL(d->attr);
    uint32_t error = sel_error(sel);
    bool gate = type == 4 || type == 5 || type == 12, tss = type == 1 || type == 9;

    if (c->long_mode ? type != 12 : !gate && !tss)
        cpu_gp(c, error);
    if (dpl < c->cpl || dpl < (sel & 3u))
        cpu_gp(c, error);
    if (!(d->attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, error);
    if (type == 5 || tss) {
        switch_task(c, type == 5 ? (uint16_t)(d->low >> 16) : sel, call ? TASK_CALL : TASK_JUMP);
        return false;
    }
    g->sel = (uint16_t)(d->low >> 16);
    g->offset = (d->low & 0xffff) | (type == 12 ? d->high & 0xffff0000u : 0);
    g->params = d->high & 0x1f;
    g->size = type == 12 ? 4 : 2;
    if (c->long_mode) {
        d->base = 0;
        desc_fetch_system64(c, sel, d);
        g->offset |= d->base;
        g->size = 8;
    }
    return true;
}

static void gate_code(struct cpu *c, const struct call_gate *g, bool call, struct descriptor *d)
{
    fetch(c, g->sel, d);
    check_code(c, d, g->sel);
    unsigned dpl = X86_SEG_DPL(d->attr);
    bool conforming = d->attr & 4;
    if (dpl > c->cpl || (!call && !conforming && dpl != c->cpl))
        cpu_gp(c, sel_error(g->sel));
    if (c->long_mode && !(d->attr & X86_SEG_L))
        cpu_gp(c, sel_error(g->sel));
    if (!(d->attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, sel_error(g->sel));
    desc_set_accessed(c, d);
}

/* A stack other than the current one while it is filled. */
struct stack {
    const struct x86_seg *ss; /* NULL in 64-bit mode */
    uint64_t sp, mask;
    enum tlb_set set;
    uint32_t error;
};

static void stack_push(struct cpu *c, struct stack *s, unsigned size, uint64_t v)
{
    uint64_t at = (s->sp - size) & s->mask;

    if (s->ss ? !seg_holds(s->ss, at, size) : !is_canonical(c, at))
        cpu_raise_error(c, X86_SS_VEC, s->error);
    linear_store(c, s->ss ? (uint32_t)(s->ss->base + at) : at, &v, size, s->set);
    s->sp = (s->sp & ~s->mask) | at;
}

static enum tlb_set set_for(const struct cpu *c, unsigned cpl)
{
    if (cpl == 3)
        return TLB_USER;
    return (c->cr4 & CR4_SMAP) && !(c->rflags & X86_AC) ? TLB_SUPER_SMAP : TLB_SUPER;
}

static void call_inner_long(struct cpu *c, const struct call_gate *g, struct descriptor *d, unsigned cpl)
{
    struct stack s = {.mask = ~0ull, .set = set_for(c, cpl)};
    uint64_t target = check_target(c, d, g->offset);

    s.sp = tss_stack64(c, 4 + cpl * 8, 0);
    stack_push(c, &s, 8, c->seg[X86_SS].sel);
    stack_push(c, &s, 8, c->gpr[X86_RSP]);
    stack_push(c, &s, 8, c->seg[X86_CS].sel);
    stack_push(c, &s, 8, c->next_rip);
    c->seg[X86_SS] = seg_null(c, (uint16_t)cpl);
    c->gpr[X86_RSP] = s.sp;
    commit_cs(c, d, g->sel, cpl, target);
}

static void call_inner(struct cpu *c, const struct call_gate *g, struct descriptor *d, unsigned cpl)
{
    struct x86_seg ss;
    struct stack s = {.ss = &ss, .set = set_for(c, cpl)};
    uint64_t target = check_target(c, d, g->offset), params[31], old = c->gpr[X86_RSP];
    uint16_t sel;

    tss_stack(c, cpl, 0, &sel, &s.sp);
    seg_check_stack(c, sel, cpl, X86_TS, 0, &ss);
    s.mask = ss.attr & X86_SEG_DB ? 0xffffffffull : 0xffffull;
    s.error = sel_error(sel);
    for (unsigned i = g->params; i-- > 0;) { /* in the order in which they are pushed */
        uint64_t at = old + i * g->size;
        params[i] = cpu_pop_at(c, &at, g->size);
    }
    stack_push(c, &s, g->size, c->seg[X86_SS].sel);
    stack_push(c, &s, g->size, c->gpr[X86_RSP]);
    for (unsigned i = g->params; i-- > 0;)
        stack_push(c, &s, g->size, params[i]);
    stack_push(c, &s, g->size, c->seg[X86_CS].sel);
    stack_push(c, &s, g->size, c->next_rip);
    c->seg[X86_SS] = ss;
    c->gpr[X86_RSP] = (uint32_t)s.sp;
    commit_cs(c, d, g->sel, cpl, target);
}

static void call_gate(struct cpu *c, const struct call_gate *g)
{
    struct descriptor d;

    gate_code(c, g, true, &d);
    unsigned dpl = X86_SEG_DPL(d.attr);
    if (!(d.attr & 4) && dpl < c->cpl) {
        (c->long_mode ? call_inner_long : call_inner)(c, g, &d, dpl);
        return;
    }
    uint64_t target = check_target(c, &d, g->offset), sp = c->gpr[X86_RSP];
    cpu_push_at(c, &sp, g->size, c->seg[X86_CS].sel);
    cpu_push_at(c, &sp, g->size, c->next_rip);
    cpu_set_sp(c, sp);
    commit_cs(c, &d, g->sel, c->cpl, target);
}

/* ---- JMP, CALL ---- */

void cpu_far_jump(struct cpu *c, uint16_t sel, uint64_t off, unsigned opsize)
{
    struct descriptor d;
    struct call_gate g;

    off &= mask_size(opsize);
    if (cpu_real(c)) {
        check_real_target(c, off);
        real_transfer(c, sel, off);
        return;
    }
    fetch(c, sel, &d);
    if (d.attr & X86_SEG_S) {
        check_direct(c, &d, sel);
        commit_cs(c, &d, sel, c->cpl, check_target(c, &d, off));
    } else if (system_target(c, &d, sel, false, &g)) {
        gate_code(c, &g, false, &d);
        commit_cs(c, &d, g.sel, c->cpl, check_target(c, &d, g.offset));
    }
}

void cpu_far_call(struct cpu *c, uint16_t sel, uint64_t off, unsigned opsize)
{
    struct descriptor d;
    struct call_gate g;
    uint64_t sp = c->gpr[X86_RSP];

    off &= mask_size(opsize);
    if (cpu_real(c)) {
        check_real_target(c, off);
        cpu_push_at(c, &sp, opsize, c->seg[X86_CS].sel);
        cpu_push_at(c, &sp, opsize, c->next_rip);
        cpu_set_sp(c, sp);
        real_transfer(c, sel, off);
        return;
    }
    fetch(c, sel, &d);
    if (d.attr & X86_SEG_S) {
        check_direct(c, &d, sel);
        off = check_target(c, &d, off);
        cpu_push_at(c, &sp, opsize, c->seg[X86_CS].sel);
        cpu_push_at(c, &sp, opsize, c->next_rip);
        cpu_set_sp(c, sp);
        commit_cs(c, &d, sel, c->cpl, off);
    } else if (system_target(c, &d, sel, true, &g)) {
        call_gate(c, &g);
    }
}

/* ---- RET, IRET ---- */

/* The code segment a return goes to. */
static void return_code(struct cpu *c, uint16_t sel, struct descriptor *d)
{
    unsigned rpl = sel & 3;

    fetch(c, sel, d);
    check_code(c, d, sel);
    unsigned dpl = X86_SEG_DPL(d->attr);
    if (rpl < c->cpl || (d->attr & 4 ? dpl > rpl : dpl != rpl))
        cpu_gp(c, sel_error(sel));
    if (!(d->attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, sel_error(sel));
    desc_set_accessed(c, d);
}

/* The stack segment of a return to another privilege (or by IRET in 64-bit mode). */
static void return_stack(struct cpu *c, uint16_t sel, unsigned rpl, bool to_64, struct x86_seg *out)
{
    struct descriptor d;

    if (!sel_error(sel)) {
        if (!to_64 || rpl == 3 || (sel & 3u) != rpl)
            cpu_gp(c, 0);
        *out = seg_null(c, sel);
        return;
    }
    if (!desc_fetch(c, sel, &d))
        cpu_gp(c, sel_error(sel));
    if ((sel & 3u) != rpl || X86_SEG_DPL(d.attr) != rpl || (d.attr & (X86_SEG_S | 0xa)) != (X86_SEG_S | 2))
        cpu_gp(c, sel_error(sel));
    if (!(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_SS_VEC, sel_error(sel));
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, out);
}

static bool to_64(const struct cpu *c, const struct descriptor *d)
{
    return c->long_mode && (d->attr & X86_SEG_L);
}

/* Load the outer stack pointer by the width of the new stack. */
static void set_outer_sp(struct cpu *c, uint64_t sp)
{
    if (c->mode == MODE_64)
        c->gpr[X86_RSP] = sp;
    else if (c->seg[X86_SS].attr & X86_SEG_DB)
        c->gpr[X86_RSP] = (uint32_t)sp;
    else
        cpu_set_gpr(c, X86_RSP, 2, sp);
}

void cpu_far_ret(struct cpu *c, unsigned opsize, uint16_t pop)
{
    uint64_t sp = c->gpr[X86_RSP];
    uint64_t off = cpu_pop_at(c, &sp, opsize);
    uint16_t sel = cpu_pop_selector(c, &sp, opsize);
    struct descriptor d;
    struct x86_seg ss;

    if (cpu_real(c)) {
        check_real_target(c, off);
        cpu_set_sp(c, sp + pop);
        real_transfer(c, sel, off);
        return;
    }
    return_code(c, sel, &d);
    unsigned rpl = sel & 3;
    off = check_target(c, &d, off);
    if (rpl == c->cpl) {
        cpu_set_sp(c, sp + pop);
        commit_cs(c, &d, sel, rpl, off);
        return;
    }
    sp += pop;
    uint64_t outer = cpu_pop_at(c, &sp, opsize);
    uint16_t ss_sel = cpu_pop_selector(c, &sp, opsize);
    return_stack(c, ss_sel, rpl, to_64(c, &d), &ss);
    commit_cs(c, &d, sel, rpl, off);
    c->seg[X86_SS] = ss;
    set_outer_sp(c, outer + pop);
    seg_drop_inner(c);
    cpu_update_mode(c);
}

/* Flags that IRET may load at this size; privilege is cpu_set_rflags' matter. */
static uint64_t iret_flags(unsigned opsize)
{
    uint64_t low = X86_ARITH_FLAGS | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT;

    return opsize == 2 ? low : low | X86_RF | X86_AC | X86_ID | X86_VIF | X86_VIP;
}

static void iret_real(struct cpu *c, unsigned opsize)
{
    uint64_t sp = c->gpr[X86_RSP], mask = iret_flags(opsize);
    bool virtual = cpu_v86_virtual(c, opsize);

    if (cpu_v86(c))
        mask &= ~(uint64_t)(X86_IOPL | X86_VIF | X86_VIP);
    uint64_t off = cpu_pop_at(c, &sp, opsize);
    uint16_t sel = cpu_pop_selector(c, &sp, opsize);
    uint64_t flags = cpu_pop_at(c, &sp, opsize);
    if (virtual)
        cpu_check_virtual_flags(c, flags);
    check_real_target(c, off);
    cpu_set_sp(c, sp);
    if (virtual)
        cpu_set_virtual_flags(c, flags);
    else
        cpu_set_rflags(c, flags, mask);
    real_transfer(c, sel, off);
}

static void iret_to_v86(struct cpu *c, uint64_t sp, uint64_t off, uint16_t cs, uint64_t flags)
{
    uint64_t v[6]; /* ESP, SS, ES, DS, FS, GS */

    for (unsigned i = 0; i < 6; i++)
        v[i] = i ? cpu_pop_selector(c, &sp, 4) : cpu_pop_at(c, &sp, 4);
    if (off > 0xffff)
        cpu_gp(c, 0);
    c->rflags = (flags & 0x3f7fd7) | 2 | X86_VM;
    c->seg[X86_CS] = seg_v86(cs);
    c->seg[X86_SS] = seg_v86((uint16_t)v[1]);
    c->seg[X86_ES] = seg_v86((uint16_t)v[2]);
    c->seg[X86_DS] = seg_v86((uint16_t)v[3]);
    c->seg[X86_FS] = seg_v86((uint16_t)v[4]);
    c->seg[X86_GS] = seg_v86((uint16_t)v[5]);
    c->gpr[X86_RSP] = (uint32_t)v[0];
    c->cpl = 3;
    c->next_rip = off;
    cpu_update_mode(c);
}

static void iret_protected(struct cpu *c, unsigned opsize)
{
    uint64_t sp = c->gpr[X86_RSP];
    bool from_64 = c->mode == MODE_64;
    struct descriptor d;
    struct x86_seg ss = c->seg[X86_SS];

    if (c->rflags & X86_NT) {
        if (c->long_mode)
            cpu_gp(c, 0);
        switch_task(c, (uint16_t)cpu_sys_load(c, c->tr.base, 2), TASK_IRET);
        return;
    }
    uint64_t off = cpu_pop_at(c, &sp, opsize);
    uint16_t sel = cpu_pop_selector(c, &sp, opsize);
    uint64_t flags = cpu_pop_at(c, &sp, opsize), outer = 0;
    if ((flags & X86_VM) && c->cpl == 0 && !c->long_mode && opsize == 4) {
        iret_to_v86(c, sp, off, sel, flags);
        return;
    }
    return_code(c, sel, &d);
    unsigned rpl = sel & 3, was = c->cpl;
    bool stack = from_64 || rpl != c->cpl;
    if (stack) {
        outer = cpu_pop_at(c, &sp, opsize);
        uint16_t ss_sel = cpu_pop_selector(c, &sp, opsize);
        return_stack(c, ss_sel, rpl, to_64(c, &d), &ss);
    }
    off = check_target(c, &d, off);
    cpu_set_rflags(c, flags, iret_flags(opsize)); /* by the old CPL */
    if (!stack)
        cpu_set_sp(c, sp);
    commit_cs(c, &d, sel, rpl, off);
    if (stack) {
        c->seg[X86_SS] = ss;
        set_outer_sp(c, outer);
        if (rpl != was)
            seg_drop_inner(c);
        cpu_update_mode(c);
    }
}

void cpu_iret(struct cpu *c, unsigned opsize)
{
    if (cpu_real(c))
        iret_real(c, opsize);
    else
        iret_protected(c, opsize);
    cpu_unmask_nmi(c);
    c->leave_block = 1;
}
