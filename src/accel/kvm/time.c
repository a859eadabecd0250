#include <errno.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "guest/clock.h"
#include "x86/regs.h"

/* Guest time: the TSC, the paravirtual clock, the APIC timers. While the machine's clock stands, so do they:
 * what they showed is remembered and they go on from there. */

static uint64_t host_tsc(void)
{
    return __builtin_ia32_rdtsc();
}

/* All of a guest's vCPUs get one offset, though they are set one after the other: what is within a second is
 * the same. */
static int64_t shared_offset(struct kvm_accel *k, int64_t offset)
{
    int64_t second = (int64_t)k->tsc_khz * 1000, diff = offset - k->tsc_offset;

    if (!k->tsc_offset_known || diff > second || diff < -second)
        k->tsc_offset = offset;
    k->tsc_offset_known = true;
    return k->tsc_offset;
}

static struct kvm_device_attr offset_attr(int64_t *offset)
{
    return (struct kvm_device_attr){
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset};
}

/* Make the guest's TSC `value` at the moment when the host's was `at`. */
static int set_tsc(struct kvm_vcpu *v, uint64_t value, uint64_t at)
{
    int64_t offset = shared_offset(v->k, (int64_t)(value - at));
    struct kvm_device_attr a = offset_attr(&offset);

    if (v->k->caps.tsc_offset && kvm_ioctl(v->fd, KVM_SET_DEVICE_ATTR, &a) == 0)
        return 0;
    return kvm_msr_set(v, MSR_TSC, host_tsc() + (uint64_t)offset);
}

static int set_rate(struct kvm_vcpu *v, uint32_t khz, struct err *e)
{
    struct kvm_accel *k = v->k;
    uint64_t diff = khz > k->tsc_khz ? khz - k->tsc_khz : k->tsc_khz - khz;
    int r;

    /* Guests bear 250 ppm (NTP corrects 500); and not to scale is faster. */
    if (!khz || diff * 4000 <= k->tsc_khz)
        return 0;
    r = k->caps.tsc_control ? kvm_ioctl_value(v->fd, KVM_SET_TSC_KHZ, khz) : -ENOTSUP;
    if (r < 0)
        return err_set(e, ENOTSUP,
                       "the guest's TSC runs at %u kHz and this host's at %u kHz, which it cannot scale; use "
                       "--accel soft",
                       khz, k->tsc_khz);
    k->caps.tsc_offset = false; /* offsets count scaled ticks: leave them to KVM */
    return 0;
}

int kvm_time_get(struct kvm_vcpu *v, struct x86_state *s, struct err *e)
{
    struct kvm_accel *k = v->k;
    struct kvm_clock_data clock = {0};
    int r = kvm_msr_get(v, MSR_TSC, &s->tsc), khz = kvm_ioctl_value(v->fd, KVM_GET_TSC_KHZ, 0);

    if (!r && k->stopped)
        s->tsc -= host_tsc() - k->stop_tsc;
    s->tsc_khz = khz > 0 ? (uint32_t)khz : k->tsc_khz;
    if (!r && !k->stopped)
        r = kvm_ioctl(k->vm, KVM_GET_CLOCK, &clock);
    s->pvclock_ns = k->stopped ? k->clock_ns : clock.clock;
    return r ? err_sys(e, r, "kvm: time of virtual CPU %u", v->v.index) : 0;
}

int kvm_time_set(struct kvm_vcpu *v, const struct x86_state *s, struct err *e)
{
    struct kvm_accel *k = v->k;
    int r = set_rate(v, s->tsc_khz, e);

    if (r)
        return r;
    r = set_tsc(v, s->tsc, k->stopped ? k->stop_tsc : host_tsc());
    if (r)
        return err_sys(e, r, "kvm: TSC of virtual CPU %u", v->v.index);
    if (v->v.index == 0 && s->pvclock_ns) {
        struct kvm_clock_data clock = {.clock = s->pvclock_ns};

        k->clock_ns = s->pvclock_ns;
        k->clock_known = true;
        if (!k->stopped)
            kvm_ioctl(k->vm, KVM_SET_CLOCK, &clock);
    }
    return 0;
}

static void freeze(struct kvm_vcpu *v)
{
    if (kvm_lapic_get(v, &v->frozen_lapic, NULL) == 0) {
        if (kvm_msr_get(v, MSR_TSC_DEADLINE, &v->frozen_deadline))
            v->frozen_deadline = 0;
        v->frozen = true;
    }
}

/* The timers go on with what was left. */
static void thaw(struct kvm_vcpu *v)
{
    struct x86_lapic l;
    bool running = v->frozen_lapic.timer_remaining_ns || v->frozen_deadline;

    if (v->frozen && running && kvm_lapic_get(v, &l, NULL) == 0) {
        kvm_lapic_set(v, &l, NULL);
        if (v->frozen_deadline)
            kvm_msr_set(v, MSR_TSC_DEADLINE, v->frozen_deadline);
    }
    v->frozen = false;
    /* Tells the guest that it was stopped, so that its watchdogs forgive; refused where it has no such clock.
     */
    kvm_ioctl_value(v->fd, KVM_KVMCLOCK_CTRL, 0);
}

static void stop(struct kvm_accel *k)
{
    struct kvm_clock_data clock = {0};

    k->stop_tsc = host_tsc();
    k->clock_known = kvm_ioctl(k->vm, KVM_GET_CLOCK, &clock) >= 0;
    k->clock_ns = clock.clock;
    k->stopped = true;
    for (unsigned i = 0; i < k->cfg.cpus; i++)
        if (k->vcpus[i])
            freeze(k->vcpus[i]);
}

static void restart(struct kvm_accel *k)
{
    struct kvm_clock_data clock = {.clock = k->clock_known ? k->clock_ns : clock_now(k->cfg.clock)};
    uint64_t slept = host_tsc() - k->stop_tsc;

    for (unsigned i = 0; k->stopped && i < k->cfg.cpus; i++) {
        struct kvm_vcpu *v = k->vcpus[i];
        uint64_t tsc;

        if (v && kvm_msr_get(v, MSR_TSC, &tsc) == 0) {
            if (i == 0)
                k->tsc_offset_known = false;
            set_tsc(v, tsc - slept, host_tsc());
        }
    }
    kvm_ioctl(k->vm, KVM_SET_CLOCK, &clock);
    k->stopped = false;
    for (unsigned i = 0; i < k->cfg.cpus; i++)
        if (k->vcpus[i])
            thaw(k->vcpus[i]);
}

void kvm_time_stopped(struct accel *a, bool stopped)
{
    struct kvm_accel *k = kvm_of(a);

    if (stopped && !k->stopped)
        stop(k);
    else if (!stopped)
        restart(k);
}
