/*
 * bus: the 64 KiB port space. Same shape as mem's MMIO dispatch; changes are published the same way, rarely.
 */
#ifndef GUEST_BUS_H
#define GUEST_BUS_H
#include <stdint.h>
struct err;
struct lock;
struct bus;

/* Ports [first, first+count). offset is port - first. size 1, 2, 4; an access that spans two devices is split
 * into bytes. */
struct bus_ops {
    uint32_t (*read)(void *opaque, uint16_t offset, unsigned size);
    void (*write)(void *opaque, uint16_t offset, unsigned size, uint32_t value);
    unsigned max_size; /* 0: 4; larger accesses are split, lower part first */
};

struct bus *bus_new(struct err *e);
void bus_free(struct bus *b);

/* Claim ports. -EBUSY when any is taken (e names the holder). `name` in static storage; lock as in
 * mem_region. */
int bus_claim(struct bus *b, const char *name, uint16_t first, uint16_t count, const struct bus_ops *ops,
              void *opaque, struct lock *lock, struct err *e);
void bus_release(struct bus *b, uint16_t first, uint16_t count);

/* A vCPU's IN and OUT. Unclaimed reads give all ones. Any thread. */
uint32_t bus_read(struct bus *b, uint16_t port, unsigned size);
void bus_write(struct bus *b, uint16_t port, unsigned size, uint32_t value);

#endif
