#include <errno.h>
#include <string.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "x86/regs.h"

static void seg_in(struct x86_seg *o, const struct kvm_segment *k)
{
    *o = (struct x86_seg){.base = k->base, .limit = k->limit, .sel = k->selector};
    o->attr = (k->type & 0xfu) | (k->s ? X86_SEG_S : 0) | (k->dpl & 3u) << 5 | (k->present ? X86_SEG_P : 0) |
              (k->avl ? X86_SEG_AVL : 0) | (k->l ? X86_SEG_L : 0) | (k->db ? X86_SEG_DB : 0) |
              (k->g ? X86_SEG_G : 0);
    /* Intel and AMD differ in which of the two marks a null selector. */
    if (k->unusable || !k->present)
        o->attr |= X86_SEG_UNUSABLE;
}

static void seg_out(struct kvm_segment *k, const struct x86_seg *s)
{
    bool unusable = s->attr & X86_SEG_UNUSABLE;

    *k = (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->sel,
        .type = X86_SEG_TYPE(s->attr),
        .s = !!(s->attr & X86_SEG_S),
        .dpl = X86_SEG_DPL(s->attr),
        .present = (s->attr & X86_SEG_P) && !unusable,
        .avl = !!(s->attr & X86_SEG_AVL),
        .l = !!(s->attr & X86_SEG_L),
        .db = !!(s->attr & X86_SEG_DB),
        .g = !!(s->attr & X86_SEG_G),
        .unusable = unusable,
    };
}

/* kvm_sregs and kvm_sregs2 begin alike, up to apic_base; the newer one adds the PDPTRs. */
_Static_assert(offsetof(struct kvm_sregs, apic_base) == offsetof(struct kvm_sregs2, apic_base),
               "kvm_sregs layouts");

static int sregs_read(struct kvm_vcpu *v, struct kvm_sregs2 *out)
{
    struct kvm_sregs old;
    int r;

    if (v->k->caps.sregs2)
        return kvm_ioctl(v->fd, KVM_GET_SREGS2, out);
    r = kvm_ioctl(v->fd, KVM_GET_SREGS, &old);
    memset(out, 0, sizeof *out);
    memcpy(out, &old, offsetof(struct kvm_sregs, interrupt_bitmap));
    return r;
}

static int sregs_write(struct kvm_vcpu *v, struct kvm_sregs2 *in)
{
    struct kvm_sregs old = {0};

    if (v->k->caps.sregs2)
        return kvm_ioctl(v->fd, KVM_SET_SREGS2, in);
    memcpy(&old, in, offsetof(struct kvm_sregs, interrupt_bitmap));
    return kvm_ioctl(v->fd, KVM_SET_SREGS, &old);
}

static int get_sregs(struct kvm_vcpu *v, struct x86_state *s)
{
    struct kvm_sregs2 k = {0};
    const struct kvm_segment *segs[X86_SEGS] = {[X86_ES] = &k.es, [X86_CS] = &k.cs, [X86_SS] = &k.ss,
                                                [X86_DS] = &k.ds, [X86_FS] = &k.fs, [X86_GS] = &k.gs};
    int r = sregs_read(v, &k);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < X86_SEGS; i++)
        seg_in(&s->seg[i], segs[i]);
    seg_in(&s->ldtr, &k.ldt);
    seg_in(&s->tr, &k.tr);
    s->gdtr = (struct x86_dtable){.base = k.gdt.base, .limit = k.gdt.limit};
    s->idtr = (struct x86_dtable){.base = k.idt.base, .limit = k.idt.limit};
    s->cr0 = k.cr0;
    s->cr2 = k.cr2;
    s->cr3 = k.cr3;
    s->cr4 = k.cr4;
    s->cr8 = k.cr8;
    s->efer = k.efer;
    s->apic_base = k.apic_base;
    s->pdpte_valid = !!(k.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID);
    for (unsigned i = 0; i < 4; i++)
        s->pdpte[i] = s->pdpte_valid ? k.pdptrs[i] : 0;
    return 0;
}

