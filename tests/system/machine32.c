/*
 * machine32: the 32-bit image's tables and registers as every case finds them.
 *
 * The first GiB is mapped one to one, for the kernel only, but for the pages of the section .user; without
 * PAE, by 4 MiB pages. Linear 0x400000 to 0x5fffff, the window, is mapped by 4 KiB pages in `window` (in
 * `pae_window` once a setup has called use_pae), for cases to change.
 */
#include "suite.h"

enum { CATCHERS = 20, WATCHED = 5 };

extern u32 directory[1024], first_pages[1024], window[1024];
extern u64 pdpt[4], pae_directory[512], pae_first[512], pae_window[512];
extern u8 stubs[], task_landing[], task_stub[], kernel_stack[], esp0_stack[], esp1_stack[], esp2_stack[],
    task_stack[], user_stack[], user_first[], user_end[], user_data[], real_base[], real_entry[],
    real_stubs[];
extern u32 real_mode, real_pointer, real_ivt[VECTORS];
extern struct regs real_regs; /* as real mode begins, and as an exception found it */

/* What cases may change. */
u64 gdt[GDT_SIZE / 8], ldt[4], idt[VECTORS];
u32 tss[0x2200 / 4], task[0x68 / 4], task16[0x2c / 4];

u32 catchers[CATCHERS][0x68 / 4];
static u32 catcher_stacks[CATCHERS][256];

static const u64 descriptors[GDT_SIZE / 8] = {
    [KCODE / 8] = 0x00cf9b000000ffff,        [KDATA / 8] = 0x00cf93000000ffff,
    [UCODE32 / 8] = 0x00cffb000000ffff,      [UDATA / 8] = 0x00cff3000000ffff,
    [UCODE / 8] = 0x00cffb000000ffff,        [UDATA2 / 8] = 0x00cff3000000ffff,
    [KCODE32 / 8] = 0x00cf9b000000ffff,      [UCODE16 / 8] = 0x000ffb000000ffff,
    [ABSENT_DATA / 8] = 0x00cf13000000ffff,  [READ_ONLY / 8] = 0x00cf91000000ffff,
    [EXECUTE_ONLY / 8] = 0x00cf99000000ffff, [ABSENT_CODE / 8] = 0x00cf1b000000ffff,
    [CODE_L_AND_D / 8] = 0x00ef9b000000ffff, [CONFORMING / 8] = 0x00cf9f000000ffff,
    [CONFORMING3 / 8] = 0x00cfff000000ffff,  [UREAD_ONLY / 8] = 0x00cff1000000ffff,
    [KCODE16 / 8] = 0x000f9b000000ffff,      [KDATA16 / 8] = 0x000f93000000ffff,
    [UDATA16 / 8] = 0x000ff3000000ffff,      [CODE1 / 8] = 0x00cfbb000000ffff,
    [DATA1 / 8] = 0x00cfb3000000ffff,        [CODE2 / 8] = 0x00cfdb000000ffff,
    [DATA2 / 8] = 0x00cfd3000000ffff,        [TASK_CODE16 / 8] = 0x00009b000000ffff,
    [REAL_CODE / 8] = 0x00009b000000ffff,    [REAL_DATA / 8] = 0x000093000000ffff,
};

/* Tables whose changes the log shows. */
static struct {
    const char *name;
    const void *at;
    unsigned size;
} watched[WATCHED] = {
    {"gdt", gdt, CATCH},          {"ldt", ldt, sizeof(ldt)},          {"tss", tss, 0x68},
    {"task", task, sizeof(task)}, {"task16", task16, sizeof(task16)},
};
static u32 before[WATCHED][CATCH / 4];

__attribute__((regparm(1))) void put_task_gates(u32 vectors);

static void set_base(u64 *d, const void *at)
{
    u32 base = (u32)at;

    d[0] = (d[0] & 0x00ffff000000ffff) | (u64)(base & 0xffffff) << 16 | (u64)(base >> 24) << 56;
}

static void set_tss(unsigned sel, u32 type_limit, const void *at)
{
    gdt[sel / 8] = (u64)(type_limit & 0xff00) << 32 | (type_limit & 0xff);
    set_base(&gdt[sel / 8], at);
}

