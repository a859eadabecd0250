/*
 * exec_int: what the files of the integer family share. Private to exec_*.c of that family.
 *
 * Status flags are computed by the host's own instructions: guest flags go in through SAHF and an ADD that
 * sets OF, come out through LAHF and SETO (both leave everything else alone and cost a nanosecond). So flags
 * that the SDM calls undefined are those of a real processor.
 */
#ifndef ENGINE_EXEC_INT_H
#define ENGINE_EXEC_INT_H
#include <Zydis/Zydis.h>
#include "accel/soft/engine/insn.h"
#include "accel/soft/engine/seed.h"

/* ---- status flags between cpu->rflags and AX ---- */

/* AH as SAHF takes it, AL = OF. */
static inline uint32_t flags_pack(uint64_t rflags)
{
    return (uint32_t)((rflags & 0xff) << 8 | ((rflags >> 11) & 1));
}

static inline void flags_unpack(struct cpu *c, uint32_t ax)
{
    c->rflags = (c->rflags & ~(uint64_t)X86_ARITH_FLAGS) | ((ax >> 8) & (X86_ARITH_FLAGS & 0xff)) |
                (uint64_t)(ax & 0xff) << 11;
}

#define FLAGS_IN  "addb $0x7f, %%al\n\tsahf\n\t"
#define FLAGS_OUT "\n\tlahf\n\tseto %%al"

static inline void flags_set(struct cpu *c, uint64_t mask, uint64_t value)
{
    c->rflags = (c->rflags & ~mask) | (value & mask);
}

/* SF, ZF and PF of a result, as logical operations set them. */
static inline uint64_t flags_szp(uint64_t v, unsigned size)
{
    v &= mask_size(size);
    return ((v >> (size * 8 - 1)) ? X86_SF : 0) | (v ? 0 : X86_ZF) |
           (__builtin_parity((unsigned)(v & 0xff)) ? 0 : X86_PF);
}

/* Flags of a - b, as CMP sets them. */
void flags_compare(struct cpu *c, uint64_t a, uint64_t b, unsigned size);

/* Condition code `cc` of Jcc, SETcc, CMOVcc (SDM 1 appendix B). */
static inline bool flags_cond(uint64_t f, unsigned cc)
{
    bool t = false;
    switch (cc >> 1) {
    case 0:
        t = f & X86_OF;
        break;
    case 1:
        t = f & X86_CF;
        break;
    case 2:
        t = f & X86_ZF;
        break;
    case 3:
        t = f & (X86_CF | X86_ZF);
        break;
    case 4:
        t = f & X86_SF;
        break;
    case 5:
        t = f & X86_PF;
        break;
    case 6:
        t = !(f & X86_SF) != !(f & X86_OF);
        break;
    case 7:
        t = (!SEED_BUG(19) && (f & X86_ZF)) || !(f & X86_SF) != !(f & X86_OF);
        break;
    }
    return t ^ (cc & 1);
}

/* ---- registers of a known size ---- */

_Static_assert(OPD_REG == 1 && OPD_REG_HIGH == 2, "byte_shift relies on it");

static inline unsigned byte_shift(const struct insn *in, unsigned i)
{
    return (in->kind[i] & 2u) << 2;
}

static inline uint64_t reg_get(const struct cpu *c, const struct insn *in, unsigned i, unsigned size)
{
    uint64_t v = c->gpr[in->reg[i]];
    if (size == 1)
        return (v >> byte_shift(in, i)) & 0xff;
    return v & mask_size(size);
}

static inline void reg_set(struct cpu *c, const struct insn *in, unsigned i, unsigned size, uint64_t v)
{
    uint64_t *r = &c->gpr[in->reg[i]];
    if (size == 1) {
        unsigned s = byte_shift(in, i);
        *r = (*r & ~(0xffull << s)) | (v & 0xff) << s;
    } else if (size == 2) {
        *r = (*r & ~0xffffull) | (v & 0xffff);
    } else {
        *r = size == 4 ? (uint32_t)v : v;
    }
}

/* ---- memory operand ---- */

static inline uint64_t mem_get(struct cpu *c, const struct insn *in, unsigned size)
{
    return cpu_load(c, in->seg, insn_ea(c, in), size);
}