static int set_sregs(struct kvm_vcpu *v, const struct x86_state *s)
{
    struct kvm_sregs2 k = {
        .gdt = {.base = s->gdtr.base, .limit = s->gdtr.limit},
        .idt = {.base = s->idtr.base, .limit = s->idtr.limit},
        .cr0 = s->cr0,
        .cr2 = s->cr2,
        .cr3 = s->cr3,
        .cr4 = s->cr4,
        .cr8 = s->cr8,
        .efer = s->efer,
        .apic_base = s->apic_base,
        .flags = s->pdpte_valid ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0,
    };
    struct kvm_segment *segs[X86_SEGS] = {[X86_ES] = &k.es, [X86_CS] = &k.cs, [X86_SS] = &k.ss,
                                          [X86_DS] = &k.ds, [X86_FS] = &k.fs, [X86_GS] = &k.gs};

    for (unsigned i = 0; i < X86_SEGS; i++)
        seg_out(segs[i], &s->seg[i]);
    seg_out(&k.ldt, &s->ldtr);
    seg_out(&k.tr, &s->tr);
    for (unsigned i = 0; i < 4; i++)
        k.pdptrs[i] = s->pdpte[i];
    return sregs_write(v, &k);
}

/* enum x86_gpr's order, in KVM's structure. */
#define GPRS(R)                                                                                              \
    R(X86_RAX, rax)                                                                                          \
    R(X86_RCX, rcx)                                                                                          \
    R(X86_RDX, rdx)                                                                                          \
    R(X86_RBX, rbx)                                                                                          \
    R(X86_RSP, rsp)                                                                                          \
    R(X86_RBP, rbp)                                                                                          \
    R(X86_RSI, rsi)                                                                                          \
    R(X86_RDI, rdi)                                                                                          \
    R(X86_R8, r8)                                                                                            \
    R(X86_R9, r9)                                                                                            \
    R(X86_R10, r10)                                                                                          \
    R(X86_R11, r11)                                                                                          \
    R(X86_R12, r12)                                                                                          \
    R(X86_R13, r13)                                                                                          \
    R(X86_R14, r14)                                                                                          \
    R(X86_R15, r15)

static int get_regs(struct kvm_vcpu *v, struct x86_state *s, struct err *e)
{
    struct kvm_regs g;
    struct kvm_debugregs d;
    int r = kvm_ioctl(v->fd, KVM_GET_REGS, &g);

    if (r >= 0)
        r = get_sregs(v, s);
    if (r >= 0)
        r = kvm_ioctl(v->fd, KVM_GET_DEBUGREGS, &d);
    if (r < 0)
        return err_sys(e, r, "kvm: registers of virtual CPU %u cannot be read", v->v.index);
#define R(i, name) s->gpr[i] = g.name;
    GPRS(R)
#undef R
    s->rip = g.rip;
    s->rflags = g.rflags;
    memcpy(s->dr, d.db, sizeof s->dr);
    s->dr6 = d.dr6;
    s->dr7 = d.dr7;
    return 0;
}

static int set_regs(struct kvm_vcpu *v, const struct x86_state *s, struct err *e)
{
    struct kvm_regs g = {.rip = s->rip, .rflags = s->rflags};
    struct kvm_debugregs d = {.dr6 = s->dr6, .dr7 = s->dr7};
    int r = set_sregs(v, s);

    if (r < 0)
        return err_sys(e, r,
                       "kvm: refuses the control or segment registers (cr0 %#llx, cr4 %#llx, efer %#llx)",
                       (unsigned long long)s->cr0, (unsigned long long)s->cr4, (unsigned long long)s->efer);
#define R(i, name) g.name = s->gpr[i];
    GPRS(R)
#undef R
    memcpy(d.db, s->dr, sizeof d.db);
    r = kvm_ioctl(v->fd, KVM_SET_REGS, &g);
    if (r >= 0)
        r = kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
    return r < 0 ? err_sys(e, r, "kvm: refuses registers of virtual CPU %u", v->v.index) : 0;
}

