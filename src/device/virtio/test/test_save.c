/* Save, load, compare, go on: every device over every transport; and states that no device of ours wrote. */
#include "device/virtio/test/unit.h"
#include <unistd.h>
#include "device/virtio/blk.h"
#include "device/virtio/console.h"
#include "device/virtio/net.h"
#include "device/virtio/rng.h"
#include "device/virtio/test/fakes.h"
#include "host/host.h"

enum kind { BLK, NET, CONSOLE, RNG, KINDS };

struct bed {
    struct rig r;
    struct fake_disk disk;
    struct fake_net net;
    struct fake_chr chr;
    struct ring ring[3];
    uint64_t buf;
};

static struct virtio_dev *make(struct bed *b, enum kind k)
{
    switch (k) {
    case BLK:
        return virtio_blk_new(&(struct virtio_blk_config){.queues = 2}, &b->disk.disk, b->r.loop, b->r.mem,
                              NULL);
    case NET:
        return virtio_net_new(&(struct virtio_net_config){.mac = {2, 0, 0, 0, 0, 1}}, &b->net.net, b->r.loop,
                              b->r.mem, NULL);
    case CONSOLE:
        return virtio_console_new(&(struct virtio_console_config){0}, &b->chr.chr, b->r.loop, b->r.mem, NULL);
    default:
        return virtio_rng_new(&(struct virtio_rng_config){0}, b->r.loop, b->r.mem, NULL);
    }
}

static struct bed *open_bed(enum rig_transport t, enum kind k)
{
    struct bed *b = calloc(1, sizeof(*b));
    rig_init(&b->r, t);
    fake_disk_init(&b->disk);
    fake_net_init(&b->net);
    fake_chr_init(&b->chr);
    rig_plug(&b->r, make(b, k));
    return b;
}

static void close_bed(struct bed *b)
{
    rig_fini(&b->r);
    free(b);
}

static void start(struct bed *b)
{
    assert_true(drv_negotiate(&b->r, drv_offered(&b->r)));
    for (unsigned i = 0; i < b->r.vd->queues; i++)
        ring_init(&b->ring[i], &b->r, i, 64);
    b->buf = rig_alloc(&b->r, 65536, 4096);
    drv_ok(&b->r);
    rig_turn(&b->r);
}

/* One unit of the device's work; returns whether it was answered. */
static bool work(struct bed *b, enum kind k)
{
    static const uint32_t get_id[4] = {8};
    uint8_t frame[100] = {2, 0, 0, 0, 0, 1};
    struct ring *g = &b->ring[k == BLK || k == RNG ? 0 : 1];
    uint32_t id, len;
    memcpy(rig_at(&b->r, b->buf), k == NET ? (const void *)"\0\0\0\0\0\0\0\0\0\0\0" : (const void *)get_id,
           k == NET ? 12 : 16);
    memcpy(rig_at(&b->r, b->buf + 16), frame, sizeof(frame));
    switch (k) {
    case BLK:
        ring_add(g, (const struct ring_buf[]){{b->buf, 16, false}, {b->buf + 4096, 21, true}}, 2);
        break;
    case NET:
        ring_add(g, (const struct ring_buf[]){{b->buf, 12, false}, {b->buf + 16, 100, false}}, 2);
        break;
    case CONSOLE:
        ring_add(g, &(struct ring_buf){b->buf, 16, false}, 1);
        break;
    default:
        ring_add(g, &(struct ring_buf){b->buf, 16, true}, 1);
    }
    ring_kick(g);
    if (!b->r.vd->paused)
        rig_turn(&b->r);
    return ring_take(g, &id, &len);
}

