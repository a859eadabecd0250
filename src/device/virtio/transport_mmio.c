#include "device/virtio/transport_mmio.h"
#include <errno.h>
#include <stdlib.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "device/virtio/regs.h"
#include "device/virtio/virtio.h"
#include "guest/mem.h"

/* Registers (4.2.2), all of 32 bits; device configuration from 0x100 on in any size. */
enum {
    REG_MAGIC = 0x000,
    REG_VERSION = 0x004,
    REG_DEVICE_ID = 0x008,
    REG_VENDOR_ID = 0x00c,
    REG_DEVICE_FEATURES = 0x010,
    REG_DEVICE_FEATURES_SEL = 0x014,
    REG_DRIVER_FEATURES = 0x020,
    REG_DRIVER_FEATURES_SEL = 0x024,
    REG_QUEUE_SEL = 0x030,
    REG_QUEUE_NUM_MAX = 0x034,
    REG_QUEUE_NUM = 0x038,
    REG_QUEUE_READY = 0x044,
    REG_QUEUE_NOTIFY = 0x050,
    REG_INTERRUPT_STATUS = 0x060,
    REG_INTERRUPT_ACK = 0x064,
    REG_STATUS = 0x070,
    REG_QUEUE_DESC = 0x080,
    REG_QUEUE_DRIVER = 0x090,
    REG_QUEUE_DEVICE = 0x0a0,
    REG_SHM_LEN_LOW = 0x0b0,
    REG_SHM_BASE_HIGH = 0x0bc,
    REG_QUEUE_RESET = 0x0c0,
    REG_CONFIG_GENERATION = 0x0fc,
    REG_CONFIG = 0x100,
};

#define MAGIC     0x74726976u /* "virt" */
#define VENDOR_ID 0x4547494cu /* "LIGE" */
enum { VERSION = 2 };

struct virtio_mmio {
    struct device dev; /* first; its lock is the virtio device's */
    struct virtio_mmio_config cfg;
    struct virtio_dev *vd;
    struct mem_region *region;
    uint32_t device_features_sel, driver_features_sel, queue_sel;
    uint8_t interrupt_status;
};

static struct virtio_mmio *of(struct device *d)
{
    return CONTAINER_OF(d, struct virtio_mmio, dev);
}

static void set_interrupt(struct virtio_mmio *m, uint8_t status)
{
    m->interrupt_status = status;
    irq_set(&m->cfg.irq, status != 0);
}

static void notify_queue(void *opaque, struct virtqueue *q)
{
    struct virtio_mmio *m = opaque;
    (void)q;
    set_interrupt(m, m->interrupt_status | VIRTIO_INTERRUPT_QUEUE);
}

static void notify_config(void *opaque)
{
    struct virtio_mmio *m = opaque;
    set_interrupt(m, m->interrupt_status | VIRTIO_INTERRUPT_CONFIG);
}

static const struct virtio_transport_ops transport_ops = {.notify_queue = notify_queue,
                                                          .notify_config = notify_config};

/* The selected queue, or NULL. */
static struct virtqueue *selected(struct virtio_mmio *m)
{
    return m->queue_sel < m->vd->queues ? &m->vd->vq[m->queue_sel] : NULL;
}

static uint32_t reg_read(struct virtio_mmio *m, uint64_t off)
{
    struct virtqueue *q = selected(m);
    switch (off) {
    case REG_MAGIC:
        return MAGIC;
    case REG_VERSION:
        return VERSION;
    case REG_DEVICE_ID:
        return m->vd->vops->id;
    case REG_VENDOR_ID:
        return VENDOR_ID;
    case REG_DEVICE_FEATURES:
        return virtio_feature_word(m->vd->features_offered, m->device_features_sel);
    case REG_QUEUE_NUM_MAX:
        return q ? q->max_size : 0;
    case REG_QUEUE_READY:
        return q && q->enabled;
    case REG_INTERRUPT_STATUS:
        return m->interrupt_status;
    case REG_STATUS:
        /* As it is even while old requests end: this transport's drivers do not wait (4.2.3.1), but read, add
         * a bit and write. */
        return m->vd->status;
    case REG_QUEUE_RESET:
        return q && q->stale;
    case REG_CONFIG_GENERATION:
        return m->vd->config_generation;
    default:
        /* There is no shared memory region: its length and base read as all ones (4.2.2.1). */
        return off >= REG_SHM_LEN_LOW && off <= REG_SHM_BASE_HIGH ? UINT32_MAX : 0;
    }
}

