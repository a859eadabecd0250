/*
 * fp_lab: one vector or x87 instruction on the host CPU and in the engine, from the same random state, and
 * the difference.
 *
 * The guest sees the same linear addresses as the host: code at LAB_CODE, two data pages at LAB_DATA between
 * absent ones. Operands are aimed at aligned places, unaligned ones, the border of the two pages, and into
 * the absent pages.
 */
#ifndef SOFT_TEST_FP_LAB_H
#define SOFT_TEST_FP_LAB_H
#define H_MODEL "host"
#include "harness.h"
#include "accel/soft/engine/fp.h"
#include "host_run.h"
#include <Zydis/Zydis.h>
#include <cpuid.h>

#define LAB_DATA 0x20001000ull
#define LAB_CODE 0x20100000ull
enum { LAB_BYTES = 8192, LAB_RAM_DATA = 0x200000, LAB_RAM_CODE = 0x210000, LAB_PT = 0x8000 };

struct lab {
    struct harness *h;
    uint8_t *data, *code; /* the host's pages */
    ZydisDecoder decoder;
    bool compat;               /* 32-bit code */
    unsigned unmasked_percent; /* cases with some SIMD or x87 exception unmasked */
    unsigned cases, failures, unknown;
    uint64_t seed;
    struct x86_state base;
    uint8_t before[LAB_BYTES]; /* what both sides' data is before a case */
};

enum lab_verdict { LAB_SKIPPED = -1, LAB_SAME, LAB_DIFFERS, LAB_UNKNOWN };

static inline uint64_t lab_random(struct lab *l)
{
    l->seed ^= l->seed << 13;
    l->seed ^= l->seed >> 7;
    l->seed ^= l->seed << 17;
    return l->seed * 0x2545f4914f6cdd1dull;
}

/* ---- operands ---- */

static const uint32_t lab_f32[] = {
    0,          0x80000000, 1,          0x80000001, 0x7fffff,   0x800000,   0x800001,   0x80800000,
    0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc00001, 0x7f7fffff,
    0xff7fffff, 0x3f800001, 0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000, 0x33800000, 0x34000000,
    0x00400000, 0x1f800000, 0x20000000, 0x7f000000, 0x3effffff, 0x3f000000, 0x40200000, 0x38800000};
static const uint64_t lab_f64[] = {0,
                                   1ull << 63,
                                   1,
                                   0x8000000000000001,
                                   0xfffffffffffff,
                                   0x10000000000000,
                                   0x10000000000001,
                                   0x3ff0000000000000,
                                   0xbff0000000000000,
                                   0x7ff0000000000000,
                                   0xfff0000000000000,
                                   0x7ff8000000000000,
                                   0x7ff0000000000001,
                                   0x7fefffffffffffff,
                                   0x41dfffffffc00000,
                                   0x41e0000000000000,
                                   0xc1e0000000000000,
                                   0x43e0000000000000,
                                   0x3cb0000000000000,
                                   0x380fffffffffffff,
                                   0x3810000000000000,
                                   0x36a0000000000000,
                                   0x369fffffffffffff,
                                   0x47efffffefffffff,
                                   0x47f0000000000000,
                                   0x3fe0000000000000,
                                   0x4004000000000000,
                                   0x1ff0000000000000};
#define LAB_PICK(l, table) (table)[lab_random(l) % (sizeof(table) / sizeof *(table))]

/* Eight bytes of one of: anything, special floats, special doubles, small integers, moderate floats, moderate
 * doubles. */
static inline uint64_t lab_operand(struct lab *l, unsigned kind)
{
    uint64_t r = lab_random(l);
    switch (kind) {
    case 0:
        return r;
    case 1:
        return LAB_PICK(l, lab_f32) | (uint64_t)LAB_PICK(l, lab_f32) << 32;
    case 2:
        return LAB_PICK(l, lab_f64);
    case 3:
        return (uint64_t)((int64_t)r >> (lab_random(l) % 64));
    case 4:
        return ((r & 0x81ffffff81ffffffull) + 0x3e8000003e800000ull);
    default:
        return (r & 0x800fffffffffffffull) + 0x3ff0000000000000ull - (lab_random(l) % 8 << 52);
    }
}