static size_t save(struct rig *r, void **data)
{
    struct saved s[RIG_SAVED];
    struct err e;
    struct state_writer *w = state_writer_new("rig", &e);
    unsigned n = device_saved(r->dev, s, RIG_SAVED);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(state_write(w, &s[i]), 0);
    n = device_saved(pci_root_device(r->root), s, RIG_SAVED);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(state_write(w, &s[i]), 0);
    FILE *file = tmpfile();
    assert_non_null(file);
    int fd = fileno(file);
    assert_int_equal(state_finish(w, fd, &e), 0);
    off_t size = lseek(fd, 0, SEEK_END);
    *data = malloc((size_t)size);
    assert_int_equal(host_pread_full(fd, *data, (size_t)size, 0), 0);
    fclose(file);
    return (size_t)size;
}

static int load(struct rig *r, const void *data, size_t size, struct err *e)
{
    struct saved s[RIG_SAVED];
    struct state_reader *in = state_reader_new(data, size, e);
    assert_non_null(in);
    unsigned n = device_saved(r->dev, s, RIG_SAVED);
    int rc = 0;
    for (unsigned i = 0; i < n && !rc; i++)
        rc = state_read(in, &s[i], e);
    n = device_saved(pci_root_device(r->root), s, RIG_SAVED);
    for (unsigned i = 0; i < n && !rc; i++)
        rc = state_read(in, &s[i], e);
    if (!rc)
        rc = state_reader_done(in, e);
    if (!rc)
        rc = device_loaded(r->dev, e);
    state_reader_free(in);
    return rc;
}

static void every_device_goes_on_where_it_was_saved(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        for (enum kind k = 0; k < KINDS; k++) {
            struct bed *a = open_bed(t, k), *b = open_bed(t, k);
            struct saved sa[RIG_SAVED], sb[RIG_SAVED];
            struct err e;
            void *data;
            start(a);
            for (unsigned i = 0; i < 10; i++)
                assert_true(work(a, k));
            if (t != RIG_OVER_MMIO) /* where the guest moved it */
                pci_config_write(a->r.root, RIG_SLOT, 0, 0x10, 4, (uint32_t)(a->r.bar += 0x100000));
            mem_reader_quiesce(a->r.reader);
            device_pause(a->r.dev);
            assert_false(work(a, k)); /* waits in the ring */
            size_t size = save(&a->r, &data);

            device_pause(b->r.dev);
            memcpy(rig_at(&b->r, 0), rig_at(&a->r, 0), RIG_RAM);
            if (load(&b->r, data, size, &e))
                fail_msg("%s", e.msg);
            mem_reader_quiesce(b->r.reader);
            unsigned n = device_saved(a->r.dev, sa, RIG_SAVED);
            assert_int_equal(device_saved(b->r.dev, sb, RIG_SAVED), n);
            for (unsigned i = 0; i < n; i++) {
                assert_null(state_differs(sa[i].table, sa[i].obj, sb[i].obj));
                assert_int_equal(sa[i].instance, sb[i].instance);
            }
            assert_int_equal(a->r.level, b->r.level);
            for (unsigned v = 0; v < RIG_VECTORS; v++)
                assert_int_equal(b->r.msi[v], 0); /* loading raises nothing */

            for (unsigned i = 0; i < 3; i++) {
                b->ring[i] = a->ring[i];
                b->ring[i].rig = &b->r;
            }
            b->r.next = a->r.next;
            b->r.bar = a->r.bar;
            b->buf = a->buf;
            uint32_t id, len;
            device_resume(b->r.dev);
            rig_turn(&b->r);
            assert_true(ring_take(&b->ring[k == BLK || k == RNG ? 0 : 1], &id, &len));
            for (unsigned i = 0; i < 10; i++)
                assert_true(work(b, k));
            free(data);
            close_bed(a);
            close_bed(b);
        }
    }
}

