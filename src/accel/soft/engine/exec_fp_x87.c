/*
 * exec_fp_x87: x87 arithmetic, run natively between an FXRSTOR and an FXSAVE of the guest's registers, and
 * which instruction goes where.
 *
 * Instruction and data pointers are ours, not the host's: every non-control instruction records its address,
 * those with a memory operand the operand's, whether or not an exception follows, and those that end in an
 * unmasked exception their opcode (SDM 1 8.1.9.1: no fopcode compatibility). FXSAVE, XSAVE and FNSTENV always
 * store them (processors of one vendor store them in FXSAVE only while an exception is pending; the other
 * always does). Where CPUID says that the data pointer is only updated by unmasked exceptions (leaf 7 EBX
 * bit 6), it is; and where it says that FCS and FDS are gone (bit 13), they read as zero.
 */
#include <Zydis/Zydis.h>
#include <string.h>
#include "accel/soft/engine/fp.h"

/* FXSAVE image, 64-bit form (SDM 1 table 10-2). */
enum { FX_FCW = 0, FX_FSW = 2, FX_FTW = 4, FX_FOP = 6, FX_MXCSR_MASK = 28, FX_ST = 32, FX_ST_BYTES = 128 };

static void load_image(uint8_t *fx, const struct x86_fpu *f)
{
    memset(fx, 0, FX_ST);
    memcpy(fx + FX_FCW, &f->fcw, 2);
    memcpy(fx + FX_FSW, &f->fsw, 2);
    fx[FX_FTW] = f->ftw;
    memcpy(fx + FX_ST, f->st, FX_ST_BYTES);
}

static void take_image(struct x86_fpu *f, const uint8_t *fx)
{
    memcpy(&f->fcw, fx + FX_FCW, 2);
    memcpy(&f->fsw, fx + FX_FSW, 2);
    f->ftw = fx[FX_FTW];
    memcpy(f->st, fx + FX_ST, FX_ST_BYTES);
}

static void track_pointers(struct cpu *c, const struct insn *in, bool memory, uint64_t ea)
{
    struct x86_fpu *f = &c->fpu;
    bool short_form = c->mode != MODE_64;
    f->fip = short_form ? (uint32_t)c->rip : c->rip;
    f->fcs = c->seg[X86_CS].sel;
    if (f->fsw & FSW_ES)
        f->fop = (uint16_t)in->imm;
    if (memory && (f->fsw & FSW_ES || !cpu_has(c, X86_FEATURE(X86_W_7_EBX, 6)))) {
        f->fdp = short_form ? (uint32_t)ea : ea;
        f->fds = c->seg[in->seg].sel;
    }
}

/* An unmasked exception other than inexact keeps a store from happening (SDM 1 8.5): its memory operand is
 * not touched, so it does not fault either. */
static bool store_suppressed(const uint8_t *fx)
{
    uint16_t fcw, fsw;
    memcpy(&fcw, fx + FX_FCW, 2);
    memcpy(&fsw, fx + FX_FSW, 2);
    return fsw & ~fcw & 0x1f;
}

void exec_x87(struct cpu *c, const struct insn *in)
{
    struct native_frame f;
    fp_check_x87(c, in);
    const struct native_thunk *t = native_thunk(c, in);
    if (!t)
        cpu_ud(c);
    bool memory = t->attr & (NATIVE_MEM_READ | NATIVE_MEM_WRITE);
    uint64_t ea = memory ? insn_ea(c, in) : 0;
    if (t->attr & NATIVE_MEM_READ)
        fp_load(c, in->seg, ea, f.mem, t->mem_size, 1);
    load_image(f.fx, &c->fpu);
    f.flags = (c->rflags & X86_ARITH_FLAGS) | 0x202;
    native_call(c->native, t, c, &f);
    if (t->attr & NATIVE_MEM_WRITE && !store_suppressed(f.fx))
        fp_store(c, in->seg, ea, f.mem, t->mem_size, 1);
    take_image(&c->fpu, f.fx);
    track_pointers(c, in, memory, ea);
    if (t->flags_out)
        c->rflags = (c->rflags & ~(uint64_t)t->flags_out) | (f.flags & t->flags_out);
}

/* ---- setup ---- */

struct control {
    uint16_t mnemonic;
    uint8_t marks;
    exec_fn *exec;
};

static const struct control controls[] = {
    {ZYDIS_MNEMONIC_FNINIT, FP_NO_WAIT, exec_fninit},
    {ZYDIS_MNEMONIC_FNCLEX, FP_NO_WAIT, exec_fnclex},
    {ZYDIS_MNEMONIC_FNSTSW, FP_NO_WAIT, exec_fnstsw},
    {ZYDIS_MNEMONIC_FNSTCW, FP_NO_WAIT, exec_fnstcw},
    {ZYDIS_MNEMONIC_FNSTENV, FP_NO_WAIT, exec_fnstenv},
    {ZYDIS_MNEMONIC_FNSAVE, FP_NO_WAIT, exec_fnsave},
    {ZYDIS_MNEMONIC_FENI8087_NOP, FP_NO_WAIT, exec_fnop_free},
    {ZYDIS_MNEMONIC_FDISI8087_NOP, FP_NO_WAIT, exec_fnop_free},
    {ZYDIS_MNEMONIC_FSETPM287_NOP, FP_NO_WAIT, exec_fnop_free},
    {ZYDIS_MNEMONIC_FLDCW, 0, exec_fldcw},
    {ZYDIS_MNEMONIC_FLDENV, 0, exec_fldenv},
    {ZYDIS_MNEMONIC_FRSTOR, 0, exec_frstor},
    {ZYDIS_MNEMONIC_FWAIT, 0, exec_fwait},
};

bool fp_x87_setup(struct insn *out, const void *zi_)
{
    const ZydisDecodedInstruction *zi = zi_;
    if (zi->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        return false;
    for (unsigned i = 0; i < sizeof controls / sizeof *controls; i++) {
        if (controls[i].mnemonic == zi->mnemonic) {
            out->exec = controls[i].exec;
            out->cond = (uint8_t)(controls[i].marks | (zi->operand_width == 16 ? FP_OPSIZE16 : 0));
            if (out->exec == exec_fnstsw && out->kind[0] == OPD_REG)
                out->exec = exec_fnstsw_ax;
            return true;
        }
    }
    out->exec = exec_x87;
    out->flags |= INSN_NATIVE;
    out->imm = (uint64_t)(zi->opcode & 7) << 8 | out->bytes[zi->raw.modrm.offset];
    return true;
}
