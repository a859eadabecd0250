/*
 * cpuid: the one builder of what a guest sees of its processor, for both accelerators. Pure but for
 * x86_cpuid_host.
 *
 * result = model ∩ host ∩ accelerator, then the machine's own facts (topology, APIC id, hypervisor leaves,
 * XSAVE sizes) are filled in. The vendor belongs to the model. Default model: x86-64-v3 less what is not
 * portable (no INVTSC, RDPID, PKU, AVX-512, AMX).
 */
#ifndef X86_CPUID_H
#define X86_CPUID_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct err;

struct x86_cpuid_leaf {
    uint32_t leaf, subleaf;
    uint32_t indexed; /* 1: the subleaf matters */
    uint32_t eax, ebx, ecx, edx;
};

enum { X86_CPUID_MAX = 64 };

struct x86_cpuid {
    uint32_t count;
    uint32_t pad;
    uint64_t arch_caps; /* IA32_ARCH_CAPABILITIES, the feature MSR that belongs to these leaves */
    struct x86_cpuid_leaf leaf[X86_CPUID_MAX];
};

/* Feature bits by name: enum value is (word << 5 | bit); words are the registers of x86_feature_word below.
 */
enum x86_feature_word {
    X86_W_1_ECX,
    X86_W_1_EDX,
    X86_W_7_EBX,
    X86_W_7_ECX,
    X86_W_7_EDX,
    X86_W_7_1_EAX,
    X86_W_D_1_EAX,
    X86_W_80000001_ECX,
    X86_W_80000001_EDX,
    X86_W_80000007_EDX,
    X86_W_80000008_EBX,
    X86_W_ARCH_CAPS,
    X86_W_KVM_EAX,
    X86_W_ARCH_CAPS_HI,
    X86_WORDS,
};
#define X86_FEATURE(word, bit) ((uint32_t)(word) << 5 | (bit))
#define X86_FEATURE_NONE       0xffffffffu

/* Features that the code itself asks for, by name; the whole list with the names that users see is
 * x86_feature_names(). */
