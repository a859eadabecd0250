#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "base/range.h"

/* Where KVM on Intel may put four pages of its own (KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_TSS_ADDR): under the
 * firmware's flash, above the local APIC, where no board puts anything. */
#define PRIVATE_PAGES 0xfeffc000ull

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
    int r = ioctl(fd, request, arg);

    return r < 0 ? -errno : r;
}

int kvm_ioctl_value(int fd, unsigned long request, unsigned long value)
{
    int r = ioctl(fd, request, value);

    return r < 0 ? -errno : r;
}

int kvm_dev_open(struct err *e)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), version;

    if (fd < 0) {
        int code = errno;

        if (code == ENOENT)
            return err_set(e, code,
                           "/dev/kvm: not there (no virtualisation in this processor or its firmware, or "
                           "module kvm_intel or "
                           "kvm_amd not loaded); use --accel soft");
        if (code == EACCES || code == EPERM)
            return err_set(e, code, "/dev/kvm: %s; join group kvm or use --accel soft", strerror(code));
        return err_sys(e, code, "/dev/kvm: cannot be opened; use --accel soft");
    }
    version = kvm_ioctl_value(fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION) {
        close(fd);
        if (version < 0)
            return err_set(e, ENODEV, "/dev/kvm: is not a KVM device (%s); use --accel soft",
                           strerror(-version));
        return err_set(e, ENODEV, "/dev/kvm: speaks version %d of the interface, not %d; use --accel soft",
                       version, KVM_API_VERSION);
    }
    return fd;
}

static int cap(const struct kvm_accel *k, unsigned which)
{
    int r = kvm_ioctl_value(k->vm >= 0 ? k->vm : k->dev, KVM_CHECK_EXTENSION, which);

    return r < 0 ? 0 : r;
}

static int enable(struct kvm_accel *k, uint32_t which, uint64_t arg)
{
    struct kvm_enable_cap c = {.cap = which, .args = {arg}};

    return kvm_ioctl(k->vm, KVM_ENABLE_CAP, &c);
}

