/*
 * testdev: what kvm-unit-tests finds on QEMU as pc-testdev and isa-debug-exit. Only on request.
 *
 *     port 0xe0..0xe3      a register that gives back what was written (1, 2, 4 bytes, any alignment)
 *     port 0xe4..0xe7      "forget the mapping of this page": no effect that a guest could see
 *     port 0xe8..0xeb      the register again, but byte by byte
 *     port 0x2000 + n      interrupt wire n (0..23): writing 0 lowers, else raises
 *     0xff000000, 64 KiB   memory-mapped bytes that give back what was written
 *     port 0xf4..0xf7      debug exit: ends the machine with the value written
 */
#ifndef DEVICE_TESTDEV_H
#define DEVICE_TESTDEV_H
#include <stdint.h>
#include "device/core/device.h"
#include "guest/irq.h"
struct bus;
struct err;
struct mem_map;
struct testdev;
struct debugexit;

enum { TESTDEV_LINES = 24, TESTDEV_IOMEM = 0x10000 };

struct testdev_config {
    struct bus *bus;
    struct mem_map *mem;
    uint16_t port, irq_port;
    uint64_t iomem;
    struct irq_line irq[TESTDEV_LINES];
};

struct testdev *testdev_new(const struct testdev_config *cfg, struct err *e);
struct device *testdev_device(struct testdev *t);

struct debugexit_config {
    struct bus *bus;
    uint16_t port;                             /* four ports */
    void (*exit)(void *opaque, uint32_t code); /* lock held */
    void *opaque;
};

struct debugexit *debugexit_new(const struct debugexit_config *cfg, struct err *e);
struct device *debugexit_device(struct debugexit *x);

#endif
