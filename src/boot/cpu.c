/*
 * The boot CPU's state for each way in. Selectors 0x10 (code) and 0x18 (data) are those that the Linux boot
 * protocols name
 * (__BOOT_CS, __BOOT_DS); PVH and multiboot leave them open.
 */
#include "base/err.h"
#include "boot/load.h"
#include "guest/mem.h"
#include "x86/regs.h"
#include "x86/state.h"
#include <errno.h>
#include <string.h>

enum { SEL_CODE = 0x10, SEL_DATA = 0x18, SEL_TSS = 0x20, GDT_ENTRIES = 6, TSS_LIMIT = 0x67 };

/* SDM 3A 3.4.5.1: execute/read accessed, read/write accessed; 3A 7.2.2: busy 32/64-bit TSS. */
#define ATTR_CODE32 (0xbu | X86_SEG_S | X86_SEG_P | X86_SEG_DB | X86_SEG_G)
#define ATTR_CODE64 (0xbu | X86_SEG_S | X86_SEG_P | X86_SEG_L | X86_SEG_G)
#define ATTR_DATA   (0x3u | X86_SEG_S | X86_SEG_P | X86_SEG_DB | X86_SEG_G)
#define ATTR_TSS    (0xbu | X86_SEG_P)

#define PTE_TABLE 0x3ull  /* present, writable */
#define PTE_LARGE 0x83ull /* and a 2 MiB page (SDM 3A 4.5) */

/* A segment descriptor (SDM 3A figure 3-8) of base 0. */
static uint64_t descriptor(uint32_t limit, uint32_t attr)
{
    uint64_t field = attr & X86_SEG_G ? limit >> 12 : limit;
    return (field & 0xffff) | (field >> 16 & 0xf) << 48 | (uint64_t)(attr & 0xff) << 40 |
           (uint64_t)(attr >> 12 & 0xf) << 52;
}

static struct x86_seg segment(uint16_t sel, uint32_t limit, uint32_t attr)
{
    return (struct x86_seg){.sel = sel, .limit = limit, .attr = attr};
}

/* Flat segments, with the GDT in memory that says the same. */
static int flat(struct load *l, uint32_t code_attr)
{
    struct x86_state *s = l->bsp;
    uint64_t at, gdt[GDT_ENTRIES] = {
                     [SEL_CODE / 8] = descriptor(0xffffffff, code_attr),
                     [SEL_DATA / 8] = descriptor(0xffffffff, ATTR_DATA),
                     [SEL_TSS / 8] = descriptor(TSS_LIMIT, ATTR_TSS),
                 };
    int r = load_low(l, sizeof gdt, MEM_PAGE, &at);
    r = r ? r : load_write(l, at, gdt, sizeof gdt);
    if (r)
        return r;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s->seg[i] = segment(SEL_DATA, 0xffffffff, ATTR_DATA);
    s->seg[X86_CS] = segment(SEL_CODE, 0xffffffff, code_attr);
    s->tr = segment(SEL_TSS, TSS_LIMIT, ATTR_TSS);
    s->ldtr = segment(0, 0, X86_SEG_UNUSABLE);
    s->gdtr = (struct x86_dtable){.base = at, .limit = sizeof gdt - 1};
    s->idtr = (struct x86_dtable){.base = 0, .limit = 0};
    s->rflags = 2;
    return 0;
}

int cpu_flat32(struct load *l, uint64_t entry)
{
    struct x86_state *s = l->bsp;
    int r = flat(l, ATTR_CODE32);
    if (r)
        return r;
    s->cr0 = CR0_PE | CR0_ET;
    s->cr3 = s->cr4 = s->efer = 0;
    s->rip = entry;
    l->info->entry_gpa = entry;
    return 0;
}

/* One PML4, one page of pointers, four of 2 MiB entries: the first 4 GiB one to one, which any 64-bit CPU can
 * map. */
static int identity_tables(struct load *l, uint64_t *root)
{
    uint64_t page[MEM_PAGE / 8];
    int r = load_low(l, 6 * MEM_PAGE, MEM_PAGE, root);
    memset(page, 0, sizeof page);
    page[0] = (*root + MEM_PAGE) | PTE_TABLE;
    r = r ? r : load_write(l, *root, page, sizeof page);
    for (unsigned i = 0; i < 4; i++)
        page[i] = (*root + (2 + i) * MEM_PAGE) | PTE_TABLE;
    r = r ? r : load_write(l, *root + MEM_PAGE, page, sizeof page);
    for (uint64_t t = 0; t < 4 && !r; t++) {
        for (uint64_t i = 0; i < MEM_PAGE / 8; i++)
            page[i] = (t << 30 | i << 21) | PTE_LARGE;
        r = load_write(l, *root + (2 + t) * MEM_PAGE, page, sizeof page);
    }
    return r;
}

int cpu_long64(struct load *l, uint64_t entry)
{
    struct x86_state *s = l->bsp;
    uint64_t root;
    int r = flat(l, ATTR_CODE64);
    r = r ? r : identity_tables(l, &root);
    if (r)
        return r;
    s->cr0 = CR0_PE | CR0_ET | CR0_PG;
    s->cr3 = root;
    s->cr4 = CR4_PAE;
    s->efer = EFER_LME | EFER_LMA;
    s->rip = entry;
    l->info->entry_gpa = entry;
    return 0;
}

void cpu_real(struct load *l, uint16_t seg, uint16_t cs, uint16_t sp)
{
    struct x86_state *s = l->bsp;
    for (unsigned i = 0; i < X86_SEGS; i++) {
        s->seg[i] = segment(seg, 0xffff, 0x3u | X86_SEG_S | X86_SEG_P);
        s->seg[i].base = (uint64_t)seg << 4;
    }
    s->seg[X86_CS] = segment(cs, 0xffff, 0xbu | X86_SEG_S | X86_SEG_P);
    s->seg[X86_CS].base = (uint64_t)cs << 4;
    s->gpr[X86_RSP] = sp;
    s->rip = 0;
    s->rflags = 2;
    l->info->entry_gpa = (uint64_t)cs << 4;
}
