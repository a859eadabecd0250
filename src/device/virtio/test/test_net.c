/* virtio-net over a wire that a test plays. */
#include "device/virtio/test/unit.h"
#include "device/virtio/net.h"
#include "device/virtio/test/fakes.h"

#define F_CSUM       (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_OFFLOADS   (1ull << 2)
#define F_MTU        (1ull << 3)
#define F_MAC        (1ull << 5)
#define F_GUEST_TSO4 (1ull << 7)
#define F_HOST_TSO4  (1ull << 11)
#define F_MRG        (1ull << 15)
#define F_STATUS     (1ull << 16)
#define F_CTRL       (1ull << 17)
#define F_RX         (1ull << 18)
#define F_ANNOUNCE   (1ull << 21)
#define F_SET_MAC    (1ull << 23)
#define USUAL        (BASE | EVENT_IDX | F_MAC | F_MRG | F_STATUS | F_CTRL | F_RX | F_ANNOUNCE | F_SET_MAC)

enum { RX, TX, CTRL, RX_BUF = 512 };

static const uint8_t own[6] = {0x52, 0x54, 0, 1, 2, 3};

static bool by_bell; /* kicks arrive by doorbell where there are any: all tests run both ways */

struct bed {
    struct rig r;
    struct fake_net net;
    struct ring ring[3];
    uint64_t out, in, ctrl;
};

static void restart(struct bed *b, uint64_t features)
{
    assert_true(drv_negotiate(&b->r, features));
    for (unsigned i = 0; i < 3; i++)
        ring_init(&b->ring[i], &b->r, i, i == CTRL ? 64 : 256);
    drv_ok(&b->r);
    rig_turn(&b->r);
}

static struct bed *open_bed(enum rig_transport t, const struct net_caps *caps, uint64_t features)
{
    struct bed *b = calloc(1, sizeof(*b));
    struct virtio_net_config cfg = {0};
    memcpy(cfg.mac, own, 6);
    rig_init(&b->r, t);
    b->r.bells = by_bell;
    fake_net_init(&b->net);
    if (caps)
        b->net.caps = *caps;
    rig_plug(&b->r, virtio_net_new(&cfg, &b->net.net, b->r.loop, b->r.mem, NULL));
    b->out = rig_alloc(&b->r, 70000, 4096);
    b->in = rig_alloc(&b->r, 256 * RX_BUF, 4096);
    b->ctrl = rig_alloc(&b->r, 4096, 4096);
    restart(b, features);
    return b;
}

static void close_bed(struct bed *b)
{
    rig_fini(&b->r);
    assert_false(b->net.attached);
    free(b);
}

static bool inject(struct bed *b, const void *frame, size_t n)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)frame, 5}, {(uint8_t *)(uintptr_t)frame + 5, n - 5}};
    return b->net.client.receive(b->net.client.opaque, iov, 2, n);
}

static void make_frame(uint8_t *f, const uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        f[i] = (uint8_t)(i * 13 + n);
    memcpy(f, to, 6);
}

static void give_buffers(struct bed *b, unsigned n, uint32_t size)
{
    for (unsigned i = 0; i < n; i++)
        ring_add(&b->ring[RX], &(struct ring_buf){b->in + (uint64_t)RX_BUF * i, size, true}, 1);
    ring_kick(&b->ring[RX]);
}

static unsigned control(struct bed *b, unsigned class, unsigned command, const void *data, uint32_t n)
{
    uint32_t id, len;
    uint8_t *p = rig_at(&b->r, b->ctrl);
    p[0] = (uint8_t) class;
    p[1] = (uint8_t)command;
    memcpy(p + 2, data, n);
    p[2048] = 0xee;
    ring_add(
        &b->ring[CTRL],
        (const struct ring_buf[]){{b->ctrl, 2, false}, {b->ctrl + 2, n, false}, {b->ctrl + 2048, 1, true}},
        3);
    ring_kick(&b->ring[CTRL]);
    assert_true(ring_take(&b->ring[CTRL], &id, &len));
    assert_int_equal(len, 1);
    return p[2048];
}

