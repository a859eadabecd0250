/* Loading of good images: what lies where in guest memory, and how the boot CPU stands. */
#include "base/buf.h"
#include "base/err.h"
#include "boot/boot.h"
#include "guest/mem.h"
#include "images.h"
#include "x86/regs.h"
#include "x86/state.h"
#include <errno.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define RSDP 0xe1230ull
#define MIB  (1ull << 20)

struct machine {
    struct mem_map *mem;
    struct x86_state bsp;
    struct boot_range range[4];
    struct boot_config cfg;
    struct boot_info info;
    struct err e;
};

static void machine_up(struct machine *m, uint64_t size)
{
    memset(m, 0, sizeof *m);
    m->mem = mem_map_new(&m->e);
    assert_non_null(m->mem);
    struct ram *ram = ram_new("ram", size, RAM_ANONYMOUS, &m->e);
    assert_non_null(ram);
    assert_non_null(mem_add(
        m->mem, &(struct mem_region){.name = "ram", .size = size, .kind = MEM_RAM, .ram = ram}, &m->e));
    x86_state_reset(&m->bsp, true, 0);
    m->range[0] = (struct boot_range){0, 0x9fc00, BOOT_RAM};
    m->range[1] = (struct boot_range){0x9fc00, 0x60400, BOOT_RESERVED};
    m->range[2] = (struct boot_range){MIB, size - MIB, BOOT_RAM};
    m->cfg =
        (struct boot_config){.range = m->range, .ranges = 3, .rsdp = RSDP, .cmdline = "console=ttyS0 quiet"};
}

static void machine_down(struct machine *m)
{
    mem_map_free(m->mem);
}

static int load(struct machine *m, const struct buf *image)
{
    m->cfg.kernel = (struct boot_file){.path = "kernel", .data = image->data, .len = image->len};
    return boot_load(&m->cfg, m->mem, &m->bsp, &m->info, &m->e);
}

static void load_ok(struct machine *m, const struct buf *image)
{
    if (load(m, image))
        fail_msg("%s", m->e.msg);
}

static uint64_t peek(struct machine *m, uint64_t gpa, unsigned n)
{
    uint64_t v = 0;
    assert_int_equal(mem_read(m->mem, gpa, &v, n), 0);
    return v;
}

static void assert_text(struct machine *m, uint64_t gpa, const char *text)
{
    char got[256] = "";
    assert_true(strlen(text) < sizeof got);
    assert_int_equal(mem_read(m->mem, gpa, got, strlen(text) + 1), 0);
    assert_string_equal(got, text);
}

/* ---- the CPU ---- */

static uint64_t gdt_entry(struct machine *m, uint16_t sel)
{
    assert_true(sel + 7u <= m->bsp.gdtr.limit);
    return peek(m, m->bsp.gdtr.base + sel, 8);
}

static void assert_flat32(struct machine *m, uint64_t entry)
{
    const struct x86_state *s = &m->bsp;
    assert_int_equal(s->rip, entry);
    assert_int_equal(s->cr0, CR0_PE | CR0_ET);
    assert_int_equal(s->efer, 0);
    assert_int_equal(s->rflags, 2);
    assert_int_equal(s->seg[X86_CS].limit, 0xffffffff);
    assert_true(s->seg[X86_CS].attr & X86_SEG_DB);
    assert_int_equal(gdt_entry(m, s->seg[X86_CS].sel), 0x00cf9b000000ffffull);
    assert_int_equal(gdt_entry(m, s->seg[X86_DS].sel), 0x00cf93000000ffffull);
    assert_int_equal(gdt_entry(m, s->tr.sel), 0x00008b0000000067ull);
}

/* Walk the page tables for a linear address below 4 GiB. */
static uint64_t walk(struct machine *m, uint64_t va)
{
    uint64_t e = m->bsp.cr3;
    for (int shift = 39; shift >= 21; shift -= 9) {
        e = peek(m, (e & ~0xfffull) + (va >> shift & 511) * 8, 8);
        assert_int_equal(e & 3, 3);
    }
    assert_true(e & 0x80);
    return (e & ~0x1fffffull) | (va & 0x1fffff);
}

