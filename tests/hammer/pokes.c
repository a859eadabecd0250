/* Ports, registers, PCI configuration, MSRs and page tables. */
#include "hammer.h"

/* Ports whose write ends the run: debug exit always; ways to reset or power off unless they are wanted. */
static bool spared(unsigned port, unsigned size)
{
    static const uint16_t ends[] = {0x64, 0x92, 0xcf9, 0x600, 0x602};
    if (port + size > EXIT_PORT && port < EXIT_PORT + 4)
        return true;
    for (unsigned i = 0; !(what & DO_RESETS) && i < sizeof ends / sizeof *ends; i++)
        if (port + size > ends[i] && port <= ends[i])
            return true;
    return false;
}

void do_ports(void)
{
    for (unsigned i = 0, at = (unsigned)rnd(); i < 0x10000; i++) {
        unsigned port = (at + i) & 0xffff;
        for (unsigned size = 1; size <= 4; size *= 2) {
            in((uint16_t)port, size);
            if (!spared(port, size) && port + size <= 0x10000)
                out((uint16_t)port, size, (uint32_t)value());
        }
        if (i % 64 == 0)
            window();
    }
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t a = target() & ~15ull, n = rnd() & 63;
        uint16_t port = (uint16_t)(rnd() & 1 ? rnd() : rnd() & 0x7ff);
        TRY(__asm__ volatile("rep insb" : "+D"(a), "+c"(n) : "d"(port) : "memory"));
        a = target() & ~15ull, n = rnd() & 63;
        if (!spared(port, 4))
            TRY(__asm__ volatile("rep outsl" : "+S"(a), "+c"(n) : "d"(port) : "memory"));
    }
}

/* Delivery modes INIT, SIPI and SMI (SDM 3A 11.6.1) would take a CPU away. */
static uint64_t tame_bits(uint64_t v)
{
    return 0x6c >> (v & 7) & 1 ? v & ~7ull : v;
}

/* A BAR over our image would take our own code away: writes there are whole, and leave it above 2 GiB. */
static bool is_bar(uint64_t a, unsigned size)
{
    return a - ECAM < 0x10000000 && (a & 0xfff) + size > 0x10 && (a & 0xfff) < 0x28;
}

static uint64_t tame(uint64_t a, unsigned size, uint64_t v)
{
    bool table = a >= BARS && a < BARS + 0x20000000 && (a & 0x4000);
    if (!table && a - IOAPIC >= 0x1000 && a - LAPIC >= 0x1000)
        return v;
    uint64_t t = size == 1 ? tame_bits(v) : (v & ~0x700ull) | (tame_bits(v >> 8) & 7) << 8;
    return size == 8 ? (t & ~(7ull << 40)) : t;
}

void poke(uint64_t a, unsigned size, uint64_t v)
{
    uint64_t icr = a - (LAPIC + 0x300);
    if (icr + size + 16 < 48 && ((what & DO_RESETS) == 0))
        v = 0x40000 | (v & 0xff);
    if (is_bar(a, size)) {
        a &= ~3ull, size = 4;
        if ((a & 0xfff) < 0x10)
            a = (a & ~0xfffull) | 0x10;
        v |= 0x80000000;
    }
    wr(a, size, tame(a, size, v));
}

static void sweep(uint64_t base, uint64_t len)
{
    for (uint64_t at = 0; at < len; at += 4) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            TRY(rd(base + at, size));
            if (at + size <= len)
                TRY(poke(base + at, size, value()));
        }
        if (at % 256 == 0)
            window();
    }
}

void do_sweep(void)
{
    sweep(IOAPIC, 0x1000);
    sweep(LAPIC, 0x1000);
    sweep(VIRTIO_MMIO, 0x8000);
    sweep(BARS + 0x10000, 0x50000);
    for (uint64_t slot = 0; slot < 7; slot++)
        sweep(ECAM + (slot << 15), 0x1000);
    fix_bars();
}