static void configuration_has_mac_status_and_mtu(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        const struct net_caps caps = {.mtu = 1400};
        struct bed *b = open_bed(t, &caps, USUAL | F_MTU);
        for (unsigned i = 0; i < 6; i++)
            assert_int_equal(drv_config(&b->r, i, 1), own[i]);
        assert_int_equal(drv_config(&b->r, 6, 2), 1);
        assert_int_equal(drv_config(&b->r, 8, 2), 1);
        assert_int_equal(drv_config(&b->r, 10, 2), 1400);
        virtio_net_set_link(b->r.vd, false);
        assert_true(drv_config_interrupted(&b->r));
        assert_int_equal(drv_config(&b->r, 6, 2), 0);
        close_bed(b);
    }
}

static void offloads_are_offered_as_far_as_the_backend_has_them(void **s)
{
    const struct net_caps all = {
        .vnet_hdr = true, .csum = true, .guest_csum = true, .tso4 = true, .guest_tso4 = true};
    struct bed *b = open_bed(RIG_PCI, NULL, USUAL);
    uint64_t offload = F_CSUM | F_GUEST_CSUM | F_OFFLOADS | F_GUEST_TSO4 | F_HOST_TSO4;
    (void)s;
    assert_int_equal(drv_offered(&b->r) & offload, 0);
    close_bed(b);
    b = open_bed(RIG_PCI, &all, USUAL | F_CSUM | F_HOST_TSO4 | F_GUEST_CSUM | F_GUEST_TSO4 | F_OFFLOADS);
    assert_int_equal(drv_offered(&b->r) & offload, offload);
    assert_true(b->net.wanted.csum && b->net.wanted.tso4 && b->net.wanted.guest_csum &&
                b->net.wanted.guest_tso4);
    assert_false(b->net.wanted.tso6);
    assert_int_equal(control(b, 5, 0, &(uint64_t){F_GUEST_CSUM}, 8), 0);
    rig_turn(&b->r);
    assert_true(b->net.wanted.guest_csum && !b->net.wanted.guest_tso4);
    assert_int_equal(control(b, 5, 0, &(uint64_t){F_GUEST_CSUM | F_CSUM}, 8), 1);
    drv_set_status(&b->r, 0);
    rig_turn(&b->r);
    assert_false(b->net.wanted.csum || b->net.wanted.guest_csum);
    close_bed(b);
}

static void a_frame_is_sent_without_its_header_where_the_backend_has_none(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, NULL, USUAL);
        uint32_t id, len;
        uint8_t *p = rig_at(&b->r, b->out);
        for (unsigned round = 0; round < 4; round++) {
            b->ring[TX].indirect = round & 1;
            memset(p, 0, 12);
            make_frame(p + 12, own, 1000 + round);
            ring_add(&b->ring[TX],
                     (const struct ring_buf[]){
                         {b->out, 7, false}, {b->out + 7, 500, false}, {b->out + 507, 505 + round, false}},
                     3);
            ring_kick(&b->ring[TX]);
            assert_int_equal(b->net.sent, round); /* the loop sends */
            rig_turn(&b->r);
            assert_int_equal(b->net.sent, round + 1);
            assert_int_equal(b->net.len[round], 1000 + round);
            assert_memory_equal(b->net.frame[round], p + 12, 1000 + round);
            assert_true(ring_take(&b->ring[TX], &id, &len));
            assert_int_equal(len, 0);
        }
        assert_true(drv_interrupted(&b->r, TX));
        close_bed(b);
    }
}

static void a_header_asks_only_for_what_was_negotiated(void **s)
{
    const struct net_caps caps = {.vnet_hdr = true, .csum = true, .tso4 = true};
    struct bed *b = open_bed(RIG_PCI, &caps, USUAL | F_CSUM | F_HOST_TSO4);
    uint8_t *p = rig_at(&b->r, b->out);
    const uint8_t h[12] = {0xff, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 9, 9};
    (void)s;
    memcpy(p, h, 12);
    make_frame(p + 12, own, 3000);
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, 3012, false}, 1);
    ring_kick(&b->ring[TX]);
    rig_turn(&b->r);
    assert_int_equal(b->net.len[0], 3012);
    assert_int_equal(b->net.frame[0][0], 1);
    assert_int_equal(b->net.frame[0][1], 1);
    assert_memory_equal(b->net.frame[0] + 2, h + 2, 8);
    assert_memory_equal(b->net.frame[0] + 12, p + 12, 3000);
    p[1] = 4; /* TSO for IPv6 was not */
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, 3012, false}, 1);
    ring_kick(&b->ring[TX]);
    rig_turn(&b->r);
    assert_int_equal(b->net.frame[1][1], 0);
    restart(b, USUAL);
    p[1] = 1;
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, 112, false}, 1);
    ring_kick(&b->ring[TX]);
    rig_turn(&b->r);
    assert_memory_equal(b->net.frame[2], ((const uint8_t[12]){0}), 12);
    close_bed(b);
}

