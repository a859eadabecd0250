#include "device/pc/ioapic.h"
#include <errno.h>
#include <stdlib.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "guest/mem.h"

enum { MMIO_SIZE = 0x1000, MMIO_SELECT = 0x00, MMIO_WINDOW = 0x10, MMIO_EOI = 0x40 };
enum { REG_ID, REG_VERSION, REG_ARBITRATION, REG_TABLE = 0x10, VERSION = 0x20 };

/* A redirection table entry (data sheet 3.2.4). */
#define RTE_VECTOR     0xffull
#define RTE_MODE       0x700ull
#define RTE_LOGICAL    (1ull << 11)
#define RTE_REMOTE_IRR (1ull << 14)
#define RTE_LEVEL      (1ull << 15)
#define RTE_MASKED     (1ull << 16)
#define RTE_WRITABLE   0xff0000000001afffull
#define RTE_KNOWN      (RTE_WRITABLE | RTE_REMOTE_IRR)

#define MSI_BASE   0xfee00000ull
#define MSI_ASSERT (1u << 14)
#define MSI_LEVEL  (1u << 15)

struct ioapic {
    struct device dev;
    struct ioapic_config cfg;
    struct mem_region *region;
    uint8_t id, select;
    uint32_t lines; /* input wires now */
    uint64_t rte[IOAPIC_INPUTS];
};

static struct ioapic *of(struct device *d)
{
    return (struct ioapic *)(void *)d;
}

/* The message of an entry: destination and mode travel in the same places of a PCI message (SDM 3A 11.11). */
static void send(struct ioapic *a, uint64_t rte)
{
    struct msi_message m = {
        .address = MSI_BASE | (rte >> 56) << 12 | ((rte & RTE_LOGICAL) ? 4 : 0),
        .data = (uint32_t)(rte & (RTE_VECTOR | RTE_MODE)) | MSI_ASSERT | ((rte & RTE_LEVEL) ? MSI_LEVEL : 0),
    };
    if (a->cfg.msi.send)
        a->cfg.msi.send(a->cfg.msi.opaque, m);
}

/* A level-triggered input that is asserted, not masked and not in service is sent. */
static void serve_level(struct ioapic *a, unsigned pin)
{
    uint64_t rte = a->rte[pin];
    if (!(a->lines >> pin & 1) || !(rte & RTE_LEVEL) || (rte & (RTE_MASKED | RTE_REMOTE_IRR)))
        return;
    a->rte[pin] = rte | RTE_REMOTE_IRR;
    send(a, rte);
}

static void ioapic_set(void *opaque, unsigned pin, bool level)
{
    struct ioapic *a = opaque;
    lock_take(&a->dev.lock);
    bool was = a->lines >> pin & 1;
    a->lines = level ? a->lines | 1u << pin : a->lines & ~(1u << pin);
    if (a->rte[pin] & RTE_LEVEL)
        serve_level(a, pin);
    else if (level && !was && !(a->rte[pin] & RTE_MASKED))
        send(a, a->rte[pin]); /* an edge at a masked input is ignored (3.2.4, bit 16) */
    lock_drop(&a->dev.lock);
}

struct irq_line ioapic_input(struct ioapic *a, unsigned pin)
{
    CHECK(pin < IOAPIC_INPUTS);
    return (struct irq_line){ioapic_set, a, pin};
}

static void eoi_locked(struct ioapic *a, uint8_t vector)
{
    for (unsigned pin = 0; pin < IOAPIC_INPUTS; pin++) {
        if ((a->rte[pin] & RTE_VECTOR) != vector || !(a->rte[pin] & RTE_REMOTE_IRR))
            continue;
        a->rte[pin] &= ~RTE_REMOTE_IRR;
        serve_level(a, pin);
    }
}

void ioapic_eoi(struct ioapic *a, uint8_t vector)
{
    lock_take(&a->dev.lock);
    eoi_locked(a, vector);
    lock_drop(&a->dev.lock);
}

void ioapic_refresh(struct ioapic *a)
{
    lock_take(&a->dev.lock);
    for (unsigned pin = 0; pin < IOAPIC_INPUTS; pin++)
        serve_level(a, pin);
    lock_drop(&a->dev.lock);
}

static uint32_t read_window(const struct ioapic *a)
{
    unsigned i = a->select - REG_TABLE;
    switch (a->select) {
    case REG_ID:
    case REG_ARBITRATION:
        return (uint32_t)a->id << 24;
    case REG_VERSION:
        return VERSION | (IOAPIC_INPUTS - 1) << 16;
    default:
        if (a->select < REG_TABLE || i >= 2 * IOAPIC_INPUTS)
            return 0;
        return (uint32_t)(a->rte[i / 2] >> (i & 1 ? 32 : 0));
    }
}

