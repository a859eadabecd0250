/* What guests ask of their machine. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "runner.h"
#include "x86/regs.h"
#include "x86/state.h"

static void set_debug(struct machine *m, struct cpu_thread *t, const struct vcpu_debug *d)
{
    struct err e = {""};

    if (vcpu_debug(t->v, d, &e))
        machine_fail(m, "debug: %s", e.msg);
}

static void start_debug(struct machine *m, struct cpu_thread *t, uint32_t what)
{
    struct vcpu_debug d = {0};

    m->stops = m->stop_dr6 = 0;
    m->step_first = m->arg;
    m->step_last = m->arg2;
    if (what == REQ_STEP)
        d.single_step = true;
    else if (what == REQ_SOFT_BREAK)
        d.software_breaks = true;
    else
        d.hw[1] = (typeof(d.hw[1])){
            .addr = m->arg, .len = what == REQ_WATCH ? 4 : 1, .type = what == REQ_WATCH ? 1 : 0, .on = true};
    set_debug(m, t, &d);
    m->stepping = what == REQ_STEP;
    m->breaking = what == REQ_BREAK;
}

void machine_debug(struct machine *m, struct cpu_thread *t, const struct vcpu_exit_info *info)
{
    struct vcpu_debug off = {0};
    struct x86_state s;
    struct err e = {""};

    if (vcpu_quiesce(t->v, &e) || vcpu_get(t->v, &s, &e)) {
        machine_fail(m, "debug stop: %s", e.msg);
        return;
    }
    if (s.rip != info->rip && !info->software_break)
        machine_fail(m, "stop says rip %#llx, registers %#llx", (unsigned long long)info->rip,
                     (unsigned long long)s.rip);
    if (m->stepping) {
        if (info->rip >= m->step_first && info->rip <= m->step_last)
            m->stops++;
        return;
    }
    m->stops++;
    m->stop_dr6 = info->dr6 & 15;
    if (info->watch_addr)
        m->arg2 = (uint32_t)info->watch_addr;
    if (info->software_break) {
        /* rip is on the INT3: go on behind it. */
        m->arg2 = (uint32_t)s.rip;
        s.rip++;
        if (vcpu_set(t->v, &s, &e))
            machine_fail(m, "behind INT3: %s", e.msg);
    } else if (m->breaking) {
        m->arg2 = (uint32_t)info->rip;
        set_debug(m, t, &off); /* or it would stop there for ever */
    }
}

/* Time passes between two gets. */
static void without_time(struct x86_state *s)
{
    s->tsc = s->pvclock_ns = 0;
    s->lapic.timer_remaining_ns = 0;
    s->lapic.regs[X86_LAPIC_TIMER_CURRENT] = 0;
}

static uint32_t round_trip(struct machine *m, struct cpu_thread *t)
{
    struct x86_state a, b;
    struct err e = {""};
    const uint8_t *p = (const uint8_t *)&a, *q = (const uint8_t *)&b;

    if (vcpu_get(t->v, &a, &e) || vcpu_set(t->v, &a, &e) || vcpu_get(t->v, &b, &e)) {
        machine_fail(m, "round trip: %s", e.msg);
        return 1;
    }
    without_time(&a);
    without_time(&b);
    for (uint32_t i = 0; i < sizeof a; i++)
        if (p[i] != q[i]) {
            machine_fail(m, "state differs at byte %u after get, set, get: %#x, %#x", i, p[i], q[i]);
            return i + 1;
        }
    return 0;
}

static uint32_t ring(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof n) == sizeof n ? (uint32_t)n : 0;
}

/* ARG 1: by event from now on, where the accelerator can. */
static void bell(struct machine *m)
{
    struct err e = {""};
    int r = m->arg == 1 ? accel_doorbell(m->a, BELL_AT, 4, m->bell, true, &e) : 0;

    if (r && r != -ENOTSUP)
        machine_fail(m, "doorbell: %s", e.msg);
}

static void irqfd(struct machine *m)
{
    struct msi_message msg = {.address = m->arg, .data = m->arg2};
    struct err e = {""};
    uint64_t one = 1;
    int r = accel_irqfd(m->a, m->irq_event, msg, true, &e);

    m->arg = 1;
    if (r == -ENOTSUP) {
        accel_msi(m->a, msg);
        return;
    }
    if (r || write(m->irq_event, &one, sizeof one) != sizeof one)
        machine_fail(m, "irqfd: %s", e.msg);
    usleep(20000); /* the event is noticed on a thread of the kernel's */
    if (accel_irqfd(m->a, m->irq_event, msg, false, &e))
        machine_fail(m, "irqfd off: %s", e.msg);
}

static void dirty(struct machine *m)
{
    uint32_t page = m->arg / MEM_PAGE;
    struct err e = {""};

    if (accel_dirty_collect(m->a, &e)) {
        machine_fail(m, "dirty log: %s", e.msg);
        return;
    }
    m->arg = m->ram->notes[page] & PAGE_DIRTY ? 1 : 0;
    m->arg2 = 0;
    for (uint32_t i = 0; i < RAM_SIZE / MEM_PAGE; i++) {
        m->arg2 += m->ram->notes[i] & PAGE_DIRTY ? 1 : 0;
        __atomic_fetch_and(&m->ram->notes[i], (uint8_t)~PAGE_DIRTY, __ATOMIC_RELAXED);
    }
}

static void time_stop(struct machine *m)
{
    clock_stop(m->clock);
    accel_time_stopped(m->a, true);
    usleep(999999);
    clock_start(m->clock);
    accel_time_stopped(m->a, false);
}

