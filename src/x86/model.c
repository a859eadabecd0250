#include "x86/model.h"
#include <string.h>
#include "base/range.h"

#define F(word, bit) X86_FEATURE(X86_W_##word, bit)
#define END          X86_FEATURE_NONE

/* What every 64-bit system expects, SSE2 among it: the psABI's baseline. */
#define V1_LIST                                                                                              \
    F(1_EDX, 0), F(1_EDX, 3), F(1_EDX, 4), F(1_EDX, 5), F(1_EDX, 6), F(1_EDX, 8), X86_F_APIC, F(1_EDX, 13),  \
        F(1_EDX, 15), X86_F_PAT, F(1_EDX, 23), F(1_EDX, 24), F(1_EDX, 25), F(1_EDX, 26), X86_F_SYSCALL,      \
        X86_F_NX, X86_F_LM

/* SSE3 to SSE4.2: the psABI's x86-64-v2. */
#define V2_LIST                                                                                              \
    V1_LIST, X86_F_SSE3, X86_F_SSSE3, X86_F_CX16, X86_F_SSE4_1, X86_F_SSE4_2, X86_F_POPCNT, X86_F_LAHF_LM

/* What x86-64-v3 adds. */
#define V3_LIST                                                                                              \
    X86_F_AVX, X86_F_AVX2, X86_F_BMI1, X86_F_BMI2, X86_F_F16C, X86_F_FMA, X86_F_ABM, X86_F_MOVBE, X86_F_XSAVE

static const uint32_t v1_required[] = {V1_LIST, END};
static const uint32_t v2_required[] = {V2_LIST, END};
static const uint32_t v3_required[] = {V2_LIST, V3_LIST, END};

/* Processors of those classes all have these, too; virtual machines do not always. */
static const uint32_t v1_isa[] = {V1_LIST, X86_F_CX16, X86_F_LAHF_LM, END};
static const uint32_t v2_isa[] = {V2_LIST, X86_F_PCLMULQDQ, X86_F_AES, X86_F_RDRAND, X86_F_XSAVE, END};
static const uint32_t v3_isa[] = {
    V2_LIST, V3_LIST, X86_F_PCLMULQDQ, X86_F_AES, X86_F_RDRAND, F(80000001_ECX, 8), END};

/* System features, given by all models where the accelerator can: none of them shows in programs, all of them
 * make kernels fast or safe. Left out because they do not travel between hosts or accelerators: INVTSC,
 * RDPID, PKU, AVX-512, AMX, CET, LA57, MPX, TSX, MONITOR, VMX, SVM. */
static const uint32_t system_features[] = {
    F(1_EDX, 1),
    F(1_EDX, 2),
    F(1_EDX, 7),
    X86_F_SEP,
    X86_F_MTRR,
    X86_F_MCA,
    F(1_EDX, 17),
    F(1_EDX, 19),
    F(1_EDX, 27),
    X86_F_PCID,
    X86_F_X2APIC,
    X86_F_TSC_DEADLINE,
    X86_F_FSGSBASE,
    X86_F_TSC_ADJUST,
    X86_F_SMEP,
    X86_F_ERMS,
    X86_F_INVPCID,
    X86_F_SMAP,
    X86_F_UMIP,
    X86_F_FSRM,
    X86_F_SPEC_CTRL,
    F(7_EDX, 10),
    F(7_EDX, 27),
    F(7_EDX, 31),
    X86_F_ARCH_CAPS,
    X86_F_XSAVEOPT,
    X86_F_XSAVEC,
    X86_F_XGETBV1,
    X86_F_PDPE1GB,
    X86_F_RDTSCP,
    X86_F_KVM_NO_IO_DELAY,
    X86_F_KVM_CLOCK,
    X86_F_KVM_STEAL_TIME,
    X86_F_KVM_CLOCK_STABLE,
    /* Immune to Meltdown, L1TF, SSB, MDS, iTLB multihit, TAA, MMIO stale data, BHI, PBRSB, GDS, RFDS, ITS;
     * enhanced IBRS. Where that is true of the host, the guest's kernel need not pay for page-table isolation
     * and retpolines. */
    F(ARCH_CAPS, 0),
    F(ARCH_CAPS, 1),
    F(ARCH_CAPS, 3),
    F(ARCH_CAPS, 4),
    F(ARCH_CAPS, 5),
    F(ARCH_CAPS, 6),
    F(ARCH_CAPS, 8),
    F(ARCH_CAPS, 13),
    F(ARCH_CAPS, 14),
    F(ARCH_CAPS, 15),
    F(ARCH_CAPS, 20),
    F(ARCH_CAPS, 24),
    F(ARCH_CAPS, 26),
    F(ARCH_CAPS, 27),
    F(ARCH_CAPS_HI, 30),
    /* And its weaknesses: RSBA, FB_CLEAR, RRSBA. */
    F(ARCH_CAPS, 2),
    F(ARCH_CAPS, 17),
    F(ARCH_CAPS, 19),
    END,
};

