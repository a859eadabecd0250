/*
 * exec_flow: near control transfer: Jcc, JMP, CALL, RET, JrCXZ, LOOPcc.
 *
 * The target is checked before anything is pushed or counted: next_rip may be set early, a fault afterwards
 * discards it.
 */
#include "accel/soft/engine/exec_int.h"

#define DEFINE_JCC(cc)                                                                                       \
    static void jcc_##cc(struct cpu *c, const struct insn *in)                                               \
    {                                                                                                        \
        if (flags_cond(c->rflags, cc))                                                                       \
            branch_near(c, c->next_rip + in->imm, in->opsize);                                               \
    }

DEFINE_JCC(0)
DEFINE_JCC(1)
DEFINE_JCC(2)
DEFINE_JCC(3)
DEFINE_JCC(4)
DEFINE_JCC(5)
DEFINE_JCC(6)
DEFINE_JCC(7)
DEFINE_JCC(8)
DEFINE_JCC(9)
DEFINE_JCC(10)
DEFINE_JCC(11)
DEFINE_JCC(12)
DEFINE_JCC(13)
DEFINE_JCC(14)
DEFINE_JCC(15)

static exec_fn *const jcc_exec[16] = {jcc_0, jcc_1, jcc_2,  jcc_3,  jcc_4,  jcc_5,  jcc_6,  jcc_7,
                                      jcc_8, jcc_9, jcc_10, jcc_11, jcc_12, jcc_13, jcc_14, jcc_15};

static void exec_jmp_rel(struct cpu *c, const struct insn *in)
{
    branch_near(c, c->next_rip + in->imm, in->opsize);
}

static void exec_jmp(struct cpu *c, const struct insn *in)
{
    branch_near(c, insn_get(c, in, 0), in->opsize);
}

static inline void call_near(struct cpu *c, uint64_t target, unsigned opsize)
{
    uint64_t back = c->next_rip, sp = c->gpr[X86_RSP];
    branch_near(c, target, opsize);
    if (c->mode == MODE_64) {
        sp -= opsize;
        cpu_store(c, X86_SS, sp, opsize, back);
        c->gpr[X86_RSP] = sp;
    } else {
        cpu_push_at(c, &sp, opsize, back & mask_size(opsize));
        cpu_set_sp(c, sp);
    }
}

static void exec_call_rel(struct cpu *c, const struct insn *in)
{
    call_near(c, c->next_rip + in->imm, in->opsize);
}

static void exec_call(struct cpu *c, const struct insn *in)
{
    call_near(c, insn_get(c, in, 0), in->opsize);
}

static void exec_ret_64(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP];
    branch_near(c, cpu_load(c, X86_SS, sp, 8), 8);
    c->gpr[X86_RSP] = sp + 8 + (SEED_BUG(11) ? in->imm & 0x7fff : in->imm);
}

static void exec_ret(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP];
    uint64_t target = cpu_pop_at(c, &sp, in->opsize);
    cpu_branch(c, target, in->opsize);
    cpu_set_sp(c, sp + in->imm);
}

static void exec_jcxz(struct cpu *c, const struct insn *in)
{
    if ((c->gpr[X86_RCX] & mask_size(in->adsize)) == 0)
        branch_near(c, c->next_rip + in->imm, in->opsize);
}

static void exec_loop(struct cpu *c, const struct insn *in)
{
    uint64_t n = (c->gpr[X86_RCX] - 1) & mask_size(in->adsize);
    bool zf = c->rflags & X86_ZF;

    if (n != 0 && (in->op == ZYDIS_MNEMONIC_LOOP || zf == (in->op == ZYDIS_MNEMONIC_LOOPE)))
        branch_near(c, c->next_rip + in->imm, in->opsize);
    cpu_set_gpr(c, X86_RCX, in->adsize == 4 && SEED_BUG(12) ? 2 : in->adsize, n);
}

bool exec_flow_setup(struct insn *out, const ZydisDecodedInstruction *zi, enum cpu_mode mode)
{
    bool relative = out->kind[0] == OPD_IMM;

    if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return false;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
        out->exec = relative ? exec_jmp_rel : exec_jmp;
        break;
    case ZYDIS_MNEMONIC_CALL:
        out->exec = relative ? exec_call_rel : exec_call;
        break;
    case ZYDIS_MNEMONIC_RET:
        out->exec = mode == MODE_64 ? exec_ret_64 : exec_ret;
        break;
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JRCXZ:
        out->exec = exec_jcxz;
        break;
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
        out->exec = exec_loop;
        break;
    default:
        if (zi->meta.category != ZYDIS_CATEGORY_COND_BR || !relative)
            return false;
        out->exec = jcc_exec[out->cond];
        break;
    }
    /* an operand-size prefix is ignored on near branches in 64-bit mode (SDM 2A table 2-4 note, Intel's rule)
     */
    if (mode == MODE_64)
        out->opsize = 8;
    return true;
}
