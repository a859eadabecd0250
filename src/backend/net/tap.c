/*
 * A tap device (Linux Documentation/networking/tuntap.rst). With IFF_VNET_HDR each frame carries the 12-byte
 * virtio header, so checksums and segmentation are left to whoever does them cheapest.
 */
#include "backend/net/net.h"
#include "base/err.h"
#include "base/log.h"
#include "host/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 12, FRAME_MAX = 65536 + 64 + HEADER, BURST = 64 };

struct tap {
    struct net net;
    struct loop_fd *fd_watch;
    int fd;
    struct net_caps caps;
    struct net_client client;
    bool attached, full;
    size_t held; /* bytes of a frame in `in` that the guest had no buffer for; 0: none */
    uint8_t in[FRAME_MAX];
};

static struct tap *tap_of(struct net *n)
{
    return (struct tap *)n;
}

static void set_watch(struct tap *t)
{
    loop_mod_fd(t->fd_watch, (t->attached && !t->held ? EPOLLIN : 0u) | (t->full ? EPOLLOUT : 0u));
}

/* Hand the frame in `in` over; kept when the guest has no buffer. */
static void hand_over(struct tap *t, size_t n)
{
    struct iovec iov = {t->in, n};
    t->held = n;
    if (t->client.receive(t->client.opaque, &iov, 1, n))
        t->held = 0;
}

static void on_tap(void *opaque, uint32_t events)
{
    struct tap *t = opaque;
    if (t->full && events & (EPOLLOUT | EPOLLERR)) {
        t->full = false;
        if (t->attached && t->client.writable)
            t->client.writable(t->client.opaque);
    }
    for (int i = 0; i < BURST && t->attached && !t->held; i++) {
        ssize_t n = read(t->fd, t->in, sizeof t->in);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= HEADER)
            break;
        hand_over(t, (size_t)n);
    }
    set_watch(t);
}

static void tap_caps(struct net *n, struct net_caps *out)
{
    *out = tap_of(n)->caps;
}

static void tap_attach(struct net *n, const struct net_client *client)
{
    struct tap *t = tap_of(n);
    t->attached = client;
    t->client = client ? *client : (struct net_client){0};
    t->held = 0;
    set_watch(t);
}

/* What the guest can receive; what it sends is told by each frame's header. */
static int tap_offload(struct net *n, const struct net_caps *w)
{
    unsigned flags = 0;
    if (w->guest_csum)
        flags = TUN_F_CSUM | (w->guest_tso4 ? TUN_F_TSO4 : 0u) | (w->guest_tso6 ? TUN_F_TSO6 : 0u);
    return ioctl(tap_of(n)->fd, TUNSETOFFLOAD, (unsigned long)flags) ? -errno : 0;
}

static ssize_t write_pieces(struct tap *t, const struct iovec *iov, int iovcnt, uint64_t len)
{
    if (iovcnt <= IOV_MAX)
        return writev(t->fd, iov, iovcnt);
    uint8_t *whole = malloc(len);
    size_t at = 0;
    if (!whole)
        return -1;
    for (int i = 0; i < iovcnt && at < len; i++) {
        size_t m = iov[i].iov_len < len - at ? iov[i].iov_len : (size_t)len - at;
        memcpy(whole + at, iov[i].iov_base, m);
        at += m;
    }
    ssize_t r = write(t->fd, whole, at);
    int was = errno;
    free(whole);
    errno = was;
    return r;
}

static int tap_send(struct net *n, const struct iovec *iov, int iovcnt, uint64_t len)
{
    struct tap *t = tap_of(n);
    if (len <= HEADER || len > FRAME_MAX)
        return -EMSGSIZE;
    ssize_t r;
    do
        r = write_pieces(t, iov, iovcnt, len);
    while (r < 0 && errno == EINTR);
    if (r >= 0)
        return 0;
    if (errno != EAGAIN)
        return -errno; /* down, or a header that the kernel does not like: lost on the wire */
    t->full = true;
    set_watch(t);
    return -EAGAIN;
}

static void tap_resume(struct net *n)
{
    struct tap *t = tap_of(n);
    if (t->held && t->attached)
        hand_over(t, t->held);
    set_watch(t);
}

static void tap_close(struct net *n)
{
    struct tap *t = tap_of(n);
    loop_del_fd(t->fd_watch);
    if (t->fd >= 0)
        close(t->fd);
    free(t);
}

