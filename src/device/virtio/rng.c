#include "device/virtio/rng.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "device/virtio/regs.h"
#include "device/virtio/virtio.h"
#include "host/host.h"
#include "host/loop.h"

enum {
    QUEUE_SIZE = 64,
    DEFAULT_RATE = 1 << 20,
    CHAIN_PIECES = 64,
    REQUEST_MAX = 4096,
    NS_PER_S = 1000000000
};

struct virtio_rng {
    struct virtio_dev vd; /* first */
    struct loop *loop;
    struct loop_timer *timer;
    uint32_t rate;    /* bytes a second */
    uint64_t tokens;  /* bytes that may be given now, at most `rate` */
    uint64_t last_ns; /* when tokens were last added */
    struct iovec iov[CHAIN_PIECES];
    uint64_t gpa[CHAIN_PIECES];
};

static struct virtio_rng *rng_of(struct virtio_dev *d)
{
    return CONTAINER_OF(d, struct virtio_rng, vd);
}

static void refill(struct virtio_rng *r)
{
    uint64_t now = host_now_ns(), passed = now - r->last_ns;
    if (passed > NS_PER_S)
        passed = NS_PER_S;
    uint64_t add = passed * r->rate / NS_PER_S;
    if (!add)
        return;
    r->last_ns = now;
    r->tokens = r->tokens + add > r->rate ? r->rate : r->tokens + add;
}

/* Fill the front of a chain; returns the bytes, 0 when the host has none to give. */
static uint32_t fill(struct virtio_rng *r, const struct virtq_chain *c)
{
    uint8_t bytes[256];
    uint32_t want = c->in_len < REQUEST_MAX ? (uint32_t)c->in_len : REQUEST_MAX, done = 0;
    if (want > r->tokens)
        want = (uint32_t)r->tokens;
    while (done < want) {
        size_t n = want - done < sizeof(bytes) ? want - done : sizeof(bytes);
        ssize_t got = getrandom(bytes, n, GRND_NONBLOCK); /* 256 bytes come whole once the pool is ready */
        if (got <= 0)
            break;
        iov_from_buf(c->in, c->in_count, done, bytes, (size_t)got);
        done += (uint32_t)got;
    }
    r->tokens -= done;
    return done;
}

static void serve(struct virtio_dev *d, struct virtqueue *q)
{
    struct virtio_rng *r = rng_of(d);
    struct virtq_chain c = {.iov = r->iov, .gpa = r->gpa, .iov_cap = CHAIN_PIECES};
    refill(r);
    do {
        virtq_want_kicks(q, false);
        while (virtq_pop(q, &c) > 0) {
            uint32_t n = fill(r, &c);
            if (!n && c.in_len) {
                /* Out of tokens: the buffer waits, and so do kicks. */
                virtq_unpop(q);
                loop_timer_arm(r->timer, host_now_ns() + NS_PER_S / 100);
                virtq_notify(q);
                return;
            }
            virtq_push(q, &c, n);
        }
    } while (virtq_want_kicks(q, true));
    virtq_notify(q);
}

static void tick(void *opaque)
{
    struct virtio_rng *r = opaque;
    lock_take(r->vd.lock);
    virtio_kick(&r->vd, 0);
    lock_drop(r->vd.lock);
}

static void stop(struct virtio_dev *d)
{
    loop_timer_disarm(rng_of(d)->timer);
}

static void rng_free(struct device *dev)
{
    struct virtio_rng *r = CONTAINER_OF(dev, struct virtio_rng, vd.dev);
    loop_timer_free(r->timer);
    virtio_dev_fini(&r->vd);
    free(r);
}

static const struct device_ops device_ops = {.kind = "virtio-rng",
                                             .reset = virtio_dev_reset,
                                             .pause = virtio_dev_pause,
                                             .resume = virtio_dev_resume,
                                             .saved = virtio_dev_saved,
                                             .loaded = virtio_dev_loaded,
                                             .free = rng_free};

static const struct virtio_dev_ops virtio_ops = {.id = VIRTIO_ID_RNG, .queue = serve, .stop = stop};

struct virtio_dev *virtio_rng_new(const struct virtio_rng_config *cfg, struct loop *loop, struct mem_map *mem,
                                  struct err *e)
{
    static const uint16_t sizes[] = {QUEUE_SIZE};
    struct virtio_rng *r = calloc(1, sizeof(*r));
    if (!r) {
        err_set(e, ENOMEM, "virtio-rng: out of memory");
        return NULL;
    }
    r->loop = loop;
    r->rate = cfg->bytes_per_second ? cfg->bytes_per_second : DEFAULT_RATE;
    r->tokens = r->rate;
    r->last_ns = host_now_ns();
    r->timer = loop_timer_new(loop, tick, r, e);
    if (!r->timer) {
        free(r);
        return NULL;
    }
    virtio_dev_init(&r->vd, &device_ops, &virtio_ops, cfg->instance, mem, 1, sizes);
    return &r->vd;
}
