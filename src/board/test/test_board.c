/* The board as a whole: wiring, maps, saved state, and hostile accesses everywhere. */
#include "bench.h"
#include <sys/mman.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/log.h"
#include "device/core/device.h"
#include "device/virtio/test/fakes.h"
#include "host/host.h"
#include "state/state.h"

static const struct board_config plain = {.acpi = true, .rng = true};

static void com1_interrupts_through_both_controllers(void **state)
{
    struct bench *b = bench_new(&plain);
    (void)state;
    bench_rte(b, 4, 0x24);
    for (unsigned i = 0; i < 4; i++) {
        static const uint8_t icw[] = {0x11, 0x30, 0x04, 0x01};
        bus_write(b->bus, i ? PORT_PIC_MASTER + 1 : PORT_PIC_MASTER, 1, icw[i]);
    }
    bus_write(b->bus, PORT_COM1 + 4, 1, 0x08);
    bus_write(b->bus, PORT_COM1 + 1, 1, 0x02);
    assert_int_equal(b->msis, 1);
    assert_int_equal(b->last.data & 0xff, 0x24);
    assert_true(b->extint);
    assert_int_equal(b->cb.ack_extint(b->cb.opaque), 0x34);
    assert_false(b->extint);
    assert_int_equal(b->cb.ack_extint(b->cb.opaque), -1);
    bench_free(b);
}

static void stop_at_extint(void *opaque)
{
    struct bench *b = opaque;
    if (b->extint)
        loop_stop(b->loop);
}

static void stop(void *opaque)
{
    loop_stop(((struct bench *)opaque)->loop);
}

/* As a multiboot kernel finds it: vectors from 8 and 0x70, the timer's line and nothing else let through. */
static void a_bios_has_left_the_timer_at_vector_8(void **state)
{
    struct bench *b = bench_new(&plain);
    (void)state;
    board_bios_interrupts(b->board);
    assert_int_equal(bus_read(b->bus, PORT_PIC_MASTER + 1, 1), 0xfa);
    assert_int_equal(bus_read(b->bus, PORT_PIC_SLAVE + 1, 1), 0xff);
    bus_write(b->bus, PORT_COM1 + 4, 1, 0x08);
    bus_write(b->bus, PORT_COM1 + 1, 1, 0x02); /* line 4 */
    assert_true(b->extint);                    /* its output has risen */
    assert_int_equal(b->cb.ack_extint(b->cb.opaque), 8);
    bus_write(b->bus, PORT_PIC_MASTER, 1, 0x20);
    assert_false(b->extint);
    loop_on_idle(b->loop, stop_at_extint, b);
    struct loop_timer *never = loop_timer_new(b->loop, stop, b, &b->err);
    loop_timer_arm(never, host_now_ns() + 20000000000ull);
    board_resume(b->board);
    clock_start(b->clock);
    loop_run(b->loop);
    board_pause(b->board);
    loop_timer_free(never);
    assert_true(b->extint);
    assert_int_equal(b->cb.ack_extint(b->cb.opaque), 8);
    bench_free(b);
}

static void the_power_button_is_a_level_interrupt_on_line_9_until_its_event_is_read(void **state)
{
    struct bench *b = bench_new(&plain);
    (void)state;
    bench_rte(b, 9, 0x8039);
    board_power_button(b->board);
    assert_int_equal(b->msis, 1);
    b->cb.eoi(b->cb.opaque, 0x39);
    assert_int_equal(b->msis, 2);
    assert_int_equal(bus_read(b->bus, PORT_ACPI + 3, 1), 1);
    b->cb.eoi(b->cb.opaque, 0x39);
    assert_int_equal(b->msis, 2);
    bench_free(b);
}

