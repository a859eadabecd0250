#include "boot/elf_image.h"
#include "base/err.h"
#include "base/range.h"
#include "boot/linux.h"
#include "guest/mem.h"
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Physical address of the 32-bit PVH entry point (Xen public/elfnote.h). */
#define XEN_ELFNOTE_PHYS32_ENTRY 18

bool elf_probe(const struct src *s)
{
    uint8_t magic[SELFMAG];
    return s->len >= sizeof magic && !src_read(s, 0, magic, sizeof magic, NULL) &&
           !memcmp(magic, ELFMAG, SELFMAG);
}

static int malformed(const struct src *s, uint64_t off, const char *what, struct err *e)
{
    return err_set(e, ENOEXEC, "%s: malformed ELF: %s at offset 0x%llx; give an x86 kernel image", s->name,
                   what, (unsigned long long)off);
}

/* The first note of that name and type with a 4 or 8 byte value. Notes are aligned to 4, or to 8 in a segment
 * that says 8. */
static void scan_notes(struct elf_image *img, const uint8_t *p, uint64_t n, uint64_t align)
{
    for (uint64_t at = 0; range_inside(at, sizeof(Elf32_Nhdr), n);) {
        Elf32_Nhdr h;
        memcpy(&h, p + at, sizeof h);
        uint64_t name = at + sizeof h, desc = align_up(name + h.n_namesz, align);
        if (!range_inside(name, h.n_namesz, n) || !range_inside(desc, h.n_descsz, n))
            return;
        if (h.n_type == XEN_ELFNOTE_PHYS32_ENTRY && h.n_namesz == 4 && !memcmp(p + name, "Xen", 4) &&
            (h.n_descsz == 4 || h.n_descsz == 8)) {
            memcpy(&img->pvh_entry, p + desc, 4);
            img->has_pvh = true;
            return;
        }
        at = align_up(desc + h.n_descsz, align);
    }
}

static int read_notes(const struct src *s, struct elf_image *img, const Elf64_Phdr *ph, struct err *e)
{
    if (!ph->p_filesz || ph->p_filesz > ELF_NOTES_MAX)
        return 0;
    uint8_t *p = malloc(ph->p_filesz);
    if (!p)
        return err_set(e, ENOMEM, "%s: no memory to read its notes", s->name);
    int r = src_read(s, ph->p_offset, p, ph->p_filesz, e);
    if (!r)
        scan_notes(img, p, ph->p_filesz, ph->p_align == 8 ? 8 : 4);
    free(p);
    return r;
}

/* Program header i, widened to 64 bits. */
static int read_phdr(const struct src *s, bool is64, uint64_t off, Elf64_Phdr *out, struct err *e)
{
    Elf32_Phdr p;
    if (is64)
        return src_read(s, off, out, sizeof *out, e);
    int r = src_read(s, off, &p, sizeof p, e);
    if (!r)
        *out = (Elf64_Phdr){.p_type = p.p_type,
                            .p_offset = p.p_offset,
                            .p_vaddr = p.p_vaddr,
                            .p_paddr = p.p_paddr,
                            .p_filesz = p.p_filesz,
                            .p_memsz = p.p_memsz,
                            .p_align = p.p_align};
    return r;
}

static int take_phdr(const struct src *s, struct elf_image *img, uint64_t off, struct err *e)
{
    Elf64_Phdr ph;
    int r = read_phdr(s, img->is64, off, &ph, e);
    if (r)
        return r;
    if (ph.p_type == PT_INTERP)
        return err_set(
            e, ENOEXEC,
            "%s: not a kernel: it is a program for a running system; give a Linux bzImage or vmlinux",
            s->name);
    if (ph.p_type == PT_NOTE && !img->has_pvh)
        return read_notes(s, img, &ph, e);
    if (ph.p_type != PT_LOAD || !ph.p_memsz)
        return 0;
    if (ph.p_filesz > ph.p_memsz || !range_no_wrap(ph.p_paddr, ph.p_memsz) ||
        !range_no_wrap(ph.p_vaddr, ph.p_memsz))
        return malformed(s, off, "a segment's sizes contradict each other", e);
    if (!range_inside(ph.p_offset, ph.p_filesz, s->len))
        return err_set(
            e, ENOEXEC,
            "%s: truncated: a segment needs bytes 0x%llx-0x%llx, the file ends at 0x%llx; fetch it again",
            s->name, (unsigned long long)ph.p_offset, (unsigned long long)(ph.p_offset + ph.p_filesz),
            (unsigned long long)s->len);
    if (img->count == ELF_MAX_PHDRS)
        return malformed(s, off, "too many segments", e);
    img->segment[img->count++] = (struct elf_segment){.offset = ph.p_offset,
                                                      .vaddr = ph.p_vaddr,
                                                      .paddr = ph.p_paddr,
                                                      .filesz = ph.p_filesz,
                                                      .memsz = ph.p_memsz};
    return 0;
}

/* The file header, widened to 64 bits. */
static int read_ehdr(const struct src *s, Elf64_Ehdr *h, struct err *e)
{
    Elf32_Ehdr h32;
    uint8_t ident[EI_NIDENT];
    int r = src_read(s, 0, ident, sizeof ident, e);
    if (r)
        return r;
    if (memcmp(ident, ELFMAG, SELFMAG) || ident[EI_DATA] != ELFDATA2LSB ||
        (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64))
        return malformed(s, 0, "not a little-endian ELF of 32 or 64 bits", e);
    if (ident[EI_CLASS] == ELFCLASS64)
        return src_read(s, 0, h, sizeof *h, e);
    r = src_read(s, 0, &h32, sizeof h32, e);
    if (r)
        return r;
    *h = (Elf64_Ehdr){.e_type = h32.e_type,
                      .e_machine = h32.e_machine,
                      .e_entry = h32.e_entry,
                      .e_phoff = h32.e_phoff,
                      .e_phentsize = h32.e_phentsize,
                      .e_phnum = h32.e_phnum};
    memcpy(h->e_ident, ident, sizeof ident);
    return 0;
}

