/*
 * machine64: the 64-bit image's tables and registers as every case finds them.
 *
 * The first GiB is mapped one to one, for the kernel only, but for the pages of the section .user; the same
 * again in the upper half, at 0xffff800000000000. Linear 0x200000 to 0x3fffff, the window, is mapped by 4 KiB
 * pages in `window`, for cases to change.
 */
#include "suite.h"

extern u64 top_table[512], low_tables[512], directory[512], first_pages[512], window[512];
extern u8 stubs[], kernel_stack[], rsp0_stack[], ist1_stack[], ist2_stack[], ist3_stack[], user_stack[],
    user_first[], user_end[];

/* What cases may change. */
u64 gdt[GDT_SIZE / 8], ldt[4], idt[VECTORS * 2];
u8 tss[0x2200] __attribute__((aligned(16)));

static const u64 descriptors[GDT_SIZE / 8] = {
    [KCODE / 8] = 0x00af9b000000ffff,        [KDATA / 8] = 0x00cf93000000ffff,
    [UCODE32 / 8] = 0x00cffb000000ffff,      [UDATA / 8] = 0x00cff3000000ffff,
    [UCODE / 8] = 0x00affb000000ffff,        [UDATA2 / 8] = 0x00cff3000000ffff,
    [KCODE32 / 8] = 0x00cf9b000000ffff,      [UCODE16 / 8] = 0x000ffb000000ffff,
    [ABSENT_DATA / 8] = 0x00cf13000000ffff,  [READ_ONLY / 8] = 0x00cf91000000ffff,
    [EXECUTE_ONLY / 8] = 0x00cf99000000ffff, [ABSENT_CODE / 8] = 0x00af1b000000ffff,
    [CODE_L_AND_D / 8] = 0x00ef9b000000ffff, [CONFORMING / 8] = 0x00af9f000000ffff,
    [CONFORMING3 / 8] = 0x00afff000000ffff,  [UREAD_ONLY / 8] = 0x00cff1000000ffff,
    [KCODE16 / 8] = 0x000f9b000000ffff,      [KDATA16 / 8] = 0x000f93000000ffff,
    [UDATA16 / 8] = 0x000ff3000000ffff,
};

static void set_base(u64 *d, u64 base)
{
    d[0] = (d[0] & 0x00ffff000000ffff) | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
}

static void reset_segments(const struct row *row)
{
    for (unsigned i = 0; i < GDT_SIZE / 8; i++)
        gdt[i] = descriptors[i];
    gdt[TSS / 8] = 0x0000890000000067;
    set_base(&gdt[TSS / 8], (u64)tss);
    gdt[LDT / 8] = 0x000082000000001f;
    set_base(&gdt[LDT / 8], (u64)ldt);
    gdt[ABSENT_LDT / 8] = 0x0000020000000000;
    if (MODE_BITS(row->mode) == 16)
        set_base(&gdt[(MODE_CPL(row->mode) ? UCODE16 : KCODE16) / 8], row->code);
    ldt[0] = 0;
    ldt[1] = descriptors[KDATA / 8];
    ldt[2] = descriptors[UDATA / 8];
    ldt[3] = descriptors[UCODE / 8];

    for (unsigned i = 0; i < sizeof(tss); i++)
        tss[i] = i < 0x68 ? 0 : 0xff;
    *(u64 *)(tss + 4) = (u64)rsp0_stack;
    *(u64 *)(tss + 0x24) = (u64)ist1_stack;
    *(u64 *)(tss + 0x2c) = (u64)ist2_stack;
    *(u64 *)(tss + 0x34) = (u64)ist3_stack;
    *(u16 *)(tss + 0x66) = 0x68;

    for (unsigned v = 0; v < VECTORS; v++) {
        u64 at = (u64)stubs + v * 16, dpl = v >= 0x40 || v == 3 || v == 4 ? 3 : 0;
        idt[v * 2] = (at & 0xffff) | KCODE << 16 | (v == 8 ? 2ull : 1ull) << 32 | (0x8e | dpl << 5) << 40 |
                     (at >> 16 & 0xffff) << 48;
        idt[v * 2 + 1] = 0;
    }
}

