/* Configuration space, BARs and MSI-X of a function that a test plugs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "device/pci/pci.h"
#include "guest/bus.h"

enum {
    ECAM = 0xe0000000,
    MMIO32 = 0xc0000000,
    IO = 0x1000,
    SLOT = 5,
    BAR_SIZE = 0x4000,
    TABLE = 0x1000,
    PBA = 0x2000,
    VECTORS = 5
};
#define MMIO64 0x800000000ull

struct card {
    struct pci_function pci; /* first */
    uint64_t reg;
    unsigned changed, config_writes;
};

struct bed {
    struct mem_map *mem;
    struct mem_reader *reader;
    struct bus *bus;
    struct pci_root *root;
    struct card card, other;
    struct msi_message last;
    unsigned sent, resets;
    bool level[4];
};

static uint64_t mem_bar_read(void *opaque, uint64_t off, unsigned size)
{
    struct card *c = opaque;
    return pci_msix_covers(&c->pci, off) ? pci_msix_read(&c->pci, off, size) : c->reg + off;
}

static void mem_bar_write(void *opaque, uint64_t off, unsigned size, uint64_t v)
{
    struct card *c = opaque;
    if (pci_msix_covers(&c->pci, off))
        pci_msix_write(&c->pci, off, size, v);
    else
        c->reg = v;
}

static uint32_t io_bar_read(void *opaque, uint16_t off, unsigned size)
{
    (void)opaque;
    (void)size;
    return 0xa0u + off;
}

static void io_bar_write(void *opaque, uint16_t off, unsigned size, uint32_t v)
{
    (void)off;
    (void)size;
    ((struct card *)opaque)->reg = v;
}

static const struct mem_ops mem_bar = {.read = mem_bar_read, .write = mem_bar_write};
static const struct bus_ops io_bar = {.read = io_bar_read, .write = io_bar_write};

static void nothing(struct device *d)
{
    (void)d;
}

static const struct device_ops card_ops = {.kind = "card", .free = nothing};

static void msix_changed(struct pci_function *f, unsigned v)
{
    ((struct card *)f)->changed |= 1u << v;
}

static void config_written(struct pci_function *f, unsigned off, unsigned len)
{
    (void)off;
    (void)len;
    ((struct card *)f)->config_writes++;
}

static void send(void *opaque, struct msi_message m)
{
    struct bed *b = opaque;
    b->last = m;
    b->sent++;
}

static void set_level(void *opaque, unsigned pin, bool level)
{
    ((struct bed *)opaque)->level[pin] = level;
}

static void reset(void *opaque)
{
    ((struct bed *)opaque)->resets++;
}

static void make_card(struct bed *b, struct card *c, unsigned slot)
{
    struct err e;
    memset(c, 0, sizeof(*c));
    pci_function_init(&c->pci, &card_ops, slot, 0x1234, 0x5678, 0x02000001);
    pci_set_bar(&c->pci, 0, &(struct pci_bar){.size = BAR_SIZE, .mem64 = true, .ops = &mem_bar});
    pci_set_bar(&c->pci, 2, &(struct pci_bar){.size = 0x20, .io = true, .io_ops = &io_bar});
    pci_set_bar(&c->pci, 3, &(struct pci_bar){.size = 0x1000, .ops = &mem_bar});
    assert_int_equal(pci_add_msix(&c->pci, VECTORS, 0, TABLE, PBA, &e), 0);
    c->pci.config[0x3d] = 1;
    c->pci.msix_changed = msix_changed;
    c->pci.config_written = config_written;
    if (pci_function_plug(b->root, &c->pci, slot, &e))
        fail_msg("%s", e.msg);
}