static void queue_write(struct virtio_mmio *m, uint64_t off, uint32_t v)
{
    struct virtqueue *q = selected(m);
    if (!q)
        return;
    if (q->enabled) {
        if ((off == REG_QUEUE_READY && !v) ||
            (off == REG_QUEUE_RESET && v == 1 && virtio_has(m->vd, VIRTIO_F_RING_RESET)))
            virtio_queue_reset(m->vd, m->queue_sel);
        return;
    }
    switch (off) {
    case REG_QUEUE_NUM:
        virtio_set_queue_size(m->vd, m->queue_sel, v);
        break;
    case REG_QUEUE_READY:
        if (v == 1)
            virtio_enable_queue(m->vd, m->queue_sel);
        break;
    case REG_QUEUE_DESC:
    case REG_QUEUE_DESC + 4:
        virtq_set_half(&q->desc, off & 4, v);
        break;
    case REG_QUEUE_DRIVER:
    case REG_QUEUE_DRIVER + 4:
        virtq_set_half(&q->avail, off & 4, v);
        break;
    case REG_QUEUE_DEVICE:
    case REG_QUEUE_DEVICE + 4:
        virtq_set_half(&q->used, off & 4, v);
        break;
    default:
        break;
    }
}

static void forget(struct virtio_mmio *m)
{
    m->device_features_sel = m->driver_features_sel = m->queue_sel = 0;
    set_interrupt(m, 0);
}

static void reg_write(struct virtio_mmio *m, uint64_t off, uint32_t v)
{
    switch (off) {
    case REG_DEVICE_FEATURES_SEL:
        m->device_features_sel = v;
        break;
    case REG_DRIVER_FEATURES:
        virtio_set_features(m->vd, m->driver_features_sel, v);
        break;
    case REG_DRIVER_FEATURES_SEL:
        m->driver_features_sel = v;
        break;
    case REG_QUEUE_SEL:
        m->queue_sel = v;
        break;
    case REG_QUEUE_NOTIFY:
        virtio_kick(m->vd, v);
        break;
    case REG_INTERRUPT_ACK:
        set_interrupt(m, (uint8_t)(m->interrupt_status & ~v));
        break;
    case REG_STATUS:
        virtio_set_status(m->vd, (uint8_t)v);
        if (!(uint8_t)v)
            forget(m);
        break;
    default:
        queue_write(m, off, v);
    }
}

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned size)
{
    struct virtio_mmio *m = opaque;
    if (off >= REG_CONFIG)
        return virtio_config_load(m->vd, (uint32_t)(off - REG_CONFIG), size);
    return size == 4 ? reg_read(m, off) : 0;
}

static void mmio_write(void *opaque, uint64_t off, unsigned size, uint64_t v)
{
    struct virtio_mmio *m = opaque;
    if (off >= REG_CONFIG)
        virtio_config_store(m->vd, (uint32_t)(off - REG_CONFIG), size, v);
    else if (size == 4)
        reg_write(m, off, (uint32_t)v);
}

static const struct mem_ops mmio_ops = {.read = mmio_read, .write = mmio_write};

/* ---- as a device ---- */

static void transport_reset(struct device *d)
{
    forget(of(d));
}

static const struct field fields[] = {
    FIELD(struct virtio_mmio, device_features_sel),
    FIELD(struct virtio_mmio, driver_features_sel),
    FIELD(struct virtio_mmio, queue_sel),
    FIELD(struct virtio_mmio, interrupt_status, .max = VIRTIO_INTERRUPT_QUEUE | VIRTIO_INTERRUPT_CONFIG),
};

static const struct field_table table = {
    .name = "virtio-mmio", .version = 1, .fields = fields, .count = ARRAY_LEN(fields)};

static unsigned transport_saved(struct device *d, struct saved *out, unsigned max)
{
    struct virtio_mmio *m = of(d);
    CHECK(max >= 1);
    out[0] = (struct saved){.table = &table, .obj = m, .instance = d->instance};
    return 1;
}

static int transport_loaded(struct device *d, struct err *e)
{
    struct virtio_mmio *m = of(d);
    (void)e;
    set_interrupt(m, m->interrupt_status);
    return 0;
}

static void transport_free(struct device *d)
{
    struct virtio_mmio *m = of(d);
    if (m->region)
        mem_remove(m->cfg.mem, m->region);
    device_fini(d);
    free(m);
}

static const struct device_ops device_ops = {.kind = "virtio-mmio",
                                             .reset = transport_reset,
                                             .saved = transport_saved,
                                             .loaded = transport_loaded,
                                             .free = transport_free};

struct device *virtio_mmio_new(const struct virtio_mmio_config *cfg, struct virtio_dev *d, struct err *e)
{
    struct virtio_mmio *m = calloc(1, sizeof(*m));
    if (!m) {
        err_set(e, ENOMEM, "%s: out of memory", d->name);
        return NULL;
    }
    m->cfg = *cfg;
    m->vd = d;
    device_init(&m->dev, &device_ops, cfg->slot);
    m->dev.inner = &d->dev;
    const struct mem_region region = {.name = "virtio-mmio",
                                      .base = cfg->base,
                                      .size = VIRTIO_MMIO_SIZE,
                                      .kind = MEM_MMIO,
                                      .ops = &mmio_ops,
                                      .opaque = m,
                                      .lock = &m->dev.lock};
    virtio_attach(d, &transport_ops, m, &m->dev.lock);
    m->region = mem_add(cfg->mem, &region, e);
    if (!m->region) {
        virtio_attach(d, NULL, NULL, &d->dev.lock);
        device_fini(&m->dev);
        free(m);
        return NULL;
    }
    return &m->dev;
}