static uint64_t place(void)
{
    static const struct {
        uint64_t base, len;
    } spot[] = {{BARS + 0x10000, 0x60000}, {BARS + 0x10000, 0x60000}, {VIRTIO_MMIO, 0x1c000},
                {IOAPIC, 0x1000},          {LAPIC, 0x1000},           {ECAM, 0x40000},
                {TESTDEV, 0x10000},        {0xa0000, 0x20000},        {0xf0000000, 0x10000000},
                {0x800000000, 0x1000000},  {ECAM, 0x100000}};
    uint64_t r = rnd();
    unsigned i = (unsigned)(r % (sizeof spot / sizeof *spot));
    return spot[i].base + (r >> 8) % spot[i].len;
}

/* One access in a form that compilers do not make of a volatile pointer. */
static void odd_access(uint64_t a, uint64_t v)
{
    uint64_t b = PLAYGROUND + (rnd() & 0xfff), n = rnd() & 31, lo = v, hi = 0;
    switch (rnd() % 12) {
    case 0:
        __asm__ volatile("movups (%0), %%xmm0" ::"r"(a) : "memory");
        break;
    case 1:
        __asm__ volatile("movups %%xmm0, (%0)" ::"r"(a) : "memory");
        break;
    case 2:
        __asm__ volatile("lock xaddl %k0, (%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    case 3:
        __asm__ volatile("xchgq %0, (%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    case 4:
        __asm__ volatile("lock cmpxchg16b (%0)" ::"r"(a & ~15ull), "a"(lo), "d"(hi), "b"(v), "c"(n)
                         : "memory", "cc");
        break;
    case 5:
        __asm__ volatile("lock btsl %k0, (%1)" ::"r"(v), "r"(a) : "memory", "cc");
        break;
    case 6:
        __asm__ volatile("rep movsb" : "+S"(a), "+D"(b), "+c"(n)::"memory");
        break;
    case 7:
        __asm__ volatile("rep movsq" : "+S"(b), "+D"(a), "+c"(n)::"memory");
        break;
    case 8:
        __asm__ volatile("rep stosl" : "+D"(a), "+c"(n) : "a"(v) : "memory");
        break;
    case 9:
        __asm__ volatile("fnsave (%0); fninit" ::"r"(a) : "memory");
        break;
    case 10:
        __asm__ volatile("fxsave (%0)" ::"r"(a & ~15ull) : "memory");
        break;
    default: /* fetching code from registers; with all privileges nobody surely comes back from there */
        if ((what & DO_RUBBISH) && (rnd() & 15) == 0)
            __asm__ volatile("call *%0" ::"r"(a) : "memory", "rax", "rcx", "rdx");
        else if ((rnd() & 3) == 0)
            run_user(a);
    }
}

void do_mmio(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t a = place(), v = value();
        unsigned size = 1u << (rnd() & 3), form = (unsigned)rnd() & 15;
        bool apic =
            a - IOAPIC < 0x1000 || a - LAPIC < 0x1000 || (a >= BARS && a < BARS + 0x20000000 && (a & 0x4000));
        if (form == 0 && !apic) {
            if (a - ECAM < 0x10000000) /* such a write does not know where it meets a BAR */
                a = (a & ~0xfffull) | (0x40 + (a & 0xfff) % 0xdc0);
            TRY(odd_access(a, v));
        } else if (form & 1) {
            TRY(rd(a, size));
        } else {
            TRY(poke(apic ? a & ~(uint64_t)(size - 1) : a, size, v));
        }
        if (i % 32 == 0)
            window();
    }
}

/* ---- PCI ---- */

static void config_write(unsigned slot, unsigned fn, unsigned off, unsigned size, uint32_t v)
{
    if (rnd() & 1) {
        wr(ECAM + (slot << 15 | fn << 12 | off), size, v);
    } else {
        out(0xcf8, 4, 0x80000000 | slot << 11 | fn << 8 | (off & 0xfc));
        out((uint16_t)(0xcfc + (off & 3)), size, v);
    }
}

static void by_ports(unsigned slot, unsigned off, unsigned size, uint32_t v)
{
    out(0xcf8, 4, 0x80000000 | slot << 11 | off);
    out(0xcfc, size, v);
}

/* By ports, for a BAR may lie over ECAM. */
void fix_bars(void)
{
    for (unsigned slot = 1; slot < 8; slot++) {
        by_ports(slot, 4, 2, 0);
        by_ports(slot, 0x10, 4, (uint32_t)(BARS + slot * 0x10000));
        by_ports(slot, 0x14, 4, 0);
        by_ports(slot, 4, 2, 6);
    }
}

void do_config(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned slot = (unsigned)rnd() & 31, off = (unsigned)rnd() & (rnd() & 1 ? 0xff : 0xfff),
                 size = 1u << rnd() % 3;
        slot = rnd() & 7 ? slot & 7 : slot;
        off &= ~(size - 1);
        uint32_t v = (uint32_t)value();
        if (off >= 0x10 && off < 0x28 && off < 0x100) { /* a BAR over RAM would take our own code away */
            size = 4;
            off &= ~3u;
            v = rnd() & 3 ? (uint32_t)target() : (v | 0x80000000);
        }
        config_write(slot, rnd() & 15 ? 0 : (unsigned)rnd() & 7, off, size, v);
        rd(ECAM + (slot << 15 | off), size);
        if (i % 64 == 0)
            fix_bars();
    }
}

