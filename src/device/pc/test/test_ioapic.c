#include <time.h>
#include "rig.h"
#include "device/pc/ioapic.h"

#define BASE 0xfec00000ull

struct ctx {
    struct rig *r;
    struct ioapic *a;
};

static struct ioapic *make(struct rig *r)
{
    struct ioapic_config cfg = {.mem = r->mem, .base = BASE, .id = 2, .msi = {rig_msi, r}};
    struct ioapic *a = ioapic_new(&cfg, &r->err);
    assert_non_null(a);
    return a;
}

static int setup(void **state)
{
    static struct ctx c;
    c.r = rig_new();
    c.a = make(c.r);
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    device_free(ioapic_device(c->a));
    rig_free(c->r);
    return 0;
}

static uint32_t reg(struct ctx *c, uint8_t i)
{
    mem_mmio_write(c->r->mem, BASE, 4, i);
    return (uint32_t)mem_mmio_read(c->r->mem, BASE + 0x10, 4);
}

static void set_reg(struct ctx *c, uint8_t i, uint32_t v)
{
    mem_mmio_write(c->r->mem, BASE, 4, i);
    mem_mmio_write(c->r->mem, BASE + 0x10, 4, v);
}

static void rte(struct ctx *c, unsigned pin, uint64_t v)
{
    set_reg(c, (uint8_t)(0x11 + 2 * pin), (uint32_t)(v >> 32));
    set_reg(c, (uint8_t)(0x10 + 2 * pin), (uint32_t)v);
}

static void set(struct ctx *c, unsigned pin, bool level)
{
    struct irq_line l = ioapic_input(c->a, pin);
    irq_set(&l, level);
}

static void registers_identify_24_masked_inputs(void **state)
{
    struct ctx *c = *state;
    assert_int_equal(reg(c, 0), 0x02000000);
    assert_int_equal(reg(c, 1), 0x00170020);
    for (unsigned pin = 0; pin < 24; pin++)
        assert_int_equal(reg(c, (uint8_t)(0x10 + 2 * pin)), 0x10000);
    set_reg(c, 0, 0xff000000);
    assert_int_equal(reg(c, 0), 0x0f000000);
    assert_int_equal(reg(c, 0x40), 0);
}

static void an_edge_sends_one_message_with_vector_mode_and_destination(void **state)
{
    struct ctx *c = *state;
    rte(c, 4, 0x0300000000000931ull | 1 << 13); /* logical, lowest priority, active low, to 3 */
    set(c, 4, true);
    assert_int_equal(c->r->msi_count, 1);
    assert_int_equal(c->r->msi[0].address, 0xfee03004);
    assert_int_equal(c->r->msi[0].data, 0x4131);
    set(c, 4, true);
    assert_int_equal(c->r->msi_count, 1);
    set(c, 4, false);
    set(c, 4, true);
    assert_int_equal(c->r->msi_count, 2);
}

static void an_edge_at_a_masked_input_is_lost(void **state)
{
    struct ctx *c = *state;
    rte(c, 4, 0x10031);
    set(c, 4, true);
    rte(c, 4, 0x00031);
    assert_int_equal(c->r->msi_count, 0);
}

static void a_level_sends_again_only_after_eoi(void **state)
{
    struct ctx *c = *state;
    rte(c, 10, 0x8045);
    set(c, 10, true);
    assert_int_equal(c->r->msi_count, 1);
    assert_int_equal(c->r->msi[0].data, 0xc045);
    assert_int_equal(reg(c, 0x24), 0xc045); /* Remote IRR */
    set(c, 10, false);
    set(c, 10, true);
    assert_int_equal(c->r->msi_count, 1);
    ioapic_eoi(c->a, 0x44);
    assert_int_equal(c->r->msi_count, 1);
    ioapic_eoi(c->a, 0x45);
    assert_int_equal(c->r->msi_count, 2);
    set(c, 10, false);
    mem_mmio_write(c->r->mem, BASE + 0x40, 4, 0x45); /* EOI register */
    assert_int_equal(c->r->msi_count, 2);
    assert_int_equal(reg(c, 0x24), 0x8045);
}

static void a_masked_level_is_sent_when_unmasked(void **state)
{
    struct ctx *c = *state;
    rte(c, 10, 0x18045);
    set(c, 10, true);
    assert_int_equal(c->r->msi_count, 0);
    rte(c, 10, 0x8045);
    assert_int_equal(c->r->msi_count, 1);
}

static void remote_irr_is_read_only_and_a_turn_through_edge_mode_clears_it(void **state)
{
    struct ctx *c = *state;
    rte(c, 3, 0x8045 | 0x4000 | 0x1000);
    assert_int_equal(reg(c, 0x16), 0x8045);
    set(c, 3, true);
    rte(c, 3, 0x18045);
    assert_int_equal(reg(c, 0x16), 0x1c045);
    rte(c, 3, 0x10045);
    assert_int_equal(reg(c, 0x16), 0x10045);
    rte(c, 3, 0x8045);
    assert_int_equal(c->r->msi_count, 2);
}

static void state_survives_save_and_load_and_sends_nothing(void **state)
{
    struct ctx *c = *state;
    struct rig *r2 = rig_new();
    struct ioapic *a2 = make(r2);
    rte(c, 10, 0x8045);
    rte(c, 5, 0x0100000000000833ull);
    set(c, 10, true);
    set(c, 5, true);
    rig_save_load_compare(ioapic_device(c->a), ioapic_device(a2));
    struct irq_line l = ioapic_input(a2, 10);
    irq_set(&l, true); /* the device drives its wire again after load */
    assert_int_equal(r2->msi_count, 0);
    ioapic_eoi(a2, 0x45);
    assert_int_equal(r2->msi_count, 1);
    device_free(ioapic_device(a2));
    rig_free(r2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(registers_identify_24_masked_inputs),
        T(an_edge_sends_one_message_with_vector_mode_and_destination),
        T(an_edge_at_a_masked_input_is_lost),
        T(a_level_sends_again_only_after_eoi),
        T(a_masked_level_is_sent_when_unmasked),
        T(remote_irr_is_read_only_and_a_turn_through_edge_mode_clears_it),
        T(state_survives_save_and_load_and_sends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
