/* virtio-blk over a disk in memory. */
#include "device/virtio/test/unit.h"
#include "device/virtio/blk.h"
#include "device/virtio/test/fakes.h"

enum { T_IN, T_OUT, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };
#define F_RO      (1ull << 5)
#define F_FLUSH   (1ull << 9)
#define F_WCE     (1ull << 11)
#define F_MQ      (1ull << 12)
#define F_DISCARD (1ull << 13)
#define F_ZEROES  (1ull << 14)
#define USUAL     (BASE | EVENT_IDX | F_FLUSH | F_DISCARD | F_ZEROES)

struct bed {
    struct rig r;
    struct fake_disk disk;
    struct ring g;
    uint64_t head, data, status;
};

static void restart(struct bed *b, uint64_t features)
{
    assert_true(drv_negotiate(&b->r, features));
    ring_init(&b->g, &b->r, 0, 256);
    drv_ok(&b->r);
}

static struct bed *open_bed(enum rig_transport t, uint64_t features)
{
    struct bed *b = calloc(1, sizeof(*b));
    const struct virtio_blk_config cfg = {.queues = 2, .queue_size = 512};
    rig_init(&b->r, t);
    fake_disk_init(&b->disk);
    rig_plug(&b->r, virtio_blk_new(&cfg, &b->disk.disk, b->r.loop, b->r.mem, NULL));
    b->head = rig_alloc(&b->r, 4096, 4096);
    b->data = rig_alloc(&b->r, 65536, 4096);
    b->status = rig_alloc(&b->r, 4096, 4096);
    restart(b, features);
    return b;
}

static void close_bed(struct bed *b)
{
    rig_fini(&b->r);
    free(b);
}

/* Offer request `slot` (they may be in flight together): `len` bytes at data + 4096 * slot, in `parts`. */
static void offer(struct bed *b, unsigned slot, uint32_t type, uint64_t sector, uint32_t len, unsigned parts)
{
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } h = {type, 0, sector};
    struct ring_buf buf[20] = {{b->head + 16 * slot, 16, false}};
    bool write = type == T_IN || type == T_GET_ID;
    unsigned n = 1;
    memcpy(rig_at(&b->r, b->head + 16 * slot), &h, 16);
    *(uint8_t *)rig_at(&b->r, b->status + slot) = 0xee;
    for (unsigned i = 0; len && i < parts; i++)
        buf[n++] = (struct ring_buf){b->data + 4096 * slot + len / parts * i,
                                     i + 1 < parts ? len / parts : len - len / parts * i, write};
    buf[n++] = (struct ring_buf){b->status + slot, 1, true};
    ring_add(&b->g, buf, n);
}

static unsigned result(struct bed *b, unsigned slot)
{
    return *(uint8_t *)rig_at(&b->r, b->status + slot);
}

/* The whole of one request; returns its status. */
static unsigned request(struct bed *b, uint32_t type, uint64_t sector, uint32_t len)
{
    uint32_t id, used;
    offer(b, 0, type, sector, len, 1);
    ring_kick(&b->g);
    while (b->disk.count)
        fake_disk_complete(&b->disk, 0);
    assert_true(ring_take(&b->g, &id, &used));
    unsigned status = result(b, 0);
    assert_int_not_equal(status, 0xee);
    if (!status)
        assert_int_equal(used, (type == T_IN || type == T_GET_ID ? len : 0) + 1);
    return status;
}

static void what_is_written_is_read_back(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, USUAL);
        for (unsigned i = 0; i < 8; i++) {
            b->g.indirect = i & 1;
            memset(rig_at(&b->r, b->data), 'a' + (int)i, 4096);
            assert_int_equal(request(b, T_OUT, 8 * i, 4096), 0);
        }
        assert_true(drv_interrupted(&b->r, 0));
        for (unsigned i = 0; i < 8; i++) {
            assert_int_equal(request(b, T_IN, 8 * i, 4096), 0);
            assert_int_equal(*(char *)rig_at(&b->r, b->data + 4095), 'a' + i);
            assert_int_equal(b->disk.data[4096 * i + 4095], 'a' + i);
        }
        close_bed(b);
    }
}

