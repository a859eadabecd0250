/* The user network, seen by a guest made of hand-written frames. */
#include "base/err.h"
#include "wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <link.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

struct fixture {
    struct loop *loop;
    struct net *net;
    struct wire wire;
    struct err e;
};

static void up(struct fixture *f, const struct net_user_config *cfg)
{
    static const struct net_user_config plain;
    f->e.msg[0] = 0;
    f->loop = loop_new(&f->e);
    f->net = net_user_open(cfg ? cfg : &plain, f->loop, &f->e);
    if (!f->net)
        fail_msg("%s", f->e.msg);
    wire_attach(&f->wire, f->net, f->loop, 0);
}

static void down(struct fixture *f)
{
    f->net->ops->close(f->net);
    loop_free(f->loop);
}

static void send_packet(struct fixture *f, const struct packet *p)
{
    assert_int_equal(wire_send(&f->wire, p->data, p->len), 0);
}

/* A socket of the host on 127.0.0.1 with a port of the kernel's choice. */
static int host_socket(int type, uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int s = socket(AF_INET, type, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(s, 5), 0);
    return s;
}

static uint16_t free_port(int type)
{
    uint16_t port;
    close(host_socket(type, &port));
    return port;
}

/* ---- what the guest looks for ---- */

static bool is_arp_reply(const uint8_t *p, size_t n, void *arg)
{
    (void)arg;
    return n >= 42 && be16(p + 12) == 0x0806 && be16(p + 20) == 2;
}

static bool is_udp(const uint8_t *p, size_t n, void *arg)
{
    return n >= 42 && be16(p + 12) == 0x0800 && p[23] == 17 && be16(p + 36) == *(uint16_t *)arg;
}

static bool is_tcp(const uint8_t *p, size_t n, void *arg)
{
    return n >= 54 && be16(p + 12) == 0x0800 && p[23] == 6 && be16(p + 36) == *(uint16_t *)arg;
}

/* So that slirp knows our MAC before it wants to send to 10.0.2.15. */
static void introduce(struct fixture *f)
{
    struct packet p;
    packet_arp(&p, 1, GUEST_IP, HOST_IP, NULL);
    send_packet(f, &p);
    assert_true(wire_wait(&f->wire, is_arp_reply, NULL, 5000));
}

/* ---- tests ---- */

static int find_library(struct dl_phdr_info *info, size_t size, void *opaque)
{
    (void)size;
    return strstr(info->dlpi_name, opaque) ? 1 : 0;
}

static void glib_and_slirp_come_only_with_the_first_user_network(void **state)
{
    struct fixture f;
    char slirp[] = "libslirp", glib[] = "libglib";
    (void)state;
    assert_false(dl_iterate_phdr(find_library, slirp) || dl_iterate_phdr(find_library, glib));
    up(&f, NULL);
    assert_true(dl_iterate_phdr(find_library, slirp));
    down(&f);
}

static void the_gateway_answers_arp_but_never_from_within_send(void **state)
{
    struct fixture f;
    struct packet p;
    (void)state;
    up(&f, NULL);
    packet_arp(&p, 1, GUEST_IP, HOST_IP, NULL);
    send_packet(&f, &p);
    assert_int_equal(f.wire.count, 0);
    assert_true(wire_wait(&f.wire, is_arp_reply, NULL, 5000));
    assert_memory_equal(f.wire.found + 22, wire_gateway, 6);
    assert_int_equal(be32(f.wire.found + 28), HOST_IP);
    down(&f);
}

static void dhcp_offers_10_0_2_15_with_gateway_and_name_server(void **state)
{
    struct fixture f;
    struct packet p;
    uint8_t boot[300] = {1, 1, 6, 0, 1, 2, 3, 4};
    uint16_t port = 68;
    (void)state;
    memcpy(boot + 28, wire_mac, 6);
    memcpy(boot + 236, "\x63\x82\x53\x63\x35\x01\x01\xff", 8); /* magic, DISCOVER */
    up(&f, NULL);
    packet_udp(&p, 0, 68, 0xffffffff, 67, boot, sizeof boot);
    send_packet(&f, &p);
    assert_true(wire_wait(&f.wire, is_udp, &port, 5000));
    const uint8_t *b = f.wire.found + 42;
    assert_int_equal(be32(b + 4), 0x01020304);
    assert_int_equal(be32(b + 16), GUEST_IP);
    uint32_t router = 0, dns = 0, type = 0;
    for (const uint8_t *o = b + 240; o + 6 < f.wire.found + f.wire.found_len && *o != 0xff; o += 2 + o[1]) {
        if (o[0] == 53)
            type = o[2];
        if (o[0] == 3)
            router = be32(o + 2);
        if (o[0] == 6)
            dns = be32(o + 2);
    }
    assert_int_equal(type, 2);
    assert_int_equal(router, HOST_IP);
    assert_int_equal(dns, DNS_IP);
    down(&f);
}

