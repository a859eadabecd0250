/*
 * exec_fp_misc: vector state that instructions manage directly: MXCSR, upper halves, MMX mode.
 */
#include <Zydis/Zydis.h>
#include <string.h>
#include "accel/soft/engine/fp.h"

static void check_mxcsr_access(struct cpu *c, const struct insn *in)
{
    if (in->op == ZYDIS_MNEMONIC_VLDMXCSR || in->op == ZYDIS_MNEMONIC_VSTMXCSR)
        fp_check_vex(c, in);
    else
        fp_check_sse(c, in);
}

void exec_ldmxcsr(struct cpu *c, const struct insn *in)
{
    check_mxcsr_access(c, in);
    uint32_t v = (uint32_t)cpu_load(c, in->seg, insn_ea(c, in), 4);
    if (v & ~mxcsr_mask(c))
        cpu_gp(c, 0);
    c->fpu.mxcsr = v;
}

void exec_stmxcsr(struct cpu *c, const struct insn *in)
{
    check_mxcsr_access(c, in);
    cpu_store(c, in->seg, insn_ea(c, in), 4, c->fpu.mxcsr);
}

/* Outside 64-bit mode only YMM0..7 are touched (SDM 2C VZEROALL, VZEROUPPER). */
void exec_vzero(struct cpu *c, const struct insn *in)
{
    fp_check_vex(c, in);
    unsigned from = in->op == ZYDIS_MNEMONIC_VZEROALL ? 0 : 16;
    for (unsigned i = 0; i < (c->mode == MODE_64 ? 16u : 8u); i++)
        memset(c->fpu.ymm[i] + from, 0, 32 - from);
}

void fpu_set_top(struct x86_fpu *f, unsigned top)
{
    unsigned by = top - fpu_top(f);
    uint8_t old[8][16];
    if (by % 8 == 0)
        return;
    memcpy(old, f->st, sizeof old);
    for (unsigned i = 0; i < 8; i++)
        memcpy(f->st[i], old[(i + by) & 7], 16);
    f->fsw = (uint16_t)((f->fsw & ~FSW_TOP) | (top & 7) << 11);
}

void fpu_enter_mmx(struct x86_fpu *f)
{
    fpu_set_top(f, 0);
    f->ftw = 0xff;
}

void exec_emms(struct cpu *c, const struct insn *in)
{
    fp_check_mmx(c, in);
    fpu_enter_mmx(&c->fpu);
    c->fpu.ftw = 0;
}