static inline void lab_fill(struct lab *l, void *to, unsigned bytes)
{
    unsigned kind = (unsigned)(lab_random(l) % 6);
    for (unsigned i = 0; i < bytes; i += 8) {
        uint64_t v = lab_operand(l, kind);
        memcpy((uint8_t *)to + i, &v, 8);
    }
}

static inline void lab_fill80(struct lab *l, uint8_t *to)
{
    uint64_t r = lab_random(l), m = 1ull << 63;
    uint16_t e = (uint16_t)(lab_random(l) & 0x8000);
    switch (lab_random(l) % 8) {
    case 0: /* anything: unnormals and pseudo-denormals too */
        m = r;
        e = (uint16_t)lab_random(l);
        break;
    case 1:
        m = 0;
        break;
    case 2:
        e |= 0x7fff;
        break;
    case 3:
        m |= r;
        e |= 0x7fff;
        break;
    case 4:
        m = r >> r % 64;
        break;
    case 5:
        m |= (r % 100) << 55;
        e = (uint16_t)(e | (0x3fff + r % 8));
        break;
    case 6:
        m |= r;
        e = (uint16_t)(e | (0x3fff - 64 + lab_random(l) % 128));
        break;
    default:
        e = (uint16_t)(e | (0x3fff + r % 70));
    }
    memset(to, 0, 16);
    memcpy(to, &m, 8);
    memcpy(to + 8, &e, 2);
}

static inline void lab_state(struct lab *l, struct host_state *s, bool x87)
{
    bool unmasked = lab_random(l) % 100 < l->unmasked_percent;
    memset(s, 0, sizeof *s);
    for (unsigned i = 0; i < 16; i++) {
        s->gpr[i] = lab_operand(l, lab_random(l) % 3 ? 0 : 3);
        if (l->compat)
            s->gpr[i] = (uint32_t)s->gpr[i];
        lab_fill(l, s->ymm[i], 32);
    }
    for (unsigned i = 0; i < 8; i++)
        lab_fill80(l, s->st[i]);
    s->rflags = (lab_random(l) & 0x8d5) | 2 | (lab_random(l) % 8 ? 0 : X86_AC);
    s->mxcsr = 0x1f80 | (uint32_t)(lab_random(l) & (lab_random(l) % 4 ? 0xe07f : 0));
    if (unmasked)
        s->mxcsr = (uint32_t)lab_random(l) & 0xffff;
    if (cpu_has(h_cpu(l->h), X86_FEATURE(X86_W_80000001_ECX, 7)) && lab_random(l) % 4 == 0)
        s->mxcsr |= 0x20000; /* misaligned SSE mode */
    s->fcw = (uint16_t)(0x7f | (x87 ? lab_random(l) & 0xf00 : 0x300));
    if (unmasked && x87)
        s->fcw = (uint16_t)((s->fcw & ~0x3f) | (lab_random(l) & 0x3f));
    s->fsw = (uint16_t)(lab_random(l) & 0x7f7f);
    if (s->fsw & ~s->fcw & 0x3f) {
        if (lab_random(l) % 4)
            s->fsw &= 0x7fc0;
        else
            s->fsw |= 0x8080;
    }
    s->ftw = (uint8_t)(lab_random(l) % 2 ? 0xff : lab_random(l));
}

/* ---- the two sides ---- */

static inline void lab_to_engine(struct lab *l, const struct host_state *s)
{
    struct cpu *c = h_cpu(l->h);
    memcpy(c->gpr, s->gpr, sizeof c->gpr);
    c->rflags = s->rflags;
    c->rip = s->rip;
    cpu_update_mode(c);
    memset(&c->fpu, 0, sizeof c->fpu);
    memcpy(c->fpu.ymm, s->ymm, sizeof s->ymm);
    memcpy(c->fpu.st, s->st, sizeof s->st);
    c->fpu.mxcsr = s->mxcsr;
    c->fpu.fcw = s->fcw;
    c->fpu.fsw = s->fsw;
    c->fpu.ftw = s->ftw;
}

#define LAB_DIFFER(...)                                                                                      \
    do {                                                                                                     \
        bad = true;                                                                                          \
        if (tell)                                                                                            \
            printf("    " __VA_ARGS__);                                                                      \
    } while (0)

