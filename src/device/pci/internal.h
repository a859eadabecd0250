/*
 * internal: between this room's files.
 */
#ifndef DEVICE_PCI_INTERNAL_H
#define DEVICE_PCI_INTERNAL_H
#include <stdatomic.h>
#include "device/pci/pci.h"
#include "device/pci/regs.h"

enum { PCI_SLOTS = 32, PCI_FUNCTIONS = 8, PCI_PINS = 4 };

/* A window that addresses are given from, upwards. */
struct pci_window {
    uint64_t next, end;
};

struct pci_root {
    struct pci_function bridge; /* slot 0 unless bare; its struct device stands for the root */
    struct pci_root_config cfg;
    _Atomic(struct pci_function *) fn[PCI_SLOTS][PCI_FUNCTIONS];
    uint32_t address;      /* port 0xcf8; accessed atomically: the root has no lock */
    uint8_t reset_control; /* port 0xcf9, likewise */
    struct mem_region *ecam;
    bool ports_claimed;
    struct lock intx_lock; /* covers intx_count and every function's intx_wire; rank LOCK_MAP: under devices,
                              above interrupt controllers */
    unsigned intx_count[PCI_PINS];
    struct pci_window mmio32, mmio64, io;
};

/* One access to a function's config space, its lock held; [off, off+size) lies in it, size 1..4. */
uint32_t pci_function_read(struct pci_function *f, unsigned off, unsigned size);
void pci_function_write(struct pci_function *f, unsigned off, unsigned size, uint32_t value);
/* Give each BAR of `f` an address in the root's windows. */
int pci_assign_bars(struct pci_root *r, struct pci_function *f, struct err *e);
/* Make the wire agree with intx_level and the command register. Function's lock held. */
void pci_update_intx(struct pci_function *f);
/* The MSI-X control word or the bus master bit was written: send what may be sent now, tell the function. */
void pci_msix_control_written(struct pci_function *f);
/* Make the regions and ports of every BAR agree with config. Function's lock held, or nothing runs. */
void pci_update_bars(struct pci_function *f);

#endif
