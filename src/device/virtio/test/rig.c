#include "device/virtio/test/rig.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/check.h"
#include "device/virtio/regs.h"

const char *const rig_transport_name[RIG_TRANSPORTS] = {"virtio-pci with MSI-X", "virtio-pci with INTx",
                                                        "virtio-mmio"};

static void msi(void *opaque, struct msi_message m)
{
    struct rig *r = opaque;
    uint32_t v = m.data - RIG_MSI_DATA;
    if (m.address == 0xfee00000 && v < RIG_VECTORS)
        r->msi[v]++;
    else
        r->msi_stray++;
}

static void wire(void *opaque, unsigned pin, bool level)
{
    struct rig *r = opaque;
    (void)pin;
    r->level = level;
}

void rig_init(struct rig *r, enum rig_transport transport)
{
    *r = (struct rig){.transport = transport, .next = 0x10000};
    r->mem = mem_map_new(NULL);
    r->bus = bus_new(NULL);
    r->loop = loop_new(NULL);
    CHECK(r->mem && r->bus && r->loop);
    r->reader = mem_reader_new(r->mem, NULL);
    struct ram *ram = ram_new("ram", RIG_RAM, RAM_ANONYMOUS, NULL);
    CHECK(ram && r->reader);
    const struct mem_region regions[] = {
        {.name = "ram", .base = 0, .size = RIG_RAM, .kind = MEM_RAM, .ram = ram},
        {.name = "rom", .base = RIG_ROM, .size = MEM_PAGE, .kind = MEM_ROM, .ram = ram},
    };
    for (unsigned i = 0; i < 2; i++)
        CHECK(mem_add(r->mem, &regions[i], NULL));
    struct pci_root_config cfg = {.mem = r->mem,
                                  .bus = r->bus,
                                  .ecam_base = RIG_ECAM,
                                  .msi = {.send = msi, .opaque = r},
                                  .mmio32_base = 0xc0000000,
                                  .mmio32_size = 0x10000000,
                                  .io_base = 0x1000,
                                  .io_size = 0x1000};
    for (unsigned i = 0; i < 4; i++)
        cfg.intx[i] = (struct irq_line){.set = wire, .opaque = r, .pin = i};
    r->root = pci_root_new(&cfg, NULL);
    CHECK(r->root);
}

static uint64_t config_address(unsigned off)
{
    return RIG_ECAM + (RIG_SLOT << 15) + off;
}

static unsigned find_msix(struct rig *r)
{
    unsigned at = (unsigned)mem_mmio_read(r->mem, config_address(0x34), 1);
    while (at && mem_mmio_read(r->mem, config_address(at), 1) != 0x11)
        at = (unsigned)mem_mmio_read(r->mem, config_address(at + 1), 1);
    CHECK(at);
    return at;
}

static void plug_pci(struct rig *r, struct virtio_dev *d)
{
    struct err e;
    r->dev = virtio_pci_new(r->root, RIG_SLOT, d, &e);
    CHECK(r->dev);
    r->bar = mem_mmio_read(r->mem, config_address(0x10), 4) & ~15ull;
    mem_mmio_write(r->mem, config_address(4), 2, 6); /* memory and bus mastering on */
    if (r->transport != RIG_PCI)
        return;
    unsigned cap = find_msix(r),
             count = (unsigned)(mem_mmio_read(r->mem, config_address(cap + 2), 2) & 0x7ff) + 1;
    for (unsigned v = 0; v < count; v++) {
        uint64_t entry = r->bar + VIRTIO_PCI_MSIX_TABLE + 16 * v;
        mem_mmio_write(r->mem, entry, 4, 0xfee00000);
        mem_mmio_write(r->mem, entry + 4, 4, 0);
        mem_mmio_write(r->mem, entry + 8, 4, RIG_MSI_DATA + v);
        mem_mmio_write(r->mem, entry + 12, 4, 0);
    }
    mem_mmio_write(r->mem, config_address(cap + 2), 2, 0x8000);
}

