#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "board/aml.h"
#include "board/map.h"
#include "board/tables.h"
#include "device/pc/acpi_pm.h"
#include "device/pc/rtc.h"

enum { HEADER_SIZE = 36, LENGTH_AT = 4, CHECKSUM_AT = 9, RSDP_SIZE = 36, FADT_SIZE = 276, MAX_TABLES = 4 };
enum { SLOTS = 32, PINS = 4 };

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--)
        s = (uint8_t)(s + *p++);
    return s;
}

/* ---- one table (ACPI 6.4 section 5.2.6) ---- */

static size_t table_begin(struct buf *b, const char *signature, uint8_t revision)
{
    size_t at = b->len;
    buf_put(b, signature, 4);
    buf_u32(b, 0);
    buf_u8(b, revision);
    buf_u8(b, 0);
    buf_put(b, "LIEGE ", 6);
    buf_put(b, "MICROVM1", 8);
    buf_u32(b, 1);
    buf_put(b, "LIEG", 4);
    buf_u32(b, 1);
    return at;
}

static void table_end(struct buf *b, size_t at)
{
    if (b->failed)
        return;
    buf_set_u32(b, at + LENGTH_AT, (uint32_t)(b->len - at));
    b->data[at + CHECKSUM_AT] = 0;
    b->data[at + CHECKSUM_AT] = (uint8_t)-sum(b->data + at, b->len - at);
}

/* Generic address of one byte-wide port (section 5.2.3.2). */
static void put_port(struct buf *b, uint16_t port)
{
    buf_u8(b, 1); /* system I/O */
    buf_u8(b, 8); /* bits */
    buf_u8(b, 0); /* offset */
    buf_u8(b, 1); /* byte access */
    buf_u64(b, port);
}

/* ---- DSDT ---- */

static void host_bridge(const struct table_facts *f, struct buf *b)
{
    struct aml_resources r;
    size_t dev = aml_device(b, "PCI0");
    aml_name_eisa_id(b, "_HID", "PNP0A08");
    aml_name_eisa_id(b, "_CID", "PNP0A03");
    aml_name_integer(b, "_UID", 0);
    aml_name_integer(b, "_SEG", 0);
    aml_name_integer(b, "_BBN", 0);
    aml_name_integer(b, "_CCA", 1);
    aml_res_begin(&r);
    aml_res_bus_window(&r, 0, 0);
    aml_res_io(&r, PORT_PCI_CONFIG, 8);
    aml_res_io_window(&r, PORT_PCI_IO_BASE, PORT_PCI_IO_BASE + PORT_PCI_IO_SIZE - 1);
    aml_res_memory_window32(&r, MAP_PCI_MMIO32_BASE,
                            (uint32_t)(MAP_PCI_MMIO32_BASE + MAP_PCI_MMIO32_SIZE - 1));
    aml_res_memory_window64(&r, f->mmio64_base, f->mmio64_base + MAP_PCI_MMIO64_SIZE - 1);
    aml_res_end(b, "_CRS", &r);
    /* INTA..INTD of slot s are swizzled over four inputs. */
    aml_name(b, "_PRT");
    size_t prt = aml_package(b, SLOTS * PINS);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        for (unsigned pin = 0; pin < PINS; pin++) {
            size_t entry = aml_package(b, 4);
            aml_integer(b, slot << 16 | 0xffff);
            aml_integer(b, pin);
            aml_integer(b, 0);
            aml_integer(b, GSI_PCI_INTA + ((slot + pin) & 3));
            aml_end(b, entry);
        }
    }
    aml_end(b, prt);
    aml_end(b, dev);

    /* ECAM must be somebody's, or Linux does not use it. */
    dev = aml_device(b, "MRES");
    aml_name_eisa_id(b, "_HID", "PNP0C02");
    aml_name_integer(b, "_UID", 0);
    aml_res_begin(&r);
    aml_res_memory32(&r, MAP_PCI_ECAM_BASE, MAP_PCI_ECAM_SIZE);
    aml_res_end(b, "_CRS", &r);
    aml_end(b, dev);
}

