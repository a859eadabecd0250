/*
 * exec_fp_env: x87 control: words, environments, whole-state images, initialization.
 *
 * Images: SDM 1 figures 8-9 to 8-12. Which of the four forms is used follows operand size and mode
 * (protected, or real and virtual-8086, whose pointers are linear addresses).
 */
#include <string.h>
#include "accel/soft/engine/fp.h"

enum { FCW_DEFAULT = 0x37f, FCW_RESERVED = 0x40, FCW_SETTABLE = 0x1f3f };
enum { ST_BYTES = 80, ENV16 = 14, ENV32 = 28 };

/* ---- tags ---- */

static unsigned tag_of(const uint8_t *st)
{
    uint64_t mantissa;
    uint16_t sign_exponent;
    memcpy(&mantissa, st, 8);
    memcpy(&sign_exponent, st + 8, 2);
    unsigned exponent = sign_exponent & 0x7fff;
    if (exponent == 0x7fff)
        return 2;
    if (exponent == 0)
        return mantissa == 0 ? 1 : 2;
    return mantissa >> 63 ? 0 : 2;
}

uint16_t fpu_full_tags(const struct x86_fpu *f)
{
    unsigned tags = 0, top = fpu_top(f);
    for (unsigned phys = 0; phys < 8; phys++) {
        unsigned tag = f->ftw >> phys & 1 ? tag_of(f->st[(phys - top) & 7]) : 3;
        tags |= tag << 2 * phys;
    }
    return (uint16_t)tags;
}

uint8_t fpu_abridged_tags(uint16_t full)
{
    unsigned tags = 0;
    for (unsigned phys = 0; phys < 8; phys++)
        tags |= (unsigned)((full >> 2 * phys & 3) != 3) << phys;
    return (uint8_t)tags;
}

void fpu_init(struct x86_fpu *f)
{
    fpu_set_top(f, 0);
    f->fcw = FCW_DEFAULT;
    f->fsw = f->fop = 0;
    f->ftw = 0;
    f->fip = f->fdp = 0;
    f->fcs = f->fds = 0;
}

static uint16_t clean_fcw(uint16_t fcw)
{
    return (uint16_t)((fcw & FCW_SETTABLE) | FCW_RESERVED);
}

/* ---- environments ---- */

struct env {
    uint16_t fcw, fsw, ftw, fop, fcs, fds;
    uint32_t fip, fdp;
};

