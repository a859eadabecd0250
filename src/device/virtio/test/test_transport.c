/* What a driver meets before its first buffer: identity, features, status, configuration, interrupts, by
 * either transport. */
#include "device/virtio/test/unit.h"
#include "device/virtio/test/echo.h"

static struct echo *open_rig(struct rig *r, enum rig_transport t)
{
    rig_init(r, t);
    struct echo *e = echo_new(r->mem);
    for (unsigned i = 0; i < 8; i++)
        e->config[i] = (uint8_t)(0x11 * (i + 1));
    rig_plug(r, &e->vd);
    return e;
}

static void change_config(struct echo *e)
{
    lock_take(e->vd.lock);
    virtio_config_changed(&e->vd);
    lock_drop(e->vd.lock);
}

static uint32_t pci_cfg(struct rig *r, unsigned off, unsigned size)
{
    return pci_config_read(r->root, RIG_SLOT, 0, off, size);
}

static void a_pci_function_says_what_it_is(void **s)
{
    struct rig r;
    (void)s;
    open_rig(&r, RIG_PCI);
    assert_int_equal(pci_cfg(&r, 0, 4), (0x1040 + 42) << 16 | 0x1af4);
    assert_true(pci_cfg(&r, 8, 1) >= 1);
    assert_int_equal(pci_cfg(&r, 0x2c, 2), 0x1af4);
    assert_true(pci_cfg(&r, 0x2e, 2) >= 0x40);
    assert_int_equal(pci_cfg(&r, 0x3d, 1), 1);
    assert_true(pci_cfg(&r, 6, 2) & 0x10);
    unsigned seen = 0, at = pci_cfg(&r, 0x34, 1), hops = 0;
    for (; at && hops++ < 20; at = pci_cfg(&r, at + 1, 1)) {
        assert_int_equal(at & 3, 0);
        if (pci_cfg(&r, at, 1) == 0x11) {
            seen |= 1;
            assert_int_equal(pci_cfg(&r, at + 2, 2) & 0x7ff, ECHO_QUEUES);
        } else if (pci_cfg(&r, at, 1) == 9) {
            unsigned type = pci_cfg(&r, at + 3, 1);
            seen |= 1u << type;
            assert_int_equal(pci_cfg(&r, at + 2, 1), type == 2 || type == 5 ? 20 : 16);
            if (type != 5)
                assert_true(pci_cfg(&r, at + 8, 4) + pci_cfg(&r, at + 12, 4) <= VIRTIO_PCI_BAR_SIZE);
            if (type == 1)
                assert_true(pci_cfg(&r, at + 12, 4) >= 0x3c);
        }
    }
    assert_int_equal(seen, 0x3f); /* MSI-X and the five types of virtio */
    rig_fini(&r);
}

static void an_mmio_device_says_what_it_is(void **s)
{
    struct rig r;
    (void)s;
    open_rig(&r, RIG_OVER_MMIO);
    assert_int_equal(mem_mmio_read(r.mem, RIG_MMIO, 4), 0x74726976);
    assert_int_equal(mem_mmio_read(r.mem, RIG_MMIO + 4, 4), 2);
    assert_int_equal(mem_mmio_read(r.mem, RIG_MMIO + 8, 4), 42);
    assert_int_equal(mem_mmio_read(r.mem, RIG_MMIO + 0xb0, 4), UINT32_MAX); /* no shared memory */
    assert_int_equal(mem_mmio_read(r.mem, RIG_MMIO, 1), 0);                 /* registers have 32 bits */
    rig_fini(&r);
}

static void features_are_settled_once_and_only_those_offered(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        struct echo *e = open_rig(&r, t);
        uint64_t offered = drv_offered(&r);
        assert_int_equal(offered, BASE | EVENT_IDX | 1 << 5);
        assert_false(drv_negotiate(&r, offered | 1 << 6));                        /* not offered */
        assert_false(drv_negotiate(&r, offered & ~(1ull << VIRTIO_F_VERSION_1))); /* a legacy driver */
        assert_false(drv_negotiate(&r, 0));
        assert_true(drv_negotiate(&r, BASE));
        drv_accept(&r, offered); /* too late */
        assert_int_equal(e->vd.features, BASE);
        rig_fini(&r);
    }
}

static void driver_ok_without_features_breaks_the_device(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        struct echo *e = open_rig(&r, t);
        drv_negotiate(&r, 0);
        drv_ok(&r);
        assert_true(drv_status(&r) & VIRTIO_STATUS_NEEDS_RESET);
        assert_int_equal(e->starts, 0);
        assert_true(drv_negotiate(&r, BASE));
        drv_ok(&r);
        assert_int_equal(e->starts, 1);
        drv_ok(&r);
        assert_int_equal(e->starts, 1);
        rig_fini(&r);
    }
}

