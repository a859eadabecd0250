#include "device/pc/testdev.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"
#include "guest/mem.h"

enum { REG_ECHO = 0, REG_FLUSH = 4, REG_ECHO_BYTES = 8, TESTDEV_PORTS = 12 };

struct testdev {
    struct device dev;
    struct testdev_config cfg;
    struct mem_region *region;
    uint8_t echo[4];
    uint32_t lines; /* interrupt wires as written */
    uint8_t iomem[TESTDEV_IOMEM];
};

static struct testdev *of(struct device *d)
{
    return (struct testdev *)(void *)d;
}

static uint32_t port_read(void *opaque, uint16_t offset, unsigned size)
{
    struct testdev *t = opaque;
    uint32_t v = 0;
    if (offset >= REG_FLUSH && offset < REG_ECHO_BYTES)
        return 0;
    for (unsigned i = 0; i < size; i++)
        v |= (uint32_t)t->echo[(offset + i) & 3] << (8 * i);
    return v;
}

static void port_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct testdev *t = opaque;
    if (offset >= REG_FLUSH && offset < REG_ECHO_BYTES)
        return;
    for (unsigned i = 0; i < size; i++)
        t->echo[(offset + i) & 3] = (uint8_t)(value >> (8 * i));
}

static uint32_t irq_read(void *opaque, uint16_t offset, unsigned size)
{
    const struct testdev *t = opaque;
    (void)size;
    return t->lines >> offset & 1;
}

static void irq_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct testdev *t = opaque;
    (void)size;
    t->lines = value ? t->lines | 1u << offset : t->lines & ~(1u << offset);
    irq_set(&t->cfg.irq[offset], value != 0);
}

static uint64_t iomem_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct testdev *t = opaque;
    uint64_t v = 0;
    memcpy(&v, &t->iomem[offset], size);
    return v;
}

static void iomem_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct testdev *t = opaque;
    memcpy(&t->iomem[offset], &value, size);
}

static const struct field testdev_fields[] = {
    FIELD_BLOB(struct testdev, echo),
    FIELD(struct testdev, lines, .max = (1u << TESTDEV_LINES) - 1),
    FIELD_BLOB(struct testdev, iomem),
};

static const struct field_table testdev_table = {"testdev", 1, testdev_fields, ARRAY_LEN(testdev_fields),
                                                 NULL};

static unsigned testdev_saved(struct device *d, struct saved *out, unsigned max)
{
    if (max)
        out[0] = (struct saved){&testdev_table, d, d->instance};
    return max ? 1 : 0;
}

static int testdev_loaded(struct device *d, struct err *e)
{
    struct testdev *t = of(d);
    (void)e;
    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        if (t->lines >> i & 1)
            irq_set(&t->cfg.irq[i], true);
    return 0;
}

static void testdev_reset(struct device *d)
{
    struct testdev *t = of(d);
    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        if (t->lines >> i & 1)
            irq_set(&t->cfg.irq[i], false);
    t->lines = 0;
    memset(t->echo, 0, sizeof(t->echo));
    memset(t->iomem, 0, sizeof(t->iomem));
}

static void testdev_free(struct device *d)
{
    struct testdev *t = of(d);
    mem_remove(t->cfg.mem, t->region);
    bus_release(t->cfg.bus, t->cfg.irq_port, TESTDEV_LINES);
    bus_release(t->cfg.bus, t->cfg.port, TESTDEV_PORTS);
    device_fini(d);
    free(t);
}

static const struct device_ops testdev_device_ops = {
    .kind = "testdev",
    .reset = testdev_reset,
    .saved = testdev_saved,
    .loaded = testdev_loaded,
    .free = testdev_free,
};

static const struct bus_ops port_ops = {port_read, port_write, .max_size = 4};
static const struct bus_ops irq_ops = {irq_read, irq_write, .max_size = 1};
static const struct mem_ops iomem_ops = {iomem_read, iomem_write, .max_size = 8};

struct testdev *testdev_new(const struct testdev_config *cfg, struct err *e)
{
    struct testdev *t = calloc(1, sizeof(*t));
    if (!t) {
        err_set(e, ENOMEM, "testdev: out of memory");
        return NULL;
    }
    t->cfg = *cfg;
    device_init(&t->dev, &testdev_device_ops, 0);
    if (bus_claim(cfg->bus, "testdev", cfg->port, TESTDEV_PORTS, &port_ops, t, &t->dev.lock, e))
        goto fail;
    if (bus_claim(cfg->bus, "testdev irq", cfg->irq_port, TESTDEV_LINES, &irq_ops, t, &t->dev.lock, e))
        goto fail_port;
    struct mem_region r = {
        .name = "testdev",
        .base = cfg->iomem,
        .size = TESTDEV_IOMEM,
        .kind = MEM_MMIO,
        .ops = &iomem_ops,
        .opaque = t,
        .lock = &t->dev.lock,
    };
    t->region = mem_add(cfg->mem, &r, e);
    if (!t->region)
        goto fail_irq;
    return t;
fail_irq:
    bus_release(cfg->bus, cfg->irq_port, TESTDEV_LINES);
fail_port:
    bus_release(cfg->bus, cfg->port, TESTDEV_PORTS);
fail:
    device_fini(&t->dev);
    free(t);
    return NULL;
}

struct device *testdev_device(struct testdev *t)
{
    return &t->dev;
}