static void a_full_wire_keeps_frames_until_it_is_writable(void **s)
{
    struct bed *b = open_bed(RIG_PCI, NULL, USUAL);
    uint32_t id, len;
    (void)s;
    make_frame((uint8_t *)rig_at(&b->r, b->out) + 12, own, 100);
    b->net.full = true;
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, 112, false}, 1);
    ring_kick(&b->ring[TX]);
    rig_turn(&b->r);
    assert_false(ring_take(&b->ring[TX], &id, &len));
    b->net.full = false;
    ring_kick(&b->ring[TX]);
    rig_turn(&b->r);
    assert_int_equal(b->net.sent, 0);
    b->net.client.writable(b->net.client.opaque);
    rig_turn(&b->r);
    assert_int_equal(b->net.sent, 1);
    assert_true(ring_take(&b->ring[TX], &id, &len));
    close_bed(b);
}

static void reset_in_send(void *opaque)
{
    struct bed *b = opaque;
    b->net.on_send = NULL;
    drv_set_status(&b->r, 0);
    if (b->r.transport != RIG_OVER_MMIO)
        assert_int_not_equal(drv_status(&b->r), 0);
}

static void a_reset_during_send_drops_the_completion(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, NULL, USUAL);
        uint32_t id, len;
        make_frame((uint8_t *)rig_at(&b->r, b->out) + 12, own, 100);
        b->net.on_send = reset_in_send;
        b->net.opaque = b;
        ring_add(&b->ring[TX], &(struct ring_buf){b->out, 112, false}, 1);
        ring_kick(&b->ring[TX]);
        rig_turn(&b->r);
        assert_int_equal(b->net.sent, 1);
        assert_false(ring_take(&b->ring[TX], &id, &len));
        assert_int_equal(drv_status(&b->r), 0);
        close_bed(b);
    }
}

static void a_frame_may_come_back_from_within_send(void **s)
{
    struct bed *b = open_bed(RIG_PCI, NULL, USUAL);
    uint32_t id, len;
    (void)s;
    b->net.echo = true;
    give_buffers(b, 4, RX_BUF);
    make_frame((uint8_t *)rig_at(&b->r, b->out) + 12, own, 100);
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, 112, false}, 1);
    ring_kick(&b->ring[TX]);
    rig_turn(&b->r);
    assert_int_equal(b->net.echoed, 1);
    assert_true(ring_take(&b->ring[RX], &id, &len));
    assert_int_equal(len, 112);
    close_bed(b);
}

static void a_frame_is_received_into_merged_buffers_at_once(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, NULL, USUAL);
        uint8_t frame[1514];
        uint32_t id, len;
        make_frame(frame, own, sizeof(frame));
        give_buffers(b, 8, RX_BUF);
        assert_true(inject(b, frame, sizeof(frame)));
        const uint8_t *p = rig_at(&b->r, b->in);
        assert_memory_equal(p, ((const uint8_t[12]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0}), 12);
        const uint32_t part[] = {512, 512, 12 + 1514 - 1024};
        for (unsigned i = 0; i < 3; i++) {
            assert_true(ring_take(&b->ring[RX], &id, &len));
            assert_int_equal(len, part[i]);
        }
        assert_false(ring_take(&b->ring[RX], &id, &len));
        assert_memory_equal(p + 12, frame, sizeof(frame)); /* the buffers are neighbours */
        assert_true(drv_interrupted(&b->r, RX));
        close_bed(b);
    }
}

/* The frame's last bytes are the used index itself: what was copied tells how it stood while the last buffer
 * was filled. */
