/*
 * Multiboot 1 (the Multiboot Specification 0.6.96, section 3). Modules lie behind the kernel in ascending
 * pages, as every loader puts them; the information structures wherever low memory is free.
 */
#include "base/buf.h"
#include "base/err.h"
#include "base/range.h"
#include "boot/elf_image.h"
#include "boot/load.h"
#include "guest/mem.h"
#include "x86/state.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    MB_SEARCH = 8192,
    MB_HEADER_MAGIC = 0x1badb002,
    MB_LOADER_MAGIC = 0x2badb002,
    MB_MANDATORY = 0xffff,
    MB_PAGE_ALIGN = 1 << 0,
    MB_MEMORY_INFO = 1 << 1,
    MB_VIDEO_MODE =
        1 << 2, /* asked for; without a boot display there is none to tell, which the absent info flag says */
    MB_ADDRESSES = 1 << 16,
    MB_INFO_MEMORY = 1 << 0,
    MB_INFO_CMDLINE = 1 << 2,
    MB_INFO_MODULES = 1 << 3,
    MB_INFO_MMAP = 1 << 6,
    MB_INFO_LOADER = 1 << 9,
    MB_INFO_SIZE = 116,
    MB_MODULE_SIZE = 16,
    MB_MMAP_SIZE = 24,
    MB_CMDLINE_MAX = 4096,
};

