#include <string.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "x86/regs.h"

enum { LVT_MASKED = 1 << 16, TIMER_MODE = 3 << 17, TIMER_DEADLINE = 2 << 17, TIMER_PERIODIC = 1 << 17 };

static bool bit_of(const uint32_t *regs, unsigned first, unsigned vector)
{
    return regs[first + vector / 32] >> (vector & 31) & 1;
}

/* Divide configuration (SDM 3A figure 11-10): bits 0, 1, 3; 111 divides by one. */
static uint64_t divider(const struct x86_lapic *l)
{
    uint32_t d = l->regs[X86_LAPIC_TIMER_DIVIDE], n = (d & 3) | (d & 8) >> 1;

    return n == 7 ? 1 : 2ull << n;
}

static void timer_in(struct x86_lapic *l)
{
    uint32_t lvt = l->regs[X86_LAPIC_LVT_TIMER], mode = lvt & TIMER_MODE;
    uint64_t ns_per_count = divider(l) * (1000000000u / X86_APIC_BUS_HZ);

    l->timer_remaining_ns = 0;
    if (mode == TIMER_DEADLINE || !l->regs[X86_LAPIC_TIMER_INITIAL])
        return;
    l->timer_remaining_ns = l->regs[X86_LAPIC_TIMER_CURRENT] * ns_per_count;
    /* A one-shot that has run out may wait inside KVM for the next entry, invisible here: better once too
     * often than never. */
    if (!l->timer_remaining_ns && !(lvt & LVT_MASKED) && !bit_of(l->regs, X86_LAPIC_IRR, lvt & 0xff) &&
        !bit_of(l->regs, X86_LAPIC_ISR, lvt & 0xff))
        l->timer_remaining_ns = 1;
}

int kvm_lapic_get(struct kvm_vcpu *v, struct x86_lapic *l, struct err *e)
{
    struct kvm_lapic_state k;
    int r = kvm_ioctl(v->fd, KVM_GET_LAPIC, &k);

    if (r < 0)
        return err_sys(e, r, "kvm: local APIC of virtual CPU %u cannot be read", v->v.index);
    for (unsigned i = 0; i < 64; i++)
        memcpy(&l->regs[i], k.regs + 16 * i, 4);
    timer_in(l);
    if (v->frozen) {
        /* Time stands still: KVM's timer may have gone on. */
        uint32_t vector = v->frozen_lapic.regs[X86_LAPIC_LVT_TIMER] & 0xff;

        l->timer_remaining_ns = v->frozen_lapic.timer_remaining_ns;
        l->regs[X86_LAPIC_TIMER_CURRENT] = v->frozen_lapic.regs[X86_LAPIC_TIMER_CURRENT];
        if (!bit_of(v->frozen_lapic.regs, X86_LAPIC_IRR, vector) &&
            (l->timer_remaining_ns || v->frozen_deadline))
            l->regs[X86_LAPIC_IRR + vector / 32] &= ~(1u << (vector & 31));
    }
    return 0;
}

int kvm_lapic_set(struct kvm_vcpu *v, const struct x86_lapic *l, struct err *e)
{
    struct kvm_lapic_state k = {{0}};
    uint64_t ns_per_count = divider(l) * (1000000000u / X86_APIC_BUS_HZ),
             left = (l->timer_remaining_ns + ns_per_count - 1) / ns_per_count;
    uint32_t current = left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
    int r;

    for (unsigned i = 0; i < 64; i++)
        memcpy(k.regs + 16 * i, &l->regs[i], 4);
    memcpy(k.regs + 16 * X86_LAPIC_TIMER_CURRENT, &current, 4);
    r = kvm_ioctl(v->fd, KVM_SET_LAPIC, &k);
    if (r < 0)
        return err_sys(e, r, "kvm: refuses the local APIC of virtual CPU %u", v->v.index);
    if (v->frozen)
        v->frozen_lapic = *l;
    return 0;
}
