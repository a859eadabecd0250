/* ACPI and MP tables: checksums, pointers, and Intel's compiler as the judge of the AML. */
#include "bench.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "board/aml.h"
#include "board/tables.h"

#define BASE 0xe0000ull

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--)
        s = (uint8_t)(s + *p++);
    return s;
}

static uint32_t u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static uint64_t u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static const struct table_facts pci_facts = {
    .cpus = 4, .pci = true, .keyboard = true, .mmio64_base = MAP_PCI_MMIO64_MIN};
static const struct table_facts mmio_facts = {.cpus = 1, .mmio_slots = 9};
static const struct table_facts largest = {.cpus = 254,
                                           .pci = true,
                                           .mmio_slots = MAP_VIRTIO_SLOTS,
                                           .keyboard = true,
                                           .mmio64_base = MAP_PCI_MMIO64_MIN};

/* Table number i of the XSDT. */
static const uint8_t *table(const struct buf *b, unsigned i, const char *signature)
{
    const uint8_t *xsdt = b->data + (u64(b->data + 24) - BASE);
    assert_true(36 + 8 * i < u32(xsdt + 4));
    const uint8_t *t = b->data + (u64(xsdt + 36 + 8 * i) - BASE);
    assert_memory_equal(t, signature, 4);
    return t;
}

static void every_table_is_reached_from_the_rsdp_and_sums_to_zero(void **state)
{
    struct buf b = {0};
    (void)state;
    assert_int_equal(acpi_build(&pci_facts, BASE, 0x10000, &b, NULL), 0);
    assert_memory_equal(b.data, "RSD PTR ", 8);
    assert_int_equal(sum(b.data, 20), 0);
    assert_int_equal(sum(b.data, 36), 0);
    const uint8_t *rsdt = b.data + (u32(b.data + 16) - BASE), *xsdt = b.data + (u64(b.data + 24) - BASE);
    assert_int_equal(sum(rsdt, u32(rsdt + 4)), 0);
    assert_int_equal(sum(xsdt, u32(xsdt + 4)), 0);
    assert_int_equal(u32(xsdt + 4), 36 + 3 * 8);
    const char *names[] = {"FACP", "APIC", "MCFG"};
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *t = table(&b, i, names[i]);
        assert_int_equal(sum(t, u32(t + 4)), 0);
        assert_int_equal(u32(rsdt + 36 + 4 * i), (uint64_t)(t - b.data) + BASE);
    }
    const uint8_t *fadt = table(&b, 0, "FACP"), *dsdt = b.data + (u64(fadt + 140) - BASE);
    assert_int_equal(u32(fadt + 40), u64(fadt + 140));
    assert_memory_equal(dsdt, "DSDT", 4);
    assert_int_equal(sum(dsdt, u32(dsdt + 4)), 0);
    buf_free(&b);
}

static void the_fadt_says_hardware_reduced_with_sleep_and_reset_ports(void **state)
{
    struct buf b = {0};
    (void)state;
    assert_int_equal(acpi_build(&mmio_facts, BASE, 0x10000, &b, NULL), 0);
    const uint8_t *f = table(&b, 0, "FACP");
    assert_int_equal(u32(f + 4), 276);
    assert_int_equal(u32(f + 112) & (1u << 20 | 1u << 10), 1u << 20 | 1u << 10);
    assert_int_equal(f[109] & 2, 0); /* no 8042 where no keyboard is: nothing to probe */
    assert_int_equal(u64(f + 116 + 4), 0x602);
    assert_int_equal(f[128], 1);
    assert_int_equal(u64(f + 244 + 4), 0x600);
    assert_int_equal(u64(f + 256 + 4), 0x601);
    assert_int_equal(f[108], 0x32);
    buf_free(&b);
}

static void the_madt_has_each_cpu_the_ioapic_and_the_overrides(void **state)
{
    struct buf b = {0};
    unsigned cpus = 0, ioapics = 0, overrides = 0, nmis = 0;
    (void)state;
    assert_int_equal(acpi_build(&pci_facts, BASE, 0x10000, &b, NULL), 0);
    const uint8_t *m = table(&b, 1, "APIC"), *end = m + u32(m + 4);
    for (const uint8_t *p = m + 44; p < end; p += p[1]) {
        assert_true(p[1] >= 6);
        cpus += p[0] == 0;
        ioapics += p[0] == 1 && u32(p + 4) == MAP_IOAPIC_BASE;
        overrides += p[0] == 2;
        nmis += p[0] == 4;
    }
    assert_int_equal(cpus, 4);
    assert_int_equal(ioapics, 1);
    assert_int_equal(overrides, 2);
    assert_int_equal(nmis, 1);
    buf_free(&b);
}

static void the_largest_machine_fits_and_a_small_place_is_refused(void **state)
{
    struct buf b = {0};
    struct err e = {""};
    (void)state;
    assert_int_equal(acpi_build(&largest, BASE, MAP_ACPI_SIZE, &b, &e), 0);
    buf_free(&b);
    assert_int_equal(mptable_build(&largest, MAP_MPTABLE_BASE, MAP_MPTABLE_SIZE, &b, &e), 0);
    buf_free(&b);
    assert_int_equal(acpi_build(&largest, BASE, 100, &b, &e), -ENOSPC);
    assert_true(strlen(e.msg) > 0);
    buf_free(&b);
}

