/* Split virtqueues as a driver uses them, and as no driver should. */
#include "device/virtio/test/unit.h"
#include "device/virtio/test/echo.h"

struct bed {
    struct rig r;
    struct echo *e;
    struct ring g;
    uint64_t out, in; /* a page each */
};

static struct bed *open_bed(struct bed *b, enum rig_transport t, uint64_t features)
{
    rig_init(&b->r, t);
    b->e = echo_new(b->r.mem);
    rig_plug(&b->r, &b->e->vd);
    assert_true(drv_negotiate(&b->r, BASE | features));
    ring_init(&b->g, &b->r, 1, 16);
    b->out = rig_alloc(&b->r, MEM_PAGE, MEM_PAGE);
    b->in = rig_alloc(&b->r, MEM_PAGE, MEM_PAGE);
    drv_ok(&b->r);
    return b;
}

static struct bed *close_bed(struct bed *b)
{
    rig_fini(&b->r);
    return NULL;
}

/* A bed `b` over each transport `t` in turn. */
#define EACH_BED(b, t, features)                                                                             \
    EACH_TRANSPORT(t)                                                                                        \
    for (struct bed b, *open_ = open_bed(&b, t, features); open_; open_ = close_bed(&b))

static void start_again(struct bed *b, uint64_t features)
{
    assert_true(drv_negotiate(&b->r, BASE | features));
    ring_init(&b->g, &b->r, 1, 16);
    drv_ok(&b->r);
}

/* Offer a chain of `out` bytes to read and `in` bytes to write, and kick. */
static void ask(struct bed *b, uint32_t out, uint32_t in)
{
    const struct ring_buf buf[] = {{b->out, out, false}, {b->in, in, true}};
    ring_add(&b->g, out ? buf : buf + 1, out ? 2 : 1);
    ring_kick(&b->g);
}

static bool answered(struct bed *b)
{
    uint32_t id, len;
    return ring_take(&b->g, &id, &len);
}

/* One round trip of `text`, its buffers in `pieces` parts each way. */
static void echoes(struct bed *b, const char *text, unsigned pieces)
{
    uint32_t n = (uint32_t)strlen(text), id, len;
    struct ring_buf buf[16];
    memcpy(rig_at(&b->r, b->out), text, n);
    memset(rig_at(&b->r, b->in), 0, n);
    for (unsigned i = 0; i < pieces; i++) {
        uint32_t part = i + 1 < pieces ? n / pieces : n - (n / pieces) * i;
        buf[i] = (struct ring_buf){b->out + (n / pieces) * i, part, false};
        buf[pieces + i] = (struct ring_buf){b->in + (n / pieces) * i, part, true};
    }
    uint16_t head = ring_add(&b->g, buf, 2 * pieces);
    ring_kick(&b->g);
    assert_true(ring_take(&b->g, &id, &len));
    assert_int_equal(id, head);
    assert_int_equal(len, n);
    assert_memory_equal(rig_at(&b->r, b->in), text, n);
    assert_false(answered(b));
}

static void chains_are_answered_direct_and_indirect(void **s)
{
    (void)s;
    EACH_BED (b, t, EVENT_IDX) {
        for (unsigned i = 0; i < 40; i++) {
            b.g.indirect = i & 1;
            echoes(&b, "the quick brown fox", 1 + i % 4);
        }
        assert_true(drv_interrupted(&b.r, 1));
    }
}

static void indices_wrap_at_65536(void **s)
{
    struct bed b;
    (void)s;
    open_bed(&b, RIG_OVER_MMIO, EVENT_IDX);
    for (unsigned i = 0; i < 66000; i++)
        echoes(&b, "wrap", 1);
    assert_int_equal(b.g.avail_idx, 66000 & 0xffff);
    rig_fini(&b.r);
}

