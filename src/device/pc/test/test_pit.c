#include <time.h>
#include "rig.h"
#include "device/pc/pit.h"

enum { PORT = 0x40, CTL = 0x43, PORTB = 0x61, IRQ = 0 };

struct ctx {
    struct rig *r;
    struct pit *p;
};

static struct pit *make(struct rig *r)
{
    struct pit_config cfg = {.bus = r->bus,
                             .port = PORT,
                             .control_port = PORTB,
                             .irq = rig_line(r, IRQ),
                             .clock = r->clock,
                             .loop = r->loop};
    struct pit *p = pit_new(&cfg, &r->err);
    assert_non_null(p);
    return p;
}

static int setup(void **state)
{
    static struct ctx c;
    c.r = rig_new();
    c.p = make(c.r);
    clock_set(c.r->clock, 1000000000); /* a whole number of ticks */
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    device_free(pit_device(c->p));
    rig_free(c->r);
    return 0;
}

/* Guest time such that exactly `ticks` have passed since the start of the test. */
static void at(struct ctx *c, uint64_t ticks)
{
    clock_set(c->r->clock, 1000000000 + (ticks * 1000000000 + PIT_HZ - 1) / PIT_HZ);
}

static void program(struct ctx *c, unsigned counter, unsigned mode, uint16_t n)
{
    out8(c->r, CTL, (uint8_t)(counter << 6 | 0x30 | mode << 1));
    out8(c->r, (uint16_t)(PORT + counter), (uint8_t)n);
    out8(c->r, (uint16_t)(PORT + counter), (uint8_t)(n >> 8));
}

static unsigned count(struct ctx *c, unsigned counter)
{
    out8(c->r, CTL, (uint8_t)(counter << 6));
    unsigned low = in8(c->r, (uint16_t)(PORT + counter));
    return low | (unsigned)in8(c->r, (uint16_t)(PORT + counter)) << 8;
}

static bool out2(struct ctx *c)
{
    return in8(c->r, PORTB) & 0x20;
}

static uint8_t status(struct ctx *c, unsigned counter)
{
    out8(c->r, CTL, (uint8_t)(0xe0 | 2u << counter));
    return in8(c->r, (uint16_t)(PORT + counter));
}

static void mode_0_output_rises_at_terminal_count_and_the_gate_holds_it(void **state)
{
    struct ctx *c = *state;
    out8(c->r, PORTB, 1);
    program(c, 2, 0, 1000);
    assert_false(out2(c));
    at(c, 400);
    assert_int_equal(count(c, 2), 600);
    out8(c->r, PORTB, 0);
    at(c, 900);
    assert_int_equal(count(c, 2), 600);
    out8(c->r, PORTB, 1);
    at(c, 1499);
    assert_false(out2(c));
    assert_int_equal(count(c, 2), 1);
    at(c, 1500);
    assert_true(out2(c));
    at(c, 1502);
    assert_int_equal(count(c, 2), 0xfffe);
}

static void mode_1_is_started_by_the_gate_and_retriggers(void **state)
{
    struct ctx *c = *state;
    program(c, 2, 1, 100);
    assert_true(out2(c));
    out8(c->r, PORTB, 1);
    assert_false(out2(c));
    at(c, 50);
    out8(c->r, PORTB, 0);
    out8(c->r, PORTB, 1);
    at(c, 149);
    assert_false(out2(c));
    at(c, 150);
    assert_true(out2(c));
}

static void mode_2_repeats_with_one_low_tick_per_period(void **state)
{
    struct ctx *c = *state;
    out8(c->r, PORTB, 1);
    program(c, 2, 2, 10);
    assert_true(out2(c));
    assert_int_equal(count(c, 2), 10);
    at(c, 9);
    assert_false(out2(c));
    assert_int_equal(count(c, 2), 1);
    at(c, 10);
    assert_true(out2(c));
    assert_int_equal(count(c, 2), 10);
    at(c, 39);
    assert_false(out2(c));
    out8(c->r, PORTB, 0); /* gate low forces the output high */
    assert_true(out2(c));
    at(c, 100);
    out8(c->r, PORTB, 1); /* and its rise starts anew */
    at(c, 103);
    assert_int_equal(count(c, 2), 7);
}

static void mode_2_takes_a_new_count_at_the_end_of_the_period(void **state)
{
    struct ctx *c = *state;
    out8(c->r, PORTB, 1);
    program(c, 2, 2, 100);
    at(c, 30);
    out8(c->r, PORT + 2, 20);
    out8(c->r, PORT + 2, 0);
    assert_int_equal(count(c, 2), 70);
    assert_int_equal(status(c, 2) & 0x40, 0x40);
    at(c, 105);
    assert_int_equal(count(c, 2), 15);
    assert_int_equal(status(c, 2) & 0x40, 0);
}

static void mode_3_is_a_square_wave_counting_by_two(void **state)
{
    struct ctx *c = *state;
    out8(c->r, PORTB, 1);
    program(c, 2, 3, 8);
    assert_int_equal(count(c, 2), 8);
    at(c, 3);
    assert_true(out2(c));
    assert_int_equal(count(c, 2), 2);
    at(c, 4);
    assert_false(out2(c));
    assert_int_equal(count(c, 2), 8);
    at(c, 8);
    assert_true(out2(c));
    program(c, 2, 3, 5); /* odd: one tick longer high */
    at(c, 10);
    assert_true(out2(c));
    assert_int_equal(count(c, 2), 0);
    at(c, 11);
    assert_false(out2(c));
    at(c, 13);
    assert_true(out2(c));
}

