#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "device/pc/testdev.h"
#include "guest/bus.h"

enum { DEBUGEXIT_PORTS = 4 };

struct debugexit {
    struct device dev;
    struct debugexit_config cfg;
};

static uint32_t exit_read(void *opaque, uint16_t offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    return 0;
}

static void exit_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct debugexit *x = opaque;
    (void)offset;
    (void)size;
    if (x->cfg.exit)
        x->cfg.exit(x->cfg.opaque, value);
}

static void debugexit_free(struct device *d)
{
    struct debugexit *x = (struct debugexit *)(void *)d;
    bus_release(x->cfg.bus, x->cfg.port, DEBUGEXIT_PORTS);
    device_fini(d);
    free(x);
}

static const struct device_ops debugexit_device_ops = {.kind = "debugexit", .free = debugexit_free};
static const struct bus_ops debugexit_bus_ops = {exit_read, exit_write, .max_size = 4};

struct debugexit *debugexit_new(const struct debugexit_config *cfg, struct err *e)
{
    struct debugexit *x = calloc(1, sizeof(*x));
    if (!x) {
        err_set(e, ENOMEM, "debugexit: out of memory");
        return NULL;
    }
    x->cfg = *cfg;
    device_init(&x->dev, &debugexit_device_ops, 0);
    if (bus_claim(cfg->bus, "debugexit", cfg->port, DEBUGEXIT_PORTS, &debugexit_bus_ops, x, &x->dev.lock,
                  e)) {
        device_fini(&x->dev);
        free(x);
        return NULL;
    }
    return x;
}

struct device *debugexit_device(struct debugexit *x)
{
    return &x->dev;
}
