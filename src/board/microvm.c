/*
 * The schematic of board microvm-1. Read board_new: one line per chip, from the processor outwards. Every
 * number is board/map.h's.
 */
#include "board/microvm.h"
#include <errno.h>
#include <stdlib.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "board/tables.h"
#include "device/core/device.h"
#include "device/pc/acpi_pm.h"
#include "device/pc/i8042.h"
#include "device/pc/ioapic.h"
#include "device/pc/pic.h"
#include "device/pc/pit.h"
#include "device/pc/rtc.h"
#include "device/pc/serial.h"
#include "device/pc/sysctl.h"
#include "device/pc/testdev.h"
#include "device/pci/pci.h"
#include "device/virtio/blk.h"
#include "device/virtio/console.h"
#include "device/virtio/net.h"
#include "device/virtio/rng.h"
#include "device/virtio/transport_mmio.h"
#include "device/virtio/transport_pci.h"
#include "device/virtio/virtio.h"

/* ---- wires ---- */

static void send_msi(void *opaque, struct msi_message m)
{
    struct board *b = opaque;
    struct accel *a = atomic_load(&b->accel);
    if (a)
        accel_msi(a, m);
}

static void set_intr(void *opaque, unsigned pin, bool level)
{
    struct board *b = opaque;
    struct accel *a = atomic_load(&b->accel);
    (void)pin;
    if (a)
        accel_extint(a, level);
}

/* An ISA line goes to both interrupt controllers, as on every PC; the timer's to pin 2 of the I/O APIC. */
static void set_isa(void *opaque, unsigned irq, bool level)
{
    struct board *b = opaque;
    struct irq_line io = ioapic_input(b->ioapic, irq == IRQ_TIMER ? GSI_TIMER : irq);
    if (irq != IRQ_CASCADE) {
        struct irq_line pic = pic_input(b->pic, irq);
        irq_set(&pic, level);
    }
    irq_set(&io, level);
}

static struct irq_line isa(struct board *b, unsigned irq)
{
    CHECK(irq < ISA_IRQS);
    return (struct irq_line){set_isa, b, irq};
}

static struct irq_line gsi(struct board *b, unsigned n)
{
    return n < ISA_IRQS ? isa(b, n) : ioapic_input(b->ioapic, n);
}

/* virtio-mmio slots share wires: one is high while any slot pulls it. */
static void set_mmio(void *opaque, unsigned slot, bool level)
{
    struct board *b = opaque;
    unsigned wire = slot % GSI_VIRTIO_MMIO_COUNT;
    uint32_t bit = 1u << slot / GSI_VIRTIO_MMIO_COUNT;
    lock_take(&b->wires);
    bool was = b->mmio_asserted[wire] != 0;
    b->mmio_asserted[wire] = level ? b->mmio_asserted[wire] | bit : b->mmio_asserted[wire] & ~bit;
    bool is = b->mmio_asserted[wire] != 0;
    if (is != was) {
        struct irq_line l = ioapic_input(b->ioapic, GSI_VIRTIO_MMIO + wire);
        irq_set(&l, is);
    }
    lock_drop(&b->wires);
}

/* ---- what the guest asks of the machine ---- */

static void reset(struct board *b, const char *by)
{
    if (b->cfg.cb.reset)
        b->cfg.cb.reset(b->cfg.cb.opaque, by);
}

static void on_acpi_reset(void *opaque)
{
    reset(opaque, "the ACPI reset register");
}

static void on_keyboard_reset(void *opaque)
{
    reset(opaque, "the keyboard controller");
}

static void on_port_92_reset(void *opaque)
{
    reset(opaque, "port 0x92");
}

static void on_port_cf9_reset(void *opaque)
{
    reset(opaque, "port 0xcf9");
}

static void on_power_off(void *opaque)
{
    struct board *b = opaque;
    if (b->cfg.cb.power_off)
        b->cfg.cb.power_off(b->cfg.cb.opaque);
}

static void on_debug_exit(void *opaque, uint32_t code)
{
    struct board *b = opaque;
    if (b->cfg.cb.debug_exit)
        b->cfg.cb.debug_exit(b->cfg.cb.opaque, code);
}

static void on_panic(void *opaque, uint8_t events)
{
    struct board *b = opaque;
    if (b->cfg.cb.panic)
        b->cfg.cb.panic(b->cfg.cb.opaque, events);
}

/* ---- chips ---- */

static void solder(struct board *b, struct device *d)
{
    CHECK(b->devices < BOARD_MAX_DEVICES);
    b->device[b->devices++] = d;
}

