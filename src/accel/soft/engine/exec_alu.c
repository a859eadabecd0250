/*
 * exec_alu: ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, and INC, DEC, NEG, NOT.
 *
 * The two-operand ones are the interpreter's hottest code: one function for each operation, operand form and
 * size, made by macros. Forms are named destination first: r register, m memory, i immediate.
 */
#include "accel/soft/engine/exec_int.h"

/* One host instruction on values: alu_add_4(c, a, b) returns a + b and sets the guest's flags. */
#define DEFINE_ALU(name, mnemonic, carry_in, size, T, suffix)                                                \
    static inline T alu_##name##_##size(struct cpu *c, T a, T b)                                             \
    {                                                                                                        \
        uint32_t ax;                                                                                         \
        __asm__(carry_in mnemonic suffix " %[b], %[a]" FLAGS_OUT                                             \
                : [a] "+&r"(a), "=&a"(ax)                                                                    \
                : [b] "r"(b), [f] "r"(c->rflags)                                                             \
                : "cc");                                                                                     \
        flags_unpack(c, ax);                                                                                 \
        return a;                                                                                            \
    }

/* The five forms of an operation that writes its destination. */
#define DEFINE_FORMS_WRITE(name, size, T)                                                                    \
    static void name##_rr_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        reg_set(c, in, 0, size,                                                                              \
                alu_##name##_##size(c, (T)reg_get(c, in, 0, size), (T)reg_get(c, in, 1, size)));             \
    }                                                                                                        \
    static void name##_ri_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        reg_set(c, in, 0, size, alu_##name##_##size(c, (T)reg_get(c, in, 0, size), (T)in->imm));             \
    }                                                                                                        \
    static void name##_rm_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        T b = (T)mem_get(c, in, size);                                                                       \
        reg_set(c, in, 0, size, alu_##name##_##size(c, (T)reg_get(c, in, 0, size), b));                      \
    }                                                                                                        \
    static void name##_mr_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        struct cpu_ref r;                                                                                    \
        cpu_ref(c, in->seg, insn_ea(c, in), size, false, &r);                                                \
        T a = (T)cpu_ref_load(&r);                                                                           \
        cpu_ref_store(&r, alu_##name##_##size(c, a, (T)reg_get(c, in, 1, size)));                            \
        cpu_ref_end(&r);                                                                                     \
    }                                                                                                        \
    static void name##_mi_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        struct cpu_ref r;                                                                                    \
        cpu_ref(c, in->seg, insn_ea(c, in), size, false, &r);                                                \
        T a = (T)cpu_ref_load(&r);                                                                           \
        cpu_ref_store(&r, alu_##name##_##size(c, a, (T)in->imm));                                            \
        cpu_ref_end(&r);                                                                                     \
    }

/* The five forms of one that only sets flags. */
#define DEFINE_FORMS_READ(name, size, T)                                                                     \
    static void name##_rr_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        alu_##name##_##size(c, (T)reg_get(c, in, 0, size), (T)reg_get(c, in, 1, size));                      \
    }                                                                                                        \
    static void name##_ri_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        alu_##name##_##size(c, (T)reg_get(c, in, 0, size), (T)in->imm);                                      \
    }                                                                                                        \
    static void name##_rm_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        T b = (T)mem_get(c, in, size);                                                                       \
        alu_##name##_##size(c, (T)reg_get(c, in, 0, size), b);                                               \
    }                                                                                                        \
    static void name##_mr_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        T a = (T)mem_get(c, in, size);                                                                       \
        alu_##name##_##size(c, a, (T)reg_get(c, in, 1, size));                                               \
    }                                                                                                        \
    static void name##_mi_##size(struct cpu *c, const struct insn *in)                                       \
    {                                                                                                        \
        T a = (T)mem_get(c, in, size);                                                                       \
        alu_##name##_##size(c, a, (T)in->imm);                                                               \
    }

#define DEFINE_SIZE(name, mnemonic, carry_in, forms, size, T, suffix)                                        \
    DEFINE_ALU(name, mnemonic, carry_in, size, T, suffix)                                                    \
    static uint64_t any_##name##_##size(struct cpu *c, uint64_t a, uint64_t b)                               \
    {                                                                                                        \
        return alu_##name##_##size(c, (T)a, (T)b);                                                           \
    }                                                                                                        \
    forms(name, size, T)