/* A task that begins at ip in the kernel; its registers tell that it is it. */
static void fill_task(u32 *t, const void *ip, const void *sp)
{
    static const u16 segments[] = {KDATA, KCODE, KDATA, KDATA, 0, 0};

    for (unsigned i = 0; i < 0x68 / 4; i++)
        t[i] = 0;
    t[1] = (u32)esp0_stack;
    t[2] = KDATA;
    t[7] = (u32)directory;
    t[8] = (u32)ip;
    t[9] = 2;
    t[10] = 0xa0; /* EAX, ESP, EBP */
    t[14] = (u32)sp;
    t[15] = 0xa5;
    for (unsigned i = 0; i < 6; i++)
        t[18 + i] = segments[i];
    t[25] = 0x68 << 16;
}

static void fill_task16(void)
{
    u16 *t = (u16 *)task16;

    for (unsigned i = 0; i < 0x2c / 2; i++)
        t[i] = 0;
    t[1] = 0x7000;
    t[2] = KDATA;
    t[8] = 2;
    t[9] = 0xb0; /* AX, SP, BP */
    t[13] = 0x8000;
    t[14] = 0xb5;
    t[17] = t[20] = KDATA;
    t[19] = KDATA16;
    t[18] = TASK_CODE16;
}

static void reset_segments(const struct row *row)
{
    int cpl = MODE_CPL(row->mode);

    for (unsigned i = 0; i < GDT_SIZE / 8; i++)
        gdt[i] = descriptors[i];
    set_tss(TSS, 0x8967, tss);
    set_tss(TASK, 0x8967, task);
    set_tss(TASK16, 0x812b, task16);
    set_base(&gdt[TASK_CODE16 / 8], task_landing);
    set_base(&gdt[REAL_CODE / 8], real_base);
    gdt[LDT / 8] = 0x000082000000001f;
    set_base(&gdt[LDT / 8], ldt);
    gdt[ABSENT_LDT / 8] = 0x0000020000000000;
    if (MODE_BITS(row->mode) == 16)
        set_base(&gdt[(cpl ? UCODE16 : KCODE16) / 8], (const void *)row->code);
    ldt[0] = 0;
    ldt[1] = descriptors[KDATA / 8];
    ldt[2] = descriptors[UDATA / 8];
    ldt[3] = descriptors[UCODE / 8];

    for (unsigned i = 0; i < sizeof(tss) / 4; i++)
        tss[i] = i < 0x68 / 4 ? 0 : ~0u;
    tss[1] = (u32)esp0_stack;
    tss[2] = KDATA;
    tss[3] = (u32)esp1_stack;
    tss[4] = DATA1 | 1;
    tss[5] = (u32)esp2_stack;
    tss[6] = DATA2 | 2;
    tss[7] = (u32)directory;
    tss[25] = 0x68 << 16;
    fill_task(task, task_landing, task_stack);
    fill_task16();

    for (unsigned v = 0; v < VECTORS; v++) {
        u32 at = (u32)stubs + v * 16, dpl = v >= 0x40 || v == 3 || v == 4 ? 3 : 0;
        idt[v] = (at & 0xffff) | KCODE << 16 | (u64)(0x8e | dpl << 5) << 40 | (u64)(at >> 16) << 48;
    }
    for (unsigned v = 0; v < CATCHERS; v++) {
        set_tss(CATCH + v * 8, 0x8967, catchers[v]);
        fill_task(catchers[v], task_stub, catcher_stacks[v] + 256);
        catchers[v][10] = v; /* EAX */
    }
    put_task_gates(1 << 8);
}

static void reset_paging(void)
{
    for (unsigned i = 0; i < 1024; i++) {
        u32 at = i * 4096;
        directory[i] = i < 256 ? i * 0x400000 | 0x83 : 0;
        first_pages[i] = at | (at >= (u32)user_first && at < (u32)user_end ? 7 : 3);
        window[i] = 0x400000 + at + 3;
    }
    directory[0] = (u32)first_pages | 7;
    directory[1] = (u32)window | 7;
    for (unsigned i = 0; i < 512; i++) {
        pae_directory[i] = i * 0x200000 | 0x83;
        pae_first[i] = first_pages[i];
        pae_window[i] = window[i];
    }
    pae_directory[0] = (u32)pae_first | 7;
    pae_directory[2] = (u32)pae_window | 7;
    for (unsigned i = 0; i < 4; i++)
        pdpt[i] = i ? 0 : (u32)pae_directory | 1;
}