/* A device of one or two ports and one edge interrupt. */
static void isa_device(struct buf *b, const char *name, const char *hid, uint16_t port, uint8_t ports,
                       uint16_t port2, uint32_t irq)
{
    struct aml_resources r;
    size_t dev = aml_device(b, name);
    aml_name_eisa_id(b, "_HID", hid);
    aml_name_integer(b, "_UID", 0);
    aml_res_begin(&r);
    aml_res_io(&r, port, ports);
    if (port2)
        aml_res_io(&r, port2, ports);
    aml_res_irq(&r, irq, false, false);
    aml_res_end(b, "_CRS", &r);
    aml_end(b, dev);
}

/* Sections 5.6.9 (generic event device) and 4.8.2.2.2 (control method power button). */
static void power_button(struct buf *b)
{
    struct aml_resources r;
    size_t dev = aml_device(b, "PWRB");
    aml_name_eisa_id(b, "_HID", "PNP0C0C");
    aml_name_integer(b, "_UID", 0);
    aml_end(b, dev);

    dev = aml_device(b, "GED0");
    aml_name_string(b, "_HID", "ACPI0013");
    aml_name_integer(b, "_UID", 0);
    aml_res_begin(&r);
    aml_res_irq(&r, IRQ_GED, true, false);
    aml_res_end(b, "_CRS", &r);
    aml_io_region(b, "EVTS", PORT_ACPI + ACPI_PM_EVENTS, 1);
    aml_io_field_byte(b, "EVTS", "EVT0");
    size_t method = aml_method(b, "_EVT", 1, true);
    aml_read_local0(b, "EVT0"); /* reading clears */
    aml_notify_if_local0(b, ACPI_PM_EVENT_POWER, "PWRB", 0x80);
    aml_end(b, method);
    aml_end(b, dev);
}

/* "LNRO0005" is the id that Linux and QEMU have for virtio over MMIO. */
static void virtio_mmio(struct buf *b, unsigned slot)
{
    struct aml_resources r;
    char name[5];
    snprintf(name, sizeof(name), "VR%02X", slot & 0xffu);
    size_t dev = aml_device(b, name);
    aml_name_string(b, "_HID", "LNRO0005");
    aml_name_integer(b, "_UID", slot);
    aml_name_integer(b, "_CCA", 1);
    aml_res_begin(&r);
    aml_res_memory32(&r, (uint32_t)(MAP_VIRTIO_MMIO_BASE + slot * MAP_VIRTIO_MMIO_STEP),
                     MAP_VIRTIO_MMIO_SIZE);
    aml_res_irq(&r, GSI_VIRTIO_MMIO + slot % GSI_VIRTIO_MMIO_COUNT, true, true);
    aml_res_end(b, "_CRS", &r);
    aml_end(b, dev);
}

static void processor(struct buf *b, unsigned i)
{
    char name[5];
    snprintf(name, sizeof(name), "C%03X", i & 0xfffu);
    size_t dev = aml_device(b, name);
    aml_name_string(b, "_HID", "ACPI0007");
    aml_name_integer(b, "_UID", i);
    aml_end(b, dev);
}

