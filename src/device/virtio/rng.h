/*
 * virtio-rng (virtio 1.2 section 5.4): random bytes of the host's getrandom(2), at a bounded rate so that a
 * guest cannot spend the host's CPU on them.
 */
#ifndef DEVICE_VIRTIO_RNG_H
#define DEVICE_VIRTIO_RNG_H
#include <stdint.h>
struct err;
struct loop;
struct mem_map;
struct virtio_dev;

struct virtio_rng_config {
    unsigned instance;
    uint32_t bytes_per_second; /* 0: 1 MiB; as much may come in one burst */
};

/* loop (for the timer) and mem outlive the device. */
struct virtio_dev *virtio_rng_new(const struct virtio_rng_config *cfg, struct loop *loop, struct mem_map *mem,
                                  struct err *e);

#endif
