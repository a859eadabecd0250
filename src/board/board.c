/* board.h's functions that do not depend on which board it is. */
#include "board/board.h"
#include <errno.h>
#include "accel/accel.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/range.h"
#include "board/map.h"
#include "board/microvm.h"
#include "device/core/device.h"
#include "device/pc/acpi_pm.h"
#include "device/pc/i8042.h"
#include "device/pc/ioapic.h"
#include "device/pc/pic.h"
#include "device/virtio/console.h"
#include "guest/bus.h"
#include "state/state.h"

enum { MAX_SAVED = 64 };

const char *board_name(const struct board *b)
{
    (void)b;
    return MICROVM_VERSION;
}

/* ---- the accelerator's side ---- */

static int ack_extint(void *opaque)
{
    struct board *b = opaque;
    return pic_ack(b->pic);
}

static void eoi(void *opaque, uint8_t vector)
{
    struct board *b = opaque;
    ioapic_eoi(b->ioapic, vector);
}

struct accel_callbacks board_accel_callbacks(struct board *b)
{
    return (struct accel_callbacks){.ack_extint = ack_extint, .eoi = eoi, .opaque = b};
}

void board_connect(struct board *b, struct accel *a)
{
    if (atomic_load(&b->accel))
        board_bells_disconnect(b);
    atomic_store(&b->accel, a);
    if (!a)
        return;
    board_bells_connect(b);
    pic_refresh(b->pic);
    ioapic_refresh(b->ioapic);
}

/* ---- running ---- */

/* Chips were made from the processor outwards: those that raise wires fall silent before those that receive
 * them. */
void board_reset(struct board *b)
{
    for (unsigned i = b->devices; i-- > 0;)
        device_reset(b->device[i]);
}

void board_pause(struct board *b)
{
    for (unsigned i = b->devices; i-- > 0;)
        device_pause(b->device[i]);
}

void board_resume(struct board *b)
{
    for (unsigned i = 0; i < b->devices; i++)
        device_resume(b->device[i]);
}

void board_console_resized(struct board *b)
{
    if (b->console)
        virtio_console_resized(b->console);
}

void board_power_button(struct board *b)
{
    if (b->cfg.acpi)
        acpi_pm_power_button(b->acpi);
}

void board_ctrl_alt_del(struct board *b)
{
    i8042_ctrl_alt_del(b->i8042);
}

/* ---- saved state ---- */

int board_save(struct board *b, struct state_writer *w, struct err *e)
{
    for (unsigned i = 0; i < b->devices; i++) {
        struct device *d = b->device[i];
        struct saved obj[MAX_SAVED];
        lock_take(&d->lock);
        unsigned n = device_saved(d, obj, MAX_SAVED);
        int r = 0;
        for (unsigned k = 0; k < n && !r; k++)
            r = state_write(w, &obj[k]);
        lock_drop(&d->lock);
        if (r)
            return err_sys(e, -r, "cannot save %s %u", d->ops->kind, d->instance);
    }
    return 0;
}

static int load_fields(struct device *d, struct state_reader *r, struct err *e)
{
    struct saved obj[MAX_SAVED];
    unsigned n = device_saved(d, obj, MAX_SAVED);
    for (unsigned k = 0; k < n; k++) {
        int err = state_read(r, &obj[k], e);
        if (err == -ENOENT)
            return err_set(e, EINVAL, "saved state has no %s %u: it is of another machine",
                           obj[k].table->name, obj[k].instance);
        if (err)
            return err;
    }
    return 0;
}

int board_load(struct board *b, struct state_reader *r, struct err *e)
{
    for (unsigned i = 0; i < b->devices; i++) {
        struct device *d = b->device[i];
        lock_take(&d->lock);
        int err = load_fields(d, r, e);
        lock_drop(&d->lock);
        if (err)
            return err;
    }
    for (unsigned i = 0; i < b->devices; i++) {
        int err = device_loaded(b->device[i], e);
        if (err)
            return err;
    }
    return 0;
}

unsigned board_devices(struct board *b, struct device *const **list)
{
    *list = b->device;
    return b->devices;
}

/* ---- what the loader needs ---- */

unsigned board_e820(const struct board *b, const struct board_e820 **list)
{
    *list = b->e820;
    return b->e820_count;
}

unsigned board_blobs(const struct board *b, const struct board_blob **list)
{
    *list = b->blob;
    return b->blobs;
}

int board_write_blobs(struct board *b, struct err *e)
{
    for (unsigned i = 0; i < b->blobs; i++) {
        int r = mem_write(b->cfg.mem, b->blob[i].gpa, b->blob[i].data, b->blob[i].len);
        if (r)
            return err_set(e, -r, "no guest memory at 0x%llx for the platform's tables",
                           (unsigned long long)b->blob[i].gpa);
    }
    return 0;
}

/* 8259A: edges, cascade on line 2, vectors from 8 and 0x70, the timer's line let through; 8254: counter 0 a
 * square wave with the longest period, 18.2 Hz. */
void board_bios_interrupts(struct board *b)
{
    static const struct {
        uint16_t port;
        uint8_t value;
    } writes[] = {
        {PORT_PIC_MASTER, 0x11},
        {PORT_PIC_MASTER + 1, 0x08},
        {PORT_PIC_MASTER + 1, 0x04},
        {PORT_PIC_MASTER + 1, 0x01},
        {PORT_PIC_MASTER + 1, 0xfa},
        {PORT_PIC_SLAVE, 0x11},
        {PORT_PIC_SLAVE + 1, 0x70},
        {PORT_PIC_SLAVE + 1, 0x02},
        {PORT_PIC_SLAVE + 1, 0x01},
        {PORT_PIC_SLAVE + 1, 0xff},
        {PORT_PIT + 3, 0x36},
        {PORT_PIT, 0},
        {PORT_PIT, 0},
    };

    for (unsigned i = 0; i < ARRAY_LEN(writes); i++)
        bus_write(b->cfg.bus, writes[i].port, 1, writes[i].value);
}

uint64_t board_rsdp(const struct board *b)
{
    return b->cfg.acpi ? MAP_BIOS_BASE : 0;
}

void board_cmdline_extra(const struct board *b, struct buf *out)
{
    if (b->cfg.acpi)
        return;
    for (unsigned i = 0; i < b->mmio_slots; i++)
        buf_printf(out, " virtio_mmio.device=%llu@0x%llx:%u:%u", MAP_VIRTIO_MMIO_SIZE,
                   MAP_VIRTIO_MMIO_BASE + i * MAP_VIRTIO_MMIO_STEP,
                   GSI_VIRTIO_MMIO + i % GSI_VIRTIO_MMIO_COUNT, i);
}

uint64_t board_low_ram(const struct board *b)
{
    return b->low_ram;
}

uint64_t board_high_ram(const struct board *b)
{
    return b->high_ram;
}