static int open_bed(void **state)
{
    struct bed *b = calloc(1, sizeof(*b));
    struct err e;
    b->mem = mem_map_new(&e);
    b->reader = mem_reader_new(b->mem, &e);
    b->bus = bus_new(&e);
    struct pci_root_config cfg = {.mem = b->mem,
                                  .bus = b->bus,
                                  .ecam_base = ECAM,
                                  .msi = {.send = send, .opaque = b},
                                  .mmio32_base = MMIO32,
                                  .mmio32_size = 0x10000,
                                  .mmio64_base = MMIO64,
                                  .mmio64_size = 0x100000,
                                  .io_base = IO,
                                  .io_size = 0x100,
                                  .reset = reset,
                                  .reset_opaque = b};
    for (unsigned i = 0; i < 4; i++)
        cfg.intx[i] = (struct irq_line){.set = set_level, .opaque = b, .pin = i};
    b->root = pci_root_new(&cfg, &e);
    if (!b->root)
        return -1;
    make_card(b, &b->card, SLOT);
    *state = b;
    return 0;
}

static int close_bed(void **state)
{
    struct bed *b = *state;
    pci_function_unplug(&b->card.pci);
    pci_root_free(b->root);
    bus_free(b->bus);
    mem_reader_free(b->reader);
    mem_map_free(b->mem);
    free(b);
    return 0;
}

static uint32_t rd(struct bed *b, unsigned off, unsigned size)
{
    return (uint32_t)mem_mmio_read(b->mem, ECAM + (SLOT << 15) + off, size);
}

static void wr(struct bed *b, unsigned off, unsigned size, uint32_t v)
{
    mem_mmio_write(b->mem, ECAM + (SLOT << 15) + off, size, v);
    mem_reader_quiesce(b->reader);
}

static uint32_t port_config(struct bed *b, unsigned slot, unsigned off, unsigned size)
{
    bus_write(b->bus, 0xcf8, 4, 0x80000000u | slot << 11 | (off & 0xfc));
    return bus_read(b->bus, (uint16_t)(0xcfc + (off & 3)), size);
}

static void ports_and_ecam_see_the_same_bytes(void **state)
{
    struct bed *b = *state;
    for (unsigned off = 0; off < 256; off += 4)
        assert_int_equal(port_config(b, SLOT, off, 4), rd(b, off, 4));
    for (unsigned off = 0; off < 256; off++)
        assert_int_equal(port_config(b, SLOT, off, 1), rd(b, off, 1));
    for (unsigned off = 0; off < 256; off += 2)
        assert_int_equal(port_config(b, SLOT, off, 2), rd(b, off, 2));
    port_config(b, SLOT, 0x3c, 1);
    bus_write(b->bus, 0xcfc, 1, 0x5a);
    assert_int_equal(rd(b, 0x3c, 4), 0x15a);
    assert_int_equal(bus_read(b->bus, 0xcf8, 4), 0x80000000u | SLOT << 11 | 0x3c);
}

static void absent_functions_and_buses_read_as_ones(void **state)
{
    struct bed *b = *state;
    assert_int_equal(port_config(b, 6, 0, 4), UINT32_MAX);
    assert_int_equal(mem_mmio_read(b->mem, ECAM + (SLOT << 15) + 0x1000, 4), UINT32_MAX); /* function 1 */
    bus_write(b->bus, 0xcf8, 4, 0x80010000u | SLOT << 11);                                /* bus 1 */
    assert_int_equal(bus_read(b->bus, 0xcfc, 4), UINT32_MAX);
    bus_write(b->bus, 0xcf8, 4, SLOT << 11); /* not enabled */
    assert_int_equal(bus_read(b->bus, 0xcfc, 4), UINT32_MAX);
    bus_write(b->bus, 0xcfc, 4, 0);
    assert_int_equal(port_config(b, 0, 0xb, 1), 6); /* slot 0: a bridge */
    assert_int_equal(rd(b, 0x100, 4), 0);           /* no extended capabilities */
    assert_int_equal(rd(b, 0xffc, 4), 0);
}

static void only_writable_bits_are_written(void **state)
{
    struct bed *b = *state;
    uint8_t before[256];
    for (unsigned off = 0; off < 256; off++)
        before[off] = (uint8_t)rd(b, off, 1);
    for (unsigned off = 0; off < 256; off += 4)
        wr(b, off, 4, UINT32_MAX);
    for (unsigned off = 0; off < 256; off++)
        assert_int_equal(rd(b, off, 1), before[off] | b->card.pci.wmask[off]);
    for (unsigned off = 0; off < 256; off += 4)
        wr(b, off, 4, 0);
    for (unsigned off = 0; off < 256; off++)
        assert_int_equal(rd(b, off, 1), before[off] & ~b->card.pci.wmask[off]);
    assert_int_equal(rd(b, 0, 4), 0x56781234);
    assert_true(b->card.config_writes >= 128);
}

