/*
 * engine: the arena and its life; slots; what other threads ask of vCPUs.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "accel/accel.h"
#include "accel/soft/engine/native.h"
#include "accel/soft/engine/private.h"
#include "base/check.h"
#include "base/range.h"

enum { PART = 4096 };

static size_t part(size_t n)
{
    return (n + PART - 1) / PART * PART;
}

static size_t cpu_size(void)
{
    return part(sizeof(struct cpu)) + part(sizeof(struct cpu_private)) + part(block_cache_size());
}

size_t engine_arena_size(const struct engine_config *cfg)
{
    return part(sizeof(struct engine)) + cfg->cpus * cpu_size() + native_area_size(cfg->cpus) +
           part(xcache_size(cfg->code_cache));
}

static void init_cpu(struct engine *en, unsigned i, uint8_t *at, const struct x86_cpuid *cpuid)
{
    struct cpu *c = (struct cpu *)(void *)at;
    struct cpu_private *p = (struct cpu_private *)(void *)(at + part(sizeof(struct cpu)));

    en->cpu[i] = c;
    c->engine = en;
    c->self = c;
    c->index = i;
    c->native = en->native;
    c->priv = p;
    p->cpuid = *cpuid;
    x86_cpuid_features(cpuid, &p->features);
    unsigned bits = x86_cpuid_get(cpuid, 0x80000008, 0).eax & 0xff;
    if (bits < 32 || bits > 52)
        bits = 36;
    p->phys_reserved = ((1ull << 52) - 1) & ~((1ull << bits) - 1);
    tsc_set_khz(c, en->tsc_khz);
    p->amd = x86_cpuid_get(cpuid, 0, 0).ebx == 0x68747541; /* "Auth" */
    memset(c->tlb, 0xff, sizeof(c->tlb));
    c->x.stop_at = INT64_MAX;
    p->next_asid = 1;
    block_cache_init(c, at + part(sizeof(struct cpu)) + part(sizeof(struct cpu_private)));

    struct x86_state s;
    x86_state_reset(&s, i == 0, i);
    x86_state_reset_msrs(&s, cpuid);
    s.gpr[X86_RDX] = x86_cpuid_get(cpuid, 1, 0).eax;
    s.tsc_khz = en->tsc_khz;
    CHECK(engine_set(en, i, &s) == 0);
}

struct engine *engine_init(void *arena, size_t size, const struct engine_config *cfg)
{
    struct engine *en = arena;
    uint8_t *at = arena;

    CHECK(cfg->cpus >= 1 && cfg->cpus <= ENGINE_MAX_CPUS && size >= engine_arena_size(cfg));
    en->cpus = cfg->cpus;
    en->tsc_khz = cfg->tsc_khz;
    en->host_tsc_khz = cfg->host_tsc_khz;
    en->log_exceptions = cfg->log_exceptions;
    en->count = cfg->count;
    at += part(sizeof(struct engine));
    en->native = native_area_init(at + cfg->cpus * cpu_size(), cfg->cpus);
    en->xlate = (struct xcache *)(void *)((uint8_t *)en->native + part(native_area_size(cfg->cpus)));
    en->xlate_code = xcache_init(en->xlate, cfg->code_cache);
    for (unsigned i = 0; i < cfg->cpus; i++) {
        init_cpu(en, i, at, &cfg->cpuid[i]);
        at += cpu_size();
    }
    return en;
}

int engine_attach(struct engine *en, const struct engine_outside *out, void *opaque)
{
    en->out = *out;
    en->opaque = opaque;
    en->attached = 1;
    int r = native_area_attach(en->native);
    if (!r) {
        en->native_exec = en->native->exec;
        xcache_attach(en);
    }
    return r;
}

uint64_t engine_machine_code(const struct engine *en, unsigned i)
{
    return i ? xcache_code(en) : en->native_exec;
}

size_t engine_code_size(const struct engine *en)
{
    return en->xlate_code;
}

uint64_t engine_rip(const struct engine *en, unsigned cpu)
{
    return __atomic_load_n(&en->cpu[cpu]->rip, __ATOMIC_RELAXED);
}

void engine_drop_machine_code(struct engine *en)
{
    if (en->native_exec)
        munmap((void *)(uintptr_t)en->native_exec, native_area_size(en->cpus));
    xcache_detach(en);
}

