/*
 * soft: the software engine behind the accelerator contract, its vCPUs as threads of this process or of a
 * child (child.c).
 *
 * The engine sees guest memory as slots (mirrored from the map's views) and everything else through struct
 * engine_outside.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "accel/soft/internal.h"
#include "accel/soft/slots.h"
#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/range.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "host/host.h"
#include "x86/state.h"

static struct soft *soft_of(struct accel *a)
{
    return CONTAINER_OF(a, struct soft, base);
}

/* ---- what the engine calls ---- */

static uint32_t out_pio_read(void *o, uint16_t port, unsigned size)
{
    struct soft *s = o;
    if (s->child_side)
        return (uint32_t)soft_child_call(s, OP_PIO_READ, port, size, 0, NULL);
    return bus_read(s->cfg.bus, port, size);
}

static void out_pio_write(void *o, uint16_t port, unsigned size, uint32_t value)
{
    struct soft *s = o;
    if (s->child_side)
        soft_child_call(s, OP_PIO_WRITE, port, size, value, NULL);
    else
        bus_write(s->cfg.bus, port, size, value);
}

static uint64_t out_mmio_read(void *o, uint64_t gpa, unsigned size)
{
    struct soft *s = o;
    if (s->child_side)
        return soft_child_call(s, OP_MMIO_READ, gpa, size, 0, NULL);
    return mem_mmio_read(s->cfg.mem, gpa, size);
}

static void out_mmio_write(void *o, uint64_t gpa, unsigned size, uint64_t value)
{
    struct soft *s = o;
    if (s->child_side)
        soft_child_call(s, OP_MMIO_WRITE, gpa, size, value, NULL);
    else
        mem_mmio_write(s->cfg.mem, gpa, size, value);
}

static int out_ack_extint(void *o)
{
    struct soft *s = o;
    if (s->child_side)
        return (int)soft_child_call(s, OP_ACK_EXTINT, 0, 0, 0, NULL);
    return s->cfg.cb.ack_extint ? s->cfg.cb.ack_extint(s->cfg.cb.opaque) : -1;
}

static void out_eoi(void *o, uint8_t vector)
{
    struct soft *s = o;
    if (s->child_side)
        soft_child_call(s, OP_EOI, 0, 0, vector, NULL);
    else if (s->cfg.cb.eoi)
        s->cfg.cb.eoi(s->cfg.cb.opaque, vector);
}

static uint64_t out_now(void *o)
{
    struct soft *s = o;
    if (s->child_side)
        return host_now_ns() - __atomic_load_n(&s->shared->time_off, __ATOMIC_RELAXED);
    return clock_now(s->cfg.clock);
}

static uint64_t out_wall(void *o)
{
    (void)o;
    return host_realtime_ns();
}

static void out_sleep(void *o, unsigned cpu, uint64_t deadline_ns)
{
    struct soft *s = o;
    uint32_t *word = &s->shared->sleep[cpu];
    if (s->child_side) {
        uint64_t off = __atomic_load_n(&s->shared->time_off, __ATOMIC_RELAXED);
        soft_sleep(word, deadline_ns > UINT64_MAX - off ? UINT64_MAX : deadline_ns + off);
        return;
    }
    mem_reader_offline(s->vcpu[cpu]->reader, true);
    soft_sleep(word, deadline_ns == UINT64_MAX ? UINT64_MAX : clock_to_host(s->cfg.clock, deadline_ns));
    mem_reader_offline(s->vcpu[cpu]->reader, false);
}

static void out_arm(void *o, unsigned cpu, uint64_t deadline_ns)
{
    struct soft *s = o;
    if (s->child_side)
        soft_timer_arm(s, cpu, deadline_ns + __atomic_load_n(&s->shared->time_off, __ATOMIC_RELAXED));
    else
        soft_timer_arm(s, cpu, clock_to_host(s->cfg.clock, deadline_ns));
}

static void out_wake(void *o, unsigned cpu)
{
    soft_wake(&((struct soft *)o)->shared->sleep[cpu]);
}

static void out_barrier(void *o)
{
    if (((struct soft *)o)->cfg.cpus > 1)
        host_membarrier();
}