static void status_bits_are_cleared_by_writing_ones(void **state)
{
    struct bed *b = *state;
    b->card.pci.config[7] |= 0xf9;
    wr(b, 6, 2, 0);
    assert_int_equal(rd(b, 7, 1) & 0xf9, 0xf9);
    wr(b, 6, 2, 0x1000);
    assert_int_equal(rd(b, 7, 1) & 0xf9, 0xe9);
    wr(b, 6, 2, 0xffff);
    assert_int_equal(rd(b, 7, 1) & 0xf9, 0);
    assert_int_equal(rd(b, 6, 1) & 0x10, 0x10);
}

static void bars_are_assigned_sized_and_moved(void **state)
{
    struct bed *b = *state;
    uint64_t at = rd(b, 0x10, 4) & ~15u;
    assert_int_equal(rd(b, 0x10, 4) & 15, 4);
    assert_int_equal(at % BAR_SIZE, 0);
    assert_in_range(at, MMIO32, MMIO32 + 0xffff);
    b->card.reg = 0x700;
    assert_int_equal(mem_mmio_read(b->mem, at + 8, 4), 0x708);
    wr(b, 0x10, 4, UINT32_MAX);
    wr(b, 0x14, 4, UINT32_MAX);
    assert_int_equal(rd(b, 0x10, 4), (uint32_t)-BAR_SIZE | 4);
    assert_int_equal(rd(b, 0x14, 4), UINT32_MAX);
    assert_int_equal(mem_mmio_read(b->mem, at + 8, 4), UINT32_MAX); /* not there while it is sized */
    wr(b, 0x10, 4, 0x10000);
    wr(b, 0x14, 4, 0x9);
    assert_int_equal(mem_mmio_read(b->mem, 0x900010008, 4), 0x708);
    assert_int_equal(pci_bar_address(&b->card.pci, 0), 0x900010000);
    mem_mmio_write(b->mem, 0x900010008, 8, 0x1234);
    assert_int_equal(b->card.reg, 0x1234);
    wr(b, 4, 2, 0); /* decoding off */
    assert_int_equal(mem_mmio_read(b->mem, 0x900010008, 4), UINT32_MAX);
    assert_int_equal(pci_bar_address(&b->card.pci, 0), UINT64_MAX);
    wr(b, 4, 2, 2);
    assert_int_equal(mem_mmio_read(b->mem, 0x900010008, 4), 0x123c);
    wr(b, 0x24, 4, UINT32_MAX); /* a BAR that is not there */
    assert_int_equal(rd(b, 0x24, 4), 0);
    wr(b, 0x1c, 4, UINT32_MAX);
    assert_int_equal(rd(b, 0x1c, 4), 0xfffff000);
}

static void a_bar_never_hides_memory(void **state)
{
    struct bed *b = *state;
    struct ram *ram = ram_new("ram", 0x100000, RAM_ANONYMOUS, NULL);
    assert_non_null(mem_add(
        b->mem, &(struct mem_region){.name = "ram", .size = 0x100000, .kind = MEM_RAM, .ram = ram}, NULL));
    wr(b, 0x10, 4, 0x40000);
    wr(b, 0x14, 4, 0);
    mem_mmio_write(b->mem, 0x40010, 4, 0x55aa);
    assert_int_equal(mem_mmio_read(b->mem, 0x40010, 4), 0x55aa);
    assert_int_equal(b->card.reg, 0);
    wr(b, 0x10, 4, (uint32_t)ECAM); /* nor the registers that it is moved by */
    assert_int_equal(rd(b, 0, 4), 0x56781234);
    wr(b, 0x10, 4, 0xfffff000); /* the end of 32 bits, and of 64 */
    wr(b, 0x14, 4, UINT32_MAX);
    wr(b, 0x10, 4, 0x200000);
    wr(b, 0x14, 4, 0);
    assert_int_equal(mem_mmio_read(b->mem, 0x200000, 4), 0);
}

