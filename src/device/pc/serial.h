/*
 * serial: a 16550A UART with its FIFOs (National PC16550D data sheet, 1995), at eight ports.
 *
 * Characters leave at once, as if the line were infinitely fast; when the backend takes no more they wait in
 * the transmit FIFO and THRE stays low. The interrupt line is gated by OUT2, as on a PC.
 *
 * Nothing typed is lost. Characters come only as far as there is room, and only while the guest listens:
 * while it takes receive interrupts (IER and OUT2), or once it has polled, that is looked for a character in
 * vain 64 times since it last wrote IER or FCR. So what is on the line before a driver has finished with its
 * tests, and has emptied the FIFO, comes afterwards. So does what it clears from the FIFO without having
 * looked (LSR, RBR): it might as well have arrived a moment later.
 */
#ifndef DEVICE_SERIAL_H
#define DEVICE_SERIAL_H
#include <stdint.h>
#include "device/core/device.h"
#include "guest/irq.h"
struct bus;
struct chr;
struct clock;
struct err;
struct loop;
struct serial;

struct serial_config {
    struct bus *bus;
    uint16_t port;
    struct irq_line irq;
    struct clock *clock; /* for the character time-out */
    struct loop *loop;
    struct chr *chr; /* NULL: the other end is not connected (no carrier, output vanishes) */
    unsigned instance;
};

struct serial *serial_new(const struct serial_config *cfg, struct err *e);
struct device *serial_device(struct serial *s);

#endif