#define X86_F_SSE3             X86_FEATURE(X86_W_1_ECX, 0)
#define X86_F_PCLMULQDQ        X86_FEATURE(X86_W_1_ECX, 1)
#define X86_F_MONITOR          X86_FEATURE(X86_W_1_ECX, 3)
#define X86_F_VMX              X86_FEATURE(X86_W_1_ECX, 5)
#define X86_F_SSSE3            X86_FEATURE(X86_W_1_ECX, 9)
#define X86_F_FMA              X86_FEATURE(X86_W_1_ECX, 12)
#define X86_F_CX16             X86_FEATURE(X86_W_1_ECX, 13)
#define X86_F_PCID             X86_FEATURE(X86_W_1_ECX, 17)
#define X86_F_SSE4_1           X86_FEATURE(X86_W_1_ECX, 19)
#define X86_F_SSE4_2           X86_FEATURE(X86_W_1_ECX, 20)
#define X86_F_X2APIC           X86_FEATURE(X86_W_1_ECX, 21)
#define X86_F_MOVBE            X86_FEATURE(X86_W_1_ECX, 22)
#define X86_F_POPCNT           X86_FEATURE(X86_W_1_ECX, 23)
#define X86_F_TSC_DEADLINE     X86_FEATURE(X86_W_1_ECX, 24)
#define X86_F_AES              X86_FEATURE(X86_W_1_ECX, 25)
#define X86_F_XSAVE            X86_FEATURE(X86_W_1_ECX, 26)
#define X86_F_OSXSAVE          X86_FEATURE(X86_W_1_ECX, 27)
#define X86_F_AVX              X86_FEATURE(X86_W_1_ECX, 28)
#define X86_F_F16C             X86_FEATURE(X86_W_1_ECX, 29)
#define X86_F_RDRAND           X86_FEATURE(X86_W_1_ECX, 30)
#define X86_F_HYPERVISOR       X86_FEATURE(X86_W_1_ECX, 31)
#define X86_F_APIC             X86_FEATURE(X86_W_1_EDX, 9)
#define X86_F_SEP              X86_FEATURE(X86_W_1_EDX, 11)
#define X86_F_MTRR             X86_FEATURE(X86_W_1_EDX, 12)
#define X86_F_MCA              X86_FEATURE(X86_W_1_EDX, 14)
#define X86_F_PAT              X86_FEATURE(X86_W_1_EDX, 16)
#define X86_F_HTT              X86_FEATURE(X86_W_1_EDX, 28)
#define X86_F_FSGSBASE         X86_FEATURE(X86_W_7_EBX, 0)
#define X86_F_TSC_ADJUST       X86_FEATURE(X86_W_7_EBX, 1)
#define X86_F_BMI1             X86_FEATURE(X86_W_7_EBX, 3)
#define X86_F_HLE              X86_FEATURE(X86_W_7_EBX, 4)
#define X86_F_AVX2             X86_FEATURE(X86_W_7_EBX, 5)
#define X86_F_SMEP             X86_FEATURE(X86_W_7_EBX, 7)
#define X86_F_BMI2             X86_FEATURE(X86_W_7_EBX, 8)
#define X86_F_ERMS             X86_FEATURE(X86_W_7_EBX, 9)
#define X86_F_INVPCID          X86_FEATURE(X86_W_7_EBX, 10)
#define X86_F_RTM              X86_FEATURE(X86_W_7_EBX, 11)
#define X86_F_MPX              X86_FEATURE(X86_W_7_EBX, 14)
#define X86_F_AVX512F          X86_FEATURE(X86_W_7_EBX, 16)
#define X86_F_SMAP             X86_FEATURE(X86_W_7_EBX, 20)
#define X86_F_UMIP             X86_FEATURE(X86_W_7_ECX, 2)
#define X86_F_PKU              X86_FEATURE(X86_W_7_ECX, 3)
#define X86_F_SHSTK            X86_FEATURE(X86_W_7_ECX, 7)
#define X86_F_LA57             X86_FEATURE(X86_W_7_ECX, 16)
#define X86_F_RDPID            X86_FEATURE(X86_W_7_ECX, 22)
#define X86_F_PKS              X86_FEATURE(X86_W_7_ECX, 31)
#define X86_F_FSRM             X86_FEATURE(X86_W_7_EDX, 4)
#define X86_F_IBT              X86_FEATURE(X86_W_7_EDX, 20)
#define X86_F_AMX_TILE         X86_FEATURE(X86_W_7_EDX, 24)
#define X86_F_SPEC_CTRL        X86_FEATURE(X86_W_7_EDX, 26)
#define X86_F_ARCH_CAPS        X86_FEATURE(X86_W_7_EDX, 29)
#define X86_F_XSAVEOPT         X86_FEATURE(X86_W_D_1_EAX, 0)
#define X86_F_XSAVEC           X86_FEATURE(X86_W_D_1_EAX, 1)
#define X86_F_XGETBV1          X86_FEATURE(X86_W_D_1_EAX, 2)
#define X86_F_XSAVES           X86_FEATURE(X86_W_D_1_EAX, 3)
#define X86_F_LAHF_LM          X86_FEATURE(X86_W_80000001_ECX, 0)
#define X86_F_SVM              X86_FEATURE(X86_W_80000001_ECX, 2)
#define X86_F_ABM              X86_FEATURE(X86_W_80000001_ECX, 5)
#define X86_F_SYSCALL          X86_FEATURE(X86_W_80000001_EDX, 11)
#define X86_F_NX               X86_FEATURE(X86_W_80000001_EDX, 20)
#define X86_F_PDPE1GB          X86_FEATURE(X86_W_80000001_EDX, 26)
#define X86_F_RDTSCP           X86_FEATURE(X86_W_80000001_EDX, 27)
#define X86_F_LM               X86_FEATURE(X86_W_80000001_EDX, 29)
#define X86_F_INVTSC           X86_FEATURE(X86_W_80000007_EDX, 8)
#define X86_F_KVM_CLOCK_OLD    X86_FEATURE(X86_W_KVM_EAX, 0)
#define X86_F_KVM_NO_IO_DELAY  X86_FEATURE(X86_W_KVM_EAX, 1)
#define X86_F_KVM_CLOCK        X86_FEATURE(X86_W_KVM_EAX, 3)
#define X86_F_KVM_STEAL_TIME   X86_FEATURE(X86_W_KVM_EAX, 5)
#define X86_F_KVM_PV_IPI       X86_FEATURE(X86_W_KVM_EAX, 11)
#define X86_F_KVM_CLOCK_STABLE X86_FEATURE(X86_W_KVM_EAX, 24)

