/*
 * virtio-pci, modern (virtio 1.2 section 4.1): one memory BAR with common configuration, ISR, device
 * configuration, notifications, and the MSI-X table; the configuration-access window of the PCI capability;
 * INTx where MSI-X is off; queue reset.
 *
 * BAR 0, 64-bit, 32 KiB:
 *     0x0000 common configuration    0x1000 ISR    0x2000 device configuration    0x3000 notify, 4 bytes a
 * queue 0x4000 MSI-X table             0x5000 MSI-X pending bits
 */
#ifndef DEVICE_VIRTIO_TRANSPORT_PCI_H
#define DEVICE_VIRTIO_TRANSPORT_PCI_H
#include <stdint.h>
struct device;
struct err;
struct pci_root;
struct virtio_dev;

enum {
    VIRTIO_PCI_COMMON = 0x0000,
    VIRTIO_PCI_ISR = 0x1000,
    VIRTIO_PCI_DEVICE = 0x2000,
    VIRTIO_PCI_NOTIFY = 0x3000,
    VIRTIO_PCI_MSIX_TABLE = 0x4000,
    VIRTIO_PCI_MSIX_PBA = 0x5000,
    VIRTIO_PCI_BAR_SIZE = 0x8000,
    VIRTIO_PCI_NOTIFY_STEP = 4,
};

/* Put `d` on the bus at `slot`. The returned device is the whole: reset, pause, save, load and free it, and
 * not `d`; freeing it frees d. NULL with `e`, and d stays the caller's. */
struct device *virtio_pci_new(struct pci_root *root, unsigned slot, struct virtio_dev *d, struct err *e);

#endif