static void the_guest_reaches_a_udp_server_of_the_host_and_is_answered(void **state)
{
    struct fixture f;
    struct packet p;
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    uint16_t port, mine = 4000;
    char text[16];
    int s = host_socket(SOCK_DGRAM, &port);
    (void)state;
    up(&f, NULL);
    introduce(&f);
    packet_udp(&p, GUEST_IP, mine, HOST_IP, port, "ping", 4);
    send_packet(&f, &p);
    wire_run(&f.wire, 20);
    assert_int_equal(poll(&(struct pollfd){.fd = s, .events = POLLIN}, 1, 5000), 1);
    assert_int_equal(recvfrom(s, text, sizeof text, 0, (struct sockaddr *)&from, &len), 4);
    assert_memory_equal(text, "ping", 4);
    assert_int_equal(sendto(s, "pong", 4, 0, (struct sockaddr *)&from, len), 4);
    assert_true(wire_wait(&f.wire, is_udp, &mine, 5000));
    assert_memory_equal(f.wire.found + 42, "pong", 4);
    close(s);
    down(&f);
}

static void a_restricted_network_reaches_nothing(void **state)
{
    struct fixture f;
    struct packet p;
    uint16_t port;
    int s = host_socket(SOCK_DGRAM, &port);
    (void)state;
    up(&f, &(struct net_user_config){.restricted = true});
    introduce(&f);
    packet_udp(&p, GUEST_IP, 4000, HOST_IP, port, "ping", 4);
    send_packet(&f, &p);
    wire_run(&f.wire, 50);
    assert_int_equal(poll(&(struct pollfd){.fd = s, .events = POLLIN}, 1, 0), 0);
    close(s);
    down(&f);
}

/* Handshake as the server in the guest, then both ends send, then the guest closes. */
static void a_forwarded_tcp_port_carries_a_conversation(void **state)
{
    struct fixture f;
    struct packet p;
    uint16_t port = free_port(SOCK_STREAM), ssh = 22;
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    char text[32];
    (void)state;
    up(&f, &(struct net_user_config){.fwds = 1, .fwd = {{.host_port = port, .guest_port = 22}}});
    introduce(&f);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(s, (struct sockaddr *)&a, sizeof a), 0);
    assert_true(wire_wait(&f.wire, is_tcp, &ssh, 5000));
    const uint8_t *syn = f.wire.found;
    assert_int_equal(syn[47], 0x02);
    assert_int_equal(be32(syn + 30), GUEST_IP);
    uint32_t peer = be32(syn + 26), next = be32(syn + 38) + 1;
    uint16_t peer_port = (uint16_t)be16(syn + 34);
    packet_tcp(&p, GUEST_IP, 22, peer, peer_port, 1000, next, 0x12, NULL, 0);
    send_packet(&f, &p);
    assert_int_equal(write(s, "hello", 5), 5);
    for (int i = 0; i < 20; i++) { /* past the bare acknowledgement */
        assert_true(wire_wait(&f.wire, is_tcp, &ssh, 5000));
        if (f.wire.found_len >= 59)
            break;
    }
    assert_memory_equal(f.wire.found + 54, "hello", 5);
    packet_tcp(&p, GUEST_IP, 22, peer, peer_port, 1001, next + 5, 0x18, "SSH-2.0", 7);
    send_packet(&f, &p);
    wire_run(&f.wire, 50);
    assert_int_equal(poll(&(struct pollfd){.fd = s, .events = POLLIN}, 1, 5000), 1);
    assert_int_equal(read(s, text, sizeof text), 7);
    assert_memory_equal(text, "SSH-2.0", 7);
    packet_tcp(&p, GUEST_IP, 22, peer, peer_port, 1008, next + 5, 0x11, NULL, 0);
    send_packet(&f, &p);
    wire_run(&f.wire, 50);
    assert_int_equal(read(s, text, sizeof text), 0);
    close(s);
    down(&f);
}