static void an_io_bar_moves_in_port_space(void **state)
{
    struct bed *b = *state;
    uint16_t at = (uint16_t)(rd(b, 0x18, 4) & ~3u);
    assert_int_equal(rd(b, 0x18, 4) & 3, 1);
    assert_int_equal(bus_read(b->bus, at, 1), 0xa0);
    wr(b, 0x18, 4, 0x2000);
    assert_int_equal(bus_read(b->bus, at, 1), 0xff);
    assert_int_equal(bus_read(b->bus, 0x2003, 1), 0xa3);
    bus_write(b->bus, 0x2000, 4, 99);
    assert_int_equal(b->card.reg, 99);
    wr(b, 0x18, 4, 0xce0); /* over 0xcf8: it loses */
    assert_int_equal(port_config(b, SLOT, 0, 4), 0x56781234);
    wr(b, 0x18, 4, 0x3000);
    assert_int_equal(bus_read(b->bus, 0x3000, 1), 0xa0);
    wr(b, 4, 2, 2);
    assert_int_equal(bus_read(b->bus, 0x3000, 1), 0xff);
}

static void capabilities_chain_to_an_end(void **state)
{
    struct bed *b = *state;
    unsigned at = rd(b, 0x34, 1);
    assert_int_equal(rd(b, at, 1), 0x11);
    assert_int_equal(rd(b, at + 1, 1), 0);
    assert_int_equal(rd(b, at + 2, 2), VECTORS - 1);
    assert_int_equal(rd(b, at + 4, 4), TABLE);
    assert_int_equal(rd(b, at + 8, 4), PBA);
}

/* ---- MSI-X ---- */

static uint64_t table_at(struct bed *b, unsigned v)
{
    return pci_bar_address(&b->card.pci, 0) + TABLE + 16 * v;
}

static void set_vector(struct bed *b, unsigned v, uint32_t data, uint32_t control)
{
    mem_mmio_write(b->mem, table_at(b, v), 8, 0xfee01003); /* low bits are not kept */
    mem_mmio_write(b->mem, table_at(b, v) + 8, 4, data);
    mem_mmio_write(b->mem, table_at(b, v) + 12, 4, control);
}

static void raise_vector(struct bed *b, unsigned v)
{
    lock_take(&b->card.pci.dev.lock);
    pci_msix_raise(&b->card.pci, v);
    lock_drop(&b->card.pci.dev.lock);
}

static uint64_t pending(struct bed *b)
{
    return mem_mmio_read(b->mem, pci_bar_address(&b->card.pci, 0) + PBA, 8);
}

static void messages_are_sent_masked_and_pending(void **state)
{
    struct bed *b = *state;
    unsigned cap = rd(b, 0x34, 1);
    wr(b, 4, 2, 6);
    set_vector(b, 2, 0x42, 0);
    raise_vector(b, 2);
    assert_int_equal(b->sent, 0); /* off */
    assert_int_equal(pending(b), 0);
    wr(b, cap + 2, 2, 0x8000);
    assert_true(pci_msix_enabled(&b->card.pci));
    raise_vector(b, 2);
    assert_int_equal(b->sent, 1);
    assert_int_equal(b->last.address, 0xfee01000);
    assert_int_equal(b->last.data, 0x42);
    mem_mmio_write(b->mem, table_at(b, 2) + 12, 4, 0xffffffff); /* mask */
    assert_int_equal(mem_mmio_read(b->mem, table_at(b, 2) + 12, 4), 1);
    raise_vector(b, 2);
    raise_vector(b, 2);
    assert_int_equal(b->sent, 1);
    assert_int_equal(pending(b), 4);
    mem_mmio_write(b->mem, pci_bar_address(&b->card.pci, 0) + PBA, 8, 0); /* read-only */
    assert_int_equal(pending(b), 4);
    mem_mmio_write(b->mem, table_at(b, 2) + 12, 4, 0);
    assert_int_equal(b->sent, 2);
    assert_int_equal(pending(b), 0);
    wr(b, cap + 2, 2, 0xc000); /* all masked */
    raise_vector(b, 2);
    assert_int_equal(b->sent, 2);
    assert_int_equal(pending(b), 4);
    wr(b, cap + 2, 2, 0x8000);
    assert_int_equal(b->sent, 3);
    wr(b, 4, 2, 2); /* no bus mastering, no message */
    raise_vector(b, 2);
    assert_int_equal(b->sent, 3);
    wr(b, 4, 2, 6);
    assert_int_equal(b->sent, 4);
    raise_vector(b, VECTORS); /* there is none */
    assert_int_equal(b->sent, 4);
}

