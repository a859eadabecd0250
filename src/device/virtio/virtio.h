/*
 * virtio: the transport-independent core of every virtio device (virtio 1.2), split virtqueues, and the one
 * descriptor walker.
 *
 * Layers:  device (blk, net, console, rng)  ->  struct virtio_dev  ->  transport (virtio-pci, virtio-mmio).
 *
 * One lock covers the device, its queues and its transport: virtio_dev.lock. It is the lock of the outermost
 * struct device: the device's own until a transport takes the device over (virtio_attach), then the
 * transport's, because that is what buses and the machine know. A device's code takes *virtio_dev.lock and
 * nothing else.
 *
 * Where work is done: a kick is served inline on the vCPU's thread wherever the backend takes work from any
 * thread (blk, console, rng): submitting costs 1 to 5 us, waking a sleeping loop on another CPU up to 50 us.
 * Net's frames are the loop's by contract (net.h): its queues have bells, so that a kick under KVM signals
 * the loop without leaving the kernel (virtio-pci; virtio-mmio has one register for all queues, and calls).
 *
 * Requests outlive resets. Whoever holds a chain over a drop of the lock keeps virtqueue.epoch with it, and
 * on return either finds it unchanged and pushes, or calls virtq_done and forgets. Until then the queue is
 * "stale", and a transport does not report the reset as finished, so that a waiting driver does not reuse
 * memory that a read in flight may still write (virtio 1.2 2.6.1, 4.1.4.3.1).
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
    uint64_t desc, avail, used;    /* guest-physical */
    uint16_t last_avail, used_idx; /* next to take; next to publish */
    uint16_t signalled_used;       /* used_idx at the last interrupt */
    bool signalled_valid;
    bool unsignalled;  /* published since virtq_notify was last called */
    uint16_t vector;   /* MSI-X vector, 0xffff none */
    uint16_t inflight; /* popped and not pushed */
    uint32_t stale;    /* of older epochs, still held by somebody */
    uint32_t epoch;    /* bumped by reset of the device or of this queue */
    uint16_t staged;   /* used entries written beyond used_idx and not published */
    uint16_t index;
    /* An eventfd by which a kick may reach the device instead of its ops->queue, or -1. The device sets it
     * before a transport takes it over, and looks at the queue by itself when it is signalled. */
    int bell;
    struct virtio_dev *dev;
};

/* One descriptor chain, read once into host iovecs: out = what the driver wrote for us, in = what we write.
 */
struct virtq_chain {
    uint16_t head;
    uint32_t epoch;
    unsigned out_count, in_count;
    uint64_t out_len, in_len;
    struct iovec *out, *in; /* into `iov` */
    uint64_t *in_gpa;       /* guest addresses of `in`, for mem_written */
    unsigned iov_cap;
    struct iovec *iov; /* iov_cap entries, owned by the caller */
    uint64_t *gpa;     /* iov_cap entries */
};

/* What a transport does for a device. Lock held. */
struct virtio_transport_ops {
    void (*notify_queue)(void *opaque, struct virtqueue *q); /* used buffer notification */
    void (*notify_config)(void *opaque);                     /* configuration change */
};

/* What a device does. Lock held unless said. */
struct virtio_dev_ops {
    uint32_t id;       /* virtio 1.2 section 5 */
    uint64_t features; /* offered, transport bits are added */
    uint32_t config_size;
    void (*config_read)(struct virtio_dev *d, uint32_t off, void *out,
                        uint32_t n); /* bounded by config_size */
    void (*config_write)(struct virtio_dev *d, uint32_t off, const void *in, uint32_t n); /* may be NULL */
    void (*start)(struct virtio_dev *d);                      /* DRIVER_OK: features and queues are final */
    void (*queue)(struct virtio_dev *d, struct virtqueue *q); /* the driver kicked q (only after DRIVER_OK) */
    void (*stop)(struct virtio_dev *d); /* reset: forget requests; those in flight complete into nothing */
    void (*queue_stop)(struct virtio_dev *d,
                       struct virtqueue *q); /* one queue is reset; may be NULL: nothing kept per queue */
    const struct field_table
        *table; /* the device's own saved fields; its object is the virtio_dev. May be NULL */
};

struct virtio_dev {
    struct device dev; /* first */
    const struct virtio_dev_ops *vops;
    struct lock *lock; /* see above */
    struct mem_map *mem;
    const struct virtio_transport_ops *tops;
    void *transport;
    uint64_t features_offered, features; /* features: accepted by the driver */
    uint8_t status;
    uint8_t config_generation;
    bool paused; /* by the machine: kicks are kept until resume */
    bool no_dma; /* the transport's bus mastering is off: rings are not touched */
    uint32_t queues;
    struct virtqueue vq[VIRTIO_MAX_QUEUES];
    struct ratelimit complaints;
    char name[32]; /* for messages: "virtio-blk0" */
};

/* ---- for devices ---- */

/* The device's constructor: `queues` queues of at most queue_sizes[i] (powers of two up to VIRTQ_MAX_SIZE).
 */
void virtio_dev_init(struct virtio_dev *d, const struct device_ops *ops, const struct virtio_dev_ops *vops,
                     unsigned instance, struct mem_map *mem, unsigned queues, const uint16_t *queue_sizes);