static void a_pending_masked_interrupt_is_sent_after_load(void **s)
{
    struct bed *a = open_bed(RIG_PCI, RNG), *b = open_bed(RIG_PCI, RNG);
    struct err e;
    void *data;
    (void)s;
    start(a);
    mem_mmio_write(a->r.mem, a->r.bar + VIRTIO_PCI_MSIX_TABLE + 16 + 12, 4, 1);
    work(a, RNG);
    assert_false(drv_interrupted(&a->r, 0));
    device_pause(a->r.dev);
    size_t size = save(&a->r, &data);
    assert_int_equal(load(&b->r, data, size, &e), 0);
    assert_int_equal(mem_mmio_read(b->r.mem, b->r.bar + VIRTIO_PCI_MSIX_PBA, 8), 2);
    mem_mmio_write(b->r.mem, b->r.bar + VIRTIO_PCI_MSIX_TABLE + 16 + 12, 4, 0);
    assert_true(drv_interrupted(&b->r, 0));
    free(data);
    close_bed(a);
    close_bed(b);
}

/* Spoil a saved device in one way each, and see its state refused. */
static void spoil_features(struct rig *r)
{
    r->vd->features |= 1ull << 60;
}

static void spoil_status(struct rig *r)
{
    r->vd->status = 7;
}

static void spoil_queue_size(struct rig *r)
{
    r->vd->vq[0].size = 1000;
}

static void spoil_queue_size_above_max(struct rig *r)
{
    r->vd->vq[0].size = 1024;
}

static void spoil_ring_address(struct rig *r)
{
    r->vd->vq[0].desc |= 1;
}

static void spoil_queue_count(struct rig *r)
{
    r->vd->vq[15].enabled = true;
}

static void spoil_identity(struct rig *r)
{
    struct pci_function *f = (struct pci_function *)r->dev;
    f->config[2] ^= 1;
}

static void spoil_capability(struct rig *r)
{
    struct pci_function *f = (struct pci_function *)r->dev;
    f->config[f->msix_cap + 2] ^= 1;
}

static void spoil_mask(struct rig *r)
{
    struct pci_function *f = (struct pci_function *)r->dev;
    f->msix_control[0] = 2;
}

static void states_that_do_not_fit_are_refused(void **s)
{
    static void (*const spoil[])(struct rig *) = {
        spoil_features,     spoil_status,      spoil_queue_size, spoil_queue_size_above_max,
        spoil_ring_address, spoil_queue_count, spoil_identity,   spoil_capability,
        spoil_mask};
    (void)s;
    for (unsigned i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
        struct bed *a = open_bed(RIG_PCI, BLK), *b = open_bed(RIG_PCI, BLK);
        struct err e = {0};
        void *data;
        start(a);
        device_pause(a->r.dev);
        spoil[i](&a->r);
        size_t size = save(&a->r, &data);
        if (!load(&b->r, data, size, &e))
            fail_msg("spoilt state %u was loaded", i);
        assert_true(e.msg[0]);
        free(data);
        close_bed(a);
        close_bed(b);
    }
}

static void wild_ring_positions_do_no_harm(void **s)
{
    struct bed *a = open_bed(RIG_PCI, BLK), *b = open_bed(RIG_PCI, BLK);
    struct err e;
    void *data;
    (void)s;
    start(a);
    device_pause(a->r.dev);
    a->r.vd->vq[0].last_avail = 0x1234;
    a->r.vd->vq[0].used_idx = 0xfff0;
    a->r.vd->vq[0].vector = 0x700;
    a->r.vd->vq[1].used = 0x7ffffffffffffff0;
    size_t size = save(&a->r, &data);
    assert_int_equal(load(&b->r, data, size, &e), 0);
    mem_reader_quiesce(b->r.reader);
    assert_int_equal(b->r.vd->vq[0].vector, 0xffff);
    device_resume(b->r.dev);
    drv_kick(&b->r, 0);
    drv_kick(&b->r, 1);
    assert_true(drv_status(&b->r) & VIRTIO_STATUS_NEEDS_RESET);
    free(data);
    close_bed(a);
    close_bed(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_device_goes_on_where_it_was_saved),
        cmocka_unit_test(a_pending_masked_interrupt_is_sent_after_load),
        cmocka_unit_test(states_that_do_not_fit_are_refused),
        cmocka_unit_test(wild_ring_positions_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