void acpi_dsdt(const struct table_facts *f, struct buf *b)
{
    struct aml_resources r;
    size_t table = table_begin(b, "DSDT", 2);
    size_t sb = aml_scope(b, "\\_SB_");
    if (f->pci)
        host_bridge(f, b);
    for (unsigned i = 0; i < f->mmio_slots; i++)
        virtio_mmio(b, i);
    isa_device(b, "COM1", "PNP0501", PORT_COM1, 8, 0, IRQ_COM1);
    isa_device(b, "RTC0", "PNP0B00", PORT_RTC, 2, 0, IRQ_RTC);
    if (f->keyboard)
        isa_device(b, "KBD0", "PNP0303", PORT_KBD_DATA, 1, PORT_KBD_COMMAND, IRQ_KEYBOARD);
    power_button(b);
    size_t dev = aml_device(b, "PVP0");
    aml_name_string(b, "_HID", "QEMU0001");
    aml_res_begin(&r);
    aml_res_io(&r, PORT_PVPANIC, 1);
    aml_res_end(b, "_CRS", &r);
    aml_end(b, dev);
    for (unsigned i = 0; i < f->cpus; i++)
        processor(b, i);
    aml_end(b, sb);
    /* The type that acpi_pm takes as soft-off. */
    aml_name(b, "\\_S5_");
    size_t s5 = aml_package(b, 4);
    aml_integer(b, ACPI_PM_S5_TYPE);
    for (unsigned i = 0; i < 3; i++)
        aml_integer(b, 0);
    aml_end(b, s5);
    table_end(b, table);
}

/* ---- the other tables ---- */

/* Sections 5.2.9 and, for what a hardware-reduced platform leaves out, 4.1. Linux leaves resetting such a one
 * to firmware, the reset register notwithstanding: README.md. */
static void fadt(const struct table_facts *f, uint64_t dsdt, struct buf *b)
{
    enum { LEGACY_DEVICES = 1, HAS_8042 = 2, NO_VGA = 4 };
    enum {
        WBINVD = 1 << 0,
        PROC_C1 = 1 << 2,
        PWR_BUTTON = 1 << 4,
        SLP_BUTTON = 1 << 5,
        FIX_RTC = 1 << 6,
        RESET_REG = 1 << 10,
        HW_REDUCED = 1 << 20
    };
    size_t at = table_begin(b, "FACP", 6);
    buf_u32(b, 0); /* no FACS */
    buf_u32(b, (uint32_t)dsdt);
    buf_zero(b, 96 - 44);
    buf_u16(b, 101); /* C2 and C3 by latencies that say: not supported */
    buf_u16(b, 1001);
    buf_zero(b, 108 - 100);
    buf_u8(b, RTC_CENTURY);
    buf_u16(b, (uint16_t)(LEGACY_DEVICES | NO_VGA | (f->keyboard ? HAS_8042 : 0)));
    buf_u8(b, 0);
    buf_u32(b, WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | FIX_RTC | RESET_REG | HW_REDUCED);
    put_port(b, PORT_ACPI + ACPI_PM_RESET);
    buf_u8(b, ACPI_PM_RESET_VALUE);
    buf_u16(b, 0); /* ARM */
    buf_u8(b, 4);  /* minor version: 6.4 */
    buf_u64(b, 0);
    buf_u64(b, dsdt);
    buf_zero(b, 244 - 148);
    put_port(b, PORT_ACPI + ACPI_PM_SLEEP_CONTROL);
    put_port(b, PORT_ACPI + ACPI_PM_SLEEP_STATUS);
    buf_put(b, "LIEGE\0\0\0", 8);
    CHECK(b->failed || b->len - at == FADT_SIZE);
    table_end(b, at);
}

