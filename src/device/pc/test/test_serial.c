#include <time.h>
#include "rig.h"
#include "device/pc/serial.h"

enum { PORT = 0x3f8, IRQ = 4 };

struct ctx {
    struct rig *r;
    struct serial *s;
};

static struct serial *make(struct rig *r)
{
    struct serial_config cfg = {.bus = r->bus,
                                .port = PORT,
                                .irq = rig_line(r, IRQ),
                                .clock = r->clock,
                                .loop = r->loop,
                                .chr = &r->chr.chr};
    struct serial *s = serial_new(&cfg, &r->err);
    assert_non_null(s);
    return s;
}

static int setup(void **state)
{
    static struct ctx c;
    c.r = rig_new();
    c.s = make(c.r);
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    device_free(serial_device(c->s));
    rig_free(c->r);
    return 0;
}

static void written_characters_reach_the_backend(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    for (const char *p = "hello"; *p; p++)
        out8(r, PORT, (uint8_t)*p);
    assert_int_equal(r->chr.len, 5);
    assert_memory_equal(r->chr.out, "hello", 5);
    assert_int_equal(in8(r, PORT + 5), 0x60);
}

static void scratch_and_divisor_hold_what_was_written(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    out8(r, PORT + 7, 0xa5);
    assert_int_equal(in8(r, PORT + 7), 0xa5);
    out8(r, PORT + 3, 0x83);
    out8(r, PORT, 0x0c);
    out8(r, PORT + 1, 0x01);
    assert_int_equal(in8(r, PORT), 0x0c);
    assert_int_equal(in8(r, PORT + 1), 0x01);
    out8(r, PORT + 3, 0x03);
    assert_int_equal(in8(r, PORT + 1), 0x00);
}

static void fifo_identifies_a_16550a(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    assert_int_equal(in8(r, PORT + 2), 0x01);
    out8(r, PORT + 2, 0x01);
    assert_int_equal(in8(r, PORT + 2), 0xc1);
    out8(r, PORT + 2, 0x00);
    assert_int_equal(in8(r, PORT + 2), 0x01);
}

static void transmit_interrupt_comes_on_enable_and_after_each_write_and_reading_iir_clears_it(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    out8(r, PORT + 4, 0x08);
    out8(r, PORT + 1, 0x02);
    assert_true(r->level[IRQ]);
    assert_int_equal(in8(r, PORT + 2), 0x02);
    assert_false(r->level[IRQ]);
    assert_int_equal(in8(r, PORT + 2), 0x01);
    out8(r, PORT, 'x');
    assert_true(r->level[IRQ]);
    assert_int_equal(r->rises[IRQ], 2);
}

static void out2_gates_the_interrupt_line(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    out8(r, PORT + 1, 0x02);
    assert_false(r->level[IRQ]);
    assert_int_equal(in8(r, PORT + 2), 0x02);
    out8(r, PORT, 'x');
    out8(r, PORT + 4, 0x08);
    assert_true(r->level[IRQ]);
}

static void receive_takes_one_character_without_fifo_and_sixteen_with_it(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    assert_int_equal(fake_type(&r->chr, "abc", 3), 1);
    assert_int_equal(fake_type(&r->chr, "b", 1), 0);
    assert_int_equal(in8(r, PORT + 5), 0x61);
    assert_int_equal(in8(r, PORT), 'a');
    assert_true(r->chr.resumed > 0);
    out8(r, PORT + 2, 0x01);
    assert_int_equal(fake_type(&r->chr, "0123456789abcdefXYZ", 19), 16);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in8(r, PORT), "0123456789abcdef"[i]);
    assert_int_equal(in8(r, PORT + 5), 0x60);
}

static void receive_interrupt_waits_for_the_trigger_level(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    out8(r, PORT + 2, 0x81); /* trigger at 8 */
    out8(r, PORT + 4, 0x08);
    out8(r, PORT + 1, 0x01);
    fake_type(&r->chr, "1234567", 7);
    assert_false(r->level[IRQ]);
    fake_type(&r->chr, "8", 1);
    assert_true(r->level[IRQ]);
    assert_int_equal(in8(r, PORT + 2), 0xc4);
    in8(r, PORT);
    assert_false(r->level[IRQ]);
}

static bool irq_high(struct rig *r)
{
    return r->level[IRQ];
}

static void characters_below_the_trigger_level_interrupt_after_four_character_times(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    out8(r, PORT + 2, 0x81);
    out8(r, PORT + 3, 0x03);
    out8(r, PORT + 4, 0x08);
    out8(r, PORT + 1, 0x01);
    fake_type(&r->chr, "12", 2);
    assert_false(r->level[IRQ]);
    assert_true(rig_run(r, irq_high));
    assert_int_equal(in8(r, PORT + 2), 0xcc);
    assert_int_equal(in8(r, PORT), '1');
    assert_false(r->level[IRQ]); /* reading the FIFO clears it; the other one times out anew */
    assert_true(rig_run(r, irq_high));
    assert_int_equal(in8(r, PORT), '2');
    assert_false(r->level[IRQ]);
}

