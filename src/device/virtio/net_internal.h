/*
 * net_internal: virtio-net between its files: net.c (life, configuration), net_frames.c (frames both ways),
 * net_control.c (control queue).
 */
#ifndef DEVICE_VIRTIO_NET_INTERNAL_H
#define DEVICE_VIRTIO_NET_INTERNAL_H
#include "backend/net/net.h"
#include "base/range.h"
#include "device/virtio/net_filter.h"
#include "device/virtio/regs.h"
#include "device/virtio/virtio.h"

/* Feature bits, 5.1.3. */
enum {
    NET_F_CSUM = 0,
    NET_F_GUEST_CSUM = 1,
    NET_F_CTRL_GUEST_OFFLOADS = 2,
    NET_F_MTU = 3,
    NET_F_MAC = 5,
    NET_F_GUEST_TSO4 = 7,
    NET_F_GUEST_TSO6 = 8,
    NET_F_HOST_TSO4 = 11,
    NET_F_HOST_TSO6 = 12,
    NET_F_HOST_UFO = 14,
    NET_F_MRG_RXBUF = 15,
    NET_F_STATUS = 16,
    NET_F_CTRL_VQ = 17,
    NET_F_CTRL_RX = 18,
    NET_F_CTRL_RX_EXTRA = 20,
    NET_F_GUEST_ANNOUNCE = 21,
    NET_F_CTRL_MAC_ADDR = 23,
};

#define NET_GUEST_OFFLOADS (1ull << NET_F_GUEST_CSUM | 1ull << NET_F_GUEST_TSO4 | 1ull << NET_F_GUEST_TSO6)

enum { NET_RX, NET_TX, NET_CONTROL, NET_QUEUES };
enum { NET_DEFAULT_QUEUE = 256, NET_CONTROL_QUEUE = 64 };
enum { NET_S_LINK_UP = 1, NET_S_ANNOUNCE = 2 };

/* struct virtio_net_hdr_v1, 5.1.6. */
struct net_header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

_Static_assert(sizeof(struct net_header) == 12, "the header is 12 bytes (5.1.6)");

enum {
    NET_HEADER = sizeof(struct net_header),
    NET_FRAME_MAX = 65550,  /* a GSO frame with its Ethernet header (5.1.6.3.1) */
    NET_PIECES = 1024,      /* iovecs of all buffers that a frame is received into */
    NET_CHAIN_PIECES = 128, /* of one buffer */
    NET_MERGE_MAX = 256,    /* buffers merged for a frame */
};

struct virtio_net {
    struct virtio_dev vd; /* first */
    struct net *net;
    struct net_client client;
    struct net_caps caps;
    bool attached;
    uint8_t mac[ETHER_ADDR], mac_own[ETHER_ADDR]; /* as the driver set it; as configured */
    uint8_t link_up, announce;
    uint64_t guest_offloads; /* of NET_GUEST_OFFLOADS: what received frames may use now */
    struct net_filter filter;

    /* The loop's work, asked for by net_wake, or by a kick of the frames' queues where the accelerator has
     * doorbells. */
    int work_fd;
    struct loop_fd *work;
    bool offload_wanted; /* tell the backend what was negotiated */
    bool tx_wanted;      /* frames wait to be sent */
    bool tx_blocked;     /* the backend said -EAGAIN: waiting for writable */
    bool rx_blocked;     /* the backend was refused a frame, and waits for resume */
    bool rx_resume;      /* it shall be resumed */

    struct iovec rx_iov[NET_PIECES], tx_iov[1 + NET_CHAIN_PIECES]; /* tx: one in front for the header */
    uint64_t rx_gpa[NET_PIECES], tx_gpa[NET_CHAIN_PIECES];
    struct virtq_chain rx_chain[NET_MERGE_MAX];
    struct iovec control_iov[NET_CHAIN_PIECES];
    uint64_t control_gpa[NET_CHAIN_PIECES];
};

/* Have work() run on the loop. Any thread. */
void net_wake(struct virtio_net *n);
/* The backend's frame for the guest; loop's thread, lock not held. */
bool net_receive(void *opaque, const struct iovec *iov, int iovcnt, uint64_t len);
/* Send what waits in the transmit queue. Loop's thread; lock held, dropped around each send. */
void net_transmit(struct virtio_net *n);
/* Serve the control queue. Lock held. */
void net_control(struct virtio_net *n, struct virtqueue *q);

#endif
