#include <time.h>
#include "rig.h"
#include "device/pc/rtc.h"

enum { PORT = 0x70, IRQ = 8 };

#define SEC  1000000000ull
#define DAY0 1709164799ull /* 2024-02-28 23:59:59 UTC, a Wednesday before a leap day */

struct ctx {
    struct rig *r;
    struct rtc *t;
    uint64_t real;
};

static uint64_t fake_real(void *opaque)
{
    return *(uint64_t *)opaque;
}

static struct rtc *make(struct rig *r, uint64_t *real)
{
    struct rtc_config cfg = {.bus = r->bus,
                             .port = PORT,
                             .irq = rig_line(r, IRQ),
                             .clock = r->clock,
                             .loop = r->loop,
                             .realtime_ns = fake_real,
                             .opaque = real};
    struct rtc *t = rtc_new(&cfg, &r->err);
    assert_non_null(t);
    return t;
}

static int setup(void **state)
{
    static struct ctx c;
    c.r = rig_new();
    c.real = DAY0 * SEC;
    c.t = make(c.r, &c.real);
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    device_free(rtc_device(c->t));
    rig_free(c->r);
    return 0;
}

static uint8_t get(struct ctx *c, uint8_t i)
{
    out8(c->r, PORT, i);
    return in8(c->r, PORT + 1);
}

static void put(struct ctx *c, uint8_t i, uint8_t v)
{
    out8(c->r, PORT, i);
    out8(c->r, PORT + 1, v);
}

/* Both clocks go on by the same. */
static void pass(struct ctx *c, uint64_t ns)
{
    c->real += ns;
    rig_advance(c->r, ns);
}

static void time_is_the_hosts_in_bcd_with_weekday_and_century(void **state)
{
    struct ctx *c = *state;
    const uint8_t want[] = {0x59, 0x59, 0x23, 4, 0x28, 0x02, 0x24, 0x20},
                  index[] = {0, 2, 4, 6, 7, 8, 9, 0x32};
    for (unsigned i = 0; i < sizeof(want); i++)
        assert_int_equal(get(c, index[i]), want[i]);
    pass(c, SEC);
    assert_int_equal(get(c, 4), 0x00);
    assert_int_equal(get(c, 7), 0x29);
    assert_int_equal(get(c, 6), 5);
    assert_int_equal(get(c, 0x0d), 0x80);
}

static void binary_and_twelve_hour_modes_show_the_same_time(void **state)
{
    struct ctx *c = *state;
    put(c, 0x0b, 0x06);
    assert_int_equal(get(c, 0), 59);
    assert_int_equal(get(c, 4), 23);
    put(c, 0x0b, 0x04);
    assert_int_equal(get(c, 4), 0x80 | 11);
    put(c, 0x0b, 0x00);
    assert_int_equal(get(c, 4), 0x91);
    pass(c, SEC);
    assert_int_equal(get(c, 4), 0x12);
}

static void setting_the_clock_moves_it_and_it_goes_on(void **state)
{
    struct ctx *c = *state;
    put(c, 0x0b, 0x82);
    put(c, 0, 0x30), put(c, 2, 0x15), put(c, 4, 0x12), put(c, 7, 0x31), put(c, 8, 0x12), put(c, 9, 0x99),
        put(c, 0x32, 0x19);
    pass(c, 5 * SEC);
    assert_int_equal(get(c, 0), 0x30); /* SET holds it */
    put(c, 0x0b, 0x02);
    pass(c, 45 * 60 * SEC + 11 * 3600 * SEC);
    assert_int_equal(get(c, 7), 0x01);
    assert_int_equal(get(c, 9), 0x00);
    assert_int_equal(get(c, 0x32), 0x20);
    assert_int_equal(get(c, 0), 0x30);
}

static void update_in_progress_never_lasts(void **state)
{
    struct ctx *c = *state;
    assert_int_equal(get(c, 0x0a), 0x26);
    pass(c, SEC - 100000);
    assert_int_equal(get(c, 0x0a), 0xa6);
    pass(c, 100000);
    assert_int_equal(get(c, 0x0a), 0x26);
    pass(c, SEC - 100000);
    put(c, 0x0b, 0x82);
    assert_int_equal(get(c, 0x0a), 0x26);
}

