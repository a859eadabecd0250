/*
 * exec_io: IN, OUT, INS, OUTS (SDM 1 chapter 19), and who may use ports.
 *
 * A repeated INS or OUTS commits each element; it stops early when something wants attention and is then
 * executed again from the same RIP.
 */
#include "accel/soft/engine/exec_system.h"

void cpu_check_io(struct cpu *c, uint16_t port, unsigned size)
{
    if (!cpu_pe(c) || (!cpu_v86(c) && c->cpl <= (c->rflags >> 12 & 3)))
        return;
    /* the bitmap of the 32- or 64-bit TSS: two bytes are read, whatever the port */
    if (!(c->tr.attr & 8) || (c->tr.attr & X86_SEG_UNUSABLE) || c->tr.limit < 0x67)
        cpu_gp(c, 0);
    uint32_t at = (uint32_t)cpu_sys_load(c, c->tr.base + 0x66, 2) + port / 8u;
    if (at + 1 > c->tr.limit)
        cpu_gp(c, 0);
    uint64_t bits = cpu_sys_load(c, c->tr.base + at, 2) >> (port & 7);
    if (bits & ((1u << size) - 1))
        cpu_gp(c, 0);
}

/* The instruction's access, made: port breakpoints trap behind it. */
static void accessed(struct cpu *c, uint16_t port, unsigned size)
{
    if (unlikely(c->priv->ports_armed))
        debug_port(c, port, size);
}

static uint16_t port_of(const struct cpu *c, const struct insn *in, unsigned i)
{
    return in->kind[i] == OPD_IMM ? (uint8_t)in->imm : (uint16_t)c->gpr[X86_RDX];
}

static void exec_in(struct cpu *c, const struct insn *in)
{
    uint16_t port = port_of(c, in, 1);

    cpu_check_io(c, port, in->opsize);
    cpu_set_gpr(c, X86_RAX, in->opsize, cpu_in(c, port, in->opsize));
    accessed(c, port, in->opsize);
}

static void exec_out(struct cpu *c, const struct insn *in)
{
    uint16_t port = port_of(c, in, 0);

    cpu_check_io(c, port, in->opsize);
    cpu_out(c, port, in->opsize, (uint32_t)(c->gpr[X86_RAX] & mask_size(in->opsize)));
    accessed(c, port, in->opsize);
}

static void advance(struct cpu *c, const struct insn *in, unsigned reg)
{
    uint64_t step = c->rflags & X86_DF ? 0 - (uint64_t)in->opsize : in->opsize;

    /* a 16-bit address leaves the upper bits alone, a 32-bit one clears them */
    cpu_set_gpr(c, reg, in->adsize, (c->gpr[reg] + step) & mask_size(in->adsize));
}

static void ins_one(struct cpu *c, const struct insn *in)
{
    uint64_t at = c->gpr[X86_RDI] & mask_size(in->adsize);

    cpu_probe_write(c, X86_ES, at,
                    in->opsize); /* nothing is read from the device when the store would fault */
    uint32_t v = cpu_in(c, (uint16_t)c->gpr[X86_RDX], in->opsize);
    cpu_store(c, X86_ES, at, in->opsize, v);
    accessed(c, (uint16_t)c->gpr[X86_RDX], in->opsize);
    advance(c, in, X86_RDI);
}

static void outs_one(struct cpu *c, const struct insn *in)
{
    uint64_t v = cpu_load(c, in->seg, c->gpr[X86_RSI] & mask_size(in->adsize), in->opsize);

    cpu_out(c, (uint16_t)c->gpr[X86_RDX], in->opsize, (uint32_t)v);
    accessed(c, (uint16_t)c->gpr[X86_RDX], in->opsize);
    advance(c, in, X86_RSI);
}

static void repeat(struct cpu *c, const struct insn *in, void (*one)(struct cpu *, const struct insn *))
{
    cpu_check_io(c, (uint16_t)c->gpr[X86_RDX], in->opsize);
    if (!(in->flags & (INSN_REP | INSN_REPNE))) {
        one(c, in);
        return;
    }
    for (unsigned n = 0; c->gpr[X86_RCX] & mask_size(in->adsize); n++) {
        if (n == 256 || (n && (__atomic_load_n(&c->attention, __ATOMIC_RELAXED) || (c->rflags & X86_TF) ||
                               c->leave_block))) {
            insn_part_done(c);
            if (c->db_pending)
                c->rflags |= X86_RF; /* the trap comes between iterations (SDM 3B 17.3.1.1) */
            return;
        }
        one(c, in);
        cpu_set_gpr(c, X86_RCX, in->adsize, (c->gpr[X86_RCX] - 1) & mask_size(in->adsize));
    }
}

static void exec_ins(struct cpu *c, const struct insn *in)
{
    repeat(c, in, ins_one);
}

static void exec_outs(struct cpu *c, const struct insn *in)
{
    repeat(c, in, outs_one);
}

bool exec_io_setup(struct insn *out, const ZydisDecodedInstruction *zi)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_IN:
        out->exec = exec_in;
        break;
    case ZYDIS_MNEMONIC_OUT:
        out->exec = exec_out;
        break;
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
        out->exec = exec_ins;
        break;
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
        out->exec = exec_outs;
        break;
    default:
        return false;
    }
    if (out->opsize == 8)
        out->opsize = 4; /* REX.W is ignored */
    return true;
}
