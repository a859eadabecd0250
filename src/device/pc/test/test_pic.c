#include <time.h>
#include "rig.h"
#include "device/pc/pic.h"

enum { M = 0x20, S = 0xa0, ELCR = 0x4d0, INTR = 0 };

struct ctx {
    struct rig *r;
    struct pic *p;
};

static struct pic *make(struct rig *r)
{
    struct pic_config cfg = {
        .bus = r->bus, .master_port = M, .slave_port = S, .elcr_port = ELCR, .out = rig_line(r, INTR)};
    struct pic *p = pic_new(&cfg, &r->err);
    assert_non_null(p);
    return p;
}

static void init(struct rig *r, uint8_t icw4)
{
    out8(r, M, 0x11), out8(r, M + 1, 0x30), out8(r, M + 1, 0x04), out8(r, M + 1, icw4);
    out8(r, S, 0x11), out8(r, S + 1, 0x38), out8(r, S + 1, 0x02), out8(r, S + 1, 0x01);
}

static int setup(void **state)
{
    static struct ctx c;
    c.r = rig_new();
    c.p = make(c.r);
    init(c.r, 0x01);
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    device_free(pic_device(c->p));
    rig_free(c->r);
    return 0;
}

static void set(struct ctx *c, unsigned irq, bool level)
{
    struct irq_line l = pic_input(c->p, irq);
    irq_set(&l, level);
}

static void an_edge_raises_intr_and_the_acknowledge_gives_base_plus_input(void **state)
{
    struct ctx *c = *state;
    set(c, 4, true);
    assert_true(c->r->level[INTR]);
    assert_int_equal(pic_ack(c->p), 0x34);
    assert_false(c->r->level[INTR]);
    out8(c->r, M, 0x0b);
    assert_int_equal(in8(c->r, M), 0x10); /* in service */
    out8(c->r, M, 0x20);
    assert_int_equal(in8(c->r, M), 0x00);
    assert_false(c->r->level[INTR]); /* the wire is still high: no second edge */
    set(c, 4, false);
    set(c, 4, true);
    assert_int_equal(pic_ack(c->p), 0x34);
}

static void the_slave_comes_through_the_cascade(void **state)
{
    struct ctx *c = *state;
    set(c, 8, true);
    set(c, 12, true);
    assert_int_equal(pic_ack(c->p), 0x38);
    assert_false(c->r->level[INTR]); /* 12 is lower */
    out8(c->r, S, 0x20);
    out8(c->r, M, 0x20);
    assert_int_equal(pic_ack(c->p), 0x3c);
    out8(c->r, S, 0x0b);
    out8(c->r, M, 0x0b);
    assert_int_equal(in8(c->r, S), 0x10);
    assert_int_equal(in8(c->r, M), 0x04);
}

static void a_higher_input_interrupts_a_lower_one_and_not_the_other_way_round(void **state)
{
    struct ctx *c = *state;
    set(c, 5, true);
    assert_int_equal(pic_ack(c->p), 0x35);
    set(c, 6, true);
    assert_false(c->r->level[INTR]);
    set(c, 1, true);
    assert_int_equal(pic_ack(c->p), 0x31);
    out8(c->r, M, 0x20); /* non-specific: the highest in service */
    out8(c->r, M, 0x0b);
    assert_int_equal(in8(c->r, M), 0x20);
    out8(c->r, M, 0x65); /* specific */
    assert_int_equal(pic_ack(c->p), 0x36);
}

static void a_mask_holds_a_request_and_keeps_it(void **state)
{
    struct ctx *c = *state;
    out8(c->r, M + 1, 0x10);
    assert_int_equal(in8(c->r, M + 1), 0x10);
    set(c, 4, true);
    assert_false(c->r->level[INTR]);
    assert_int_equal(pic_ack(c->p), -1);
    out8(c->r, M, 0x0a);
    assert_int_equal(in8(c->r, M), 0x10);
    out8(c->r, M + 1, 0);
    assert_true(c->r->level[INTR]);
}

static void level_inputs_ask_as_long_as_their_wire_is_high(void **state)
{
    struct ctx *c = *state;
    out8(c->r, ELCR, 0xff);
    out8(c->r, ELCR + 1, 0xff);
    assert_int_equal(in8(c->r, ELCR), 0xf8); /* timer, keyboard and cascade stay edges */
    assert_int_equal(in8(c->r, ELCR + 1), 0xde);
    set(c, 5, true);
    assert_int_equal(pic_ack(c->p), 0x35);
    out8(c->r, M, 0x20);
    assert_true(c->r->level[INTR]);
    set(c, 5, false);
    assert_false(c->r->level[INTR]);
    set(c, 11, true);
    assert_int_equal(pic_ack(c->p), 0x3b);
    set(c, 11, false);
    out8(c->r, S, 0x20);
    out8(c->r, M, 0x20);
    assert_false(c->r->level[INTR]);
}

