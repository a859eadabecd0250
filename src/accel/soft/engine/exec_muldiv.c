/*
 * exec_muldiv: MUL, IMUL, DIV, IDIV, and the sign extensions CBW/CWDE/CDQE, CWD/CDQ/CQO.
 *
 * SF, ZF, AF and PF are undefined after a multiplication, all flags after a division; they stay as they were.
 */
#include "accel/soft/engine/exec_int.h"

typedef unsigned __int128 u128;
typedef __int128 s128;

static int64_t sign_extend(uint64_t v, unsigned size)
{
    unsigned shift = 64 - size * 8;
    return (int64_t)(v << shift) >> shift;
}

/* The double-width accumulator: AX for bytes, else rDX:rAX. */
static void set_accumulator(struct cpu *c, unsigned size, u128 v)
{
    if (size == 1) {
        cpu_set_gpr(c, X86_RAX, 2, (uint64_t)v);
        return;
    }
    cpu_set_gpr(c, X86_RAX, size, (uint64_t)v);
    cpu_set_gpr(c, X86_RDX, size, (uint64_t)(v >> (size * 8)));
}

static u128 get_accumulator(const struct cpu *c, unsigned size)
{
    if (size == 1)
        return c->gpr[X86_RAX] & 0xffff;
    return (u128)(c->gpr[X86_RDX] & mask_size(size)) << (size * 8) | (c->gpr[X86_RAX] & mask_size(size));
}

static void set_overflow(struct cpu *c, bool over)
{
    flags_set(c, X86_CF | X86_OF, over ? X86_CF | X86_OF : 0);
}

static void exec_mul(struct cpu *c, const struct insn *in)
{
    u128 p = (u128)insn_get(c, in, 0) * (c->gpr[X86_RAX] & mask_size(in->opsize));
    set_accumulator(c, in->opsize, p);
    set_overflow(c, p >> (in->opsize * 8) != 0);
}

static s128 signed_product(struct cpu *c, uint64_t a, uint64_t b, unsigned size)
{
    s128 p = (s128)sign_extend(a, size) * sign_extend(b, size);
    if (SEED_BUG(1))
        set_overflow(c, (u128)p >> (size * 8) != 0);
    else
        set_overflow(c, p != sign_extend((uint64_t)p, size));
    return p;
}

static void exec_imul1(struct cpu *c, const struct insn *in)
{
    uint64_t b = insn_get(c, in, 0);
    set_accumulator(c, in->opsize, (u128)signed_product(c, c->gpr[X86_RAX], b, in->opsize));
}

static void exec_imul2(struct cpu *c, const struct insn *in)
{
    uint64_t b = insn_get(c, in, 1);
    insn_set_reg(c, in, 0, (uint64_t)signed_product(c, insn_get(c, in, 0), b, in->opsize));
}

static void exec_imul3(struct cpu *c, const struct insn *in)
{
    uint64_t a = insn_get(c, in, 1);
    insn_set_reg(c, in, 0, (uint64_t)signed_product(c, a, in->imm, in->opsize));
}

/* ---- division ---- */

/* Quotient and remainder: AL and AH for bytes, else rAX and rDX. */
static void set_quotient(struct cpu *c, unsigned size, uint64_t q, uint64_t r)
{
    if (size == 1) {
        cpu_set_gpr(c, X86_RAX, 2, (q & 0xff) | (r & 0xff) << 8);
        return;
    }
    cpu_set_gpr(c, X86_RAX, size, q);
    cpu_set_gpr(c, X86_RDX, size, r);
}

static void exec_div(struct cpu *c, const struct insn *in)
{
    uint64_t d = insn_get(c, in, 0);
    u128 n = get_accumulator(c, in->opsize);

    /* the quotient fits when the upper half is less than the divisor; this also covers zero */
    if (n >> (in->opsize * 8) >= d + (SEED_BUG(2) && d ? 1 : 0))
        cpu_raise(c, X86_DE);
    if (n >> 64 == 0)
        set_quotient(c, in->opsize, (uint64_t)n / d, (uint64_t)n % d);
    else
        set_quotient(c, in->opsize, (uint64_t)(n / d), (uint64_t)(n % d));
}

static void exec_idiv(struct cpu *c, const struct insn *in)
{
    int64_t d = sign_extend(insn_get(c, in, 0), in->opsize);
    u128 raw = get_accumulator(c, in->opsize);
    s128 n = (s128)raw;

    if (in->opsize < 8)
        n = sign_extend((uint64_t)raw, in->opsize * 2);
    /* -1 apart: the host's own division would overflow on the most negative number */
    if (d == 0 || (d == -1 && in->opsize == 8 && n == (s128)((u128)1 << 127)))
        cpu_raise(c, X86_DE);
    s128 q = n / d, r = n % d;
    if (q != sign_extend((uint64_t)q, in->opsize))
        cpu_raise(c, X86_DE);
    set_quotient(c, in->opsize, (uint64_t)q, (uint64_t)r);
}

/* ---- sign extension of the accumulator ---- */

static void exec_cbw(struct cpu *c, const struct insn *in)
{
    cpu_set_gpr(c, X86_RAX, in->opsize, (uint64_t)sign_extend(c->gpr[X86_RAX], in->opsize / 2));
}

static void exec_cwd(struct cpu *c, const struct insn *in)
{
    cpu_set_gpr(c, X86_RDX, in->opsize, (uint64_t)(sign_extend(c->gpr[X86_RAX], in->opsize) >> 63));
}

bool exec_muldiv_setup(struct insn *out, const ZydisDecodedInstruction *zi)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_MUL:
        out->exec = exec_mul;
        return true;
    case ZYDIS_MNEMONIC_IMUL:
        out->exec = zi->operand_count_visible == 1 ? exec_imul1
                    : out->kind[2] == OPD_IMM      ? exec_imul3
                                                   : exec_imul2;
        return true;
    case ZYDIS_MNEMONIC_DIV:
        out->exec = exec_div;
        return true;
    case ZYDIS_MNEMONIC_IDIV:
        out->exec = exec_idiv;
        return true;
    case ZYDIS_MNEMONIC_CBW:
    case ZYDIS_MNEMONIC_CWDE:
    case ZYDIS_MNEMONIC_CDQE:
        out->exec = exec_cbw;
        return true;
    case ZYDIS_MNEMONIC_CWD:
    case ZYDIS_MNEMONIC_CDQ:
    case ZYDIS_MNEMONIC_CQO:
        out->exec = exec_cwd;
        return true;
    default:
        return false;
    }
}
