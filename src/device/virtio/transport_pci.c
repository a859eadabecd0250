#include "device/virtio/transport_pci.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "device/pci/pci.h"
#include "device/pci/regs.h"
#include "device/virtio/regs.h"
#include "device/virtio/virtio.h"

/* Identity (4.1.2): modern devices are 0x1040 + type at revision 1 or above. */
enum { PCI_VENDOR_VIRTIO = 0x1af4, PCI_DEVICE_VIRTIO = 0x1040, PCI_REVISION = 1 };

/* Capabilities (4.1.4): their types, and the layout of struct virtio_pci_cap. */
enum {
    CAP_COMMON = 1,
    CAP_NOTIFY = 2,
    CAP_ISR = 3,
    CAP_DEVICE = 4,
    CAP_PCI = 5,
    CAP_LEN = 2,
    CAP_TYPE = 3,
    CAP_BAR = 4,
    CAP_OFFSET = 8,
    CAP_LENGTH = 12,
    CAP_SIZE = 16,
    CAP_EXTRA = 16, /* notify: the multiplier; pci: the data window */
};

/* struct virtio_pci_common_cfg (4.1.4.3). */
enum {
    COMMON_DEVICE_FEATURE_SELECT = 0x00,
    COMMON_DEVICE_FEATURE = 0x04,
    COMMON_DRIVER_FEATURE_SELECT = 0x08,
    COMMON_DRIVER_FEATURE = 0x0c,
    COMMON_CONFIG_VECTOR = 0x10,
    COMMON_NUM_QUEUES = 0x12,
    COMMON_STATUS = 0x14,
    COMMON_GENERATION = 0x15,
    COMMON_QUEUE_SELECT = 0x16,
    COMMON_QUEUE_SIZE = 0x18,
    COMMON_QUEUE_VECTOR = 0x1a,
    COMMON_QUEUE_ENABLE = 0x1c,
    COMMON_QUEUE_NOTIFY_OFF = 0x1e,
    COMMON_QUEUE_DESC = 0x20,
    COMMON_QUEUE_DRIVER = 0x28,
    COMMON_QUEUE_DEVICE = 0x30,
    COMMON_QUEUE_NOTIFY_DATA = 0x38,
    COMMON_QUEUE_RESET = 0x3a,
    COMMON_SIZE = 0x40,
};

_Static_assert((int)VIRTIO_MAX_QUEUES <= (int)MEM_BELLS, "each queue may have a bell");

#define REG(offset, size) ((uint32_t)(offset) << 4 | (size))

struct virtio_pci {
    struct pci_function pci; /* first; its lock is the device's */
    struct virtio_dev *vd;
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select, config_vector;
    uint8_t isr;
    uint8_t window; /* offset of the pci configuration access capability */
};

static struct virtio_pci *of(struct device *d)
{
    return CONTAINER_OF(d, struct virtio_pci, pci.dev);
}

/* ---- interrupts (4.1.5.3, 4.1.5.4) ---- */

static void set_isr(struct virtio_pci *p, uint8_t isr)
{
    p->isr = isr;
    pci_intx(&p->pci, isr && !pci_msix_enabled(&p->pci));
}

static void interrupt(struct virtio_pci *p, uint16_t vector, uint8_t isr)
{
    if (!pci_msix_enabled(&p->pci))
        set_isr(p, p->isr | isr);
    else if (vector != VIRTIO_NO_VECTOR)
        pci_msix_raise(&p->pci, vector);
}

static void notify_queue(void *opaque, struct virtqueue *q)
{
    interrupt(opaque, q->vector, VIRTIO_INTERRUPT_QUEUE);
}

static void notify_config(void *opaque)
{
    struct virtio_pci *p = opaque;
    interrupt(p, p->config_vector, VIRTIO_INTERRUPT_CONFIG);
}

static const struct virtio_transport_ops transport_ops = {.notify_queue = notify_queue,
                                                          .notify_config = notify_config};

static uint16_t checked_vector(const struct virtio_pci *p, uint64_t v)
{
    return v < p->pci.msix_count ? (uint16_t)v : VIRTIO_NO_VECTOR;
}

