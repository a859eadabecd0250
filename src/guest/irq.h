/*
 * irq: a wire from a device to an interrupt controller's input.
 *
 * A value, copied freely; the callee outlives it. set() is legal under a device's lock, from any thread.
 */
#ifndef GUEST_IRQ_H
#define GUEST_IRQ_H
#include <stdbool.h>
#include <stdint.h>

struct irq_line {
    void (*set)(void *opaque, unsigned pin, bool level); /* NULL: not connected */
    void *opaque;
    unsigned pin;
};

static inline void irq_set(const struct irq_line *l, bool level)
{
    if (l->set)
        l->set(l->opaque, l->pin, level);
}

/* A message-signalled interrupt (address and data of PCI 3.0 6.8). Sent through a function that the board
 * supplies. */
struct msi_message {
    uint64_t address;
    uint32_t data;
};

struct msi_sink {
    void (*send)(void *opaque, struct msi_message m); /* any thread, under device or irq locks */
    void *opaque;
};

#endif