static void merged_buffers_become_visible_only_all_together(void **s)
{
    struct bed *b = open_bed(RIG_PCI, NULL, USUAL);
    uint8_t frame[1200];
    (void)s;
    make_frame(frame, own, sizeof(frame));
    give_buffers(b, 8, RX_BUF);
    uint8_t *index = rig_at(&b->r, b->ring[RX].used + 2);
    struct iovec iov[2] = {{frame, sizeof(frame)}, {index, 2}};
    assert_true(b->net.client.receive(b->net.client.opaque, iov, 2, sizeof(frame) + 2));
    const uint8_t *copied = rig_at(&b->r, b->in + 12 + sizeof(frame)); /* in the third buffer */
    assert_int_equal(copied[0] | copied[1] << 8, 0);
    assert_int_equal(ring_get16(&b->ring[RX], b->ring[RX].used + 2), 3);
    close_bed(b);
}

static void a_frame_without_buffers_waits_for_them(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, NULL, USUAL);
        uint8_t frame[1000];
        uint32_t id, len;
        make_frame(frame, own, sizeof(frame));
        give_buffers(b, 1, RX_BUF); /* not enough */
        assert_false(inject(b, frame, sizeof(frame)));
        assert_false(ring_take(&b->ring[RX], &id, &len));
        assert_int_equal(ring_avail_event(&b->ring[RX]), 0);
        unsigned before = b->net.resumed;
        give_buffers(b, 2, RX_BUF);
        rig_turn(&b->r);
        assert_int_equal(b->net.resumed, before + 1);
        assert_true(inject(b, frame, sizeof(frame)));
        assert_true(ring_take(&b->ring[RX], &id, &len));
        assert_true(ring_take(&b->ring[RX], &id, &len));
        /* and a backend that was refused is let go by a reset */
        while (inject(b, frame, sizeof(frame)))
            ;
        before = b->net.resumed;
        drv_set_status(&b->r, 0);
        rig_turn(&b->r);
        assert_int_equal(b->net.resumed, before + 1);
        assert_true(inject(b, frame, sizeof(frame)));
        close_bed(b);
    }
}

static void without_merging_a_frame_fits_one_buffer_or_is_lost(void **s)
{
    struct bed *b = open_bed(RIG_PCI, NULL, USUAL & ~F_MRG);
    uint8_t frame[600];
    uint32_t id, len;
    (void)s;
    make_frame(frame, own, sizeof(frame));
    ring_add(&b->ring[RX], (const struct ring_buf[]){{b->in, 12, true}, {b->in + 12, 500, true}}, 2);
    assert_true(inject(b, frame, sizeof(frame)));
    assert_false(ring_take(&b->ring[RX], &id, &len));
    assert_true(inject(b, frame, 500));
    assert_true(ring_take(&b->ring[RX], &id, &len));
    assert_int_equal(len, 512);
    assert_int_equal(((uint8_t *)rig_at(&b->r, b->in))[10], 1); /* num_buffers */
    assert_memory_equal(rig_at(&b->r, b->in + 12), frame, 500);
    close_bed(b);
}

static void frames_that_ask_too_much_of_the_guest_are_dropped(void **s)
{
    const struct net_caps caps = {.vnet_hdr = true, .guest_csum = true, .guest_tso4 = true};
    struct bed *b = open_bed(RIG_PCI, &caps, USUAL | F_GUEST_CSUM);
    uint8_t frame[300] = {1};
    uint32_t id, len;
    (void)s;
    make_frame(frame + 12, own, 200);
    give_buffers(b, 4, RX_BUF);
    assert_true(inject(b, frame, 212));
    assert_true(ring_take(&b->ring[RX], &id, &len));
    assert_int_equal(((uint8_t *)rig_at(&b->r, b->in))[0], 1);
    frame[1] = 1; /* TSO4 */
    assert_true(inject(b, frame, 212));
    frame[1] = 9; /* nothing that exists */
    assert_true(inject(b, frame, 212));
    assert_true(inject(b, frame, 20)); /* too short for Ethernet */
    assert_false(ring_take(&b->ring[RX], &id, &len));
    close_bed(b);
}

