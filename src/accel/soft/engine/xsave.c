/*
 * xsave: FXSAVE, FXRSTOR and the XSAVE family over XCR0 = x87 | SSE | AVX | PKRU (SDM 1 10.5 and chapter 13).
 *
 * A component is in use when its contents differ from its initial ones (MXCSR counts for SSE except to XSAVE,
 * which stores it anyway). The modified optimization of XSAVEOPT and XSAVES is not made: storing what need
 * not be stored is always legal. No supervisor components exist, so IA32_XSS is 0 and XSAVES stores what
 * XSAVEC does.
 */
#include <Zydis/Zydis.h>
#include <string.h>
#include "accel/soft/engine/fp.h"
#include "accel/soft/engine/private.h"

enum { AREA_FX = 512, AREA_HEADER = 512, AREA_AVX = 576, AREA_PKRU = 832, AREA_SIZE = 840, HEADER_SIZE = 64 };
enum { FX_MXCSR = 24, FX_ST = 32, FX_XMM = 160, ST_SIZE = 128 };
enum { MXCSR_DEFAULT = 0x1f80 };
#define COMPACT (1ull << 63)

static unsigned vector_registers(const struct cpu *c)
{
    return c->mode == MODE_64 ? 16 : 8;
}

static bool any(const void *p, size_t n) /* n: a multiple of 16 */
{
    uint64_t seen = 0, v[2];
    for (size_t i = 0; i < n; i += 16) {
        memcpy(v, (const uint8_t *)p + i, 16);
        seen |= v[0] | v[1];
    }
    return seen != 0;
}

/* ---- the legacy region ---- */

static void encode_x87(const struct cpu *c, uint8_t *a, bool wide)
{
    const struct x86_fpu *f = &c->fpu;
    bool selectors = !cpu_has(c, X86_FEATURE(X86_W_7_EBX, 13));
    memset(a, 0, FX_MXCSR);
    memcpy(a, &f->fcw, 2);
    memcpy(a + 2, &f->fsw, 2);
    a[4] = f->ftw;
    uint16_t fop = f->fop & 0x7ff;
    memcpy(a + 6, &fop, 2);
    memcpy(a + 8, &f->fip, wide ? 8 : 4);
    memcpy(a + 16, &f->fdp, wide ? 8 : 4);
    if (!wide && selectors) {
        memcpy(a + 12, &f->fcs, 2);
        memcpy(a + 20, &f->fds, 2);
    }
    memcpy(a + FX_ST, f->st, ST_SIZE);
    for (unsigned i = 0; i < 8; i++)
        memset(a + FX_ST + 16 * i + 10, 0, 6);
}

static void encode_mxcsr(const struct cpu *c, uint8_t *a)
{
    uint32_t mask = mxcsr_mask(c);
    memcpy(a + FX_MXCSR, &c->fpu.mxcsr, 4);
    memcpy(a + FX_MXCSR + 4, &mask, 4);
}

static void encode_halves(const struct cpu *c, uint8_t *a, unsigned half)
{
    for (unsigned i = 0; i < vector_registers(c); i++)
        memcpy(a + 16 * i, c->fpu.ymm[i] + 16 * half, 16);
}

static void decode_x87(struct cpu *c, const uint8_t *a, bool wide)
{
    struct x86_fpu *f = &c->fpu;
    memcpy(&f->fcw, a, 2);
    f->fcw = (uint16_t)((f->fcw & 0x1f3f) | 0x40);
    memcpy(&f->fsw, a + 2, 2);
    f->ftw = a[4];
    memcpy(&f->fop, a + 6, 2);
    f->fop &= 0x7ff;
    f->fip = f->fdp = 0;
    f->fcs = f->fds = 0;
    memcpy(&f->fip, a + 8, wide ? 8 : 4);
    memcpy(&f->fdp, a + 16, wide ? 8 : 4);
    if (!wide) {
        memcpy(&f->fcs, a + 12, 2);
        memcpy(&f->fds, a + 20, 2);
    }
    memcpy(f->st, a + FX_ST, ST_SIZE);
    for (unsigned i = 0; i < 8; i++)
        memset(f->st[i] + 10, 0, 6);
    fpu_summarize(f);
}

static void decode_halves(struct cpu *c, const uint8_t *a, unsigned half)
{
    for (unsigned i = 0; i < vector_registers(c); i++)
        memcpy(c->fpu.ymm[i] + 16 * half, a + 16 * i, 16);
}

