/*
 * features: what this engine can give a guest, in the words of x86/cpuid.h. Instructions among it run on the
 * host and count only if the host has them; the rest is emulated here.
 */
#include <string.h>
#include "accel/soft/engine/engine.h"
#include "base/range.h"

static const uint32_t given[] = {
    X86_F_SSE3,
    X86_F_PCLMULQDQ,
    X86_F_SSSE3,
    X86_F_FMA,
    X86_F_CX16,
    X86_F_PCID,
    X86_F_SSE4_1,
    X86_F_SSE4_2,
    X86_F_X2APIC,
    X86_F_MOVBE,
    X86_F_POPCNT,
    X86_F_TSC_DEADLINE,
    X86_F_AES,
    X86_F_XSAVE,
    X86_F_AVX,
    X86_F_F16C,
    X86_F_RDRAND,
    X86_F_FSGSBASE,
    X86_F_TSC_ADJUST,
    X86_F_BMI1,
    X86_F_AVX2,
    X86_F_SMEP,
    X86_F_BMI2,
    X86_F_ERMS,
    X86_F_INVPCID,
    X86_F_SMAP,
    X86_FEATURE(X86_W_7_EBX, 18),
    X86_FEATURE(X86_W_7_EBX, 19), /* RDSEED, ADX */
    X86_FEATURE(X86_W_7_EBX, 23),
    X86_FEATURE(X86_W_7_EBX, 24), /* CLFLUSHOPT, CLWB */
    X86_F_UMIP,
    X86_F_PKU,
    X86_F_PKS,
    X86_F_LA57,
    X86_F_FSRM,
    X86_F_ARCH_CAPS,
    X86_F_XSAVEOPT,
    X86_F_XSAVEC,
    X86_F_XGETBV1,
    X86_F_LAHF_LM,
    X86_F_ABM,
    X86_FEATURE(X86_W_80000001_ECX, 8), /* PREFETCHW */
    X86_FEATURE(X86_W_7_EBX, 29),
    X86_FEATURE(X86_W_7_ECX, 8),
    X86_FEATURE(X86_W_7_ECX, 9),
    X86_FEATURE(X86_W_7_ECX, 10),
    X86_FEATURE(X86_W_7_1_EAX, 4),
    X86_FEATURE(X86_W_80000001_ECX, 6),
    X86_FEATURE(X86_W_80000001_ECX, 7),
    X86_FEATURE(X86_W_80000001_EDX,
                22), /* SHA, GFNI, VAES, VPCLMULQDQ; AVX-VNNI; SSE4A, misaligned SSE; MMXEXT */
    X86_F_SYSCALL,
    X86_F_NX,
    X86_F_PDPE1GB,
    X86_F_RDTSCP,
    X86_F_LM,
    X86_F_KVM_NO_IO_DELAY,
    X86_F_KVM_CLOCK,
    X86_F_KVM_STEAL_TIME,
    X86_F_KVM_PV_IPI,
    X86_F_KVM_CLOCK_STABLE,
};

/* FPU, VME, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE36, CLFSH, MMX, FXSR,
 * SSE, SSE2, SS. */
enum { BASIC_EDX = 0x0f8bfbff };
/* IA32_ARCH_CAPABILITIES: RDCL_NO, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO,
 * FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO: the guest's own page-table isolation and buffer
 * clearing would defend nothing here, where every access of guest code goes through checks in software. */
enum {
    IMMUNE = 1u << 0 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 8 | 7u << 13 | 1u << 20 | 1u << 24 |
             1u << 26 | 1u << 27
};

void engine_features(struct x86_features *f)
{
    memset(f, 0, sizeof *f);
    f->w[X86_W_1_EDX] = BASIC_EDX;
    f->w[X86_W_ARCH_CAPS] = IMMUNE;
    f->w[X86_W_ARCH_CAPS_HI] = 1u << 30; /* ITS_NO */
    for (size_t i = 0; i < ARRAY_LEN(given); i++)
        x86_features_set(f, given[i]);
}