void rig_plug(struct rig *r, struct virtio_dev *d)
{
    CHECK(d);
    r->vd = d;
    if (r->transport != RIG_OVER_MMIO) {
        plug_pci(r, d);
        return;
    }
    const struct virtio_mmio_config cfg = {
        .mem = r->mem, .base = RIG_MMIO, .irq = {.set = wire, .opaque = r}, .slot = RIG_SLOT};
    r->dev = virtio_mmio_new(&cfg, d, NULL);
    CHECK(r->dev);
}

void rig_fini(struct rig *r)
{
    device_free(r->dev);
    pci_root_free(r->root);
    loop_free(r->loop);
    bus_free(r->bus);
    mem_reader_free(r->reader);
    mem_map_free(r->mem);
}

static void stop_loop(void *opaque)
{
    loop_stop(opaque);
}

void rig_turn(struct rig *r)
{
    for (unsigned i = 0; i < 4; i++) { /* one thing may wake the next */
        CHECK(!loop_post(r->loop, stop_loop, r->loop));
        loop_run(r->loop);
    }
    mem_reader_quiesce(r->reader);
}

uint64_t rig_alloc(struct rig *r, uint64_t size, uint64_t align)
{
    uint64_t at = (r->next + align - 1) & ~(align - 1);
    CHECK(at + size <= RIG_RAM);
    r->next = at + size;
    mem_fill(r->mem, at, 0, size);
    return at;
}

void *rig_at(struct rig *r, uint64_t gpa)
{
    void *p = mem_at(r->mem, gpa, 1, true);
    CHECK(p);
    return p;
}

/* ---- registers by both transports ---- */

static void put(struct rig *r, unsigned pci, unsigned pci_size, unsigned mmio, uint64_t v)
{
    if (r->transport == RIG_OVER_MMIO)
        mem_mmio_write(r->mem, RIG_MMIO + mmio, 4, v);
    else
        mem_mmio_write(r->mem, r->bar + pci, pci_size, v);
    mem_reader_quiesce(r->reader);
}

static uint64_t get(struct rig *r, unsigned pci, unsigned pci_size, unsigned mmio)
{
    return r->transport == RIG_OVER_MMIO ? mem_mmio_read(r->mem, RIG_MMIO + mmio, 4)
                                         : mem_mmio_read(r->mem, r->bar + pci, pci_size);
}

void drv_set_status(struct rig *r, uint8_t status)
{
    put(r, 0x14, 1, 0x70, status);
}

uint8_t drv_status(struct rig *r)
{
    return (uint8_t)get(r, 0x14, 1, 0x70);
}

uint64_t drv_offered(struct rig *r)
{
    put(r, 0, 4, 0x14, 0);
    uint64_t low = get(r, 4, 4, 0x10);
    put(r, 0, 4, 0x14, 1);
    return low | get(r, 4, 4, 0x10) << 32;
}

void drv_accept(struct rig *r, uint64_t features)
{
    put(r, 8, 4, 0x24, 0);
    put(r, 0xc, 4, 0x20, (uint32_t)features);
    put(r, 8, 4, 0x24, 1);
    put(r, 0xc, 4, 0x20, features >> 32);
}