static uint32_t image_mxcsr(struct cpu *c, const uint8_t *a)
{
    uint32_t v;
    memcpy(&v, a + FX_MXCSR, 4);
    if (v & ~mxcsr_mask(c))
        cpu_gp(c, 0);
    return v;
}

/* ---- FXSAVE, FXRSTOR ---- */

static void check_fxsr(struct cpu *c, const struct insn *in)
{
    fp_need_feature(c, in);
    if (c->cr0 & (CR0_EM | CR0_TS))
        cpu_raise(c, X86_NM);
}

/* An area must be aligned to 16 or 64 bytes, else #GP; but where alignment checks are on, #AC is raised at
 * what is not aligned to 4. The SDM leaves that open (2A FXSAVE, 2D XSAVE); Intel's processors have it so. */
static bool alignment_check_first(const struct cpu *c, uint64_t linear)
{
    return c->cpl == 3 && c->cr0 & CR0_AM && c->rflags & X86_AC && linear % 4;
}

static unsigned fx_alignment(struct cpu *c, const struct insn *in)
{
    return alignment_check_first(c, cpu_linear(c, in->seg, insn_ea(c, in))) ? 1 : 16;
}

/* Bytes from 416 on (288 outside 64-bit mode) are not written, but must be writable. */
static void exec_fxsave(struct cpu *c, const struct insn *in)
{
    uint8_t a[AREA_FX];
    check_fxsr(c, in);
    encode_x87(c, a, in->cond & FP_REX_W);
    encode_mxcsr(c, a);
    encode_halves(c, a + FX_XMM, 0);
    uint64_t ea = insn_ea(c, in);
    unsigned align = fx_alignment(c, in);
    if (!(cpu_linear(c, in->seg, ea) & (align - 1))) /* else the store below raises what is due */
        cpu_probe_write(c, in->seg, ea, AREA_FX);
    cpu_store_bytes(c, in->seg, ea, a, FX_XMM + 16 * vector_registers(c), align);
}

static void exec_fxrstor(struct cpu *c, const struct insn *in)
{
    uint8_t a[AREA_FX];
    check_fxsr(c, in);
    cpu_load_bytes(c, in->seg, insn_ea(c, in), a, AREA_FX, fx_alignment(c, in));
    uint32_t mxcsr = image_mxcsr(c, a);
    decode_x87(c, a, in->cond & FP_REX_W);
    c->fpu.mxcsr = mxcsr;
    decode_halves(c, a + FX_XMM, 0);
}

/* ---- the XSAVE family ---- */

/* Checks before memory is touched; gives the requested-feature bitmap. */
static uint64_t check_xsave(struct cpu *c, const struct insn *in)
{
    fp_need_feature(c, in);
    if (!(c->cr4 & CR4_OSXSAVE))
        cpu_ud(c);
    if (c->cr0 & CR0_TS)
        cpu_raise(c, X86_NM);
    return ((c->gpr[X86_RDX] & 0xffffffff) << 32 | (c->gpr[X86_RAX] & 0xffffffff)) & c->xcr0;
}

static uint64_t area_at(struct cpu *c, const struct insn *in)
{
    uint64_t ea = insn_ea(c, in), linear = cpu_linear(c, in->seg, ea);
    if (alignment_check_first(c, linear))
        cpu_raise_error(c, X86_AC_VEC, 0);
    if (linear % 64)
        cpu_gp(c, 0);
    return ea;
}

static uint64_t in_use(const struct cpu *c, bool mxcsr)
{
    const struct x86_fpu *f = &c->fpu;
    uint64_t use = 0;
    if (f->fcw != 0x37f || f->fsw || f->ftw || f->fop || f->fip || f->fdp || f->fcs || f->fds ||
        any(f->st, sizeof f->st))
        use |= XCR0_X87;
    if (mxcsr && f->mxcsr != MXCSR_DEFAULT)
        use |= XCR0_SSE;
    for (unsigned i = 0; i < 16; i++) {
        if (any(f->ymm[i], 16))
            use |= XCR0_SSE;
        if (any(f->ymm[i] + 16, 16))
            use |= XCR0_AVX;
    }
    if (f->pkru)
        use |= XCR0_PKRU;
    return use;
}

struct piece {
    uint16_t at, size;
    uint16_t ours; /* where our own copy of the area has it */
};
enum { MOST_PIECES = 7 };

