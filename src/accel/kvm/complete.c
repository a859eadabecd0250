#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "accel/kvm/internal.h"
#include "accel/soft/engine/engine.h"
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "host/host.h"
#include "x86/regs.h"

/* The software engine's interpreter executes what KVM would not: the vCPU's state goes in, one instruction is
 * done on the same guest memory, the state comes back. The local APIC stays KVM's; for the interpreter it is
 * switched off, so that an access to its page comes out here and is noticed. */

struct completer {
    struct kvm_vcpu *v;
    struct engine *engine;
    void *arena;
    size_t size;
    uint64_t apic_page; /* 1: none mapped */
    bool touched_apic;
};

static uint32_t pio_read(void *o, uint16_t port, unsigned size)
{
    return bus_read(((struct completer *)o)->v->k->cfg.bus, port, size);
}

static void pio_write(void *o, uint16_t port, unsigned size, uint32_t value)
{
    bus_write(((struct completer *)o)->v->k->cfg.bus, port, size, value);
}

static bool is_apic(struct completer *c, uint64_t gpa)
{
    bool is = (gpa & ~0xfffull) == c->apic_page;

    c->touched_apic |= is;
    return is;
}

static uint64_t mmio_read(void *o, uint64_t gpa, unsigned size)
{
    struct completer *c = o;

    return is_apic(c, gpa) ? 0 : mem_mmio_read(c->v->k->cfg.mem, gpa, size);
}

static void mmio_write(void *o, uint64_t gpa, unsigned size, uint64_t value)
{
    struct completer *c = o;

    if (!is_apic(c, gpa))
        mem_mmio_write(c->v->k->cfg.mem, gpa, size, value);
}

static int no_extint(void *o)
{
    (void)o;
    return -1;
}

static void no_eoi(void *o, uint8_t vector)
{
    (void)o, (void)vector;
}

static uint64_t now_ns(void *o)
{
    return clock_now(((struct completer *)o)->v->k->cfg.clock);
}

static uint64_t wall_ns(void *o)
{
    (void)o;
    return host_realtime_ns();
}

static void no_sleep(void *o, unsigned cpu, uint64_t deadline_ns)
{
    (void)o, (void)cpu, (void)deadline_ns;
}

static void nothing(void *o, unsigned cpu)
{
    (void)o, (void)cpu;
}

static void no_barrier(void *o)
{
    (void)o; /* no other vCPU of this engine */
}

static void no_log(void *o, int level, const char *text)
{
    (void)o, (void)level, (void)text;
}

static const struct engine_outside outside = {
    .pio_read = pio_read,
    .pio_write = pio_write,
    .mmio_read = mmio_read,
    .mmio_write = mmio_write,
    .ack_extint = no_extint,
    .eoi = no_eoi,
    .now_ns = now_ns,
    .wall_ns = wall_ns,
    .sleep = no_sleep,
    .wake = nothing,
    .barrier = no_barrier,
    .quiescent = nothing,
    .log = no_log,
};

static int make(struct kvm_vcpu *v, struct err *e)
{
    struct engine_config cfg = {.cpus = 1, .tsc_khz = v->k->tsc_khz, .cpuid = &v->k->cpuid[v->v.index]};
    struct completer *c = calloc(1, sizeof *c);
    int r;

    if (!c)
        return err_set(e, ENOMEM, "kvm: out of memory");
    c->v = v;
    c->size = engine_arena_size(&cfg);
    c->arena = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    v->completer = c;
    if (c->arena == MAP_FAILED) {
        r = errno;
        c->arena = NULL;
        return err_sys(e, r, "kvm: memory of the interpreter");
    }
    c->engine = engine_init(c->arena, c->size, &cfg);
    r = engine_attach(c->engine, &outside, c);
    return r ? err_sys(e, r, "kvm: the interpreter") : 0;
}

void kvm_completer_free(struct kvm_vcpu *v)
{
    if (v->completer && v->completer->engine)
        engine_drop_machine_code(v->completer->engine);
    if (v->completer && v->completer->arena)
        munmap(v->completer->arena, v->completer->size);
    free(v->completer);
    v->completer = NULL;
}

/* Guest memory as KVM has it now. What has no room goes by calls, which serve RAM, too. */
static void give_slots(struct completer *c)
{
    struct kvm_accel *k = c->v->k;
    struct engine_slot slots[ENGINE_MAX_SLOTS];
    unsigned n = 0;

    lock_take(&k->slots_lock);
    for (size_t i = 0; i < k->slot_count && n < ENGINE_MAX_SLOTS; i++) {
        const struct kvm_slot *s = &k->slots[i];
        uint64_t page = s->ram_offset / MEM_PAGE;

        if (s->ram_offset % MEM_PAGE)
            continue;
        slots[n++] = (struct engine_slot){.gpa = s->gpa,
                                          .size = s->size,
                                          .host = s->host,
                                          .notes = s->ram->notes + page,
                                          .gens = s->ram->gens + page,
                                          .readonly = s->readonly};
    }
    lock_drop(&k->slots_lock);
    engine_set_slots(c->engine, slots, n);
}

static bool msrs_differ(const struct x86_state *a, const struct x86_state *b)
{
    for (uint32_t i = 0; i < a->msr_count; i++)
        if (x86_state_msr(b, a->msrs[i].index, a->msrs[i].value) != a->msrs[i].value)
            return true;
    return false;
}

/* MSRs that the interpreter does not pass on are KVM's still; the timer's would start the timer anew. */
static void keep_msrs(struct x86_state *after, const struct x86_state *before)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < before->msr_count; i++) {
        struct x86_msr m = before->msrs[i];

        if (m.index == MSR_TSC_DEADLINE)
            continue;
        m.value = x86_state_msr(after, m.index, m.value);
        after->msrs[kept++] = m;
    }
    after->msr_count = kept;
}

int kvm_complete(struct kvm_vcpu *v, struct err *e)
{
    struct x86_state before = {0}, after;
    unsigned parts = KVM_PART_REGS | KVM_PART_FPU | KVM_PART_EVENTS;
    struct completer *c;
    int r = v->completer ? 0 : make(v, e);

    if (!r)
        r = kvm_state_get(v, &before, KVM_PART_ALL, e);
    if (r)
        return r;
    c = v->completer;
    give_slots(c);
    after = before;
    after.apic_base &= ~(uint64_t)(APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    c->apic_page = (before.apic_base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE
                       ? before.apic_base & ~0xfffull
                       : 1;
    c->touched_apic = false;
    if (v->k->dirty_log)
        engine_dirty_log(c->engine, true);
    r = engine_step_state(c->engine, &after, 1) == 1 ? 0 : -EIO;
    if (v->k->dirty_log)
        engine_dirty_collect(c->engine);
    if (r)
        return err_set(e, EIO, "and the interpreter cannot work on this state");
    if (c->touched_apic)
        return err_set(e, EIO, "and it touches the local APIC, which only KVM has");
    after.apic_base = before.apic_base;
    after.cr8 = before.cr8;
    if (after.mp_state != before.mp_state)
        parts |= KVM_PART_MP;
    if (msrs_differ(&before, &after))
        parts |= KVM_PART_MSRS;
    keep_msrs(&after, &before);
    return kvm_state_set(v, &after, parts, e);
}