static void the_filter_passes_what_the_driver_asked_for(void **s)
{
    static const uint8_t other[6] = {0x52, 0x54, 0, 9, 9, 9}, multi[6] = {1, 0, 0x5e, 1, 2, 3},
                         all[6] = {255, 255, 255, 255, 255, 255};
    struct bed *b = open_bed(RIG_OVER_MMIO, NULL, USUAL);
    uint8_t frame[100], table[4 + 6 + 4 + 6] = {1, 0, 0, 0};
    uint32_t id, len;
    const uint8_t off = 0, on = 1;
    (void)s;
#define PASSES(to) (make_frame(frame, to, 100), inject(b, frame, 100), ring_take(&b->ring[RX], &id, &len))
    give_buffers(b, 64, RX_BUF);
    assert_true(PASSES(other)); /* promiscuous until told */
    assert_int_equal(control(b, 0, 0, &off, 1), 0);
    assert_false(PASSES(other));
    assert_false(PASSES(multi));
    assert_true(PASSES(own));
    assert_true(PASSES(all));
    assert_int_equal(control(b, 0, 1, &on, 1), 0);
    assert_true(PASSES(multi));
    assert_int_equal(control(b, 0, 1, &off, 1), 0);
    memcpy(table + 4, other, 6);
    table[10] = 1;
    memcpy(table + 14, multi, 6);
    assert_int_equal(control(b, 1, 0, table, sizeof(table)), 0);
    assert_true(PASSES(other));
    assert_true(PASSES(multi));
    table[0] = 200; /* more than there are bytes */
    assert_int_equal(control(b, 1, 0, table, sizeof(table)), 1);
    assert_true(PASSES(other));
    assert_int_equal(control(b, 1, 1, other, 6), 0);
    assert_int_equal(drv_config(&b->r, 5, 1), 9);
    assert_int_equal(control(b, 1, 1, other, 5), 1);
    assert_int_equal(control(b, 9, 0, &on, 1), 1);
    assert_int_equal(control(b, 0, 6, &on, 1), 1);
    close_bed(b);
}

static void an_announcement_is_asked_for_and_acknowledged(void **s)
{
    struct bed *b = open_bed(RIG_PCI, NULL, USUAL);
    (void)s;
    virtio_net_announce(b->r.vd);
    assert_true(drv_config_interrupted(&b->r));
    assert_int_equal(drv_config(&b->r, 6, 2), 3);
    assert_int_equal(control(b, 3, 0, &(uint8_t){0}, 1), 0);
    assert_int_equal(drv_config(&b->r, 6, 2), 1);
    close_bed(b);
}

static void malformed_buffers_break_the_device(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, NULL, USUAL);
        uint8_t frame[100];
        make_frame(frame, own, sizeof(frame));
        ring_add(&b->ring[RX], &(struct ring_buf){b->in, 11, true}, 1);
        assert_true(inject(b, frame, 100));
        assert_true(drv_status(&b->r) & VIRTIO_STATUS_NEEDS_RESET);
        restart(b, USUAL);
        ring_add(&b->ring[RX], &(struct ring_buf){b->in, 512, false}, 1);
        assert_true(inject(b, frame, 100));
        assert_true(drv_status(&b->r) & VIRTIO_STATUS_NEEDS_RESET);
        restart(b, USUAL);
        ring_add(&b->ring[TX], &(struct ring_buf){b->in, 11, false}, 1);
        ring_kick(&b->ring[TX]);
        rig_turn(&b->r);
        assert_true(drv_status(&b->r) & VIRTIO_STATUS_NEEDS_RESET);
        restart(b, USUAL);
        ring_add(&b->ring[CTRL], &(struct ring_buf){b->ctrl, 11, false}, 1);
        ring_kick(&b->ring[CTRL]);
        assert_true(drv_status(&b->r) & VIRTIO_STATUS_NEEDS_RESET);
        close_bed(b);
    }
}