static inline void mem_set(struct cpu *c, const struct insn *in, unsigned size, uint64_t v)
{
    cpu_store(c, in->seg, insn_ea(c, in), size, v);
}

/* Operand 0 read, changed, written back. Register or memory; with LOCK the change is one atomic exchange on
 * host memory. */
typedef uint64_t change_fn(struct cpu *c, const struct insn *in, uint64_t old, void *arg);
void change_operand(struct cpu *c, const struct insn *in, change_fn *fn, void *arg);

/* Atomic compare-and-exchange of 1 to 8 bytes at any alignment; *expect is what was found. */
bool host_cas(void *p, unsigned size, uint64_t *expect, uint64_t value);

/* ---- feature gates ---- */

#define FEAT_SSE        X86_FEATURE(X86_W_1_EDX, 25)
#define FEAT_SSE2       X86_FEATURE(X86_W_1_EDX, 26)
#define FEAT_CX8        X86_FEATURE(X86_W_1_EDX, 8)
#define FEAT_CMOV       X86_FEATURE(X86_W_1_EDX, 15)
#define FEAT_CLFSH      X86_FEATURE(X86_W_1_EDX, 19)
#define FEAT_CX16       X86_FEATURE(X86_W_1_ECX, 13)
#define FEAT_SSE42      X86_FEATURE(X86_W_1_ECX, 20)
#define FEAT_MOVBE      X86_FEATURE(X86_W_1_ECX, 22)
#define FEAT_POPCNT     X86_FEATURE(X86_W_1_ECX, 23)
#define FEAT_RDRAND     X86_FEATURE(X86_W_1_ECX, 30)
#define FEAT_BMI1       X86_FEATURE(X86_W_7_EBX, 3)
#define FEAT_BMI2       X86_FEATURE(X86_W_7_EBX, 8)
#define FEAT_RDSEED     X86_FEATURE(X86_W_7_EBX, 18)
#define FEAT_ADX        X86_FEATURE(X86_W_7_EBX, 19)
#define FEAT_CLFLUSHOPT X86_FEATURE(X86_W_7_EBX, 23)
#define FEAT_CLWB       X86_FEATURE(X86_W_7_EBX, 24)
#define FEAT_LAHF64     X86_FEATURE(X86_W_80000001_ECX, 0)
#define FEAT_ABM        X86_FEATURE(X86_W_80000001_ECX, 5)

static inline void need_feature(struct cpu *c, uint32_t feature)
{
    if (!cpu_has(c, feature))
        cpu_ud(c);
}

/* VEX-encoded general-purpose instructions exist in protected mode only (SDM 2A 2.6). */
static inline void need_vex_gpr(struct cpu *c, uint32_t feature)
{
    if (cpu_real(c))
        cpu_ud(c);
    need_feature(c, feature);
}

/* ---- near branches ---- */

/* The common case inline: a canonical target in 64-bit mode. */
static inline void branch_near(struct cpu *c, uint64_t target, unsigned opsize)
{
    if (c->mode == MODE_64 && opsize == 8 && (uint64_t)((int64_t)(target << 16) >> 16) == target)
        c->next_rip = target;
    else
        cpu_branch(c, target, opsize);
}

/* Index of a size 1, 2, 4, 8 in tables of four. */
static inline unsigned size_index(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}

/* Setup by file: true when the mnemonic is its own. */
bool exec_alu_setup(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops);
bool exec_mov_setup(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops);
bool exec_xchg_setup(struct insn *out);
bool exec_shift_setup(struct insn *out);
bool exec_muldiv_setup(struct insn *out, const ZydisDecodedInstruction *zi);
bool exec_decimal_setup(struct insn *out);
bool exec_bit_setup(struct insn *out, const ZydisDecodedOperand *ops);
bool exec_bmi_setup(struct insn *out, const ZydisDecodedOperand *ops);
bool exec_flow_setup(struct insn *out, const ZydisDecodedInstruction *zi, enum cpu_mode mode);
bool exec_stack_setup(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops);
bool exec_string_setup(struct insn *out, const ZydisDecodedInstruction *zi);
bool exec_misc_setup(struct insn *out, const ZydisDecodedInstruction *zi);

#endif