static int get_events(struct kvm_vcpu *v, struct x86_state *s, struct err *e)
{
    struct kvm_vcpu_events k = {0};
    struct x86_events *o = &s->events;
    int r = kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &k);

    if (r < 0)
        return err_sys(e, r, "kvm: pending events of virtual CPU %u", v->v.index);
    *o = (struct x86_events){
        .exc_injected = k.exception.injected,
        .exc_pending = k.exception.pending,
        .exc_vector = k.exception.nr,
        .exc_has_error = k.exception.has_error_code,
        .exc_error = k.exception.error_code,
        .int_injected = k.interrupt.injected,
        .int_vector = k.interrupt.nr,
        .int_soft = k.interrupt.soft,
        .shadow = (uint8_t)((k.interrupt.shadow & KVM_X86_SHADOW_INT_STI ? 1 : 0) |
                            (k.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? 2 : 0)),
        .nmi_injected = k.nmi.injected,
        .nmi_pending = k.nmi.pending,
        .nmi_masked = k.nmi.masked,
        .sipi_vector = k.sipi_vector,
    };
    if (k.flags & KVM_VCPUEVENT_VALID_PAYLOAD) {
        o->exc_has_payload = k.exception_has_payload;
        o->exc_payload = k.exception_payload;
    }
    if (k.flags & KVM_VCPUEVENT_VALID_SMM) {
        o->in_smm = k.smi.smm;
        o->smi_pending = k.smi.pending;
    }
    if (k.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
        o->triple_fault = k.triple_fault.pending;
    /* A vector without an event means nothing: leave no trace of it. */
    if (!o->exc_injected && !o->exc_pending)
        o->exc_vector = 0, o->exc_has_error = 0, o->exc_error = 0, o->exc_has_payload = 0, o->exc_payload = 0;
    if (!o->int_injected)
        o->int_vector = 0, o->int_soft = 0;
    return 0;
}

static int set_events(struct kvm_vcpu *v, const struct x86_state *s, struct err *e)
{
    const struct x86_events *i = &s->events;
    const struct kvm_caps *c = &v->k->caps;
    struct kvm_vcpu_events k = {
        .exception = {.injected = i->exc_injected,
                      .nr = i->exc_vector,
                      .has_error_code = i->exc_has_error,
                      .pending = i->exc_pending,
                      .error_code = i->exc_error},
        .interrupt = {.injected = i->int_injected,
                      .nr = i->int_vector,
                      .soft = i->int_soft,
                      .shadow = (uint8_t)((i->shadow & 1 ? KVM_X86_SHADOW_INT_STI : 0) |
                                          (i->shadow & 2 ? KVM_X86_SHADOW_INT_MOV_SS : 0))},
        .nmi = {.injected = i->nmi_injected, .pending = i->nmi_pending, .masked = i->nmi_masked},
        .sipi_vector = i->sipi_vector,
        .flags =
            KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SHADOW,
    };
    int r;

    if (c->exception_payload) {
        k.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
        k.exception_has_payload = i->exc_has_payload;
        k.exception_payload = i->exc_payload;
    } else if (i->exc_pending) {
        k.exception.injected = 1; /* the older interface knows one state only */
    }
    if (c->smm) {
        k.flags |= KVM_VCPUEVENT_VALID_SMM;
        k.smi.pending = i->smi_pending;
    }
    if (c->triple_fault_event) {
        k.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
        k.triple_fault.pending = i->triple_fault;
    }
    r = kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &k);
    return r < 0 ? err_sys(e, r, "kvm: refuses the pending events of virtual CPU %u", v->v.index) : 0;
}

