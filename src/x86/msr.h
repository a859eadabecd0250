/*
 * msr: the one table of MSRs that both accelerators know. Pure.
 *
 * A row says which CPUID feature brings the MSR, its value at reset, which bits may be written (others fault), whether it is
 * saved with the machine, and whether a write is ignored. What has a field of its own in struct x86_state (EFER, APIC_BASE, TSC,
 * the segment bases) is marked X86_MSR_FIELD and is not kept in the msrs[] array.
 */
#ifndef X86_MSR_H
#define X86_MSR_H
#include <stddef.h>
#include <stdint.h>
struct x86_cpuid;

enum {
    X86_MSR_SAVE = 1,     /* part of saved state */
    X86_MSR_FIELD = 2,    /* lives in a field of x86_state */
    X86_MSR_READONLY = 4, /* a write raises #GP */
    X86_MSR_IGNORE = 8,   /* a write is accepted and dropped */
};

struct x86_msr_info {
    uint32_t first, count; /* consecutive indices that share the row */
    const char *name;
    uint64_t reset;
    uint64_t writable; /* mask of bits that may differ from the present value; a write that sets another raises #GP */
    uint32_t flags;
};

/* The row of an MSR that a CPU with this CPUID has, or NULL: the access raises #GP. */
const struct x86_msr_info *x86_msr_find(const struct x86_cpuid *c, uint32_t index);

/* The whole table, for accelerators that walk it. */
const struct x86_msr_info *x86_msr_table(size_t *count);

#endif
