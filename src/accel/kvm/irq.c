#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "accel/kvm/internal.h"
#include "base/err.h"

/* Interrupts on their way to the local APICs. GSIs 0..KVM_LEVEL_ROUTES-1 carry no interrupt: they are routes
 * for KVM to look at, because with a split irqchip it tells us of an EOI only for vectors that a
 * level-triggered route among the reserved ones names. Those after them belong to irqfds. */

enum { ROUTES = KVM_LEVEL_ROUTES + KVM_FD_ROUTES };

/* MSI data: trigger mode level (PCI Local Bus 3.0 6.8; SDM 3A 11.11.2). */
enum { MSI_LEVEL = 1 << 15 };

int kvm_routes_init(struct kvm_accel *k, struct err *e)
{
    k->routes = calloc(1, sizeof *k->routes + ROUTES * sizeof k->routes->entries[0]);
    k->route_fd = malloc(KVM_FD_ROUTES * sizeof *k->route_fd);
    if (!k->routes || !k->route_fd)
        return err_set(e, ENOMEM, "kvm: out of memory");
    memset(k->route_fd, 0xff, KVM_FD_ROUTES * sizeof *k->route_fd);
    return 0;
}

void kvm_routes_free(struct kvm_accel *k)
{
    free(k->routes);
    free(k->route_fd);
}

static bool entry_is(const struct kvm_irq_routing_entry *r, struct msi_message m)
{
    return r->u.msi.address_lo == (uint32_t)m.address && r->u.msi.address_hi == (uint32_t)(m.address >> 32) &&
           r->u.msi.data == m.data;
}

static struct kvm_irq_routing_entry *find_gsi(struct kvm_accel *k, uint32_t gsi)
{
    for (uint32_t i = 0; i < k->routes->nr; i++)
        if (k->routes->entries[i].gsi == gsi)
            return &k->routes->entries[i];
    return NULL;
}

/* Set a route and tell KVM. Under routes_lock. */
static int set_route(struct kvm_accel *k, uint32_t gsi, struct msi_message m)
{
    struct kvm_irq_routing_entry *r = find_gsi(k, gsi);
    struct kvm_irq_routing_entry was;
    bool added = !r;
    int code;

    if (added)
        r = &k->routes->entries[k->routes->nr++];
    was = *r;
    *r = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};
    r->u.msi.address_lo = (uint32_t)m.address;
    r->u.msi.address_hi = (uint32_t)(m.address >> 32);
    r->u.msi.data = m.data;
    code = kvm_ioctl(k->vm, KVM_SET_GSI_ROUTING, k->routes);
    if (code < 0) {
        *r = was;
        k->routes->nr -= added;
    }
    return code < 0 ? code : 0;
}

/* A route that matches a level-triggered message exists when this returns; the longest unused one makes room.
 */
static int want_eoi(struct kvm_accel *k, struct msi_message m)
{
    uint32_t victim = 0;
    int r;

    lock_take(&k->routes_lock);
    k->route_tick++;
    for (uint32_t i = 0; i < k->routes->nr; i++) {
        const struct kvm_irq_routing_entry *t = &k->routes->entries[i];

        if (t->gsi < KVM_LEVEL_ROUTES && entry_is(t, m)) {
            k->route_used[t->gsi] = k->route_tick;
            lock_drop(&k->routes_lock);
            return 0;
        }
    }
    for (uint32_t g = 1; g < KVM_LEVEL_ROUTES; g++)
        if (k->route_used[g] < k->route_used[victim])
            victim = g;
    r = set_route(k, victim, m);
    if (!r)
        k->route_used[victim] = k->route_tick;
    lock_drop(&k->routes_lock);
    return r;
}

int kvm_msi(struct accel *a, struct msi_message m)
{
    struct kvm_accel *k = kvm_of(a);
    struct kvm_msi msg = {
        .address_lo = (uint32_t)m.address, .address_hi = (uint32_t)(m.address >> 32), .data = m.data};
    int r = m.data & MSI_LEVEL ? want_eoi(k, m) : 0;

    if (r)
        return r;
    r = kvm_ioctl(k->vm, KVM_SIGNAL_MSI, &msg);
    /* KVM says -1 for "nobody took it", which the C library makes EPERM of. */
    return r > 0 ? 1 : r == -EPERM ? 0 : r;
}