bool drv_negotiate(struct rig *r, uint64_t features)
{
    drv_set_status(r, 0);
    drv_set_status(r, VIRTIO_STATUS_ACKNOWLEDGE);
    drv_set_status(r, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    drv_accept(r, features);
    drv_set_status(r, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
    if (r->transport == RIG_PCI)
        mem_mmio_write(r->mem, r->bar + 0x10, 2, 0); /* vector 0 is for configuration, 1 + n for queue n */
    return drv_status(r) & VIRTIO_STATUS_FEATURES_OK;
}

void drv_ok(struct rig *r)
{
    drv_set_status(r, drv_status(r) | VIRTIO_STATUS_DRIVER_OK);
}

static void select_queue(struct rig *r, unsigned queue)
{
    put(r, 0x16, 2, 0x30, queue);
}

unsigned drv_queue_max(struct rig *r, unsigned queue)
{
    select_queue(r, queue);
    return (unsigned)get(r, 0x18, 2, 0x34);
}

void drv_queue_setup(struct rig *r, unsigned queue, unsigned size, uint64_t desc, uint64_t avail,
                     uint64_t used)
{
    const uint64_t address[] = {desc, avail, used};
    select_queue(r, queue);
    put(r, 0x18, 2, 0x38, size);
    for (unsigned i = 0; i < 3; i++) {
        put(r, 0x20 + 8 * i, 4, 0x80 + 0x10 * i, (uint32_t)address[i]);
        put(r, 0x24 + 8 * i, 4, 0x84 + 0x10 * i, address[i] >> 32);
    }
    if (r->transport == RIG_PCI)
        mem_mmio_write(r->mem, r->bar + 0x1a, 2, 1 + queue);
    put(r, 0x1c, 2, 0x44, 1);
}

bool drv_queue_enabled(struct rig *r, unsigned queue)
{
    select_queue(r, queue);
    return get(r, 0x1c, 2, 0x44);
}

void drv_queue_reset(struct rig *r, unsigned queue)
{
    select_queue(r, queue);
    put(r, 0x3a, 2, 0xc0, 1);
}

bool drv_queue_resetting(struct rig *r, unsigned queue)
{
    select_queue(r, queue);
    return get(r, 0x3a, 2, 0xc0);
}

void drv_kick(struct rig *r, unsigned queue)
{
    uint64_t one = 1, gpa = r->bar + VIRTIO_PCI_NOTIFY + VIRTIO_PCI_NOTIFY_STEP * queue;
    int bell = r->bells && r->transport != RIG_OVER_MMIO ? mem_bell_at(mem_view(r->mem), gpa) : -1;
    if (bell >= 0) {
        CHECK(write(bell, &one, sizeof(one)) == sizeof(one));
        return;
    }
    put(r, VIRTIO_PCI_NOTIFY + VIRTIO_PCI_NOTIFY_STEP * queue, 2, 0x50, queue);
}

uint64_t drv_config(struct rig *r, unsigned off, unsigned size)
{
    return mem_mmio_read(
        r->mem, (r->transport == RIG_OVER_MMIO ? RIG_MMIO + 0x100 : r->bar + VIRTIO_PCI_DEVICE) + off, size);
}

void drv_config_set(struct rig *r, unsigned off, unsigned size, uint64_t v)
{
    mem_mmio_write(r->mem,
                   (r->transport == RIG_OVER_MMIO ? RIG_MMIO + 0x100 : r->bar + VIRTIO_PCI_DEVICE) + off,
                   size, v);
}

unsigned drv_generation(struct rig *r)
{
    return (unsigned)get(r, 0x15, 1, 0xfc);
}

/* Take the interrupt status of wire-signalled transports; `bit` alone, as one test asks for one kind at a
 * time. */
static bool take_wire(struct rig *r, unsigned bit)
{
    bool high = r->level;
    unsigned isr;
    if (r->transport == RIG_OVER_MMIO) {
        isr = (unsigned)mem_mmio_read(r->mem, RIG_MMIO + 0x60, 4);
        mem_mmio_write(r->mem, RIG_MMIO + 0x64, 4, isr);
    } else {
        isr = (unsigned)mem_mmio_read(r->mem, r->bar + VIRTIO_PCI_ISR, 1);
    }
    CHECK(high == (isr != 0) && !r->level);
    return isr & bit;
}

static bool take_vector(struct rig *r, unsigned v)
{
    bool any = r->msi[v];
    r->msi[v] = 0;
    return any;
}

bool drv_interrupted(struct rig *r, unsigned queue)
{
    return r->transport == RIG_PCI ? take_vector(r, 1 + queue) : take_wire(r, VIRTIO_INTERRUPT_QUEUE);
}

bool drv_config_interrupted(struct rig *r)
{
    return r->transport == RIG_PCI ? take_vector(r, 0) : take_wire(r, VIRTIO_INTERRUPT_CONFIG);
}
