/*
 * excp: delivery of interrupts and exceptions, in real mode, protected mode (with v8086 and task gates) and
 * 64-bit mode (SDM 3A chapter 6).
 *
 * Nothing of the new context is committed before the last push has succeeded, so a fault in delivery finds
 * the interrupted context whole and is delivered from there; in_exception says what was being delivered then
 * (table 6-5).
 */
#include <stdio.h>
#include "accel/soft/engine/private.h"

struct event {
    uint64_t return_rip, flags;
    uint32_t error;
    uint8_t vector, has_error, soft, int_n;
    uint8_t ext; /* error-code bit of faults during this delivery */
};

/* The new stack while it is filled. */
struct frame {
    const struct x86_seg *ss; /* NULL: 64-bit, no limits */
    uint64_t sp, mask;
    enum tlb_set set;
    uint32_t error; /* of the #SS that leaving the segment raises */
};

static void push(struct cpu *c, struct frame *f, unsigned size, uint64_t v)
{
    uint64_t at = (f->sp - size) & f->mask;

    if (!f->ss) {
        if (!is_canonical(c, at) || !is_canonical(c, at + size - 1))
            cpu_raise_error(c, X86_SS_VEC, f->error);
        linear_store(c, at, &v, size, f->set);
    } else {
        if (!seg_holds(f->ss, at, size))
            cpu_raise_error(c, X86_SS_VEC, f->error);
        linear_store(c, (uint32_t)(f->ss->base + at), &v, size, f->set);
    }
    f->sp = (f->sp & ~f->mask) | at;
}

static enum tlb_set set_for(const struct cpu *c, unsigned cpl)
{
    if (cpl == 3)
        return TLB_USER;
    return (c->cr4 & CR4_SMAP) && !(c->rflags & X86_AC) ? TLB_SUPER_SMAP : TLB_SUPER;
}

static uint32_t idt_error(const struct event *ev)
{
    return ev->vector * 8u + 2 + ev->ext;
}

static void enter_handler(struct cpu *c, uint64_t rip, uint64_t sp, uint64_t sp_mask, bool interrupt_gate)
{
    c->gpr[X86_RSP] = (c->gpr[X86_RSP] & ~sp_mask) | (sp & sp_mask);
    if (sp_mask == 0xffffffffull)
        c->gpr[X86_RSP] = (uint32_t)c->gpr[X86_RSP];
    c->rflags &= ~(uint64_t)(X86_TF | X86_NT | X86_RF | X86_VM);
    if (interrupt_gate)
        c->rflags &= ~(uint64_t)X86_IF;
    c->rip = c->next_rip = rip;
    cpu_update_mode(c);
}

/* ---- real mode ---- */

static void deliver_real(struct cpu *c, const struct event *ev)
{
    struct frame f = {.ss = &c->seg[X86_SS],
                      .sp = c->gpr[X86_RSP],
                      .mask = mask_size(cpu_stack_size(c)),
                      .set = set_for(c, 0)};

    if (ev->vector * 4u + 3 > c->idtr.limit)
        cpu_gp(c, 0);
    uint32_t entry = (uint32_t)cpu_sys_load(c, c->idtr.base + ev->vector * 4u, 4);
    push(c, &f, 2, ev->flags);
    push(c, &f, 2, c->seg[X86_CS].sel);
    push(c, &f, 2, ev->return_rip);
    struct x86_seg cs = c->seg[X86_CS];
    cs.sel = (uint16_t)(entry >> 16);
    cs.base = (uint64_t)cs.sel << 4;
    c->seg[X86_CS] = cs;
    c->rflags &= ~(uint64_t)X86_AC;
    uint64_t nt = c->rflags & X86_NT; /* stays (SDM 2A INT n) */
    enter_handler(c, entry & 0xffff, f.sp, f.mask, true);
    c->rflags |= nt;
}

/* ---- INT n in v8086 mode (SDM 3A 20.3.3) ---- */

/* The bit map below the map of ports says which go to the program's own handlers. */
static bool redirected(struct cpu *c, uint8_t vector)
{
    if (!(c->tr.attr & 8) || c->tr.limit < 0x67)
        cpu_gp(c, 0);
    uint32_t at = (uint32_t)cpu_sys_load(c, c->tr.base + 0x66, 2) - 32u + vector / 8u;
    if (at > c->tr.limit)
        cpu_gp(c, 0);
    return !(cpu_sys_load(c, c->tr.base + at, 1) >> (vector & 7) & 1);
}

