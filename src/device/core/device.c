#include "device/core/device.h"
#include "base/check.h"

void device_init_rank(struct device *d, const struct device_ops *ops, unsigned instance, enum lock_rank rank)
{
    CHECK(ops && ops->kind && ops->free);
    d->ops = ops;
    d->instance = instance;
    d->inner = NULL;
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
    lock_take(&d->lock);
    if (d->inner && d->inner->ops->reset)
        d->inner->ops->reset(d->inner);
    if (d->ops->reset)
        d->ops->reset(d);
    lock_drop(&d->lock);
}

void device_pause(struct device *d)
{
    if (d->inner)
        device_pause(d->inner);
    if (d->ops->pause)
        d->ops->pause(d);
}

void device_resume(struct device *d)
{
    if (d->inner)
        device_resume(d->inner);
    if (d->ops->resume)
        d->ops->resume(d);
}

unsigned device_saved(struct device *d, struct saved *out, unsigned max)
{
    unsigned n = d->ops->saved ? d->ops->saved(d, out, max) : 0;
    return d->inner ? n + device_saved(d->inner, out + n, max - n) : n;
}

int device_loaded(struct device *d, struct err *e)
{
    lock_take(&d->lock);
    int r = d->ops->loaded ? d->ops->loaded(d, e) : 0;
    if (!r && d->inner && d->inner->ops->loaded)
        r = d->inner->ops->loaded(d->inner, e);
    lock_drop(&d->lock);
    return r;
}

void device_free(struct device *d)
{
    if (!d)
        return;
    device_free(d->inner);
    d->ops->free(d);
}