static inline bool lab_compare(struct lab *l, const struct host_state *in, const struct host_state *host_out,
                               int vector, const uint8_t *host_data, bool tell)
{
    const struct cpu *c = h_cpu(l->h);
    const uint8_t *data = l->h->ram + LAB_RAM_DATA;
    bool bad = false;
    int want = host_out->trap == 1 ? -1 : host_out->trap;
    if (want != vector)
        LAB_DIFFER("vector: host %d engine %d\n", want, vector);
    for (unsigned i = 0; i < (l->compat ? 8u : 16u); i++)
        if (host_out->gpr[i] != c->gpr[i])
            LAB_DIFFER("gpr %u: host %016lx engine %016lx was %016lx\n", i, host_out->gpr[i], c->gpr[i],
                       in->gpr[i]);
    if ((host_out->rflags ^ c->rflags) & X86_ARITH_FLAGS)
        LAB_DIFFER("flags: host %lx engine %lx was %lx\n", host_out->rflags & X86_ARITH_FLAGS,
                   c->rflags & X86_ARITH_FLAGS, in->rflags);
    for (unsigned i = 0; i < 16; i++) {
        uint64_t a[4], b[4];
        memcpy(a, host_out->ymm[i], 32);
        memcpy(b, c->fpu.ymm[i], 32);
        if (memcmp(a, b, 32))
            LAB_DIFFER("ymm %u: host %016lx%016lx:%016lx%016lx engine %016lx%016lx:%016lx%016lx\n", i, a[3],
                       a[2], a[1], a[0], b[3], b[2], b[1], b[0]);
    }
    if (host_out->mxcsr != c->fpu.mxcsr)
        LAB_DIFFER("mxcsr: host %x engine %x was %x\n", host_out->mxcsr, c->fpu.mxcsr, in->mxcsr);
    if (host_out->fcw != c->fpu.fcw || host_out->fsw != c->fpu.fsw || host_out->ftw != c->fpu.ftw)
        LAB_DIFFER("fcw, fsw, ftw: host %x %x %x engine %x %x %x was %x %x %x\n", host_out->fcw,
                   host_out->fsw, host_out->ftw, c->fpu.fcw, c->fpu.fsw, c->fpu.ftw, in->fcw, in->fsw,
                   in->ftw);
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(host_out->st[i], c->fpu.st[i], 10))
            LAB_DIFFER("st %u differs\n", i);
    if (want == 14 && vector == 14 && (host_out->cr2 ^ c->cr2) >> 12)
        LAB_DIFFER("cr2: host %lx engine %lx\n", host_out->cr2, c->cr2);
    for (unsigned i = 0, told = 0; i < LAB_BYTES; i++)
        if (host_data[i] != data[i] && told++ < 8)
            LAB_DIFFER("data+%u: host %02x engine %02x\n", i, host_data[i], data[i]);
    return bad;
}

/* ---- a case ---- */

/* Somewhere for an operand of `size` bytes. */
static inline uint64_t lab_place(struct lab *l, unsigned size)
{
    uint64_t r = lab_random(l);
    switch (r % 16) {
    case 0:
    case 1:
        return LAB_DATA + 4096 - 32 + r / 16 % 64;
    case 2:
        return LAB_DATA + LAB_BYTES - size;
    case 3:
        return LAB_DATA + LAB_BYTES - r / 16 % (size + 1);
    case 4:
        return LAB_DATA - 1 - r / 16 % size;
    case 5:
    case 6:
    case 7:
        return LAB_DATA + r / 16 % 4096;
    default:
        return LAB_DATA + r / 16 % 100 * 64;
    }
}

static inline void lab_aim_gather(struct lab *l, struct host_state *s, const ZydisDecodedOperand *o,
                                  bool wide)
{
    uint8_t *index = s->ymm[ZydisRegisterGetId(o->mem.index)];
    for (unsigned i = 0; i < (wide ? 4u : 8u); i++) {
        int64_t v = ((int64_t)(lab_random(l) % 8000) - 4000) / o->mem.scale;
        if (lab_random(l) % 16 == 0)
            v = 20000;
        memcpy(index + (wide ? 8 : 4) * i, &v, wide ? 8 : 4);
    }
    s->gpr[ZydisRegisterGetId(o->mem.base)] = LAB_DATA + 4096 - (uint64_t)o->mem.disp.value;
}

