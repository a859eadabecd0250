/*
 * rig: a machine of one virtio device, and its driver's hands: the same calls over virtio-pci and
 * virtio-mmio. For tests and fuzz targets.
 *
 * Guest memory: RAM at [0, RIG_RAM), the same RAM's first page again read-only at RIG_ROM, nothing elsewhere
 * but registers.
 */
#ifndef VIRTIO_TEST_RIG_H
#define VIRTIO_TEST_RIG_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "device/pci/pci.h"
#include "device/virtio/transport_mmio.h"
#include "device/virtio/transport_pci.h"
#include "device/virtio/virtio.h"
#include "guest/bus.h"
#include "guest/mem.h"
#include "host/loop.h"

enum {
    RIG_RAM = 4 << 20,
    RIG_ROM = 0x10000000,
    RIG_ECAM = 0xe0000000,
    RIG_MMIO = 0xfeb00000,
    RIG_SLOT = 3,
    RIG_SAVED = 8
};
enum { RIG_VECTORS = 32, RIG_MSI_DATA = 0x40 };

enum rig_transport { RIG_PCI, RIG_PCI_INTX, RIG_OVER_MMIO, RIG_TRANSPORTS };
extern const char *const rig_transport_name[RIG_TRANSPORTS];

struct rig {
    enum rig_transport transport;
    struct mem_map *mem;
    struct mem_reader *reader;
    struct bus *bus;
    struct loop *loop;
    struct pci_root *root;
    struct device *dev; /* the transport, when plugged */
    struct virtio_dev *vd;
    bool bells;                /* kicks ring the doorbell where the queue has one, as an accelerator would */
    uint64_t bar;              /* of virtio-pci */
    unsigned msi[RIG_VECTORS]; /* messages by vector: driver gives vector v the data RIG_MSI_DATA + v */
    unsigned msi_stray;
    bool level;    /* the interrupt wire */
    uint64_t next; /* next free byte of guest memory */
};

void rig_init(struct rig *r, enum rig_transport transport);
void rig_plug(struct rig *r, struct virtio_dev *d);               /* takes it; aborts on failure */
void rig_fini(struct rig *r);                                     /* frees the device */
void rig_turn(struct rig *r);                                     /* let the loop do what is ready */
uint64_t rig_alloc(struct rig *r, uint64_t size, uint64_t align); /* zeroed guest memory */
void *rig_at(struct rig *r, uint64_t gpa);                        /* host's view of it */

/* ---- the driver's hands ---- */
void drv_set_status(struct rig *r, uint8_t status);
uint8_t drv_status(struct rig *r);
uint64_t drv_offered(struct rig *r);
void drv_accept(struct rig *r, uint64_t features);
bool drv_negotiate(struct rig *r, uint64_t features); /* reset to FEATURES_OK; whether the device agreed */
void drv_ok(struct rig *r);
unsigned drv_queue_max(struct rig *r, unsigned queue);
void drv_queue_setup(struct rig *r, unsigned queue, unsigned size, uint64_t desc, uint64_t avail,
                     uint64_t used);
bool drv_queue_enabled(struct rig *r, unsigned queue);
void drv_queue_reset(struct rig *r, unsigned queue);
bool drv_queue_resetting(struct rig *r, unsigned queue);
void drv_kick(struct rig *r, unsigned queue);
uint64_t drv_config(struct rig *r, unsigned off, unsigned size);
void drv_config_set(struct rig *r, unsigned off, unsigned size, uint64_t v);
unsigned drv_generation(struct rig *r);
/* Interrupts for this queue since the last call (any, where vectors are not told apart), acknowledged. */
bool drv_interrupted(struct rig *r, unsigned queue);
bool drv_config_interrupted(struct rig *r);

#endif
