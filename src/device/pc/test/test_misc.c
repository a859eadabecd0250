/* The small ones (ACPI registers, control ports, test devices), and what holds for every chip: no access
 * sequence does harm. */
#include <time.h>
#include "rig.h"
#include "base/log.h"
#include "device/pc/acpi_pm.h"
#include "device/pc/i8042.h"
#include "device/pc/ioapic.h"
#include "device/pc/pic.h"
#include "device/pc/pit.h"
#include "device/pc/rtc.h"
#include "device/pc/serial.h"
#include "device/pc/sysctl.h"
#include "device/pc/testdev.h"

#define IOAPIC_BASE 0xfec00000ull
#define IOMEM_BASE  0xff000000ull

enum { CHIPS = 10 };

/* All of them on one bench. */
struct set {
    struct rig *r;
    struct serial *serial;
    struct rtc *rtc;
    struct i8042 *i8042;
    struct ioapic *ioapic;
    struct pic *pic;
    struct pit *pit;
    struct acpi_pm *acpi;
    struct sysctl *sysctl;
    struct testdev *testdev;
    struct debugexit *debugexit;
    struct device *all[CHIPS];
};

static struct set *set_new(void)
{
    struct set *s = calloc(1, sizeof(*s));
    struct rig *r = s->r = rig_new();
    struct testdev_config tc = {
        .bus = r->bus, .mem = r->mem, .port = 0xe0, .irq_port = 0x2000, .iomem = IOMEM_BASE};
    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        tc.irq[i] = rig_line(r, i);
    s->all[0] = serial_device(s->serial = serial_new(&(struct serial_config){.bus = r->bus,
                                                                             .port = 0x3f8,
                                                                             .irq = rig_line(r, 4),
                                                                             .clock = r->clock,
                                                                             .loop = r->loop,
                                                                             .chr = &r->chr.chr},
                                                     &r->err));
    s->all[1] = rtc_device(
        s->rtc = rtc_new(
            &(struct rtc_config){
                .bus = r->bus, .port = 0x70, .irq = rig_line(r, 8), .clock = r->clock, .loop = r->loop},
            &r->err));
    s->all[2] = i8042_device(s->i8042 = i8042_new(&(struct i8042_config){.bus = r->bus,
                                                                         .data_port = 0x60,
                                                                         .command_port = 0x64,
                                                                         .kbd_irq = rig_line(r, 1),
                                                                         .aux_irq = rig_line(r, 12),
                                                                         .keyboard = true,
                                                                         .reset = rig_reset_cb,
                                                                         .opaque = r},
                                                  &r->err));
    s->all[3] = ioapic_device(
        s->ioapic = ioapic_new(
            &(struct ioapic_config){.mem = r->mem, .base = IOAPIC_BASE, .msi = {rig_msi, r}}, &r->err));
    s->all[4] = pic_device(s->pic = pic_new(&(struct pic_config){.bus = r->bus,
                                                                 .master_port = 0x20,
                                                                 .slave_port = 0xa0,
                                                                 .elcr_port = 0x4d0,
                                                                 .out = rig_line(r, 31)},
                                            &r->err));
    s->all[5] = pit_device(s->pit = pit_new(&(struct pit_config){.bus = r->bus,
                                                                 .port = 0x40,
                                                                 .control_port = 0x61,
                                                                 .irq = rig_line(r, 0),
                                                                 .clock = r->clock,
                                                                 .loop = r->loop},
                                            &r->err));
    s->all[6] = acpi_pm_device(s->acpi = acpi_pm_new(&(struct acpi_pm_config){.bus = r->bus,
                                                                              .port = 0x600,
                                                                              .irq = rig_line(r, 9),
                                                                              .power_off = rig_power_off_cb,
                                                                              .reset = rig_reset_cb,
                                                                              .opaque = r},
                                                     &r->err));
    s->all[7] = sysctl_device(s->sysctl = sysctl_new(&(struct sysctl_config){.bus = r->bus,
                                                                             .port_a = 0x92,
                                                                             .pvpanic_port = 0x505,
                                                                             .reset = rig_reset_cb,
                                                                             .panic = rig_panic_cb,
                                                                             .opaque = r},
                                                     &r->err));
    s->all[8] = testdev_device(s->testdev = testdev_new(&tc, &r->err));
    s->all[9] = debugexit_device(
        s->debugexit = debugexit_new(
            &(struct debugexit_config){.bus = r->bus, .port = 0xf4, .exit = rig_exit_cb, .opaque = r},
            &r->err));
    return s;
}

