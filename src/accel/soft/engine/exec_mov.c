/*
 * exec_mov: MOV (not of segment, control and debug registers), MOVZX, MOVSX, MOVSXD, LEA, CMOVcc, SETcc,
 * MOVBE, MOVNTI, BSWAP, XLAT.
 */
#include "accel/soft/engine/exec_int.h"

/* ---- MOV, one function for each form and size: destination first ---- */

#define DEFINE_MOV(size)                                                                                     \
    static void mov_rr_##size(struct cpu *c, const struct insn *in)                                          \
    {                                                                                                        \
        reg_set(c, in, 0, size, reg_get(c, in, 1, size));                                                    \
    }                                                                                                        \
    static void mov_ri_##size(struct cpu *c, const struct insn *in)                                          \
    {                                                                                                        \
        reg_set(c, in, 0, size, in->imm);                                                                    \
    }                                                                                                        \
    static void mov_rm_##size(struct cpu *c, const struct insn *in)                                          \
    {                                                                                                        \
        reg_set(c, in, 0, size, mem_get(c, in, size));                                                       \
    }                                                                                                        \
    static void mov_mr_##size(struct cpu *c, const struct insn *in)                                          \
    {                                                                                                        \
        mem_set(c, in, size, reg_get(c, in, 1, size));                                                       \
    }                                                                                                        \
    static void mov_mi_##size(struct cpu *c, const struct insn *in)                                          \
    {                                                                                                        \
        mem_set(c, in, size, in->imm &mask_size(size));                                                      \
    }

DEFINE_MOV(1)
DEFINE_MOV(2)
DEFINE_MOV(4)
DEFINE_MOV(8)

#define ROW_MOV(form)                                                                                        \
    {                                                                                                        \
        mov_##form##_1, mov_##form##_2, mov_##form##_4, mov_##form##_8                                       \
    }

static exec_fn *const mov_exec[5][4] = {ROW_MOV(rr), ROW_MOV(ri), ROW_MOV(rm), ROW_MOV(mr), ROW_MOV(mi)};

/* ---- widening: source size and signedness, destination by opsize ---- */

#define DEFINE_WIDEN(name, size, T)                                                                          \
    static void name##_r(struct cpu *c, const struct insn *in)                                               \
    {                                                                                                        \
        reg_set(c, in, 0, in->opsize, (uint64_t)(int64_t)(T)reg_get(c, in, 1, size));                        \
    }                                                                                                        \
    static void name##_m(struct cpu *c, const struct insn *in)                                               \
    {                                                                                                        \
        reg_set(c, in, 0, in->opsize, (uint64_t)(int64_t)(T)mem_get(c, in, size));                           \
    }

DEFINE_WIDEN(movzx_1, 1, uint8_t)
DEFINE_WIDEN(movzx_2, 2, uint16_t)
DEFINE_WIDEN(movsx_1, 1, int8_t)
DEFINE_WIDEN(movsx_2, 2, int16_t)
DEFINE_WIDEN(movsx_4, 4, int32_t)

static bool setup_widen(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    bool memory = out->kind[1] == OPD_MEM, sign = zi->mnemonic != ZYDIS_MNEMONIC_MOVZX;
    unsigned source = ops[1].size / 8;

    out->opsize = (uint8_t)(ops[0].size / 8);
    if (zi->mnemonic == ZYDIS_MNEMONIC_MOVSXD && out->opsize == 2)
        source = 2; /* SDM 2B MOVSXD: r16, r/m16 (AMD's processors read 32 bits) */
    switch (source) {
    case 1:
        out->exec = sign ? (memory ? movsx_1_m : movsx_1_r) : (memory ? movzx_1_m : movzx_1_r);
        return true;
    case 2:
        sign = sign && !(SEED_BUG(15) && memory);
        out->exec = sign ? (memory ? movsx_2_m : movsx_2_r) : (memory ? movzx_2_m : movzx_2_r);
        return true;
    default:
        out->exec = memory ? movsx_4_m : movsx_4_r;
        return true;
    }
}

/* ---- LEA ---- */

static void exec_lea_8(struct cpu *c, const struct insn *in)
{
    c->gpr[in->reg[0]] = insn_ea(c, in);
}

static void exec_lea(struct cpu *c, const struct insn *in)
{
    reg_set(c, in, 0, in->opsize, insn_ea(c, in));
}

