/*
 * wire: a guest of a few lines: it collects frames, and makes Ethernet, ARP, IPv4, UDP and TCP by hand.
 */
#ifndef NET_TEST_WIRE_H
#define NET_TEST_WIRE_H
#include "backend/net/net.h"
#include "host/loop.h"
#include <stddef.h>

enum { WIRE_FRAMES = 256, WIRE_FRAME_MAX = 2048 };

struct wire {
    struct net *net;
    struct loop *loop;
    bool refuse; /* no buffer */
    unsigned count, refused, writable;
    struct {
        size_t len;
        uint8_t data[WIRE_FRAME_MAX];
    } frame[WIRE_FRAMES];
    size_t header; /* bytes before the Ethernet header */
    /* The loop stops at the first frame for which this holds. */
    bool (*wanted)(const uint8_t *frame, size_t len, void *arg);
    void *arg;
    const uint8_t *found;
    size_t found_len;
};

void wire_attach(struct wire *w, struct net *n, struct loop *l, size_t header);
/* Run until a wanted frame came (true) or `ms` passed. */
bool wire_wait(struct wire *w, bool (*wanted)(const uint8_t *frame, size_t len, void *arg), void *arg,
               unsigned ms);
void wire_run(struct wire *w, unsigned ms);
int wire_send(struct wire *w, const void *frame,
              size_t len); /* in three pieces, padded with zeroed header bytes */

extern const uint8_t wire_mac[6], wire_gateway[6];

struct packet {
    uint8_t data[WIRE_FRAME_MAX];
    size_t len;
};

#define GUEST_IP 0x0a00020fu
#define HOST_IP  0x0a000202u
#define DNS_IP   0x0a000203u

void packet_arp(struct packet *p, uint16_t op, uint32_t sender, uint32_t target, const uint8_t *target_mac);
void packet_udp(struct packet *p, uint32_t src, uint16_t sport, uint32_t dst, uint16_t dport,
                const void *data, size_t n);
void packet_tcp(struct packet *p, uint32_t src, uint16_t sport, uint32_t dst, uint16_t dport, uint32_t seq,
                uint32_t ack, uint8_t flags, const void *data, size_t n);
uint32_t be16(const uint8_t *p);
uint32_t be32(const uint8_t *p);

#endif
