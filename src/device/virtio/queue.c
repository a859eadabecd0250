/*
 * The one walker of split virtqueues (virtio 1.2 section 2.7). Rings lie in guest memory that vCPUs write
 * while we read: each field is read once, checked, and used from the local.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include "base/check.h"
#include "base/range.h"
#include "device/virtio/regs.h"
#include "device/virtio/virtio.h"
#include "guest/mem.h"

static_assert(sizeof(struct virtq_desc) == 16, "a descriptor is 16 bytes (2.7.5)");

enum { AVAIL_IDX = 2, AVAIL_RING = 4, USED_FLAGS = 0, USED_IDX = 2, USED_RING = 4, USED_ELEM = 8 };

/* ---- the rings ---- */

static uint64_t avail_size(const struct virtqueue *q)
{
    return AVAIL_RING + 2ull * q->size + 2;
}

static uint64_t used_size(const struct virtqueue *q)
{
    return USED_RING + (uint64_t)USED_ELEM * q->size + 2;
}

/* Alignments of 2.7: 16, 2, 4. Whether it is memory shows when it is used. */
bool virtq_valid(const struct virtqueue *q)
{
    return is_pow2(q->size) && q->size <= q->max_size && !(q->desc & 15) && !(q->avail & 1) &&
           !(q->used & 3) && range_no_wrap(q->desc, 16ull * q->size) &&
           range_no_wrap(q->avail, avail_size(q)) && range_no_wrap(q->used, used_size(q));
}

static bool load16(struct virtqueue *q, uint64_t gpa, uint16_t *out)
{
    uint64_t v;
    if (mem_load(q->dev->mem, gpa, 2, &v)) {
        virtio_broken(q->dev, "queue %u: ring at 0x%llx is not in memory", q->index, (unsigned long long)gpa);
        return false;
    }
    *out = (uint16_t)v;
    return true;
}

static bool store16(struct virtqueue *q, uint64_t gpa, uint16_t v)
{
    if (!mem_store(q->dev->mem, gpa, 2, v))
        return true;
    virtio_broken(q->dev, "queue %u: ring at 0x%llx is not in writable memory", q->index,
                  (unsigned long long)gpa);
    return false;
}

/* Rings may be touched: also while paused, because requests in flight are then finished. */
static bool usable(const struct virtqueue *q)
{
    return q->enabled && (q->dev->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) ==
                             VIRTIO_STATUS_DRIVER_OK;
}

/* Chains that the driver made available and we did not take; -1: broken. */
static int waiting(struct virtqueue *q)
{
    uint16_t idx;
    if (!usable(q) || !load16(q, q->avail + AVAIL_IDX, &idx))
        return usable(q) ? 0 : -1;
    uint16_t n = (uint16_t)(idx - q->last_avail);
    if (n > q->size) {
        virtio_broken(q->dev, "queue %u: available index jumped from %u to %u in a ring of %u", q->index,
                      q->last_avail, idx, q->size);
        return -1;
    }
    return n;
}

bool virtq_pending(struct virtqueue *q)
{
    return waiting(q) > 0;
}

/* ---- descriptor chains ---- */

struct walk {
    uint64_t table; /* of descriptors: the queue's, or an indirect one */
    uint32_t count; /* its entries */
    uint32_t index; /* the entry to read next */
    uint32_t seen;  /* entries read from this table: more than `count` is a loop */
    uint32_t total; /* descriptors in the chain */
    unsigned used;  /* iovecs filled */
    bool indirect;
};

/* Why the chain is malformed, or NULL. */
static const char *enter_indirect(const struct virtqueue *q, struct walk *w, const struct virtq_desc *desc)
{
    if (!virtio_has(q->dev, VIRTIO_F_RING_INDIRECT_DESC))
        return "an indirect descriptor that was not negotiated";
    if (w->indirect)
        return "an indirect descriptor in an indirect table";
    if (desc->flags & VIRTQ_DESC_F_NEXT)
        return "an indirect descriptor with a next one";
    if (!desc->len || desc->len % sizeof(*desc) || !range_no_wrap(desc->addr, desc->len))
        return "an indirect table of bad size";
    w->table = desc->addr;
    w->count = desc->len / (uint32_t)sizeof(*desc);
    w->index = w->seen = 0;
    w->indirect = true;
    return NULL;
}

