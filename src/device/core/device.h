/*
 * device: what every device of the guest's has in common.
 *
 * A device is a small object: `x_new(config, where its wires go, its backend, its loop)` gives a whole one or
 * none; `x_free(NULL)` is fine; no singletons. It embeds struct device first. Its lock (rank LOCK_DEVICE) is
 * taken by bus and memory dispatch (give it to bus_claim / mem_region), by its own loop callbacks, and by
 * save, load and reset.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H
#include <stdbool.h>
#include "host/lock.h"
#include "state/state.h"
struct err;
struct device;

struct device_ops {
    const char *kind;                 /* "serial", "virtio-blk" */
    void (*reset)(struct device *d);  /* to power-on state; lock held */
    void (*pause)(struct device *d);  /* stop touching guest memory and finish what is in flight; loop thread,
                                         lock not held; may be NULL */
    void (*resume)(struct device *d); /* undo pause: kick queues that have work; may be NULL */
    /* Fill `out` (at most `max`) with the objects to save; returns the count. The objects stay the device's.
     */
    unsigned (*saved)(struct device *d, struct saved *out, unsigned max);
    /* After all sections of the machine are loaded: re-arm timers, recompute lines. No interrupt is raised
     * that was not pending. May be NULL. */
    int (*loaded)(struct device *d, struct err *e);
    void (*free)(struct device *d);
};

struct device {
    const struct device_ops *ops;
    struct lock lock;
    unsigned instance; /* distinguishes devices of a kind; stable within a board version */
    /* Another device that this one is the way to (a virtio device behind its transport) and that shares its
     * lock, or NULL. Whatever is done to this one is done to it: it is reset, paused, resumed and freed
     * first, saved and loaded last. */
    struct device *inner;
};

void device_init(struct device *d, const struct device_ops *ops, unsigned instance);
/* As device_init, for what other devices raise interrupts into under their own lock: an interrupt controller
 * has rank LOCK_IRQ. */
void device_init_rank(struct device *d, const struct device_ops *ops, unsigned instance, enum lock_rank rank);
void device_fini(struct device *d);

/* The same six operations for whoever holds a list of devices; each takes the lock where the operation wants
 * it held. */
void device_reset(struct device *d);
void device_pause(struct device *d);
void device_resume(struct device *d);
unsigned device_saved(struct device *d, struct saved *out, unsigned max); /* lock held by the caller */
int device_loaded(struct device *d, struct err *e);
void device_free(struct device *d); /* NULL is fine */

#endif
