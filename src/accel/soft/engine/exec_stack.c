/*
 * exec_stack: PUSH, POP (not of segment registers other than to push one), PUSHA, POPA, ENTER, LEAVE, BOUND.
 */
#include "accel/soft/engine/exec_int.h"

static inline void push(struct cpu *c, unsigned size, uint64_t v)
{
    uint64_t sp = c->gpr[X86_RSP];
    if (c->mode == MODE_64) {
        sp -= size;
        if (SEED_BUG(20))
            c->gpr[X86_RSP] = sp;
        cpu_store(c, X86_SS, sp, size, v);
        c->gpr[X86_RSP] = sp;
    } else {
        cpu_push_at(c, &sp, size, v);
        cpu_set_sp(c, sp);
    }
}

static void exec_push_reg(struct cpu *c, const struct insn *in)
{
    push(c, in->opsize, c->gpr[in->reg[0]] & mask_size(in->opsize));
}

static void exec_push(struct cpu *c, const struct insn *in)
{
    push(c, in->opsize, insn_get(c, in, 0));
}

/* A 32-bit push of a selector stores its 16 bits and leaves the two bytes above them, as all recent
 * processors of Intel do (SDM 2B PUSH). */
static void exec_push_seg(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP] - in->opsize;

    cpu_store(c, X86_SS, sp & mask_size(cpu_stack_size(c)), in->opsize == 4 ? 2 : in->opsize,
              c->seg[in->reg[0]].sel);
    cpu_set_sp(c, sp);
}

static void exec_pop_reg_64(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP], v = cpu_load(c, X86_SS, sp, 8);
    c->gpr[X86_RSP] = sp + 8;
    c->gpr[in->reg[0]] = v;
}

static void exec_pop_reg(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP], v = cpu_pop_at(c, &sp, in->opsize);
    cpu_set_sp(c, sp);
    cpu_set_gpr(c, in->reg[0], in->opsize, v);
}

/* The address of the destination is formed with the stack pointer already incremented (SDM 2B POP). */
static void exec_pop_mem(struct cpu *c, const struct insn *in)
{
    uint64_t old = c->gpr[X86_RSP], sp = old, v = cpu_pop_at(c, &sp, in->opsize);

    uint64_t early = insn_ea(c, in);
    cpu_set_sp(c, sp);
    uint64_t ea = SEED_BUG(9) ? early : insn_ea(c, in), after = c->gpr[X86_RSP];
    c->gpr[X86_RSP] = old;
    cpu_store(c, in->seg, ea, in->opsize, v);
    c->gpr[X86_RSP] = after;
}

/* ---- PUSHA, POPA ---- */

static void exec_pusha(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP], mask = mask_size(cpu_stack_size(c));

    for (unsigned i = 1; i <= 8; i++)
        cpu_probe_write(c, X86_SS, (sp - i * in->opsize) & mask, in->opsize);
    for (unsigned r = 0; r < 8; r++)
        cpu_push_at(c, &sp, in->opsize, c->gpr[r] & mask_size(in->opsize));
    cpu_set_sp(c, sp);
}

static void exec_popa(struct cpu *c, const struct insn *in)
{
    uint64_t sp = c->gpr[X86_RSP], v[8];

    for (unsigned r = 8; r-- > 0;)
        v[r] = cpu_pop_at(c, &sp, in->opsize);
    cpu_set_sp(c, sp);
    for (unsigned r = 0; r < 8; r++)
        if (r != X86_RSP)
            cpu_set_gpr(c, r, in->opsize, v[r]);
}

/* ---- ENTER, LEAVE ---- */

/* Everything that ENTER may fault on, without changing anything: its pushes, its reads of the display, and a
 * write at the final stack pointer. */