static const char *add_buffer(const struct virtqueue *q, struct walk *w, const struct virtq_desc *desc,
                              struct virtq_chain *c)
{
    bool write = desc->flags & VIRTQ_DESC_F_WRITE;
    uint64_t *sum = write ? &c->in_len : &c->out_len;
    if (!desc->len)
        return "a descriptor of length zero";
    if (!write && c->in_count)
        return "a readable descriptor behind a writable one";
    if (*sum + desc->len > UINT32_MAX)
        return "a chain of more than 4 GiB";
    int n = mem_iov(q->dev->mem, desc->addr, desc->len, write, c->iov + w->used, (int)(c->iov_cap - w->used));
    if (n == -E2BIG)
        return "a chain of too many pieces";
    if (n <= 0)
        return write ? "a writable buffer outside writable memory" : "a buffer outside memory";
    uint64_t gpa = desc->addr;
    for (unsigned i = w->used; i < w->used + (unsigned)n; i++) {
        c->gpa[i] = gpa;
        gpa += c->iov[i].iov_len;
    }
    w->used += (unsigned)n;
    *(write ? &c->in_count : &c->out_count) += (unsigned)n;
    *sum += desc->len;
    return NULL;
}

static const char *walk_chain(const struct virtqueue *q, struct virtq_chain *c)
{
    struct walk w = {.table = q->desc, .count = q->size, .index = c->head};
    for (;;) {
        struct virtq_desc desc;
        if (w.index >= w.count)
            return "a descriptor index out of range";
        if (w.seen++ >= w.count || w.total >= VIRTIO_MAX_CHAIN)
            return "a chain that is a loop or too long";
        if (mem_read(q->dev->mem, w.table + (uint64_t)sizeof(desc) * w.index, &desc, sizeof(desc)))
            return "a descriptor outside memory";
        const char *wrong;
        if (desc.flags & VIRTQ_DESC_F_INDIRECT) {
            wrong = enter_indirect(q, &w, &desc);
            if (wrong)
                return wrong;
            continue;
        }
        w.total++;
        wrong = add_buffer(q, &w, &desc, c);
        if (wrong)
            return wrong;
        if (!(desc.flags & VIRTQ_DESC_F_NEXT))
            return NULL;
        w.index = desc.next;
    }
}

int virtq_pop(struct virtqueue *q, struct virtq_chain *c)
{
    if (!virtio_running(q->dev))
        return q->dev->status & VIRTIO_STATUS_NEEDS_RESET ? -1 : 0;
    int n = waiting(q);
    if (n <= 0)
        return q->dev->status & VIRTIO_STATUS_NEEDS_RESET ? -1 : 0;
    atomic_thread_fence(memory_order_acquire); /* the index before what it covers */
    if (q->inflight >= q->size) {
        virtio_broken(q->dev, "queue %u: more buffers are in flight than it has", q->index);
        return -1;
    }
    uint16_t head;
    if (!load16(q, q->avail + AVAIL_RING + 2ull * (q->last_avail & (q->size - 1u)), &head))
        return -1;
    c->head = head;
    c->epoch = q->epoch;
    c->out_count = c->in_count = 0;
    c->out_len = c->in_len = 0;
    const char *wrong = walk_chain(q, c);
    if (wrong) {
        virtio_broken(q->dev, "queue %u: %s", q->index, wrong);
        return -1;
    }
    c->out = c->iov;
    c->in = c->iov + c->out_count;
    c->in_gpa = c->gpa + c->out_count;
    q->last_avail++;
    q->inflight++;
    return 1;
}

void virtq_unpop(struct virtqueue *q)
{
    CHECK(q->inflight);
    q->last_avail--;
    q->inflight--;
}