/* ---- common configuration ---- */

static uint8_t read_status(const struct virtio_pci *p)
{
    /* Not zero until requests of before the reset have ended: the driver waits for that before it reuses
     * memory. */
    if (!p->vd->status && virtio_reset_pending(p->vd))
        return VIRTIO_STATUS_NEEDS_RESET;
    return p->vd->status;
}

static uint64_t queue_read(const struct virtio_pci *p, uint32_t reg)
{
    if (p->queue_select >= p->vd->queues)
        return reg == REG(COMMON_QUEUE_VECTOR, 2) ? VIRTIO_NO_VECTOR : 0;
    const struct virtqueue *q = &p->vd->vq[p->queue_select];
    switch (reg) {
    case REG(COMMON_QUEUE_SIZE, 2):
        return q->size;
    case REG(COMMON_QUEUE_VECTOR, 2):
        return q->vector;
    case REG(COMMON_QUEUE_ENABLE, 2):
        return q->enabled;
    case REG(COMMON_QUEUE_NOTIFY_OFF, 2):
    case REG(COMMON_QUEUE_NOTIFY_DATA, 2):
        return q->index;
    case REG(COMMON_QUEUE_DESC, 4):
        return (uint32_t)q->desc;
    case REG(COMMON_QUEUE_DESC + 4, 4):
        return q->desc >> 32;
    case REG(COMMON_QUEUE_DRIVER, 4):
        return (uint32_t)q->avail;
    case REG(COMMON_QUEUE_DRIVER + 4, 4):
        return q->avail >> 32;
    case REG(COMMON_QUEUE_DEVICE, 4):
        return (uint32_t)q->used;
    case REG(COMMON_QUEUE_DEVICE + 4, 4):
        return q->used >> 32;
    case REG(COMMON_QUEUE_RESET, 2):
        return q->stale != 0;
    default:
        return 0;
    }
}

static uint64_t common_read(const struct virtio_pci *p, uint32_t reg)
{
    switch (reg) {
    case REG(COMMON_DEVICE_FEATURE_SELECT, 4):
        return p->device_feature_select;
    case REG(COMMON_DEVICE_FEATURE, 4):
        return virtio_feature_word(p->vd->features_offered, p->device_feature_select);
    case REG(COMMON_DRIVER_FEATURE_SELECT, 4):
        return p->driver_feature_select;
    case REG(COMMON_DRIVER_FEATURE, 4):
        return virtio_feature_word(p->vd->features, p->driver_feature_select);
    case REG(COMMON_CONFIG_VECTOR, 2):
        return p->config_vector;
    case REG(COMMON_NUM_QUEUES, 2):
        return p->vd->queues;
    case REG(COMMON_STATUS, 1):
        return read_status(p);
    case REG(COMMON_GENERATION, 1):
        return p->vd->config_generation;
    case REG(COMMON_QUEUE_SELECT, 2):
        return p->queue_select;
    default:
        return queue_read(p, reg);
    }
}

static void queue_write(struct virtio_pci *p, uint32_t reg, uint64_t v)
{
    unsigned n = p->queue_select;
    if (n >= p->vd->queues)
        return;
    struct virtqueue *q = &p->vd->vq[n];
    if (reg == REG(COMMON_QUEUE_VECTOR, 2))
        q->vector = checked_vector(p, v);
    else if (reg == REG(COMMON_QUEUE_RESET, 2) && v == 1 && q->enabled &&
             virtio_has(p->vd, VIRTIO_F_RING_RESET))
        virtio_queue_reset(p->vd, n);
    if (q->enabled)
        return;
    switch (reg) {
    case REG(COMMON_QUEUE_SIZE, 2):
        virtio_set_queue_size(p->vd, n, (uint32_t)v);
        break;
    case REG(COMMON_QUEUE_ENABLE, 2):
        if (v == 1)
            virtio_enable_queue(p->vd, n);
        break;
    case REG(COMMON_QUEUE_DESC, 4):
    case REG(COMMON_QUEUE_DESC + 4, 4):
        virtq_set_half(&q->desc, reg & REG(4, 0), (uint32_t)v);
        break;
    case REG(COMMON_QUEUE_DRIVER, 4):
    case REG(COMMON_QUEUE_DRIVER + 4, 4):
        virtq_set_half(&q->avail, reg & REG(4, 0), (uint32_t)v);
        break;
    case REG(COMMON_QUEUE_DEVICE, 4):
    case REG(COMMON_QUEUE_DEVICE + 4, 4):
        virtq_set_half(&q->used, reg & REG(4, 0), (uint32_t)v);
        break;
    default:
        break;
    }
}

