#include <errno.h>
#include <string.h>
#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/range.h"
#include "device/virtio/regs.h"
#include "device/virtio/virtio.h"
#include <stdarg.h>
#include <stdio.h>

/* What every device offers beside its own: section 6. */
#define TRANSPORT_FEATURES                                                                                   \
    (1ull << VIRTIO_F_RING_INDIRECT_DESC | 1ull << VIRTIO_F_RING_EVENT_IDX | 1ull << VIRTIO_F_VERSION_1 |    \
     1ull << VIRTIO_F_RING_RESET)

static struct virtio_dev *virtio_of(struct device *d)
{
    return CONTAINER_OF(d, struct virtio_dev, dev);
}

static void queue_init(struct virtqueue *q)
{
    q->size = q->max_size;
    q->enabled = false;
    q->desc = q->avail = q->used = 0;
    q->last_avail = q->used_idx = q->signalled_used = 0;
    q->signalled_valid = q->unsignalled = false;
    q->staged = 0;
    q->vector = VIRTIO_NO_VECTOR;
}

void virtio_dev_init(struct virtio_dev *d, const struct device_ops *ops, const struct virtio_dev_ops *vops,
                     unsigned instance, struct mem_map *mem, unsigned queues, const uint16_t *queue_sizes)
{
    CHECK(queues >= 1 && queues <= VIRTIO_MAX_QUEUES);
    device_init(&d->dev, ops, instance);
    d->vops = vops;
    d->lock = &d->dev.lock;
    d->mem = mem;
    d->features_offered = vops->features | TRANSPORT_FEATURES;
    d->queues = queues;
    for (unsigned i = 0; i < queues; i++) {
        struct virtqueue *q = &d->vq[i];
        CHECK(is_pow2(queue_sizes[i]) && queue_sizes[i] <= VIRTQ_MAX_SIZE);
        q->max_size = queue_sizes[i];
        q->index = (uint16_t)i;
        q->bell = -1;
        q->dev = d;
        queue_init(q);
    }
    snprintf(d->name, sizeof(d->name), "%s%u", ops->kind, instance);
}

void virtio_dev_fini(struct virtio_dev *d)
{
    device_fini(&d->dev);
}

void virtio_attach(struct virtio_dev *d, const struct virtio_transport_ops *tops, void *transport,
                   struct lock *lock)
{
    d->tops = tops;
    d->transport = transport;
    d->lock = lock;
}

bool virtio_has(const struct virtio_dev *d, unsigned feature)
{
    return d->features >> feature & 1;
}

bool virtio_running(const struct virtio_dev *d)
{
    return (d->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) == VIRTIO_STATUS_DRIVER_OK &&
           !d->paused && !d->no_dma;
}

static void notify_config(struct virtio_dev *d)
{
    if ((d->status & VIRTIO_STATUS_DRIVER_OK) && d->tops)
        d->tops->notify_config(d->transport);
}

void virtio_config_changed(struct virtio_dev *d)
{
    d->config_generation++;
    notify_config(d);
}

void virtio_broken(struct virtio_dev *d, const char *fmt, ...)
{
    if (d->status & VIRTIO_STATUS_NEEDS_RESET)
        return;
    char what[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    log_guest(&d->complaints, LOG_WARN, "%s: %s; stopped until the guest's driver resets it", d->name, what);
    d->status |= VIRTIO_STATUS_NEEDS_RESET;
    notify_config(d);
}

/* ---- reset ---- */

static void queue_drop(struct virtqueue *q)
{
    q->stale += q->inflight;
    q->inflight = 0;
    q->epoch++;
    queue_init(q);
}

void virtio_reset(struct virtio_dev *d)
{
    if (d->vops->stop)
        d->vops->stop(d);
    for (unsigned i = 0; i < d->queues; i++)
        queue_drop(&d->vq[i]);
    d->status = 0;
    d->features = 0;
}

bool virtio_reset_pending(const struct virtio_dev *d)
{
    for (unsigned i = 0; i < d->queues; i++)
        if (d->vq[i].stale)
            return true;
    return false;
}

void virtio_queue_reset(struct virtio_dev *d, unsigned queue)
{
    if (queue >= d->queues)
        return;
    struct virtqueue *q = &d->vq[queue];
    if (d->vops->queue_stop)
        d->vops->queue_stop(d, q);
    queue_drop(q);
}

/* ---- status (3.1.1) and features ---- */

static bool features_acceptable(const struct virtio_dev *d)
{
    return !(d->features & ~d->features_offered) && virtio_has(d, VIRTIO_F_VERSION_1);
}

static void serve(struct virtio_dev *d)
{
    for (unsigned i = 0; i < d->queues && virtio_running(d); i++)
        if (d->vq[i].enabled)
            d->vops->queue(d, &d->vq[i]);
}

void virtio_set_status(struct virtio_dev *d, uint8_t status)
{
    if (!status) {
        virtio_reset(d);
        return;
    }
    uint8_t added =
        (uint8_t)(status & VIRTIO_STATUS_DRIVERS & ~d->status); /* a bit is only cleared by reset */
    if ((added & VIRTIO_STATUS_FEATURES_OK) && !features_acceptable(d))
        added &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    d->status |= added;
    if (!(added & VIRTIO_STATUS_DRIVER_OK))
        return;
    if (!(d->status & VIRTIO_STATUS_FEATURES_OK)) {
        virtio_broken(d, "the driver did not settle on features (a legacy one? this is a virtio 1 device)");
        return;
    }
    if (d->vops->start)
        d->vops->start(d);
    serve(d);
}

void virtio_set_features(struct virtio_dev *d, unsigned word, uint32_t bits)
{
    if (word > 1 || (d->status & VIRTIO_STATUS_FEATURES_OK))
        return;
    unsigned shift = 32 * word;
    d->features = (d->features & ~(0xffffffffull << shift)) | (uint64_t)bits << shift;
}

/* ---- queues, as transports see them ---- */

bool virtio_set_queue_size(struct virtio_dev *d, unsigned queue, uint32_t size)
{
    if (queue >= d->queues || d->vq[queue].enabled)
        return false;
    struct virtqueue *q = &d->vq[queue];
    /* A split ring's size is a power of two (2.7); zero is remembered so that enabling it fails. */
    bool fine = is_pow2(size) && size <= q->max_size;
    q->size = fine ? (uint16_t)size : 0;
    return fine;
}

void virtio_enable_queue(struct virtio_dev *d, unsigned queue)
{
    if (queue >= d->queues || d->vq[queue].enabled)
        return;
    struct virtqueue *q = &d->vq[queue];
    if (!virtq_valid(q)) {
        virtio_broken(d,
                      "queue %u enabled with a bad size (%u) or ring address (descriptors 0x%llx, available "
                      "0x%llx, used 0x%llx)",
                      queue, q->size, (unsigned long long)q->desc, (unsigned long long)q->avail,
                      (unsigned long long)q->used);
        return;
    }
    q->enabled = true;
}

void virtio_kick(struct virtio_dev *d, unsigned queue)
{
    if (queue < d->queues && d->vq[queue].enabled && virtio_running(d))
        d->vops->queue(d, &d->vq[queue]);
}

void virtio_dma(struct virtio_dev *d, bool on)
{
    bool was = !d->no_dma;
    d->no_dma = !on;
    if (on && !was)
        serve(d);
}

/* ---- device configuration ---- */

uint64_t virtio_config_load(struct virtio_dev *d, uint32_t off, unsigned size)
{
    uint8_t b[8] = {0};
    if (off < d->vops->config_size) {
        uint32_t n = d->vops->config_size - off < size ? d->vops->config_size - off : size;
        d->vops->config_read(d, off, b, n);
    }
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)b[i] << (8 * i);
    return v;
}

