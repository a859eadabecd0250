#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "x86/regs.h"

/* KVM_GET_SUPPORTED_CPUID wants to be told how many entries may come. */
enum { SUPPORTED_MAX = 256 };

static struct kvm_cpuid2 *supported(struct kvm_accel *k, struct err *e)
{
    struct kvm_cpuid2 *c = calloc(1, sizeof *c + SUPPORTED_MAX * sizeof c->entries[0]);
    int r;

    if (!c) {
        err_set(e, ENOMEM, "kvm: out of memory");
        return NULL;
    }
    c->nent = SUPPORTED_MAX;
    r = kvm_ioctl(k->dev, KVM_GET_SUPPORTED_CPUID, c);
    if (r < 0) {
        err_sys(e, r, "/dev/kvm: supported CPUID");
        free(c);
        return NULL;
    }
    return c;
}

static void take(const struct kvm_cpuid_entry2 *in, struct x86_features *f)
{
    if (in->function == 1) {
        f->w[X86_W_1_ECX] = in->ecx;
        f->w[X86_W_1_EDX] = in->edx;
    } else if (in->function == 7 && in->index == 0) {
        f->w[X86_W_7_EBX] = in->ebx;
        f->w[X86_W_7_ECX] = in->ecx;
        f->w[X86_W_7_EDX] = in->edx;
    } else if (in->function == 7 && in->index == 1) {
        f->w[X86_W_7_1_EAX] = in->eax;
    } else if (in->function == 0xd && in->index == 1) {
        f->w[X86_W_D_1_EAX] = in->eax;
    } else if (in->function == 0x80000001) {
        f->w[X86_W_80000001_ECX] = in->ecx;
        f->w[X86_W_80000001_EDX] = in->edx;
    } else if (in->function == 0x80000007) {
        f->w[X86_W_80000007_EDX] = in->edx;
    } else if (in->function == 0x80000008) {
        f->w[X86_W_80000008_EBX] = in->ebx;
    } else if (in->function == 0x40000001) {
        f->w[X86_W_KVM_EAX] = in->eax;
    }
}

/* What the host's processor is immune to, by KVM's word. */
static uint64_t arch_capabilities(struct kvm_accel *k)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = {.head = {.nmsrs = 1}, .entry = {.index = MSR_ARCH_CAPABILITIES}};

    if (kvm_ioctl_value(k->dev, KVM_CHECK_EXTENSION, KVM_CAP_GET_MSR_FEATURES) <= 0)
        return 0;
    return kvm_ioctl(k->dev, KVM_GET_MSRS, &m) == 1 ? m.entry.data : 0;
}

int kvm_features(struct kvm_accel *k, struct x86_features *out, struct err *e)
{
    struct kvm_cpuid2 *c = supported(k, e);
    uint64_t caps;

    memset(out, 0, sizeof *out);
    if (!c)
        return -EIO;
    for (uint32_t i = 0; i < c->nent && i < SUPPORTED_MAX; i++)
        take(&c->entries[i], out);
    free(c);
    /* State that this room does not carry. */
    out->w[X86_W_7_ECX] &= ~(1u << (X86_F_PKU & 31) | 1u << (X86_F_PKS & 31) | 1u << (X86_F_LA57 & 31));
    /* KVM emulates these whatever the host has, but not every KVM says so in the list. */
    x86_features_set(out, X86_F_X2APIC);
    if (k->caps.tsc_deadline)
        x86_features_set(out, X86_F_TSC_DEADLINE);
    else
        out->w[X86_W_1_ECX] &= ~(1u << (X86_F_TSC_DEADLINE & 31));
    caps = arch_capabilities(k);
    out->w[X86_W_ARCH_CAPS] = (uint32_t)caps;
    out->w[X86_W_ARCH_CAPS_HI] = (uint32_t)(caps >> 32);
    return 0;
}

static struct x86_cpuid_leaf *leaf_of(struct x86_cpuid *c, const struct kvm_cpuid_entry2 *k)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->leaf[i].leaf == k->function && (!c->leaf[i].indexed || c->leaf[i].subleaf == k->index))
            return &c->leaf[i];
    /* Where KVM gives XSAVE components unasked, their places must be known. */
    if (k->function != 0xd || k->index < 1 || k->index > 7 || !k->eax || c->count >= X86_CPUID_MAX)
        return NULL;
    c->leaf[c->count] = (struct x86_cpuid_leaf){.leaf = 0xd, .subleaf = k->index, .indexed = 1};
    return &c->leaf[c->count++];
}

/* What the guest will really see: KVM may force features of its own upon it. Bits that change as the guest
 * runs are not taken. */
static void adopt(struct kvm_vcpu *v)
{
    struct x86_cpuid *c = &v->k->cpuid[v->v.index];
    struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entry[SUPPORTED_MAX];
    } k = {.head = {.nent = SUPPORTED_MAX}};

    if (kvm_ioctl(v->fd, KVM_GET_CPUID2, &k) < 0)
        return;
    for (uint32_t i = 0; i < k.head.nent && i < SUPPORTED_MAX; i++) {
        struct x86_cpuid_leaf *l = leaf_of(c, &k.entry[i]);
        uint32_t ebx = l ? l->ebx : 0;

        /* Older kernels leave nent as it was: entries that were not written are zero, and leaf 0 is not. */
        if (!l || (!k.entry[i].function && !k.entry[i].eax))
            continue;
        l->eax = k.entry[i].eax;
        l->ebx = k.entry[i].ebx;
        l->ecx = k.entry[i].ecx;
        l->edx = k.entry[i].edx;
        if (l->leaf == 1)
            l->ecx &= ~(1u << (X86_F_OSXSAVE & 31)), l->edx |= 1u << (X86_F_APIC & 31);
        if (l->leaf == 0xd && l->subleaf <= 1)
            l->ebx = ebx ? ebx : l->ebx;
    }
    if (!x86_cpuid_has(c, X86_F_ARCH_CAPS))
        c->arch_caps = 0;
}

int kvm_vcpu_set_cpuid(struct kvm_vcpu *v, struct err *e)
{
    const struct x86_cpuid *c = &v->k->cpuid[v->v.index];
    struct kvm_enable_cap pv = {.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = {1}};
    struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entry[X86_CPUID_MAX];
    } k = {.head = {.nent = c->count}};
    int r;

    for (uint32_t i = 0; i < c->count; i++) {
        const struct x86_cpuid_leaf *l = &c->leaf[i];

        k.entry[i] = (struct kvm_cpuid_entry2){.function = l->leaf,
                                               .index = l->subleaf,
                                               .flags = l->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                                               .eax = l->eax,
                                               .ebx = l->ebx,
                                               .ecx = l->ecx,
                                               .edx = l->edx};
    }
    r = kvm_ioctl(v->fd, KVM_SET_CPUID2, &k);
    if (r < 0)
        return err_sys(e, r, "/dev/kvm: CPUID of CPU model %s is refused",
                       v->k->cfg.cpu_model ? v->k->cfg.cpu_model : "default");
    if (v->k->caps.enforce_pv) {
        r = kvm_ioctl(v->fd, KVM_ENABLE_CAP, &pv);
        if (r < 0)
            return err_sys(e, r, "/dev/kvm: paravirtual features cannot be limited");
    }
    adopt(v);
    return 0;
}
