/*
 * exec_shift: SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD. Executed by the host with the guest's flags,
 * which settles every count and every flag.
 */
#include "accel/soft/engine/exec_int.h"

#define DEFINE_SHIFT(name, size, T, suffix)                                                                  \
    static uint64_t name##_##size(uint32_t *ax, uint64_t value, uint8_t count)                               \
    {                                                                                                        \
        T a = (T)value;                                                                                      \
        uint32_t f = *ax;                                                                                    \
        __asm__(FLAGS_IN #name suffix " %%cl, %[a]" FLAGS_OUT : [a] "+&r"(a), "+&a"(f) : "c"(count) : "cc"); \
        *ax = f;                                                                                             \
        return a;                                                                                            \
    }

#define DEFINE_SHIFTS(name)                                                                                  \
    DEFINE_SHIFT(name, 1, uint8_t, "b")                                                                      \
    DEFINE_SHIFT(name, 2, uint16_t, "w")                                                                     \
    DEFINE_SHIFT(name, 4, uint32_t, "l")                                                                     \
    DEFINE_SHIFT(name, 8, uint64_t, "q")

DEFINE_SHIFTS(rol)
DEFINE_SHIFTS(ror)
DEFINE_SHIFTS(rcl)
DEFINE_SHIFTS(rcr)
DEFINE_SHIFTS(shl)
DEFINE_SHIFTS(shr)
DEFINE_SHIFTS(sar)

typedef uint64_t shift_fn(uint32_t *ax, uint64_t value, uint8_t count);

#define ROW(name)                                                                                            \
    {                                                                                                        \
        name##_1, name##_2, name##_4, name##_8                                                               \
    }

enum { ROL, ROR };
static shift_fn *const shifts[7][4] = {ROW(rol), ROW(ror), ROW(rcl), ROW(rcr), ROW(shl), ROW(shr), ROW(sar)};

/* Rotations change OF, which is undefined but for a count of 1; with an immediate count Intel's processors
 * leave it alone, with CL they do not. */
static bool keeps_of(const struct insn *in, uint8_t count)
{
    return in->kind[1] == OPD_IMM && in->op <= ROR && (count & (in->opsize == 8 ? 63 : 31)) != 1;
}

static uint64_t change_shift(struct cpu *c, const struct insn *in, uint64_t old, void *arg)
{
    uint32_t ax = flags_pack(c->rflags), before = ax;
    uint8_t count = *(const uint8_t *)arg;
    uint64_t v = shifts[in->op][size_index(in->opsize)](&ax, old, count);
    if (keeps_of(in, count))
        ax = (ax & ~0xffu) | (before & 0xff);
    flags_unpack(c, ax);
    return v;
}

static void exec_shift(struct cpu *c, const struct insn *in)
{
    /* the count operand is CL or an immediate, of a byte whatever the operand size */
    uint8_t count = (uint8_t)(in->kind[1] == OPD_IMM ? in->imm : c->gpr[X86_RCX]);
    if (SEED_BUG(3))
        count &= 31;
    change_operand(c, in, change_shift, &count);
}

/* ---- SHLD, SHRD ---- */

#define DEFINE_DOUBLE(name, size, T, suffix)                                                                 \
    static uint64_t name##_##size(uint32_t *ax, uint64_t value, uint64_t from, uint8_t count)                \
    {                                                                                                        \
        T a = (T)value;                                                                                      \
        uint32_t f = *ax;                                                                                    \
        __asm__(FLAGS_IN #name suffix " %%cl, %[b], %[a]" FLAGS_OUT                                          \
                : [a] "+&r"(a), "+&a"(f)                                                                     \
                : "c"(count), [b] "r"((T)from)                                                               \
                : "cc");                                                                                     \
        *ax = f;                                                                                             \
        return a;                                                                                            \
    }

#define DEFINE_DOUBLES(name)                                                                                 \
    DEFINE_DOUBLE(name, 2, uint16_t, "w")                                                                    \
    DEFINE_DOUBLE(name, 4, uint32_t, "l")                                                                    \
    DEFINE_DOUBLE(name, 8, uint64_t, "q")

DEFINE_DOUBLES(shld)
DEFINE_DOUBLES(shrd)

typedef uint64_t double_fn(uint32_t *ax, uint64_t value, uint64_t from, uint8_t count);
static double_fn *const doubles[2][4] = {{NULL, shld_2, shld_4, shld_8}, {NULL, shrd_2, shrd_4, shrd_8}};

static uint64_t change_double(struct cpu *c, const struct insn *in, uint64_t old, void *arg)
{
    uint32_t ax = flags_pack(c->rflags);
    uint8_t count = (uint8_t)(in->kind[2] == OPD_IMM ? in->imm : c->gpr[X86_RCX]);
    uint64_t v = doubles[in->op][size_index(in->opsize)](&ax, old, *(const uint64_t *)arg, count);
    flags_unpack(c, ax);
    return v;
}

static void exec_double(struct cpu *c, const struct insn *in)
{
    uint64_t from = insn_get(c, in, 1);
    change_operand(c, in, change_double, &from);
}

bool exec_shift_setup(struct insn *out)
{
    static const uint16_t order[7] = {ZYDIS_MNEMONIC_ROL, ZYDIS_MNEMONIC_ROR, ZYDIS_MNEMONIC_RCL,
                                      ZYDIS_MNEMONIC_RCR, ZYDIS_MNEMONIC_SHL, ZYDIS_MNEMONIC_SHR,
                                      ZYDIS_MNEMONIC_SAR};

    if (out->op == ZYDIS_MNEMONIC_SHLD || out->op == ZYDIS_MNEMONIC_SHRD) {
        out->op = out->op == ZYDIS_MNEMONIC_SHRD;
        out->exec = exec_double;
        return true;
    }
    for (uint16_t i = 0; i < 7; i++) {
        if (out->op != order[i])
            continue;
        out->op = i;
        out->exec = exec_shift;
        return true;
    }
    return false;
}