static void a_paused_card_neither_sends_nor_receives(void **s)
{
    struct bed *b = open_bed(RIG_PCI, NULL, USUAL);
    uint8_t frame[100];
    uint32_t id, len;
    (void)s;
    make_frame(frame, own, sizeof(frame));
    make_frame((uint8_t *)rig_at(&b->r, b->out) + 12, own, 100);
    give_buffers(b, 4, RX_BUF);
    device_pause(b->r.dev);
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, 112, false}, 1);
    ring_kick(&b->ring[TX]);
    assert_false(inject(b, frame, 100));
    rig_turn(&b->r);
    assert_int_equal(b->net.sent, 0);
    assert_false(ring_take(&b->ring[RX], &id, &len));
    unsigned before = b->net.resumed;
    device_resume(b->r.dev);
    rig_turn(&b->r);
    assert_int_equal(b->net.sent, 1);
    assert_int_equal(b->net.resumed, before + 1);
    close_bed(b);
}

static void only_the_queues_of_frames_over_pci_have_bells(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, NULL, USUAL);
        const struct mem_view *v = mem_view(b->r.mem);
        for (unsigned q = 0; q < 4; q++) {
            int bell =
                mem_bell_at(v, t == RIG_OVER_MMIO ? RIG_MMIO + 0x50 : b->r.bar + VIRTIO_PCI_NOTIFY + 4 * q);
            assert_int_equal(bell >= 0, t != RIG_OVER_MMIO && (q == RX || q == TX));
        }
        assert_int_equal(mem_bell_at(v, b->r.bar + VIRTIO_PCI_NOTIFY + 2), -1);
        close_bed(b);
    }
}

/* A bell is heard later than it is rung: what it was for may be gone. */
static void a_bell_that_outlives_a_reset_or_comes_twice_does_nothing(void **s)
{
    struct bed *b = open_bed(RIG_PCI, NULL, USUAL);
    uint32_t id, len;
    (void)s;
    make_frame((uint8_t *)rig_at(&b->r, b->out) + 12, own, 100);
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, 112, false}, 1);
    ring_kick(&b->ring[TX]);
    drv_set_status(&b->r, 0);
    rig_turn(&b->r);
    assert_int_equal(b->net.sent, 0);
    restart(b, USUAL);
    drv_kick(&b->r, TX);
    drv_kick(&b->r, RX);
    rig_turn(&b->r);
    assert_int_equal(b->net.sent, 0);
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, 112, false}, 1);
    for (unsigned i = 0; i < 3; i++)
        ring_kick(&b->ring[TX]);
    rig_turn(&b->r);
    assert_int_equal(b->net.sent, 1);
    assert_true(ring_take(&b->ring[TX], &id, &len));
    assert_int_equal(drv_status(&b->r) & 64, 0);
    close_bed(b);
}

static int use_bells(void **s)
{
    (void)s;
    by_bell = true;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_has_mac_status_and_mtu),
        cmocka_unit_test(offloads_are_offered_as_far_as_the_backend_has_them),
        cmocka_unit_test(a_frame_is_sent_without_its_header_where_the_backend_has_none),
        cmocka_unit_test(a_header_asks_only_for_what_was_negotiated),
        cmocka_unit_test(a_full_wire_keeps_frames_until_it_is_writable),
        cmocka_unit_test(a_reset_during_send_drops_the_completion),
        cmocka_unit_test(a_frame_may_come_back_from_within_send),
        cmocka_unit_test(a_frame_is_received_into_merged_buffers_at_once),
        cmocka_unit_test(merged_buffers_become_visible_only_all_together),
        cmocka_unit_test(a_frame_without_buffers_waits_for_them),
        cmocka_unit_test(without_merging_a_frame_fits_one_buffer_or_is_lost),
        cmocka_unit_test(frames_that_ask_too_much_of_the_guest_are_dropped),
        cmocka_unit_test(the_filter_passes_what_the_driver_asked_for),
        cmocka_unit_test(an_announcement_is_asked_for_and_acknowledged),
        cmocka_unit_test(malformed_buffers_break_the_device),
        cmocka_unit_test(a_paused_card_neither_sends_nor_receives),
        cmocka_unit_test(only_the_queues_of_frames_over_pci_have_bells),
        cmocka_unit_test(a_bell_that_outlives_a_reset_or_comes_twice_does_nothing),
    };
    int failed = cmocka_run_group_tests_name("kicks by call", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("kicks by doorbell", tests, use_bells, NULL);
}