static void reading_register_c_gives_the_flags_once(void **state)
{
    struct ctx *c = *state;
    put(c, 1, 0x30); /* the alarm, or midnight would match */
    get(c, 0x0c);
    pass(c, SEC);
    assert_int_equal(get(c, 0x0c), 0x50); /* an update and periods have passed, without interrupts enabled */
    assert_int_equal(get(c, 0x0c), 0x00);
    assert_int_equal(c->r->rises[IRQ], 0);
}

static bool irq_high(struct rig *r)
{
    return r->level[IRQ];
}

static void the_periodic_interrupt_comes_and_waits_for_its_acknowledge(void **state)
{
    struct ctx *c = *state;
    put(c, 0x0a, 0x2a); /* 64 Hz */
    get(c, 0x0c);
    put(c, 0x0b, 0x42);
    assert_false(c->r->level[IRQ]);
    assert_true(rig_run(c->r, irq_high));
    assert_int_equal(get(c, 0x0c), 0xc0);
    assert_false(c->r->level[IRQ]);
    assert_true(rig_run(c->r, irq_high));
}

static void the_update_interrupt_comes_at_the_next_second(void **state)
{
    struct ctx *c = *state;
    put(c, 1, 0x30);
    pass(c, SEC - 1000000);
    get(c, 0x0c);
    put(c, 0x0b, 0x12);
    pass(c, 1000000);
    assert_true(rig_run(c->r, irq_high));
    assert_int_equal(get(c, 0x0c) & 0xb0, 0x90);
}

static void the_alarm_matches_with_wildcards_and_only_then(void **state)
{
    struct ctx *c = *state;
    put(c, 1, 0x05), put(c, 3, 0xff), put(c, 5, 0x00); /* five seconds past any minute of hour 0 */
    get(c, 0x0c);
    put(c, 0x0b, 0x22);
    pass(c, 5 * SEC);
    assert_int_equal(get(c, 0x0c) & 0x20, 0); /* 00:00:04 */
    pass(c, SEC);
    assert_true(rig_run(c->r, irq_high));
    assert_int_equal(get(c, 0x0c) & 0xa0, 0xa0);
}

static void a_guest_in_divider_reset_starts_half_a_second_in(void **state)
{
    struct ctx *c = *state;
    put(c, 0x0a, 0x66);
    pass(c, 10 * SEC);
    assert_int_equal(get(c, 0), 0x59);
    put(c, 0x0a, 0x26);
    pass(c, SEC / 2 - 1);
    assert_int_equal(get(c, 0), 0x59);
    pass(c, 1);
    assert_int_equal(get(c, 0), 0x00);
}

static void cmos_memory_is_kept_over_reset_and_the_index_is_seven_bits(void **state)
{
    struct ctx *c = *state;
    rtc_set_cmos(c->t, 0x34, 0x77);
    put(c, 0x7f, 0x5a);
    device_reset(rtc_device(c->t));
    assert_int_equal(get(c, 0x34), 0x77);
    assert_int_equal(get(c, 0xff), 0x5a);
}

static void state_survives_save_and_load(void **state)
{
    struct ctx *c = *state;
    struct rig *r2 = rig_new();
    uint64_t real2 = c->real + 3600 * SEC; /* loaded an hour later */
    struct rtc *t2 = make(r2, &real2);
    struct ctx c2 = {r2, t2, 0};
    put(c, 0, 0x10);
    put(c, 5, 0xff), put(c, 3, 0xff), put(c, 1, 0xff);
    put(c, 0x0b, 0x22);
    rig_save_load_compare(rtc_device(c->t), rtc_device(t2));
    assert_int_equal(get(&c2, 4), 0x00);
    assert_true(rig_run(r2, irq_high)); /* an alarm that came due meanwhile */
    device_free(rtc_device(t2));
    rig_free(r2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(time_is_the_hosts_in_bcd_with_weekday_and_century),
        T(binary_and_twelve_hour_modes_show_the_same_time),
        T(setting_the_clock_moves_it_and_it_goes_on),
        T(update_in_progress_never_lasts),
        T(reading_register_c_gives_the_flags_once),
        T(the_periodic_interrupt_comes_and_waits_for_its_acknowledge),
        T(the_update_interrupt_comes_at_the_next_second),
        T(the_alarm_matches_with_wildcards_and_only_then),
        T(a_guest_in_divider_reset_starts_half_a_second_in),
        T(cmos_memory_is_kept_over_reset_and_the_index_is_seven_bits),
        T(state_survives_save_and_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
