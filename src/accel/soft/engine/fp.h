/*
 * fp: what the vector and x87 families (exec_fp*.c, xsave.c) share: how exec_fp_setup marks struct insn,
 * availability checks, exceptions.
 *
 * Marks: insn->sel is the CPUID feature (FP_NO_FEATURE: none), insn->cond is enum fp_mark, insn->imm is the
 * required alignment of a vector's memory operand (as of cpu_load_bytes), or the opcode (FOP) of an x87
 * instruction.
 */
#ifndef ENGINE_FP_H
#define ENGINE_FP_H
#include "accel/soft/engine/insn.h"
#include "accel/soft/engine/native.h"

enum { FP_NO_FEATURE = 0xffff };

enum fp_mark {
    FP_XMM = 1,      /* names an XMM register */
    FP_NO_WAIT = 2,  /* x87: does not look at pending exceptions */
    FP_REX_W = 4,    /* FXSAVE64 and its kin */
    FP_OPSIZE16 = 8, /* x87 environment: the 16-bit image */
    FP_MM = 32,      /* alignment is not required while MXCSR.MM is set (AMD's misaligned SSE mode) */
};

enum {
    MXCSR_FLAGS = 0x3f,
    MXCSR_DE = 2,
    MXCSR_UE = 0x10,
    MXCSR_DAZ = 0x40,
    MXCSR_MASKS = 0x1f80,
    MXCSR_UM = 0x800,
    MXCSR_FTZ = 0x8000,
    MXCSR_MM = 0x20000
};
enum {
    FSW_FLAGS = 0x3f,
    FSW_SF = 0x40,
    FSW_ES = 0x80,
    FSW_B = 0x8000,
    FSW_CONDITIONS = 0x4700,
    FSW_TOP = 0x3800
};

static inline unsigned fpu_top(const struct x86_fpu *f)
{
    return f->fsw >> 11 & 7;
}

/* ES and B say whether an unmasked exception is pending: recomputed whenever the control or status word is
 * loaded. */
static inline void fpu_summarize(struct x86_fpu *f)
{
    bool pending = f->fsw & ~f->fcw & FSW_FLAGS;
    f->fsw = (uint16_t)((f->fsw & ~(FSW_ES | FSW_B)) | (pending ? FSW_ES | FSW_B : 0));
}

/* MXCSR bits that may be written (SDM 1 11.6.6; bit 17 is AMD's misaligned mode). */
static inline uint32_t mxcsr_mask(const struct cpu *c)
{
    return 0xffff | (cpu_has(c, X86_FEATURE(X86_W_80000001_ECX, 7)) ? (uint32_t)MXCSR_MM : 0);
}

static inline void fp_need_feature(const struct cpu *c, const struct insn *in)
{
    if (in->sel != FP_NO_FEATURE && !cpu_has(c, in->sel))
        cpu_ud((struct cpu *)(uintptr_t)c);
}

/* A waiting instruction meets a pending unmasked x87 exception. With CR0.NE clear a PC would raise IRQ13
 * through FERR#; that line is not wired on our boards, so #MF is raised either way. */
static inline void fp_check_pending(struct cpu *c)
{
    if (c->fpu.fsw & FSW_ES)
        cpu_raise(c, X86_MF);
}

/* ---- operands of up to 64 bytes: a hit in the soft TLB is a copy. `align`: 1 or 0, as of cpu_load_bytes
 * ---- */

static inline __attribute__((always_inline)) void fp_copy(void *to, const void *from, unsigned n)
{
    switch (n) {
    case 4:
        __builtin_memcpy(to, from, 4);
        break;
    case 8:
        __builtin_memcpy(to, from, 8);
        break;
    case 16:
        __builtin_memcpy(to, from, 16);
        break;
    case 32:
        __builtin_memcpy(to, from, 32);
        break;
    default:
        __builtin_memcpy(to, from, n);
    }
}