void kvm_extint(struct accel *a, bool level)
{
    struct kvm_accel *k = kvm_of(a);
    struct kvm_vcpu *v;

    atomic_store(&k->extint, level);
    v = k->vcpus[0];
    if (level && v)
        kvm_vcpu_poke(v);
}

/* The acknowledged interrupt goes in as an event, not by KVM_INTERRUPT: KVM keeps that one where no state
 * ioctl shows it. */
int kvm_extint_inject(struct kvm_vcpu *v, struct err *e)
{
    struct kvm_accel *k = v->k;
    struct kvm_vcpu_events ev;
    struct kvm_mp_state mp;
    int vector, r;

    v->run->request_interrupt_window = atomic_load(&k->extint);
    if (!v->run->request_interrupt_window || !v->run->ready_for_interrupt_injection || v->unfinished ||
        !k->cfg.cb.ack_extint)
        return 0;
    r = kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev);
    if (r < 0)
        return err_sys(e, r, "kvm: pending events");
    if (ev.interrupt.injected || ev.exception.injected || ev.exception.pending || ev.nmi.injected)
        return 0;
    vector = k->cfg.cb.ack_extint(k->cfg.cb.opaque);
    v->run->request_interrupt_window = atomic_load(&k->extint);
    if (vector < 0)
        return 0;
    ev.interrupt.injected = 1;
    ev.interrupt.nr = (uint8_t)vector;
    ev.interrupt.soft = 0;
    ev.flags &= ~(uint32_t)KVM_VCPUEVENT_VALID_SIPI_VECTOR;
    r = kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev);
    if (r >= 0)
        r = kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp);
    if (r >= 0 && mp.mp_state == KVM_MP_STATE_HALTED) {
        mp.mp_state = KVM_MP_STATE_RUNNABLE;
        r = kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp);
    }
    v->run->ready_for_interrupt_injection = 0;
    atomic_fetch_add_explicit(&v->stats.interrupts, 1, memory_order_relaxed);
    return r < 0 ? err_sys(e, r, "kvm: external interrupt") : 0;
}

int kvm_irqfd(struct accel *a, int eventfd, struct msi_message m, bool on, struct err *e)
{
    struct kvm_accel *k = kvm_of(a);
    struct kvm_irqfd f = {.fd = (uint32_t)eventfd, .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN};
    int slot = -1, unused = -1, r = 0;
    bool fresh;

    lock_take(&k->routes_lock);
    for (int i = 0; i < KVM_FD_ROUTES && slot < 0; i++) {
        if (k->route_fd[i] == eventfd)
            slot = i;
        else if (unused < 0 && k->route_fd[i] < 0)
            unused = i;
    }
    fresh = slot < 0;
    if (fresh)
        slot = unused;
    if (slot < 0 || (fresh && !on)) {
        lock_drop(&k->routes_lock);
        return err_set(e, on ? ENOSPC : ENOENT, "kvm: no interrupt route for this event");
    }
    f.gsi = (uint32_t)(KVM_LEVEL_ROUTES + slot);
    if (on)
        r = set_route(k, f.gsi, m);
    if (!r && (fresh || !on))
        r = kvm_ioctl(k->vm, KVM_IRQFD, &f);
    if (r >= 0)
        k->route_fd[slot] = on ? eventfd : -1;
    lock_drop(&k->routes_lock);
    return r < 0 ? err_sys(e, r, "kvm: interrupt by event") : 0;
}

int kvm_doorbell(struct accel *a, uint64_t gpa, unsigned size, int eventfd, bool on, struct err *e)
{
    struct kvm_accel *k = kvm_of(a);
    struct kvm_ioeventfd d = {
        .addr = gpa, .len = size, .fd = eventfd, .flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN};
    int r;

    if (size == 0 && !k->caps.any_length)
        return -ENOTSUP;
    r = kvm_ioctl(k->vm, KVM_IOEVENTFD, &d);
    return r < 0 ? err_sys(e, r, "kvm: doorbell at %#llx", (unsigned long long)gpa) : 0;
}