/* The local APIC timer counts at 1 GHz before its divider, on both accelerators: leaves 0x15 and 0x40000010
 * promise it. */
#define X86_APIC_BUS_HZ 1000000000u

/* A set of features, one 32-bit word each (ARCH_CAPS and ARCH_CAPS_HI: IA32_ARCH_CAPABILITIES). */
struct x86_features {
    uint32_t w[X86_WORDS];
};

struct x86_feature_name {
    uint32_t feature;
    const char *name; /* as /proc/cpuinfo spells it, where it does */
};
const struct x86_feature_name *x86_feature_names(size_t *count);

static inline bool x86_features_has(const struct x86_features *f, uint32_t feature)
{
    return (feature >> 5) < X86_WORDS && (f->w[feature >> 5] >> (feature & 31) & 1);
}
static inline void x86_features_set(struct x86_features *f, uint32_t feature)
{
    f->w[feature >> 5] |= 1u << (feature & 31);
}

/* What the host CPU (of this process, by the CPUID instruction and XGETBV) offers. Vector features whose
 * state the host's kernel does not switch are left out. ARCH_CAPS and KVM words are 0: they cannot be read
 * from user mode. */
void x86_features_host(struct x86_features *f);

/* The host as the builder sees it: a value, so that a test may describe any machine. */
struct x86_host {
    struct x86_features features;
    char vendor[13];
    char brand[49];
    uint32_t signature; /* leaf 1 EAX */
    uint32_t phys_bits; /* physical address width */
    struct {
        uint32_t size,
            offset; /* of XSAVE component i in the standard format; AMD and Intel differ above AVX */
    } xsave[10];
};
void x86_host_read(struct x86_host *h);

/* Missing = a & ~b. Returns the number of bits; names are written, comma separated, into `out` when given. */
unsigned x86_features_missing(const struct x86_features *a, const struct x86_features *b, char *out,
                              size_t cap);

struct x86_cpu_config {
    const char *model;      /* "default", "x86-64-v1", "x86-64-v2", "x86-64-v3", "host"; behind it changes,
                               by commas: +FEATURE, -FEATURE, phys-bits=N, vendor=V (x86/spec.h) */
    uint32_t cpus;          /* vCPUs of the machine: one socket, one thread per core */
    uint32_t apic_id;       /* of this vCPU; equals its index */
    uint32_t tsc_khz;       /* for leaf 0x15/0x40000010; 0 leaves them out */
    bool hypervisor_leaves; /* 0x40000000: KVM signature with the features of architecture.md */
    struct x86_features
        allow; /* what the accelerator can give. User-mode instructions among it count only if the host has
                  them, too; system features (paging, APIC, MSRs, ERMS/FSRM, ...) are the accelerator's word
                  alone. HYPERVISOR and HTT are set by the builder. ARCH_CAPS also has bits that own a
                  weakness (RSBA, RRSBA, FB_CLEAR): an accelerator in software leaves those out. */
};

/* Build the leaves for one vCPU. An unknown model, or change to it: -EINVAL; one that the host or accelerator
 * cannot give: -ENOTSUP, missing features listed. */
int x86_cpuid_build(struct x86_cpuid *out, const struct x86_cpu_config *cfg, struct err *e);
/* The same on a machine described by `host`. */
int x86_cpuid_build_on(struct x86_cpuid *out, const struct x86_cpu_config *cfg, const struct x86_host *host,
                       struct err *e);

/* Features that `c` advertises; and one of them. */
void x86_cpuid_features(const struct x86_cpuid *c, struct x86_features *f);
bool x86_cpuid_has(const struct x86_cpuid *c, uint32_t feature);

/* The leaf as the CPUID instruction would answer it (out of range: SDM 2A CPUID, highest basic leaf). Dynamic
 * bits (OSXSAVE, APIC enabled, XSAVE size by XCR0) are the accelerator's business. */
struct x86_cpuid_leaf x86_cpuid_get(const struct x86_cpuid *c, uint32_t leaf, uint32_t subleaf);

/* Names of models for help texts, NULL-terminated; and one line on each. */
const char *const *x86_cpu_models(void);
const char *x86_cpu_model_about(const char *model);

#endif
