/*
 * task: task switches through 16- and 32-bit TSSs (SDM 3A chapter 7). Does not exist in long mode.
 *
 * Until the point where the new task's registers are loaded a fault belongs to the old task; everything of
 * both TSSs that is needed is read, and the old TSS probed for writing, before that. Faults of the new
 * segments are raised in the context of the new task.
 */
#include "accel/soft/engine/private.h"

/* Offsets in the two layouts (SDM 3A figures 7-2 and 7-10). */
struct layout {
    uint8_t ip, flags, gpr, seg, segs, ldt, size, seg_step;
    uint32_t limit;
};
static const struct layout tss16 = {.ip = 0x0e,
                                    .flags = 0x10,
                                    .gpr = 0x12,
                                    .seg = 0x22,
                                    .segs = 4,
                                    .ldt = 0x2a,
                                    .size = 2,
                                    .seg_step = 2,
                                    .limit = 0x2b};
static const struct layout tss32 = {.ip = 0x20,
                                    .flags = 0x24,
                                    .gpr = 0x28,
                                    .seg = 0x48,
                                    .segs = 6,
                                    .ldt = 0x60,
                                    .size = 4,
                                    .seg_step = 4,
                                    .limit = 0x67};

struct image {
    uint64_t ip, flags, gpr[8], cr3;
    uint16_t seg[6], ldt;
    bool trap;
};

static void set_busy(struct cpu *c, uint16_t sel, bool busy)
{
    uint64_t at = (uint32_t)(c->gdtr.base + (sel & ~7u) + 5);
    uint64_t type = cpu_sys_load(c, at, 1);

    cpu_sys_store(c, at, 1, busy ? type | 2 : type & ~2ull);
}

static void read_image(struct cpu *c, const struct layout *l, uint64_t base, struct image *m)
{
    bool wide = l == &tss32;

    m->ip = cpu_sys_load(c, base + l->ip, l->size);
    m->flags = cpu_sys_load(c, base + l->flags, l->size);
    for (unsigned i = 0; i < 8; i++)
        m->gpr[i] = cpu_sys_load(c, base + l->gpr + i * l->size, l->size) | (wide ? 0 : 0xffff0000u);
    for (unsigned i = 0; i < l->segs; i++)
        m->seg[i] = (uint16_t)cpu_sys_load(c, base + l->seg + i * l->seg_step, 2);
    m->ldt = (uint16_t)cpu_sys_load(c, base + l->ldt, 2);
    m->cr3 = wide ? cpu_sys_load(c, base + 0x1c, 4) : c->cr3;
    m->trap = wide && (cpu_sys_load(c, base + 0x64, 2) & 1);
}

static void save_old(struct cpu *c, const struct layout *l, uint64_t ip, uint64_t flags)
{
    uint64_t base = c->tr.base;

    cpu_sys_store(c, base + l->ip, l->size, ip);
    cpu_sys_store(c, base + l->flags, l->size, flags);
    for (unsigned i = 0; i < 8; i++)
        cpu_sys_store(c, base + l->gpr + i * l->size, l->size, c->gpr[i]);
    for (unsigned i = 0; i < l->segs; i++)
        cpu_sys_store(c, base + l->seg + i * l->seg_step, 2, c->seg[i].sel);
}

