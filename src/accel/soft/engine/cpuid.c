/*
 * cpuid: the CPUID instruction: the leaves that were built for this vCPU, with the bits that follow its
 * present state.
 */
#include "accel/soft/engine/private.h"

/* Bytes of an XSAVE area in the standard format for the components in `mask` (SDM 1 13.4). */
static uint32_t xsave_bytes(const struct cpu *c, uint64_t mask, bool compact)
{
    uint32_t size = 576;

    for (uint32_t i = 2; i < 63; i++) {
        if (!(mask >> i & 1))
            continue;
        struct x86_cpuid_leaf l = x86_cpuid_get(&c->priv->cpuid, 0xd, i);
        if (compact)
            size = (l.ecx & 2 ? (size + 63) & ~63u : size) + l.eax;
        else if (l.ebx + l.eax > size)
            size = l.ebx + l.eax;
    }
    return size;
}

static void dynamic_bits(const struct cpu *c, uint32_t leaf, uint32_t subleaf, struct x86_cpuid_leaf *l)
{
    uint32_t apic = c->priv->lapic.base & APIC_BASE_ENABLE ? 1u << 9 : 0;

    switch (leaf) {
    case 1:
        l->ecx = (l->ecx & ~(1u << 27)) | (c->cr4 & CR4_OSXSAVE ? 1u << 27 : 0);
        l->edx = (l->edx & ~(1u << 9)) | apic;
        break;
    case 7:
        if (subleaf == 0 && c->cr4 & CR4_PKE)
            l->ecx |= 1u << 4; /* OSPKE */
        break;
    case 0xd:
        if (subleaf == 0 && l->eax)
            l->ebx = xsave_bytes(c, c->xcr0, false);
        else if (subleaf == 1 && l->eax & 0xa)
            l->ebx = xsave_bytes(c, c->xcr0 | c->xss, true);
        break;
    case 0x80000001:
        if (c->priv->amd)
            l->edx = (l->edx & ~(1u << 9)) | apic;
        else if (c->mode != MODE_64)
            l->edx &= ~(1u << 11); /* Intel shows SYSCALL in 64-bit mode only */
        break;
    default:
        break;
    }
}

void cpu_cpuid(struct cpu *c)
{
    uint32_t leaf = (uint32_t)c->gpr[X86_RAX], subleaf = (uint32_t)c->gpr[X86_RCX];
    struct x86_cpuid_leaf l = x86_cpuid_get(&c->priv->cpuid, leaf, subleaf);

    dynamic_bits(c, leaf, subleaf, &l);
    c->gpr[X86_RAX] = l.eax;
    c->gpr[X86_RBX] = l.ebx;
    c->gpr[X86_RCX] = l.ecx;
    c->gpr[X86_RDX] = l.edx;
}
