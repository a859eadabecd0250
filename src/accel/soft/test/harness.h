/*
 * harness: an engine of one or more vCPUs with a little RAM, for unit tests of the engine. Header-only; each
 * test program includes it once.
 *
 * RAM lies at guest physical 0 (h_ram bytes); ports and MMIO are recorded. h_long_mode gives a flat 64-bit
 * state at CPL 0 with paging off the table at 0x1000: linear = physical for the first GiB.
 */
#ifndef SOFT_TEST_HARNESS_H
#define SOFT_TEST_HARNESS_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sched.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "accel/soft/engine/private.h"
#include "base/err.h"
#include "host/host.h"

#ifndef H_MODEL
#define H_MODEL "default" /* of the vCPUs */
#endif

enum { H_RAM = 16 << 20, H_TABLES = 0x1000, H_EXIT_PORT = 0xf4 };

struct harness {
    struct engine *en;
    void *arena;
    size_t arena_size;
    uint8_t *ram, *notes;
    uint32_t *gens;
    struct x86_cpuid cpuid[4];
    uint64_t time; /* guest ns; 0: the real clock */
    uint64_t mmio_addr, mmio_value;
    unsigned mmio_size, mmio_reads, mmio_writes;
    uint16_t port;
    uint32_t exit_value; /* last written to H_EXIT_PORT, which kicks vCPU 0 */
    uint32_t port_value, port_answer;
    unsigned port_reads, port_writes;
    uint32_t wake[4];
    int eoi; /* last broadcast EOI, -1 none */
    int extint_vector;
};

