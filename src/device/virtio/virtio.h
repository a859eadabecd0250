/*
 * virtio: the transport-independent core of every virtio device (virtio 1.2), split virtqueues, and the one descriptor walker.
 *
 * Layers:  device (blk, net, console, rng)  ->  struct virtio_dev  ->  transport (virtio-pci, virtio-mmio).
 * The device's lock (virtio_dev.dev.lock) covers the device, its queues and its transport.
 */
#ifndef DEVICE_VIRTIO_H
#define DEVICE_VIRTIO_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/ratelimit.h"
#include "device/core/device.h"
struct mem_map;
struct err;
struct loop;
struct virtio_dev;

enum { VIRTIO_MAX_QUEUES = 16, VIRTQ_MAX_SIZE = 1024, VIRTIO_MAX_CHAIN = 1024 };

#define VIRTIO_F_RING_INDIRECT_DESC 28
#define VIRTIO_F_RING_EVENT_IDX     29
#define VIRTIO_F_VERSION_1          32
#define VIRTIO_F_ACCESS_PLATFORM    33
#define VIRTIO_F_RING_RESET         40

struct virtqueue {
    uint16_t size, max_size;
    bool enabled;
    uint64_t desc, avail, used;      /* guest-physical */
    uint16_t last_avail, used_idx;   /* next to take; next to publish */
    uint16_t signalled_used;         /* used_idx at the last interrupt */
    bool signalled_valid;
    uint16_t vector;                 /* MSI-X vector, 0xffff none */
    uint16_t inflight;               /* popped and not pushed */
    uint16_t index;
    struct virtio_dev *dev;
};

/* One descriptor chain, read once into host iovecs: out = what the driver wrote for us, in = what we write. */
struct virtq_chain {
    uint16_t head;
    unsigned out_count, in_count;
    uint64_t out_len, in_len;
    struct iovec *out, *in; /* into `iov` */
    uint64_t *in_gpa;       /* guest addresses of `in`, for mem_written */
    unsigned iov_cap;
    struct iovec *iov;      /* iov_cap entries, owned by the caller */
    uint64_t *gpa;
};

/* What a transport does for a device. Lock held. */
struct virtio_transport_ops {
    void (*notify_queue)(void *opaque, struct virtqueue *q);  /* used buffer notification */
    void (*notify_config)(void *opaque);                      /* configuration change */
    /* Queue q's doorbell as an eventfd, NULL when not offered. */
    void (*doorbell)(void *opaque, struct virtqueue *q, int eventfd, bool on);
};

/* What a device does. Lock held unless said. */
struct virtio_dev_ops {
    uint32_t id;                              /* virtio 1.2 section 5 */
    uint64_t features;                        /* offered, transport bits are added */
    uint32_t config_size;
    void (*config_read)(struct virtio_dev *d, uint32_t off, void *out, uint32_t n); /* bounded by config_size */
    void (*config_write)(struct virtio_dev *d, uint32_t off, const void *in, uint32_t n); /* may be NULL */
    void (*start)(struct virtio_dev *d);      /* DRIVER_OK: features and queues are final */
    void (*queue)(struct virtio_dev *d, struct virtqueue *q); /* the driver kicked q (only after DRIVER_OK) */
    void (*stop)(struct virtio_dev *d);       /* reset: forget requests; those in flight complete into nothing */
};

struct virtio_dev {
    struct device dev; /* first */
    const struct virtio_dev_ops *vops;
    struct mem_map *mem;
    const struct virtio_transport_ops *tops;
    void *transport;
    uint64_t features_offered, features; /* features: accepted by the driver */
    uint8_t status;
    uint8_t config_generation;
    uint32_t queues;
    struct virtqueue vq[VIRTIO_MAX_QUEUES];
    uint64_t epoch;                /* bumped by reset: completions of an older epoch are dropped */
    struct ratelimit complaints;
    const char *name;              /* for messages: "virtio-blk0" */
};

void virtio_dev_init(struct virtio_dev *d, const struct device_ops *ops, const struct virtio_dev_ops *vops, unsigned instance,
                     struct mem_map *mem, unsigned queues, const uint16_t *queue_sizes);
bool virtio_has(const struct virtio_dev *d, unsigned feature);
/* A malformed ring or request: the device needs a reset (status bit 64, config interrupt), its queues stop. Says so once. */
void virtio_broken(struct virtio_dev *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Take the next chain. 1: `c` filled; 0: queue empty; -1: the device is broken. The caller set c->iov, c->gpa, c->iov_cap (chains longer break). */
int virtq_pop(struct virtqueue *q, struct virtq_chain *c);
/* Give a chain back with `written` bytes in its in-part (marks them written); publish = also move used->idx. */
void virtq_push(struct virtqueue *q, const struct virtq_chain *c, uint32_t written);
void virtq_push_head(struct virtqueue *q, uint16_t head, uint32_t written); /* dirty marking already done */
/* Interrupt the driver if event index / flags ask for it. */
void virtq_notify(struct virtqueue *q);
/* Ask for (true) or suppress kicks; returns true if buffers came in meanwhile (then look again). */
bool virtq_want_kicks(struct virtqueue *q, bool on);
/* Un-pop the last chain (receive queues that found it too small). */
void virtq_unpop(struct virtqueue *q);
void virtq_done(struct virtqueue *q, unsigned n); /* n in-flight chains dropped at reset */

/* For transports. Lock held. */
void virtio_set_status(struct virtio_dev *d, uint8_t status);
void virtio_reset(struct virtio_dev *d);
void virtio_kick(struct virtio_dev *d, unsigned queue);
void virtio_enable_queue(struct virtio_dev *d, unsigned queue);

extern const struct field_table virtio_dev_table; /* common saved fields, queues included */

#endif
