/*
 * virtio-mmio, version 2 (virtio 1.2 section 4.2): 0x200 bytes of registers and a level interrupt.
 */
#ifndef DEVICE_VIRTIO_TRANSPORT_MMIO_H
#define DEVICE_VIRTIO_TRANSPORT_MMIO_H
#include <stdint.h>
#include "guest/irq.h"
struct device;
struct err;
struct mem_map;
struct virtio_dev;

enum { VIRTIO_MMIO_SIZE = 0x200 };

struct virtio_mmio_config {
    struct mem_map *mem;
    uint64_t base;       /* of VIRTIO_MMIO_SIZE bytes */
    struct irq_line irq; /* level; where slots share a pin the board ORs them */
    unsigned slot;       /* instance in a saved state */
};

/* The returned device is the whole: reset, pause, save, load and free it, and not `d`; freeing it frees d.
 * NULL with `e`, and d stays the caller's. */
struct device *virtio_mmio_new(const struct virtio_mmio_config *cfg, struct virtio_dev *d, struct err *e);

#endif
