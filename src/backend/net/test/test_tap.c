/* A tap in a network namespace of the test's own. The far end is a packet socket on the same interface. */
#include "base/err.h"
#include "wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* A persistent tap, as `ip tuntap add` makes it. */
static int make_tap(const char *name, int flags, bool up)
{
    struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), s = socket(AF_INET, SOCK_DGRAM, 0);
    strcpy(ifr.ifr_name, name);
    int r = fd < 0 || ioctl(fd, TUNSETIFF, &ifr) || ioctl(fd, TUNSETOWNER, (unsigned long)geteuid()) ||
            ioctl(fd, TUNSETPERSIST, 1);
    if (!r && up) {
        ifr.ifr_mtu = 1400;
        r = ioctl(s, SIOCSIFMTU, &ifr);
        ifr.ifr_flags = IFF_UP;
        r |= ioctl(s, SIOCSIFFLAGS, &ifr);
    }
    close(s);
    if (fd >= 0)
        close(fd);
    return r;
}

static int namespace_up(void **state)
{
    *state = NULL;
    if (unshare(CLONE_NEWNET) || make_tap("tap0", 0, true))
        return 0;
    *state = "ready";
    return 0;
}

#define NEEDS_NAMESPACE(state)                                                                               \
    do {                                                                                                     \
        if (!*(state)) {                                                                                     \
            print_message(                                                                                   \
                "no network namespace with a tap can be made here: run as root with /dev/net/tun\n");        \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

static int packet_socket(const char *name)
{
    struct sockaddr_ll a = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
    int s = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
    assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof a), 0);
    return s;
}

static bool is_test_frame(const uint8_t *p, size_t n, void *arg)
{
    return n >= 60 && be16(p + 12) == 0x88b5 && p[14] == *(uint8_t *)arg;
}

static void test_frame(uint8_t *frame, uint8_t mark)
{
    memset(frame, 0xff, 6);
    memcpy(frame + 6, wire_mac, 6);
    frame[12] = 0x88;
    frame[13] = 0xb5; /* local experimental EtherType 1 */
    memset(frame + 14, mark, 46);
}

static void frames_pass_both_ways_with_a_virtio_header(void **state)
{
    struct err e;
    struct wire w;
    struct net_caps caps;
    uint8_t frame[60], got[2048], mark = 7;
    NEEDS_NAMESPACE(state);
    struct loop *l = loop_new(&e);
    struct net *n = net_tap_open("tap0", l, &e);
    if (!n)
        fail_msg("%s", e.msg);
    n->ops->caps(n, &caps);
    assert_true(caps.vnet_hdr && caps.csum && caps.tso4 && caps.guest_csum && caps.guest_tso4 &&
                caps.mrg_rxbuf);
    assert_int_equal(caps.mtu, 1400);
    wire_attach(&w, n, l, 12);
    assert_int_equal(n->ops->offload(n, &caps), 0);
    assert_int_equal(n->ops->offload(n, &(struct net_caps){.vnet_hdr = true}), 0);
    int s = packet_socket("tap0");
    test_frame(frame, mark);
    assert_int_equal(send(s, frame, sizeof frame, 0), sizeof frame);
    assert_true(wire_wait(&w, is_test_frame, &mark, 5000));
    assert_memory_equal(w.found, frame, sizeof frame);
    test_frame(frame, 9);
    assert_int_equal(wire_send(&w, frame, sizeof frame), 0);
    bool seen = false;
    while (!seen && poll(&(struct pollfd){.fd = s, .events = POLLIN}, 1, 5000) == 1)
        seen = recv(s, got, sizeof got, 0) == sizeof frame && got[14] == 9;
    assert_true(seen);
    close(s);
    n->ops->close(n);
    loop_free(l);
}

static void a_frame_without_a_buffer_is_kept_and_comes_first_on_resume(void **state)
{
    struct err e;
    struct wire w;
    uint8_t frame[60], mark = 2;
    NEEDS_NAMESPACE(state);
    struct loop *l = loop_new(&e);
    struct net *n = net_tap_open("tap0", l, &e);
    assert_non_null(n);
    wire_attach(&w, n, l, 12);
    w.refuse = true;
    int s = packet_socket("tap0");
    for (uint8_t i = 1; i <= 2; i++) {
        test_frame(frame, i);
        assert_int_equal(send(s, frame, sizeof frame, 0), sizeof frame);
    }
    wire_run(&w, 30);
    assert_int_equal(w.refused, 1);
    w.refuse = false;
    n->ops->resume(n);
    assert_true(wire_wait(&w, is_test_frame, &mark, 5000));
    bool first = false;
    for (unsigned i = 0; i + 1 < w.count; i++)
        first |= is_test_frame(w.frame[i].data, w.frame[i].len, &(uint8_t){1});
    assert_true(first);
    close(s);
    n->ops->close(n);
    loop_free(l);
}

static void refused(const char *name, const char *words)
{
    struct err e;
    struct loop *l = loop_new(&e);
    assert_null(net_tap_open(name, l, &e));
    print_message("%s\n", e.msg);
    assert_non_null(strstr(e.msg, words));
    loop_free(l);
}

static void a_missing_interface_or_one_that_is_no_tap_is_refused(void **state)
{
    NEEDS_NAMESPACE(state);
    refused("tap77", "tap77: no such interface");
    refused("lo", "lo: is not a tap interface");
    refused("", "not the name of an interface");
    refused("a-name-that-is-too-long", "not the name of an interface");
}

static void a_tap_in_use_is_refused(void **state)
{
    struct err e;
    NEEDS_NAMESPACE(state);
    struct loop *l = loop_new(&e);
    struct net *n = net_tap_open("tap0", l, &e);
    assert_non_null(n);
    refused("tap0", "tap0: in use by another program");
    n->ops->close(n);
    loop_free(l);
}

static void a_tap_made_with_several_queues_is_taken(void **state)
{
    struct err e;
    NEEDS_NAMESPACE(state);
    assert_int_equal(make_tap("tapq", IFF_MULTI_QUEUE, true), 0);
    struct loop *l = loop_new(&e);
    struct net *n = net_tap_open("tapq", l, &e);
    if (!n)
        fail_msg("%s", e.msg);
    n->ops->close(n);
    loop_free(l);
}

static void a_tap_of_another_user_is_refused(void **state)
{
    int status;
    NEEDS_NAMESPACE(state);
    pid_t pid = fork();
    if (!pid) {
        struct err e = {""};
        if (setresuid(65534, 65534, 65534))
            _exit(2);
        struct net *n = net_tap_open("tap0", loop_new(&e), &e);
        printf("%s\n", e.msg);
        fflush(stdout);
        _exit(n || (!strstr(e.msg, "belongs to another user") &&
                    !strstr(e.msg, "ask for read and write permission")));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_pass_both_ways_with_a_virtio_header),
        cmocka_unit_test(a_frame_without_a_buffer_is_kept_and_comes_first_on_resume),
        cmocka_unit_test(a_missing_interface_or_one_that_is_no_tap_is_refused),
        cmocka_unit_test(a_tap_in_use_is_refused),
        cmocka_unit_test(a_tap_made_with_several_queues_is_taken),
        cmocka_unit_test(a_tap_of_another_user_is_refused),
    };
    return cmocka_run_group_tests(tests, namespace_up, NULL);
}
