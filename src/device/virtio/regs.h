/*
 * regs: numbers of virtio 1.2 that more than one file here needs: status bits (2.1), ring layout (2.7).
 */
#ifndef DEVICE_VIRTIO_REGS_H
#define DEVICE_VIRTIO_REGS_H
#include <stdint.h>

enum {
    VIRTIO_STATUS_ACKNOWLEDGE = 1,
    VIRTIO_STATUS_DRIVER = 2,
    VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8,
    VIRTIO_STATUS_NEEDS_RESET = 64,
    VIRTIO_STATUS_FAILED = 128,
    VIRTIO_STATUS_DRIVERS = 1 | 2 | 4 | 8 | 128, /* those that a driver sets */

    VIRTIO_ID_NET = 1,
    VIRTIO_ID_BLOCK = 2,
    VIRTIO_ID_CONSOLE = 3,
    VIRTIO_ID_RNG = 4,

    VIRTIO_NO_VECTOR = 0xffff,

    VIRTIO_INTERRUPT_QUEUE = 1, /* ISR and InterruptStatus */
    VIRTIO_INTERRUPT_CONFIG = 2,

    VIRTQ_DESC_F_NEXT = 1,
    VIRTQ_DESC_F_WRITE = 2,
    VIRTQ_DESC_F_INDIRECT = 4,
    VIRTQ_AVAIL_F_NO_INTERRUPT = 1,
    VIRTQ_USED_F_NO_NOTIFY = 1,
};

struct virtq_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

#endif