void virtq_done(struct virtqueue *q)
{
    CHECK(q->stale);
    q->stale--;
}

bool virtq_current(const struct virtqueue *q, const struct virtq_chain *c)
{
    return c->epoch == q->epoch;
}

/* ---- giving back ---- */

void virtq_written(const struct virtio_dev *d, const struct virtq_chain *c, uint64_t from, uint64_t len)
{
    for (unsigned i = 0; i < c->in_count && len; i++) {
        uint64_t n = c->in[i].iov_len;
        if (from >= n) {
            from -= n;
            continue;
        }
        n = n - from < len ? n - from : len;
        mem_written(d->mem, c->in_gpa[i] + from, n);
        len -= n;
        from = 0;
    }
}

void virtq_stage(struct virtqueue *q, uint16_t head, uint32_t written)
{
    CHECK(q->inflight);
    q->inflight--;
    if (!usable(q))
        return;
    uint32_t elem[2] = {head, written};
    uint16_t at = (uint16_t)(q->used_idx + q->staged) & (uint16_t)(q->size - 1);
    if (mem_write(q->dev->mem, q->used + USED_RING + (uint64_t)USED_ELEM * at, elem, sizeof(elem)))
        virtio_broken(q->dev, "queue %u: used ring at 0x%llx is not in writable memory", q->index,
                      (unsigned long long)q->used);
    else
        q->staged++;
}

void virtq_publish(struct virtqueue *q)
{
    if (!q->staged)
        return;
    q->used_idx = (uint16_t)(q->used_idx + q->staged);
    q->staged = 0;
    q->unsignalled = true;
    if (!usable(q))
        return;
    atomic_thread_fence(memory_order_release); /* entries before the index */
    store16(q, q->used + USED_IDX, q->used_idx);
}

void virtq_push_head(struct virtqueue *q, uint16_t head, uint32_t written)
{
    virtq_stage(q, head, written);
    virtq_publish(q);
}

void virtq_push(struct virtqueue *q, const struct virtq_chain *c, uint32_t written)
{
    if (!virtq_current(q, c)) {
        virtq_done(q);
        return;
    }
    virtq_written(q->dev, c, 0, written);
    virtq_push_head(q, c->head, written);
}

/* ---- notifications, both ways (2.7.7, 2.7.10) ---- */

static bool wants_interrupt(struct virtqueue *q)
{
    uint16_t v, old = q->signalled_used, now = q->used_idx;
    bool valid = q->signalled_valid;
    atomic_thread_fence(memory_order_seq_cst); /* our index before the driver's wish */
    if (!virtio_has(q->dev, VIRTIO_F_RING_EVENT_IDX))
        return load16(q, q->avail, &v) && !(v & VIRTQ_AVAIL_F_NO_INTERRUPT);
    q->signalled_used = now;
    q->signalled_valid = true;
    if (!load16(q, q->avail + AVAIL_RING + 2ull * q->size, &v))
        return false;
    return !valid || (uint16_t)(now - v - 1) < (uint16_t)(now - old);
}

void virtq_notify(struct virtqueue *q)
{
    if (!q->unsignalled || !usable(q))
        return;
    q->unsignalled = false;
    if (wants_interrupt(q) && q->dev->tops)
        q->dev->tops->notify_queue(q->dev->transport, q);
}

bool virtq_want_kicks(struct virtqueue *q, bool on)
{
    if (!usable(q) || !virtio_running(q->dev)) /* else a caller would look again for what it cannot pop */
        return false;
    if (!virtio_has(q->dev, VIRTIO_F_RING_EVENT_IDX)) {
        if (!store16(q, q->used + USED_FLAGS, on ? 0 : VIRTQ_USED_F_NO_NOTIFY))
            return false;
    } else if (on && !store16(q, q->used + USED_RING + (uint64_t)USED_ELEM * q->size, q->last_avail)) {
        return false;
    }
    if (!on)
        return false;
    atomic_thread_fence(memory_order_seq_cst); /* our wish before the driver's index */
    return virtq_pending(q);
}