static void out_quiescent(void *o, unsigned cpu)
{
    struct soft *s = o;
    if (!s->child_side) /* the parent's thread is offline while it waits */
        mem_reader_quiesce(s->vcpu[cpu]->reader);
}

static uint64_t out_stolen(void *o, unsigned cpu)
{
    struct soft *s = o;
    return s->child_side ? soft_child_call(s, OP_STOLEN, 0, 0, 0, NULL) : soft_stolen(s, cpu);
}

static void out_translated(void *o, const struct engine_block *b)
{
    struct soft *s = o;
    if (s->child_side)
        soft_child_translated(s, b);
    else
        soft_profile_block(s, b);
}

static void out_log(void *o, int level, const char *text)
{
    struct soft *s = o;
    if (s->child_side)
        soft_child_call(s, OP_LOG, 0, 0, (uint64_t)level, text);
    else
        log_msg((enum log_level)level, "%s", text);
}

static const struct engine_outside outside = {
    .pio_read = out_pio_read,
    .pio_write = out_pio_write,
    .mmio_read = out_mmio_read,
    .mmio_write = out_mmio_write,
    .ack_extint = out_ack_extint,
    .eoi = out_eoi,
    .now_ns = out_now,
    .wall_ns = out_wall,
    .sleep = out_sleep,
    .arm = out_arm,
    .wake = out_wake,
    .barrier = out_barrier,
    .quiescent = out_quiescent,
    .stolen_ns = out_stolen,
    .log = out_log,
};

/* ---- memory ---- */

static void on_code_written(void *opaque)
{
    engine_code_event(((struct soft *)opaque)->engine);
}

static void on_map_changed(void *opaque, const struct mem_view *was, const struct mem_view *now)
{
    struct soft *s = opaque;
    struct engine_slot slot[ENGINE_MAX_SLOTS];
    (void)was;
    for (size_t i = 0; i < now->count; i++)
        if (now->section[i].region->ram)
            ram_on_code_written(now->section[i].region->ram, on_code_written, s);
    unsigned n = soft_slots(now, slot), kept = 0;
    for (unsigned i = 0; i < n; i++)
        if (!s->child ||
            soft_child_shares(s, slot[i].host)) /* what the child cannot reach is served by calls */
            slot[kept++] = slot[i];
    n = kept;
    engine_set_slots(s->engine, slot, n);
}

/* ---- vCPUs ---- */

static struct vcpu *soft_vcpu_new(struct accel *a, unsigned index, struct err *e)
{
    struct soft *s = soft_of(a);
    CHECK(index < s->cfg.cpus && !s->vcpu[index]);
    struct soft_vcpu *v = calloc(1, sizeof *v);
    if (!v) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    v->base = (struct vcpu){.accel = a, .index = index};
    v->reader = mem_reader_new(s->cfg.mem, e);
    if (!v->reader) {
        free(v);
        return NULL;
    }
    mem_reader_offline(v->reader, true); /* until it runs */
    __atomic_store_n(&s->vcpu[index], v, __ATOMIC_RELEASE);
    return &v->base;
}

static void soft_vcpu_free(struct vcpu *base)
{
    struct soft_vcpu *v = CONTAINER_OF(base, struct soft_vcpu, base);
    soft_of(base->accel)->vcpu[base->index] = NULL;
    soft_timer_free(soft_of(base->accel), base->index);
    soft_profile_thread_end(soft_of(base->accel), base->index);
    soft_stolen_end(v);
    mem_reader_free(v->reader);
    free(v);
}

static enum vcpu_exit soft_run(struct vcpu *base, struct vcpu_exit_info *info, struct err *e)
{
    struct soft *s = soft_of(base->accel);
    struct soft_vcpu *v = CONTAINER_OF(base, struct soft_vcpu, base);
    struct engine_exit_info x = {0};
    enum engine_exit kind = ENGINE_FAILED;
    if (s->child) {
        if (soft_child_run(s, base->index, &kind, &x, e))
            return VCPU_FAILED;
    } else {
        int r = soft_timer_new(s, base->index);
        if (!r)
            r = soft_profile_thread(s, base->index);
        if (r) {
            err_sys(e, -r, "CPU %u: cannot make a timer", base->index);
            return VCPU_FAILED;
        }
        mem_reader_offline(v->reader, false);
        kind = engine_run(s->engine, base->index, &x);
        mem_reader_offline(v->reader, true);
    }
    *info = (struct vcpu_exit_info){
        .rip = x.rip, .dr6 = x.dr6, .watch_addr = x.watch_addr, .software_break = x.software_break != 0};
    switch (kind) {
    case ENGINE_KICKED:
        return VCPU_KICKED;
    case ENGINE_DEBUG:
        return VCPU_DEBUG;
    case ENGINE_TRIPLE_FAULT:
        return VCPU_TRIPLE_FAULT;
    default:
        err_set(e, EIO, "CPU %u at 0x%llx: %s", base->index, (unsigned long long)x.rip, x.why);
        return VCPU_FAILED;
    }
}

