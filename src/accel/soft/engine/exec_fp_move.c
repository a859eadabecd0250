/*
 * exec_fp_move: moves of whole vector registers. They need no thunk and are most of what string and memory
 * functions execute.
 */
#include <Zydis/Zydis.h>
#include <string.h>
#include "accel/soft/engine/fp.h"

static void set_xmm(struct cpu *c, unsigned reg, const uint8_t *v)
{
    memcpy(c->fpu.ymm[reg], v, 16);
}

static void exec_sse_load(struct cpu *c, const struct insn *in)
{
    uint8_t v[16];
    fp_check_sse(c, in);
    uint64_t ea = insn_ea(c, in);
    fp_check_alignment(c, in, ea);
    fp_load(c, in->seg, ea, v, 16, 1);
    set_xmm(c, in->reg[0], v);
}

static void exec_sse_store(struct cpu *c, const struct insn *in)
{
    fp_check_sse(c, in);
    uint64_t ea = insn_ea(c, in);
    fp_check_alignment(c, in, ea);
    fp_store(c, in->seg, ea, c->fpu.ymm[in->reg[1]], 16, 1);
}

static void exec_sse_copy(struct cpu *c, const struct insn *in)
{
    fp_check_sse(c, in);
    set_xmm(c, in->reg[0], c->fpu.ymm[in->reg[1]]);
}

/* VEX forms: opsize is 16 or 32, and a shorter result zeroes what is above it. */
static void exec_vex_load(struct cpu *c, const struct insn *in)
{
    uint8_t v[32] = {0};
    fp_check_vex(c, in);
    uint64_t ea = insn_ea(c, in);
    fp_check_alignment(c, in, ea);
    fp_load(c, in->seg, ea, v, in->opsize, 1);
    memcpy(c->fpu.ymm[in->reg[0]], v, 32);
}

static void exec_vex_store(struct cpu *c, const struct insn *in)
{
    fp_check_vex(c, in);
    uint64_t ea = insn_ea(c, in);
    fp_check_alignment(c, in, ea);
    fp_store(c, in->seg, ea, c->fpu.ymm[in->reg[1]], in->opsize, 1);
}

static void exec_vex_copy(struct cpu *c, const struct insn *in)
{
    uint8_t v[32] = {0};
    fp_check_vex(c, in);
    memcpy(v, c->fpu.ymm[in->reg[1]], in->opsize);
    memcpy(c->fpu.ymm[in->reg[0]], v, 32);
}

static bool is_whole_move(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVAPS:
    case ZYDIS_MNEMONIC_MOVAPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_MOVDQA:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_MOVNTPS:
    case ZYDIS_MNEMONIC_MOVNTPD:
    case ZYDIS_MNEMONIC_MOVNTDQ:
    case ZYDIS_MNEMONIC_MOVNTDQA:
    case ZYDIS_MNEMONIC_VMOVUPS:
    case ZYDIS_MNEMONIC_VMOVUPD:
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVDQU:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VLDDQU:
    case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD:
    case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA:
        return true;
    default:
        return false;
    }
}

bool fp_move_setup(struct insn *out, const void *zi_)
{
    const ZydisDecodedInstruction *zi = zi_;
    bool vex = zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    if (!is_whole_move(zi->mnemonic))
        return false;
    out->opsize = vex && zi->raw.vex.L ? 32 : 16;
    if (out->kind[0] == OPD_MEM)
        out->exec = vex ? exec_vex_store : exec_sse_store;
    else if (out->kind[1] == OPD_MEM)
        out->exec = vex ? exec_vex_load : exec_sse_load;
    else
        out->exec = vex ? exec_vex_copy : exec_sse_copy;
    return true;
}