static u64 rdmsr(u32 index)
{
    u64 v;
    __asm__ volatile("rdmsr" : "=A"(v) : "c"(index));
    return v;
}

static void set_msr(u32 index, u64 value)
{
    if (rdmsr(index) != value)
        __asm__ volatile("wrmsr" : : "A"(value), "c"(index));
}

enum { USUAL_CR4 = 0x610 };   /* OSFXSR, OSXMMEXCPT, PSE */
#define USUAL_CR0 0x80010033u /* PG, WP, NE, ET, MP, PE */

static u32 cr0(void)
{
    u32 v;
    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}

static u32 cr3(void)
{
    u32 v;
    __asm__ volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}

static u32 cr4(void)
{
    u32 v;
    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}

static void paging_off(void)
{
    __asm__ volatile("mov %0, %%cr0" : : "r"(USUAL_CR0 & 0x7fffffff) : "memory");
}

/* From no paging. */
static void paging_on(u32 new_cr3, u32 new_cr4)
{
    __asm__ volatile("mov %0, %%cr4\n mov %1, %%cr3\n mov %2, %%cr0"
                     :
                     : "r"(new_cr4), "r"(new_cr3), "r"(USUAL_CR0)
                     : "memory");
}

static void reset_registers(void)
{
    set_msr(0xc0000080, 0x800);
    if (!(cr0() >> 31))
        paging_on((u32)directory, USUAL_CR4);
    else /* much faster in the bed */
        __asm__ volatile("mov %0, %%cr3\n mov %1, %%cr0" : : "r"(directory), "r"(USUAL_CR0) : "memory");
    if (feature_here(SYSENTER))
        for (unsigned i = 0x174; i < 0x177; i++)
            set_msr(i, 0);
    __asm__ volatile("mov %0, %%dr0\n mov %0, %%dr1\n mov %0, %%dr2\n mov %0, %%dr3\n mov %1, %%dr6\n mov "
                     "%2, %%dr7\n mov %0, %%cr2\n fninit"
                     :
                     : "r"(0), "r"(0xffff0ff0), "r"(0x400));
}

static void load_tables(void)
{
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) g = {sizeof(gdt) - 1, (u32)gdt}, i = {sizeof(idt) - 1, (u32)idt};

    __asm__ volatile("lgdt %0\n lidt %1\n ltr %w2\n lldt %w3\n mov %4, %%ds\n mov %4, %%es\n mov %4, %%ss\n "
                     "ljmp %5, $1f\n 1:"
                     :
                     : "m"(g), "m"(i), "r"(TSS), "r"(0), "r"(KDATA), "i"(KCODE)
                     : "memory");
}

static void reset_begin(const struct row *row)
{
    int cpl = MODE_CPL(row->mode), bits16 = MODE_BITS(row->mode) == 16;
    static const u16 code[] = {KCODE, CODE1 | 1, CODE2 | 2, UCODE | 3},
                     data[] = {KDATA, DATA1 | 1, DATA2 | 2, UDATA | 3};
    u8 *const stacks[] = {kernel_stack, esp1_stack - 512, esp2_stack - 512, user_stack};

    begin = (struct regs){.gpr = {row->ax, row->cx, row->dx, row->bx}, .fl = row->fl, .dr6 = 0xffff0ff0};
    begin.cs = bits16 ? (cpl ? UCODE16 | 3 : KCODE16) : code[cpl];
    begin.ip = bits16 ? 0 : row->code;
    begin.ss = begin.ds = begin.es = data[cpl];
    begin.gpr[4] = (word)stacks[cpl];
    if (MODE_V86(row->mode) || MODE_REAL(row->mode)) {
        begin.fl |= MODE_V86(row->mode) ? 0x20000 : 0;
        begin.cs = row->code >> 4;
        begin.ip = row->code & 15;
        begin.ss = begin.ds = begin.es = begin.fs = begin.gs = (word)user_data >> 4;
        begin.gpr[4] = (word)(user_stack - user_data);
    }
}

