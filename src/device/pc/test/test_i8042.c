#include <time.h>
#include "rig.h"
#include "device/pc/i8042.h"

enum { DATA = 0x60, CMD = 0x64, KBD = 1, AUX = 12 };

struct ctx {
    struct rig *r;
    struct i8042 *k;
};

static struct i8042 *make(struct rig *r, bool keyboard)
{
    struct i8042_config cfg = {.bus = r->bus,
                               .data_port = DATA,
                               .command_port = CMD,
                               .kbd_irq = rig_line(r, KBD),
                               .aux_irq = rig_line(r, AUX),
                               .keyboard = keyboard,
                               .reset = rig_reset_cb,
                               .opaque = r};
    struct i8042 *k = i8042_new(&cfg, &r->err);
    assert_non_null(k);
    return k;
}

static struct ctx ctx;

static int setup(void **state)
{
    ctx.r = rig_new();
    ctx.k = make(ctx.r, false);
    *state = &ctx;
    return 0;
}

static int setup_keyboard(void **state)
{
    ctx.r = rig_new();
    ctx.k = make(ctx.r, true);
    *state = &ctx;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    device_free(i8042_device(c->k));
    rig_free(c->r);
    return 0;
}

static int answer(struct ctx *c)
{
    return in8(c->r, CMD) & 1 ? in8(c->r, DATA) : -1;
}

static void command_fe_resets_the_machine(void **state)
{
    struct ctx *c = *state;
    out8(c->r, CMD, 0xfe);
    assert_int_equal(c->r->resets, 1);
    out8(c->r, CMD, 0xff);
    assert_int_equal(c->r->resets, 1);
    out8(c->r, CMD, 0xd1);
    out8(c->r, DATA, 0xfe);
    assert_int_equal(c->r->resets, 2);
}

static void self_tests_pass_and_the_configuration_byte_is_kept(void **state)
{
    struct ctx *c = *state;
    out8(c->r, CMD, 0xaa);
    assert_int_equal(answer(c), 0x55);
    out8(c->r, CMD, 0xab);
    assert_int_equal(answer(c), 0x00);
    out8(c->r, CMD, 0xa9);
    assert_int_equal(answer(c), 0x00);
    out8(c->r, CMD, 0x60);
    out8(c->r, DATA, 0x47);
    out8(c->r, CMD, 0x20);
    assert_int_equal(answer(c), 0x47);
    out8(c->r, CMD, 0xa7);
    out8(c->r, CMD, 0x20);
    assert_int_equal(answer(c), 0x67);
    assert_int_equal(answer(c), -1);
}

static void empty_ports_answer_at_once_with_a_time_out(void **state)
{
    struct ctx *c = *state;
    out8(c->r, DATA, 0xf2);
    assert_int_equal(in8(c->r, CMD) & 0x61, 0x41);
    assert_int_equal(answer(c), 0xfe);
    out8(c->r, CMD, 0xd4);
    out8(c->r, DATA, 0xf2);
    assert_int_equal(in8(c->r, CMD) & 0x61, 0x61);
    assert_int_equal(answer(c), 0xfe);
    assert_int_equal(in8(c->r, CMD) & 0x61, 0);
}

static void looped_bytes_come_back_as_from_their_port_with_its_interrupt(void **state)
{
    struct ctx *c = *state;
    out8(c->r, CMD, 0x60);
    out8(c->r, DATA, 0x03);
    out8(c->r, CMD, 0xd3);
    out8(c->r, DATA, 0x5a);
    assert_int_equal(in8(c->r, CMD) & 0x21, 0x21);
    assert_true(c->r->level[AUX]);
    assert_false(c->r->level[KBD]);
    assert_int_equal(answer(c), 0x5a);
    assert_false(c->r->level[AUX]);
    out8(c->r, CMD, 0xd2);
    out8(c->r, DATA, 0xa5);
    assert_true(c->r->level[KBD]);
    assert_int_equal(answer(c), 0xa5);
}

static void a_keyboard_identifies_and_resets(void **state)
{
    struct ctx *c = *state;
    out8(c->r, CMD, 0x60);
    out8(c->r, DATA, 0x01); /* untranslated */
    out8(c->r, DATA, 0xff);
    assert_int_equal(answer(c), 0xfa);
    assert_int_equal(answer(c), 0xaa);
    out8(c->r, DATA, 0xf2);
    assert_int_equal(answer(c), 0xfa);
    assert_int_equal(answer(c), 0xab);
    assert_int_equal(answer(c), 0x83);
    out8(c->r, DATA, 0xed);
    assert_int_equal(answer(c), 0xfa);
    out8(c->r, DATA, 0x02);
    assert_int_equal(answer(c), 0xfa);
    out8(c->r, DATA, 0xee);
    assert_int_equal(answer(c), 0xee);
    out8(c->r, DATA, 0xf0);
    assert_int_equal(answer(c), 0xfa);
    out8(c->r, DATA, 0x00);
    assert_int_equal(answer(c), 0xfa);
    assert_int_equal(answer(c), 0x02);
}

static void ctrl_alt_del_is_typed_in_scan_code_set_1_with_an_interrupt_per_byte(void **state)
{
    struct ctx *c = *state;
    const int want[] = {0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d, -1};
    i8042_ctrl_alt_del(c->k);
    for (unsigned i = 0; i < ARRAY_LEN(want); i++)
        assert_int_equal(answer(c), want[i]);
    assert_int_equal(c->r->rises[KBD], 8);
}

static void without_a_keyboard_ctrl_alt_del_does_nothing(void **state)
{
    struct ctx *c = *state;
    i8042_ctrl_alt_del(c->k);
    assert_int_equal(answer(c), -1);
}

static void state_survives_save_and_load_mid_way(void **state)
{
    struct ctx *c = *state;
    struct rig *r2 = rig_new();
    struct i8042 *k2 = make(r2, true);
    struct ctx c2 = {r2, k2};
    i8042_ctrl_alt_del(c->k);
    answer(c);
    out8(c->r, CMD, 0xd1);
    rig_save_load_compare(i8042_device(c->k), i8042_device(k2));
    assert_true(r2->level[KBD]);
    assert_int_equal(answer(&c2), 0x38);
    device_free(i8042_device(k2));
    rig_free(r2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define K(f) cmocka_unit_test_setup_teardown(f, setup_keyboard, teardown)
    const struct CMUnitTest tests[] = {
        T(command_fe_resets_the_machine),
        T(self_tests_pass_and_the_configuration_byte_is_kept),
        T(empty_ports_answer_at_once_with_a_time_out),
        T(looped_bytes_come_back_as_from_their_port_with_its_interrupt),
        K(a_keyboard_identifies_and_resets),
        K(ctrl_alt_del_is_typed_in_scan_code_set_1_with_an_interrupt_per_byte),
        T(without_a_keyboard_ctrl_alt_del_does_nothing),
        K(state_survives_save_and_load_mid_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
