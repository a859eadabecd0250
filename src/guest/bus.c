/*
 * Ports: a sorted array of claims under a sequence lock. Claims change while the machine is built and when a
 * PCI I/O BAR moves, which a guest may do as often as it likes: so a change allocates nothing that would have
 * to wait for readers. A vCPU copies the claim it found, and calls the device with no lock but the device's
 * own.
 */
#include "guest/bus.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/range.h"
#include "guest/seq.h"
#include "host/lock.h"

enum { MAX_CLAIMS = 512 };

struct claim {
    const char *name;
    const struct bus_ops *ops;
    void *opaque;
    struct lock *lock;
    uint32_t first, count;
};

struct bus {
    pthread_mutex_t change;
    struct seq seq;
    uint32_t count;
    struct claim claim[MAX_CLAIMS]; /* sorted by first, disjoint */
};

struct bus *bus_new(struct err *e)
{
    struct bus *b = calloc(1, sizeof *b);
    if (!b) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&b->change, NULL);
    return b;
}

void bus_free(struct bus *b)
{
    if (!b)
        return;
    pthread_mutex_destroy(&b->change);
    free(b);
}

static void put_claim(struct claim *to, const struct claim *c)
{
    seq_put(to->name, c->name);
    seq_put(to->ops, c->ops);
    seq_put(to->opaque, c->opaque);
    seq_put(to->lock, c->lock);
    seq_put(to->first, c->first);
    seq_put(to->count, c->count);
}

static int claim_locked(struct bus *b, const struct claim *c, struct err *e)
{
    unsigned at = 0;
    for (unsigned i = 0; i < b->count; i++) {
        const struct claim *o = &b->claim[i];
        if (range_overlap(c->first, c->count, o->first, o->count))
            return err_set(e, EBUSY, "ports 0x%x to 0x%x of %s are taken by %s", c->first,
                           c->first + c->count - 1, c->name, o->name);
        at += o->first < c->first;
    }
    if (b->count == MAX_CLAIMS)
        return err_set(e, ENOSPC, "ports of %s: more than %d claims", c->name, MAX_CLAIMS);
    seq_open(&b->seq);
    for (unsigned i = b->count; i > at; i--)
        put_claim(&b->claim[i], &b->claim[i - 1]);
    put_claim(&b->claim[at], c);
    seq_put(b->count, b->count + 1);
    seq_close(&b->seq);
    return 0;
}

int bus_claim(struct bus *b, const char *name, uint16_t first, uint16_t count, const struct bus_ops *ops,
              void *opaque, struct lock *lock, struct err *e)
{
    struct claim c = {
        .name = name, .first = first, .count = count, .ops = ops, .opaque = opaque, .lock = lock};
    if (!count || (uint32_t)first + count > 0x10000)
        return err_set(e, EINVAL, "%s: ports 0x%x+%u lie outside the port space", name, first, count);
    pthread_mutex_lock(&b->change);
    int r = claim_locked(b, &c, e);
    pthread_mutex_unlock(&b->change);
    return r;
}

void bus_release(struct bus *b, uint16_t first, uint16_t count)
{
    pthread_mutex_lock(&b->change);
    unsigned at = 0;
    while (at < b->count && (b->claim[at].first != first || b->claim[at].count != count))
        at++;
    if (at < b->count) {
        seq_open(&b->seq);
        for (unsigned i = at; i + 1 < b->count; i++)
            put_claim(&b->claim[i], &b->claim[i + 1]);
        seq_put(b->count, b->count - 1);
        seq_close(&b->seq);
    }
    pthread_mutex_unlock(&b->change);
}

/* Copies the claim that holds `port`; false when nobody does. */
static bool find(const struct bus *b, uint32_t port, struct claim *out)
{
    bool found;
    uint32_t began;
    do {
        began = seq_begin(&b->seq);
        uint32_t lo = 0, hi = seq_get(b->count);
        for (found = false; lo < hi && !found;) {
            uint32_t mid = (lo + hi) / 2;
            const struct claim *c = &b->claim[mid];
            *out = (struct claim){.ops = seq_get(c->ops),
                                  .opaque = seq_get(c->opaque),
                                  .lock = seq_get(c->lock),
                                  .first = seq_get(c->first),
                                  .count = seq_get(c->count)};
            if (port < out->first)
                hi = mid;
            else if (port >= out->first + out->count)
                lo = mid + 1;
            else
                found = true;
        }
    } while (seq_again(&b->seq, began));
    return found;
}

static const uint32_t size_mask[] = {0, 0xff, 0xffff, 0, 0xffffffff};

/* The claim that takes this access whole. False: it is split in two halves (or nobody is there for one byte).
 */
static bool whole(const struct bus *b, uint32_t port, unsigned size, struct claim *c)
{
    return find(b, port, c) && size <= (c->ops->max_size ? c->ops->max_size : 4) &&
           port - c->first + size <= c->count;
}

uint32_t bus_read(struct bus *b, uint16_t port, unsigned size)
{
    struct claim c;
    if (!whole(b, port, size, &c)) {
        if (size == 1)
            return 0xff;
        unsigned half = size / 2;
        return bus_read(b, port, half) | bus_read(b, (uint16_t)(port + half), half) << half * 8;
    }
    if (c.lock)
        lock_take(c.lock);
    uint32_t v = c.ops->read ? c.ops->read(c.opaque, (uint16_t)(port - c.first), size) : size_mask[size];
    if (c.lock)
        lock_drop(c.lock);
    return v & size_mask[size];
}

void bus_write(struct bus *b, uint16_t port, unsigned size, uint32_t value)
{
    struct claim c;
    value &= size_mask[size];
    if (!whole(b, port, size, &c)) {
        if (size == 1)
            return;
        unsigned half = size / 2;
        bus_write(b, port, half, value);
        bus_write(b, (uint16_t)(port + half), half, value >> half * 8);
        return;
    }
    if (c.lock)
        lock_take(c.lock);
    if (c.ops->write)
        c.ops->write(c.opaque, (uint16_t)(port - c.first), size, value);
    if (c.lock)
        lock_drop(c.lock);
}