static int add_ioapic(struct board *b, struct err *e)
{
    b->ioapic = ioapic_new(
        &(struct ioapic_config){.mem = b->cfg.mem, .base = MAP_IOAPIC_BASE, .msi = {send_msi, b}}, e);
    if (b->ioapic)
        solder(b, ioapic_device(b->ioapic));
    return b->ioapic ? 0 : -EIO;
}

static int add_pic(struct board *b, struct err *e)
{
    b->pic = pic_new(&(struct pic_config){.bus = b->cfg.bus,
                                          .master_port = PORT_PIC_MASTER,
                                          .slave_port = PORT_PIC_SLAVE,
                                          .elcr_port = PORT_ELCR,
                                          .out = {set_intr, b, 0}},
                     e);
    if (b->pic)
        solder(b, pic_device(b->pic));
    return b->pic ? 0 : -EIO;
}

static int add_pit(struct board *b, struct err *e)
{
    b->pit = pit_new(&(struct pit_config){.bus = b->cfg.bus,
                                          .port = PORT_PIT,
                                          .control_port = PORT_SYSTEM_B,
                                          .irq = isa(b, IRQ_TIMER),
                                          .clock = b->cfg.clock,
                                          .loop = b->cfg.loop},
                     e);
    if (b->pit)
        solder(b, pit_device(b->pit));
    return b->pit ? 0 : -EIO;
}

/* CMOS bytes in which firmware leaves the size of memory, for software that looks there. */
static void describe_memory(struct board *b)
{
    uint64_t kib = (b->low_ram - 0x100000) / 1024,
             above16 = b->low_ram > 0x1000000 ? (b->low_ram - 0x1000000) / 0x10000 : 0;
    kib = kib > 0xffff ? 0xffff : kib;
    above16 = above16 > 0xffff ? 0xffff : above16;
    rtc_set_cmos(b->rtc, 0x15, 0x80); /* 640 KiB */
    rtc_set_cmos(b->rtc, 0x16, 0x02);
    for (unsigned i = 0; i < 2; i++) {
        rtc_set_cmos(b->rtc, (uint8_t)(0x17 + i), (uint8_t)(kib >> (8 * i)));
        rtc_set_cmos(b->rtc, (uint8_t)(0x30 + i), (uint8_t)(kib >> (8 * i)));
        rtc_set_cmos(b->rtc, (uint8_t)(0x34 + i), (uint8_t)(above16 >> (8 * i)));
    }
    for (unsigned i = 0; i < 3; i++)
        rtc_set_cmos(b->rtc, (uint8_t)(0x5b + i), (uint8_t)(b->high_ram / 0x10000 >> (8 * i)));
}

static int add_rtc(struct board *b, struct err *e)
{
    b->rtc = rtc_new(&(struct rtc_config){.bus = b->cfg.bus,
                                          .port = PORT_RTC,
                                          .irq = isa(b, IRQ_RTC),
                                          .clock = b->cfg.clock,
                                          .loop = b->cfg.loop},
                     e);
    if (!b->rtc)
        return -EIO;
    solder(b, rtc_device(b->rtc));
    describe_memory(b);
    return 0;
}

static int add_i8042(struct board *b, struct err *e)
{
    b->i8042 = i8042_new(&(struct i8042_config){.bus = b->cfg.bus,
                                                .data_port = PORT_KBD_DATA,
                                                .command_port = PORT_KBD_COMMAND,
                                                .kbd_irq = isa(b, IRQ_KEYBOARD),
                                                .aux_irq = isa(b, IRQ_MOUSE),
                                                .keyboard = b->cfg.keyboard,
                                                .reset = on_keyboard_reset,
                                                .opaque = b},
                         e);
    if (b->i8042)
        solder(b, i8042_device(b->i8042));
    return b->i8042 ? 0 : -EIO;
}

static int add_serial(struct board *b, struct err *e)
{
    b->serial = serial_new(&(struct serial_config){.bus = b->cfg.bus,
                                                   .port = PORT_COM1,
                                                   .irq = isa(b, IRQ_COM1),
                                                   .clock = b->cfg.clock,
                                                   .loop = b->cfg.loop,
                                                   .chr = b->cfg.serial},
                           e);
    if (b->serial)
        solder(b, serial_device(b->serial));
    return b->serial ? 0 : -EIO;
}

static int add_acpi_pm(struct board *b, struct err *e)
{
    b->acpi = acpi_pm_new(&(struct acpi_pm_config){.bus = b->cfg.bus,
                                                   .port = PORT_ACPI,
                                                   .irq = isa(b, IRQ_GED),
                                                   .power_off = on_power_off,
                                                   .reset = on_acpi_reset,
                                                   .opaque = b},
                          e);
    if (b->acpi)
        solder(b, acpi_pm_device(b->acpi));
    return b->acpi ? 0 : -EIO;
}

