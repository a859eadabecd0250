#include "device/virtio/console.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "backend/chr/chr.h"
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "device/virtio/regs.h"
#include "device/virtio/virtio.h"

enum { CONSOLE_F_SIZE = 0, CONSOLE_F_EMERG_WRITE = 2 };
enum { RX = 0, TX = 1, QUEUE_SIZE = 128, CHAIN_PIECES = 64 };
enum {
    TX_MAX = 1 << 20
}; /* bytes in one buffer: the lock is held while they are written, so a guest may not make it long */

/* struct virtio_console_config, 5.3.4. */
struct console_config {
    uint16_t cols, rows;
    uint32_t max_nr_ports, emerg_wr;
};

struct virtio_console {
    struct virtio_dev vd; /* first */
    struct chr *chr;
    struct chr_client client;
    uint16_t cols, rows;
    uint32_t tx_offset; /* bytes of the next chain of TX that chr took already */
    bool tx_blocked;    /* chr is full: waiting for writable */
    struct iovec iov[CHAIN_PIECES];
    uint64_t gpa[CHAIN_PIECES];
};

static struct virtio_console *console_of(struct virtio_dev *d)
{
    return CONTAINER_OF(d, struct virtio_console, vd);
}

static struct virtq_chain scratch(struct virtio_console *c)
{
    return (struct virtq_chain){.iov = c->iov, .gpa = c->gpa, .iov_cap = CHAIN_PIECES};
}

/* ---- to the host ---- */