static void assert_long64(struct machine *m, uint64_t entry)
{
    const struct x86_state *s = &m->bsp;
    assert_int_equal(s->rip, entry);
    assert_int_equal(s->cr0, CR0_PE | CR0_ET | CR0_PG);
    assert_int_equal(s->cr4, CR4_PAE);
    assert_int_equal(s->efer, EFER_LME | EFER_LMA);
    assert_int_equal(s->seg[X86_CS].sel, 0x10);
    assert_int_equal(s->seg[X86_DS].sel, 0x18);
    assert_int_equal(gdt_entry(m, 0x10), 0x00af9b000000ffffull);
    assert_int_equal(walk(m, 0), 0);
    assert_int_equal(walk(m, 0x12345678), 0x12345678);
    assert_int_equal(walk(m, 0xffffffff), 0xffffffff);
}

static void assert_zero_page(struct machine *m)
{
    uint64_t zp = m->bsp.gpr[X86_RSI];
    assert_int_equal(zp, m->info.info_gpa);
    assert_int_equal(peek(m, zp + 0x1fe, 2), 0xaa55);
    assert_int_equal(peek(m, zp + 0x202, 4), 0x53726448);
    assert_int_equal(peek(m, zp + 0x210, 1), 0xff);
    assert_int_equal(peek(m, zp + 0x070, 8), RSDP);
    assert_int_equal(peek(m, zp + 0x218, 4), m->info.initrd_base);
    assert_int_equal(peek(m, zp + 0x21c, 4), m->info.initrd_size);
    assert_text(m, peek(m, zp + 0x228, 4), m->cfg.cmdline);
    assert_int_equal(peek(m, zp + 0x1e8, 1), m->cfg.ranges);
    for (unsigned i = 0; i < m->cfg.ranges; i++) {
        assert_int_equal(peek(m, zp + 0x2d0 + i * 20, 8), m->range[i].base);
        assert_int_equal(peek(m, zp + 0x2d8 + i * 20, 8), m->range[i].size);
        assert_int_equal(peek(m, zp + 0x2e0 + i * 20, 4), m->range[i].type);
    }
}

/* ---- ELF ---- */

static const struct elf_spec vmlinux64 = {.is64 = true,
                                          .paddr = 0x1000000,
                                          .vaddr = 0xffffffff81000000,
                                          .entry = 0x1000040,
                                          .filesz = 0x3000,
                                          .memsz = 0x5000};

static void a_64_bit_vmlinux_is_entered_in_long_mode_with_a_zero_page(void **state)
{
    struct machine m;
    struct buf b;
    (void)state;
    machine_up(&m, 64 * MIB);
    assert_int_equal(mem_fill(m.mem, 0x1000000, 0xee, 0x6000), 0);
    image_elf(&b, &vmlinux64);
    load_ok(&m, &b);
    assert_int_equal(m.info.entry, BOOT_ENTRY_LINUX64);
    assert_long64(&m, 0x1000040);
    assert_zero_page(&m);
    assert_int_equal(peek(&m, 0x1000000, 4), 0x04030201);
    assert_int_equal(peek(&m, 0x1002fff, 1), 0);    /* the 0x3000th byte of the pattern */
    assert_int_equal(peek(&m, 0x1004ff8, 8), 0);    /* bss */
    assert_int_equal(peek(&m, 0x1005000, 1), 0xee); /* behind it */
    assert_int_equal(m.info.kernel_base, 0x1000000);
    assert_int_equal(m.info.kernel_end, 0x1005000);
    buf_free(&b);
    machine_down(&m);
}

static void a_virtual_entry_is_translated_to_its_physical_address(void **state)
{
    struct machine m;
    struct buf b;
    struct elf_spec s = vmlinux64;
    (void)state;
    s.entry = s.vaddr + 0x80;
    machine_up(&m, 64 * MIB);
    image_elf(&b, &s);
    load_ok(&m, &b);
    assert_long64(&m, 0x1000080);
    buf_free(&b);
    machine_down(&m);
}