struct mb_header {
    uint32_t magic, flags, checksum, header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct mb_module {
    uint64_t start, end, args;
};

int64_t multiboot_probe(const struct src *s)
{
    uint8_t head[MB_SEARCH];
    size_t n = s->len < sizeof head ? (size_t)s->len : sizeof head;
    if (src_read(s, 0, head, n, NULL))
        return -ENOENT;
    for (size_t at = 0; at + 12 <= n; at += 4) {
        uint32_t w[3];
        memcpy(w, head + at, sizeof w);
        if (w[0] == MB_HEADER_MAGIC && (uint32_t)(w[0] + w[1] + w[2]) == 0)
            return (int64_t)at;
    }
    return -ENOENT;
}

/* By the header's own addresses (3.1.3). */
static int load_by_addresses(struct load *l, const struct src *s, const struct mb_header *h,
                             uint32_t header_off, uint64_t *entry)
{
    uint64_t before = (uint64_t)h->header_addr - h->load_addr;
    if (h->header_addr < h->load_addr || before > header_off ||
        (h->load_end_addr && h->load_end_addr < h->load_addr) ||
        (h->bss_end_addr && h->bss_end_addr < h->load_end_addr))
        return err_set(l->e, ENOEXEC,
                       "%s: malformed multiboot header at offset 0x%x: its addresses contradict each other",
                       s->name, header_off);
    uint64_t off = header_off - before;
    uint64_t filesz = h->load_end_addr ? h->load_end_addr - h->load_addr : s->len - off;
    uint64_t end = h->load_addr + filesz > h->bss_end_addr ? h->load_addr + filesz : h->bss_end_addr,
             bss = h->load_addr + filesz;
    int r = load_claim(l, s->name, h->load_addr, end - h->load_addr);
    r = r ? r : src_to_guest(s, off, filesz, l->mem, h->load_addr, l->e);
    if (!r && mem_fill(l->mem, bss, 0, end - bss))
        r = err_set(l->e, ENOMEM, "%s: wants guest memory at 0x%llx, which is not RAM", s->name,
                    (unsigned long long)bss);
    *entry = h->entry_addr;
    return r;
}

static int load_elf(struct load *l, const struct src *s, uint64_t *entry)
{
    struct elf_image img;
    if (!elf_probe(s))
        return err_set(l->e, ENOEXEC,
                       "%s: has a multiboot header without addresses, but is no ELF; build it as one",
                       s->name);
    int r = elf_parse(s, &img, l->e);
    r = r ? r : elf_entry_gpa(s, &img, entry, l->e);
    return r ? r : elf_load_segments(l, s, &img);
}

static int load_string(struct load *l, const char *a, const char *b, uint64_t *gpa)
{
    char text[MB_CMDLINE_MAX];
    int n = snprintf(text, sizeof text, "%s%s%s", a, b ? " " : "", b ? b : "");
    if (n < 0 || (size_t)n >= sizeof text)
        return err_set(l->e, E2BIG, "command line of multiboot module %s: longer than %d bytes; shorten it",
                       a, MB_CMDLINE_MAX - 1);
    int r = load_low(l, (uint64_t)n + 1, 1, gpa);
    return r ? r : load_write(l, *gpa, text, (uint64_t)n + 1);
}

static int load_module(struct load *l, const struct boot_file *f, uint64_t *behind, struct mb_module *m)
{
    struct src s;
    int r = src_open(&s, f, "module", l->e);
    if (r)
        return r;
    m->start = place_low(&l->place, align_up(s.len, MEM_PAGE), MEM_PAGE, *behind, PLACE_4G);
    if (m->start == PLACE_NONE)
        r = err_set(l->e, ENOMEM,
                    "%s: module of %llu KiB does not fit behind the kernel; give the machine more memory",
                    s.name, (unsigned long long)(s.len + 1023) >> 10);
    r = r ? r : src_to_guest(&s, 0, s.len, l->mem, m->start, l->e);
    r = r ? r : load_string(l, s.name, f->args, &m->args);
    m->end = m->start + s.len;
    *behind = m->end;
    src_close(&s);
    return r;
}

/* The list is an array of 16-byte entries (3.3). */
static int load_modules(struct load *l, uint64_t *list)
{
    uint32_t entry[BOOT_MAX_INITRDS][4] = {0};
    uint64_t behind = l->info->kernel_end < 0x100000 ? 0x100000 : l->info->kernel_end;
    *list = 0;
    if (!l->cfg->initrds)
        return 0;
    for (unsigned i = 0; i < l->cfg->initrds; i++) {
        struct mb_module m;
        int r = load_module(l, &l->cfg->initrd[i], &behind, &m);
        if (r)
            return r;
        if (!i)
            l->info->initrd_base = m.start;
        l->info->initrd_size = m.end - l->info->initrd_base;
        entry[i][0] = (uint32_t)m.start;
        entry[i][1] = (uint32_t)m.end;
        entry[i][2] = (uint32_t)m.args;
    }
    int r = load_low(l, (uint64_t)l->cfg->initrds * MB_MODULE_SIZE, 8, list);
    return r ? r : load_write(l, *list, entry, (uint64_t)l->cfg->initrds * MB_MODULE_SIZE);
}

static int load_mmap(struct load *l, uint64_t *gpa)
{
    struct buf b = {0};
    for (unsigned i = 0; i < l->cfg->ranges; i++) {
        buf_u32(&b, MB_MMAP_SIZE - 4); /* bytes that follow */
        buf_u64(&b, l->cfg->range[i].base);
        buf_u64(&b, l->cfg->range[i].size);
        buf_u32(&b, l->cfg->range[i].type);
    }
    int r = load_low(l, b.len, 8, gpa);
    r = r          ? r
        : b.failed ? err_set(l->e, ENOMEM, "no memory for the multiboot memory map")
                   : load_write(l, *gpa, b.data, b.len);
    buf_free(&b);
    return r;
}

/* KiB of RAM from `base` up to the first hole. */
static uint32_t ram_kib(const struct boot_config *cfg, uint64_t base, uint64_t most)
{
    for (unsigned i = 0; i < cfg->ranges; i++) {
        const struct boot_range *r = &cfg->range[i];
        if (r->type == BOOT_RAM && base >= r->base && base - r->base < r->size) {
            uint64_t n = r->size - (base - r->base);
            return (uint32_t)((n < most ? n : most) >> 10);
        }
    }
    return 0;
}

static int put_info(struct load *l, uint64_t cmdline, uint64_t modules, uint64_t *gpa)
{
    uint32_t info[MB_INFO_SIZE / 4] = {0};
    uint64_t mmap, loader;
    int r = load_mmap(l, &mmap);
    r = r ? r : load_string(l, "Liege " LIEGE_VERSION, NULL, &loader);
    r = r ? r : load_low(l, sizeof info, 8, gpa);
    if (r)
        return r;
    info[0] = MB_INFO_MEMORY | MB_INFO_CMDLINE | MB_INFO_MODULES | MB_INFO_MMAP | MB_INFO_LOADER;
    info[1] = ram_kib(l->cfg, 0, 640 << 10);
    info[2] = ram_kib(l->cfg, 0x100000, PLACE_4G - 0x100000);
    info[4] = (uint32_t)cmdline;
    info[5] = l->cfg->initrds;
    info[6] = (uint32_t)modules;
    info[11] = l->cfg->ranges * MB_MMAP_SIZE;
    info[12] = (uint32_t)mmap;
    info[16] = (uint32_t)loader;
    return load_write(l, *gpa, info, sizeof info);
}

/* The real-mode interrupt table as a BIOS leaves it, for an image that goes there (3.2: the loader leaves the
 * machine in working order, as a BIOS initialised it). There is no BIOS to call: interrupts of the two 8259A
 * end at once, all others return. */
static int put_vectors(struct load *l)
{
    enum { VECTORS = 256, MASTER = 0x08, SLAVE = 0x70, LINES = 8, AT_SLAVE = 0, AT_MASTER = 7, AT_IRET = 13 };
    static const uint8_t code[] = {
        0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xeb, 0x03, /* push ax; mov al, 20h; out 0a0h, al; jmp +3 */
        0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf, /* push ax; mov al, 20h; out 20h, al; pop ax; iret */
    };
    uint32_t vector[VECTORS];
    uint64_t at;

    if (!place_is_ram(&l->place, 0, sizeof vector) || !place_is_free(&l->place, 0, sizeof vector))
        return 0; /* it is the kernel's */
    int r = load_low(l, sizeof code, 16, &at);
    for (unsigned v = 0; v < VECTORS; v++) {
        unsigned entry = v - MASTER < LINES ? AT_MASTER : v - SLAVE < LINES ? AT_SLAVE : AT_IRET;
        vector[v] = (uint32_t)(at >> 4) << 16 | entry;
    }
    r = r ? r : load_write(l, at, code, sizeof code);
    return r ? r : load_write(l, 0, vector, sizeof vector);
}

int multiboot_boot(struct load *l, const struct src *s, uint32_t header_off)
{
    struct mb_header h = {0};
    uint64_t entry, cmdline, modules, info;
    int r = src_read(s, header_off, &h, 12, l->e);
    if (!r && h.flags & MB_ADDRESSES)
        r = src_read(s, header_off, &h, sizeof h, l->e);
    if (r)
        return r;
    uint32_t unknown = h.flags & MB_MANDATORY & ~(uint32_t)(MB_PAGE_ALIGN | MB_MEMORY_INFO | MB_VIDEO_MODE);
    if (unknown)
        return err_set(
            l->e, ENOEXEC,
            "%s: multiboot header at offset 0x%x demands features 0x%x that multiboot 1 does not define",
            s->name, header_off, unknown);
    r = h.flags & MB_ADDRESSES ? load_by_addresses(l, s, &h, header_off, &entry) : load_elf(l, s, &entry);
    if (!r && (entry < l->info->kernel_base || entry >= l->info->kernel_end))
        r = err_set(l->e, ENOEXEC, "%s: malformed multiboot image: entry 0x%llx lies outside what it loads",
                    s->name, (unsigned long long)entry);
    r = r ? r : load_cmdline(l, s->name, MB_CMDLINE_MAX - 1, &cmdline);
    r = r ? r : load_modules(l, &modules);
    r = r ? r : put_info(l, cmdline, modules, &info);
    r = r ? r : put_vectors(l);
    r = r ? r : cpu_flat32(l, entry);
    if (r)
        return r;
    l->bsp->gpr[X86_RAX] = MB_LOADER_MAGIC;
    l->bsp->gpr[X86_RBX] = info;
    l->info->entry = BOOT_ENTRY_MULTIBOOT;
    l->info->info_gpa = info;
    return 0;
}