/* ---- conditional ---- */

/* The source is read, and may fault, whether or not the condition holds; a 32-bit destination is
 * zero-extended either way. */
static void exec_cmov(struct cpu *c, const struct insn *in)
{
    need_feature(c, FEAT_CMOV);
    uint64_t v = insn_get(c, in, 1);
    if (flags_cond(c->rflags, in->cond))
        insn_set_reg(c, in, 0, v);
    else if (!SEED_BUG(6))
        insn_set_reg(c, in, 0, c->gpr[in->reg[0]]);
}

static void exec_setcc(struct cpu *c, const struct insn *in)
{
    uint64_t v = flags_cond(c->rflags, in->cond);
    if (in->kind[0] == OPD_MEM)
        mem_set(c, in, 1, v);
    else
        reg_set(c, in, 0, 1, v);
}

/* ---- byte order ---- */

static uint64_t byte_swap(uint64_t v, unsigned size)
{
    return size == 8   ? __builtin_bswap64(v)
           : size == 4 ? __builtin_bswap32((uint32_t)v)
                       : __builtin_bswap16((uint16_t)v);
}

/* Of 16 bits the result is undefined (SDM); processors clear the register's low half. */
static void exec_bswap(struct cpu *c, const struct insn *in)
{
    uint64_t v = in->opsize == 2 ? 0 : byte_swap(c->gpr[in->reg[0]], in->opsize);
    cpu_set_gpr(c, in->reg[0], in->opsize, v);
}

static void exec_movbe(struct cpu *c, const struct insn *in)
{
    need_feature(c, FEAT_MOVBE);
    if (in->kind[0] == OPD_MEM)
        mem_set(c, in, in->opsize, byte_swap(insn_get(c, in, 1), in->opsize));
    else
        insn_set_reg(c, in, 0, byte_swap(insn_get(c, in, 1), in->opsize));
}

/* ---- others ---- */

static void exec_movnti(struct cpu *c, const struct insn *in)
{
    need_feature(c, FEAT_SSE2);
    mem_set(c, in, in->opsize, reg_get(c, in, 1, in->opsize));
}

static void exec_xlat(struct cpu *c, const struct insn *in)
{
    uint64_t off = (c->gpr[X86_RBX] + (c->gpr[X86_RAX] & 0xff)) & mask_size(in->adsize);
    cpu_set_gpr(c, X86_RAX, 1, cpu_load(c, in->seg, off, 1));
}

static unsigned mov_form(const struct insn *in)
{
    if (in->kind[0] == OPD_MEM)
        return in->kind[1] == OPD_IMM ? 4 : 3;
    return in->kind[1] == OPD_IMM ? 1 : in->kind[1] == OPD_MEM ? 2 : 0;
}

static bool is_gpr_move(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    for (unsigned i = 0; i < zi->operand_count_visible; i++) {
        if (ops[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        if (ops[i].reg.value < ZYDIS_REGISTER_AL || ops[i].reg.value > ZYDIS_REGISTER_R15)
            return false;
    }
    return true;
}

bool exec_mov_setup(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        if (!is_gpr_move(zi, ops))
            return false;
        out->exec = mov_exec[mov_form(out)][size_index(out->opsize)];
        return true;
    case ZYDIS_MNEMONIC_MOVZX:
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
        return setup_widen(out, zi, ops);
    case ZYDIS_MNEMONIC_LEA:
        out->exec = out->opsize == 8 ? exec_lea_8 : exec_lea;
        return true;
    case ZYDIS_MNEMONIC_BSWAP:
        out->exec = exec_bswap;
        return true;
    case ZYDIS_MNEMONIC_MOVBE:
        out->exec = exec_movbe;
        return true;
    case ZYDIS_MNEMONIC_MOVNTI:
        out->opsize = (uint8_t)(ops[0].size / 8); /* an operand-size prefix has no effect */
        out->exec = exec_movnti;
        return true;
    case ZYDIS_MNEMONIC_XLAT:
        out->exec = exec_xlat;
        return true;
    default:
        break;
    }
    if (zi->meta.category == ZYDIS_CATEGORY_CMOV)
        out->exec = exec_cmov;
    else if (zi->meta.category == ZYDIS_CATEGORY_SETCC)
        out->exec = exec_setcc;
    else
        return false;
    return true;
}