static void a_32_bit_vmlinux_is_entered_in_protected_mode_with_a_zero_page(void **state)
{
    struct machine m;
    struct buf b;
    struct elf_spec s = vmlinux64;
    (void)state;
    s.is64 = false;
    machine_up(&m, 64 * MIB);
    image_elf(&b, &s);
    load_ok(&m, &b);
    assert_int_equal(m.info.entry, BOOT_ENTRY_LINUX32);
    assert_flat32(&m, 0x1000040);
    assert_int_equal(m.bsp.seg[X86_CS].sel, 0x10);
    assert_int_equal(m.bsp.gpr[X86_RBX] | m.bsp.gpr[X86_RBP] | m.bsp.gpr[X86_RDI], 0);
    assert_zero_page(&m);
    buf_free(&b);
    machine_down(&m);
}

static void an_elf_with_a_pvh_note_is_entered_with_start_info_and_one_module(void **state)
{
    static const char one[] = "abcde", two[] = "fgh";
    const struct boot_file initrd[] = {{.path = "one", .data = one, .len = 5},
                                       {.path = "two", .data = two, .len = 3}};
    struct machine m;
    struct buf b;
    struct elf_spec s = vmlinux64;
    (void)state;
    s.pvh = 0x1000100;
    machine_up(&m, 64 * MIB);
    m.cfg.initrd = initrd;
    m.cfg.initrds = 2;
    image_elf(&b, &s);
    load_ok(&m, &b);
    assert_int_equal(m.info.entry, BOOT_ENTRY_PVH);
    assert_flat32(&m, 0x1000100);
    uint64_t at = m.bsp.gpr[X86_RBX];
    assert_int_equal(peek(&m, at, 4), 0x336ec578);
    assert_int_equal(peek(&m, at + 4, 4), 1);
    assert_int_equal(peek(&m, at + 12, 4), 1);
    uint64_t list = peek(&m, at + 16, 8), map = peek(&m, at + 40, 8);
    assert_text(&m, peek(&m, at + 24, 8), m.cfg.cmdline);
    assert_int_equal(peek(&m, at + 32, 8), RSDP);
    assert_int_equal(peek(&m, at + 48, 4), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(peek(&m, map + i * 24, 8), m.range[i].base);
        assert_int_equal(peek(&m, map + i * 24 + 8, 8), m.range[i].size);
        assert_int_equal(peek(&m, map + i * 24 + 16, 4), m.range[i].type);
    }
    uint64_t initrd_at = peek(&m, list, 8);
    assert_int_equal(peek(&m, list + 8, 8), 11); /* the second begins on a multiple of 4 */
    assert_int_equal(peek(&m, initrd_at, 8), 0x0000006564636261);
    assert_int_equal(peek(&m, initrd_at + 8, 3), 0x686766);
    assert_int_equal(initrd_at, 64 * MIB - 4096);
    buf_free(&b);
    machine_down(&m);
}

/* ---- multiboot ---- */

static void assert_multiboot(struct machine *m, uint64_t entry)
{
    assert_int_equal(m->info.entry, BOOT_ENTRY_MULTIBOOT);
    assert_flat32(m, entry);
    assert_int_equal(m->bsp.gpr[X86_RAX], 0x2badb002);
    uint64_t at = m->bsp.gpr[X86_RBX];
    assert_int_equal(peek(m, at, 4), 0x24d);
    assert_int_equal(peek(m, at + 4, 4), 639);
    assert_int_equal(peek(m, at + 8, 4), 63 * 1024);
    assert_text(m, peek(m, at + 16, 4), "kernel console=ttyS0 quiet");
    assert_int_equal(peek(m, at + 44, 4), 3 * 24);
    uint64_t map = peek(m, at + 48, 4);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(peek(m, map + i * 24, 4), 20);
        assert_int_equal(peek(m, map + i * 24 + 4, 8), m->range[i].base);
        assert_int_equal(peek(m, map + i * 24 + 12, 8), m->range[i].size);
        assert_int_equal(peek(m, map + i * 24 + 20, 4), m->range[i].type);
    }
}

