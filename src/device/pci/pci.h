/*
 * pci: PCI Express configuration space, ECAM, BARs, capabilities and MSI-X (PCI Local Bus 3.0, PCI Express Base 4.0).
 *
 * A function embeds struct pci_function first. The root owns bus 0 (32 slots, function 0 each unless multifunction). Configuration accesses
 * come through ECAM MMIO and ports 0xcf8/0xcfc. A BAR that the guest moves moves a mem_region.
 */
#ifndef DEVICE_PCI_H
#define DEVICE_PCI_H
#include <stdbool.h>
#include <stdint.h>
#include "device/core/device.h"
#include "guest/irq.h"
#include "guest/mem.h"
struct bus;
struct err;
struct pci_root;

enum { PCI_CONFIG_SIZE = 4096, PCI_BARS = 6, PCI_MAX_MSIX = 64 };

struct pci_function;

struct pci_bar {
    uint64_t size;               /* power of two, 0: none */
    uint64_t addr;               /* as programmed */
    bool io, mem64, prefetch;
    bool mapped;
    const struct mem_ops *ops;   /* memory BAR: called with the function as opaque unless opaque is set */
    const struct bus_ops *io_ops;
    void *opaque;
    struct mem_region *region;
};

struct pci_msix_vector {
    uint64_t address;
    uint32_t data, control;      /* control bit 0: masked */
};

struct pci_function {
    struct device dev;           /* first */
    struct pci_root *root;
    uint8_t slot, fn;
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t wmask[PCI_CONFIG_SIZE];  /* bits software may write */
    uint8_t w1c[PCI_CONFIG_SIZE];    /* bits cleared by writing one */
    struct pci_bar bar[PCI_BARS];
    uint8_t cap_last;            /* offset of the last capability, for chaining */
    uint16_t cap_free;           /* next free byte for capabilities (from 0x40) */
    /* MSI-X: table and PBA live in one BAR */
    uint8_t msix_cap, msix_bar;
    uint32_t msix_table, msix_pba;
    uint32_t msix_count;
    struct pci_msix_vector msix[PCI_MAX_MSIX];
    uint64_t msix_pending;
    /* Called, lock held, after software wrote config bytes [off, off+len). May be NULL. */
    void (*config_written)(struct pci_function *f, unsigned off, unsigned len);
    /* Called, lock held, when an MSI-X vector's message or mask changed (for irqfd). May be NULL. */
    void (*msix_changed)(struct pci_function *f, unsigned vector);
    bool intx_level;
};

struct pci_root_config {
    struct mem_map *mem;
    struct bus *bus;
    uint64_t ecam_base;          /* 1 MiB per bus; one bus */
    struct msi_sink msi;
    struct irq_line intx[4];     /* INTA..D of slot s goes to intx[(s + pin) & 3] */
    uint64_t mmio32_base, mmio32_size, mmio64_base, mmio64_size; /* windows; BARs are assigned there at creation, as firmware would */
    uint16_t io_base, io_size;
};

struct pci_root *pci_root_new(const struct pci_root_config *cfg, struct err *e);
void pci_root_free(struct pci_root *r); /* functions gone */

/* For functions' constructors, in this order: init, bars, capabilities, msix, then pci_function_plug, which maps ECAM and assigns BARs. */
void pci_function_init(struct pci_function *f, const struct device_ops *ops, unsigned instance, uint16_t vendor, uint16_t device,
                       uint32_t class_rev);
void pci_set_bar(struct pci_function *f, unsigned index, const struct pci_bar *bar); /* size, kind, ops */
/* Append a capability of `len` bytes (id and next are filled); returns its offset. `ext` puts it at 0x100+ with a version. */
unsigned pci_add_cap(struct pci_function *f, uint8_t id, unsigned len);
/* MSI-X with `count` vectors, table at `table` and pending bits at `pba` of memory BAR `bar` (the function's ops for that BAR must pass
 * accesses in those windows to pci_msix_read/write). */
int pci_add_msix(struct pci_function *f, unsigned count, unsigned bar, uint32_t table, uint32_t pba, struct err *e);
uint64_t pci_msix_read(struct pci_function *f, uint64_t bar_offset, unsigned size);
void pci_msix_write(struct pci_function *f, uint64_t bar_offset, unsigned size, uint64_t value);
bool pci_msix_covers(const struct pci_function *f, uint64_t bar_offset);
int pci_function_plug(struct pci_root *r, struct pci_function *f, unsigned slot, struct err *e);
void pci_function_unplug(struct pci_function *f);

/* Raise MSI-X vector (lock held): sent, or remembered as pending while masked. With MSI-X off nothing happens: use pci_intx. */
void pci_msix_raise(struct pci_function *f, unsigned vector);
bool pci_msix_enabled(const struct pci_function *f);
void pci_intx(struct pci_function *f, bool level);

/* Field table rows common to every function: save these beside the device's own ("pci" section, instance = slot). */
extern const struct field_table pci_function_table;
/* After load: re-map BARs as the loaded config says. */
int pci_function_loaded(struct pci_function *f, struct err *e);
void pci_function_reset(struct pci_function *f);

#endif
