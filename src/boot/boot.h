/*
 * boot: puts a kernel into guest memory and the boot CPU at its first instruction.
 *
 * What it takes, told by the bytes and not by the name:
 *
 *   bzImage     Linux/x86 boot protocol 2.00 and later (Documentation/arch/x86/boot.rst). By default the
 * compressed payload is unpacked here (gzip, lz4, zstd, xz, bzip2, lzma; each library is opened only when it
 * is needed) and the vmlinux inside is entered directly, so that the guest does not pay for decompression.
 * With `decompress` the image is entered itself, 64-bit or 32-bit, and unpacks and relocates itself as on a
 * real machine: KASLR works. An image whose payload is not an ELF (memtest86+) is always entered itself; one
 * without 32-bit entry, in real mode. ELF         32 or 64 bits: a PVH note (XEN_ELFNOTE_PHYS32_ENTRY, Xen's
 * docs/misc/pvh.pandoc) is entered with an hvm_start_info, a multiboot header by multiboot, anything else as
 * a Linux vmlinux with a zero page. multiboot   version 1 (the specification 0.6.96): ELF32, ELF64 or any
 * file with the address fields; modules, command line; a real-mode interrupt table as a BIOS leaves it, whose
 * handlers end interrupts (the caller sees to the interrupt controllers: board_bios_interrupts).
 *
 * boot_load is called once before the first instruction, on any thread, while no vCPU runs; again, after a
 * reset, to load anew. The files are read, never mapped, so that a file that shrinks meanwhile is an error
 * and not a SIGBUS. Nothing is kept after return.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct err;
struct mem_map;
struct x86_state;

/* Types of address ranges (ACPI 6.5 table 15.7), as in E820, zero page, hvm_start_info and multiboot. */
enum boot_range_type { BOOT_RAM = 1, BOOT_RESERVED = 2, BOOT_ACPI = 3, BOOT_NVS = 4 };

/* One range of the guest physical map as the guest shall see it. Given by the board, ascending, not
 * overlapping. */
struct boot_range {
    uint64_t base, size; /* bytes */
    uint32_t type;       /* enum boot_range_type */
};

/* A file, or its bytes when `data` is not NULL (then `path` only names it in messages). */
struct boot_file {
    const char *path;
    const void *data;
    size_t len;
    const char *args; /* of a multiboot module: text after its name; NULL: none */
};

enum boot_entry {
    BOOT_ENTRY_AUTO,
    BOOT_ENTRY_LINUX64,   /* long mode, identity page tables, RSI = zero page */
    BOOT_ENTRY_LINUX32,   /* flat protected mode, ESI = zero page */
    BOOT_ENTRY_LINUX16,   /* the setup code, in real mode: needs a BIOS */
    BOOT_ENTRY_PVH,       /* flat protected mode, EBX = hvm_start_info */
    BOOT_ENTRY_MULTIBOOT, /* flat protected mode, EAX = 0x2badb002, EBX = multiboot information */
};

enum { BOOT_MAX_INITRDS = 16, BOOT_MAX_RANGES = 64 };

struct boot_config {
    struct boot_file kernel;
    const struct boot_file
        *initrd;         /* Linux, PVH: one behind the other, each on a multiple of 4; multiboot: modules */
    unsigned initrds;    /* at most BOOT_MAX_INITRDS */
    const char *cmdline; /* NULL: "" */
    uint64_t rsdp;       /* GPA of the ACPI root pointer; 0: none, the guest scans */
    const struct boot_range *range; /* at most BOOT_MAX_RANGES */
    unsigned ranges;
    bool decompress;       /* enter a bzImage itself: the guest unpacks it */
    enum boot_entry entry; /* AUTO, or insist on one */
};

/* What was done, for logs, --stats and tests. */
struct boot_info {
    enum boot_entry entry;
    uint64_t entry_gpa;               /* linear address of the first instruction */
    uint64_t info_gpa;                /* zero page, hvm_start_info or multiboot information */
    uint64_t kernel_base, kernel_end; /* GPAs the kernel occupies when it starts: [base, end) */
    uint64_t initrd_base, initrd_size;
    const char *packed; /* "gzip", ...: unpacked here; NULL: it was not */
    char version[80];   /* a bzImage's kernel version string, printable ASCII; "" otherwise */
};

/*
 * Load everything and set the general registers, segments, descriptor tables, control registers and EFER of
 * *bsp, which comes as x86_state_reset left it. Guest memory is written only inside RAM ranges of `cfg` that
 * are RAM in `mem`. `info` may be NULL. Errors, each with the file, the offset, what is wrong and a remedy in
 * `e`: -ENOENT, -EACCES, ... of opening     -EISDIR   a directory               -ENOEXEC  not a kernel,
 * truncated, malformed -ENOMEM  it does not fit in memory   -E2BIG    command line too long     -ELIBACC  a
 * library for its packing is missing -ENOTSUP the entry asked for is not one that this image has
 */
int boot_load(const struct boot_config *cfg, struct mem_map *mem, struct x86_state *bsp,
              struct boot_info *info, struct err *e);

const char *boot_entry_name(enum boot_entry entry); /* "linux64", "pvh", ... */

#endif
