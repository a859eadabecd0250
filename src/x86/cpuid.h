/*
 * cpuid: the one builder of what a guest sees of its processor, for both accelerators. Pure but for x86_cpuid_host.
 *
 * result = model ∩ host ∩ accelerator, then the machine's own facts (topology, APIC id, hypervisor leaves, XSAVE sizes) are
 * filled in. The vendor belongs to the model. Default model: x86-64-v3 less what is not portable (no INVTSC, RDPID, PKU, AVX-512, AMX).
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
    struct x86_cpuid_leaf leaf[X86_CPUID_MAX];
};

/* Feature bits by name: enum value is (word << 5 | bit); words are the registers of x86_feature_word below. */
enum x86_feature_word {
    X86_W_1_ECX, X86_W_1_EDX, X86_W_7_EBX, X86_W_7_ECX, X86_W_7_EDX, X86_W_7_1_EAX, X86_W_D_1_EAX,
    X86_W_80000001_ECX, X86_W_80000001_EDX, X86_W_80000007_EDX, X86_W_80000008_EBX, X86_W_ARCH_CAPS, X86_W_KVM_EAX, X86_WORDS,
};
#define X86_FEATURE(word, bit) ((uint32_t)(word) << 5 | (bit))

/* A set of features, one 32-bit word each (ARCH_CAPS: the MSR's low word). */
struct x86_features {
    uint32_t w[X86_WORDS];
};

struct x86_feature_name {
    uint32_t feature;
    const char *name; /* as /proc/cpuinfo spells it, where it does */
};
const struct x86_feature_name *x86_feature_names(size_t *count);

/* What the host CPU (of this process, by the CPUID instruction and XGETBV) offers. */
void x86_features_host(struct x86_features *f);

/* Missing = a & ~b. Returns the number of bits; names are written, comma separated, into `out` when given. */
unsigned x86_features_missing(const struct x86_features *a, const struct x86_features *b, char *out, size_t cap);

struct x86_cpu_config {
    const char *model;       /* "default", "x86-64-v2", "x86-64-v3", "host" */
    uint32_t cpus;           /* vCPUs of the machine: one socket, one thread per core */
    uint32_t apic_id;        /* of this vCPU; equals its index */
    uint32_t tsc_khz;        /* for leaf 0x15/0x40000010; 0 leaves them out */
    bool hypervisor_leaves;  /* 0x40000000: KVM signature with the features of architecture.md */
    struct x86_features allow; /* what the accelerator can give; host ∩ this is what a model may ask for */
};

/* Build the leaves for one vCPU. An unknown model: -EINVAL; one that the host or accelerator cannot give: -ENOTSUP, missing features listed. */
int x86_cpuid_build(struct x86_cpuid *out, const struct x86_cpu_config *cfg, struct err *e);

/* Features that `c` advertises; and one of them. */
void x86_cpuid_features(const struct x86_cpuid *c, struct x86_features *f);
bool x86_cpuid_has(const struct x86_cpuid *c, uint32_t feature);

/* The leaf as the CPUID instruction would answer it (out of range: SDM 2A CPUID, highest basic leaf). Dynamic bits
 * (OSXSAVE, APIC enabled, XSAVE size by XCR0) are the accelerator's business. */
struct x86_cpuid_leaf x86_cpuid_get(const struct x86_cpuid *c, uint32_t leaf, uint32_t subleaf);

/* Names of models for help texts, NULL-terminated; and one line on each. */
const char *const *x86_cpu_models(void);
const char *x86_cpu_model_about(const char *model);

#endif