/* What a reset of the device undoes on this side. */
static void forget(struct virtio_pci *p)
{
    p->config_vector = VIRTIO_NO_VECTOR;
    p->device_feature_select = p->driver_feature_select = 0;
    p->queue_select = 0;
    p->pci.msix_pending = 0;
    set_isr(p, 0);
}

static void common_write(struct virtio_pci *p, uint32_t reg, uint64_t v)
{
    switch (reg) {
    case REG(COMMON_DEVICE_FEATURE_SELECT, 4):
        p->device_feature_select = (uint32_t)v;
        break;
    case REG(COMMON_DRIVER_FEATURE_SELECT, 4):
        p->driver_feature_select = (uint32_t)v;
        break;
    case REG(COMMON_DRIVER_FEATURE, 4):
        virtio_set_features(p->vd, p->driver_feature_select, (uint32_t)v);
        break;
    case REG(COMMON_CONFIG_VECTOR, 2):
        p->config_vector = checked_vector(p, v);
        break;
    case REG(COMMON_STATUS, 1):
        virtio_set_status(p->vd, (uint8_t)v);
        if (!(uint8_t)v)
            forget(p);
        break;
    case REG(COMMON_QUEUE_SELECT, 2):
        p->queue_select = (uint16_t)v;
        break;
    default:
        queue_write(p, reg, v);
    }
}

/* ---- the BAR ---- */

static bool in_common(uint64_t off, unsigned size)
{
    return range_inside(off - VIRTIO_PCI_COMMON, size, COMMON_SIZE);
}

static uint64_t bar_read(void *opaque, uint64_t off, unsigned size)
{
    struct virtio_pci *p = opaque;
    if (pci_msix_covers(&p->pci, off))
        return pci_msix_read(&p->pci, off, size);
    if (in_common(off, size)) {
        if (size == 8) /* a driver should use two accesses; some use one */
            return common_read(p, REG(off - VIRTIO_PCI_COMMON, 4)) |
                   common_read(p, REG(off - VIRTIO_PCI_COMMON + 4, 4)) << 32;
        return common_read(p, REG(off - VIRTIO_PCI_COMMON, size));
    }
    if (off == VIRTIO_PCI_ISR) {
        uint8_t isr = p->isr;
        set_isr(p, 0);
        return isr;
    }
    if (off >= VIRTIO_PCI_DEVICE && off < VIRTIO_PCI_NOTIFY)
        return virtio_config_load(p->vd, (uint32_t)(off - VIRTIO_PCI_DEVICE), size);
    return 0;
}

static void bar_write(void *opaque, uint64_t off, unsigned size, uint64_t v)
{
    struct virtio_pci *p = opaque;
    if (off >= VIRTIO_PCI_NOTIFY && off < VIRTIO_PCI_MSIX_TABLE) {
        virtio_kick(p->vd, (unsigned)((off - VIRTIO_PCI_NOTIFY) / VIRTIO_PCI_NOTIFY_STEP));
    } else if (pci_msix_covers(&p->pci, off)) {
        pci_msix_write(&p->pci, off, size, v);
    } else if (in_common(off, size)) {
        common_write(p, REG(off - VIRTIO_PCI_COMMON, size == 8 ? 4 : size), v);
        if (size == 8)
            common_write(p, REG(off - VIRTIO_PCI_COMMON + 4, 4), v >> 32);
    } else if (off >= VIRTIO_PCI_DEVICE && off < VIRTIO_PCI_NOTIFY) {
        virtio_config_store(p->vd, (uint32_t)(off - VIRTIO_PCI_DEVICE), size, v);
    }
}

static const struct mem_ops bar_ops = {.read = bar_read, .write = bar_write};

