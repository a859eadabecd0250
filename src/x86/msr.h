/*
 * msr: the one table of MSRs that both accelerators know. Pure.
 *
 * A row says which CPUID feature brings the MSR, its value at reset, which bits may be written (others
 * fault), whether it is saved with the machine, and whether a write is ignored. What has a field of its own
 * in struct x86_state (EFER, APIC_BASE, TSC, the segment bases) is marked X86_MSR_FIELD and is not kept in
 * the msrs[] array.
 */
#ifndef X86_MSR_H
#define X86_MSR_H
#include <stddef.h>
#include <stdint.h>
struct x86_cpuid;
struct x86_state;

enum {
    X86_MSR_SAVE = 1,       /* part of saved state */
    X86_MSR_FIELD = 2,      /* lives in a field of x86_state */
    X86_MSR_READONLY = 4,   /* a write raises #GP */
    X86_MSR_IGNORE = 8,     /* a write is accepted and dropped */
    X86_MSR_WRITEONLY = 16, /* a read raises #GP */
    X86_MSR_CANONICAL = 32, /* a write of a non-canonical address raises #GP */
    X86_MSR_AMD = 64,       /* only where the vendor is AuthenticAMD */
};

struct x86_msr_info {
    uint32_t first, count; /* consecutive indices that share the row */
    const char *name;
    uint64_t reset;    /* see x86_msr_reset */
    uint64_t writable; /* mask of bits that may differ from the present value; a write that sets another
                          raises #GP */
    uint32_t flags;
    uint32_t feature; /* of x86/cpuid.h, X86_FEATURE_NONE: every CPU has it */
};

/* The row of an MSR that a CPU with this CPUID has, or NULL: the access raises #GP. */
const struct x86_msr_info *x86_msr_find(const struct x86_cpuid *c, uint32_t index);

/* Value at reset of the MSR `index` on a CPU with this CPUID; ARCH_CAPABILITIES comes from there. 0 when
 * there is no such MSR. */
uint64_t x86_msr_reset(const struct x86_cpuid *c, uint32_t index);

/* Put every MSR that is saved (X86_MSR_SAVE, not a field) with its reset value into s->msrs: what a new vCPU
 * of this CPUID holds. */
void x86_state_reset_msrs(struct x86_state *s, const struct x86_cpuid *c);

/* The whole table, sorted by index and disjoint, for accelerators that walk it. */
const struct x86_msr_info *x86_msr_table(size_t *count);

#endif
