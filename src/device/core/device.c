#include "device/core/device.h"
#include "base/check.h"

void device_init_rank(struct device *d, const struct device_ops *ops, unsigned instance, enum lock_rank rank)
{
    CHECK(ops && ops->kind && ops->free);
    d->ops = ops;
    d->instance = instance;
    lock_init(&d->lock, rank);
}

void device_init(struct device *d, const struct device_ops *ops, unsigned instance)
{
    device_init_rank(d, ops, instance, LOCK_DEVICE);
}

void device_fini(struct device *d)
{
    lock_destroy(&d->lock);
}

void device_reset(struct device *d)
{
    if (!d->ops->reset)
        return;
    lock_take(&d->lock);
    d->ops->reset(d);
    lock_drop(&d->lock);
}

void device_pause(struct device *d)
{
    if (d->ops->pause)
        d->ops->pause(d);
}

void device_resume(struct device *d)
{
    if (d->ops->resume)
        d->ops->resume(d);
}

int device_loaded(struct device *d, struct err *e)
{
    if (!d->ops->loaded)
        return 0;
    lock_take(&d->lock);
    int r = d->ops->loaded(d, e);
    lock_drop(&d->lock);
    return r;
}

void device_free(struct device *d)
{
    if (d)
        d->ops->free(d);
}
