/*
 * exec_segment: segment registers, LDTR and TR, and the instructions that ask about descriptors.
 */
#include "accel/soft/engine/exec_system.h"

/* ---- MOV, POP, LxS ---- */

static void loaded_ss(struct cpu *c, unsigned seg)
{
    if (seg == X86_SS) {
        c->shadow = 2;
        c->shadow_set = 1;
        c->leave_block = 1;
    }
}

static void exec_mov_to_seg(struct cpu *c, const struct insn *in)
{
    unsigned seg = in->reg[0];

    if (seg == X86_CS || seg > X86_GS)
        cpu_ud(c);
    cpu_load_seg(c, seg, get_word(c, in, 1));
    loaded_ss(c, seg);
}

static void exec_mov_from_seg(struct cpu *c, const struct insn *in)
{
    if (in->reg[1] > X86_GS)
        cpu_ud(c);
    put_word(c, in, c->seg[in->reg[1]].sel);
}

static void exec_pop_seg(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP];
    uint16_t sel = cpu_pop_selector(c, &sp, in->opsize);

    cpu_load_seg(c, in->reg[0], sel);
    c->gpr[X86_RSP] = sp;
    loaded_ss(c, in->reg[0]);
}

static void exec_load_far(struct cpu *c, const struct insn *in)
{
    uint64_t ea = insn_ea(c, in);
    uint64_t off = cpu_load(c, in->seg, ea, in->opsize);
    uint16_t sel = (uint16_t)cpu_load(c, in->seg, (ea + in->opsize) & mask_size(in->adsize), 2);

    cpu_load_seg(c, in->cond, sel);
    cpu_set_gpr(c, in->reg[0], in->opsize, off);
}

/* ---- LDTR, TR ---- */

static void need_protected(struct cpu *c)
{
    if (cpu_real(c))
        cpu_ud(c);
}

static void exec_sldt(struct cpu *c, const struct insn *in)
{
    need_protected(c);
    check_umip(c);
    put_word(c, in, c->ldtr.sel);
}

static void exec_str(struct cpu *c, const struct insn *in)
{
    need_protected(c);
    check_umip(c);
    put_word(c, in, c->tr.sel);
}

static void fetch_gdt(struct cpu *c, uint16_t sel, struct descriptor *d)
{
    if ((sel & 4) || !desc_fetch(c, sel, d))
        cpu_gp(c, sel & 0xfffc);
}

/* In long mode the base has 64 bits. */
static void whole_base(struct cpu *c, uint16_t sel, struct descriptor *d)
{
    if (!c->long_mode)
        return;
    desc_fetch_system64(c, sel, d);
    if (!is_canonical_base(c, d->base))
        cpu_gp(c, sel & 0xfffc);
}

