/*
 * ring: the driver's side of one split virtqueue (virtio 1.2 section 2.7), as small as a test needs it.
 */
#ifndef VIRTIO_TEST_RING_H
#define VIRTIO_TEST_RING_H
#include <string.h>
#include "base/check.h"
#include "device/virtio/regs.h"
#include "device/virtio/test/rig.h"

struct ring_buf {
    uint64_t gpa;
    uint32_t len;
    bool write; /* by the device */
};

struct ring {
    struct rig *rig;
    unsigned queue, size;
    uint64_t desc, avail, used;
    uint16_t avail_idx, last_used, next_desc;
    bool indirect;
};

static inline uint16_t ring_get16(struct ring *g, uint64_t gpa)
{
    uint16_t v;
    CHECK(!mem_read(g->rig->mem, gpa, &v, 2));
    return v;
}

static inline void ring_put16(struct ring *g, uint64_t gpa, uint16_t v)
{
    CHECK(!mem_write(g->rig->mem, gpa, &v, 2));
}

/* Allocate and enable queue `queue` of `size`. */
static inline void ring_init(struct ring *g, struct rig *r, unsigned queue, unsigned size)
{
    *g = (struct ring){.rig = r, .queue = queue, .size = size};
    g->desc = rig_alloc(r, 16ull * size, 16);
    g->avail = rig_alloc(r, 6 + 2ull * size, 2);
    g->used = rig_alloc(r, 6 + 8ull * size, 4);
    drv_queue_setup(r, queue, size, g->desc, g->avail, g->used);
}

static inline void ring_desc(struct ring *g, uint64_t table, unsigned i, uint64_t gpa, uint32_t len,
                             unsigned flags, unsigned next)
{
    const struct virtq_desc d = {.addr = gpa, .len = len, .flags = (uint16_t)flags, .next = (uint16_t)next};
    CHECK(!mem_write(g->rig->mem, table + 16ull * i, &d, sizeof(d)));
}

/* Offer the chain that begins at descriptor `head`; the device is not told. */
static inline void ring_offer(struct ring *g, uint16_t head)
{
    ring_put16(g, g->avail + 4 + 2ull * (g->avail_idx % g->size), head);
    ring_put16(g, g->avail + 2, ++g->avail_idx);
}

/* Describe `n` buffers as one chain and offer it; descriptors are used round robin (the test keeps few enough
 * in flight). Returns the head. */
static inline uint16_t ring_add(struct ring *g, const struct ring_buf *b, unsigned n)
{
    uint64_t table = g->desc;
    uint16_t head = g->next_desc;
    unsigned first = head;
    if (g->indirect) {
        table = rig_alloc(g->rig, 16ull * n, 16);
        ring_desc(g, g->desc, head, table, 16 * n, VIRTQ_DESC_F_INDIRECT, 0);
        first = 0;
        g->next_desc = (uint16_t)((g->next_desc + 1) % g->size);
    } else {
        g->next_desc = (uint16_t)((g->next_desc + n) % g->size);
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned at = g->indirect ? i : (first + i) % g->size,
                 next = g->indirect ? i + 1 : (first + i + 1) % g->size;
        ring_desc(g, table, at, b[i].gpa, b[i].len,
                  (b[i].write ? VIRTQ_DESC_F_WRITE : 0u) | (i + 1 < n ? VIRTQ_DESC_F_NEXT : 0u), next);
    }
    ring_offer(g, head);
    return head;
}

/* The next used element; false when there is none. */
static inline bool ring_take(struct ring *g, uint32_t *id, uint32_t *len)
{
    uint32_t elem[2];
    if (ring_get16(g, g->used + 2) == g->last_used)
        return false;
    CHECK(!mem_read(g->rig->mem, g->used + 4 + 8ull * (g->last_used++ % g->size), elem, sizeof(elem)));
    *id = elem[0];
    *len = elem[1];
    return true;
}

static inline void ring_kick(struct ring *g)
{
    drv_kick(g->rig, g->queue);
}

/* Event index: where we want an interrupt, and where the device wants a kick. */
static inline void ring_used_event(struct ring *g, uint16_t v)
{
    ring_put16(g, g->avail + 4 + 2ull * g->size, v);
}

static inline uint16_t ring_avail_event(struct ring *g)
{
    return ring_get16(g, g->used + 4 + 8ull * g->size);
}

#endif