static inline bool lab_wide_index(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_VPGATHERQD || m == ZYDIS_MNEMONIC_VPGATHERQQ ||
           m == ZYDIS_MNEMONIC_VGATHERQPS || m == ZYDIS_MNEMONIC_VGATHERQPD;
}

/* Point the memory operand, if any, somewhere. false: its address cannot be chosen. */
static inline bool lab_aim(struct lab *l, struct host_state *s, const ZydisDecodedInstruction *zi,
                           const ZydisDecodedOperand *op)
{
    for (unsigned i = 0; i < zi->operand_count; i++) {
        if (op[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        bool vsib = op[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB;
        if (ZydisRegisterGetId(op[i].mem.base) < 0 || op[i].mem.base == ZYDIS_REGISTER_RIP ||
            op[i].mem.base == ZYDIS_REGISTER_EIP || (op[i].mem.index != ZYDIS_REGISTER_NONE && !vsib))
            return false;
        if (vsib)
            lab_aim_gather(l, s, &op[i], lab_wide_index(zi->mnemonic));
        else
            s->gpr[ZydisRegisterGetId(op[i].mem.base)] =
                lab_place(l, op[i].size / 8) - (uint64_t)op[i].mem.disp.value;
    }
    return true;
}

/* ---- documented differences of processors among each other, or of ours from all (exec_native.c) ---- */

/* The memory operand of a case. */
struct lab_operand {
    uint64_t at;
    unsigned size;
    bool write;
};

static inline bool lab_operand_of(const struct host_state *in, const ZydisDecodedInstruction *zi,
                                  const ZydisDecodedOperand *op, struct lab_operand *o)
{
    for (unsigned i = 0; i < zi->operand_count; i++) {
        if (op[i].type != ZYDIS_OPERAND_TYPE_MEMORY || op[i].mem.type != ZYDIS_MEMOP_TYPE_MEM)
            continue;
        *o =
            (struct lab_operand){in->gpr[ZydisRegisterGetId(op[i].mem.base)] + (uint64_t)op[i].mem.disp.value,
                                 op[i].size / 8u, op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE};
        return o->size != 0;
    }
    return false;
}

/* Is there reason for this fault? Of several the processor may choose (SDM 3A table 6-2: the order of faults
 * on executing an instruction is its own). */
static inline bool lab_has_reason(const struct host_state *in, const struct lab_operand *o, int vector)
{
    unsigned checked = o->size == 10 ? 8 : o->size > 16 ? 16 : o->size;
    if (vector == X86_AC_VEC)
        return in->rflags & X86_AC && o->at % checked;
    return vector == X86_PF_VEC && (o->at < LAB_DATA || o->at + o->size > LAB_DATA + LAB_BYTES);
}

/* What a processor may make of the operand that ours does not; its result says nothing then. */
static inline bool lab_other_fault(const struct lab *l, const ZydisDecodedInstruction *zi,
                                   const struct host_state *in, const struct lab_operand *o, int trap,
                                   int vector)
{
    const struct x86_fpu *f = &h_cpu(l->h)->fpu;
    bool f16c = zi->meta.isa_set == ZYDIS_ISA_SET_F16C;
    bool x87 = zi->meta.isa_set == ZYDIS_ISA_SET_X87 || zi->mnemonic == ZYDIS_MNEMONIC_FISTTP; /* SSE3 */
    if (trap == vector)
        return false;
    if (zi->meta.isa_set == ZYDIS_ISA_SET_SHA && vector == X86_GP && o->at % 16)
        return true; /* any alignment will do for some */
    if (!lab_has_reason(in, o, trap))
        return false;
    if (lab_has_reason(in, o, vector))
        return true;
    if (trap == X86_AC_VEC && (o->size == 16 || o->size == 32 || f16c))
        return true; /* alignment checks of such operands: SDM 3A 6.15, interrupt 17, leaves them open */
    if (x87 && o->write && vector == -1)
        return f->fsw & ~f->fcw & 0x1f; /* a store that an unmasked exception prevents is checked by some */
    return f16c && o->write && vector == X86_XM; /* so is one that comes after a SIMD exception */
}

/* What a processor may have changed before the fault of a store: exception flags of VCVTPS2PH; TOP of an MMX
 * store; the part of an 80-bit store that does not fault. */
static inline void lab_undo_early(struct lab *l, const ZydisDecodedInstruction *zi,
                                  const struct host_state *in, const struct lab_operand *o,
                                  struct host_state *out)
{
    unsigned top = in->fsw >> 11 & 7;
    for (unsigned i = 0; o->size == 10 && i < 10; i++)
        if (o->at + i - LAB_DATA < LAB_BYTES)
            l->data[o->at + i - LAB_DATA] = l->before[o->at + i - LAB_DATA];
    if (zi->mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH && (out->mxcsr & ~0x3fu) == (in->mxcsr & ~0x3fu) &&
        !(in->mxcsr & ~out->mxcsr))
        out->mxcsr = in->mxcsr;
    if (zi->mnemonic != ZYDIS_MNEMONIC_MOVD && zi->mnemonic != ZYDIS_MNEMONIC_MOVQ &&
        zi->mnemonic != ZYDIS_MNEMONIC_MOVNTQ)
        return;
    if (out->fsw != (in->fsw & ~FSW_TOP))
        return;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(out->st[i], in->st[(i - top) & 7], 10))
            return;
    out->fsw = in->fsw;
    memcpy(out->st, in->st, sizeof out->st);
}

/* Adjusts what the host said; true: any result will do. */
static inline bool lab_tolerated(struct lab *l, const ZydisDecodedInstruction *zi,
                                 const ZydisDecodedOperand *op, const struct host_state *in,
                                 struct host_state *out, int vector)
{
    const struct cpu *c = h_cpu(l->h);
    struct lab_operand o;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_DPPS: /* which step's flags are reported when one is unmasked */
    case ZYDIS_MNEMONIC_DPPD:
    case ZYDIS_MNEMONIC_VDPPS:
    case ZYDIS_MNEMONIC_VDPPD:
        if (out->trap == X86_XM && vector == X86_XM)
            return true;
        break;
    case ZYDIS_MNEMONIC_VPEXTRD: /* VEX.W = 1 outside 64-bit mode */
    case ZYDIS_MNEMONIC_VPINSRD:
        return l->compat && out->trap == X86_UD;
    default:
        break;
    }
    if (zi->meta.isa_set == ZYDIS_ISA_SET_AVX2GATHER &&
        vector == X86_PF_VEC) /* progress before the fault; order among faults */
        return out->trap == X86_PF_VEC || out->rip == in->rip;
    if (in->mxcsr & 0x20000 && out->trap == 1 &&
        vector == X86_PF_VEC) /* misaligned mode reads no more than it uses */
        return true;
    if (out->trap == X86_XM && vector == X86_XM &&
        c->fpu.mxcsr & 0x18) /* PE beside unmasked overflow, underflow */
        out->mxcsr |= c->fpu.mxcsr & 0x20;
    if (!lab_operand_of(in, zi, op, &o))
        return false;
    if (out->trap == vector && o.write && lab_has_reason(in, &o, vector))
        lab_undo_early(l, zi, in, &o, out);
    return lab_other_fault(l, zi, in, &o, out->trap, vector);
}

static inline void lab_tell(struct lab *l, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op,
                            const uint8_t *bytes)
{
    char text[128];
    ZydisFormatter f;
    ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
    ZydisFormatterFormatInstruction(&f, zi, op, zi->operand_count_visible, text, sizeof text, 0, NULL);
    printf("differs: %s  [", text);
    for (unsigned i = 0; i < zi->length; i++)
        printf(" %02x", bytes[i]);
    printf(" ] %s\n", l->compat ? "32-bit" : "64-bit");
}

/* Decode, and refuse what the bytes were not meant to be (`least` bytes at least). */
static inline bool lab_decode(struct lab *l, const uint8_t *bytes, unsigned least,
                              ZydisDecodedInstruction *zi, ZydisDecodedOperand *op)
{
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&l->decoder, bytes, 15, zi, op)) && zi->length >= least &&
           zi->meta.isa_ext != ZYDIS_ISA_EXT_BASE;
}

