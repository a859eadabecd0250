/* microvm: the inside of struct board, for the files of this room. */
#ifndef BOARD_MICROVM_H
#define BOARD_MICROVM_H
#include <stdatomic.h>
#include "base/buf.h"
#include "board/board.h"
#include "board/map.h"
#include "host/lock.h"
struct acpi_pm;
struct debugexit;
struct i8042;
struct ioapic;
struct pci_root;
struct pic;
struct pit;
struct rtc;
struct serial;
struct sysctl;
struct testdev;

enum { BOARD_MAX_DEVICES = 16 + MAP_VIRTIO_SLOTS };

struct board {
    struct board_config cfg;
    _Atomic(struct accel *) accel; /* NULL: interrupts are dropped */
    struct mem_listener bells;     /* bells.c */
    uint64_t low_ram, high_ram;    /* bytes below the hole, and from 4 GiB on */
    uint64_t mmio64_base;

    struct ioapic *ioapic;
    struct pic *pic;
    struct pit *pit;
    struct rtc *rtc;
    struct i8042 *i8042;
    struct serial *serial;
    struct acpi_pm *acpi;
    struct sysctl *sysctl;
    struct debugexit *debugexit;
    struct testdev *testdev;
    struct pci_root *pci;
    struct virtio_dev *console; /* NULL: none */

    struct device *device[BOARD_MAX_DEVICES]; /* all of the above and virtio, in the order they were made */
    unsigned devices;
    unsigned pci_slots, mmio_slots; /* virtio devices on either transport */

    /* the next field; rank LOCK_MAP: below a device's, above the I/O APIC's */
    struct lock wires;
    uint32_t mmio_asserted[GSI_VIRTIO_MMIO_COUNT]; /* which slots pull each shared wire, one bit each */

    struct board_e820 e820[BOARD_MAX_E820];
    unsigned e820_count;
    struct buf acpi_bytes, mp_bytes;
    struct board_blob blob[BOARD_MAX_BLOBS];
    unsigned blobs;
};

/* ram.c: RAM around the hole, and the map that the guest is told of it. */
int board_add_ram(struct board *b, struct err *e);
void board_map_memory(struct board *b);

/* bells.c: doorbells of the map (struct mem_bell) as the accelerator's, kept so while BARs move. With
 * b->accel set. */
void board_bells_connect(struct board *b);
void board_bells_disconnect(struct board *b);

#endif
