/*
 * virtio-console (virtio 1.2 section 5.3) over a struct chr: one port (queue 0 to the guest, queue 1 from
 * it), terminal size, emergency write.
 *
 * Output is written on the kicking thread; input comes on the loop's.
 */
#ifndef DEVICE_VIRTIO_CONSOLE_H
#define DEVICE_VIRTIO_CONSOLE_H
#include <stdint.h>
struct chr;
struct err;
struct loop;
struct mem_map;
struct virtio_dev;

struct virtio_console_config {
    unsigned instance;
};

/* chr, loop and mem outlive the device. Attaches to `chr` now, detaches when freed. */
struct virtio_dev *virtio_console_new(const struct virtio_console_config *cfg, struct chr *chr,
                                      struct loop *loop, struct mem_map *mem, struct err *e);

/* The terminal's size may have changed: ask chr again and tell the driver if so. Any thread. */
void virtio_console_resized(struct virtio_dev *d);

#endif
