/*
 * Ports: a sorted array of claims behind a pointer. Claims change while the machine is built or paused and when a PCI I/O BAR moves; readers are
 * vCPU threads. A change publishes a new array; old ones are kept until the bus goes (they are few and small), so readers need no lock.
 */
#include "guest/bus.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/range.h"
#include "host/lock.h"

struct claim {
    const char *name;
    uint32_t first, count;
    const struct bus_ops *ops;
    void *opaque;
    struct lock *lock;
};

struct table {
    struct table *older;
    unsigned count;
    struct claim claim[];
};

struct bus {
    _Atomic(struct table *) table;
    pthread_mutex_t change;
};

struct bus *bus_new(struct err *e)
{
    struct bus *b = calloc(1, sizeof *b);
    struct table *t = calloc(1, sizeof *t);
    if (!b || !t) {
        free(b);
        free(t);
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&b->change, NULL);
    atomic_store(&b->table, t);
    return b;
}

void bus_free(struct bus *b)
{
    if (!b)
        return;
    for (struct table *t = atomic_load(&b->table), *older; t; t = older) {
        older = t->older;
        free(t);
    }
    pthread_mutex_destroy(&b->change);
    free(b);
}

static const struct claim *find(const struct table *t, uint32_t port)
{
    unsigned lo = 0, hi = t->count;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        const struct claim *c = &t->claim[mid];
        if (port < c->first)
            hi = mid;
        else if (port >= c->first + c->count)
            lo = mid + 1;
        else
            return c;
    }
    return NULL;
}

static struct table *copy_of(const struct table *t, unsigned extra)
{
    struct table *n = calloc(1, sizeof *n + (t->count + extra) * sizeof n->claim[0]);
    if (n) {
        memcpy(n->claim, t->claim, t->count * sizeof t->claim[0]);
        n->count = t->count;
    }
    return n;
}

static void publish(struct bus *b, struct table *old, struct table *now)
{
    now->older = old;
    atomic_store_explicit(&b->table, now, memory_order_release);
}

static int claim_locked(struct bus *b, const struct claim *c, struct err *e)
{
    struct table *t = atomic_load(&b->table), *n;
    unsigned at = 0;
    for (unsigned i = 0; i < t->count; i++) {
        const struct claim *o = &t->claim[i];
        if (range_overlap(c->first, c->count, o->first, o->count))
            return err_set(e, EBUSY, "ports 0x%x to 0x%x of %s are taken by %s", c->first, c->first + c->count - 1, c->name,
                           o->name);
        at += o->first < c->first;
    }
    n = copy_of(t, 1);
    if (!n)
        return err_set(e, ENOMEM, "out of memory");
    memmove(&n->claim[at + 1], &n->claim[at], (n->count - at) * sizeof n->claim[0]);
    n->claim[at] = *c;
    n->count++;
    publish(b, t, n);
    return 0;
}

int bus_claim(struct bus *b, const char *name, uint16_t first, uint16_t count, const struct bus_ops *ops, void *opaque,
              struct lock *lock, struct err *e)
{
    struct claim c = {.name = name, .first = first, .count = count, .ops = ops, .opaque = opaque, .lock = lock};
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
    struct table *t = atomic_load(&b->table), *n = copy_of(t, 0);
    if (n) {
        n->count = 0;
        for (unsigned i = 0; i < t->count; i++)
            if (t->claim[i].first != first || t->claim[i].count != count)
                n->claim[n->count++] = t->claim[i];
        publish(b, t, n);
    }
    pthread_mutex_unlock(&b->change);
}

static const uint32_t size_mask[] = {0, 0xff, 0xffff, 0, 0xffffffff};

/* The claim that takes this access whole, or NULL: then it is split in two halves (or nobody is there for one byte). */
static const struct claim *whole(const struct bus *b, uint32_t port, unsigned size)
{
    const struct claim *c = find(atomic_load_explicit(&((struct bus *)(uintptr_t)b)->table, memory_order_acquire), port);
    unsigned max = c && c->ops->max_size ? c->ops->max_size : 4;
    return c && size <= max && port - c->first + size <= c->count ? c : NULL;
}

uint32_t bus_read(struct bus *b, uint16_t port, unsigned size)
{
    const struct claim *c = whole(b, port, size);
    if (!c) {
        if (size == 1)
            return 0xff;
        unsigned half = size / 2;
        return bus_read(b, port, half) | bus_read(b, (uint16_t)(port + half), half) << half * 8;
    }
    if (c->lock)
        lock_take(c->lock);
    uint32_t v = c->ops->read ? c->ops->read(c->opaque, (uint16_t)(port - c->first), size) : size_mask[size];
    if (c->lock)
        lock_drop(c->lock);
    return v & size_mask[size];
}

void bus_write(struct bus *b, uint16_t port, unsigned size, uint32_t value)
{
    const struct claim *c = whole(b, port, size);
    value &= size_mask[size];
    if (!c) {
        if (size == 1)
            return;
        unsigned half = size / 2;
        bus_write(b, port, half, value);
        bus_write(b, (uint16_t)(port + half), half, value >> half * 8);
        return;
    }
    if (c->lock)
        lock_take(c->lock);
    if (c->ops->write)
        c->ops->write(c->opaque, (uint16_t)(port - c->first), size, value);
    if (c->lock)
        lock_drop(c->lock);
}