#define DEFINE_OP(name, mnemonic, carry_in, forms)                                                           \
    DEFINE_SIZE(name, mnemonic, carry_in, forms, 1, uint8_t, "b")                                            \
    DEFINE_SIZE(name, mnemonic, carry_in, forms, 2, uint16_t, "w")                                           \
    DEFINE_SIZE(name, mnemonic, carry_in, forms, 4, uint32_t, "l")                                           \
    DEFINE_SIZE(name, mnemonic, carry_in, forms, 8, uint64_t, "q")

#define CARRY_IN "btl $0, %k[f]\n\t"

DEFINE_OP(add, "add", "", DEFINE_FORMS_WRITE)
DEFINE_OP(or, "or", "", DEFINE_FORMS_WRITE)
DEFINE_OP(adc, "adc", CARRY_IN, DEFINE_FORMS_WRITE)
DEFINE_OP(sbb, "sbb", CARRY_IN, DEFINE_FORMS_WRITE)
DEFINE_OP(and, "and", "", DEFINE_FORMS_WRITE)
DEFINE_OP(sub, "sub", "", DEFINE_FORMS_WRITE)
DEFINE_OP(xor, "xor", "", DEFINE_FORMS_WRITE)
DEFINE_OP(cmp, "cmp", "", DEFINE_FORMS_READ)
DEFINE_OP(test, "test", "", DEFINE_FORMS_READ)

enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_TEST, ALU_OPS };
enum { FORM_RR, FORM_RI, FORM_RM, FORM_MR, FORM_MI, FORMS };

typedef uint64_t alu_fn(struct cpu *c, uint64_t a, uint64_t b);

#define ROW_FORM(name, form)                                                                                 \
    {                                                                                                        \
        name##_##form##_1, name##_##form##_2, name##_##form##_4, name##_##form##_8                           \
    }
#define ROW(name)                                                                                            \
    {                                                                                                        \
        ROW_FORM(name, rr), ROW_FORM(name, ri), ROW_FORM(name, rm), ROW_FORM(name, mr), ROW_FORM(name, mi)   \
    }
#define ROW_ANY(name)                                                                                        \
    {                                                                                                        \
        any_##name##_1, any_##name##_2, any_##name##_4, any_##name##_8                                       \
    }

static exec_fn *const alu_exec[ALU_OPS][FORMS][4] = {
    [ALU_ADD] = ROW(add), [ALU_OR] = ROW(or),   [ALU_ADC] = ROW(adc),
    [ALU_SBB] = ROW(sbb), [ALU_AND] = ROW(and), [ALU_SUB] = ROW(sub),
    [ALU_XOR] = ROW(xor), [ALU_CMP] = ROW(cmp), [ALU_TEST] = ROW(test),
};

static alu_fn *const alu_any[ALU_OPS][4] = {
    [ALU_ADD] = ROW_ANY(add), [ALU_OR] = ROW_ANY(or),   [ALU_ADC] = ROW_ANY(adc),
    [ALU_SBB] = ROW_ANY(sbb), [ALU_AND] = ROW_ANY(and), [ALU_SUB] = ROW_ANY(sub),
    [ALU_XOR] = ROW_ANY(xor), [ALU_CMP] = ROW_ANY(cmp), [ALU_TEST] = ROW_ANY(test),
};

static uint64_t change_alu(struct cpu *c, const struct insn *in, uint64_t old, void *arg)
{
    return alu_any[in->op][size_index(in->opsize)](c, old, *(const uint64_t *)arg);
}

static void exec_lock_alu(struct cpu *c, const struct insn *in)
{
    uint64_t b = insn_get(c, in, 1);
    change_operand(c, in, change_alu, &b);
}

/* XOR and SUB of a register with itself: no flag depends on the value. */
static void exec_zero(struct cpu *c, const struct insn *in)
{
    flags_set(c, X86_ARITH_FLAGS, X86_ZF | X86_PF);
    c->gpr[in->reg[0]] = 0;
}

/* ---- one operand ---- */