/* Section 5.2.12. */
static void madt(const struct table_facts *f, struct buf *b)
{
    enum {
        PCAT_COMPAT = 1,
        LOCAL_APIC = 0,
        IO_APIC = 1,
        OVERRIDE = 2,
        LOCAL_NMI = 4,
        ENABLED = 1,
        LEVEL_HIGH = 0x0d
    };
    size_t at = table_begin(b, "APIC", 5);
    buf_u32(b, (uint32_t)MAP_LAPIC_BASE);
    buf_u32(b, PCAT_COMPAT);
    for (unsigned i = 0; i < f->cpus; i++) {
        const uint8_t entry[] = {LOCAL_APIC, 8, (uint8_t)i, (uint8_t)i, ENABLED, 0, 0, 0};
        buf_put(b, entry, sizeof(entry));
    }
    const uint8_t io[] = {IO_APIC, 12, 0, 0};
    buf_put(b, io, sizeof(io));
    buf_u32(b, (uint32_t)MAP_IOAPIC_BASE);
    buf_u32(b, 0); /* first GSI */
    const uint8_t timer[] = {OVERRIDE, 10, 0, IRQ_TIMER, GSI_TIMER, 0, 0, 0, 0, 0};
    buf_put(b, timer, sizeof(timer));
    const uint8_t ged[] = {OVERRIDE, 10, 0, IRQ_GED, IRQ_GED, 0, 0, 0, LEVEL_HIGH, 0};
    buf_put(b, ged, sizeof(ged));
    const uint8_t nmi[] = {LOCAL_NMI, 6, 0xff, 0, 0, 1}; /* LINT1 of every processor */
    buf_put(b, nmi, sizeof(nmi));
    table_end(b, at);
}

/* PCI Firmware Specification 3.2, section 4.1.2. */
static void mcfg(struct buf *b)
{
    size_t at = table_begin(b, "MCFG", 1);
    buf_zero(b, 8);
    buf_u64(b, MAP_PCI_ECAM_BASE);
    buf_u16(b, 0);
    buf_u8(b, 0);
    buf_u8(b, (uint8_t)(MAP_PCI_ECAM_SIZE / 0x100000 - 1)); /* last bus */
    buf_u32(b, 0);
    table_end(b, at);
}

static uint64_t align16(struct buf *b, uint64_t base)
{
    buf_zero(b, align_up(b->len, 16) - b->len);
    return base + b->len;
}

/* Section 5.2.5.3. */
static void fill_rsdp(struct buf *b, uint64_t rsdt, uint64_t xsdt)
{
    struct buf r = {0};
    buf_put(&r, "RSD PTR ", 8);
    buf_u8(&r, 0);
    buf_put(&r, "LIEGE ", 6);
    buf_u8(&r, 2);
    buf_u32(&r, (uint32_t)rsdt);
    buf_u32(&r, RSDP_SIZE);
    buf_u64(&r, xsdt);
    buf_zero(&r, 4);
    if (r.failed) {
        b->failed = true;
    } else if (!b->failed) {
        r.data[8] = (uint8_t)-sum(r.data, 20);
        r.data[32] = (uint8_t)-sum(r.data, RSDP_SIZE);
        memcpy(b->data, r.data, RSDP_SIZE);
    }
    buf_free(&r);
}

int acpi_build(const struct table_facts *f, uint64_t base, uint64_t max, struct buf *out, struct err *e)
{
    uint64_t table[MAX_TABLES];
    unsigned n = 0;
    CHECK(out->len == 0);
    buf_zero(out, RSDP_SIZE);
    uint64_t dsdt = align16(out, base);
    acpi_dsdt(f, out);
    table[n++] = align16(out, base);
    fadt(f, dsdt, out);
    table[n++] = align16(out, base);
    madt(f, out);
    if (f->pci) {
        table[n++] = align16(out, base);
        mcfg(out);
    }
    uint64_t rsdt = align16(out, base);
    size_t at = table_begin(out, "RSDT", 1);
    for (unsigned i = 0; i < n; i++)
        buf_u32(out, (uint32_t)table[i]);
    table_end(out, at);
    uint64_t xsdt = align16(out, base);
    at = table_begin(out, "XSDT", 1);
    for (unsigned i = 0; i < n; i++)
        buf_u64(out, table[i]);
    table_end(out, at);
    fill_rsdp(out, rsdt, xsdt);
    if (out->failed)
        return err_set(e, ENOMEM, "acpi: out of memory");
    if (out->len > max)
        return err_set(e, ENOSPC, "acpi: tables of %zu bytes do not fit in %llu", out->len,
                       (unsigned long long)max);
    return 0;
}
