/*
 * ioapic: an Intel 82093AA I/O APIC (version 0x20, that is with the EOI register), 24 inputs, memory-mapped.
 *
 * An input wire carries "asserted" or not, whatever voltage that would be: the polarity bit is kept for the
 * guest and not applied. Interrupts leave as messages. A level-triggered entry sends once, sets Remote IRR,
 * and may send again after an EOI for its vector, by the local APIC's broadcast (ioapic_eoi) or the EOI
 * register. Any thread; has its own lock, of rank LOCK_IRQ, under which the sink is called.
 */
#ifndef DEVICE_IOAPIC_H
#define DEVICE_IOAPIC_H
#include <stdint.h>
#include "device/core/device.h"
#include "guest/irq.h"
struct err;
struct ioapic;
struct mem_map;

enum { IOAPIC_INPUTS = 24 };

struct ioapic_config {
    struct mem_map *mem;
    uint64_t base;
    uint8_t id;
    struct msi_sink msi;
};

struct ioapic *ioapic_new(const struct ioapic_config *cfg, struct err *e);
struct device *ioapic_device(struct ioapic *a);
struct irq_line ioapic_input(struct ioapic *a, unsigned pin);
void ioapic_eoi(struct ioapic *a, uint8_t vector);

/* Send once more what level-triggered inputs ask for, to processors that have just been connected. */
void ioapic_refresh(struct ioapic *a);

#endif
