/*
 * net: the host's end of a network card. Implementations: user (libslirp), tap.
 */
#ifndef BACKEND_NET_H
#define BACKEND_NET_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
struct err;
struct loop;
struct net;

/* Offloads a backend can take with a 12-byte virtio_net_hdr_v1 before each frame (virtio 1.2 5.1.6). */
struct net_caps {
    bool vnet_hdr, csum, guest_csum, tso4, tso6, guest_tso4, guest_tso6, ufo, mrg_rxbuf;
    uint16_t mtu; /* 0: not told */
};

/* What the device gives. Called on the loop's thread. */
struct net_client {
    /* A frame for the guest, with a 12-byte virtio header when caps.vnet_hdr. Returns false when the guest
     * has no buffer: the backend keeps (or drops, slirp) it and stops reading until resume(). */
    bool (*receive)(void *opaque, const struct iovec *iov, int iovcnt, uint64_t len);
    void (*writable)(void *opaque); /* the wire takes frames again after send said -EAGAIN; may be NULL */
    void *opaque;
};

struct net_ops {
    void (*caps)(struct net *n, struct net_caps *out);
    void (*attach)(struct net *n, const struct net_client *client); /* before the loop runs; NULL detaches */
    int (*offload)(struct net *n, const struct net_caps *wanted);   /* what the guest negotiated */
    /* A frame from the guest, copied or sent before return. Loop thread. -EAGAIN: the wire is full, call
     * again after client.writable. */
    int (*send)(struct net *n, const struct iovec *iov, int iovcnt, uint64_t len);
    void (*resume)(struct net *n); /* the guest has buffers again; loop thread */
    void (*close)(struct net *n);
};

struct net {
    const struct net_ops *ops;
};

struct net_hostfwd {
    bool udp;
    char host_addr[46]; /* "" = 127.0.0.1 */
    uint16_t host_port, guest_port;
};

struct net_user_config {
    struct net_hostfwd fwd[16];
    unsigned fwds;
    bool restricted; /* no way out of the host: only forwards */
};

struct net *net_user_open(const struct net_user_config *cfg, struct loop *loop, struct err *e);
struct net *net_tap_open(const char *ifname, struct loop *loop, struct err *e);

#endif
