/* Bad input: one clear line, the right errno, nothing else. */
#include "base/buf.h"
#include "base/err.h"
#include "boot/boot.h"
#include "guest/mem.h"
#include "images.h"
#include "x86/state.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define MIB (1ull << 20)

static const struct elf_spec plain = {.is64 = true,
                                      .paddr = 0x1000000,
                                      .vaddr = 0x1000000,
                                      .entry = 0x1000040,
                                      .filesz = 0x3000,
                                      .memsz = 0x5000};

/* Load with `size` bytes of memory; the error must be `code` and contain `words`. */
static void refused(struct boot_config *cfg, uint64_t size, int code, const char *words)
{
    struct err e = {""};
    struct x86_state bsp;
    struct mem_map *mem = mem_map_new(&e);
    struct ram *ram = ram_new("ram", size, RAM_ANONYMOUS, &e);
    const struct boot_range range[] = {{0, 0xa0000, BOOT_RAM}, {MIB, size - MIB, BOOT_RAM}};
    assert_non_null(mem);
    assert_non_null(ram);
    assert_non_null(
        mem_add(mem, &(struct mem_region){.name = "ram", .size = size, .kind = MEM_RAM, .ram = ram}, &e));
    x86_state_reset(&bsp, true, 0);
    cfg->range = range;
    cfg->ranges = 2;
    int r = boot_load(cfg, mem, &bsp, NULL, &e);
    print_message("%s\n", e.msg);
    assert_int_equal(r, code);
    assert_non_null(strstr(e.msg, words));
    assert_null(strchr(e.msg, '\n'));
    mem_map_free(mem);
}

static void refused_bytes(const struct buf *b, int code, const char *words)
{
    struct boot_config cfg = {.kernel = {.path = "kernel", .data = b->data, .len = b->len}};
    refused(&cfg, 64 * MIB, code, words);
}

static void a_missing_kernel_is_named(void **state)
{
    struct boot_config cfg = {.kernel = {.path = "/nonexistent/vmlinuz"}};
    (void)state;
    refused(&cfg, 64 * MIB, -ENOENT, "/nonexistent/vmlinuz: no such file");
}

static void a_directory_or_an_empty_file_is_no_kernel(void **state)
{
    struct boot_config cfg = {.kernel = {.path = "/"}}, empty = {.kernel = {.path = "/dev/null"}};
    (void)state;
    refused(&cfg, 64 * MIB, -EISDIR, "is a directory");
    refused(&empty, 64 * MIB, -ENOEXEC, "is empty");
}

static void text_is_no_kernel(void **state)
{
    struct buf b = {0};
    (void)state;
    buf_put(&b, "#!/bin/sh\n", 10);
    refused_bytes(&b, -ENOEXEC, "not a kernel");
    buf_zero(&b, 5000);
    refused_bytes(&b, -ENOEXEC, "not a kernel");
    buf_free(&b);
}

static void an_elf_cut_anywhere_is_refused(void **state)
{
    struct buf b;
    (void)state;
    image_elf(&b, &plain);
    static const size_t cuts[] = {8, 40, 70, 119, 600, 0x31ff};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        b.len = cuts[i];
        refused_bytes(&b, -ENOEXEC, "truncated");
    }
    buf_free(&b);
}

static void an_elf_for_another_processor_or_an_object_file_is_refused(void **state)
{
    struct buf b;
    (void)state;
    image_elf(&b, &plain);
    b.data[18] = 183;
    refused_bytes(&b, -ENOEXEC, "another processor");
    b.data[18] = 62;
    b.data[16] = 1;
    refused_bytes(&b, -ENOEXEC, "not an executable");
    buf_free(&b);
}