/* As in real mode; what is IF to the program is VIF when IOPL is below 3. */
static void deliver_redirected(struct cpu *c, const struct event *ev)
{
    bool virtual = cpu_v86_virtual(c, 2);
    uint64_t sp = c->gpr[X86_RSP];
    uint32_t entry = (uint32_t)cpu_sys_load(c, ev->vector * 4u, 4);

    cpu_push_at(c, &sp, 2, (virtual ? cpu_virtual_flags(c) : ev->flags) & 0xffff);
    cpu_push_at(c, &sp, 2, c->seg[X86_CS].sel);
    cpu_push_at(c, &sp, 2, ev->return_rip & 0xffff);
    cpu_set_sp(c, sp);
    c->seg[X86_CS] = seg_v86((uint16_t)(entry >> 16));
    c->rflags &= ~(uint64_t)(X86_TF | X86_RF | (virtual ? X86_VIF : X86_IF));
    c->rip = c->next_rip = entry & 0xffff;
    cpu_update_mode(c);
}

/* ---- gates ---- */

struct gate {
    uint64_t offset;
    uint16_t sel;
    uint8_t type, dpl, ist;
};

static void read_gate(struct cpu *c, const struct event *ev, struct gate *g)
{
    unsigned wide = c->long_mode ? 16 : 8;
    uint32_t at = ev->vector * wide;

    if (at + wide - 1 > c->idtr.limit)
        cpu_gp(c, idt_error(ev));
    uint64_t low = cpu_sys_load(c, c->idtr.base + at, 8);
    uint64_t high = c->long_mode ? cpu_sys_load(c, c->idtr.base + at + 8, 8) : 0;
    g->type = low >> 40 & 0x1f;
    g->dpl = low >> 45 & 3;
    g->ist = low >> 32 & 7;
    g->sel = (uint16_t)(low >> 16);
    g->offset = (low & 0xffff) | (low >> 32 & 0xffff0000u) | high << 32;
    bool known =
        g->type == 0xe || g->type == 0xf || (!c->long_mode && (g->type == 5 || g->type == 6 || g->type == 7));
    if (!known)
        cpu_gp(c, idt_error(ev));
    if (ev->soft && g->dpl < c->cpl)
        cpu_gp(c, idt_error(ev));
    if (!(low >> 47 & 1))
        cpu_raise_error(c, X86_NP, idt_error(ev));
    if (g->type == 6 || g->type == 7)
        g->offset &= 0xffff;
}

/* The handler's code segment, and the privilege it runs at. */
static unsigned handler_code(struct cpu *c, const struct event *ev, const struct gate *g,
                             struct descriptor *d)
{
    uint32_t error = (g->sel & 0xfffcu) | ev->ext;

