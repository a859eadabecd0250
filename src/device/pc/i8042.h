/*
 * i8042: the PC's keyboard controller (IBM AT technical reference; "8042 commands" of the PS/2 hardware
 * reference), with two ports.
 *
 * A port with nothing plugged in answers at once with 0xfe and the time-out status, as real controllers do
 * after 20 ms, so that probing is quick. With `keyboard`, a plain MF2 keyboard sits in the first port; it
 * types only what i8042_ctrl_alt_del has it type. A20 is always open. Pulsing output bit 0 (command 0xfe)
 * resets the machine.
 */
#ifndef DEVICE_I8042_H
#define DEVICE_I8042_H
#include <stdbool.h>
#include <stdint.h>
#include "device/core/device.h"
#include "guest/irq.h"
struct bus;
struct err;
struct i8042;

struct i8042_config {
    struct bus *bus;
    uint16_t data_port, command_port;
    struct irq_line kbd_irq, aux_irq;
    bool keyboard;
    void (*reset)(void *opaque); /* lock held */
    void *opaque;
};

struct i8042 *i8042_new(const struct i8042_config *cfg, struct err *e);
struct device *i8042_device(struct i8042 *k);
void i8042_ctrl_alt_del(struct i8042 *k); /* press and release; any thread */

#endif
