/*
 * exec_fp: vector and x87 instructions: which family an instruction belongs to, who may execute it, and the
 * plain vector ones.
 *
 * Almost every vector instruction runs natively (native.h); what is listed here by name is the rest: state
 * management, and operations whose memory accesses depend on data.
 */
#include <Zydis/Zydis.h>
#include <string.h>
#include "accel/soft/engine/fp.h"

/* ---- who may execute ---- */

void fp_check_sse(struct cpu *c, const struct insn *in)
{
    fp_need_feature(c, in);
    if (c->cr0 & CR0_EM || !(c->cr4 & CR4_OSFXSR))
        cpu_ud(c);
    if (c->cr0 & CR0_TS)
        cpu_raise(c, X86_NM);
}

void fp_check_vex(struct cpu *c, const struct insn *in)
{
    fp_need_feature(c, in);
    if (cpu_real(c) || !(c->cr4 & CR4_OSXSAVE) || (c->xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX))
        cpu_ud(c);
    if (c->cr0 & CR0_TS)
        cpu_raise(c, X86_NM);
}

void fp_check_mmx(struct cpu *c, const struct insn *in)
{
    fp_need_feature(c, in);
    if (c->cr0 & CR0_EM || (in->cond & FP_XMM && !(c->cr4 & CR4_OSFXSR)))
        cpu_ud(c);
    if (c->cr0 & CR0_TS)
        cpu_raise(c, X86_NM);
    fp_check_pending(c);
}

void fp_check_x87(struct cpu *c, const struct insn *in)
{
    fp_need_feature(c, in);
    if (c->cr0 & (CR0_EM | CR0_TS))
        cpu_raise(c, X86_NM);
    if (!(in->cond & FP_NO_WAIT))
        fp_check_pending(c);
}

void fp_raise_simd(struct cpu *c, uint32_t flags)
{
    c->fpu.mxcsr |= flags;
    cpu_raise(c, c->cr4 & CR4_OSXMMEXCPT ? X86_XM : X86_UD);
}

/* ---- plain vector instructions ---- */

void exec_sse(struct cpu *c, const struct insn *in)
{
    fp_check_sse(c, in);
    native_vector(c, in);
}

void exec_vex(struct cpu *c, const struct insn *in)
{
    fp_check_vex(c, in);
    native_vector(c, in);
}

void exec_mmx(struct cpu *c, const struct insn *in)
{
    fp_check_mmx(c, in);
    native_vector(c, in);
}

/* ---- setup ---- */

struct gate {
    uint16_t isa_set;
    uint16_t feature;
};

/* Instruction sets by the CPUID feature that announces them. What is not listed does not exist in the engine.
 */
static const struct gate gates[] = {
    {ZYDIS_ISA_SET_X87, X86_FEATURE(X86_W_1_EDX, 0)},
    {ZYDIS_ISA_SET_FCMOV, X86_FEATURE(X86_W_1_EDX, 15)},
    {ZYDIS_ISA_SET_PPRO, X86_FEATURE(X86_W_1_EDX, 15)}, /* FCOMI and its kin */
    {ZYDIS_ISA_SET_PENTIUMMMX, X86_FEATURE(X86_W_1_EDX, 23)},
    {ZYDIS_ISA_SET_FXSAVE, X86_FEATURE(X86_W_1_EDX, 24)},
    {ZYDIS_ISA_SET_FXSAVE64, X86_FEATURE(X86_W_1_EDX, 24)},
    {ZYDIS_ISA_SET_SSE, X86_FEATURE(X86_W_1_EDX, 25)},
    {ZYDIS_ISA_SET_SSEMXCSR, X86_FEATURE(X86_W_1_EDX, 25)},
    {ZYDIS_ISA_SET_SSE2, X86_FEATURE(X86_W_1_EDX, 26)},
    {ZYDIS_ISA_SET_SSE2MMX, X86_FEATURE(X86_W_1_EDX, 26)},
    {ZYDIS_ISA_SET_SSE3, X86_FEATURE(X86_W_1_ECX, 0)},
    {ZYDIS_ISA_SET_SSE3X87, X86_FEATURE(X86_W_1_ECX, 0)},
    {ZYDIS_ISA_SET_PCLMULQDQ, X86_FEATURE(X86_W_1_ECX, 1)},
    {ZYDIS_ISA_SET_SSSE3, X86_FEATURE(X86_W_1_ECX, 9)},
    {ZYDIS_ISA_SET_SSSE3MMX, X86_FEATURE(X86_W_1_ECX, 9)},
    {ZYDIS_ISA_SET_FMA, X86_FEATURE(X86_W_1_ECX, 12)},
    {ZYDIS_ISA_SET_SSE4, X86_FEATURE(X86_W_1_ECX, 19)},
    {ZYDIS_ISA_SET_SSE42, X86_FEATURE(X86_W_1_ECX, 20)},
    {ZYDIS_ISA_SET_AES, X86_FEATURE(X86_W_1_ECX, 25)},
    {ZYDIS_ISA_SET_XSAVE, X86_FEATURE(X86_W_1_ECX, 26)},
    {ZYDIS_ISA_SET_AVX, X86_FEATURE(X86_W_1_ECX, 28)},
    {ZYDIS_ISA_SET_AVXAES, X86_FEATURE(X86_W_1_ECX, 25)},
    {ZYDIS_ISA_SET_F16C, X86_FEATURE(X86_W_1_ECX, 29)},
    {ZYDIS_ISA_SET_AVX2, X86_FEATURE(X86_W_7_EBX, 5)},
    {ZYDIS_ISA_SET_AVX2GATHER, X86_FEATURE(X86_W_7_EBX, 5)},
    {ZYDIS_ISA_SET_SHA, X86_FEATURE(X86_W_7_EBX, 29)},
    {ZYDIS_ISA_SET_GFNI, X86_FEATURE(X86_W_7_ECX, 8)},
    {ZYDIS_ISA_SET_AVX_GFNI, X86_FEATURE(X86_W_7_ECX, 8)},
    {ZYDIS_ISA_SET_VAES, X86_FEATURE(X86_W_7_ECX, 9)},
    {ZYDIS_ISA_SET_VPCLMULQDQ, X86_FEATURE(X86_W_7_ECX, 10)},
    {ZYDIS_ISA_SET_AVX_VNNI, X86_FEATURE(X86_W_7_1_EAX, 4)},
    {ZYDIS_ISA_SET_XSAVEOPT, X86_FEATURE(X86_W_D_1_EAX, 0)},
    {ZYDIS_ISA_SET_XSAVEC, X86_FEATURE(X86_W_D_1_EAX, 1)},
    {ZYDIS_ISA_SET_XSAVES, X86_FEATURE(X86_W_D_1_EAX, 3)},
    {ZYDIS_ISA_SET_SSE4A, X86_FEATURE(X86_W_80000001_ECX, 6)},
};