    if (!(g->sel & 0xfffc))
        cpu_gp(c, ev->ext);
    if (!desc_fetch(c, g->sel, d))
        cpu_gp(c, error);
    unsigned dpl = X86_SEG_DPL(d->attr);
    if (!(d->attr & X86_SEG_S) || !(d->attr & 8) || dpl > c->cpl)
        cpu_gp(c, error);
    if (c->long_mode && ((d->attr & (X86_SEG_L | X86_SEG_DB)) != X86_SEG_L))
        cpu_gp(c, error);
    if (!(d->attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, error);
    return d->attr & 4 ? c->cpl : dpl;
}

static void commit_code(struct cpu *c, const struct gate *g, struct descriptor *d, unsigned cpl)
{
    desc_set_accessed(c, d);
    desc_to_seg(d, (uint16_t)((g->sel & 0xfffc) | cpl), &c->seg[X86_CS]);
    c->cpl = (uint8_t)cpl;
}

/* ---- 64-bit mode (SDM 3A 6.14) ---- */

static void deliver_long(struct cpu *c, const struct event *ev)
{
    struct gate g;
    struct descriptor d;

    read_gate(c, ev, &g);
    unsigned cpl = handler_code(c, ev, &g, &d);
    if (!is_canonical(c, g.offset))
        cpu_gp(c, ev->ext);

    struct frame f = {.sp = c->gpr[X86_RSP], .mask = ~0ull, .set = set_for(c, cpl), .error = ev->ext};
    if (g.ist)
        f.sp = tss_stack64(c, 0x24 + (g.ist - 1u) * 8, ev->ext);
    else if (cpl < c->cpl)
        f.sp = tss_stack64(c, 4 + cpl * 8, ev->ext);
    f.sp &= ~0xfull;
    /* as they lie in memory */
    const uint64_t words[6] = {ev->error, ev->return_rip,  c->seg[X86_CS].sel,
                               ev->flags, c->gpr[X86_RSP], c->seg[X86_SS].sel};
    unsigned first = ev->has_error ? 0 : 1;
    if (linear_store_known(c, f.sp - (6 - first) * 8, words + first, 6 - first, f.set))
        f.sp -= (6 - first) * 8;
    else
        for (unsigned i = 6; i-- > first;)
            push(c, &f, 8, words[i]);
    if (cpl != c->cpl)
        c->seg[X86_SS] = seg_null(c, (uint16_t)cpl);
    commit_code(c, &g, &d, cpl);
    enter_handler(c, g.offset, f.sp, ~0ull, g.type == 0xe);
}

/* ---- 16- and 32-bit protected mode, v8086 (SDM 3A 6.12, 20.3) ---- */

static void push_v86_segments(struct cpu *c, struct frame *f, unsigned size)
{
    push(c, f, size, c->seg[X86_GS].sel);
    push(c, f, size, c->seg[X86_FS].sel);
    push(c, f, size, c->seg[X86_DS].sel);
    push(c, f, size, c->seg[X86_ES].sel);
}

static void deliver_protected(struct cpu *c, const struct event *ev)
{
    struct gate g;
    struct descriptor d;
    struct x86_seg ss = c->seg[X86_SS];
    bool v86 = cpu_v86(c);

    if (v86 && ev->int_n) {
        if ((c->cr4 & CR4_VME) && redirected(c, ev->vector)) {
            deliver_redirected(c, ev);
            return;
        }
        if ((c->rflags & X86_IOPL) != X86_IOPL)
            cpu_gp(c, 0);
    }
    read_gate(c, ev, &g);
    if (g.type == 5) {
        task_switch(c, g.sel,
                    &(struct task_cause){.how = TASK_INTERRUPT,
                                         .return_rip = ev->return_rip,
                                         .flags = ev->flags,
                                         .has_error = ev->has_error,
                                         .error = ev->error,
                                         .ext = ev->ext});
        return;
    }
    unsigned cpl = handler_code(c, ev, &g, &d), size = g.type & 8 ? 4 : 2;
    if (v86 && cpl != 0)
        cpu_gp(c, (g.sel & 0xfffcu) | ev->ext);

    struct frame f = {.ss = &ss, .sp = c->gpr[X86_RSP], .set = set_for(c, cpl), .error = ev->ext};
    bool inner = cpl < c->cpl;
    if (inner) {
        uint16_t sel;
        tss_stack(c, cpl, ev->ext, &sel, &f.sp);
        seg_check_stack(c, sel, cpl, X86_TS, ev->ext, &ss);
        f.error = (sel & 0xfffcu) | ev->ext;
    }
    f.mask = ss.attr & X86_SEG_DB ? 0xffffffffull : 0xffffull;
    if (g.offset > d.limit)
        cpu_gp(c, ev->ext);
    if (inner) {
        if (v86)
            push_v86_segments(c, &f, size);
        push(c, &f, size, c->seg[X86_SS].sel);
        push(c, &f, size, c->gpr[X86_RSP]);
    }
    push(c, &f, size, ev->flags);
    push(c, &f, size, c->seg[X86_CS].sel);
    push(c, &f, size, ev->return_rip);
    if (ev->has_error)
        push(c, &f, size, ev->error);

    uint64_t sp_mask = f.mask;
    if (inner) {
        if (v86) {
            c->seg[X86_GS] = c->seg[X86_FS] = c->seg[X86_DS] = c->seg[X86_ES] = seg_null(c, 0);
            c->rflags &= ~(uint64_t)X86_VM;
        }
        c->seg[X86_SS] = ss;
        sp_mask = 0xffffffffull; /* the whole of ESP is loaded from the TSS */
    }
    commit_code(c, &g, &d, cpl);
    enter_handler(c, g.offset, f.sp, sp_mask, !(g.type & 1));
}

static void log_event(struct cpu *c, const struct event *ev)
{
    char line[160];

    snprintf(line, sizeof(line), "cpu%u: vector %u%s error %#x at %#x:%#llx cpl %u cr2 %#llx", c->index,
             ev->vector, ev->soft ? " (soft)" : "", ev->has_error ? ev->error : 0, c->seg[X86_CS].sel,
             (unsigned long long)c->rip, c->cpl, (unsigned long long)c->cr2);
    c->engine->out.log(c->engine->opaque, 3, line);
}

static void deliver(struct cpu *c, const struct event *ev)
{
    if (c->engine->log_exceptions)
        log_event(c, ev);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* stores do not wait beyond it (SDM 3A 11.10) */
    if (!cpu_pe(c))
        deliver_real(c, ev);
    else if (c->long_mode)
        deliver_long(c, ev);
    else
        deliver_protected(c, ev);
    c->in_exception = 0;
    c->halted = 0; /* a single-stepped HLT, too, ends with its trap */
    c->shadow = 0;
    c->leave_block = 1;
    c->priv->no_stop_at = c->icount;
    /* stacks and tables may have breakpoints, too: the trap comes at the handler's first instruction */
    if (unlikely(c->db_pending | c->debug_exit))
        cpu_attention(c, ATT_DEBUG);
}

void cpu_deliver_interrupt(struct cpu *c, uint8_t vector)
{
    struct event ev = {.vector = vector, .ext = 1, .return_rip = c->rip, .flags = c->rflags};

    c->in_exception = 0;
    deliver(c, &ev);
    c->priv->n_intr++;
}

/* What an exception counts as while it is delivered (SDM 3A table 6-4). */
static uint8_t class_of(uint8_t vector)
{
    switch (vector) {
    case X86_DE:
    case X86_TS:
    case X86_NP:
    case X86_SS_VEC:
    case X86_GP:
        return 1;
    case X86_PF_VEC:
        return 2;
    case X86_DF_VEC:
        return 3;
    default:
        return 0;
    }
}

void cpu_triple_fault(struct cpu *c)
{
    c->in_exception = 0;
    cpu_exit(c, ENGINE_TRIPLE_FAULT);
}

/* #DB: the bits that say why go to DR6 now that it is delivered (SDM 3B 17.2.3); DR7.GD is cleared. */
static void commit_debug(struct cpu *c)
{
    c->dr6 = (c->dr6 & ~0xfull) | c->priv->exc_dr6;
    c->dr7 &= ~0x2000ull;
}

void cpu_deliver_fault(struct cpu *c)
{
    struct event ev = {.vector = c->fault_vector, .error = c->fault_error, .has_error = c->fault_has_error};
    uint8_t soft = c->fault_soft, class = soft ? 0 : class_of(ev.vector);

    if (c->priv->holds_world) {
        c->priv->holds_world = 0;
        world_go(c->engine);
        cpu_enter(c);
    }
    ev.soft = soft == SOFT_INT_N || soft == SOFT_INT3;
    ev.int_n = soft == SOFT_INT_N;
    ev.ext = !ev.soft;
    ev.flags = c->rflags;
    ev.return_rip = c->fault_is_trap ? c->next_rip : c->rip;
    if (c->mode != MODE_64)
        ev.return_rip &= 0xffffffffull;
    if (!c->fault_is_trap && ev.vector != X86_DB)
        ev.flags |= X86_RF;
    if (c->in_exception == 3 && class)
        cpu_triple_fault(c);
    if ((c->in_exception == 1 && class == 1) || (c->in_exception == 2 && class)) {
        ev.vector = X86_DF_VEC;
        ev.has_error = 1;
        ev.error = 0;
        class = 3;
    }
    if (ev.vector == X86_DB && !soft)
        commit_debug(c);
    if (!cpu_pe(c))
        ev.has_error = 0;
    c->in_exception = class;
    /* What MOV SS held off strikes behind INT n and INT3, at the handler's first instruction; INT1 is a #DB
     * itself. What a faulting instruction hit is forgotten. */
    if (!ev.soft)
        c->db_pending = 0;
    deliver(c, &ev);
}