static void every_way_to_reset_and_power_off_reaches_the_machine(void **state)
{
    struct bench *b = bench_new(&(struct board_config){.acpi = true, .debug_exit = true, .testdev = true});
    (void)state;
    bus_write(b->bus, PORT_KBD_COMMAND, 1, 0xfe);
    assert_string_equal(b->reset_by, "the keyboard controller");
    bus_write(b->bus, PORT_SYSTEM_A, 1, 0x01);
    assert_string_equal(b->reset_by, "port 0x92");
    bus_write(b->bus, PORT_ACPI + 2, 1, 0x01);
    assert_string_equal(b->reset_by, "the ACPI reset register");
    assert_int_equal(b->resets, 3);
    bus_write(b->bus, PORT_PCI_CONFIG + 1, 1, 0x06);
    assert_string_equal(b->reset_by, "port 0xcf9");
    assert_int_equal(b->resets, 4);
    bus_write(b->bus, PORT_ACPI, 1, 0x34);
    assert_int_equal(b->power_offs, 1);
    bus_write(b->bus, PORT_DEBUG_EXIT, 4, 16);
    assert_int_equal(b->exit_code, 16);
    bus_write(b->bus, PORT_PVPANIC, 1, 1);
    assert_int_equal(b->panics, 1);
    bench_free(b);
}

static void memory_leaves_a_hole_below_4_gib_and_goes_on_above(void **state)
{
    struct bench *b = bench_new(&(struct board_config){.acpi = true, .memory = 4ull << 30});
    const struct board_e820 *map;
    uint64_t ram = 0, last = 0;
    unsigned n = board_e820(b->board, &map);
    (void)state;
    for (unsigned i = 0; i < n; i++) {
        assert_true(map[i].base >= last);
        last = map[i].base + map[i].size;
        ram += map[i].type == 1 ? map[i].size : 0;
    }
    assert_true(ram == (4ull << 30) - (0x100000 - MAP_EBDA_BASE));
    assert_true(board_low_ram(b->board) == MAP_LOW_RAM_MAX);
    assert_true(board_high_ram(b->board) == 1ull << 30);
    assert_true(last == 5ull << 30);
    assert_non_null(mem_at(b->mem, MAP_LOW_RAM_MAX - 4096, 4096, true));
    assert_null(mem_at(b->mem, MAP_LOW_RAM_MAX, 1, true));
    assert_non_null(mem_at(b->mem, (5ull << 30) - 4096, 4096, true));
    assert_null(mem_at(b->mem, 5ull << 30, 1, true));
    bench_free(b);
}

static void nonsense_configurations_are_refused_with_a_reason(void **state)
{
    const struct board_config bad[] = {
        {.cpus = 255}, {.memory = 4095}, {.memory = (1 << 20) + 1}, {.disk_count = 99}, {.net_count = 99}};
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {""};
        struct board_config c = bad[i];
        c.cpus = c.cpus ? c.cpus : 1;
        c.memory = c.memory ? c.memory : 1 << 20;
        c.mem = mem_map_new(&e), c.bus = bus_new(&e), c.clock = clock_new(&e), c.loop = loop_new(&e);
        assert_null(board_new(&c, &e));
        assert_true(strlen(e.msg) > 0);
        loop_free(c.loop), clock_free(c.clock), bus_free(c.bus), mem_map_free(c.mem);
    }
}

static void tables_lie_where_the_guest_scans(void **state)
{
    struct bench *b = bench_new(&plain);
    char sig[8];
    (void)state;
    assert_int_equal(board_write_blobs(b->board, &b->err), 0);
    assert_int_equal(mem_read(b->mem, board_rsdp(b->board), sig, 8), 0);
    assert_memory_equal(sig, "RSD PTR ", 8);
    assert_int_equal(mem_read(b->mem, MAP_MPTABLE_BASE, sig, 4), 0);
    assert_memory_equal(sig, "_MP_", 4);
    bench_free(b);
}

static uint64_t number(struct bench *b, uint64_t gpa, unsigned size)
{
    uint64_t v = 0;
    assert_int_equal(mem_read(b->mem, gpa, &v, size), 0);
    return v;
}

