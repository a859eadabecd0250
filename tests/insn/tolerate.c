/*
 * tolerate: where processors differ among each other in vector and x87 instructions, or the interpreter from
 * all (exec_native.c says how). The host's result is brought to what the interpreter's may be; the comparison
 * that follows sees everything else.
 */
#include <string.h>
#include "lab.h"
#include "x86/regs.h"

enum { FX_MXCSR = 24, FX_XMM = 160, FX_AVX = 576, MXCSR_PE = 0x20, MXCSR_OE_UE = 0x18 };

static uint32_t mxcsr_of(const struct lab_result *r)
{
    uint32_t v;
    memcpy(&v, r->out.fpu.image + FX_MXCSR, 4);
    return v;
}

/* Microcode goes through a long operand in an order of its own, so a fault may be that of any byte. */
static bool is_state_image(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
        return true;
    default:
        return false;
    }
}

/* Which faulting element of a gather is reported, and how far it had come. */
static void tolerate_gather(struct lab_result *h, const struct lab_result *g)
{
    if (h->vector != X86_PF_VEC || g->vector != X86_PF_VEC)
        return;
    h->cr2 = g->cr2;
    h->error = g->error;
    memcpy(h->out.fpu.image + FX_XMM, g->out.fpu.image + FX_XMM, 256);
    memcpy(h->out.fpu.image + FX_AVX, g->out.fpu.image + FX_AVX, 256);
}

static void tolerate_simd_flags(ZydisMnemonic m, struct lab_result *h, const struct lab_result *g)
{
    uint32_t host = mxcsr_of(h), guest = mxcsr_of(g);
    switch (m) {
    case ZYDIS_MNEMONIC_DPPS: /* flags of the first failing step, or of all */
    case ZYDIS_MNEMONIC_DPPD:
    case ZYDIS_MNEMONIC_VDPPS:
    case ZYDIS_MNEMONIC_VDPPD:
        host = guest;
        break;
    default:
        if (guest & MXCSR_OE_UE) /* PE beside an unmasked overflow or underflow */
            host |= guest & MXCSR_PE;
    }
    memcpy(h->out.fpu.image + FX_MXCSR, &host, 4);
}

bool tolerate_fp(const struct form *form, const struct lab_case *k, struct lab_result *h,
                 const struct lab_result *g)
{
    if (form->isa == ZYDIS_ISA_SET_AVX2GATHER)
        tolerate_gather(h, g);
    if (is_state_image(form->mnemonic) && h->vector == X86_PF_VEC && g->vector == X86_PF_VEC)
        h->cr2 = g->cr2;
    if (h->vector == X86_XM && g->vector == X86_XM)
        tolerate_simd_flags(form->mnemonic, h, g);
    /* VEX.W outside 64-bit mode: ignored by some, undefined to others */
    return k->mode != MODE_64 && h->vector == X86_UD &&
           (form->mnemonic == ZYDIS_MNEMONIC_VPEXTRD || form->mnemonic == ZYDIS_MNEMONIC_VPINSRD);
}
