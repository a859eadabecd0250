/*
 * pci: PCI Express configuration space, ECAM, BARs, capabilities and MSI-X (PCI Local Bus 3.0, PCI Express
 * Base 4.0).
 *
 * A function embeds struct pci_function first. The root owns bus 0 (32 slots, function 0 each unless
 * multifunction). Configuration accesses come through ECAM MMIO and ports 0xcf8/0xcfc. A BAR that the guest
 * moves moves a mem_region.
 *
 * Locks: a function's lock (dev.lock) covers its configuration space, its BARs' registers and MSI-X; the root
 * takes it around every access. The root itself has no lock but one leaf of rank LOCK_MAP for the shared INTx
 * wires.
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
    uint64_t size; /* power of two, 0: none */
    uint64_t addr; /* as programmed */
    bool io, mem64, prefetch;
    bool mapped;
    const struct mem_ops *ops; /* memory BAR: called with the function as opaque unless opaque is set */
    const struct bus_ops *io_ops;
    void *opaque;
    struct mem_bell bell[MEM_BELLS]; /* of a memory BAR: go with it wherever the guest puts it */
    unsigned bells;
    struct mem_region *region;
};

struct pci_function {
    struct device dev; /* first */
    struct pci_root *root;
    uint8_t slot, fn;
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t wmask[PCI_CONFIG_SIZE]; /* bits software may write */
    uint8_t w1c[PCI_CONFIG_SIZE];   /* bits cleared by writing one */
    uint8_t fixed[PCI_CONFIG_SIZE]; /* config as plugged: what reset restores, and what a loaded state must
                                       agree with outside wmask and w1c */
    struct pci_bar bar[PCI_BARS];
    uint8_t cap_last;  /* offset of the last capability, for chaining */
    uint16_t cap_free; /* next free byte for capabilities (from 0x40) */
    /* MSI-X: table and PBA live in one BAR */
    uint8_t msix_cap, msix_bar;
    uint32_t msix_table, msix_pba;
    uint32_t msix_count;
    uint64_t msix_address[PCI_MAX_MSIX];
    uint32_t msix_data[PCI_MAX_MSIX], msix_control[PCI_MAX_MSIX]; /* control bit 0: masked */
    uint64_t msix_pending;
    /* Called, lock held, before software reads config bytes [off, off+len): may refresh them. May be NULL. */
    void (*config_reading)(struct pci_function *f, unsigned off, unsigned len);
    /* Called, lock held, after software wrote config bytes [off, off+len). May be NULL. */
    void (*config_written)(struct pci_function *f, unsigned off, unsigned len);
    /* Called, lock held, when an MSI-X vector's message or mask changed (for irqfd). May be NULL. */
    void (*msix_changed)(struct pci_function *f, unsigned vector);
    bool intx_level; /* what the device wants; the wire also needs the command register's leave */
    bool intx_wire;  /* what this function does to the wire now; under the root's lock */
};

struct pci_root_config {
    struct mem_map *mem;
    struct bus *bus;
    uint64_t ecam_base; /* 1 MiB per bus; one bus */
    struct msi_sink msi;
    struct irq_line intx[4]; /* INTA..D of slot s goes to intx[(s + pin) & 3]; shared wires are ORed here */
    uint64_t mmio32_base, mmio32_size, mmio64_base,
        mmio64_size; /* windows; BARs are assigned there at creation, as firmware would */
    uint16_t io_base, io_size;
    bool bare; /* no host bridge of the root's own in slot 0: the board plugs one */
    /* Port 0xcf9 (reset control register): software asked for a system reset. vCPU's thread, no lock held.
     * May be NULL. */
    void (*reset)(void *opaque);
    void *reset_opaque;
};

struct pci_root *pci_root_new(const struct pci_root_config *cfg, struct err *e);
void pci_root_free(struct pci_root *r); /* functions gone; NULL is fine */
/* The root's own state (configuration address, host bridge) as a device: reset, save and load it with the
 * others. Freed by pci_root_free only: its ops->free does nothing. */
struct device *pci_root_device(struct pci_root *r);
/* One configuration access of `size` 1, 2 or 4 bytes within a dword, as ECAM does it. Takes the function's
 * lock. Absent: all ones. */
uint32_t pci_config_read(struct pci_root *r, unsigned slot, unsigned fn, unsigned off, unsigned size);
void pci_config_write(struct pci_root *r, unsigned slot, unsigned fn, unsigned off, unsigned size,
                      uint32_t value);

/* For functions' constructors, in this order: init, bars, capabilities, msix, then pci_function_plug, which
 * maps ECAM and assigns BARs. */
void pci_function_init(struct pci_function *f, const struct device_ops *ops, unsigned instance,
                       uint16_t vendor, uint16_t device, uint32_t class_rev);
void pci_set_bar(struct pci_function *f, unsigned index, const struct pci_bar *bar); /* size, kind, ops */
/* Append a capability of `len` bytes below 0x100 (id and next are filled); returns its offset. */
unsigned pci_add_cap(struct pci_function *f, uint8_t id, unsigned len);
/* MSI-X with `count` vectors, table at `table` and pending bits at `pba` of memory BAR `bar` (the function's
 * ops for that BAR must pass accesses in those windows to pci_msix_read/write). */
int pci_add_msix(struct pci_function *f, unsigned count, unsigned bar, uint32_t table, uint32_t pba,
                 struct err *e);
uint64_t pci_msix_read(struct pci_function *f, uint64_t bar_offset, unsigned size);
void pci_msix_write(struct pci_function *f, uint64_t bar_offset, unsigned size, uint64_t value);
bool pci_msix_covers(const struct pci_function *f, uint64_t bar_offset);
int pci_function_plug(struct pci_root *r, struct pci_function *f, unsigned slot, struct err *e);
/* Out of the root, lock not held, no vCPU running; also destroys what pci_function_init made. Fine on a
 * function that was never plugged. */
void pci_function_unplug(struct pci_function *f);

/* MSI-X vector `v` as a message, and whether it may be sent now (enabled, unmasked, bus mastering on): for
 * irqfd routes. Lock held. */
bool pci_msix_message(const struct pci_function *f, unsigned v, struct msi_message *out);
/* Raise MSI-X vector (lock held): sent, or remembered as pending while masked. With MSI-X off nothing
 * happens: use pci_intx. */
void pci_msix_raise(struct pci_function *f, unsigned vector);
bool pci_msix_enabled(const struct pci_function *f);
bool pci_bus_master(const struct pci_function *f); /* the function may access memory */
void pci_intx(struct pci_function *f, bool level);
uint64_t pci_bar_address(const struct pci_function *f,
                         unsigned bar); /* where memory BAR is decoded now; UINT64_MAX: nowhere */

/* Field table rows common to every function: save these beside the device's own ("pci" section, instance =
 * slot). */
extern const struct field_table pci_function_table;
/* After load, lock held: re-map BARs as the loaded config says, set the INTx wire. Refuses a config that is
 * not this function's. */
int pci_function_loaded(struct pci_function *f, struct err *e);
/* To power-on state, lock held: config as plugged (BARs where firmware would have put them), MSI-X off, INTx
 * low. */
void pci_function_reset(struct pci_function *f);

#endif