/* One random case of an instruction. `bytes` has 15. */
static inline enum lab_verdict lab_case(struct lab *l, const uint8_t *bytes, unsigned least, bool x87)
{
    struct host_state in, out;
    struct insn insn;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    struct cpu *c = h_cpu(l->h);

    if (!lab_decode(l, bytes, least, &zi, op))
        return LAB_SKIPPED;
    if (insn_decode(bytes, 15, l->compat ? MODE_32 : MODE_64, &insn) || insn.exec == exec_ud)
        return LAB_UNKNOWN;
    lab_state(l, &in, x87 || zi.meta.isa_ext == ZYDIS_ISA_EXT_MMX);
    for (unsigned i = 0; i < LAB_BYTES; i += 64)
        lab_fill(l, l->before + i, 64);
    for (unsigned i = 0; x87 && i < LAB_BYTES; i += 32)
        lab_fill80(l, l->before + i);
    if (!lab_aim(l, &in, &zi, op))
        return LAB_SKIPPED;
    if (zi.meta.category == ZYDIS_CATEGORY_XSAVE ||
        zi.meta.category == ZYDIS_CATEGORY_XSAVEOPT) { /* the host may have more components */
        in.gpr[X86_RAX] &= 7;
        in.gpr[X86_RDX] &= 0xffffffff00000000ull;
    }
    in.rip = LAB_CODE + 0x800;
    memcpy(l->code + 0x800, bytes, zi.length);
    memcpy(l->h->ram + LAB_RAM_CODE + 0x800, bytes, 15);
    memcpy(l->data, l->before, LAB_BYTES);
    memcpy(l->h->ram + LAB_RAM_DATA, l->before, LAB_BYTES);
    host_run(&in, &out, l->compat);
    lab_to_engine(l, &in);
    int why = h_step(l->h), vector = why ? c->fault_vector : -1;
    l->cases++;
    if (lab_tolerated(l, &zi, op, &in, &out, vector) || !lab_compare(l, &in, &out, vector, l->data, false))
        return LAB_SAME;
    if (l->failures++ < 20) {
        lab_tell(l, &zi, op, bytes);
        lab_compare(l, &in, &out, vector, l->data, true);
    }
    return LAB_DIFFERS;
}

