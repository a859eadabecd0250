/*
 * exec_control: control and debug registers, descriptor-table registers, caches, TLB, interrupt flag, flags
 * image, HLT (SDM 2A-2D).
 */
#include <string.h>
#include "accel/soft/engine/exec_system.h"

/* ---- control and debug registers ---- */

static bool cr_exists(unsigned cr)
{
    return cr == 0 || cr == 2 || cr == 3 || cr == 4 || cr == 8;
}

static unsigned register_bytes(const struct cpu *c)
{
    return c->mode == MODE_64 ? 8 : 4;
}

static void exec_mov_to_cr(struct cpu *c, const struct insn *in)
{
    drain_stores();
    if (!cr_exists(in->reg[0]))
        cpu_ud(c);
    cpu_need_cpl0(c);
    cpu_set_cr(c, in->reg[0], c->gpr[in->reg[1]] & mask_size(register_bytes(c)));
}

static void exec_mov_from_cr(struct cpu *c, const struct insn *in)
{
    if (!cr_exists(in->reg[1]))
        cpu_ud(c);
    cpu_need_cpl0(c);
    cpu_set_gpr(c, in->reg[0], register_bytes(c), cpu_get_cr(c, in->reg[1]));
}

/* Common checks of MOV DR; the register's number with the aliases of DR4 and DR5 resolved (SDM 3B 17.2). What
 * does not exist comes before privilege, privilege before general detect. */
static unsigned debug_register(struct cpu *c, unsigned dr)
{
    bool alias = dr == 4 || dr == 5;

    if (dr > 7 || (alias && (c->cr4 & CR4_DE)))
        cpu_ud(c);
    cpu_need_cpl0(c);
    if (alias)
        dr += 2;
    if (c->dr7 & 0x2000) /* general detect */
        cpu_debug_fault(c, 0x2000);
    return dr;
}

static void exec_mov_to_dr(struct cpu *c, const struct insn *in)
{
    unsigned dr = debug_register(c, in->reg[0]);
    uint64_t v = c->gpr[in->reg[1]] & mask_size(register_bytes(c));

    drain_stores();
    if (dr < 4) {
        c->dr[dr] = v;
    } else if (v >> 32) {
        cpu_gp(c, 0);
    } else if (dr == 6) {
        c->dr6 = (v & 0xe00f) | 0xffff0ff0;
    } else {
        c->dr7 = (v & 0xffff23ff) | 0x400;
    }
    debug_update(c);
}

static void exec_mov_from_dr(struct cpu *c, const struct insn *in)
{
    unsigned dr = debug_register(c, in->reg[1]);

    cpu_set_gpr(c, in->reg[0], register_bytes(c), dr < 4 ? c->dr[dr] : dr == 6 ? c->dr6 : c->dr7);
}

static void exec_lmsw(struct cpu *c, const struct insn *in)
{
    cpu_need_cpl0(c);
    uint64_t v = get_word(c, in, 0) & 0xf;
    cpu_set_cr(c, 0, (c->cr0 & ~0xeull) | v); /* PE may be set, not cleared */
}

static void exec_smsw(struct cpu *c, const struct insn *in)
{
    check_umip(c);
    put_word(c, in, c->cr0);
}

static void exec_clts(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_need_cpl0(c);
    c->cr0 &= ~CR0_TS;
}

/* ---- descriptor-table registers ---- */

static void load_table(struct cpu *c, const struct insn *in, struct x86_dtable *t)
{
    uint64_t ea = insn_ea(c, in);
    bool wide = c->mode == MODE_64;

    cpu_need_cpl0(c);
    uint16_t limit = (uint16_t)cpu_load(c, in->seg, ea, 2);
    uint64_t base = cpu_load(c, in->seg, (ea + 2) & mask_size(in->adsize), wide ? 8 : 4);
    if (!wide && in->cond) /* 16-bit operand size: 24 bits of base */
        base &= 0xffffff;
    if (wide && !is_canonical_base(c, base))
        cpu_gp(c, 0);
    t->limit = limit;
    t->base = base;
}

