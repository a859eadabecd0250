/*
 * hammer: a guest that uses everything wrongly. Started like a 64-bit Linux kernel; its command line is
 * `seed=N rounds=N what=BITS`. Ends by the debug exit port: EXIT_DONE, or EXIT_LOST after an exception where
 * none belongs.
 */
#include "hammer.h"

unsigned what = 0x7f;
static unsigned rounds = 4;
static uint64_t seed = 1;
unsigned next_cpu = 1;
static unsigned up; /* CPUs that run hammer() */
uint64_t pml4[512] __attribute__((aligned(4096)));
static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[64][512] __attribute__((aligned(4096)));
uint8_t stacks[CPUS][65536] __attribute__((aligned(65536)));
struct gate {
    uint16_t low, sel;
    uint8_t ist, attr;
    uint16_t mid;
    uint32_t high, zero;
} idt[256] __attribute__((aligned(16)));
extern uint64_t gdt[];
extern const uint8_t start[], etext[], gates[], trampoline[], trampoline_end[], bounce[];

void *memcpy(void *to, const void *from, size_t n)
{
    void *at = to;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n)::"memory");
    return to;
}

void *memset(void *to, int c, size_t n)
{
    void *at = to;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(c) : "memory");
    return to;
}

struct frame {
    uint64_t scratch[9], vector, error, rip, cs, rflags, rsp, ss;
};

static bool from_user(const struct frame *f)
{
    return f->cs & 3;
}

static void end_of_try(struct frame *f)
{
    if (from_user(f)) {
        f->cs = 0x08;
        f->ss = 0x10;
        f->rsp = (uint64_t)f;
        me()->burst = 0;
    }
    f->rip = (uint64_t)bounce;
    f->rsp = (f->rsp - 256) & ~15ull;
    f->rflags &= ~0x700ull;
}

void trap(struct frame *f)
{
    struct cpu *c = me();
    if (from_user(f)) { /* an exception, the end of its time, or a wire that stays up */
        if (f->vector >= 32)
            wr(LAPIC + 0xb0, 4, 0);
        if (f->vector < 32 || f->vector == TIMER_VECTOR || ++c->burst > 20)
            end_of_try(f);
        return;
    }
    if (f->vector == 2) {
        if (c->armed && (f->rip < (uint64_t)start || f->rip >= (uint64_t)etext))
            end_of_try(f);
        return;
    }
    if (f->vector < 32 && f->vector != 1) {
        /* Interrupts may carry such a vector as well: those come only while the window is open. */
        if (c->armed) {
            end_of_try(f);
            return;
        }
        if (!c->burst)
            out(EXIT_PORT, 4, EXIT_LOST);
    }
    wr(LAPIC + 0xb0, 4, 0);
    if (++c->burst > 20)
        f->rflags &= ~0x200ull; /* a wire that stays up would keep us here */
    if (c->burst >
        1000) /* so does an exception that comes back, when an interrupt opened the window for it */
        out(EXIT_PORT, 4, EXIT_LOST);
}

void give_up(void)
{
    me()->armed = false;
    __builtin_longjmp(me()->back, 1);
}

void window(void)
{
    me()->burst = 1;
    __asm__ volatile("sti; nop; nop; cli" ::: "memory");
    me()->burst = 0;
}

/* A CPU's own TSS, for the way back from user code. */
static void load_tss(struct cpu *c)
{
    uint64_t at = (uint64_t)&c->tss, *d = &gdt[5 + 2 * c->index];
    c->tss.io_map = sizeof(c->tss);
    d[0] = (sizeof(c->tss) - 1) | (at & 0xffffff) << 16 | 0x89ull << 40 | (at >> 24 & 0xff) << 56;
    d[1] = at >> 32;
    __asm__ volatile("ltr %w0" ::"r"((5 + 2 * c->index) * 8) : "memory");
}

/* It does not come back but by trap(): returning leads to where nothing is mapped. */
void run_user(uint64_t a)
{
    struct cpu *c = me();
    uint64_t sp, stack = PLAYGROUND + PLAYGROUND_SIZE - 0x1000 * (1 + c->index);
    __asm__ volatile("mov %%rsp, %0" : "=r"(sp));
    c->tss.rsp0 = (sp - 1024) & ~15ull;
    wr(stack, 8, 0xffffffffffffff00);
    for (unsigned i = 0; i < 4; i++)
        window();
    wr(LAPIC + 0xf0, 4, 0x1ff);
    wr(LAPIC + 0x80, 4, 0);
    wr(LAPIC + 0x3e0, 4, 0xb);
    wr(LAPIC + 0x320, 4, TIMER_VECTOR);
    wr(LAPIC + 0x380, 4, 200000);
    c->burst = 1;
    __asm__ volatile("push %0; push %1; push $0x202; push %2; push %3; iretq" ::"i"(USER_DATA), "r"(stack),
                     "i"(USER_CODE), "r"(a)
                     : "memory");
    __builtin_unreachable();
}