void machine_reset(const struct row *row)
{
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x400)); /* what follows touches much that is watched */
    if (cr3() != (u32)directory || cr4() != USUAL_CR4)
        paging_off(); /* nor are tables in use changed */
    reset_segments(row);
    load_tables();
    reset_paging();
    reset_registers();
    for (u8 *const *s =
             (u8 *const[]){kernel_stack, esp0_stack, esp1_stack, esp2_stack, task_stack, user_stack, 0};
         *s; s++)
        for (unsigned i = 1; i < 32; i++)
            ((u32 *)*s)[-(int)i] = 0;
    for (unsigned i = 0; i < 4; i++) /* above, for who reads on */
        ((u32 *)kernel_stack)[i] = 0;
    for (unsigned i = 0; i < 0x100; i++)
        ((u32 *)user_data)[i] = 0;
    real_mode = MODE_REAL(row->mode);
    real_pointer = (u32)(real_entry - real_base) | (u32)real_base << 12;
    for (unsigned v = 0; v < VECTORS; v++)
        real_ivt[v] = ((u32)(real_stubs - real_base) + v * 16) | (u32)real_base << 12;
    reset_begin(row);
}

/* For setups (narrow.inc). */
struct new_descriptor {
    u32 base, limit;
    u16 sel;
    u8 access, flags;
};
__attribute__((regparm(1))) void put_descriptor(const struct new_descriptor *d);
__attribute__((regparm(1))) void put_descriptor(const struct new_descriptor *d)
{
    u32 high = (u32)d->access << 8 | (u32)d->flags << 20 | (d->limit & 0xf0000);

    gdt[d->sel / 8] = (u64)high << 32 | (d->limit & 0xffff);
    set_base(&gdt[d->sel / 8], (const void *)d->base);
}

struct new_gate {
    u64 *at;
    u32 target;
    u16 sel;
    u8 count, access;
};
__attribute__((regparm(1))) void put_gate(const struct new_gate *g);
__attribute__((regparm(1))) void put_gate(const struct new_gate *g)
{
    u32 high = (g->target & 0xffff0000) | (u32)g->access << 8 | g->count;

    *g->at = (u64)high << 32 | (u32)g->sel << 16 | (g->target & 0xffff);
}

/* A bit for each vector. */
__attribute__((regparm(1))) void put_task_gates(u32 vectors)
{
    for (unsigned v = 0; v < CATCHERS; v++)
        if (vectors >> v & 1)
            idt[v] = (u64)0x85 << 40 | (u64)(CATCH + v * 8) << 16;
}

void use_pae(void);
void use_pae(void)
{
    tss[7] = task[7] = (u32)pdpt;
    for (unsigned v = 0; v < CATCHERS; v++)
        catchers[v][7] = (u32)pdpt;
    paging_off();
    paging_on((u32)pdpt, 0x620);
}

/* Between the setup and the body. */
void machine_watch(void);
void machine_watch(void)
{
    u32 tr = 0, ld = 0;

    for (unsigned i = 0; i < WATCHED; i++)
        for (unsigned j = 0; j < watched[i].size / 4; j++)
            before[i][j] = ((const u32 *)watched[i].at)[j];
    __asm__ volatile("str %w0\n sldt %w1" : "+r"(tr), "+r"(ld));
    begin.tr = tr;
    begin.ldt = ld;
    begin.cr0 = cr0();
    if (real_mode)
        begin.cr0 &= 0x7ffffffe;
    real_regs = begin;
    begin.cr3 = cr3();
    begin.cr4 = cr4();
    __asm__ volatile("mov %%dr7, %0" : "=r"(begin.dr7));
}