static bool find_feature(const ZydisDecodedInstruction *zi, uint16_t *feature)
{
    for (unsigned i = 0; i < sizeof gates / sizeof *gates; i++) {
        if (gates[i].isa_set == zi->meta.isa_set) {
            *feature = gates[i].feature;
            return true; /* VEX forms of older sets belong to the older set: AVX itself is checked through
                            XCR0 */
        }
    }
    return false;
}

/* Alignment that the memory operand must have. Legacy 16-byte operands, but for the instructions that exist
 * to be unaligned (SDM 2A 2.4.4: class 4 with exceptions), and the aligned moves of class 1 in any encoding.
 * 0: no alignment check either (class 11, the half-precision conversions). */
static unsigned required_alignment(const ZydisDecodedInstruction *zi, unsigned size)
{
    if (zi->meta.exception_class == ZYDIS_EXCEPTION_CLASS_AVX11)
        return 0;
    if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        return zi->meta.exception_class == ZYDIS_EXCEPTION_CLASS_AVX1 ? size : 1;
    if (size != 16)
        return 1;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return 1;
    default:
        return 16;
    }
}

/* Instructions with a function of their own. */
static exec_fn *special(const ZydisDecodedInstruction *zi)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_EMMS:
        return exec_emms;
    case ZYDIS_MNEMONIC_VZEROALL:
    case ZYDIS_MNEMONIC_VZEROUPPER:
        return exec_vzero;
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
        return exec_ldmxcsr;
    case ZYDIS_MNEMONIC_STMXCSR:
    case ZYDIS_MNEMONIC_VSTMXCSR:
        return exec_stmxcsr;
    default:
        return NULL;
    }
}

static void scan_operands(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops, bool *xmm,
                          bool *mmx, bool *hidden_mem)
{
    *xmm = *mmx = *hidden_mem = false;
    for (unsigned i = 0; i < zi->operand_count; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            *hidden_mem |= ops[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN ||
                           ops[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB;
        if (ops[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        ZydisRegisterClass k = ZydisRegisterGetClass(ops[i].reg.value);
        *xmm |= k == ZYDIS_REGCLASS_XMM || k == ZYDIS_REGCLASS_YMM;
        *mmx |= k == ZYDIS_REGCLASS_MMX;
    }
}

bool exec_fp_setup(struct insn *out, const void *zi_, const void *ops_, enum cpu_mode mode)
{
    const ZydisDecodedInstruction *zi = zi_;
    const ZydisDecodedOperand *ops = ops_;
    bool xmm, mmx, hidden_mem;
    uint16_t feature;
    bool vex = zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

    (void)mode;
    if (zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && zi->opcode != 0x9b &&
        (zi->opcode < 0xd8 || zi->opcode > 0xdf))
        return false;
    if ((!vex && zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) || !find_feature(zi, &feature) ||
        zi->attributes & ZYDIS_ATTRIB_HAS_LOCK)
        return false;
    out->sel = feature;
    out->cond = 0;
    if (fp_x87_setup(out, zi) || fp_xsave_setup(out, zi))
        return true;

    scan_operands(zi, ops, &xmm, &mmx, &hidden_mem);
    xmm |= zi->meta.exception_class != ZYDIS_EXCEPTION_CLASS_NONE; /* CVTSS2SI r32, m32 names none */
    out->cond = xmm ? FP_XMM : 0;
    out->imm = required_alignment(zi, out->memsize);
    if (out->imm > 1 && zi->meta.exception_class != ZYDIS_EXCEPTION_CLASS_SSE1 && !vex)
        out->cond |= FP_MM;
    if (fp_mask_setup(out, zi, ops) || fp_move_setup(out, zi))
        return true;
    if (hidden_mem)
        return false;
    out->exec = special(zi);
    if (out->exec)
        return true;
    if (!xmm && !mmx)
        return false;
    out->exec = vex ? exec_vex : mmx ? exec_mmx : exec_sse;
    out->flags |= INSN_NATIVE;
    return true;
}
