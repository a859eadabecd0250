/* virtio-console over a terminal that a test plays; virtio-rng. */
#include "device/virtio/test/unit.h"
#include "device/virtio/console.h"
#include "device/virtio/rng.h"
#include "device/virtio/test/fakes.h"

enum { RX, TX };
#define F_SIZE  (1ull << 0)
#define F_EMERG (1ull << 2)
#define USUAL   (BASE | EVENT_IDX | F_SIZE)

struct bed {
    struct rig r;
    struct fake_chr chr;
    struct ring ring[2];
    uint64_t out, in;
};

static void restart(struct bed *b, uint64_t features)
{
    assert_true(drv_negotiate(&b->r, features));
    for (unsigned i = 0; i < 2; i++)
        ring_init(&b->ring[i], &b->r, i, 128);
    drv_ok(&b->r);
}

static struct bed *open_bed(enum rig_transport t)
{
    struct bed *b = calloc(1, sizeof(*b));
    const struct virtio_console_config cfg = {0};
    rig_init(&b->r, t);
    fake_chr_init(&b->chr);
    rig_plug(&b->r, virtio_console_new(&cfg, &b->chr.chr, b->r.loop, b->r.mem, NULL));
    b->out = rig_alloc(&b->r, 2 << 20, 4096);
    b->in = rig_alloc(&b->r, 4096, 4096);
    restart(b, USUAL);
    return b;
}

static void close_bed(struct bed *b)
{
    rig_fini(&b->r);
    assert_false(b->chr.attached);
    free(b);
}

static void say(struct bed *b, const char *text)
{
    memcpy(rig_at(&b->r, b->out), text, strlen(text));
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, (uint32_t)strlen(text), false}, 1);
    ring_kick(&b->ring[TX]);
}

static void output_is_written_at_once(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t);
        uint32_t id, len;
        say(b, "hello ");
        b->ring[TX].indirect = true;
        say(b, "world");
        assert_memory_equal(b->chr.out, "hello world", 11);
        assert_true(ring_take(&b->ring[TX], &id, &len) && ring_take(&b->ring[TX], &id, &len));
        assert_true(drv_interrupted(&b->r, TX));
        close_bed(b);
    }
}

static void a_full_terminal_takes_the_rest_when_it_is_writable(void **s)
{
    struct bed *b = open_bed(RIG_PCI);
    uint32_t id, len;
    (void)s;
    b->chr.room = 4;
    say(b, "abcdefgh");
    assert_int_equal(b->chr.len, 4);
    assert_false(ring_take(&b->ring[TX], &id, &len));
    b->chr.room = 2;
    b->chr.client.writable(b->chr.client.opaque);
    assert_false(ring_take(&b->ring[TX], &id, &len));
    b->chr.room = SIZE_MAX;
    b->chr.client.writable(b->chr.client.opaque);
    assert_true(ring_take(&b->ring[TX], &id, &len));
    assert_memory_equal(b->chr.out, "abcdefgh", 8);
    /* a reset in the middle forgets where it was */
    b->chr.room = 1;
    say(b, "xyz");
    b->chr.room = SIZE_MAX;
    restart(b, USUAL);
    say(b, "123");
    assert_memory_equal(b->chr.out, "abcdefghx123", 12);
    close_bed(b);
}

static void input_goes_to_the_buffers_that_are_there(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t);
        const struct chr_client *c = &b->chr.client;
        uint32_t id, len;
        assert_int_equal(c->can_receive(c->opaque), 0);
        unsigned before = b->chr.resumed;
        ring_add(&b->ring[RX], &(struct ring_buf){b->in, 3, true}, 1);
        ring_add(&b->ring[RX], &(struct ring_buf){b->in + 16, 16, true}, 1);
        ring_kick(&b->ring[RX]);
        assert_true(b->chr.resumed > before);
        assert_int_equal(c->can_receive(c->opaque), 3);
        c->receive(c->opaque, (const uint8_t *)"abc", 3);
        assert_int_equal(c->can_receive(c->opaque), 16);
        c->receive(c->opaque, (const uint8_t *)"de", 2);
        assert_int_equal(c->can_receive(c->opaque), 0);
        assert_true(ring_take(&b->ring[RX], &id, &len));
        assert_int_equal(len, 3);
        assert_true(ring_take(&b->ring[RX], &id, &len));
        assert_int_equal(len, 2);
        assert_memory_equal(rig_at(&b->r, b->in), "abc", 3);
        assert_memory_equal(rig_at(&b->r, b->in + 16), "de", 2);
        assert_true(drv_interrupted(&b->r, RX));
        close_bed(b);
    }
}