static void store_table(struct cpu *c, const struct insn *in, const struct x86_dtable *t)
{
    uint8_t image[10];

    check_umip(c);
    memcpy(image, &t->limit, 2);
    memcpy(image + 2, &t->base, 8);
    cpu_store_bytes(c, in->seg, insn_ea(c, in), image, c->mode == MODE_64 ? 10 : 6, 1);
}

static void exec_lgdt(struct cpu *c, const struct insn *in)
{
    drain_stores();
    load_table(c, in, &c->gdtr);
}

static void exec_lidt(struct cpu *c, const struct insn *in)
{
    drain_stores();
    load_table(c, in, &c->idtr);
}

static void exec_sgdt(struct cpu *c, const struct insn *in)
{
    store_table(c, in, &c->gdtr);
}

static void exec_sidt(struct cpu *c, const struct insn *in)
{
    store_table(c, in, &c->idtr);
}

/* ---- caches and translations ---- */

static void exec_invd(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_need_cpl0(c);
    drain_stores();
}

static void exec_invlpg(struct cpu *c, const struct insn *in)
{
    drain_stores();
    cpu_need_cpl0(c);
    uint64_t linear = cpu_linear(c, in->seg, insn_ea(c, in));
    if (c->mode != MODE_64 || is_canonical(c, linear))
        cpu_tlb_flush_page(c, linear);
}

static void exec_invpcid(struct cpu *c, const struct insn *in)
{
    uint64_t d[2], type = c->gpr[in->reg[0]] & mask_size(register_bytes(c));

    need_feature(c, X86_F_INVPCID);
    cpu_need_cpl0(c);
    drain_stores();
    cpu_load_bytes(c, in->seg, insn_ea(c, in), d, 16, 1);
    if (type > 3 || d[0] >> 12 || (type < 2 && d[0] && !(c->cr4 & CR4_PCIDE)) ||
        (type == 0 && !is_canonical_base(c, d[1])))
        cpu_gp(c, 0);
    cpu_tlb_flush_pcid(c, (unsigned)type, d[0], d[1]);
}

/* ---- flags and interrupts ---- */

static unsigned iopl(const struct cpu *c)
{
    return c->rflags >> 12 & 3;
}

static void exec_cli(struct cpu *c, const struct insn *in)
{
    (void)in;
    if (cpu_virtual_if(c)) {
        c->rflags &= ~(uint64_t)X86_VIF;
        return;
    }
    if (c->cpl > iopl(c))
        cpu_gp(c, 0);
    c->rflags &= ~(uint64_t)X86_IF;
}

static void exec_sti(struct cpu *c, const struct insn *in)
{
    (void)in;
    if (cpu_virtual_if(c)) {
        if (c->rflags & X86_VIP)
            cpu_gp(c, 0);
        c->rflags |= X86_VIF;
        return;
    }
    if (c->cpl > iopl(c))
        cpu_gp(c, 0);
    if (!(c->rflags & X86_IF)) {
        c->rflags |= X86_IF;
        c->shadow = 1;
        c->shadow_set = 1;
    }
    c->leave_block = 1;
}

static void exec_pushf(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP], flags = c->rflags;

    if (cpu_v86_virtual(c, in->opsize))
        flags = cpu_virtual_flags(c);
    cpu_push_at(c, &sp, in->opsize, flags & ~(uint64_t)(X86_VM | X86_RF) & mask_size(in->opsize));
    cpu_set_sp(c, sp);
}

static void exec_popf(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP], mask = X86_ARITH_FLAGS | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT;
    bool virtual = cpu_v86_virtual(c, in->opsize);

    if (in->opsize > 2)
        mask |= X86_AC | X86_ID;
    if (cpu_v86(c))
        mask &= ~(uint64_t)X86_IOPL;
    uint64_t v = cpu_pop_at(c, &sp, in->opsize);
    if (virtual)
        cpu_check_virtual_flags(c, v);
    cpu_set_sp(c, sp);
    if (virtual)
        cpu_set_virtual_flags(c, v);
    else
        cpu_set_rflags(c, v, mask);
}