/* An exception that came by a task gate: what was running is in the TSS of before. */
void task_caught(word vector, word error);
void task_caught(word vector, word error)
{
    u32 sel = catchers[vector][0] & 0xfff8;
    u64 d = gdt[sel / 8];
    const u32 *t = (const u32 *)(u32)((d >> 16 & 0xffffff) | (d >> 56 << 24));
    const u16 *t16 = (const u16 *)t;
    int wide = d >> 43 & 1;

    caught = begin; /* what a TSS does not hold is not known any more */
    caught.vector = vector;
    caught.error = error;
    caught.tr = sel;
    caught.ip = wide ? t[8] : t16[7];
    caught.fl = wide ? t[9] : t16[8];
    for (unsigned i = 0; i < 8; i++)
        caught.gpr[i] = wide ? t[10 + i] : t16[9 + i];
    caught.es = wide ? (u16)t[18] : t16[17];
    caught.cs = wide ? (u16)t[19] : t16[18];
    caught.ss = wide ? (u16)t[20] : t16[19];
    caught.ds = wide ? (u16)t[21] : t16[20];
    if (wide) {
        caught.fs = (u16)t[22];
        caught.gs = (u16)t[23];
    }
    __asm__ volatile("mov %%cr2, %0" : "=r"(caught.cr2));
    if (vector == 1)
        __asm__ volatile("mov %%dr6, %0" : "=r"(caught.dr6));
    for (unsigned i = 0; i < WATCHED; i++) /* that is told as registers */
        for (unsigned j = 0; watched[i].at == t && j < watched[i].size / 4; j++)
            before[i][j] = t[j];
}

/* An exception in real mode. */
void real_caught(void);
void real_caught(void)
{
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) i = {sizeof(idt) - 1, (u32)idt};

    __asm__ volatile("mov %0, %%cr0\n lidt %1" : : "r"(USUAL_CR0), "m"(i));
    caught = real_regs;
    caught.cr4 = cr4();
    caught.cr3 = cr3();
    caught.tr = begin.tr;
    caught.ldt = begin.ldt;
    caught.dr7 = begin.dr7;
    caught.dr6 = begin.dr6;
    if (caught.vector == 1)
        __asm__ volatile("mov %%dr6, %0" : "=r"(caught.dr6));
    caught.fl |=
        caught.vector == 1 || caught.vector == 3 || caught.vector == 4 || caught.vector > 19 ? 0 : FL_RF;
}

/* What lies on a stack of ours. */
static void report_stack(void)
{
    u8 *const tops[] = {kernel_stack, esp0_stack, esp1_stack, esp2_stack, task_stack};
    static const char *const names[] = {"kernel", "esp0", "esp1", "esp2", "task"};

    for (unsigned i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
        u32 size = (u32)tops[i] - caught.gpr[4];
        if (size < 4 || size > 128)
            continue;
        put(' ');
        print(names[i]);
        for (u32 at = caught.gpr[4]; at + 4 <= (u32)tops[i]; at += 4) {
            put(at == caught.gpr[4] ? '[' : ' ');
            hex(*(u32 *)at);
        }
        put(']');
    }
}

/* Is a word worth telling? Not when a task switch saved in the old TSS what the case began with. */
static int telling(const u32 *at, u32 was)
{
    const word segments[] = {begin.es, begin.cs, begin.ss, begin.ds, begin.fs, begin.gs};
    unsigned i = (u32)(at - tss);
    int switched = before[2][8] != tss[8];

    if (switched && i == 9) {
        changed("oldrf", 0, *at / FL_RF & 1);
        return (*at & ~FL_RF) != (begin.fl & ~FL_RF);
    }
    if (!switched || i < 10 || i >= 24)
        return *at != was;
    return *at != (i < 18 ? begin.gpr[i - 10] : segments[i - 18]);
}

void machine_report(void)
{
    changed("tr", begin.tr, caught.tr);
    changed("ldt", begin.ldt, caught.ldt);
    changed("cr3", begin.cr3, caught.cr3);
    changed("dr7", begin.dr7, caught.dr7);
    for (unsigned i = 0; i < WATCHED; i++)
        for (unsigned j = 0; j < watched[i].size / 4; j++) {
            const u32 *at = (const u32 *)watched[i].at + j;
            if (!telling(at, before[i][j]))
                continue;
            put(' ');
            print(watched[i].name);
            put('+');
            hex(j * 4);
            put('=');
            hex(at == tss + 9 ? *at & ~FL_RF : *at);
        }
    report_stack();
}
