/*
 * images: kernels made in a test: ELF, multiboot and bzImage of a few hundred bytes, whose every field a test
 * may then spoil.
 */
#ifndef BOOT_TEST_IMAGES_H
#define BOOT_TEST_IMAGES_H
#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

struct elf_spec {
    bool is64;
    uint64_t paddr, vaddr, entry;
    uint32_t filesz, memsz; /* of the one segment; filled with the bytes 1, 2, ... */
    uint32_t pvh;           /* entry in a note; 0: no note */
    bool multiboot;         /* a header at the segment's start */
};

void image_elf(struct buf *b, const struct elf_spec *s);

enum pack { PACK_NONE, PACK_GZIP, PACK_BZIP2, PACK_LZMA, PACK_XZ, PACK_LZ4, PACK_ZSTD, PACKS };

/* in, packed as a kernel's build packs its payload: with the unpacked size behind it (gzip has it already).
 */
void image_pack(struct buf *b, enum pack how, const void *in, size_t n);

struct bz_spec {
    uint16_t version;
    uint16_t xloadflags;
    bool low; /* not LOADED_HIGH */
    uint32_t code32_start, init_size, initrd_max, cmdline_size;
    uint64_t pref;
    bool relocatable;
    const struct buf *payload; /* NULL: none */
};

/* As kernels of today are: boot protocol 2.15, 64-bit, relocatable. */
extern const struct bz_spec image_bz_modern;

/* Setup part of 2 sectors (16-bit code with a version string), a protected-mode part of 1 KiB, the payload in
 * it. */
void image_bz(struct buf *b, const struct bz_spec *s);

/* A file of its own for multiboot by addresses: header at offset 16, loads at `load`, entry behind the
 * header. */
void image_multiboot_flat(struct buf *b, uint32_t load, uint32_t bss);

#endif
