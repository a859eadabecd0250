/*
 * exec_native: runs thunks: memory operands through the frame, SIMD exceptions by dry run, results committed
 * last.
 */
#include "accel/soft/engine/native.h"
#include <Zydis/Zydis.h>
#include <string.h>
#include "accel/soft/engine/fp.h"
#include "base/check.h"

/* What the operation would raise, all masked. Nothing is committed: `stop` matches the mask bits, which are
 * set. */
static uint32_t dry_run(struct cpu *c, const struct native_thunk *t, struct native_frame *f, uint32_t mxcsr)
{
    f->mxcsr = (mxcsr & ~(uint32_t)MXCSR_FLAGS) | MXCSR_MASKS;
    f->stop = MXCSR_MASKS;
    native_call(c->native, t, c, f);
    return f->mxcsr_out & MXCSR_FLAGS;
}

/* VCVTPS2PH knows no flush-to-zero: tiny results are those that come out denormal. Runs for real and takes
 * the register back. */
static bool half_is_tiny(struct cpu *c, const struct insn *in, const struct native_thunk *t,
                         struct native_frame *f)
{
    uint8_t saved[32], *out = f->mem;
    unsigned bytes = t->mem_size;
    f->mxcsr = (c->fpu.mxcsr & ~(uint32_t)MXCSR_FLAGS) | MXCSR_MASKS;
    f->stop = 0;
    if (!bytes) {
        out = c->fpu.ymm[in->reg[0]];
        bytes = 16;
        memcpy(saved, out, 32);
    }
    native_call(c->native, t, c, f);
    bool tiny = false;
    for (unsigned i = 0; i < bytes; i += 2) {
        unsigned half = out[i] | (unsigned)out[i + 1] << 8;
        tiny |= !(half & 0x7c00) && half & 0x3ff;
    }
    if (!t->mem_size)
        memcpy(out, saved, 32);
    return tiny;
}

/* The guest wants some exception raised. Unmasked underflow differs from the masked kind: it is reported for
 * tiny results that are exact, too, and flush-to-zero does not apply (SDM 1 11.5.2.5). Tiny results of any
 * kind are found by a run with flush-to-zero.
 *
 * What is not exact: PE beside an unmasked overflow or underflow tells whether the masked result is inexact,
 * where the processor tells it of the result with unlimited exponent; and DPPS and DPPD, which raise what
 * their first failing step raises, here raise what all steps together would. */
static void run_unmasked(struct cpu *c, const struct insn *in, const struct native_thunk *t,
                         struct native_frame *f)
{
    enum {
        PRE = 7
    }; /* invalid, denormal, divide by zero: found before computing, then nothing else is (SDM 1 11.5.3) */
    uint32_t guest = c->fpu.mxcsr, unmasked = ~(guest >> 7) & MXCSR_FLAGS;
    bool underflow = unmasked & MXCSR_UE;
    uint32_t flags = dry_run(c, t, f, underflow ? guest & ~(uint32_t)MXCSR_FTZ : guest);
    if (underflow && in->op == ZYDIS_MNEMONIC_VCVTPS2PH)
        flags |= half_is_tiny(c, in, t, f) ? (uint32_t)MXCSR_UE : 0;
    else if (underflow)
        flags |= dry_run(c, t, f, guest | MXCSR_FTZ) & MXCSR_UE;
    if (flags & unmasked & PRE)
        flags &= PRE;
    if (flags & unmasked)
        fp_raise_simd(c, flags);
}

static void run_thunk(struct cpu *c, const struct insn *in, const struct native_thunk *t,
                      struct native_frame *f)
{
    if (t->attr & NATIVE_MXCSR) {
        uint32_t guest = c->fpu.mxcsr;
        if ((guest & MXCSR_MASKS) != MXCSR_MASKS)
            run_unmasked(c, in, t, f);
        f->mxcsr = (guest & ~(uint32_t)(MXCSR_FLAGS | MXCSR_MM)) | MXCSR_MASKS;
        f->stop = 0;
    }
    native_call(c->native, t, c, f);
}

static void commit(struct cpu *c, const struct native_thunk *t, const struct native_frame *f)
{
    if (t->flags_out)
        c->rflags = (c->rflags & ~(uint64_t)t->flags_out) | (f->flags & t->flags_out);
    if (t->attr & NATIVE_MXCSR)
        c->fpu.mxcsr |= f->mxcsr_out & MXCSR_FLAGS;
}

void native_vector(struct cpu *c, const struct insn *in)
{
    struct native_frame f;
    const struct native_thunk *t = native_thunk(c, in);
    if (!t)
        cpu_ud(c);
    if (t->attr & (NATIVE_MEM_READ | NATIVE_MEM_WRITE)) {
        uint64_t ea = insn_ea(c, in);
        unsigned align = in->imm != 0;
        fp_check_alignment(c, in, ea);
        if (t->attr & NATIVE_MEM_READ)
            fp_load(c, in->seg, ea, f.mem, t->mem_size, align);
        if (t->attr & NATIVE_MEM_WRITE) {
            if (t->attr & NATIVE_MMX) {
                cpu_probe_write(c, in->seg, ea, t->mem_size);
                fpu_enter_mmx(&c->fpu);
            }
            run_thunk(c, in, t, &f); /* a SIMD exception comes before any fault of the store */
            fp_store(c, in->seg, ea, f.mem, t->mem_size, align);
            commit(c, t, &f);
            return;
        }
    }
    if (t->attr & NATIVE_MMX)
        fpu_enter_mmx(&c->fpu);
    if (t->attr & NATIVE_FLAGS_IN)
        f.flags = (c->rflags & X86_ARITH_FLAGS) | 0x202;
    run_thunk(c, in, t, &f);
    commit(c, t, &f);
}

void exec_native(struct cpu *c, const struct insn *in)
{
    struct native_frame f;
    const struct native_thunk *t = native_thunk(c, in);
    if (!t)
        cpu_ud(c);
    uint64_t ea = t->attr & (NATIVE_MEM_READ | NATIVE_MEM_WRITE) ? insn_ea(c, in) : 0;
    if (t->attr & NATIVE_MEM_READ)
        cpu_load_bytes(c, in->seg, ea, f.mem, t->mem_size, 1);
    f.flags = (c->rflags & X86_ARITH_FLAGS) | 0x202;
    native_call(c->native, t, c, &f);
    if (t->attr & NATIVE_MEM_WRITE)
        cpu_store_bytes(c, in->seg, ea, f.mem, t->mem_size, 1);
    commit(c, t, &f);
}
