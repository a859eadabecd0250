#include <errno.h>
#include <string.h>
#include "device/virtio/net_internal.h"

enum { HDR_F_NEEDS_CSUM = 1, GSO_NONE = 0, GSO_TCPV4 = 1, GSO_UDP = 3, GSO_TCPV6 = 4, GSO_ECN = 0x80 };
enum { ETHER_MIN = 14, TX_BUDGET = 256 };

/* ---- to the guest ---- */

/* The guest said that it understands what this header asks of it. */
static bool offload_allowed(const struct virtio_net *n, const struct net_header *h)
{
    if ((h->flags & HDR_F_NEEDS_CSUM) && !(n->guest_offloads >> NET_F_GUEST_CSUM & 1))
        return false;
    switch (h->gso_type & ~GSO_ECN) {
    case GSO_NONE:
        return true;
    case GSO_TCPV4:
        return n->guest_offloads >> NET_F_GUEST_TSO4 & 1;
    case GSO_TCPV6:
        return n->guest_offloads >> NET_F_GUEST_TSO6 & 1;
    default:
        return false;
    }
}

/* Split a backend's frame into header and place of the payload; false when the guest is not to have it. */
static bool admit(const struct virtio_net *n, const struct iovec *iov, unsigned count, uint64_t len,
                  struct net_header *h)
{
    uint8_t to[ETHER_ADDR];
    unsigned at = n->caps.vnet_hdr ? NET_HEADER : 0;
    memset(h, 0, sizeof(*h));
    if (len < at + ETHER_MIN || len > at + NET_FRAME_MAX)
        return false;
    iov_to_buf(iov, count, 0, h, at);
    iov_to_buf(iov, count, at, to, sizeof(to));
    return n->link_up && offload_allowed(n, h) && net_filter_passes(&n->filter, n->mac, to);
}

enum gather { GATHERED, NO_BUFFERS, UNFIT };

static void give_back(struct virtqueue *q, unsigned chains)
{
    while (chains--)
        virtq_unpop(q);
}

/* Pop buffers for `total` bytes into rx_chain; *chains says how many. On anything but GATHERED none stays
 * popped. */
static enum gather gather(struct virtio_net *n, struct virtqueue *q, uint64_t total, unsigned *chains)
{
    bool merge = virtio_has(&n->vd, NET_F_MRG_RXBUF);
    unsigned count = 0, pieces = 0;
    enum gather result = GATHERED;
    for (uint64_t have = 0; have < total;) {
        if (count == NET_MERGE_MAX || pieces + NET_CHAIN_PIECES > NET_PIECES || (count && !merge)) {
            result = UNFIT;
            break;
        }
        struct virtq_chain *c = &n->rx_chain[count];
        *c = (struct virtq_chain){
            .iov = n->rx_iov + pieces, .gpa = n->rx_gpa + pieces, .iov_cap = NET_CHAIN_PIECES};
        int rc = virtq_pop(q, c);
        if (rc <= 0) {
            result = rc ? UNFIT : NO_BUFFERS;
            break;
        }
        count++;
        pieces += c->in_count + c->out_count;
        have += c->in_len;
        if (c->in_len < NET_HEADER) {
            result = UNFIT;
            break;
        }
    }
    if (result != GATHERED) {
        bool tiny = count && n->rx_chain[count - 1].in_len < NET_HEADER;
        give_back(q, count);
        if (tiny)
            virtio_broken(&n->vd, "queue %u: a receive buffer that does not hold the header", q->index);
        return result;
    }
    *chains = count;
    return result;
}

/* Copy [from, from+len) of the frame to the front of `c`, behind `skip` bytes of it. */
static void copy_part(const struct virtq_chain *c, uint64_t skip, const struct iovec *iov, unsigned count,
                      uint64_t from, uint64_t len)
{
    for (unsigned i = 0; i < count && len; i++) {
        if (from >= iov[i].iov_len) {
            from -= iov[i].iov_len;
            continue;
        }
        uint64_t m = iov[i].iov_len - from < len ? iov[i].iov_len - from : len;
        iov_from_buf(c->in, c->in_count, skip, (const uint8_t *)iov[i].iov_base + from, m);
        skip += m;
        len -= m;
        from = 0;
    }
}

static void deliver(struct virtio_net *n, struct virtqueue *q, unsigned chains, const struct net_header *h,
                    const struct iovec *iov, unsigned count, uint64_t len)
{
    uint64_t from = n->caps.vnet_hdr ? NET_HEADER : 0;
    for (unsigned i = 0; i < chains; i++) {
        const struct virtq_chain *c = &n->rx_chain[i];
        uint64_t skip = i ? 0 : NET_HEADER, left = len - from,
                 m = c->in_len - skip < left ? c->in_len - skip : left;
        if (!i)
            iov_from_buf(c->in, c->in_count, 0, h, NET_HEADER);
        copy_part(c, skip, iov, count, from, m);
        from += m;
        virtq_written(&n->vd, c, 0, skip + m);
        virtq_stage(q, c->head, (uint32_t)(skip + m));
    }
    virtq_publish(q); /* all buffers of a frame at once (5.1.6.4.1) */
    virtq_notify(q);
}