static unsigned add_piece(struct piece *p, unsigned n, unsigned at, unsigned size)
{
    if (n && p[n - 1].at + p[n - 1].size == at) {
        p[n - 1].size = (uint16_t)(p[n - 1].size + size);
        return n;
    }
    p[n] = (struct piece){(uint16_t)at, (uint16_t)size, (uint16_t)at};
    return n + 1;
}

/* Where PKRU lies: its own place in the standard form, in the compacted one behind what is there of `form`,
 * which is XCOMP_BV (SDM 1 13.4.2, 13.4.3). Our copy has it behind AVX. */
static unsigned pkru_at(const struct cpu *c, uint64_t form)
{
    if (form & COMPACT)
        return form & XCR0_AVX ? AREA_PKRU : AREA_AVX;
    return x86_cpuid_get(&c->priv->cpuid, 0xd, 9).ebx;
}

/* Parts of the area that hold components `which`, MXCSR by itself, and the first bytes of the header. */
static unsigned pieces_of(const struct cpu *c, uint64_t which, bool mxcsr, unsigned header, uint64_t form,
                          struct piece *p)
{
    unsigned n = 0, half = 16 * vector_registers(c);
    if (which & XCR0_X87)
        n = add_piece(p, n, 0, FX_MXCSR);
    if (mxcsr)
        n = add_piece(p, n, FX_MXCSR, 8);
    if (which & XCR0_X87)
        n = add_piece(p, n, FX_ST, ST_SIZE);
    if (which & XCR0_SSE)
        n = add_piece(p, n, FX_XMM, half);
    if (header)
        n = add_piece(p, n, AREA_HEADER, header);
    if (which & XCR0_AVX)
        n = add_piece(p, n, AREA_AVX, half);
    if (which & XCR0_PKRU)
        p[n++] = (struct piece){(uint16_t)pkru_at(c, form), 8, AREA_PKRU};
    return n;
}

/* Store components `which`, and header[0..header_bytes). Everything is checked before anything is stored. */
static void store_area(struct cpu *c, const struct insn *in, uint64_t ea, uint64_t which, bool mxcsr,
                       const uint64_t header[2], unsigned header_bytes)
{
    uint8_t a[AREA_SIZE];
    struct piece p[MOST_PIECES];
    unsigned n = pieces_of(c, which, mxcsr, header_bytes, header_bytes > 8 ? header[1] : 0, p);
    encode_x87(c, a, in->cond & FP_REX_W);
    encode_mxcsr(c, a);
    encode_halves(c, a + FX_XMM, 0);
    encode_halves(c, a + AREA_AVX, 1);
    memcpy(a + AREA_PKRU, (uint64_t[]){c->fpu.pkru}, 8);
    memcpy(a + AREA_HEADER, header, header_bytes);
    for (unsigned i = 0; i < n; i++)
        cpu_probe_write(c, in->seg, ea + p[i].at, p[i].size);
    for (unsigned i = 0; i < n; i++)
        cpu_store_bytes(c, in->seg, ea + p[i].at, a + p[i].ours, p[i].size, 1);
}

/* XSAVE stores all that is asked for, XSAVEOPT what of it is in use. */
static void exec_xsave(struct cpu *c, const struct insn *in)
{
    uint64_t rfbm = check_xsave(c, in), ea = area_at(c, in);
    cpu_probe_write(c, in->seg, ea + AREA_HEADER,
                    8); /* read, but to be written: a fault is that of a store */
    uint64_t old = cpu_load(c, in->seg, ea + AREA_HEADER, 8);
    bool opt = in->op == ZYDIS_MNEMONIC_XSAVEOPT || in->op == ZYDIS_MNEMONIC_XSAVEOPT64;
    uint64_t use = in_use(c, opt);
    uint64_t header[2] = {(old & ~rfbm) | (use & rfbm)};
    store_area(c, in, ea, opt ? rfbm & use : rfbm, rfbm & (XCR0_SSE | XCR0_AVX), header, 8);
}

/* XSAVEC and XSAVES: the compacted form, where MXCSR is part of SSE. AVX is the first component beyond the
 * header, so its place is the same. */