void virtio_config_store(struct virtio_dev *d, uint32_t off, unsigned size, uint64_t value)
{
    uint8_t b[8];
    if (!d->vops->config_write || !range_inside(off, size, d->vops->config_size))
        return;
    for (unsigned i = 0; i < size; i++)
        b[i] = (uint8_t)(value >> (8 * i));
    d->vops->config_write(d, off, b, size);
}

/* ---- the machine's side ---- */

void virtio_dev_reset(struct device *dev)
{
    virtio_reset(virtio_of(dev));
}

void virtio_dev_pause(struct device *dev)
{
    struct virtio_dev *d = virtio_of(dev);
    lock_take(d->lock);
    d->paused = true;
    lock_drop(d->lock);
}

void virtio_dev_resume(struct device *dev)
{
    struct virtio_dev *d = virtio_of(dev);
    lock_take(d->lock);
    d->paused = false;
    serve(d);
    lock_drop(d->lock);
}

unsigned virtio_dev_saved(struct device *dev, struct saved *out, unsigned max)
{
    struct virtio_dev *d = virtio_of(dev);
    CHECK(max >= 2);
    out[0] =
        (struct saved){.table = &virtio_dev_table, .obj = d, .instance = d->vops->id << 16 | dev->instance};
    if (!d->vops->table)
        return 1;
    out[1] = (struct saved){.table = d->vops->table, .obj = d, .instance = dev->instance};
    return 2;
}

int virtio_dev_loaded(struct device *dev, struct err *e)
{
    (void)dev; /* work that waits in the queues is found by resume */
    (void)e;
    return 0;
}

static const struct field fields[] = {
    FIELD(struct virtio_dev, features),
    FIELD(struct virtio_dev, status),
    FIELD(struct virtio_dev, config_generation),
    FIELD_STRIDED(struct virtio_dev, vq, size),
    FIELD_STRIDED(struct virtio_dev, vq, enabled, .max = 1),
    FIELD_STRIDED(struct virtio_dev, vq, desc),
    FIELD_STRIDED(struct virtio_dev, vq, avail),
    FIELD_STRIDED(struct virtio_dev, vq, used),
    FIELD_STRIDED(struct virtio_dev, vq, last_avail),
    FIELD_STRIDED(struct virtio_dev, vq, used_idx),
    FIELD_STRIDED(struct virtio_dev, vq, signalled_used),
    FIELD_STRIDED(struct virtio_dev, vq, signalled_valid, .max = 1),
    FIELD_STRIDED(struct virtio_dev, vq, vector),
};

static int post_load(void *obj, struct err *e)
{
    struct virtio_dev *d = obj;
    if ((d->status & VIRTIO_STATUS_FEATURES_OK) && !features_acceptable(d))
        return err_set(e, EINVAL, "%s: saved with features 0x%llx, this device has 0x%llx", d->name,
                       (unsigned long long)d->features, (unsigned long long)d->features_offered);
    if ((d->status & VIRTIO_STATUS_DRIVER_OK) &&
        !(d->status & (VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_NEEDS_RESET)))
        return err_set(e, EINVAL, "%s: saved status 0x%x is impossible", d->name, d->status);
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
        struct virtqueue *q = &d->vq[i];
        if (i >= d->queues ? q->enabled
            : q->enabled   ? !virtq_valid(q)
                           : q->size > q->max_size || (q->size && !is_pow2(q->size)))
            return err_set(e, EINVAL, "%s: saved queue %u does not fit this device", d->name, i);
        q->inflight = q->staged = 0; /* it was drained before it was saved */
    }
    return 0;
}

const struct field_table virtio_dev_table = {
    .name = "virtio", .version = 1, .fields = fields, .count = ARRAY_LEN(fields), .post_load = post_load};
