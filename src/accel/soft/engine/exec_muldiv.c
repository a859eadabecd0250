/*
 * exec_muldiv: MUL, IMUL, DIV, IDIV, and the sign extensions CBW/CWDE/CDQE, CWD/CDQ/CQO.
 *
 * The host multiplies, with the guest's flags, as in translated code: SF, ZF, AF and PF are undefined then.
 * All flags are after a division; they stay as they were, as with the processors that we know.
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
static u128 get_accumulator(const struct cpu *c, unsigned size)
{
    if (size == 1)
        return c->gpr[X86_RAX] & 0xffff;
    return (u128)(c->gpr[X86_RDX] & mask_size(size)) << (size * 8) | (c->gpr[X86_RAX] & mask_size(size));
}

/* ---- multiplication ---- */

struct product {
    uint64_t low, high; /* as rAX and rDX have them; of bytes, AX is low */
};

#define DEFINE_MUL(name, size, T, suffix)                                                                    \
    static struct product name##_##size(uint32_t *ax, uint64_t x, uint64_t y)                                \
    {                                                                                                        \
        struct product p = {.low = x};                                                                       \
        uint32_t f = *ax;                                                                                    \
        __asm__(FLAGS_IN "mov %[x], %%rax\n\t" #name suffix " %[y]\n\tmov %%rax, %[x]" FLAGS_OUT             \
                : [x] "+&r"(p.low), "+&a"(f), "=&d"(p.high)                                                  \
                : [y] "r"((T)y)                                                                              \
                : "cc");                                                                                     \
        *ax = f;                                                                                             \
        return p;                                                                                            \
    }

#define DEFINE_MULS(name)                                                                                    \
    DEFINE_MUL(name, 1, uint8_t, "b")                                                                        \
    DEFINE_MUL(name, 2, uint16_t, "w")                                                                       \
    DEFINE_MUL(name, 4, uint32_t, "l")                                                                       \
    DEFINE_MUL(name, 8, uint64_t, "q")

DEFINE_MULS(mul)
DEFINE_MULS(imul)

typedef struct product mul_fn(uint32_t *ax, uint64_t x, uint64_t y);
static mul_fn *const muls[2][4] = {{mul_1, mul_2, mul_4, mul_8}, {imul_1, imul_2, imul_4, imul_8}};

static struct product multiply(struct cpu *c, bool is_signed, uint64_t x, uint64_t y, unsigned size)
{
    uint32_t ax = flags_pack(c->rflags);
    struct product p = muls[is_signed][size_index(size)](&ax, x, y);

    flags_unpack(c, ax);
    if (SEED_BUG(1) && is_signed) {
        uint64_t high = (size == 1 ? p.low >> 8 : p.high) & mask_size(size);
        flags_set(c, X86_CF | X86_OF, high ? X86_CF | X86_OF : 0);
    }
    return p;
}

static void multiply_accumulator(struct cpu *c, const struct insn *in, bool is_signed)
{
    uint64_t y = insn_get(c, in, 0);
    struct product p = multiply(c, is_signed, c->gpr[X86_RAX], y, in->opsize);

    cpu_set_gpr(c, X86_RAX, in->opsize == 1 ? 2 : in->opsize, p.low);
    if (in->opsize > 1)
        cpu_set_gpr(c, X86_RDX, in->opsize, p.high);
}

static void exec_mul(struct cpu *c, const struct insn *in)
{
    multiply_accumulator(c, in, false);
}

static void exec_imul1(struct cpu *c, const struct insn *in)
{
    multiply_accumulator(c, in, true);
}

static void exec_imul2(struct cpu *c, const struct insn *in)
{
    uint64_t y = insn_get(c, in, 1);
    insn_set_reg(c, in, 0, multiply(c, true, insn_get(c, in, 0), y, in->opsize).low);
}

static void exec_imul3(struct cpu *c, const struct insn *in)
{
    uint64_t x = insn_get(c, in, 1);
    insn_set_reg(c, in, 0, multiply(c, true, x, in->imm, in->opsize).low);
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