static void an_indirect_table_may_end_a_direct_chain(void **s)
{
    struct bed b;
    uint32_t id, len;
    (void)s;
    open_bed(&b, RIG_PCI, 0);
    uint64_t table = rig_alloc(&b.r, 64, 16);
    memcpy(rig_at(&b.r, b.out), "abcdef", 6);
    ring_desc(&b.g, b.g.desc, 2, b.out, 3, VIRTQ_DESC_F_NEXT, 5);
    ring_desc(&b.g, b.g.desc, 5, table, 48, VIRTQ_DESC_F_INDIRECT, 0);
    ring_desc(&b.g, table, 0, b.out + 3, 3, VIRTQ_DESC_F_NEXT, 2);
    ring_desc(&b.g, table, 2, b.in, 6, VIRTQ_DESC_F_WRITE, 0);
    ring_offer(&b.g, 2);
    ring_kick(&b.g);
    assert_true(ring_take(&b.g, &id, &len));
    assert_int_equal(len, 6);
    assert_memory_equal(rig_at(&b.r, b.in), "abcdef", 6);
    rig_fini(&b.r);
}

/* ---- notifications ---- */

static void event_index_says_when_to_interrupt_and_to_kick(void **s)
{
    (void)s;
    EACH_BED (b, t, EVENT_IDX) {
        ring_used_event(&b.g, 2); /* when the third is used */
        echoes(&b, "1", 1);
        drv_interrupted(&b.r, 1); /* the first of all may come in any case */
        assert_int_equal(ring_avail_event(&b.g), 1);
        echoes(&b, "2", 1);
        assert_false(drv_interrupted(&b.r, 1));
        echoes(&b, "3", 1);
        assert_true(drv_interrupted(&b.r, 1));
        echoes(&b, "4", 1);
        assert_false(drv_interrupted(&b.r, 1));
        assert_int_equal(ring_avail_event(&b.g), 4);
    }
}

static void no_interrupt_flag_is_honoured_without_event_index(void **s)
{
    (void)s;
    EACH_BED (b, t, 0) {
        ring_put16(&b.g, b.g.avail, VIRTQ_AVAIL_F_NO_INTERRUPT);
        echoes(&b, "1", 1);
        assert_false(drv_interrupted(&b.r, 1));
        ring_put16(&b.g, b.g.avail, 0);
        echoes(&b, "2", 1);
        assert_true(drv_interrupted(&b.r, 1));
        assert_int_equal(ring_get16(&b.g, b.g.used), 0); /* kicks are wanted again */
    }
}

static void kicks_before_driver_ok_are_served_at_driver_ok(void **s)
{
    (void)s;
    EACH_BED (b, t, 0) {
        assert_true(drv_negotiate(&b.r, BASE));
        ring_init(&b.g, &b.r, 1, 16);
        ask(&b, 0, 4);
        assert_false(answered(&b));
        drv_ok(&b.r);
        assert_true(answered(&b));
        drv_kick(&b.r, 0); /* a queue that was not set up */
        drv_kick(&b.r, 7); /* and one that is not there */
        assert_int_equal(drv_status(&b.r) & VIRTIO_STATUS_NEEDS_RESET, 0);
    }
}

/* ---- malformed rings ---- */

static void loop_of_descriptors(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0, b->out, 8, VIRTQ_DESC_F_NEXT, 1);
    ring_desc(&b->g, b->g.desc, 1, b->out, 8, VIRTQ_DESC_F_NEXT, 0);
    ring_offer(&b->g, 0);
}

static void descriptor_next_to_itself(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 3, b->in, 1, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, 3);
    ring_offer(&b->g, 3);
}

/* Behind the table lies what would be a fine descriptor: only its index is wrong. */
static void head_out_of_range(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0x1000, b->in, 8, VIRTQ_DESC_F_WRITE, 0);
    ring_offer(&b->g, 0x1000);
}

static void next_out_of_range(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0x1000, b->in, 8, VIRTQ_DESC_F_WRITE, 0);
    ring_desc(&b->g, b->g.desc, 0, b->out, 8, VIRTQ_DESC_F_NEXT, 0x1000);
    ring_offer(&b->g, 0);
}

static void zero_length(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0, b->out, 0, 0, 0);
    ring_offer(&b->g, 0);
}

static void readable_behind_writable(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0, b->in, 8, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, 1);
    ring_desc(&b->g, b->g.desc, 1, b->out, 8, 0, 0);
    ring_offer(&b->g, 0);
}

static void buffer_outside_memory(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0, RIG_RAM - 8, 16, 0, 0);
    ring_offer(&b->g, 0);
}