static void the_table_is_memory_of_any_access_size(void **state)
{
    struct bed *b = *state;
    b->card.changed = 0;
    set_vector(b, 1, 0x11223344, 1);
    assert_int_equal(b->card.changed, 2);
    assert_int_equal(mem_mmio_read(b->mem, table_at(b, 1) + 8, 8), 0x111223344);
    assert_int_equal(mem_mmio_read(b->mem, table_at(b, 1) + 9, 1), 0x33);
    mem_mmio_write(b->mem, table_at(b, 1) + 10, 2, 0xabcd);
    assert_int_equal(mem_mmio_read(b->mem, table_at(b, 1) + 8, 4), 0xabcd3344);
    struct msi_message m;
    assert_false(pci_msix_message(&b->card.pci, 1, &m));
    assert_int_equal(m.data, 0xabcd3344);
    assert_int_equal(mem_mmio_read(b->mem, table_at(b, VECTORS), 8),
                     b->card.reg + TABLE + 16 * VECTORS); /* behind it: the device's */
}

/* ---- INTx ---- */

static void a_shared_wire_is_high_while_any_function_drives_it(void **state)
{
    struct bed *b = *state;
    make_card(b, &b->other, SLOT + 4);
    unsigned line = SLOT & 3;
    pci_intx(&b->card.pci, true);
    pci_intx(&b->other.pci, true);
    assert_true(b->level[line]);
    pci_intx(&b->card.pci, false);
    assert_true(b->level[line]);
    pci_intx(&b->other.pci, false);
    assert_false(b->level[line]);
    pci_intx(&b->other.pci, true);
    assert_true(b->level[line]);
    assert_true(port_config(b, SLOT + 4, 6, 2) & 8);
    pci_function_unplug(&b->other.pci);
    assert_false(b->level[line]);
}

/* ---- the root ---- */

static void reset_control_resets_on_a_rising_bit(void **state)
{
    struct bed *b = *state;
    bus_write(b->bus, 0xcf9, 1, 2);
    assert_int_equal(b->resets, 0);
    bus_write(b->bus, 0xcf9, 1, 6);
    assert_int_equal(b->resets, 1);
    bus_write(b->bus, 0xcf9, 1, 6);
    assert_int_equal(b->resets, 1);
    assert_int_equal(bus_read(b->bus, 0xcf9, 1), 6);
    bus_write(b->bus, 0xcf8, 4, 0x80000600u); /* a dword is the address */
    assert_int_equal(b->resets, 1);
    device_reset(pci_root_device(b->root));
    assert_int_equal(bus_read(b->bus, 0xcf9, 1), 0);
    assert_int_equal(bus_read(b->bus, 0xcf8, 4), 0);
}

static void errors_name_what_is_wrong(void **state)
{
    struct bed *b = *state;
    struct card *c = &b->other;
    struct err e;
    memset(c, 0, sizeof(*c));
    pci_function_init(&c->pci, &card_ops, 0, 1, 2, 0);
    assert_int_equal(pci_function_plug(b->root, &c->pci, SLOT, &e), -EBUSY);
    assert_int_equal(pci_function_plug(b->root, &c->pci, 32, &e), -EINVAL);
    pci_function_unplug(&c->pci);
    memset(c, 0, sizeof(*c));
    pci_function_init(&c->pci, &card_ops, 0, 1, 2, 0);
    pci_set_bar(&c->pci, 0, &(struct pci_bar){.size = 0x100000, .ops = &mem_bar});
    assert_int_equal(pci_function_plug(b->root, &c->pci, 7, &e), -ENOSPC);
    pci_function_unplug(&c->pci);
    memset(c, 0, sizeof(*c));
    pci_function_init(&c->pci, &card_ops, 0, 1, 2, 0);
    pci_set_bar(&c->pci, 0, &(struct pci_bar){.size = 0x80000, .mem64 = true, .ops = &mem_bar});
    assert_int_equal(pci_function_plug(b->root, &c->pci, 7, &e), 0); /* above 4 GiB */
    assert_int_equal(pci_bar_address(&c->pci, 0), MMIO64);
    pci_function_unplug(&c->pci);
}