static void a_forwarded_udp_port_reaches_the_guest(void **state)
{
    struct fixture f;
    uint16_t port = free_port(SOCK_DGRAM), dns = 53;
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    (void)state;
    up(&f,
       &(struct net_user_config){
           .fwds = 1, .fwd = {{.udp = true, .host_addr = "127.0.0.1", .host_port = port, .guest_port = 53}}});
    introduce(&f);
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(sendto(s, "query", 5, 0, (struct sockaddr *)&a, sizeof a), 5);
    assert_true(wire_wait(&f.wire, is_udp, &dns, 5000));
    assert_memory_equal(f.wire.found + 42, "query", 5);
    close(s);
    down(&f);
}

static void a_port_in_use_or_a_bad_forward_is_refused_with_the_reason(void **state)
{
    struct net_user_config cfg = {.fwds = 1};
    struct err e;
    struct loop *l = loop_new(&e);
    char words[64];
    uint16_t port;
    int s = host_socket(SOCK_STREAM, &port);
    (void)state;
    cfg.fwd[0] = (struct net_hostfwd){.host_port = port, .guest_port = 22};
    assert_null(net_user_open(&cfg, l, &e));
    snprintf(words, sizeof words, "tcp port 127.0.0.1:%u is in use", port);
    assert_non_null(strstr(e.msg, words));
    print_message("%s\n", e.msg);
    cfg.fwd[0] = (struct net_hostfwd){.host_addr = "localhost", .host_port = port, .guest_port = 22};
    assert_null(net_user_open(&cfg, l, &e));
    assert_non_null(strstr(e.msg, "'localhost' is not an IPv4 address"));
    cfg.fwd[0] = (struct net_hostfwd){.host_addr = "192.0.2.1", .host_port = 1234, .guest_port = 22};
    assert_null(net_user_open(&cfg, l, &e));
    assert_non_null(strstr(e.msg, "192.0.2.1 is not an address of this host"));
    cfg.fwd[0] = (struct net_hostfwd){.host_port = 1234};
    assert_null(net_user_open(&cfg, l, &e));
    assert_non_null(strstr(e.msg, "guest port 0"));
    close(s);
    loop_free(l);
}

static void frames_wait_for_a_guest_without_buffers_and_arrive_in_order_on_resume(void **state)
{
    struct fixture f;
    struct packet p;
    (void)state;
    up(&f, NULL);
    f.wire.refuse = true;
    for (uint32_t i = 0; i < 3; i++) {
        packet_arp(&p, 1, GUEST_IP, i == 1 ? DNS_IP : HOST_IP, NULL);
        send_packet(&f, &p);
    }
    wire_run(&f.wire, 30);
    assert_int_equal(f.wire.count, 0);
    assert_int_equal(f.wire.refused, 1);
    f.wire.refuse = false;
    f.net->ops->resume(f.net);
    wire_run(&f.wire, 30);
    assert_int_equal(f.wire.count, 3);
    assert_int_equal(be32(f.wire.frame[0].data + 28), HOST_IP);
    assert_int_equal(be32(f.wire.frame[1].data + 28), DNS_IP);
    down(&f);
}

static void a_thousand_malformed_frames_do_no_harm(void **state)
{
    struct fixture f;
    struct packet p;
    (void)state;
    up(&f, NULL);
    introduce(&f);
    srand(7);
    for (int i = 0; i < 1000; i++) {
        packet_tcp(&p, GUEST_IP, 1000, HOST_IP, 9, 1, 1, (uint8_t)rand(), "x", 1);
        for (int j = 0; j < 4; j++)
            p.data[12 + (size_t)rand() % (p.len - 12)] = (uint8_t)rand();
        assert_int_equal(wire_send(&f.wire, p.data, 11 + (size_t)rand() % (p.len - 11)), 0);
    }
    wire_run(&f.wire, 20);
    introduce(&f);
    down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(glib_and_slirp_come_only_with_the_first_user_network),
        cmocka_unit_test(the_gateway_answers_arp_but_never_from_within_send),
        cmocka_unit_test(dhcp_offers_10_0_2_15_with_gateway_and_name_server),
        cmocka_unit_test(the_guest_reaches_a_udp_server_of_the_host_and_is_answered),
        cmocka_unit_test(a_restricted_network_reaches_nothing),
        cmocka_unit_test(a_forwarded_tcp_port_carries_a_conversation),
        cmocka_unit_test(a_forwarded_udp_port_reaches_the_guest),
        cmocka_unit_test(a_port_in_use_or_a_bad_forward_is_refused_with_the_reason),
        cmocka_unit_test(frames_wait_for_a_guest_without_buffers_and_arrive_in_order_on_resume),
        cmocka_unit_test(a_thousand_malformed_frames_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
