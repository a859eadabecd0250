#include "device/pc/sysctl.h"
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"

enum { PORTA_RESET = 0x01, PORTA_A20 = 0x02, PVPANIC_EVENTS = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED };

struct sysctl {
    struct device dev;
    struct sysctl_config cfg;
    uint8_t port_a;
};

static struct sysctl *of(struct device *d)
{
    return (struct sysctl *)(void *)d;
}

static uint32_t port_a_read(void *opaque, uint16_t offset, unsigned size)
{
    const struct sysctl *s = opaque;
    (void)offset;
    (void)size;
    return s->port_a;
}

/* Reset is taken on the bit's rise. */
static void port_a_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct sysctl *s = opaque;
    uint8_t was = s->port_a;
    (void)offset;
    (void)size;
    s->port_a = value & (PORTA_RESET | PORTA_A20);
    if ((s->port_a & ~was & PORTA_RESET) && s->cfg.reset)
        s->cfg.reset(s->cfg.opaque);
}

static uint32_t panic_read(void *opaque, uint16_t offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    return PVPANIC_EVENTS;
}

static void panic_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct sysctl *s = opaque;
    (void)offset;
    (void)size;
    if ((value & PVPANIC_EVENTS) && s->cfg.panic)
        s->cfg.panic(s->cfg.opaque, value & PVPANIC_EVENTS);
}

static const struct field sysctl_fields[] = {FIELD(struct sysctl, port_a, .max = PORTA_RESET | PORTA_A20)};
static const struct field_table sysctl_table = {"sysctl", 1, sysctl_fields, ARRAY_LEN(sysctl_fields), NULL};

static unsigned sysctl_saved(struct device *d, struct saved *out, unsigned max)
{
    if (max)
        out[0] = (struct saved){&sysctl_table, d, d->instance};
    return max ? 1 : 0;
}

static void sysctl_reset(struct device *d)
{
    of(d)->port_a = PORTA_A20;
}

static void sysctl_free(struct device *d)
{
    struct sysctl *s = of(d);
    bus_release(s->cfg.bus, s->cfg.port_a, 1);
    bus_release(s->cfg.bus, s->cfg.pvpanic_port, 1);
    device_fini(d);
    free(s);
}

static const struct device_ops sysctl_device_ops = {
    .kind = "sysctl",
    .reset = sysctl_reset,
    .saved = sysctl_saved,
    .free = sysctl_free,
};

static const struct bus_ops port_a_ops = {port_a_read, port_a_write, .max_size = 1};
static const struct bus_ops panic_ops = {panic_read, panic_write, .max_size = 1};

struct sysctl *sysctl_new(const struct sysctl_config *cfg, struct err *e)
{
    struct sysctl *s = calloc(1, sizeof(*s));
    if (!s) {
        err_set(e, ENOMEM, "sysctl: out of memory");
        return NULL;
    }
    s->cfg = *cfg;
    device_init(&s->dev, &sysctl_device_ops, 0);
    sysctl_reset(&s->dev);
    if (bus_claim(cfg->bus, "system control port A", cfg->port_a, 1, &port_a_ops, s, &s->dev.lock, e))
        goto fail;
    if (bus_claim(cfg->bus, "pvpanic", cfg->pvpanic_port, 1, &panic_ops, s, &s->dev.lock, e))
        goto fail_port_a;
    return s;
fail_port_a:
    bus_release(cfg->bus, cfg->port_a, 1);
fail:
    device_fini(&s->dev);
    free(s);
    return NULL;
}

struct device *sysctl_device(struct sysctl *s)
{
    return &s->dev;
}