/* Write a chain out from tx_offset on; false when chr is full. */
static bool write_out(struct virtio_console *c, const struct virtq_chain *chain)
{
    size_t skip = c->tx_offset;
    for (unsigned i = 0; i < chain->out_count; i++) {
        const struct iovec *v = &chain->out[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        size_t want = v->iov_len - skip;
        size_t n = c->chr->ops->write(c->chr, (const uint8_t *)v->iov_base + skip, want);
        c->tx_offset += (uint32_t)n;
        if (n < want)
            return false;
        skip = 0;
    }
    c->tx_offset = 0;
    return true;
}

static void transmit(struct virtio_console *c, struct virtqueue *q)
{
    struct virtq_chain chain = scratch(c);
    do {
        virtq_want_kicks(q, false);
        while (!c->tx_blocked && virtq_pop(q, &chain) > 0) {
            if (chain.out_len > TX_MAX) {
                virtq_unpop(q);
                virtio_broken(&c->vd, "queue %u: an output buffer of more than %u bytes", q->index,
                              (unsigned)TX_MAX);
                break;
            }
            if (!write_out(c, &chain)) {
                virtq_unpop(q);
                c->tx_blocked = true;
                break;
            }
            virtq_push(q, &chain, 0);
        }
    } while (!c->tx_blocked && virtq_want_kicks(q, true));
    virtq_notify(q);
}

static void writable(void *opaque)
{
    struct virtio_console *c = opaque;
    lock_take(c->vd.lock);
    c->tx_blocked = false;
    virtio_kick(&c->vd, TX);
    lock_drop(c->vd.lock);
}

/* ---- to the guest ---- */

static size_t can_receive(void *opaque)
{
    struct virtio_console *c = opaque;
    struct virtqueue *q = &c->vd.vq[RX];
    struct virtq_chain chain = scratch(c);
    size_t room = 0;
    lock_take(c->vd.lock);
    do {
        if (virtq_pop(q, &chain) > 0) {
            room = chain.in_len;
            virtq_unpop(q);
            if (!room)
                virtio_broken(&c->vd, "queue %u: a receive buffer that cannot be written", q->index);
            break;
        }
    } while (virtq_want_kicks(q, true)); /* the kick that ends the wait calls chr's resume */
    lock_drop(c->vd.lock);
    return room;
}

static void receive(void *opaque, const uint8_t *p, size_t n)
{
    struct virtio_console *c = opaque;
    struct virtqueue *q = &c->vd.vq[RX];
    struct virtq_chain chain = scratch(c);
    lock_take(c->vd.lock);
    if (virtq_pop(q, &chain) >
        0) { /* else it was reset since can_receive: the bytes are lost, as on a line */
        size_t done = iov_from_buf(chain.in, chain.in_count, 0, p, n);
        virtq_push(q, &chain, (uint32_t)done);
        virtq_notify(q);
    }
    lock_drop(c->vd.lock);
}

static void serve(struct virtio_dev *d, struct virtqueue *q)
{
    struct virtio_console *c = console_of(d);
    if (q->index == TX) {
        transmit(c, q);
    } else {
        virtq_want_kicks(q, false);
        c->chr->ops->resume(c->chr);
    }
}

/* ---- configuration ---- */

static void config_read(struct virtio_dev *d, uint32_t off, void *out, uint32_t n)
{
    struct virtio_console *c = console_of(d);
    struct console_config cfg = {.cols = c->cols, .rows = c->rows, .max_nr_ports = 1};
    memcpy(out, (uint8_t *)&cfg + off, n);
}

static void config_write(struct virtio_dev *d, uint32_t off, const void *in, uint32_t n)
{
    struct virtio_console *c = console_of(d);
    if (off == offsetof(struct console_config, emerg_wr) &&
        n) /* one character, before or without a driver (5.3.4) */
        c->chr->ops->write(c->chr, in, 1);
}

void virtio_console_resized(struct virtio_dev *d)
{
    struct virtio_console *c = console_of(d);
    uint16_t cols, rows;
    c->chr->ops->size(c->chr, &cols, &rows);
    lock_take(d->lock);
    if (cols != c->cols || rows != c->rows) {
        c->cols = cols;
        c->rows = rows;
        virtio_config_changed(d);
    }
    lock_drop(d->lock);
}

/* ---- life ---- */

static void stop(struct virtio_dev *d)
{
    console_of(d)->tx_offset = 0;
    console_of(d)->tx_blocked = false;
}

static void queue_stop(struct virtio_dev *d, struct virtqueue *q)
{
    if (q->index == TX)
        stop(d);
}

static void console_resume(struct device *dev)
{
    struct virtio_console *c = CONTAINER_OF(dev, struct virtio_console, vd.dev);
    virtio_dev_resume(dev);
    c->chr->ops->resume(c->chr);
    virtio_console_resized(&c->vd); /* it may be another terminal, after a load */
}

static void console_free(struct device *dev)
{
    struct virtio_console *c = CONTAINER_OF(dev, struct virtio_console, vd.dev);
    c->chr->ops->attach(c->chr, NULL);
    virtio_dev_fini(&c->vd);
    free(c);
}

static const struct device_ops device_ops = {.kind = "virtio-console",
                                             .reset = virtio_dev_reset,
                                             .pause = virtio_dev_pause,
                                             .resume = console_resume,
                                             .saved = virtio_dev_saved,
                                             .loaded = virtio_dev_loaded,
                                             .free = console_free};

static const struct field fields[] = {FIELD(struct virtio_console, tx_offset)};
static const struct field_table table = {
    .name = "virtio-console", .version = 1, .fields = fields, .count = ARRAY_LEN(fields)};

static const struct virtio_dev_ops virtio_ops = {
    .id = VIRTIO_ID_CONSOLE,
    .features = 1ull << CONSOLE_F_SIZE | 1ull << CONSOLE_F_EMERG_WRITE,
    .config_size = sizeof(struct console_config),
    .config_read = config_read,
    .config_write = config_write,
    .queue = serve,
    .stop = stop,
    .queue_stop = queue_stop,
    .table = &table,
};

struct virtio_dev *virtio_console_new(const struct virtio_console_config *cfg, struct chr *chr,
                                      struct loop *loop, struct mem_map *mem, struct err *e)
{
    static const uint16_t sizes[] = {QUEUE_SIZE, QUEUE_SIZE};
    struct virtio_console *c = calloc(1, sizeof(*c));
    (void)loop; /* input comes on it, by chr */
    if (!c) {
        err_set(e, ENOMEM, "virtio-console: out of memory");
        return NULL;
    }
    c->chr = chr;
    virtio_dev_init(&c->vd, &device_ops, &virtio_ops, cfg->instance, mem, 2, sizes);
    chr->ops->size(chr, &c->cols, &c->rows);
    c->client = (struct chr_client){
        .can_receive = can_receive, .receive = receive, .writable = writable, .opaque = c};
    chr->ops->attach(chr, &c->client);
    return &c->vd;
}