static void set_free(struct set *s)
{
    for (unsigned i = CHIPS; i-- > 0;)
        device_free(s->all[i]);
    rig_free(s->r);
    free(s);
}

static int setup(void **state)
{
    *state = set_new();
    return 0;
}

static int teardown(void **state)
{
    set_free(*state);
    return 0;
}

static void writing_sleep_type_5_with_enable_powers_off(void **state)
{
    struct rig *r = ((struct set *)*state)->r;
    out8(r, 0x600, 0x14);
    assert_int_equal(r->power_offs, 0);
    out8(r, 0x600, 0x2c);
    assert_int_equal(r->power_offs, 0);
    out8(r, 0x600, 0x34);
    assert_int_equal(r->power_offs, 1);
    assert_int_equal(in8(r, 0x600), 0x14);
    out8(r, 0x602, 1);
    assert_int_equal(r->resets, 1);
}

static void the_power_button_raises_its_wire_until_the_event_is_read(void **state)
{
    struct set *s = *state;
    acpi_pm_power_button(s->acpi);
    assert_true(s->r->level[9]);
    assert_int_equal(in8(s->r, 0x603), 1);
    assert_false(s->r->level[9]);
    assert_int_equal(in8(s->r, 0x603), 0);
}

static void port_92_resets_on_its_rising_bit_and_keeps_a20(void **state)
{
    struct rig *r = ((struct set *)*state)->r;
    assert_int_equal(in8(r, 0x92), 0x02);
    out8(r, 0x92, 0x03);
    out8(r, 0x92, 0x03);
    assert_int_equal(r->resets, 1);
    assert_int_equal(in8(r, 0x505), 0x03);
    out8(r, 0x505, 0x01);
    assert_int_equal(r->panics, 1);
}

static void debug_exit_reports_the_value_written(void **state)
{
    struct rig *r = ((struct set *)*state)->r;
    bus_write(r->bus, 0xf4, 4, 0x12345678);
    assert_int_equal(r->exits, 1);
    assert_int_equal(r->exit_code, 0x12345678);
}

static void the_test_device_echoes_and_drives_wires(void **state)
{
    struct rig *r = ((struct set *)*state)->r;
    bus_write(r->bus, 0xe0, 4, 0x11223344);
    assert_int_equal(bus_read(r->bus, 0xe0, 4), 0x11223344);
    assert_int_equal(in8(r, 0xe1), 0x33);
    assert_int_equal(bus_read(r->bus, 0xe8, 4), 0x11223344);
    bus_write(r->bus, 0xe2, 2, 0xaabb);
    assert_int_equal(bus_read(r->bus, 0xe0, 4), 0xaabb3344);
    out8(r, 0x2000 + 14, 1);
    assert_true(r->level[14]);
    out8(r, 0x2000 + 14, 0);
    assert_false(r->level[14]);
    mem_mmio_write(r->mem, IOMEM_BASE + 8, 8, 0x1122334455667788ull);
    assert_true(mem_mmio_read(r->mem, IOMEM_BASE + 8, 8) == 0x1122334455667788ull);
}

