/*
 * pic: two Intel 8259A interrupt controllers in cascade, with the edge/level control registers of a PCI chip
 * set.
 *
 * Inputs 0..15 (2 is the cascade). The output is the INTR wire to the processor; the processor's acknowledge
 * cycle is pic_ack. An edge stays latched until it is acknowledged, even if its wire drops: a short pulse is
 * not lost. (The chip would answer with IR7.) Any thread; has its own lock, of rank LOCK_IRQ.
 */
#ifndef DEVICE_PIC_H
#define DEVICE_PIC_H
#include <stdbool.h>
#include <stdint.h>
#include "device/core/device.h"
#include "guest/irq.h"
struct bus;
struct err;
struct pic;

struct pic_config {
    struct bus *bus;
    uint16_t master_port, slave_port, elcr_port; /* two ports each */
    struct irq_line out;                         /* INTR; called with the lock held */
};

struct pic *pic_new(const struct pic_config *cfg, struct err *e);
struct device *pic_device(struct pic *p);
struct irq_line pic_input(struct pic *p, unsigned irq);

/* The INTA cycle: the vector, or -1 when nothing is requested any more. */
int pic_ack(struct pic *p);

/* Drive the output once more, to a processor that has just been connected. */
void pic_refresh(struct pic *p);

#endif