static int check_needed(struct kvm_accel *k, struct err *e)
{
    static const struct {
        unsigned cap;
        const char *name;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "USER_MEMORY"},
        {KVM_CAP_SPLIT_IRQCHIP, "SPLIT_IRQCHIP"},
        {KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT"},
        {KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI"},
        {KVM_CAP_IRQFD, "IRQFD"},
        {KVM_CAP_IOEVENTFD, "IOEVENTFD"},
        {KVM_CAP_XSAVE, "XSAVE"},
        {KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS"},
        {KVM_CAP_DEBUGREGS, "DEBUGREGS"},
        {KVM_CAP_MP_STATE, "MP_STATE"},
        {KVM_CAP_X2APIC_API, "X2APIC_API"},
        {KVM_CAP_ADJUST_CLOCK, "ADJUST_CLOCK"},
        {KVM_CAP_GET_TSC_KHZ, "GET_TSC_KHZ"},
        {KVM_CAP_SET_GUEST_DEBUG, "SET_GUEST_DEBUG"},
    };
    int most;

    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (!cap(k, needed[i].cap))
            return err_set(e, ENOTSUP,
                           "/dev/kvm: lacks KVM_CAP_%s (Linux 4.12 or newer has it); use --accel soft",
                           needed[i].name);
    most = cap(k, KVM_CAP_MAX_VCPUS);
    if (most > 0 && k->cfg.cpus > (unsigned)most)
        return err_set(e, EINVAL, "/dev/kvm: at most %d CPUs, %u asked for", most, k->cfg.cpus);
    return 0;
}

static void read_caps(struct kvm_accel *k)
{
    struct kvm_caps *c = &k->caps;

    c->sregs2 = cap(k, KVM_CAP_SREGS2);
    c->exception_payload = cap(k, KVM_CAP_EXCEPTION_PAYLOAD);
    c->triple_fault_event = cap(k, KVM_CAP_X86_TRIPLE_FAULT_EVENT);
    c->smm = cap(k, KVM_CAP_X86_SMM);
    c->readonly_mem = cap(k, KVM_CAP_READONLY_MEM);
    c->user_space_msr = cap(k, KVM_CAP_X86_USER_SPACE_MSR);
    c->enforce_pv = cap(k, KVM_CAP_ENFORCE_PV_FEATURE_CPUID);
    c->tsc_control = cap(k, KVM_CAP_TSC_CONTROL);
    c->tsc_offset = cap(k, KVM_CAP_VCPU_ATTRIBUTES);
    c->tsc_deadline = cap(k, KVM_CAP_TSC_DEADLINE_TIMER);
    c->mce = cap(k, KVM_CAP_MCE);
    c->guest_debug2 = cap(k, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ;
    c->any_length = cap(k, KVM_CAP_IOEVENTFD_ANY_LENGTH);
    c->emulation_exit = cap(k, KVM_CAP_EXIT_ON_EMULATION_FAILURE);
    c->slots = (uint32_t)cap(k, KVM_CAP_NR_MEMSLOTS);
    if (c->slots < 32)
        c->slots = 32;
}

static int set_up_vm(struct kvm_accel *k, struct err *e)
{
    uint64_t identity = PRIVATE_PAGES;
    /* 32-bit ids, and 0xff is no broadcast in x2APIC mode. Where KVM can be told: no directed EOI, as our
     * engine has none. */
    uint64_t x2apic = 3 | (cap(k, KVM_CAP_X2APIC_API) & 8);
    int r;

    /* Only Intel's needs them, others may refuse. */
    kvm_ioctl(k->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    kvm_ioctl_value(k->vm, KVM_SET_TSS_ADDR, PRIVATE_PAGES + MEM_PAGE);
    r = enable(k, KVM_CAP_SPLIT_IRQCHIP, KVM_LEVEL_ROUTES);
    if (r < 0)
        return err_sys(e, r, "/dev/kvm: split irqchip");
    r = enable(k, KVM_CAP_X2APIC_API, x2apic);
    if (r < 0)
        return err_sys(e, r, "/dev/kvm: x2APIC interface");
    if (k->caps.exception_payload)
        enable(k, KVM_CAP_EXCEPTION_PAYLOAD, 1);
    if (k->caps.triple_fault_event)
        enable(k, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1);
    if (k->caps.emulation_exit)
        enable(k, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
    if (k->caps.user_space_msr)
        k->caps.user_space_msr = enable(k, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN) >= 0;
    return 0;
}

static int create_vm(struct kvm_accel *k, struct err *e)
{
    int r;

    do
        r = kvm_ioctl_value(k->dev, KVM_CREATE_VM, 0);
    while (r == -EINTR);
    if (r == -EBUSY)
        return err_set(
            e, EBUSY,
            "/dev/kvm: another hypervisor (VirtualBox, VMware) holds the processor's virtualisation");
    if (r < 0)
        return err_sys(e, r, "/dev/kvm: a virtual machine cannot be created");
    k->vm = r;
    r = kvm_ioctl_value(k->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (r < (int)sizeof(struct kvm_run))
        return err_set(e, ENODEV, "/dev/kvm: gives %d bytes of shared vCPU page", r);
    k->run_size = (size_t)r;
    return 0;
}

/* The TSC rate of guests here. A VM's own answer is newer than KVM itself: ask a vCPU of a VM that is thrown
 * away otherwise. */
static int read_tsc_khz(struct kvm_accel *k, struct err *e)
{
    int r = kvm_ioctl_value(k->vm, KVM_GET_TSC_KHZ, 0), vm, fd;

    if (r <= 0) {
        vm = kvm_ioctl_value(k->dev, KVM_CREATE_VM, 0);
        fd = vm < 0 ? vm : kvm_ioctl_value(vm, KVM_CREATE_VCPU, 0);
        r = fd < 0 ? fd : kvm_ioctl_value(fd, KVM_GET_TSC_KHZ, 0);
        if (fd >= 0)
            close(fd);
        if (vm >= 0)
            close(vm);
    }
    if (r <= 0)
        return err_set(e, ENOTSUP, "/dev/kvm: the host's TSC has no stable rate; use --accel soft");
    k->tsc_khz = (uint32_t)r;
    return 0;
}

static int build_cpuid(struct kvm_accel *k, struct err *e)
{
    struct x86_cpu_config c = {
        .model = k->cfg.cpu_model, .cpus = k->cfg.cpus, .tsc_khz = k->tsc_khz, .hypervisor_leaves = true};
    int r = kvm_features(k, &c.allow, e);

    k->cpuid = calloc(k->cfg.cpus, sizeof *k->cpuid);
    k->vcpus = calloc(k->cfg.cpus, sizeof *k->vcpus);
    if (!k->cpuid || !k->vcpus)
        return err_set(e, ENOMEM, "kvm: out of memory");
    x86_host_read(&k->host);
    for (c.apic_id = 0; !r && c.apic_id < k->cfg.cpus; c.apic_id++)
        r = x86_cpuid_build_on(&k->cpuid[c.apic_id], &c, &k->host, e);
    return r;
}

static void kvm_close(struct accel *a)
{
    struct kvm_accel *k = kvm_of(a);

    kvm_slots_free(k);
    kvm_routes_free(k);
    free(k->vcpus);
    free(k->cpuid);
    if (k->vm >= 0)
        close(k->vm);
    if (k->dev >= 0)
        close(k->dev);
    lock_destroy(&k->slots_lock);
    lock_destroy(&k->routes_lock);
    free(k);
}

static void kvm_stats(struct accel *a, struct accel_stats *out)
{
    struct kvm_accel *k = kvm_of(a);

    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < k->cfg.cpus; i++) {
        struct kvm_vcpu *v = k->vcpus[i];
        struct timespec t;

        if (!v)
            continue;
        out->exits_pio += v->stats.pio;
        out->exits_mmio += v->stats.mmio;
        out->exits_halt += v->stats.halt;
        out->exits_other += v->stats.other;
        out->interrupts += v->stats.interrupts;
        out->refused += v->stats.refused;
        /* The thread's CPU time is what its vCPU did not sleep. A thread that has ended leaves its last word.
         */
        if (v->inside && clock_gettime(v->cpu_clock, &t) == 0)
            out->run_ns += (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
        else
            out->run_ns += v->cpu_ns;
    }
}

static const struct x86_cpuid *kvm_cpuid(struct accel *a, unsigned index)
{
    return &kvm_of(a)->cpuid[index];
}

static uint32_t kvm_tsc_khz(struct accel *a)
{
    return kvm_of(a)->tsc_khz;
}

static const struct accel_ops kvm_ops = {
    .name = "kvm",
    .close = kvm_close,
    .vcpu_new = kvm_vcpu_new,
    .vcpu_free = kvm_vcpu_free,
    .vcpu_run = kvm_vcpu_run,
    .vcpu_kick = kvm_vcpu_kick,
    .vcpu_quiesce = kvm_vcpu_quiesce,
    .vcpu_get = kvm_vcpu_get,
    .vcpu_set = kvm_vcpu_set,
    .vcpu_debug = kvm_vcpu_debug,
    .vcpu_translate = kvm_vcpu_translate,
    .vcpu_nmi = kvm_vcpu_nmi,
    .msi = kvm_msi,
    .extint = kvm_extint,
    .time_stopped = kvm_time_stopped,
    .irqfd = kvm_irqfd,
    .doorbell = kvm_doorbell,
    .dirty_log = kvm_dirty_log,
    .dirty_collect = kvm_dirty_collect,
    .stats = kvm_stats,
    .cpuid = kvm_cpuid,
    .tsc_khz = kvm_tsc_khz,
};

struct accel *accel_kvm_open(const struct accel_config *cfg, struct err *e)
{
    struct kvm_accel *k = calloc(1, sizeof *k);
    int r;

    if (!k) {
        err_set(e, ENOMEM, "kvm: out of memory");
        return NULL;
    }
    k->a.ops = &kvm_ops;
    k->cfg = *cfg;
    k->vm = -1;
    lock_init(&k->slots_lock, LOCK_LEAF);
    lock_init(&k->routes_lock, LOCK_LEAF);
    k->dev = kvm_dev_open(e);
    r = k->dev < 0 ? k->dev : kvm_kick_signal() < 0 ? err_set(e, EINVAL, "kvm: no signal for kicks") : 0;
    if (!r)
        r = create_vm(k, e);
    if (!r)
        r = check_needed(k, e);
    if (!r) {
        read_caps(k);
        r = set_up_vm(k, e);
    }
    if (!r)
        r = read_tsc_khz(k, e);
    if (!r)
        r = build_cpuid(k, e);
    if (!r)
        r = kvm_routes_init(k, e);
    if (r) {
        kvm_close(&k->a);
        return NULL;
    }
    kvm_slots_init(k);
    return &k->a;
}
