#include "device/virtio/net.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/check.h"
#include "base/err.h"
#include "device/virtio/net_internal.h"
#include "host/loop.h"

/* struct virtio_net_config, 5.1.4, as far as we offer it. */
struct net_config {
    uint8_t mac[ETHER_ADDR];
    uint16_t status, max_pairs, mtu;
};

static struct virtio_net *net_of(struct virtio_dev *d)
{
    return CONTAINER_OF(d, struct virtio_net, vd);
}

/* ---- work that is the loop's ---- */

void net_wake(struct virtio_net *n)
{
    uint64_t one = 1;
    if (write(n->work_fd, &one, sizeof(one)) < 0)
        CHECK(errno == EAGAIN); /* then it is awake */
}

static void push_offloads(struct virtio_net *n)
{
    struct net_caps want = {.vnet_hdr = n->caps.vnet_hdr, .mrg_rxbuf = n->caps.mrg_rxbuf, .mtu = n->caps.mtu};
    n->offload_wanted = false;
    want.csum = virtio_has(&n->vd, NET_F_CSUM);
    want.tso4 = virtio_has(&n->vd, NET_F_HOST_TSO4);
    want.tso6 = virtio_has(&n->vd, NET_F_HOST_TSO6);
    want.ufo = virtio_has(&n->vd, NET_F_HOST_UFO);
    want.guest_csum = n->guest_offloads >> NET_F_GUEST_CSUM & 1;
    want.guest_tso4 = n->guest_offloads >> NET_F_GUEST_TSO4 & 1;
    want.guest_tso6 = n->guest_offloads >> NET_F_GUEST_TSO6 & 1;
    lock_drop(n->vd.lock);
    n->net->ops->offload(n->net, &want);
    lock_take(n->vd.lock);
}

/* work_fd is also both queues' bell, which does not say who rang. */
static void look(struct virtio_net *n)
{
    struct virtqueue *rx = &n->vd.vq[NET_RX], *tx = &n->vd.vq[NET_TX];
    if (!virtio_running(&n->vd))
        return; /* resume and DRIVER_OK serve what waits */
    if (!n->tx_wanted && !n->tx_blocked && virtq_pending(tx))
        n->tx_wanted = true;
    if (n->rx_blocked && virtq_pending(rx)) {
        virtq_want_kicks(rx, false);
        n->rx_resume = true;
    }
}

