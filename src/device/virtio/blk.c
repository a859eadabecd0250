#include "device/virtio/blk.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "backend/block/disk.h"
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "device/virtio/regs.h"
#include "device/virtio/virtio.h"
#include "guest/mem.h"

/* Feature bits, 5.2.3. */
enum {
    BLK_F_SEG_MAX = 2,
    BLK_F_RO = 5,
    BLK_F_BLK_SIZE = 6,
    BLK_F_FLUSH = 9,
    BLK_F_TOPOLOGY = 10,
    BLK_F_CONFIG_WCE = 11,
    BLK_F_MQ = 12,
    BLK_F_DISCARD = 13,
    BLK_F_WRITE_ZEROES = 14,
};

/* Requests and their answers, 5.2.6. */
enum {
    BLK_T_IN = 0,
    BLK_T_OUT = 1,
    BLK_T_FLUSH = 4,
    BLK_T_GET_ID = 8,
    BLK_T_DISCARD = 11,
    BLK_T_WRITE_ZEROES = 13
};
enum { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };
enum { SECTOR = 512, ID_BYTES = 20, SEGMENT_UNMAP = 1 };

struct blk_header {
    uint32_t type, reserved;
    uint64_t sector;
};

struct blk_segment {
    uint64_t sector;
    uint32_t sectors, flags;
};

/* struct virtio_blk_config, 5.2.4; x86 is little-endian, as it is. */
struct blk_config {
    uint64_t capacity;
    uint32_t size_max, seg_max;
    uint16_t cylinders;
    uint8_t heads, sectors;
    uint32_t blk_size;
    uint8_t physical_block_exp, alignment_offset;
    uint16_t min_io_size;
    uint32_t opt_io_size;
    uint8_t writeback, unused0;
    uint16_t num_queues;
    uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
    uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap, unused1[3];
};

_Static_assert(sizeof(struct blk_config) == 64 && offsetof(struct blk_config, max_write_zeroes_sectors) == 48,
               "layout of 5.2.4");

enum {
    CONFIG_SIZE = 60,
    DEFAULT_QUEUE = 256,
    CHAIN_PIECES =
        512, /* iovecs of one request: seg_max, header, status, and what memory's own borders add */
    MAX_IN_FLIGHT = 512,        /* requests at the disk, over all queues */
    MAX_SEGMENTS = 32,          /* of one discard */
    MAX_TRANSFER = 1 << 30,     /* bytes of one read or write */
    MAX_ZERO_SECTORS = 1 << 22, /* of one discard or write zeroes segment: 2 GiB */
};

struct virtio_blk {
    struct virtio_dev vd; /* first */
    struct disk *disk;
    struct disk_info info;
    uint8_t writeback;  /* the cache mode of CONFIG_WCE */
    unsigned in_flight; /* at the disk, those of older epochs included */
    bool stalled;       /* queues wait for in_flight to fall */
    struct iovec iov[CHAIN_PIECES];
    uint64_t gpa[CHAIN_PIECES];
};

/* One request from pop to push. */
struct blk_request {
    struct disk_request disk;
    struct virtio_blk *blk;
    struct virtqueue *q;
    struct virtq_chain chain; /* `in` without its last byte, the status */
    struct blk_header header;
    uint8_t *status; /* where it goes, and its guest address */
    uint64_t status_gpa;
    bool then_flush; /* a write with the cache off is done when it is flushed */
    unsigned segment, segments;
    struct blk_segment *segs; /* of discard and write zeroes, NULL otherwise */
    struct iovec iov[];       /* the chain's, then its guest addresses */
};

static struct virtio_blk *blk_of(struct virtio_dev *d)
{
    return CONTAINER_OF(d, struct virtio_blk, vd);
}

static void serve_all(struct virtio_blk *b);

/* ---- configuration ---- */

static uint8_t log2_of(uint32_t v)
{
    uint8_t n = 0;
    while (v >>= 1)
        n++;
    return n;
}

static void config_read(struct virtio_dev *d, uint32_t off, void *out, uint32_t n)
{
    struct virtio_blk *b = blk_of(d);
    uint32_t physical =
        b->info.physical_block > b->info.block_size ? b->info.physical_block : b->info.block_size;
    struct blk_config c = {
        .capacity = b->info.size / SECTOR,
        .seg_max = d->vq[0].max_size - 2u < 254 ? d->vq[0].max_size - 2u : 254,
        .blk_size = b->info.block_size,
        .physical_block_exp = log2_of(physical / b->info.block_size),
        .writeback = b->writeback,
        .num_queues = (uint16_t)d->queues,
    };
    if (b->info.discard) {
        c.max_discard_sectors = MAX_ZERO_SECTORS;
        c.max_discard_seg = MAX_SEGMENTS;
        c.discard_sector_alignment = physical / SECTOR;
    }
    if (b->info.write_zeroes) {
        c.max_write_zeroes_sectors = MAX_ZERO_SECTORS;
        c.max_write_zeroes_seg = 1;
        c.write_zeroes_may_unmap = b->info.discard;
    }
    memcpy(out, (uint8_t *)&c + off, n);
}