/* The FADT as the guest finds it: RSDP, XSDT, the first entry. */
static void the_program_at_the_reset_vector_writes_what_the_fadt_names(void **state)
{
    struct bench *b = bench_new(&plain);
    uint64_t at = 0xffff0;
    (void)state;
    assert_int_equal(board_write_blobs(b->board, &b->err), 0);
    uint64_t xsdt = number(b, board_rsdp(b->board) + 24, 8), fadt = number(b, xsdt + 36, 8);
    assert_int_equal(number(b, fadt, 4), 0x50434146); /* FACP */
    assert_int_equal(number(b, fadt + 116, 1), 1);    /* RESET_REG: system I/O */
    assert_int_equal(number(b, at, 1), 0xba);         /* mov $port,%dx */
    assert_int_equal(number(b, at + 1, 2), number(b, fadt + 120, 8));
    assert_int_equal(number(b, at + 3, 1), 0xb0); /* mov $value,%al */
    assert_int_equal(number(b, at + 4, 1), number(b, fadt + 128, 1));
    assert_int_equal(number(b, at + 5, 4), 0xfdebf4ee); /* out %al,(%dx); hlt; jmp */
    bus_write(b->bus, (uint16_t)number(b, at + 1, 2), 1, (uint32_t)number(b, at + 4, 1));
    assert_int_equal(b->resets, 1);
    bench_free(b);
}

static void virtio_sits_in_pci_slots_from_1_on(void **state)
{
    struct bench *b = bench_new(&plain);
    struct buf line = {0};
    (void)state;
    assert_int_equal(mem_mmio_read(b->mem, MAP_PCI_ECAM_BASE + (1 << 15), 4), 0x10441af4); /* entropy */
    assert_int_equal(mem_mmio_read(b->mem, MAP_PCI_ECAM_BASE + (2 << 15), 4), 0xffffffff);
    board_cmdline_extra(b->board, &line);
    assert_int_equal(line.len, 0);
    bench_free(b);
}

static void virtio_over_mmio_is_on_the_command_line_only_without_acpi(void **state)
{
    struct bench *b = bench_new(&(struct board_config){.transport = VIRTIO_TRANSPORT_MMIO, .rng = true});
    struct buf line = {0};
    (void)state;
    assert_int_equal(mem_mmio_read(b->mem, MAP_VIRTIO_MMIO_BASE, 4), 0x74726976);
    assert_int_equal(mem_mmio_read(b->mem, MAP_VIRTIO_MMIO_BASE + 8, 4), 4);
    board_cmdline_extra(b->board, &line);
    buf_u8(&line, 0);
    assert_string_equal((char *)line.data, " virtio_mmio.device=512@0xfeb00000:16:0");
    buf_free(&line);
    assert_int_equal(board_rsdp(b->board), 0);
    bench_free(b);
    b = bench_new(&(struct board_config){.transport = VIRTIO_TRANSPORT_MMIO, .rng = true, .acpi = true});
    board_cmdline_extra(b->board, &line);
    assert_int_equal(line.len, 0);
    bench_free(b);
}

static void nothing_is_delivered_while_no_accelerator_is_connected(void **state)
{
    struct bench *b = bench_new(&plain);
    (void)state;
    board_connect(b->board, NULL);
    bench_rte(b, 9, 0x8039);
    board_power_button(b->board);
    assert_int_equal(b->msis, 0);
    bench_free(b);
}

static struct bench *bench_with_card(struct fake_net *net, enum virtio_transport transport)
{
    struct board_config cfg = {.acpi = true, .transport = transport, .net_count = 1};
    fake_net_init(net);
    cfg.nets[0].net = &net->net;
    return bench_new(&cfg);
}

static void command(struct bench *b, uint16_t v)
{
    mem_mmio_write(b->mem, MAP_PCI_ECAM_BASE + (1 << 15) + 4, 2, v);
}

