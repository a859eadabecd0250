/*
 * latency: a guest that measures how long an interrupt takes from its cause to the first instruction of its
 * handler, while the CPU it interrupts computes. Two CPUs, entered by Linux's 64-bit protocol; prints rows as
 * guestbench does, and ends by the debug exit port.
 *
 *     irq_timer     the APIC timer in TSC-deadline mode: RDTSC of the handler, less the deadline
 *     irq_message   a message from another CPU, as MSIs are: less RDTSC before the write of the ICR
 *     port_read     a port that nothing answers at: the way out of the engine and back, in the mean
 *
 * The CPUs' TSCs are one clock. CPU 0 sleeps between messages, so that the host's CPUs are not short.
 */
#include <stdint.h>

enum {
    SAMPLES = 2000,
    READS = 20000,
    TIMER = 0x40,
    MESSAGE = 0x41,
    EXIT_PORT = 0xf4,
    COM1 = 0x3f8,
    NOBODY = 0x2f0
};
enum {
    MSR_APIC_BASE = 0x1b,
    MSR_DEADLINE = 0x6e0,
    MSR_SVR = 0x80f,
    MSR_ICR = 0x830,
    MSR_LVT_TIMER = 0x832,
    APIC_X2 = 0xc00,
    LVT_DEADLINE = 0x40000
};

static uint64_t samples[SAMPLES];
volatile uint64_t stamp[2]; /* by handler: when it began; 0: it has not */
volatile uint32_t ap_up;
uint8_t stacks[2][16384] __attribute__((aligned(16)));
static struct {
    uint16_t low, sel, attr, mid;
    uint32_t high, zero;
} idt[256] __attribute__((aligned(16)));
extern const uint8_t on_timer[], on_message[], trampoline[], trampoline_end[];
extern uint32_t ap_cr3;

/* The handlers' first instruction takes the time; they have RAX, RDX and RCX to themselves (compute). */
__asm__(".text\n"
        ".globl start\n"
        "start: cli; lea stacks+16384(%rip), %rsp; lgdt gdtr(%rip); push $8; lea 1f(%rip), %rax; push %rax; "
        "lretq\n"
        "1: mov $16, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss; call first\n"
        "on_timer: rdtsc; shl $32, %rdx; or %rdx, %rax; mov %rax, stamp(%rip); jmp eoi\n"
        "on_message: rdtsc; shl $32, %rdx; or %rdx, %rax; mov %rax, stamp+8(%rip)\n"
        "eoi: xor %eax, %eax; xor %edx, %edx; mov $0x80b, %ecx; wrmsr; iretq\n"
        ".balign 16\n"
        "gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff\n"
        "gdtr: .word 23; .quad gdt\n"
        /* at 0x8000, real mode, to long mode in one step */
        ".code16\n"
        "trampoline: cli; xor %ax, %ax; mov %ax, %ds; lgdtl 0x8000 + tgdtr - trampoline\n"
        "mov $0x20, %eax; mov %eax, %cr4; mov 0x8000 + ap_cr3 - trampoline, %eax; mov %eax, %cr3\n"
        "mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr; mov $0x80000011, %eax; mov %eax, %cr0\n"
        "ljmpl $8, $ap\n"
        "tgdtr: .word 23; .long gdt\n"
        "ap_cr3: .long 0\n"
        "trampoline_end:\n"
        ".code64\n"
        "ap: mov $16, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss; lea stacks+32768(%rip), %rsp; call "
        "second\n");

static void out(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "d"(port));
}

static void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

static uint64_t rdmsr(uint32_t msr)
{
    uint32_t a, d;
    __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(msr));
    return (uint64_t)d << 32 | a;
}

static uint64_t rdtsc(void)
{
    uint32_t a, d;
    __asm__ volatile("rdtsc" : "=a"(a), "=d"(d)::"memory");
    return (uint64_t)d << 32 | a;
}

/* Arithmetic until the handler has been there. */
static void compute(volatile uint64_t *until)
{
    uint64_t x = 1;
    __asm__ volatile("1: imul $3, %0, %0; add $7, %0; ror $5, %0; cmpq $0, (%1); je 1b"
                     : "+r"(x)
                     : "r"(until)
                     : "rax", "rcx", "rdx", "cc", "memory");
}

static uint64_t khz(void)
{
    uint32_t a = 0x40000010, b, c, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    return a;
}