static void enter_check(struct cpu *c, const struct insn *in, unsigned level, uint64_t size)
{
    uint64_t mask = mask_size(cpu_stack_size(c)), sp = c->gpr[X86_RSP], bp = c->gpr[X86_RBP];
    unsigned pushes = level ? level + 1 : 1;

    for (unsigned i = 1; i <= pushes; i++) {
        /* in the order of the accesses: each frame pointer of the display is read before it is pushed */
        if (i > 1 && i <= level)
            cpu_load(c, X86_SS, (bp - (i - 1) * in->opsize) & mask, in->opsize);
        cpu_probe_write(c, X86_SS, (sp - i * in->opsize) & mask, in->opsize);
    }
    cpu_probe_write(c, X86_SS, (sp - pushes * in->opsize - size) & mask, in->opsize);
}

static void exec_enter(struct cpu *c, const struct insn *in)
{
    unsigned level = in->sel & (SEED_BUG(10) ? 7 : 31), width = cpu_stack_size(c);
    uint64_t size = in->imm & 0xffff, sp = c->gpr[X86_RSP], bp = c->gpr[X86_RBP];

    enter_check(c, in, level, size);
    cpu_push_at(c, &sp, in->opsize, bp & mask_size(in->opsize));
    uint64_t frame = sp;
    for (unsigned i = 1; i < level; i++) {
        bp -= in->opsize;
        cpu_push_at(c, &sp, in->opsize, cpu_load(c, X86_SS, bp & mask_size(width), in->opsize));
    }
    if (level)
        cpu_push_at(c, &sp, in->opsize, frame & mask_size(in->opsize));
    cpu_set_gpr(c, X86_RBP, in->opsize, frame);
    cpu_set_sp(c, sp - size);
}

static void exec_leave(struct cpu *c, const struct insn *in)
{
    unsigned width = cpu_stack_size(c);
    uint64_t sp = width == 8 ? c->gpr[X86_RBP]
                             : (c->gpr[X86_RSP] & ~mask_size(width)) | (c->gpr[X86_RBP] & mask_size(width));
    uint64_t v = cpu_pop_at(c, &sp, in->opsize);

    cpu_set_sp(c, sp);
    cpu_set_gpr(c, X86_RBP, in->opsize, v);
}

static void exec_bound(struct cpu *c, const struct insn *in)
{
    unsigned shift = 64 - in->opsize * 8;
    uint64_t ea = insn_ea(c, in);
    int64_t index = (int64_t)(c->gpr[in->reg[0]] << shift);
    int64_t low = (int64_t)(cpu_load(c, in->seg, ea, in->opsize) << shift);

    if (index < low)
        cpu_raise(c, X86_BR); /* the upper bound is not read */
    int64_t high =
        (int64_t)(cpu_load(c, in->seg, (ea + in->opsize) & mask_size(in->adsize), in->opsize) << shift);
    if (index > high)
        cpu_raise(c, X86_BR);
}

bool exec_stack_setup(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    bool segment = ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER && ops[0].reg.value >= ZYDIS_REGISTER_ES &&
                   ops[0].reg.value <= ZYDIS_REGISTER_GS;

    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_PUSH:
        out->exec = segment ? exec_push_seg : out->kind[0] == OPD_REG ? exec_push_reg : exec_push;
        return true;
    case ZYDIS_MNEMONIC_POP:
        if (segment)
            return false;
        if (out->kind[0] == OPD_MEM)
            out->exec = exec_pop_mem;
        else
            out->exec = zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 && out->opsize == 8 ? exec_pop_reg_64
                                                                                           : exec_pop_reg;
        return true;
    case ZYDIS_MNEMONIC_PUSHA:
    case ZYDIS_MNEMONIC_PUSHAD:
        out->exec = exec_pusha;
        return true;
    case ZYDIS_MNEMONIC_POPA:
    case ZYDIS_MNEMONIC_POPAD:
        out->exec = exec_popa;
        return true;
    case ZYDIS_MNEMONIC_ENTER:
        out->exec = exec_enter;
        return true;
    case ZYDIS_MNEMONIC_LEAVE:
        out->exec = exec_leave;
        return true;
    case ZYDIS_MNEMONIC_BOUND:
        out->exec = exec_bound;
        return true;
    default:
        return false;
    }
}
