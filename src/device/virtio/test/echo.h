/*
 * echo: a device for tests of the floor under all others: what a chain reads it writes back, as far as there
 * is room. Eight bytes of configuration, writable.
 */
#ifndef VIRTIO_TEST_ECHO_H
#define VIRTIO_TEST_ECHO_H
#include <stdlib.h>
#include <string.h>
#include "device/virtio/virtio.h"

enum { ECHO_PIECES = 40, ECHO_QUEUES = 2, ECHO_QUEUE_SIZE = 16 };

struct echo {
    struct virtio_dev vd; /* first */
    uint8_t config[8];
    unsigned kicks, starts, stops;
    bool hold; /* keep the chain until echo_release */
    bool held;
    struct virtq_chain kept;
    struct iovec iov[ECHO_PIECES];
    uint64_t gpa[ECHO_PIECES];
};

static inline void echo_answer(struct echo *e, struct virtqueue *q, const struct virtq_chain *c)
{
    uint8_t bytes[65536];
    size_t n = iov_to_buf(c->out, c->out_count, 0, bytes, sizeof(bytes));
    if (virtq_current(q, c))
        n = iov_from_buf(c->in, c->in_count, 0, bytes, n);
    (void)e;
    virtq_push(q, c, (uint32_t)n);
    virtq_notify(q);
}

static inline void echo_queue(struct virtio_dev *d, struct virtqueue *q)
{
    struct echo *e = (struct echo *)d;
    struct virtq_chain c = {.iov = e->iov, .gpa = e->gpa, .iov_cap = ECHO_PIECES};
    e->kicks++;
    do {
        virtq_want_kicks(q, false);
        while (!e->held && virtq_pop(q, &c) > 0) {
            if (e->hold) {
                e->held = true;
                e->kept = c;
                return;
            }
            echo_answer(e, q, &c);
        }
    } while (virtq_want_kicks(q, true));
}

static inline void echo_release(struct echo *e, unsigned queue)
{
    lock_take(e->vd.lock);
    e->held = e->hold = false;
    echo_answer(e, &e->vd.vq[queue], &e->kept);
    lock_drop(e->vd.lock);
}

static inline void echo_config_read(struct virtio_dev *d, uint32_t off, void *out, uint32_t n)
{
    memcpy(out, ((struct echo *)d)->config + off, n);
}

static inline void echo_config_write(struct virtio_dev *d, uint32_t off, const void *in, uint32_t n)
{
    memcpy(((struct echo *)d)->config + off, in, n);
}

static inline void echo_start(struct virtio_dev *d)
{
    ((struct echo *)d)->starts++;
}

static inline void echo_stop(struct virtio_dev *d)
{
    ((struct echo *)d)->stops++;
}

static inline void echo_free(struct device *dev)
{
    struct echo *e = (struct echo *)dev;
    virtio_dev_fini(&e->vd);
    free(e);
}

static const struct device_ops echo_device_ops = {.kind = "echo",
                                                  .reset = virtio_dev_reset,
                                                  .pause = virtio_dev_pause,
                                                  .resume = virtio_dev_resume,
                                                  .saved = virtio_dev_saved,
                                                  .loaded = virtio_dev_loaded,
                                                  .free = echo_free};

static const struct virtio_dev_ops echo_virtio_ops = {.id = 42,
                                                      .features = 1 << 5,
                                                      .config_size = 8,
                                                      .config_read = echo_config_read,
                                                      .config_write = echo_config_write,
                                                      .start = echo_start,
                                                      .queue = echo_queue,
                                                      .stop = echo_stop};

static inline struct echo *echo_new(struct mem_map *mem)
{
    static const uint16_t sizes[ECHO_QUEUES] = {ECHO_QUEUE_SIZE, ECHO_QUEUE_SIZE};
    struct echo *e = calloc(1, sizeof(*e));
    virtio_dev_init(&e->vd, &echo_device_ops, &echo_virtio_ops, 0, mem, ECHO_QUEUES, sizes);
    return e;
}

#endif
