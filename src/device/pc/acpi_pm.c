#include "device/pc/acpi_pm.h"
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/log.h"
#include "base/range.h"
#include "base/ratelimit.h"
#include "guest/bus.h"

enum { SLP_EN = 0x20, SLP_TYP_SHIFT = 2, SLP_TYP_MASK = 7, WAK_STS = 0x80 };

struct acpi_pm {
    struct device dev;
    struct acpi_pm_config cfg;
    struct ratelimit complaints;
    uint8_t events, sleep_type, sleep_status;
};

static struct acpi_pm *of(struct device *d)
{
    return (struct acpi_pm *)(void *)d;
}

static uint32_t pm_read(void *opaque, uint16_t offset, unsigned size)
{
    struct acpi_pm *a = opaque;
    (void)size;
    uint8_t v = 0;
    if (offset == ACPI_PM_SLEEP_CONTROL) {
        v = (uint8_t)(a->sleep_type << SLP_TYP_SHIFT); /* SLP_EN always reads as zero */
    } else if (offset == ACPI_PM_SLEEP_STATUS) {
        v = a->sleep_status;
    } else if (offset == ACPI_PM_EVENTS) {
        v = a->events;
        a->events = 0;
        irq_set(&a->cfg.irq, false);
    }
    return v;
}

static void sleep_control(struct acpi_pm *a, uint8_t v)
{
    a->sleep_type = v >> SLP_TYP_SHIFT & SLP_TYP_MASK;
    if (!(v & SLP_EN))
        return;
    if (a->sleep_type == ACPI_PM_S5_TYPE) {
        if (a->cfg.power_off)
            a->cfg.power_off(a->cfg.opaque);
    } else {
        log_guest(&a->complaints, LOG_WARN,
                  "acpi: the guest asked for sleep type %u, which this machine does not have", a->sleep_type);
    }
}

static void pm_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct acpi_pm *a = opaque;
    uint8_t v = (uint8_t)value;
    (void)size;
    if (offset == ACPI_PM_SLEEP_CONTROL)
        sleep_control(a, v);
    else if (offset == ACPI_PM_SLEEP_STATUS)
        a->sleep_status &= (uint8_t) ~(v & WAK_STS);
    else if (offset == ACPI_PM_RESET && v == ACPI_PM_RESET_VALUE && a->cfg.reset)
        a->cfg.reset(a->cfg.opaque);
}

void acpi_pm_power_button(struct acpi_pm *a)
{
    lock_take(&a->dev.lock);
    a->events |= ACPI_PM_EVENT_POWER;
    irq_set(&a->cfg.irq, true);
    lock_drop(&a->dev.lock);
}

static const struct field acpi_pm_fields[] = {
    FIELD(struct acpi_pm, events, .max = ACPI_PM_EVENT_POWER),
    FIELD(struct acpi_pm, sleep_type, .max = SLP_TYP_MASK),
    FIELD(struct acpi_pm, sleep_status),
};

static const struct field_table acpi_pm_table = {"acpi-pm", 1, acpi_pm_fields, ARRAY_LEN(acpi_pm_fields),
                                                 NULL};

static unsigned acpi_pm_saved(struct device *d, struct saved *out, unsigned max)
{
    if (max)
        out[0] = (struct saved){&acpi_pm_table, d, d->instance};
    return max ? 1 : 0;
}

static int acpi_pm_loaded(struct device *d, struct err *e)
{
    struct acpi_pm *a = of(d);
    (void)e;
    irq_set(&a->cfg.irq, a->events != 0);
    return 0;
}

static void acpi_pm_reset(struct device *d)
{
    struct acpi_pm *a = of(d);
    a->events = a->sleep_type = a->sleep_status = 0;
    irq_set(&a->cfg.irq, false);
}

static void acpi_pm_free(struct device *d)
{
    struct acpi_pm *a = of(d);
    bus_release(a->cfg.bus, a->cfg.port, ACPI_PM_PORTS);
    device_fini(d);
    free(a);
}

static const struct device_ops acpi_pm_device_ops = {
    .kind = "acpi-pm",
    .reset = acpi_pm_reset,
    .saved = acpi_pm_saved,
    .loaded = acpi_pm_loaded,
    .free = acpi_pm_free,
};

static const struct bus_ops acpi_pm_bus_ops = {pm_read, pm_write, .max_size = 1};

struct acpi_pm *acpi_pm_new(const struct acpi_pm_config *cfg, struct err *e)
{
    struct acpi_pm *a = calloc(1, sizeof(*a));
    if (!a) {
        err_set(e, ENOMEM, "acpi: out of memory");
        return NULL;
    }
    a->cfg = *cfg;
    device_init(&a->dev, &acpi_pm_device_ops, 0);
    if (bus_claim(cfg->bus, "acpi", cfg->port, ACPI_PM_PORTS, &acpi_pm_bus_ops, a, &a->dev.lock, e)) {
        device_fini(&a->dev);
        free(a);
        return NULL;
    }
    return a;
}

struct device *acpi_pm_device(struct acpi_pm *a)
{
    return &a->dev;
}