/* Vectors of the interrupt controllers lead to an end of interrupt there, all others to an IRET. */
static void assert_vectors(struct machine *m)
{
    static const uint64_t master = 0xcf5820e620b050, slave = 0x3eba0e620b050;

    for (uint64_t v = 0; v < 256; v++) {
        uint64_t far = peek(m, v * 4, 4), at = (far >> 16) * 16 + (far & 0xffff);

        if (v >= 8 && v < 16)
            assert_int_equal(peek(m, at, 8) & ((1ull << 56) - 1), master);
        else if (v >= 0x70 && v < 0x78)
            assert_int_equal(peek(m, at, 8) & ((1ull << 56) - 1), slave);
        else
            assert_int_equal(peek(m, at, 1), 0xcf);
    }
}

static void a_multiboot_elf_gets_its_modules_behind_it_with_their_arguments(void **state)
{
    static const char one[] = "NR_CPUS=1\n", two[] = "xy";
    const struct boot_file module[] = {{.path = "env", .data = one, .len = 10},
                                       {.path = "b", .data = two, .len = 2, .args = "p q"}};
    (void)state;
    for (int is64 = 0; is64 < 2; is64++) {
        struct machine m;
        struct buf b;
        machine_up(&m, 64 * MIB);
        m.cfg.initrd = module;
        m.cfg.initrds = 2;
        image_elf(&b, &(struct elf_spec){.is64 = is64,
                                         .paddr = 0x400000,
                                         .vaddr = 0x400000,
                                         .entry = 0x400010,
                                         .filesz = 0x100,
                                         .memsz = 0x1100,
                                         .multiboot = true});
        load_ok(&m, &b);
        assert_multiboot(&m, 0x400010);
        uint64_t at = m.bsp.gpr[X86_RBX], list = peek(&m, at + 24, 4);
        assert_int_equal(peek(&m, at + 20, 4), 2);
        assert_int_equal(peek(&m, list, 4), 0x402000);
        assert_int_equal(peek(&m, list + 4, 4), 0x40200a);
        assert_text(&m, peek(&m, list + 8, 4), "env");
        assert_int_equal(peek(&m, 0x402000, 8), 0x3d535550435f524e);
        assert_vectors(&m);
        buf_free(&b);
        machine_down(&m);
    }
}

static void a_multiboot_image_below_1_mib_keeps_its_memory(void **state)
{
    struct machine m;
    struct buf b;
    (void)state;
    machine_up(&m, 64 * MIB);
    image_elf(&b, &(struct elf_spec){.paddr = 0x4000,
                                     .vaddr = 0x4000,
                                     .entry = 0x4010,
                                     .filesz = 0x100,
                                     .memsz = 0x8a000,
                                     .multiboot = true});
    load_ok(&m, &b);
    assert_multiboot(&m, 0x4010);
    assert_int_equal(peek(&m, 0x4000, 4), 0x1badb002);
    for (uint64_t at = 0x4100; at < 0x8e000; at += 8)
        assert_int_equal(peek(&m, at, 8), 0);
    buf_free(&b);
    machine_down(&m);
}

static void a_flat_multiboot_image_loads_by_the_addresses_in_its_header(void **state)
{
    struct machine m;
    struct buf b;
    (void)state;
    machine_up(&m, 64 * MIB);
    image_multiboot_flat(&b, 0x200000, 64);
    assert_int_equal(mem_fill(m.mem, 0x200000, 0xee, 1024), 0);
    load_ok(&m, &b);
    assert_multiboot(&m, 0x200030);
    assert_int_equal(peek(&m, 0x2000f8, 8), 0xfffefdfcfbfaf9f8);
    assert_int_equal(peek(&m, 0x200100, 8), 0);
    assert_int_equal(peek(&m, 0x200140, 1), 0xee);
    buf_free(&b);
    machine_down(&m);
}

/* ---- bzImage ---- */

