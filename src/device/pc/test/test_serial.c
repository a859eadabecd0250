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

static void listen(struct rig *r)
{
    out8(r, PORT + 4, 0x08);
    out8(r, PORT + 1, 0x01);
}

static bool data_ready(struct rig *r)
{
    return in8(r, PORT + 5) & 1;
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
    listen(r);
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

/* ---- when characters come ---- */

static void input_waits_for_receive_interrupts_and_out2(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    assert_int_equal(fake_type(&r->chr, "x", 1), 0);
    out8(r, PORT + 1, 0x0f); /* as a driver does to see whether the register is there */
    assert_int_equal(fake_type(&r->chr, "x", 1), 0);
    assert_int_equal(r->chr.resumed, 0);
    out8(r, PORT + 4, 0x08);
    assert_int_equal(r->chr.resumed, 1);
    assert_int_equal(fake_type(&r->chr, "x", 1), 1);
    out8(r, PORT + 1, 0x02);
    in8(r, PORT);
    assert_int_equal(fake_type(&r->chr, "x", 1), 0);
    assert_int_equal(r->chr.resumed, 1); /* nothing to ask for while nobody listens */
    out8(r, PORT + 1, 0x01);
    assert_int_equal(r->chr.resumed, 2);
}

static void input_waits_until_the_guest_has_polled_for_it(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    unsigned polls = 0;
    for (; !fake_type(&r->chr, "x", 1) && polls < 1000; polls++)
        assert_false(data_ready(r));
    assert_in_range(polls, 32, 100);
    assert_int_equal(r->chr.resumed, 1);
    assert_true(data_ready(r));
    assert_int_equal(in8(r, PORT), 'x');
    out8(r, PORT, 'x'); /* an echo changes nothing */
    assert_int_equal(fake_type(&r->chr, "y", 1), 1);
    assert_int_equal(in8(r, PORT), 'y');
    out8(r, PORT + 2, 0x07); /* another driver takes over */
    assert_int_equal(fake_type(&r->chr, "z", 1), 0);
}

static void looking_at_lsr_before_or_after_each_character_written_is_no_polling(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    for (unsigned i = 0; i < 1000; i++) {
        in8(r, PORT + 5);
        out8(r, PORT, 'o');
    }
    assert_int_equal(fake_type(&r->chr, "x", 1), 0);
    r->chr.accept = 0;
    out8(r, PORT, 'o');
    for (unsigned i = 0; i < 1000; i++) /* waits for the transmitter */
        assert_int_equal(in8(r, PORT + 5) & 0x20, 0);
    assert_int_equal(fake_type(&r->chr, "x", 1), 0);
}

static void a_guest_that_polls_and_shows_progress_is_heard(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    for (unsigned i = 0; i < 100; i++) {
        in8(r, PORT + 5);
        in8(r, PORT + 5);
        out8(r, PORT, '.');
    }
    assert_int_equal(fake_type(&r->chr, "x", 1), 1);
}

static void a_guest_that_polls_iir_is_heard(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    out8(r, PORT + 1, 0x01);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(in8(r, PORT + 2), 0x01);
    assert_int_equal(fake_type(&r->chr, "x", 1), 1);
    assert_int_equal(in8(r, PORT + 2), 0x04);
}

/* What Linux 6.1's 8250 driver writes and reads, from its tests of the chip to the end of the first open of
 * the terminal. Offset, value; -1: a read. Somebody types all the while. */
static void nothing_typed_is_lost_while_linux_starts_its_driver(void **state)
{
    static const struct {
        uint8_t reg;
        int value;
    } step[] = {
        {1, -1},   {1, 0x00}, {1, -1},   {1, 0x0f}, {1, -1},   {1, 0x00}, {4, -1},   {3, -1},
        {4, 0x1a}, {6, -1},   {4, 0x00}, {3, 0xbf}, {2, 0x00}, {3, 0x00}, {2, 0x01}, {2, -1},
        {3, 0x00}, {4, 0x00}, {2, 0x01}, {2, 0x07}, {2, 0x00}, {0, -1},   {1, 0x00},            /* found */
        {1, 0x00}, {3, 0x93}, {0, 0x01}, {1, 0x00}, {3, 0x13}, {2, 0x01}, {2, 0x81}, {4, 0x03}, /* console */
        {2, 0x01}, {2, 0x07}, {2, 0x00}, {5, -1},   {0, -1},   {2, -1},   {6, -1},   {5, -1},
        {3, 0x03}, {4, 0x08}, {1, 0x02}, {5, -1},   {2, -1},   {1, 0x00}, {5, -1},   {0, -1},
        {2, -1},   {6, -1}, /* opened */
        {1, 0x05}, {3, 0x93}, {0, 0x01}, {1, 0x00}, {3, 0x13}, {2, 0x01}, {2, 0x81}, {4, 0x0b},
        {4, 0x0b}, {1, 0x05},
    };
    static const char text[] = "echo what was typed early arrives whole\n";
    struct rig *r = ((struct ctx *)*state)->r;
    char got[sizeof(text)] = "";
    size_t typed = 0, n = 0;
    for (unsigned i = 0; i < ARRAY_LEN(step); i++) {
        typed += fake_type(&r->chr, text + typed, strlen(text) - typed);
        if (step[i].value < 0)
            in8(r, (uint16_t)(PORT + step[i].reg));
        else
            out8(r, (uint16_t)(PORT + step[i].reg), (uint8_t)step[i].value);
    }
    while (n < strlen(text) &&
           (typed += fake_type(&r->chr, text + typed, strlen(text) - typed), data_ready(r)))
        got[n++] = (char)in8(r, PORT);
    assert_string_equal(got, text);
}

static void clearing_the_fifo_drops_what_the_guest_has_seen_and_no_more(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    listen(r);
    out8(r, PORT + 2, 0x01);
    fake_type(&r->chr, "abc", 3);
    out8(r, PORT + 2, 0x03);
    assert_true(r->level[IRQ]);
    assert_true(data_ready(r)); /* nobody knew of them; now it is known */
    fake_type(&r->chr, "de", 2);
    out8(r, PORT + 2, 0x03);
    assert_int_equal(in8(r, PORT), 'd');
    assert_int_equal(in8(r, PORT), 'e');
    assert_false(data_ready(r));
    assert_false(r->level[IRQ]);
}

static void what_the_backend_brings_too_late_waits(void **state)
{
    struct rig *r = ((struct ctx *)*state)->r;
    listen(r);
    out8(r, PORT + 2, 0x01);
    assert_int_equal(r->chr.client.can_receive(r->chr.client.opaque), 16);
    out8(r, PORT + 1, 0x00);
    out8(r, PORT + 2, 0x00);
    r->chr.client.receive(r->chr.client.opaque, (const uint8_t *)"0123456789abcdef", 16);
    assert_false(data_ready(r));
    assert_int_equal(r->chr.client.can_receive(r->chr.client.opaque), 0);
    device_reset(serial_device(((struct ctx *)*state)->s));
    listen(r);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(r->chr.client.can_receive(r->chr.client.opaque), 0);
        assert_int_equal(in8(r, PORT), "0123456789abcdef"[i]);
    }
    assert_int_equal(r->chr.client.can_receive(r->chr.client.opaque), 1);
}