static void a_function_is_saved_and_loaded(void **state)
{
    struct bed *b = *state;
    struct err e;
    struct buf out = {0};
    wr(b, 4, 2, 6);
    wr(b, 0x14, 4, 7);
    set_vector(b, 3, 0x99, 0);
    wr(b, rd(b, 0x34, 1) + 2, 2, 0x8000);
    pci_intx(&b->card.pci, true);
    uint64_t at = pci_bar_address(&b->card.pci, 0);
    state_put(&out, &pci_function_table, &b->card.pci);
    struct card copy = b->card;
    lock_take(&b->card.pci.dev.lock);
    pci_function_reset(&b->card.pci);
    lock_drop(&b->card.pci.dev.lock);
    mem_reader_quiesce(b->reader);
    assert_non_null(state_differs(&pci_function_table, &copy.pci, &b->card.pci));
    assert_int_not_equal(pci_bar_address(&b->card.pci, 0), at);
    assert_false(b->level[SLOT & 3]);
    struct rbuf in = rbuf_of(out.data, out.len);
    assert_int_equal(state_get(&in, &pci_function_table, 1, &b->card.pci, &e), 0);
    assert_int_equal(pci_function_table.post_load(&b->card.pci, &e), 0);
    assert_int_equal(pci_function_loaded(&b->card.pci, &e), 0);
    assert_null(state_differs(&pci_function_table, &copy.pci, &b->card.pci));
    assert_int_equal(pci_bar_address(&b->card.pci, 0), at);
    assert_true(b->level[SLOT & 3]);
    assert_int_equal(b->sent, 0);
    buf_free(&out);
}

static void random_accesses_leave_the_function_whole(void **state)
{
    struct bed *b = *state;
    uint64_t x = 88172645463325252ull;
    for (unsigned i = 0; i < 100000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        unsigned size = 1u << (x & 3), slot = x >> 2 & 1 ? SLOT : 0,
                 off = (unsigned)(x >> 8) & (x >> 3 & 1 ? 0xfff : 0x7f);
        uint64_t v = x * 0x2545f4914f6cdd1dull, bar = pci_bar_address(&b->card.pci, 0);
        if (x >> 4 & 1)
            mem_mmio_write(b->mem, ECAM + (slot << 15) + off, size, v);
        else if (x >> 5 & 1 && bar != UINT64_MAX)
            mem_mmio_write(b->mem, bar + (x >> 8 & 0x3fff), size, v);
        else if (bar != UINT64_MAX)
            mem_mmio_read(b->mem, bar + (x >> 8 & 0x3fff), size);
        else
            mem_mmio_read(b->mem, ECAM + (slot << 15) + off, size);
        mem_reader_quiesce(b->reader);
        if (i % 100 == 0)
            raise_vector(b, x >> 20 & 7);
    }
    assert_int_equal(rd(b, 0, 4), 0x56781234);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_bed, close_bed)
    const struct CMUnitTest tests[] = {
        T(ports_and_ecam_see_the_same_bytes),
        T(absent_functions_and_buses_read_as_ones),
        T(only_writable_bits_are_written),
        T(status_bits_are_cleared_by_writing_ones),
        T(bars_are_assigned_sized_and_moved),
        T(a_bar_never_hides_memory),
        T(an_io_bar_moves_in_port_space),
        T(capabilities_chain_to_an_end),
        T(messages_are_sent_masked_and_pending),
        T(the_table_is_memory_of_any_access_size),
        T(a_shared_wire_is_high_while_any_function_drives_it),
        T(reset_control_resets_on_a_rising_bit),
        T(errors_name_what_is_wrong),
        T(a_function_is_saved_and_loaded),
        T(random_accesses_leave_the_function_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