static void a_program_of_a_running_system_is_no_kernel(void **state)
{
    struct buf b;
    struct elf_spec s = plain;
    (void)state;
    s.paddr = s.vaddr = 0x2000;
    s.entry = 0x2040;
    image_elf(&b, &s);
    refused_bytes(&b, -ENOEXEC,
                  "not a kernel: an ELF without PVH note or multiboot header that loads at 0x2000");
    buf_free(&b);
    struct boot_config cfg = {.kernel = {.path = "/proc/self/exe"}};
    refused(&cfg, 64 * MIB, -ENOEXEC, "/proc/self/exe: not a kernel: it is a program");
}

static void a_kernel_that_does_not_fit_says_how_much_it_needs(void **state)
{
    struct buf b;
    struct elf_spec s = plain;
    (void)state;
    s.memsz = 200 << 20;
    image_elf(&b, &s);
    refused_bytes(&b, -ENOMEM, "needs memory up to 216 MiB, the machine has 64");
    s.paddr = 0xfffffff000;
    buf_free(&b);
    image_elf(&b, &s);
    refused_bytes(&b, -ENOEXEC, "above 4 GiB");
    s.paddr = 0xf0000;
    s.memsz = 0x3000;
    buf_free(&b);
    image_elf(&b, &s);
    refused_bytes(&b, -ENOMEM, "not RAM on this board");
    buf_free(&b);
}

static void an_entry_outside_the_kernel_is_refused(void **state)
{
    struct buf b;
    struct elf_spec s = plain;
    (void)state;
    s.entry = 0x2000000;
    image_elf(&b, &s);
    refused_bytes(&b, -ENOEXEC, "entry point 0x2000000 lies in no segment");
    buf_free(&b);
    s.pvh = 0x10;
    image_elf(&b, &s);
    refused_bytes(&b, -ENOEXEC, "PVH entry 0x10 lies outside");
    buf_free(&b);
}

static void a_damaged_payload_is_refused_for_every_packing(void **state)
{
    (void)state;
    for (unsigned how = PACK_GZIP; how < PACKS; how++) {
        struct buf elf, packed, image;
        struct bz_spec z = image_bz_modern;
        image_elf(&elf, &plain);
        image_pack(&packed, how, elf.data, elf.len);
        for (size_t i = 20; i + 20 < packed.len; i += 7)
            packed.data[i] ^= 0xff;
        z.payload = &packed;
        image_bz(&image, &z);
        refused_bytes(&image, -ENOEXEC, "damaged");
        buf_free(&elf);
        buf_free(&packed);
        buf_free(&image);
    }
}

static void a_payload_that_unpacks_to_more_than_it_states_is_refused(void **state)
{
    (void)state;
    for (unsigned how = PACK_BZIP2; how < PACKS; how++) {
        struct buf elf, packed, image;
        struct bz_spec z = image_bz_modern;
        image_elf(&elf, &plain);
        image_pack(&packed, how, elf.data, elf.len);
        buf_set_u32(&packed, packed.len - 4, 1000);
        z.payload = &packed;
        image_bz(&image, &z);
        refused_bytes(&image, -ENOEXEC, "more than the 1000 bytes");
        buf_set_u32(&packed, packed.len - 4, 0xfffffff0);
        buf_free(&image);
        image_bz(&image, &z);
        refused_bytes(&image, -ENOEXEC, "claims to unpack to 4294967280 bytes");
        buf_free(&elf);
        buf_free(&packed);
        buf_free(&image);
    }
}

static void a_truncated_bzimage_is_refused(void **state)
{
    struct buf elf, packed, image;
    struct bz_spec z = image_bz_modern;
    (void)state;
    image_elf(&elf, &plain);
    image_pack(&packed, PACK_GZIP, elf.data, elf.len);
    z.payload = &packed;
    image_bz(&image, &z);
    image.len -= 100;
    refused_bytes(&image, -ENOEXEC, "truncated: its payload");
    z.payload = NULL;
    buf_free(&image);
    image_bz(&image, &z);
    image.len -= 100;
    refused_bytes(&image, -ENOEXEC, "truncated: its header tells 2560 bytes");
    buf_free(&elf);
    buf_free(&packed);
    buf_free(&image);
}