static void status_bits_stay_until_reset(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        open_rig(&r, t);
        assert_int_equal(drv_status(&r), 0);
        drv_set_status(&r, 1);
        drv_set_status(&r, 2); /* forgets to write 3 */
        assert_int_equal(drv_status(&r), 3);
        drv_set_status(&r, 64 | 16); /* not the driver's to set */
        assert_int_equal(drv_status(&r), 3);
        drv_set_status(&r, 128);
        assert_int_equal(drv_status(&r), 131);
        drv_set_status(&r, 0);
        assert_int_equal(drv_status(&r), 0);
        rig_fini(&r);
    }
}

static void configuration_is_read_and_written_in_any_size_within_bounds(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        struct echo *e = open_rig(&r, t);
        assert_int_equal(drv_config(&r, 0, 1), 0x11);
        assert_int_equal(drv_config(&r, 2, 2), 0x4433);
        assert_int_equal(drv_config(&r, 4, 4), 0x88776655);
        assert_int_equal(drv_config(&r, 8, 4), 0);
        assert_int_equal(drv_config(&r, 0xf0, 4), 0);
        drv_config_set(&r, 7, 1, 0xaa);
        drv_config_set(&r, 8, 4, 0xbbbbbbbb);
        assert_int_equal(e->config[7], 0xaa);
        rig_fini(&r);
    }
}

static void a_configuration_change_moves_the_generation_and_interrupts(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        struct echo *e = open_rig(&r, t);
        assert_true(drv_negotiate(&r, BASE));
        unsigned before = drv_generation(&r);
        change_config(e);
        assert_int_not_equal(drv_generation(&r), before);
        assert_false(drv_config_interrupted(&r)); /* nobody listens before DRIVER_OK */
        drv_ok(&r);
        change_config(e);
        assert_true(drv_config_interrupted(&r));
        assert_false(drv_config_interrupted(&r));
        rig_fini(&r);
    }
}

static void queues_say_their_size_and_others_are_absent(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        open_rig(&r, t);
        assert_int_equal(drv_queue_max(&r, 0), ECHO_QUEUE_SIZE);
        assert_int_equal(drv_queue_max(&r, 2), 0);
        assert_int_equal(drv_queue_max(&r, 0xffff), 0);
        drv_queue_setup(&r, 9, 8, 0x8000, 0x8000, 0x8000);
        assert_false(drv_queue_enabled(&r, 9));
        if (t != RIG_OVER_MMIO)
            assert_int_equal(mem_mmio_read(r.mem, r.bar + 0x12, 2), ECHO_QUEUES);
        rig_fini(&r);
    }
}

static void a_vector_beyond_the_table_reads_back_as_none(void **s)
{
    struct rig r;
    (void)s;
    open_rig(&r, RIG_PCI);
    mem_mmio_write(r.mem, r.bar + 0x10, 2, 3);
    assert_int_equal(mem_mmio_read(r.mem, r.bar + 0x10, 2), 0xffff);
    mem_mmio_write(r.mem, r.bar + 0x10, 2, 2);
    assert_int_equal(mem_mmio_read(r.mem, r.bar + 0x10, 2), 2);
    mem_mmio_write(r.mem, r.bar + 0x1a, 2, 77);
    assert_int_equal(mem_mmio_read(r.mem, r.bar + 0x1a, 2), 0xffff);
    rig_fini(&r);
}

static void the_wire_stays_high_until_isr_is_read_and_falls_when_msix_is_enabled(void **s)
{
    struct rig r;
    (void)s;
    struct echo *e = open_rig(&r, RIG_PCI_INTX);
    assert_true(drv_negotiate(&r, BASE));
    drv_ok(&r);
    change_config(e);
    assert_true(r.level);
    assert_true(pci_cfg(&r, 6, 2) & 8);
    pci_config_write(r.root, RIG_SLOT, 0, 4, 2, 0x406); /* INTx disable */
    assert_false(r.level);
    assert_true(pci_cfg(&r, 6, 2) & 8);
    pci_config_write(r.root, RIG_SLOT, 0, 4, 2, 6);
    assert_true(r.level);
    assert_int_equal(mem_mmio_read(r.mem, r.bar + VIRTIO_PCI_ISR, 1), 2);
    assert_false(r.level);
    assert_int_equal(mem_mmio_read(r.mem, r.bar + VIRTIO_PCI_ISR, 1), 0);
    change_config(e);
    assert_true(r.level);
    unsigned cap = pci_cfg(&r, 0x34, 1); /* MSI-X is the first capability */
    assert_int_equal(pci_cfg(&r, cap, 1), 0x11);
    pci_config_write(r.root, RIG_SLOT, 0, cap + 2, 2, 0x8000);
    assert_false(r.level);
    rig_fini(&r);
}