static const struct net_ops tap_ops = {
    .caps = tap_caps,
    .attach = tap_attach,
    .offload = tap_offload,
    .send = tap_send,
    .resume = tap_resume,
    .close = tap_close,
};

/* ---- opening ---- */

/* Attach to the existing interface: TUNSETIFF would make a missing one where it may. A tap made with
 * multi_queue wants that said. */
static int take_interface(struct tap *t, const char *name, struct err *e)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (!*name || strlen(name) >= IFNAMSIZ)
        return err_set(e, EINVAL, "tap '%s': not the name of an interface (1 to %d characters)", name,
                       IFNAMSIZ - 1);
    if (!if_nametoindex(name))
        return err_set(
            e, ENODEV,
            "tap %s: no such interface; create it (ip tuntap add %s mode tap user $USER; ip link set %s up)",
            name, name, name);
    strcpy(ifr.ifr_name, name);
    int r = ioctl(t->fd, TUNSETIFF, &ifr);
    if (r && errno == EINVAL) {
        ifr.ifr_flags |= IFF_MULTI_QUEUE;
        r = ioctl(t->fd, TUNSETIFF, &ifr);
    }
    if (!r)
        return 0;
    if (errno == EBUSY)
        return err_set(e, EBUSY, "tap %s: in use by another program; end that one, or give another interface",
                       name);
    if (errno == EPERM || errno == EACCES)
        return err_set(
            e, errno,
            "tap %s: belongs to another user; create it for this one (ip tuntap add %s mode tap user $USER)",
            name, name);
    if (errno == EINVAL)
        return err_set(e, EINVAL, "tap %s: is not a tap interface; create one (ip tuntap add NAME mode tap)",
                       name);
    return err_sys(e, errno, "tap %s: cannot attach", name);
}

static int set_up(struct tap *t, const char *name, struct err *e)
{
    int size = HEADER;
    if (ioctl(t->fd, TUNSETVNETHDRSZ, &size))
        return err_sys(e, errno, "tap %s: cannot set its header size", name);
    bool csum = !ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)TUN_F_CSUM);
    bool tso = csum && !ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6));
    if (ioctl(t->fd, TUNSETOFFLOAD, 0ul))
        return err_sys(e, errno, "tap %s: cannot set its offloads", name);
    t->caps = (struct net_caps){.vnet_hdr = true,
                                .csum = true,
                                .tso4 = true,
                                .tso6 = true,
                                .guest_csum = csum,
                                .guest_tso4 = tso,
                                .guest_tso6 = tso,
                                .mrg_rxbuf = true};
    struct ifreq ifr = {0};
    strcpy(ifr.ifr_name, name);
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return 0;
    if (!ioctl(s, SIOCGIFMTU, &ifr) && ifr.ifr_mtu >= 68 && ifr.ifr_mtu <= UINT16_MAX)
        t->caps.mtu = (uint16_t)ifr.ifr_mtu;
    if (!ioctl(s, SIOCGIFFLAGS, &ifr) && !(ifr.ifr_flags & IFF_UP))
        log_warn("tap %s: is down, no frame will pass; ip link set %s up", name, name);
    close(s);
    return 0;
}

static int open_tap(struct tap *t, const char *name, struct loop *loop, struct err *e)
{
    t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (t->fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
        return err_set(e, errno,
                       "/dev/net/tun: this host has no tap devices; load the module (modprobe tun)");
    if (t->fd < 0)
        return err_sys(e, errno, "/dev/net/tun: cannot open; ask for read and write permission on it");
    int r = take_interface(t, name, e);
    r = r ? r : set_up(t, name, e);
    if (r)
        return r;
    t->fd_watch = loop_add_fd(loop, t->fd, EPOLLIN, on_tap, t, e);
    if (!t->fd_watch)
        return -ENOMEM;
    set_watch(t);
    return 0;
}

struct net *net_tap_open(const char *ifname, struct loop *loop, struct err *e)
{
    struct tap *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(e, ENOMEM, "tap %s: no memory", ifname);
        return NULL;
    }
    t->net.ops = &tap_ops;
    t->fd = -1;
    if (!open_tap(t, ifname, loop, e))
        return &t->net;
    tap_close(&t->net);
    return NULL;
}