/* What no model gives, but who asks for it may have. */
static const uint32_t on_request[] = {X86_F_PKU, X86_F_PKS, X86_F_LA57, X86_F_KVM_PV_IPI, END};

enum {
    SIGNATURE_HASWELL =
        0x306c3, /* family 6, model 0x3c: the first of its class, known to every kernel and compiler */
    SIGNATURE_NEHALEM = 0x106a5, /* family 6, model 0x1a */
    SIGNATURE_MEROM = 0x6f6,     /* family 6, model 0xf */
};

static const struct x86_model models[] = {
    {"default",
     "portable: x86-64-v3 as far as the host has it, at least x86-64-v2; no feature that does not travel",
     v2_required, v3_isa, SIGNATURE_HASWELL},
    {"x86-64-v1", "the psABI's baseline (SSE2): for hosts that offer no more", v1_required, v1_isa,
     SIGNATURE_MEROM},
    {"x86-64-v2", "the psABI's level 2 (SSE4.2, POPCNT, CMPXCHG16B); hosts since 2009", v2_required, v2_isa,
     SIGNATURE_NEHALEM},
    {"x86-64-v3",
     "the psABI's level 3 (AVX2, BMI, FMA), refused where the host lacks any of it; hosts since 2015",
     v3_required, v3_isa, SIGNATURE_HASWELL},
    {"host", "all that host and accelerator can give; not portable to another host", v2_required, NULL, 0},
};

static const char *const model_names[] = {"default", "x86-64-v1", "x86-64-v2", "x86-64-v3", "host", NULL};

/* What "host" may bring: the machine can save it (x86/state.h, x86/msr.h) and nothing needs a device or a
 * counter that guests do not get. */
static const struct x86_features carriable = {
    .w = {
        [X86_W_1_ECX] = 0x77fa3203,
        [X86_W_1_EDX] = 0x0f8bfbff,
        [X86_W_7_EBX] =
            ~(1u << 2 | 1u << 4 | 1u << 11 | 1u << 12 | 1u << 14 | 1u << 15 | 1u << 22 | 1u << 25),
        [X86_W_7_ECX] = 1u << 1 | 1u << 2 | 1u << 6 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 |
                        1u << 14 | 1u << 22 | 1u << 25 | 1u << 27 | 1u << 28,
        [X86_W_7_EDX] = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8 | 1u << 10 | 1u << 14 | 1u << 23 | 1u << 26 |
                        1u << 27 | 1u << 29 | 1u << 31,
        [X86_W_7_1_EAX] = 1u << 4 | 1u << 5 | 1u << 7 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 23,
        [X86_W_D_1_EAX] = 0xf,
        [X86_W_80000001_ECX] =
            1u << 0 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 11 | 1u << 16 | 1u << 21,
        [X86_W_80000001_EDX] = 1u << 11 | 1u << 20 | 1u << 22 | 1u << 25 | 1u << 26 | 1u << 27 | 1u << 29,
        [X86_W_80000007_EDX] = 1u << 8,
        [X86_W_80000008_EBX] =
            1u << 0 | 1u << 2 | 1u << 9 | 1u << 12 | 1u << 14 | 1u << 15 | 1u << 24 | 1u << 26 | 1u << 28,
        [X86_W_ARCH_CAPS] = 0x0d1ae17f,
        [X86_W_ARCH_CAPS_HI] = 1u << 30,
        [X86_W_KVM_EAX] = 1u << 1 | 1u << 3 | 1u << 5 | 1u << 24,
    }};

/* Instructions that programs use without asking the kernel: executed on the host's processor or checked
 * against it. */
static const struct x86_features user_isa = {
    .w = {
        [X86_W_1_ECX] = 1u << 0 | 1u << 1 | 1u << 9 | 1u << 12 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 22 |
                        1u << 23 | 1u << 25 | 1u << 28 | 1u << 29 | 1u << 30,
        [X86_W_7_EBX] = 1u << 3 | 1u << 5 | 1u << 8 | 1u << 16 | 1u << 17 | 1u << 18 | 1u << 19 | 1u << 21 |
                        1u << 23 | 1u << 24 | 1u << 28 | 1u << 29 | 1u << 30 | 1u << 31,
        [X86_W_7_ECX] = 1u << 1 | 1u << 6 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 14 |
                        1u << 22 | 1u << 25 | 1u << 27 | 1u << 28,
        [X86_W_7_EDX] = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 14 | 1u << 23,
        [X86_W_7_1_EAX] = 1u << 4 | 1u << 5 | 1u << 7 | 1u << 23,
        [X86_W_80000001_ECX] =
            1u << 0 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 11 | 1u << 16 | 1u << 21,
        [X86_W_80000001_EDX] = 1u << 22,
        [X86_W_80000008_EBX] = 1u << 0 | 1u << 9,
    }};