static void the_configuration_window_reaches_the_bar(void **s)
{
    struct rig r;
    (void)s;
    struct echo *e = open_rig(&r, RIG_PCI);
    unsigned cap = pci_cfg(&r, 0x34, 1);
    while (pci_cfg(&r, cap, 1) != 9 || pci_cfg(&r, cap + 3, 1) != 5)
        cap = pci_cfg(&r, cap + 1, 1);
    pci_config_write(r.root, RIG_SLOT, 0, cap + 8, 4, VIRTIO_PCI_DEVICE + 4);
    pci_config_write(r.root, RIG_SLOT, 0, cap + 12, 4, 4);
    assert_int_equal(pci_cfg(&r, cap + 16, 4), 0x88776655);
    pci_config_write(r.root, RIG_SLOT, 0, cap + 12, 4, 1);
    pci_config_write(r.root, RIG_SLOT, 0, cap + 16, 4, 0xdeadbe00);
    assert_int_equal(e->config[4], 0);
    assert_int_equal(e->config[5], 0x66);                                   /* one byte was asked for */
    pci_config_write(r.root, RIG_SLOT, 0, cap + 8, 4, VIRTIO_PCI_BAR_SIZE); /* outside */
    pci_config_write(r.root, RIG_SLOT, 0, cap + 12, 4, 4);
    pci_config_write(r.root, RIG_SLOT, 0, cap + 16, 4, 1);
    pci_config_write(r.root, RIG_SLOT, 0, cap + 4, 1, 3); /* a BAR that is not there */
    pci_config_write(r.root, RIG_SLOT, 0, cap + 8, 4, VIRTIO_PCI_DEVICE);
    pci_config_write(r.root, RIG_SLOT, 0, cap + 16, 4, 0x99999999);
    assert_int_equal(e->config[0], 0x11);
    rig_fini(&r);
}

static void without_bus_mastering_nothing_is_touched_until_it_is_on(void **s)
{
    struct rig r;
    struct ring g;
    uint32_t id, len;
    (void)s;
    open_rig(&r, RIG_PCI);
    assert_true(drv_negotiate(&r, BASE));
    ring_init(&g, &r, 0, 8);
    drv_ok(&r);
    uint64_t in = rig_alloc(&r, 16, 16);
    pci_config_write(r.root, RIG_SLOT, 0, 4, 2, 2);
    ring_add(&g, &(struct ring_buf){in, 4, true}, 1);
    ring_kick(&g);
    assert_false(ring_take(&g, &id, &len));
    pci_config_write(r.root, RIG_SLOT, 0, 4, 2, 6);
    assert_true(ring_take(&g, &id, &len));
    assert_true(drv_interrupted(&r, 0));
    rig_fini(&r);
}

static void a_machine_reset_returns_everything_to_power_on(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        struct echo *e = open_rig(&r, t);
        struct ring g;
        assert_true(drv_negotiate(&r, BASE));
        ring_init(&g, &r, 0, 8);
        drv_ok(&r);
        change_config(e);
        device_reset(r.dev);
        mem_reader_quiesce(r.reader);
        assert_false(r.level);
        assert_int_equal(drv_status(&r), 0);
        assert_false(drv_queue_enabled(&r, 0));
        if (t != RIG_OVER_MMIO) {
            assert_int_equal(pci_cfg(&r, 4, 2), 2);
            assert_int_equal(mem_mmio_read(r.mem, r.bar + VIRTIO_PCI_MSIX_TABLE + 12, 4), 1);
            assert_int_equal(mem_mmio_read(r.mem, r.bar + VIRTIO_PCI_MSIX_TABLE, 4), 0);
        }
        rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pci_function_says_what_it_is),
        cmocka_unit_test(an_mmio_device_says_what_it_is),
        cmocka_unit_test(features_are_settled_once_and_only_those_offered),
        cmocka_unit_test(driver_ok_without_features_breaks_the_device),
        cmocka_unit_test(status_bits_stay_until_reset),
        cmocka_unit_test(configuration_is_read_and_written_in_any_size_within_bounds),
        cmocka_unit_test(a_configuration_change_moves_the_generation_and_interrupts),
        cmocka_unit_test(queues_say_their_size_and_others_are_absent),
        cmocka_unit_test(a_vector_beyond_the_table_reads_back_as_none),
        cmocka_unit_test(the_wire_stays_high_until_isr_is_read_and_falls_when_msix_is_enabled),
        cmocka_unit_test(the_configuration_window_reaches_the_bar),
        cmocka_unit_test(without_bus_mastering_nothing_is_touched_until_it_is_on),
        cmocka_unit_test(a_machine_reset_returns_everything_to_power_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