/* 100 to 500 us, in ticks. */
static uint64_t a_while(void)
{
    static uint64_t r = 88172645463325252ull;
    r ^= r << 13;
    r ^= r >> 7;
    r ^= r << 17;
    return (100 + r % 400) * khz() / 1000;
}

static void sleep_a_while(void)
{
    stamp[0] = 0;
    wrmsr(MSR_DEADLINE, rdtsc() + a_while());
    while (!stamp[0]) /* a wake between the look and HLT waits for STI's shadow to end */
        __asm__ volatile("cli; cmpq $0, %0; jne 1f; sti; hlt; 1: sti" ::"m"(stamp[0])
                         : "rax", "rcx", "rdx", "cc", "memory");
}

static void print(const char *s)
{
    while (*s)
        out(COM1, (uint8_t)*s++);
}

static void print_number(uint64_t n, unsigned least)
{
    if (n >= 10 || least > 1)
        print_number(n / 10, least ? least - 1 : 0);
    out(COM1, (uint8_t)('0' + n % 10));
}

static void row(const char *name, const char *which, uint64_t hundredths, const char *unit)
{
    print(name);
    print(which);
    print_number(hundredths / 100, 1);
    print(".");
    print_number(hundredths % 100, 2);
    print(unit);
}

static void sort(void)
{
    for (unsigned gap = SAMPLES / 2; gap; gap /= 2)
        for (unsigned i = gap; i < SAMPLES; i++)
            for (unsigned k = i; k >= gap && samples[k - gap] > samples[k]; k -= gap) {
                uint64_t t = samples[k];
                samples[k] = samples[k - gap];
                samples[k - gap] = t;
            }
}

static void result(const char *name)
{
    sort();
    row(name, "_p50 ", samples[SAMPLES / 2] * 100000 / khz(), " us\n");
    row(name, "_p99 ", samples[SAMPLES * 99 / 100] * 100000 / khz(), " us\n");
}

static void set_gate(unsigned v, const uint8_t *to)
{
    uint64_t at = (uint64_t)to;
    idt[v].low = (uint16_t)at;
    idt[v].sel = 8;
    idt[v].attr = 0x8e00;
    idt[v].mid = (uint16_t)(at >> 16);
    idt[v].high = (uint32_t)(at >> 32);
}

static void begin_cpu(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } r = {sizeof idt - 1, (uint64_t)idt};
    __asm__ volatile("lidt %0" ::"m"(r));
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_X2);
    wrmsr(MSR_SVR, 0x1ff);
    wrmsr(MSR_LVT_TIMER, LVT_DEADLINE | TIMER);
    __asm__ volatile("sti");
}

__attribute__((noreturn)) void second(void)
{
    begin_cpu();
    ap_up = 1;
    for (;;)
        compute(&(volatile uint64_t){0});
}

static void start_second(void)
{
    uint8_t *to = (uint8_t *)0x8000;
    uint64_t cr3;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    ap_cr3 = (uint32_t)cr3;
    for (const uint8_t *p = trampoline; p < trampoline_end; p++)
        *to++ = *p;
    wrmsr(MSR_ICR, 0xc4500); /* INIT, then start at 0x8000, all but self */
    wrmsr(MSR_ICR, 0xc4608);
    while (!ap_up)
        sleep_a_while();
}

__attribute__((noreturn)) void first(void)
{
    set_gate(TIMER, on_timer);
    set_gate(MESSAGE, on_message);
    begin_cpu();
    print("GUESTBENCH BEGIN\n");
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t due = rdtsc() + a_while();
        stamp[0] = 0;
        wrmsr(MSR_DEADLINE, due);
        compute(&stamp[0]);
        samples[i] = stamp[0] - due;
    }
    result("irq_timer");
    start_second();
    for (unsigned i = 0; i < SAMPLES; i++) {
        sleep_a_while();
        stamp[1] = 0;
        uint64_t sent = rdtsc();
        wrmsr(MSR_ICR, 1ull << 32 | MESSAGE);
        while (!stamp[1])
            sleep_a_while();
        samples[i] = stamp[1] - sent;
    }
    result("irq_message");
    uint64_t from = rdtsc();
    for (unsigned i = 0; i < READS; i++)
        __asm__ volatile("inb %0, %%al" ::"d"((uint16_t)NOBODY) : "rax");
    row("port_read", " ", (rdtsc() - from) * 1000000 / khz() * 100 / READS, " ns\n");
    print("GUESTBENCH END\n");
    out(EXIT_PORT, 0);
    for (;;)
        __asm__ volatile("hlt");
}
