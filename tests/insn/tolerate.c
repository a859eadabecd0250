/*
 * tolerate: where the architecture leaves a choice, and processors differ among each other or from the
 * interpreter. The interpreter makes one choice on every host: that of Intel's current processors where the
 * SDM has none. README.md lists these differences by number.
 *
 * Each is admitted only in a case that can show it; the host's result is brought to what the interpreter's
 * may be, and the comparison that follows sees everything else.
 */
#include <string.h>
#include "lab.h"
#include "x86/regs.h"

enum { FX_FSW = 2, FX_MXCSR = 24, FX_ST = 32, FX_XMM = 160, FX_AVX = 576 };
enum { MXCSR_PE = 0x20, MXCSR_OE_UE = 0x18, MXCSR_FLAGS = 0x3f, FSW_TOP = 0x3800 };

static uint32_t mxcsr_of(const struct lab_state *s)
{
    uint32_t v;
    memcpy(&v, s->fpu.image + FX_MXCSR, 4);
    return v;
}

static unsigned word_of(const struct lab_state *s, unsigned at)
{
    return s->fpu.image[at] | (unsigned)s->fpu.image[at + 1] << 8;
}

/* ---- the memory operand, and what it can raise ---- */

struct operand {
    const struct lab_case *k;
    uint64_t at; /* linear */
    unsigned size, seg;
    bool write;
    unsigned alignment; /* that it must have, else #GP */
    unsigned checked;   /* that RFLAGS.AC may ask for */
};

static uint64_t segment_base(const struct lab_case *k, unsigned seg)
{
    if (seg == X86_FS || seg == X86_GS)
        return seg == X86_FS ? k->in.fs_base : k->in.gs_base;
    if (seg == X86_CS)
        return k->mode == MODE_16 ? CODE_BASE : 0;
    return k->ldt ? LDT_BASE : 0;
}

uint64_t tolerate_address(const struct lab_case *k, const struct insn *in)
{
    uint64_t a = (uint64_t)in->disp;
    if (in->base < 16)
        a += k->in.gpr[in->base];
    else if (in->base == INSN_RIP_BASE)
        a += k->in.rip + in->len;
    if (in->index < 16)
        a += k->in.gpr[in->index] * in->scale;
    if (in->adsize != 8)
        a &= mask_size(in->adsize);
    return a + segment_base(k, in->seg);
}

static bool is_canonical_address(uint64_t a)
{
    return a + (1ull << 47) < 1ull << 48;
}

/* Does the segment refuse it? FS and GS are null outside 64-bit mode. */
static bool segment_refuses(const struct operand *o)
{
    if (o->k->mode == MODE_64)
        return !is_canonical_address(o->at) || !is_canonical_address(o->at + o->size - 1);
    if (o->seg == X86_FS || o->seg == X86_GS || (o->seg == X86_CS && o->write))
        return true;
    uint64_t off = o->at - segment_base(o->k, o->seg), limit = o->k->ldt ? LDT_LIMIT : 0xffffffff;
    if (o->seg == X86_CS)
        limit = o->k->mode == MODE_16 ? LDT_CODE_LIMIT : 0xffffffff;
    return off + o->size - 1 > limit;
}

static bool page_faults(const struct operand *o)
{
    uint64_t last = o->at + o->size - 1;
    for (uint64_t at = o->at; at <= last; at = (at & ~(uint64_t)(PAGE - 1)) + PAGE) {
        uint64_t page = (at - DATA_BASE) / PAGE;
        if (page >= DATA_PAGES || !data_page_present((unsigned)page) || (page == DATA_RO && o->write))
            return true;
    }
    return false;
}

/* Is there reason for this fault? Several reasons may be: in which order they are looked at is not
 * architectural (SDM 3A table 6-2: faults on executing an instruction). */
static bool has_reason(const struct operand *o, unsigned vector)
{
    switch (vector) {
    case X86_AC_VEC:
        return o->k->in.rflags & X86_AC && o->checked && o->at % o->checked;
    case X86_SS_VEC:
        return o->seg == X86_SS && segment_refuses(o);
    case X86_GP:
        return (o->alignment && o->at % o->alignment) || (o->seg != X86_SS && segment_refuses(o));
    case X86_PF_VEC:
        return page_faults(o);
    default:
        return false;
    }
}