static void a_command_line_longer_than_the_kernel_takes_is_refused(void **state)
{
    struct buf b;
    char text[2100];
    (void)state;
    memset(text, 'a', sizeof text);
    text[2048] = 0;
    image_bz(&b, &image_bz_modern);
    struct boot_config cfg = {.kernel = {.path = "kernel", .data = b.data, .len = b.len}, .cmdline = text};
    refused(&cfg, 64 * MIB, -E2BIG, "command line: 2048 bytes, kernel takes at most 2047");
    buf_free(&b);
}

static void an_initrd_larger_than_memory_or_absent_is_refused(void **state)
{
    struct buf b;
    static const uint8_t big[48 << 20];
    struct boot_file initrd = {.path = "big.img", .data = big, .len = sizeof big};
    (void)state;
    image_elf(&b, &plain);
    struct boot_config cfg = {
        .kernel = {.path = "kernel", .data = b.data, .len = b.len}, .initrd = &initrd, .initrds = 1};
    refused(&cfg, 64 * MIB, -ENOMEM,
            "big.img: initrd of 48 MiB does not fit beside the kernel (up to 17 MiB) below 64 MiB");
    initrd = (struct boot_file){.path = "/nonexistent/initrd"};
    refused(&cfg, 64 * MIB, -ENOENT, "/nonexistent/initrd: no such file; give the path of the initrd");
    buf_free(&b);
}

static void an_entry_that_the_image_lacks_is_refused(void **state)
{
    struct buf b;
    (void)state;
    image_elf(&b, &plain);
    struct boot_config cfg = {.kernel = {.path = "kernel", .data = b.data, .len = b.len}};
    static const struct {
        enum boot_entry entry;
        const char *words;
    } rows[] = {{BOOT_ENTRY_PVH, "no PVH entry note"},
                {BOOT_ENTRY_MULTIBOOT, "no multiboot header"},
                {BOOT_ENTRY_LINUX32, "has no linux32 entry"},
                {BOOT_ENTRY_LINUX16, "has no linux16 entry"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cfg.entry = rows[i].entry;
        refused(&cfg, 64 * MIB, -ENOTSUP, rows[i].words);
    }
    buf_free(&b);
}

static void a_multiboot_header_whose_addresses_contradict_is_refused(void **state)
{
    static const struct {
        unsigned at;
        uint32_t value;
    } rows[] = {{28, 0x100}, {32, 0x300000}, {36, 0x1000}, {40, 0x1000}, {44, 0x100}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b;
        image_multiboot_flat(&b, 0x200000, 64);
        if (rows[i].at == 40)
            buf_set_u32(&b, 36, 0x200100);
        buf_set_u32(&b, rows[i].at, rows[i].value);
        refused_bytes(&b, -ENOEXEC, rows[i].at == 44 ? "entry 0x100 lies outside" : "contradict");
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_kernel_is_named),
        cmocka_unit_test(a_directory_or_an_empty_file_is_no_kernel),
        cmocka_unit_test(text_is_no_kernel),
        cmocka_unit_test(an_elf_cut_anywhere_is_refused),
        cmocka_unit_test(an_elf_for_another_processor_or_an_object_file_is_refused),
        cmocka_unit_test(a_program_of_a_running_system_is_no_kernel),
        cmocka_unit_test(a_kernel_that_does_not_fit_says_how_much_it_needs),
        cmocka_unit_test(an_entry_outside_the_kernel_is_refused),
        cmocka_unit_test(a_damaged_payload_is_refused_for_every_packing),
        cmocka_unit_test(a_payload_that_unpacks_to_more_than_it_states_is_refused),
        cmocka_unit_test(a_truncated_bzimage_is_refused),
        cmocka_unit_test(a_command_line_longer_than_the_kernel_takes_is_refused),
        cmocka_unit_test(an_initrd_larger_than_memory_or_absent_is_refused),
        cmocka_unit_test(an_entry_that_the_image_lacks_is_refused),
        cmocka_unit_test(a_multiboot_header_whose_addresses_contradict_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
