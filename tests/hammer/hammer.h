/* hammer: what the guest's files share. All memory that devices may be pointed at lies in the playground. */
#ifndef HAMMER_H
#define HAMMER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CPUS = 4, EXIT_PORT = 0xf4, EXIT_DONE = 21, EXIT_LOST = 22 };
enum {
    DO_PORTS = 1,
    DO_SWEEP = 2,
    DO_MMIO = 4,
    DO_CONFIG = 8,
    DO_VIRTIO = 16,
    DO_MSR = 32,
    DO_WALK = 64,
    DO_RESETS = 128,
    DO_RUBBISH = 256
};
enum { USER_CODE = 0x1b, USER_DATA = 0x23, TIMER_VECTOR = 0x2f };
#define PLAYGROUND      0x2000000ull /* 32 to 64 MiB */
#define PLAYGROUND_SIZE 0x2000000ull
#define ECAM            0xe0000000ull
#define BARS            0xc0000000ull
#define VIRTIO_MMIO     0xfeb00000ull
#define IOAPIC          0xfec00000ull
#define LAPIC           0xfee00000ull
#define TESTDEV         0xff000000ull

/* At the bottom of each CPU's stack of 64 KiB. */
struct cpu {
    uint64_t rng;
    void *back[5];
    bool armed;
    unsigned burst, index;
    struct tss {
        uint32_t reserved;
        uint64_t rsp0, others[11];
        uint16_t zero, io_map;
    } __attribute__((packed)) tss;
};

extern unsigned what;
extern uint64_t pml4[512];

static inline struct cpu *me(void)
{
    uint64_t sp;
    __asm__("mov %%rsp, %0" : "=r"(sp));
    return (struct cpu *)(sp & ~0xffffull);
}

static inline uint64_t rnd(void)
{
    struct cpu *c = me();
    c->rng ^= c->rng << 13;
    c->rng ^= c->rng >> 7;
    c->rng ^= c->rng << 17;
    return c->rng * 0x9e3779b97f4a7c15ull >> 7 ^ c->rng;
}

uint64_t value(void);      /* random, often of the kind that breaks things */
uint64_t target(void);     /* an address to give to a device */
void window(void);         /* let interrupts in for a moment */
void run_user(uint64_t a); /* run what lies there without privilege for a moment, in a TRY */

/* Run the statement; an exception in it ends it. */
#define TRY(...)                                                                                             \
    do {                                                                                                     \
        if (!__builtin_setjmp(me()->back)) {                                                                 \
            me()->armed = true;                                                                              \
            __VA_ARGS__;                                                                                     \
        }                                                                                                    \
        me()->armed = false;                                                                                 \
    } while (0)

static inline void out(uint16_t port, unsigned size, uint32_t v)
{
    if (size == 1)
        __asm__ volatile("outb %b0, %w1" ::"a"(v), "d"(port) : "memory");
    else if (size == 2)
        __asm__ volatile("outw %w0, %w1" ::"a"(v), "d"(port) : "memory");
    else
        __asm__ volatile("outl %0, %w1" ::"a"(v), "d"(port) : "memory");
}

static inline uint32_t in(uint16_t port, unsigned size)
{
    uint32_t v = 0;
    if (size == 1)
        __asm__ volatile("inb %w1, %b0" : "+a"(v) : "d"(port) : "memory");
    else if (size == 2)
        __asm__ volatile("inw %w1, %w0" : "+a"(v) : "d"(port) : "memory");
    else
        __asm__ volatile("inl %w1, %0" : "+a"(v) : "d"(port) : "memory");
    return v;
}

static inline void wr(uint64_t a, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        __asm__ volatile("movb %b0, (%1)" ::"q"(v), "r"(a) : "memory");
        break;
    case 2:
        __asm__ volatile("movw %w0, (%1)" ::"r"(v), "r"(a) : "memory");
        break;
    case 4:
        __asm__ volatile("movl %k0, (%1)" ::"r"(v), "r"(a) : "memory");
        break;
    default:
        __asm__ volatile("movq %0, (%1)" ::"r"(v), "r"(a) : "memory");
    }
}

static inline uint64_t rd(uint64_t a, unsigned size)
{
    uint64_t v = 0;
    switch (size) {
    case 1:
        __asm__ volatile("movzbl (%1), %k0" : "=r"(v) : "r"(a) : "memory");
        break;
    case 2:
        __asm__ volatile("movzwl (%1), %k0" : "=r"(v) : "r"(a) : "memory");
        break;
    case 4:
        __asm__ volatile("movl (%1), %k0" : "=r"(v) : "r"(a) : "memory");
        break;
    default:
        __asm__ volatile("movq (%1), %0" : "=r"(v) : "r"(a) : "memory");
    }
    return v;
}

void *memset(void *to, int c, size_t n);
void poke(uint64_t a, unsigned size,
          uint64_t v); /* a write that does not end this run: no INIT, SIPI or SMI */
void do_ports(void);
void do_sweep(void);
void do_mmio(unsigned n);
void do_config(unsigned n);
void fix_bars(void);
void do_virtio(void);
void do_msr(unsigned n);
void do_walk(unsigned n);

#endif
