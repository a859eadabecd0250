/*
 * regs: bits of architectural registers and MSR numbers, as the SDM (volumes 3A chapter 2, 4 appendix) spells
 * them.
 */
#ifndef X86_REGS_H
#define X86_REGS_H

#define X86_CF          0x1u
#define X86_PF          0x4u
#define X86_AF          0x10u
#define X86_ZF          0x40u
#define X86_SF          0x80u
#define X86_TF          0x100u
#define X86_IF          0x200u
#define X86_DF          0x400u
#define X86_OF          0x800u
#define X86_IOPL        0x3000u
#define X86_NT          0x4000u
#define X86_RF          0x10000u
#define X86_VM          0x20000u
#define X86_AC          0x40000u
#define X86_VIF         0x80000u
#define X86_VIP         0x100000u
#define X86_ID          0x200000u
#define X86_ARITH_FLAGS (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_OF)

#define CR0_PE 0x1ul
#define CR0_MP 0x2ul
#define CR0_EM 0x4ul
#define CR0_TS 0x8ul
#define CR0_ET 0x10ul
#define CR0_NE 0x20ul
#define CR0_WP 0x10000ul
#define CR0_AM 0x40000ul
#define CR0_NW 0x20000000ul
#define CR0_CD 0x40000000ul
#define CR0_PG 0x80000000ul

#define CR4_VME        (1ul << 0)
#define CR4_PVI        (1ul << 1)
#define CR4_TSD        (1ul << 2)
#define CR4_DE         (1ul << 3)
#define CR4_PSE        (1ul << 4)
#define CR4_PAE        (1ul << 5)
#define CR4_MCE        (1ul << 6)
#define CR4_PGE        (1ul << 7)
#define CR4_PCE        (1ul << 8)
#define CR4_OSFXSR     (1ul << 9)
#define CR4_OSXMMEXCPT (1ul << 10)
#define CR4_UMIP       (1ul << 11)
#define CR4_LA57       (1ul << 12)
#define CR4_FSGSBASE   (1ul << 16)
#define CR4_PCIDE      (1ul << 17)
#define CR4_OSXSAVE    (1ul << 18)
#define CR4_SMEP       (1ul << 20)
#define CR4_SMAP       (1ul << 21)
#define CR4_PKE        (1ul << 22)
#define CR4_PKS        (1ul << 24)

#define EFER_SCE 0x1ul
#define EFER_LME 0x100ul
#define EFER_LMA 0x400ul
#define EFER_NXE 0x800ul

/* Exceptions (SDM 3A table 6-1). */
enum x86_vector {
    X86_DE = 0,
    X86_DB = 1,
    X86_NMI = 2,
    X86_BP = 3,
    X86_OFV = 4,
    X86_BR = 5,
    X86_UD = 6,
    X86_NM = 7,
    X86_DF_VEC = 8,
    X86_TS = 10,
    X86_NP = 11,
    X86_SS_VEC = 12,
    X86_GP = 13,
    X86_PF_VEC = 14,
    X86_MF = 16,
    X86_AC_VEC = 17,
    X86_MC = 18,
    X86_XM = 19,
};

/* Page-fault error code bits. */
#define PF_P   0x1u
#define PF_W   0x2u
#define PF_U   0x4u
#define PF_RSV 0x8u
#define PF_I   0x10u
#define PF_PK  0x20u

#define MSR_TSC                 0x10u
#define MSR_PLATFORM_ID         0x17u
#define MSR_APIC_BASE           0x1bu
#define MSR_FEATURE_CONTROL     0x3au
#define MSR_TSC_ADJUST          0x3bu
#define MSR_SPEC_CTRL           0x48u
#define MSR_PRED_CMD            0x49u
#define MSR_BIOS_SIGN_ID        0x8bu
#define MSR_MTRRCAP             0xfeu
#define MSR_ARCH_CAPABILITIES   0x10au
#define MSR_SYSENTER_CS         0x174u
#define MSR_SYSENTER_ESP        0x175u
#define MSR_SYSENTER_EIP        0x176u
#define MSR_MCG_CAP             0x179u
#define MSR_MCG_STATUS          0x17au
#define MSR_MCG_CTL             0x17bu
#define MSR_MISC_ENABLE         0x1a0u
#define MSR_DEBUGCTL            0x1d9u
#define MSR_MTRR_PHYSBASE0      0x200u
#define MSR_MTRR_FIX64K         0x250u
#define MSR_MTRR_FIX16K_80      0x258u
#define MSR_MTRR_FIX16K_A0      0x259u
#define MSR_MTRR_FIX4K_C0       0x268u
#define MSR_PAT                 0x277u
#define MSR_MTRR_DEF_TYPE       0x2ffu
#define MSR_MC0_CTL             0x400u
#define MSR_TSC_DEADLINE        0x6e0u
#define MSR_PKRS                0x6e1u
#define MSR_X2APIC_FIRST        0x800u
#define MSR_X2APIC_LAST         0x83fu
#define MSR_XSS                 0xda0u
#define MSR_EFER                0xc0000080u
#define MSR_STAR                0xc0000081u
#define MSR_LSTAR               0xc0000082u
#define MSR_CSTAR               0xc0000083u
#define MSR_SYSCALL_MASK        0xc0000084u
#define MSR_FS_BASE             0xc0000100u
#define MSR_GS_BASE             0xc0000101u
#define MSR_KERNEL_GS_BASE      0xc0000102u
#define MSR_TSC_AUX             0xc0000103u
#define MSR_KVM_WALL_CLOCK_OLD  0x11u
#define MSR_KVM_SYSTEM_TIME_OLD 0x12u
#define MSR_KVM_WALL_CLOCK      0x4b564d00u
#define MSR_KVM_SYSTEM_TIME     0x4b564d01u
#define MSR_KVM_STEAL_TIME      0x4b564d03u

#define APIC_BASE_BSP    0x100ul
#define APIC_BASE_X2APIC 0x400ul
#define APIC_BASE_ENABLE 0x800ul
#define APIC_BASE_ADDR   0xfee00000ul

/* XSAVE components (SDM 1 13.1). */
#define XCR0_X87    0x1ul
#define XCR0_SSE    0x2ul
#define XCR0_AVX    0x4ul
#define XCR0_AVX512 0xe0ul
#define XCR0_PKRU   0x200ul

#endif