static void mode_4_strobes_once_and_mode_5_on_each_trigger(void **state)
{
    struct ctx *c = *state;
    out8(c->r, PORTB, 1);
    program(c, 2, 4, 5);
    at(c, 4);
    assert_true(out2(c));
    at(c, 5);
    assert_false(out2(c));
    at(c, 6);
    assert_true(out2(c));
    program(c, 2, 5, 5);
    at(c, 20);
    assert_true(out2(c));
    out8(c->r, PORTB, 0);
    out8(c->r, PORTB, 1);
    at(c, 25);
    assert_false(out2(c));
    at(c, 26);
    assert_true(out2(c));
}

static void bcd_counts_in_decimal(void **state)
{
    struct ctx *c = *state;
    out8(c->r, PORTB, 1);
    out8(c->r, CTL, 0xb1);
    out8(c->r, PORT + 2, 0x00);
    out8(c->r, PORT + 2, 0x10);
    at(c, 1);
    assert_int_equal(count(c, 2), 0x0999);
    at(c, 1001);
    assert_int_equal(count(c, 2), 0x9999);
}

static void latched_values_stay_until_read_and_read_back_gives_status(void **state)
{
    struct ctx *c = *state;
    program(c, 0, 2, 0x1234);
    at(c, 4);
    out8(c->r, CTL, 0xc2); /* read-back: count and status of counter 0 */
    at(c, 50);
    out8(c->r, CTL, 0x00); /* a second latch is ignored */
    assert_int_equal(in8(c->r, PORT), 0xb4);
    assert_int_equal(in8(c->r, PORT), 0x30);
    assert_int_equal(in8(c->r, PORT), 0x12);
    assert_int_equal(in8(c->r, PORT), (0x1234 - 50) & 0xff);
    assert_int_equal(in8(c->r, PORT), (0x1234 - 50) >> 8);
    out8(c->r, CTL, 0x16); /* low byte only, mode 3 */
    assert_int_equal(status(c, 0), 0xd6);
    out8(c->r, PORT, 10);
    assert_int_equal(status(c, 0), 0x96);
    assert_int_equal(in8(c->r, PORT), 10);
    assert_int_equal(in8(c->r, PORT), 10);
}

static void the_refresh_bit_toggles_and_speaker_bits_read_back(void **state)
{
    struct ctx *c = *state;
    out8(c->r, PORTB, 0x03);
    uint8_t first = in8(c->r, PORTB);
    assert_int_equal(first & 0x03, 0x03);
    rig_advance(c->r, 15085);
    assert_int_equal((first ^ in8(c->r, PORTB)) & 0x10, 0x10);
}

static bool three_rises(struct rig *r)
{
    return r->rises[IRQ] >= 3;
}

static bool one_rise(struct rig *r)
{
    return r->rises[IRQ] >= 1;
}

static void counter_0_interrupts_every_period_in_mode_2(void **state)
{
    struct ctx *c = *state;
    program(c, 0, 2, 1193);
    c->r->rises[IRQ] = 0;
    assert_true(rig_run(c->r, three_rises));
}

static void counter_0_interrupts_once_in_mode_0(void **state)
{
    struct ctx *c = *state;
    program(c, 0, 0, 1193);
    assert_false(c->r->level[IRQ]);
    assert_true(rig_run(c->r, one_rise));
    rig_advance(c->r, 1000000000);
    assert_true(rig_run(c->r, one_rise));
    assert_int_equal(c->r->rises[IRQ], 1);
}

static void counter_0_interrupts_once_for_each_count_in_mode_4_however_late(void **state)
{
    struct ctx *c = *state;
    program(c, 0, 4, 1193);
    c->r->rises[IRQ] = 0;
    rig_advance(c->r, 1000000000); /* the strobe of one tick is long over when the timer looks */
    assert_true(rig_run(c->r, one_rise));
    out8(c->r, PORT, 0xa9); /* a new count, and then another before the timer has run: neither is lost */
    out8(c->r, PORT, 0x04);
    rig_advance(c->r, 1000000000);
    out8(c->r, PORT, 0xa9);
    assert_int_equal(c->r->rises[IRQ], 2);
    out8(c->r, PORT, 0x04);
    assert_true(rig_run(c->r, three_rises));
}

static void state_survives_save_and_load_and_counting_goes_on(void **state)
{
    struct ctx *c = *state;
    struct rig *r2 = rig_new();
    struct pit *p2 = make(r2);
    out8(c->r, PORTB, 3);
    program(c, 0, 2, 1193);
    program(c, 2, 3, 5000);
    at(c, 77);
    out8(c->r, CTL, 0x80);
    in8(c->r, PORT + 2);
    clock_set(r2->clock, clock_now(c->r->clock));
    rig_save_load_compare(pit_device(c->p), pit_device(p2));
    assert_int_equal(in8(r2, PORT + 2), (5000 - 2 * 77) >> 8);
    r2->rises[IRQ] = 0;
    assert_true(rig_run(r2, three_rises));
    device_free(pit_device(p2));
    rig_free(r2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(mode_0_output_rises_at_terminal_count_and_the_gate_holds_it),
        T(mode_1_is_started_by_the_gate_and_retriggers),
        T(mode_2_repeats_with_one_low_tick_per_period),
        T(mode_2_takes_a_new_count_at_the_end_of_the_period),
        T(mode_3_is_a_square_wave_counting_by_two),
        T(mode_4_strobes_once_and_mode_5_on_each_trigger),
        T(bcd_counts_in_decimal),
        T(latched_values_stay_until_read_and_read_back_gives_status),
        T(the_refresh_bit_toggles_and_speaker_bits_read_back),
        T(counter_0_interrupts_every_period_in_mode_2),
        T(counter_0_interrupts_once_in_mode_0),
        T(counter_0_interrupts_once_for_each_count_in_mode_4_however_late),
        T(state_survives_save_and_load_and_counting_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