static inline void fp_load(struct cpu *c, unsigned seg, uint64_t off, void *out, unsigned n, unsigned align)
{
    if (c->fast_read >> seg & 1) {
        uint64_t linear = c->fast_base[seg] + off;
        const struct tlb_entry *t = tlb_hit(c, TLB_READ, linear, n);
        if (t) {
            fp_copy(out, (const void *)(uintptr_t)(linear + t->addend), n);
            return;
        }
    }
    cpu_load_bytes(c, seg, off, out, n, align);
}

static inline void fp_store(struct cpu *c, unsigned seg, uint64_t off, const void *in, unsigned n,
                            unsigned align)
{
    if (c->fast_write >> seg & 1) {
        uint64_t linear = c->fast_base[seg] + off;
        const struct tlb_entry *t = tlb_hit(c, TLB_WRITE, linear, n);
        if (t) {
            fp_copy((void *)(uintptr_t)(linear + t->addend), in, n);
            __asm__ volatile("" ::: "memory"); /* as cpu_store: the note is read after the store */
            if (note_has_code(t->note))
                cpu_code_written(c, t->gpa | (linear & 0xfff), n);
            return;
        }
    }
    cpu_store_bytes(c, seg, off, in, n, align);
}

/* #GP unless a vector operand is aligned as insn->imm asks: comes before faults of segment and page. */
static inline void fp_check_alignment(struct cpu *c, const struct insn *in, uint64_t off)
{
    unsigned align = (unsigned)in->imm;
    if (align > 1 && cpu_linear(c, in->seg, off) & (align - 1) &&
        !(in->cond & FP_MM && c->fpu.mxcsr & MXCSR_MM))
        cpu_gp(c, 0);
}

/* SDM 3A table 2-1 and 13.1: who may execute now. */
void fp_check_sse(struct cpu *c, const struct insn *in);
void fp_check_vex(struct cpu *c, const struct insn *in);
void fp_check_mmx(struct cpu *c, const struct insn *in);
void fp_check_x87(struct cpu *c, const struct insn *in);

/* SIMD exceptions `flags` occurred, one of them unmasked: record and raise #XM, or #UD where the OS did not
 * ask for it. */
_Noreturn void fp_raise_simd(struct cpu *c, uint32_t flags);

/* Change TOP: st[] is in stack order, the physical registers stay. */
void fpu_set_top(struct x86_fpu *f, unsigned top);

/* Enter MMX use: registers take their physical places (TOP = 0), all tagged valid (SDM 1 9.2.2). */
void fpu_enter_mmx(struct x86_fpu *f);

/* Full tag word (2 bits each, 00 valid, 01 zero, 10 special, 11 empty) from contents and abridged tags, and
 * back. */
uint16_t fpu_full_tags(const struct x86_fpu *f);
uint8_t fpu_abridged_tags(uint16_t full);
void fpu_init(struct x86_fpu *f); /* FNINIT: registers keep their contents */

/* A native vector instruction, all checks but memory done. exec_native.c */
void native_vector(struct cpu *c, const struct insn *in);

/* exec_fp_x87.c, exec_fp_env.c, exec_fp_mask.c, exec_fp_misc.c, xsave.c: setup by instruction; false: not
 * theirs. */
bool fp_x87_setup(struct insn *out, const void *zi);
bool fp_mask_setup(struct insn *out, const void *zi, const void *ops);
bool fp_xsave_setup(struct insn *out, const void *zi);

bool fp_move_setup(struct insn *out, const void *zi);

exec_fn exec_sse, exec_vex, exec_mmx, exec_x87;
exec_fn exec_emms, exec_vzero, exec_ldmxcsr, exec_stmxcsr;
exec_fn exec_fninit, exec_fnclex, exec_fwait, exec_fnop_free, exec_fnstsw, exec_fnstsw_ax, exec_fnstcw,
    exec_fldcw, exec_fnstenv, exec_fldenv, exec_fnsave, exec_frstor;

#endif
