#include <string.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "x86/regs.h"

/* DR7 from what gdb wants: local enable bits, type and length fields (SDM 3B 17.2.4). */
static uint64_t dr7_of(const struct vcpu_debug *d)
{
    uint64_t dr7 = 0x400;

    for (unsigned i = 0; i < 4; i++) {
        uint64_t len = d->hw[i].len == 8 ? 2 : d->hw[i].len == 4 ? 3 : d->hw[i].len == 2 ? 1 : 0;

        if (d->hw[i].on)
            dr7 |= 1ull << (2 * i) | (d->hw[i].type & 3ull) << (16 + 4 * i) |
                   (d->hw[i].type ? len : 0) << (18 + 4 * i);
    }
    return dr7;
}

int kvm_vcpu_debug(struct vcpu *vcpu, const struct vcpu_debug *d, struct err *e)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    struct kvm_guest_debug g = {0};
    bool hw = false;
    int r;

    for (unsigned i = 0; i < 4; i++) {
        hw |= d->hw[i].on;
        g.arch.debugreg[i] = d->hw[i].on ? d->hw[i].addr : 0;
    }
    g.arch.debugreg[7] = dr7_of(d);
    if (d->single_step)
        g.control |= KVM_GUESTDBG_SINGLESTEP | (v->k->caps.guest_debug2 ? KVM_GUESTDBG_BLOCKIRQ : 0);
    if (d->software_breaks)
        g.control |= KVM_GUESTDBG_USE_SW_BP;
    if (hw)
        g.control |= KVM_GUESTDBG_USE_HW_BP;
    if (g.control)
        g.control |= KVM_GUESTDBG_ENABLE;
    r = kvm_ioctl(v->fd, KVM_SET_GUEST_DEBUG, &g);
    if (r < 0)
        return err_sys(e, r, "kvm: breakpoints and single step of virtual CPU %u", v->v.index);
    v->debug = *d;
    return 0;
}

void kvm_debug_exit(struct kvm_vcpu *v, struct vcpu_exit_info *info)
{
    const struct kvm_debug_exit_arch *d = &v->run->debug.arch;

    *info = (struct vcpu_exit_info){.rip = d->pc, .dr6 = d->dr6, .software_break = d->exception == X86_BP};
    for (unsigned i = 0; !info->software_break && i < 4; i++)
        if (d->dr6 >> i & 1 && v->debug.hw[i].on && v->debug.hw[i].type)
            info->watch_addr = v->debug.hw[i].addr;
}

int kvm_vcpu_translate(struct vcpu *vcpu, uint64_t linear, uint64_t *gpa)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    struct x86_state s = {0};
    int r = kvm_state_get(v, &s, KVM_PART_REGS, NULL);

    return r ? r : kvm_walk(v->k->cfg.mem, &s, linear, gpa);
}