static uint32_t h_pio_read(void *o, uint16_t port, unsigned size)
{
    struct harness *h = o;
    (void)size;
    h->port = port;
    h->port_reads++;
    return h->port_answer;
}
static void h_pio_write(void *o, uint16_t port, unsigned size, uint32_t value)
{
    struct harness *h = o;
    if (port == H_EXIT_PORT) {
        h->exit_value = value;
        engine_kick(h->en, 0);
        return;
    }
    (void)size;
    h->port = port;
    h->port_value = value;
    h->port_writes++;
}
static uint64_t h_mmio_read(void *o, uint64_t gpa, unsigned size)
{
    struct harness *h = o;
    h->mmio_addr = gpa;
    h->mmio_size = size;
    h->mmio_reads++;
    return h->mmio_value;
}
static void h_mmio_write(void *o, uint64_t gpa, unsigned size, uint64_t value)
{
    struct harness *h = o;
    h->mmio_addr = gpa;
    h->mmio_size = size;
    h->mmio_value = value;
    h->mmio_writes++;
}
static int h_ack_extint(void *o)
{
    struct harness *h = o;
    return h->extint_vector;
}
static void h_eoi(void *o, uint8_t vector)
{
    struct harness *h = o;
    h->eoi = vector;
}
static uint64_t h_now(void *o)
{
    struct harness *h = o;
    struct timespec ts;
    if (h->time)
        return h->time;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
static uint64_t h_wall(void *o)
{
    (void)o;
    return 1600000000000000000ull;
}
static void h_sleep(void *o, unsigned cpu, uint64_t deadline)
{
    struct harness *h = o;
    while (!__atomic_exchange_n(&h->wake[cpu], 0, __ATOMIC_ACQUIRE)) {
        if (h->time) {
            if (deadline != UINT64_MAX && h->time < deadline)
                h->time = deadline; /* a stopped clock jumps */
            else
                sched_yield();
            if (deadline != UINT64_MAX)
                return;
        } else if (h_now(h) >= deadline) {
            return;
        }
        sched_yield();
    }
}
static void h_wake(void *o, unsigned cpu)
{
    struct harness *h = o;
    __atomic_store_n(&h->wake[cpu], 1, __ATOMIC_RELEASE);
}
static void h_barrier(void *o)
{
    (void)o;
    host_membarrier();
}
static void h_quiescent(void *o, unsigned cpu)
{
    (void)o;
    (void)cpu;
}
static void h_log(void *o, int level, const char *text)
{
    (void)o;
    (void)level;
    fprintf(stderr, "%s\n", text);
}

static const struct engine_outside h_outside = {
    .pio_read = h_pio_read,
    .pio_write = h_pio_write,
    .mmio_read = h_mmio_read,
    .mmio_write = h_mmio_write,
    .ack_extint = h_ack_extint,
    .eoi = h_eoi,
    .now_ns = h_now,
    .wall_ns = h_wall,
    .sleep = h_sleep,
    .wake = h_wake,
    .barrier = h_barrier,
    .quiescent = h_quiescent,
    .log = h_log,
};

static inline void h_cpuid(struct harness *h, unsigned cpus)
{
    struct x86_cpu_config cc = {
        .model = H_MODEL, .cpus = cpus, .tsc_khz = 1000000, .hypervisor_leaves = true};
    struct err e = {{0}};
    memset(&cc.allow, 0xff, sizeof(cc.allow));
    for (unsigned i = 0; i < cpus; i++) {
        cc.apic_id = i;
        if (x86_cpuid_build(&h->cpuid[i], &cc, &e))
            fail_msg("%s", e.msg);
    }
}

/* With so many bytes for translated code; 0: as many as usual. */
static inline struct harness *h_new_cache(unsigned cpus, size_t code_cache)
{
    struct harness *h = calloc(1, sizeof(*h));
    h_cpuid(h, cpus);
    struct engine_config cfg = {
        .cpus = cpus, .tsc_khz = 1000000, .code_cache = code_cache, .count = true, .cpuid = h->cpuid};
    h->arena_size = engine_arena_size(&cfg);
    h->arena =
        mmap(NULL, h->arena_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    h->ram = mmap(NULL, H_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    h->notes = calloc(H_RAM / 4096, 1);
    h->gens = calloc(H_RAM / 4096, 4);
    h->eoi = h->extint_vector = -1;
    h->en = engine_init(h->arena, h->arena_size, &cfg);
    assert_int_equal(engine_attach(h->en, &h_outside, h), 0);
    struct engine_slot slot = {.gpa = 0, .size = H_RAM, .host = h->ram, .notes = h->notes, .gens = h->gens};
    engine_set_slots(h->en, &slot, 1);
    return h;
}

static inline struct harness *h_new(unsigned cpus)
{
    return h_new_cache(cpus, 0);
}

static inline void h_free(struct harness *h)
{
    engine_drop_machine_code(h->en);
    munmap(h->arena, h->arena_size);
    munmap(h->ram, H_RAM);
    free(h->notes);
    free(h->gens);
    free(h);
}

static inline void h_put64(struct harness *h, uint64_t at, uint64_t v)
{
    memcpy(h->ram + at, &v, 8);
}
static inline uint64_t h_get64(struct harness *h, uint64_t at)
{
    uint64_t v;
    memcpy(&v, h->ram + at, 8);
    return v;
}

/* Identity map of the first GiB by 2 MiB pages, present, writable, user. */
static inline void h_identity(struct harness *h)
{
    h_put64(h, H_TABLES, (H_TABLES + 0x1000) | 7);
    h_put64(h, H_TABLES + 0x1000, (H_TABLES + 0x2000) | 7);
    for (uint64_t i = 0; i < 512; i++)
        h_put64(h, H_TABLES + 0x2000 + i * 8, i << 21 | 0xe7);
}

static inline struct x86_seg h_flat(uint16_t sel, bool code, unsigned dpl, bool l)
{
    return (struct x86_seg){.sel = sel,
                            .limit = 0xffffffff,
                            .attr = (code ? 0xbu : 0x3u) | X86_SEG_S | dpl << 5 | X86_SEG_P | X86_SEG_G |
                                    (l ? X86_SEG_L : X86_SEG_DB)};
}

/* 64-bit state at CPL 0 or 3, RIP at `rip`, RSP at 0x80000. */
static inline struct x86_state h_long_mode(struct harness *h, uint64_t rip, unsigned cpl)
{
    struct x86_state s;
    engine_get(h->en, 0, &s);
    h_identity(h);
    s.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_MP | CR0_WP;
    s.cr3 = H_TABLES;
    s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    s.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    s.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    s.rip = rip;
    s.rflags = 2;
    s.gpr[X86_RSP] = 0x80000;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] = h_flat((uint16_t)(0x10 | cpl), i == X86_CS, cpl, i == X86_CS);
    s.seg[X86_CS].sel = (uint16_t)(8 | cpl);
    s.mp_state = X86_MP_RUNNABLE;
    return s;
}

/* 32-bit flat protected mode without paging. */
static inline struct x86_state h_protected(struct harness *h, uint32_t rip)
{
    struct x86_state s;
    engine_get(h->en, 0, &s);
    s.cr0 = CR0_PE | CR0_NE | CR0_ET;
    s.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    s.cr3 = s.efer = 0;
    s.rip = rip;
    s.rflags = 2;
    s.gpr[X86_RSP] = 0x80000;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] = h_flat(0x10, i == X86_CS, 0, false);
    s.seg[X86_CS].sel = 8;
    s.mp_state = X86_MP_RUNNABLE;
    return s;
}

static inline void h_idt64(struct harness *h, uint64_t idt, unsigned vector, uint64_t handler, uint16_t cs,
                           unsigned type)
{
    h_put64(h, idt + vector * 16,
            (handler & 0xffff) | (uint64_t)cs << 16 | (uint64_t)(0x80 | type) << 40 |
                (handler >> 16 & 0xffff) << 48);
    h_put64(h, idt + vector * 16 + 8, handler >> 32);
}

/* #UD goes to 0x11000. */
static inline void h_handle_ud(struct harness *h, struct x86_state *s)
{
    h_put64(h, 0x6008, 0x00af9b000000ffff); /* GDT: 64-bit code, data */
    h_put64(h, 0x6010, 0x00cf93000000ffff);
    s->gdtr.base = 0x6000;
    s->gdtr.limit = 0x17;
    s->idtr.base = 0x7000;
    s->idtr.limit = 0xfff;
    h_idt64(h, 0x7000, X86_UD, 0x11000, 8, 0xe);
}

static inline struct cpu *h_cpu(struct harness *h)
{
    return engine_cpu(h->en, 0);
}

/* Guest code written in assembly beside the test: GUEST(name, ".code64; ...") and h_code(h, at, name).
 * Position independent. */
#define GUEST(name, text)                                                                                    \
    extern const uint8_t name[], name##_end[];                                                               \
    __asm__(".pushsection .rodata\n" #name ":\n" text "\n" #name "_end:\n.code64\n.popsection\n")
#define h_code(h, at, name) memcpy((h)->ram + (at), name, (size_t)(name##_end - name))

/* Run vCPU 0 until it leaves. */
static inline enum engine_exit h_run(struct harness *h)
{
    struct engine_exit_info info;
    return engine_run(h->en, 0, &info);
}

/* Run one instruction: 0, LEAVE_FAULT (see cpu->fault_*), LEAVE_EXIT. */
static inline int h_step(struct harness *h)
{
    return cpu_step_raw(h_cpu(h));
}

#endif