static void exec_xsavec(struct cpu *c, const struct insn *in)
{
    uint64_t rfbm = check_xsave(c, in);
    if (in->op == ZYDIS_MNEMONIC_XSAVES || in->op == ZYDIS_MNEMONIC_XSAVES64)
        cpu_need_cpl0(c);
    uint64_t ea = area_at(c, in), stored = rfbm & in_use(c, true);
    uint64_t header[2] = {stored, rfbm | COMPACT};
    store_area(c, in, ea, stored, stored & XCR0_SSE, header, 16);
}

static void load_area(struct cpu *c, const struct insn *in, uint64_t ea, uint64_t which, bool mxcsr,
                      uint64_t form, uint8_t *a)
{
    struct piece p[MOST_PIECES];
    unsigned n = pieces_of(c, which, mxcsr, 0, form, p);
    for (unsigned i = 0; i < n; i++)
        cpu_load_bytes(c, in->seg, ea + p[i].at, a + p[i].ours, p[i].size, 1);
}

/* #GP unless the header is legal (SDM 1 13.8.1, 13.8.2, 13.12). */
static void check_header(struct cpu *c, const uint64_t h[8], bool supervisor)
{
    bool compact = h[1] & COMPACT;
    if (!compact) {
        if (supervisor || h[0] & ~c->xcr0 || h[1] || h[2])
            cpu_gp(c, 0);
        return;
    }
    uint64_t known = c->xcr0 | (supervisor ? c->xss : 0);
    if (!cpu_has(c, X86_FEATURE(X86_W_D_1_EAX, 1)) || h[1] & ~(known | COMPACT) || h[0] & ~h[1] ||
        any(h + 2, HEADER_SIZE - 16))
        cpu_gp(c, 0);
}

static void restore_components(struct cpu *c, const struct insn *in, uint64_t rfbm, uint64_t present,
                               const uint8_t *a)
{
    static const uint8_t zero[256];
    if (rfbm & XCR0_X87) {
        if (present & XCR0_X87) {
            decode_x87(c, a, in->cond & FP_REX_W);
        } else {
            fpu_init(&c->fpu);
            memset(c->fpu.st, 0, sizeof c->fpu.st);
        }
    }
    if (rfbm & XCR0_SSE)
        decode_halves(c, present & XCR0_SSE ? a + FX_XMM : zero, 0);
    if (rfbm & XCR0_AVX)
        decode_halves(c, present & XCR0_AVX ? a + AREA_AVX : zero, 1);
    if (rfbm & XCR0_PKRU) {
        uint32_t pkru = 0;
        memcpy(&pkru, present & XCR0_PKRU ? a + AREA_PKRU : zero, 4);
        cpu_set_pkru(c, pkru);
    }
}

static void exec_xrstor(struct cpu *c, const struct insn *in)
{
    uint8_t a[AREA_SIZE];
    uint64_t h[8];
    bool supervisor = in->op == ZYDIS_MNEMONIC_XRSTORS || in->op == ZYDIS_MNEMONIC_XRSTORS64;
    uint64_t rfbm = check_xsave(c, in);
    if (supervisor)
        cpu_need_cpl0(c);
    uint64_t ea = area_at(c, in);
    cpu_load_bytes(c, in->seg, ea + AREA_HEADER, h, HEADER_SIZE, 1);
    check_header(c, h, supervisor);
    bool compact = h[1] & COMPACT;
    uint64_t present = rfbm & h[0];
    bool mxcsr = compact ? present & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX);
    load_area(c, in, ea, present, mxcsr, h[1], a);
    uint32_t value = MXCSR_DEFAULT;
    if (mxcsr)
        value = image_mxcsr(c, a);
    restore_components(c, in, rfbm, present, a);
    if (mxcsr || rfbm & XCR0_SSE)
        c->fpu.mxcsr = value;
}

/* ---- setup ---- */

bool fp_xsave_setup(struct insn *out, const void *zi_)
{
    const ZydisDecodedInstruction *zi = zi_;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
        out->exec = exec_fxsave;
        break;
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
        out->exec = exec_fxrstor;
        break;
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
        out->exec = exec_xsave;
        break;
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVES:
    case ZYDIS_MNEMONIC_XSAVES64:
        out->exec = exec_xsavec;
        break;
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
    case ZYDIS_MNEMONIC_XRSTORS:
    case ZYDIS_MNEMONIC_XRSTORS64:
        out->exec = exec_xrstor;
        break;
    default:
        return false;
    }
    out->cond = zi->raw.rex.W && zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? FP_REX_W : 0;
    return true;
}

uint64_t xsave_in_use(const struct cpu *c)
{
    return in_use(c, true);
}