/* false: the backend shall keep the frame. */
static bool receive_locked(struct virtio_net *n, const struct iovec *iov, unsigned count, uint64_t len)
{
    struct virtqueue *q = &n->vd.vq[NET_RX];
    struct net_header h;
    unsigned chains = 0;
    bool live =
        (n->vd.status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) == VIRTIO_STATUS_DRIVER_OK;
    if (!live || !q->enabled || n->vd.no_dma || !admit(n, iov, count, len, &h))
        return true;
    if (n->vd.paused) {
        n->rx_blocked = true;
        return false;
    }
    uint64_t payload = len - (n->caps.vnet_hdr ? NET_HEADER : 0);
    for (;;) {
        enum gather g = gather(n, q, NET_HEADER + payload, &chains);
        if (g == GATHERED)
            break;
        if (g == UNFIT)
            return true;
        n->rx_blocked = true;
        if (!virtq_want_kicks(q, true))
            return false;
        /* Buffers came meanwhile; there may still be too few of them for this frame. */
        if (gather(n, q, NET_HEADER + payload, &chains) == GATHERED) {
            n->rx_blocked = false;
            virtq_want_kicks(q, false);
            break;
        }
        return false;
    }
    h.num_buffers = (uint16_t)chains;
    deliver(n, q, chains, &h, iov, count, len);
    return true;
}

bool net_receive(void *opaque, const struct iovec *iov, int iovcnt, uint64_t len)
{
    struct virtio_net *n = opaque;
    lock_take(n->vd.lock);
    bool taken = receive_locked(n, iov, (unsigned)iovcnt, len);
    lock_drop(n->vd.lock);
    return taken;
}

/* ---- from the guest ---- */

/* The header as the backend may have it: nothing that was not negotiated. */
static void clean_header(const struct virtio_net *n, struct net_header *h)
{
    unsigned gso = h->gso_type & ~(unsigned)GSO_ECN;
    bool gso_fine = (gso == GSO_TCPV4 && virtio_has(&n->vd, NET_F_HOST_TSO4)) ||
                    (gso == GSO_TCPV6 && virtio_has(&n->vd, NET_F_HOST_TSO6)) ||
                    (gso == GSO_UDP && virtio_has(&n->vd, NET_F_HOST_UFO));
    if (!virtio_has(&n->vd, NET_F_CSUM))
        memset(h, 0, sizeof(*h));
    h->flags &= HDR_F_NEEDS_CSUM;
    h->num_buffers = 0;
    if (!gso_fine)
        h->gso_type = GSO_NONE;
    if (h->gso_type == GSO_NONE)
        h->gso_size = 0;
}

/* Send one chain; the lock is dropped meanwhile. Returns what the backend said. */
static int send_frame(struct virtio_net *n, struct virtq_chain *c)
{
    struct net_header h;
    uint64_t len = c->out_len - NET_HEADER;
    unsigned count = c->out_count;
    iov_to_buf(c->out, count, 0, &h, sizeof(h));
    clean_header(n, &h);
    if (len < ETHER_MIN || len > NET_FRAME_MAX || !n->link_up)
        return 0; /* lost on the wire */
    struct iovec *iov = iov_skip(c->out, &count, NET_HEADER);
    if (n->caps.vnet_hdr) {
        *--iov = (struct iovec){.iov_base = &h, .iov_len = sizeof(h)};
        count++;
        len += sizeof(h);
    }
    lock_drop(n->vd.lock);
    int rc = n->net->ops->send(n->net, iov, (int)count, len);
    lock_take(n->vd.lock);
    return rc;
}

/* One frame: false when there is nothing more to do now. */
static bool transmit_one(struct virtio_net *n, struct virtqueue *q)
{
    struct virtq_chain c = {.iov = n->tx_iov + 1, .gpa = n->tx_gpa, .iov_cap = NET_CHAIN_PIECES};
    if (n->tx_blocked || virtq_pop(q, &c) <= 0)
        return false;
    if (c.out_len < NET_HEADER) {
        virtq_unpop(q);
        virtio_broken(&n->vd, "queue %u: a frame without its header", q->index);
        return false;
    }
    int rc = send_frame(n, &c);
    if (rc == -EAGAIN && virtq_current(q, &c)) {
        virtq_unpop(q);
        n->tx_blocked = true;
        return false;
    }
    virtq_push(q, &c, 0); /* any other failure: lost on the wire */
    return true;
}

void net_transmit(struct virtio_net *n)
{
    struct virtqueue *q = &n->vd.vq[NET_TX];
    unsigned budget = TX_BUDGET;
    do {
        virtq_want_kicks(q, false);
        while (budget && transmit_one(n, q))
            budget--;
    } while (budget && !n->tx_blocked && virtq_want_kicks(q, true));
    n->tx_wanted = !budget && !n->tx_blocked;
    if (n->tx_wanted)
        net_wake(n); /* others on this loop come first */
    virtq_notify(q);
}