/* Whatever the guest does, but for looking into LSR and clearing then: it gets all that was typed, in order.
 */
static void no_sequence_of_writes_loses_or_reorders_what_was_not_seen(void **state)
{
    struct ctx *c = *state;
    uint64_t seed = 7;
    uint8_t next = 1, want = 1;
    unsigned got = 0;
    for (unsigned i = 0; i < 400000; i++) {
        uint32_t v = rig_random(&seed);
        uint8_t bytes[3] = {next, (uint8_t)(next % 255 + 1), (uint8_t)(next % 255 + 2)};
        if (bytes[1] == 255)
            bytes[2] = 1;
        switch (v >> 8 & 15) {
        case 0:
            out8(c->r, PORT + 1, v & 0x0f);
            break;
        case 1:
            out8(c->r, PORT + 2, (uint8_t)v);
            break;
        case 2:
            out8(c->r, PORT + 4, v & 0x0f);
            break;
        case 3:
            in8(c->r, PORT + 2);
            break;
        case 4:
            if (!(v & 0xff))
                device_reset(serial_device(c->s));
            break;
        case 5:
        case 6:
        case 7:
        case 8:
            for (size_t n = fake_type(&c->r->chr, bytes, 1 + (v & 1) * 2); n; n--)
                next = (uint8_t)(next % 255 + 1);
            break;
        default:
            if ((v = in8(c->r, PORT)) != 0) {
                assert_int_equal(v, want);
                want = (uint8_t)(want % 255 + 1);
                got++;
            }
        }
    }
    assert_true(got > 10000);
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

static void characters_on_the_line_are_saved(void **state)
{
    struct ctx *c = *state;
    struct rig *r2 = rig_new();
    struct serial *s2 = make(r2);
    listen(c->r);
    out8(c->r, PORT + 2, 0x01);
    fake_type(&c->r->chr, "abc", 3);
    out8(c->r, PORT + 1, 0x00);
    out8(c->r, PORT + 2, 0x03);
    rig_save_load_compare(serial_device(c->s), serial_device(s2));
    assert_false(data_ready(r2));
    out8(r2, PORT + 1, 0x01);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(in8(r2, PORT), "abc"[i]);
    device_free(serial_device(s2));
    rig_free(r2);
}

/* Version 1 ended with the transmit FIFO, and held nothing back. */
static void a_machine_saved_by_version_1_takes_input_as_before(void **state)
{
    struct ctx *c = *state;
    struct saved obj;
    struct buf bytes = {0};
    struct err e = {""};
    assert_int_equal(serial_device(c->s)->ops->saved(serial_device(c->s), &obj, 1), 1);
    assert_int_equal(fake_type(&c->r->chr, "x", 1), 0);
    struct field_table old = *obj.table;
    old.version = 1;
    while (old.fields[old.count - 1].since > 1)
        old.count--;
    assert_string_equal(old.fields[old.count - 1].name, "tx.count");
    state_put(&bytes, &old, obj.obj);
    struct rbuf in = rbuf_of(bytes.data, bytes.len);
    if (state_get(&in, obj.table, 1, obj.obj, &e))
        fail_msg("load: %s", e.msg);
    buf_free(&bytes);
    assert_int_equal(device_loaded(serial_device(c->s), &e), 0);
    assert_int_equal(fake_type(&c->r->chr, "x", 1), 1);
    assert_int_equal(in8(c->r, PORT), 'x');
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
        T(input_waits_for_receive_interrupts_and_out2),
        T(input_waits_until_the_guest_has_polled_for_it),
        T(looking_at_lsr_before_or_after_each_character_written_is_no_polling),
        T(a_guest_that_polls_and_shows_progress_is_heard),
        T(a_guest_that_polls_iir_is_heard),
        T(nothing_typed_is_lost_while_linux_starts_its_driver),
        T(clearing_the_fifo_drops_what_the_guest_has_seen_and_no_more),
        T(what_the_backend_brings_too_late_waits),
        T(no_sequence_of_writes_loses_or_reorders_what_was_not_seen),
        T(state_survives_save_and_load_mid_way),
        T(characters_on_the_line_are_saved),
        T(a_machine_saved_by_version_1_takes_input_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
