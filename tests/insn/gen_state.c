/*
 * gen_state: registers and memory. Not uniformly random: values sit at the corners of integers and of each
 * floating-point format.
 */
#include <string.h>
#include "gen.h"

uint64_t gen_integer(struct rng *r)
{
    uint64_t v = rng_next(r);

    switch (rng_below(r, 8)) {
    case 0:
        return v & 0xff;
    case 1:
        return (uint64_t)0 - (v & 0xff);
    case 2:
        return 1ull << (v & 63);
    case 3:
        return (1ull << (v & 63)) - 1;
    case 4: {
        static const uint64_t corner[] = {0,
                                          1,
                                          0x7f,
                                          0x80,
                                          0xff,
                                          0x7fff,
                                          0x8000,
                                          0xffff,
                                          0x7fffffff,
                                          0x80000000,
                                          0xffffffff,
                                          0x7fffffffffffffff,
                                          0x8000000000000000,
                                          0xffffffffffffffff,
                                          0xffffffff80000000,
                                          0x100000000};
        return corner[v % (sizeof(corner) / sizeof(corner[0]))];
    }
    default:
        return v;
    }
}

static uint32_t gen_float(struct rng *r)
{
    static const uint32_t corner[] = {0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                      0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 0xff812345,
                                      0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff, 0x4effffff,
                                      0x4f000000, 0xcf000000, 0x5effffff, 0x5f000000, 0x3effffff};
    uint32_t v = (uint32_t)rng_next(r);

    if (chance(r, 40))
        return corner[v % (sizeof(corner) / sizeof(corner[0]))];
    /* exponents near 1 so that sums and products mostly stay normal */
    return (v & 0x807fffff) | (uint32_t)(96 + rng_below(r, 64)) << 23;
}

static uint64_t gen_double(struct rng *r)
{
    static const uint64_t corner[] = {
        0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7ff0000000000000,
        0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000001, 0x7ff0000000000001, 0x0000000000000001,
        0x800fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff, 0x41dfffffffc00000, 0x41e0000000000000,
        0xc1e0000000200000, 0x43e0000000000000, 0x43f0000000000000};
    uint64_t v = rng_next(r);

    if (chance(r, 40))
        return corner[v % (sizeof(corner) / sizeof(corner[0]))];
    return (v & 0x800fffffffffffffull) | (uint64_t)(960 + rng_below(r, 128)) << 52;
}

static void gen_extended(struct rng *r, uint8_t out[10])
{
    uint64_t significand = rng_next(r) | 1ull << 63;
    uint16_t exponent = (uint16_t)(16383 - 40 + rng_below(r, 80));

    switch (rng_below(r, 12)) {
    case 0:
        significand = exponent = 0;
        break;
    case 1: /* infinity, NaN */
        exponent = 0x7fff;
        significand = chance(r, 50) ? 1ull << 63 : rng_next(r) | 1ull << 63;
        break;
    case 2: /* denormal, pseudo-denormal */
        exponent = 0;
        significand = rng_next(r) >> rng_below(r, 64);
        break;
    case 3: /* unnormal: an invalid operand */
        significand &= ~(1ull << 63);
        break;
    case 4: /* small integers */
        exponent = (uint16_t)(16383 + rng_below(r, 8));
        significand = 1ull << 63 | rng_below(r, 256) << 55;
        break;
    case 5: /* any exponent */
        exponent = (uint16_t)rng_below(r, 0x7fff);
        break;
    default:
        break;
    }
    if (chance(r, 50))
        exponent |= 0x8000;
    memcpy(out, &significand, 8);
    memcpy(out + 8, &exponent, 2);
}

void gen_numbers(struct rng *r, uint8_t *out, unsigned n)
{
    unsigned kind = (unsigned)rng_below(r, 4);

    for (unsigned i = 0; i < n; i += 8) {
        uint8_t v[16];
        uint64_t d = kind == 0 ? gen_integer(r) : kind == 1 ? gen_double(r) : rng_next(r);
        if (kind == 2) {
            uint32_t f[2] = {gen_float(r), gen_float(r)};
            memcpy(&d, f, 8);
        }
        memcpy(v, &d, 8);
        memcpy(out + i, v, n - i < 8 ? n - i : 8);
    }
    if (n == 10)
        gen_extended(r, out);
}