/* One random access somewhere in the set's ports and registers, or an event from outside. */
static void poke(struct set *s, uint64_t *seed)
{
    static const uint16_t port[][2] = {{0x20, 2},  {0x40, 4},  {0x60, 5},   {0x70, 2},  {0x92, 1},
                                       {0xa0, 2},  {0xe0, 12}, {0xf4, 4},   {0x3f8, 8}, {0x4d0, 2},
                                       {0x505, 1}, {0x600, 4}, {0x2000, 24}};
    struct rig *r = s->r;
    uint32_t what = rig_random(seed), v = rig_random(seed);
    unsigned size = 1u << (what >> 8 & 3 ? 0 : what >> 10 & 1 ? 1 : 2), group = what % ARRAY_LEN(port);
    uint16_t at = (uint16_t)(port[group][0] + rig_random(seed) % port[group][1]);
    struct irq_line pin = ioapic_input(s->ioapic, v % IOAPIC_INPUTS);
    switch (what >> 12 & 15) {
    case 0:
        mem_mmio_write(r->mem, IOAPIC_BASE + (what >> 16 & 0x50), 4, v & 0xff);
        break;
    case 1:
        mem_mmio_write(r->mem, IOAPIC_BASE + 0x10, size, rig_random(seed));
        break;
    case 2:
        mem_mmio_read(r->mem, IOAPIC_BASE + (v & 0xfff), 1);
        mem_mmio_write(r->mem, IOMEM_BASE + (v & 0xffff), size, v);
        break;
    case 3:
        irq_set(&pin, v >> 31);
        if (v % 16 != 2) {
            pin = pic_input(s->pic, v % 16);
            irq_set(&pin, v >> 30 & 1);
        }
        break;
    case 4:
        ioapic_eoi(s->ioapic, (uint8_t)v);
        pic_ack(s->pic);
        break;
    case 5:
        rig_advance(r, v);
        i8042_ctrl_alt_del(s->i8042);
        acpi_pm_power_button(s->acpi);
        break;
    case 6:
        r->chr.accept = v % 20;
        fake_type(&r->chr, &v, sizeof(v));
        r->chr.client.writable(r->chr.client.opaque);
        break;
    case 7:
    case 8:
    case 9:
    case 10:
        bus_read(r->bus, at, size);
        break;
    default:
        bus_write(r->bus, at, size, v);
        break;
    }
}

static void no_sequence_of_accesses_crashes_and_any_state_saves_and_loads(void **state)
{
    struct set *s = *state;
    uint64_t seed = 1;
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned i = 0; i < 3000; i++)
            poke(s, &seed);
        struct set *other = set_new();
        clock_set(other->r->clock, clock_now(s->r->clock));
        for (unsigned i = 0; i < CHIPS; i++)
            rig_save_load_compare(s->all[i], other->all[i]);
        for (unsigned i = 0; i < 300; i++)
            poke(other, &seed);
        set_free(other);
        if (round % 10 == 9)
            for (unsigned i = 0; i < CHIPS; i++)
                device_reset(s->all[i]);
    }
}

/* Bytes from a file that somebody made up: refused (then the machine is thrown away), or taken, and then
 * nothing they do does harm. */
static void no_saved_bytes_crash(void **state)
{
    struct set *s = *state;
    uint64_t seed = 7;
    struct err e;
    unsigned refused = 0;
    for (unsigned round = 0; round < 3000; round++) {
        struct device *d = s->all[rig_random(&seed) % 8];
        struct saved obj[8];
        struct buf b = {0};
        device_saved(d, obj, 8);
        state_put(&b, obj[0].table, obj[0].obj);
        for (unsigned n = rig_random(&seed) % 4 + 1; n; n--)
            b.data[rig_random(&seed) % b.len] = (uint8_t)rig_random(&seed);
        struct rbuf in = rbuf_of(b.data, b.len);
        bool bad =
            state_get(&in, obj[0].table, obj[0].table->version, obj[0].obj, &e) || device_loaded(d, &e);
        buf_free(&b);
        if (bad) {
            refused++;
            set_free(s);
            s = *state = set_new();
            continue;
        }
        for (unsigned i = 0; i < 50; i++)
            poke(s, &seed);
    }
    assert_true(refused > 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(writing_sleep_type_5_with_enable_powers_off),
        T(the_power_button_raises_its_wire_until_the_event_is_read),
        T(port_92_resets_on_its_rising_bit_and_keeps_a20),
        T(debug_exit_reports_the_value_written),
        T(the_test_device_echoes_and_drives_wires),
        T(no_sequence_of_accesses_crashes_and_any_state_saves_and_loads),
        T(no_saved_bytes_crash),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