static void automatic_eoi_leaves_nothing_in_service(void **state)
{
    struct ctx *c = *state;
    init(c->r, 0x03);
    set(c, 3, true);
    assert_int_equal(pic_ack(c->p), 0x33);
    out8(c->r, M, 0x0b);
    assert_int_equal(in8(c->r, M), 0);
}

static void rotation_makes_the_served_input_the_lowest(void **state)
{
    struct ctx *c = *state;
    set(c, 3, true);
    assert_int_equal(pic_ack(c->p), 0x33);
    out8(c->r, M, 0xa0); /* rotate on non-specific EOI: 4 is now highest, 3 lowest */
    set(c, 1, true);
    set(c, 6, true);
    assert_int_equal(pic_ack(c->p), 0x36);
    out8(c->r, M, 0x20);
    out8(c->r, M, 0xc7); /* set priority: 7 lowest, 0 highest again */
    assert_int_equal(pic_ack(c->p), 0x31);
}

static void special_mask_mode_lets_lower_inputs_through(void **state)
{
    struct ctx *c = *state;
    set(c, 3, true);
    assert_int_equal(pic_ack(c->p), 0x33);
    set(c, 6, true);
    assert_false(c->r->level[INTR]);
    out8(c->r, M + 1, 0x08);
    assert_false(c->r->level[INTR]);
    out8(c->r, M, 0x68);
    assert_true(c->r->level[INTR]);
    assert_int_equal(pic_ack(c->p), 0x36);
    out8(c->r, M, 0x48);
}

static void special_fully_nested_mode_lets_the_slave_interrupt_itself(void **state)
{
    struct ctx *c = *state;
    init(c->r, 0x11);
    set(c, 12, true);
    assert_int_equal(pic_ack(c->p), 0x3c);
    set(c, 3, true);
    assert_false(c->r->level[INTR]); /* below the cascade */
    set(c, 8, true);
    assert_int_equal(pic_ack(c->p), 0x38);
}

static void the_poll_command_acknowledges_without_an_interrupt(void **state)
{
    struct ctx *c = *state;
    out8(c->r, M, 0x0c);
    assert_int_equal(in8(c->r, M) & 0x80, 0);
    set(c, 5, true);
    out8(c->r, M, 0x0c);
    assert_int_equal(in8(c->r, M), 0x85);
    assert_false(c->r->level[INTR]);
    out8(c->r, M, 0x0b);
    assert_int_equal(in8(c->r, M), 0x20);
    out8(c->r, M, 0x20);
    set(c, 9, true);
    out8(c->r, S, 0x0c);
    assert_int_equal(in8(c->r, S), 0x81);
    assert_false(c->r->level[INTR]);
}

static void initialization_needs_its_words_in_order_and_clears_the_mask(void **state)
{
    struct ctx *c = *state;
    out8(c->r, M + 1, 0xff);
    out8(c->r, M, 0x12); /* single, no ICW4 */
    out8(c->r, M + 1, 0x57);
    assert_int_equal(in8(c->r, M + 1), 0x00);
    out8(c->r, M + 1, 0x20);
    assert_int_equal(in8(c->r, M + 1), 0x20);
    set(c, 7, true);
    assert_int_equal(pic_ack(c->p), 0x57);
}

static void state_survives_save_and_load_mid_way(void **state)
{
    struct ctx *c = *state;
    struct rig *r2 = rig_new();
    struct pic *p2 = make(r2);
    set(c, 10, true);
    set(c, 6, true);
    pic_ack(c->p);
    out8(c->r, M, 0x11);
    set(c, 1, true);
    out8(c->r, M + 1, 0x30);
    rig_save_load_compare(pic_device(c->p), pic_device(p2));
    assert_int_equal(c->r->level[INTR], r2->level[INTR]);
    device_free(pic_device(p2));
    rig_free(r2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_edge_raises_intr_and_the_acknowledge_gives_base_plus_input),
        T(the_slave_comes_through_the_cascade),
        T(a_higher_input_interrupts_a_lower_one_and_not_the_other_way_round),
        T(a_mask_holds_a_request_and_keeps_it),
        T(level_inputs_ask_as_long_as_their_wire_is_high),
        T(automatic_eoi_leaves_nothing_in_service),
        T(rotation_makes_the_served_input_the_lowest),
        T(special_mask_mode_lets_lower_inputs_through),
        T(special_fully_nested_mode_lets_the_slave_interrupt_itself),
        T(the_poll_command_acknowledges_without_an_interrupt),
        T(initialization_needs_its_words_in_order_and_clears_the_mask),
        T(state_survives_save_and_load_mid_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