/* ---- MSRs: those that keep our own feet on the ground are left out ---- */

static bool kept(uint32_t msr)
{
    static const uint32_t keep[] = {0xc0000080, 0xc0000101, 0x1b, 0x830, 0x11, 0x12, 0x4b564d00, 0x4b564d01};
    for (unsigned i = 0; i < sizeof keep / sizeof *keep; i++)
        if (msr == keep[i])
            return true;
    return false;
}

void do_msr(unsigned n)
{
    static const uint32_t base[] = {0,          0x100,      0x170,      0x200, 0x2f0,      0x400,
                                    0x480,      0x6e0,      0x800,      0x830, 0xc0000080, 0xc0000100,
                                    0xc0010000, 0x40000000, 0x4b564d00, 0x0d90};
    for (unsigned i = 0; i < n; i++) {
        uint32_t msr = base[rnd() & 15] + ((uint32_t)rnd() & 31), a = 0, c = 0, b, d;
        uint64_t v = value();
        TRY(__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(msr)));
        if (!kept(msr))
            TRY(__asm__ volatile("wrmsr" ::"a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr)));
        a = (uint32_t)value();
        c = (uint32_t)rnd() & 31;
        __asm__ volatile("cpuid" : "+a"(a), "+c"(c), "=b"(b), "=d"(d));
    }
    /* Paravirtual pages, in the playground or where no memory is. */
    for (unsigned k = 0; k < 6; k++) {
        static const uint32_t pv[] = {0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d03, 0x4b564d04};
        uint64_t v = target() | 1;
        TRY(__asm__ volatile("wrmsr" ::"a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(pv[k])));
    }
}

/* ---- page tables made of rubbish, of registers, of nothing ---- */

void do_walk(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t table = PLAYGROUND + (rnd() & 0xff000),
                 a = (1ull << 39) * (1 + me()->index) | (rnd() & 0x7fffffffff);
        for (unsigned k = 0; k < 512; k += 1 + ((unsigned)rnd() & 31))
            wr(table + 8 * k, 8,
               rnd() & 3 ? (target() & ~0xfffull) | (rnd() & 0x80000000000001ff) | 1 : value());
        pml4[1 + me()->index] = (rnd() & 3 ? table : target() & ~0xfffull) | (rnd() & 0xfff) | 1;
        __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
        for (unsigned k = 0; k < 8; k++) {
            TRY(rd(a & ~7ull, 8));
            TRY(rd(a | 0xffd, 8));
            a ^= rnd() & 0x7fffffffff;
        }
    }
    pml4[1 + me()->index] = 0;
    __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}
