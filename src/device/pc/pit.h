/*
 * pit: an Intel 8254 programmable interval timer, and system control port B (0x61) that gates its third
 * counter.
 *
 * Counts 1.193182 MHz of guest time. Counter 0's output is IRQ0; counters 0 and 1 are always gated on.
 * Nothing ticks: counts and outputs are computed from the clock when read; one timer wakes for counter 0's
 * next edge. Edges that a late wake-up has missed become one.
 */
#ifndef DEVICE_PIT_H
#define DEVICE_PIT_H
#include <stdint.h>
#include "device/core/device.h"
#include "guest/irq.h"
struct bus;
struct clock;
struct err;
struct loop;
struct pit;

enum { PIT_HZ = 1193182 };

struct pit_config {
    struct bus *bus;
    uint16_t port;         /* four ports */
    uint16_t control_port; /* 0x61 */
    struct irq_line irq;
    struct clock *clock;
    struct loop *loop;
};

struct pit *pit_new(const struct pit_config *cfg, struct err *e);
struct device *pit_device(struct pit *p);

#endif