int elf_parse(const struct src *s, struct elf_image *img, struct err *e)
{
    Elf64_Ehdr h;
    int r = read_ehdr(s, &h, e);
    if (r)
        return r;
    *img = (struct elf_image){
        .is64 = h.e_ident[EI_CLASS] == ELFCLASS64, .machine = h.e_machine, .entry = h.e_entry};
    if (h.e_machine != EM_386 && h.e_machine != EM_X86_64)
        return err_set(e, ENOEXEC, "%s: is an ELF for another processor (machine %u); give an x86 kernel",
                       s->name, h.e_machine);
    if (h.e_type != ET_EXEC && h.e_type != ET_DYN)
        return err_set(e, ENOEXEC,
                       "%s: is an ELF object and not an executable (type %u); give a linked kernel", s->name,
                       h.e_type);
    if (h.e_phentsize < (img->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || h.e_phnum > 4096)
        return malformed(s, 0, "bad program header table", e);
    for (unsigned i = 0; i < h.e_phnum && !r; i++) {
        uint64_t off = h.e_phoff + (uint64_t)i * h.e_phentsize;
        r = off < h.e_phoff ? malformed(s, h.e_phoff, "program header table wraps", e)
                            : take_phdr(s, img, off, e);
    }
    if (!r && !img->count)
        r = malformed(s, h.e_phoff, "nothing to load", e);
    return r;
}

int elf_entry_gpa(const struct src *s, const struct elf_image *img, uint64_t *gpa, struct err *e)
{
    for (unsigned i = 0; i < img->count; i++) {
        const struct elf_segment *g = &img->segment[i];
        if (img->entry - g->paddr < g->memsz) {
            *gpa = img->entry;
            return 0;
        }
    }
    for (unsigned i = 0; i < img->count; i++) {
        const struct elf_segment *g = &img->segment[i];
        if (img->entry - g->vaddr < g->memsz) {
            *gpa = img->entry - g->vaddr + g->paddr;
            return 0;
        }
    }
    return err_set(e, ENOEXEC,
                   "%s: malformed ELF: entry point 0x%llx lies in no segment; give an x86 kernel image",
                   s->name, (unsigned long long)img->entry);
}

int elf_load_segments(struct load *l, const struct src *s, const struct elf_image *img)
{
    for (unsigned i = 0; i < img->count; i++) {
        const struct elf_segment *g = &img->segment[i];
        int r = load_claim(l, s->name, g->paddr, g->memsz);
        r = r ? r : src_to_guest(s, g->offset, g->filesz, l->mem, g->paddr, l->e);
        if (!r && mem_fill(l->mem, g->paddr + g->filesz, 0, g->memsz - g->filesz))
            r = err_set(l->e, ENOMEM,
                        "%s: wants guest memory at 0x%llx, which is not RAM; give the machine more memory",
                        s->name, (unsigned long long)g->paddr);
        if (r)
            return r;
    }
    return 0;
}

enum { LINUX_LOWEST = 0x100000 }; /* no Linux lies below 1 MiB, static programs do */

static int enter_linux(struct load *l, const struct src *s, const struct elf_image *img,
                       const struct setup_header *h)
{
    uint64_t entry;
    enum boot_entry mode = img->machine == EM_X86_64 && img->is64 ? BOOT_ENTRY_LINUX64 : BOOT_ENTRY_LINUX32;
    int r = elf_entry_gpa(s, img, &entry, l->e);
    if (r)
        return r;
    if (!load_allows(l, mode))
        return err_set(l->e, ENOTSUP, "%s: has no %s entry, it is a %s kernel", s->name,
                       boot_entry_name(l->cfg->entry), boot_entry_name(mode));
    if (l->info->kernel_base < LINUX_LOWEST)
        return err_set(l->e, ENOEXEC,
                       "%s: not a kernel: an ELF without PVH note or multiboot header that loads at 0x%llx; "
                       "give a Linux "
                       "bzImage or vmlinux",
                       s->name, (unsigned long long)l->info->kernel_base);
    return linux_boot(l, h, mode, entry, l->info->kernel_base);
}

int elf_boot(struct load *l, const struct src *s, const struct setup_header *h)
{
    struct elf_image img;
    int r = elf_parse(s, &img, l->e);
    if (r)
        return r;
    /* The payload of a bzImage is a Linux kernel, told by its setup header: its own protocol says more than
     * PVH does. */
    bool pvh = img.has_pvh && (load_wants(l, BOOT_ENTRY_PVH) || (!h && load_allows(l, BOOT_ENTRY_PVH)));
    if (load_wants(l, BOOT_ENTRY_PVH) && !pvh)
        return err_set(l->e, ENOTSUP, "%s: has no PVH entry note; let the entry be chosen", s->name);
    int64_t mb = h || pvh || !load_allows(l, BOOT_ENTRY_MULTIBOOT) ? -1 : multiboot_probe(s);
    if (mb >= 0)
        return multiboot_boot(l, s, (uint32_t)mb);
    if (load_wants(l, BOOT_ENTRY_MULTIBOOT))
        return err_set(l->e, ENOTSUP, "%s: has no multiboot header; let the entry be chosen", s->name);
    r = elf_load_segments(l, s, &img);
    if (r)
        return r;
    return pvh ? pvh_boot(l, s->name, img.pvh_entry, linux_cmdline_max(h)) : enter_linux(l, s, &img, h);
}