static void soft_kick(struct vcpu *v)
{
    engine_kick(soft_of(v->accel)->engine, v->index);
}

/* The engine finishes every access before it leaves. */
static int soft_quiesce(struct vcpu *v, struct err *e)
{
    (void)v;
    (void)e;
    return 0;
}

static int soft_get(struct vcpu *v, struct x86_state *out, struct err *e)
{
    (void)e;
    engine_get(soft_of(v->accel)->engine, v->index, out);
    return 0;
}

static int soft_set(struct vcpu *v, const struct x86_state *in, struct err *e)
{
    if (engine_set(soft_of(v->accel)->engine, v->index, in))
        return err_set(e, EINVAL, "CPU %u: a state that this CPU model cannot be in", v->index);
    return 0;
}

static int soft_debug(struct vcpu *v, const struct vcpu_debug *d, struct err *e)
{
    (void)e;
    engine_debug(soft_of(v->accel)->engine, v->index, d);
    return 0;
}

static int soft_translate(struct vcpu *v, uint64_t linear, uint64_t *gpa)
{
    return engine_translate(soft_of(v->accel)->engine, v->index, linear, gpa) ? -EFAULT : 0;
}

static int soft_nmi(struct vcpu *v)
{
    engine_nmi(soft_of(v->accel)->engine, v->index);
    return 0;
}

/* ---- the whole ---- */

static int soft_msi(struct accel *a, struct msi_message m)
{
    return engine_msi(soft_of(a)->engine, m.address, m.data) > 0;
}

static void soft_extint(struct accel *a, bool level)
{
    engine_extint(soft_of(a)->engine, level);
}

/* Everything in the engine counts in the guest's clock, which stops by itself. */
static void soft_time_stopped(struct accel *a, bool stopped)
{
    (void)a;
    (void)stopped;
}

static int soft_irqfd(struct accel *a, int eventfd, struct msi_message m, bool on, struct err *e)
{
    (void)a;
    (void)eventfd;
    (void)m;
    (void)on;
    return err_set(e, ENOTSUP, "the software engine has no irqfd");
}

static int soft_doorbell(struct accel *a, uint64_t gpa, unsigned size, int eventfd, bool on, struct err *e)
{
    (void)a;
    (void)gpa;
    (void)size;
    (void)eventfd;
    (void)on;
    return err_set(e, ENOTSUP, "the software engine has no doorbells");
}

static int soft_dirty_log(struct accel *a, bool on, struct err *e)
{
    (void)e;
    engine_dirty_log(soft_of(a)->engine, on);
    return 0;
}

static int soft_dirty_collect(struct accel *a, struct err *e)
{
    (void)e;
    engine_dirty_collect(soft_of(a)->engine);
    return 0;
}

static void soft_stats(struct accel *a, struct accel_stats *out)
{
    engine_stats(soft_of(a)->engine, out);
}

static char *soft_profile(struct accel *a)
{
    return soft_profile_text(soft_of(a));
}

static const struct x86_cpuid *soft_cpuid(struct accel *a, unsigned index)
{
    return &soft_of(a)->cpuid[index];
}

static uint32_t soft_tsc_khz(struct accel *a)
{
    return soft_of(a)->tsc_khz;
}