static void buffers_may_be_cut_anywhere(void **s)
{
    struct bed *b = open_bed(RIG_PCI, USUAL);
    uint32_t id, len;
    (void)s;
    b->g.indirect = true;
    for (unsigned i = 0; i < 4096; i++)
        ((uint8_t *)rig_at(&b->r, b->data))[i] = (uint8_t)(i * 7);
    offer(b, 0, T_OUT, 3, 4096, 13);
    ring_kick(&b->g);
    fake_disk_complete(&b->disk, 0);
    assert_true(ring_take(&b->g, &id, &len));
    assert_memory_equal(b->disk.data + 3 * 512, rig_at(&b->r, b->data), 4096);
    /* header in two, its second half with the data; status at the end of the data's buffer */
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } h = {T_IN, 0, 3};
    memcpy(rig_at(&b->r, b->head), &h, 16);
    ring_add(
        &b->g,
        (const struct ring_buf[]){{b->head, 5, false}, {b->head + 5, 11, false}, {b->data + 8192, 513, true}},
        3);
    ring_kick(&b->g);
    fake_disk_complete(&b->disk, 0);
    assert_true(ring_take(&b->g, &id, &len));
    assert_int_equal(len, 513);
    assert_memory_equal(rig_at(&b->r, b->data + 8192), b->disk.data + 3 * 512, 512);
    assert_int_equal(*(uint8_t *)rig_at(&b->r, b->data + 8192 + 512), 0);
    close_bed(b);
    (void)s;
}

static void configuration_describes_the_disk(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, USUAL);
        assert_int_equal(drv_config(&b->r, 0, 4), FAKE_DISK_SIZE / 512);
        assert_int_equal(drv_config(&b->r, 12, 4), 254);
        assert_int_equal(drv_config(&b->r, 20, 4), 512);
        assert_int_equal(drv_config(&b->r, 24, 1), 3); /* 4096 physical */
        assert_int_equal(drv_config(&b->r, 32, 1), 1);
        assert_int_equal(drv_config(&b->r, 34, 2), 2);
        assert_true(drv_config(&b->r, 36, 4) > 0);
        assert_int_equal(drv_config(&b->r, 44, 4), 8);
        assert_int_equal(drv_config(&b->r, 56, 1), 1);
        assert_int_equal(drv_config(&b->r, 60, 4), 0);
        b->disk.info.size /= 2;
        virtio_blk_resized(b->r.vd);
        assert_true(drv_config_interrupted(&b->r));
        assert_int_equal(drv_config(&b->r, 0, 4), FAKE_DISK_SIZE / 1024);
        assert_int_equal(request(b, T_IN, FAKE_DISK_SIZE / 1024, 512), 1);
        close_bed(b);
    }
}

static void id_flush_discard_and_zeroes_work(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, USUAL);
        assert_int_equal(request(b, T_GET_ID, 0, 20), 0);
        assert_string_equal(rig_at(&b->r, b->data), "fake-disk");
        assert_int_equal(request(b, T_FLUSH, 0, 0), 0);
        assert_int_equal(b->disk.flushes, 1);
        memset(b->disk.data, 0x55, FAKE_DISK_SIZE);
        struct {
            uint64_t sector;
            uint32_t n, flags;
        } seg[2] = {{1, 2, 0}, {8, 4, 0}};
        memcpy(rig_at(&b->r, b->data), seg, sizeof(seg));
        assert_int_equal(request(b, T_DISCARD, 0, 32), 0);
        assert_int_equal(b->disk.data[511], 0x55);
        assert_int_equal(b->disk.data[512], 0);
        assert_int_equal(b->disk.data[3 * 512], 0x55);
        assert_int_equal(b->disk.data[8 * 512], 0);
        seg[0].sector = 100;
        seg[0].flags = 1;
        memcpy(rig_at(&b->r, b->data), seg, 16);
        assert_int_equal(request(b, T_ZEROES, 0, 16), 0);
        assert_int_equal(b->disk.data[100 * 512], 0);
        assert_int_equal(request(b, T_DISCARD, 0, 16), 2); /* "unmap" is not for discard */
        seg[0].flags = 2;
        memcpy(rig_at(&b->r, b->data), seg, 16);
        assert_int_equal(request(b, T_ZEROES, 0, 16), 2);
        seg[0].flags = 0;
        seg[0].n = 0xffffffff;
        memcpy(rig_at(&b->r, b->data), seg, 16);
        assert_int_equal(request(b, T_ZEROES, 0, 16), 1);
        assert_int_equal(request(b, T_DISCARD, 0, 16), 1);
        assert_int_equal(request(b, T_DISCARD, 0, 8), 1);
        assert_int_equal(request(b, T_DISCARD, 0, 4096), 1); /* more segments than the limit */
        assert_int_equal(request(b, 77, 0, 0), 2);
        close_bed(b);
    }
}