static void config_write(struct virtio_dev *d, uint32_t off, const void *in, uint32_t n)
{
    if (off == offsetof(struct blk_config, writeback) && n == 1 && virtio_has(d, BLK_F_CONFIG_WCE))
        blk_of(d)->writeback = *(const uint8_t *)in & 1;
}

/* The driver expects that a completed write is on the medium (5.2.6.2). */
static bool write_through(const struct virtio_blk *b)
{
    return virtio_has(&b->vd, BLK_F_CONFIG_WCE) ? !b->writeback : !virtio_has(&b->vd, BLK_F_FLUSH);
}

/* ---- ends of a request; lock held ---- */

static void finish(struct blk_request *r, uint8_t status)
{
    struct virtqueue *q = r->q;
    struct virtio_dev *d = q->dev;
    /* Whatever came of it, its buffer may have been written; the reset that disowned it does not undo that.
     */
    if (r->header.type == BLK_T_IN)
        virtq_written(d, &r->chain, 0, r->disk.length); /* 0 where it never got to the disk */
    if (!virtq_current(q, &r->chain)) {
        virtq_done(q);
    } else {
        *r->status = status;
        mem_written(d->mem, r->status_gpa, 1);
        bool whole = r->chain.in_len == 1 || status == BLK_S_OK;
        virtq_push_head(q, r->chain.head, whole ? (uint32_t)r->chain.in_len : 0);
    }
    free(r->segs);
    free(r);
}

static void submit(struct blk_request *r)
{
    r->blk->in_flight++;
    r->blk->disk->ops->submit(r->blk->disk, &r->disk);
}

/* Prepare segment r->segment of a discard; false where it is out of bounds. */
static bool next_segment(struct blk_request *r)
{
    const struct blk_segment *s = &r->segs[r->segment];
    struct virtio_blk *b = r->blk;
    if (s->sectors > MAX_ZERO_SECTORS || !range_inside(s->sector, s->sectors, b->info.size / SECTOR))
        return false;
    r->disk.offset = s->sector * SECTOR;
    r->disk.length = (uint64_t)s->sectors * SECTOR;
    r->disk.unmap = s->flags & SEGMENT_UNMAP;
    return true;
}

/* The next step of a request whose last one went well; false: there is none. */
static bool go_on(struct blk_request *r, uint8_t *status)
{
    if (!virtq_current(r->q, &r->chain))
        return false;
    while (r->segs && ++r->segment < r->segments) {
        if (!next_segment(r)) {
            *status = BLK_S_IOERR;
            return false;
        }
        if (r->disk.length) {
            submit(r);
            return true;
        }
    }
    if (r->then_flush) {
        r->then_flush = false;
        r->disk.op = DISK_FLUSH;
        r->disk.offset = r->disk.length = 0;
        r->disk.iovcnt = 0;
        submit(r);
        return true;
    }
    return false;
}

/* The disk's completion; its loop's thread. */
static void disk_done(struct disk_request *dr, int result)
{
    struct blk_request *r = dr->opaque;
    struct virtio_blk *b = r->blk;
    struct virtqueue *q = r->q;
    uint8_t status = !result ? BLK_S_OK : result == -EOPNOTSUPP ? BLK_S_UNSUPP : BLK_S_IOERR;
    lock_take(b->vd.lock);
    b->in_flight--;
    if (status != BLK_S_OK || !go_on(r, &status)) {
        finish(r, status);
        virtq_notify(q);
    }
    if (b->stalled && b->in_flight <= MAX_IN_FLIGHT / 2)
        serve_all(b);
    lock_drop(b->vd.lock);
}

/* ---- requests; lock held. Each start_ returns a status to finish with, or -1: at the disk. ---- */

static int start_transfer(struct blk_request *r)
{
    struct virtio_blk *b = r->blk;
    bool read = r->header.type == BLK_T_IN;
    unsigned count = read ? r->chain.in_count : r->chain.out_count;
    struct iovec *iov = read ? r->chain.in : iov_skip(r->chain.out, &count, sizeof(r->header));
    uint64_t len = read ? r->chain.in_len - 1 : r->chain.out_len - sizeof(r->header);
    if (len % SECTOR || len > MAX_TRANSFER ||
        !range_inside(r->header.sector, len / SECTOR, b->info.size / SECTOR))
        return BLK_S_IOERR;
    if (!read && b->info.readonly)
        return BLK_S_IOERR;
    if (!len)
        return BLK_S_OK;
    r->disk.op = read ? DISK_READ : DISK_WRITE;
    r->disk.offset = r->header.sector * SECTOR;
    r->disk.length = len;
    r->disk.iov = iov;
    r->disk.iovcnt = (int)count;
    r->then_flush = !read && write_through(b);
    submit(r);
    return -1;
}

