#include <string.h>
#include "base/range.h"
#include "x86/cpuid.h"
#include "x86/model.h"
#include "x86/regs.h"

static struct x86_cpuid_leaf cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct x86_cpuid_leaf l = {.leaf = leaf, .subleaf = subleaf};

    __asm__ volatile("cpuid" : "=a"(l.eax), "=b"(l.ebx), "=c"(l.ecx), "=d"(l.edx) : "a"(leaf), "c"(subleaf));
    return l;
}

/* A leaf above the highest repeats the highest one on Intel: give zeros instead. */
static struct x86_cpuid_leaf ask(uint32_t leaf, uint32_t subleaf)
{
    if (leaf > cpuid(leaf & 0x80000000, 0).eax)
        return (struct x86_cpuid_leaf){.leaf = leaf, .subleaf = subleaf};
    return cpuid(leaf, subleaf);
}

static uint64_t host_xcr0(void)
{
    uint32_t lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Vector state that the host's kernel does not switch is state that a guest's must not use. */
static void drop_unswitched(struct x86_features *f)
{
    uint64_t xcr0 = x86_features_has(f, X86_F_OSXSAVE) ? host_xcr0() : 0;

    if (!xcr0)
        f->w[X86_W_1_ECX] &= ~(1u << (X86_F_XSAVE & 31));
    if ((xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX))
        f->w[X86_W_1_ECX] &= ~(1u << (X86_F_AVX & 31));
    if ((xcr0 & XCR0_AVX512) != XCR0_AVX512)
        f->w[X86_W_7_EBX] &= ~(1u << (X86_F_AVX512F & 31));
}

void x86_features_host(struct x86_features *f)
{
    struct x86_cpuid_leaf l = ask(1, 0);

    memset(f, 0, sizeof *f);
    f->w[X86_W_1_ECX] = l.ecx;
    f->w[X86_W_1_EDX] = l.edx;
    l = ask(7, 0);
    f->w[X86_W_7_EBX] = l.ebx;
    f->w[X86_W_7_ECX] = l.ecx;
    f->w[X86_W_7_EDX] = l.edx;
    if (l.eax >= 1)
        f->w[X86_W_7_1_EAX] = ask(7, 1).eax;
    f->w[X86_W_D_1_EAX] = ask(0xd, 1).eax;
    l = ask(0x80000001, 0);
    f->w[X86_W_80000001_ECX] = l.ecx;
    f->w[X86_W_80000001_EDX] = l.edx;
    f->w[X86_W_80000007_EDX] = ask(0x80000007, 0).edx;
    f->w[X86_W_80000008_EBX] = ask(0x80000008, 0).ebx;
    drop_unswitched(f);
    x86_features_close(f);
}

void x86_host_read(struct x86_host *h)
{
    struct x86_cpuid_leaf l = ask(0, 0);

    memset(h, 0, sizeof *h);
    x86_features_host(&h->features);
    memcpy(h->vendor, &l.ebx, 4);
    memcpy(h->vendor + 4, &l.edx, 4);
    memcpy(h->vendor + 8, &l.ecx, 4);
    for (uint32_t i = 0; i < 3; i++) {
        l = ask(0x80000002 + i, 0);
        memcpy(h->brand + 16 * i, (uint32_t[]){l.eax, l.ebx, l.ecx, l.edx}, 16);
    }
    h->signature = ask(1, 0).eax;
    h->phys_bits = ask(0x80000008, 0).eax & 0xff;
    if (h->phys_bits < 32)
        h->phys_bits = 36;
    for (uint32_t i = 2; i < ARRAY_LEN(h->xsave); i++) {
        l = ask(0xd, i);
        h->xsave[i].size = l.eax;
        h->xsave[i].offset = l.ebx;
    }
}