static void buffer_at_the_end_of_addresses(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0, UINT64_MAX - 3, 16, VIRTQ_DESC_F_WRITE, 0);
    ring_offer(&b->g, 0);
}

static void buffer_over_registers(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0, b->r.transport == RIG_OVER_MMIO ? RIG_MMIO : b->r.bar, 16,
              VIRTQ_DESC_F_WRITE, 0);
    ring_offer(&b->g, 0);
}

static void writable_buffer_in_rom(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0, RIG_ROM, 16, VIRTQ_DESC_F_WRITE, 0);
    ring_offer(&b->g, 0);
}

static void available_index_jump(struct bed *b)
{
    ring_desc(&b->g, b->g.desc, 0, b->out, 8, 0, 0);
    ring_put16(&b->g, b->g.avail + 2, 17);
}

static void available_index_backwards(struct bed *b)
{
    ring_put16(&b->g, b->g.avail + 2, 0xffff);
}

static void more_than_four_gigabytes(struct bed *b)
{
    b->g.indirect = true;
    uint64_t table = rig_alloc(&b->r, 16 * 1024, 16);
    for (unsigned i = 0; i < 1024; i++)
        ring_desc(&b->g, table, i, 0, RIG_RAM, i < 1023 ? VIRTQ_DESC_F_NEXT : 0, i + 1);
    ring_desc(&b->g, b->g.desc, 0, table, 16 * 1024, VIRTQ_DESC_F_INDIRECT, 0);
    ring_offer(&b->g, 0);
}

static void indirect_offer(struct bed *b, uint64_t table, uint32_t len, unsigned flags)
{
    ring_desc(&b->g, b->g.desc, 0, table, len, VIRTQ_DESC_F_INDIRECT | flags, 1);
    ring_desc(&b->g, b->g.desc, 1, b->out, 8, 0, 0);
    ring_offer(&b->g, 0);
}

static void indirect_in_indirect(struct bed *b)
{
    uint64_t table = rig_alloc(&b->r, 32, 16);
    ring_desc(&b->g, table, 0, table, 16, VIRTQ_DESC_F_INDIRECT, 0);
    indirect_offer(b, table, 32, 0);
}

static void indirect_with_next(struct bed *b)
{
    uint64_t table = rig_alloc(&b->r, 16, 16);
    ring_desc(&b->g, table, 0, b->out, 8, 0, 0);
    indirect_offer(b, table, 16, VIRTQ_DESC_F_NEXT);
}

static void indirect_of_odd_size(struct bed *b)
{
    indirect_offer(b, b->out, 24, 0);
}

static void indirect_of_no_size(struct bed *b)
{
    indirect_offer(b, b->out, 0, 0);
}

static void indirect_outside_memory(struct bed *b)
{
    indirect_offer(b, 0x8000000000000000ull, 16, 0);
}

static void indirect_that_wraps(struct bed *b)
{
    indirect_offer(b, UINT64_MAX - 15, 0xfffffff0, 0);
}

static void indirect_loop_in_a_huge_table(struct bed *b)
{
    uint64_t table = rig_alloc(&b->r, 16, 16);
    ring_desc(&b->g, table, 0, b->out, 8, VIRTQ_DESC_F_NEXT, 0);
    indirect_offer(b, table, 0xfffffff0, 0);
}

static void indirect_next_out_of_range(struct bed *b)
{
    uint64_t table = rig_alloc(&b->r, 48, 16);
    ring_desc(&b->g, table, 0, b->out, 8, VIRTQ_DESC_F_NEXT, 2);
    ring_desc(&b->g, table, 2, b->in, 8, VIRTQ_DESC_F_WRITE, 0);
    indirect_offer(b, table, 32, 0);
}

static void too_many_pieces(struct bed *b)
{
    uint64_t table = rig_alloc(&b->r, 16 * 64, 16);
    for (unsigned i = 0; i < 64; i++)
        ring_desc(&b->g, table, i, b->out, 8, i < 63 ? VIRTQ_DESC_F_NEXT : 0, i + 1);
    indirect_offer(b, table, 16 * 64, 0);
}