static void reset_paging(void)
{
    for (unsigned i = 0; i < 512; i++) {
        top_table[i] = i == 0 || i == 256 ? (u64)low_tables | 7 : 0;
        low_tables[i] = i ? 0 : (u64)directory | 7;
        directory[i] = i * 0x200000ul | 0x83;
        u64 at = i * 4096ul;
        first_pages[i] = at | (at >= (u64)user_first && at < (u64)user_end ? 7 : 3);
        window[i] = 0x200000 + at + 3;
    }
    directory[0] = (u64)first_pages | 7;
    directory[1] = (u64)window | 7;
}

static void load_tables(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) g = {sizeof(gdt) - 1, (u64)gdt}, i = {sizeof(idt) - 1, (u64)idt};

    __asm__ volatile("lgdt %0\n lidt %1\n ltr %w2\n lldt %w3\n mov %4, %%ds\n mov %4, %%es\n mov %4, %%ss\n "
                     "mov %5, %%fs\n mov %5, %%gs"
                     :
                     : "m"(g), "m"(i), "r"(TSS), "r"(0), "r"(KDATA), "r"(0)
                     : "memory");
}

static u64 rdmsr(u32 index)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return low | (u64)high << 32;
}

static void set_msr(u32 index, u64 value)
{
    if (rdmsr(index) != value)
        __asm__ volatile("wrmsr" : : "a"((u32)value), "d"((u32)(value >> 32)), "c"(index));
}

static void reset_registers(void)
{
    u64 cr4;

    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    if (cr4 & 1 << 18)
        __asm__ volatile("xsetbv" : : "a"(1), "d"(0), "c"(0));
    /* a change of CR4.PGE drops global pages, too; bits of CR3 must be clear when PCIDE goes */
    __asm__ volatile("mov %0, %%cr3\n mov %1, %%cr4\n mov %2, %%cr4\n mov %3, %%cr0"
                     :
                     : "r"(top_table), "r"(0x6a0ul), "r"(0x620ul), "r"(0x80010033ul));
    set_msr(0xc0000080, 0xd01);
    set_msr(0xc0000081, (u64)UCODE32 << 48 | (u64)KCODE << 32);
    set_msr(0xc0000082, 0);
    set_msr(0xc0000083, 0);
    set_msr(0xc0000084, 0);
    set_msr(0xc0000100, 0);
    set_msr(0xc0000101, 0);
    set_msr(0xc0000102, 0);
    if (feature_here(SYSENTER))
        for (unsigned i = 0x174; i < 0x177; i++)
            set_msr(i, 0);
    __asm__ volatile("mov %0, %%dr0\n mov %0, %%dr1\n mov %0, %%dr2\n mov %0, %%dr3\n mov %1, %%dr6\n mov "
                     "%2, %%dr7\n mov %0, %%cr2"
                     :
                     : "r"(0ul), "r"(0xffff0ff0ul), "r"(0x400ul));
    u64 cr8;
    __asm__ volatile("mov %%cr8, %0" : "=r"(cr8));
    if (cr8)
        __asm__ volatile("mov %0, %%cr8" : : "r"(0ul));
    u32 mxcsr = 0x1f80;
    __asm__ volatile("fninit\n ldmxcsr %0" : : "m"(mxcsr));
}

void machine_reset(const struct row *row)
{
    static const word code[2][5] = {[0] = {[1] = KCODE16, [2] = KCODE32, [4] = KCODE},
                                    [1] = {[1] = UCODE16 | 3, [2] = UCODE32 | 3, [4] = UCODE | 3}};
    int outer = MODE_CPL(row->mode) == 3;

    __asm__ volatile("mov %0, %%dr7" : : "r"(0x400ul)); /* what follows touches much that is watched */
    reset_paging();
    reset_segments(row);
    load_tables();
    reset_registers();
    begin = (struct regs){.gpr = {row->ax, row->cx, row->dx, row->bx}, .fl = row->fl, .cr2 = 0};
    begin.dr6 = 0xffff0ff0;
    begin.cs = code[outer][MODE_BITS(row->mode) / 16];
    begin.ip = MODE_BITS(row->mode) == 16 ? 0 : row->code;
    begin.ss = begin.ds = begin.es = outer ? UDATA | 3 : KDATA;
    begin.gpr[4] = (word)(outer ? user_stack : kernel_stack);
}

void machine_report(void)
{
    /* registers tell all */
}