static void put16(uint8_t *p, unsigned at, uint32_t v)
{
    p[at] = (uint8_t)v;
    p[at + 1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, unsigned at, uint32_t v)
{
    put16(p, at, v);
    put16(p, at + 2, v >> 16);
}

static uint32_t get16(const uint8_t *p, unsigned at)
{
    return (uint32_t)(p[at] | p[at + 1] << 8);
}

static uint32_t get32(const uint8_t *p, unsigned at)
{
    return get16(p, at) | get16(p, at + 2) << 16;
}

/* Reserved halves of the 32-bit image are stored as ones. */
static unsigned encode_env(const struct env *e, uint8_t *p, bool narrow, bool real)
{
    if (narrow) {
        put16(p, 0, e->fcw);
        put16(p, 2, e->fsw);
        put16(p, 4, e->ftw);
        put16(p, 6, e->fip);
        put16(p, 8, real ? (e->fip >> 4 & 0xf000) | (e->fop & 0x7ffu) : e->fcs);
        put16(p, 10, e->fdp);
        put16(p, 12, real ? e->fdp >> 4 & 0xf000 : e->fds);
        return ENV16;
    }
    put32(p, 0, 0xffff0000u | e->fcw);
    put32(p, 4, 0xffff0000u | e->fsw);
    put32(p, 8, 0xffff0000u | e->ftw);
    put32(p, 12, real ? 0xffff0000u | e->fip : e->fip);
    put32(p, 16,
          real ? (e->fip >> 16) << 12 | (e->fop & 0x7ffu) : (uint32_t)(e->fop & 0x7ffu) << 16 | e->fcs);
    put32(p, 20, real ? 0xffff0000u | e->fdp : e->fdp);
    put32(p, 24, real ? (e->fdp >> 16) << 12 : 0xffff0000u | e->fds);
    return ENV32;
}

static unsigned decode_env(struct env *e, const uint8_t *p, bool narrow, bool real)
{
    memset(e, 0, sizeof *e);
    if (narrow) {
        e->fcw = (uint16_t)get16(p, 0);
        e->fsw = (uint16_t)get16(p, 2);
        e->ftw = (uint16_t)get16(p, 4);
        e->fip = get16(p, 6);
        e->fdp = get16(p, 10);
        if (real) {
            e->fip |= (get16(p, 8) & 0xf000) << 4;
            e->fdp |= (get16(p, 12) & 0xf000) << 4;
            e->fop = get16(p, 8) & 0x7ff;
        } else {
            e->fcs = (uint16_t)get16(p, 8);
            e->fds = (uint16_t)get16(p, 12);
        }
        return ENV16;
    }
    e->fcw = (uint16_t)get16(p, 0);
    e->fsw = (uint16_t)get16(p, 4);
    e->ftw = (uint16_t)get16(p, 8);
    if (real) {
        e->fip = get16(p, 12) | (get32(p, 16) >> 12 & 0xffff) << 16;
        e->fdp = get16(p, 20) | (get32(p, 24) >> 12 & 0xffff) << 16;
        e->fop = get16(p, 16) & 0x7ff;
    } else {
        e->fip = get32(p, 12);
        e->fcs = (uint16_t)get16(p, 16);
        e->fop = get16(p, 18) & 0x7ff;
        e->fdp = get32(p, 20);
        e->fds = (uint16_t)get16(p, 24);
    }
    return ENV32;
}

static void gather_env(const struct cpu *c, struct env *e)
{
    const struct x86_fpu *f = &c->fpu;
    bool selectors = !cpu_has(c, X86_FEATURE(X86_W_7_EBX, 13));
    *e = (struct env){.fcw = f->fcw,
                      .fsw = f->fsw,
                      .ftw = fpu_full_tags(f),
                      .fop = f->fop,
                      .fip = (uint32_t)f->fip,
                      .fdp = (uint32_t)f->fdp,
                      .fcs = selectors ? f->fcs : 0,
                      .fds = selectors ? f->fds : 0};
    if (cpu_real(c)) { /* linear pointers */
        e->fip += (uint32_t)f->fcs << 4;
        e->fdp += (uint32_t)f->fds << 4;
    }
}

static void apply_env(struct cpu *c, const struct env *e)
{
    struct x86_fpu *f = &c->fpu;
    fpu_set_top(f, e->fsw >> 11);
    f->fcw = clean_fcw(e->fcw);
    f->fsw = e->fsw;
    f->ftw = fpu_abridged_tags(e->ftw);
    f->fop = e->fop;
    f->fip = e->fip;
    f->fdp = e->fdp;
    f->fcs = e->fcs;
    f->fds = e->fds;
    fpu_summarize(f);
}

static bool narrow(const struct insn *in)
{
    return in->cond & FP_OPSIZE16;
}

void exec_fnstenv(struct cpu *c, const struct insn *in)
{
    struct env e;
    uint8_t image[ENV32];
    fp_check_x87(c, in);
    gather_env(c, &e);
    unsigned n = encode_env(&e, image, narrow(in), cpu_real(c));
    cpu_store_bytes(c, in->seg, insn_ea(c, in), image, n, 1);
    c->fpu.fcw |= FSW_FLAGS;
    fpu_summarize(&c->fpu);
}

void exec_fldenv(struct cpu *c, const struct insn *in)
{
    struct env e;
    uint8_t image[ENV32];
    fp_check_x87(c, in);
    cpu_load_bytes(c, in->seg, insn_ea(c, in), image, narrow(in) ? ENV16 : ENV32, 1);
    decode_env(&e, image, narrow(in), cpu_real(c));
    apply_env(c, &e);
}

void exec_fnsave(struct cpu *c, const struct insn *in)
{
    struct env e;
    uint8_t image[ENV32 + ST_BYTES];
    fp_check_x87(c, in);
    gather_env(c, &e);
    unsigned n = encode_env(&e, image, narrow(in), cpu_real(c));
    for (unsigned i = 0; i < 8; i++)
        memcpy(image + n + 10 * i, c->fpu.st[i], 10);
    cpu_store_bytes(c, in->seg, insn_ea(c, in), image, n + ST_BYTES, 1);
    fpu_init(&c->fpu);
}

void exec_frstor(struct cpu *c, const struct insn *in)
{
    struct env e;
    uint8_t image[ENV32 + ST_BYTES];
    fp_check_x87(c, in);
    cpu_load_bytes(c, in->seg, insn_ea(c, in), image, (narrow(in) ? ENV16 : ENV32) + ST_BYTES, 1);
    unsigned n = decode_env(&e, image, narrow(in), cpu_real(c));
    apply_env(c, &e);
    for (unsigned i = 0; i < 8; i++) {
        memset(c->fpu.st[i], 0, 16);
        memcpy(c->fpu.st[i], image + n + 10 * i, 10);
    }
}

/* ---- words ---- */

void exec_fninit(struct cpu *c, const struct insn *in)
{
    fp_check_x87(c, in);
    fpu_init(&c->fpu);
}

void exec_fnclex(struct cpu *c, const struct insn *in)
{
    fp_check_x87(c, in);
    c->fpu.fsw &= (uint16_t) ~(FSW_FLAGS | FSW_SF | FSW_ES | FSW_B);
}

void exec_fwait(struct cpu *c, const struct insn *in)
{
    (void)in;
    if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        cpu_raise(c, X86_NM);
    fp_check_pending(c);
}

/* What the 8087 and 287 used: nothing since. */
void exec_fnop_free(struct cpu *c, const struct insn *in)
{
    fp_check_x87(c, in);
}

void exec_fnstsw(struct cpu *c, const struct insn *in)
{
    fp_check_x87(c, in);
    cpu_store(c, in->seg, insn_ea(c, in), 2, c->fpu.fsw);
}

void exec_fnstsw_ax(struct cpu *c, const struct insn *in)
{
    fp_check_x87(c, in);
    cpu_set_gpr(c, X86_RAX, 2, c->fpu.fsw);
}

void exec_fnstcw(struct cpu *c, const struct insn *in)
{
    fp_check_x87(c, in);
    cpu_store(c, in->seg, insn_ea(c, in), 2, c->fpu.fcw);
}

void exec_fldcw(struct cpu *c, const struct insn *in)
{
    fp_check_x87(c, in);
    c->fpu.fcw = clean_fcw((uint16_t)cpu_load(c, in->seg, insn_ea(c, in), 2));
    fpu_summarize(&c->fpu);
}
