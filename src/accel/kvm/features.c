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

        k.entry[i] = (struct kvm_cpuid_entry2){
            .function = l->leaf, .index = l->subleaf, .flags = l->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = l->eax, .ebx = l->ebx, .ecx = l->ecx, .edx = l->edx};
    }
    r = kvm_ioctl(v->fd, KVM_SET_CPUID2, &k);
    if (r < 0)
        return err_sys(e, r, "/dev/kvm: CPUID of CPU model %s is refused", v->k->cfg.cpu_model ? v->k->cfg.cpu_model : "default");
    if (v->k->caps.enforce_pv) {
        r = kvm_ioctl(v->fd, KVM_ENABLE_CAP, &pv);
        if (r < 0)
            return err_sys(e, r, "/dev/kvm: paravirtual features cannot be limited");
    }
    return 0;
}