static int start_segments(struct blk_request *r)
{
    struct virtio_blk *b = r->blk;
    bool discard = r->header.type == BLK_T_DISCARD;
    uint64_t len = r->chain.out_len - sizeof(r->header);
    if (!virtio_has(&b->vd, discard ? BLK_F_DISCARD : BLK_F_WRITE_ZEROES))
        return BLK_S_UNSUPP;
    if (!len || len % sizeof(struct blk_segment) ||
        len / sizeof(struct blk_segment) > (discard ? MAX_SEGMENTS : 1) || b->info.readonly)
        return BLK_S_IOERR;
    r->segs = malloc(len);
    if (!r->segs)
        return BLK_S_IOERR;
    r->segments = (unsigned)(len / sizeof(struct blk_segment));
    iov_to_buf(r->chain.out, r->chain.out_count, sizeof(r->header), r->segs, len);
    for (unsigned i = 0; i < r->segments; i++)
        if (r->segs[i].flags &
            (discard ? ~0u : ~(uint32_t)SEGMENT_UNMAP)) /* reserved bits, and unmap of a discard (5.2.6.2) */
            return BLK_S_UNSUPP;
    r->disk.op = discard ? DISK_DISCARD : DISK_WRITE_ZEROES;
    r->then_flush = write_through(b);
    r->segment = UINT32_MAX; /* go_on begins with the next */
    uint8_t status = BLK_S_OK;
    return go_on(r, &status) ? -1 : status;
}

static int start_get_id(struct blk_request *r)
{
    char id[ID_BYTES] = {0};
    uint64_t room = r->chain.in_len - 1;
    memcpy(id, r->blk->info.serial, strnlen(r->blk->info.serial, sizeof(id)));
    size_t n = iov_from_buf(r->chain.in, r->chain.in_count, 0, id, room < sizeof(id) ? room : sizeof(id));
    virtq_written(r->q->dev, &r->chain, 0, n);
    return BLK_S_OK;
}

static int start(struct blk_request *r)
{
    switch (r->header.type) {
    case BLK_T_IN:
    case BLK_T_OUT:
        return start_transfer(r);
    case BLK_T_FLUSH:
        r->disk.op = DISK_FLUSH;
        submit(r);
        return -1;
    case BLK_T_GET_ID:
        return start_get_id(r);
    case BLK_T_DISCARD:
    case BLK_T_WRITE_ZEROES:
        return start_segments(r);
    default:
        return BLK_S_UNSUPP;
    }
}

/* A request of its own for the chain popped into the device's scratch; NULL: malformed (the device is broken)
 * or out of memory. */
static struct blk_request *request_new(struct virtio_blk *b, struct virtqueue *q, const struct virtq_chain *c)
{
    unsigned n = c->out_count + c->in_count;
    struct blk_request *r = c->out_len < sizeof(struct blk_header) || !c->in_len
                                ? NULL
                                : malloc(sizeof(*r) + n * (sizeof(struct iovec) + sizeof(uint64_t)));
    if (!r) {
        virtq_unpop(q);
        virtio_broken(&b->vd, "queue %u: a request without header or status, or no memory for it", q->index);
        return NULL;
    }
    *r = (struct blk_request){.blk = b, .q = q, .chain = *c};
    r->disk.done = disk_done;
    r->disk.opaque = r;
    uint64_t *gpa = (uint64_t *)(void *)(r->iov + n);
    memcpy(r->iov, c->iov, n * sizeof(*r->iov));
    memcpy(gpa, c->gpa, n * sizeof(*gpa));
    r->chain.iov = r->chain.out = r->iov;
    r->chain.in = r->iov + c->out_count;
    r->chain.gpa = gpa;
    r->chain.in_gpa = gpa + c->out_count;
    iov_to_buf(r->chain.out, r->chain.out_count, 0, &r->header, sizeof(r->header));
    unsigned last = c->in_count - 1;
    size_t before = --r->chain.in[last].iov_len;
    r->status = (uint8_t *)r->chain.in[last].iov_base + before;
    r->status_gpa = r->chain.in_gpa[last] + before;
    if (!before)
        r->chain.in_count--;
    return r;
}