/* FSW with the summary bits that its flags and FCW's masks imply (SDM 1 8.1.3.3). */
static uint16_t gen_fsw(struct rng *r, uint16_t fcw)
{
    uint16_t fsw = (uint16_t)(rng_next(r) & 0x7f00);
    if (chance(r, 30))
        fsw |= (uint16_t)(rng_next(r) & 0x7f);
    /* pending unmasked exceptions now and then only: every waiting instruction would fault */
    if ((fsw & ~fcw & 0x3f) && !chance(r, 10))
        fsw &= (uint16_t) ~(~fcw & 0x3f);
    if (fsw & ~fcw & 0x3f)
        fsw |= 0x8080;
    return fsw;
}

void gen_fpu(struct rng *r, struct lab_fpu *f)
{
    uint16_t fcw = 0x37f, fsw;
    uint32_t mxcsr = 0x1f80, mxcsr_mask = 0xffff;
    uint64_t components = 7;

    memset(f, 0, sizeof(*f));
    if (chance(r, 50))
        fcw = (uint16_t)((fcw & ~0xf00u) | (rng_next(r) & 0xf00));
    if (chance(r, 15))
        fcw &= (uint16_t) ~(rng_next(r) & 0x3f);
    fsw = gen_fsw(r, fcw);
    if (chance(r, 50))
        mxcsr |= (uint32_t)(rng_next(r) & 0xe07f);
    else if (chance(r, 50))
        mxcsr |= (uint32_t)(rng_next(r) & 0x6000);
    if (chance(r, 12))
        mxcsr &= ~(uint32_t)(rng_next(r) & 0x1f80);
    memcpy(f->image, &fcw, 2);
    memcpy(f->image + 2, &fsw, 2);
    f->image[4] = (uint8_t)(chance(r, 60) ? rng_next(r) | rng_next(r) : chance(r, 50) ? 0xff : 0);
    memcpy(f->image + 24, &mxcsr, 4);
    memcpy(f->image + 28, &mxcsr_mask, 4);
    for (unsigned i = 0; i < 8; i++)
        gen_extended(r, f->image + 32 + i * 16);
    for (unsigned i = 0; i < 16; i++) {
        gen_numbers(r, f->image + 160 + i * 16, 16);
        gen_numbers(r, f->image + 576 + i * 16, 16);
    }
    memcpy(f->image + 512, &components, 8);
}

void gen_registers(struct rng *r, struct lab_state *s)
{
    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = gen_integer(r);
    s->gpr[X86_RSP] = DATA_BASE + PAGE + rng_below(r, 2 * PAGE / 8) * 8;
    s->rflags = 0x202 | (rng_next(r) & X86_ARITH_FLAGS);
    if (chance(r, 15))
        s->rflags |= X86_DF;
    if (chance(r, 3))
        s->rflags |= X86_AC;
    if (chance(r, 5))
        s->rflags |= X86_ID;
    if (chance(r, 5))
        s->rflags |= X86_NT;
    s->fs_base = chance(r, 80) ? rng_below(r, 0x10000) : DATA_BASE;
    s->gs_base = chance(r, 80) ? rng_below(r, 0x10000) : (uint64_t)0 - rng_below(r, 0x10000);
    gen_fpu(r, &s->fpu);
}

/* A valid XSAVE image for the restoring instructions, with some components initial. */
static void put_image(struct rng *r, uint8_t *at)
{
    struct lab_fpu f;
    uint64_t components = rng_below(r, 8);
    uint32_t mxcsr;

    gen_fpu(r, &f);
    memcpy(&mxcsr, f.image + 24, 4);
    mxcsr &= 0xffff;
    memcpy(f.image + 24, &mxcsr, 4);
    memcpy(f.image + 512, &components, 8);
    /* MXCSR_MASK, which is not restored: no processor's own, so that storing it always shows */
    memset(f.image + 28, 0xa5, 4);
    memcpy(at, f.image, sizeof(f.image));
}

void gen_memory(struct rng *r, uint8_t *data)
{
    for (unsigned i = 0; i < DATA_PAGES * PAGE; i += 64)
        gen_numbers(r, data + i, 64);
    put_image(r, data + IMAGE_AT_1);
    put_image(r, data + IMAGE_AT_2);
}
