/*
 * exec_bmi: BMI1 and BMI2 in VEX encoding: ANDN, BEXTR, BLSI, BLSMSK, BLSR, BZHI, MULX, PDEP, PEXT, RORX,
 * SARX, SHLX, SHRX.
 */
#include "accel/soft/engine/exec_int.h"

/* Flags are the host's, the undefined ones with them. `y` is the middle operand of those that have one. */
#define FLAGS_OF(name, operands, T)                                                                          \
    {                                                                                                        \
        T d;                                                                                                 \
        __asm__(FLAGS_IN name operands FLAGS_OUT                                                             \
                : [d] "=&r"(d), "+&a"(ax)                                                                    \
                : [x] "r"((T)x), [y] "r"((T)y)                                                               \
                : "cc");                                                                                     \
    }
#define DEFINE_FLAGS(name, operands)                                                                         \
    static void name##_flags(struct cpu *c, const struct insn *in, uint64_t x, uint64_t y)                   \
    {                                                                                                        \
        uint32_t ax = flags_pack(c->rflags);                                                                 \
        if (in->opsize == 8)                                                                                 \
            FLAGS_OF(#name, operands, uint64_t)                                                              \
        else                                                                                                 \
            FLAGS_OF(#name, operands, uint32_t)                                                              \
        flags_unpack(c, ax);                                                                                 \
    }

DEFINE_FLAGS(andn, " %[x], %[y], %[d]")
DEFINE_FLAGS(bextr, " %[y], %[x], %[d]")
DEFINE_FLAGS(bzhi, " %[y], %[x], %[d]")
DEFINE_FLAGS(blsi, " %[x], %[d]")
DEFINE_FLAGS(blsmsk, " %[x], %[d]")
DEFINE_FLAGS(blsr, " %[x], %[d]")

static void exec_andn(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI1);
    uint64_t b = insn_get(c, in, 2), a = insn_get(c, in, 1);
    andn_flags(c, in, b, a);
    insn_set_reg(c, in, 0, ~a & b);
}

static void exec_bextr(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI1);
    uint64_t v = insn_get(c, in, 1), control = insn_get(c, in, 2);
    bextr_flags(c, in, v, control);
    unsigned start = (unsigned)control & 0xff, len = (unsigned)(control >> 8) & 0xff;
    v = start >= (SEED_BUG(16) ? 64 : in->opsize * 8u) ? SEED_BUG(16) ? v : 0 : v >> start;
    if (len < 64)
        v &= (1ull << len) - 1;
    insn_set_reg(c, in, 0, v);
}

static void exec_blsi(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI1);
    uint64_t s = insn_get(c, in, 1), v = s & -s;
    insn_set_reg(c, in, 0, v);
    blsi_flags(c, in, s, 0);
}

static void exec_blsmsk(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI1);
    uint64_t s = insn_get(c, in, 1), v = s ^ (s - 1);
    insn_set_reg(c, in, 0, v);
    blsmsk_flags(c, in, s, 0);
}

static void exec_blsr(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI1);
    uint64_t s = insn_get(c, in, 1), v = s & (s - 1);
    insn_set_reg(c, in, 0, v);
    blsr_flags(c, in, s, 0);
}

static void exec_bzhi(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI2);
    uint64_t v = insn_get(c, in, 1);
    unsigned n = (unsigned)insn_get(c, in, 2) & 0xff, bits = in->opsize * 8u;
    bzhi_flags(c, in, v, n);
    if (n < bits)
        v &= (1ull << n) - 1;
    insn_set_reg(c, in, 0, v);
}

/* High half to the first operand, low half to the second; the first wins when they are the same register. */
static void exec_mulx(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI2);
    unsigned __int128 p = (unsigned __int128)(c->gpr[X86_RDX] & mask_size(in->opsize)) * insn_get(c, in, 2);
    insn_set_reg(c, in, 1, (uint64_t)p);
    insn_set_reg(c, in, 0, (uint64_t)(p >> (in->opsize * 8)));
    if (SEED_BUG(17))
        insn_set_reg(c, in, 1, (uint64_t)p);
}

static void exec_pdep(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI2);
    uint64_t m = insn_get(c, in, 2), s = insn_get(c, in, 1), v = 0;
    for (; m; m &= m - 1, s >>= 1)
        if (s & 1)
            v |= m & -m;
    insn_set_reg(c, in, 0, v);
}

static void exec_pext(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI2);
    uint64_t m = insn_get(c, in, 2), s = insn_get(c, in, 1), v = 0;
    for (unsigned k = 0; m; m &= m - 1, k++)
        if (s & m & -m)
            v |= 1ull << k;
    insn_set_reg(c, in, 0, v);
}

static void exec_rorx(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI2);
    unsigned bits = in->opsize * 8u, n = (unsigned)in->imm & (bits - 1);
    uint64_t v = insn_get(c, in, 1);
    insn_set_reg(c, in, 0, n ? v >> n | v << (bits - n) : v);
}

static void exec_shlx(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI2);
    uint64_t v = insn_get(c, in, 1), n = insn_get(c, in, 2) & (in->opsize * 8u - 1);
    insn_set_reg(c, in, 0, v << n);
}

static void exec_shrx(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI2);
    uint64_t v = insn_get(c, in, 1), n = insn_get(c, in, 2) & (in->opsize * 8u - 1);
    insn_set_reg(c, in, 0, v >> n);
}

static void exec_sarx(struct cpu *c, const struct insn *in)
{
    need_vex_gpr(c, FEAT_BMI2);
    uint64_t v = insn_get(c, in, 1), n = insn_get(c, in, 2) & (in->opsize * 8u - 1);
    int64_t s = in->opsize == 4 ? (int32_t)v : (int64_t)v;
    insn_set_reg(c, in, 0, (uint64_t)(s >> n));
}

bool exec_bmi_setup(struct insn *out, const ZydisDecodedOperand *ops)
{
    static const struct {
        uint16_t op;
        exec_fn *exec;
    } table[] = {
        {ZYDIS_MNEMONIC_ANDN, exec_andn}, {ZYDIS_MNEMONIC_BEXTR, exec_bextr},
        {ZYDIS_MNEMONIC_BLSI, exec_blsi}, {ZYDIS_MNEMONIC_BLSMSK, exec_blsmsk},
        {ZYDIS_MNEMONIC_BLSR, exec_blsr}, {ZYDIS_MNEMONIC_BZHI, exec_bzhi},
        {ZYDIS_MNEMONIC_MULX, exec_mulx}, {ZYDIS_MNEMONIC_PDEP, exec_pdep},
        {ZYDIS_MNEMONIC_PEXT, exec_pext}, {ZYDIS_MNEMONIC_RORX, exec_rorx},
        {ZYDIS_MNEMONIC_SARX, exec_sarx}, {ZYDIS_MNEMONIC_SHLX, exec_shlx},
        {ZYDIS_MNEMONIC_SHRX, exec_shrx},
    };

    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (out->op != table[i].op)
            continue;
        /* 32 or 64 bits by VEX.W, whatever the mode's operand size */
        out->opsize = (uint8_t)(ops[0].size / 8);
        out->exec = table[i].exec;
        return true;
    }
    return false;
}
