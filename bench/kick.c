/*
 * kick: how long an interrupt takes from the host's thread that raises it to the guest's handler, by the
 * accelerator's own calls, as devices make them. One vCPU on the software engine; the host's second CPU is
 * this program's main thread, which raises the interrupt and watches guest memory for what the handler writes
 * there.
 *
 *     kick_irq      a message while the vCPU computes
 *     kick_string   while it copies memory, a megabyte by each instruction
 *     kick_wake     while it is halted
 *     kick_exit     vcpu_kick while it computes, until vcpu_run has returned
 *
 * Prints rows as guestbench does: medians and 99th percentiles of 2000, or of as many as KICK_SAMPLES in the
 * environment says. `kick process` measures the engine in a process of its own.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "accel/accel.h"
#include "base/check.h"
#include "base/err.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "host/host.h"
#include "x86/regs.h"
#include "x86/state.h"

enum {
    SAMPLES = 2000,
    RAM_SIZE = 16 << 20,
    TABLES = 0x1000,
    GDT = 0x6000,
    IDT = 0x7000,
    HANDLER = 0x11000,
    CODE = 0x12000,
    STAMP = 0x600,
    VECTOR = 0x41,
    ALONE_NS = 1000000, /* the vCPU, too, may want this CPU, where others have the second */
    PATIENCE_S = 60
};

struct bench {
    struct mem_map *mem;
    struct bus *bus;
    struct clock *clock;
    struct accel *accel;
    struct vcpu *vcpu;
    struct ram *ram;
    uint32_t left, end; /* times that vcpu_run has returned; it shall not run again */
};

#define GUEST(name, text)                                                                                    \
    extern const uint8_t name[], name##_end[];                                                               \
    __asm__(".pushsection .rodata\n" #name ":\n" text "\n" #name "_end:\n.popsection\n")

/* x2APIC: its software enable, then the EOI */
#define ENABLE "mov $0x80f, %ecx\n mov $0x1ff, %eax\n xor %edx, %edx\n wrmsr\n sti\n"
GUEST(handler, "movl $1, 0x600\n push %rax\n push %rcx\n push %rdx\n mov $0x80b, %ecx\n xor %eax, %eax\n xor "
               "%edx, %edx\n"
               "wrmsr\n pop %rdx\n pop %rcx\n pop %rax\n iretq");
GUEST(computes, ENABLE "1: imul $3, %rax, %rax\n add $7, %rax\n ror $5, %rax\n mov %rax, 0x700\n jmp 1b");
GUEST(copies,
      ENABLE "1: mov $0x200000, %esi\n mov $0x400000, %edi\n mov $0x100000, %ecx\n rep movsb\n jmp 1b");
GUEST(halts, ENABLE "1: hlt\n jmp 1b");

static void put64(struct bench *b, uint64_t at, uint64_t v)
{
    memcpy(b->ram->host + at, &v, 8);
}

static void begin(struct bench *b, bool process)
{
    struct err e = {{0}};

    *b = (struct bench){.mem = mem_map_new(&e), .bus = bus_new(&e), .clock = clock_new(&e)};
    b->ram = ram_new("ram", RAM_SIZE, process ? RAM_MEMFD : RAM_ANONYMOUS, &e);
    struct mem_region ram = {.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .ram = b->ram};
    mem_add(b->mem, &ram, &e);
    struct accel_config c = {.mem = b->mem,
                             .bus = b->bus,
                             .clock = b->clock,
                             .cpus = 1,
                             .cpu_model = "default",
                             .engine_process = process};
    b->accel = accel_soft_open(&c, &e);
    b->vcpu = b->accel ? vcpu_new(b->accel, 0, &e) : NULL;
    if (!b->vcpu) {
        fprintf(stderr, "kick: %s\n", e.msg);
        exit(1);
    }
    clock_start(b->clock);
    accel_time_stopped(b->accel, false);
}

static void finish(struct bench *b)
{
    vcpu_free(b->vcpu);
    accel_close(b->accel);
    clock_free(b->clock);
    bus_free(b->bus);
    mem_map_free(b->mem);
}

static void load(struct bench *b, const uint8_t *code, const uint8_t *end)
{
    struct x86_state s;
    struct err e = {{0}};

    put64(b, TABLES, (TABLES + 0x1000) | 3);
    put64(b, TABLES + 0x1000, (TABLES + 0x2000) | 3);
    for (uint64_t i = 0; i < RAM_SIZE >> 21; i++)
        put64(b, TABLES + 0x2000 + i * 8, i << 21 | 0xe3);
    put64(b, GDT + 8, 0x00af9b000000ffff);
    put64(b, GDT + 16, 0x00cf93000000ffff);
    put64(b, IDT + VECTOR * 16,
          (HANDLER & 0xffff) | 8ull << 16 | 0x8eull << 40 | (uint64_t)(HANDLER >> 16) << 48);
    memcpy(b->ram->host + HANDLER, handler, (size_t)(handler_end - handler));
    memcpy(b->ram->host + CODE, code, (size_t)(end - code));
    ram_written(b->ram, 0, RAM_SIZE);
    CHECK(vcpu_get(b->vcpu, &s, &e) == 0);
    s.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET;
    s.cr3 = TABLES;
    s.cr4 = CR4_PAE | CR4_OSFXSR;
    s.efer = EFER_LME | EFER_LMA;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] = (struct x86_seg){.sel = i == X86_CS ? 8 : 16,
                                    .limit = 0xffffffff,
                                    .attr = (i == X86_CS ? 0xbu | X86_SEG_L : 3u | X86_SEG_DB) | X86_SEG_S |
                                            X86_SEG_P | X86_SEG_G};
    s.gdtr = (struct x86_dtable){.base = GDT, .limit = 23};
    s.idtr = (struct x86_dtable){.base = IDT, .limit = 0xfff};
    s.apic_base |= 0xc00;
    s.rip = CODE;
    s.rflags = 2;
    s.gpr[X86_RSP] = 0x80000;
    s.mp_state = X86_MP_RUNNABLE;
    CHECK(vcpu_set(b->vcpu, &s, &e) == 0);
}