uint64_t value(void)
{
    uint64_t r = rnd();
    switch (r & 7) {
    case 0:
        return 0;
    case 1:
        return ~0ull;
    case 2:
        return r >> 8 & 0xff;
    case 3:
        return 1ull << (r >> 8 & 63);
    case 4:
        return (1ull << (r >> 8 & 63)) - 1;
    case 5:
        return target();
    default:
        return rnd();
    }
}

uint64_t target(void)
{
    static const uint64_t odd[] = {0xa0000,
                                   LAPIC,
                                   IOAPIC,
                                   ECAM,
                                   BARS,
                                   TESTDEV,
                                   VIRTIO_MMIO,
                                   0x4000000,
                                   0xfffff000,
                                   0x100000000,
                                   0xffffffffffffff00,
                                   0x800000000};
    uint64_t r = rnd();
    if (r & 7)
        return PLAYGROUND + (r >> 8) % PLAYGROUND_SIZE;
    return odd[(r >> 8) % (sizeof odd / sizeof *odd)] + (r >> 40 & 0xfff);
}

static unsigned number(const char *p)
{
    unsigned v = 0;
    while (*p >= '0' && *p <= '9')
        v = v * 10 + (unsigned)(*p++ - '0');
    return v;
}

static void options(const char *p)
{
    for (; *p; p++) {
        if (p[0] == 'd' && p[1] == '=') /* seed= */
            seed = number(p + 2);
        else if (p[0] == 's' && p[1] == '=') /* rounds= */
            rounds = number(p + 2);
        else if (p[0] == 't' && p[1] == '=') /* what= */
            what = number(p + 2);
    }
}

/* The first 64 GiB one to one, all of it user code's, too, but our own image (16 to 32 MiB). */
void setup(const uint8_t *zero_page)
{
    pml4[0] = (uint64_t)pdpt | 7;
    for (unsigned g = 0; g < 64; g++) {
        pdpt[g] = (uint64_t)pd[g] | 7;
        for (uint64_t i = 0; i < 512; i++)
            pd[g][i] = (uint64_t)g << 30 | i << 21 | (g == 0 && i >= 8 && i < 16 ? 0x83 : 0x87);
    }
    for (unsigned v = 0; v < 256; v++) {
        uint64_t at = (uint64_t)gates + 16 * v;
        idt[v] = (struct gate){.low = (uint16_t)at,
                               .sel = 8,
                               .attr = 0x8e,
                               .mid = (uint16_t)(at >> 16),
                               .high = (uint32_t)(at >> 32)};
    }
    uint32_t cmdline = (uint32_t)rd((uint64_t)zero_page + 0x228, 4);
    if (cmdline)
        options((const char *)(uint64_t)cmdline);
}

static void wake_others(void)
{
    memcpy((void *)0x8000, trampoline, (size_t)(trampoline_end - trampoline));
    wr(LAPIC + 0xf0, 4, 0x1ff);
    wr(LAPIC + 0x300, 4, 0xc4500); /* INIT, all but self */
    for (volatile unsigned i = 0; i < 100000; i++) {
    }
    wr(LAPIC + 0x300, 4, 0xc4608); /* start at 0x8000 */
    for (volatile unsigned i = 0; i < 100000; i++) {
    }
}

/* What a CPU fetches from registers and runs with all privileges may be a HLT, or a jump to itself: an NMI to
 * all others gets it out of there. Not before all of them have an IDT; there are as many as CPUID leaf 0xB
 * says. */
static void alert_others(void)
{
    unsigned a = 0xb, n, c = 1, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(n), "+c"(c), "=d"(d));
    if (__atomic_load_n(&up, __ATOMIC_SEQ_CST) == n)
        wr(LAPIC + 0x300, 4, 0xc4400);
}

void hammer(unsigned index)
{
    struct cpu *c = me();
    c->index = index;
    load_tss(c);
    __atomic_fetch_add(&up, 1, __ATOMIC_SEQ_CST);
    c->rng = (seed + 1) * 0x9e3779b97f4a7c15ull + index * 0xd1342543de82ef95ull;
    if (index == 0) {
        wake_others();
        fix_bars();
    }
    for (unsigned i = 0; i < rounds || index; i++) {
        if (index)
            alert_others();
        if (what & DO_VIRTIO)
            do_virtio();
        if (what & DO_PORTS && i % 4 == 0)
            do_ports();
        if (what & DO_SWEEP && i % 4 == 1)
            do_sweep();
        if (what & DO_MMIO)
            do_mmio(20000);
        if (what & DO_WALK)
            do_walk(300);
        if (what & DO_MSR)
            do_msr(2000);
        if (what & DO_CONFIG)
            do_config(3000);
        fix_bars();
    }
    out(EXIT_PORT, 4, EXIT_DONE);
}