static void the_mp_table_counts_its_entries(void **state)
{
    static const uint8_t size[] = {20, 8, 8, 8, 8};
    struct buf b = {0};
    (void)state;
    assert_int_equal(mptable_build(&pci_facts, MAP_MPTABLE_BASE, MAP_MPTABLE_SIZE, &b, NULL), 0);
    assert_memory_equal(b.data, "_MP_", 4);
    assert_int_equal(sum(b.data, 16), 0);
    const uint8_t *t = b.data + (u32(b.data + 4) - MAP_MPTABLE_BASE);
    unsigned len = t[4] | t[5] << 8, entries = t[34] | t[35] << 8, found = 0, pos = 44;
    assert_memory_equal(t, "PCMP", 4);
    assert_int_equal(sum(t, len), 0);
    for (; pos < len; found++) {
        assert_true(t[pos] < 5);
        pos += size[t[pos]];
    }
    assert_int_equal(pos, len);
    assert_int_equal(found, entries);
    buf_free(&b);
}

static void package_lengths_take_one_to_three_bytes_as_needed(void **state)
{
    (void)state;
    const size_t content[] = {58, 59, 4089, 4090};
    const size_t bytes[] = {1, 2, 2,
                            3}; /* 63 is the last for one byte, 4095 for two; a name's four count too */
    for (unsigned i = 0; i < 4; i++) {
        struct buf b = {0};
        size_t mark = aml_scope(&b, "ABC");
        buf_zero(&b, content[i]);
        aml_end(&b, mark);
        assert_int_equal(b.len, 1 + bytes[i] + 4 + content[i]);
        assert_memory_equal(b.data + 1 + bytes[i], "ABC_", 4);
        size_t len = bytes[i] == 1 ? b.data[1] : (size_t)(b.data[1] & 15) | (size_t)b.data[2] << 4;
        if (bytes[i] == 3)
            len |= (size_t)b.data[3] << 12;
        assert_int_equal(b.data[1] >> 6, bytes[i] - 1);
        assert_int_equal(len, b.len - 1);
        buf_free(&b);
    }
}

/* ---- iasl ---- */

static void write_file(const char *path, const uint8_t *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Disassemble and compile back: no errors, and the same bytes again where `same`. */
static void judge(const char *dir, const char *name, const uint8_t *t, bool same)
{
    char path[128], cmd[512], out[4096] = "";
    snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
    write_file(path, t, u32(t + 4));
    snprintf(cmd, sizeof(cmd),
             "cd %s && iasl -d %s.aml >%s.log 2>&1 && iasl -oa -p %s.out %s.dsl >>%s.log 2>&1", dir, name,
             name, name, name, name);
    if (system(cmd)) {
        snprintf(cmd, sizeof(cmd), "grep -iE 'error|warning' %s/%s.log | head -20", dir, name);
        FILE *p = popen(cmd, "r");
        size_t n = p ? fread(out, 1, sizeof(out) - 1, p) : 0;
        out[n] = 0;
        if (p)
            pclose(p);
        fail_msg("iasl does not take our %s:\n%s", name, out);
    }
    if (!same)
        return;
    uint8_t back[65536];
    snprintf(path, sizeof(path), "%s/%s.out.aml", dir, name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
        f = fopen(path, "rb");
    }
    assert_non_null(f);
    size_t n = fread(back, 1, sizeof(back), f);
    fclose(f);
    assert_int_equal(n, u32(t + 4));
    assert_memory_equal(back + 36, t + 36, n - 36);
}

static void intels_compiler_takes_every_table_apart_and_together_again(void **state)
{
    const struct table_facts *facts[] = {&pci_facts, &mmio_facts, &largest};
    char dir[] = "/tmp/liege-acpi-XXXXXX", cmd[64];
    (void)state;
    if (system("command -v iasl >/dev/null 2>&1")) {
        print_message("iasl is not installed (package acpica-tools)\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    for (unsigned i = 0; i < 3; i++) {
        struct buf b = {0};
        assert_int_equal(acpi_build(facts[i], BASE, 0x10000, &b, NULL), 0);
        const uint8_t *fadt = table(&b, 0, "FACP");
        judge(dir, "dsdt", b.data + (u64(fadt + 140) - BASE), true);
        judge(dir, "facp", fadt, false);
        judge(dir, "apic", table(&b, 1, "APIC"), false);
        if (facts[i]->pci)
            judge(dir, "mcfg", table(&b, 2, "MCFG"), false);
        buf_free(&b);
    }
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    assert_int_equal(system(cmd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_table_is_reached_from_the_rsdp_and_sums_to_zero),
        cmocka_unit_test(the_fadt_says_hardware_reduced_with_sleep_and_reset_ports),
        cmocka_unit_test(the_madt_has_each_cpu_the_ioapic_and_the_overrides),
        cmocka_unit_test(the_largest_machine_fits_and_a_small_place_is_refused),
        cmocka_unit_test(the_mp_table_counts_its_entries),
        cmocka_unit_test(package_lengths_take_one_to_three_bytes_as_needed),
        cmocka_unit_test(intels_compiler_takes_every_table_apart_and_together_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
