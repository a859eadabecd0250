#include <errno.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "x86/msr.h"
#include "x86/regs.h"

/* The table's saved MSRs, passed in one call. KVM stops at the first it does not take and says how far it
 * came. */

struct batch {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[X86_MAX_MSRS];
};

int kvm_msr_get(struct kvm_vcpu *v, uint32_t index, uint64_t *value)
{
    struct batch b = {.head = {.nmsrs = 1}, .entry = {{.index = index}}};
    int r = kvm_ioctl(v->fd, KVM_GET_MSRS, &b);

    *value = b.entry[0].data;
    return r == 1 ? 0 : r < 0 ? r : -ENOENT;
}

int kvm_msr_set(struct kvm_vcpu *v, uint32_t index, uint64_t value)
{
    struct batch b = {.head = {.nmsrs = 1}, .entry = {{.index = index, .data = value}}};
    int r = kvm_ioctl(v->fd, KVM_SET_MSRS, &b);

    return r == 1 ? 0 : r < 0 ? r : -EINVAL;
}

/* KVM_GET_MSR_INDEX_LIST leaves out MTRRs and machine-check banks that KVM has all the same: so each is asked
 * for. */
int kvm_msrs_find(struct kvm_vcpu *v, struct err *e)
{
    struct kvm_accel *k = v->k;
    const struct x86_cpuid *c = &k->cpuid[v->v.index];
    size_t rows;
    const struct x86_msr_info *t = x86_msr_table(&rows);

    k->msr_count = 0;
    for (size_t i = 0; i < rows; i++) {
        if (!(t[i].flags & X86_MSR_SAVE) || !x86_msr_find(c, t[i].first))
            continue;
        for (uint32_t n = 0; n < t[i].count && k->msr_count < X86_MAX_MSRS; n++) {
            uint64_t value;
            int r = kvm_msr_get(v, t[i].first + n, &value);

            /* A KVM may not let its feature MSRs be chosen: the guest then sees what the host has. */
            if (r == 0 && t[i].flags & X86_MSR_READONLY &&
                kvm_msr_set(v, t[i].first + n, x86_msr_reset(c, t[i].first + n)))
                continue;
            if (r == 0)
                k->msrs[k->msr_count++] = t[i].first + n;
            else if (r != -ENOENT)
                return err_sys(e, r, "kvm: MSRs cannot be read");
        }
    }
    return 0;
}

int kvm_msrs_get(struct kvm_vcpu *v, struct x86_state *s, struct err *e)
{
    struct kvm_accel *k = v->k;
    struct batch b = {.head = {.nmsrs = k->msr_count}};
    int r;

    for (uint32_t i = 0; i < k->msr_count; i++)
        b.entry[i].index = k->msrs[i];
    r = k->msr_count ? kvm_ioctl(v->fd, KVM_GET_MSRS, &b) : 0;
    if (r < 0 || (uint32_t)r != k->msr_count)
        return err_set(e, EIO, "kvm: MSR %#x of virtual CPU %u cannot be read", k->msrs[r < 0 ? 0 : r],
                       v->v.index);
    s->msr_count = 0;
    for (uint32_t i = 0; i < k->msr_count; i++) {
        uint64_t value = b.entry[i].data;

        if (v->frozen && k->msrs[i] == MSR_TSC_DEADLINE)
            value = v->frozen_deadline;
        r = x86_state_msr_set(s, k->msrs[i], value);
        if (r)
            return err_set(e, r, "kvm: more MSRs than the state has room for");
    }
    return 0;
}

static bool known(const struct kvm_accel *k, uint32_t index)
{
    for (uint32_t i = 0; i < k->msr_count; i++)
        if (k->msrs[i] == index)
            return true;
    return false;
}

/* What is right already is not written: KVM logs writes that it ignores, and a feature MSR may not be written
 * once the CPU has run. The deadline is, for setting the local APIC has stopped its timer. */
static void drop_equal(struct kvm_vcpu *v, struct batch *b)
{
    struct batch now = *b;
    uint32_t kept = 0;

    if (!b->head.nmsrs || kvm_ioctl(v->fd, KVM_GET_MSRS, &now) != (int)b->head.nmsrs)
        return;
    for (uint32_t i = 0; i < b->head.nmsrs; i++)
        if (now.entry[i].data != b->entry[i].data || b->entry[i].index == MSR_TSC_DEADLINE)
            b->entry[kept++] = b->entry[i];
    b->head.nmsrs = kept;
}

/* MSRs of the state that this KVM lacks are dropped when they hold what they do at reset, and refused by name
 * otherwise. */
int kvm_msrs_set(struct kvm_vcpu *v, const struct x86_state *s, struct err *e)
{
    const struct x86_cpuid *c = &v->k->cpuid[v->v.index];
    struct batch b = {.head = {.nmsrs = 0}};
    int r;

    if (s->msr_count > X86_MAX_MSRS)
        return err_set(e, EINVAL, "virtual CPU %u: %u MSRs are more than there can be", v->v.index,
                       s->msr_count);
    for (uint32_t i = 0; i < s->msr_count; i++) {
        const struct x86_msr *m = &s->msrs[i];

        if (known(v->k, m->index))
            b.entry[b.head.nmsrs++] = (struct kvm_msr_entry){.index = m->index, .data = m->value};
        else if (m->value && m->value != x86_msr_reset(c, m->index))
            return err_set(e, EINVAL, "kvm: has no MSR %#x, which the state needs (value %#llx)", m->index,
                           (unsigned long long)m->value);
        if (v->frozen && m->index == MSR_TSC_DEADLINE)
            v->frozen_deadline = m->value;
    }
    drop_equal(v, &b);
    r = b.head.nmsrs ? kvm_ioctl(v->fd, KVM_SET_MSRS, &b) : 0;
    if (r < 0)
        return err_sys(e, r, "kvm: MSRs of virtual CPU %u", v->v.index);
    if ((uint32_t)r != b.head.nmsrs)
        return err_set(e, EINVAL, "kvm: refuses MSR %#x = %#llx", b.entry[r].index,
                       (unsigned long long)b.entry[r].data);
    return 0;
}