/* ---- the BAR through configuration space (4.1.4.9): for drivers that cannot map it ---- */

/* The access that the window stands for, if `off..off+len` of configuration space touches its data. */
static bool window_access(struct virtio_pci *p, unsigned off, unsigned len, uint32_t *at, uint32_t *size)
{
    if (!range_overlap(off, len, p->window + CAP_EXTRA, 4))
        return false;
    const uint8_t *cap = p->pci.config + p->window;
    *at = pci_get32(cap, CAP_OFFSET);
    *size = pci_get32(cap, CAP_LENGTH);
    return cap[CAP_BAR] == 0 && (*size == 1 || *size == 2 || *size == 4) && !(*at & (*size - 1)) &&
           range_inside(*at, *size, VIRTIO_PCI_BAR_SIZE);
}

static void config_reading(struct pci_function *f, unsigned off, unsigned len)
{
    struct virtio_pci *p = of(&f->dev);
    uint32_t at, size;
    if (window_access(p, off, len, &at, &size))
        pci_put32(f->config, p->window + CAP_EXTRA, (uint32_t)bar_read(p, at, size));
}

static void config_written(struct pci_function *f, unsigned off, unsigned len)
{
    struct virtio_pci *p = of(&f->dev);
    uint32_t at, size;
    if (window_access(p, off, len, &at, &size)) {
        uint32_t v = pci_get32(f->config, p->window + CAP_EXTRA);
        bar_write(p, at, size, size == 4 ? v : v & ((1u << (8 * size)) - 1));
    }
    if (range_overlap(off, len, f->msix_cap + PCI_MSIX_CONTROL, 2))
        set_isr(p, p->isr);
    if (range_overlap(off, len, PCI_REG_COMMAND, 2))
        virtio_dma(p->vd, pci_bus_master(f));
}

static unsigned add_cap(struct virtio_pci *p, uint8_t type, uint32_t offset, uint32_t length, unsigned extra)
{
    unsigned at = pci_add_cap(&p->pci, PCI_CAP_VENDOR, CAP_SIZE + extra);
    uint8_t *cap = p->pci.config + at;
    cap[CAP_LEN] = (uint8_t)(CAP_SIZE + extra);
    cap[CAP_TYPE] = type;
    pci_put32(cap, CAP_OFFSET, offset);
    pci_put32(cap, CAP_LENGTH, length);
    return at;
}

static void add_caps(struct virtio_pci *p)
{
    add_cap(p, CAP_COMMON, VIRTIO_PCI_COMMON, COMMON_SIZE, 0);
    add_cap(p, CAP_ISR, VIRTIO_PCI_ISR, 4, 0);
    if (p->vd->vops->config_size)
        add_cap(p, CAP_DEVICE, VIRTIO_PCI_DEVICE, (uint32_t)align_up(p->vd->vops->config_size, 4), 0);
    unsigned notify = add_cap(p, CAP_NOTIFY, VIRTIO_PCI_NOTIFY, p->vd->queues * VIRTIO_PCI_NOTIFY_STEP, 4);
    pci_put32(p->pci.config, notify + CAP_EXTRA, VIRTIO_PCI_NOTIFY_STEP);
    unsigned window = add_cap(p, CAP_PCI, 0, 0, 4);
    p->window = (uint8_t)window;
    p->pci.wmask[window + CAP_BAR] = 0xff;
    memset(p->pci.wmask + window + CAP_OFFSET, 0xff, 12);
}

/* ---- as a device ---- */

static void transport_reset(struct device *d)
{
    struct virtio_pci *p = of(d);
    forget(p);
    pci_function_reset(&p->pci);
    virtio_dma(p->vd, pci_bus_master(&p->pci));
}

static const struct field fields[] = {
    FIELD(struct virtio_pci, device_feature_select),
    FIELD(struct virtio_pci, driver_feature_select),
    FIELD(struct virtio_pci, queue_select),
    FIELD(struct virtio_pci, config_vector),
    FIELD(struct virtio_pci, isr, .max = VIRTIO_INTERRUPT_QUEUE | VIRTIO_INTERRUPT_CONFIG),
};