static int add_sysctl(struct board *b, struct err *e)
{
    b->sysctl = sysctl_new(&(struct sysctl_config){.bus = b->cfg.bus,
                                                   .port_a = PORT_SYSTEM_A,
                                                   .pvpanic_port = PORT_PVPANIC,
                                                   .reset = on_port_92_reset,
                                                   .panic = on_panic,
                                                   .opaque = b},
                           e);
    if (b->sysctl)
        solder(b, sysctl_device(b->sysctl));
    return b->sysctl ? 0 : -EIO;
}

static int add_debugexit(struct board *b, struct err *e)
{
    if (!b->cfg.debug_exit)
        return 0;
    b->debugexit = debugexit_new(
        &(struct debugexit_config){
            .bus = b->cfg.bus, .port = PORT_DEBUG_EXIT, .exit = on_debug_exit, .opaque = b},
        e);
    if (b->debugexit)
        solder(b, debugexit_device(b->debugexit));
    return b->debugexit ? 0 : -EIO;
}

static int add_testdev(struct board *b, struct err *e)
{
    if (!b->cfg.testdev)
        return 0;
    struct testdev_config tc = {.bus = b->cfg.bus,
                                .mem = b->cfg.mem,
                                .port = PORT_TESTDEV,
                                .irq_port = PORT_TESTDEV_IRQS,
                                .iomem = MAP_TESTDEV_BASE};
    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        tc.irq[i] = gsi(b, i);
    b->testdev = testdev_new(&tc, e);
    if (b->testdev)
        solder(b, testdev_device(b->testdev));
    return b->testdev ? 0 : -EIO;
}

static int add_pci(struct board *b, struct err *e)
{
    if (b->cfg.transport != VIRTIO_TRANSPORT_PCI)
        return 0;
    struct pci_root_config pc = {
        .mem = b->cfg.mem,
        .bus = b->cfg.bus,
        .ecam_base = MAP_PCI_ECAM_BASE,
        .msi = {send_msi, b},
        .mmio32_base = MAP_PCI_MMIO32_BASE,
        .mmio32_size = MAP_PCI_MMIO32_SIZE,
        .mmio64_base = b->mmio64_base,
        .mmio64_size = MAP_PCI_MMIO64_SIZE,
        .io_base = PORT_PCI_IO_BASE,
        .io_size = PORT_PCI_IO_SIZE,
        .reset = on_port_cf9_reset,
        .reset_opaque = b,
    };
    for (unsigned i = 0; i < 4; i++)
        pc.intx[i] = gsi(b, GSI_PCI_INTA + i);
    b->pci = pci_root_new(&pc, e);
    if (b->pci)
        solder(b, pci_root_device(b->pci));
    return b->pci ? 0 : -EIO;
}

/* ---- virtio ---- */

/* Put a virtio device into the next slot of the transport; it is the board's from here on, or freed. `d`
 * NULL: its constructor failed. */
static int plug(struct board *b, struct virtio_dev *d, struct err *e)
{
    struct device *whole = NULL;
    if (!d)
        return -EIO;
    if (b->pci_slots + b->mmio_slots >= MAP_VIRTIO_SLOTS) {
        err_set(e, ENOSPC, "more than %d virtio devices", MAP_VIRTIO_SLOTS);
    } else if (b->pci) {
        whole = virtio_pci_new(b->pci, PCI_SLOT_VIRTIO + b->pci_slots, d, e);
        b->pci_slots += whole != NULL;
    } else {
        unsigned slot = b->mmio_slots;
        whole = virtio_mmio_new(
            &(struct virtio_mmio_config){.mem = b->cfg.mem,
                                         .irq = {set_mmio, b, slot},
                                         .slot = slot,
                                         .base = MAP_VIRTIO_MMIO_BASE + slot * MAP_VIRTIO_MMIO_STEP},
            d, e);
        b->mmio_slots += whole != NULL;
    }
    if (whole)
        solder(b, whole);
    else
        device_free(&d->dev);
    return whole ? 0 : -EIO;
}