static void soft_close(struct accel *a)
{
    struct soft *s = soft_of(a);
    if (s->listener.changed) {
        const struct mem_view *v = mem_view(s->cfg.mem);
        for (size_t i = 0; i < v->count; i++)
            if (v->section[i].region->ram)
                ram_on_code_written(v->section[i].region->ram, NULL, NULL);
        mem_unlisten(s->cfg.mem, &s->listener);
    }
    bool threads = !s->child;
    soft_child_stop(s);
    if (s->engine && threads)
        engine_drop_machine_code(s->engine);
    if (s->engine)
        munmap(s->engine, s->arena_size);
    free(s->cpuid);
    soft_profile_free(s);
    munmap(s, sizeof *s);
}

static const struct accel_ops soft_ops = {
    .name = "soft",
    .close = soft_close,
    .vcpu_new = soft_vcpu_new,
    .vcpu_free = soft_vcpu_free,
    .vcpu_run = soft_run,
    .vcpu_kick = soft_kick,
    .vcpu_quiesce = soft_quiesce,
    .vcpu_get = soft_get,
    .vcpu_set = soft_set,
    .vcpu_debug = soft_debug,
    .vcpu_translate = soft_translate,
    .vcpu_nmi = soft_nmi,
    .msi = soft_msi,
    .extint = soft_extint,
    .time_stopped = soft_time_stopped,
    .irqfd = soft_irqfd,
    .doorbell = soft_doorbell,
    .dirty_log = soft_dirty_log,
    .dirty_collect = soft_dirty_collect,
    .stats = soft_stats,
    .profile = soft_profile,
    .cpuid = soft_cpuid,
    .tsc_khz = soft_tsc_khz,
};

static int build_cpuid(struct soft *s, struct err *e)
{
    s->cpuid = calloc(s->cfg.cpus, sizeof *s->cpuid);
    if (!s->cpuid)
        return err_set(e, ENOMEM, "out of memory");
    for (unsigned i = 0; i < s->cfg.cpus; i++) {
        struct x86_cpu_config c = {.model = s->cfg.cpu_model,
                                   .cpus = s->cfg.cpus,
                                   .apic_id = i,
                                   .tsc_khz = s->tsc_khz,
                                   .hypervisor_leaves = true};
        engine_features(&c.allow);
        int r = x86_cpuid_build(&s->cpuid[i], &c, e);
        if (r)
            return r;
    }
    return 0;
}

static int build_engine(struct soft *s, struct err *e)
{
    struct engine_config ec = {.cpus = s->cfg.cpus,
                               .tsc_khz = s->tsc_khz,
                               .host_tsc_khz = host_clock_is_tsc() ? s->tsc_khz : 0,
                               .log_exceptions = s->cfg.debug_exceptions,
                               .code_cache = s->cfg.code_cache,
                               .count = s->cfg.count_instructions,
                               .cpuid = s->cpuid};
    size_t size = engine_arena_size(&ec);
    s->arena_size = size + sizeof(struct soft_shared);
    void *arena =
        mmap(NULL, s->arena_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return err_sys(e, errno, "cannot map %zu MiB for the software engine", s->arena_size >> 20);
    s->shared = (struct soft_shared *)(void *)((uint8_t *)arena + size);
    s->engine = engine_init(arena, size, &ec);
    int r = soft_profile_new(s, e);
    if (r)
        return r;
    struct engine_outside out = outside;
    out.translated = s->profile ? out_translated : NULL;
    r = engine_attach(s->engine, &out, s);
    return r ? err_sys(e, r, "cannot map memory for machine code") : 0;
}

struct accel *accel_soft_open(const struct accel_config *cfg, struct err *e)
{
    if (cfg->cpus < 1 || cfg->cpus > ENGINE_MAX_CPUS) {
        err_set(e, EINVAL, "the software engine runs 1 to %d CPUs, not %u", ENGINE_MAX_CPUS, cfg->cpus);
        return NULL;
    }
    struct soft *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    s->base.ops = &soft_ops;
    s->cfg = *cfg;
    s->tsc_khz = (uint32_t)host_tsc_khz();
    if (build_cpuid(s, e) || build_engine(s, e) || (cfg->engine_process && soft_child_start(s, e)) ||
        soft_profile_map(s, e)) {
        soft_close(&s->base);
        return NULL;
    }
    s->listener = (struct mem_listener){.changed = on_map_changed, .opaque = s};
    mem_listen(cfg->mem, &s->listener);
    return &s->base;
}