/* ---- life ---- */

/* Whether x87 pointers are kept whole is the host's choice in the lab (CPUID 7 EBX bits 6 and 13). */
static inline void lab_pointers_as_on_host(struct harness *h)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    const uint32_t bits = 1u << 6 | 1u << 13;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    uint32_t *w = &h_cpu(h)->priv->features.w[X86_W_7_EBX];
    *w = (*w & ~bits) | (b & bits);
}

static inline struct lab *lab_new(bool compat, unsigned unmasked_percent)
{
    struct lab *l = calloc(1, sizeof *l);
    l->compat = compat;
    l->unmasked_percent = unmasked_percent;
    l->seed = 88172645463325252ull;
    ZydisDecoderInit(&l->decoder, compat ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LONG_64,
                     compat ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64);
    uint8_t *at = mmap((void *)(LAB_DATA - 4096), LAB_BYTES + 8192, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    l->data = at + 4096;
    mprotect(l->data, LAB_BYTES, PROT_READ | PROT_WRITE);
    l->code = mmap((void *)LAB_CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    host_init();

    l->h = h_new(1);
    lab_pointers_as_on_host(l->h);
    l->base = h_long_mode(l->h, LAB_CODE, 3);
    l->base.cr0 |= CR0_AM;
    h_put64(l->h, H_TABLES + 0x2000 + 8 * (LAB_DATA >> 21),
            LAB_PT | 7); /* the 2 MiB that hold data and code, in 4 KiB pages */
    h_put64(l->h, LAB_PT + 8 * (LAB_DATA >> 12 & 511), LAB_RAM_DATA | 7);
    h_put64(l->h, LAB_PT + 8 * ((LAB_DATA >> 12 & 511) + 1), (LAB_RAM_DATA + 4096) | 7);
    h_put64(l->h, LAB_PT + 8 * (LAB_CODE >> 12 & 511), LAB_RAM_CODE | 7);
    if (compat)
        l->base.seg[X86_CS] = h_flat(0xb, true, 3, false);
    assert_int_equal(engine_set(l->h->en, 0, &l->base), 0);
    return l;
}

static inline void lab_seed_from_environment(struct lab *l)
{
    const char *seed = getenv("FP_LAB_SEED");
    if (seed)
        l->seed ^= strtoull(seed, NULL, 0) << 20;
}

static inline void lab_free(struct lab *l)
{
    h_free(l->h);
    munmap(l->data - 4096, LAB_BYTES + 8192);
    munmap(l->code, 4096);
    free(l);
}

#endif