static void a_payload_of_every_packing_is_unpacked_and_entered_directly(void **state)
{
    static const char *const names[PACKS] = {NULL, "gzip", "bzip2", "lzma", "xz", "lz4", "zstd"};
    struct elf_spec s = vmlinux64;
    (void)state;
    s.filesz = 0x900000; /* more than one block of lz4 */
    s.memsz = 0xa00000;
    for (unsigned how = 0; how < PACKS; how++) {
        struct machine m;
        struct buf elf, packed, image;
        struct bz_spec z = image_bz_modern;
        machine_up(&m, 64 * MIB);
        image_elf(&elf, &s);
        image_pack(&packed, how, elf.data, elf.len);
        z.payload = &packed;
        image_bz(&image, &z);
        load_ok(&m, &image);
        assert_int_equal(m.info.entry, BOOT_ENTRY_LINUX64);
        if (names[how])
            assert_string_equal(m.info.packed, names[how]);
        else
            assert_null(m.info.packed);
        assert_string_equal(m.info.version, "6.6.6-test (somebody) #1");
        assert_long64(&m, 0x1000040);
        assert_zero_page(&m);
        assert_int_equal(peek(&m, 0x18ffff8, 8), 0x00fffefdfcfbfaf9);
        buf_free(&elf);
        buf_free(&packed);
        buf_free(&image);
        machine_down(&m);
    }
}

static void with_decompress_the_image_itself_is_entered_at_its_64_bit_entry(void **state)
{
    struct machine m;
    struct buf b;
    (void)state;
    machine_up(&m, 64 * MIB);
    m.cfg.decompress = true;
    image_bz(&b, &image_bz_modern);
    load_ok(&m, &b);
    assert_int_equal(m.info.entry, BOOT_ENTRY_LINUX64);
    assert_long64(&m, 0x1000200);
    assert_int_equal(peek(&m, 0x1000000, 4), 0x90909090);
    assert_int_equal(m.info.kernel_end, 0x1800000);
    assert_int_equal(peek(&m, m.bsp.gpr[X86_RSI] + 0x214, 4), 0x1000000);
    assert_zero_page(&m);
    buf_free(&b);
    machine_down(&m);
}

static void a_relocatable_image_moves_down_where_its_preferred_place_is_not_ram(void **state)
{
    struct machine m;
    struct buf b;
    (void)state;
    machine_up(&m, 16 * MIB);
    m.cfg.decompress = true;
    image_bz(&b, &image_bz_modern);
    load_ok(&m, &b);
    assert_long64(&m, 0x200200);
    buf_free(&b);
    machine_down(&m);
}

static void an_image_without_a_64_bit_entry_is_entered_at_its_32_bit_start(void **state)
{
    struct machine m;
    struct buf b;
    struct bz_spec z = image_bz_modern;
    (void)state;
    z.xloadflags = 0;
    z.relocatable = false;
    machine_up(&m, 64 * MIB);
    image_bz(&b, &z);
    load_ok(&m, &b);
    assert_int_equal(m.info.entry, BOOT_ENTRY_LINUX32);
    assert_flat32(&m, 0x100000);
    assert_zero_page(&m);
    buf_free(&b);
    machine_down(&m);
}

static void an_image_that_names_no_32_bit_start_begins_in_real_mode(void **state)
{
    struct machine m;
    struct buf b;
    (void)state;
    machine_up(&m, 64 * MIB);
    image_bz(&b, &(struct bz_spec){.version = 0x207, .initrd_max = 0xffffffff, .cmdline_size = 0x7ff});
    load_ok(&m, &b);
    assert_int_equal(m.info.entry, BOOT_ENTRY_LINUX16);
    assert_int_equal(m.info.entry_gpa, 0x90200);
    assert_int_equal(m.bsp.seg[X86_CS].sel, 0x9020);
    assert_int_equal(m.bsp.seg[X86_SS].base, 0x90000);
    assert_int_equal(m.bsp.cr0 & CR0_PE, 0);
    assert_int_equal(peek(&m, 0x90200, 2), 0x66eb);
    assert_int_equal(peek(&m, 0x90210, 1), 0xff);
    assert_int_equal(peek(&m, 0x90211, 1), 0x81);
    assert_text(&m, peek(&m, 0x90228, 4), m.cfg.cmdline);
    assert_int_equal(peek(&m, 0x100000, 4), 0x90909090);
    buf_free(&b);
    machine_down(&m);
}