static void exec_lldt(struct cpu *c, const struct insn *in)
{
    struct descriptor d;

    need_protected(c);
    cpu_need_cpl0(c);
    drain_stores();
    uint16_t sel = get_word(c, in, 0);
    if (!(sel & 0xfffc)) {
        c->ldtr = (struct x86_seg){.sel = sel, .attr = X86_SEG_UNUSABLE};
        return;
    }
    fetch_gdt(c, sel, &d);
    if ((d.attr & (X86_SEG_S | 0xf)) != 2)
        cpu_gp(c, sel & 0xfffc);
    if (!(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, sel & 0xfffc);
    whole_base(c, sel, &d);
    desc_to_seg(&d, sel, &c->ldtr);
}

static void exec_ltr(struct cpu *c, const struct insn *in)
{
    struct descriptor d;

    need_protected(c);
    cpu_need_cpl0(c);
    drain_stores();
    uint16_t sel = get_word(c, in, 0);
    if (!(sel & 0xfffc))
        cpu_gp(c, 0);
    fetch_gdt(c, sel, &d);
    unsigned type = d.attr & (X86_SEG_S | 0xf);
    if (type != 9 && (c->long_mode || type != 1))
        cpu_gp(c, sel & 0xfffc);
    if (!(d.attr & X86_SEG_P))
        cpu_raise_error(c, X86_NP, sel & 0xfffc);
    whole_base(c, sel, &d);
    cpu_sys_store(c, d.at + 5, 1, (d.high >> 8 & 0xff) | 2);
    d.attr |= 2;
    desc_to_seg(&d, sel, &c->tr);
}

/* ---- LAR, LSL, VERR, VERW, ARPL ---- */

/* The descriptor is visible at CPL and RPL; system descriptors count when bit `type` of `system` is set. */
static bool visible(struct cpu *c, uint16_t sel, uint32_t system, struct descriptor *d)
{
    if (!(sel & 0xfffc) || !desc_fetch(c, sel, d))
        return false;
    if (!(d->attr & X86_SEG_S) && !(system >> X86_SEG_TYPE(d->attr) & 1))
        return false;
    if (!(d->attr & X86_SEG_S) && c->mode == MODE_64 && !desc_whole64(c, sel, d))
        return false;
    bool conforming = (d->attr & (X86_SEG_S | 0xc)) == (X86_SEG_S | 0xc);
    unsigned dpl = X86_SEG_DPL(d->attr);
    return conforming || (c->cpl <= dpl && (sel & 3u) <= dpl);
}

static void set_zf(struct cpu *c, bool on)
{
    c->rflags = (c->rflags & ~(uint64_t)X86_ZF) | (on ? X86_ZF : 0);
}

static void exec_lar(struct cpu *c, const struct insn *in)
{
    struct descriptor d;

    need_protected(c);
    uint16_t sel = get_word(c, in, 1);
    bool ok = visible(c, sel, c->long_mode ? 0x1a04 : 0x1a3e, &d);
    set_zf(c, ok);
    if (ok)
        cpu_set_gpr(c, in->reg[0], in->opsize, d.high & (in->opsize == 2 ? 0xff00 : 0xffff00));
}

static void exec_lsl(struct cpu *c, const struct insn *in)
{
    struct descriptor d;

    need_protected(c);
    uint16_t sel = get_word(c, in, 1);
    bool ok = visible(c, sel, c->long_mode ? 0x0a04 : 0x0a0e, &d);
    set_zf(c, ok);
    if (ok)
        cpu_set_gpr(c, in->reg[0], in->opsize, d.limit);
}

static void exec_verr(struct cpu *c, const struct insn *in)
{
    struct descriptor d;

    need_protected(c);
    uint16_t sel = get_word(c, in, 0);
    set_zf(c, visible(c, sel, 0, &d) && (d.attr & 0xa) != 8);
}

static void exec_verw(struct cpu *c, const struct insn *in)
{
    struct descriptor d;

    need_protected(c);
    uint16_t sel = get_word(c, in, 0);
    set_zf(c, visible(c, sel, 0, &d) && (d.attr & 0xa) == 2);
}

static void exec_arpl(struct cpu *c, const struct insn *in)
{
    need_protected(c);
    uint16_t src = (uint16_t)c->gpr[in->reg[1]];
    if (in->kind[0] == OPD_MEM) {
        /* written, and needing to be writable, only when it changes */
        uint64_t ea = insn_ea(c, in), dst = cpu_load(c, in->seg, ea, 2);
        bool raise = (dst & 3) < (src & 3u);
        if (raise)
            cpu_store(c, in->seg, ea, 2, (dst & ~3ull) | (src & 3));
        set_zf(c, raise);
        return;
    }
    uint64_t dst = c->gpr[in->reg[0]];
    bool raise = (dst & 3) < (src & 3u);
    if (raise)
        cpu_set_gpr(c, in->reg[0], 2, (dst & ~3ull) | (src & 3));
    set_zf(c, raise);
}

/* ---- FS and GS bases ---- */

static void need_fsgsbase(struct cpu *c)
{
    if (!(c->cr4 & CR4_FSGSBASE))
        cpu_ud(c);
}

static void read_base(struct cpu *c, const struct insn *in, unsigned seg)
{
    need_fsgsbase(c);
    cpu_set_gpr(c, in->reg[0], in->opsize, c->seg[seg].base);
}

static void write_base(struct cpu *c, const struct insn *in, unsigned seg)
{
    uint64_t v = c->gpr[in->reg[0]] & mask_size(in->opsize);

    need_fsgsbase(c);
    if (!is_canonical_base(c, v))
        cpu_gp(c, 0);
    c->seg[seg].base = v;
    c->fast_base[seg] = v;
}

static void exec_rdfsbase(struct cpu *c, const struct insn *in)
{
    read_base(c, in, X86_FS);
}

static void exec_rdgsbase(struct cpu *c, const struct insn *in)
{
    read_base(c, in, X86_GS);
}

static void exec_wrfsbase(struct cpu *c, const struct insn *in)
{
    write_base(c, in, X86_FS);
}

static void exec_wrgsbase(struct cpu *c, const struct insn *in)
{
    write_base(c, in, X86_GS);
}

static void exec_swapgs(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_need_cpl0(c);
    uint64_t v = c->seg[X86_GS].base;
    c->seg[X86_GS].base = c->fast_base[X86_GS] = c->kernel_gs_base;
    c->kernel_gs_base = v;
}

static bool is_segment(const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

static exec_fn *move(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    if (zi->mnemonic == ZYDIS_MNEMONIC_POP)
        return is_segment(&ops[0]) ? exec_pop_seg : NULL;
    if (is_segment(&ops[0]))
        return exec_mov_to_seg;
    return is_segment(&ops[1]) ? exec_mov_from_seg : NULL;
}

static int far_segment(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_LES:
        return X86_ES;
    case ZYDIS_MNEMONIC_LSS:
        return X86_SS;
    case ZYDIS_MNEMONIC_LDS:
        return X86_DS;
    case ZYDIS_MNEMONIC_LFS:
        return X86_FS;
    case ZYDIS_MNEMONIC_LGS:
        return X86_GS;
    default:
        return -1;
    }
}

bool exec_segment_setup(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    static const struct {
        ZydisMnemonic mnemonic;
        exec_fn *exec;
    } rows[] = {
        {ZYDIS_MNEMONIC_SLDT, exec_sldt},         {ZYDIS_MNEMONIC_STR, exec_str},
        {ZYDIS_MNEMONIC_LLDT, exec_lldt},         {ZYDIS_MNEMONIC_LTR, exec_ltr},
        {ZYDIS_MNEMONIC_LAR, exec_lar},           {ZYDIS_MNEMONIC_LSL, exec_lsl},
        {ZYDIS_MNEMONIC_VERR, exec_verr},         {ZYDIS_MNEMONIC_VERW, exec_verw},
        {ZYDIS_MNEMONIC_ARPL, exec_arpl},         {ZYDIS_MNEMONIC_RDFSBASE, exec_rdfsbase},
        {ZYDIS_MNEMONIC_RDGSBASE, exec_rdgsbase}, {ZYDIS_MNEMONIC_WRFSBASE, exec_wrfsbase},
        {ZYDIS_MNEMONIC_WRGSBASE, exec_wrgsbase}, {ZYDIS_MNEMONIC_SWAPGS, exec_swapgs},
    };
    int seg = far_segment(zi->mnemonic);

    if (seg >= 0) {
        out->exec = exec_load_far;
        out->cond = (uint8_t)seg;
        return true;
    }
    if (zi->mnemonic == ZYDIS_MNEMONIC_MOV || zi->mnemonic == ZYDIS_MNEMONIC_POP) {
        out->exec = move(zi, ops);
        return out->exec;
    }
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].mnemonic == zi->mnemonic) {
            out->exec = rows[i].exec;
            if (zi->meta.isa_set == ZYDIS_ISA_SET_RDWRFSGS)
                out->opsize = (uint8_t)(ops[0].size / 8); /* an operand-size prefix has no effect */
            return true;
        }
    return false;
}