/* Parts marked ENGINE_FIXED reach to the end of their structures. */
int engine_protect(struct engine *en)
{
    const size_t cpu_at = offsetof(struct cpu, index), priv_at = offsetof(struct cpu_private, blocks);
    int r = 0;

    for (unsigned i = 0; i < en->cpus && !r; i++) {
        uint8_t *c = (uint8_t *)en->cpu[i], *p = (uint8_t *)en->cpu[i]->priv;
        r = mprotect(c + cpu_at, sizeof(struct cpu) - cpu_at, PROT_READ) ||
            mprotect(p + priv_at, sizeof(struct cpu_private) - priv_at, PROT_READ);
    }
    if (!r)
        r = mprotect((uint8_t *)en + offsetof(struct engine, cpus),
                     sizeof(struct engine) - offsetof(struct engine, cpus), PROT_READ);
    return r ? -errno : 0;
}

static int by_gpa(const void *a, const void *b)
{
    const struct engine_slot *x = a, *y = b;

    return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

void engine_set_slots(struct engine *en, const struct engine_slot *slots, unsigned count)
{
    CHECK(count <= ENGINE_MAX_SLOTS);
    world_stop(en, NULL);
    memcpy(en->slot, slots, count * sizeof(*slots));
    qsort(en->slot, count, sizeof(*slots), by_gpa);
    for (unsigned i = 0; i < count; i++)
        CHECK(((en->slot[i].gpa | en->slot[i].size) & 0xfff) == 0);
    en->slot_count = count;
    __atomic_fetch_add(&en->slots_version, 1, __ATOMIC_RELEASE);
    world_go(en);
}

struct cpu *engine_cpu(struct engine *en, unsigned index)
{
    return en->cpu[index];
}

bool cpu_has(const struct cpu *c, uint32_t feature)
{
    return x86_features_has(&c->priv->features, feature);
}

void engine_poke(struct engine *en, unsigned cpu, uint32_t what)
{
    cpu_attention(en->cpu[cpu], what);
    if (en->attached)
        en->out.wake(en->opaque, cpu);
}

void engine_kick(struct engine *en, unsigned cpu)
{
    engine_poke(en, cpu, ATT_KICK);
}

void engine_stop_at(struct engine *en, unsigned cpu, uint64_t count)
{
    en->cpu[cpu]->x.stop_at = count < INT64_MAX ? count : INT64_MAX;
}

uint64_t engine_icount(const struct engine *en, unsigned cpu)
{
    return en->cpu[cpu]->icount;
}

void engine_timer(struct engine *en, unsigned cpu)
{
    __atomic_store_n(&en->cpu[cpu]->priv->timer_came, 1, __ATOMIC_RELAXED);
    cpu_attention(en->cpu[cpu], ATT_TIMER);
}

void engine_nmi(struct engine *en, unsigned cpu)
{
    cpu_attention_nmi(en->cpu[cpu]);
    engine_poke(en, cpu, 0);
}

void engine_extint(struct engine *en, bool level)
{
    __atomic_store_n(&en->cpu[0]->priv->lapic.extint, level, __ATOMIC_SEQ_CST);
    if (level)
        engine_poke(en, 0, ATT_INTR);
}

void engine_stats(struct engine *en, struct accel_stats *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < en->cpus; i++) {
        const struct cpu *c = en->cpu[i];
        const struct cpu_private *p = c->priv;
        out->instructions += c->icount;
        out->interpreted += p->n_interpreted + p->n_slow;
        out->blocks += p->n_blocks;
        out->exits_pio += p->n_pio;
        out->exits_mmio += p->n_mmio;
        out->exits_halt += p->n_halt;
        out->tlb_misses += p->n_miss;
        out->interrupts += p->n_intr;
        out->invalidations += p->n_inval;
        out->run_ns += p->run_ns;
    }
    xcache_stats(en, out);
}

int engine_translate(struct engine *en, unsigned cpu, uint64_t linear, uint64_t *gpa)
{
    struct cpu *c = en->cpu[cpu];
    struct walk w;

    if ((c->cr0 & CR0_PG) && c->long_mode && !is_canonical(c, linear))
        return -1;
    if (!cpu_walk(c, linear, WALK_PEEK, &w))
        return -1;
    *gpa = w.gpa;
    return 0;
}

/* ---- leaving engine_run ---- */

void cpu_exit(struct cpu *c, enum engine_exit kind)
{
    c->priv->exit_kind = (uint8_t)kind;
    longjmp(c->fault_env, LEAVE_EXIT);
}

void cpu_failed(struct cpu *c, const char *fmt, ...)
{
    if (c->priv->info) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(c->priv->info->why, sizeof(c->priv->info->why), fmt, ap);
        va_end(ap);
    }
    cpu_exit(c, ENGINE_FAILED);
}
