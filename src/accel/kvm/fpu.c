#include <string.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "base/range.h"
#include "x86/regs.h"

/* KVM passes the XSAVE area in the standard format (SDM 1 13.4): 512 bytes as FXSAVE64 has them, a header of
 * 64, then the components where the host's processor puts them. */

enum { AREA = 4096, FXSAVE_ST = 32, FXSAVE_XMM = 160, HEADER = 512, AVX_OFFSET = 576 };
enum { OPMASK = 5, ZMM_HI256 = 6, HI16_ZMM = 7 };

/* Components that this vCPU's CPUID has. */
static uint64_t components(const struct kvm_vcpu *v)
{
    struct x86_cpuid_leaf l = x86_cpuid_get(&v->k->cpuid[v->v.index], 0xd, 0);
    bool xsave = x86_cpuid_has(&v->k->cpuid[v->v.index], X86_F_XSAVE);

    return xsave ? l.eax : XCR0_X87 | XCR0_SSE;
}

/* Place of component i in the area, or NULL where the host's does not fit what the component is. */
static uint8_t *place(const struct kvm_vcpu *v, uint8_t *area, unsigned i, uint32_t size)
{
    uint32_t at = v->k->host.xsave[i].offset;

    return at >= HEADER + 64 && v->k->host.xsave[i].size >= size && range_inside(at, size, AREA) ? area + at
                                                                                                 : NULL;
}

static void legacy_in(struct x86_fpu *f, const uint8_t *a)
{
    memcpy(&f->fcw, a, 2);
    memcpy(&f->fsw, a + 2, 2);
    f->ftw = a[4];
    memcpy(&f->fop, a + 6, 2);
    memcpy(&f->fip, a + 8, 8);
    memcpy(&f->fdp, a + 16, 8);
    memcpy(&f->mxcsr, a + 24, 4);
    for (unsigned i = 0; i < 8; i++) {
        memset(f->st[i], 0, 16);
        memcpy(f->st[i], a + FXSAVE_ST + 16 * i, 10);
    }
    for (unsigned i = 0; i < 16; i++)
        memcpy(f->ymm[i], a + FXSAVE_XMM + 16 * i, 16);
}

static void legacy_out(uint8_t *a, const struct x86_fpu *f)
{
    uint32_t mxcsr = f->mxcsr & 0xffff, mask;

    memcpy(&mask, a + 28, 4); /* MXCSR_MASK stays as the host has it */
    if (mask)
        mxcsr &= mask;
    memcpy(a, &f->fcw, 2);
    memcpy(a + 2, &f->fsw, 2);
    a[4] = f->ftw;
    a[5] = 0;
    memcpy(a + 6, &f->fop, 2);
    memcpy(a + 8, &f->fip, 8);
    memcpy(a + 16, &f->fdp, 8);
    memcpy(a + 24, &mxcsr, 4);
    for (unsigned i = 0; i < 8; i++)
        memcpy(a + FXSAVE_ST + 16 * i, f->st[i], 10);
    for (unsigned i = 0; i < 16; i++)
        memcpy(a + FXSAVE_XMM + 16 * i, f->ymm[i], 16);
}

static void avx512_in(const struct kvm_vcpu *v, struct x86_fpu *f, uint8_t *area)
{
    const uint8_t *mask = place(v, area, OPMASK, 64), *hi = place(v, area, ZMM_HI256, 512),
                  *zmm = place(v, area, HI16_ZMM, 1024);

    if (!mask || !hi || !zmm)
        return;
    memcpy(f->opmask, mask, 64);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(f->zmm_hi[i], hi + 32 * i, 32);
        memcpy(f->ymm[16 + i], zmm + 64 * i, 32);
        memcpy(f->zmm_hi[16 + i], zmm + 64 * i + 32, 32);
    }
}

static void avx512_out(const struct kvm_vcpu *v, uint8_t *area, const struct x86_fpu *f)
{
    uint8_t *mask = place(v, area, OPMASK, 64), *hi = place(v, area, ZMM_HI256, 512),
            *zmm = place(v, area, HI16_ZMM, 1024);

    if (!mask || !hi || !zmm)
        return;
    memcpy(mask, f->opmask, 64);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(hi + 32 * i, f->zmm_hi[i], 32);
        memcpy(zmm + 64 * i, f->ymm[16 + i], 32);
        memcpy(zmm + 64 * i + 32, f->zmm_hi[16 + i], 32);
    }
}

int kvm_fpu_get(struct kvm_vcpu *v, struct x86_state *s, struct err *e)
{
    uint64_t have = components(v);
    struct kvm_xsave x;
    struct kvm_xcrs xcrs = {0};
    uint8_t *area = (uint8_t *)&x;
    int r = kvm_ioctl(v->fd, KVM_GET_XSAVE, &x);

    if (r >= 0 && have & ~(XCR0_X87 | XCR0_SSE))
        r = kvm_ioctl(v->fd, KVM_GET_XCRS, &xcrs);
    if (r < 0)
        return err_sys(e, r, "kvm: vector state of virtual CPU %u cannot be read", v->v.index);
    s->xcr0 = XCR0_X87;
    for (uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
        if (xcrs.xcrs[i].xcr == 0)
            s->xcr0 = xcrs.xcrs[i].value;
    memset(&s->fpu, 0, sizeof s->fpu);
    legacy_in(&s->fpu, area);
    for (unsigned i = 0; have & XCR0_AVX && i < 16; i++)
        memcpy(s->fpu.ymm[i] + 16, area + AVX_OFFSET + 16 * i, 16);
    if (have & XCR0_AVX512)
        avx512_in(v, &s->fpu, area);
    return 0;
}

int kvm_fpu_set(struct kvm_vcpu *v, const struct x86_state *s, struct err *e)
{
    uint64_t have = components(v);
    struct kvm_xsave x;
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = s->xcr0}}};
    uint8_t *area = (uint8_t *)&x;
    int r = kvm_ioctl(v->fd, KVM_GET_XSAVE, &x); /* for what the host alone knows */

    if (r < 0)
        return err_sys(e, r, "kvm: vector state of virtual CPU %u cannot be read", v->v.index);
    memset(area + HEADER, 0, AREA - HEADER);
    memcpy(area + HEADER, &have, 8);
    legacy_out(area, &s->fpu);
    for (unsigned i = 0; have & XCR0_AVX && i < 16; i++)
        memcpy(area + AVX_OFFSET + 16 * i, s->fpu.ymm[i] + 16, 16);
    if (have & XCR0_AVX512)
        avx512_out(v, area, &s->fpu);
    if (have & ~(XCR0_X87 | XCR0_SSE)) {
        r = kvm_ioctl(v->fd, KVM_SET_XCRS, &xcrs);
        if (r < 0)
            return err_sys(e, r, "kvm: refuses XCR0 %#llx", (unsigned long long)s->xcr0);
    } else {
        memset(area + HEADER, 0, 8);
        area[HEADER] = (uint8_t)(XCR0_X87 | XCR0_SSE);
    }
    r = kvm_ioctl(v->fd, KVM_SET_XSAVE, &x);
    return r < 0 ? err_sys(e, r, "kvm: refuses the vector state of virtual CPU %u", v->v.index) : 0;
}
