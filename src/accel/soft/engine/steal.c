/*
 * steal: KVM's paravirtual steal time (Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME): how long this
 * vCPU was ready to run while the host ran something else, in a record in guest memory that only this vCPU's
 * thread writes.
 *
 * The host is asked now and then while the vCPU runs (steal_poll). The record grows by what came since; so it
 * goes on in a machine that was loaded elsewhere.
 */
#include "accel/soft/engine/private.h"

enum { EVERY_NS = 10000000 };

struct steal_record {
    uint64_t steal;
    uint32_t version; /* odd: being written */
};

static uint64_t stolen(struct cpu *c)
{
    struct engine *en = c->engine;

    cpu_leave(c);
    uint64_t ns = en->out.stolen_ns(en->opaque, c->index);
    cpu_enter(c);
    return ns;
}

void steal_write(struct cpu *c, uint64_t value)
{
    c->steal_msr = value;
    c->priv->steal_from = 0;
    c->priv->steal_next = 0;
}

void steal_poll(struct cpu *c, uint64_t now)
{
    struct cpu_private *p = c->priv;
    uint64_t gpa = c->steal_msr & ~0x3full;
    struct steal_record r;

    if (likely(!(c->steal_msr & 1) || now < p->steal_next) || !c->engine->out.stolen_ns)
        return;
    p->steal_next = now + EVERY_NS;
    uint64_t was = p->steal_from, is = stolen(c) + 1; /* 0: not asked yet */
    p->steal_from = is;
    if (!was || is <= was || !phys_read(c, gpa, &r, sizeof r))
        return;
    r.version = (r.version | 1) + 2;
    phys_write(c, gpa + 8, &r.version, 4);
    r.steal += is - was;
    phys_write(c, gpa, &r.steal, 8);
    r.version++;
    phys_write(c, gpa + 8, &r.version, 4);
}