static bool is_memory_fault(unsigned vector)
{
    return vector == X86_AC_VEC || vector == X86_SS_VEC || vector == X86_GP || vector == X86_PF_VEC;
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

static bool is_fx(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_FXSAVE || m == ZYDIS_MNEMONIC_FXSAVE64 || m == ZYDIS_MNEMONIC_FXRSTOR ||
           m == ZYDIS_MNEMONIC_FXRSTOR64;
}

static bool is_xsave(ZydisMnemonic m)
{
    return is_state_image(m) && !is_fx(m) && m != ZYDIS_MNEMONIC_FNSAVE && m != ZYDIS_MNEMONIC_FNSTENV &&
           m != ZYDIS_MNEMONIC_FRSTOR && m != ZYDIS_MNEMONIC_FLDENV;
}

/* Legacy instructions with a 16-byte operand of any alignment. */
static bool is_unaligned(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_MOVUPS || m == ZYDIS_MNEMONIC_MOVUPD || m == ZYDIS_MNEMONIC_MOVDQU ||
           m == ZYDIS_MNEMONIC_LDDQU || m == ZYDIS_MNEMONIC_PCMPESTRI || m == ZYDIS_MNEMONIC_PCMPESTRM ||
           m == ZYDIS_MNEMONIC_PCMPISTRI || m == ZYDIS_MNEMONIC_PCMPISTRM;
}

static void set_alignment(const struct form *form, const struct insn *in, struct operand *o)
{
    bool fx = is_fx(form->mnemonic);
    o->checked = o->size == 10 ? 8 : o->size > 16 ? 16 : o->size;
    if (fx || is_xsave(form->mnemonic)) {
        o->alignment = fx ? 16 : 64;
        o->checked = 16; /* of any width (SDM 2A FXSAVE, 2D XSAVE) */
        o->size = fx ? 512 : sizeof(struct lab_fpu);
    } else if (form->enc.vex && o->size >= 16 && in->imm == o->size) {
        o->alignment = o->size; /* VMOVAPS and its like */
    } else if (!form->enc.vex && o->size == 16 && !is_unaligned(form->mnemonic)) {
        o->alignment = 16;
    }
}

/* The explicit memory operand of a case; false: it has none. */
static bool operand_of(const struct form *form, const struct lab_case *k, const struct insn *in,
                       struct operand *o)
{
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    if (!form->has_memory || !forms_decode(k->mode, k->bytes, k->len, &zi, ops))
        return false;
    for (unsigned i = 0; i < zi.operand_count_visible; i++) {
        if (ops[i].type != ZYDIS_OPERAND_TYPE_MEMORY || ops[i].mem.type != ZYDIS_MEMOP_TYPE_MEM)
            continue;
        *o = (struct operand){.k = k,
                              .at = tolerate_address(k, in),
                              .size = ops[i].size / 8u,
                              .seg = in->seg,
                              .write = ops[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE};
        set_alignment(form, in, o);
        return o->size != 0;
    }
    return false;
}

/* ---- vectors ---- */

/* A gather that faults: which element's fault is reported, how far it had come, and whether its mask has been
 * widened to whole elements yet. */
static void tolerate_gather(const struct insn *in, struct lab_result *h, const struct lab_result *g)
{
    if (h->vector != g->vector || !is_memory_fault(g->vector))
        return;
    h->cr2 = g->cr2;
    h->error = g->error;
    for (unsigned i = 0; i < 3; i += 2) { /* destination and mask */
        memcpy(h->out.fpu.image + FX_XMM + 16 * in->reg[i], g->out.fpu.image + FX_XMM + 16 * in->reg[i], 16);
        memcpy(h->out.fpu.image + FX_AVX + 16 * in->reg[i], g->out.fpu.image + FX_AVX + 16 * in->reg[i], 16);
    }
}

static void tolerate_simd_flags(ZydisMnemonic m, struct lab_result *h, const struct lab_result *g)
{
    uint32_t host = mxcsr_of(&h->out), guest = mxcsr_of(&g->out);
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

/* VCVTPS2PH whose store faults: its exception flags may have been set already. */
static void tolerate_early_flags(const struct lab_case *k, struct lab_result *h)
{
    uint32_t before = mxcsr_of(&k->in), after = mxcsr_of(&h->out);
    if ((after & ~MXCSR_FLAGS) == (before & ~MXCSR_FLAGS) && !(before & ~after))
        memcpy(h->out.fpu.image + FX_MXCSR, &before, 4);
}

/* An MMX store that faults: TOP may be 0 already, the registers in their places. */
static void tolerate_early_top(const struct lab_case *k, struct lab_result *h)
{
    unsigned before = word_of(&k->in, FX_FSW), after = word_of(&h->out, FX_FSW), top = before >> 11 & 7;
    if (after != (before & ~(unsigned)FSW_TOP))
        return;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(h->out.fpu.image + FX_ST + 16 * i, k->in.fpu.image + FX_ST + 16 * ((i - top) & 7), 10) !=
            0)
            return;
    memcpy(h->out.fpu.image + FX_ST, k->in.fpu.image + FX_ST, 128);
    memcpy(h->out.fpu.image + FX_FSW, k->in.fpu.image + FX_FSW, 2);
}

/* A masked store is one access, or several: the address is that of any byte on the page. */
static void tolerate_masked_store(const struct operand *o, struct lab_result *h, const struct lab_result *g)
{
    if (h->cr2 - o->at < o->size && h->cr2 / PAGE == g->cr2 / PAGE)
        h->cr2 = g->cr2;
}

/* MASKMOVDQU is two stores of eight bytes, in either order. */
static enum tolerance tolerate_maskmov(const struct lab_case *k, const struct insn *in,
                                       const struct lab_result *h, const struct lab_result *g)
{
    struct operand o = {.k = k,
                        .at = (k->in.gpr[X86_RDI] & mask_size(in->adsize)) + segment_base(k, in->seg),
                        .size = 16,
                        .seg = in->seg,
                        .write = true,
                        .checked = 8};
    bool same = h->vector == g->vector && (h->vector != X86_PF_VEC || h->cr2 == g->cr2);
    if (same || (h->vector == X86_PF_VEC && h->cr2 - o.at >= o.size))
        return TOLERATE_NOTHING;
    return has_reason(&o, h->vector) && has_reason(&o, g->vector) ? TOLERATE_FAULT : TOLERATE_NOTHING;
}

/* Some processors check the alignment of 16 and 32 bytes, and of half-precision operands (SDM 3A 6.15,
 * interrupt 17: left open; ours does not). */
static bool vector_alignment(const struct form *form, const struct operand *o, const struct lab_result *h)
{
    bool vector = o->size == 16 || o->size == 32 || form->isa == ZYDIS_ISA_SET_F16C;
    return vector && h->vector == X86_AC_VEC && has_reason(o, X86_AC_VEC);
}

/* Some processors let the SHA instructions have any alignment (SDM 2A table 2-21: #GP). */
static bool sha_alignment(const struct form *form, const struct operand *o, const struct lab_result *g)
{
    return form->isa == ZYDIS_ISA_SET_SHA && g->vector == X86_GP && o->at % 16;
}

static enum tolerance tolerate_vector(const struct form *form, const struct lab_case *k,
                                      const struct insn *in, struct lab_result *h, const struct lab_result *g)
{
    bool same_fault = h->vector == g->vector && is_memory_fault(h->vector);
    struct operand o;

    switch (form->mnemonic) {
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
        return tolerate_maskmov(k, in, h, g);
    case ZYDIS_MNEMONIC_VPEXTRD: /* VEX.W outside 64-bit mode: ignored by some, undefined to others */
    case ZYDIS_MNEMONIC_VPINSRD:
        return k->mode != MODE_64 && h->vector == X86_UD ? TOLERATE_ANYTHING : TOLERATE_NOTHING;
    default:
        break;
    }
    if (h->vector == X86_XM && g->vector == X86_XM)
        tolerate_simd_flags(form->mnemonic, h, g);
    if (form->isa == ZYDIS_ISA_SET_AVX2GATHER)
        tolerate_gather(in, h, g);
    if (!operand_of(form, k, in, &o))
        return TOLERATE_NOTHING;
    switch (form->mnemonic) {
    case ZYDIS_MNEMONIC_VCVTPS2PH:
        if (g->vector == X86_XM && has_reason(&o, h->vector)) /* the store is checked first by some */
            return TOLERATE_ANYTHING;
        if (same_fault)
            tolerate_early_flags(k, h);
        break;
    case ZYDIS_MNEMONIC_MOVD:
    case ZYDIS_MNEMONIC_MOVQ:
    case ZYDIS_MNEMONIC_MOVNTQ:
        if (same_fault && o.write)
            tolerate_early_top(k, h);
        break;
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
        if (same_fault && o.write)
            tolerate_masked_store(&o, h, g);
        break;
    default:
        break;
    }
    return vector_alignment(form, &o, h) || sha_alignment(form, &o, g) ? TOLERATE_ANYTHING : TOLERATE_NOTHING;
}

/* ---- x87 ---- */

/* An unmasked exception keeps a store from being made; some processors look whether it could have been. */
static bool store_not_made(const struct form *form, const struct operand *o, const struct lab_result *h,
                           const struct lab_result *g)
{
    bool x87 = form->isa == ZYDIS_ISA_SET_X87 || form->mnemonic == ZYDIS_MNEMONIC_FISTTP; /* SSE3 */
    unsigned unmasked = word_of(&g->out, FX_FSW) & ~word_of(&g->out, 0) & 0x1f;
    return x87 && o->write && g->vector == LAB_NO_FAULT && unmasked && has_reason(o, h->vector);
}

/* ---- integer ---- */

/* F3 90 with REX.B is PAUSE, or with some processors still XCHG r8, rAX. */
static void tolerate_pause(const struct lab_case *k, const struct insn *in, struct lab_result *h)
{
    unsigned rex = k->len > 2 ? k->bytes[k->len - 2] : 0, size = rex & 8 ? 8 : in->opsize;
    uint64_t a = k->in.gpr[X86_RAX], b = k->in.gpr[X86_R8], mask = mask_size(size);
    uint64_t keep = size == 2 ? ~mask : 0;
    if (k->mode != MODE_64 || (rex & 0xf1) != 0x41 || h->out.gpr[X86_RAX] != ((a & keep) | (b & mask)) ||
        h->out.gpr[X86_R8] != ((b & keep) | (a & mask)))
        return;
    h->out.gpr[X86_RAX] = a;
    h->out.gpr[X86_R8] = b;
}

/* A 32-bit push of a segment register stores two bytes, or four with two zeros (SDM 2B PUSH). */
static enum tolerance tolerate_push_seg(const struct lab_case *k, struct lab_result *h,
                                        const struct lab_result *g)
{
    unsigned sp_size = k->mode == MODE_16 ? 2 : 4;
    struct operand o = {.k = k,
                        .at = ((k->in.gpr[X86_RSP] - 4) & mask_size(sp_size)) + segment_base(k, X86_SS),
                        .size = 4,
                        .seg = X86_SS,
                        .write = true,
                        .checked = 4};
    if (g->vector == LAB_NO_FAULT && has_reason(&o, h->vector))
        return TOLERATE_ANYTHING;
    if (g->vector != h->vector && has_reason(&o, g->vector) && has_reason(&o, h->vector))
        return TOLERATE_FAULT;
    for (unsigned i = 0; g->vector == LAB_NO_FAULT && i < h->lines && i < LAB_LINES; i++)
        for (unsigned b = 2; b < 4; b++) {
            uint64_t off = o.at + b - h->line[i].at;
            if (off >= LAB_LINE || h->line[i].bytes[off])
                continue;
            if (h->lines != g->lines) /* the line of the zeros alone */
                return TOLERATE_ANYTHING;
            h->line[i].bytes[off] = g->line[i].bytes[off];
        }
    return TOLERATE_NOTHING;
}

static bool is_push_seg(const struct form *form)
{
    unsigned op = form->enc.opcode;
    if (form->mnemonic != ZYDIS_MNEMONIC_PUSH || !strstr(form->text, "o32"))
        return false;
    return form->enc.map == 0 ? op == 0x06 || op == 0x0e || op == 0x16 || op == 0x1e
                              : op == 0xa0 || op == 0xa8;
}

/* CMPS reads its target first, or its source: which fault is met when both have one. */
static void tolerate_cmps(const struct lab_case *k, const struct insn *in, struct lab_result *h,
                          const struct lab_result *g)
{
    uint64_t mask = mask_size(in->adsize);
    struct operand o = {.k = k, .size = in->opsize, .checked = in->opsize};
    struct operand source = o, target = o;
    source.seg = in->seg;
    source.at = (h->out.gpr[X86_RSI] & mask) + segment_base(k, in->seg);
    target.seg = X86_ES;
    target.at = (h->out.gpr[X86_RDI] & mask) + segment_base(k, X86_ES);
    if (!has_reason(&source, h->vector) || !has_reason(&target, g->vector) ||
        (h->vector == X86_PF_VEC && h->cr2 - source.at >= source.size))
        return;
    h->vector = g->vector;
    h->error = g->error;
    h->cr2 = g->cr2;
}

/* A repeated string instruction with 32-bit addresses in 64-bit mode that moves nothing: whether it cuts the
 * count, and the pointers, to 32 bits. */
static void tolerate_upper_halves(const struct lab_case *k, struct lab_result *h, const struct lab_result *g)
{
    static const unsigned char regs[] = {X86_RCX, X86_RSI, X86_RDI};
    for (unsigned i = 0; i < sizeof(regs); i++) {
        uint64_t *host = &h->out.gpr[regs[i]], guest = g->out.gpr[regs[i]];
        if (*host == k->in.gpr[regs[i]] && guest == (uint32_t)*host)
            *host = guest;
    }
}

static enum tolerance tolerate_integer(const struct form *form, const struct lab_case *k,
                                       const struct insn *in, struct lab_result *h,
                                       const struct lab_result *g)
{
    struct operand o;

    switch (form->mnemonic) {
    case ZYDIS_MNEMONIC_PAUSE:
        tolerate_pause(k, in, h);
        return TOLERATE_NOTHING;
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD: /* not the vector instruction, which has a map */
    case ZYDIS_MNEMONIC_CMPSQ:
        if (form->enc.map == 0)
            tolerate_cmps(k, in, h, g);
        break;
    case ZYDIS_MNEMONIC_MOVSXD: /* with 16-bit operands: of two bytes, or of four */
        if (!operand_of(form, k, in, &o) || in->opsize != 2 || !has_reason(&o, h->vector))
            return TOLERATE_NOTHING;
        o.size = o.checked = 2;
        return has_reason(&o, h->vector) ? TOLERATE_NOTHING : TOLERATE_ANYTHING;
    case ZYDIS_MNEMONIC_BOUND: /* the upper bound is read first by some, though the lower decides */
        if (g->vector == X86_BR && operand_of(form, k, in, &o) && has_reason(&o, h->vector))
            return TOLERATE_FAULT;
        break;
    default:
        break;
    }
    if (in->flags & (INSN_REP | INSN_REPNE) && in->adsize == 4 && k->mode == MODE_64)
        tolerate_upper_halves(k, h, g);
    return is_push_seg(form) ? tolerate_push_seg(k, h, g) : TOLERATE_NOTHING;
}

/* ---- all ---- */

enum tolerance tolerate(const struct form *form, const struct lab_case *k, struct lab_result *h,
                        const struct lab_result *g)
{
    struct insn in;
    struct operand o;

    if (insn_decode(k->bytes, k->len, (enum cpu_mode)k->mode, &in) || k->fetch_cut)
        return TOLERATE_NOTHING;
    if (is_state_image(form->mnemonic) && h->vector == X86_PF_VEC && g->vector == X86_PF_VEC)
        h->cr2 = g->cr2;
    enum tolerance t = tolerate_vector(form, k, &in, h, g);
    if (t == TOLERATE_NOTHING)
        t = tolerate_integer(form, k, &in, h, g);
    if (t != TOLERATE_NOTHING || h->vector == g->vector || !operand_of(form, k, &in, &o))
        return t;
    if (store_not_made(form, &o, h, g))
        return TOLERATE_ANYTHING;
    /* 32-bit flat segments: an access that wraps at 4 GiB (SDM 3A 5.3) */
    if (k->mode != MODE_64 && !k->ldt && o.at + o.size > 1ull << 32 && h->vector == X86_PF_VEC &&
        has_reason(&o, g->vector))
        return TOLERATE_FAULT;
    return has_reason(&o, h->vector) && has_reason(&o, g->vector) ? TOLERATE_FAULT : TOLERATE_NOTHING;
}