/* The order of slots is part of the board's version: disks, networks, console, rng. */
static int add_virtio(struct board *b, struct err *e)
{
    const struct board_config *c = &b->cfg;
    for (unsigned i = 0; i < c->disk_count; i++)
        if (plug(b,
                 virtio_blk_new(&(struct virtio_blk_config){.instance = i}, c->disks[i], c->loop, c->mem, e),
                 e))
            return -EIO;
    for (unsigned i = 0; i < c->net_count; i++) {
        struct virtio_net_config nc = {.instance = i};
        for (unsigned k = 0; k < sizeof(nc.mac); k++)
            nc.mac[k] = c->nets[i].mac[k];
        if (plug(b, virtio_net_new(&nc, c->nets[i].net, c->loop, c->mem, e), e))
            return -EIO;
    }
    if (c->console) {
        b->console = virtio_console_new(&(struct virtio_console_config){0}, c->console, c->loop, c->mem, e);
        if (plug(b, b->console, e))
            return -EIO;
    }
    if (c->rng && plug(b, virtio_rng_new(&(struct virtio_rng_config){0}, c->loop, c->mem, e), e))
        return -EIO;
    return 0;
}

/* ---- the whole ---- */

/*
 * What firmware there is: at the processor's reset vector, a program in real mode that resets by the register
 * which the FADT names. Operating systems jump there to restart when they know nothing better; so does Linux
 * by default, see README.md. mov $port,%dx; mov $value,%al; out %al,(%dx); 1: hlt; jmp 1b
 */
static const uint8_t reset_vector[] = {
    0xba,
    (PORT_ACPI + ACPI_PM_RESET) & 0xff,
    (PORT_ACPI + ACPI_PM_RESET) >> 8,
    0xb0,
    ACPI_PM_RESET_VALUE,
    0xee,
    0xf4,
    0xeb,
    0xfd,
};

static int add_tables(struct board *b, struct err *e)
{
    struct table_facts f = {
        .cpus = b->cfg.cpus,
        .pci = b->pci != NULL,
        .mmio_slots = b->mmio_slots,
        .keyboard = b->cfg.keyboard,
        .mmio64_base = b->mmio64_base,
    };
    int r = mptable_build(&f, MAP_MPTABLE_BASE, MAP_MPTABLE_SIZE, &b->mp_bytes, e);
    if (r)
        return r;
    b->blob[b->blobs++] = (struct board_blob){MAP_MPTABLE_BASE, b->mp_bytes.data, b->mp_bytes.len};
    if (b->cfg.acpi) {
        r = acpi_build(&f, MAP_BIOS_BASE, MAP_ACPI_SIZE, &b->acpi_bytes, e);
        if (r)
            return r;
        b->blob[b->blobs++] = (struct board_blob){MAP_BIOS_BASE, b->acpi_bytes.data, b->acpi_bytes.len};
    }
    b->blob[b->blobs++] = (struct board_blob){MAP_RESET_VECTOR, reset_vector, sizeof(reset_vector)};
    board_map_memory(b);
    return 0;
}

static int check_config(const struct board_config *c, struct err *e)
{
    if (c->cpus < 1 || c->cpus > 254)
        return err_set(e, EINVAL, "%u CPUs: this board takes 1 to 254", c->cpus);
    if (c->disk_count > BOARD_MAX_DISKS)
        return err_set(e, EINVAL, "%u disks: this board takes at most %d", c->disk_count, BOARD_MAX_DISKS);
    if (c->net_count > BOARD_MAX_NETS)
        return err_set(e, EINVAL, "%u network cards: this board takes at most %d", c->net_count,
                       BOARD_MAX_NETS);
    return 0;
}

struct board *board_new(const struct board_config *cfg, struct err *e)
{
    typedef int (*step)(struct board * b, struct err * e);
    static const step schematic[] = {
        board_add_ram, add_ioapic, add_pic,       add_pit,     add_rtc, add_i8042,  add_serial,
        add_acpi_pm,   add_sysctl, add_debugexit, add_testdev, add_pci, add_virtio, add_tables,
    };
    if (check_config(cfg, e))
        return NULL;
    struct board *b = calloc(1, sizeof(*b));
    if (!b) {
        err_set(e, ENOMEM, "board: out of memory");
        return NULL;
    }
    b->cfg = *cfg;
    lock_init(&b->wires, LOCK_MAP);
    mem_begin(cfg->mem);
    int r = 0;
    for (unsigned i = 0; i < ARRAY_LEN(schematic) && !r; i++)
        r = schematic[i](b, e);
    mem_commit(cfg->mem);
    if (r) {
        board_free(b);
        return NULL;
    }
    return b;
}

void board_free(struct board *b)
{
    if (!b)
        return;
    for (unsigned i = b->devices; i-- > 0;)
        if (!b->pci || b->device[i] != pci_root_device(b->pci))
            device_free(b->device[i]);
    pci_root_free(b->pci);
    buf_free(&b->acpi_bytes);
    buf_free(&b->mp_bytes);
    lock_destroy(&b->wires);
    free(b);
}
