#include "x86/msr.h"
#include <string.h>
#include "base/check.h"
#include "base/range.h"
#include "x86/cpuid.h"
#include "x86/regs.h"
#include "x86/state.h"

/* Numbers and layouts: SDM volume 4 chapter 2; APM volume 2 appendix A for the AMD ones; the paravirtual
 * range: the kernel's Documentation/virt/kvm/x86/msr.rst. */

#define ALL  (~0ull)
#define NONE X86_FEATURE_NONE

/* Addresses in MTRRs: as wide as the widest physical address that a model advertises. */
#define MTRR_ADDR 0x00003ffffffff000ull

/* Memory types 0..7 in eight bytes. */
#define TYPES8 0x0707070707070707ull

#define ROW(first_, count_, name_, reset_, writable_, flags_, feature_)                                      \
    {                                                                                                        \
        .first = (first_), .count = (count_), .name = (name_), .reset = (reset_), .writable = (writable_),   \
        .flags = (flags_), .feature = (feature_)                                                             \
    }

/* One machine-check bank: control, status (which takes nothing but 0), address, miscellaneous (SDM
 * 3B 15.3.2). */
#define BANK(n)                                                                                              \
    ROW(MSR_MC0_CTL + 4 * (n), 1, "IA32_MC" #n "_CTL", ALL, ALL, X86_MSR_SAVE, X86_F_MCA),                   \
        ROW(MSR_MC0_CTL + 4 * (n) + 1, 1, "IA32_MC" #n "_STATUS", 0, 0, X86_MSR_SAVE, X86_F_MCA),            \
        ROW(MSR_MC0_CTL + 4 * (n) + 2, 2, "IA32_MC" #n "_ADDR..MISC", 0, ALL, X86_MSR_SAVE, X86_F_MCA)

static const struct x86_msr_info table[] = {
    ROW(MSR_TSC, 1, "IA32_TIME_STAMP_COUNTER", 0, ALL, X86_MSR_FIELD, NONE),
    ROW(MSR_KVM_WALL_CLOCK_OLD, 2, "KVM_WALL_CLOCK..SYSTEM_TIME", 0, ALL, X86_MSR_SAVE, X86_F_KVM_CLOCK_OLD),
    ROW(MSR_PLATFORM_ID, 1, "IA32_PLATFORM_ID", 0, 0, X86_MSR_READONLY, NONE),
    ROW(MSR_APIC_BASE, 1, "IA32_APIC_BASE", APIC_BASE_ADDR | APIC_BASE_ENABLE,
        MTRR_ADDR | APIC_BASE_ENABLE | APIC_BASE_X2APIC | APIC_BASE_BSP, X86_MSR_FIELD, X86_F_APIC),
    ROW(0x34, 1, "MSR_SMI_COUNT", 0, 0, X86_MSR_READONLY, NONE),
    ROW(MSR_FEATURE_CONTROL, 1, "IA32_FEATURE_CONTROL", 1, 0, X86_MSR_READONLY, NONE),
    ROW(MSR_TSC_ADJUST, 1, "IA32_TSC_ADJUST", 0, ALL, X86_MSR_SAVE, X86_F_TSC_ADJUST),
    ROW(MSR_SPEC_CTRL, 1, "IA32_SPEC_CTRL", 0, 7, X86_MSR_SAVE, X86_F_SPEC_CTRL),
    ROW(MSR_PRED_CMD, 1, "IA32_PRED_CMD", 0, 1, X86_MSR_WRITEONLY | X86_MSR_IGNORE, X86_F_SPEC_CTRL),
    ROW(0x79, 1, "IA32_BIOS_UPDT_TRIG", 0, ALL, X86_MSR_WRITEONLY | X86_MSR_IGNORE, NONE),
    ROW(MSR_BIOS_SIGN_ID, 1, "IA32_BIOS_SIGN_ID", 1ull << 32, 0, X86_MSR_IGNORE, NONE),
    /* CPUID faulting (bit 31) is off on both accelerators; KVM must be told. */
    ROW(0xce, 1, "MSR_PLATFORM_INFO", 0, 0, X86_MSR_READONLY | X86_MSR_SAVE, NONE),
    ROW(MSR_MTRRCAP, 1, "IA32_MTRRCAP", 0x508, 0, X86_MSR_READONLY, X86_F_MTRR),
    ROW(MSR_ARCH_CAPABILITIES, 1, "IA32_ARCH_CAPABILITIES", 0, 0, X86_MSR_READONLY | X86_MSR_SAVE,
        X86_F_ARCH_CAPS),
    ROW(0x140, 1, "MSR_MISC_FEATURES_ENABLES", 0, 0, 0, NONE),
    ROW(MSR_SYSENTER_CS, 1, "IA32_SYSENTER_CS", 0, 0xffffffff, X86_MSR_SAVE, X86_F_SEP),
    ROW(MSR_SYSENTER_ESP, 2, "IA32_SYSENTER_ESP..EIP", 0, ALL, X86_MSR_SAVE | X86_MSR_CANONICAL, X86_F_SEP),
    /* Four banks, IA32_MCG_CTL present (SDM 3B 15.3.1.1). */
    ROW(MSR_MCG_CAP, 1, "IA32_MCG_CAP", 0x104, 0, X86_MSR_READONLY, X86_F_MCA),
    ROW(MSR_MCG_STATUS, 1, "IA32_MCG_STATUS", 0, 7, X86_MSR_SAVE, X86_F_MCA),
    ROW(MSR_MCG_CTL, 1, "IA32_MCG_CTL", ALL, ALL, X86_MSR_SAVE, X86_F_MCA),
    /* Fast strings on (Linux drops REP_GOOD and ERMS without it); BTS and PEBS unavailable. Bit 34 (XD
     * disable) is kept and nothing else. */
    ROW(MSR_MISC_ENABLE, 1, "IA32_MISC_ENABLE", 0x1801, 0x400c50009, X86_MSR_SAVE, NONE),
    ROW(MSR_DEBUGCTL, 1, "IA32_DEBUGCTL", 0, 3, X86_MSR_SAVE, NONE),
    ROW(MSR_MTRR_PHYSBASE0, 16, "IA32_MTRR_PHYSBASE0..PHYSMASK7", 0, MTRR_ADDR | 0xfff, X86_MSR_SAVE,
        X86_F_MTRR),
    ROW(MSR_MTRR_FIX64K, 1, "IA32_MTRR_FIX64K_00000", 0, TYPES8, X86_MSR_SAVE, X86_F_MTRR),
    ROW(MSR_MTRR_FIX16K_80, 2, "IA32_MTRR_FIX16K_80000..A0000", 0, TYPES8, X86_MSR_SAVE, X86_F_MTRR),
    ROW(MSR_MTRR_FIX4K_C0, 8, "IA32_MTRR_FIX4K_C0000..F8000", 0, TYPES8, X86_MSR_SAVE, X86_F_MTRR),
    ROW(MSR_PAT, 1, "IA32_PAT", 0x0007040600070406ull, TYPES8, X86_MSR_SAVE, X86_F_PAT),
    ROW(MSR_MTRR_DEF_TYPE, 1, "IA32_MTRR_DEF_TYPE", 0, 0xcff, X86_MSR_SAVE, X86_F_MTRR),
    BANK(0),
    BANK(1),
    BANK(2),
    BANK(3),
    ROW(MSR_TSC_DEADLINE, 1, "IA32_TSC_DEADLINE", 0, ALL, X86_MSR_SAVE, X86_F_TSC_DEADLINE),
    ROW(MSR_PKRS, 1, "IA32_PKRS", 0, 0xffffffff, X86_MSR_SAVE, X86_F_PKS),
    ROW(MSR_X2APIC_FIRST, MSR_X2APIC_LAST - MSR_X2APIC_FIRST + 1, "x2APIC", 0, 0xffffffffffull, X86_MSR_FIELD,
        X86_F_X2APIC),
    ROW(MSR_XSS, 1, "IA32_XSS", 0, 0, X86_MSR_FIELD, X86_F_XSAVES),
    ROW(MSR_KVM_WALL_CLOCK, 2, "KVM_WALL_CLOCK_NEW..SYSTEM_TIME_NEW", 0, ALL, X86_MSR_SAVE, X86_F_KVM_CLOCK),
    ROW(MSR_KVM_STEAL_TIME, 1, "KVM_STEAL_TIME", 0, ~0x3eull, X86_MSR_SAVE, X86_F_KVM_STEAL_TIME),
    ROW(MSR_EFER, 1, "IA32_EFER", 0, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE, X86_MSR_FIELD, X86_F_LM),
    ROW(MSR_STAR, 1, "IA32_STAR", 0, ALL, X86_MSR_SAVE, X86_F_SYSCALL),
    ROW(MSR_LSTAR, 2, "IA32_LSTAR..CSTAR", 0, ALL, X86_MSR_SAVE | X86_MSR_CANONICAL, X86_F_LM),
    ROW(MSR_SYSCALL_MASK, 1, "IA32_FMASK", 0, 0xffffffff, X86_MSR_SAVE, X86_F_LM),
    ROW(MSR_FS_BASE, 2, "IA32_FS_BASE..GS_BASE", 0, ALL, X86_MSR_FIELD | X86_MSR_CANONICAL, X86_F_LM),
    ROW(MSR_KERNEL_GS_BASE, 1, "IA32_KERNEL_GS_BASE", 0, ALL, X86_MSR_SAVE | X86_MSR_CANONICAL, X86_F_LM),
    ROW(MSR_TSC_AUX, 1, "IA32_TSC_AUX", 0, 0xffffffff, X86_MSR_SAVE, X86_F_RDTSCP),
    /* Four counters that no CPUID bit tells of (APM 2 13.2.1): they do not count, which Linux finds out. */
    ROW(0xc0010000, 8, "PERF_CTL0..PERF_CTR3", 0, 0, X86_MSR_IGNORE | X86_MSR_AMD, NONE),
    ROW(0xc0010010, 1, "SYSCFG", 0, 0, X86_MSR_IGNORE | X86_MSR_AMD, NONE),
    /* The TSC runs at the P0 frequency (bit 24): Linux looks. */
    ROW(0xc0010015, 1, "HWCR", 1 << 24, 0, X86_MSR_IGNORE | X86_MSR_AMD, NONE),
    ROW(0xc001001f, 1, "NB_CFG", 0, 0, X86_MSR_IGNORE | X86_MSR_AMD, NONE),
    ROW(0xc0010055, 1, "INT_PENDING", 0, 0, X86_MSR_IGNORE | X86_MSR_AMD, NONE),
    /* LFENCE serialises (bit 1). */
    ROW(0xc0011029, 1, "DE_CFG", 2, 0, X86_MSR_IGNORE | X86_MSR_AMD, NONE),
};

static bool is_amd(const struct x86_cpuid *c)
{
    struct x86_cpuid_leaf l = x86_cpuid_get(c, 0, 0);

    return l.ebx == 0x68747541 && l.edx == 0x69746e65 && l.ecx == 0x444d4163; /* AuthenticAMD */
}

static bool row_present(const struct x86_cpuid *c, const struct x86_msr_info *r)
{
    if (r->feature != X86_FEATURE_NONE && !x86_cpuid_has(c, r->feature))
        return false;
    return !(r->flags & X86_MSR_AMD) || is_amd(c);
}

const struct x86_msr_info *x86_msr_find(const struct x86_cpuid *c, uint32_t index)
{
    size_t lo = 0, hi = ARRAY_LEN(table);

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct x86_msr_info *r = &table[mid];

        if (index < r->first)
            hi = mid;
        else if (index - r->first >= r->count)
            lo = mid + 1;
        else
            return row_present(c, r) ? r : NULL;
    }
    return NULL;
}

uint64_t x86_msr_reset(const struct x86_cpuid *c, uint32_t index)
{
    const struct x86_msr_info *r = x86_msr_find(c, index);

    if (!r)
        return 0;
    return index == MSR_ARCH_CAPABILITIES ? c->arch_caps : r->reset;
}

void x86_state_reset_msrs(struct x86_state *s, const struct x86_cpuid *c)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct x86_msr_info *r = &table[i];

        if (!(r->flags & X86_MSR_SAVE) || !row_present(c, r))
            continue;
        for (uint32_t k = 0; k < r->count; k++)
            CHECK(x86_state_msr_set(s, r->first + k, x86_msr_reset(c, r->first + k)) == 0);
    }
}

const struct x86_msr_info *x86_msr_table(size_t *count)
{
    *count = ARRAY_LEN(table);
    return table;
}