static void the_cards_doorbells_follow_its_bar(void **state)
{
    static struct fake_net net;
    struct bench *b = bench_with_card(&net, VIRTIO_TRANSPORT_PCI);
    uint64_t bar = MAP_PCI_ECAM_BASE + (1 << 15) + 0x10;
    (void)state;
    command(b, 6);
    uint64_t at = (mem_mmio_read(b->mem, bar, 4) & ~15ull) | mem_mmio_read(b->mem, bar + 4, 4) << 32;
    assert_int_equal(bench_bells(b), 2);
    assert_true(b->bell[0] == at + 0x3000 && b->bell[1] == at + 0x3004); /* receive, transmit */
    command(b, 4);
    assert_int_equal(bench_bells(b), 0);
    mem_mmio_write(b->mem, bar, 4, (uint32_t)(at + 0x100000));
    assert_int_equal(bench_bells(b), 0);
    command(b, 6);
    assert_int_equal(bench_bells(b), 2);
    assert_true(b->bell[0] == at + 0x103000);
    mem_mmio_write(b->mem, bar, 4, (uint32_t)(at + 0x200000)); /* while it is decoded */
    assert_int_equal(bench_bells(b), 2);
    assert_true(b->bell[0] == at + 0x203000 || b->bell[1] == at + 0x203000);
    mem_mmio_write(b->mem, bar, 4,
                   MAP_IOAPIC_BASE & ~0xffffu); /* below the chips there: memory wins, as ever */
    mem_mmio_write(b->mem, bar + 4, 4, 0);
    board_reset(b->board);
    command(b, 6);
    assert_int_equal(bench_bells(b), 2);
    assert_true(b->bell[0] == at + 0x3000 || b->bell[1] == at + 0x3000);
    board_connect(b->board, NULL);
    assert_int_equal(bench_bells(b), 0);
    board_connect(b->board, &b->accel);
    assert_int_equal(bench_bells(b), 2);
    bench_free(b);
}

static void without_doorbells_nothing_is_missing(void **state)
{
    static struct fake_net net;
    struct bench *b = bench_with_card(&net, VIRTIO_TRANSPORT_MMIO);
    (void)state;
    assert_int_equal(bench_bells(b), 0);
    bench_free(b);
    b = bench_with_card(&net, VIRTIO_TRANSPORT_PCI);
    board_connect(b->board, NULL);
    b->no_bells = true;
    board_connect(b->board, &b->accel);
    command(b, 6);
    command(b, 0);
    bench_free(b);
}

/* A random access in any of the board's ports and registers. */
static void hammer(struct bench *b, uint64_t *seed)
{
    static const uint64_t base[][2] = {
        {MAP_PCI_ECAM_BASE, MAP_PCI_ECAM_SIZE},
        {MAP_PCI_ECAM_BASE, 0x10000},
        {MAP_PCI_MMIO32_BASE, 0x20000},
        {MAP_PCI_MMIO64_MIN, 0x20000},
        {MAP_VIRTIO_MMIO_BASE, 0x3000},
        {MAP_IOAPIC_BASE, 0x80},
        {MAP_TESTDEV_BASE, 0x10000},
    };
    uint32_t what = bench_random(seed), v = bench_random(seed), pick = bench_random(seed);
    unsigned size = 1u << (what >> 4 & 3);
    if (what & 1) {
        const uint64_t *range = base[pick % ARRAY_LEN(base)];
        uint64_t gpa = range[0] + bench_random(seed) % (uint32_t)range[1];
        if (what & 2)
            mem_mmio_write(b->mem, gpa, size, v | (uint64_t)bench_random(seed) << 32);
        else
            mem_mmio_read(b->mem, gpa, size);
    } else {
        uint16_t port = (uint16_t)(what & 8 ? bench_random(seed) : bench_random(seed) % 0x700);
        size = size > 4 ? 4 : size;
        if (what & 2)
            bus_write(b->bus, port, size, v);
        else
            bus_read(b->bus, port, size);
    }
    if ((what >> 8 & 0x3f) == 0) {
        b->cb.eoi(b->cb.opaque, (uint8_t)v);
        b->cb.ack_extint(b->cb.opaque);
        board_power_button(b->board);
    }
}