static const struct field_table table = {
    .name = "virtio-pci", .version = 1, .fields = fields, .count = ARRAY_LEN(fields)};

static unsigned transport_saved(struct device *d, struct saved *out, unsigned max)
{
    struct virtio_pci *p = of(d);
    CHECK(max >= 2);
    out[0] = (struct saved){.table = &pci_function_table, .obj = &p->pci, .instance = p->pci.slot};
    out[1] = (struct saved){.table = &table, .obj = p, .instance = p->pci.slot};
    return 2;
}

static int transport_loaded(struct device *d, struct err *e)
{
    struct virtio_pci *p = of(d);
    p->config_vector = checked_vector(p, p->config_vector);
    for (unsigned i = 0; i < p->vd->queues; i++)
        p->vd->vq[i].vector = checked_vector(p, p->vd->vq[i].vector);
    p->vd->no_dma = !pci_bus_master(&p->pci);
    int rc = pci_function_loaded(&p->pci, e);
    set_isr(p, p->isr);
    return rc;
}

static void transport_free(struct device *d)
{
    struct virtio_pci *p = of(d);
    pci_function_unplug(&p->pci);
    free(p);
}

static const struct device_ops device_ops = {.kind = "virtio-pci",
                                             .reset = transport_reset,
                                             .saved = transport_saved,
                                             .loaded = transport_loaded,
                                             .free = transport_free};

/* Class codes by which firmware finds devices (PCI Code and ID Assignment 1.11). */
static uint32_t class_of(uint32_t id)
{
    switch (id) {
    case VIRTIO_ID_NET:
        return 0x020000;
    case VIRTIO_ID_BLOCK:
        return 0x018000; /* "other mass storage": 0x0100 is a SCSI controller, which it is not */
    case VIRTIO_ID_CONSOLE:
        return 0x078000;
    default:
        return 0x00ff00;
    }
}

struct device *virtio_pci_new(struct pci_root *root, unsigned slot, struct virtio_dev *d, struct err *e)
{
    struct virtio_pci *p = calloc(1, sizeof(*p));
    if (!p) {
        err_set(e, ENOMEM, "%s: out of memory", d->name);
        return NULL;
    }
    uint32_t id = d->vops->id;
    p->vd = d;
    p->config_vector = VIRTIO_NO_VECTOR;
    pci_function_init(&p->pci, &device_ops, slot, PCI_VENDOR_VIRTIO, (uint16_t)(PCI_DEVICE_VIRTIO + id),
                      class_of(id) << 8 | PCI_REVISION);
    p->pci.dev.inner = &d->dev;
    pci_put16(p->pci.config, PCI_REG_SUBSYSTEM_VENDOR, PCI_VENDOR_VIRTIO);
    pci_put16(p->pci.config, PCI_REG_SUBSYSTEM, PCI_DEVICE_VIRTIO + id);
    p->pci.config[PCI_REG_INTERRUPT_PIN] = 1;
    p->pci.config_reading = config_reading;
    p->pci.config_written = config_written;
    struct pci_bar bar = {.size = VIRTIO_PCI_BAR_SIZE, .mem64 = true, .ops = &bar_ops, .opaque = p};
    for (unsigned i = 0; i < d->queues; i++)
        if (d->vq[i].bell >= 0)
            bar.bell[bar.bells++] =
                (struct mem_bell){VIRTIO_PCI_NOTIFY + i * VIRTIO_PCI_NOTIFY_STEP, d->vq[i].bell};
    pci_set_bar(&p->pci, 0, &bar);
    int rc = pci_add_msix(&p->pci, d->queues + 1, 0, VIRTIO_PCI_MSIX_TABLE, VIRTIO_PCI_MSIX_PBA, e);
    add_caps(p);
    if (!rc) {
        virtio_attach(d, &transport_ops, p, &p->pci.dev.lock);
        d->no_dma = true;
        rc = pci_function_plug(root, &p->pci, slot, e);
    }
    if (rc) {
        virtio_attach(d, NULL, NULL, &d->dev.lock);
        pci_function_unplug(&p->pci);
        free(p);
        return NULL;
    }
    return &p->pci.dev;
}
