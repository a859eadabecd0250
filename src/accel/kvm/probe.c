#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "host/host.h"
#include "x86/regs.h"

/* Silicon does more than a thousand million instructions a second, a hypervisor under an emulator of
 * processors a hundred; a KVM that emulates guest kernel code does a few. */
static const double slow_mips = 30;

/* mov ecx by register file; 1: dec ecx; jnz 1b; hlt, in 32-bit code. */
static const uint8_t loop_code[] = {0x49, 0x75, 0xfd, 0xf4};

struct probe {
    int dev, vm, vcpu;
    uint8_t *page;
    struct kvm_run *run;
    size_t run_size;
};

static int set_up(struct probe *p, struct err *e)
{
    struct kvm_userspace_memory_region m = {.guest_phys_addr = 0x1000, .memory_size = MEM_PAGE};
    struct kvm_segment code = {
        .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
    struct kvm_segment data = {
        .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
    struct kvm_sregs s;
    int r;

    do
        p->vm = kvm_ioctl_value(p->dev, KVM_CREATE_VM, 0);
    while (p->vm == -EINTR);
    if (p->vm < 0)
        return err_sys(e, p->vm, "/dev/kvm: a virtual machine cannot be created");
    kvm_ioctl_value(p->vm, KVM_SET_TSS_ADDR, 0xfeffd000);
    p->page = mmap(NULL, MEM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->page == MAP_FAILED)
        return err_sys(e, errno, "kvm: a page for the probe");
    memcpy(p->page, loop_code, sizeof loop_code);
    m.userspace_addr = (uintptr_t)p->page;
    r = kvm_ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &m);
    if (r >= 0)
        r = p->vcpu = kvm_ioctl_value(p->vm, KVM_CREATE_VCPU, 0);
    if (r < 0)
        return err_sys(e, r, "/dev/kvm: a virtual CPU cannot be created");
    p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
    if (p->run == MAP_FAILED)
        return err_sys(e, errno, "/dev/kvm: shared page of a virtual CPU");
    r = kvm_ioctl(p->vcpu, KVM_GET_SREGS, &s);
    s.cr0 |= CR0_PE;
    s.cs = code;
    s.ds = s.es = s.fs = s.gs = s.ss = data;
    if (r >= 0)
        r = kvm_ioctl(p->vcpu, KVM_SET_SREGS, &s);
    return r < 0 ? err_sys(e, r, "/dev/kvm: registers of a virtual CPU") : 0;
}

/* Run the loop n times; nanoseconds, or -errno. */
static int64_t run_loop(struct probe *p, uint32_t n)
{
    struct kvm_regs regs = {.rip = 0x1000, .rflags = 2, .rcx = n};
    uint64_t start;
    int r = kvm_ioctl(p->vcpu, KVM_SET_REGS, &regs);

    if (r < 0)
        return r;
    start = host_now_ns();
    do
        r = kvm_ioctl_value(p->vcpu, KVM_RUN, 0);
    while (r == -EINTR || r == -EAGAIN);
    if (r < 0)
        return r;
    if (p->run->exit_reason != KVM_EXIT_HLT)
        return -EIO;
    return (int64_t)(host_now_ns() - start);
}

static int measure(struct probe *p, double *mips, struct err *e)
{
    uint64_t start = host_now_ns();

    /* From few rounds to many, the best of them: the first ones fault memory in, and any may be preempted. A
     * slow host is found out in some 15 ms. */
    for (uint32_t n = 1; n <= 8000000 && *mips < 20 * slow_mips; n *= 8) {
        int64_t ns = run_loop(p, n);
        double speed = 2e3 * n / (double)(ns > 0 ? ns : 1);

        if (ns == -EIO)
            return err_set(e, EIO,
                           "/dev/kvm: a loop of three instructions ended with exit %u; use --accel soft",
                           p->run->exit_reason);
        if (ns < 0)
            return err_sys(e, (int)ns, "/dev/kvm: does not run code; use --accel soft");
        if (speed > *mips)
            *mips = speed;
        if (n > 512 && host_now_ns() - start > 10000000)
            break;
    }
    if (*mips < slow_mips)
        return err_set(
            e, EOPNOTSUPP,
            "/dev/kvm: emulates guest kernel code (%.1f million instructions a second); use --accel soft",
            *mips);
    return 0;
}

int accel_kvm_probe(double *mips, struct err *e)
{
    struct probe p = {.dev = kvm_dev_open(e), .vm = -1, .vcpu = -1, .page = MAP_FAILED, .run = MAP_FAILED};
    double speed = 0;
    int r = p.dev;

    if (r >= 0) {
        r = kvm_ioctl_value(p.dev, KVM_GET_VCPU_MMAP_SIZE, 0);
        p.run_size = r > 0 ? (size_t)r : sizeof(struct kvm_run);
        r = set_up(&p, e);
    }
    if (!r)
        r = measure(&p, &speed, e);
    if (mips)
        *mips = speed;
    if (p.run != MAP_FAILED)
        munmap(p.run, p.run_size);
    if (p.vcpu >= 0)
        close(p.vcpu);
    if (p.vm >= 0)
        close(p.vm);
    if (p.page != MAP_FAILED)
        munmap(p.page, MEM_PAGE);
    if (p.dev >= 0)
        close(p.dev);
    return r;
}