/* Save one board, load into another, compare every field of every chip. */
static void save_load_compare(struct bench *from, struct bench *to)
{
    struct device *const *a, *const *c;
    unsigned n = board_devices(from->board, &a);
    assert_int_equal(n, board_devices(to->board, &c));
    int fd = memfd_create("state", 0);
    struct state_writer *w = state_writer_new(board_name(from->board), &from->err);
    assert_non_null(w);
    assert_int_equal(board_save(from->board, w, &from->err), 0);
    assert_int_equal(state_finish(w, fd, &from->err), 0);
    off_t len = lseek(fd, 0, SEEK_END);
    void *p = mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(p != MAP_FAILED);
    struct state_reader *r = state_reader_new(p, (size_t)len, &to->err);
    assert_non_null(r);
    assert_string_equal(state_board(r), MICROVM_VERSION);
    if (board_load(to->board, r, &to->err))
        fail_msg("board_load: %s", to->err.msg);
    assert_int_equal(state_reader_done(r, &to->err), 0);
    state_reader_free(r);
    munmap(p, (size_t)len);
    close(fd);
    for (unsigned i = 0; i < n; i++) {
        struct saved x[64], y[64];
        unsigned k = device_saved(a[i], x, 64);
        assert_int_equal(k, device_saved(c[i], y, 64));
        while (k--) {
            const char *field = state_differs(x[k].table, x[k].obj, y[k].obj);
            if (field)
                fail_msg("%s.%s differs after load", x[k].table->name, field);
        }
    }
}

static void hammer_and_save(struct board_config *cfg, uint64_t seed)
{
    static struct fake_net net, other_net;
    fake_net_init(&net);
    fake_net_init(&other_net);
    cfg->net_count = 1;
    cfg->nets[0].net = &net.net;
    struct bench *b = bench_new(cfg);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 4000; i++)
            hammer(b, &seed);
        board_pause(b->board);
        cfg->nets[0].net = &other_net.net;
        struct bench *other = bench_new(cfg);
        clock_set(other->clock, clock_now(b->clock));
        save_load_compare(b, other);
        assert_int_equal(other->msis, 0); /* loading raises nothing */
        assert_int_equal(bench_bells(other), bench_bells(b));
        bench_free(other);
        board_resume(b->board);
        if (round % 4 == 3)
            board_reset(b->board);
    }
    bench_free(b);
}

static void a_pci_board_survives_hammering_and_its_state_saves_and_loads(void **state)
{
    (void)state;
    hammer_and_save(
        &(struct board_config){
            .acpi = true, .rng = true, .testdev = true, .debug_exit = true, .keyboard = true},
        3);
}

static void an_mmio_board_survives_hammering_and_its_state_saves_and_loads(void **state)
{
    (void)state;
    hammer_and_save(&(struct board_config){.transport = VIRTIO_TRANSPORT_MMIO, .rng = true}, 4);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(com1_interrupts_through_both_controllers),
        cmocka_unit_test(a_bios_has_left_the_timer_at_vector_8),
        cmocka_unit_test(the_power_button_is_a_level_interrupt_on_line_9_until_its_event_is_read),
        cmocka_unit_test(every_way_to_reset_and_power_off_reaches_the_machine),
        cmocka_unit_test(memory_leaves_a_hole_below_4_gib_and_goes_on_above),
        cmocka_unit_test(nonsense_configurations_are_refused_with_a_reason),
        cmocka_unit_test(tables_lie_where_the_guest_scans),
        cmocka_unit_test(the_program_at_the_reset_vector_writes_what_the_fadt_names),
        cmocka_unit_test(virtio_sits_in_pci_slots_from_1_on),
        cmocka_unit_test(virtio_over_mmio_is_on_the_command_line_only_without_acpi),
        cmocka_unit_test(nothing_is_delivered_while_no_accelerator_is_connected),
        cmocka_unit_test(the_cards_doorbells_follow_its_bar),
        cmocka_unit_test(without_doorbells_nothing_is_missing),
        cmocka_unit_test(a_pci_board_survives_hammering_and_its_state_saves_and_loads),
        cmocka_unit_test(an_mmio_board_survives_hammering_and_its_state_saves_and_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