static void serve(struct virtio_dev *d, struct virtqueue *q)
{
    struct virtio_blk *b = blk_of(d);
    struct virtq_chain c = {.iov = b->iov, .gpa = b->gpa, .iov_cap = CHAIN_PIECES};
    do {
        virtq_want_kicks(q, false);
        while (b->in_flight < MAX_IN_FLIGHT && virtq_pop(q, &c) > 0) {
            struct blk_request *r = request_new(b, q, &c);
            if (!r)
                break;
            int status = start(r);
            if (status >= 0)
                finish(r, (uint8_t)status);
        }
        if (b->in_flight >= MAX_IN_FLIGHT) {
            b->stalled = true; /* completions come back here; kicks need not */
            break;
        }
    } while (virtq_want_kicks(q, true));
    virtq_notify(q);
}

static void serve_all(struct virtio_blk *b)
{
    b->stalled = false;
    for (unsigned i = 0; i < b->vd.queues; i++)
        virtio_kick(&b->vd, i);
}

/* ---- life ---- */

static void stop(struct virtio_dev *d)
{
    blk_of(d)->writeback = 1;
    blk_of(d)->stalled = false;
}

/* Nothing new is taken once paused, so that what is in flight ends. */
static void blk_pause(struct device *dev)
{
    struct virtio_blk *b = CONTAINER_OF(dev, struct virtio_blk, vd.dev);
    virtio_dev_pause(dev);
    for (unsigned left = 1; left;) {
        b->disk->ops->drain(b->disk);
        lock_take(b->vd.lock);
        left = b->in_flight;
        lock_drop(b->vd.lock);
    }
}

static void blk_free(struct device *dev)
{
    struct virtio_blk *b = CONTAINER_OF(dev, struct virtio_blk, vd.dev);
    blk_pause(dev);
    virtio_dev_fini(&b->vd);
    free(b);
}

static const struct device_ops device_ops = {.kind = "virtio-blk",
                                             .reset = virtio_dev_reset,
                                             .pause = blk_pause,
                                             .resume = virtio_dev_resume,
                                             .saved = virtio_dev_saved,
                                             .loaded = virtio_dev_loaded,
                                             .free = blk_free};

static const struct field fields[] = {FIELD(struct virtio_blk, writeback, .max = 1)};
static const struct field_table table = {
    .name = "virtio-blk", .version = 1, .fields = fields, .count = ARRAY_LEN(fields)};

static const struct virtio_dev_ops virtio_ops = {
    .id = VIRTIO_ID_BLOCK,
    .features = 1ull << BLK_F_SEG_MAX | 1ull << BLK_F_BLK_SIZE | 1ull << BLK_F_FLUSH |
                1ull << BLK_F_TOPOLOGY | 1ull << BLK_F_CONFIG_WCE,
    .config_size = CONFIG_SIZE,
    .config_read = config_read,
    .config_write = config_write,
    .queue = serve,
    .stop = stop,
    .table = &table,
};

struct virtio_dev *virtio_blk_new(const struct virtio_blk_config *cfg, struct disk *disk, struct loop *loop,
                                  struct mem_map *mem, struct err *e)
{
    unsigned queues = cfg->queues ? cfg->queues : 1, size = cfg->queue_size ? cfg->queue_size : DEFAULT_QUEUE;
    (void)loop; /* completions come on it, by the disk */
    if (queues > VIRTIO_MAX_QUEUES || !is_pow2(size) || size < 4 || size > VIRTQ_MAX_SIZE) {
        err_set(e, EINVAL, "virtio-blk: %u queues of %u: at most %u of a power of two from 4 to %u", queues,
                size, (unsigned)VIRTIO_MAX_QUEUES, (unsigned)VIRTQ_MAX_SIZE);
        return NULL;
    }
    struct virtio_blk *b = calloc(1, sizeof(*b));
    if (!b) {
        err_set(e, ENOMEM, "virtio-blk: out of memory");
        return NULL;
    }
    uint16_t sizes[VIRTIO_MAX_QUEUES];
    for (unsigned i = 0; i < queues; i++)
        sizes[i] = (uint16_t)size;
    b->disk = disk;
    b->writeback = 1;
    disk->ops->info(disk, &b->info);
    virtio_dev_init(&b->vd, &device_ops, &virtio_ops, cfg->instance, mem, queues, sizes);
    b->vd.features_offered |= (uint64_t)b->info.readonly << BLK_F_RO | (uint64_t)(queues > 1) << BLK_F_MQ |
                              (uint64_t)b->info.discard << BLK_F_DISCARD |
                              (uint64_t)b->info.write_zeroes << BLK_F_WRITE_ZEROES;
    return &b->vd;
}

void virtio_blk_resized(struct virtio_dev *d)
{
    struct virtio_blk *b = blk_of(d);
    struct disk_info now;
    b->disk->ops->info(b->disk, &now);
    lock_take(d->lock);
    bool changed = now.size != b->info.size;
    b->info.size = now.size;
    if (changed)
        virtio_config_changed(d);
    lock_drop(d->lock);
}