static void write_entry(struct ioapic *a, unsigned i, uint32_t v)
{
    uint64_t old = a->rte[i / 2], half = i & 1 ? 0xffffffffull << 32 : 0xffffffffull;
    uint64_t rte = (old & ~half) | ((uint64_t)v << (i & 1 ? 32 : 0));
    rte = (rte & RTE_WRITABLE) | (old & RTE_REMOTE_IRR);
    if (!(rte & RTE_LEVEL))
        rte &= ~RTE_REMOTE_IRR; /* systems without the EOI register clear it by a turn through edge mode */
    a->rte[i / 2] = rte;
    serve_level(a, i / 2);
}

static void write_window(struct ioapic *a, uint32_t v)
{
    if (a->select == REG_ID)
        a->id = v >> 24 & 0x0f;
    else if (a->select >= REG_TABLE && a->select < REG_TABLE + 2 * IOAPIC_INPUTS)
        write_entry(a, a->select - REG_TABLE, v);
}

/* Registers are 32 bits wide, on 16-byte boundaries; a narrower access sees the low part. */
static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ioapic *a = opaque;
    (void)size;
    if (offset == MMIO_SELECT)
        return a->select;
    return offset == MMIO_WINDOW ? read_window(a) : 0;
}

static void ioapic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *a = opaque;
    (void)size;
    if (offset == MMIO_SELECT)
        a->select = (uint8_t)value;
    else if (offset == MMIO_WINDOW)
        write_window(a, (uint32_t)value);
    else if (offset == MMIO_EOI)
        eoi_locked(a, (uint8_t)value);
}

/* ---- the device ---- */

static const struct field ioapic_fields[] = {
    FIELD(struct ioapic, id, .max = 0x0f),
    FIELD(struct ioapic, select),
    FIELD(struct ioapic, lines, .max = (1u << IOAPIC_INPUTS) - 1),
    FIELD_ARRAY(struct ioapic, rte),
};

static int ioapic_post_load(void *obj, struct err *e)
{
    struct ioapic *a = obj;
    for (unsigned i = 0; i < IOAPIC_INPUTS; i++)
        if (a->rte[i] & ~RTE_KNOWN)
            return err_set(e, EINVAL, "ioapic: redirection entry %u has unknown bits set: 0x%llx", i,
                           (unsigned long long)a->rte[i]);
    return 0;
}

static const struct field_table ioapic_table = {"ioapic", 1, ioapic_fields, ARRAY_LEN(ioapic_fields),
                                                ioapic_post_load};

static unsigned ioapic_saved(struct device *d, struct saved *out, unsigned max)
{
    if (max)
        out[0] = (struct saved){&ioapic_table, d, d->instance};
    return max ? 1 : 0;
}

/* The wires are the devices'; everything else as after power-on. */
static void ioapic_reset(struct device *d)
{
    struct ioapic *a = of(d);
    a->id = a->cfg.id & 0x0f;
    a->select = 0;
    for (unsigned i = 0; i < IOAPIC_INPUTS; i++)
        a->rte[i] = RTE_MASKED;
}

static void ioapic_free(struct device *d)
{
    struct ioapic *a = of(d);
    mem_remove(a->cfg.mem, a->region);
    device_fini(d);
    free(a);
}

static const struct device_ops ioapic_device_ops = {
    .kind = "ioapic",
    .reset = ioapic_reset,
    .saved = ioapic_saved,
    .free = ioapic_free,
};

static const struct mem_ops ioapic_mem_ops = {ioapic_read, ioapic_write, .max_size = 4};

struct ioapic *ioapic_new(const struct ioapic_config *cfg, struct err *e)
{
    struct ioapic *a = calloc(1, sizeof(*a));
    if (!a) {
        err_set(e, ENOMEM, "ioapic: out of memory");
        return NULL;
    }
    a->cfg = *cfg;
    device_init_rank(&a->dev, &ioapic_device_ops, 0, LOCK_IRQ);
    ioapic_reset(&a->dev);
    struct mem_region r = {
        .name = "ioapic",
        .base = cfg->base,
        .size = MMIO_SIZE,
        .kind = MEM_MMIO,
        .ops = &ioapic_mem_ops,
        .opaque = a,
        .lock = &a->dev.lock,
    };
    a->region = mem_add(cfg->mem, &r, e);
    if (!a->region) {
        device_fini(&a->dev);
        free(a);
        return NULL;
    }
    return a;
}

struct device *ioapic_device(struct ioapic *a)
{
    return &a->dev;
}
