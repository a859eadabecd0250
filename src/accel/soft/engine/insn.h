/*
 * insn: an instruction decoded once, ready to execute many times.
 *
 * The decoder (decode.c, on Zydis) fills it; a block is an array of them. Kept to a cache line.
 */
#ifndef ENGINE_INSN_H
#define ENGINE_INSN_H
#include <stdbool.h>
#include <stdint.h>
#include "accel/soft/engine/cpu.h"

typedef void exec_fn(struct cpu *c, const struct insn *in);

enum operand_kind { OPD_NONE, OPD_REG, OPD_REG_HIGH /* AH CH DH BH: reg is 0..3 */, OPD_MEM, OPD_IMM };

enum insn_flags {
    INSN_LOCK = 1,
    INSN_REP = 2, /* F3 on a string instruction */
    INSN_REPNE = 4,
    INSN_END = 8,       /* ends a block: may branch, or may change what the following bytes mean */
    INSN_NATIVE = 16,   /* runs through a native thunk (exec_native.c) */
    INSN_OWN_STEP = 32, /* says itself whether a single-step trap follows */
};

enum { INSN_NO_REG = 0xff, INSN_RIP_BASE = 0xfe };

struct insn {
    exec_fn *exec;
    uint64_t
        imm; /* sign- or zero-extended as the instruction uses it; branch displacement; far pointer offset */
    int64_t disp; /* memory displacement; for RIP_BASE relative to the NEXT instruction, as encoded; moffs:
                     the whole offset */
    uint8_t len;
    uint8_t opsize;  /* operand size in bytes: 1, 2, 4, 8 (16, 32 for vectors) */
    uint8_t adsize;  /* address size: 2, 4, 8 */
    uint8_t flags;   /* enum insn_flags */
    uint8_t kind[3]; /* enum operand_kind of destination, source, third */
    uint8_t reg[3];  /* register number of each register operand (GPR, segment, vector, mask, CR, DR as the
                        instruction means) */
    uint8_t base, index, scale, seg; /* memory operand: registers or INSN_NO_REG/INSN_RIP_BASE; scale 1, 2, 4,
                                        8; seg: enum x86_seg_reg, default applied */
    uint8_t memsize;                 /* bytes that the memory operand accesses (0 for LEA and friends) */
    uint8_t cond;                    /* condition code 0..15 for Jcc, SETcc, CMOVcc */
    uint16_t op;                     /* sub-operation for families; the ZydisMnemonic otherwise */
    uint16_t sel;                    /* far pointer selector; second immediate (ENTER) */
    uint32_t native;                 /* offset of the native thunk in the engine's thunk area, 0: none yet */
    uint8_t bytes[15];               /* as fetched: for native thunks and for checking */
    uint8_t mnemonic_hi;             /* spare */
};

/* Decode at most `avail` (<= 15) bytes. 0: decoded. 1: more bytes are needed (the instruction runs into the
 * next page). Undefined or unsupported encodings give exec = exec_ud (raises #UD when executed), with a
 * length of at least 1; over-long ones exec_gp. */
int insn_decode(const uint8_t *bytes, unsigned avail, enum cpu_mode mode, struct insn *out);

/* Effective address of the memory operand (offset within its segment), masked to the address size. */
static inline uint64_t insn_ea(const struct cpu *c, const struct insn *in)
{
    uint64_t a = (uint64_t)in->disp;
    if (in->base < 16)
        a += c->gpr[in->base];
    else if (in->base == INSN_RIP_BASE)
        a += c->rip + in->len;
    if (in->index < 16)
        a += c->gpr[in->index] * in->scale;
    return in->adsize == 8 ? a : a & mask_size(in->adsize);
}

/* Value of operand i (0..2), zero-extended; memory is loaded with in->opsize. */
static inline uint64_t insn_get(struct cpu *c, const struct insn *in, unsigned i)
{
    switch (in->kind[i]) {
    case OPD_REG:
        return c->gpr[in->reg[i]] & mask_size(in->opsize);
    case OPD_REG_HIGH:
        return (c->gpr[in->reg[i]] >> 8) & 0xff;
    case OPD_MEM:
        return cpu_load(c, in->seg, insn_ea(c, in), in->opsize);
    default:
        return in->imm & mask_size(in->opsize);
    }
}

static inline void insn_set_reg(struct cpu *c, const struct insn *in, unsigned i, uint64_t v)
{
    if (in->kind[i] == OPD_REG_HIGH)
        c->gpr[in->reg[i]] = (c->gpr[in->reg[i]] & ~0xff00ull) | (v & 0xff) << 8;
    else
        cpu_set_gpr(c, in->reg[i], in->opsize, v);
}

exec_fn exec_ud, exec_gp;

/* Families, each by file. A family's setup fills in->exec (and in->op, in->native); false: not mine. `zi` is
 * a ZydisDecodedInstruction *, `ops` its ZydisDecodedOperand array; generic fields of *out are filled
 * already. */
bool exec_int_setup(struct insn *out, const void *zi, const void *ops,
                    enum cpu_mode mode); /* exec_int*.c: integer, string, bit, near control flow */
bool exec_system_setup(struct insn *out, const void *zi, const void *ops,
                       enum cpu_mode mode); /* exec_system.c: privileged, segment, far, I/O, MSR */
bool exec_fp_setup(struct insn *out, const void *zi, const void *ops,
                   enum cpu_mode mode); /* exec_fp*.c: x87, MMX, SSE, AVX, FXSAVE, XSAVE */

#endif