static void the_initrd_ends_below_the_limit_of_the_header(void **state)
{
    static const char text[] = "initrd";
    const struct boot_file initrd = {.path = "i", .data = text, .len = 6};
    struct machine m;
    struct buf b;
    struct bz_spec z = image_bz_modern;
    (void)state;
    z.initrd_max = 0x1ffffff;
    machine_up(&m, 64 * MIB);
    m.cfg.initrd = &initrd;
    m.cfg.initrds = 1;
    image_bz(&b, &z);
    load_ok(&m, &b);
    assert_int_equal(m.info.initrd_base, 0x1fff000);
    assert_int_equal(m.info.initrd_size, 6);
    assert_text(&m, 0x1fff000, "initrd");
    assert_zero_page(&m);
    buf_free(&b);
    machine_down(&m);
}

/* ---- the real thing ---- */

static void installed_kernel(const char *path, bool decompress, enum boot_entry entry)
{
    struct machine m;
    machine_up(&m, 256 * MIB);
    m.cfg.kernel = (struct boot_file){.path = path};
    m.cfg.decompress = decompress;
    m.cfg.entry = entry;
    if (boot_load(&m.cfg, m.mem, &m.bsp, &m.info, &m.e))
        fail_msg("%s", m.e.msg);
    print_message("%s: %s, %s, %s, entry 0x%llx, 0x%llx-0x%llx\n", path, m.info.version,
                  m.info.packed ? m.info.packed : "not unpacked", boot_entry_name(m.info.entry),
                  (unsigned long long)m.info.entry_gpa, (unsigned long long)m.info.kernel_base,
                  (unsigned long long)m.info.kernel_end);
    assert_true(m.info.entry_gpa >= m.info.kernel_base && m.info.entry_gpa < m.info.kernel_end);
    assert_true(m.info.version[0] >= '2' && m.info.version[0] <= '9');
    assert_int_not_equal(peek(&m, m.info.entry_gpa, 8), 0);
    if (entry == BOOT_ENTRY_PVH) {
        assert_flat32(&m, m.info.entry_gpa);
        assert_int_equal(peek(&m, m.bsp.gpr[X86_RBX], 4), 0x336ec578);
    } else {
        assert_long64(&m, m.info.entry_gpa);
        assert_zero_page(&m);
    }
    assert_int_equal(!m.info.packed, decompress);
    machine_down(&m);
}

static void the_kernels_of_this_machine_load_unpacked_as_pvh_and_as_themselves(void **state)
{
    glob_t g;
    (void)state;
    if (glob("/boot/vmlinuz-*-amd64", 0, NULL, &g)) {
        print_message("no /boot/vmlinuz-*-amd64 here: install linux-image-cloud-amd64\n");
        skip();
    }
    for (size_t i = 0; i < g.gl_pathc; i++) {
        installed_kernel(g.gl_pathv[i], false, BOOT_ENTRY_AUTO);
        installed_kernel(g.gl_pathv[i], false, BOOT_ENTRY_PVH);
        installed_kernel(g.gl_pathv[i], true, BOOT_ENTRY_AUTO);
    }
    globfree(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_64_bit_vmlinux_is_entered_in_long_mode_with_a_zero_page),
        cmocka_unit_test(a_virtual_entry_is_translated_to_its_physical_address),
        cmocka_unit_test(a_32_bit_vmlinux_is_entered_in_protected_mode_with_a_zero_page),
        cmocka_unit_test(an_elf_with_a_pvh_note_is_entered_with_start_info_and_one_module),
        cmocka_unit_test(a_multiboot_elf_gets_its_modules_behind_it_with_their_arguments),
        cmocka_unit_test(a_multiboot_image_below_1_mib_keeps_its_memory),
        cmocka_unit_test(a_flat_multiboot_image_loads_by_the_addresses_in_its_header),
        cmocka_unit_test(a_payload_of_every_packing_is_unpacked_and_entered_directly),
        cmocka_unit_test(with_decompress_the_image_itself_is_entered_at_its_64_bit_entry),
        cmocka_unit_test(a_relocatable_image_moves_down_where_its_preferred_place_is_not_ram),
        cmocka_unit_test(an_image_without_a_64_bit_entry_is_entered_at_its_32_bit_start),
        cmocka_unit_test(an_image_that_names_no_32_bit_start_begins_in_real_mode),
        cmocka_unit_test(the_initrd_ends_below_the_limit_of_the_header),
        cmocka_unit_test(the_kernels_of_this_machine_load_unpacked_as_pvh_and_as_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