#define DEFINE_UNARY(name, mnemonic, size, T, suffix)                                                        \
    static uint64_t unary_##name##_##size(struct cpu *c, const struct insn *in, uint64_t old, void *arg)     \
    {                                                                                                        \
        uint32_t ax = flags_pack(c->rflags);                                                                 \
        T a = (T)old;                                                                                        \
        (void)in;                                                                                            \
        (void)arg;                                                                                           \
        __asm__(FLAGS_IN mnemonic suffix " %[a]" FLAGS_OUT : [a] "+&r"(a), "+&a"(ax) : : "cc");              \
        flags_unpack(c, ax);                                                                                 \
        return a;                                                                                            \
    }                                                                                                        \
    static void name##_r_##size(struct cpu *c, const struct insn *in)                                        \
    {                                                                                                        \
        reg_set(c, in, 0, size, unary_##name##_##size(c, in, reg_get(c, in, 0, size), NULL));                \
    }                                                                                                        \
    static void name##_m_##size(struct cpu *c, const struct insn *in)                                        \
    {                                                                                                        \
        change_operand(c, in, unary_##name##_##size, NULL);                                                  \
    }

#define DEFINE_UNARIES(name, mnemonic)                                                                       \
    DEFINE_UNARY(name, mnemonic, 1, uint8_t, "b")                                                            \
    DEFINE_UNARY(name, mnemonic, 2, uint16_t, "w")                                                           \
    DEFINE_UNARY(name, mnemonic, 4, uint32_t, "l")                                                           \
    DEFINE_UNARY(name, mnemonic, 8, uint64_t, "q")

DEFINE_UNARIES(inc, "inc")
DEFINE_UNARIES(dec, "dec")
DEFINE_UNARIES(neg, "neg")
DEFINE_UNARIES(not, "not")

static exec_fn *const unary_exec[4][2][4] = {
    {ROW_FORM(inc, r), ROW_FORM(inc, m)},
    {ROW_FORM(dec, r), ROW_FORM(dec, m)},
    {ROW_FORM(neg, r), ROW_FORM(neg, m)},
    {ROW_FORM(not, r), ROW_FORM(not, m)},
};

static int alu_index(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_ADD:
        return ALU_ADD;
    case ZYDIS_MNEMONIC_OR:
        return ALU_OR;
    case ZYDIS_MNEMONIC_ADC:
        return ALU_ADC;
    case ZYDIS_MNEMONIC_SBB:
        return ALU_SBB;
    case ZYDIS_MNEMONIC_AND:
        return ALU_AND;
    case ZYDIS_MNEMONIC_SUB:
        return ALU_SUB;
    case ZYDIS_MNEMONIC_XOR:
        return ALU_XOR;
    case ZYDIS_MNEMONIC_CMP:
        return ALU_CMP;
    case ZYDIS_MNEMONIC_TEST:
        return ALU_TEST;
    default:
        return -1;
    }
}

static int unary_index(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_INC:
        return 0;
    case ZYDIS_MNEMONIC_DEC:
        return 1;
    case ZYDIS_MNEMONIC_NEG:
        return 2;
    case ZYDIS_MNEMONIC_NOT:
        return 3;
    default:
        return -1;
    }
}

static unsigned form_of(const struct insn *in)
{
    if (in->kind[0] == OPD_MEM)
        return in->kind[1] == OPD_IMM ? FORM_MI : FORM_MR;
    return in->kind[1] == OPD_IMM ? FORM_RI : in->kind[1] == OPD_MEM ? FORM_RM : FORM_RR;
}

bool exec_alu_setup(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    int op = alu_index(zi->mnemonic), unary = unary_index(zi->mnemonic);
    (void)ops;

    if (unary >= 0) {
        out->exec = unary_exec[unary][out->kind[0] == OPD_MEM][size_index(out->opsize)];
        return true;
    }
    if (op < 0)
        return false;
    out->op = (uint16_t)op;
    if (out->flags & INSN_LOCK)
        out->exec = exec_lock_alu;
    else if ((op == ALU_XOR || op == ALU_SUB) && out->opsize >= 4 && form_of(out) == FORM_RR &&
             out->reg[0] == out->reg[1])
        out->exec = exec_zero;
    else
        out->exec = alu_exec[op][form_of(out)][size_index(out->opsize)];
    return true;
}
