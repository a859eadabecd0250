/*
 * exec_decimal: AAA, AAS, AAM, AAD, DAA, DAS and SALC: 16- and 32-bit modes only. Formulas of SDM 2A; flags
 * that it leaves undefined are computed from the result, as 8-bit operations would.
 */
#include "accel/soft/engine/exec_int.h"

static void set_al(struct cpu *c, unsigned al)
{
    cpu_set_gpr(c, X86_RAX, 1, al);
}

/* AAA and AAS: +6 or -6 on AX, AH by one. */
static void ascii_adjust(struct cpu *c, int sign)
{
    unsigned ax = (unsigned)c->gpr[X86_RAX] & 0xffff;
    bool adjust = (ax & 15) > 9 || (c->rflags & X86_AF);

    if (adjust)
        ax = sign > 0 ? ax + 0x106 : ax - 0x106;
    /* for AAS the borrow of AL - 6 into AH is part of AX - 6 (SDM 2A AAS) */
    cpu_set_gpr(c, X86_RAX, 2, ax & 0xff0f);
    flags_set(c, X86_ARITH_FLAGS, flags_szp(ax & 0xf, 1) | (adjust ? X86_AF | X86_CF : 0));
}

static void exec_aaa(struct cpu *c, const struct insn *in)
{
    (void)in;
    ascii_adjust(c, 1);
}

static void exec_aas(struct cpu *c, const struct insn *in)
{
    (void)in;
    ascii_adjust(c, -1);
}

static void exec_aam(struct cpu *c, const struct insn *in)
{
    unsigned base = (unsigned)in->imm & 0xff, al = (unsigned)c->gpr[X86_RAX] & 0xff;
    if (base == 0)
        cpu_raise(c, X86_DE);
    cpu_set_gpr(c, X86_RAX, 2, (al / base) << 8 | al % base);
    flags_set(c, X86_ARITH_FLAGS, flags_szp(al % base, 1));
}

static void exec_aad(struct cpu *c, const struct insn *in)
{
    unsigned ax = (unsigned)c->gpr[X86_RAX] & 0xffff;
    unsigned al = ((ax & 0xff) + (ax >> 8) * ((unsigned)in->imm & 0xff)) & 0xff;
    cpu_set_gpr(c, X86_RAX, 2, al);
    flags_set(c, X86_ARITH_FLAGS, flags_szp(al, 1));
}

static void exec_daa(struct cpu *c, const struct insn *in)
{
    unsigned old = (unsigned)c->gpr[X86_RAX] & 0xff, al = old;
    uint64_t f = 0;
    (void)in;

    if ((old & 15) > 9 || (c->rflags & X86_AF)) {
        al += 6;
        f |= X86_AF;
    }
    if (old > 0x99 || (c->rflags & X86_CF)) {
        al += 0x60;
        f |= X86_CF;
    }
    set_al(c, al & 0xff);
    flags_set(c, X86_ARITH_FLAGS, f | flags_szp(al & 0xff, 1));
}

static void exec_das(struct cpu *c, const struct insn *in)
{
    unsigned old = (unsigned)c->gpr[X86_RAX] & 0xff, al = old;
    uint64_t f = 0;
    (void)in;

    if ((old & 15) > 9 || (c->rflags & X86_AF)) {
        al -= 6;
        f |= X86_AF;
        /* the borrow of this step counts (SDM 2A DAS) */
        if (old < 6 || (c->rflags & X86_CF))
            f |= X86_CF;
    }
    if (old > 0x99 || (c->rflags & X86_CF)) {
        al -= 0x60;
        f |= X86_CF;
    }
    set_al(c, al & 0xff);
    flags_set(c, X86_ARITH_FLAGS, f | flags_szp(al & 0xff, 1));
}

static void exec_salc(struct cpu *c, const struct insn *in)
{
    (void)in;
    set_al(c, c->rflags & X86_CF ? 0xff : 0);
}

bool exec_decimal_setup(struct insn *out)
{
    switch (out->op) {
    case ZYDIS_MNEMONIC_AAA:
        out->exec = exec_aaa;
        return true;
    case ZYDIS_MNEMONIC_AAS:
        out->exec = exec_aas;
        return true;
    case ZYDIS_MNEMONIC_AAM:
        out->exec = exec_aam;
        return true;
    case ZYDIS_MNEMONIC_AAD:
        out->exec = exec_aad;
        return true;
    case ZYDIS_MNEMONIC_DAA:
        out->exec = exec_daa;
        return true;
    case ZYDIS_MNEMONIC_DAS:
        out->exec = exec_das;
        return true;
    case ZYDIS_MNEMONIC_SALC:
        out->exec = exec_salc;
        return true;
    default:
        return false;
    }
}