static int get_mp(struct kvm_vcpu *v, struct x86_state *s, struct err *e)
{
    struct kvm_mp_state mp = {0};
    int r = kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp);

    if (r < 0)
        return err_sys(e, r, "kvm: whether virtual CPU %u runs", v->v.index);
    switch (mp.mp_state) {
    case KVM_MP_STATE_HALTED:
        s->mp_state = X86_MP_HALTED;
        break;
    case KVM_MP_STATE_INIT_RECEIVED:
    case KVM_MP_STATE_SIPI_RECEIVED:
        s->mp_state = X86_MP_WAIT_SIPI;
        break;
    case KVM_MP_STATE_UNINITIALIZED:
        s->mp_state = X86_MP_UNINITIALIZED;
        break;
    default:
        s->mp_state = X86_MP_RUNNABLE;
    }
    return 0;
}

static int set_mp(struct kvm_vcpu *v, const struct x86_state *s, struct err *e)
{
    static const uint32_t to[] = {
        [X86_MP_RUNNABLE] = KVM_MP_STATE_RUNNABLE,
        [X86_MP_HALTED] = KVM_MP_STATE_HALTED,
        [X86_MP_WAIT_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
        [X86_MP_UNINITIALIZED] = KVM_MP_STATE_UNINITIALIZED,
    };
    struct kvm_mp_state mp;
    int r;

    if (s->mp_state > X86_MP_UNINITIALIZED)
        return err_set(e, EINVAL, "virtual CPU %u: state %u is none", v->v.index, s->mp_state);
    mp.mp_state = to[s->mp_state];
    r = kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp);
    return r < 0 ? err_sys(e, r, "kvm: virtual CPU %u cannot be set running or waiting", v->v.index) : 0;
}

int kvm_state_get(struct kvm_vcpu *v, struct x86_state *s, unsigned parts, struct err *e)
{
    /* First whether it runs: asking makes KVM take a pending INIT or SIPI, which changes the registers. */
    int r = parts & KVM_PART_MP ? get_mp(v, s, e) : 0;

    if (!r && (parts & KVM_PART_REGS))
        r = get_regs(v, s, e);
    if (!r && (parts & KVM_PART_FPU))
        r = kvm_fpu_get(v, s, e);
    if (!r && (parts & KVM_PART_MSRS))
        r = kvm_msrs_get(v, s, e);
    if (!r && (parts & KVM_PART_LAPIC))
        r = kvm_lapic_get(v, &s->lapic, e);
    if (!r && (parts & KVM_PART_TIME))
        r = kvm_time_get(v, s, e);
    if (!r && (parts & KVM_PART_EVENTS))
        r = get_events(v, s, e);
    return r;
}

int kvm_state_set(struct kvm_vcpu *v, const struct x86_state *s, unsigned parts, struct err *e)
{
    /* APIC_BASE is among the registers and decides the local APIC's mode, which decides what its timer's MSR
     * means; TSC before the deadline in it; setting registers drops pending events, so these come late. */
    int r = parts & KVM_PART_REGS ? set_regs(v, s, e) : 0;

    if (!r && (parts & KVM_PART_FPU))
        r = kvm_fpu_set(v, s, e);
    if (!r && (parts & KVM_PART_LAPIC))
        r = kvm_lapic_set(v, &s->lapic, e);
    if (!r && (parts & KVM_PART_TIME))
        r = kvm_time_set(v, s, e);
    if (!r && (parts & KVM_PART_MSRS))
        r = kvm_msrs_set(v, s, e);
    if (!r && (parts & KVM_PART_EVENTS))
        r = set_events(v, s, e);
    if (!r && (parts & KVM_PART_MP))
        r = set_mp(v, s, e);
    return r;
}

int kvm_vcpu_get(struct vcpu *vcpu, struct x86_state *s, struct err *e)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);

    memset(s, 0, sizeof *s);
    if (atomic_exchange(&v->nmi_wanted, false))
        kvm_ioctl_value(v->fd, KVM_NMI, 0);
    return kvm_state_get(v, s, KVM_PART_ALL, e);
}

int kvm_vcpu_set(struct vcpu *vcpu, const struct x86_state *s, struct err *e)
{
    return kvm_state_set(kvm_vcpu_of(vcpu), s, KVM_PART_ALL, e);
}