static void requests_out_of_bounds_get_an_error(void **s)
{
    struct bed *b = open_bed(RIG_PCI, USUAL);
    (void)s;
    assert_int_equal(request(b, T_IN, FAKE_DISK_SIZE / 512, 512), 1);
    assert_int_equal(request(b, T_OUT, FAKE_DISK_SIZE / 512 - 1, 1024), 1);
    assert_int_equal(request(b, T_IN, 0x7fffffffffffffffull, 512), 1);
    assert_int_equal(request(b, T_IN, 0xffffffffffffffffull, 512), 1);
    assert_int_equal(request(b, T_IN, 0, 100), 1);
    assert_int_equal(request(b, T_IN, FAKE_DISK_SIZE / 512 - 1, 512), 0);
    b->disk.fail = -EIO;
    assert_int_equal(request(b, T_IN, 0, 512), 1);
    b->disk.fail = -EOPNOTSUPP;
    assert_int_equal(request(b, T_FLUSH, 0, 0), 2);
    close_bed(b);
}

static void a_readonly_disk_refuses_writes(void **s)
{
    struct bed *b = calloc(1, sizeof(*b));
    const struct virtio_blk_config cfg = {.queues = 1};
    (void)s;
    rig_init(&b->r, RIG_PCI);
    fake_disk_init(&b->disk);
    b->disk.info.readonly = true;
    b->disk.info.discard = b->disk.info.write_zeroes = false;
    rig_plug(&b->r, virtio_blk_new(&cfg, &b->disk.disk, b->r.loop, b->r.mem, NULL));
    assert_int_equal(drv_offered(&b->r) & (F_RO | F_MQ | F_DISCARD | F_ZEROES), F_RO);
    b->head = rig_alloc(&b->r, 4096, 4096);
    b->data = rig_alloc(&b->r, 65536, 4096);
    b->status = rig_alloc(&b->r, 4096, 4096);
    restart(b, BASE | F_RO | F_FLUSH);
    assert_int_equal(request(b, T_OUT, 0, 512), 1);
    assert_int_equal(request(b, T_IN, 0, 512), 0);
    assert_int_equal(request(b, T_DISCARD, 0, 16), 2);
    close_bed(b);
}

static void a_write_is_flushed_when_the_cache_is_off(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, USUAL | F_WCE);
        assert_int_equal(request(b, T_OUT, 0, 512), 0);
        assert_int_equal(b->disk.flushes, 0);
        drv_config_set(&b->r, 32, 1, 0);
        assert_int_equal(drv_config(&b->r, 32, 1), 0);
        assert_int_equal(request(b, T_OUT, 0, 512), 0);
        assert_int_equal(b->disk.flushes, 1);
        restart(b, BASE); /* a driver that cannot flush expects it too */
        assert_int_equal(drv_config(&b->r, 32, 1), 1);
        assert_int_equal(request(b, T_OUT, 0, 512), 0);
        assert_int_equal(b->disk.flushes, 2);
        close_bed(b);
    }
}

static void requests_complete_in_any_order(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, USUAL);
        uint32_t id, len;
        for (unsigned i = 0; i < 6; i++)
            offer(b, i, T_IN, i, 512, 1);
        ring_kick(&b->g);
        assert_int_equal(b->disk.count, 6);
        assert_false(ring_take(&b->g, &id, &len));
        while (b->disk.count) {
            fake_disk_complete(&b->disk, b->disk.count / 2);
            assert_true(ring_take(&b->g, &id, &len));
        }
        for (unsigned i = 0; i < 6; i++)
            assert_int_equal(result(b, i), 0);
        close_bed(b);
    }
}