static void *run_vcpu(void *arg)
{
    struct bench *b = arg;
    struct vcpu_exit_info info;
    struct err e;

    while (!__atomic_load_n(&b->end, __ATOMIC_ACQUIRE)) {
        CHECK(vcpu_run(b->vcpu, &info, &e) == VCPU_KICKED);
        __atomic_fetch_add(&b->left, 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void sleep_a_while(void)
{
    static uint64_t r = 88172645463325252ull;
    r ^= r << 13;
    r ^= r >> 7;
    r ^= r << 17;
    nanosleep(&(struct timespec){.tv_nsec = 100000 + (long)(r % 400000)}, NULL);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* From `cause` until the word changes. */
static uint64_t sample(struct bench *b, const uint32_t *word, bool exits)
{
    uint32_t was = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    uint64_t from = host_now_ns(), now;

    if (exits)
        vcpu_kick(b->vcpu);
    else
        accel_msi(b->accel, (struct msi_message){.address = 0xfee00000, .data = VECTOR});
    while (now = host_now_ns(), __atomic_load_n(word, __ATOMIC_ACQUIRE) == was)
        if (now - from > ALONE_NS) {
            CHECK(now - from < PATIENCE_S * 1000000000ull);
            sched_yield();
        }
    return now - from;
}

static void measure(struct bench *b, unsigned samples, const char *name, const uint8_t *code,
                    const uint8_t *end, bool exits)
{
    static uint64_t ns[SAMPLES];
    uint32_t *stamp = (uint32_t *)(void *)(b->ram->host + STAMP);
    pthread_t thread;

    load(b, code, end);
    b->end = 0;
    CHECK(host_thread(&thread, "vcpu0", run_vcpu, b) == 0);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* it runs, translated */
    for (unsigned i = 0; i < samples; i++) {
        __atomic_store_n(stamp, 0, __ATOMIC_RELEASE);
        sleep_a_while();
        ns[i] = sample(b, exits ? &b->left : stamp, exits);
    }
    __atomic_store_n(&b->end, 1, __ATOMIC_RELEASE);
    vcpu_kick(b->vcpu);
    pthread_join(thread, NULL);
    qsort(ns, samples, sizeof ns[0], by_size);
    printf("%s_p50 %.2f us\n%s_p99 %.2f us\n", name, (double)ns[samples / 2] / 1000, name,
           (double)ns[samples * 99 / 100] / 1000);
}

int main(int argc, char **argv)
{
    const char *wanted = getenv("KICK_SAMPLES");
    unsigned n = wanted ? (unsigned)strtoul(wanted, NULL, 10) : SAMPLES;
    struct bench b;

    if (n < 1 || n > SAMPLES)
        n = SAMPLES;
    begin(&b, argc > 1 && !strcmp(argv[1], "process"));
    printf("GUESTBENCH BEGIN\n");
    measure(&b, n, "kick_irq", computes, computes_end, false);
    measure(&b, n, "kick_string", copies, copies_end, false);
    measure(&b, n, "kick_wake", halts, halts_end, false);
    measure(&b, n, "kick_exit", computes, computes_end, true);
    printf("GUESTBENCH END\n");
    finish(&b);
    return 0;
}
