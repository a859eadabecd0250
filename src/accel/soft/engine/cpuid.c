/* cpuid: the instruction: the model's leaves with what changes at run time put in. */
#include "accel/soft/engine/private.h"

/* Bytes of the XSAVE area for these components, standard format (SDM 1 13.4). */
static uint32_t xsave_size(struct cpu *c, uint64_t components)
{
    uint32_t size = 576;
    for (unsigned i = 2; i < 63; i++) {
        if (!(components >> i & 1))
            continue;
        struct x86_cpuid_leaf l = x86_cpuid_get(&c->priv->cpuid, 0xd, i);
        if (l.ebx + l.eax > size)
            size = l.ebx + l.eax;
    }
    return size;
}

/* The same, compacted (SDM 1 13.4.3): components follow one another, those with ECX bit 1 at multiples of 64. */
static uint32_t xsave_compact_size(struct cpu *c, uint64_t components)
{
    uint32_t size = 576;
    for (unsigned i = 2; i < 63; i++) {
        if (!(components >> i & 1))
            continue;
        struct x86_cpuid_leaf l = x86_cpuid_get(&c->priv->cpuid, 0xd, i);
        if (l.ecx & 2)
            size = (size + 63) & ~63u;
        size += l.eax;
    }
    return size;
}

void cpu_cpuid(struct cpu *c)
{
    uint32_t leaf = (uint32_t)c->gpr[X86_RAX], sub = (uint32_t)c->gpr[X86_RCX];
    struct x86_cpuid_leaf l = x86_cpuid_get(&c->priv->cpuid, leaf, sub);
    if (l.leaf == 1 || leaf == 1) {
        l.ecx &= ~(1u << 27);
        if (c->cr4 & CR4_OSXSAVE)
            l.ecx |= 1u << 27;
        if (!(c->priv->lapic.base & APIC_BASE_ENABLE))
            l.edx &= ~(1u << 9);
    }
    if (leaf == 0xd && cpu_has(c, X86_F_XSAVE)) {
        if (sub == 0)
            l.ebx = xsave_size(c, c->xcr0);
        else if (sub == 1 && cpu_has(c, X86_F_XSAVEC))
            l.ebx = xsave_compact_size(c, c->xcr0 | c->xss);
    }
    c->gpr[X86_RAX] = l.eax;
    c->gpr[X86_RBX] = l.ebx;
    c->gpr[X86_RCX] = l.ecx;
    c->gpr[X86_RDX] = l.edx;
}
