#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"
#include "x86/msr.h"

/* Exits that come with work. What KVM puts into the shared page is the guest's doing: sizes and offsets are
 * checked before use. */

static void count(_Atomic uint64_t *c)
{
    atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
}

static int serve_io(struct kvm_vcpu *v, struct err *e)
{
    struct kvm_run *run = v->run;
    unsigned size = run->io.size;
    uint64_t at = run->io.data_offset, n = run->io.count;
    uint8_t *p = (uint8_t *)run + at;

    if ((size != 1 && size != 2 && size != 4) || !range_inside(at, n * size, v->k->run_size))
        return err_set(e, EIO, "kvm: port exit of %u bytes, %llu times", size, (unsigned long long)n);
    count(&v->stats.pio);
    for (; n; n--, p += size) {
        uint32_t value = 0;

        if (run->io.direction == KVM_EXIT_IO_OUT) {
            memcpy(&value, p, size);
            bus_write(v->k->cfg.bus, run->io.port, size, value);
        } else {
            value = bus_read(v->k->cfg.bus, run->io.port, size);
            memcpy(p, &value, size);
        }
    }
    v->unfinished = true;
    return 0;
}

/* KVM splits an access at pages and at eight bytes, but may pass 3, 5, 6 or 7 bytes of an unaligned one:
 * those go in powers of two. */
static int serve_mmio(struct kvm_vcpu *v, struct err *e)
{
    struct kvm_run *run = v->run;
    unsigned left = run->mmio.len;
    uint64_t gpa = run->mmio.phys_addr;
    uint8_t *p = run->mmio.data;

    if (left < 1 || left > 8)
        return err_set(e, EIO, "kvm: memory exit of %u bytes", left);
    count(&v->stats.mmio);
    while (left) {
        unsigned n = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        uint64_t value = 0;

        if (run->mmio.is_write) {
            memcpy(&value, p, n);
            mem_mmio_write(v->k->cfg.mem, gpa, n, value);
        } else {
            value = mem_mmio_read(v->k->cfg.mem, gpa, n);
            memcpy(p, &value, n);
        }
        p += n;
        gpa += n;
        left -= n;
    }
    v->unfinished = true;
    return 0;
}

/* An MSR that KVM does not have: the table's word, as on the software engine. */
static void serve_msr(struct kvm_vcpu *v, bool write)
{
    struct kvm_run *run = v->run;
    const struct x86_cpuid *c = &v->k->cpuid[v->v.index];
    const struct x86_msr_info *m = x86_msr_find(c, run->msr.index);
    uint64_t value = m ? x86_msr_reset(c, run->msr.index) : 0;

    count(&v->stats.other);
    if (!m || (!write && (m->flags & X86_MSR_WRITEONLY)))
        run->msr.error = 1;
    else if (!write)
        run->msr.data = value;
    else
        run->msr.error =
            !(m->flags & X86_MSR_IGNORE) && ((m->flags & X86_MSR_READONLY) || run->msr.data != value);
    v->unfinished = true;
}

/* The bytes of an instruction that was not emulated; none: even the fetch failed. */
static unsigned refused_bytes(const struct kvm_run *run, uint8_t out[15])
{
    unsigned n = run->emulation_failure.insn_size;

    if (run->emulation_failure.ndata < 3 ||
        !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
        return 0;
    n = n > 15 ? 15 : n;
    memcpy(out, run->emulation_failure.insn_bytes, n);
    return n;
}

/* An instruction that KVM did not emulate. 0: done. 1: *x. */
static int serve_refused(struct kvm_vcpu *v, enum vcpu_exit *x, struct vcpu_exit_info *info, struct err *e)
{
    struct kvm_run *run = v->run;
    struct kvm_regs regs = {0};
    char text[3 * 15 + 1] = "";
    uint8_t bytes[15];
    unsigned n = refused_bytes(run, bytes);

    *x = VCPU_FAILED;
    if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
        return err_set(e, EIO, "kvm: internal error %u in virtual CPU %u", run->internal.suberror,
                       v->v.index) != 0;
    /* No bytes: a memory slot may have been about to change. */
    if (!n && v->refetch++ < 3)
        return 0;
    count(&v->stats.refused);
    kvm_ioctl(v->fd, KVM_GET_REGS, &regs);
    if (v->debug.software_breaks && n && bytes[0] == 0xcc) {
        *info = (struct vcpu_exit_info){.rip = regs.rip, .software_break = true};
        *x = VCPU_DEBUG;
        return 1;
    }
    if (kvm_complete(v, e)) {
        for (unsigned i = 0; i < n; i++)
            snprintf(text + 3 * i, 4, "%02x ", bytes[i]);
        return err_prefix(e, EIO, "kvm refused the instruction %sat rip %#llx", text,
                          (unsigned long long)regs.rip) != 0;
    }
    if (!v->debug.single_step || kvm_ioctl(v->fd, KVM_GET_REGS, &regs))
        return 0;
    *info = (struct vcpu_exit_info){.rip = regs.rip, .dr6 = 1 << 14};
    *x = VCPU_DEBUG;
    return 1;
}

static int failed(enum vcpu_exit *x, int r)
{
    *x = VCPU_FAILED;
    return r ? 1 : 0;
}

int kvm_exit(struct kvm_vcpu *v, enum vcpu_exit *x, struct vcpu_exit_info *info, struct err *e)
{
    struct kvm_run *run = v->run;

    if (run->exit_reason != KVM_EXIT_INTERNAL_ERROR)
        v->refetch = 0;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        return failed(x, serve_io(v, e));
    case KVM_EXIT_MMIO:
        return failed(x, serve_mmio(v, e));
    case KVM_EXIT_IOAPIC_EOI:
        count(&v->stats.other);
        if (v->k->cfg.cb.eoi)
            v->k->cfg.cb.eoi(v->k->cfg.cb.opaque, run->eoi.vector);
        return 0;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        serve_msr(v, run->exit_reason == KVM_EXIT_X86_WRMSR);
        return 0;
    case KVM_EXIT_INTERNAL_ERROR:
        return serve_refused(v, x, info, e);
    case KVM_EXIT_HLT:
        count(&v->stats.halt);
        return 0;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR:
        count(&v->stats.other);
        return 0;
    case KVM_EXIT_DEBUG:
        kvm_debug_exit(v, info);
        *x = VCPU_DEBUG;
        return 1;
    case KVM_EXIT_SHUTDOWN:
        *x = VCPU_TRIPLE_FAULT;
        return 1;
    case KVM_EXIT_FAIL_ENTRY:
        return failed(x, err_set(e, EIO, "kvm: the processor refuses to enter the guest (reason %#llx)",
                                 (unsigned long long)run->fail_entry.hardware_entry_failure_reason));
    default:
        return failed(
            x, err_set(e, EIO, "kvm: unexpected exit %u of virtual CPU %u", run->exit_reason, v->v.index));
    }
}
