/*
 * sysctl: two ports of one byte each. System control port A (0x92; PS/2): fast reset, and A20, which is
 * always open. And pvpanic, by which a guest says that its kernel has crashed (QEMU's pvpanic specification:
 * bit 0 panicked, bit 1 a crash kernel takes over).
 */
#ifndef DEVICE_SYSCTL_H
#define DEVICE_SYSCTL_H
#include <stdint.h>
#include "device/core/device.h"
struct bus;
struct err;
struct sysctl;

struct sysctl_config {
    struct bus *bus;
    uint16_t port_a, pvpanic_port;
    void (*reset)(void *opaque);                 /* lock held */
    void (*panic)(void *opaque, uint8_t events); /* lock held */
    void *opaque;
};

enum { PVPANIC_PANICKED = 1, PVPANIC_CRASH_LOADED = 2 };

struct sysctl *sysctl_new(const struct sysctl_config *cfg, struct err *e);
struct device *sysctl_device(struct sysctl *s);

#endif
