/*
 * virtio-blk (virtio 1.2 section 5.2) over a struct disk: read, write, flush, discard, write zeroes, get id;
 * several queues; the write cache as the driver chose it (CONFIG_WCE).
 *
 * Kicks are served on the kicking thread (disk submit never blocks); completions on the loop's.
 */
#ifndef DEVICE_VIRTIO_BLK_H
#define DEVICE_VIRTIO_BLK_H
#include <stdint.h>
struct disk;
struct err;
struct loop;
struct mem_map;
struct virtio_dev;

struct virtio_blk_config {
    unsigned instance;
    unsigned queues;     /* 0: 1; at most 16 */
    unsigned queue_size; /* 0: 256 */
};

/* disk, loop and mem outlive the device. To be given to a transport, which then frees it (or
 * device_free(&d->dev)). When it is freed, the disk's completions have all come: it drains. */
struct virtio_dev *virtio_blk_new(const struct virtio_blk_config *cfg, struct disk *disk, struct loop *loop,
                                  struct mem_map *mem, struct err *e);

/* The disk was resized: read its info again and tell the driver. Loop thread. */
void virtio_blk_resized(struct virtio_dev *d);

#endif