static void work(void *opaque, uint32_t events)
{
    struct virtio_net *n = opaque;
    uint64_t count;
    (void)events;
    if (read(n->work_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        return;
    lock_take(n->vd.lock);
    look(n);
    if (n->offload_wanted && n->net->ops->offload)
        push_offloads(n);
    if (n->rx_resume) {
        n->rx_resume = n->rx_blocked = false;
        lock_drop(n->vd.lock); /* frames may come from within */
        n->net->ops->resume(n->net);
        lock_take(n->vd.lock);
    }
    if (n->tx_wanted)
        net_transmit(n);
    lock_drop(n->vd.lock);
}

static void writable(void *opaque)
{
    struct virtio_net *n = opaque;
    lock_take(n->vd.lock);
    n->tx_blocked = false;
    n->tx_wanted = true;
    lock_drop(n->vd.lock);
    net_wake(n);
}

static void resume_rx(struct virtio_net *n)
{
    if (!n->rx_blocked)
        return;
    n->rx_resume = true;
    net_wake(n);
}

static void serve(struct virtio_dev *d, struct virtqueue *q)
{
    struct virtio_net *n = net_of(d);
    switch (q->index) {
    case NET_RX:
        virtq_want_kicks(q, false); /* until a frame finds no buffer */
        resume_rx(n);
        break;
    case NET_TX:
        virtq_want_kicks(q, false); /* the loop asks for them again when it has sent all */
        if (!n->tx_wanted && !n->tx_blocked) {
            n->tx_wanted = true;
            net_wake(n);
        }
        break;
    default:
        net_control(n, q);
    }
}

/* ---- configuration ---- */

static void config_read(struct virtio_dev *d, uint32_t off, void *out, uint32_t len)
{
    struct virtio_net *n = net_of(d);
    struct net_config c = {.status = (uint16_t)(n->link_up | (n->announce ? NET_S_ANNOUNCE : 0)),
                           .max_pairs = 1,
                           .mtu = n->caps.mtu};
    memcpy(c.mac, n->mac, sizeof(c.mac));
    memcpy(out, (uint8_t *)&c + off, len);
}

void virtio_net_set_link(struct virtio_dev *d, bool up)
{
    struct virtio_net *n = net_of(d);
    lock_take(d->lock);
    if (n->link_up != up) {
        n->link_up = up;
        virtio_config_changed(d);
    }
    lock_drop(d->lock);
}

void virtio_net_announce(struct virtio_dev *d)
{
    struct virtio_net *n = net_of(d);
    lock_take(d->lock);
    if (virtio_has(d, NET_F_GUEST_ANNOUNCE) && (d->status & VIRTIO_STATUS_DRIVER_OK)) {
        n->announce = 1;
        virtio_config_changed(d);
    }
    lock_drop(d->lock);
}

/* ---- life ---- */

static void start(struct virtio_dev *d)
{
    struct virtio_net *n = net_of(d);
    n->guest_offloads = d->features & NET_GUEST_OFFLOADS;
    n->offload_wanted = true;
    net_wake(n);
}

static void stop(struct virtio_dev *d)
{
    struct virtio_net *n = net_of(d);
    bool started = d->status & VIRTIO_STATUS_DRIVER_OK;
    n->guest_offloads = 0;
    n->announce = 0;
    n->tx_wanted = n->tx_blocked = false;
    memcpy(n->mac, n->mac_own, sizeof(n->mac));
    net_filter_reset(&n->filter);
    if (started) {
        n->offload_wanted = true; /* features are cleared when the loop looks */
        net_wake(n);
        resume_rx(n); /* what the backend held back is dropped now */
    }
}

static void queue_stop(struct virtio_dev *d, struct virtqueue *q)
{
    struct virtio_net *n = net_of(d);
    if (q->index == NET_TX)
        n->tx_wanted = n->tx_blocked = false;
    else if (q->index == NET_RX)
        resume_rx(n);
}

static void net_resume(struct device *dev)
{
    struct virtio_net *n = CONTAINER_OF(dev, struct virtio_net, vd.dev);
    virtio_dev_resume(dev);
    lock_take(n->vd.lock);
    resume_rx(n);
    lock_drop(n->vd.lock);
}

static int net_loaded(struct device *dev, struct err *e)
{
    struct virtio_net *n = CONTAINER_OF(dev, struct virtio_net, vd.dev);
    n->guest_offloads &= n->vd.features & NET_GUEST_OFFLOADS;
    n->offload_wanted = true;
    net_wake(n);
    return virtio_dev_loaded(dev, e);
}

static void net_free(struct device *dev)
{
    struct virtio_net *n = CONTAINER_OF(dev, struct virtio_net, vd.dev);
    if (n->attached)
        n->net->ops->attach(n->net, NULL);
    loop_del_fd(n->work);
    if (n->work_fd >= 0)
        close(n->work_fd);
    virtio_dev_fini(&n->vd);
    free(n);
}

static const struct device_ops device_ops = {.kind = "virtio-net",
                                             .reset = virtio_dev_reset,
                                             .pause = virtio_dev_pause,
                                             .resume = net_resume,
                                             .saved = virtio_dev_saved,
                                             .loaded = net_loaded,
                                             .free = net_free};

static const struct field fields[] = {
    FIELD_BLOB(struct virtio_net, mac),
    FIELD(struct virtio_net, link_up, .max = 1),
    FIELD(struct virtio_net, announce, .max = 1),
    FIELD(struct virtio_net, guest_offloads),
    FIELD(struct virtio_net, filter.promiscuous, .max = 1),
    FIELD(struct virtio_net, filter.all_multicast, .max = 1),
    FIELD(struct virtio_net, filter.all_unicast, .max = 1),
    FIELD(struct virtio_net, filter.no_multicast, .max = 1),
    FIELD(struct virtio_net, filter.no_unicast, .max = 1),
    FIELD(struct virtio_net, filter.no_broadcast, .max = 1),
    FIELD(struct virtio_net, filter.unicasts, .max = NET_FILTER_MAX),
    FIELD(struct virtio_net, filter.multicasts, .max = NET_FILTER_MAX),
    FIELD(struct virtio_net, filter.unicast_overflow, .max = 1),
    FIELD(struct virtio_net, filter.multicast_overflow, .max = 1),
    FIELD_BLOB(struct virtio_net, filter.unicast),
    FIELD_BLOB(struct virtio_net, filter.multicast),
};

static const struct field_table table = {
    .name = "virtio-net", .version = 1, .fields = fields, .count = ARRAY_LEN(fields)};

static const struct virtio_dev_ops virtio_ops = {
    .id = VIRTIO_ID_NET,
    .features = 1ull << NET_F_MAC | 1ull << NET_F_MRG_RXBUF | 1ull << NET_F_STATUS | 1ull << NET_F_CTRL_VQ |
                1ull << NET_F_CTRL_RX | 1ull << NET_F_CTRL_RX_EXTRA | 1ull << NET_F_GUEST_ANNOUNCE |
                1ull << NET_F_CTRL_MAC_ADDR,
    .config_size = sizeof(struct net_config),
    .config_read = config_read,
    .start = start,
    .queue = serve,
    .stop = stop,
    .queue_stop = queue_stop,
    .table = &table,
};

static uint64_t features_of(const struct net_caps *c)
{
    uint64_t f = c->mtu ? 1ull << NET_F_MTU : 0;
    if (!c->vnet_hdr) /* nobody would read what an offloaded frame's header says */
        return f;
    f |= (uint64_t)c->csum << NET_F_CSUM | (uint64_t)c->tso4 << NET_F_HOST_TSO4 |
         (uint64_t)c->tso6 << NET_F_HOST_TSO6 | (uint64_t)c->ufo << NET_F_HOST_UFO;
    if (c->guest_csum)
        f |= 1ull << NET_F_GUEST_CSUM | (uint64_t)c->guest_tso4 << NET_F_GUEST_TSO4 |
             (uint64_t)c->guest_tso6 << NET_F_GUEST_TSO6 | 1ull << NET_F_CTRL_GUEST_OFFLOADS;
    return f;
}

struct virtio_dev *virtio_net_new(const struct virtio_net_config *cfg, struct net *net, struct loop *loop,
                                  struct mem_map *mem, struct err *e)
{
    unsigned size = cfg->queue_size ? cfg->queue_size : NET_DEFAULT_QUEUE;
    if (!is_pow2(size) || size < 8 || size > VIRTQ_MAX_SIZE) {
        err_set(e, EINVAL, "virtio-net: queues of %u: a power of two from 8 to %u", size,
                (unsigned)VIRTQ_MAX_SIZE);
        return NULL;
    }
    struct virtio_net *n = calloc(1, sizeof(*n));
    if (!n) {
        err_set(e, ENOMEM, "virtio-net: out of memory");
        return NULL;
    }
    const uint16_t sizes[] = {(uint16_t)size, (uint16_t)size, NET_CONTROL_QUEUE};
    n->net = net;
    n->link_up = 1;
    memcpy(n->mac, cfg->mac, sizeof(n->mac));
    memcpy(n->mac_own, cfg->mac, sizeof(n->mac_own));
    net_filter_reset(&n->filter);
    net->ops->caps(net, &n->caps);
    virtio_dev_init(&n->vd, &device_ops, &virtio_ops, cfg->instance, mem, NET_QUEUES, sizes);
    n->vd.features_offered |= features_of(&n->caps);
    n->work_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    n->vd.vq[NET_RX].bell = n->vd.vq[NET_TX].bell = n->work_fd;
    if (n->work_fd < 0)
        err_sys(e, errno, "virtio-net: eventfd");
    else
        n->work = loop_add_fd(loop, n->work_fd, EPOLLIN, work, n, e);
    if (!n->work) {
        net_free(&n->vd.dev);
        return NULL;
    }
    n->client = (struct net_client){.receive = net_receive, .writable = writable, .opaque = n};
    net->ops->attach(net, &n->client);
    n->attached = true;
    return &n->vd;
}