static void malformed_rings_break_the_device_until_reset(void **s)
{
    static void (*const wrong[])(struct bed *) = {
        loop_of_descriptors,
        descriptor_next_to_itself,
        head_out_of_range,
        next_out_of_range,
        zero_length,
        readable_behind_writable,
        buffer_outside_memory,
        buffer_at_the_end_of_addresses,
        buffer_over_registers,
        writable_buffer_in_rom,
        available_index_jump,
        available_index_backwards,
        more_than_four_gigabytes,
        indirect_in_indirect,
        indirect_with_next,
        indirect_of_odd_size,
        indirect_of_no_size,
        indirect_outside_memory,
        indirect_that_wraps,
        indirect_loop_in_a_huge_table,
        indirect_next_out_of_range,
        too_many_pieces,
    };
    (void)s;
    EACH_BED (b, t, 0) {
        for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
            start_again(&b, i & 1 ? EVENT_IDX : 0);
            wrong[i](&b);
            ring_kick(&b.g);
            if (!(drv_status(&b.r) & VIRTIO_STATUS_NEEDS_RESET))
                fail_msg("malformed ring %u was accepted", i);
            assert_true(drv_config_interrupted(&b.r));
            assert_false(answered(&b));
            ring_kick(&b.g); /* and nothing more happens */
            assert_false(answered(&b));
        }
        start_again(&b, 0);
        echoes(&b, "as new", 2);
    }
}

static void an_indirect_descriptor_must_be_negotiated(void **s)
{
    struct bed b;
    (void)s;
    open_bed(&b, RIG_PCI, 0);
    assert_true(drv_negotiate(&b.r, 1ull << VIRTIO_F_VERSION_1));
    ring_init(&b.g, &b.r, 1, 16);
    drv_ok(&b.r);
    b.g.indirect = true;
    ask(&b, 0, 4);
    assert_true(drv_status(&b.r) & VIRTIO_STATUS_NEEDS_RESET);
    rig_fini(&b.r);
}

static void rings_in_bad_places_break_the_device(void **s)
{
    enum { NOWHERE = 0x20000000, FINE = 0x8000 };
    static const struct {
        unsigned size;
        uint64_t desc, avail, used;
    } bad[] = {
        {0, FINE, FINE, FINE},        {3, FINE, FINE, FINE},         {32, FINE, FINE, FINE},
        {0x10008, FINE, FINE, FINE},  {8, FINE + 8, FINE, FINE},     {8, FINE, FINE + 1, FINE},
        {8, FINE, FINE, FINE + 2},    {8, -16ull, FINE, FINE},       {8, FINE, -2ull, FINE},
        {8, FINE, FINE, -4ull},       {8, NOWHERE, FINE, FINE},      {8, FINE, NOWHERE, FINE},
        {8, FINE, FINE, NOWHERE},     {8, FINE, FINE, RIG_ROM},      {8, FINE, RIG_RAM - 4, FINE},
        {8, FINE, FINE, RIG_RAM - 8}, {8, RIG_RAM - 16, FINE, FINE}, {8, FINE, FINE, RIG_MMIO},
    };
    (void)s;
    EACH_BED (b, t, 0) {
        for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
            assert_true(drv_negotiate(&b.r, BASE));
            if (t != RIG_OVER_MMIO && bad[i].size > 0xffff) /* a register of 16 bits there */
                continue;
            mem_fill(b.r.mem, FINE, 0, 64);
            ring_put16(&b.g, FINE + 2, 1); /* avail.idx */
            ring_put16(&b.g, RIG_RAM - 2, 1);
            ring_put16(&b.g, FINE + 4, 7); /* the head, within the descriptors as they look there, or not */
            drv_queue_setup(&b.r, 1, bad[i].size, bad[i].desc, bad[i].avail, bad[i].used);
            drv_ok(&b.r);
            drv_kick(&b.r, 1);
            if (!(drv_status(&b.r) & VIRTIO_STATUS_NEEDS_RESET))
                fail_msg("bad ring %u was accepted", i);
        }
        start_again(&b, 0);
        echoes(&b, "as new", 1);
    }
}

/* ---- resets ---- */

