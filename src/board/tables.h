/*
 * tables: the platform as guests read it: ACPI (acpi.c) and the older MP table (mptable.c). Pure functions of
 * the facts below; the addresses are board/map.h's.
 */
#ifndef BOARD_TABLES_H
#define BOARD_TABLES_H
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
struct err;

struct table_facts {
    unsigned cpus;
    bool pci;            /* a PCI host bridge; else virtio over MMIO */
    unsigned mmio_slots; /* virtio-mmio devices, from slot 0 */
    bool keyboard;
    uint64_t mmio64_base; /* of the 64-bit PCI window */
};

/*
 * RSDP, RSDT, XSDT, FADT, MADT, MCFG (with PCI) and DSDT, laid out for address `base`, at most `max` bytes;
 * the RSDP comes first. Hardware-reduced ACPI 6.4: no SCI, no PM timer, no FACS; the power button is a
 * generic event device's event. -ENOSPC, -ENOMEM.
 */
int acpi_build(const struct table_facts *f, uint64_t base, uint64_t max, struct buf *out, struct err *e);

/* The DSDT alone, header included: for tests. */
void acpi_dsdt(const struct table_facts *f, struct buf *out);

/* Floating pointer and configuration table (MultiProcessor Specification 1.4) for address `base`: for
 * kernels without ACPI. */
int mptable_build(const struct table_facts *f, uint64_t base, uint64_t max, struct buf *out, struct err *e);

#endif