static void find_tss(struct cpu *c, uint16_t sel, const struct task_cause *why, struct descriptor *d)
{
    uint32_t error = (sel & 0xfffcu) | why->ext;
    enum task_how how = why->how;
    uint8_t vector = how == TASK_IRET ? X86_TS : X86_GP;

    if (!(sel & 0xfffc) || (sel & 4) || !desc_fetch(c, sel, d))
        cpu_raise_error(c, vector, error);
    unsigned type = X86_SEG_TYPE(d->attr);
    if ((d->attr & X86_SEG_S) || (how == TASK_IRET ? type != 3 && type != 11 : type != 1 && type != 9))
        cpu_raise_error(c, vector, error);
    if (!(d->attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, error);
    if (d->limit < (type & 8 ? tss32.limit : tss16.limit))
        cpu_raise_error(c, X86_TS, error);
}

static void load_ldt(struct cpu *c, uint16_t sel, unsigned ext)
{
    struct descriptor d;
    struct x86_seg none = {.sel = sel, .attr = X86_SEG_UNUSABLE};

    c->ldtr = none;
    if (!(sel & 0xfffc))
        return;
    if ((sel & 4) || !desc_fetch(c, sel, &d) || (d.attr & (X86_SEG_S | 0xf)) != 2 || !(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_TS, (sel & 0xfffcu) | ext);
    desc_to_seg(&d, sel, &c->ldtr);
}

static void load_code(struct cpu *c, uint16_t sel, unsigned ext)
{
    struct descriptor d;
    uint32_t error = (sel & 0xfffcu) | ext;

    if (!(sel & 0xfffc) || !desc_fetch(c, sel, &d) || (d.attr & (X86_SEG_S | 8)) != (X86_SEG_S | 8))
        cpu_raise_error(c, X86_TS, error);
    unsigned dpl = X86_SEG_DPL(d.attr);
    if (d.attr & 4 ? dpl > (sel & 3u) : dpl != (sel & 3u))
        cpu_raise_error(c, X86_TS, error);
    if (!(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, error);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, &c->seg[X86_CS]);
}

static void load_data(struct cpu *c, unsigned seg, uint16_t sel, unsigned ext)
{
    struct descriptor d;
    uint32_t error = (sel & 0xfffcu) | ext;

    if (!(sel & 0xfffc))
        return;
    if (!desc_fetch(c, sel, &d) || !(d.attr & X86_SEG_S) || (d.attr & 0xa) == 8)
        cpu_raise_error(c, X86_TS, error);
    unsigned dpl = X86_SEG_DPL(d.attr);
    if ((d.attr & 0xc) != 0xc && (dpl < c->cpl || dpl < (sel & 3u)))
        cpu_raise_error(c, X86_TS, error);
    if (!(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, error);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, &c->seg[seg]);
}

/* In the order of table 7-1: an absent segment is #SS whatever its privilege. */
static void load_stack(struct cpu *c, uint16_t sel, unsigned cpl, unsigned ext)
{
    struct descriptor d;
    uint32_t error = (sel & 0xfffcu) | ext;

    if (!(sel & 0xfffc) || !desc_fetch(c, sel, &d) || (d.attr & (X86_SEG_S | 0xa)) != (X86_SEG_S | 2))
        cpu_raise_error(c, X86_TS, error);
    if (!(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_SS_VEC, error);
    if (X86_SEG_DPL(d.attr) != cpl || (sel & 3u) != cpl)
        cpu_raise_error(c, X86_TS, error);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, &c->seg[X86_SS]);
}

/* The new task's segments; faults are the new task's. Until it has a stack it counts as a user's task, so
 * that its exceptions come to the stack for CPL 0 of its TSS. */
static void load_segments(struct cpu *c, const struct image *m, unsigned ext)
{
    static const uint8_t data[] = {X86_DS, X86_ES, X86_FS, X86_GS};
    unsigned cpl = m->seg[X86_CS] & 3;

    load_ldt(c, m->ldt, ext);
    if (!cpu_v86(c)) {
        load_stack(c, m->seg[X86_SS], cpl, ext);
        c->cpl = (uint8_t)cpl;
        for (unsigned i = 0; i < 4; i++)
            load_data(c, data[i], m->seg[data[i]], ext);
        load_code(c, m->seg[X86_CS], ext);
    }
    cpu_update_mode(c);
}

static void load_registers(struct cpu *c, const struct image *m, bool nested)
{
    for (unsigned i = 0; i < 8; i++)
        c->gpr[i] = m->gpr[i];
    c->rflags = (m->flags & 0x3f7fd7) | 2 | (nested ? X86_NT : 0);
    c->rip = c->next_rip = m->ip;
    for (unsigned i = 0; i < X86_SEGS; i++)
        c->seg[i] = cpu_v86(c) ? seg_v86(m->seg[i]) : seg_null(c, m->seg[i]);
    c->cpl = 3;
    c->cr0 |= CR0_TS;
    c->dr7 &= ~0x155ull; /* local breakpoints are the old task's */
    debug_update(c);
}

/* Page-directory pointers with reserved bits set (SDM 3A 4.4.1) are #TS as all that is wrong with a new task.
 * They are not loaded, so that its handler can run. */
static void load_cr3(struct cpu *c, uint64_t cr3, unsigned ext)
{
    if (!(c->cr0 & CR0_PG) || cr3 == c->cr3)
        return;
    if ((c->cr4 & CR4_PAE) && !cpu_load_pdptes(c, cr3))
        cpu_raise_error(c, X86_TS, ext);
    c->cr3 = cr3;
    tlb_new_pcid(c, 0, false);
}

/* The error code, on the stack of the new task. */
static void push_error(struct cpu *c, unsigned size, const struct task_cause *why)
{
    uint64_t sp = c->gpr[X86_RSP];

    if (!seg_holds(&c->seg[X86_SS], (sp - size) & mask_size(cpu_stack_size(c)), size))
        cpu_raise_error(c, X86_SS_VEC, why->ext);
    cpu_push_at(c, &sp, size, why->error);
    cpu_set_sp(c, sp);
}

void task_switch(struct cpu *c, uint16_t sel, const struct task_cause *why)
{
    struct descriptor d;
    struct image m = {0};
    enum task_how how = why->how;
    bool nested = how == TASK_CALL || how == TASK_INTERRUPT;
    const struct layout *old = c->tr.attr & 8 ? &tss32 : &tss16;

    find_tss(c, sel, why, &d);
    const struct layout *new = d.attr & 8 ? &tss32 : &tss16;
    read_image(c, new, d.base, &m);
    linear_probe_write(c, c->tr.base, old->limit + 1, cpu_system_set(c));
    if (nested)
        linear_probe_write(c, d.base, 2, cpu_system_set(c));

    if (!nested)
        set_busy(c, c->tr.sel, false);
    save_old(c, old, why->return_rip, how == TASK_IRET ? why->flags & ~(uint64_t)X86_NT : why->flags);
    if (nested)
        cpu_sys_store(c, d.base, 2, c->tr.sel);
    else
        read_image(c, new, d.base, &m); /* a task may return to itself */
    if (how != TASK_IRET)
        set_busy(c, sel, true);
    desc_to_seg(&d, sel, &c->tr);
    c->tr.attr |= 2;

    load_registers(c, &m, nested);
    load_cr3(c, m.cr3, why->ext);
    load_segments(c, &m, why->ext);
    c->leave_block = 1;
    if (m.ip > c->seg[X86_CS].limit)
        cpu_gp(c, why->ext);
    if (why->has_error)
        push_error(c, new->size, why);
    if (m.trap)
        cpu_debug_trap(c, 0x8000);
}