static void exec_stac(struct cpu *c, const struct insn *in)
{
    (void)in;
    need_feature(c, X86_F_SMAP);
    if (c->cpl)
        cpu_ud(c);
    c->rflags |= X86_AC;
    cpu_update_ac(c);
}

static void exec_clac(struct cpu *c, const struct insn *in)
{
    (void)in;
    need_feature(c, X86_F_SMAP);
    if (c->cpl)
        cpu_ud(c);
    c->rflags &= ~(uint64_t)X86_AC;
    cpu_update_ac(c);
}

static void exec_hlt(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_need_cpl0(c);
    c->halted = 1;
    c->leave_block = 1;
    cpu_attention(c, ATT_HALT);
}

static exec_fn *mov_special(const ZydisDecodedOperand *ops)
{
    for (unsigned i = 0; i < 2; i++) {
        if (ops[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        switch (ZydisRegisterGetClass(ops[i].reg.value)) {
        case ZYDIS_REGCLASS_CONTROL:
            return i ? exec_mov_from_cr : exec_mov_to_cr;
        case ZYDIS_REGCLASS_DEBUG:
            return i ? exec_mov_from_dr : exec_mov_to_dr;
        default:
            break;
        }
    }
    return NULL;
}

bool exec_control_setup(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    static const struct {
        ZydisMnemonic mnemonic;
        exec_fn *exec;
    } rows[] = {
        {ZYDIS_MNEMONIC_LMSW, exec_lmsw},       {ZYDIS_MNEMONIC_SMSW, exec_smsw},
        {ZYDIS_MNEMONIC_CLTS, exec_clts},       {ZYDIS_MNEMONIC_LGDT, exec_lgdt},
        {ZYDIS_MNEMONIC_LIDT, exec_lidt},       {ZYDIS_MNEMONIC_SGDT, exec_sgdt},
        {ZYDIS_MNEMONIC_SIDT, exec_sidt},       {ZYDIS_MNEMONIC_INVD, exec_invd},
        {ZYDIS_MNEMONIC_WBINVD, exec_invd},     {ZYDIS_MNEMONIC_INVLPG, exec_invlpg},
        {ZYDIS_MNEMONIC_INVPCID, exec_invpcid}, {ZYDIS_MNEMONIC_CLI, exec_cli},
        {ZYDIS_MNEMONIC_STI, exec_sti},         {ZYDIS_MNEMONIC_PUSHF, exec_pushf},
        {ZYDIS_MNEMONIC_PUSHFD, exec_pushf},    {ZYDIS_MNEMONIC_PUSHFQ, exec_pushf},
        {ZYDIS_MNEMONIC_POPF, exec_popf},       {ZYDIS_MNEMONIC_POPFD, exec_popf},
        {ZYDIS_MNEMONIC_POPFQ, exec_popf},      {ZYDIS_MNEMONIC_STAC, exec_stac},
        {ZYDIS_MNEMONIC_CLAC, exec_clac},       {ZYDIS_MNEMONIC_HLT, exec_hlt},
    };

    if (zi->mnemonic == ZYDIS_MNEMONIC_MOV) {
        out->exec = mov_special(ops);
        return out->exec;
    }
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].mnemonic != zi->mnemonic)
            continue;
        out->exec = rows[i].exec;
        if (zi->mnemonic == ZYDIS_MNEMONIC_LGDT || zi->mnemonic == ZYDIS_MNEMONIC_LIDT)
            out->cond = (zi->machine_mode == ZYDIS_MACHINE_MODE_LEGACY_16) !=
                        ((zi->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) != 0);
        return true;
    }
    return false;
}
