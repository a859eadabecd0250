#include <errno.h>
#include "base/check.h"
#include "base/err.h"
#include "board/map.h"
#include "board/tables.h"

/* MultiProcessor Specification 1.4, chapter 4. */
enum { FLOATING_SIZE = 16, HEADER_SIZE = 44 };
enum { ENTRY_PROCESSOR, ENTRY_BUS, ENTRY_IO_APIC, ENTRY_INTERRUPT, ENTRY_LOCAL };
enum { BUS_PCI = 0, BUS_ISA = 1, IO_APIC_ID = 0, ALL_LOCAL_APICS = 0xff };
enum { KIND_INT, KIND_NMI, KIND_SMI, KIND_EXTINT };
enum { AS_BUS = 0x00, LEVEL_HIGH = 0x0d };
enum { PCI_SLOTS = 32, PCI_PINS = 4 };

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--)
        s = (uint8_t)(s + *p++);
    return s;
}

static void put_processor(struct buf *b, unsigned i)
{
    enum { ENABLED = 1, BOOT = 2, SIGNATURE = 0x600, FPU_APIC = 0x201 };
    const uint8_t entry[] = {ENTRY_PROCESSOR, (uint8_t)i, 0x14, (uint8_t)(ENABLED | (i ? 0 : BOOT))};
    buf_put(b, entry, sizeof(entry));
    buf_u32(b, SIGNATURE);
    buf_u32(b, FPU_APIC);
    buf_zero(b, 8);
}

static void put_bus(struct buf *b, uint8_t id, const char *type)
{
    buf_u8(b, ENTRY_BUS);
    buf_u8(b, id);
    buf_put(b, type, 6);
}

static void put_interrupt(struct buf *b, uint8_t entry, uint8_t kind, uint16_t flags, uint8_t bus,
                          uint8_t irq, uint8_t apic, uint8_t pin)
{
    buf_u8(b, entry);
    buf_u8(b, kind);
    buf_u16(b, flags);
    buf_u8(b, bus);
    buf_u8(b, irq);
    buf_u8(b, apic);
    buf_u8(b, pin);
}

/* Entries in order of their type, as the specification wants them. Returns their number. */
static unsigned put_entries(const struct table_facts *f, struct buf *b)
{
    unsigned n = 0;
    for (unsigned i = 0; i < f->cpus; i++, n++)
        put_processor(b, i);
    if (f->pci) {
        put_bus(b, BUS_PCI, "PCI   ");
        n++;
    }
    put_bus(b, BUS_ISA, "ISA   ");
    const uint8_t io[] = {ENTRY_IO_APIC, IO_APIC_ID, 0x20, 1};
    buf_put(b, io, sizeof(io));
    buf_u32(b, (uint32_t)MAP_IOAPIC_BASE);
    n += 2;
    for (uint8_t irq = 0; irq < ISA_IRQS; irq++) {
        if (irq == IRQ_CASCADE)
            continue;
        put_interrupt(b, ENTRY_INTERRUPT, KIND_INT, irq == IRQ_GED ? LEVEL_HIGH : AS_BUS, BUS_ISA, irq,
                      IO_APIC_ID, irq == IRQ_TIMER ? GSI_TIMER : irq);
        n++;
    }
    for (unsigned slot = 0; f->pci && slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < PCI_PINS; pin++, n++)
            put_interrupt(b, ENTRY_INTERRUPT, KIND_INT, AS_BUS, BUS_PCI, (uint8_t)(slot << 2 | pin),
                          IO_APIC_ID, (uint8_t)(GSI_PCI_INTA + ((slot + pin) & 3)));
    }
    /* ISA has no such lines; Linux takes them as it takes the others, and virtio_mmio.device= can name them.
     */
    for (unsigned i = 0; !f->pci && i < GSI_VIRTIO_MMIO_COUNT; i++, n++)
        put_interrupt(b, ENTRY_INTERRUPT, KIND_INT, LEVEL_HIGH, BUS_ISA, (uint8_t)(GSI_VIRTIO_MMIO + i),
                      IO_APIC_ID, (uint8_t)(GSI_VIRTIO_MMIO + i));
    put_interrupt(b, ENTRY_LOCAL, KIND_EXTINT, AS_BUS, BUS_ISA, 0, 0, 0);
    put_interrupt(b, ENTRY_LOCAL, KIND_NMI, AS_BUS, BUS_ISA, 0, ALL_LOCAL_APICS, 1);
    return n + 2;
}

int mptable_build(const struct table_facts *f, uint64_t base, uint64_t max, struct buf *out, struct err *e)
{
    CHECK(out->len == 0);
    buf_put(out, "_MP_", 4);
    buf_u32(out, (uint32_t)(base + FLOATING_SIZE));
    buf_u8(out, 1);   /* paragraphs */
    buf_u8(out, 4);   /* 1.4 */
    buf_zero(out, 6); /* checksum; a table is present; no IMCR: virtual wire mode */

    buf_put(out, "PCMP", 4);
    buf_zero(out, 2); /* length */
    buf_u8(out, 4);
    buf_u8(out, 0); /* checksum */
    buf_put(out, "LIEGE   ", 8);
    buf_put(out, "MICROVM 1   ", 12);
    buf_zero(out, 6); /* no OEM table */
    buf_zero(out, 2); /* entries */
    buf_u32(out, (uint32_t)MAP_LAPIC_BASE);
    buf_zero(out, 4); /* no extended table */
    unsigned n = put_entries(f, out);
    if (out->failed)
        return err_set(e, ENOMEM, "mptable: out of memory");
    if (out->len > max)
        return err_set(e, ENOSPC, "mptable: %zu bytes do not fit in %llu", out->len, (unsigned long long)max);

    uint8_t *t = out->data + FLOATING_SIZE;
    size_t len = out->len - FLOATING_SIZE;
    t[4] = (uint8_t)len;
    t[5] = (uint8_t)(len >> 8);
    t[34] = (uint8_t)n;
    t[35] = (uint8_t)(n >> 8);
    t[7] = (uint8_t)-sum(t, len);
    out->data[10] = (uint8_t)-sum(out->data, FLOATING_SIZE);
    return 0;
}
