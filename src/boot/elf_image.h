/*
 * elf: what a loader wants to know of an ELF executable (System V gABI chapters 4 and 5), read from untrusted
 * bytes.
 */
#ifndef BOOT_ELF_IMAGE_H
#define BOOT_ELF_IMAGE_H
#include <stdbool.h>
#include <stdint.h>
struct err;
struct load;
struct src;

enum { ELF_MAX_PHDRS = 64, ELF_NOTES_MAX = 1 << 16 };

struct elf_segment {
    uint64_t offset, vaddr, paddr, filesz, memsz;
};

struct elf_image {
    bool is64;
    uint16_t machine; /* EM_386 or EM_X86_64 */
    uint64_t entry;   /* as the file has it: see elf_entry_gpa */
    unsigned count;
    struct elf_segment segment[ELF_MAX_PHDRS]; /* PT_LOAD with memsz > 0 */
    bool has_pvh;
    uint32_t pvh_entry; /* physical */
};

bool elf_probe(const struct src *s); /* begins with the magic */
int elf_parse(const struct src *s, struct elf_image *img, struct err *e);
/* The entry as a physical address: taken so where a segment holds it, translated where only a virtual range
 * does. */
int elf_entry_gpa(const struct src *s, const struct elf_image *img, uint64_t *gpa, struct err *e);
/* Claim and fill the memory of all segments, zeroing what the file does not fill. */
int elf_load_segments(struct load *l, const struct src *s, const struct elf_image *img);

#endif
