/*
 * virtio-net (virtio 1.2 section 5.1) over a struct net: one pair of queues and a control queue; mergeable
 * receive buffers; checksum and segmentation offloads as far as the backend has them and the driver takes
 * them; receive filter; link state; announcement.
 *
 * Frames are sent and received on the loop's thread. The backend is called with no lock held.
 */
#ifndef DEVICE_VIRTIO_NET_H
#define DEVICE_VIRTIO_NET_H
#include <stdbool.h>
#include <stdint.h>
struct err;
struct loop;
struct mem_map;
struct net;
struct virtio_dev;

struct virtio_net_config {
    unsigned instance;
    uint8_t mac[6];
    unsigned queue_size; /* 0: 256 */
};

/* net, loop and mem outlive the device. Attaches to `net` now, detaches when freed. */
struct virtio_dev *virtio_net_new(const struct virtio_net_config *cfg, struct net *net, struct loop *loop,
                                  struct mem_map *mem, struct err *e);

void virtio_net_set_link(struct virtio_dev *d, bool up); /* any thread */
/* Ask the driver to announce itself (gratuitous ARP), as after a migration. Any thread. Nothing when not
 * negotiated. */
void virtio_net_announce(struct virtio_dev *d);

#endif