void virtio_dev_fini(struct virtio_dev *d);
/* Halves of device_ops that are common: a device without a pause of its own uses them as they are. */
void virtio_dev_reset(struct device *d);
void virtio_dev_pause(struct device *d);
void virtio_dev_resume(struct device *d); /* queues with work waiting are served */
unsigned virtio_dev_saved(struct device *d, struct saved *out, unsigned max);
int virtio_dev_loaded(struct device *d, struct err *e);

bool virtio_has(const struct virtio_dev *d, unsigned feature);
/* DRIVER_OK, not broken, not paused, allowed to touch memory: the device may work. Lock held. */
bool virtio_running(const struct virtio_dev *d);
/* The configuration space changed: new generation, and the driver is told. Lock held. */
void virtio_config_changed(struct virtio_dev *d);
/* A malformed ring or request: the device needs a reset (status bit 64, config interrupt), its queues stop.
 * Says so once. */
void virtio_broken(struct virtio_dev *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- queues; lock held ---- */

/* Take the next chain. 1: `c` filled; 0: queue empty; -1: the device is broken. The caller set c->iov,
 * c->gpa, c->iov_cap (chains longer break). */
int virtq_pop(struct virtqueue *q, struct virtq_chain *c);
/* The chain was popped since the last reset: its memory may still be written. */
bool virtq_current(const struct virtqueue *q, const struct virtq_chain *c);
/* Give a chain back with `written` bytes from the start of its in-part (marks them written), and publish it.
 * One of an older epoch is let go of (virtq_done). */
void virtq_push(struct virtqueue *q, const struct virtq_chain *c, uint32_t written);
void virtq_push_head(struct virtqueue *q, uint16_t head, uint32_t written); /* dirty marking already done */
/* The two halves of a push: several chains staged become visible at once (virtio 1.2 5.1.6.4: merged receive
 * buffers). */
void virtq_stage(struct virtqueue *q, uint16_t head, uint32_t written);
void virtq_publish(struct virtqueue *q);
/* Bytes [from, from+len) of the chain's in-part were written by host pointer. Any thread, lock not needed. */
void virtq_written(const struct virtio_dev *d, const struct virtq_chain *c, uint64_t from, uint64_t len);
/* Interrupt the driver if event index / flags ask for it. */
void virtq_notify(struct virtqueue *q);
/* Ask for (true) or suppress kicks; returns true if buffers came in meanwhile (then look again). */
bool virtq_want_kicks(struct virtqueue *q, bool on);
/* Chains wait to be popped. */
bool virtq_pending(struct virtqueue *q);
/* Un-pop the last chain popped (receive queues that found it too small). It is of the current epoch. */
void virtq_unpop(struct virtqueue *q);
/* A chain of an older epoch was let go of: one for each, always, or the reset never ends. */
void virtq_done(struct virtqueue *q);

/* Copies between host bytes and iovecs, from byte `from` of them; return the bytes copied (less where the
 * iovecs end). */
size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t from, void *out, size_t len);
size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t from, const void *in, size_t len);
/* Drop `n` bytes at the front of an iovec array in place; returns the first entry left and lowers *count. */
struct iovec *iov_skip(struct iovec *iov, unsigned *count, size_t n);

/* ---- for transports; lock held, but virtio_attach ---- */

/* Take the device over: its lock becomes `lock` (of the transport's struct device), its notifications go to
 * tops. Before anything runs. */
void virtio_attach(struct virtio_dev *d, const struct virtio_transport_ops *tops, void *transport,
                   struct lock *lock);
void virtio_set_status(struct virtio_dev *d, uint8_t status); /* what the driver wrote; 0 resets */
void virtio_reset(struct virtio_dev *d);
bool virtio_reset_pending(
    const struct virtio_dev *d); /* something of before the reset may still touch memory */
/* What a driver reads of 64 feature bits: word 0 or 1, there are no others. */
static inline uint32_t virtio_feature_word(uint64_t features, uint32_t word)
{
    return word > 1 ? 0 : (uint32_t)(features >> (32 * word));
}
void virtio_set_features(struct virtio_dev *d, unsigned word,
                         uint32_t bits); /* driver's features, word 0 or 1; ignored once settled */
void virtio_kick(struct virtio_dev *d, unsigned queue);
bool virtio_set_queue_size(struct virtio_dev *d, unsigned queue,
                           uint32_t size); /* false: refused, breaks the device at enable */
/* A ring's address, of which the driver writes one half at a time. */
static inline void virtq_set_half(uint64_t *address, bool high, uint32_t v)
{
    *address = high ? (*address & 0xffffffff) | (uint64_t)v << 32 : (*address & ~0xffffffffull) | v;
}
bool virtq_valid(const struct virtqueue *q); /* size and ring addresses are such that it may be enabled */
void virtio_enable_queue(struct virtio_dev *d, unsigned queue);
void virtio_queue_reset(struct virtio_dev *d,
                        unsigned queue);        /* RING_RESET and the old mmio "QueueReady = 0" */
void virtio_dma(struct virtio_dev *d, bool on); /* bus mastering; on serves what waited */
uint64_t virtio_config_load(struct virtio_dev *d, uint32_t off,
                            unsigned size); /* size 1, 2, 4, 8; beyond the end: zeros */
void virtio_config_store(struct virtio_dev *d, uint32_t off, unsigned size, uint64_t value);

extern const struct field_table virtio_dev_table; /* common saved fields, queues included */

#endif
