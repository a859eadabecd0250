/*
 * net_filter: which frames a virtio-net driver wants to see (virtio 1.2 section 5.1.6.5.1 and .2), and the
 * commands that set it. Pure.
 */
#ifndef DEVICE_VIRTIO_NET_FILTER_H
#define DEVICE_VIRTIO_NET_FILTER_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum { NET_FILTER_MAX = 64, ETHER_ADDR = 6 };

struct net_filter {
    uint8_t promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast; /* booleans */
    uint8_t unicasts, multicasts;                 /* addresses in use of each table */
    uint8_t unicast_overflow, multicast_overflow; /* more were given than fit: all pass */
    uint8_t unicast[NET_FILTER_MAX * ETHER_ADDR], multicast[NET_FILTER_MAX * ETHER_ADDR];
};

void net_filter_reset(struct net_filter *f); /* all pass, until the driver says otherwise */
bool net_filter_passes(const struct net_filter *f, const uint8_t own[ETHER_ADDR],
                       const uint8_t to[ETHER_ADDR]);
/* Command of class VIRTIO_NET_CTRL_RX: false when unknown. */
bool net_filter_mode(struct net_filter *f, uint8_t command, bool on);
/* VIRTIO_NET_CTRL_MAC_TABLE_SET: the two tables lie in out from byte `from`; false when they do not fit in
 * there. */
bool net_filter_tables(struct net_filter *f, const struct iovec *out, unsigned count, uint64_t from,
                       uint64_t len);

#endif