/* A feature and what it cannot be without; prerequisites of prerequisites come first. */
static const uint32_t needs[][2] = {
    {X86_F_AVX, X86_F_XSAVE},
    {X86_F_AVX2, X86_F_AVX},
    {X86_F_FMA, X86_F_AVX},
    {X86_F_F16C, X86_F_AVX},
    {F(80000001_ECX, 11), X86_F_AVX}, /* XOP */
    {F(80000001_ECX, 16), X86_F_AVX}, /* FMA4 */
    {F(7_ECX, 9), X86_F_AVX},         /* VAES */
    {F(7_ECX, 10), X86_F_AVX},        /* VPCLMULQDQ */
    {F(7_1_EAX, 4), X86_F_AVX2},      /* AVX-VNNI */
    {F(7_1_EAX, 23), X86_F_AVX2},     /* AVX-IFMA */
    {X86_F_AVX512F, X86_F_AVX2},
    {F(7_EBX, 17), X86_F_AVX512F},
    {F(7_EBX, 21), X86_F_AVX512F},
    {F(7_EBX, 28), X86_F_AVX512F},
    {F(7_EBX, 30), X86_F_AVX512F},
    {F(7_EBX, 31), X86_F_AVX512F},
    {F(7_ECX, 1), X86_F_AVX512F},
    {F(7_ECX, 6), X86_F_AVX512F},
    {F(7_ECX, 11), X86_F_AVX512F},
    {F(7_ECX, 12), X86_F_AVX512F},
    {F(7_ECX, 14), X86_F_AVX512F},
    {F(7_EDX, 2), X86_F_AVX512F},
    {F(7_EDX, 3), X86_F_AVX512F},
    {F(7_EDX, 8), X86_F_AVX512F},
    {F(7_EDX, 23), X86_F_AVX512F},
    {F(7_1_EAX, 5), X86_F_AVX512F},
    {X86_F_PKU, X86_F_XSAVE},
    {X86_F_XSAVEOPT, X86_F_XSAVE},
    {X86_F_XSAVEC, X86_F_XSAVE},
    {X86_F_XGETBV1, X86_F_XSAVE},
    {X86_F_XSAVES, X86_F_XSAVEC},
    {X86_F_X2APIC, X86_F_APIC},
    {X86_F_TSC_DEADLINE, X86_F_APIC},
    {X86_F_KVM_CLOCK_STABLE, X86_F_KVM_CLOCK},
    {F(ARCH_CAPS, 1), X86_F_SPEC_CTRL}, /* enhanced IBRS is switched on there */
};

static void drop(struct x86_features *f, uint32_t feature)
{
    f->w[feature >> 5] &= ~(1u << (feature & 31));
}

void x86_features_close(struct x86_features *f)
{
    for (size_t i = 0; i < ARRAY_LEN(needs); i++)
        if (!x86_features_has(f, needs[i][1]))
            drop(f, needs[i][0]);
    if (!x86_features_has(f, X86_F_ARCH_CAPS))
        f->w[X86_W_ARCH_CAPS] = f->w[X86_W_ARCH_CAPS_HI] = 0;
}

void x86_features_user_isa(struct x86_features *f)
{
    *f = user_isa;
}

const struct x86_model *x86_model_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        if (strcmp(models[i].name, name) == 0)
            return &models[i];
    return NULL;
}

static void add_list(struct x86_features *f, const uint32_t *list)
{
    for (; list && *list != END; list++)
        x86_features_set(f, *list);
}

void x86_model_features(const struct x86_model *m, struct x86_features *want, struct x86_features *required)
{
    memset(want, 0, sizeof *want);
    memset(required, 0, sizeof *required);
    add_list(required, m->required);
    if (!m->isa) {
        *want = carriable;
        return;
    }
    add_list(want, m->isa);
    add_list(want, system_features);
}

void x86_model_limits(struct x86_features *fixed, struct x86_features *can)
{
    memset(fixed, 0, sizeof *fixed);
    add_list(fixed, v1_required);
    *can = carriable;
    add_list(can, v3_isa);
    add_list(can, system_features);
    add_list(can, on_request);
}

const char *const *x86_cpu_models(void)
{
    return model_names;
}

const char *x86_cpu_model_about(const char *model)
{
    const struct x86_model *m = x86_model_find(model);

    return m ? m->about : NULL;
}