static void a_full_backend_holds_the_transmitter_until_it_has_room(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    out8(r, PORT + 2, 0x01);
    out8(r, PORT + 4, 0x08);
    out8(r, PORT + 1, 0x02);
    in8(r, PORT + 2);
    r->chr.accept = 2;
    for (unsigned i = 0; i < 10; i++)
        out8(r, PORT, (uint8_t)('a' + i));
    assert_int_equal(r->chr.len, 2);
    assert_int_equal(in8(r, PORT + 5) & 0x60, 0);
    assert_int_equal(in8(r, PORT + 2), 0xc1);
    r->chr.accept = 100;
    r->chr.client.writable(r->chr.client.opaque);
    assert_memory_equal(r->chr.out, "abcdefghij", 10);
    assert_int_equal(in8(r, PORT + 5) & 0x60, 0x60);
    assert_int_equal(in8(r, PORT + 2), 0xc2);
}

static void loopback_brings_back_characters_and_modem_lines(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    out8(r, PORT + 4, 0x1f);
    assert_int_equal(in8(r, PORT + 6) & 0xf0, 0xf0);
    out8(r, PORT + 4, 0x10);
    assert_int_equal(in8(r, PORT + 6), 0x0f); /* all low, each with its delta, RI by its trailing edge */
    assert_int_equal(in8(r, PORT + 6), 0x00);
    out8(r, PORT + 4, 0x1a);
    assert_int_equal(in8(r, PORT + 6) & 0xf0, 0x90);
    out8(r, PORT, 0x5a);
    assert_int_equal(r->chr.len, 0);
    assert_int_equal(in8(r, PORT), 0x5a);
    assert_int_equal(fake_type(&r->chr, "x", 1), 0);
}

static void overrun_and_break_are_line_errors_of_highest_priority(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    out8(r, PORT + 4, 0x10);
    out8(r, PORT + 1, 0x0f);
    out8(r, PORT, 1);
    out8(r, PORT, 2);
    assert_int_equal(in8(r, PORT + 2), 0x06);
    assert_int_equal(in8(r, PORT + 5) & 0x1f, 0x03);
    assert_int_equal(in8(r, PORT + 5) & 0x1f, 0x01);
    assert_int_equal(in8(r, PORT + 2), 0x04);
    assert_int_equal(in8(r, PORT), 2);
    assert_int_equal(in8(r, PORT + 2), 0x02);
    out8(r, PORT + 2, 1);
    out8(r, PORT, 'k');
    out8(r, PORT + 3, 0x43);
    assert_int_equal(in8(r, PORT + 5) & 0x9f, 0x81); /* an error waits in the FIFO, not at its top */
    assert_int_equal(in8(r, PORT), 'k');
    assert_int_equal(in8(r, PORT + 5) & 0x9f, 0x91);
    assert_int_equal(in8(r, PORT + 5) & 0x9f, 0x01);
}

static void state_survives_save_and_load_mid_way(void **state)
{
    struct ctx *c = *state;
    struct rig *r2 = rig_new();
    struct serial *s2 = make(r2);
    out8(c->r, PORT + 2, 0x81);
    out8(c->r, PORT + 4, 0x0b);
    out8(c->r, PORT + 1, 0x03);
    c->r->chr.accept = 0;
    out8(c->r, PORT, 'q');
    fake_type(&c->r->chr, "abc", 3);
    rig_save_load_compare(serial_device(c->s), serial_device(s2));
    assert_int_equal(in8(r2, PORT), 'a');
    device_resume(serial_device(s2)); /* what waited in the transmitter goes out */
    assert_int_equal(r2->chr.len, 1);
    assert_int_equal(r2->chr.out[0], 'q');
    assert_true(rig_run(r2, irq_high));
    device_free(serial_device(s2));
    rig_free(r2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(written_characters_reach_the_backend),
        T(scratch_and_divisor_hold_what_was_written),
        T(fifo_identifies_a_16550a),
        T(transmit_interrupt_comes_on_enable_and_after_each_write_and_reading_iir_clears_it),
        T(out2_gates_the_interrupt_line),
        T(receive_takes_one_character_without_fifo_and_sixteen_with_it),
        T(receive_interrupt_waits_for_the_trigger_level),
        T(characters_below_the_trigger_level_interrupt_after_four_character_times),
        T(a_full_backend_holds_the_transmitter_until_it_has_room),
        T(loopback_brings_back_characters_and_modem_lines),
        T(overrun_and_break_are_line_errors_of_highest_priority),
        T(state_survives_save_and_load_mid_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
