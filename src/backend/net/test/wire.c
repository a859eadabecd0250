#include "wire.h"
#include "host/host.h"
#include <stdlib.h>
#include <string.h>

const uint8_t wire_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56},
              wire_gateway[6] = {0x52, 0x55, 0x0a, 0x00, 0x02, 0x02};

uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

uint32_t be32(const uint8_t *p)
{
    return be16(p) << 16 | be16(p + 2);
}

static bool receive(void *opaque, const struct iovec *iov, int iovcnt, uint64_t len)
{
    struct wire *w = opaque;
    if (w->refuse) {
        w->refused++;
        return false;
    }
    if (iovcnt != 1 || len > WIRE_FRAME_MAX || len <= w->header)
        abort();
    if (w->count == WIRE_FRAMES)
        w->count = 0;
    w->frame[w->count].len = len - w->header;
    uint8_t *p = memcpy(w->frame[w->count].data, (uint8_t *)iov->iov_base + w->header, len - w->header);
    w->count++;
    if (w->wanted && w->wanted(p, len - w->header, w->arg)) {
        w->found = p;
        w->found_len = len - w->header;
        w->wanted = NULL;
        loop_stop(w->loop);
    }
    return true;
}

static void writable(void *opaque)
{
    ((struct wire *)opaque)->writable++;
}

void wire_attach(struct wire *w, struct net *n, struct loop *l, size_t header)
{
    memset(w, 0, sizeof *w);
    w->net = n;
    w->loop = l;
    w->header = header;
    n->ops->attach(n, &(struct net_client){receive, writable, w});
}

static void stop(void *opaque)
{
    loop_stop(opaque);
}

void wire_run(struct wire *w, unsigned ms)
{
    struct loop_timer *t = loop_timer_new(w->loop, stop, w->loop, NULL);
    loop_timer_arm(t, host_now_ns() + ms * 1000000ull);
    loop_run(w->loop);
    loop_timer_free(t);
}

bool wire_wait(struct wire *w, bool (*wanted)(const uint8_t *frame, size_t len, void *arg), void *arg,
               unsigned ms)
{
    w->wanted = wanted;
    w->arg = arg;
    w->found = NULL;
    wire_run(w, ms);
    w->wanted = NULL;
    return w->found;
}

int wire_send(struct wire *w, const void *frame, size_t len)
{
    uint8_t header[12] = {0}, copy[WIRE_FRAME_MAX];
    memcpy(copy, frame, len);
    struct iovec iov[3] = {{header, w->header}, {copy, 10}, {copy + 10, len - 10}};
    return w->net->ops->send(w->net, w->header ? iov : iov + 1, w->header ? 3 : 2, len + w->header);
}

static void put16(struct packet *p, uint32_t v)
{
    p->data[p->len++] = (uint8_t)(v >> 8);
    p->data[p->len++] = (uint8_t)v;
}

static void put32(struct packet *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p, v & 0xffff);
}

static void put(struct packet *p, const void *data, size_t n)
{
    if (n)
        memcpy(p->data + p->len, data, n);
    p->len += n;
}

static void ethernet(struct packet *p, const uint8_t *to, uint32_t type)
{
    p->len = 0;
    put(p, to, 6);
    put(p, wire_mac, 6);
    put16(p, type);
}

static uint32_t sum(const uint8_t *p, size_t n, uint32_t s)
{
    for (size_t i = 0; i < n; i++)
        s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    return s;
}

static uint32_t fold(uint32_t s)
{
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return ~s & 0xffff;
}

static void set16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void packet_arp(struct packet *p, uint16_t op, uint32_t sender, uint32_t target, const uint8_t *target_mac)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    ethernet(p, target_mac ? target_mac : all, 0x0806);
    put16(p, 1);
    put16(p, 0x0800);
    put16(p, 0x0604);
    put16(p, op);
    put(p, wire_mac, 6);
    put32(p, sender);
    put(p, target_mac ? target_mac : (const uint8_t[6]){0}, 6);
    put32(p, target);
}

static void ipv4(struct packet *p, uint32_t src, uint32_t dst, uint8_t proto, size_t payload)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    ethernet(p, dst == 0xffffffff ? all : wire_gateway, 0x0800);
    put16(p, 0x4500);
    put16(p, (uint32_t)(20 + payload));
    put32(p, 0);
    put16(p, 64u << 8 | proto);
    put16(p, 0);
    put32(p, src);
    put32(p, dst);
    set16(p->data + 24, fold(sum(p->data + 14, 20, 0)));
}

static void checksum(struct packet *p, size_t field, uint8_t proto)
{
    uint32_t s = sum(p->data + 26, 8, proto + (uint32_t)(p->len - 34));
    set16(p->data + field, fold(sum(p->data + 34, p->len - 34, s)));
}

void packet_udp(struct packet *p, uint32_t src, uint16_t sport, uint32_t dst, uint16_t dport,
                const void *data, size_t n)
{
    ipv4(p, src, dst, 17, 8 + n);
    put16(p, sport);
    put16(p, dport);
    put16(p, (uint32_t)(8 + n));
    put16(p, 0);
    put(p, data, n);
    checksum(p, 40, 17);
}

void packet_tcp(struct packet *p, uint32_t src, uint16_t sport, uint32_t dst, uint16_t dport, uint32_t seq,
                uint32_t ack, uint8_t flags, const void *data, size_t n)
{
    ipv4(p, src, dst, 6, 20 + n);
    put16(p, sport);
    put16(p, dport);
    put32(p, seq);
    put32(p, ack);
    put16(p, 5u << 12 | flags);
    put16(p, 32768);
    put32(p, 0);
    put(p, data, n);
    checksum(p, 50, 6);
}