static void a_reset_in_flight_forgets_the_chain_and_ends_when_it_comes_back(void **s)
{
    (void)s;
    EACH_BED (b, t, 0) {
        b.e->hold = true;
        memcpy(rig_at(&b.r, b.out), "old", 3);
        ask(&b, 3, 3);
        assert_true(b.e->held);
        drv_set_status(&b.r, 0);
        if (t != RIG_OVER_MMIO)
            assert_int_not_equal(drv_status(&b.r), 0); /* "wait": an old request may still write */
        echo_release(b.e, 1);
        assert_int_equal(drv_status(&b.r), 0);
        assert_false(answered(&b));
        assert_memory_not_equal(rig_at(&b.r, b.in), "old", 3);
        start_again(&b, 0);
        echoes(&b, "new", 1);
    }
}

static void a_chain_of_before_a_restart_does_not_answer_the_new_driver(void **s)
{
    (void)s;
    EACH_BED (b, t, 0) {
        b.e->hold = true;
        ask(&b, 0, 3);
        drv_set_status(&b.r, 0);
        drv_set_status(&b.r, 1);
        drv_set_status(&b.r, 3);
        drv_accept(&b.r, BASE);
        drv_set_status(&b.r, 11);
        ring_init(&b.g, &b.r, 1, 16);
        drv_ok(&b.r);
        echo_release(b.e, 1);
        assert_false(answered(&b));
        echoes(&b, "new", 1);
    }
}

static void one_queue_is_reset_and_enabled_anew(void **s)
{
    (void)s;
    EACH_BED (b, t, EVENT_IDX) {
        echoes(&b, "before", 1);
        b.e->hold = true;
        ask(&b, 0, 3);
        drv_queue_reset(&b.r, 1);
        assert_false(drv_queue_enabled(&b.r, 1));
        assert_true(drv_queue_resetting(&b.r, 1));
        echo_release(b.e, 1);
        assert_false(drv_queue_resetting(&b.r, 1));
        assert_false(answered(&b));
        ring_init(&b.g, &b.r, 1, 8); /* of another size */
        echoes(&b, "after", 1);
        assert_int_equal(drv_status(&b.r), 15);
    }
}

static void a_paused_device_serves_when_resumed(void **s)
{
    (void)s;
    EACH_BED (b, t, EVENT_IDX) {
        device_pause(b.r.dev);
        ask(&b, 0, 3);
        assert_false(answered(&b));
        device_resume(b.r.dev);
        assert_true(answered(&b));
    }
}

static void written_pages_are_marked_dirty(void **s)
{
    struct bed b;
    (void)s;
    open_bed(&b, RIG_PCI, 0);
    struct ram *ram = mem_find(mem_view(b.r.mem), 0)->region->ram;
    memset(ram->notes, 0, ram->size / MEM_PAGE);
    ring_add(&b.g, (const struct ring_buf[]){{b.out, 64, false}, {b.in, 64, true}}, 2);
    memset(ram->notes, 0, ram->size / MEM_PAGE);
    ring_kick(&b.g);
    assert_true(ram->notes[b.in / MEM_PAGE] & PAGE_DIRTY);
    assert_true(ram->notes[b.g.used / MEM_PAGE] & PAGE_DIRTY);
    assert_false(ram->notes[b.out / MEM_PAGE] & PAGE_DIRTY);
    rig_fini(&b.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_are_answered_direct_and_indirect),
        cmocka_unit_test(indices_wrap_at_65536),
        cmocka_unit_test(an_indirect_table_may_end_a_direct_chain),
        cmocka_unit_test(event_index_says_when_to_interrupt_and_to_kick),
        cmocka_unit_test(no_interrupt_flag_is_honoured_without_event_index),
        cmocka_unit_test(kicks_before_driver_ok_are_served_at_driver_ok),
        cmocka_unit_test(malformed_rings_break_the_device_until_reset),
        cmocka_unit_test(an_indirect_descriptor_must_be_negotiated),
        cmocka_unit_test(rings_in_bad_places_break_the_device),
        cmocka_unit_test(a_reset_in_flight_forgets_the_chain_and_ends_when_it_comes_back),
        cmocka_unit_test(a_chain_of_before_a_restart_does_not_answer_the_new_driver),
        cmocka_unit_test(one_queue_is_reset_and_enabled_anew),
        cmocka_unit_test(a_paused_device_serves_when_resumed),
        cmocka_unit_test(written_pages_are_marked_dirty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