static void requests_in_flight_are_bounded_and_go_on_when_some_end(void **s)
{
    struct bed *b = open_bed(RIG_PCI, USUAL | F_MQ);
    struct ring second = {0};
    uint32_t id, len, done = 0;
    (void)s;
    struct ring *ring[] = {&b->g, &second};
    assert_true(drv_negotiate(&b->r, USUAL | F_MQ));
    for (unsigned i = 0; i < 2; i++)
        ring_init(ring[i], &b->r, i, 512);
    drv_ok(&b->r);
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } h = {T_FLUSH, 0, 0};
    memcpy(rig_at(&b->r, b->head), &h, 16);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t table = rig_alloc(&b->r, 32, 16);
        ring_desc(ring[i], table, 0, b->head, 16, VIRTQ_DESC_F_NEXT, 1);
        ring_desc(ring[i], table, 1, b->status, 1, VIRTQ_DESC_F_WRITE, 0);
        for (unsigned n = 0; n < 512; n++) {
            ring_desc(ring[i], ring[i]->desc, n, table, 32, VIRTQ_DESC_F_INDIRECT, 0);
            ring_offer(ring[i], (uint16_t)n);
        }
        ring_kick(ring[i]);
    }
    assert_int_equal(b->disk.most, 512);
    while (b->disk.count)
        fake_disk_complete(&b->disk, 0);
    for (unsigned i = 0; i < 2; i++)
        while (ring_take(ring[i], &id, &len))
            done++;
    assert_int_equal(done, 1024);
    assert_true(drv_interrupted(&b->r, 1));
    close_bed(b);
}

static void a_reset_in_flight_ends_when_the_disk_is_done(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, USUAL);
        uint32_t id, len;
        for (unsigned i = 0; i < 3; i++)
            offer(b, i, i == 1 ? T_OUT : T_IN, i, 512, 1);
        ring_kick(&b->g);
        struct ring old = b->g;
        drv_set_status(&b->r, 0);
        if (t != RIG_OVER_MMIO)
            assert_int_not_equal(drv_status(&b->r), 0);
        fake_disk_complete(&b->disk, 2);
        fake_disk_complete(&b->disk, 0);
        if (t != RIG_OVER_MMIO)
            assert_int_not_equal(drv_status(&b->r), 0);
        fake_disk_complete(&b->disk, 0);
        assert_int_equal(drv_status(&b->r), 0);
        assert_false(ring_take(&old, &id, &len));
        assert_int_equal(result(b, 0), 0xee);
        restart(b, USUAL);
        assert_int_equal(request(b, T_IN, 0, 512), 0);
        close_bed(b);
    }
}

static void pause_drains_what_is_in_flight_and_takes_nothing_new(void **s)
{
    struct bed *b = open_bed(RIG_PCI, USUAL);
    uint32_t id, len;
    (void)s;
    offer(b, 0, T_OUT, 0, 512, 1);
    ring_kick(&b->g);
    device_pause(b->r.dev);
    assert_int_equal(b->disk.count, 0);
    assert_true(ring_take(&b->g, &id, &len));
    offer(b, 1, T_IN, 0, 512, 1);
    ring_kick(&b->g);
    assert_int_equal(b->disk.count, 0);
    device_resume(b->r.dev);
    assert_int_equal(b->disk.count, 1);
    close_bed(b); /* with one in flight */
}

static void a_request_without_header_or_status_breaks_the_device(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t, USUAL);
        const struct ring_buf wrong[][2] = {
            {{b->head, 15, false}, {b->status, 1, true}},
            {{b->head, 16, false}, {b->data, 512, false}},
            {{b->data, 512, true}, {b->status, 1, true}},
        };
        for (unsigned i = 0; i < 3; i++) {
            restart(b, USUAL);
            ring_add(&b->g, wrong[i], 2);
            ring_kick(&b->g);
            assert_true(drv_status(&b->r) & VIRTIO_STATUS_NEEDS_RESET);
            drv_set_status(&b->r, 0);
            assert_int_equal(drv_status(&b->r), 0);
        }
        restart(b, USUAL);
        assert_int_equal(request(b, T_OUT, 0, 512), 0);
        close_bed(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(buffers_may_be_cut_anywhere),
        cmocka_unit_test(configuration_describes_the_disk),
        cmocka_unit_test(id_flush_discard_and_zeroes_work),
        cmocka_unit_test(requests_out_of_bounds_get_an_error),
        cmocka_unit_test(a_readonly_disk_refuses_writes),
        cmocka_unit_test(a_write_is_flushed_when_the_cache_is_off),
        cmocka_unit_test(requests_complete_in_any_order),
        cmocka_unit_test(requests_in_flight_are_bounded_and_go_on_when_some_end),
        cmocka_unit_test(a_reset_in_flight_ends_when_the_disk_is_done),
        cmocka_unit_test(pause_drains_what_is_in_flight_and_takes_nothing_new),
        cmocka_unit_test(a_request_without_header_or_status_breaks_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