/* Entries {leaf, subleaf, eax, ebx, ecx, edx} as the guest saw them, against what the accelerator says.
 * Dynamic bits are left out: OSXSAVE, APIC enabled, sizes by XCR0. */
static void cpuid(struct machine *m, struct cpu_thread *t)
{
    uint32_t n = m->arg2 > 256 ? 256 : m->arg2, at = m->arg, wrong = 0, entry[6];

    for (uint32_t i = 0; i < n; i++, at += 24) {
        struct x86_cpuid_leaf l;

        if (mem_read(m->mem, at, entry, sizeof entry))
            break;
        l = x86_cpuid_get(accel_cpuid(m->a, t->index), entry[0], entry[1]);
        if (entry[0] == 1)
            l.ecx &= ~(1u << 27), entry[4] &= ~(1u << 27);
        if (entry[0] == 0xd && entry[1] <= 1)
            l.ebx = entry[3] = 0;
        if (l.eax != entry[2] || l.ebx != entry[3] || l.ecx != entry[4] || l.edx != entry[5]) {
            machine_fail(m, "CPUID %#x.%u: guest sees %#x %#x %#x %#x, not %#x %#x %#x %#x", entry[0],
                         entry[1], entry[2], entry[3], entry[4], entry[5], l.eax, l.ebx, l.ecx, l.edx);
            wrong++;
        }
    }
    m->arg = wrong;
}

/* The page at ARG becomes another piece of memory, filled with 0x77. */
static void flip(struct machine *m)
{
    struct err e = {""};
    struct ram *r = ram_new("flip", MEM_PAGE, RAM_ANONYMOUS, &e);
    struct mem_region region = {
        .name = "flip", .base = m->arg, .size = MEM_PAGE, .priority = 1, .kind = MEM_RAM, .ram = r};

    if (r)
        memset(r->host, 0x77, MEM_PAGE);
    if (!r || !mem_add(m->mem, &region, &e))
        machine_fail(m, "flip: %s", e.msg);
}

static void translate(struct machine *m, struct cpu_thread *t)
{
    uint64_t gpa = 0;

    m->arg2 = vcpu_translate(t->v, m->arg, &gpa) ? 1 : 0;
    m->arg = (uint32_t)gpa;
}

static void halted(struct machine *m)
{
    struct x86_state s;
    struct err e = {""};

    /* The other CPU runs: only kicked CPUs may be read, so this is for a CPU that asks about itself. */
    if (m->arg < m->cpus && vcpu_get(m->cpu[m->arg].v, &s, &e) == 0)
        m->arg = s.mp_state;
}

static void where(struct machine *m, struct cpu_thread *t)
{
    struct x86_state s;
    struct err e = {""};

    if (vcpu_get(t->v, &s, &e))
        machine_fail(m, "where: %s", e.msg);
    m->arg = (uint32_t)s.gpr[X86_RBX];
    m->arg2 = (uint32_t)s.rip;
}

static void effort(struct machine *m)
{
    cpu_set_t set;

    m->arg = m->effort;
    m->arg2 =
        m->slow || m->interpret || sched_getaffinity(0, sizeof set, &set) ? 1 : (uint32_t)CPU_COUNT(&set);
}

void machine_request(struct machine *m, struct cpu_thread *t)
{
    struct vcpu_debug off = {0};
    struct err e = {""};

    switch ((enum request)m->request) {
    case REQ_NMI:
        vcpu_nmi(m->cpu[m->arg < m->cpus ? m->arg : 0].v);
        break;
    case REQ_MSI:
        m->arg = (uint32_t)accel_msi(m->a, (struct msi_message){.address = m->arg, .data = m->arg2});
        break;
    case REQ_EXTINT:
        m->extint_vector = (int)m->arg;
        accel_extint(m->a, true);
        break;
    case REQ_EOIS:
        m->arg = m->eois;
        m->arg2 = m->last_eoi;
        break;
    case REQ_ACCESSES:
        m->arg = m->accesses;
        m->arg2 = m->flash_writes;
        break;
    case REQ_BELL:
        bell(m);
        m->arg = ring(m->bell);
        break;
    case REQ_IRQFD:
        irqfd(m);
        break;
    case REQ_DIRTY_ON:
        if (accel_dirty_log(m->a, true, &e))
            machine_fail(m, "dirty log: %s", e.msg);
        break;
    case REQ_DIRTY:
        dirty(m);
        break;
    case REQ_ROUND_TRIP:
        m->arg = round_trip(m, t);
        break;
    case REQ_STEP:
    case REQ_BREAK:
    case REQ_WATCH:
    case REQ_SOFT_BREAK:
        start_debug(m, t, m->request);
        break;
    case REQ_STOP:
        set_debug(m, t, &off);
        m->stepping = m->breaking = false;
        m->arg = m->stops | m->stop_dr6 << 16;
        break;
    case REQ_TRANSLATE:
        translate(m, t);
        break;
    case REQ_TIME_STOP:
        time_stop(m);
        break;
    case REQ_CPUID:
        cpuid(m, t);
        break;
    case REQ_HALTED:
        halted(m);
        break;
    case REQ_TRIPLE:
        m->triple_expected = true;
        break;
    case REQ_TSC_KHZ:
        m->arg = accel_tsc_khz(m->a);
        break;
    case REQ_FLIP:
        flip(m);
        break;
    case REQ_ACCEL:
        m->arg = strcmp(m->a->ops->name, "kvm") == 0 ? 1 : 2;
        break;
    case REQ_SLOW:
        m->arg = m->slow;
        break;
    case REQ_WHERE:
        where(m, t);
        break;
    case REQ_EFFORT:
        effort(m);
        break;
    }
}