static void size_is_told_and_changes_interrupt(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t);
        assert_int_equal(drv_config(&b->r, 0, 2), 80);
        assert_int_equal(drv_config(&b->r, 2, 2), 25);
        virtio_console_resized(b->r.vd);
        assert_false(drv_config_interrupted(&b->r));
        b->chr.cols = 132;
        virtio_console_resized(b->r.vd);
        assert_true(drv_config_interrupted(&b->r));
        assert_int_equal(drv_config(&b->r, 0, 2), 132);
        close_bed(b);
    }
}

static void an_emergency_character_needs_no_driver(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct bed *b = open_bed(t);
        drv_set_status(&b->r, 0);
        drv_config_set(&b->r, 8, 4, '!');
        assert_int_equal(b->chr.len, 1);
        assert_int_equal(b->chr.out[0], '!');
        close_bed(b);
    }
}

static void malformed_console_buffers_break_the_device(void **s)
{
    struct bed *b = open_bed(RIG_PCI);
    (void)s;
    ring_add(&b->ring[RX], &(struct ring_buf){b->in, 3, false}, 1);
    b->chr.client.can_receive(b->chr.client.opaque);
    assert_true(drv_status(&b->r) & VIRTIO_STATUS_NEEDS_RESET);
    restart(b, USUAL);
    ring_add(&b->ring[TX], &(struct ring_buf){b->out, (1 << 20) + 1, false}, 1);
    ring_kick(&b->ring[TX]);
    assert_true(drv_status(&b->r) & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(b->chr.len, 0);
    close_bed(b);
}

/* ---- rng ---- */

static void random_bytes_fill_buffers(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        struct ring g;
        uint32_t id, len;
        rig_init(&r, t);
        rig_plug(&r, virtio_rng_new(&(struct virtio_rng_config){0}, r.loop, r.mem, NULL));
        assert_true(drv_negotiate(&r, BASE | EVENT_IDX));
        ring_init(&g, &r, 0, 64);
        drv_ok(&r);
        uint64_t in = rig_alloc(&r, 64, 16);
        ring_add(&g, (const struct ring_buf[]){{in, 20, true}, {in + 20, 44, true}}, 2);
        ring_kick(&g);
        assert_true(ring_take(&g, &id, &len));
        assert_int_equal(len, 64);
        assert_memory_not_equal(rig_at(&r, in + 20), ((const uint8_t[44]){0}), 44);
        assert_true(drv_interrupted(&r, 0));
        rig_fini(&r);
    }
}

static void the_rate_is_bounded_and_the_rest_comes_later(void **s)
{
    struct rig r;
    struct ring g;
    uint32_t id, len = 0;
    (void)s;
    rig_init(&r, RIG_PCI);
    rig_plug(&r, virtio_rng_new(&(struct virtio_rng_config){.bytes_per_second = 64}, r.loop, r.mem, NULL));
    assert_true(drv_negotiate(&r, BASE | EVENT_IDX));
    ring_init(&g, &r, 0, 64);
    drv_ok(&r);
    uint64_t in = rig_alloc(&r, 4096, 16);
    for (unsigned i = 0; i < 3; i++)
        ring_add(&g, &(struct ring_buf){in, 4096, true}, 1);
    ring_kick(&g);
    assert_true(ring_take(&g, &id, &len));
    assert_int_equal(len, 64); /* the burst */
    for (unsigned i = 0; i < 2000 && !ring_take(&g, &id, &len); i++) {
        rig_turn(&r);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    assert_true(len > 0 && len <= 64);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_written_at_once),
        cmocka_unit_test(a_full_terminal_takes_the_rest_when_it_is_writable),
        cmocka_unit_test(input_goes_to_the_buffers_that_are_there),
        cmocka_unit_test(size_is_told_and_changes_interrupt),
        cmocka_unit_test(an_emergency_character_needs_no_driver),
        cmocka_unit_test(malformed_console_buffers_break_the_device),
        cmocka_unit_test(random_bytes_fill_buffers),
        cmocka_unit_test(the_rate_is_bounded_and_the_rest_comes_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
