/*
 * load: what the loaders of this room share while one guest is loaded. Internal to boot.
 */
#ifndef BOOT_LOAD_H
#define BOOT_LOAD_H
#include "boot/boot.h"
#include "boot/place.h"
#include "boot/src.h"
struct x86_state;

struct load {
    const struct boot_config *cfg;
    struct mem_map *mem;
    struct x86_state *bsp;
    struct boot_info *info; /* never NULL here */
    struct place place;
    struct err *e;
};

/* ---- load.c: memory beside the kernel ---- */

/* Take [base, base+size) for the kernel `name`: RAM, free, below 4 GiB. Widens info's kernel_base and
 * kernel_end. */
int load_claim(struct load *l, const char *name, uint64_t base, uint64_t size);
/* `size` zeroed bytes of low memory for a loader's structure. */
int load_low(struct load *l, uint64_t size, uint64_t align, uint64_t *gpa);
int load_write(struct load *l, uint64_t gpa, const void *p, uint64_t n);
/* The command line, at most `max` bytes without its NUL, preceded by `before` and a space when that is not
 * NULL. */
int load_cmdline(struct load *l, const char *before, size_t max, uint64_t *gpa);
/* All initrds concatenated, as high as possible below `max`. Sets info's initrd fields (0 without one). */
int load_initrd(struct load *l, uint64_t max);

/* ---- cpu.c: the boot CPU ---- */

int cpu_flat32(struct load *l, uint64_t entry); /* protected mode, 4 GiB segments, paging off */
int cpu_long64(struct load *l, uint64_t entry); /* long mode, first 4 GiB mapped one to one */
void cpu_real(struct load *l, uint16_t seg, uint16_t cs, uint16_t sp); /* IP 0 */

/* ---- the formats ---- */

/* A vmlinux's or bzImage's setup header, or {.len = 0} when there is none. */
struct setup_header {
    uint8_t raw[0x290]; /* file bytes 0..0x28f; from 0x1f1 to `len` they are the header */
    uint32_t len;       /* end of the header */
    uint16_t version;   /* 0x0200 and up */
    uint64_t file_size;
};

struct elf_image;

int bzimage_load(struct load *l, const struct src *s, const struct setup_header *h);
/* -ENOEXEC without a message when it is no bzImage */
int bzimage_probe(const struct src *s, struct setup_header *h);
int elf_boot(struct load *l, const struct src *s,
             const struct setup_header *h); /* h: of the bzImage it came from, or NULL */
int multiboot_boot(struct load *l, const struct src *s, uint32_t header_off);
/* Offset of a valid multiboot header, or -ENOENT. */
int64_t multiboot_probe(const struct src *s);
int pvh_boot(struct load *l, const char *name, uint64_t entry, size_t cmdline_max);
/* Zero page, initrd, command line and CPU for a Linux kernel that lies in memory. mode: LINUX64 or LINUX32.
 */
int linux_boot(struct load *l, const struct setup_header *h, enum boot_entry mode, uint64_t entry,
               uint64_t load_at);

static inline bool load_wants(const struct load *l, enum boot_entry mode)
{
    return l->cfg->entry == mode;
}

static inline bool load_allows(const struct load *l, enum boot_entry mode)
{
    return l->cfg->entry == BOOT_ENTRY_AUTO || l->cfg->entry == mode;
}

#endif
